"""Refuses to publish a model that is worse than the last one in any declared subgroup, beyond chance.

The models have answered the same rows, so each row has a gain: the points of the new model minus those of the last one.
The mean gain of each subgroup is divided by its standard error over patients. Patients are then drawn again, together
for all subgroups, to find how far below its mean the worst of them falls by chance (the step-down free max-T of Romano
and Wolf, 2005, Econometrica 73:1237, one step). A subgroup that is further below 0 than that in all but LEVEL of the
resamples is worse. The chance that an equal model is refused is LEVEL for all subgroups together, however many there
are.

How small a loss can be found depends on the number of patients, and is part of the report. With fewer than
FEWEST_GROUPS patients nothing can be found, and no model passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.loading import InputError
from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, DEFAULT_RULE, OPEN, detect_language, score_answer
from evaluation.records.chain import DATASET, PREDICTIONS, content_of
from evaluation.records.rescoring import read_rows
from evaluation.records.run import predictions_path
from evaluation.scoring.group_bootstrap import FEWEST_GROUPS, Z, draws, student_t
from model_cards.hub.weights import file_sha256
from model_cards.results import EvaluationResult, load_result

LEVEL = 0.025  # the share of equal models that are refused, as one side of a 95 % interval
POWER = 0.95
DEFAULT_COLUMNS = ("source_dataset", "language", "answer_type")
ALL = "all"


@dataclass(frozen=True)
class Subgroup:
    """The comparison in one subgroup.

    Attributes:
        name: for example `language en`.
        rows, groups: the number of rows that both models are scored on, and of patients.
        gain: points of the new model minus those of the last one, in -1..1.
        reach: how far the gain may be below 0 by chance; None if there are too few patients to test.
        detectable: the loss that would be refused in POWER of all cases.
    """

    name: str
    rows: int
    groups: int
    gain: float
    reach: float | None
    detectable: float | None

    @property
    def is_worse(self) -> bool:
        """Whether the new model is worse beyond chance."""
        return self.reach is not None and self.gain < 0 and self.gain < -self.reach


def compare(
    gains: np.ndarray, groups: Sequence[str], members: Mapping[str, np.ndarray], seed: int = 0
) -> list[Subgroup]:
    """Compares two models in several subgroups at once.

    Args:
        gains: `[N]` points of the new model minus those of the last one.
        groups: [N] names of the groups that are drawn, for example patients.
        members: for each subgroup `[N]` whether the row belongs to it.
        seed: seed of the resamples.

    Returns:
        one entry per subgroup with a row, in their order.
    """
    _, numbers = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    size = int(numbers.max()) + 1 if len(numbers) else 0
    names = [name for name, inside in members.items() if inside.any()]
    tops, bottoms = np.zeros((2, size, len(names)))
    for place, name in enumerate(names):
        inside = members[name]
        tops[:, place] = np.bincount(numbers[inside], gains[inside], minlength=size)
        bottoms[:, place] = np.bincount(numbers[inside], minlength=size)
    counts = (bottoms > 0).sum(0)  # [S] patients of each subgroup
    means = tops.sum(0) / np.maximum(bottoms.sum(0), 1)
    tested = counts >= FEWEST_GROUPS
    # The linearized standard error of a ratio of sums over patients.
    residuals = np.where(bottoms > 0, tops - means * bottoms, 0.0)
    spread = counts / np.maximum(counts - 1, 1)
    errors = np.sqrt(spread * (residuals**2).sum(0)) / np.maximum(bottoms.sum(0), 1)
    threshold = critical_value(tops, bottoms, means, errors, tested, seed)
    found = []
    for place, name in enumerate(names):
        facts = (name, int(bottoms[:, place].sum()), int(counts[place]), float(means[place]))
        if not tested[place]:
            found.append(Subgroup(*facts, None, None))
            continue
        # Few patients have wider tails than the normal distribution, see `group_bootstrap.py`.
        few = student_t(int(counts[place]) - 1) / Z
        reach = float(threshold * few * errors[place])
        found.append(Subgroup(*facts, reach, reach + 1.645 * float(errors[place])))
    return found


def critical_value(
    tops: np.ndarray, bottoms: np.ndarray, means: np.ndarray, errors: np.ndarray, tested: np.ndarray, seed: int
) -> float:
    """Returns how many standard errors the worst subgroup falls below its mean in all but LEVEL of the resamples."""
    usable = tested & (errors > 0)
    if not usable.any():
        return Z
    drawn = draws(len(tops), seed)
    sums = drawn @ bottoms[:, usable]  # (R, G) . (G, S) -> (R, S)
    ratios = np.divide(drawn @ tops[:, usable], sums, out=np.tile(means[usable], (len(drawn), 1)), where=sums > 0)
    worst = ((means[usable] - ratios) / errors[usable]).max(axis=1)
    # Never less than for a single subgroup: with a handful of discordant patients, resamples are coarse.
    return max(float(np.quantile(worst, 1 - LEVEL)), Z)


def compare_predictions(
    new: Sequence[Mapping[str, Any]], last: Sequence[Mapping[str, Any]], rule: str, columns: Sequence[str]
) -> list[Subgroup]:
    """Compares the predictions of two models on the same rows.

    Args:
        new, last: predictions as `medpairs evaluate` writes them.
        rule: the rule by which answers are right.
        columns: each value of these columns is a subgroup; all rows are one as well.

    Raises:
        ValueError: the rows are not the same ones, or none of them can be compared.
    """
    if [key_of(row) for row in new] != [key_of(row) for row in last]:
        raise ValueError("the two models did not answer the same rows")
    pairs = [(points(ours, rule), points(theirs, rule)) for ours, theirs in zip(new, last, strict=True)]
    counted = [number for number, pair in enumerate(pairs) if None not in pair]
    if not counted:
        raise ValueError("no row has an answer to an open or closed question, or the nearest texts of an image")
    gains = np.array([pairs[number][0] - pairs[number][1] for number in counted])
    rows = [new[number] for number in counted]
    members = {ALL: np.ones(len(rows), dtype=bool)}
    for column in columns:
        values = [str(row.get(column) or "").strip().lower() for row in rows]
        for value in sorted({*values} - {""}):
            members[f"{column} {value}"] = np.array([other == value for other in values])
    return compare(gains, [row.get("group") or key_of(row) for row in rows], members)


def key_of(row: Mapping[str, Any]) -> str:
    """Returns what identifies a row: its hash, or for the predictions of an encoder its image."""
    return str(row.get("row") or row.get("image_path"))


def points(row: Mapping[str, Any], rule: str) -> float | None:
    """Returns the points of a prediction, 0..1; None for a row that is not counted.

    An answer has those of the rule; an image has 1 if one of its nearest texts is right.
    """
    if "nearest" in row:
        return float(any(near.get("right") for near in row["nearest"]))
    kind = (row.get("answer_type") or "").strip().lower()
    if kind not in (OPEN, CLOSED):
        return None
    language = row.get("language") or detect_language(row["reference"])
    return score_answer(row["generated"], row["reference"], kind, language, rule)


def read_last(path: Path) -> tuple[EvaluationResult, list[dict[str, Any]]]:
    """Reads the record of the last model with its predictions.

    Raises:
        InputError: it is not a record with predictions that can be compared.
    """
    try:
        result = load_result(path)
        expected, predictions = content_of(result.chain, PREDICTIONS), predictions_path(path)
        if not expected:
            raise ValueError(f"{path}: a record of an earlier version; evaluate its model again")
        rows = read_rows(predictions)
        if file_sha256(predictions) != expected:
            raise ValueError(f"{predictions}: not the predictions of the record; `medpairs verify {path}` says more")
    except ValueError as error:
        raise InputError(f"--gate {error}") from None
    return result, rows


def check_same_rows(path: Path, fingerprint: str, rule: str) -> None:
    """Raises InputError, before anything is scored, unless the last model answered the same rows by the same rule."""
    last, _ = read_last(path)
    if content_of(last.chain, DATASET) != fingerprint:
        raise InputError(f"--gate {path}: it was measured on other rows; evaluate its model again on these rows")
    if (last_rule := last.settings.get("rule", DEFAULT_RULE)) != rule:
        raise InputError(f"--gate {path}: its rule is {last_rule}, and --rule is {rule}; use the same rule")


def pass_gate(last: Path, new: Path, columns: Sequence[str] | None) -> None:
    """Prints the comparison of a new model with the last one.

    Args:
        last, new: their records.
        columns: the columns by which subgroups are declared (default: DEFAULT_COLUMNS).

    Raises:
        InputError: the new model is worse, or cannot be compared.
    """
    result, rows = read_last(last)
    rule = result.settings.get("rule", DEFAULT_RULE)
    try:
        subgroups = compare_predictions(read_rows(predictions_path(new)), rows, rule, columns or DEFAULT_COLUMNS)
    except ValueError as error:
        raise InputError(f"--gate {last}: {error}") from None
    print(report(subgroups), end="")
    if subgroups[0].reach is None:
        raise InputError(
            f"--gate {last}: the rows are of {subgroups[0].groups} patients or images, and with fewer than "
            f"{FEWEST_GROUPS} no loss can be found. Compare the models on more rows; nothing is pushed."
        )
    if worse := [one.name for one in subgroups if one.is_worse]:
        raise InputError(
            f"--gate {last}: the model is worse than {result.model} in: {', '.join(worse)}. Nothing is pushed; the "
            f"record is {new}."
        )


def report(subgroups: Sequence[Subgroup]) -> str:
    """Returns the comparison as a table of Markdown, and what follows from it."""
    from model_cards.rendering import aligned_table

    lines = [["subgroup", "rows", "patients", "gain in points", "by chance", "a loss it would find", ""]]
    for one in subgroups:
        facts = [one.name, f"{one.rows:,}", f"{one.groups:,}", f"{100 * one.gain:+.1f}"]
        if one.reach is None:
            lines.append([*facts, "", "", "too few to test"])
        else:
            state = "worse" if one.is_worse else "not worse"
            lines.append([*facts, f"{-100 * one.reach:.1f}", f"{100 * (one.detectable or math.nan):.1f}", state])
    worse = [one.name for one in subgroups if one.is_worse]
    verdict = "Not worse than the last model beyond chance."
    if worse:
        verdict = f"Worse than the last model in: {', '.join(worse)}."
    elif subgroups[0].reach is None:
        verdict = "Too few patients or images to compare the models."
    return f"\n{aligned_table(lines, texts=[0, 6])}{verdict}\n"
