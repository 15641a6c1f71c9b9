"""Checks where `clinical_consistency` cuts a text into sentences, and how it writes them."""

from __future__ import annotations

import pytest

from evaluation.metrics.clinical_consistency.sentences import LONGEST_SENTENCE, normalized, sentences_of

SENTENCES = [
    ("One. Two! Three? Four; five", ["one.", "two!", "three?", "four;", "five"]),
    ("一。二；三", ["一", "二;", "三"]),
    ("a wrapped\nline", ["a wrapped line"]),
    ("A wrapped\r\nline", ["a wrapped line"]),
    ("A line\nAnother line", ["a line", "another line"]),
    ("A line of the\nRadiograph", ["a line of the radiograph"]),
    ("A line,\nRadiograph", ["a line, radiograph"]),
    ("A paragraph\n\nanother", ["a paragraph", "another"]),
    ("A heading:\nnext", ["a heading:", "next"]),
    ("before\nHeart: next", ["before", "heart: next"]),
    ("Some text\n- item\n* item\n2. item", ["some text", "- item", "* item", "2.", "item"]),
    (
        "This line is long enough for forty letters\nCOPD is seen",
        ["this line is long enough for forty letters copd is seen"],
    ),
    ("双肺未见\n实变", ["双肺未见实变"]),
    ("双肺清晰\n心影不大", ["双肺清晰", "心影不大"]),
    ("about approx. 5 mm, i.e. small. Next", ["about approx 5 mm, ie small.", "next"]),
    ("It was 5 mm max. Next", ["it was 5 mm max.", "next"]),
    ("", []),
    ("\n \n", []),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_sentences(text, expected):
    assert sentences_of(normalized(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ＣＴ：１５ｍｍ", "ct:15mm"),
        ("4 cm² and 1½ cm, ½ cm", "4 cm^2 and 1.5 cm, 0.5 cm"),
        ("It isn’t, can't", "it is not, cannot"),
        ("a，b", "a,b"),
        ("未见气胸,骨折,左侧积液", "未见气胸、骨折，左侧积液"),
        ("未见气胸，骨折", "未见气胸，骨折"),
        ("結節", "结节"),
        ("Lt lung, rt. lung", "left lung, right lung"),
        ("1,200 ml, 0,5 cm", "1200 ml, 0.5 cm"),
    ],
)
def test_normalized(text, expected):
    assert normalized(text) == expected


def test_no_sentence_is_longer_than_the_limit():
    for text in ("word " * 500, "字" * 1000, "a," * 1000):
        pieces = sentences_of(text)
        assert max(map(len, pieces)) <= LONGEST_SENTENCE
        assert "".join("".join(pieces).split()) == "".join(text.split())
