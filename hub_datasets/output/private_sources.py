"""Prepares what a build publishes of private sources, keeps the real names, and counts what is left to review."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.ingest.catalog import Catalog
from hub_datasets.ingest.identifying import column_rows, flagged_records
from hub_datasets.ingest.ingest import Stage
from hub_datasets.output.earlier_build import REPORT, read_json_if_valid
from hub_datasets.privacy.column_values import ColumnProfile
from hub_datasets.privacy.key_file import Hasher, key_path, make_key, names_path, read_key
from hub_datasets.privacy.publication import Publication, SourceColumns, columns_of
from hub_datasets.records import decoded
from hub_datasets.sources.base import Source
from hub_datasets.splits.assignment import ITEM, STAGE_SHIFT, Decisions
from hub_datasets.splits.review import Review

NAMES = "names.jsonl"  # in the scratch folder, until the dataset is in its place


class PrivateOptions(Protocol):
    """The options of a build that private sources depend on (`BuildOptions`)."""

    folders: tuple[tuple[Source, Folder], ...]
    output: str
    keep_splits: str
    keep_columns: tuple[str, ...]
    key_file: str

    def private_sources(self) -> frozenset[str]:
        """Returns the names of the sources whose names and IDs are hashed."""


def key_fingerprint(options: PrivateOptions) -> str:
    """Returns the fingerprint of the key that is there; empty without private sources or without a key."""
    if not options.private_sources():
        return ""
    path = key_path(options.output, options.key_file)
    return Hasher(read_key(path)).fingerprint if path.exists() else ""


@contextmanager
def usable_key(options: PrivateOptions) -> Iterator[Hasher | None]:
    """Gives the hasher for private sources, with a new key where there is none; None without private sources.

    Tells if the dataset that is replaced has hashes of another key. A new key is removed if the build fails.
    """
    if not options.private_sources():
        yield None
        return
    hasher, path, made = open_key(options)
    report = read_json_if_valid(storage.join(options.output, REPORT))
    earlier = report.get("privacy", {}).get("key") if isinstance(report, dict) else None
    if earlier and earlier != hasher.fingerprint:
        what = f"made a new key, {path}, because it does not exist" if made else f"{path} is another key"
        print(f"{what}: IDs and names of files get other hashes than in the earlier build")
    try:
        yield hasher
    except BaseException:
        if made:
            path.unlink(missing_ok=True)
        raise


def open_key(options: PrivateOptions) -> tuple[Hasher, Path, bool]:
    """Returns the hasher, the file of its key, and whether that was made now."""
    path = key_path(options.output, options.key_file)
    made = not path.exists()
    return Hasher(make_key(path) if made else read_key(path)), path, made


def check_kept_key(options: PrivateOptions) -> None:
    """Raises BuildError if the splits to keep are those of IDs that were hashed with another key."""
    if not (options.keep_splits and options.private_sources()):
        return
    report = read_json_if_valid(storage.join(options.keep_splits, REPORT))
    earlier = report.get("privacy", {}).get("key") if isinstance(report, dict) else None
    if earlier and earlier != key_fingerprint(options):
        local = not storage.is_remote(options.keep_splits)
        path = key_path(options.keep_splits) if local and key_path(options.keep_splits).exists() else "FILE"
        raise BuildError(
            f"--keep_splits {storage.shown(options.keep_splits)}: its IDs are hashed with the key of that build; add "
            f"--key_file {path}"
        )


def check_key_is_there(options: PrivateOptions) -> None:
    """Raises BuildError if the key is lost by which a dataset that is not to be replaced was made."""
    report = read_json_if_valid(storage.join(options.output, REPORT))
    earlier = report.get("privacy", {}).get("key") if isinstance(report, dict) else None
    if earlier and options.private_sources() and not (path := key_path(options.output, options.key_file)).exists():
        raise BuildError(
            f"{path} does not exist: the key of the hashes in {storage.shown(options.output)}; put it back, name it by "
            "--key_file, or add --overwrite to get a new key, with which all hashes change"
        )


def make_publication(stages: Sequence[Stage], options: PrivateOptions, hasher: Hasher | None) -> Publication:
    """Decides which columns of private sources are published.

    Raises BuildError, which lists the columns, if `--keep_columns` names one that no private source has.
    """
    publication = Publication(hasher)
    private, profiles = options.private_sources(), defaultdict(ColumnProfile)
    for stage in stages:
        if stage.source.name in private:
            catalog = Catalog(stage.catalog)
            profiles[stage.source.name].read(column_rows(catalog))
            catalog.close()
    for name, profile in profiles.items():
        publication.columns[name] = columns_of(profile, options.keep_columns)
    found = {column for columns in publication.columns.values() for column in columns.kept}
    if missing := [column for column in options.keep_columns if column not in found]:
        known = ", ".join(sorted(name for profile in profiles.values() for name in profile.kinds if name)) or "none"
        raise BuildError(f"--keep_columns {', '.join(missing)}: no such column; the columns are: {known[:1000]}")
    return publication


def dropped_records(stages: Sequence[Stage], publication: Publication) -> dict[int, dict[int, str]]:
    """Returns why each flagged record is rejected by `--drop_flagged`, by stage and seq."""
    found: dict[int, dict[int, str]] = {}
    for number, stage in enumerate(stages):
        found[number] = {
            seq: f"to review: {', '.join(kinds)} (--drop_flagged)" for seq, kinds in flagged_rows(stage, publication)
        }
    return found


def open_flags(decisions: Decisions, review: Review) -> dict[str, int]:
    """Returns the number of rows with something to review that nobody has decided yet, by kind.

    Flags of rejected rows are not published, and those of synthetic folders are about nobody.
    """
    kinds: Counter[str] = Counter()
    for number, stage in enumerate(decisions.stages):
        rows = {} if stage.synthetic else dict(flagged_rows(stage, decisions.publication))
        if rows:
            query = "SELECT id, record ->> ?, image FROM accepted WHERE stage = ?"
            for row, *names in decisions.database.execute(query, (ITEM, number)):
                found = rows.get(row - (number << STAGE_SHIFT), ())
                if found and not any(review.find(stage.source.name, name) for name in names):
                    kinds.update(found)
    return dict(sorted(kinds.items()))


def flagged_rows(stage: Stage, publication: Publication) -> list[tuple[int, list[str]]]:
    """Returns (seq, kinds) of each record of a folder with something to review."""
    catalog = Catalog(stage.catalog)
    found = list(flagged_records(catalog, hidden_columns(stage, publication)))
    catalog.close()
    return found


def hidden_columns(stage: Stage, publication: Publication) -> frozenset[str]:
    """Returns the columns of a folder that are not to review: left out, hashed, or kept by name."""
    columns = publication.columns.get(stage.source.name)
    return columns.hidden if columns else frozenset()


def privacy_report(publication: Publication) -> dict[str, Any]:
    """Returns the part of the report about private sources."""
    if publication.hasher is None:
        return {}
    columns = {name: columns.report() for name, columns in publication.columns.items()}
    return {"key": publication.hasher.fingerprint, "columns": columns}


def privacy_lines(report: Mapping[str, Any]) -> list[str]:
    """Returns the lines of the summary about private sources."""
    lines = []
    for name, columns in report.get("privacy", {}).get("columns", {}).items():
        for what, words in (
            ("left_out", "columns that identify, not published"),
            ("hashed", "published as keyed hashes"),
        ):
            if columns[what]:
                listed = ", ".join(f"{column} ({found['kind']})" for column, found in columns[what].items())
                lines.append(f"{name}: {words}: {listed}")
        if columns["kept"]:
            lines.append(f"{name}: published although they identify (--keep_columns): {', '.join(columns['kept'])}")
    return lines


def names_of(decisions: Decisions) -> Iterator[dict[str, str]]:
    """Yields for every row of private sources its published names and the real ones."""
    publication = decisions.publication
    query = """SELECT stage, record, name FROM accepted JOIN keys ON keys.id = first_key
        JOIN groups ON groups.root = keys.root ORDER BY accepted.id"""
    for number, content, group in decisions.database.execute(query):
        record, folder = decoded(content), decisions.stages[number].folder
        if publication.is_private(record.source):
            yield {
                "image_path": f"{record.source}/{publication.image(record.source, record.image)}",
                "group_id": publication.key(group),
                "item": publication.item(record.source, record.item),
                "folder": publication.label(record.source, folder.label),
                "real_folder": folder.named(),
                "real_image": record.image,
                "real_item": record.item,
            }


def write_names(folder: Path, decisions: Decisions) -> None:
    """Writes what the hashed names of private sources stand for to a folder for temporary files."""
    with (folder / NAMES).open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in names_of(decisions))


def place_names(folder: Path, options: PrivateOptions) -> None:
    """Puts the map of names beside the dataset, where only its owner may read it.

    Raises BuildError if it cannot be written.
    """
    if not options.private_sources():
        return
    path = names_path(options.output, options.key_file)
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        there = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        with there, (folder / NAMES).open("rb") as here:
            shutil.copyfileobj(here, there)
        part.replace(path)
    except OSError as error:
        raise BuildError(f"{path}: the map of names cannot be written ({error.strerror})") from None


def folder_names(options: PrivateOptions) -> dict[str, str]:
    """Returns the names of the folders of private sources by their hashes in the report."""
    private = options.private_sources()
    if not private:
        return {}
    publication = Publication(open_key(options)[0], {name: SourceColumns({}) for name in private})
    return {publication.label(source.name, folder.label): folder.label for source, folder in options.folders}


def private_files(options: PrivateOptions) -> str:
    """Returns the line that tells where the key and the map of names are; empty without private sources."""
    if not options.private_sources():
        return ""
    key, names = key_path(options.output, options.key_file), names_path(options.output, options.key_file)
    return f"IDs and file names are published as hashes; keep and do not share {key} (secret key), {names} (real names)"
