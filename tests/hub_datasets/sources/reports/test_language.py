"""Checks the names of languages, the detection of a text's language, and the language of a folder's short texts."""

from __future__ import annotations

import json

import pytest

from hub_datasets.sources.reports.language import Majority, detect, language_named
from tests.hub_datasets.sources.reports import language_probe


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ("en|EN|en-US|en_GB|eng|English| ENGLISH |英文|英语|eng-x", "en"),
        ("zh|zh-CN|zh_Hans|ZH-Hant-TW|cn|Chinese|中文|chi|zho|汉语", "zh"),
        ("fr|French|fr-CA|français", "fr"),
        ("ja|日本語|Japanese|jpn", "ja"),
        ("de|German|Deutsch|de_AT", "de"),
        ("und|unknown", "und"),
    ],
)
def test_names_of_languages(names, code):
    assert {language_named(name) for name in names.split("|")} == {code}


@pytest.mark.parametrize("name", ["", "-", "enn", "z", "en,zh", "en/zh", "englisch", "xx", "1"])
def test_what_names_no_language(name):
    assert language_named(name) is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("No pleural effusion or pneumothorax is seen.", "en"),
        ("双肺清晰。", "zh"),
        ("CT平扫", "zh"),
        ("MRI T2WI FLAIR高信号", "zh"),
        ("The sign 气胸 (pneumothorax) is on the left side.", "en"),
        ("Лёгкие без очаговых теней", "ru"),
        ("Легені без вогнищевих тіней", "uk"),
        ("両肺野に異常陰影を認めません", "ja"),
        ("양측 폐야는 깨끗합니다", "ko"),
        ("ריאות ללא ממצא", "he"),
        ("Πνεύμονες χωρίς παθολογικά ευρήματα", "el"),
        ("ปอดปกติ", "th"),
        ("Không có tràn dịch màng phổi hai bên.", "vi"),
    ],
)
def test_the_language_of_a_text(text, language):
    assert detect(text) == language


@pytest.mark.parametrize("text", ["", "12.5", "CT", "é ü", "β-blocker 1.2 µm", "PA", "Normal.", "- -", "\ud800", "🙂"])
def test_a_text_that_says_too_little_is_not_assumed_to_be_english(text):
    assert detect(text) == "und"


def test_long_texts_are_decided_by_their_beginning():
    assert detect("The heart is not enlarged. " * 100_000) == "en"


def test_short_texts_get_the_language_of_nearly_all_others():
    majority = Majority()
    for code in ["de", "de", "und", "und"]:
        majority.add(code)
    assert majority.language() == "und"  # two texts are too few
    majority.add("de")
    assert majority.language() == "de"
    majority.add("en")
    assert majority.language() == "und"  # a quarter is in another language


def test_the_probe_of_fifteen_languages():
    """An undetermined sentence is no fault; a wrong language is. The record has the numbers of this code."""
    measured = language_probe.measure()
    assert len(measured) == 15 and min(row["sentences"] for row in measured.values()) >= 20
    total = sum(row["sentences"] for row in measured.values())
    assert sum(row["wrong"] for row in measured.values()) <= 0.01 * total
    assert sum(row["right"] for row in measured.values()) >= 0.92 * total
    assert all(row["right_in_a_folder"] + row["wrong"] == row["sentences"] for row in measured.values())
    assert json.loads(language_probe.RECORD.read_text())["languages"] == measured
