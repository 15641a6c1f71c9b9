"""Checks the scores of reports against the metric itself, which rows they count, and their intervals."""

from __future__ import annotations

import random
from pathlib import Path

from evaluation.metrics.clinical_consistency.agreement import RULE_FILES, consistency_scores, rules_signature
from evaluation.metrics.clinical_consistency.clinical_consistency import __file__ as METRIC
from evaluation.scoring.answers import score_answers
from evaluation.scoring.measures import difference, finding_measures, intervals
from evaluation.scoring.report_scores import FEWEST_OF_A_LANGUAGE, claim_sums, report_scores

PREDICTIONS = ["Left effusion. No nodule.", "右侧气胸。", "A CT.", "Mild edema."]
REFERENCES = ["Right effusion. Nodule.", "右侧气胸。", "A chest CT.", "Mild edema. No mass."]


def test_the_scores_are_those_of_the_metric():
    scores, signature = report_scores(PREDICTIONS, REFERENCES)
    expected = consistency_scores(PREDICTIONS, REFERENCES)
    assert scores["clinical_f1"] == expected["f1"] and scores["clinical_f1_detailed"] == expected["f1_detailed"]
    assert scores["clinical_laterality"] == 0.5 and scores["clinical_severity"] == 1
    assert "clinical_measurement" not in scores  # no sizes
    assert (scores["num_reports"], scores["num_reports_left_out"]) == (3, 1)
    assert (scores["num_status_contradictions"], scores["num_side_contradictions"]) == (1, 1)
    assert signature == f"{rules_signature()}, 3 of 4 reports with a known finding"
    assert not [name for name in scores if name.endswith(("_en", "_zh"))]  # too few of each


def test_a_language_has_scores_of_its_own_if_there_are_enough_reports():
    number = FEWEST_OF_A_LANGUAGE
    references = ["Nodule."] * number + ["结节。"] * (number - 1)
    scores, _ = report_scores(["Nodule."] * len(references), references, ["en"] * number + ["zh"] * (number - 1))
    assert scores["clinical_f1_en"] == 1 and scores["num_reports_en"] == number and "clinical_f1_zh" not in scores
    scores, _ = report_scores(["No nodule."] * (2 * number), [*references, "结节。"])
    assert scores["clinical_f1_en"] == scores["clinical_f1_zh"] == 0
    scores, _ = report_scores(["Nodule."] * number, ["Nodule."] * number)
    assert "clinical_f1_en" not in scores  # the same as clinical_f1


def test_only_reports_are_counted_and_a_split_without_any_has_no_scores():
    kinds = ["OPEN", "", None, "report"]
    scores, signatures = score_answers(PREDICTIONS, REFERENCES, None, kinds)
    expected, signature = report_scores(PREDICTIONS[1:], REFERENCES[1:])
    assert {name: value for name, value in scores.items() if name in expected} == expected
    assert signatures["clinical"] == signature and scores["num_samples"] == 4
    for references, kinds in ((REFERENCES, ["OPEN", "CLOSED"] * 2), (["Yes", "CT", "liver", "2"], None)):
        scores, signatures = score_answers(references, references, None, kinds)
        assert "clinical" not in signatures
        assert not [name for name in scores if name.startswith(("clinical", "report_", "num_reports"))]


def test_the_signature_names_the_files_that_the_metric_is_made_of():
    folder = Path(METRIC).parent
    assert {*RULE_FILES} == {path.stem for path in folder.glob("*.py")} - {"__init__", "app", "clinical_consistency"}
    assert rules_signature().startswith("rules:") and len(rules_signature()) == len("rules:0a1b2c3d")


def test_the_sums_give_the_scores():
    sums = claim_sums(PREDICTIONS, REFERENCES, [""] * 4)
    scores, _ = report_scores(PREDICTIONS, REFERENCES)
    assert sums[2] is None  # no known finding
    tops, detailed, claims = map(sum, zip(*filter(None, sums), strict=True))
    assert (tops / claims, detailed / claims) == (scores["clinical_f1"], scores["clinical_f1_detailed"])
    assert claim_sums(PREDICTIONS, REFERENCES, ["open", "closed", "", "report"])[:3] == [None] * 3


def test_a_language_has_an_interval_of_its_own_where_it_has_a_score():
    number = FEWEST_OF_A_LANGUAGE
    references = ["Nodule."] * number + ["结节。"] * (number - 1) + ["Mass."]
    predictions = ["Nodule.", "No nodule."] * (number // 2) + ["结节。"] * (number - 1) + ["Mass."]
    languages = ["en"] * number + ["zh"] * number
    for chosen in (slice(None), slice(0, -1), slice(0, number)):
        columns = (predictions[chosen], references[chosen])
        scores, _ = report_scores(*columns, languages[chosen])
        found = finding_measures(*columns, [""] * len(columns[0]), languages[chosen])
        values = {name: measure.score(measure.sums.sum(0, keepdims=True))[0] for name, measure in found.items()}
        assert values == {name: scores[name] for name in scores if name.startswith("clinical_f1")}
        bounds = intervals(found, [str(row) for row in range(len(columns[0]))])
        assert bounds.keys() == values.keys()
        assert bounds.get("clinical_f1_en", bounds["clinical_f1"])[0] < 0.5


def test_the_intervals_of_findings():
    rng = random.Random(1)
    references = [rng.choice(["Nodule. No mass.", "No effusion.", "Yes"]) for _ in range(120)]
    right = [text if rng.random() < 0.7 else "Mass." for text in references]
    wrong = [text if rng.random() < 0.3 else "Mass." for text in references]
    groups = [str(row // 2) for row in range(120)]
    ours, theirs = (finding_measures(texts, references, [""] * 120) for texts in (right, wrong))
    assert ours["clinical_f1"].counted.sum() == sum(text != "Yes" for text in references)
    low, high = intervals(ours, groups)["clinical_f1"]
    assert low < report_scores(right, references)[0]["clinical_f1"] < high and high - low < 0.4
    low, high = difference(ours["clinical_f1"], theirs["clinical_f1"], groups)
    gain = report_scores(right, references)[0]["clinical_f1"] - report_scores(wrong, references)[0]["clinical_f1"]
    assert 0 < low < gain < high
    low, high = difference(ours["clinical_f1"], ours["clinical_f1"], groups)
    assert low == -high < 0
    assert intervals(ours, ["one patient"] * 120) == {}
