"""Checks that JSON of others is read as Python reads it, or refused with a message."""

from __future__ import annotations

import json

import pytest

from model_cards.checks.strict_json import DEEPEST, parse_json


@pytest.mark.parametrize(
    "content", [{"a": [1, -2.5e-300, None, True, "肝"], "b": {}}, [], "text", 0, 1.7976931348623157e308]
)
def test_json_is_read_as_python_reads_it(content):
    assert parse_json(json.dumps(content)) == content
    assert parse_json(json.dumps(content).encode()) == content


def test_what_is_not_finite_is_none():
    assert parse_json('[NaN, Infinity, -Infinity, "NaN"]') == [None, None, None, "NaN"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), "nested more deeply than 32 levels"),
        ("[" * 100_000, "nested more deeply than 32 levels"),
        ('{"a":' * 100_000, "nested more deeply than 32 levels"),
        ("1" * 400, "a number has 400 characters, of at most 40: 11111111111111111111..."),
        ("-" + "1" * 5000, "a number has 5,001 characters"),
        ("0." + "1" * 400, "a number has 402 characters"),
        ("1e999", "the number 1e999 is beyond the range of a float"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' is repeated"),
        ('{"a": 1', "Expecting"),
        ("", "Expecting value"),
    ],
)
def test_what_no_record_contains_is_refused(text, words):
    with pytest.raises(ValueError, match=words.replace("...", r"\.\.\.")):
        parse_json(text)


def test_the_deepest_level_is_read():
    text = "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)
    assert json.dumps(parse_json(text)) == text
