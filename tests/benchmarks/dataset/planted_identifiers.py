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

GIVEN = ("John", "Mary", "Robert", "Linda", "Peter", "Susan", "Ngozi", "Torvald", "Ileana", "Dmitri", "Saoirse", "Bogdan",
         "Yael", "Kofi", "Anneliese", "Thiago")  # fmt: skip
FAMILY = ("Smith", "Okafor", "Lindqvist", "Keller", "Navarro", "O'Neill", "Petrov", "Baker", "McAllister", "Haddad",
          "Ferreira", "Kowalczyk", "Young", "Tanaka", "Dubois", "Weiss-Braun")  # fmt: skip
SURNAMES = "王李张刘陈杨赵黄周吴徐孙马朱胡郭何林罗高郑梁谢唐邓冯韩曹曾彭萧田潘于余叶蒋杜苏魏"
CHINESE_GIVEN = (
    "伟",
    "芳",
    "秀英",
    "敏",
    "静",
    "建国",
    "丽娟",
    "强",
    "洋",
    "艳玲",
    "志明",
    "晓东",
    "雪梅",
    "文博",
    "子涵",
    "佳怡",
)
REMOVED = "text removed"
CITIES = ("Springfield", "Riverton", "Lakeside", "Oakdale")
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # of the digits of a resident's number, GB 11643-1999


@dataclass(frozen=True)
class Person:
    """A person who does not exist."""

    given: str
    family: str
    chinese: str
    birth: str
    phone: str
    mobile: str
    record: str
    patient_id: str
    accession: str
    resident: str
    social: str
    email: str
    address: str
    chinese_address: str
    doctor: str
    chinese_doctor: str
    serial: str
    age: int
    sex: str
    stranger: str
    chinese_stranger: str


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


def resident_number(draw: random.Random, birth: str) -> str:
    """A number with the right check digit."""
    digits = f"{draw.choice((11, 31, 33, 44, 51))}{draw.randrange(101, 999):04d}{birth}{draw.randrange(1000):03d}"
    total = sum(int(digit) * weight for digit, weight in zip(digits, WEIGHTS, strict=True))
    return digits + "10X98765432"[total % 11]


def person(draw: random.Random) -> Person:
    given, family = draw.choice(GIVEN), draw.choice(FAMILY)
    year, month, day = draw.randrange(1930, 2005), draw.randrange(1, 13), draw.randrange(1, 29)
    birth = f"{year}{month:02d}{day:02d}"
    digits = [draw.randrange(10) for _ in range(40)]
    text = "".join(map(str, digits))
    return Person(
        given,
        family,
        draw.choice(SURNAMES) + draw.choice(CHINESE_GIVEN),
        f"{year}-{month:02d}-{day:02d}",
        f"{draw.randrange(212, 989)}-555-{text[:4]}",
        f"13{text[4:13]}",
        f"00{draw.randrange(100000, 999999)}",
        f"PX-{draw.randrange(10000, 99999)}",
        f"ACC-{draw.randrange(2015, 2024)}-{draw.randrange(100000, 999999)}",
        resident_number(draw, birth),
        f"{draw.randrange(101, 665)}-{draw.randrange(10, 99)}-{draw.randrange(1000, 9999)}",
        f"{given.lower()}.{family.lower().replace(chr(39), '')}@mail.example.org",
        f"{draw.randrange(1, 400)} Elm Street, {draw.choice(CITIES)}",
        f"杭州市西湖区文三路{draw.randrange(1, 400)}号",
        f"{draw.choice(GIVEN)} {draw.choice(FAMILY)}",
        draw.choice(SURNAMES) + draw.choice(CHINESE_GIVEN),
        f"SN{draw.randrange(10000, 99999)}",
        draw.randrange(18, 90),
        draw.choice("MF"),
        f"{draw.choice(GIVEN)} {draw.choice(FAMILY)}",
        draw.choice(SURNAMES) + draw.choice(CHINESE_GIVEN),
    )


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
KEPT = {"en": {"sex": lambda p: p.sex, "age": lambda p: str(p.age), "view": lambda p: "PA", "kVp": lambda p: "120"},
        "zh": {"性别": lambda p: "男" if p.sex == "M" else "女", "年龄": lambda p: str(p.age), "检查部位": lambda p: "胸部"}}  # fmt: skip

# --- Texts: kind and sentence; `<` and `>` stand around the identifier. `known` are those that a column or header tells.

TEXTS = {
    "en": (
        ("name, known", "Compared with the earlier film of <{p.family}> the effusion is smaller."),
        ("name, known", "<{p.given} {p.family}> was examined in supine position."),
        ("name, known", "The family of <{p.family}, {p.given}> was informed about the nodule."),
        ("name after Patient", "Patient <{p.given} {p.family}> has no pleural effusion."),
        ("name before age", "<{p.given} {p.family}>, {p.age}{p.sex}, with cough for three days."),
        ("name before age", "<{p.given} {p.family}> is a {p.age}-year-old with a rib fracture."),
        ("name before age", "<{p.family}, {p.given}> ({p.age} {p.sex}): small effusion on the left."),
        ("staff name", "Discussed with Dr. <{p.doctor}> after the examination."),
        ("staff name", "Lungs are clear. Electronically signed by <{p.doctor}>"),
        ("record number", "MRN: <{p.record}>. Heart size is normal."),
        ("record number", "The lungs are clear in <{p.record}> as before."),
        ("study ID", "Compared with <{p.accession}> the mass is unchanged."),
        ("birth date", "DOB <{p.birth}>, the heart is enlarged."),
        ("date", "Compared with the film of <2021-{m}>, no change."),
        ("phone", "Results were called to <{p.phone}> by the reader."),
        ("national ID", "SSN <{p.social}>, normal chest."),
        ("email", "Send the images to <{p.email}> please."),
        ("address", "Address: <{p.address}>"),
        ("name after a verb", "Normal chest. Told <{p.stranger}> at noon."),
        ("name without any cue", "Normal chest, <{p.stranger}> agrees."),
    ),
    "zh": (
        ("name, known", "与<{p.chinese}>旧片比较，左侧胸腔积液减少。"),
        ("name, known", "已告知<{p.chinese}>家属，双肺未见实变。"),
        ("name after 患者", "患者<{p.chinese}>，双肺纹理清晰。"),
        ("name after 患者", "患者<{p.chinese}>，男，{p.age}岁，心影不大。"),
        ("name before age", "<{p.chinese}>，女，{p.age}岁。右肺下叶结节。"),
        ("staff name", "双肺清晰。报告医师：<{p.chinese_doctor}>"),
        ("record number", "住院号<{p.record}>，双肺野清晰。"),
        ("record number", "心影增大，<{p.record}>。"),
        ("birth date", "出生日期：<{p.birth}>，骨质未见异常。"),
        ("date", "与<2021年{m1}月{d1}日>片比较，病灶吸收。"),
        ("phone", "请回拨<{p.mobile}>，右肺上叶肿块。"),
        ("national ID", "身份证<{p.resident}>，双侧膈面光整。"),
        ("address", "住址：<{p.chinese_address}>"),
        ("name after a verb", "双肺清晰，已电话通知<{p.chinese_stranger}>。"),
        ("name without any cue", "双肺清晰，<{p.chinese_stranger}>同意此诊断。"),
    ),
}
OPENING = {"en": "Chest radiograph {n}. ", "zh": "胸部正位片{n}。"}


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
    """Writes two tables per language with images, some of them DICOM; returns everything that was planted.

    `en.jsonl` and `zh.jsonl` have columns that identify, which tell what to search the texts for. `en-bare.jsonl` and
    `zh-bare.jsonl` have none, so that only the words around an identifier tell.
    """
    draw, noise, planted = random.Random(seed), np.random.default_rng(seed), []
    for language in TEXTS:
        for bare in (False, True):
            table, rows = f"{language}-bare" if bare else language, []
            texts = [text for text in TEXTS[language] if not (bare and "known" in text[0])]
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
