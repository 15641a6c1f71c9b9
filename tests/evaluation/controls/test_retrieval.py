"""Controls of retrieval against plain rankings, and planted models: one that sees, one that only knows the source."""

from __future__ import annotations

import math

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from evaluation.controls.retrieval import measure_retrieval, retrieval_controls
from evaluation.controls.retrieval_controls import fixed_order, metadata_vectors
from evaluation.controls.retrieval_rows import MEASURES, GroupWeights, drawn_groups, read_findings, read_pairs
from evaluation.metrics.retrieval_recall.ranking import galleries, rank_relevant, retrieval_scores
from evaluation.scoring.group_bootstrap import draws, ratio_interval
from model_cards.controls import CHANCE, FREQUENCY, LENGTH, METADATA, RETRIEVAL_CONTROLS, check_controls, verdicts
from model_cards.results import RETRIEVAL, EvaluationResult

SOURCES = ("knee", "skin", "slake")
COLUMNS = ("text", "source_dataset", "modality", "body_part", "language", "patient", "label")


def make_rows(count: int = 180, seed: int = 0) -> tuple[Dataset, dict[str, np.ndarray]]:
    """Rows of three sources with eight findings each, two of which have a second wording; two rows for a patient.

    Returns:
        the rows, and the ids of images and texts.
    """
    random = np.random.default_rng(seed)
    names = [f"{source}/{grade}" for source in SOURCES for grade in range(8)]
    rows = []
    for row in range(count):
        source, grade = SOURCES[row % 3], int(random.integers(0, 8))
        expert = " by expert II" if grade < 2 and row % 2 else ""
        rows.append(
            {
                "text": f"{source}, grade {grade}{expert}" + " and more" * (grade % 3),
                "source_dataset": source,
                "modality": "XR" if source != "skin" else "photo",
                "body_part": source,
                "language": "zh" if source == "slake" and row % 2 else "en",
                "patient": f"patient {row // 6}",
                "label": None if source == "slake" else names.index(f"{source}/{grade}"),
            }
        )
    features = Features({name: Value("string") for name in COLUMNS[:-1]} | {"label": ClassLabel(names=names)})
    data = Dataset.from_list(rows, features=features)
    text_ids = np.unique(data["text"], return_inverse=True)[1]
    return data, {"image_ids": np.arange(count), "text_ids": text_ids}


def embeds_of(ids: dict[str, np.ndarray], images: np.ndarray, texts: np.ndarray) -> dict[str, np.ndarray]:
    return ids | {"image_embeds": images.astype(np.float32), "text_embeds": texts.astype(np.float32)}


def one_hot(values) -> np.ndarray:
    numbers = np.unique(np.asarray(values).astype(str), return_inverse=True)[1]
    return np.eye(numbers.max() + 1)[numbers]


@pytest.fixture(scope="module")
def split():
    return make_rows()


@pytest.fixture(scope="module")
def planted(split):
    """What is measured of a model that sees the finding, one that knows the source alone, and a random one."""
    rows, ids = split
    sees, source = one_hot(rows["text"]), one_hot(rows["source_dataset"])
    random = np.random.default_rng(1)
    models = {
        "sees": (sees, sees),
        "source": (source, source),
        "random": (random.normal(size=(len(rows), 16)), random.normal(size=(len(rows), 16))),
    }
    return {name: measure_retrieval(rows, embeds_of(ids, *pair)) for name, pair in models.items()}


def entry(measured: dict, name: str) -> dict:
    return next(entry for entry in measured["controls"] if entry["name"] == name)


# ---- planted models --------------------------------------------------------------------------------------------------


def test_a_model_that_sees_beats_all_controls(planted):
    measured = planted["sees"]
    assert measured["metrics"]["recall_at_1"] == measured["metrics"]["map"] == 1
    for name in RETRIEVAL_CONTROLS:
        difference, low, high = entry(measured, name)["difference"]["recall_at_1"]
        assert 0 < low <= difference <= high
        assert difference == pytest.approx(1 - entry(measured, name)["metrics"]["recall_at_1"])


def test_a_model_that_knows_the_source_alone_does_not_beat_the_metadata_prior(planted):
    measured = planted["source"]
    for metric in ("recall_at_5", "map"):
        assert measured["metrics"][metric] > 2 * entry(measured, CHANCE)["metrics"][metric]  # it looks like a success
        assert entry(measured, METADATA)["difference"][metric][1] <= 0  # the prior also knows the language
    result = EvaluationResult("m", RETRIEVAL, "d", "pairs", "test", 180, **measured)
    check_controls(result)
    said = [words for words in verdicts(result) if "metadata prior" in words and words.startswith("R@5:")]
    assert len(said) == 1 and "**" in said[0]
    # Within a source it is at chance, exactly.
    for part in measured["parts"]["source_dataset"].values():
        assert part["metrics"]["recall_at_5"] == pytest.approx(part["metrics"]["chance_recall_at_5"])


def test_controls_are_equal_for_all_models_and_do_without_one(split, planted):
    rows, ids = split
    alone = retrieval_controls(rows, ids["image_ids"], ids["text_ids"])
    for measured in planted.values():
        assert [{k: v for k, v in one.items() if k != "difference"} for one in measured["controls"]] == alone
    assert [one["name"] for one in alone] == list(RETRIEVAL_CONTROLS)


# ---- each control against a plain ranking ----------------------------------------------------------------------------


def by_scores(rows: Dataset, ids: dict[str, np.ndarray], score) -> dict[str, float]:
    """Recall at 1 and 5 and mAP of images ranking texts by `score(image row, text row)`, with ties in all orders."""
    found = galleries(ids["image_ids"], ids["text_ids"])
    matrix = np.float32([[score(image, text) for text in found.text_rows] for image in found.image_rows])
    ranking = rank_relevant(np.eye(len(matrix)), matrix.T, found.relevant_texts)
    hits = {f"image_to_text_recall_at_{k}": float((ranking.ranks.expected <= k).mean()) for k in (1, 5)}
    return hits | {"image_to_text_map": ranking.average_precision.mean(), "tied": ranking.ranks.tied_irrelevant.max()}


def test_the_order_by_frequency_and_by_length(split, planted):
    rows, ids = split
    texts = rows["text"][:]
    lengths = [len(texts[row]) for row in galleries(ids["image_ids"], ids["text_ids"]).text_rows]
    scores = {
        FREQUENCY: lambda image, text: texts.count(texts[text]),
        LENGTH: lambda image, text: -abs(len(texts[text]) - np.median(lengths)),
    }
    for name, score in scores.items():
        metrics, plain = entry(planted["sees"], name)["metrics"], by_scores(rows, ids, score)
        assert metrics["image_to_text_map"] == pytest.approx(plain["image_to_text_map"])
        chance = entry(planted["sees"], CHANCE)["metrics"]
        for key in ("text_to_image_recall_at_5", "text_to_image_map"):  # images are tied
            assert metrics[key] == chance[key]
    frequent = max(texts.count(text) for text in set(texts)) / len(texts)
    ties = sum(texts.count(text) == frequent * len(texts) for text in set(texts))
    found = entry(planted["sees"], FREQUENCY)["metrics"]["image_to_text_recall_at_1"]
    assert found == pytest.approx(frequent) if ties == 1 else found <= frequent + 1e-12


def test_the_metadata_prior_counts_equal_columns(split, planted):
    rows, ids = split
    columns = [rows[name][:] for name in ("source_dataset", "modality", "body_part", "language")]
    found = galleries(ids["image_ids"], ids["text_ids"])
    members = [np.flatnonzero(found.text_index == text) for text in range(len(found.text_rows))]

    def score(image: int, text: int) -> float:  # of a text in several rows, the mean over them
        others = members[found.text_index[text]]
        return np.float32(np.mean([sum(column[image] == column[other] for column in columns) for other in others]))

    plain = by_scores(rows, ids, score)
    assert entry(planted["sees"], METADATA)["metrics"]["image_to_text_map"] == pytest.approx(plain["image_to_text_map"])
    assert entry(planted["sees"], METADATA)["note"] == "by source_dataset, modality, body_part, language"
    pairs = read_pairs(rows, **{name: ids[name] for name in ("image_ids", "text_ids")})
    vectors = metadata_vectors(pairs, found.image_index)
    assert vectors @ vectors.T == pytest.approx(
        np.array([[sum(one[a] == one[b] for one in columns) for b in range(len(rows))] for a in range(len(rows))])
    )


def test_chance_is_the_chance_level_of_the_metric(planted):
    metrics = planted["random"]["metrics"]
    for name, value in entry(planted["random"], CHANCE)["metrics"].items():
        assert value == pytest.approx(metrics[f"chance_{name}"]), name


def test_without_metadata_the_prior_is_left_out_in_words(split):
    rows, ids = split
    measured = retrieval_controls(rows.select_columns(["text"]), ids["image_ids"], ids["text_ids"])
    left = measured[list(RETRIEVAL_CONTROLS).index(METADATA)]
    assert left["metrics"] == {} and left["note"].startswith("left out, because the dataset has no column source_")
    check_controls(EvaluationResult("m", RETRIEVAL, "d", "pairs", "test", 9, {"map": 0.5}, controls=measured))


@pytest.mark.parametrize("shared", [False, True])
def test_a_fixed_order_equals_the_ranking_of_each_query(shared):
    random = np.random.default_rng(3)
    scores = random.integers(0, 9, size=50).astype(np.float32)
    lists = [random.choice(50, size=1 + number % 7, replace=False) for number in range(12)]
    relevant = [lists[query % 5] for query in range(30)] if shared else lists
    plain, found = rank_relevant(np.ones((len(relevant), 1)), scores[:, None], relevant), fixed_order(scores, relevant)
    assert np.stack(found.ranks).tolist() == np.stack(plain.ranks).tolist()
    assert found.average_precision == pytest.approx(plain.average_precision)
    assert found.num_relevant.tolist() == plain.num_relevant.tolist()


# ---- scores, findings and parts --------------------------------------------------------------------------------------


def test_metrics_are_those_of_the_module(split, planted):
    rows, ids = split
    texts = one_hot(rows["text"])
    expected = retrieval_scores(texts, texts, ids["text_ids"], ids["image_ids"], findings=read_findings(rows))
    assert planted["sees"]["metrics"] == pytest.approx(expected)
    assert planted["sees"]["metrics"]["num_findings"] == 16


def test_findings_have_their_source():
    data = {"source_dataset": ["a", "b", "a", None, "a"], "label": ["0", "0", None, "0", ""]}
    assert read_findings(Dataset.from_dict(data)) == ["a/0", "b/0", None, "/0", None]
    assert read_findings(Dataset.from_dict({"label": [1, -1, None]})) == ["/1", None, None]
    assert read_findings(Dataset.from_dict({"x": [1, 2]})) == [None, None]


def test_parts_have_their_own_galleries(split, planted):
    rows, _ = split
    parts = planted["random"]["parts"]
    assert {column: sorted(found) for column, found in parts.items()} == {
        "source_dataset": sorted(SOURCES), "language": ["en", "zh"],
    }  # fmt: skip
    kept = [row for row, source in enumerate(rows["source_dataset"]) if source == "knee"]
    knee = parts["source_dataset"]["knee"]
    assert knee["samples"] == len(kept) == knee["metrics"]["num_images"]
    assert knee["metrics"]["num_texts"] == len({rows["text"][row] for row in kept})
    assert "finding_map" in knee["metrics"] and "finding_map" not in parts["source_dataset"]["slake"]["metrics"]


def test_a_column_with_one_value_has_no_parts(split):
    rows, ids = split
    kept = np.flatnonzero(np.array(rows["source_dataset"][:]) == "knee")
    part, numbers = rows.select(kept), {name: values[kept] for name, values in ids.items()}
    measured = measure_retrieval(part, embeds_of(numbers, one_hot(part["text"]), one_hot(part["text"])))
    assert measured["parts"] == {}


# ---- intervals -------------------------------------------------------------------------------------------------------


def test_intervals_hold_the_score_and_shrink_with_more_patients(planted):
    measured = planted["random"]
    for name in MEASURES:
        low, high = measured["intervals"][name]
        assert 0 <= low <= measured["metrics"][name] <= high <= 1
    rows, ids = make_rows(1440)
    random = np.random.default_rng(1)
    more = measure_retrieval(rows, embeds_of(ids, *random.normal(size=(2, len(rows), 16))))
    widths = [np.subtract(*found["intervals"]["map"][::-1]) for found in (measured, more)]
    assert widths[1] < 0.6 * widths[0]


def test_one_text_per_image_gives_the_interval_of_shares(split):
    """Where each patient has texts of its own, the interval is that of `ratio_interval`."""
    count = 60
    found = galleries(np.arange(count), np.arange(count))
    groups = [f"patient {row // 3}" for row in range(count)]
    hits = (np.random.default_rng(5).random(count) < 0.4).astype(float)
    bounds = GroupWeights(found, groups).intervals({"x": {"image_to_text": hits, "text_to_image": hits}})
    assert bounds["x"] == pytest.approx(ratio_interval(hits, np.ones(count), groups))


def test_a_text_belongs_to_all_its_patients_in_equal_parts():
    found = galleries([0, 1, 2], [7, 7, 8])
    queries, groups, shares = GroupWeights(found, ["a", "b", "b"]).shares["text_to_image"]
    assert list(zip(queries, groups, shares, strict=True)) == [(0, 0, 0.5), (0, 1, 0.5), (1, 1, 1.0)]


def test_few_patients_have_no_interval_and_equal_values_have_that_of_wilson():
    found = galleries(np.arange(12), np.arange(12))
    ones = {"x": {"image_to_text": np.ones(12), "text_to_image": np.ones(12)}}
    assert GroupWeights(found, [str(row % 9) for row in range(12)]).intervals(ones) == {}
    assert GroupWeights(found, [str(row) for row in range(12)]).intervals(ones)["x"] == pytest.approx(
        ratio_interval(np.ones(12), np.ones(12), [str(row) for row in range(12)])
    )


def test_draws_in_parts_are_the_same_draws(monkeypatch):
    whole = draws(17, 3)
    monkeypatch.setattr("evaluation.controls.retrieval_rows.MOST_DRAWN", 17 * 7)
    parts = list(drawn_groups(17, 3))
    assert len(parts) == math.ceil(1000 / 7) and np.concatenate(parts).tolist() == whole.tolist()


def test_the_interval_covers_the_truth():
    """Of 200 splits of a model with a known recall, about 95 % of the intervals hold it."""
    covered, truth, random = 0, 0.3, np.random.default_rng(8)
    for _ in range(200):
        rate = random.beta(3, 7, size=40)  # of each patient, with the mean 0.3
        hits = (random.random((40, 4)) < rate[:, None]).astype(float).ravel()
        found = galleries(np.arange(160), np.arange(160))
        weights = GroupWeights(found, [f"{row // 4}" for row in range(160)])
        ((low, high),) = weights.intervals({"x": {"image_to_text": hits, "text_to_image": hits}}).values()
        covered += low <= truth <= high
    assert covered >= 184


def test_embeddings_with_nan_are_refused(split):
    rows, ids = split
    images = np.full((len(rows), 3), np.nan)
    with pytest.raises(ValueError, match="image_embeds has NaN or infinity in 180 row"):
        measure_retrieval(rows, embeds_of(ids, images, np.ones_like(images)))
