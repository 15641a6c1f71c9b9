"""Reads medical reports with images: your own folder, or a public dataset of chest X-rays.

These files are read from the folder and all its subfolders:

- CSV, TSV, JSON and JSONL tables with a column for the image, a column for the text and, optionally, `language`,
  `patient_id`, `study_id` or another of the usual names of the two IDs (`patient_ids.py`); other columns are kept as
  metadata (`reports/tables.py`, `reports/rows.py`);
- `{"annotations": [{"image_id": "162_1", "caption": ...}]}`, the form of OpenI in XrayGLM, in English and Chinese;
- the XML reports of OpenI (`reports/openi.py`);
- the layouts of Hugging Face, of published datasets and of their tools (`recognition.py`).

All images of a patient or study stay in one split. Images of one study with the same text in one language are one
conversation. Images with different texts, for example in the Chinese part of XrayGLM, are separate conversations.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import Ignored, RawRecord, Reason, Rejection
from hub_datasets.sources.base import Source
from hub_datasets.sources.file_readers import MAX_TABLE_BYTES, is_junk, printable
from hub_datasets.sources.known_sets.split_names import split_of_record
from hub_datasets.sources.known_sets.wording import caption
from hub_datasets.sources.recognition import Layouts, Remaining, add_class_folders, recognize, refusal
from hub_datasets.sources.reports import openi
from hub_datasets.sources.reports.rows import NAME, Images, make_records
from hub_datasets.sources.reports.tables import EXPECTED, SUFFIXES, NotReports, Table, read_report_table
from hub_datasets.texts.patient_ids import note_study, own_study

# What people keep reports in and what is not read here: what to do about it.
ADVICE = {
    ".xlsx": "save it as 'CSV UTF-8'",
    ".xls": "save it as 'CSV UTF-8'",
    ".ods": "save it as CSV in UTF-8",
    ".tgz": "unpack it (tar xzf)",
    ".gz": "unpack it (tar xzf or gunzip)",
    ".tar": "unpack it (tar xf)",
    ".rar": "unpack it",
    ".7z": "unpack it",
}


def read(folder: Folder) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields a record for every image of every report, in the order of the files' names.

    Raises BuildError if no file contains reports, or a table cannot be decoded or parsed.
    """
    yield from read_folder(folder, with_labels=False)


def read_folder(folder: Folder, with_labels: bool) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields the records of a folder, and raises what `read` does.

    Args:
        with_labels: whether images of which only a label is known are read.
    """
    layouts = recognize(folder, with_labels)
    rest = Remaining(folder, layouts.taken)
    images = Images(file.name for file in folder.files() if not is_junk(file.name))
    passed_over: list[Ignored] = []
    patients: dict[str, set[str]] = defaultdict(set)  # of each study
    used: set[str] = set()
    is_report = False
    try:  # read twice, so that not all records are held to learn whose a study is
        for part in parts_of(layouts, rest, images):
            if isinstance(part, Ignored):
                passed_over.append(part)
                continue
            is_report = True
            for record in part:
                if isinstance(record, RawRecord):
                    used.add(record.image)
                    note_study(record.groups, patients)
    except NotReports:
        if refused := refusal(layouts, folder):
            raise BuildError(refused) from None
        raise
    if not is_report and with_labels and add_class_folders(layouts, folder):
        used |= {entry.image for entry in layouts.parts[-1]() if isinstance(entry, RawRecord)}
    elif not is_report:
        if refused := refusal(layouts, folder):
            raise BuildError(refused)
        seen = [f"{entry.item}: {entry.why}" for entry in passed_over]
        message = f"{folder.named()}: no .json, .jsonl, .csv or .tsv file with {EXPECTED}, and no XML report of OpenI"
        raise BuildError("; ".join([message, *seen[:3]]))
    for part in parts_of(layouts, rest, images):
        for entry in [part] if isinstance(part, Ignored) else part:
            if isinstance(entry, RawRecord):
                place_study(entry, patients)
                entry.official_split = entry.official_split or split_of_record(entry)
            yield entry
    if unused := [name for names in images.by_stem.values() for name in names if name not in used]:
        first = printable(min(unused))
        yield Ignored(NAME, f"{len(unused):,} images", f"not named in any readable report; the first is {first}")


def parts_of(
    layouts: Layouts, rest: Remaining, images: Images
) -> Iterator[Iterator[RawRecord | Rejection | Ignored] | Ignored]:
    """Yields the records of each recognized layout, then those of the files that are left."""
    yield from (read_part() for read_part in layouts.parts)
    yield from layouts.ignored
    yield from read_files(rest, images)


def read_files(folder: Folder, images: Images) -> Iterator[Iterator[RawRecord | Rejection] | Ignored]:
    """Yields the records of each file of reports, one file at a time, and an Ignored for other files."""
    for file in folder.files():
        suffix = posixpath.splitext(file.name)[1].lower()
        if is_junk(file.name):
            yield Ignored(NAME, printable(file.name), "junk file of the operating system")
        elif suffix in ADVICE:
            yield Ignored(NAME, printable(file.name), f"not read; {ADVICE[suffix]}")
        elif suffix in SUFFIXES or suffix == ".xml":
            yield read_file(folder, file.name, images)


def read_file(folder: Folder, name: str, images: Images) -> Iterator[RawRecord | Rejection] | Ignored:
    """Returns the content of one file; Ignored if it is valid, not a table of reports and not at the top level.

    Raises BuildError if it cannot be read, decoded or parsed, or is at the top level and not a table of reports. For
    CSV that is damaged further down, the error is raised when its records are read.
    """
    shown = printable(name)
    is_xml = name.lower().endswith(".xml")
    try:
        data = folder.read(name, openi.MAX_BYTES if is_xml else MAX_TABLE_BYTES)
    except FolderError as error:
        if is_xml:  # one report, which need not stop the others
            return iter([Rejection(NAME, shown, Reason.MALFORMED_ROW, error.message)])
        raise BuildError(f"{folder.named()}: {error.message}") from None
    if is_xml:
        records = openi.read_report(shown, data, images)
        return Ignored(NAME, shown, "XML, but not a report of OpenI") if records is None else records
    try:
        table = read_report_table(shown, data)
    except NotReports as error:
        if "/" in name:  # many folders of images have tables of their own
            return Ignored(NAME, shown, str(error).removeprefix(f"{shown}: "))
        raise NotReports(f"{folder.named()}/{error}") from None
    except BuildError as error:
        raise BuildError(f"{folder.named()}/{error}") from None
    return records_of(folder, name, table, images)


def records_of(folder: Folder, name: str, table: Table, images: Images) -> Iterator[RawRecord | Rejection]:
    """Yields the records of a table. Raises BuildError if it is damaged after its first rows."""
    try:
        for item, row in table.rows:
            yield from make_records(item, row, name, images, table.numbered)
    except BuildError as error:
        raise BuildError(f"{folder.named()}/{error}") from None


def place_study(record: RawRecord, patients: Mapping[str, set[str]]) -> None:
    """Sets the study of a record so that no other patient has it, and the conversation of a study's images.

    One report about several images is one conversation: the same study, the same language, the same text.
    """
    record.groups = own_study(record.groups, patients)
    study = next((key for key in record.groups if key.startswith("study:")), None)
    if study is None or record.text is None:
        return
    said = hashlib.blake2b(record.text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    record.conversation = f"{study} {record.language} {said}"


SOURCE = Source(
    name=NAME,
    flag="--reports_dir",
    kind="report",
    read=read,
    caption=caption,
    title="Medical reports with images",
    homepage="",
    licence="unknown",
    citation="",
    redistributable=False,  # only their owner can decide; OpenI does not allow modified copies (CC BY-NC-ND 4.0)
)
