"""Measures how much the answers of a model depend on the image: image reliance.

An answer is image-dependent if it becomes a different one when the image is changed, and image-blind if it stays the
same. Together with right and wrong this gives four cells. The decisive change is the image of another patient whose
answer to the same question is a different one: a model that looks has to answer differently, and a model that answers
from the question alone cannot. A blank image is less decisive, because a model can notice that it is blank without ever
using a real one. With the image of a patient with the same answer, a model that looks keeps its answer; how often it
changes all the same is how much depends on things that do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.controls.questions import LATERAL, Questions, is_lateral, swap_sides
from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, DEFAULT_RULE, OPEN, score_answer
from evaluation.scoring.answers import simplify
from evaluation.scoring.group_bootstrap import ratio_interval
from model_cards.controls import MIRRORED, OTHER_ANSWER
from model_cards.reliance_tables import CHANGES

CELLS = ("right_dependent", "right_blind", "wrong_dependent", "wrong_blind")
RIGHT = 0.5  # the least score of a right answer, for rules that give parts of a point
FEWEST = 30  # rows of a part of the questions; smaller parts are counted, but say nothing


def row_scores(questions: Questions, texts: Sequence[str | None], rule: str) -> list[float | None]:
    """Returns the score of each answer to an open or closed question; None for others and for those left out."""
    return [
        score_answer(text, answer.reference, answer.kind, answer.language, rule)
        if text is not None and answer.kind in (OPEN, CLOSED)
        else None
        for answer, text in zip(questions.answers, texts, strict=True)
    ]


def image_reliance(
    questions: Questions, real: Sequence[str], changed: dict[str, Sequence[str | None]], rule: str
) -> dict[str, Any]:
    """Computes the four cells and the flip rates of a model.

    Args:
        questions: [N] the questions of a split, of which those that are open or closed are used.
        real: [N] the answers to the real images.
        changed: for each change [N] answers, None where the change does not apply.
        rule: the rule that says which answers are right.

    Returns:
        `changes`: for each change its cells: `rows`, `groups`, a share of the rows with its interval for each name in
            CELLS, `flips`, the share of answers that change, and `blind`, the share that stay.
        `parts`: the same for the change OTHER_ANSWER by `source`, `language`, `answer_type` and `question_type`, by
            value; parts of fewer than FEWEST rows have `rows` alone.
        `follows_mirror`: of the answers with left or right, the share that names the other side of a mirrored image.
        `grounded_accuracy`: the share of right and image-dependent answers, with its interval.
        `asked`: the number of open and closed questions with an image.

        A share is `[share, low, high]`; the bounds are None if there are too few groups. `{}` without such questions.
    """
    scores = row_scores(questions, real, rule)
    asked = [row for row, score in enumerate(scores) if score is not None and questions.images[row]]
    if not asked:
        return {}
    rights = {row: scores[row] >= RIGHT for row in asked}
    flips = {
        change: {
            row: simplify(changed[change][row]) != simplify(real[row])
            for row in asked
            if changed[change][row] is not None
        }
        for change in CHANGES
    }
    decisive = flips[OTHER_ANSWER]
    features = {
        "source": questions.sources,
        "language": [answer.language for answer in questions.answers],
        "answer_type": [answer.kind for answer in questions.answers],
        "question_type": [answer.question_type for answer in questions.answers],
    }
    parts: dict[str, dict[str, Any]] = {}
    for name, values in features.items():
        groups: dict[str, list[int]] = {}
        for row in decisive:
            groups.setdefault(values[row] or "unknown", []).append(row)
        parts[name] = {
            value: cells(rows, rights, decisive, questions.groups) if len(rows) >= FEWEST else {"rows": len(rows)}
            for value, rows in sorted(groups.items())
        }
    found = {change: cells(list(rows), rights, rows, questions.groups) for change, rows in flips.items()}
    return {
        "changes": found,
        "parts": parts,
        "follows_mirror": follows_mirror(questions, real, changed[MIRRORED]),
        "grounded_accuracy": found[OTHER_ANSWER].get("right_dependent"),
        "asked": len(asked),
    }


def cells(rows: list[int], rights: dict[int, bool], flips: dict[int, bool], groups: Sequence[str]) -> dict[str, Any]:
    """Returns the number of rows and groups, and each share with its interval; no shares without rows."""
    names = [groups[row] for row in rows]
    result: dict[str, Any] = {"rows": len(rows), "groups": len(set(names))}
    if not rows:
        return result
    members = {
        "right_dependent": [rights[row] and flips[row] for row in rows],
        "right_blind": [rights[row] and not flips[row] for row in rows],
        "wrong_dependent": [not rights[row] and flips[row] for row in rows],
        "wrong_blind": [not rights[row] and not flips[row] for row in rows],
        "flips": [flips[row] for row in rows],
        "blind": [not flips[row] for row in rows],
    }
    return result | {name: share(found, names) for name, found in members.items()}


def share(members: Sequence[bool], groups: Sequence[str]) -> list[float | None]:
    """Returns the share of members with its interval, `[share, low, high]`."""
    low, high = ratio_interval(members, [1] * len(members), groups) or (None, None)
    return [sum(members) / len(members), low, high]


def grounded_scores(
    texts: Sequence[str],
    references: Sequence[str],
    kinds: Sequence[str],
    languages: Sequence[str],
    donors: Sequence[int | None],
    rule: str = DEFAULT_RULE,
) -> dict[str, float]:
    """Returns `grounded_accuracy` of answers: the share that is right and differs from the answer to another image.

    Args:
        texts, references, kinds, languages: [N] answers, correct answers, answer types and languages.
        donors: [N] the number of the answer to the same question about another patient, who has another answer; None if
            there is none. Only open and closed questions with such an answer are counted.

    Returns:
        an empty dictionary if no question is counted.
    """
    found = []
    for row, donor in enumerate(donors):
        if donor is not None and kinds[row].strip().lower() in (OPEN, CLOSED):
            score = score_answer(texts[row], references[row], kinds[row], languages[row] or None, rule)
            if score is not None:
                found.append(score >= RIGHT and simplify(texts[row]) != simplify(texts[donor]))
    return {"grounded_accuracy": sum(found) / len(found)} if found else {}


def follows_mirror(
    questions: Questions, real: Sequence[str], mirrored: Sequence[str | None]
) -> list[float | None] | None:
    """Returns the share of answers with left or right that name the other side of a mirrored image, with its interval.

    None if no answer names a side.
    """
    rows = [
        row
        for row, answer in enumerate(questions.answers)
        if mirrored[row] is not None and is_lateral(answer) and LATERAL.search(real[row])
    ]
    follows = [simplify(mirrored[row]) == simplify(swap_sides(real[row])) for row in rows]
    return share(follows, [questions.groups[row] for row in rows]) if rows else None
