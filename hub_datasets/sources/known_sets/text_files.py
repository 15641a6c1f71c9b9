"""Reads texts that are files of their own: one beside each image, one per study, ROCO's captions, and MIMIC-CXR's.

- `im0.png` with `im0.txt` (also `.caption`, `.json` and, in the tar files of WebDataset, `.cls`);
- a folder of images with one text file in it, or a text file beside a folder of the same name;
- `files/p10/p10000032/s50414267.txt` beside `files/p10/p10000032/s50414267/*.jpg` (MIMIC-CXR): FINDINGS and IMPRESSION
  are taken, patient and study are those of the names, and `mimic-cxr-2.0.0-split.csv` gives the official splits;
- `captions.txt` with an image's name, a tab and its caption on each line (ROCO).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import posixpath
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem.image_suffixes import stem_of
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import Ignored, Problem, RawRecord, Reason, Rejection
from hub_datasets.sources.file_readers import passed_over
from hub_datasets.sources.known_sets.columns import Columns, columns_of
from hub_datasets.sources.known_sets.contents import Content, make_records
from hub_datasets.sources.known_sets.finder import Finder
from hub_datasets.sources.known_sets.split_names import split_named, split_of_path
from hub_datasets.sources.reports.rows import NAME
from hub_datasets.sources.text_encoding import decode_text
from hub_datasets.texts.patient_ids import patient_key, study_key

TEXTS = (".txt", ".text", ".caption", ".report")
BESIDE = (*TEXTS, ".json", ".cls")  # in the order in which they are preferred where an image has several
REPORT_NAMES = re.compile(r"(report|findings?|impressions?|caption|text|description|note|报告|描述)\.\w+", re.I)
MOST_OF_A_STUDY = 20  # images of one text file that is named otherwise
ASKED = 5  # files of one kind beside images; if none of them holds a text, none does
MAX_BYTES = 1024 * 1024  # of one text; the longest report of MIMIC-CXR has 12 kB
MAX_SPLITS = 64 * 1024 * 1024  # bytes of mimic-cxr-2.0.0-split.csv, which has 25 MB
NOT_REPORTS = re.compile(
    r"(read[-_ ]?me|licen[cs]e|notice|requirements|changelog|version|sha256sums|md5sums|checksums?|index|classes|"
    r"labels|terms|citation|train|val|valid|validation|test|split|names|keywords|licences|licenses|cuis|semtypes|"
    r"dlinks)\.\w+",
    re.I,
)
ROCO_PARTS = ("keywords.txt", "licences.txt", "cuis.txt", "semtypes.txt", "dlinks.txt")
CAPTIONS = ("captions.txt", "caption.txt")
MIMIC = re.compile(r"(?:\A|/)p([0-9]{8})/s([0-9]{8})(?:/([^/]+)\.\w+|\.txt)\Z")
MIMIC_SPLITS = re.compile(r"(?:\A|/)mimic-cxr-[0-9.]+-split\.csv(\.gz)?\Z")
HEADING = re.compile(r"(?m)^[ \t]*([A-Z][A-Z /()]{2,40}):")
TAKEN = ("FINDINGS", "IMPRESSION")
WORD = re.compile(r"[^\W\d_]{2}|[\u3400-\u9fff]")


class TextFiles:
    """The text files of a folder that stand for images.

    Attributes:
        images: the images of each text file.
        captions: the tables of captions.
        splits: the name of MIMIC-CXR's table of splits; empty if there is none.
        ignored: files that are passed over, with the reason.
    """

    def __init__(self, names: Iterable[str], finder: Finder, is_content: Callable[[str], bool]):
        """Finds the text files among names.

        Args:
            is_content: whether the file of a name holds a text; asked for a few files of each kind.
        """
        names = list(names)
        beside = {posixpath.join(posixpath.dirname(name), stem_of(name)) for name in finder.names}
        others: set[str] = set()  # what is beside images and says something else: boxes, headers
        for suffix in (".txt", ".json"):
            of_kind = [n for n in names if n.lower().endswith(suffix) and posixpath.splitext(n)[0] in beside]
            if not any(map(is_content, of_kind[:ASKED])):
                others.update(of_kind)
        names = [name for name in names if name not in others]
        self._finder = finder
        self.images: dict[str, list[str]] = {}
        self.captions = [name for name in names if posixpath.basename(name).lower() in CAPTIONS]
        self.splits = next((name for name in names if MIMIC_SPLITS.search(name)), "")
        self.ignored = {
            name: "part of ROCO, not read"
            for name in names
            if self.captions and posixpath.basename(name).lower() in ROCO_PARTS
        }
        self._pair(names)

    def _pair(self, names: list[str]) -> None:
        """Finds the images of each text file."""
        by_key: dict[str, list[str]] = defaultdict(list)
        by_folder: dict[str, list[str]] = defaultdict(list)
        by_study: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name in self._finder.names:
            by_key[posixpath.join(posixpath.dirname(name), stem_of(name))].append(name)
            by_folder[posixpath.dirname(name)].append(name)
            if (found := MIMIC.search(name)) and found[3]:
                by_study[found[1], found[2]].append(name)
        alone: dict[str, list[str]] = defaultdict(list)  # text files in each folder that belong to no single image
        best: dict[str, str] = {}  # the text file of each image
        for name in sorted(names, key=lambda name: (rank(name), name)):
            stem, suffix = posixpath.splitext(name)
            if suffix.lower() not in BESIDE or name in self.captions or name in self.ignored:
                continue
            if beside := by_key.get(stem):
                if (text := best.setdefault(beside[0], name)) == name:
                    self.images[name] = beside[:1]
                else:
                    self.ignored[name] = f"the text of its image is read from its {posixpath.splitext(text)[1]} file"
            elif (found := MIMIC.search(name)) and not found[3]:
                self.images[name] = by_study.get((found[1], found[2]), [])
            elif suffix.lower() in TEXTS and not NOT_REPORTS.fullmatch(posixpath.basename(name)):
                if stem in by_folder:
                    self.images[name] = by_folder[stem]
                else:
                    alone[posixpath.dirname(name)].append(name)
        paired = {image for images in self.images.values() for image in images}
        studies = {
            texts[0]: by_folder[above]
            for above, texts in alone.items()
            if above and len(texts) == 1 and above in by_folder and not paired.intersection(by_folder[above])
        }
        for name, images in studies.items():
            is_study = len(studies) > 1 and len(images) <= MOST_OF_A_STUDY
            if is_study or REPORT_NAMES.fullmatch(posixpath.basename(name)):
                self.images[name] = images
        self.images = dict(sorted(self.images.items()))

    def taken(self) -> set[str]:
        """Returns the files that are read here, or passed over."""
        return {*self.images, *self.captions, *self.ignored, *([self.splits] if self.splits else [])}

    def is_empty(self) -> bool:
        """Returns whether no text file stands for an image."""
        return not self.images and not self.captions

    def read(self, folder: Folder) -> Iterator[RawRecord | Rejection | Ignored]:
        """Yields the records of all text files."""
        splits = read_splits(folder, self.splits) if self.splits else {}
        for name, images in self.images.items():
            yield from read_text_file(folder, name, images, splits)
        for name in self.captions:
            yield from read_captions(folder, name, self._finder)
        for why, passed in by_reason(self.ignored).items():
            yield from passed_over(NAME, passed, why)


def has_words(head: bytes) -> bool:
    """Returns whether the first bytes of a text file are words, and not only numbers: of YOLO, the boxes of objects."""
    return WORD.search(head.decode("utf-8", "replace").replace("\ufffd", "xx")) is not None


def rank(name: str) -> int:
    """Returns the place of a file's suffix among those of texts."""
    suffix = posixpath.splitext(name)[1].lower()
    return BESIDE.index(suffix) if suffix in BESIDE else len(BESIDE)


def by_reason(ignored: dict[str, str]) -> dict[str, list[str]]:
    """Returns the files that are passed over for each reason."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, why in sorted(ignored.items()):
        found[why].append(name)
    return found


def read_text_file(
    folder: Folder, name: str, images: list[str], splits: dict[str, str]
) -> Iterator[RawRecord | Rejection]:
    """Yields the records of one text file, or a rejection."""
    item = printable(name)
    if not images:
        yield Rejection(NAME, item, Reason.IMAGE_MISSING, "no image of its study is in the folder")
        return
    content = read_content(folder, name)
    if isinstance(content, Problem):
        yield Rejection(NAME, item, content.code, content.message)
        return
    row, columns = content
    groups, split = [], split_of_path(name)
    if found := MIMIC.search(name):
        groups = [key for key in (patient_key(found[1]), study_key(found[2])) if key]
        row |= {"subject_id": found[1], "study_id": found[2]}
    for record in make_records(Content(item, row, images, split, tuple(groups)), columns):
        if isinstance(record, RawRecord) and splits:
            record.official_split = splits.get(stem_of(record.image), record.official_split)
        yield record


def read_content(folder: Folder, name: str) -> tuple[dict[str, Any], Columns] | Problem:
    """Returns the row that a text file holds, and its columns."""
    suffix = posixpath.splitext(name)[1].lower()
    try:
        text = decode_text(folder.read(name, MAX_BYTES), name).strip()
    except FolderError as error:
        return Problem(Reason.MALFORMED_ROW, error.message)
    except BuildError as error:
        return Problem(Reason.TEXT_ENCODING, str(error))
    if suffix == ".json":
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            return Problem(Reason.MALFORMED_ROW, "not valid JSON")
        if isinstance(row, str):
            row = {"text": row}
        columns = columns_of(row) if isinstance(row, dict) else Columns()
        if not columns.kind:
            return Problem(Reason.MALFORMED_ROW, "an object without a text, a conversation, a question or a label")
        return row, columns
    if suffix == ".cls":
        return {"label": text}, Columns(label="label")
    if text and not WORD.search(text):
        return Problem(Reason.MALFORMED_ROW, "has no words; boxes of objects and other numbers are not texts")
    if MIMIC.search(name):
        text = sections_of(text)
    return {"text": text}, Columns(texts=(("", "text"),))


def sections_of(report: str) -> str:
    """Returns FINDINGS and IMPRESSION of a report under their headings; the whole report if it has neither."""
    parts = HEADING.split(report)
    said: dict[str, str] = {}
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        said.setdefault(heading.strip(), " ".join(body.split()))
    text = " ".join(f"{heading.capitalize()}: {said[heading]}" for heading in TAKEN if said.get(heading))
    return text or " ".join(report.replace("FINAL REPORT", " ").split())


def read_splits(folder: Folder, name: str) -> dict[str, str]:
    """Returns the official split of each image by its stem. Raises BuildError if the table cannot be read."""
    place = folder.named(name)
    try:
        data = folder.read(name, MAX_SPLITS)
        if name.endswith(".gz"):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(MAX_SPLITS + 1)
        if len(data) > MAX_SPLITS:
            raise BuildError(f"{place}: more than {MAX_SPLITS:,} bytes unpacked; it is not MIMIC-CXR's table of splits")
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    except (FolderError, OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise BuildError(f"{place}: cannot be read ({error}); download it again, or remove it") from None
    if rows and not {"dicom_id", "split"} <= rows[0].keys():
        raise BuildError(f"{place}: no columns dicom_id and split; download it again, or remove it")
    return {row["dicom_id"]: split_named(row["split"]) for row in rows}


def read_captions(folder: Folder, name: str, finder: Finder) -> Iterator[RawRecord | Rejection]:
    """Yields a record for each line `image<tab>caption`."""
    try:
        text = decode_text(folder.read(name, 256 * MAX_BYTES), folder.named(name))
    except FolderError as error:
        raise BuildError(f"{folder.named()}: {error.message}") from None
    columns, split = Columns(texts=(("", "caption"),)), split_of_path(name)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        item = f"{printable(name)} line {number}"
        image, tab, caption = line.strip().partition("\t")
        if not tab:
            yield Rejection(NAME, item, Reason.MALFORMED_ROW, "expected the name of an image, a tab and its caption")
            continue
        row = {"image_id": image.strip(), "caption": caption.strip()}
        yield from make_records(Content(item, row, [finder.find(row["image_id"], name)], split), columns)
