"""Accepted records become the rows of the two configs."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hub_datasets import chat
from hub_datasets.report import Accepted, Tally
from hub_datasets.schema import SPLITS, Ignored
from hub_datasets.validation import check_text


def make_rows(tallies: list[Tally], min_text_chars: int, max_text_chars: int) -> dict[str, dict[str, list[dict]]]:
    """The rows of both configs by split, in the order of the sources; a split without rows is left out.

    A row has the columns of its config except for the image; `image_file` is the image's path on this machine and
    `image_sha256` the hash of its bytes.
    """
    made = {
        "pairs": (pair for tally in tallies for pair in pair_rows(tally, min_text_chars, max_text_chars)),
        "chat": (pair for tally in tallies for pair in chat_rows(tally)),
    }
    rows: dict[str, dict[str, list[dict]]] = {}
    for config, pairs in made.items():
        by_split: dict[str, list[dict]] = {split: [] for split in SPLITS}
        for split, row in pairs:
            by_split[split].append(row)
        rows[config] = {split: part for split, part in by_split.items() if part}
    return rows


def pair_rows(tally: Tally, min_text_chars: int, max_text_chars: int) -> Iterator[tuple[str, dict]]:
    """Yields (split, row) for every text, or for every image and language where the source writes captions.

    A caption outside the bounds is left out and added to `tally.ignored`: its questions and answers are still chats.
    """
    caption = tally.source.caption
    if caption is None:
        for accepted in tally.accepted:
            record = accepted.record
            yield accepted.split, base_row(accepted) | {"text": record.text, "metadata": record.metadata}
        return
    by_image: dict[tuple[str, str], list[Accepted]] = defaultdict(list)
    for accepted in tally.accepted:
        by_image[accepted.record.image, accepted.record.language].append(accepted)
    for members in by_image.values():
        records = [member.record for member in members]
        metadata = shared_fields([record.metadata for record in records])
        metadata["items"] = [record.item for record in records]
        text = caption(records, max_text_chars - 1)
        if problem := check_text(replace(records[0], text=text), min_text_chars, max_text_chars):
            item = f"caption of {records[0].image} ({records[0].language})"
            tally.ignored.append(Ignored(tally.source.name, item, problem.message))
            continue
        yield members[0].split, base_row(members[0]) | {"text": text, "metadata": metadata}


def chat_rows(tally: Tally) -> Iterator[tuple[str, dict]]:
    """Yields (split, row) for every accepted record."""
    for accepted in tally.accepted:
        record = accepted.record
        yield accepted.split, base_row(accepted) | {"messages": chat.messages(record), "metadata": record.metadata}


def base_row(accepted: Accepted) -> dict:
    """The columns that both configs have."""
    record = accepted.record
    return {
        "image_file": str(accepted.image.path),
        "image_sha256": accepted.image.sha256,
        "image_path": f"{record.source}/{record.image}",
        "source_dataset": record.source,
        "category": record.category,
        "language": record.language,
        "group_id": accepted.group_id,
    }


def shared_fields(metadata: list[dict]) -> dict:
    """The fields that are the same in all of them."""
    first, *others = metadata
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def fingerprint(rows: dict[str, dict[str, list[dict]]]) -> str:
    """A hash of everything in the dataset, image bytes included: 16 hexadecimal digits.

    It names a dataset that has no revision on the Hub, so that a score can say what it was measured on.
    """
    digest = hashlib.sha256()
    for config, by_split in rows.items():
        for split, part in by_split.items():
            for row in part:
                content = {key: value for key, value in row.items() if key != "image_file"}
                digest.update(json.dumps([config, split, content], sort_keys=True).encode())
    return digest.hexdigest()[:16]


def write_rows(folder: Path, rows: dict[str, dict[str, list[dict]]]) -> None:
    """Writes `{config}-{split}.jsonl`, which the builder reads."""
    folder.mkdir(parents=True)
    for config, by_split in rows.items():
        for split, part in by_split.items():
            with (folder / f"{config}-{split}.jsonl").open("w", encoding="utf-8") as file:
                for row in part:
                    content = {key: value for key, value in row.items() if key != "image_sha256"}
                    file.write(json.dumps(content) + "\n")  # in ASCII: the path may hold bytes that are not UTF-8


def write_chat_instructions(path: Path, tallies: list[Tally], chat_rows: dict[str, list[dict]]) -> None:
    """Writes the rows of `chat` as one JSON a line, with the image as a path under the folder that was given.

    This is the format that other trainers read: `{"image": path, "messages": [{"role", "content"}, ...]}`, followed
    by where the row came from.
    """
    folders = {tally.source.name: tally.folder for tally in tallies}
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:  # a folder's name may not be UTF-8
        for split, part in chat_rows.items():
            for row in part:
                source = row["source_dataset"]
                image = folders[source] / row["image_path"].removeprefix(f"{source}/")
                provenance = ("source_dataset", "category", "language", "group_id", "metadata")
                line = {"image": image.as_posix(), "messages": row["messages"], "split": split}
                line |= {column: row[column] for column in provenance}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
