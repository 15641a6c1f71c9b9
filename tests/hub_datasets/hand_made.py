"""Creates ingested sources, catalogs and image files, from hand-made records, for tests of the later steps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import xxhash

from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.images.hashing import NO_STRUCTURE
from hub_datasets.ingest.catalog import Catalog
from hub_datasets.ingest.ingest import CATALOG, Stage
from hub_datasets.records import Flag, Ignored, RawRecord, Regions, Rejection
from hub_datasets.sources import SOURCES
from hub_datasets.sources.base import Source
from hub_datasets.splits.assignment import Decisions
from hub_datasets.splits.groups import Fractions
from hub_datasets.splits.scans import find_scans
from hub_datasets.splits.ungrounded import settle_targets
from hub_datasets.texts.validation import TextSettings

BY_NAME = {source.name: source for source in SOURCES}


def report(number: int, image: str = "", **fields: Any) -> RawRecord:
    """A report about an image of its own, or the one that is named."""
    record = RawRecord("medical_reports", f"line {number}", image or f"images/{number}.png", "report", "en")
    record.text = f"Report {number}."
    record.metadata = {"n": number, "view": ""}
    return replace(record, **fields)


def question(number: int, image: int, language: str = "en", official_split: str = "train", **fields: Any) -> RawRecord:
    """A question about an image that may have several."""
    record = RawRecord("slake", f"row {number}", f"imgs/{image}/source.jpg", "Lung", language)
    record.question, record.answer, record.official_split = f"Question {number}?", "42", official_split
    record.groups = (f"image:{image}",)
    record.metadata = {"modality": "CT", "location": "Lung", "qid": number} | fields
    record.modality, record.body_part = "CT", "lungs"
    return record


def source_of(name: str, **changes: Any) -> Source:
    """A source of the project, or one of that name which is like that of reports."""
    plain = {"tables": False} if "read" in changes else {}  # `read` takes the folder alone
    return replace(BY_NAME.get(name, BY_NAME["medical_reports"]), name=name, **(plain | changes))


def content_of(name: str) -> bytes:
    """What the image of this name consists of where a test does not say."""
    return f"the bytes of {name}".encode(errors="surrogateescape") * 3


def make_stage(
    folder: Path,
    found: Iterable[RawRecord | Rejection | Ignored | Regions],
    images: Mapping[str, Mapping[str, Any]] | None = None,
    source: Source | None = None,
    flags: Mapping[str, list[Flag]] | None = None,
    synthetic: bool = False,
    read_from: str = "",
    label: str = "",
) -> Stage:
    """A source that was read.

    Args:
        folder: where the stage will lie.
        images: for some images by name what a worker would have found out: columns of the catalog (`code` and
            `message` of one that cannot be used), or `data`, its bytes. All others have bytes of their own.
        flags: of records, by item.
        read_from: the address of the source's folder.
        label: what tells that folder from the others of its source.
    """
    folder.mkdir(parents=True)
    source = source or source_of("medical_reports")
    catalog = Catalog(folder / CATALOG, "create")
    for one in found:
        if isinstance(one, Ignored):
            catalog.ignore(one)
        elif isinstance(one, Regions):
            catalog.add_regions(one)
        elif isinstance(one, Rejection):
            catalog.reject(one.item, one.code, one.message)
        else:
            catalog.add(one, (flags or {}).get(one.item, ()))
    rows, offset = [], 0
    with (folder / "images-000000.bin").open("wb") as file:
        for name in catalog.image_names():
            known = dict((images or {}).get(name, {}))
            data = known.pop("data", content_of(name))
            if "code" in known:
                rows.append({"name": name} | known)
                continue
            file.write(data)
            digest = xxhash.xxh3_128_hexdigest(data)
            place = {"file": "images-000000.bin", "offset": offset, "length": len(data), "content": digest}
            size = {"format": "PNG", "width": 12, "height": 10, "pixels": digest, "perceptual": NO_STRUCTURE.hex()}
            nothing = {"groups": "[]", "window": "", "stripped": "[]", "flags": "[]"}
            lists = {key: json.dumps(known[key]) for key in ("groups", "stripped") if key in known}
            if "flags" in known:
                lists["flags"] = json.dumps([asdict(flag) for flag in known["flags"]])
            rows.append({"name": name} | place | size | nothing | known | lists)
            offset += len(data)
    catalog.add_images(rows)
    catalog.finish()
    raw = Folder(read_from or str(folder.with_name("raw")))
    raw.label = label
    return Stage(source, raw, str(folder), "key", folder / CATALOG, reused=False, synthetic=synthetic)


def settled(folder: Path, *stages: Stage, turns: str = "single", choices: Mapping[str, str] | None = None) -> Decisions:
    """The tables of a build after `settle`."""
    folder.mkdir(parents=True, exist_ok=True)
    decisions = Decisions(folder / "decisions.sqlite", list(stages), turns)
    decisions.settle(choices or {})
    return decisions


def decide(
    folder: Path,
    *stages: Stage,
    turns: str = "single",
    fractions: Fractions = Fractions(),  # noqa: B008 (it is frozen)
    split_by: str = "group",
    memory: Mapping[str, str] | None = None,
    distance: int = 15,
    ungrounded: str = "mark",
) -> tuple[Decisions, dict[str, Any]]:
    """The tables of a build as the rows are made from them, and what `assign_splits` says."""
    decisions = settled(folder, *stages, turns=turns)
    settle_targets(decisions, ungrounded, TextSettings())
    decisions.find_near_duplicates(distance)
    find_scans(decisions)
    decisions.make_groups()
    return decisions, decisions.assign_splits(fractions, split_by, memory or {})
