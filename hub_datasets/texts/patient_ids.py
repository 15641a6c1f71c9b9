"""Derives the keys of patients and studies from columns of tables and from DICOM files.

Columns are recognized by the names below, compared only by their letters and digits: case, blanks, underscores, hyphens
and full-width forms are ignored (`PatientID`, `patient-id`, `Patient Id`). If a row has several of these columns, the
first in the list with a usable value is used.

- patient: patient_id, patient, patient_no, patient_number, patient_nr, patient_key, patient_code, patient_uid,
  patient_identifier, pat_id, pt_id, pid, mrn, medical_record_number, medical_record_no, medical_record_id,
  hospital_number, hospital_no, chart_number, chart_no, subject_id, subject_no, subject_number, subject_code,
  participant_id, participant, person_id, subject, case_id, case_no, case_number, patient_name;
  病人ID, 病人编号, 病人号, 病人标识, 病人, 患者ID, 患者编号, 患者号, 患者标识, 患者, 病历号, 病历编号, 病案号,
  病案编号, 住院号, 门诊号, 登记号, 就诊卡号, 受试者ID, 受试者编号, 病例号, 病例编号, 患者姓名, 病人姓名, 姓名
- study: StudyInstanceUID, study_uid, study_id, study_no, study_number, study_key, accession, accession_number,
  accession_no, accession_id, exam_id, exam_no, exam_number, examination_id, study, exam, visit_id, encounter_id,
  report_id, report_no, report_number;
  检查ID, 检查号, 检查编号, 检查流水号, 检查单号, 申请单号, 影像号, 影像编号, 放射号, 报告ID, 报告号, 报告编号

Different spellings of one identifier give the same key: it is normalized (NFKC), stripped and case-folded, and whole
numbers lose leading zeros, which spreadsheets drop, and a trailing `.0`, which they add. Merging two patients by
mistake only keeps them in one split; splitting one patient in two would put images of a training patient into the test
set. Placeholders (`N/A`, `anonymous`, `匿名`, `XXXX`) have no key: otherwise all anonymized patients would be one.

The key is a hash without a secret, from which an identifier of few digits is recovered by hashing all of them. It stays
on this machine: of private sources an HMAC of it is published (`privacy/publication.py`).
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

IGNORED = re.compile(r"[\W_]+")  # all but letters and digits of any script
WHOLE = re.compile(r"0*([0-9]+)(?:\.0+)?")
BESIDE = " \t\r\n\v\f\0\u200b\ufeff"  # around an identifier
FILLED_UP = re.compile(r"0{5,}|x{2,}")  # fewer zeros may be where a numbering begins


def fold(text: str) -> str:
    """Returns the case-folded letters and digits of a text, by which column names and placeholders are compared."""
    return IGNORED.sub("", unicodedata.normalize("NFKC", text).casefold())


def places(names: str) -> dict[str, int]:
    """Returns {folded name: index} of names separated by blanks."""
    return {fold(name): place for place, name in enumerate(names.split())}


PATIENT_COLUMNS = places(
    "patient_id patient patient_no patient_number patient_nr patient_key patient_code patient_uid "
    "patient_identifier pat_id pt_id pid mrn medical_record_number medical_record_no medical_record_id "
    "hospital_number hospital_no chart_number chart_no subject_id subject_no subject_number subject_code "
    "participant_id participant person_id subject case_id case_no case_number patient_name 病人ID 病人编号 "
    "病人号 病人标识 病人 患者ID 患者编号 患者号 患者标识 患者 病历号 病历编号 病案号 病案编号 住院号 门诊号 "
    "登记号 就诊卡号 受试者ID 受试者编号 病例号 病例编号 患者姓名 病人姓名 姓名"
)
STUDY_COLUMNS = places(
    "StudyInstanceUID study_uid study_id study_no study_number study_key accession accession_number "
    "accession_no accession_id exam_id exam_no exam_number examination_id study exam visit_id encounter_id "
    "report_id report_no report_number 检查ID 检查号 检查编号 检查流水号 检查单号 申请单号 影像号 影像编号 "
    "放射号 报告ID 报告号 报告编号"
)
# Placeholders for a missing identifier, by their letters and digits.
NOBODY = places(
    "na nan nil none null nobody unknown unknownpatient patientunknown unk undefined unspecified unidentified "
    "notavailable notapplicable notknown notprovided notrecorded missing empty blank anon anonym anonyme "
    "anonymous anonymouspatient patientanonymous anonymouspatientid anonymized anonymised anonymizedpatient "
    "anonymisedpatient deidentified removed redacted deleted erased hidden masked withheld confidential "
    "private noid noname nopatientid patient patientid patientname subject 未知 未知患者 不明 不详 无 无名氏 "
    "匿名 匿名患者 患者匿名 匿名病人 匿名化 已匿名 已匿名化 脱敏 已脱敏 已删除 删除 已去除 已隐藏 隐藏 保密 "
    "未提供 未填写 未填 未登记 缺失 空 患者 病人 患者姓名 病人姓名"
)


def patient_key(value: object) -> str | None:
    """Returns `patient:<16 hex digits>` for a patient's identifier in a DICOM file or a cell; None for a placeholder.

    A single `0` is not a placeholder: many tables number their patients from 0.
    """
    return hash_key("patient", value)


def study_key(value: object) -> str | None:
    """Returns `study:<16 hex digits>` for a study's identifier; None for a placeholder."""
    return hash_key("study", value)


def hash_key(kind: str, value: object) -> str | None:
    """Returns the key of an identifier; None for a placeholder."""
    if value is None:
        return None
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", str(value)).casefold()).strip(BESIDE)
    bare = fold(text)
    if not bare or bare in NOBODY or FILLED_UP.fullmatch(bare):
        return None
    if whole := WHOLE.fullmatch(text):
        text = whole[1]
    return f"{kind}:{hashlib.blake2b(text.encode(errors='surrogatepass'), digest_size=8).hexdigest()}"


def patient_of(row: Mapping[str, Any]) -> str | None:
    """Returns the key of the patient of a table's row; None if no column identifies one."""
    return first_key(row, PATIENT_COLUMNS, patient_key)


def study_of(row: Mapping[str, Any]) -> str | None:
    """Returns the key of the study of a table's row; None if no column identifies one."""
    return first_key(row, STUDY_COLUMNS, study_key)


def note_study(groups: Iterable[str], patients: dict[str, set[str]]) -> None:
    """Adds the patient of a record's groups to those of its study."""
    keys = dict(key.split(":", 1) for key in groups)
    if {"patient", "study"} <= keys.keys():
        patients[keys["study"]].add(keys["patient"])


def own_study(groups: tuple[str, ...], patients: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Returns the groups of a record with its study renamed so that no other patient has it.

    Some hospitals number each patient's studies from 1: a study ID that occurs with several patients is a separate
    study for each.

    Args:
        patients: those of each study, as `note_study` has found them.
    """
    keys = dict(key.split(":", 1) for key in groups)
    if "patient" not in keys or len(patients.get(keys.get("study", ""), ())) < 2:
        return groups
    study = f"study:{keys['patient']}/{keys['study']}"
    return tuple(study if key.startswith("study:") else key for key in groups)


def first_key(row: Mapping[str, Any], columns: dict[str, int], make: Callable[[object], str | None]) -> str | None:
    """Returns the key from the cell of the first of the columns that the row has and that is not a placeholder."""
    cells = sorted((columns[name], written) for written in row if (name := folded(written)) in columns)
    return next((found for _, written in cells if (found := make(row[written]))), None)


@functools.lru_cache(4096)  # JSON rows may have any number of names
def folded(name: str) -> str:
    """Caches `fold`, which is slow; the rows of a table have the same few column names."""
    return fold(name)
