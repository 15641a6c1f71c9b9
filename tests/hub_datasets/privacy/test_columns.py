"""Checks that columns that identify are recognized by their names and by their values, and that others are not."""

from __future__ import annotations

import pytest

from hub_datasets.privacy.column_names import kind_by_name
from hub_datasets.privacy.column_values import (
    DEEPEST,
    MOST_COLUMNS,
    TOO_MANY,
    ColumnProfile,
    kind_of_value,
    known_values,
)

NAMES = {
    "person_name": "PatientName patientname name first_name LastName mother_maiden_name 姓名 患者姓名 联系人 "
    "patient.name",
    "birth_date": "birth_date DOB PatientBirthDate date_of_birth 出生日期 生日",
    "phone_number": "phone Phone1 tel mobile home_phone emergency_contact 联系电话 手机号 contact.phone",
    "email": "email e-mail EmailAddress 电子邮箱",
    "address": "address home_address zip city PatientAddress 家庭住址 邮编 户籍",
    "record_number": "mrn MRN patient_mrn Medical_Record_Number chart_no 病历号 住院号 门诊号 床号 就诊卡号",
    "national_id": "ssn Passport driver_license nhs_number 身份证号 证件号码",
    "insurance_number": "insurance_no health_plan_id MedicareNumber 医保号 社保卡号",
    "account": "account_number username 微信号 银行卡号",
    "staff_name": "referring ReferringPhysicianName radiologist reported_by OperatorsName 报告医师 审核者 "
    "检查技师 主任",
    "device": "device_serial DeviceSerialNumber StationName 设备序列号",
    "institution": "InstitutionName hospital 检查医院",
    "date": "StudyDate study_date exam_time admission_date 检查日期 报告时间",
    "patient_id": "patient_id PatientID subject pid 患者ID 病人编号 patient.id",
    "study_id": "study_id AccessionNumber StudyInstanceUID visit_id 检查号 影像号",
    "uid": "SOPInstanceUID SeriesInstanceUID frame_of_reference_uid",
    "file_name": "image image_path file_name image_id 图像 图像路径",
    "": "class_name disease_name birth_weight driver_mutation update candidate sex age view modality kvp "
    "echo_time label"
    " radiologist_report reader1_score hospital_stay country SOPClassUID patient.sex findings 性别 年龄 检查部位 "
    "影像诊断"
    " 诊断意见 科室 设备名称 重复时间",
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names.split()])
def test_what_a_column_is_called(kind, name):
    assert kind_by_name(name) == kind


VALUES = {
    "person_name": ["DOE^JANE", "Example, Jane", "John Smith", "Mary Ann Jones", "张伟", "欧阳晓东", "Dr. Smith"],
    "record_number": ["00451207", "SN99881", "ACC-2021-000311", "MRN: 445566"],
    "national_id": ["123-45-6780", "11010519491231002X"],
    "phone_number": ["212-555-0140", "+49 170 0000000", "13812345678"],
    "email": ["jane@example.org"],
    "date": ["1961-02-03", "3 March 1961"],
    "uid": ["1.2.840.10008.5.1.4"],
    "file_name": ["im0.png", "a/b/c.DCM"],
    "": ["M", "PA", "Left, Lateral", "General Electric", "Moderate Osteoarthritis", "T2 FLAIR", "Basal Cell "
                                                                                                "Carcinoma", "12",
         "2021", "3.14159265", "胸部", "高密度", "黄疸", "右肺", "BCC", "New York", "PAT_46_881_939"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in VALUES.items() for value in values])
def test_what_a_value_is_by_itself(kind, value):
    assert kind_of_value(value) == kind


def profile_of(*rows: dict) -> ColumnProfile:
    profile = ColumnProfile()
    for row in rows:
        profile.add(row)
    return profile


def test_a_column_is_what_most_of_its_values_are():
    rows = [{"a": "212-555-0140", "b": "Example, Jane", "c": "see 212-555-0140" if n else "PA"} for n in range(3)]
    rows += [{"a": "none", "b": None, "c": "lateral"} for _ in range(2)]
    assert profile_of(*rows).identifying() == {"a": "phone_number", "b": "person_name"}


def test_counts_of_two_folders_are_added():
    first, second = profile_of({"a": "PA"}), profile_of({"a": "DOE^JANE"}, {"a": "DOE^JOHN"}, {"mrn": 7})
    first.read(second.rows())
    assert first.identifying() == {"a": "person_name", "mrn": "record_number"}
    assert first.totals == {"a": 3, "mrn": 1}


def test_values_inside_of_others_are_columns_of_their_own():
    profile = profile_of({"patient": {"name": "x", "sex": "F", "id": 7}, "list": [{"phone": "1"}, {"view": "PA"}]})
    found = profile.identifying()
    assert found == {"list.phone": "phone_number", "patient.id": "patient_id", "patient.name": "person_name"}


def test_what_cannot_be_told_apart_is_left_out():
    """Objects with a key per row, and lists in lists in lists: nobody could look through them."""
    deep: list = ["x"]
    for _ in range(DEEPEST + 5):
        deep = [deep]
    found = profile_of({"deep": deep}, {f"key {n}": 1 for n in range(MOST_COLUMNS + 5)}).identifying()
    assert found == {"deep": TOO_MANY, "": TOO_MANY}


def test_a_key_that_is_a_name_itself():
    assert profile_of({"readings": {"Smith, John": 2}}).identifying() == {"readings.Smith, John": "person_name"}


def test_what_texts_are_searched_for():
    known = known_values(
        {"PatientName": "DOE^JANE", "sex": "F", "x": "212-555-0140", "patient_id": 4711, "dob": "1961"}
    )
    assert [(one.kind, one.value, one.origin) for one in known] == [
        ("person_name", "DOE^JANE", "the column PatientName"),
        ("phone_number", "212-555-0140", "the column x"),
        ("patient_id", "4711", "the column patient_id"),
    ]
