"""Reads the identifiers in the headers of a folder's DICOM files, by which tables without file names are joined.

Only the beginning of each file is read. A header that is compressed as a whole is not read: it could grow without
limit.
"""

from __future__ import annotations

import io
import posixpath
import warnings
from collections import defaultdict
from collections.abc import Iterable

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.sources.reports.column_names import DICOM_KEYS
from hub_datasets.sources.reports.image_names import WHOLE_NUMBER

SUFFIXES = (".dcm", ".dicom", ".dic", "")
HEADER_BYTES = 256 * 1024  # a header with an icon or private data may have more; then the whole file is read
DEFLATED = "1.2.840.10008.1.2.1.99"
PREAMBLE = 128  # bytes of anything stand before the signature


def is_candidate(name: str) -> bool:
    """Returns whether a file may be DICOM by its name; many programs write it without a suffix."""
    return posixpath.splitext(name)[1].lower() in SUFFIXES


def read_keys(folder: Folder, names: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """Returns the DICOM files of a folder by (keyword, value) for each of `DICOM_KEYS`.

    A whole number is a key a second time, without leading zeros, under `#keyword`: spreadsheets drop the zeros.
    Raises BuildError if pydicom is not installed.
    """
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in sorted(filter(is_candidate, names)):
        for keyword, value in header_of(folder, name).items():
            found[keyword, value].append(name)
            if number := WHOLE_NUMBER.fullmatch(value):
                found[f"#{keyword}", number[1]].append(name)
    return dict(found)


def header_of(folder: Folder, name: str) -> dict[str, str]:
    """Returns the identifiers in a file's header; none if it is not DICOM, or cannot be read."""
    try:
        start = folder.read_start(name, HEADER_BYTES)
        if not posixpath.splitext(name)[1] and start[PREAMBLE : PREAMBLE + 4] != b"DICM":
            return {}
        found = parse_header(start)
        if found is None and len(start) == HEADER_BYTES:
            found = parse_header(folder.read(name))
    except FolderError:  # the check of the image names it
        return {}
    return found or {}


def parse_header(data: bytes) -> dict[str, str] | None:
    """Returns the identifiers in a header; None if it is cut off or damaged."""
    try:
        import pydicom
        from pydicom.filereader import read_dataset
    except ImportError:
        raise BuildError(
            "a table names DICOM files by the identifiers in their headers; to read those: pip install "
            "'medpairs[dicom]'"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom tells of every value that bends the standard
            file = io.BytesIO(data)
            with_preamble = data[PREAMBLE : PREAMBLE + 4] == b"DICM"
            if with_preamble:
                file.seek(PREAMBLE + 4)
                meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
                if meta.get("TransferSyntaxUID") == DEFLATED:
                    return {}
                file.seek(0)
            tags = list(DICOM_KEYS)
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags, force=not with_preamble)
            return {tag: value for tag in tags if (value := str(dataset.get(tag, "") or "").strip())}
    except MemoryError:
        raise
    except Exception:  # on broken data anything that Python can raise
        return None
