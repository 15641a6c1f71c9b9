"""Checks that identifiers of persons are flagged and not repeated, and that findings are not flagged."""

from __future__ import annotations

import json
import signal

import pytest

from hub_datasets.records import Flag
from hub_datasets.texts.identifiers import find_identifiers
from tests.cases import few

# what is found stands between angle brackets
IDENTIFIERS = {
    "email": ["Write to <a.b-c+d@mail.example.org>.", "邮箱<zhang_san@163.com>。", "<x@y.cn>", "信箱：<ａ＠ｂ．ｃｎ>"],
    "url": ["See <https://example.org/a?b=1> now", "<www.example.com/x>", "网址<http://example.cn/页>，见下"],
    "phone_number": [
        "Call <(212) 555-2368> now",
        "Call <212-555-2368>",
        "Call <212.555.2368>.",
        "<+1 212-555-2368>",
        "<+44 20 7946 0958>",
        "<+49 (30) 1234567>",
        "<+86 138 1234 5678>",
        "<手机13812345678>，",
        "回拨<13812345678>，",
        "<138-1234-5678>",
        "<１３８１２３４５６７８>",
        "<０１０－６５５２９９８８>",
        "<010-65529988>",
        "<(0571)87654321>",
        "<（０５７１）８７６５４３２１>",
        "<电话：8765 4321>",
        "<Phone: 555 2368>",
        "<١٣٨١٢٣٤٥٦٧٨>",
    ],
    "national_id": [
        "<11010519491231002X>",
        "身份证号<11010519491231002x>。",
        "<１１０１０５１９４９１２３１００２Ｘ>",
        "旧号<110105491231002>",
        "SSN is <123-45-6789>.",
        "<SSN: 123456789>",
    ],
    "record_number": [
        "<MRN: 12345>",
        "<MRN 00-123-45>",
        "<Medical record number: A123456>",
        "<Patient ID: PX-20391>",
        "<Accession #: 20193847>",
        "<accession number CT2019001234>",
        "<病历号：123456>",
        "<住院号 Z0012345>",
        "<门诊号:889912>",
        "<检查号：CR20190012>",
        "<CT号：12345>",
        "<ID: 12345678>",
        "<ID=A0012345>, male",
        "患者<ID：12345678>。",
        "<病历号：１２３４５６>",
    ],
    "birth_date": [
        "<DOB: 1/2/60>",
        "<DOB 03/12/1960>",
        "a man <born on March 3, 1960>",
        "<Date of birth: 12 May 1960>",
        "<出生日期：1960年5月12日>",
        "<出生日期：19600512>",
        "<出生于1960年5月>",
        "患者<1960年5月12日出生>",
    ],
    "account": [
        "<wechat: zhangwei88>",
        "<WeChat ID: zhang_wei>.",
        "<微信：zhangwei88>，",
        "<微信号: wxid_a1b2c3>",
        "<QQ：12345678>",
    ],
    "date": [
        "on <2019-03-12>.",
        "on <2019/3/12>",
        "on <12.03.2019>,",
        "on <03/12/2019>",
        "on <03/12/19>",
        "on <March 12, 2019>",
        "on <Mar. 12th 2019>",
        "on <12 March 2019>",
        "on <12-MAR-2019>",
        "<2019年3月12日>复查",
        "<２０１９年３月１２日>复查",
    ],
    "person_name": [
        "<Patient name: John Smith>",
        "<PATIENT NAME: SMITH, JOHN>",
        "<Name: Anna Maria Lopez>, 63",
        "seen by <Dr. Smith>",
        "<Mrs O'Neill> came",
        "Referring <physician: Smith>",
        "<Reported by Jane Smith>",
        "<Patient: John Smith>, 54 y",
        "<PATIENT: SMITH, JOHN>",
        "<Patient: Smith>, 54 y",
        "<Pt: Anna Lopez> came",
        "<pt: O'Neill>, 61M",
        "<病人：张伟>",
        "<病人：John Smith>，男",
        "<患者：欧阳锋>，",
        "<患者: 买买提·艾力>",
        "<患者张伟>，男，54岁",
        "<患者李小明>，45岁。",
        "<患儿王芳>（女",
        "<姓名 张伟>",
        "<姓名　张伟>",
        "<姓名张伟>，",
        "<姓名：张三>，男",
        "患者<姓名 李小明>",
        "<姓名：欧阳·买买提>。",
        "报告<医师：王五>",
    ],
    "address": ["<Address: 12 Main Street, Springfield>", "家庭<住址：杭州市西湖区文三路1号>", "<地址:北京市东城区>"],
}
FINDINGS = [
    "A mass of 1.5 x 2.3 cm, 12 x 14 x 20 mm, in segment 4.",
    "T1 and T2 hyperintense, b=1000, TE 80 ms, TR 2500-4000 ms, matrix 512 512 1024, 512 x 512.",
    "L4-L5 and C5/6 disc herniation, T12-L1 normal, S1.",
    "Knee X-ray, Kellgren-Lawrence grade 3: moderate osteoarthritis. Graded by medical experts I and II.",
    "Give 2.5-5 mg 3 times a day, 0.9% NaCl 500 ml, 120/80 mmHg, 37.5 C, HU -1024 to 3071.",
    "Series 1.2.840.10008.5.1.4.1.1.2 and 1.3.6.1.4.1.14519.5.2.1.13812345678.123456789012345",
    "Name of the organ? The name of this is lung. The patient is a 63-year-old man. MR imaging of Mr contrast.",
    "What is the address of this problem? It was reported by XXXX. Name: unknown. Patient name: XXXX",
    "Patient 3 of 10, case 12, no. 5, study 7, image 123 of 456, record 9; number of lesions: 2.",
    "The years 2018, 2019 and 2020; from 1998 to 2004; since March 2019; grade 1-2-3; 4/5/6.",
    "BI-RADS 4a, ICD-10 M17.1, TNM T2N0M0, PI-RADS 3/5, Gleason 3+4=7, CT value 35-45 HU, WHO 2016 grade II.",
    "About 12 of 34 cells per 56 fields at x 400; p = 0.0312; 95 % CI 1.02-3.45; n = 10015 (2,298).",
    "Skin lesion on the face of a 63-year-old; diameter 6.0 x 5.0 mm, Fitzpatrick type 2. It itches, it has grown.",
    "Miss the diagnosis? Dr contrast; Prof of concept; ms. later; Born with it. Address this.",
    "右肺上叶见1.5×2.3cm结节，T2信号增高，L4-L5椎间盘突出，3级，约12毫米。",
    "心影大小形态正常，双肺纹理清晰。患者，男，63岁。CT号称准确。这幅图像是几号层面？第12号。",
    "姓名：某某某，姓名：匿名，姓名： 性别：男，姓名和年龄不详。医师认为正常。2019年3月，病理生长。",
    "Patient: supine. Patient: Supine Position. PATIENT: ERECT, AP VIEW. Patient: Male, 54 y. Pt: stable, INR 1.2.",
    "The patient is rotated. The patient has Parkinson Disease. patient: rotated to the left; Patient: Chest Pain.",
    "Patient: The lungs are clear. PT: 12.5 s. Patient: A 54-year-old man, Kellgren Lawrence 3. Patient: 54 y, female.",
    "Image ID: 12345678, image_id: 1234567, series ID: 123456, id: 12, thyroid: 123. We chat: long.",
    "患者取仰卧位。病人：男。患者：男，54岁。病人：女，取立位。患者高血压，男，54岁。患者黄疸，男。病人：高血压病。",
    "患者，男，54岁，胸片示双肺纹理增多。病人：周围型肺癌。患者：马上复查。患者曾因咳嗽，54岁。患者张某，男。病人：无不适。",
    "患者体位旋转，心影增大。患者：石膏固定。病人：陈旧性骨折。患者双肺清晰，男性。患者：胸痛，女，30岁。微信。",
    "住院12天，门诊3次，检查2019例，地址不详，出生时体重3500克，Apgar评分10-10-10。",
]
# fmt: off
PIECES = [
    "Patient: ", "Patient: A", "Patient: Aa Bb ", "患者", "患者张", "患者：", "ID: ", "微信：", "wechat:",
    "a", "1", "1 ", "1-", "+1", "@a.", "a@", "A a ", "Dr ", "Dr. A", "name: ", "Name: Aa ", "https://", "1.", "(",
    "姓名", "姓名：", "电话", "电话：1", "出生", "2019年", "2019-1", "Jan ", "Jan 1 ", "MRN ", "MRN A", "住院号",
    "born ", "地址：", "号1", "\n", " ", "1\n", "x@y.z ", "13812345678 ", "12/12/2019 ",
]
ONE_OF_A_KIND = [
    "Patient: Aa Bb ", "患者张", "ID: ", "1 ", "a@", "Dr. A", "https://", "电话：1", "2019-1", "Jan 1 ", "MRN A",
    "地址：", "\n",
]
# fmt: on
EXPECTED = [(kind, text) for kind, texts in IDENTIFIERS.items() for text in texts]


@pytest.mark.parametrize(("kind", "marked"), EXPECTED, ids=[f"{kind}-{text}" for kind, text in EXPECTED])
def test_found_where_it_is(kind, marked):
    start, end = marked.index("<"), marked.index(">") - 1
    text = marked.replace("<", "").replace(">", "")
    assert find_identifiers(text) == [Flag(kind, f"characters {start + 1} to {end}")]


@pytest.mark.parametrize("text", FINDINGS)
def test_a_finding_is_not_flagged(text):
    assert find_identifiers(text) == []


def test_all_of_a_letterhead_in_order():
    text = (
        "Patient name: John Smith\nDOB: 03/12/1960  MRN: 445566\nAddress: 1 Main Street\nTel: 212-555-2368, "
        "js@example.org\nExam on 2019-05-06. Normal chest."
    )
    found = ["person_name", "birth_date", "record_number", "address", "phone_number", "email", "date"]
    assert [flag.kind for flag in find_identifiers(text)] == found


def test_a_flag_does_not_repeat_what_it_found():
    text = "Patient name: John Smith, call 13812345678 or a@b.org, MRN: 998877, 2019-03-12"
    details = " ".join(flag.detail for flag in find_identifiers(text))
    assert all(secret not in details for secret in ("John", "Smith", "138", "a@b", "9988", "2019"))


def test_a_resident_number_with_a_wrong_check_digit_is_none():
    assert [flag.kind for flag in find_identifiers("110105194912310021")] == []


def test_real_questions_and_answers_are_not_flagged(real_data):
    texts = [
        text
        for name in ("train", "validate", "test")
        for row in json.loads((real_data / "slake" / f"{name}.json").read_text(encoding="utf-8"))
        for text in (row["question"], row["answer"])
    ]
    assert len(texts) > 600
    assert [text for text in texts if find_identifiers(text)] == []


@pytest.mark.parametrize("piece", few(PIECES, *ONE_OF_A_KIND))
def test_no_text_takes_for_ever(piece):
    """100,000 characters of what the expressions begin with, also between hints that wake every pattern.

    They take a quarter of a second of the processor, on which others may be busy. An expression whose work grows with
    the square of the text hangs: it takes from ten seconds on, or hours.
    """
    hints = "name 姓名 @ www. born 生 mrn 号 dr. address 地址 +86 123456789012345678 "

    def hangs(*_: object) -> None:
        raise TimeoutError(f"{piece!r} repeated hangs")

    before = signal.signal(signal.SIGPROF, hangs)
    try:
        for text in (piece * (100_000 // len(piece)), hints + piece * (100_000 // len(piece)) + hints):
            signal.setitimer(signal.ITIMER_PROF, 5)
            find_identifiers(text)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
