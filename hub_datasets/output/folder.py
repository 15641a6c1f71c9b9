"""Writes the output folder of a build, atomically on this machine, and with the manifest last at a remote address."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.ingest.executors import InProcess, LazyEngine
from hub_datasets.ingest.progress import counted
from hub_datasets.output.earlier_build import CARD, MANIFEST, SHARD, manifest_of, own_files, read_manifest
from hub_datasets.schema import CONFIGS, features_of

if TYPE_CHECKING:  # a build that has nothing to do does not import `datasets`
    from datasets import DatasetInfo

    from hub_datasets.ingest.ingest import Stage
    from hub_datasets.output.parquet import Shard
    from hub_datasets.output.rows import RowFile

KEPT = ".README.md.earlier"  # the card while what is behind an address is replaced
LAST = (CARD, MANIFEST)
DATASET_NAME = "med_pairs"
WORTH_A_TASK = 64_000_000  # bytes; less is written faster than another process starts


@dataclass(slots=True)
class Output:
    """The place that a build writes to.

    Attributes:
        address: where the Parquet files go.
        local: folder on this machine for everything else; the same folder if `address` is local.
        parquet: names of the Parquet files that were written.
        classes: the names of the classes in the column `label`.
        infos: the DatasetInfo of each config.
        card: the card of the build that is replaced, which may contain a person's edits; None if there is none.
        report: the text of that build's report.
    """

    address: str
    local: Path
    parquet: set[str] = field(default_factory=set)
    classes: list[str] = field(default_factory=list)
    infos: dict[str, Any] = field(default_factory=dict)
    card: str | None = None
    report: str | None = None

    def write_shards(
        self, files: dict[str, dict[str, RowFile]], stages: Sequence[Stage], engine: LazyEngine, least: int
    ) -> dict[str, dict[str, int]]:
        """Writes the Parquet files of all configs; returns their number by config and split."""
        from hub_datasets.output.parquet import plan_shards, write_shard

        folders = [
            {
                "stage": stage.address,
                "source": storage.absolute(stage.folder.address),
                "follow_links": stage.folder.follow_links,
            }
            for stage in stages
        ]
        shards: dict[str, dict[str, list[Shard]]] = {}
        for config, parts in files.items():
            schema = features_of(config, self.classes).arrow_schema
            shards[config] = {
                split: plan_shards(config, split, schema, file, folders, self.address, least)
                for split, file in parts.items()
            }
        size = sum(sum(file.sizes) + sum(file.lengths) for parts in files.values() for file in parts.values())
        chosen = engine if size > WORTH_A_TASK or engine.is_remote else InProcess()
        tasks = [shard for parts in shards.values() for part in parts.values() for shard in part]
        results = counted(chosen.map(write_shard, tasks), "Parquet files", len(tasks))
        written = dict(zip((task["target"] for task in tasks), results, strict=True))
        self.parquet |= {"/".join(task["target"].split("/")[-2:]) for task in tasks}
        for config, parts in shards.items():
            self.infos[config] = dataset_info(config, self.classes, parts, written)
        return {config: {split: len(part) for split, part in parts.items()} for config, parts in shards.items()}

    def bytes(self) -> dict[str, dict[str, int]]:
        """Returns the bytes of each config's Parquet files, and of its rows as `load_dataset` unfolds them."""
        return {
            config: {"files": info.download_size, "unfolded": info.dataset_size} for config, info in self.infos.items()
        }

    def draw_card(self, report: dict[str, Any], samples: list) -> int:
        """Draws the card's pictures, from those parts of the report that are known before the shards are written.

        Returns the number of categories whose names could not be drawn.
        """
        from model_cards.dataset_card import write_pictures

        return write_pictures(self.local, report, samples)

    def write_card(self, report: dict[str, Any], samples: list) -> None:
        """Writes the report and the card, which makes the folder a dataset repository."""
        from model_cards.dataset_card import write_dataset_card
        from model_cards.results import write_json

        write_json(self.local / "report.json", report)
        try:
            notes = write_dataset_card(self.local, report, self.infos, samples, self.card, self.report)
        except ValueError as error:  # the card that is there is damaged
            raise BuildError(str(error)) from None
        for note in notes:
            print(note)


def dataset_info(
    config: str, classes: list[str], shards: dict[str, list[Shard]], written: dict[str, dict[str, int]]
) -> DatasetInfo:
    """Returns the columns of a config, and the rows and bytes of each of its splits, as `load_dataset` checks them."""
    from datasets import DatasetInfo, SplitDict, SplitInfo

    info = DatasetInfo(features=features_of(config, classes), config_name=config)
    info.splits = SplitDict(dataset_name=DATASET_NAME)
    for split, part in shards.items():
        rows, size = (sum(written[shard["target"]][what] for shard in part) for what in ("rows", "memory"))
        info.splits.add(SplitInfo(split, num_bytes=size, num_examples=rows, dataset_name=DATASET_NAME))
    info.download_size = sum(written[shard["target"]]["bytes"] for part in shards.values() for shard in part)
    info.dataset_size = sum(part.num_bytes for part in info.splits.values())
    return info


def is_empty(output: str) -> bool:
    """Returns whether a folder has no content, apart from the cache at a remote address."""
    return not [name for name in storage.names_in(output) if not (storage.is_remote(output) and name == ".cache")]


def is_current(output: str, key: str) -> bool:
    """Returns whether the folder contains the complete result of a build with this key."""
    manifest = read_manifest(output)
    if manifest is None:
        return False
    files = manifest["files"]
    if CARD in files and storage.exists(storage.join(output, CARD)):
        del files[CARD]  # a person may write in it
    return manifest["key"] == key and files == sizes(output, files)


def text_in(output: str, name: str, errors: str = "strict") -> str | None:
    """Returns the text of a file in a folder; None if it does not exist. Raises BuildError if it is not UTF-8."""
    address = storage.join(output, name)
    if not storage.exists(address):
        return None
    try:
        return storage.read(address).decode("utf-8", errors)
    except UnicodeDecodeError:
        raise BuildError(f"{storage.shown(address)}: not UTF-8; save it as UTF-8, or remove it") from None


def sizes(output: str, names: list[str] | dict[str, int]) -> dict[str, int]:
    """Returns the size in bytes of each of the named files that exists."""
    found = {name: storage.size(storage.join(output, name)) for name in names}
    return {name: size for name, size in found.items() if size is not None}


@contextmanager
def written_folder(output: str, key: str, scratch: Path) -> Iterator[Output]:
    """Gives an Output to write to; if no error occurs, it is put in place, and its manifest is written last.

    The files of an earlier build are removed, except a person's edits in its card; all other files are kept.
    """
    card = next((text for name in (CARD, KEPT) if (text := text_in(output, name)) is not None), None)
    earlier = {"card": card, "report": text_in(output, "report.json", "replace")}
    if not storage.is_remote(output):
        with storage.replaced_folder(storage.local_path(output), own_files) as work:
            yield Output(str(work), work, **earlier)
            shutil.rmtree(work / ".cache", ignore_errors=True)
            names = sorted(path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file())
            (work / MANIFEST).write_bytes(manifest_of(key, sizes(str(work), names)))
        return
    local = scratch / "output"
    local.mkdir()
    earlier_files = set((read_manifest(output) or {"files": {}})["files"])
    if card is not None:  # it may contain a person's edits, and this build may fail
        write_file(output, KEPT, card.encode())
    for name in LAST:  # until the last file is written, the folder is not a dataset
        storage.remove(storage.join(output, name))
    result = Output(output, local, **earlier)
    yield result
    shutil.rmtree(local / ".cache", ignore_errors=True)
    names = {path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()}
    there = {f"{config}/{name}" for config in CONFIGS for name in storage.names_in(storage.join(output, config))}
    # A build that was killed has removed its manifest: its shards are known by their names.
    earlier_files |= {name for name in there if SHARD.fullmatch(name)}
    names |= result.parquet
    for name in sorted(earlier_files - names):
        storage.remove(storage.join(output, *name.split("/")))
    storage.upload(local, output, LAST)
    write_file(output, MANIFEST, manifest_of(key, sizes(output, sorted(names))))
    storage.remove(storage.join(output, KEPT))


def write_file(output: str, name: str, content: bytes) -> None:
    """Writes a file in a folder."""
    with storage.open_file(storage.join(output, name), "wb") as file:
        file.write(content)
