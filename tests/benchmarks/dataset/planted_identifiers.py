"""Makes up persons and writes a folder of reports with their identifiers in headers, columns, texts and file names.

Nobody here exists: names are drawn from lists, numbers from a seeded generator. Half of the names are on no list of the
product. What has to happen to each identifier follows the actions of the MIDI-B challenge for de-identified DICOM
(arXiv:2507.23608): text removed or retained, date shifted, UID changed, patient ID consistent.
"""

from __future__ import annotations

import io
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.dataset.made_up_persons import Person, person
from tests.benchmarks.dataset.planted_texts import HELD_OUT, OPENING, TEXTS

REMOVED = "text removed"


@dataclass(frozen=True)
class Planted:
    """An identifier that was put somewhere.

    Attributes:
        place: `header`, `column`, `text` or `name`.
        kind: what it is.
        table: the file of the row, without its suffix.
        action: what has to happen to it, in the words of MIDI-B.
        value: as it is written there.
        row: the number of the row.
        start: where it begins in the text; -1 elsewhere.
    """

    place: str
    kind: str
    table: str
    action: str
    value: str
    row: int
    start: int = -1


# --- Columns: name, kind, action, value. The last of each language have names that tell nothing.

COLUMNS = {
    "en": (
        ("PatientName", "name", REMOVED, lambda p: f"{p.family.upper()}^{p.given.upper()}"),
        ("first_name", "name", REMOVED, lambda p: p.given),
        ("Last Name", "name", REMOVED, lambda p: p.family),
        ("birth_date", "birth date", "date removed", lambda p: p.birth),
        ("phone", "phone", REMOVED, lambda p: p.phone),
        ("home_address", "address", REMOVED, lambda p: p.address),
        ("mrn", "record number", REMOVED, lambda p: p.record),
        ("ssn", "national ID", REMOVED, lambda p: p.social),
        ("insurance_no", "insurance number", REMOVED, lambda p: f"H{p.record}"),
        ("referring_physician", "staff name", REMOVED, lambda p: p.doctor),
        ("email", "email", REMOVED, lambda p: p.email),
        ("DeviceSerialNumber", "device", REMOVED, lambda p: p.serial),
        ("study_date", "date", "date removed", lambda p: f"2021-{p.birth[5:]}"),
        ("patient_id", "patient ID", "patient ID consistent", lambda p: p.patient_id),
        ("AccessionNumber", "study ID", "UID changed", lambda p: p.accession),
        ("field_1", "name", REMOVED, lambda p: f"{p.family}, {p.given}"),
        ("field_2", "phone", REMOVED, lambda p: p.phone),
        ("field_3", "record number", REMOVED, lambda p: p.record),
    ),
    "zh": (
        ("姓名", "name", REMOVED, lambda p: p.chinese),
        ("出生日期", "birth date", "date removed", lambda p: p.birth),
        ("联系电话", "phone", REMOVED, lambda p: p.mobile),
        ("家庭住址", "address", REMOVED, lambda p: p.chinese_address),
        ("住院号", "record number", REMOVED, lambda p: p.record),
        ("身份证号", "national ID", REMOVED, lambda p: p.resident),
        ("医保号", "insurance number", REMOVED, lambda p: f"Y{p.record}"),
        ("报告医师", "staff name", REMOVED, lambda p: p.chinese_doctor),
        ("检查日期", "date", "date removed", lambda p: f"2021-{p.birth[5:]}"),
        ("患者ID", "patient ID", "patient ID consistent", lambda p: p.patient_id),
        ("检查号", "study ID", "UID changed", lambda p: p.accession),
        ("备用1", "name", REMOVED, lambda p: p.chinese),
        ("备用2", "phone", REMOVED, lambda p: p.mobile),
        ("备用3", "national ID", REMOVED, lambda p: p.resident),
    ),
}
KEPT = {
    "en": {"sex": lambda p: p.sex, "age": lambda p: str(p.age), "view": lambda p: "PA", "kVp": lambda p: "120"},
    "zh": {
        "性别": lambda p: "男" if p.sex == "M" else "女",
        "年龄": lambda p: str(p.age),
        "检查部位": lambda p: "胸部",
    },
}

# --- Texts


def plant_text(kind: str, template: str, who: Person, number: int, table: str) -> tuple[str, Planted]:
    """A report with one identifier, and where that is."""
    month, day = who.birth[5:7], who.birth[8:]
    said = OPENING[table[:2]].format(n=number) + template.format(p=who, m=f"{month}-{day}", m1=int(month), d1=int(day))
    start, end = said.index("<"), said.index(">") - 1
    said = said.replace("<", "").replace(">", "")
    action = "date removed" if "date" in kind else REMOVED
    return said, Planted("text", kind, table, action, said[start:end], number, start)


# --- Headers of DICOM files

HEADERS = (
    ("PatientName", "name", REMOVED, lambda p: f"{p.family}^{p.given}"),
    ("PatientID", "patient ID", "patient ID consistent", lambda p: p.patient_id),
    ("PatientBirthDate", "birth date", "date shifted", lambda p: p.birth.replace("-", "")),
    ("StudyDate", "date", "date shifted", lambda p: f"2021{p.birth[5:].replace('-', '')}"),
    ("AccessionNumber", "study ID", REMOVED, lambda p: p.accession[:16]),
    ("ReferringPhysicianName", "staff name", REMOVED, lambda p: "^".join(reversed(p.doctor.split(" ", 1)))),
    ("PatientAddress", "address", REMOVED, lambda p: p.address),
    ("PatientTelephoneNumbers", "phone", REMOVED, lambda p: p.phone),
    ("OtherPatientIDs", "record number", REMOVED, lambda p: p.record),
    ("InstitutionName", "institution", REMOVED, lambda p: f"{p.doctor.split()[-1]} Memorial Hospital"),
    ("DeviceSerialNumber", "device", REMOVED, lambda p: p.serial),
    ("StudyInstanceUID", "UID", "UID changed", lambda p: f"1.2.826.0.1.{int(p.record)}.{int(p.mobile)}"),
    ("SOPInstanceUID", "UID", "UID changed", lambda p: f"1.2.826.0.2.{int(p.record)}.{int(p.mobile)}"),
)


def dicom(who: Person, pixels: np.ndarray) -> bytes:
    """A file of 8-bit gray with all of `HEADERS`, and a private element with the name again."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = SecondaryCaptureImageStorage, ExplicitVRLittleEndian
    header = {name: value(who) for name, _, _, value in HEADERS}
    meta.MediaStorageSOPInstanceUID = header["SOPInstanceUID"]
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    for name, value in header.items():
        setattr(data, name, value)
    data.SOPClassUID, data.Modality = SecondaryCaptureImageStorage, "CR"
    data.private_block(0x0011, "MADE UP", create=True).add_new(1, "LO", f"{who.family} {who.given}")
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.BitsAllocated, data.BitsStored, data.HighBit = 1, 8, 8, 7
    data.PixelRepresentation, data.PhotometricInterpretation, data.PixelData = 0, "MONOCHROME2", pixels.tobytes()
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


# --- The folder


def write_folder(folder: Path, persons: int, seed: int) -> list[Planted]:
    """Writes three tables per language with images, some of them DICOM; returns everything that was planted.

    `en.jsonl` and `zh.jsonl` have columns that identify, which tell what to search the texts for. `en-bare.jsonl` and
    `zh-bare.jsonl` have none, so that only the words around an identifier tell; `en-held-out.jsonl` and
    `zh-held-out.jsonl` are like these, with sentences of which the rules know nothing.
    """
    draw, noise, planted = random.Random(seed), np.random.default_rng(seed), []
    for language in TEXTS:
        for table in (language, f"{language}-bare", f"{language}-held-out"):
            bare, rows = table != language, []
            texts = [text for text in TEXTS[language] if not (bare and "known" in text[0])]
            texts = HELD_OUT[language] if table.endswith("held-out") else texts
            for number in range(1, persons + 1):
                who, pixels = person(draw), noise.integers(0, 256, (32, 32), np.uint8)
                kind, template = texts[number % len(texts)]
                text, found = plant_text(kind, template, who, number, table)
                is_dicom = language == "en" and not bare and number % 4 == 0
                name = f"{table}/{who.family}/{file_stem(who, language)}" + (".dcm" if is_dicom else ".png")
                planted += [found, Planted("name", "name and number", table, REMOVED, file_stem(who, language), number)]
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if is_dicom:
                    path.write_bytes(dicom(who, pixels))
                    planted += [
                        Planted("header", kind, table, act, value(who), number) for _, kind, act, value in HEADERS
                    ]
                else:
                    Image.fromarray(pixels).save(path)
                row = {"image": name, "text": text, "language": language}
                row |= {column: value(who) for column, value in KEPT[language].items()}
                for column, kind, action, value in () if bare else COLUMNS[language]:
                    row[column] = value(who)
                    planted.append(Planted("column", kind, table, action, row[column], number))
                rows.append(json.dumps(row, ensure_ascii=False))
            (folder / f"{table}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return planted


def file_stem(who: Person, language: str) -> str:
    """The name of a file as a person at a scanner gives it."""
    return f"{who.family}_{who.given}_{who.record}" if language == "en" else f"{who.chinese}_{who.resident}"
