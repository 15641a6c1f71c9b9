"""Scores the answers of one file by several rules, beside answers that never see an image.

A table is about the questions of one type in one language. Each of its lines is one rule, and only the numbers of one
line can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, OPEN, RULES, score_answer
from evaluation.scoring.blind_answers import BLIND, Choices
from evaluation.scoring.prediction_files import Answer

FILE, REFERENCES = "this file", "references"
# A coin is right in half of the yes-no questions, so 60 % is beyond an honest rule. A text that is no answer to any
# question should be right nowhere; a quarter is far beyond a chance hit of a word.
HIGHEST_COIN, HIGHEST_NON_ANSWER = 0.6, 0.25


def rule_tables(
    answers: Sequence[Answer], seen: Sequence[Answer] | None = None, rules: Sequence[str] = tuple(RULES)
) -> list[dict[str, Any]]:
    """Makes one table per language and type of questions.

    Args:
        answers: the answers to score.
        seen: questions of a train split for the prior and the constant text; None for those of the answers themselves.
        rules: names in `RULES`.

    Returns:
        tables with `language`, `type`, `answers` (their number) and `rules`: for each rule `rule`, `source`, `left_out`
        (which answers it leaves out), `scores` and `gamed_by` (the names of the columns that score absurdly high).
        `scores` has a column per kind of answers: `score` in 0..1, None if no answer is counted, `counted`, the
        denominator, and `left_out`, the number of answers that are not counted. Those of a coin are expected values.
    """
    seen = answers if seen is None else seen
    columns: dict[str, list[Choices]] = {
        FILE: [[(1.0, answer.prediction)] for answer in answers],
        REFERENCES: [[(1.0, answer.reference)] for answer in answers],
        **{name: make(answers, seen) for name, make in BLIND.items()},
    }
    languages = sorted({answer.language for answer in answers}, key=lambda name: (name != "en", name))
    tables = []
    for language in languages:
        for kind in (CLOSED, OPEN):
            rows = [row for row, answer in enumerate(answers) if (answer.language, answer.kind) == (language, kind)]
            if rows:
                lines = [rule_line(rule, [answers[row] for row in rows], pick(columns, rows)) for rule in rules]
                tables.append({"language": language, "type": kind, "answers": len(rows), "rules": lines})
    return tables


def pick(columns: dict[str, list[Choices]], rows: list[int]) -> dict[str, list[Choices]]:
    return {name: [choices[row] for row in rows] for name, choices in columns.items()}


def rule_line(rule: str, answers: list[Answer], columns: dict[str, list[Choices]]) -> dict[str, Any]:
    """Returns the line of one rule: the scores of all columns, and which of them game it."""
    scores = {name: expected_score(rule, answers, choices) for name, choices in columns.items()}
    gamed = [name for name, limit in limits(answers[0].kind).items() if (scores[name]["score"] or 0.0) > limit]
    line = {"rule": rule, "source": RULES[rule].source, "left_out": RULES[rule].left_out}
    return line | {"scores": scores, "gamed_by": gamed}


def limits(kind: str) -> dict[str, float]:
    """Returns the score above which a column games a rule."""
    coin = HIGHEST_COIN if kind == CLOSED else HIGHEST_NON_ANSWER  # no open question is answered by yes or no
    return {"coin": coin, "no answer": HIGHEST_NON_ANSWER, "constant": HIGHEST_NON_ANSWER}


def expected_score(rule: str, answers: list[Answer], choices: list[Choices]) -> dict[str, float | int | None]:
    """Returns the score, the denominator and the number of answers that are left out, each as expected."""
    total = counted = 0.0
    for answer, texts in zip(answers, choices, strict=True):
        for probability, text in texts:
            score = cached_score(text, answer.reference, answer.kind, answer.language, rule)
            if score is not None:
                total += probability * score
                counted += probability
    number = round(counted)
    return {"score": total / counted if counted else None, "counted": number, "left_out": len(answers) - number}


@lru_cache(maxsize=1 << 18)
def cached_score(prediction: str, reference: str, kind: str, language: str, rule: str) -> float | None:
    return score_answer(prediction, reference, kind, language, rule)


def markdown(table: dict[str, Any]) -> str:
    """Returns a table as Markdown, with scores in percent; a denominator is named where answers are left out."""
    names = list(table["rules"][0]["scores"])
    header = ["rule", *names, "gamed by"]
    lines = [
        [line["rule"], *(percent(line["scores"][name]) for name in names), ", ".join(line["gamed_by"])]
        for line in table["rules"]
    ]
    widths = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]
    is_text = [column in (0, len(header) - 1) for column in range(len(header))]

    def draw(cells: list[str]) -> str:
        padded = zip(cells, widths, is_text, strict=True)
        return f"| {' | '.join(cell.ljust(width) if text else cell.rjust(width) for cell, width, text in padded)} |\n"

    divider = "|".join(
        "-" * (width + 2) if text else "-" * (width + 1) + ":" for width, text in zip(widths, is_text, strict=True)
    )
    title = f"**{table['type']} questions in {table['language']}: {table['answers']:,} answers**"
    return f"{title}\n\n{draw(header)}|{divider}|\n{''.join(map(draw, lines))}"


def percent(score: dict[str, float | int | None]) -> str:
    """Returns `84.2`, or `84.2 of 298` if answers are left out."""
    value = "–" if score["score"] is None else f"{100 * score['score']:.1f}"
    return f"{value} of {score['counted']}" if score["left_out"] else value
