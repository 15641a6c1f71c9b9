"""Checks that the gate refuses losses and passes equal models, at the rates that it promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.loading import InputError
from evaluation.records.gate import (
    Subgroup,
    check_same_rows,
    compare,
    compare_predictions,
    pass_gate,
    read_last,
    report,
)
from evaluation.records.run import predictions_path
from evaluation.run_evaluation import SUBGROUP_COLUMNS, main
from tests.evaluation.records.test_ranking import predictions, record


def simulated(seed: int, patients: int, per: int, loss: float = 0.0, where: str = "all", churn: float = 0.3) -> bool:
    """Returns whether a new model is refused.

    Some patients are easier than others. The last model is right at their level; the new one answers a share `churn` of
    the rows anew at the same level, and then loses `loss` of all points, or of those of one subgroup of four.
    """
    draw = np.random.default_rng([seed, patients, per])
    rows = patients * per
    group = np.repeat(np.arange(patients), per)
    subgroup = np.arange(rows) % 4
    level = np.clip(0.6 + 0.12 * draw.standard_normal(patients), 0.1, 0.95)[group]
    last = draw.random(rows) < level
    new = np.where(draw.random(rows) < churn, draw.random(rows) < level, last)
    hit = np.ones(rows, dtype=bool) if where == "all" else subgroup == 0
    new &= ~(hit & (draw.random(rows) < loss / level))
    members = {"all": np.ones(rows, dtype=bool)} | {f"part {number}": subgroup == number for number in range(4)}
    return any(one.is_worse for one in compare(new.astype(float) - last, group.astype(str), members, seed))


def rate(times: int, *case, **more) -> float:
    return sum(simulated(seed, *case, **more) for seed in range(times)) / times


def test_a_loss_of_five_points_is_refused_and_an_equal_model_passes():
    """With 100 patients and 2,000 rows; the rates for other sizes are below."""
    assert rate(100, 100, 20, loss=0.05) >= 0.95
    assert rate(100, 100, 20) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("size", [(20, 100), (50, 40), (100, 20), (400, 5)])
def test_the_rates_hold_for_two_thousand_rows(size):
    assert rate(400, *size) <= 0.05
    assert rate(400, *size, loss=0.05) >= 0.95


@pytest.mark.slow
def test_a_loss_in_one_of_four_subgroups_takes_more_rows():
    assert rate(200, 200, 40, loss=0.05, where="one") >= 0.95
    assert rate(200, 200, 40) <= 0.05


def test_an_equal_model_has_no_loss():
    members = {"all": np.ones(60, dtype=bool)}
    (same,) = compare(np.zeros(60), [str(number) for number in range(60)], members)
    assert (same.gain, same.is_worse, same.rows, same.groups) == (0.0, False, 60, 60)


def test_a_model_that_loses_everything_alike_is_worse():
    (found,) = compare(np.full(60, -1.0), [str(number) for number in range(60)], {"all": np.ones(60, dtype=bool)})
    assert found.is_worse


def test_one_subgroup_has_the_interval_of_student():
    """With a single subgroup and many patients, the reach is that of the t-test for pairs."""
    from scipy import stats

    gains = np.random.default_rng(0).normal(0, 1, 400)
    (found,) = compare(gains, [str(number) for number in range(400)], {"all": np.ones(400, dtype=bool)})
    assert found.reach == pytest.approx(stats.t.ppf(0.975, 399) * gains.std(ddof=1) / 20, rel=0.08)
    assert found.detectable - found.reach == pytest.approx(1.645 * gains.std(ddof=1) / 20, rel=0.01)


def test_more_subgroups_reach_further():
    gains = np.random.default_rng(0).normal(0, 1, 4000)
    groups = [str(number) for number in range(4000)]
    reach = []
    for count in (1, 20):
        members = {str(part): np.arange(4000) % 20 == part for part in range(count)}
        reach.append(compare(gains, groups, members)[0].reach)
    assert 1.3 < reach[1] / reach[0] < 1.7  # Bonferroni: 3.02 / 1.96 = 1.54


def test_a_small_subgroup_is_not_tested():
    members = {"all": np.ones(60, dtype=bool), "small": np.arange(60) < 9, "none": np.zeros(60, dtype=bool)}
    found = compare(np.full(60, -0.5), [str(number) for number in range(60)], members)
    assert [(one.name, one.reach is None, one.is_worse) for one in found] == [
        ("all", False, True),
        ("small", True, False),
    ]
    assert "| too few to test |" in report(found) and "Worse than the last model in: all." in report(found)


def test_subgroups_are_the_values_of_the_columns():
    last = predictions(0.9, 1)
    for number, row in enumerate(last):
        row["source_dataset"] = ("slake", "other")[number % 2]
    new = [dict(row) for row in last]
    for row in new:
        if row["source_dataset"] == "other":
            row["generated"] = "wrong"
    found = compare_predictions(new, last, "exact", SUBGROUP_COLUMNS)
    worse = {one.name: one.is_worse for one in found}
    assert worse == {
        "all": True, "source_dataset other": True, "source_dataset slake": False, "language en": True,
        "answer_type open": True,
    }  # fmt: skip
    assert not any(one.is_worse for one in compare_predictions(last, new, "exact", SUBGROUP_COLUMNS))


def test_predictions_of_an_encoder():
    rows = [{"image_path": str(number), "nearest": [{"text": "a", "right": number % 2 == 0}]} for number in range(40)]
    blind = [{**row, "nearest": [{"text": "a", "right": False}]} for row in rows]
    assert [one.is_worse for one in compare_predictions(blind, rows, "exact", ["language"])] == [True]
    assert [one.gain for one in compare_predictions(rows, rows, "exact", ["language"])] == [0.0]


def test_what_cannot_be_compared_is_refused():
    rows = predictions(0.5, 1)
    with pytest.raises(ValueError, match="the two models did not answer the same rows"):
        compare_predictions(rows, rows[1:], "exact", ["language"])
    reports = [{**row, "answer_type": ""} for row in rows]
    with pytest.raises(ValueError, match="no row has an answer to an open or closed question"):
        compare_predictions(reports, reports, "exact", ["language"])


def test_the_gate_of_two_records(tmp_path, capsys):
    last = tmp_path / record(tmp_path, "last", predictions(0.9, 1)).file_name
    worse = tmp_path / record(tmp_path, "worse", predictions(0.6, 2)).file_name
    pass_gate(worse, last, None)
    assert "Not worse than the last model beyond chance." in capsys.readouterr().out
    with pytest.raises(InputError, match="the model is worse than last in: all, language en, answer_type open"):
        pass_gate(last, worse, None)


def test_a_record_that_is_no_gate(tmp_path):
    result = record(tmp_path, "last", predictions(0.9, 1))
    path = tmp_path / result.file_name
    with pytest.raises(InputError, match=f"--gate {path}: it was measured on other rows"):
        check_same_rows(path, "0" * 64, "exact")
    with pytest.raises(InputError, match=f"--gate {path}: its rule is exact, and --rule is clinical"):
        check_same_rows(path, result.chain[0]["content"], "clinical")
    check_same_rows(path, result.chain[0]["content"], "exact")
    predictions_path(path).write_text("{}\n")
    with pytest.raises(InputError, match="generated is None"):
        read_last(path)
    with pytest.raises(InputError, match=r"--gate .*none\.json: not a result file"):
        read_last(tmp_path / "none.json")


@pytest.mark.slow
def test_the_command_refuses_a_worse_model_and_keeps_its_record(build, decoder, tmp_path, capsys, monkeypatch):
    """The last model was right about everything; the untrained one is not."""
    import json
    from dataclasses import replace

    from evaluation.records.chain import LINKS, PREDICTIONS, content_of, sealed, sha256
    from evaluation.records.run import json_lines
    from model_cards.results import load_result

    folder: Path = tmp_path / "results"
    words = ["--model", str(decoder), "--dataset", str(build), "--max_new_tokens", "2", "--output_dir", str(folder)]
    words += ["--no_image_controls", "--frozen_encoder", "none"]
    assert main(words) == 0
    (own,) = folder.glob("*--*.json")
    rows = [json.loads(line) for line in predictions_path(own).read_text(encoding="utf-8").splitlines()]
    text = json_lines([{**row, "generated": row["reference"]} for row in rows])
    result = load_result(own)
    contents = {name: content_of(result.chain, name) for name in LINKS[:4]} | {PREDICTIONS: sha256(text)}
    last = tmp_path / "last.json"
    last.write_text(sealed(replace(result, chain=[], model="org/last"), contents).text, encoding="utf-8")
    predictions_path(last).write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert main([*words, "--gate", str(last)]) == 2
    assert "the rows are of 4 patients or images, and with fewer than 10 no loss" in capsys.readouterr().err
    monkeypatch.setattr("evaluation.records.gate.FEWEST_GROUPS", 3)  # the sample has 4 patients
    assert main([*words, "--gate", str(own)]) == 0
    assert "Not worse than the last model beyond chance." in capsys.readouterr().out
    assert main([*words, "--gate", str(last), "--gate_subgroups", "language"]) == 2
    printed, errors = capsys.readouterr()
    assert "the model is worse than org/last in: all, language en" in errors and own.exists()
    assert "| all " in printed and "| language zh" in printed
    assert main([*words, "--gate", str(last), "--limit", "8"]) == 2
    assert "it was measured on other rows" in capsys.readouterr().err
    assert main([*words, "--gate_subgroups", "language"]) == 2
    assert "--gate_subgroups requires --gate" in capsys.readouterr().err


def test_a_subgroup_is_worse_only_beyond_chance():
    assert Subgroup("x", 9, 9, -0.2, 0.1, 0.2).is_worse
    assert not Subgroup("x", 9, 9, -0.05, 0.1, 0.2).is_worse
    assert not Subgroup("x", 9, 9, 0.2, 0.1, 0.2).is_worse
    assert not Subgroup("x", 9, 9, -0.2, None, None).is_worse
