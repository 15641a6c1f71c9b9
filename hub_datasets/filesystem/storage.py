"""Reads, writes and removes files on this machine or at an fsspec address (`s3://`, `hf://`), and replaces folders.

A folder on this machine is replaced atomically, so that a build that is killed leaves the previous one in place.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from hub_datasets.errors import BuildError, one_line, printable
from model_cards.commands.owned_files import remove_files

LOCAL = re.compile(r"(?:file|local)://")
REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:::|://)")
QUERY = re.compile(r"[?#].*", re.DOTALL)
HOST = re.compile(r"(?:[^:]*|\[[^\]]*\])(?::\d*)?")  # a name or an IPv6 address, and a port


def is_remote(address: str | os.PathLike) -> bool:
    """Returns whether an address is in a store that fsspec opens, and not a path of this machine."""
    text = str(address)
    return REMOTE.match(text) is not None and LOCAL.match(text) is None


def shown(address: str | os.PathLike) -> str:
    """Returns an address as messages, reports, cards and logs show it: on one line and without secrets.

    User name and password, query and fragment of a remote address are left out: a signed address has its signature
    there. Every text that a user sees or that is written to a file takes an address from this function alone, or from
    `shareable`, where a program opens what was written.
    """
    return printable(shareable(address))


def shareable(address: str | os.PathLike) -> str:
    """Returns an address without secrets, and otherwise as it is, so that it can still be opened."""
    text = str(address)
    return "::".join(map(without_secrets, text.split("::"))) if is_remote(text) else text


def without_secrets(address: str) -> str:
    """Returns one link of a chain of addresses without user information, query and fragment."""
    scheme, separator, rest = QUERY.sub("", address).partition("://")
    if not separator:
        return scheme
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    # A password may contain `/`, `?` or `#` by mistake: then what stands in the host's place is a part of it.
    return f"{scheme}://{host}{slash}{path}" if HOST.fullmatch(host) else f"{scheme}://..."


def has_secrets(address: str | os.PathLike) -> bool:
    """Returns whether `shown` leaves out a part of an address."""
    return shown(address) != printable(str(address))


def describe_error(error: Exception, *addresses: str | os.PathLike) -> str:
    """Returns the message of an error on one line; only its type if an address has secrets, which it might repeat."""
    return type(error).__name__ if any(map(has_secrets, addresses)) else one_line(error)


@contextmanager
def store_errors(address: str | os.PathLike) -> Iterator[None]:
    """Turns the errors of a store whose address has secrets into BuildErrors that do not show them."""
    try:
        yield
    except BuildError:
        raise
    except Exception as error:  # each store has its own types
        if not has_secrets(address):
            raise
        raise BuildError(f"{shown(address)}: the store answered with {type(error).__name__}") from None


def without_query(address: str) -> str:
    """Returns an address without query and fragment, so that it ends in the file's suffix."""
    return QUERY.sub("", address)


def local_path(address: str | os.PathLike) -> Path:
    """Returns the path of an address on this machine, without `file://`."""
    return Path(LOCAL.sub("", str(address), count=1))


@lru_cache(maxsize=4096)  # asked for every row, about few files
def absolute(address: str | os.PathLike) -> str:
    """Returns the address as another process can use it: a local path is made absolute."""
    return str(address) if is_remote(address) else str(local_path(address).absolute())


@lru_cache(maxsize=4096)  # asked for every row, and many rows are about one image
def join(address: str | os.PathLike, *names: str) -> str:
    """Returns the address of a file or folder below an address."""
    if is_remote(address):
        return "/".join([str(address).rstrip("/"), *names])
    return str(local_path(address).joinpath(*names))


def open_file(address: str, mode: str) -> IO[bytes]:
    """Opens a file to read (`rb`) or write (`wb`); the folder of a written file is created."""
    if not is_remote(address):
        path = local_path(address)
        if mode == "wb":
            path.parent.mkdir(parents=True, exist_ok=True)
        return path.open(mode)
    import fsspec

    with store_errors(address):
        return fsspec.open(address, mode).open()


def read_range(address: str, offset: int, length: int) -> bytes:
    """Returns a part of a file."""
    if not is_remote(address):
        with local_path(address).open("rb") as file:
            file.seek(offset)
            return file.read(length)
    filesystem, path = filesystem_of(address)
    with store_errors(address):
        return filesystem.cat_file(path, start=offset, end=offset + length)


def filesystem_of(address: str) -> tuple:
    """Returns (fsspec file system, path in it) of an address. Raises BuildError if fsspec cannot open it."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(str(address))
    except (ImportError, ValueError) as error:
        raise BuildError(f"{shown(address)}: cannot be opened: {describe_error(error, address)}") from None


def read(address: str) -> bytes:
    """Returns the content of a file."""
    with store_errors(address), open_file(address, "rb") as file:
        return file.read()


def size(address: str) -> int | None:
    """Returns the size of a file in bytes; None if it does not exist."""
    if not is_remote(address):
        path = local_path(address)
        return path.stat().st_size if path.is_file() else None
    filesystem, path = filesystem_of(address)
    with store_errors(address):
        return filesystem.size(path) if filesystem.isfile(path) else None


def exists(address: str) -> bool:
    if not is_remote(address):
        return local_path(address).exists()
    filesystem, path = filesystem_of(address)
    with store_errors(address):
        return filesystem.exists(path)


def names_in(address: str) -> list[str]:
    """Returns the sorted names of the files and folders directly below an address; empty if it does not exist."""
    if not is_remote(address):
        path = local_path(address)
        return sorted(child.name for child in path.iterdir()) if path.is_dir() else []
    filesystem, path = filesystem_of(address)
    with store_errors(address):
        if not filesystem.exists(path):
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in filesystem.ls(path, detail=False))


def sizes_in(address: str) -> dict[str, int]:
    """Returns the size in bytes of each file directly below an address, by name; empty if it does not exist."""
    if not is_remote(address):
        path = local_path(address)
        files = (child for child in path.iterdir() if child.is_file()) if path.is_dir() else ()
        return {file.name: file.stat().st_size for file in sorted(files)}
    filesystem, path = filesystem_of(address)
    with store_errors(address):
        if not filesystem.exists(path):
            return {}
        found = (entry for entry in filesystem.ls(path, detail=True) if entry["type"] == "file")
        return {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in found}


def remove(address: str) -> None:
    """Removes a file, or a folder with its content; does nothing if it does not exist."""
    if not is_remote(address):
        path = local_path(address)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        return
    filesystem, path = filesystem_of(address)
    with store_errors(address):
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)
            filesystem.invalidate_cache()


def upload(folder: Path, address: str, last: tuple[str, ...] = ()) -> None:
    """Uploads a folder's files to a remote address; those named in `last` after all others, in that order."""
    filesystem, root = filesystem_of(address)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with store_errors(address):
        for name in sorted(names, key=lambda name: last.index(name) if name in last else -1):
            filesystem.makedirs(f"{root}/{name}".rsplit("/", 1)[0], exist_ok=True)
            filesystem.put_file(str(folder / name), f"{root}/{name}")


@contextmanager
def replaced_folder(target: Path, own_files: Callable[[Path], Sequence[str]]) -> Iterator[Path]:
    """Gives a hidden folder beside `target` to write to, and moves it to `target` if no error occurs.

    A build that is killed leaves `target` unchanged; its hidden folder is removed by the next build.

    Args:
        own_files: returns the files of a folder that are deleted with it. All other files in `target` are kept.
    """
    target = target.resolve()  # so that it has a name, and a link stays a link
    target.parent.mkdir(parents=True, exist_ok=True)
    work, old = hidden_beside(target, "building"), hidden_beside(target, "old")
    if old.exists() and not target.exists():  # killed between the two renames below
        old.rename(target)
    shutil.rmtree(work, ignore_errors=True)
    discard(old, target, own_files)
    work.mkdir()
    try:
        yield work
        if target.exists():
            target.rename(old)
        work.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
        discard(old, target, own_files)


def hidden_beside(target: Path, purpose: str) -> Path:
    """Returns a hidden folder beside another, with a name that only these commands use, because they delete it."""
    return target.with_name(f".{target.name}.medpairs-{purpose}")


def discard(old: Path, target: Path, own_files: Callable[[Path], Sequence[str]]) -> None:
    """Deletes a folder that was replaced by `target`, after moving the files that must be kept to `target`.

    A call that is killed can be repeated. Files whose names exist in `target` stay in `old`.
    """
    if not old.is_dir():
        return
    own = list(own_files(old))
    ours = {*own, *(parent.as_posix() for name in own for parent in PurePosixPath(name).parents)}

    def move(folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            name = path.relative_to(old).as_posix()
            there = target / name
            is_folder = path.is_dir() and not path.is_symlink()
            if is_folder and (name in ours or there.is_dir()):
                move(path)
            elif name not in ours and not os.path.lexists(there):
                there.parent.mkdir(parents=True, exist_ok=True)
                path.rename(there)

    move(old)
    remove_files(old, own)
    for folder in sorted((path for path in old.rglob("*") if path.is_dir()), reverse=True):
        if not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
    if any(old.iterdir()):
        print(f"{target}: files whose names the new build uses are kept in {old}", flush=True)
    else:
        old.rmdir()


@contextmanager
def scratch_folder(cache: str) -> Iterator[Path]:
    """Gives an empty folder on this machine and removes it afterwards; that of a killed build is removed first.

    It is in the cache, which has enough space for a build; `/tmp` may be in memory.
    """
    if is_remote(cache):
        with tempfile.TemporaryDirectory(prefix="medpairs-") as folder:
            yield Path(folder)
        return
    folder = local_path(cache) / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def file_lock(folder: str, message: str) -> Iterator[None]:
    """Holds a lock in a folder of this machine; a remote address has no lock.

    The lock is released when its process ends, even if it is killed. Folders that were created for the lock alone are
    removed afterwards.

    Raises:
        BuildError: with the message, if another process holds the lock.
    """
    if is_remote(folder):
        yield
        return
    from filelock import FileLock, Timeout

    path = local_path(folder) / "lock"
    made = [place for place in path.parents if not place.exists()]
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
        if not path.exists():  # its holder removed it between our opening and locking it: nobody else sees our lock
            lock.release()
            lock.acquire()
    except Timeout:
        raise BuildError(message) from None
    try:
        yield
    finally:
        with suppress(OSError):  # another build has just taken one of the folders, or this is Windows
            if [*path.parent.iterdir()] == [path]:
                path.unlink()
                for place in made:
                    place.rmdir()
        lock.release()
