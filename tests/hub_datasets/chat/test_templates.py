"""Checks the questions for images without one."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from hub_datasets.chat.templates import COUNTS, TEMPLATES
from hub_datasets.schema import LANGUAGES

KINDS = ("radiograph", "skin_lesion", "question_answering", "report", "image")
LISTS = [(kind, language) for kind in KINDS for language in LANGUAGES]
CHINESE = re.compile(r"[\u4e00-\u9fff]")
# The first ten of each list as JSON, in the first 16 digits of their SHA-256: published datasets name them by number.
PUBLISHED = {
    "radiograph-en": "274c141e3491c9c4",
    "radiograph-zh": "dd8e43f533ba7503",
    "skin_lesion-en": "37241711801f69c7",
    "skin_lesion-zh": "2efafe4946680120",
    "question_answering-en": "fe94786499d72974",
    "question_answering-zh": "34c58646e3b846b9",
    "report-en": "0548d87254e13ec5",
    "report-zh": "ff589cf0a7b4d032",
    "image-en": "26d4ec5450f5a80d",
    "image-zh": "669b479a5b5d035a",
}
# What answers are made of. "Findings", "lesion" and the like say only what an image was taken for.
GIVEN_AWAY = {
    "en": (
        "abnormal arthritis benign bilateral brain cancer carcinoma chest ct disease doubtful effusion "
        "fracture grade healthy joint keratosis kellgren knee left lung malignant melanoma mild moderate mole mri "
        "narrow nevus normal opacity organ osteoarthritis pathology pneumonia right severe tumor tumour wrong"
    ),
    "zh": "异常 正常 左 右 双侧 肺 胸 脑 腹 膝 骨 关节 癌 瘤 痣 恶性 良性 轻度 中度 重度 骨折 炎 积液 健康 疾病",
}


def test_every_kind_and_language_has_its_list():
    assert {kind: tuple(lists) for kind, lists in TEMPLATES.items()} == dict.fromkeys(KINDS, LANGUAGES)


@pytest.mark.parametrize(("kind", "language"), LISTS)
def test_there_are_at_least_eight_different_questions_for_one_image_and_for_several(kind, language):
    for texts in zip(*TEMPLATES[kind][language], strict=True):
        assert len(set(texts)) == len(texts) >= 8


@pytest.mark.parametrize(("kind", "language"), LISTS)
def test_questions_are_one_sentence_in_their_own_language(kind, language):
    end, other = {"en": (".?", CHINESE), "zh": ("。？", re.compile("[A-WYZa-z]"))}[language]  # the X of X线
    for text in (text.replace("{count}", "") for texts in TEMPLATES[kind][language] for text in texts):
        assert text == text.strip() and text[-1] in end and not other.search(text), text
        assert sum(text.count(mark) for mark in ".?!。？！") == 1 and "{" not in text, text


@pytest.mark.parametrize(("kind", "language"), LISTS)
def test_a_question_about_several_images_says_so(kind, language):
    these = {"en": re.compile(r"\b[Tt]hese\b|\{count\}"), "zh": re.compile(r"这些|\{count\}张")}[language]
    for one, several in TEMPLATES[kind][language]:
        assert these.search(several) and not these.search(one), (one, several)


def test_two_images_are_named_as_two_or_as_these():
    assert any("these {count} views" in several for _, several in TEMPLATES["radiograph"]["en"])
    assert any("这些影像" in several for _, several in TEMPLATES["report"]["zh"])


@pytest.mark.parametrize(("kind", "language"), LISTS)
def test_a_question_does_not_give_the_answer_away(kind, language):
    for texts in TEMPLATES[kind][language]:
        for text in texts:
            words = set(re.findall(r"[a-z']+", text.lower())) if language == "en" else text
            assert [word for word in GIVEN_AWAY[language].split() if word in words] == [], text


@pytest.mark.parametrize(("kind", "language"), LISTS)
def test_published_questions_keep_their_numbers_and_their_words(kind, language):
    """Append to the lists only: `template_id` in a published dataset would mean something else."""
    first = json.dumps(TEMPLATES[kind][language][:10], ensure_ascii=False)
    assert hashlib.sha256(first.encode()).hexdigest()[:16] == PUBLISHED[f"{kind}-{language}"]


def test_counts_go_from_two_to_ten():
    assert {language: len(words) for language, words in COUNTS.items()} == dict.fromkeys(LANGUAGES, 9)
