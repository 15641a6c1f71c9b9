"""Reads what scores of retrieval need of the rows of a split beside their embeddings, and ranks it per query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.datasets.groups import column, read_groups
from evaluation.metrics.retrieval_recall.ranking import (
    DIRECTIONS,
    FINDING,
    Galleries,
    Ranking,
    galleries,
    hit_probability,
    is_missing,
    scores_of,
)
from evaluation.scoring.group_bootstrap import FEWEST_GROUPS, RESAMPLES, Z, tails

KS = (1, 5, 10)
METADATA_COLUMNS = ("source_dataset", "modality", "body_part", "language")
PART_COLUMNS = ("source_dataset", "language")
# The scores with an interval: means of both directions, from one value per query.
MEASURES = (*(f"recall_at_{k}" for k in KS), "map")

MOST_DRAWN = 4_000_000  # numbers of draws in memory

Rankings = dict[str, Ranking]  # per direction
QueryScores = Mapping[str, Mapping[str, np.ndarray]]  # [Q] values in 0..1 by score and direction


@dataclass(frozen=True)
class PairRows:
    """The rows of a split of image-text pairs.

    Attributes:
        image_ids, text_ids: [N] int64, equal for equal images or texts.
        findings: [N] the grade or diagnosis with its source; None for a row without one.
        groups: [N] the patient or scan of each row.
        text_lengths: [N] in characters.
        metadata: [N] values by column, for the columns that the dataset has.
    """

    image_ids: np.ndarray
    text_ids: np.ndarray
    findings: Sequence[str | None]
    groups: Sequence[str]
    text_lengths: Sequence[int]
    metadata: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(self.image_ids)

    def relevances(self) -> dict[str, Galleries]:
        """Returns the galleries of both kinds of relevance by the prefix of their scores, those that have a row."""
        found = {"": galleries(self.image_ids, self.text_ids)}
        if any(finding is not None for finding in self.findings):
            found[FINDING] = galleries(self.image_ids, self.text_ids, self.findings)
        return found

    def part(self, kept: np.ndarray) -> PairRows:
        """Returns some of the rows, by their numbers."""
        lists = ([values[row] for row in kept] for values in (self.findings, self.groups, self.text_lengths))
        metadata = {name: [values[row] for row in kept] for name, values in self.metadata.items()}
        return PairRows(self.image_ids[kept], self.text_ids[kept], *lists, metadata)


def read_pairs(rows: Any, image_ids: np.ndarray, text_ids: np.ndarray) -> PairRows:
    """Reads rows of the config `pairs`, a `datasets.Dataset`, without their images.

    Args:
        rows: [N] rows with the column `text`; all other columns are optional.
        image_ids, text_ids: [N], see `embed_pairs`.
    """
    named = [name for name in METADATA_COLUMNS if name in rows.column_names]
    return PairRows(
        image_ids=np.asarray(image_ids),
        text_ids=np.asarray(text_ids),
        findings=read_findings(rows),
        groups=read_groups(rows),
        text_lengths=[len(text or "") for text in rows["text"]],
        metadata={name: column(rows, name) for name in named},
    )


def read_findings(rows: Any) -> list[str | None]:
    """Returns the class of each row in the column `label` with its source, None where there is none.

    Equal labels of two sources are two findings. A class number below 0 is missing, as in `datasets.ClassLabel`.
    """
    if "label" not in rows.column_names:
        return [None] * len(rows)
    found: list[str | None] = []
    for source, label in zip(column(rows, "source_dataset"), rows["label"], strict=True):
        missing = is_missing(label) or label == "" or (isinstance(label, int) and label < 0)
        found.append(None if missing else f"{source}/{label}")
    return found


def all_scores(rankings: Mapping[str, Rankings]) -> dict[str, float | int]:
    """Returns the scores by both kinds of relevance, see `retrieval_scores`; `rankings` are by prefix."""
    return {name: value for prefix, found in rankings.items() for name, value in scores_of(found, KS, prefix).items()}


def query_scores(rankings: Rankings) -> dict[str, dict[str, np.ndarray]]:
    """Returns, for each of MEASURES and each direction, [Q] values in 0..1 whose mean is the score."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for k in KS:
        found[f"recall_at_{k}"] = {name: hit_probability(rankings[name].ranks, k) for name in DIRECTIONS}
    return found | {"map": {name: rankings[name].average_precision for name in DIRECTIONS}}


class GroupWeights:
    """The share of each query that belongs to each group, from which resamples of groups are scored.

    An image belongs to the patient of its rows. A text that occurs with several patients belongs to each of them in
    equal parts, so that the mean over queries stays the mean over groups.

    Args:
        found: the galleries that were ranked.
        groups: [N] the group of each row.
    """

    def __init__(self, found: Galleries, groups: Sequence[str]) -> None:
        kept = np.flatnonzero(found.image_index >= 0)
        names, numbers = np.unique([groups[row] for row in kept], return_inverse=True)
        self.size = len(names)
        self.shares = {}
        for direction, index in zip(DIRECTIONS, (found.image_index, found.text_index), strict=True):
            pairs = np.unique(np.stack([index[kept], numbers], axis=1), axis=0)  # (P, 2): query, group
            counts = np.bincount(pairs[:, 0])
            self.shares[direction] = pairs[:, 0], pairs[:, 1], 1 / counts[pairs[:, 0]]

    def intervals(self, scores: QueryScores, least: float = 0.0, seed: int = 0) -> dict[str, list[float]]:
        """Returns the 95 % intervals `[low, high]` of the means of both directions; none with too few groups.

        Where all queries have the same value, for example 1, each resample has it, too. The bounds are then those of
        Wilson for one observation per group, as in `ratio_interval`.

        Args:
            scores: [Q] values in 0..1 by name and direction, or their differences.
            least: the lowest possible value: 0 for a score, -1 for a difference.
            seed: seed of the resamples.
        """
        if self.size < FEWEST_GROUPS:
            return {}
        tops, bottoms = {}, {}
        for direction, (queries, groups, shares) in self.shares.items():
            weighted = [shares * values[direction][queries] for values in scores.values()]
            tops[direction] = np.stack([np.bincount(groups, one, minlength=self.size) for one in weighted], axis=1)
            bottoms[direction] = np.bincount(groups, shares, minlength=self.size)
        resamples = []
        for drawn in drawn_groups(self.size, seed):  # (R, G) . (G, M) -> (R, M)
            ratios = [(drawn @ tops[name]) / (drawn @ bottoms[name])[:, None] for name in DIRECTIONS]
            resamples.append((ratios[0] + ratios[1]) / 2)
        lows, highs = np.quantile(np.concatenate(resamples), tails(self.size), axis=0)
        found = {}
        for number, (name, values) in enumerate(scores.items()):
            if all(np.ptp(values[direction]) == 0 for direction in DIRECTIONS):
                value = sum(float(values[direction][0]) for direction in DIRECTIONS) / 2
                reach = Z**2 / (self.size + Z**2)
                found[name] = [max(least, value - reach), min(1.0, value + reach)]
            else:
                found[name] = [float(lows[number]), float(highs[number])]
        return found


def drawn_groups(size: int, seed: int) -> Iterator[np.ndarray]:
    """Yields the rows of `group_bootstrap.draws` in parts, because all of them take 800 MB for 100,000 groups."""
    random, shares = np.random.default_rng(seed), np.full(size, 1 / size)
    step = max(1, MOST_DRAWN // size)
    for start in range(0, RESAMPLES, step):
        yield random.multinomial(size, shares, size=min(step, RESAMPLES - start))
