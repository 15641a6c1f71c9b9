"""Checks the names of the two languages, and the detection of a text's language."""

from __future__ import annotations

import pytest

from hub_datasets.sources.reports.language import language_by_majority, language_named


@pytest.mark.parametrize("name", ["en", "EN", "en-US", "en_GB", "eng", "English", " ENGLISH ", "英文", "英语", "eng-x"])
def test_english(name):
    assert language_named(name) == "en"


@pytest.mark.parametrize(
    "name", ["zh", "zh-CN", "zh_Hans", "ZH-Hant-TW", "cn", "Chinese", "中文", "chi", "zho", "汉语"]
)
def test_chinese(name):
    assert language_named(name) == "zh"


@pytest.mark.parametrize("name", ["fr", "french", "", "-", "enn", "z", "en,zh", "en/zh", "日本語", "ja", "englisch"])
def test_others(name):
    assert language_named(name) is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Clear lungs.", "en"),
        ("双肺清晰。", "zh"),
        ("CT平扫", "zh"),
        ("MRI T2WI FLAIR高信号", "zh"),
        ("X线 normal", "en"),
        ("The sign 气胸 (pneumothorax) is on the left side.", "en"),
        ("Épanchement, é ü", "en"),
        ("1.2 cm β-blocker µm", "en"),
        ("12.5", "en"),
        ("", "en"),
        ("Лёгкие без очаговых теней", None),
        ("両肺野に異常陰影を認めません", None),
        ("양측 폐야는 깨끗합니다", None),
    ],
)
def test_the_language_of_a_text(text, language):
    assert language_by_majority(text) == language
