"""Checks the classification of planted encoders: one that sees everything, one that sees nothing, and noise."""

from __future__ import annotations

import re

import numpy as np
import pytest

from evaluation.classification.measure import Splits, classify, correct_by_row
from tests.evaluation.classification.planted import KNEE, SKIN, blind, labeled_rows, noisy, seeing


def of_classes(counts, names=KNEE):
    return [name for name, count in zip(names, counts, strict=True) for _ in range(count)]


@pytest.fixture(scope="module")
def splits() -> Splits:
    test = of_classes([12, 9, 6, 4, 4]) + of_classes([9, 5], SKIN)
    return Splits(
        labeled_rows(test),
        labeled_rows(of_classes([30, 20, 10, 6, 6]) + of_classes([20, 9], SKIN), "train"),
        labeled_rows(of_classes([6, 5, 4, 3, 3]) + of_classes([7, 5], SKIN), "validation"),
    )


def methods(found, source):
    return {method["name"]: method["metrics"] for method in found[source].entry["methods"]}


def embeds_of(model, splits):
    return model.images(splits.rows, range(len(splits.rows)))


def test_an_encoder_that_sees_everything(splits):
    model = seeing()
    found = classify(splits, model, embeds_of(model, splits), base=blind(), with_head=True)
    knee = methods(found, "knee_xray")
    for name in ("zero_shot_en", "linear_probe", "head"):
        for metric in ("balanced_accuracy", "macro_auc", "accuracy", "quadratic_kappa"):
            value, low, high = knee[name][metric]
            assert value == pytest.approx(1) and high == pytest.approx(1) and 0.85 < low < 1
    assert knee["ordinal_probe"]["quadratic_kappa"][0] > 0.9
    for name in ("base_zero_shot_en", "base_linear_probe", "base_ordinal_probe", "majority", "chance"):
        assert knee[name]["quadratic_kappa"][0] == pytest.approx(0, abs=1e-9)
        assert knee[name]["balanced_accuracy"][0] == pytest.approx(0.2)
    assert knee["majority"]["accuracy"][0] == pytest.approx(12 / 35)
    better = {(one["of"], one["to"]): one["metrics"] for one in found["knee_xray"].entry["differences"]}
    value, low, high = better["linear_probe", "base_linear_probe"]["balanced_accuracy"]
    assert low > 0.5 and value == pytest.approx(0.8)
    skin = found["pad_ufes_20"].entry
    assert (skin["classes"], skin["ordered"], skin["images"]) == (["nevus", "melanoma"], False, 14)
    assert skin["counts"] == [9, 5] and skin["aucs"]["linear_probe"] == {"nevus": 1.0, "melanoma": 1.0}
    notes = {method["name"]: method["note"] for method in skin["methods"]}
    assert notes["linear_probe"].startswith("fitted on 29 images of train, chosen on 12 of validation, C = ")
    correct = correct_by_row(found)
    assert set(correct) == {"majority", "zero_shot_en", "zero_shot_zh", "linear_probe", "ordinal_probe"} | {"metadata"}
    assert correct["linear_probe"] == dict.fromkeys(range(49), 1.0) and len(correct["ordinal_probe"]) == 35


def test_encoders_that_see_nothing(splits):
    constant = methods(classify(splits, blind(), embeds_of(blind(), splits)), "knee_xray")
    for name in ("zero_shot_en", "zero_shot_zh", "linear_probe", "ordinal_probe"):
        assert constant[name]["balanced_accuracy"][0] == pytest.approx(0.2)
        assert constant[name]["macro_auc"] == pytest.approx([0.5] * 3)
        assert constant[name]["quadratic_kappa"][0] == pytest.approx(0, abs=1e-9)
    model = noisy()
    random = methods(classify(splits, model, embeds_of(model, splits)), "knee_xray")
    for name in ("zero_shot_en", "linear_probe", "ordinal_probe"):
        _, low, high = random[name]["macro_auc"]
        assert low <= 0.5 <= high and random[name]["quadratic_kappa"][1] <= 0 <= random[name]["quadratic_kappa"][2]


def test_patients_of_the_evaluated_split_are_never_fitted_on():
    """A train split with wrong labels of the evaluated patients would ruin the probe."""
    test = of_classes([5, 5], SKIN)
    groups = [f"patient {row}" for row in range(10)]
    wrong = [SKIN[1 - SKIN.index(label)] for label in test] * 3
    train = labeled_rows(wrong + of_classes([8, 8], SKIN), "train", groups * 3 + [f"other {row}" for row in range(16)])
    splits = Splits(labeled_rows(test, groups=groups), train, labeled_rows(of_classes([3, 3], SKIN), "validation"))
    model = seeing()
    found = classify(splits, model, embeds_of(model, splits))
    assert methods(found, "pad_ufes_20")["linear_probe"]["accuracy"][0] == 1
    assert "30 images of train are not used: their patients are evaluated" in found["pad_ufes_20"].entry["notes"]


def test_without_a_validation_split_patients_of_train_choose(splits):
    model = seeing()
    found = classify(Splits(splits.rows, splits.train), model, embeds_of(model, splits))
    notes = {method["name"]: method["note"] for method in found["knee_xray"].entry["methods"]}
    assert "of every fifth patient of train" in notes["linear_probe"]
    fitted, chosen = re.findall(r"on (\d+)", notes["linear_probe"])
    assert int(fitted) + int(chosen) == 72 and int(chosen) > 5


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"train": None, "choice": None}, "no probes: there are no labeled images in a split train"),
        ({"most_images": 0}, "no probes: left out by --probe_images 0"),
    ],
)
def test_what_is_left_out_is_said(splits, change, note):
    model, most = seeing(), change.pop("most_images", 2000)
    found = classify(
        Splits(**{"rows": splits.rows, "train": splits.train, **change}),
        model,
        embeds_of(model, splits),
        most_images=most,
    )
    entry = found["knee_xray"].entry
    assert any(note in said for said in entry["notes"])
    assert not any("probe" in method["name"] for method in entry["methods"])


def test_one_row_per_class_and_classes_that_are_missing():
    model = seeing()
    splits = Splits(
        labeled_rows([KNEE[0], KNEE[4]]),
        labeled_rows([KNEE[0], KNEE[2], KNEE[4]], "train"),
        labeled_rows([KNEE[2], KNEE[3]], "validation"),  # Moderate was never seen
    )
    found = classify(splits, model, embeds_of(model, splits))
    assert methods(found, "knee_xray")["linear_probe"]["accuracy"] == [1, None, None]  # two patients: no interval
    alone = Splits(splits.rows, labeled_rows([KNEE[1]] * 3, "train"), splits.choice)
    entry = classify(alone, model, embeds_of(model, splits))["knee_xray"].entry
    assert "linear_probe: all rows to fit on are of one class" in entry["notes"]


def test_metadata_is_a_control():
    """Each class has its own age and sex: a model has to beat what these say."""
    people = [{"age": 30, "gender": "FEMALE"}, {"age": 70, "gender": "MALE"}]
    labels = of_classes([8, 8], SKIN)
    metadata = [people[SKIN.index(label)] for label in labels]
    splits = Splits(labeled_rows(labels, metadata=metadata), labeled_rows(labels, "train", metadata=metadata))
    found = classify(splits, blind(), embeds_of(blind(), splits))
    assert methods(found, "pad_ufes_20")["metadata"]["balanced_accuracy"][0] == 1
    (worse,) = (d for d in found["pad_ufes_20"].entry["differences"] if d["of"] == "zero_shot_en")
    value, _, high = worse["metrics"]["balanced_accuracy"]
    assert value == -0.5 and high < 0


def test_an_embedding_with_nan_is_refused(splits):
    model = seeing()
    embeds = embeds_of(model, splits)
    embeds[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in 1 row"):
        classify(splits, model, embeds)


def test_a_dataset_without_labels(splits):
    rows = splits.rows.remove_columns("label")
    assert classify(Splits(rows, rows), blind(), np.ones((len(rows), 16))) == {}
