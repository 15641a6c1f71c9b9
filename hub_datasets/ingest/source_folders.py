"""Checks the folders that each source is read from, and gives the folders of a source with several a label each.

Each folder must exist, must not be empty, and must neither be given twice nor be inside another folder of its
source.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem import hub_address, storage
from hub_datasets.filesystem.member_names import is_archive
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.sources import SOURCES
from hub_datasets.sources.base import Source


def source_folders(arguments: argparse.Namespace) -> Iterator[tuple[Source, Folder]]:
    """Yields each requested source with every folder of its flag, sorted by label: flags have no order.

    Raises BuildError if a folder is missing or empty, is given twice, or is inside another folder of its source.
    """
    for source in SOURCES:
        addresses = [normalize_address(address) for address in getattr(arguments, source.flag.removeprefix("--")) or ()]
        for address in addresses:
            check_is_there(source.flag, address)
        folders = [
            Folder(pinned_with_note(source.flag, address), follow_links=arguments.follow_links) for address in addresses
        ]
        refuse_overlaps(source.flag, folders)
        if len(folders) > 1:
            for folder, label in zip(folders, labels(addresses, source.flag), strict=True):
                folder.label = label
        yield from ((source, folder) for folder in sorted(folders, key=lambda folder: folder.label))


def pinned_with_note(flag: str, address: str) -> str:
    """Returns an address of the Hub with its commit, which is printed; any other address unchanged."""
    pinned = hub_address.pinned(address)
    if pinned != address:
        print(f"{flag} {storage.shown(address)}: commit {hub_address.split_commit(pinned)[1]}", flush=True)
    return pinned


def check_is_there(flag: str, address: str) -> None:
    """Raises BuildError if a local path is neither a folder with content nor an archive."""
    if storage.is_remote(address):
        return
    path, place = storage.local_path(address), f"{flag} {storage.shown(address)}"
    if not path.exists():
        raise BuildError(f"{place}: no such folder{hub_address.advice(address)}")
    if not (path.is_dir() or is_archive(path.name)):
        raise BuildError(f"{place}: neither a folder nor an archive (.zip, .tar, .tar.gz, .tgz)")
    if path.is_dir() and not any(path.iterdir()):
        raise BuildError(f"{place}: the folder is empty")


def refuse_overlaps(flag: str, folders: Sequence[Folder]) -> None:
    """Raises BuildError if two folders of one source are the same, or one is inside the other."""
    for one, other in combinations(folders, 2):
        shown = [f"{flag} {folder.named()}" for folder in (one, other)]
        if one.holds(other) and other.holds(one):
            same = "is given twice" if shown[0] == shown[1] else f"and {shown[1]} are the same folder"
            raise BuildError(f"{shown[0]} {same}; give it once")
        if one.holds(other) or other.holds(one):
            outer, inner = shown if one.holds(other) else reversed(shown)
            raise BuildError(f"{inner} is inside {outer}, which is read with all its subfolders; give one of the two")


def labels(addresses: Sequence[str], flag: str) -> list[str]:
    """Returns a label for each address: the shortest part of its path that distinguishes it from the others.

    `in/january` and `in/february` are `january` and `february`; `a/2024/reports` and `b/2024/reports` are `a` and `b`.
    If no single part distinguishes all of them, the last parts are joined: `a-x`, `a-y` and `b-x`.
    """
    paths = [parts(address) for address in addresses]
    for depth in range(1, max(map(len, paths)) + 1):
        single = [path[-depth] if depth <= len(path) else "" for path in paths]
        joined = ["-".join(path[-depth:]) for path in paths]
        for names in (single, joined):
            if all(names) and len(set(names)) == len(names):
                return names
    shown = " and ".join(map(storage.shown, addresses))
    raise BuildError(f"{flag} {shown}: these folders have the same name; rename one, or read it by another address")


def parts(address: str) -> list[str]:
    """Returns the parts of an address's path, as `storage.shown` shows it."""
    if storage.is_remote(address):
        names = storage.shown(address).partition("://")[2].split("/")
    else:
        names = Path(os.path.abspath(storage.local_path(address))).parts[1:]  # noqa: PTH100 (a link keeps its own name)
    return [printable(name) for name in names if name]


def normalize_address(address: str) -> str:
    """Returns an address with `~` expanded and without a trailing slash."""
    if storage.is_remote(address):
        return address
    return os.path.expanduser(address).rstrip("/") or "/"  # noqa: PTH111 (a path may be empty or a file:// address)
