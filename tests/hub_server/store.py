"""Repositories and who may see and change them, kept under one folder: `blobs/<sha256>` and `repos/<key>.json`.

Every change of a repository replaces its file as a whole, so it is never half written; the file's name stays when the
repository's does not. A lock on the folder keeps a second server from overwriting what the first has written.
"""

from __future__ import annotations

import fcntl
import json
import re
import threading
import time
import uuid
from pathlib import Path

import yaml

from .blobs import BlobFolder, write_atomically
from .messages import HubError
from .objects import MAIN, REPO_TYPES, Commit, File, Repo, User, commit_oid, git_oid, lfs_pointer, split_card

# What a new repository's .gitattributes sends through LFS.
LFS_EXTENSIONS = (
    "7z arrow bin bz2 ckpt ftz gz h5 joblib mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl pt pth rar "
    "safetensors tar tflite tgz wasm xz zip zst"
)
LFS_EXTENSIONS_DATASET = " lz4 mds pcm sam raw aac flac mp3 ogg wav bmp gif png tiff jpg jpeg webp mp4 webm"


def check_tree(files: dict[str, File]) -> None:
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in files:
                raise HubError(400, f"{'/'.join(parts[:depth])!r} would be both a file and a folder")


class Store:
    """Everything the Hub knows. The caller holds `lock` while it uses it.

    Args:
        root: the folder; made where it is missing. BlockingIOError where another server uses it.
        users: by token.
    """

    def __init__(self, root: str | Path, users: dict[str, User]):
        self.root, self.users, self.lock = Path(root), users, threading.RLock()
        self.root.mkdir(parents=True, exist_ok=True)
        self._folder_lock = (self.root / "lock").open("w")
        try:
            fcntl.flock(self._folder_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._folder_lock.close()
            raise BlockingIOError(f"another Hub serves {self.root.resolve()}") from error
        self.blobs = BlobFolder(self.root)
        self._repo_files = self.root / "repos"
        self._repo_files.mkdir(exist_ok=True)
        saved = [Repo.from_json(json.loads(file.read_text("utf-8"))) for file in self._repo_files.glob("*.json")]
        self.repos = {f"{repo.type}s/{repo.id}": repo for repo in sorted(saved, key=lambda repo: repo.created)}

    def save(self, repo: Repo) -> None:
        data = json.dumps(repo, default=vars).encode()  # `vars`: the dataclasses of objects.py
        write_atomically(self._repo_files / f"{repo.key}.json", data, self.blobs.scratch)

    def close(self) -> None:
        fcntl.flock(self._folder_lock, fcntl.LOCK_UN)  # closing is not enough while a forked child has it open too
        self._folder_lock.close()

    # -- who may do what -----------------------------------------------------------------------------------

    def can_read(self, repo: Repo, user: User | None) -> bool:
        """Reads it though it is private or gated."""
        return user is not None and (user.reads_all or repo.namespace in user.namespaces)

    def can_write(self, namespace: str, user: User | None) -> bool:
        return user is not None and user.role == "write" and namespace in user.namespaces

    def get(self, repo_type: str, repo_id: str, user: User | None, write: bool = False) -> Repo:
        """The repository, or the error by which the Hub does not tell a stranger whether it exists."""
        repo = self.find(repo_type, repo_id)
        if repo is None or (repo.private and not self.can_read(repo, user)):
            raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
        if write:
            self.need_write(repo.namespace, user)
        return repo

    def need_write(self, namespace: str, user: User | None) -> None:
        if not self.can_write(namespace, user):
            raise HubError(403 if user else 401, f"Forbidden: this token may not write to {namespace}")

    def need_access(self, repo: Repo, user: User | None) -> None:
        """Anyone sees the page of a gated repository; its files only those who were let in."""
        if repo.gated and not self.can_read(repo, user):
            raise HubError(403 if user else 401, f"Access to {repo.type} {repo.id} is restricted.", "GatedRepo")

    # -- repositories --------------------------------------------------------------------------------------

    def find(self, repo_type: str, repo_id: str) -> Repo | None:
        key = f"{repo_type}s/{repo_id}"
        # ids are case-insensitive, though each keeps the case it was created in
        return self.repos.get(key) or next((r for k, r in self.repos.items() if k.lower() == key.lower()), None)

    def check_new_id(self, repo_type: str, repo_id: str) -> None:
        if repo_type not in REPO_TYPES:
            raise HubError(400, f"Invalid repo type {repo_type!r}")
        names = repo_id.split("/")
        valid = len(names) == 2 and len(repo_id) <= 96 and not re.search(r"\.\.|--|\.git$", repo_id)
        if not valid or not all(re.fullmatch(r"[A-Za-z0-9_]([\w.-]*[A-Za-z0-9_])?", n, re.ASCII) for n in names):
            raise HubError(400, f"Invalid repo name {repo_id!r}")

    def create(self, repo_type: str, repo_id: str, private: bool = False, sdk: str | None = None) -> Repo:
        repo = Repo(uuid.uuid4().hex, repo_id, repo_type, private, time.time(), sdk=sdk)
        extensions = LFS_EXTENSIONS + (LFS_EXTENSIONS_DATASET if repo_type == "dataset" else "")
        attributes = "".join(f"*.{ext} filter=lfs diff=lfs merge=lfs -text\n" for ext in sorted(extensions.split()))
        self.repos[f"{repo_type}s/{repo_id}"] = repo
        self.commit(repo, MAIN, {".gitattributes": self.add_file(attributes.encode())}, "initial commit")
        return repo

    def delete(self, repo: Repo) -> None:
        del self.repos[f"{repo.type}s/{repo.id}"]
        (self._repo_files / f"{repo.key}.json").unlink()

    def move(self, repo: Repo, new_id: str) -> None:
        del self.repos[f"{repo.type}s/{repo.id}"]
        repo.id = new_id
        self.repos[f"{repo.type}s/{new_id}"] = repo
        self.save(repo)

    # -- files and commits ---------------------------------------------------------------------------------

    def add_file(self, data: bytes) -> File:
        return File(self.blobs.put(data), len(data), git_oid("blob", data))

    def lfs_file(self, sha256: str) -> File:
        """A file whose content was uploaded before; HubError 400 where it was not."""
        path = self.blobs.path(sha256)
        if not path.exists():
            raise HubError(400, f"LFS object {sha256} was not uploaded")
        size = path.stat().st_size
        return File(sha256, size, git_oid("blob", lfs_pointer(sha256, size)), lfs=True)

    def text(self, file: File | None) -> str:
        return self.blobs.read(file.sha256).decode("utf-8", "replace") if file else ""

    def card(self, repo: Repo, commit: str) -> dict:
        """The metadata of its README.md; empty where there is none or where it is not YAML."""
        block, _ = split_card(self.text(repo.files(commit).get("README.md")))
        try:
            data = yaml.safe_load(block or "")
        except yaml.YAMLError:
            return {}
        return data if isinstance(data, dict) else {}

    def resolve(self, repo: Repo, rev: str) -> str:
        """The commit that a branch, a tag, a full ref or (the beginning of) a commit id names."""
        for ref in (f"refs/heads/{rev}", f"refs/tags/{rev}", rev):
            if ref in repo.refs:
                return repo.refs[ref]
        if re.fullmatch(r"[0-9a-f]{7,40}", rev):
            found = [oid for oid in repo.commits if oid.startswith(rev)]
            if len(found) == 1:
                return found[0]
        raise HubError(404, f"Invalid rev id: {rev}", "RevisionNotFound")

    def branch(self, repo: Repo, rev: str) -> str:
        """The ref that a commit to `rev` moves: a branch or a pull request."""
        ref = rev if rev.startswith("refs/") else f"refs/heads/{rev}"
        if ref not in repo.refs or ref.startswith("refs/tags/"):
            raise HubError(404, f"{rev} is not a branch", "RevisionNotFound")
        return ref

    def commit(
        self,
        repo: Repo,
        ref: str,
        files: dict[str, File],
        title: str,
        message: str = "",
        author: str = "system",
        parent: str | None = None,
    ) -> str:
        """Move `ref` to a new commit of `files` upon `parent`; returns its oid."""
        commit = Commit(parent, title, message, time.time(), author, files)
        oid = commit_oid(commit)
        repo.commits[oid] = commit
        repo.refs[ref] = oid
        self.save(repo)
        return oid
