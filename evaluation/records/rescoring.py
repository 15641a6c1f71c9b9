"""Computes the scores of a file of predictions, in the evaluation itself and again when its record is verified."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.scoring.answers import score_answers
from evaluation.scoring.measures import intervals, measures
from evaluation.scoring.prediction_files import LONGEST_LINE
from model_cards.checks.strict_json import parse_json

SEED = 0  # of the bootstrap, see `group_bootstrap.py`
TEXTS = ("generated", "reference")
OPTIONAL_TEXTS = ("language", "answer_type", "group", "row")


def score_predictions(rows: Sequence[Mapping[str, Any]], rule: str) -> tuple[dict, dict, dict]:
    """Computes all scores of a decoder's predictions that do not require the model.

    Args:
        rows: [N] predictions as `medpairs evaluate` writes them.
        rule: the rule of the accuracies.

    Returns:
        the metrics, with `loss` and `perplexity` if the rows have losses; their signatures; and their intervals.

    Raises:
        ValueError: there are no rows, or a row cannot be scored.
    """
    columns = ([row.get(name) for row in rows] for name in ("generated", "reference", "language", "answer_type"))
    metrics, signatures = score_answers(*columns, rule)
    found = measures(rows, rule)
    if "loss" in found:
        metrics |= loss_metrics([(row["loss"], row["tokens"]) for row in rows])
    groups = [row.get("group") or f"row {number}" for number, row in enumerate(rows)]
    return metrics, signatures, intervals(found, groups)


def loss_metrics(losses: Sequence[tuple[float, int]]) -> dict[str, float]:
    """Returns the mean loss in nats per token, and the perplexity.

    Args:
        losses: [N] the summed loss and the number of tokens of each row.
    """
    loss = math.fsum(total for total, _ in losses) / sum(tokens for _, tokens in losses)
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # exp of more than 709 overflows a float


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads the predictions of a decoder or an encoder.

    Raises:
        ValueError: the file cannot be read, or a row is not a prediction. The message names the file and the row.
    """
    rows = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE), ""), 1):
                try:
                    rows.append(checked(parse_json(line)))
                except ValueError as error:
                    raise ValueError(f"{path}, row {number}: {error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text in UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    return rows


def checked(row: Any) -> dict[str, Any]:
    """Returns a row. Raises ValueError if a field that scores are computed from has a wrong type."""
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__} and not a JSON object")
    if "nearest" in row:  # of an encoder
        return row
    for name in (*TEXTS, *OPTIONAL_TEXTS):
        if not isinstance(value := row.get(name), str) and (value is not None or name in TEXTS):
            raise ValueError(f"{name} is {value!r:.60}, which is not a text")
    for name in ("loss", "tokens"):
        value = row.get(name)
        if value is None:  # NaN, or not measured
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ValueError(f"{name} is {value!r:.60}, which is not a positive number")
    return row
