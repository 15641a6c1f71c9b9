"""Writes accepted records as rows of the configs: lines of JSON with the location of the bytes of their images."""

from __future__ import annotations

import hashlib
import json
import shutil
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hub_datasets.chat import conversations, llama_factory
from hub_datasets.chat.content_parts import to_parts
from hub_datasets.filesystem import storage
from hub_datasets.ingest.catalog import to_json
from hub_datasets.ingest.progress import Progress
from hub_datasets.output.columns import Picture, Row, base_columns, picture_of, shared_metadata
from hub_datasets.output.region_rows import region_rows
from hub_datasets.output.report import RowStatistics
from hub_datasets.records import Ignored, Problem, Reason
from hub_datasets.schema import CONFIGS, SPLITS, UNGROUNDED_MODES, class_name
from hub_datasets.splits.assignment import ONE_CAPTION, ONE_CONVERSATION, Accepted, Decisions
from hub_datasets.texts.grounding.audit import ungrounded_kinds
from hub_datasets.texts.grounding.policy import ORIGINAL, refusal, settle_target
from hub_datasets.texts.validation import TextSettings, check_text

if TYPE_CHECKING:
    from hub_datasets.output.card.samples import Samples
    from hub_datasets.output.card.subgroups import Subgroups


# Columns whose JSON is not part of an instruction as it stands; `plain_messages` are its messages.
LONG = ("messages", "plain_messages", "marked_messages", "image_path")


@dataclass(slots=True)
class RowFile:
    """The rows of one config and split, one line of JSON each.

    Attributes:
        ends: where each line ends, in bytes.
        sizes: bytes of the columns of each row.
        counts: number of images of each row.
        images, lengths: for all images of all rows a number that equal images share, and their bytes; with the sizes
            they determine the shards.
    """

    path: Path | str
    ends: array = field(default_factory=lambda: array("q"))
    sizes: array = field(default_factory=lambda: array("q"))
    counts: array = field(default_factory=lambda: array("H"))
    images: array = field(default_factory=lambda: array("Q"))
    lengths: array = field(default_factory=lambda: array("q"))

    def add(self, line: int, columns: int, pictures: Iterable[Mapping[str, Any]]) -> None:
        """Adds a row: the bytes of its line and of its columns, and the place of each image (`image_place`)."""
        self.ends.append((self.ends[-1] if self.ends else 0) + line)
        self.sizes.append(columns)
        before = len(self.images)
        for place in pictures:
            self.images.append(int(place["content"][:16], 16))
            self.lengths.append(place["length"])
        self.counts.append(len(self.images) - before)


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
    configs: Sequence[str] = CONFIGS,
    classes: Sequence[str] = (),
    samples: Samples | None = None,
    subgroups: Subgroups | None = None,
    ungrounded: str = UNGROUNDED_MODES[0],
) -> Written:
    """Writes `{config}-{split}.jsonl` to `folder`, in the order of the stages; a split without rows gets no file.

    A line holds `columns`, those of the config but for the images; `images`: where the bytes of each are, see
    `image_place`; and `stage`, its number. The rows of `chat` are also written as instructions, see
    `write_chat_instructions`.

    Args:
        configs: those to write.
        classes: the names of the classes in the column `label`.
        samples: chooses the pairs that the card shows.
        subgroups: counts the pairs of subgroups of patients.
    """
    digest = hashlib.sha256(json.dumps(list(classes)).encode())
    numbers = {name: number for number, name in enumerate(classes)}
    files: dict[str, dict[str, RowFile]] = {}
    left_out: dict[int, list[Ignored]] = defaultdict(list)
    makers = {
        "pairs": lambda number: pair_rows(decisions, number, texts, left_out[number], numbers, ungrounded),
        "chat": lambda number: chat_rows(decisions, number, system_prompt),
        "regions": lambda number: region_rows(decisions, number, left_out[number]),
    }
    addresses = [storage.shareable(stage.folder.address) for stage in decisions.stages]
    with Progress("rows") as progress:
        for config in configs:
            with ConfigWriter(config, folder, addresses, digest) as writer:
                for number in range(len(decisions.stages)):
                    for split, columns, pictures in makers[config](number):
                        statistics.add(config, split, columns)
                        if ungrounded == "keep" and "ungrounded" in columns:
                            columns["ungrounded"] = []
                        writer.write(split, number, columns, pictures)
                        progress.update()
                        if config == "pairs" and samples is not None:
                            samples.add(pictures[0].accepted, columns)
                        if config == "pairs" and subgroups is not None:
                            subgroups.add(pictures[0].accepted.record, split)
            files[config] = {split: file for split, file in writer.files.items() if file.ends}
    return Written(files, digest.hexdigest()[:16], left_out)


class ConfigWriter:
    """The open files of one config's rows and, for `chat`, of the instructions, by split; used as a context manager.

    Args:
        folder: for the files.
        addresses: the folder of each stage, as instructions name it.
        digest: is updated with every row and the hashes of its images.
    """

    def __init__(self, config: str, folder: Path, addresses: Sequence[str], digest: Any) -> None:
        self.files = {split: RowFile(folder / f"{config}-{split}.jsonl") for split in SPLITS}
        self._config, self._addresses, self._digest = config, addresses, digest
        self._instructions = {split: instructions_in(folder, split) for split in SPLITS} if config == "chat" else {}

    def __enter__(self) -> ConfigWriter:
        with ExitStack() as stack:
            self._rows = {split: stack.enter_context(file.path.open("wb")) for split, file in self.files.items()}
            self._chats = {split: stack.enter_context(path.open("wb")) for split, path in self._instructions.items()}
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def write(self, split: str, stage: int, columns: dict[str, Any], pictures: Sequence[Picture]) -> None:
        """Writes a row of a stage; takes the long columns out of `columns`."""
        content, plain, rest = as_json(columns)
        places = [picture.place for picture in pictures]
        coded, contents = content.encode(), " ".join(place["content"] for place in places)
        self._digest.update(b"%b %b\n" % (coded, f"{self._config} {split} {contents}".encode()))
        line = b'{"columns": %b, "images": %b, "stage": %d}\n' % (coded, to_json(places).encode(), stage)
        self.files[split].add(len(line), len(coded), places)
        self._rows[split].write(line)
        if self._chats:
            paths = [storage.join(self._addresses[stage], picture.path) for picture in pictures]
            image = f'"image": {to_json(paths[0])}' if len(paths) == 1 else f'"images": {to_json(paths)}'
            said = f'{{{image}, "messages": {plain}, "split": "{split}", {rest}}}\n'
            self._chats[split].write(said.encode(errors="backslashreplace"))  # a folder's name may not be UTF-8


def as_json(columns: dict[str, Any]) -> tuple[str, str, str]:
    """Returns the columns of a row as JSON and, for instructions, the plain turns and the rest as JSON without braces.

    Instructions have the metadata as an object, and no `image_path`. What both have is written once.
    """
    metadata = columns.pop("metadata")
    long = {name: to_json(columns.pop(name)) for name in LONG if name in columns}
    rest = to_json(columns)[1:-1]
    own = "".join(f'"{name}": {value}, ' for name, value in long.items())
    content = f'{{{own}{rest}, "metadata": {to_json(metadata)}}}'
    return content, long.get("plain_messages", ""), f'{rest}, "metadata": {metadata}'


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
    classes: Mapping[str, int] = MappingProxyType({}),
    ungrounded: str = UNGROUNDED_MODES[0],
) -> Iterator[Row]:
    """Yields a row for every text, or for every image and language of a source with captions.

    A caption outside the bounds is left out and added to `left_out`: its questions and answers are still chats. So is a
    text that names more views than the one image of its pair, where `ungrounded` is `strip` or `reject`.
    """
    caption = decisions.stages[number].source.caption
    together = ONE_CAPTION if caption else "accepted.id"
    for members in decisions.accepted(number, together, by_picture=caption is not None):
        records = [member.record for member in members]
        made = caption is not None and records[0].text is None  # a source may have both texts and questions
        text = caption(records, texts.max_chars - 1) if made else records[0].text
        target = settle_target(text, records[0].language, 1, ungrounded)
        metadata = shared_metadata(members) if made else records[0].metadata
        problem = None
        if target.text != text:
            metadata = {ORIGINAL: text} | metadata
            problem = Problem(Reason.UNGROUNDED, refusal(target.found, ungrounded)) if not target.text else None
        if problem is None and (made or target.text != text):
            problem = check_text(replace(records[0], text=target.text), texts.min_chars, texts.max_chars)
        if problem:
            item = f"{'caption' if made else 'text'} of {records[0].image} ({records[0].language})"
            left_out.append(Ignored(records[0].source, item, problem.message))
            continue
        yield pair_row(members, target.text, list(target.kinds), metadata, classes)


def pair_row(
    members: list[Accepted], text: str, kinds: list[str], metadata: dict[str, Any], classes: Mapping[str, int]
) -> Row:
    """Returns a row of the config `pairs`; a label that is not one of the classes is null."""
    accepted = members[0]
    record = accepted.record
    columns = base_columns(members, metadata) | {
        "language": record.language,
        "text": text,
        "ungrounded": kinds,
        "label": classes.get(class_name(record.source, record.label)) if record.label else None,
        "width": accepted.image["width"],
        "height": accepted.image["height"],
    }
    return accepted.split, columns, [picture_of(accepted)]


def chat_rows(decisions: Decisions, number: int, system_prompt: str) -> Iterator[Row]:
    """Yields a row for every conversation, in each of its forms: without and with context."""
    by_picture = decisions.stages[number].source.caption is not None
    for members in decisions.accepted(number, ONE_CONVERSATION, by_picture=by_picture):
        records = [member.record for member in members]
        if records[0].text is None and len(records) > 1:  # the same picture may lie in several files
            records = [replace(record, image=records[0].image) for record in records]
        metadata = records[0].metadata if len(members) == 1 else shared_metadata(members)
        kind = members[0].stage.source.kind
        images = members if records[0].text is not None else members[:1]
        picture, language = members[0].image["pixels"], records[0].language
        for context in conversations.contexts_of(records):
            conversation = conversations.make_conversation(records, kind, system_prompt, picture, context)
            plain = conversation["messages"]
            columns = conversation | {
                "messages": to_parts(plain, len(images)),
                "plain_messages": plain,
                "marked_messages": llama_factory.mark_images(plain, len(images)),
                "language": language,
                "ungrounded": answers_ungrounded(plain, language, len(images)),
            }
            yield members[0].split, columns | base_columns(members, metadata), list(map(picture_of, images))


def answers_ungrounded(messages: list[dict[str, str]], language: str, images: int) -> list[str]:
    """Returns the kinds, sorted, of what the answers of a conversation say that its images cannot show."""
    answers = (turn["content"] for turn in messages if turn["role"] == "assistant")
    return sorted({kind for answer in answers for kind in ungrounded_kinds(answer, language, images)})


def instructions_in(folder: Path, split: str) -> Path:
    """Returns the file of one split's instructions in the folder of `write_rows`."""
    return folder / f"instructions-{split}.jsonl"


def write_chat_instructions(folder: Path, output: Path) -> None:
    """Writes the rows of `chat` as lines of JSON, with images as paths below the folder that was given.

    This is the format of the specification, which other trainers read: `{"image": path, "messages": [{"role",
    "content"}, ...]}`, with where the row came from. A conversation about several images has `images`, a list.

    Args:
        folder: with the files of `write_rows`, which made the lines.
    """
    with output.open("wb") as file:
        for split in SPLITS:
            with instructions_in(folder, split).open("rb") as lines:
                shutil.copyfileobj(lines, file)
