"""Reads files of predictions: those of `medpairs evaluate`, of lmms-eval's `--log_samples`, and plain ones.

A file has one JSON object per line. `medpairs evaluate` writes `generated` for the answer of the model; a plain file
can say `prediction`. lmms-eval writes `filtered_resps` and `target`, and the type and language of SLAKE's questions in
the record of each metric.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, OPEN, check_samples, detect_language

# Characters; an answer with its question has a few hundred. Rules take time that grows faster than a text.
LONGEST_LINE, LONGEST_ANSWER = 1 << 22, 1 << 16
FORMS = "`generated` or `prediction` with `reference`, or lmms-eval's `filtered_resps` with `target`"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a model to a question.

    Attributes:
        question: the question, "" if the file does not have it.
        reference: the correct answer.
        prediction: the answer of the model.
        kind: `open` or `closed`.
        language: a code of ISO 639.
        question_type: what the question is about, for example the `content_type` of SLAKE; "" if unknown.
    """

    question: str
    reference: str
    prediction: str
    kind: str
    language: str
    question_type: str = ""


def read_predictions(path: Path) -> tuple[list[Answer], int]:
    """Reads a file of predictions.

    Returns:
        the answers to open and closed questions, and the number of other rows, for example of reports.

    Raises:
        ValueError: the file cannot be read, a row is not a prediction, or there is no answer to an open or closed
            question. The message names the file and the row, counted from 1.
    """
    answers, others = [], 0
    for number, row in rows_of(path):
        try:
            answer = from_row(row)
        except ValueError as error:
            raise ValueError(f"{path}, row {number}: {error}") from None
        if answer.kind in (OPEN, CLOSED):
            answers.append(answer)
        else:
            others += 1
    if not answers:
        found = f"none of its {others} rows has" if others else "it has no rows with"
        raise ValueError(f"{path}: {found} the answer_type OPEN or CLOSED, so there is nothing to score")
    return answers, others


def read_questions(path: Path) -> list[Answer]:
    """Reads questions with their references, for example a train split; `prediction` is not needed.

    Questions with a blank reference are left out: SLAKE's train split has one.

    Raises:
        ValueError: as `read_predictions`.
    """
    found = []
    for number, row in rows_of(path):
        if isinstance(row.get("reference"), str) and not row["reference"].strip():
            continue
        try:
            answer = from_row({"prediction": "", **row})
        except ValueError as error:
            raise ValueError(f"{path}, row {number}: {error}") from None
        if answer.kind in (OPEN, CLOSED):
            found.append(answer)
    if not found:
        raise ValueError(f"{path}: no row has the answer_type OPEN or CLOSED")
    return found


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the number and the content of each row that is not blank. Raises ValueError as `read_predictions` does."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE), ""), 1):
                if line.strip():
                    yield number, parsed(line, f"{path}, row {number}")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text in UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None


def parsed(line: str, place: str) -> dict[str, Any]:
    """Returns the object of a line of JSON. Raises ValueError, which begins with the place."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{place}: not a JSON object ({said}). Give one object per line") from None
    if not isinstance(row, dict):
        raise ValueError(f"{place}: a {type(row).__name__} and not a JSON object. Give one object per line")
    return row


def from_row(row: dict[str, Any]) -> Answer:
    """Converts a row in one of the known forms. Raises ValueError if it has none of them."""
    if "filtered_resps" in row or "resps" in row:
        found = lmms_eval_fields(row)
    else:
        found = {name: row.get(name) for name in ("question", "reference", "answer_type", "language", "content_type")}
        found["prediction"] = row.get("generated", row.get("prediction"))
    for name in ("prediction", "reference"):
        if found[name] is None:
            raise ValueError(
                f"the {name} is missing. A row needs {FORMS}; it has {', '.join(map(str, row)) or 'nothing'}"
            )
    language = found["language"]
    language = language.strip().lower() if isinstance(language, str) else language
    try:
        check_samples([found["prediction"]], [found["reference"]], [found["answer_type"]], [language])
    except ValueError as error:
        raise ValueError(re.sub("^sample 0: ", "", str(error))) from None
    for name in ("prediction", "reference"):
        if len(found[name]) > LONGEST_ANSWER:
            raise ValueError(f"the {name} has {len(found[name]):,} characters, of at most {LONGEST_ANSWER:,}")
    question = found["question"] if isinstance(found["question"], str) else ""
    kind = (found["answer_type"] or "").strip().lower()
    language = language or detect_language(found["reference"])
    question_type = found["content_type"] if isinstance(found["content_type"], str) else ""
    return Answer(question.strip(), found["reference"], found["prediction"], kind, language, question_type)


def lmms_eval_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a row of lmms-eval, whose type and language are in `doc` or in the record of a metric."""
    doc = row.get("doc") if isinstance(row.get("doc"), dict) else {}
    records = [value for value in row.values() if isinstance(value, dict) and "answer_type" in value]
    record = records[0] if records else {}
    return {
        "question": doc.get("question") or row.get("input"),
        "reference": row.get("target"),
        "prediction": first_text(row.get("filtered_resps", row.get("resps"))),
        "answer_type": doc.get("answer_type") or record.get("answer_type"),
        "language": doc.get("q_lang") or record.get("language"),
        "content_type": doc.get("content_type") or record.get("content_type"),
    }


def first_text(answers: Any) -> Any:
    """Returns the first answer of lists that may be nested, as lmms-eval has one list per request and per filter."""
    while isinstance(answers, list):
        answers = answers[0] if answers else ""
    return answers
