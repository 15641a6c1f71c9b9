"""Writes accepted records as rows of both configs: lines of JSON with the location of the bytes of their images."""

from __future__ import annotations

import hashlib
import json
import shutil
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_datasets.chat import conversations, llama_factory
from hub_datasets.filesystem import storage
from hub_datasets.ingest.ingest import bytes_of
from hub_datasets.output.report import RowStatistics, is_shareable
from hub_datasets.records import Ignored, Problem, Reason
from hub_datasets.schema import CONFIGS, SPLITS, UNGROUNDED_MODES
from hub_datasets.splits.assignment import ONE_CONVERSATION, ONE_IMAGE, Accepted, Decisions
from hub_datasets.texts.grounding.audit import ungrounded_kinds
from hub_datasets.texts.grounding.policy import ORIGINAL, refusal, settle_target
from hub_datasets.texts.validation import TextSettings, check_text

if TYPE_CHECKING:
    from model_cards.pictures.contact_sheet import Sample

SYNTHETIC_LICENSE = "Apache-2.0"  # that of the program which draws them


@dataclass(slots=True)
class RowFile:
    """The rows of one config and split, one line of JSON each.

    Attributes:
        ends: where each line ends, in bytes.
        sizes: bytes of the columns and images of each row, which determine the shards.
    """

    path: Path | str
    ends: array = field(default_factory=lambda: array("q"))
    sizes: array = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class Written:
    """The result of `write_rows`: files by config and split, a fingerprint of all rows, captions left out by stage."""

    files: dict[str, dict[str, RowFile]]
    fingerprint: str
    left_out: dict[int, list[Ignored]]


def write_rows(
    decisions: Decisions,
    folder: Path,
    texts: TextSettings,
    system_prompt: str,
    statistics: RowStatistics,
    ungrounded: str = UNGROUNDED_MODES[0],
) -> Written:
    """Writes `{config}-{split}.jsonl` to `folder`, in the order of the stages; a split without rows gets no file.

    A line holds `columns`, those of the config but for the images; `images`: file, offset, length, name and hash of
    each; `stage`, its number; and `paths`: those of the images below the folder that the stage was read from.
    """
    digest = hashlib.sha256()
    files: dict[str, dict[str, RowFile]] = {}
    left_out: dict[int, list[Ignored]] = defaultdict(list)
    makers = {
        "pairs": lambda number: pair_rows(decisions, number, texts, left_out[number], ungrounded),
        "chat": lambda number: chat_rows(decisions, number, system_prompt),
    }
    with ExitStack() as stack:
        for config in CONFIGS:
            files[config] = {split: RowFile(folder / f"{config}-{split}.jsonl") for split in SPLITS}
            opened = {split: stack.enter_context(file.path.open("wb")) for split, file in files[config].items()}
            for number in range(len(decisions.stages)):
                for split, columns, images in makers[config](number):
                    statistics.add(config, split, columns)
                    if ungrounded == "keep":
                        columns["ungrounded"] = []
                    places = [image_place(accepted) for accepted in images]
                    paths = [accepted.path for accepted in images]
                    content, contents = json.dumps(columns), [accepted.image["content"] for accepted in images]
                    digest.update(f"{config} {split} {content} {contents}\n".encode())
                    where = f'"images": {json.dumps(places)}, "stage": {number}, "paths": {json.dumps(paths)}'
                    line = f'{{"columns": {content}, {where}}}\n'
                    row_file = files[config][split]
                    row_file.ends.append((row_file.ends[-1] if row_file.ends else 0) + len(line))
                    row_file.sizes.append(len(content) + sum(place[2] for place in places))
                    opened[split].write(line.encode())
    files = {config: {split: file for split, file in parts.items() if file.ends} for config, parts in files.items()}
    return Written(files, digest.hexdigest()[:16], left_out)


@contextmanager
def shared(written: Written, cache: str) -> Iterator[None]:
    """Copies the files of rows to the cache if that is remote, so that every worker can read them."""
    if not storage.is_remote(cache):
        yield
        return
    folder = storage.join(cache, "rows")
    try:
        for parts in written.files.values():
            for file in parts.values():
                target = storage.join(folder, Path(file.path).name)
                with Path(file.path).open("rb") as here, storage.open_file(target, "wb") as there:
                    shutil.copyfileobj(here, there)
                file.path = target
        yield
    finally:
        storage.remove(folder)


def pair_rows(
    decisions: Decisions,
    number: int,
    texts: TextSettings,
    left_out: list[Ignored],
    ungrounded: str = UNGROUNDED_MODES[0],
) -> Iterator[tuple[str, dict[str, Any], list[Accepted]]]:
    """Yields (split, columns, images) for every text, or for every image and language of a source with captions.

    A caption outside the bounds is left out and added to `left_out`: its questions and answers are still chats. So is a
    text that names more views than the one image of its pair, where `ungrounded` is `strip` or `reject`.
    """
    caption = decisions.stages[number].source.caption
    together = ONE_IMAGE if caption else "accepted.id"
    for members in decisions.accepted(number, together):
        records = [member.record for member in members]
        text = caption(records, texts.max_chars - 1) if caption else records[0].text
        target = settle_target(text, records[0].language, 1, ungrounded)
        metadata = shared_metadata(members) if caption else records[0].metadata
        problem = None
        if target.text != text:
            metadata = {ORIGINAL: text} | metadata
            problem = Problem(Reason.UNGROUNDED, refusal(target.found, ungrounded)) if not target.text else None
        if problem is None and (caption or target.text != text):
            problem = check_text(replace(records[0], text=target.text), texts.min_chars, texts.max_chars)
        if problem:
            item = f"{'caption' if caption else 'text'} of {records[0].image} ({records[0].language})"
            left_out.append(Ignored(records[0].source, item, problem.message))
            continue
        columns = base_columns(members[0], metadata) | {"text": target.text, "ungrounded": list(target.kinds)}
        yield members[0].split, columns, members[:1]


def chat_rows(
    decisions: Decisions, number: int, system_prompt: str
) -> Iterator[tuple[str, dict[str, Any], list[Accepted]]]:
    """Yields (split, columns, images) for every conversation, in each of its forms: without and with context."""
    for members in decisions.accepted(number, ONE_CONVERSATION):
        records = [member.record for member in members]
        metadata = records[0].metadata if len(members) == 1 else shared_metadata(members)
        kind = members[0].stage.source.kind
        images = members if records[0].text is not None else members[:1]
        picture = members[0].image["pixels"]
        for context in conversations.contexts_of(records):
            conversation = conversations.make_conversation(records, kind, system_prompt, picture, context)
            messages = conversation["messages"]
            marked = {"marked_messages": llama_factory.mark_images(messages, len(images))}
            audited = {"ungrounded": answers_ungrounded(messages, records[0].language, len(images))}
            yield members[0].split, base_columns(members[0], metadata) | conversation | marked | audited, images


def answers_ungrounded(messages: list[dict[str, str]], language: str, images: int) -> list[str]:
    """Returns the kinds, sorted, of what the answers of a conversation say that its images cannot show."""
    answers = (turn["content"] for turn in messages if turn["role"] == "assistant")
    return sorted({kind for answer in answers for kind in ungrounded_kinds(answer, language, images)})


def base_columns(accepted: Accepted, metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns the columns that both configs have."""
    record = accepted.record
    return {
        "image_path": f"{record.source}/{record.image}",
        "source_dataset": record.source,
        "category": record.category,
        "language": record.language,
        "license": license_of(accepted),
        "group_id": accepted.group_id,
        "metadata": json.dumps(metadata, ensure_ascii=False),
    }


def license_of(accepted: Accepted) -> str:
    """Returns the license of a row: its source's, or the project's if the images are synthetic."""
    return SYNTHETIC_LICENSE if accepted.stage.synthetic else accepted.stage.source.licence


def shared_metadata(members: list[Accepted]) -> dict[str, Any]:
    """Returns the fields that are equal in all records, the items, and the answers before sentences were taken out."""
    first, *others = every = [member.record.metadata for member in members]
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    if ORIGINAL not in shared and any(ORIGINAL in one for one in every):
        shared[ORIGINAL] = [one.get(ORIGINAL) for one in every]
    return shared | {"items": [member.record.item for member in members]}


def image_place(accepted: Accepted) -> tuple[str, int, int, str, str]:
    """Returns file, offset, length and name of an image's bytes, and their hash."""
    image = accepted.image
    name = accepted.record.image.rsplit("/", 1)[-1]
    return storage.join(accepted.stage.address, image["file"]), image["offset"], image["length"], name, image["content"]


def write_chat_instructions(folder: Path, output: Path, addresses: Sequence[str]) -> None:
    """Writes the rows of `chat` as lines of JSON, with images as paths below the folder that was given.

    This is the format of the specification, which other trainers read: `{"image": path, "messages": [{"role",
    "content"}, ...]}`, followed by where the row came from. A conversation about several images has `images`, a list.

    Args:
        folder: with the files of `write_rows`.
        addresses: the folder of each stage, as it was given.
    """
    with output.open("w", encoding="utf-8", errors="backslashreplace") as file:  # a folder's name may not be UTF-8
        for split in SPLITS:
            for row in read_rows(folder / f"chat-{split}.jsonl"):
                columns = row["columns"]
                address = storage.shareable(addresses[row["stage"]])
                paths = [storage.join(address, path) for path in row["paths"]]
                line = {"image": paths[0]} if len(paths) == 1 else {"images": paths}
                line |= {"messages": columns.pop("messages"), "split": split} | columns
                line["metadata"] = json.loads(columns["metadata"])
                del line["marked_messages"], line["image_path"]
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file of `write_rows`; none if the file does not exist."""
    if path.exists():
        with path.open("rb") as file:
            yield from map(json.loads, file)


def samples(decisions: Decisions, each: int = 6) -> list[Sample]:
    """Returns some pictures of each source for the card.

    Pictures that are flagged for review, and those of sources that must not be redistributed, are left out.
    """
    from hub_datasets.texts.identifiers import find_identifiers
    from model_cards.pictures.contact_sheet import Sample

    chosen = []
    for numbers in decisions.sources.values():
        shared = [number for number in numbers if is_shareable(decisions.stages[number])]
        for accepted in decisions.pictures(shared, each):
            record = accepted.record
            said = record.text if record.text is not None else f"{record.question} {record.answer}"
            if find_identifiers(said):
                continue
            data = bytes_of(accepted.stage, accepted.image)
            chosen.append(Sample(data, record.source, record.category, record.language, said))
    return chosen
