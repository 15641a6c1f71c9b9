"""Checks probes against scikit-learn's pipeline and the model that was folded, and how their strength is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.classification.probes import (
    LINEAR,
    ORDINAL,
    STRENGTHS,
    NothingToFit,
    balanced_log_loss,
    class_weights,
    fit_probe,
)
from evaluation.classification.proportional_odds import fit_proportional_odds


@pytest.fixture(scope="module")
def planted():
    """Five grades along one direction, in features of very different sizes, with rare high grades."""
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(5), [80, 60, 40, 20, 10])
    features = random.normal(size=(210, 8)) * 10.0 ** np.arange(-2, 6) + 100
    features[:, 3] += 8 * labels
    order = random.permutation(210)
    return features[order], labels[order]


def test_a_linear_probe_is_scikit_learns_pipeline(planted):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = planted
    probe = fit_probe(LINEAR, features, labels, features, labels, strengths=[0.1])
    other = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000, tol=1e-8)
    pipeline = make_pipeline(StandardScaler(), other).fit(features, labels)
    np.testing.assert_allclose(probe.logits(features), pipeline.decision_function(features), atol=2e-3)
    assert (probe.logits(features).argmax(1) == pipeline.predict(features)).mean() > 0.99
    loss = balanced_log_loss(pipeline.predict_log_proba(features), labels)
    assert probe.log_loss == pytest.approx(loss, abs=1e-4)


def test_an_ordinal_probe_predicts_the_median_grade_of_its_model(planted):
    features, labels = planted
    probe = fit_probe(ORDINAL, features, labels, features, labels, strengths=[1.0])
    scaled = (features - features.mean(0)) / features.std(0)
    model = fit_proportional_odds(scaled, labels, class_weights(labels), penalty=1.0)
    assert (probe.logits(features).argmax(1) == model.grades(scaled)).all()
    assert len({*model.grades(scaled)}) == 5
    correlation = np.corrcoef(probe.logits(features).argmax(1), labels)[0, 1]
    assert correlation > 0.6


def test_grades_that_were_not_seen_are_never_predicted(planted):
    features, labels = planted
    seen = labels != 2
    for kind in (LINEAR, ORDINAL):
        probe = fit_probe(kind, features[seen], labels[seen], features, labels, strengths=[1.0])
        assert probe.classes.tolist() == [0, 1, 3, 4] and np.isfinite(probe.log_loss)
        scores = probe.scores(features, 5)
        assert scores.shape == (210, 5) and 2 not in scores.argmax(1)
        assert len({*scores[:, 2]}) == 1  # its AUC is that of a tie, one half


def test_the_strength_is_chosen_on_the_other_rows():
    """On noise, a strong penalty is best on other rows, and a weak one on the rows that were fitted."""
    random = np.random.default_rng(4)
    features, labels = random.normal(size=(60, 40)), random.integers(0, 2, 60)
    others, held = random.normal(size=(60, 40)), random.integers(0, 2, 60)
    assert fit_probe(LINEAR, features, labels, others, held).strength == STRENGTHS[0]
    assert fit_probe(LINEAR, features, labels, features, labels).strength == STRENGTHS[-1]
    constant = fit_probe(LINEAR, np.ones((60, 3)), labels, np.ones((60, 3)), held)  # all are equal: the strongest
    assert constant.strength == STRENGTHS[0] and np.isfinite(constant.weights).all()


def test_constant_features_change_nothing(planted):
    features, labels = planted
    more = np.concatenate([features, np.full((210, 1), 3.0)], axis=1)
    one, other = (fit_probe(LINEAR, found, labels, found, labels, strengths=[1.0]) for found in (features, more))
    np.testing.assert_allclose(one.logits(features), other.logits(more), atol=1e-2)


def test_classes_weigh_the_same():
    labels = np.array([0, 0, 0, 1])
    assert class_weights(labels).tolist() == [2 / 3, 2 / 3, 2 / 3, 2]
    losses = np.log([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.9, 0.1]])
    assert balanced_log_loss(losses, labels) == pytest.approx((-np.log(0.5) - np.log(0.1)) / 2)


def test_rows_that_do_not_suffice(planted):
    features, labels = planted
    with pytest.raises(NothingToFit, match="one class"):
        fit_probe(LINEAR, features[:3], np.zeros(3, int), features, labels)
    with pytest.raises(NothingToFit, match="no row of a known class"):
        fit_probe(LINEAR, features, labels, features[:1], np.array([7]))
    one_row_per_class = [int(np.flatnonzero(labels == label)[0]) for label in range(5)]
    for kind in (LINEAR, ORDINAL):
        probe = fit_probe(kind, features[one_row_per_class], labels[one_row_per_class], features, labels)
        assert np.isfinite(probe.weights).all()
    bad = features.copy()
    bad[4, 2] = np.nan
    with pytest.raises(ValueError, match=r"^features have NaN or infinity in 1 row\(s\), first in row 4"):
        fit_probe(LINEAR, bad, labels, features, labels)
    with pytest.raises(ValueError, match=r"choice_features have NaN"):
        fit_probe(ORDINAL, features, labels, bad, labels)
