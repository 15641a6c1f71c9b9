"""Makes and reads the secret key by which identifiers are hashed, a file beside the dataset that is never published.

A hash without a secret hides nothing: all numbers of eight digits are hashed in seconds. HMAC-SHA256 with 256 random
bits cannot be computed without the key, and gives the same hash in every build with that key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage

if TYPE_CHECKING:
    from hub_datasets.filesystem.source_folder import Folder

KEY_BYTES = 32
HASH_DIGITS = 16  # hexadecimal; 64 bits, as of the keys of groups
COMMENT = "# Secret key of the hashes in a dataset of medpairs. Keep it, and share it with nobody.\n"
KEY_SUFFIX, NAMES_SUFFIX = ".key", ".names.jsonl"


class Hasher:
    """Hashes identifiers with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def hash(self, kind: str, value: str) -> str:
        """Returns 16 hexadecimal digits; equal values of different kinds have different hashes."""
        message = f"{kind}\0{value}".encode(errors="surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:HASH_DIGITS]

    @property
    def fingerprint(self) -> str:
        """Returns what tells two keys apart and nothing about them."""
        return self.hash("key", "")


def key_path(output: str, given: str = "") -> Path:
    """Returns the file of the key: the one that is given, or `OUT.key` beside the output.

    Raises BuildError for an output at a remote address where no file is given.
    """
    if given:
        return storage.local_path(given)
    if storage.is_remote(output):
        raise BuildError(
            f"--output_dir {storage.shown(output)} requires --key_file FILE on this machine: the names and IDs of your "
            "own data are published as keyed hashes, and the key must not be published with them"
        )
    return beside(output, KEY_SUFFIX)


def names_path(output: str, given: str = "") -> Path:
    """Returns the file that maps hashes to names: beside the output, or beside the key where the output is remote."""
    if storage.is_remote(output):
        path = key_path(output, given)
        return path.with_name(path.name.removesuffix(KEY_SUFFIX) + NAMES_SUFFIX)
    return beside(output, NAMES_SUFFIX)


def beside(output: str, suffix: str) -> Path:
    path = storage.local_path(output).absolute()
    path = path.resolve() if path.name in ("", "..") else path
    return path.with_name(path.name + suffix)


def read_key(path: Path) -> bytes:
    """Returns the key in a file, and warns if other users may read it. Raises BuildError if it holds none."""
    try:
        lines = path.read_text("ascii").splitlines()
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise BuildError(f"{path}: cannot be read as a key file ({reason}); name the file that a build made") from None
    digits = "".join(line.strip() for line in lines if not line.startswith("#"))
    if len(digits) != 2 * KEY_BYTES or not set(digits) <= set("0123456789abcdef"):
        raise BuildError(
            f"{path}: not a key file; name the file that a build made, or move this one away to get a new key"
        )
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        print(f"warning: {path} can be read by other users; run: chmod 600 {path}", file=sys.stderr)
    return bytes.fromhex(digits)


def make_key(path: Path) -> bytes:
    """Writes a new key to a file that only its owner may read, and returns it. Raises BuildError if it exists."""
    key = os.urandom(KEY_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as opened:
            opened.write(f"{COMMENT}{key.hex()}\n")
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        raise BuildError(
            f"{path}: the key cannot be written ({error.strerror}); name another file by --key_file"
        ) from None
    return key


def check_key_place(output: str, given: str, folders: Iterable[tuple[str, Folder]]) -> None:
    """Raises BuildError for a key that would be published or read as data, and for a file that holds none.

    Args:
        folders: those of the sources, each with its flag.
    """
    path = key_path(output, given).absolute()
    places = [(f"--output_dir {storage.shown(output)}", output)]
    places += [(f"{flag} {folder.named()}", folder.address) for flag, folder in folders]
    for name, place in places:
        if not storage.is_remote(place) and path.resolve().is_relative_to(storage.local_path(place).resolve()):
            raise BuildError(f"the key file {path} is inside {name}; name a file outside of it by --key_file")
    if path.is_dir():
        raise BuildError(f"--key_file {path} is a folder; name a file")
    if path.exists():
        read_key(path)  # its errors are raised before the sources are read
