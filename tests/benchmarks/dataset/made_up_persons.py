"""Makes up persons with names, numbers and addresses from lists and a seeded generator; none of them exists."""

from __future__ import annotations

import random
from dataclasses import dataclass

GIVEN = (
    "John",
    "Mary",
    "Robert",
    "Linda",
    "Peter",
    "Susan",
    "Ngozi",
    "Torvald",
    "Ileana",
    "Dmitri",
    "Saoirse",
    "Bogdan",
    "Yael",
    "Kofi",
    "Anneliese",
    "Thiago",
)
FAMILY = (
    "Smith",
    "Okafor",
    "Lindqvist",
    "Keller",
    "Navarro",
    "O'Neill",
    "Petrov",
    "Baker",
    "McAllister",
    "Haddad",
    "Ferreira",
    "Kowalczyk",
    "Young",
    "Tanaka",
    "Dubois",
    "Weiss-Braun",
)
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
