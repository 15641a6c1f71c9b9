"""Where file contents lie: one file a content, named by its SHA-256, complete or not there at all."""

from __future__ import annotations

import hashlib
import re
import uuid
from pathlib import Path

from .messages import HubError


def write_atomically(path: Path, data: bytes, scratch: Path) -> None:
    """A reader, and a server that starts after this one was killed, finds the old content or the new one."""
    part = scratch / uuid.uuid4().hex
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class Upload:
    """One file on its way in: hashed while it is written, gone when the `with` block ends unless it was kept."""

    def __init__(self, blobs: BlobFolder):
        self._blobs, self._digest = blobs, hashlib.sha256()
        self._path = blobs.scratch / uuid.uuid4().hex

    def __enter__(self) -> Upload:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_exception) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, part: bytes) -> None:
        self._digest.update(part)
        self._file.write(part)

    def keep(self, sha256: str) -> None:
        """Make it a blob; HubError 400 where its content is not what `sha256` names."""
        if self._digest.hexdigest() != sha256:
            raise HubError(400, f"sha256 mismatch: got {self._digest.hexdigest()}, expected {sha256}")
        self._file.close()
        self._path.replace(self._blobs.path(sha256))


class BlobFolder:
    def __init__(self, root: Path):
        self.folder, self.scratch = root / "blobs", root / "incoming"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.scratch.mkdir(exist_ok=True)
        for left_behind in self.scratch.iterdir():  # by a server that was killed during an upload
            left_behind.unlink()

    def path(self, sha256: str) -> Path:
        """The only place where a name that a client sent becomes a path on disk."""
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise HubError(400, f"{sha256!r} is not a SHA-256")
        return self.folder / sha256

    def upload(self) -> Upload:
        return Upload(self)

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.path(sha256).exists():
            write_atomically(self.path(sha256), data, self.scratch)
        return sha256

    def read(self, sha256: str) -> bytes:
        return self.path(sha256).read_bytes()
