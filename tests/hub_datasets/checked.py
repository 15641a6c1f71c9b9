"""Runs the steps of a build one by one in this process, for tests that look between them."""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_datasets.build import build
from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.ingest.catalog import Catalog
from hub_datasets.ingest.executors import InProcess
from hub_datasets.ingest.ingest import Stage, ingest_folder, stage_keys
from hub_datasets.options import BuildOptions, argument_parser, read_options
from hub_datasets.privacy.key_file import COMMENT, KEY_BYTES, KEY_SUFFIX, NAMES_SUFFIX, Hasher, beside
from hub_datasets.privacy.publication import Publication, SourceColumns
from hub_datasets.records import Ignored, RawRecord, Rejection
from hub_datasets.sources import SOURCES
from hub_datasets.splits.assignment import Decisions
from hub_datasets.splits.scans import find_scans
from hub_datasets.synthetic.marker import is_synthetic
from tests.hub_datasets.layouts import collect_rejections


@dataclass(frozen=True)
class Checked:
    """What became of everything that one source yielded.

    Attributes:
        read: the number of its records, those that were rejected among them.
        accepted: in the order in which the source gave them.
        images: for each accepted record its image's columns of the catalog.
        published: for each accepted record the bytes of its image that a build writes.
    """

    read: int
    accepted: list[RawRecord]
    images: list[dict[str, Any]]
    published: list[bytes]
    rejections: list[Rejection]
    ignored: list[Ignored]


Folders = Mapping[str, str | Path | list[Path]]  # by flag, one or several


def words_of(folders: Folders) -> list[str | Path]:
    """The folders as the command line has them."""
    several = ((flag, found if isinstance(found, list) else [found]) for flag, found in folders.items())
    return [word for flag, found in several for folder in found for word in (flag, folder)]


KEY = f"{COMMENT}{bytes(range(KEY_BYTES)).hex()}\n"


def plant_key(folders: Folders, output: str | Path) -> list[str]:
    """Puts the same key beside every output of private data, so that two builds can be compared byte for byte.

    Returns the flags that name it for an output at a remote address.
    """
    given = (folders[flag] for flag in ("--reports_dir", "--images_dir") if flag in folders)
    private = [folder for some in given for folder in (some if isinstance(some, list) else [some])]
    if not private or all(is_synthetic(Folder(str(folder))) for folder in private):
        return []
    remote = storage.is_remote(str(output))
    name = re.sub(r"\W+", "-", str(output))
    path = Path(REMOTE_KEYS.name) / f"{name}.key" if remote else beside(str(output), KEY_SUFFIX)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(KEY, encoding="ascii")
        path.chmod(0o600)
    return ["--key_file", str(path)] if remote else []


def remove_planted_key(output: str | Path) -> None:
    """Removes the key of an output that was not written, as a build does: it has no map of names."""
    if not storage.is_remote(str(output)) and not beside(str(output), NAMES_SUFFIX).exists():
        path = beside(str(output), KEY_SUFFIX)
        if path.is_file() and path.read_text("ascii") == KEY:
            path.unlink()


REMOTE_KEYS = tempfile.TemporaryDirectory(prefix="medpairs-keys-")  # of outputs at remote addresses
# What becomes of IDs and names of one's own reports with that key.
HASHED = Publication(
    Hasher(bytes(range(KEY_BYTES))), {name: SourceColumns({}) for name in ("medical_reports", "labeled_images")}
)


def real_names(output: str | Path) -> dict[str, str]:
    """The published name of each image of private data and the path below the folders that were given."""
    path = beside(str(output), NAMES_SUFFIX)
    lines = path.read_text("utf-8").splitlines() if path.exists() else ()
    return {
        name["image_path"]: f"{name['image_path'].partition('/')[0]}/{name['real_image']}"
        for name in map(json.loads, lines)
    }


def options_for(folders: Folders, output: str | Path, *flags: str | Path) -> BuildOptions:
    """The options of `build.py` with the folders, in one process unless the flags say otherwise."""
    key = [] if "--key_file" in flags else plant_key(folders, output)
    words = [
        *words_of(folders),
        "--output_dir",
        output,
        *([] if "--num_proc" in flags else ["--num_proc", "1"]),
        *key,
        *flags,
    ]
    return read_options(argument_parser().parse_args([str(word) for word in words]))


def build_here(folders: Folders, output: str | Path, *flags: str | Path) -> dict[str, Any]:
    """A whole build in this process; returns the report. Raises BuildError."""
    try:
        return build(options_for(folders, output, *flags))
    finally:
        remove_planted_key(output)


def staged(options: BuildOptions, work: Path) -> list[Stage]:
    """The sources, read."""
    work.mkdir(parents=True, exist_ok=True)
    keys = stage_keys(options.folders, options.images, options.texts)
    settings = (options.images, options.texts, InProcess(), options.cache, work)
    folders = zip(options.folders, keys, strict=True)
    return [ingest_folder(source, folder, key, *settings) for (source, folder), key in folders]


def decided(options: BuildOptions, work: Path, memory: Mapping[str, str] | None = None) -> tuple[Decisions, dict]:
    """What becomes of every record, and what `assign_splits` says, with everything before the rows are made."""
    decisions = Decisions(work / "decisions.sqlite", staged(options, work), options.chat_turns)
    decisions.settle(options.choices)
    decisions.find_near_duplicates(options.near_distance)
    find_scans(decisions)
    decisions.make_groups()
    assigned = decisions.assign_splits(options.fractions, options.split_by, memory or {})
    return decisions, assigned


def check_source(name: str, folder: Path, work: Path, *flags: str) -> Checked:
    """Reads one source and checks every record. Raises BuildError where the folder is not that source at all."""
    (source,) = (source for source in SOURCES if source.name == name)
    options = options_for({source.flag: folder}, work / "out", *flags)
    (stage,) = stages = staged(options, work)
    decisions = Decisions(work / "decisions.sqlite", stages, options.chat_turns)
    try:
        decisions.settle(options.choices)
    except BuildError as error:  # raised when all is decided
        if not str(error).startswith("no row was accepted"):
            raise
    decisions.make_groups()
    decisions.assign_splits(options.fractions, options.split_by, {})
    accepted = [one for (one,) in decisions.accepted(0)]
    rejections = list(decisions.rejections(0))
    decisions.close()
    catalog = Catalog(stage.catalog)
    read, ignored = catalog.count_read(), [Ignored(name, *one) for one in catalog.ignored()]
    catalog.close()
    images = [one.image for one in accepted]
    published = [published_bytes(stage, one.path, one.image) for one in accepted]
    return Checked(read, [one.record for one in accepted], images, published, rejections, ignored)


def published_bytes(stage: Stage, path: str, image: Mapping[str, Any]) -> bytes:
    """The bytes of an image, cut from the stage's file or the source's without the project's own reader."""
    if image["file"]:
        content = (Path(stage.address) / image["file"]).read_bytes()
        return content[image["offset"] : image["offset"] + image["length"]]
    content, start, parts = (Path(stage.folder.address) / path).read_bytes(), 0, []
    for begin, end, new in json.loads(image["edits"] or "[]"):
        parts += [content[start:begin], base64.b64decode(new)]
        start = end
    return b"".join([*parts, content[start:]])


def fates(checked: Checked) -> dict[str, str]:
    """What became of each record, by item: a code, or `accepted`. Line 10 comes after line 9."""
    found = {record.item: "accepted" for record in checked.accepted} | collect_rejections(checked.rejections)
    assert len(found) == checked.read
    return dict(sorted(found.items(), key=lambda pair: re.sub(r"\d+", lambda digits: digits[0].zfill(9), pair[0])))
