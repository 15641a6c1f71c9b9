"""Checks what the audit finds in texts, and what is left of them; the probe's bar is in `tests/benchmarks`."""

from __future__ import annotations

import pytest

from hub_datasets.schema import UNGROUNDED_MODES
from hub_datasets.texts.grounding import chinese, english
from hub_datasets.texts.grounding.audit import audited, grounded_part, split_sentences, ungrounded_kinds
from hub_datasets.texts.grounding.policy import refusal, settle_target
from hub_datasets.texts.grounding.rules import KINDS
from tests.benchmarks.dataset.grounding import read_probe

REPORT = "The lungs are clear. Heart size is unchanged. A 5 mm nodule. No effusion."


def test_the_kinds_are_sorted_and_each_language_has_a_rule_for_each():
    for module in (english, chinese):
        assert sorted([*(rule.kind for rule in module.RULES), "view"]) == list(KINDS) == sorted(KINDS)
    assert ungrounded_kinds(REPORT, "en") == ("comparison", "measurement")
    assert ungrounded_kinds("A 55-year-old woman with cough, confirmed by biopsy.", "en") == (
        "age", "biopsy", "sex", "symptoms",
    )  # fmt: skip


def test_what_is_left():
    assert grounded_part(REPORT, "en") == "The lungs are clear. No effusion."
    assert grounded_part("Unchanged.", "en") == ""
    assert grounded_part("双肺清晰。较前好转。心影不大。", "zh") == "双肺清晰。心影不大。"
    assert grounded_part("Lungs clear.\n\nStable heart.\nNo effusion.", "en") == "Lungs clear.\n\nNo effusion."


@pytest.mark.parametrize("language", ["en", "zh"])
def test_sentences_joined_are_the_text(language):
    text = " ".join(row["text"] for row in read_probe(language))
    assert "".join(split_sentences(text, language)) == text
    assert "".join(sentence.text for sentence in audited(text, language)) == text
    assert list(split_sentences("", language)) == [] and ungrounded_kinds("", language) == ()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Cobb angle of 12.5 degrees. Seen by Dr. Miller vs. J. Brown.", 2),
        ("One.\nTwo", 2),
        ("Is it healthy? No. What organ? Lung.", 2),
        ("The end of 3.2 x 4.1", 1),
    ],
)
def test_where_sentences_end(text, count):
    assert len(list(split_sentences(text, "en"))) == count


def test_a_question_in_a_caption_claims_nothing_and_goes_with_its_answer():
    caption = "X-ray image, chest. Does the patient have a history of cough? No. What does he feel? Chest pain."
    assert ungrounded_kinds(caption, "en") == ("symptoms",)
    assert grounded_part(caption, "en") == "X-ray image, chest. Does the patient have a history of cough? No."
    assert ungrounded_kinds("图中病人患有脑瘤吗？是。", "zh") == ()


@pytest.mark.parametrize(
    "text",
    [
        "Biopsy is recommended.",
        "Recommend comparison with prior studies.",
        "If symptoms persist, a CT should be done.",
        "Correlate with laboratory values.",
        "建议复查CT。",
        "必要时活检。",
        "请结合临床病史。",
    ],
)
def test_advice_claims_nothing(text):
    assert ungrounded_kinds(text, "zh" if "。" in text else "en") == ()


def test_advice_does_not_hide_the_claim_beside_it():
    assert ungrounded_kinds("Stable nodule, follow-up is recommended.", "en") == ("comparison",)
    assert ungrounded_kinds("CT is recommended given the history of malignancy.", "en") == ("history",)
    assert ungrounded_kinds("结节较前增大，建议复查。", "zh") == ("comparison",)


def test_something_visible_does_not_hide_a_claim_of_the_same_kind():
    assert ungrounded_kinds("Bone age of ten years.", "en") == ()
    assert ungrounded_kinds("Bone age of ten years in a 12-year-old child.", "en") == ("age",)
    assert ungrounded_kinds("骨龄约10岁。", "zh") == () and ungrounded_kinds("骨龄约10岁，患者12岁。", "zh") == ("age",)


@pytest.mark.parametrize(
    ("text", "images", "found"),
    [
        ("PA and lateral views of the chest.", 1, True),
        ("PA and lateral views of the chest.", 2, False),
        ("Frontal view. The lateral film shows a wedge deformity.", 1, True),
        ("Frontal view. The lateral film shows a wedge deformity.", 2, False),
        ("Three views of the wrist.", 2, True),
        ("Three views of the wrist.", 3, False),
        ("Seen on the lateral view.", 1, True),
        ("Seen on the lateral view.", 2, False),
        ("AP portable chest radiograph, frontal view.", 1, False),
        ("Lateral meniscus and oblique fissure.", 1, False),
    ],
)
def test_views_that_the_row_does_not_have(text, images, found):
    assert ungrounded_kinds(text, "en", images) == (("view",) if found else ())


def test_views_in_chinese():
    assert ungrounded_kinds("胸部正侧位片。", "zh") == ("view",) and ungrounded_kinds("胸部正侧位片。", "zh", 2) == ()
    assert ungrounded_kinds("病变位于右侧位置，左侧位于下方。", "zh") == ()


def test_other_languages_are_not_audited():
    assert ungrounded_kinds("Unchanged since 2019.", "fr") == () and grounded_part(REPORT, "fr") == REPORT


def test_english_words_in_a_chinese_row_are_found():
    assert ungrounded_kinds("Unchanged since 2019.", "zh") == ("comparison", "date")


@pytest.mark.parametrize("mode", UNGROUNDED_MODES)
def test_modes(mode):
    target = settle_target(REPORT, "en", 1, mode)
    assert target.found == ("comparison", "measurement")
    if mode in ("mark", "keep"):
        assert (target.text, target.kinds) == (REPORT, target.found)
    elif mode == "strip":
        assert (target.text, target.kinds) == ("The lungs are clear. No effusion.", ())
    else:
        assert (target.text, target.kinds) == ("", ())
    assert settle_target("Clear lungs.", "en", 1, mode) == ("Clear lungs.", (), ())


def test_what_a_refusal_says():
    assert refusal(("age", "sex"), "reject") == "says what the image cannot show (age, sex)"
    assert refusal(("age",), "strip").endswith("(age); no usable text is left without it")


@pytest.mark.parametrize(
    "part",
    ["a", "has ", "a, ", "a? ", "较", "if ", "1.", "no ", "the lateral and ", "lateral,", "正侧", "与", "原", "A. "],
)
def test_the_longest_answer_is_audited(part):
    """Counts no seconds: a pattern that looks on from every place to the end would not return."""
    text = (part * 20_000)[:20_000]
    for language in ("en", "zh"):
        assert "".join(sentence.text for sentence in audited(text, language)) == text
