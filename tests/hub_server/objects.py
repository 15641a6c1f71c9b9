"""What the Hub keeps (users, repositories, commits, files, discussions) and the git arithmetic that names it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

MAIN = "refs/heads/main"
REPO_TYPES = ("model", "dataset", "space")


@dataclass(frozen=True)
class User:
    """The owner of a token. `role` is the token's: `read` may look, `write` may also change.

    `reads_all` is a visitor of a Hub with open pages: reads every repository, changes none.
    """

    name: str
    role: str = "write"
    orgs: tuple[str, ...] = ()
    reads_all: bool = False

    @property
    def namespaces(self) -> tuple[str, ...]:
        return (self.name, *self.orgs)


@dataclass
class File:
    """One file of a commit. `oid` is git's name for it: of its bytes, or of the LFS pointer that stands for them."""

    sha256: str
    size: int
    oid: str
    lfs: bool = False

    @property
    def etag(self) -> str:
        """What names the content in the client's cache: SHA-256 for LFS, git's SHA-1 for everything else."""
        return self.sha256 if self.lfs else self.oid

    @property
    def lfs_json(self) -> dict:
        return {"oid": self.sha256, "size": self.size, "pointerSize": len(lfs_pointer(self.sha256, self.size))}


@dataclass
class Commit:
    parent: str | None
    title: str
    message: str
    date: float
    author: str
    files: dict[str, File]


@dataclass
class Discussion:
    """A discussion or, with `base` (the branch) and `start` (the commit it was cut from), a pull request."""

    num: int
    title: str
    author: str
    created: str
    status: str
    base: str | None = None
    start: str | None = None
    merge_commit: str | None = None
    events: list[dict] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.num}"


@dataclass
class Repo:
    key: str  # names it on disk, whatever its id becomes
    id: str
    type: str
    private: bool
    created: float
    gated: bool | str = False
    sdk: str | None = None
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    discussions: dict[str, Discussion] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    @property
    def path(self) -> str:
        """Where people find it: `org/name`, `datasets/org/name`, `spaces/org/name`."""
        return self.id if self.type == "model" else f"{self.type}s/{self.id}"

    def files(self, commit: str) -> dict[str, File]:
        return self.commits[commit].files

    def history(self, commit: str | None):
        """`(oid, Commit)` from this commit back to the first one."""
        while commit:
            yield commit, self.commits[commit]
            commit = self.commits[commit].parent

    @classmethod
    def from_json(cls, data: dict) -> Repo:
        commits = {
            oid: Commit(**{**commit, "files": {path: File(**file) for path, file in commit["files"].items()}})
            for oid, commit in data["commits"].items()
        }
        discussions = {num: Discussion(**discussion) for num, discussion in data["discussions"].items()}
        return cls(**{**data, "commits": commits, "discussions": discussions})


def git_oid(kind: str, data: bytes) -> str:
    """git's name of an object; SHA-1 because git says so, nothing here rests on its strength."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def tree_oids(files: dict[str, File]) -> dict[str, str]:
    """git's tree id of every folder; the root is `''`."""
    folders: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for path, file in files.items():
        parts = path.split("/")
        for depth, name in enumerate(parts[:-1]):
            folders.setdefault("/".join(parts[: depth + 1]), {})
            folders["/".join(parts[:depth])][name] = ("40000", "")
        folders["/".join(parts[:-1])][parts[-1]] = ("100644", file.oid)
    oids: dict[str, str] = {}
    # deepest first: a folder's id is made of its folders' ids
    for folder in sorted(folders, key=lambda f: -(f.count("/") + bool(f))):
        entries = folders[folder]
        data = b""
        # git sorts a folder as if its name ended in a slash
        for name in sorted(entries, key=lambda n: n + "/" if entries[n][0] == "40000" else n):
            mode, oid = entries[name]
            oid = oid or oids[f"{folder}/{name}" if folder else name]
            data += f"{mode} {name}\0".encode() + bytes.fromhex(oid)
        oids[folder] = git_oid("tree", data)
    return oids


def commit_oid(commit: Commit) -> str:
    who = f"{commit.author} <{commit.author}@localhost> {int(commit.date)} +0000"
    parent = f"parent {commit.parent}\n" if commit.parent else ""
    head = f"tree {tree_oids(commit.files)['']}\n{parent}author {who}\ncommitter {who}\n"
    return git_oid("commit", f"{head}\n{commit.title}\n\n{commit.message}".encode())


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def split_card(text: str) -> tuple[str | None, str]:
    """A README's YAML block (None where it has none) and the text below it."""
    block = re.match(r"\s*---[ \t]*[\r\n]+(.*?)[\r\n]+---[ \t]*(?:\r?\n|$)", text, re.DOTALL)
    return (block[1], text[block.end() :]) if block else (None, text)
