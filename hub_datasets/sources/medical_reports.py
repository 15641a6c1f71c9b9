"""Reads medical reports with images: your own folder, or a public dataset of chest X-rays.

These files are read from the folder and all its subfolders:

- CSV, TSV, JSON, JSONL and Excel tables, and text files with tabs, that have a column for the image and one for the
  text; other columns are kept as metadata. The names of columns that are recognized are in `reports/column_names.py`;
  flags such as `--image_column` name others (`reports/columns.py`, `reports/tables.py`, `reports/rows.py`);
- `{"annotations": [{"image_id": "162_1", "caption": ...}]}`, the form of OpenI in XrayGLM, in English and Chinese;
- the XML reports of OpenI (`reports/openi.py`);
- the layouts of Hugging Face, of published datasets and of their tools (`recognition.py`).

All images of a patient or study stay in one split. Images of one study with the same text in one language are one
conversation. Images with different texts, for example in the Chinese part of XrayGLM, are separate conversations.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import ColumnNames, Ignored, RawRecord, Reason, Rejection, TableNote
from hub_datasets.sources.base import Source
from hub_datasets.sources.file_readers import MAX_TABLE_BYTES, is_junk, printable
from hub_datasets.sources.known_sets.split_names import split_of_path
from hub_datasets.sources.known_sets.wording import caption
from hub_datasets.sources.recognition import Layouts, Remaining, add_class_folders, recognize, refusal
from hub_datasets.sources.reports import openi
from hub_datasets.sources.reports.columns import EXPECTED, described, listed
from hub_datasets.sources.reports.dicom_keys import read_keys
from hub_datasets.sources.reports.image_names import Images
from hub_datasets.sources.reports.rows import NAME, Reading, make_records
from hub_datasets.sources.reports.tables import SUFFIXES, NotReports, Table, read_tables
from hub_datasets.texts.patient_ids import note_study, own_study

# What people keep reports in and what is not read here: what to do about it.
ADVICE = {
    ".xls": "save it as .xlsx or 'CSV UTF-8'",
    ".xlsb": "save it as .xlsx or 'CSV UTF-8'",
    ".ods": "save it as CSV in UTF-8",
    ".gz": "unpack it (gunzip)",
    ".bz2": "unpack it (tar xjf or bunzip2)",
    ".xz": "unpack it (tar xJf or unxz)",
    ".rar": "unpack it",
    ".7z": "unpack it",
}
MANY_TEXTS = 50  # more .txt files than this are not tables: they are reports, one for each image
RECOGNIZED = ColumnNames()
EXCEL_LOCK = "~$"  # how the names of files begin that Excel leaves beside an open workbook


def read(
    folder: Folder,
    columns: ColumnNames = RECOGNIZED,
    notes: list[TableNote] | None = None,
) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields a record for every image of every report, in the order of the files' names.

    Args:
        columns: the columns of tables that the user has named.
        notes: receives how each table was understood, when all its rows have been read.

    Raises BuildError if no file contains reports, or a table cannot be decoded or parsed.
    """
    yield from read_folder(folder, with_labels=False, columns=columns, notes=notes)


def read_folder(
    folder: Folder, with_labels: bool, columns: ColumnNames = RECOGNIZED, notes: list[TableNote] | None = None
) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields the records of a folder, and raises what `read` does.

    Args:
        with_labels: whether images of which only a label is known are read.
        columns, notes: see `read`.
    """
    layouts = recognize(folder, with_labels)
    rest = Remaining(folder, layouts.taken)
    names = [file.name for file in folder.files() if not is_junk(file.name)]
    reading = Reading(Images(names, lambda: read_keys(folder, names)))
    passed_over: list[Ignored] = []
    patients: dict[str, set[str]] = defaultdict(set)  # of each study
    used: set[str] = set()
    is_report = False
    lacking: dict[str, list[str]] = {flag: [] for flag in columns.given()}
    # Twice, so that not all records are held to learn whose a study is and which language most texts have.
    for part in parts_of(layouts, rest, columns, reading):
        if isinstance(part, Ignored):
            passed_over.append(part)
            continue
        is_report = True
        if part.table:
            note_columns(part.table, lacking)
        for record in part:
            if isinstance(record, RawRecord):
                used.add(record.image)
                note_study(record.groups, patients)
    if not is_report and with_labels and add_class_folders(layouts, folder):
        used |= {entry.image for entry in layouts.parts[-1]() if isinstance(entry, RawRecord)}
    elif not is_report:
        refused = refusal(layouts, folder)
        raise BuildError(refused) if refused else no_reports(folder, passed_over)
    for flag, header in lacking.items():
        message = f"{flag} {columns.given()[flag]!r}: no table in {folder.named()} has this column; the columns are: "
        raise BuildError(message + listed(header))
    reading.counting = False
    for part in parts_of(layouts, rest, columns, reading):
        for entry in [part] if isinstance(part, Ignored) else part:
            if isinstance(entry, RawRecord):
                place_study(entry, patients)
                entry.official_split = entry.official_split or split_of_path(f"{posixpath.dirname(entry.image)}/")
            yield entry
        if notes is not None and isinstance(part, TablePart):
            notes.append(part.note())
        elif notes is not None and isinstance(part, NoTable):
            notes.append(TableNote(part.item, {}, [], passed_over=part.why))
    if unused := [name for names in reading.images.by_stem.values() for name in names if name not in used]:
        first = printable(min(unused))
        yield Ignored(NAME, f"{len(unused):,} images", f"not named in any readable report; the first is {first}")


def note_columns(table: Table, lacking: dict[str, list[str]]) -> None:
    """Removes the flags whose columns a table has, and adds its columns to the flags whose columns it lacks."""
    missing = table.roles().lacking
    for flag in list(lacking):
        if flag not in missing:
            del lacking[flag]
        else:
            lacking[flag] += [name for name in table.header if name not in lacking[flag]]


def no_reports(folder: Folder, passed_over: list[Ignored]) -> BuildError:
    """Returns the error for a folder without reports: what its only table lacks, or what was passed over."""
    tables = [entry for entry in passed_over if isinstance(entry, NoTable)]
    if len(tables) == 1 and "/" not in tables[0].item:
        return NotReports(f"{folder.named()}/{tables[0].item}: {tables[0].why}")
    seen = [f"{entry.item}: {entry.why}" for entry in [*tables, *(e for e in passed_over if e not in tables)]]
    kinds = ".json, .jsonl, .csv, .tsv or .xlsx file"
    return BuildError(
        "; ".join([f"{folder.named()}: no {kinds} with {EXPECTED}, and no XML report of OpenI", *seen[:3]])
    )


class NoTable(Ignored):
    """A file in the form of a table that is not a table of reports."""

    __slots__ = ()


class Part:
    """The records of one layout, of one file of reports, or of one table of it.

    Attributes:
        table: the table; None for a file that is one report.
    """

    table: Table | None = None

    def __init__(self, records: Iterable[RawRecord | Rejection | Ignored]):
        self._records = records

    def __iter__(self) -> Iterator[RawRecord | Rejection]:
        yield from self._records


class TablePart(Part):
    """The records of a table, and how it was understood."""

    def __init__(self, folder: Folder, path: str, table: Table, reading: Reading):
        self.table = table
        self._folder, self._path, self._reading = folder, path, reading
        self._rows = 0

    def __iter__(self) -> Iterator[RawRecord | Rejection]:
        """Yields the records. Raises BuildError if the table is damaged after its first rows."""
        self._rows = 0
        self._reading.repaired.clear()
        try:
            for item, row in self.table.rows():
                self._rows += 1
                yield from make_records(item, row, self._path, self.table, self._reading)
        except BuildError as error:
            raise BuildError(f"{self._folder.named()}/{error}") from None

    def note(self) -> TableNote:
        """Returns how the table was understood, when all its records have been read."""
        columns, kept = described(self.table.roles(), self.table.header)
        if self.table.by_key:
            keyword, column = self.table.roles().keys[0]
            columns = {"image": [f"{column} ({keyword} in the DICOM headers)"]} | columns
            kept = [name for name in kept if name != column]
        columns = {role: list(map(printable, names)) for role, names in columns.items()}
        repaired = self._reading.repaired + Counter(self.table.repaired())
        encoding, kept = self.table.encoding, list(map(printable, kept))
        return TableNote(self.table.name, columns, kept, encoding, self._rows, dict(sorted(repaired.items())))


def parts_of(layouts: Layouts, rest: Remaining, columns: ColumnNames, reading: Reading) -> Iterator[Part | Ignored]:
    """Yields the records of each recognized layout, then those of the files that are left."""
    yield from (Part(read_part()) for read_part in layouts.parts)
    yield from layouts.ignored
    yield from read_files(rest, reading.images, columns, reading)


def read_files(folder: Folder, images: Images, columns: ColumnNames, reading: Reading) -> Iterator[Part | Ignored]:
    """Yields the records of each file of reports, one table at a time, and an Ignored for other files."""
    texts = sum(file.name.lower().endswith(".txt") for file in folder.files())
    for file in folder.files():
        suffix = posixpath.splitext(file.name)[1].lower()
        if is_junk(file.name) or posixpath.basename(file.name).startswith(EXCEL_LOCK):
            yield Ignored(NAME, printable(file.name), "junk file of the operating system")
        elif suffix in ADVICE:
            yield Ignored(NAME, printable(file.name), f"not read; {ADVICE[suffix]}")
        elif suffix == ".xml":
            yield read_xml(folder, file.name, images)
        elif suffix == ".txt" and texts > MANY_TEXTS:
            continue
        elif suffix in SUFFIXES:
            yield from read_file(folder, file.name, columns, reading)


def read_xml(folder: Folder, name: str, images: Images) -> Part | Ignored:
    """Returns the records of an XML file; Ignored if it is not a report of OpenI."""
    shown = printable(name)
    try:
        data = folder.read(name, openi.MAX_BYTES)
    except FolderError as error:  # one report, which need not stop the others
        return Part([Rejection(NAME, shown, Reason.MALFORMED_ROW, error.message)])
    records = openi.read_report(shown, data, images)
    return Ignored(NAME, shown, "XML, but not a report of OpenI") if records is None else Part(records)


def read_file(folder: Folder, name: str, columns: ColumnNames, reading: Reading) -> Iterator[Part | Ignored]:
    """Yields the tables of one file; Ignored for what is valid and not a table of reports.

    A .txt file that is no table is passed over in silence, as all files are that no table names. Raises BuildError if a
    file cannot be read, decoded or parsed.
    """
    shown = printable(name)
    try:
        tables = read_tables(shown, name, folder.read(name, MAX_TABLE_BYTES), columns, reading.images)
    except FolderError as error:
        if name.lower().endswith(".txt"):
            return
        raise BuildError(f"{folder.named()}: {error.message}") from None
    except NotReports as error:
        tables = [error]
    except BuildError as error:
        if name.lower().endswith(".txt"):
            return
        raise BuildError(f"{folder.named()}/{error}") from None
    for table in tables:
        if isinstance(table, Table):
            yield TablePart(folder, name, table, reading)
        elif not name.lower().endswith(".txt"):
            item, _, why = str(table).partition(": ")
            yield NoTable(NAME, item, why)


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
    tables=True,
    caption=caption,
    title="Medical reports with images",
    homepage="",
    licence="unknown",
    citation="",
    redistributable=False,  # only their owner can decide; OpenI does not allow modified copies (CC BY-NC-ND 4.0)
)
