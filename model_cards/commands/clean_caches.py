"""Lists the caches of the commands and asks before it deletes them: never results, models, data or outputs.

    medpairs clean
    medpairs clean --yes

A cache can be recreated by the command that wrote it. `--yes` deletes without asking. Only files with known cache names
are deleted. Do not run this while a training reads a cache.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from model_cards.commands.console import Parser, command, local_folder
from model_cards.commands.owned_files import remove_files

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
DEPTH = 4  # folders below those given that are searched


@dataclass(frozen=True)
class Cache:
    """A folder of which some files are a cache.

    Attributes:
        kind: what it is, in a few words.
        files: the names of the files that a command wrote, relative to the folder.
        held: gives a lock that nobody else holds while the files are deleted; it raises OSError where somebody does.
    """

    kind: str
    folder: Path
    files: tuple[str, ...]
    held: Callable[[], AbstractContextManager] = nullcontext

    def size(self) -> int:
        return sum((self.folder / name).lstat().st_size for name in self.files)

    def delete(self) -> None:
        """Deletes the files, and the folder where that leaves it empty."""
        with self.held():
            remove_files(self.folder, self.files)
        if self.folder.is_dir() and not self.folder.is_symlink() and not any(self.folder.iterdir()):
            self.folder.rmdir()


Finder = Callable[[list[Path]], Iterable[Cache]]


def main(finders: list[Finder], argv: list[str] | None = None) -> int:
    """The command. Returns the exit status, see `model_cards/commands/console.py`.

    Args:
        finders: each gives the caches of one kind, of the folders that the user names.
    """
    return command(lambda words: clean(finders, words))(argv)


def clean(finders: list[Finder], argv: list[str] | None) -> int:
    parser = Parser(prog="medpairs clean", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folders",
        nargs="*",
        type=local_folder,
        metavar="DIR",
        help="folders to search for caches of builds and --image_cache, up to four levels deep (default: data); "
        "caches below HF_HOME are always included",
    )
    parser.add_argument("--yes", action="store_true", help="delete the caches without asking")
    options = parser.parse_args(argv)
    folders = options.folders or [Path("data")]
    caches = [cache for find in finders for cache in find(folders)]
    if not caches:
        print(f"No caches below {', '.join(map(str, folders))} or HF_HOME")
        return 0
    for cache in caches:
        print(f"{size_text(cache.size()):>10}  {cache.kind}  {cache.folder}")
    print(f"{size_text(sum(cache.size() for cache in caches)):>10}  in all; the next command makes again what it needs")
    if not (options.yes or is_confirmed()):
        print("Nothing was deleted; `medpairs clean --yes` deletes them")
        return 0
    return 1 if [cache for cache in caches if not is_deleted(cache)] else 0


def is_confirmed() -> bool:
    """Asks in a terminal; elsewhere the answer is no."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input("Delete them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def is_deleted(cache: Cache) -> bool:
    """Deletes a cache; says so where somebody uses it, or it cannot be deleted."""
    try:
        cache.delete()
    except OSError as error:
        print(f"error: {cache.folder}: {error.strerror or error}; it was not deleted", file=sys.stderr)
        return False
    print(f"Deleted {cache.folder}" + ("; other files in it stay" if cache.folder.exists() else ""))
    return True


def folders_below(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """The folder and those below it, as deep as caches are searched for; links and mounts are not entered."""
    if not folder.is_dir():
        return
    yield folder
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except PermissionError:
        return
    for path in inner if depth else ():
        yield from folders_below(path, depth - 1)


def size_text(size: float) -> str:
    """`1.5 GiB`"""
    for unit in UNITS:
        if size < 1024 or unit == UNITS[-1]:
            break
        size /= 1024
    return f"{size:.1f} {unit}" if unit != UNITS[0] else f"{size:.0f} {unit}"
