"""Checks the sums behind scores, their intervals, and differences between two models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evaluation.metrics.medical_bleu.bilingual import bleu_scores
from evaluation.metrics.vqa_accuracy.short_answers import vqa_scores
from evaluation.scoring.answers import exact_match, score_answers
from evaluation.scoring.group_bootstrap import wilson_reach
from evaluation.scoring.measures import Measure, difference, intervals, measures, ratio, shares
from evaluation.scoring.report_scores import report_scores

WORDS = ["the", "left", "lung", "shows", "a", "small", "nodule", "of", "3", "mm", "without", "effusion", "in", "right"]


def rows_of(seed: int, size: int = 120, right: float = 0.6) -> list[dict]:
    """Answers to questions about 31 patients in two languages, with reports between them."""
    draw = np.random.default_rng(7)  # the questions are always the same
    answer = np.random.default_rng(seed)
    found = []
    for number in range(size):
        reference = " ".join(draw.choice(WORDS, draw.integers(1, 9)))
        language = "zh" if number % 5 == 0 else "en"
        reference = "左肺有结节" if language == "zh" else reference
        texts = [reference, " ".join(answer.choice(WORDS, 4))]
        found.append(
            {
                "generated": texts[answer.random() > right],
                "reference": reference,
                "language": language,
                "answer_type": ("OPEN", "CLOSED", "")[number % 3],
                "group": f"patient {number % 31}",
                "loss": float(draw.random() * 9),
                "tokens": int(draw.integers(1, 9)),
            }
        )
    return found


GROUPS = [row["group"] for row in rows_of(0)]


def column(rows: list[dict], name: str) -> list:
    return [row[name] for row in rows]


def test_the_score_of_all_rows_is_that_of_the_metrics():
    rows = rows_of(1)
    found = {name: measure.score(measure.sums.sum(0, keepdims=True))[0] for name, measure in measures(rows).items()}
    columns = [column(rows, name) for name in ("generated", "reference", "language")]
    bleu = bleu_scores(*columns)
    asked = [row for row in rows if row["answer_type"]]
    accuracy = vqa_scores(*(column(asked, name) for name in ("generated", "reference", "answer_type", "language")))
    expected = {name: bleu[name] for name in ("bleu", "bleu_1")}
    expected |= {name: accuracy[name] for name in ("accuracy_open", "accuracy_closed")}
    expected |= {
        "exact_match": exact_match(*columns[:2]),
        "loss": sum(column(rows, "loss")) / sum(column(rows, "tokens")),
    }
    scores, _ = score_answers(*columns, column(rows, "answer_type"))
    expected |= {name: scores[name] for name in ("short_f1", "short_bleu_1", "report_bleu", "report_rouge_l")}
    reports = [row for row in rows if not row["answer_type"]]
    findings, _ = report_scores(*(column(reports, name) for name in ("generated", "reference")))
    expected |= {name: findings[name] for name in ("clinical_f1", "clinical_f1_detailed")}
    assert found == pytest.approx(expected, rel=1e-12)


def test_an_interval_of_independent_rows_is_that_of_the_normal_distribution():
    points = [float(number % 4 == 0) for number in range(4000)]
    (low, high) = intervals({"x": shares(points)}, [str(number) for number in range(4000)])["x"]
    reach = stats.norm.ppf(0.975) * (0.25 * 0.75 / 4000) ** 0.5
    assert (low, high) == pytest.approx((0.25 - reach, 0.25 + reach), abs=0.0015)


def test_rows_of_a_patient_are_drawn_together():
    points = [float(number % 40 < 20) for number in range(4000)]  # 40 patients who are always right or always wrong
    low, high = intervals({"x": shares(points)}, [str(number % 40) for number in range(4000)])["x"]
    reach = stats.t.ppf(0.975, 39) * 0.5 / 39**0.5
    assert (low, high) == pytest.approx((0.5 - reach, 0.5 + reach), abs=0.03)


def test_intervals_contain_their_scores():
    rows = rows_of(2)
    found = measures(rows)
    bounds = intervals(found, GROUPS)
    assert bounds.keys() == found.keys()
    for name, measure in found.items():
        score = measure.score(measure.sums.sum(0, keepdims=True))[0]
        assert bounds[name][0] < score < bounds[name][1]


def test_too_few_patients_have_no_interval():
    rows = rows_of(3, size=9)
    found = measures(rows)
    assert intervals(found, [row["group"] for row in rows]) == {}
    assert difference(found["bleu"], found["bleu"], [row["group"] for row in rows]) is None


def test_the_difference_between_a_model_and_itself_is_none():
    found = measures(rows_of(4))
    for name, measure in found.items():
        low, high = difference(measure, measure, GROUPS)
        assert low <= 0 <= high, name


def test_a_better_model_is_told_apart():
    good, bad = measures(rows_of(5, right=0.9)), measures(rows_of(6, right=0.2))
    for name in ("accuracy_open", "accuracy_closed", "exact_match", "bleu", "bleu_1", "clinical_f1"):
        low, high = difference(good[name], bad[name], GROUPS)
        assert 0 < low < high, name
        assert difference(bad[name], good[name], GROUPS)[1] < 0


def test_pairing_finds_what_two_intervals_hide():
    """Both models are wrong about the difficult patients; one is a little better everywhere."""
    generator = np.random.default_rng(0)
    level = np.repeat(generator.normal(0, 10, 60), 20)
    ours, theirs = (np.stack([level + gain, np.ones(1200)], 1) for gain in (0.5, 0.0))
    measure = [Measure(sums, ratio, np.ones(1200, dtype=bool)) for sums in (ours, theirs)]
    groups = [str(number // 20) for number in range(1200)]
    low, high = difference(*measure, groups)
    assert low == pytest.approx(0.5) and high == pytest.approx(0.5)
    first, second = (intervals({"x": one}, groups)["x"] for one in measure)
    assert first[0] < second[1]


def test_a_language_that_is_missing_is_found():
    rows = [{**row, "language": None} for row in rows_of(8)]
    assert measures(rows)["bleu"].sums.tolist() == measures(rows_of(8))["bleu"].sums.tolist()


def test_what_is_equal_in_all_patients_is_not_certain():
    """A BLEU of 0 of 31 patients, and a constant gain, as a share has them."""
    rows = [row | {"generated": "nothing", "answer_type": "", "loss": 1.0, "tokens": 1} for row in rows_of(0)]
    found = intervals(measures(rows), GROUPS)
    reach = wilson_reach(31)
    assert found["exact_match"] == [0, pytest.approx(reach)] and found["bleu_1"] == [0, pytest.approx(100 * reach)]
    assert "loss" not in found  # it has no largest value
    zero, one = (Measure(np.full((31, 2), [value, 1.0]), ratio, np.ones(31, bool), largest=1.0) for value in (0.0, 1.0))
    names = [f"patient {number}" for number in range(31)]
    assert difference(one, zero, names) == pytest.approx((1 - reach, 1))
    assert difference(zero, one, names) == pytest.approx((-1, reach - 1))
    assert difference(zero, zero, names) == pytest.approx((-reach, reach))


def test_a_loss_that_is_not_a_number_has_no_interval():
    rows = rows_of(0)
    rows[3]["loss"] = float("nan")
    assert set(intervals(measures(rows_of(0)), GROUPS)) - set(intervals(measures(rows), GROUPS)) == {"loss"}


def test_rows_without_losses_have_no_loss():
    rows = rows_of(9)
    rows[3]["loss"] = None
    assert "loss" not in measures(rows)
