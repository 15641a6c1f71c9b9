"""Checks the rules of published evaluations: against rows written by hand, and against the published code's results."""

from __future__ import annotations

import json
import random

import pytest

from evaluation.metrics.vqa_accuracy.published_rules import vqa_normalize
from evaluation.metrics.vqa_accuracy.short_answers import RULES, score_answer, vqa_scores
from tests.conftest import ROOT

GOLDEN = ROOT.parent / "shared" / "facts" / "rules_golden.jsonl"
PUBLISHED = ("lmms_eval", "llava_med_2023_08", "llava_med_2023_12", "medvlmbench", "medevalkit_rules", "medgemma")
OUT = None  # left out of the count

# Type, reference, prediction, then the score by each rule of PUBLISHED, worked out by hand.
ROWS = [
    # closed questions in English
    ("CLOSED", "Yes", "Yes", 1, 1, 1, 1, 1, 1),
    ("CLOSED", "Yes", "yes.", 1, 1, 1, 1, 1, 1),
    ("CLOSED", "Yes", "No", 0, OUT, 0, 0, 0, 0),
    ("CLOSED", "No", "Yes, it does.", 0, OUT, 0, 0, 0, 0),
    ("CLOSED", "Yes", "Yes, it does.", 0, 1, 1, 1, 0, 0),
    ("CLOSED", "No", "It looks normal", 0, 1, 1, 1, 0, 0),  # "normal" contains "no"
    ("CLOSED", "Yes", "I do not know", 0, OUT, 0, 0, 0, 0),  # so does "not"
    ("CLOSED", "Yes", "There is a mass", 0, 0, 0, 0, 0, 0),
    ("CLOSED", "Yes", "True", 1, 0, 0, 0, 0, 0),
    ("CLOSED", "No", "nope", 1, 1, 1, 1, 0, 0),
    ("CLOSED", "yes", "yes and more", 0, 1, 1, 1, 1, 0),  # MedEvalKit has a rule of its own for "yes" in lower case
    ("CLOSED", "yes", "yes, not no", 0, 1, 1, 1, 0, 0),
    ("CLOSED", "no", "nothing", 0, 1, 1, 1, 1, 0),
    ("CLOSED", "T2", "T2", 1, 0, 0, 1, 1, 1),  # the right answer, where LLaVA-Med expects yes or no
    ("CLOSED", "T2", "Yes, T2", 0, 1, 1, 1, 0, 0),
    ("CLOSED", "Left lung", "the left lung", 0, 0, 0, 1, 0, 1),
    ("CLOSED", "Liver", "The answer is: liver", 0, 0, 0, 1, 0, 0),
    ("CLOSED", "Yes", "The final answer is\nYes.", 0, 1, 1, 1, 1, 0),
    ("CLOSED", "Yes", "The final answer is Yes.", 0, 1, 1, 1, 0, 0),  # a space stays in front of "yes"
    ("CLOSED", "1.5 cm", "1.5 cm", 1, 0, 0, 1, 0, 1),  # MedEvalKit deletes full stops of the answer only
    ("CLOSED", "Yes", "Final answer:Yes", 0, 1, 1, 1, 1, 0),
    ("CLOSED", "Yes", r"I think so: \boxed{Yes}", 0, 1, 1, 1, 1, 0),
    ("CLOSED", "Yes", "<think>no</think><answer> Yes </answer>", 0, 1, 1, 1, 1, 0),
    ("CLOSED", "Yes", "Yes is boxed", 0, 1, 1, 1, 0, 0),
    ("CLOSED", "Yes", "", 0, 0, 0, 0, 0, 0),
    # open questions in English; the first published code of LLaVA-Med scores them like the second
    ("OPEN", "X-Ray", "xray", 1, 0, 0, 0, 0, 0),
    ("OPEN", "X-Ray", "X Ray", 1, 1, 1, 1, 0, 1),
    ("OPEN", "X-Ray", "x-ray.", 1, 1, 1, 1, 0, 1),
    ("OPEN", "X-Ray", "an x-ray image", 0, 1, 1, 1, 0, 0.8),
    ("OPEN", "CT", "CT (computed tomography)", 1, 1, 1, 1, 0, 0.5),
    ("OPEN", "Left Lung", "lung", 0, 0.5, 0.5, 0, 0, 2 / 3),
    ("OPEN", "Left Lung", "lung lung lung", 0, 0.75, 0.75, 1, 0, 0.4),  # recall counts the words of the prediction
    ("OPEN", "Liver, Heart", "heart and liver", 0, 1, 1, 1, 0, 0.8),
    ("OPEN", "Liver, Heart", "Liver; Heart", 1, 1, 1, 1, 0, 1),
    ("OPEN", "2", "two", 0, 1, 1, 1, 0, 1),
    ("OPEN", "None", "0", 0, 1, 1, 1, 0, 1),
    ("OPEN", "It isn't clear", "it isnt clear", 0, 1, 1, 1, 0, 1),
    ("OPEN", "1.5 cm", "1.5 cm.", 1, 1, 1, 1, 0, 1),
    ("OPEN", "Liver", "The answer is Liver", 0, 1, 1, 1, 0, 0.5),
    ("OPEN", "Liver", "Answer:Liver", 0, 0, 0, 0, 1, 2 / 3),  # a colon does not separate words for LLaVA-Med
    ("OPEN", "Liver", "liver\n", 1, 1, 1, 1, 0, 1),
    ("OPEN", "Liver", "", 0, 0, 0, 0, 0, 0),
    # Chinese: a word of LLaVA-Med is what stands between spaces
    ("CLOSED", "包含", "包含", 1, 0, 0, 1, 1, 1),
    ("CLOSED", "包含", "是的。", 1, 0, 0, 0, 0, 0),
    ("CLOSED", "没有", "不包含", 1, 0, 0, 0, 0, 0),
    ("CLOSED", "是", "正常", 1, 0, 0, 0, 0, 0),  # lmms-eval reads "normal" as a yes
    ("CLOSED", "存在", "有", 0, 0, 0, 0, 0, 0),  # and lacks this yes
    ("CLOSED", "否", "No", 1, OUT, 0, 0, 0, 0),
    ("CLOSED", "不是", "不是的", 0, 0, 0, 1, 0, 0),
    ("CLOSED", "右侧", "右侧.", 1, 0, 0, 1, 1, 1),
    ("CLOSED", "右侧", "右侧。", 1, 0, 0, 1, 0, 1),
    ("OPEN", "肝脏", "肝脏（右）", 1, 0, 0, 0, 0, 0.8),
    ("OPEN", "肝脏", "肝脏", 1, 1, 1, 1, 1, 1),
    ("OPEN", "肝脏,心脏", "肝脏，心脏", 1, 0, 0, 0, 0, 1),
    ("OPEN", "左上肺", "左肺", 0, 0, 0, 0, 0, 0.8),
    ("OPEN", "肺癌", "答案:肺癌", 0, 0, 0, 0, 1, 2 / 3),
    ("OPEN", "T2加权", "T2 加权", 0, 0, 0, 0, 0, 1),
]


@pytest.mark.parametrize(("kind", "reference", "prediction", "expected"), [(*row[:3], row[3:]) for row in ROWS])
def test_scores_match_those_worked_out_by_hand(kind, reference, prediction, expected):
    found = [score_answer(prediction, reference, kind, rule=rule) for rule in PUBLISHED]
    assert dict(zip(PUBLISHED, found, strict=True)) == {
        rule: score if score is None else pytest.approx(score) for rule, score in zip(PUBLISHED, expected, strict=True)
    }


@pytest.fixture(scope="module")
def golden() -> list[dict]:
    """Answers with the results of the published code, where this machine has them."""
    if not GOLDEN.is_file():
        pytest.skip(f"the results of the published code are not here: {GOLDEN}")
    return [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("rule", [rule for rule in PUBLISHED if rule != "medgemma"])
def test_scores_equal_those_of_the_published_code(golden, rule):
    rows = [row for row in golden if rule in row["scores"]]
    found = [score_answer(*(row[name] for name in COLUMNS), rule=rule) for row in rows]
    wrong = [
        (row, score)
        for row, score in zip(rows, found, strict=True)
        if score != (expected := row["scores"][rule]) and score != pytest.approx(expected, abs=1e-6)
    ]
    assert len(rows) >= 284 and wrong == []
    scores = vqa_scores(*([row[name] for row in rows] for name in COLUMNS), rule=rule)
    assert scores["num_left_out"] == sum(row["scores"][rule] is None for row in rows)


COLUMNS = ("prediction", "reference", "answer_type", "language")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the X-Ray", "x ray"),
        ("x - ray", "x ray"),
        ("left-sided , no", "left sided no"),  # a mark beside a space is deleted, another one becomes a space
        ("left-sided - no", "leftsided no"),
        ("1,000 ml (left)", "1000 ml left"),
        ("a/b 1,2", "ab 12"),  # a comma between digits deletes every mark
        ("1.5 cm. Yes.", "1.5 cm yes"),
        ("." * 40 + "x", "." * 8 + "x"),  # at most 32 full stops
        ("one, two; none", "1 2 0"),
        ("couldnt've isnt THE", "couldn't've isn't"),
        ("肝脏，心脏。", "肝脏，心脏。"),
    ],
)
def test_llava_med_normalizes(text, expected):
    assert vqa_normalize(text) == expected


ANSWERS = (
    "Yes",
    "No",
    "yes",
    "no",
    "Left Lung",
    "X-Ray",
    "2",
    "1.5 cm",
    "Liver, Heart",
    "包含",
    "没有",
    "肝脏",
    "左上肺",
    "T2加权",
)


@pytest.mark.parametrize("rule", RULES)
def test_the_right_answer_scores_1(rule):
    """LLaVA-Med's rules give 0 to a closed question's answer that is neither yes nor no, MedEvalKit's to a decimal."""
    for answer in ANSWERS:
        for kind in ("OPEN", "CLOSED"):
            yes_no = kind == "CLOSED" and rule.startswith(("llava_med", "contains_yes_no"))
            expected = float(answer.lower() in ("yes", "no")) if yes_no or rule == "contains_yes_no" else 1.0
            if (rule, kind, answer) == ("medevalkit_rules", "CLOSED", "1.5 cm"):
                expected = 0.0
            assert score_answer(answer, answer, kind, rule=rule) == expected, (answer, kind)


@pytest.mark.parametrize("rule", RULES)
def test_scores_are_in_range_whatever_the_texts(rule):
    random.seed(0)
    parts = [
        "yes",
        "No",
        "the",
        "1.5",
        "cm",
        ",",
        ".",
        " ",
        "(",
        ")",
        "\\boxed{",
        "}",
        "<answer>",
        "肺",
        "没有",
        "、",
        "%",
        "-",
    ]
    for _ in range(300):
        prediction, reference = ("".join(random.choices(parts, k=random.randint(0, 8))) for _ in range(2))
        for kind in ("OPEN", "CLOSED", None):
            score = score_answer(prediction, reference, kind, rule=rule)
            assert score is None or 0 <= score <= 1
            assert score is not None or RULES[rule].left_out
