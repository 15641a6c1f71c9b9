"""Checks how `clinical_consistency` compares texts: counts, shares, properties, errors, and the Space."""

from __future__ import annotations

import itertools
import random

import pytest

from evaluation.metrics.clinical_consistency.agreement import consistency_scores, pair_counts, pair_score
from tests.benchmarks.evaluation.clinical_consistency import read_probe

SHARES = (
    "precision", "recall", "f1", "f1_detailed", "laterality_agreement", "severity_agreement", "measurement_agreement",
)  # fmt: skip
SENTENCES = [
    "Small left pleural effusion.", "No pneumothorax.",
    "A 12 mm nodule in the right upper lobe.", "Possible pneumonia.",
    "The heart is mildly enlarged.", "右肾结石，直径5毫米。", "未见骨折。",
    "Bilateral knee osteoarthritis, KL grade 3.",
]  # fmt: skip


def scores_of(prediction: str, reference: str) -> dict:
    return consistency_scores([prediction], [reference])


def test_counts_by_hand():
    scores = consistency_scores(
        ["Left effusion. No nodule. Mild edema.", "无骨折。右侧气胸，约2cm。", "Effusion.", ""],
        ["Right effusion. Nodule. Severe edema. No fracture.", "无骨折。左侧气胸，约3cm。", "Yes", "No pneumonia."],
    )
    assert scores["num_reference_claims"] == 7 and scores["num_predicted_claims"] == 5
    assert scores["num_matched_claims"] == 4
    assert scores["precision"] == 4 / 5 and scores["recall"] == 4 / 7 and scores["f1"] == 8 / 12
    assert scores["f1_detailed"] == 2 / 12  # only the absent fracture
    assert (scores["laterality_agreement"], scores["num_laterality"]) == (0, 2)
    assert (scores["severity_agreement"], scores["num_severity"]) == (0, 1)
    assert (scores["measurement_agreement"], scores["num_measurement"]) == (0, 1)
    assert scores["status_contradictions"] == 1 and scores["side_contradictions"] == 2
    assert scores["num_samples"] == 3 and scores["num_predictions_without_findings"] == 1
    assert scores["num_left_out"] == 1 and scores["num_claims_left_out"] == 1
    assert {type(value) for name, value in scores.items() if name.startswith("num_")} == {int}
    assert {type(value) for value in pair_counts("Left nodule of 5 mm.", "Left nodule of 5 mm.").values()} == {int}
    assert type(scores_of("Nodule.", "Nodule.")["num_predictions_without_findings"]) is int
    assert (scores["num_samples_en"], scores["num_samples_zh"], scores["num_left_out_en"]) == (2, 1, 1)
    assert scores["recall_zh"] == 1 and scores["severity_agreement_zh"] is None and scores["f1_zh"] == 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_reference_against_itself_scores_1(language):
    texts = [row[name] for row in read_probe(language) for name in ("reference", "same", "changed") if name in row]
    scores = consistency_scores(texts, texts)
    assert {scores[share] for share in SHARES} == {1.0}
    assert scores["status_contradictions"] == scores["side_contradictions"] == 0
    assert scores["num_left_out"] < 0.03 * len(texts)
    assert scores["num_matched_claims"] == scores["num_reference_claims"] == scores["num_predicted_claims"]


def test_an_unrelated_sentence_does_not_raise_recall_and_lowers_precision():
    for reference, other in itertools.permutations(SENTENCES, 2):
        plain, longer = scores_of(reference, reference), scores_of(f"{reference} {other}", reference)
        assert longer["recall"] <= plain["recall"] == 1 and longer["precision"] < 1
        assert scores_of(other, reference)["recall"] == 0
        for empty in (" The image is a radiograph.", "这是一张图像。"):
            assert scores_of(reference + empty, reference) == plain


def test_the_order_of_sentences_and_samples_does_not_matter():
    rng = random.Random(0)
    reference = " ".join(SENTENCES)
    for _ in range(20):
        shuffled = rng.sample(SENTENCES, len(SENTENCES))
        assert pair_score(" ".join(shuffled), reference) == 1
    texts = list(itertools.permutations(SENTENCES, 2))
    there, back = (consistency_scores(*zip(*rows, strict=True)) for rows in (texts, texts[::-1]))
    assert there == back


def test_precision_and_recall_change_places_with_the_texts():
    for one, other in itertools.combinations([*SENTENCES, " ".join(SENTENCES[:3]), " ".join(SENTENCES[2:])], 2):
        there, back = scores_of(one, other), scores_of(other, one)
        assert (there["precision"], there["recall"], there["f1"]) == (back["recall"], back["precision"], back["f1"])
        assert there["status_contradictions"] == back["status_contradictions"]


@pytest.mark.parametrize(
    ("one", "other", "status", "side"),
    [
        ("Effusion.", "No effusion.", 1, 0),
        ("Left effusion.", "Right effusion.", 0, 1),
        ("Left effusion.", "Bilateral effusion.", 0, 0),
        ("Effusion on the left, none on the right.", "Effusion on the right, none on the left.", 0, 2),
        ("Effusion on the left, none on the right.", "Effusion on the left.", 0, 0),
        ("Possible effusion.", "No effusion.", 0, 0),
        ("Kidney stone.", "No gallstone.", 0, 0),
        ("Stone.", "No kidney stone.", 1, 0),
        ("可见气胸。", "未见气胸。", 1, 0),
    ],
)
def test_contradictions(one, other, status, side):
    for texts in ((one, other), (other, one)):
        scores = scores_of(*texts)
        assert (scores["status_contradictions"], scores["side_contradictions"]) == (status, side)


def test_a_finding_without_an_organ_matches_one_with_it_but_not_twice():
    assert scores_of("A nodule.", "A lung nodule.")["f1"] == 1
    assert scores_of("A kidney stone.", "Gallstones.")["f1"] == 0
    assert scores_of("A stone.", "A kidney stone. A gallstone.")["recall"] == 0.5


def test_sizes_agree_within_a_twentieth_and_only_of_one_kind():
    for same in ("Nodule of 1.02 cm.", "Nodule of 10.4 mm."):
        assert scores_of(same, "Nodule of 10 mm.")["measurement_agreement"] == 1
    for other in ("Nodule of 11 mm.", "Nodule < 10 mm.", "Nodule of 10 ml.", "Nodule of 10 x 10 mm.", "Nodule, 1 mm."):
        assert scores_of(other, "Nodule of 10 mm.")["measurement_agreement"] == 0
    assert scores_of("Nodule.", "Nodule of 10 mm.")["measurement_agreement"] is None
    assert scores_of("Nodule.", "Nodule of 10 mm.")["f1_detailed"] == 0


def test_severities_and_sizes_are_compared_side_by_side():
    for one, other, name in (
        ("Small left and large right effusions.", "Large left and small right effusions.", "severity"),
        ("左侧少量、右侧大量胸腔积液。", "左侧大量、右侧少量胸腔积液。", "severity"),
        (
            "Nodule of 5 mm on the left and nodule of 9 mm on the right.",
            "Left 9 mm nodule and right 5 mm nodule.",
            "measurement",
        ),
    ):
        assert scores_of(one, one)[f"{name}_agreement"] == 1 and scores_of(one, one)["f1_detailed"] == 1
        assert scores_of(other, one)[f"{name}_agreement"] == 0 and scores_of(other, one)["f1_detailed"] == 0
    # A size whose side is not named can be that of either.
    assert scores_of("Bilateral nodules of 5 mm.", "Left and right nodule of 5 mm.")["measurement_agreement"] == 1
    assert scores_of("Cyst of -20 HU.", "Cyst of 20 HU.")["measurement_agreement"] == 0
    assert scores_of("Cyst of -20 HU.", "Cyst of -20.5 HU.")["measurement_agreement"] == 1


def test_nothing_to_compare_is_none():
    scores = consistency_scores(["Effusion.", ""], ["Yes", "CT"])
    assert all(scores[share] is None for share in SHARES) and scores["num_left_out"] == 2
    assert pair_score("Effusion.", "Yes") is None
    scores = scores_of("", "Effusion.")
    assert (scores["precision"], scores["recall"], scores["f1"]) == (None, 0, 0)


def test_languages_can_be_given():
    scores = consistency_scores(["无积液。", "No effusion."], ["无积液。", "No effusion."], ["de", "de"])
    assert scores["num_samples_de"] == 2 and "num_samples_zh" not in scores


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predictions": [], "references": []}, "There are no samples"),
        ({"references": ["a"]}, "2 predictions, but 1 references"),
        ({"predictions": ["a", None]}, "sample 1: the prediction is None"),
        ({"references": ["a", " "]}, "sample 1: the reference is ' '"),
        ({"references": [["a"], "b"]}, r"sample 0: the reference is \['a'\]"),
        ({"languages": ["en"]}, "1 languages for 2 samples"),
        ({"languages": ["en", "French"]}, "sample 1: the language 'French' is unknown"),
    ],
)
def test_invalid_samples_are_refused(arguments, message):
    valid = {"predictions": ["a", "b"], "references": ["a", "b"], "languages": ["en", "en"]}
    consistency_scores(**valid)
    with pytest.raises(ValueError, match=message):
        consistency_scores(**{**valid, **arguments})


# ---- the metric ------------------------------------------------------------------------------------------------------


def test_compute_equals_consistency_scores():
    from evaluation.metrics.clinical_consistency.clinical_consistency import ClinicalConsistency

    metric = ClinicalConsistency(keep_in_memory=True)
    texts = {"predictions": SENTENCES, "references": SENTENCES[::-1]}
    assert metric.compute(**texts) == consistency_scores(**texts)
    for arguments, message in (
        ({"predictions": [], "references": []}, "There are no samples"),
        ({"predictions": ["a"], "references": [""]}, "sample 0: the reference is ''"),
        ({"predictions": ["a"], "references": ["b"], "languages": ["x"]}, "the language 'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.compute(**arguments)
    assert (
        metric.compute(predictions=["No mass."], references=["No mass."])["num_samples"] == 1
    )  # no refused ones remain


@pytest.mark.slow
def test_the_folder_is_a_complete_space(check_space):
    scores = check_space("clinical_consistency")
    assert scores["side_contradictions"] == 1 and scores["measurement_agreement"] == 1
    assert scores["claims of predictions"][0] == ["effusion (pleura): present, right severity 1"]
