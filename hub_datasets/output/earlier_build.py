"""Distinguishes the files of an earlier build from other files in a folder, which `--overwrite` does not touch.

A build is recognized by its manifest. Where there is no manifest (a build to a remote address that was killed, a
dataset downloaded from the Hub), it is recognized by its report, and its files by their names.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from model_cards.commands.owned_files import Contents, held_in, some, user_places

MANIFEST = ".build.json"  # what the result was made from and the size of each of its files
REPORT, CARD = "report.json", "README.md"
FOLDERS = ("pairs", "chat", "regions", "assets", "llama_factory")
# Names that a build writes, or pushes.
WRITTEN = re.compile(
    r"README\.md|(report|\.build|croissant)\.json|(rejections|review|records|moved|chat_instructions)\.jsonl|splits\.txt"
    r"|eval\.yaml|llama_factory/dataset_info\.json|assets/[^/]+\.png|(pairs|chat|regions)/[^/]+\.parquet|"
    + "|".join(FOLDERS)
)
SHARD = re.compile(r"(pairs|chat|regions)/\w+-\d{5}-of-\d{5}\.parquet")


def check_output(output: str, cache: str) -> list[str]:
    """Returns the names in a folder that no build wrote, which replacing the build there does not touch.

    Args:
        output: path or address of a folder that is not empty.
        cache: path or address of the cache, which must not be inside it.

    Raises:
        BuildError: no build wrote to the folder, or replacing it would lose what no build wrote.
    """
    shown, local = storage.shown(output), not storage.is_remote(output)
    places = user_places() | ({} if storage.is_remote(cache) else {f"--cache_dir {cache}": Path(cache)})
    if local and (held := held_in(storage.local_path(output), places)):
        raise BuildError(f"--overwrite --output_dir {shown}: this folder is or contains {held}; name another folder")
    contents = contents_of(output)
    if contents is None:
        raise BuildError(
            f"--output_dir {shown} contains {some(output_names(output))}, and no build wrote to this folder; name "
            f"another one, for example {storage.join(shown, 'dataset')}"
        )
    if contents.occupied:
        raise BuildError(
            f"--output_dir {shown}: {some(contents.occupied)} is in the way: no build wrote it, or it was edited "
            "since; move it to another place, or name another folder"
        )
    if local and (mounted := [name for name in contents.other if (storage.local_path(output) / name).is_mount()]):
        raise BuildError(
            f"--output_dir {shown}: {some(mounted)} is a mount point, which cannot be moved to the new build; name "
            "another folder"
        )
    return contents.other


def own_files(folder: Path) -> list[str]:
    """Returns the names of the files that a build wrote to a local folder; those that identify it come last."""
    contents = contents_of(str(folder)) or Contents()
    return sorted(contents.own, key=lambda name: (name == MANIFEST, name == REPORT, name))


def contents_of(output: str) -> Contents | None:
    """Returns the content of an output folder by owner; None if no build wrote to it."""
    manifest = read_manifest(output)
    if manifest is None and not has_report(output):
        return None
    contents = Contents()
    for name in output_names(output):
        if not WRITTEN.fullmatch(name):
            contents.other.append(name)
        else:
            (contents.own if is_own(output, name, manifest) else contents.occupied).append(name)
    return contents


def output_names(output: str) -> list[str]:
    """Returns the names in a folder and, as `pairs/x.parquet`, in the folders of a build; links are not followed.

    At a remote address, the cache, which is inside the folder, is left out.
    """
    remote = storage.is_remote(output)
    found = []
    for name in storage.names_in(output):
        inner = storage.join(output, name)
        is_link = not remote and storage.local_path(inner).is_symlink()
        if name in FOLDERS and not is_link and storage.size(inner) is None:
            found += [f"{name}/{below}" for below in storage.names_in(inner)]
        elif not (remote and name == ".cache"):
            found.append(name)
    return found


def is_own(output: str, name: str, manifest: dict[str, Any] | None) -> bool:
    """Returns whether a build wrote a file with a name that builds use, and it was not edited since."""
    address = storage.join(output, *name.split("/"))
    if not storage.is_remote(output) and storage.local_path(address).is_symlink():
        return False
    if name in FOLDERS:
        return False
    if name == CARD:  # what a person wrote into it is in the next card, too
        return True
    if name == MANIFEST:  # of a build that its report shows, even where a disk has damaged it: people do not write it
        return True
    if manifest is None:
        return not name.endswith(".parquet") or SHARD.fullmatch(name) is not None
    if name not in manifest["files"]:
        return False
    # Images and tables that a disk has cut are still a build's to replace; people edit texts.
    return name.endswith((".parquet", ".png")) or storage.size(address) == manifest["files"][name]


def read_manifest(output: str) -> dict[str, Any] | None:
    """Returns the manifest of a build: `key`, and `files` with their sizes; None if there is none."""
    content = read_json_if_valid(storage.join(output, MANIFEST))
    known = isinstance(content, dict) and isinstance(content.get("key"), str) and isinstance(content.get("files"), dict)
    return content if known else None


def has_report(output: str) -> bool:
    """Returns whether `report.json` was written by a build."""
    content = read_json_if_valid(storage.join(output, REPORT))
    return isinstance(content, dict) and {"fingerprint", "sources", "splits"} <= content.keys()


def read_json_if_valid(address: str) -> Any:
    """Returns the content of a JSON file; None if it does not exist or is not valid JSON."""
    if storage.size(address) is None:
        return None
    try:
        return json.loads(storage.read(address))
    except ValueError:
        return None


def manifest_of(key: str, files: dict[str, int]) -> bytes:
    """Returns the content of MANIFEST: the key of the build, and the size of each file by its name."""
    return json.dumps({"key": key, "files": files}, indent=1).encode()
