"""Checks which columns and cells identify a patient or a study, and that DICOM files give the same keys."""

from __future__ import annotations

import re

import pytest

from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.images.validation import ImageSettings, examine_image
from hub_datasets.sources.medical_reports import read
from hub_datasets.texts import patient_ids
from hub_datasets.texts.patient_ids import (
    PATIENT_COLUMNS,
    STUDY_COLUMNS,
    fold,
    patient_key,
    patient_of,
    study_key,
    study_of,
)
from tests.hub_datasets.layouts import collect_records, report_row, write_reports


@pytest.mark.parametrize(
    "name",
    ["patient_id", "PatientID", "Patient ID", "patient-id", " patient ", "subject_id", "mrn", "MRN", "病人ID",
     "病人ＩＤ", "患者编号", "患者 编号", "病历号", "住院号", "\ufeffpatient_id"],
)  # fmt: skip
def test_columns_of_a_patient(name):
    assert patient_of({"image": "1.png", name: "MRN00029"}) == patient_key("MRN00029") and study_of({name: "1"}) is None


@pytest.mark.parametrize(
    "name",
    ["study_id", "StudyInstanceUID", "Study Instance UID", "study-uid", "accession", "AccessionNumber", "检查号"],
)
def test_columns_of_a_study(name):
    assert study_of({name: "1.2.840.1"}) == study_key("1.2.840.1") and patient_of({name: "1"}) is None


@pytest.mark.parametrize(
    "name", ["image", "text", "patient_age", "患者年龄", "id", "subject_matter", "", "view", "outpatient"]
)
def test_other_columns_name_nobody(name):
    assert patient_of({name: "P1"}) is study_of({name: "P1"}) is None


def test_the_first_column_that_names_somebody():
    assert patient_of({"mrn": "7", "PatientID": "P1"}) == patient_key("P1")
    assert patient_of({"mrn": "7", "PatientID": "N/A"}) == patient_key("7")
    assert patient_of({"patient_id": "", "PatientID": "P1", "mrn": None}) == patient_key("P1")
    assert study_of({"accession": "A", "study_id": "S", "StudyInstanceUID": "1.2"}) == study_key("1.2")


def test_the_description_lists_the_columns():
    for kind, columns in (("patient", PATIENT_COLUMNS), ("study", STUDY_COLUMNS)):
        listed = re.search(rf"^- {kind}: (.*?)(?=^- |^$)", patient_ids.__doc__, re.MULTILINE | re.DOTALL)[1]
        assert [fold(name) for name in re.split("[,;]", listed)] == list(columns)


@pytest.mark.parametrize("same", [" P1 ", "p1", "Ｐ１", "P1\0", "\tP1\n"])
def test_spellings_of_one_identifier(same):
    assert patient_key(same) == patient_key("P1") == "patient:" + patient_key("P1")[-16:]
    assert study_key(same) == "study:" + patient_key("P1")[-16:]


def test_numbers():
    assert patient_key(29) == patient_key("29") == patient_key(29.0) == patient_key("00029") == patient_key("29.00")
    assert len({patient_key(value) for value in ("29", "290", "2.9", "P29", "29.5", 0, "P-29", "P 29")}) == 8
    assert patient_key(0) == patient_key("0") == patient_key("000") is not None, "a numbering may begin there"
    assert study_key("1.2.840.10") != study_key("1.2.840.1")
    assert patient_key("P\ud800") != patient_key("P\udcff")


NOBODY = [
    None, "", " ", "-", "?", "N/A", "na", float("nan"), "None", "null", "UNKNOWN", "Anonymous", "anonym", "ANON",
    "Anonymous^Patient", "ANONYMIZED", "de-identified", "XXXX", "xx", "removed", "[REDACTED]", "000000", "00000000",
    "未知", "匿名", "匿名患者", "无", "不详", "***",
]  # fmt: skip


@pytest.mark.parametrize("value", NOBODY)
def test_what_stands_for_nobody(value):
    assert patient_key(value) is study_key(value) is None


@pytest.mark.parametrize("value", ["Anonymous1", "ANON-017", "X1", "X", "NA12", "000001", "无锡-12", "0"])
def test_what_only_looks_like_nobody(value):
    assert patient_key(value)


def test_a_patient_of_a_dicom_file_and_of_a_table_is_one(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    import io

    import numpy as np

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    dataset.PatientID, dataset.StudyInstanceUID = "mrn00029 ", "1.2.840.7"
    dataset.set_pixel_data(
        np.arange(400, dtype=np.uint8).reshape(20, 20), "MONOCHROME2", 8, generate_instance_uid=False
    )
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    examined = examine_image(file.getvalue(), "1.dcm", ImageSettings())
    rows = [report_row(1, MRN="MRN00029", StudyInstanceUID="1.2.840.7")]
    (record,) = collect_records(read(Folder(write_reports(tmp_path, rows))))
    assert examined.groups == record.groups and len(record.groups) == 2
