"""Checks every reason for rejecting a text, and texts that must not be rejected."""

from __future__ import annotations

import pytest

from hub_datasets.records import RawRecord, Reason, encoded
from hub_datasets.texts.validation import check_text, write_record


def record(text: str | None = None, **fields) -> RawRecord:
    return RawRecord("test", "row 1", "1.png", "report", "en", text=text, **fields)


@pytest.mark.parametrize(
    ("length", "code"),
    [(0, Reason.TEXT_EMPTY), (1, Reason.TEXT_SHORT), (5, Reason.TEXT_SHORT), (6, None), (999, None),
     (1000, Reason.TEXT_LONG), (200_000, Reason.TEXT_LONG)],
)  # fmt: skip
@pytest.mark.parametrize("letter", ["a", "肺", "😀"])
def test_bounds_of_a_pairs_text(length, code, letter):
    problem = check_text(record(letter * length), 5, 1000)
    assert (problem and problem.code) == code


@pytest.mark.parametrize("answer", ["No", "是", "2", "x" * 5000])
def test_an_answer_must_only_be_there(answer):
    assert check_text(record(question="?", answer=answer), 5, 1000) is None


@pytest.mark.parametrize("text", ["a\0b", "a\ufffdb", "a\ud800b", "\udfff", "ab\uffff"])
def test_a_text_that_lost_its_characters(text):
    for said in ({"text": text * 9}, {"question": text, "answer": "No"}, {"question": "Is it?", "answer": text}):
        problem = check_text(record(**said), 1, 1000)
        assert problem.code is Reason.TEXT_ENCODING
        problem.message.encode()
    assert (
        f"the answer has U+{max(map(ord, text.replace('b', '').replace('a', ''))):04X} as its chara" in problem.message
    )


CONTROL = [
    *range(1, 9),
    11,
    12,
    *range(14, 32),
    *range(0x7F, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    0xFEFF,
]


@pytest.mark.parametrize("code", CONTROL)
def test_characters_that_only_machines_read(code):
    problem = check_text(record(f"The knee {chr(code)}is normal."), 1, 1000)
    assert problem.code is Reason.TEXT_CONTROL_CHARACTERS
    assert f"the text has U+{code:04X} as its character 10 of 20" in problem.message
    for said in ({"question": chr(code), "answer": "No"}, {"question": "Is it?", "answer": chr(code)}):
        assert check_text(record(**said), 1, 1000).code is Reason.TEXT_CONTROL_CHARACTERS


@pytest.mark.parametrize(
    "text", ["a\tb\r\nc", "肺\u200b部", "e\u0301\u00ad", "\u3000，。", "👩\u200d⚕\ufe0f", "عظم\u200f", "\u2028", "\xa0"]
)
def test_characters_that_people_write(text):
    assert check_text(record(text * 9), 1, 1000) is None
    assert check_text(record(question=text, answer=text), 1, 1000) is None


def test_an_empty_question_or_answer():
    for question, answer, words in (("", "No", "question"), ("Is it?", "", "answer"), ("", "", "question and the ans")):
        problem = check_text(record(question=question, answer=answer), 5, 1000)
        assert problem.code is Reason.TEXT_EMPTY and words in problem.message


def test_what_json_in_utf_8_can_hold():
    metadata = {"": None, "n": [-(2**63), 2**64 - 1, 0.1, 1e300], "深": {"a": [True, "\0\n\u2028😀"]}}
    assert write_record(record("text", metadata=metadata)) == encoded(record("text", metadata=metadata))


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 2**64, -(2**63) - 1, 10**5000, "\ud800", {"\udfff": 1}],
    ids=["nan", "inf", "minus inf", "2**64", "-2**63-1", "10**5000", "surrogate", "surrogate key"],
)
def test_what_json_in_utf_8_cannot_hold(value):
    problem = write_record(record("text", metadata={"a": [{"b": value}]}))
    assert problem.code is Reason.MALFORMED_ROW
    problem.message.encode()


def test_every_field_must_be_writable():
    for fields in ({"text": "\ud800"}, {"question": "\ud800", "answer": ""}, {"groups": ("patient:\ud800",)}):
        assert write_record(record(**fields)).code is Reason.MALFORMED_ROW


def test_a_row_that_is_nested_too_deep():
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    assert write_record(record("text", metadata={"a": deep})).code is Reason.MALFORMED_ROW
