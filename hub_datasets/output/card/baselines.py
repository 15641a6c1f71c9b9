"""Scores that the data alone give, without an image: a model has to be better than these.

- The most frequent class: for a source with labels, the class that most training rows have is the answer to every row.
- The question prior: for a source with questions, the answer that most training rows have to the same question in the
  same language; to a question that no training row has, the most frequent answer in the language.

Both are learned on `train` and scored on the other splits by exact match, ignoring case and space at the ends.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from hub_datasets.records import RawRecord
from hub_datasets.schema import SPLITS
from hub_datasets.splits.assignment import IN_STAGES, Decisions

Z = 1.959964  # of a 95 % interval
QUESTION, ANSWER = (RawRecord.__slots__.index(name) for name in ("question", "answer"))  # places in the JSON
# For each question of some stages its most frequent answer in `train`, then whether it is that of each held-out row. Of
# several answers with the same number, the first in alphabetical order is taken.
PRIOR = f"""
WITH asked AS (
    SELECT language, split, lower(trim(record ->> {QUESTION})) AS question, lower(trim(record ->> {ANSWER})) AS answer
    FROM accepted WHERE {IN_STAGES} AND record ->> {QUESTION} IS NOT NULL
), counted AS (
    SELECT language, question, answer, count(*) AS number FROM asked WHERE split = 'train' GROUP BY 1, 2, 3
), by_question AS (
    SELECT language, question, answer FROM (
        SELECT *, row_number() OVER (PARTITION BY language, question ORDER BY number DESC, answer) AS place FROM counted
    ) WHERE place = 1
), by_language AS (
    SELECT language, answer FROM (
        SELECT language, answer, row_number() OVER (PARTITION BY language ORDER BY sum(number) DESC, answer) AS place
        FROM counted GROUP BY language, answer
    ) WHERE place = 1
)
SELECT asked.language, asked.split, count(*), sum(asked.answer = coalesce(by_question.answer, by_language.answer))
FROM asked LEFT JOIN by_question USING (language, question) LEFT JOIN by_language USING (language)
WHERE asked.split != 'train' GROUP BY 1, 2
"""  # noqa: S608 (its parts are constants)


def baselines(decisions: Decisions, labels: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Returns the scores: `source`, `language`, `split`, `rule`, `rows`, `correct`, and their share with its interval.

    Args:
        labels: the number of rows of the config `pairs` by class and split; the names of classes start with the source.
    """
    return [*majority_scores(labels), *prior_scores(decisions)]


def majority_scores(labels: Mapping[str, Mapping[str, int]]) -> Iterator[dict[str, Any]]:
    """Yields the scores of the most frequent class of each source, where `train` and another split have labels."""
    for source in dict.fromkeys(name.partition("/")[0] for name in labels):
        own = {name: counts for name, counts in labels.items() if name.partition("/")[0] == source}
        most = max(own, key=lambda name: own[name].get("train", 0))
        if not own[most].get("train"):
            continue
        for split in SPLITS[1:]:
            if rows := sum(counts.get(split, 0) for counts in own.values()):
                rule = f"most frequent class: {most.partition('/')[2]}"
                yield score(source, "", split, rule, rows, own[most].get(split, 0))


def prior_scores(decisions: Decisions) -> Iterator[dict[str, Any]]:
    """Yields the scores of the question prior by source and language, if `train` and another split have questions."""
    for source, numbers in decisions.sources.items():
        found = decisions.database.execute(PRIOR, (json.dumps(numbers),))
        for language, split, rows, correct in sorted(found, key=lambda row: (row[0], SPLITS.index(row[1]))):
            if correct is not None:  # there are questions in `train`
                yield score(source, language, split, "most frequent answer to the question", rows, correct)


def score(source: str, language: str, split: str, rule: str, rows: int, correct: int) -> dict[str, Any]:
    """Returns the entry of one score."""
    low, high = wilson(correct, rows)
    shares = {"share": round(correct / rows, 4), "low": round(low, 4), "high": round(high, 4)}
    found = {"source": source, "language": language, "split": split, "rule": rule, "rows": rows, "correct": correct}
    return found | shares


def wilson(correct: int, rows: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share after Wilson (1927), which is also right for few rows and for 0 and 1."""
    share, square = correct / rows, Z * Z / rows
    middle = (share + square / 2) / (1 + square)
    half = Z * math.sqrt(share * (1 - share) / rows + square / (4 * rows)) / (1 + square)
    return max(middle - half, 0.0), min(middle + half, 1.0)
