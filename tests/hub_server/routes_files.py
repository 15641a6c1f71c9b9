"""Reading files: folder listings, facts about paths, and the files themselves."""

from __future__ import annotations

import mimetypes
from urllib.parse import parse_qsl, quote

from .messages import API_REPO, REV, WEB_REPO, HubError, Reply, Request, Routes
from .objects import File, Repo, iso, tree_oids
from .store import Store

PAGE_SIZE = 1000  # entries of a folder listing before the client has to ask for the next page

routes = Routes()


def file_json(path: str, file: File) -> dict:
    about = {"type": "file", "path": path, "size": file.size, "oid": file.oid}
    return about | ({"lfs": file.lfs_json} if file.lfs else {})


def folder_json(path: str, oid: str) -> dict:
    return {"type": "directory", "path": path, "size": 0, "oid": oid}


def with_last_commits(repo: Repo, commit: str, entries: list[dict]) -> list[dict]:
    """Add to each entry the newest commit that changed it or anything in it."""
    open_entries = {entry["path"]: entry for entry in entries}
    for oid, step in repo.history(commit):
        before = {path: file.oid for path, file in (repo.files(step.parent) if step.parent else {}).items()}
        after = {path: file.oid for path, file in step.files.items()}
        for changed in {path for path, _ in before.items() ^ after.items()}:
            parts = changed.split("/")
            for depth in range(1, len(parts) + 1):
                entry = open_entries.pop("/".join(parts[:depth]), None)
                if entry is not None:
                    entry["lastCommit"] = {"id": oid, "title": step.title, "date": iso(step.date)}
    return entries


@routes("GET", API_REPO + "/tree/" + REV + r"(?:/(?P<path>.*?))?")
def list_folder(store: Store, request: Request, repo_type: str, repo_id: str, rev: str, path: str | None = None):
    repo = store.get(repo_type, repo_id, request.user)
    commit = store.resolve(repo, rev)
    files, recursive = repo.files(commit), request.flag("recursive")
    prefix = f"{path.strip('/')}/" if path else ""
    folders = tree_oids(files)
    found: dict[str, dict] = {}
    for name in sorted(files):
        if not name.startswith(prefix):
            continue
        below = name[len(prefix) :].split("/")
        for depth in range(1, len(below) if recursive else min(2, len(below))):
            folder = prefix + "/".join(below[:depth])
            found.setdefault(folder, folder_json(folder, folders[folder]))
        if recursive or len(below) == 1:
            found[name] = file_json(name, files[name])
    if prefix and not found:
        raise HubError(404, f"{path} does not exist on {rev}", "EntryNotFound", headers={"x-repo-commit": commit})
    start, limit = request.number("cursor", 0), max(1, request.number("limit", PAGE_SIZE))
    entries = list(found.values())[start : start + limit]
    if request.flag("expand"):
        with_last_commits(repo, commit, entries)
    headers = {"x-repo-commit": commit}
    if start + limit < len(found):
        query = "&".join(f"{k}={quote(v)}" for k, v in {**request.query, "cursor": str(start + limit)}.items())
        headers["link"] = f'<{request.base_url}{request.path}?{query}>; rel="next"'
    return Reply(entries, headers=headers)


@routes("POST", API_REPO + "/paths-info/" + REV)
def paths_info(store: Store, request: Request, repo_type: str, repo_id: str, rev: str):
    repo = store.get(repo_type, repo_id, request.user)
    commit = store.resolve(repo, rev)
    if "json" in request.headers.get("content-type", ""):
        data = request.json()
        paths, expand = data.need("paths", list), data.maybe("expand", bool, False)
    else:
        form = parse_qsl(request.body.decode("utf-8", "replace"))
        paths, expand = [v for k, v in form if k == "paths"], ("expand", "true") in [(k, v.lower()) for k, v in form]
    files = repo.files(commit)
    folders, entries = tree_oids(files), []
    for path in (str(path).strip("/") for path in paths):
        if path in files:
            entries.append(file_json(path, files[path]))
        elif path and path in folders:
            entries.append(folder_json(path, folders[path]))
    return Reply(with_last_commits(repo, commit, entries) if expand else entries, headers={"x-repo-commit": commit})


@routes("GET", WEB_REPO + r"/(?:resolve|raw|blob)/" + REV + r"/(?P<path>.+?)", for_people=True)
def download(store: Store, request: Request, repo_type: str, repo_id: str, rev: str, path: str):
    repo = store.get(repo_type, repo_id, request.user)
    store.need_access(repo, request.user)
    commit = store.resolve(repo, rev)
    file = repo.files(commit).get(path)
    if file is None:  # with X-Repo-Commit, so that the client can remember that this commit has no such file
        raise HubError(404, "Entry not found", "EntryNotFound", headers={"x-repo-commit": commit})
    name = quote(path.rsplit("/", 1)[-1])
    headers = {
        "etag": f'"{file.etag}"',
        "x-repo-commit": commit,
        "content-type": content_type(path, file),
        "content-disposition": f"inline; filename*=UTF-8''{name}; filename=\"{name}\";",
        "x-content-type-options": "nosniff",
    }
    if file.lfs:
        headers |= {"x-linked-etag": f'"{file.etag}"', "x-linked-size": str(file.size)}
    return Reply(store.blobs.path(file.sha256), headers=headers)


def content_type(path: str, file: File) -> str:
    """A browser may show pictures and text; nothing that was uploaded runs as a page of this server."""
    guess = mimetypes.guess_type(path)[0] or ""
    if guess.startswith("image/") and "svg" not in guess:
        return guess
    return "application/octet-stream" if file.lfs else "text/plain; charset=utf-8"
