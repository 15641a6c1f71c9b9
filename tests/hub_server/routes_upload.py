"""Writing files: which way each is to come, LFS uploads, and the commit."""

from __future__ import annotations

import base64
import fnmatch

from .messages import API_REPO, REV, WEB_REPO, Fields, HubError, Reply, Request, Routes, parse_object
from .objects import File, Repo
from .routes_discussions import open_discussion
from .routes_repositories import repo_url
from .store import Store, check_tree

LFS_THRESHOLD = 10 * 1024 * 1024

routes = Routes()


def repo_to_commit_to(store: Store, request: Request, repo_type: str, repo_id: str, rev: str) -> tuple[Repo, bool]:
    """The repository, if this user may commit to `rev`, and whether the commit opens a pull request.

    A pull request may be opened by everyone whose token writes, and is written to by who opened it.
    """
    repo, user = store.get(repo_type, repo_id, request.user), request.need_user()
    opens_pull_request = request.flag("create_pr")
    own_pull_request = any(d.base and d.ref == rev and d.author == user.name for d in repo.discussions.values())
    store.need_write(user.name if opens_pull_request or own_pull_request else repo.namespace, user)
    return repo, opens_pull_request


def matches(path: str, patterns: list[str]) -> bool:
    name = path.rsplit("/", 1)[-1]
    return any(fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(name, pattern) for pattern in patterns)


@routes("POST", API_REPO + "/preupload/" + REV)
def preupload(store: Store, request: Request, repo_type: str, repo_id: str, rev: str):
    """Per file: regular or LFS, ignored or not, and what is there now (the client leaves out what did not change)."""
    repo, _ = repo_to_commit_to(store, request, repo_type, repo_id, rev)
    data, files = request.json(), repo.files(store.resolve(repo, rev))
    attributes = store.text(files.get(".gitattributes")).splitlines()
    lfs_patterns = [line.split()[0] for line in attributes if "filter=lfs" in line]
    ignore = data.maybe("gitIgnore", str, store.text(files.get(".gitignore")))
    ignored = [line for line in ignore.splitlines() if line.strip() and not line.startswith("#")]
    answers = []
    for asked in data.objects("files"):
        path, size = asked.need("path", str), asked.need("size", int)
        binary = b"\0" in from_base64(asked.maybe("sample", str, ""))
        lfs = binary or size > LFS_THRESHOLD or matches(path, lfs_patterns)
        mode = "lfs" if lfs else "regular"
        answers.append({"path": path, "uploadMode": mode, "shouldIgnore": matches(path, ignored)})
        if path in files:
            answers[-1]["oid"] = files[path].etag
    return {"files": answers}


def from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise HubError(400, f"not base64: {error}") from error


# -- LFS ---------------------------------------------------------------------------------------------------


@routes("POST", WEB_REPO + r"\.git/info/lfs/objects/batch")
def lfs_batch(store: Store, request: Request, repo_type: str, repo_id: str):
    """Where to send each object; one that is here already gets no `actions`."""
    store.get(repo_type, repo_id, request.user)
    store.need_write(request.need_user().name, request.user)
    data, answers = request.json(), []
    if data.need("operation", str) != "upload":
        raise HubError(400, "objects are downloaded by /resolve/")
    for asked in data.objects("objects"):
        oid, size = asked.need("oid", str), asked.need("size", int)
        answers.append({"oid": oid, "size": size})
        if not store.blobs.path(oid).exists():
            href = f"{request.base_url}/lfs/{oid}"
            actions = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            answers[-1] |= {"authenticated": True, "actions": actions}
    return Reply({"transfer": "basic", "objects": answers}, headers={"content-type": "application/vnd.git-lfs+json"})


@routes("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", takes_file=True)
def lfs_put(store: Store, request: Request, oid: str):
    """Comes without a token, as to the storage behind the real Hub: the name allows one content only."""
    request.upload.keep(oid)
    return {}


@routes("POST", r"/lfs/(?P<oid>[0-9a-f]{64})/verify")
def lfs_verify(store: Store, request: Request, oid: str):
    if store.lfs_file(oid).size != request.json().need("size", int):
        raise HubError(400, f"LFS object {oid} has another size")
    return {}


# -- the commit --------------------------------------------------------------------------------------------


@routes("POST", API_REPO + "/commit/" + REV)
def commit(store: Store, request: Request, repo_type: str, repo_id: str, rev: str):
    """One commit out of a header and operations, a JSON object a line: all of it or nothing."""
    repo, opens_pull_request = repo_to_commit_to(store, request, repo_type, repo_id, rev)
    header, operations = read_operations(request.body)
    title, message = header.need("summary", str), header.maybe("description", str, "")
    ref = store.branch(repo, rev)
    if opens_pull_request and not ref.startswith("refs/heads/"):
        raise HubError(400, "a pull request is opened on a branch")
    head, wanted = repo.refs[ref], header.maybe("parentCommit", str)
    if wanted and opens_pull_request:
        head = store.resolve(repo, wanted)  # the pull request is cut from there
    elif wanted and not head.startswith(wanted):
        raise HubError(412, "The branch was updated since you opened this page. Please refresh and try again.")
    files = apply_operations(store, repo.files(head), operations)
    answer = {"success": True, "hookOutput": ""}
    if opens_pull_request:
        discussion = open_discussion(repo, request.user, title, message, base=ref, start=head, status="open")
        ref, answer["pullRequestUrl"] = discussion.ref, f"{repo_url(request, repo)}/discussions/{discussion.num}"
    oid = store.commit(repo, ref, files, title, message, request.user.name, parent=head)
    return answer | {"commitOid": oid, "commitUrl": f"{repo_url(request, repo)}/commit/{oid}"}


def read_operations(body: bytes) -> tuple[Fields, list[tuple[str, Fields]]]:
    lines = [parse_object(line) for line in body.splitlines() if line.strip()]
    operations = [(line.need("key", str), Fields(line.need("value", dict))) for line in lines]
    headers = [value for key, value in operations if key == "header"]
    if len(headers) != 1:
        raise HubError(400, "a commit needs one header")
    return headers[0], [(key, value) for key, value in operations if key != "header"]


def apply_operations(store: Store, files: dict[str, File], operations: list[tuple[str, Fields]]) -> dict[str, File]:
    files = dict(files)
    for key, value in operations:
        path = value.need("path", str)
        check_path(path.removesuffix("/") if key == "deletedFolder" else path)
        if key == "file":
            if value.maybe("encoding", str, "base64") != "base64":
                raise HubError(400, "content has to be base64")
            files[path] = store.add_file(from_base64(value.need("content", str)))
        elif key == "lfsFile":
            files[path] = store.lfs_file(value.need("oid", str))
            if value.maybe("size", int, files[path].size) != files[path].size:
                raise HubError(400, f"{path} was uploaded with another size")
        elif key in ("deletedFile", "deletedFolder"):
            gone = [name for name in files if name == path or name.startswith(path.removesuffix("/") + "/")]
            if not gone:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
            for name in gone:
                del files[name]
        else:
            raise HubError(400, f"Unknown operation {key}")
    check_tree(files)
    return files


def check_path(path: str) -> None:
    """Paths never reach this server's disk, but they reach the disk of everyone who downloads."""
    parts = path.split("/")
    if {"", ".", "..", ".git"} & set(parts) or "\\" in path or any(ord(letter) < 32 for letter in path):
        raise HubError(422, f"Invalid path {path!r}")
