"""Checks the normalization, the rules and the scores of VQA accuracy, and the Space."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from evaluation.metrics.vqa_accuracy import short_answers
from evaluation.metrics.vqa_accuracy.short_answers import (
    RULES,
    contains_yes_no,
    exact,
    normalize,
    score_answer,
    split_words,
    token_f1,
    token_recall,
    vqa_scores,
)

# ---- normalization ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes.", "yes"),
        ("  The left   lung!", "left lung"),
        ("X-Ray", "x ray"),
        ("Heart, liver; and kidney", "heart liver and kidney"),
        ("It isn't", "it isnt"),
        ("Two", "2"),
        ("none", "0"),
        ("Ten lesions", "10 lesions"),
        ("hepatitis A", "hepatitis a"),
        ("a", "a"),
        ("1.5 cm", "1.5 cm"),
        ("1,000 ml.", "1000 ml"),
        ("> 5 mm", "> 5 mm"),
        ("-5", "-5"),
        ("+ve", "+ve"),
        ("-ve", "-ve"),
        (".5", "0.5"),
        ("50%", "50%"),
        ("(T2)", "t2"),
        ("Ｔ２加权", "t2加权"),
        ("T2 加权。", "t2加权"),
        ("肝脏，肾脏", "肝脏肾脏"),
        ("不包含！", "不包含"),
        ("...", ""),
        ("", ""),
    ],
)
def test_normalize(text, expected):
    assert normalize(text) == expected
    assert normalize(normalize(text)) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.5 cm", "15 cm"),
        ("> 5 mm", "< 5 mm"),
        ("+ve", "-ve"),
        ("-5", "5"),
        ("50%", "50"),
        ("hepatitis A", "hepatitis"),
    ],
)
def test_marks_that_change_a_finding_are_kept(one, other):
    assert exact(one, other, "en") == 0 and exact(one, one, "en") == 1


def normalize_as_vqa(text: str) -> str:
    """Implements processPunctuation and processDigitArticle of the VQA evaluation from their description."""
    marks, out = [*";:/'[]\"()=+\\_><@`,?"], text
    for mark in marks:
        removed = mark + " " in text or " " + mark in text or re.search(r"\d,\d", text)
        out = out.replace(mark, "" if removed else " ")
    out = re.sub(r"\.(?!\d)", "", out)
    digits = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
    return " ".join(digits.get(word, word) for word in out.lower().split() if word not in ("a", "an", "the"))


@pytest.mark.parametrize(
    "text",
    ["Yes", "No.", "The liver", "Left lung, right", "Brain Edema", "two", "None", "lung/liver", "T2", "Upper right?",
     "an enlarged heart", "Transverse Plane", "1.5 cm"],
)  # fmt: skip
def test_ordinary_answers_are_normalized_as_in_the_vqa_evaluation(text):
    assert normalize(text) == normalize_as_vqa(text)


# ---- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "prediction", "reference", "language", "score"),
    [
        (exact, "Left Lung.", "left lung", "en", 1),
        (exact, "lung", "lungs", "en", 0),
        (exact, "", "no", "en", 0),
        (exact, "?", "!", "en", 0),
        (exact, "?", " ? ", "en", 1),
        (exact, "不 包含。", "不包含", "zh", 1),
        (exact, "包含", "不包含", "zh", 0),
        (contains_yes_no, "Yes, it does", "yes", "en", 1),
        (contains_yes_no, "Normal", "No", "en", 1),  # substrings and not words, as published
        (contains_yes_no, "no", "yes", "en", 0),
        (contains_yes_no, "T2", "T2", "en", 0),  # a closed question that is not a yes-no question
        (contains_yes_no, "Yes, the left lung", "left lung", "en", 1),
        (contains_yes_no, "是的", "是的", "zh", 0),
        (token_recall, "the left upper lung", "left lung", "en", 1),
        (token_recall, "lung", "left lung", "en", 0.5),
        (token_recall, "lung lung lung", "left lung", "en", 0.75),  # as published: counts the prediction's words
        (token_recall, "heart", "left lung", "en", 0),
        (token_recall, "", "left lung", "en", 0),
        (token_recall, "左肺", "左上肺", "zh", 2 / 3),
        (token_recall, "T2", "T2加权", "zh", 1 / 3),
        (token_f1, "the left upper lung", "left lung", "en", 0.8),
        (token_f1, "lung lung lung", "left lung", "en", 0.4),
        (token_f1, "左肺", "左上肺", "zh", 0.8),
        (token_f1, "", "肺", "zh", 0),
    ],
)
def test_rules_match_scores_computed_by_hand(rule, prediction, reference, language, score):
    assert rule(prediction, reference, language) == pytest.approx(score)


def llava_med_recall(prediction: list[str], reference: list[str]) -> float:
    """Implements `calculate_f1score` of LLaVA-Med from its description, for texts that are split into words."""
    counts = {"tp": 0, "fn": 0}
    for word in set(prediction) | set(reference):
        if word in prediction and word in reference:
            counts["tp"] += prediction.count(word)
        elif word in reference:
            counts["fn"] += reference.count(word)
    return counts["tp"] / (counts["tp"] + counts["fn"]) if counts["tp"] else 0.0


def squad_f1(prediction: list[str], reference: list[str]) -> float:
    same = sum((Counter(prediction) & Counter(reference)).values())
    if not same:
        return 0.0
    precision, recall = same / len(prediction), same / len(reference)
    return 2 * precision * recall / (precision + recall)


def test_word_scores_equal_those_of_llava_med_and_squad():
    random.seed(0)
    vocabulary = ["left", "lung", "heart", "yes", "no", "normal", "x", "肝", "肺", "脏"]
    for _ in range(300):
        prediction, reference = (random.choices(vocabulary, k=random.randint(1, 5)) for _ in range(2))
        texts = " ".join(prediction), " ".join(reference)
        assert split_words(texts[0]) == prediction
        assert token_recall(*texts, "en") == pytest.approx(llava_med_recall(prediction, reference))
        assert token_f1(*texts, "en") == pytest.approx(squad_f1(prediction, reference))
        closed = ("yes" in texts[0] or "no" in texts[0]) and texts[1] in texts[0]
        assert contains_yes_no(*texts, "en") == closed


# ---- the scores ------------------------------------------------------------------------------------------------------

ANSWERS = {
    "predictions": ["Left lung", "heart", "Yes", "Normal", "不包含", "是", "MRI", ""],
    "references": ["left lung", "liver", "no", "no", "不包含", "不是", "MRI", "a report"],
    "answer_types": ["OPEN", "open", "CLOSED", "Closed ", "CLOSED", "CLOSED", "OTHER", None],
    "languages": ["en", "en", "en", "en", "zh", "zh", "zh", "en"],
}


def test_scores_match_those_computed_by_hand():
    assert vqa_scores(**ANSWERS) == {
        "accuracy": 3 / 8, "accuracy_open": 1 / 2, "accuracy_closed": 1 / 4,
        "accuracy_en": 1 / 5, "accuracy_open_en": 1 / 2, "accuracy_closed_en": 0.0,
        "accuracy_zh": 2 / 3, "accuracy_closed_zh": 1 / 2,
        "num_samples": 8, "num_samples_open": 2, "num_samples_closed": 4,
        "num_samples_en": 5, "num_samples_open_en": 2, "num_samples_closed_en": 2,
        "num_samples_zh": 3, "num_samples_closed_zh": 2,
        "num_left_out": 0, "rule": "exact",
    }  # fmt: skip


def test_results_name_the_rule_and_llava_med_combines_two_rules():
    for rule in RULES:
        assert vqa_scores(**ANSWERS, rule=rule)["rule"] == rule
    pair = vqa_scores(**ANSWERS, rule="llava_med")
    for name, rule in (("accuracy_open", "token_recall"), ("accuracy_closed", "contains_yes_no")):
        assert pair[name] == vqa_scores(**ANSWERS, rule=rule)[name]
    assert pair["accuracy_closed"] == 1 / 4 and pair["accuracy"] == pytest.approx((1 + 0 + 1 + 1) / 8)


def test_languages_are_detected_unless_given():
    given = {**ANSWERS, "languages": ["en"] * 4 + ["zh", "zh", "en", "en"]}
    for languages in (None, [None] * 8, [""] * 8):
        assert vqa_scores(**{**ANSWERS, "languages": languages}) == vqa_scores(**given)


def test_without_answer_types_there_is_only_the_overall_accuracy():
    scores = vqa_scores(["a"], ["a"])
    assert scores == {
        "accuracy": 1, "accuracy_en": 1, "num_samples": 1, "num_samples_en": 1, "num_left_out": 0, "rule": "exact",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predictions": [], "references": [], "answer_types": [], "languages": []}, "There are no samples"),
        ({"references": ["a"]}, "2 predictions, but 1 references"),
        ({"answer_types": ["OPEN"]}, "2 predictions, but 1 answer_types"),
        ({"languages": ["en"] * 3}, "2 predictions, but 3 languages"),
        ({"predictions": ["a", None]}, "sample 1: the prediction is None"),
        ({"references": ["a", " "]}, "sample 1: the reference is ' '"),
        ({"answer_types": ["OPEN", 1]}, "sample 1: the answer type is 1"),
        ({"languages": ["en", "French"]}, "sample 1: the language 'French' is unknown. Use a code such as en or zh"),
        (
            {"rule": "fuzzy"},
            "rule 'fuzzy' is unknown. Use one of exact, token_recall, token_f1, contains_yes_no, llava_med, lmms_eval, "
            "llava_med_2023_08, llava_med_2023_12, medvlmbench, medevalkit_rules, medgemma, clinical",
        ),
    ],
)
def test_vqa_scores_refuses_invalid_samples(arguments, message):
    valid = {
        "predictions": ["a", "b"],
        "references": ["a", "b"],
        "answer_types": ["OPEN", ""],
        "languages": ["en", "zh"],
    }
    vqa_scores(**valid)
    with pytest.raises(ValueError, match=message):
        vqa_scores(**{**valid, **arguments})


def test_what_a_rule_leaves_out_is_counted_and_named():
    """LLaVA-Med's first published code counts 1 of 4 answers here, all of which are No."""
    answers = (["No"] * 4, ["no", "yes", "yes", "yes"], ["CLOSED"] * 4, ["en"] * 3 + ["zh"])
    assert vqa_scores(*answers, rule="llava_med_2023_08") == {
        "accuracy": 1.0, "accuracy_closed": 1.0, "accuracy_en": 1.0, "accuracy_closed_en": 1.0,
        "accuracy_zh": None, "accuracy_closed_zh": None,
        "num_samples": 1, "num_samples_closed": 1, "num_samples_en": 1, "num_samples_closed_en": 1,
        "num_samples_zh": 0, "num_samples_closed_zh": 0,
        "num_left_out": 3, "num_left_out_closed": 3, "num_left_out_en": 2, "num_left_out_closed_en": 2,
        "num_left_out_zh": 1, "num_left_out_closed_zh": 1,
        "left_out": 'closed questions whose answer contains "yes" or "no", and not the reference',
        "rule": "llava_med_2023_08",
    }  # fmt: skip
    corrected = vqa_scores(*answers, rule="llava_med_2023_12")
    assert (corrected["accuracy"], corrected["num_samples"], corrected["num_left_out"]) == (0.25, 4, 0)


def test_one_answer_is_scored_like_a_sample():
    assert score_answer("Yes", "yes", " Closed ") == 1 and score_answer("lung", "left lung", rule="token_recall") == 0.5
    assert score_answer("no", "yes", "CLOSED", "en", "llava_med_2023_08") is None
    with pytest.raises(ValueError, match="rule 'x' is unknown"):
        score_answer("a", "a", rule="x")


# ---- the metric ------------------------------------------------------------------------------------------------------


def test_compute_equals_vqa_scores():
    from evaluation.metrics.vqa_accuracy.vqa_accuracy import VqaAccuracy

    metric = VqaAccuracy(keep_in_memory=True)
    assert metric.compute(**ANSWERS, rule="token_f1") == vqa_scores(**ANSWERS, rule="token_f1")
    for arguments, message in (
        ({"predictions": [], "references": []}, "There are no samples"),
        ({"predictions": ["a"], "references": [""]}, "sample 0: the reference is ''"),
        ({"predictions": ["a"], "references": ["b"], "rule": "x"}, "rule 'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.compute(**arguments)
    assert metric.compute(predictions=["a"], references=["a"])["num_samples"] == 1  # no refused samples remain


def test_the_page_and_the_readme_name_every_rule():
    folder = Path(short_answers.__file__).parent
    readme, metric = ((folder / name).read_text(encoding="utf-8") for name in ("README.md", "vqa_accuracy.py"))
    for rule in RULES:
        assert f"`{rule}`" in readme and f'"{rule}"' in metric
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "app", "vqa_accuracy"}
    assert modules == set(re.findall(r"^from \.(\w+) import ", metric, re.MULTILINE))  # what `evaluate.load` copies


@pytest.mark.slow
def test_the_folder_is_a_complete_space(check_space):
    scores = check_space("vqa_accuracy")
    assert scores["accuracy"] == pytest.approx(2 / 3) and scores["accuracy_closed"] == 0.5


def test_other_languages_have_an_accuracy_of_their_own():
    found = vqa_scores(["Ja", "nein", "yes"], ["ja", "ja", "yes"], ["CLOSED"] * 3, ["de", "de", "en"])
    assert (found["accuracy_en"], found["accuracy_de"], found["accuracy_closed_de"]) == (1.0, 0.5, 0.5)
    assert found["num_samples_de"] == 2 and list(found)[:4] == [
        "accuracy", "accuracy_closed", "accuracy_en", "accuracy_closed_en",
    ]  # fmt: skip
