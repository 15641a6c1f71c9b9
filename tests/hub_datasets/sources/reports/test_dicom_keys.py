"""Checks tables that name images by the identifiers in the headers of DICOM files."""

from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import RawRecord, Reason, Rejection
from hub_datasets.sources.medical_reports import read
from hub_datasets.sources.reports.dicom_keys import HEADER_BYTES, read_keys
from tests.hub_datasets.layouts import write_files

TEXT = "The lungs are clear."


def dicom(accession: str, study: str = "1.2.3", sop: str = "1.2.3.4", syntax=ExplicitVRLittleEndian, **more) -> bytes:
    """A header with pixels that cannot be decoded: they need not be."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", sop
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.AccessionNumber, dataset.StudyInstanceUID, dataset.SOPInstanceUID = accession, study, sop
    for name, value in more.items():
        setattr(dataset, name, value)
    dataset.PixelData = b"\1\2"
    dataset["PixelData"].VR = "OW"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


FILES = {
    "a/1.dcm": dicom("A1", "1.2.1", "1.2.1.1"),
    "a/2.dcm": dicom("A1", "1.2.1", "1.2.1.2"),
    "b/IM0003": dicom("00042", "1.2.2", "1.2.2.1"),  # as most programs name them
    "b/notes": b"no DICOM",
}


def found_in(folder, table: str, files: dict = FILES) -> list:
    return list(read(Folder(write_files(folder, files | {"r.csv": table}))))


@pytest.mark.parametrize(
    ("header", "value", "images"),
    [
        ("AccessionNumber", "A1", ["a/1.dcm", "a/2.dcm"]),
        ("accession_no", "42", ["b/IM0003"]),  # a spreadsheet has dropped the zeros
        ("Accession Number", "42.0", ["b/IM0003"]),
        ("StudyInstanceUID", "1.2.1", ["a/1.dcm", "a/2.dcm"]),
        ("SOPInstanceUID", "1.2.1.2", ["a/2.dcm"]),
        ("study_uid", " 1.2.2 ", ["b/IM0003"]),
        ("检查号", "A1", ["a/1.dcm", "a/2.dcm"]),
    ],
)
def test_rows_are_joined_by_an_identifier(tmp_path, header, value, images):
    records = [one for one in found_in(tmp_path, f"{header},report\n{value},{TEXT}\n") if isinstance(one, RawRecord)]
    assert [record.image for record in records] == images
    assert len({record.conversation for record in records}) == 1  # one report about all of them


def test_the_most_exact_identifier_counts(tmp_path):
    table = f"AccessionNumber,SOPInstanceUID,report\nA1,1.2.1.2,{TEXT}\nA1,,{TEXT}\n"
    records = [one for one in found_in(tmp_path, table) if isinstance(one, RawRecord)]
    assert [record.image for record in records] == ["a/2.dcm", "a/1.dcm", "a/2.dcm"]


def test_an_image_column_that_finds_files_is_preferred(tmp_path):
    table = f"AccessionNumber,image,report\nA1,b/IM0003,{TEXT}\n"
    assert [one.image for one in found_in(tmp_path, table) if isinstance(one, RawRecord)] == ["b/IM0003"]
    table = f"AccessionNumber,image,report\nA1,gone.png,{TEXT}\n"
    found = [one.image for one in found_in(tmp_path, table) if isinstance(one, RawRecord)]
    assert found == ["a/1.dcm", "a/2.dcm"]


def test_an_identifier_that_no_file_has(tmp_path):
    rejection, empty, *_ = found_in(tmp_path, f"AccessionNumber,report\nA9,{TEXT}\n,{TEXT}\n")
    assert isinstance(rejection, Rejection) and rejection.code is Reason.IMAGE_MISSING
    assert rejection.message == "no DICOM file with the AccessionNumber 'A9'"
    assert empty.message == "the column AccessionNumber is empty"


def test_headers_that_are_damaged_compressed_or_long(tmp_path):
    long = dicom("A7", ImageComments="x" * (HEADER_BYTES + 5000))
    files = {
        "cut.dcm": dicom("A5")[:200],
        "deflated.dcm": dicom("A6", syntax=DeflatedExplicitVRLittleEndian),
        "long.dcm": long,
        "empty.dcm": b"",
        "text.dcm": b"hello " * 100,
        "bare.dcm": dicom("A8")[132:],
    }
    folder = Folder(write_files(tmp_path, files))
    keys = read_keys(folder, [file.name for file in folder.files()])
    assert keys["AccessionNumber", "A7"] == ["long.dcm"]
    assert not {("AccessionNumber", "A6"), ("AccessionNumber", "A5")} & keys.keys()
