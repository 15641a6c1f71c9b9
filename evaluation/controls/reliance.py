"""Measures how much the answers of a model depend on the image: image reliance.

A right answer is image-dependent if it is no longer right when the image is changed, and image-blind if it is, even in
other words. A wrong answer is image-dependent if it becomes a different one. Together with right and wrong this gives
four cells. The decisive change is the image of another patient whose answer to the same question is a different one: a
model that looks has to answer differently, and a model that answers from the question alone cannot. A blank image is
less decisive, because a model can notice that it is blank without ever using a real one. With the image of a patient
with the same answer, a model that looks keeps its answer; how often it changes all the same is how much depends on
things that do not matter.

Answers that vary at random are sometimes right, and then change as well. What that amounts to is computed: the same
answers, shuffled among the images of the same question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from evaluation.controls.questions import LATERAL, Questions, is_lateral, swap_sides
from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, DEFAULT_RULE, OPEN, score_answer
from evaluation.scoring.answers import simplify
from evaluation.scoring.group_bootstrap import FEWEST_GROUPS, ratio_interval
from model_cards.controls import MIRRORED, OTHER_ANSWER
from model_cards.tables.reliance_tables import CHANGES

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
    """Computes the four cells and the rates of change of a model.

    Args:
        questions: [N] the questions of a split, of which those that are open or closed are used.
        real: [N] the answers to the real images.
        changed: for each change [N] answers, None where the change does not apply.
        rule: the rule that says which answers are right.

    Returns:
        `changes`: for each change its cells: `rows`, `groups`, a share of the rows with its interval for each cell
            (`right_dependent`, `right_blind`, `wrong_dependent`, `wrong_blind`), `flips`, the share of answers that are
            image-dependent, and `blind`, the share that are not.
        `parts`: the same for the change OTHER_ANSWER by `source`, `language`, `answer_type` and `question_type`, by
            value; parts of fewer than FEWEST rows or FEWEST_GROUPS groups have `rows` alone.
        `follows_mirror`: of the answers with left or right, the share that names the other side of a mirrored image;
            None if there are none.
        `grounded_accuracy`: the share of right and image-dependent answers, with its interval.
        `shuffled`: `grounded_accuracy` of the same answers shuffled among the images of the same question, and
            `difference`, by how much the model is above it, with its interval.
        `asked`: the number of open and closed questions with an image.

        A share is `[share, low, high]`; the bounds are None if there are too few groups. `{}` without such questions.
    """
    scores = row_scores(questions, real, rule)
    asked = [row for row, score in enumerate(scores) if score is not None and questions.images[row]]
    if not asked:
        return {}
    rights = {row: scores[row] >= RIGHT for row in asked}
    flips: dict[str, dict[int, bool]] = {}
    for change in CHANGES:
        texts = changed[change]
        after = row_scores(questions, texts, rule)
        flips[change] = {
            row: depends(rights[row], real[row], texts[row], after[row]) for row in asked if texts[row] is not None
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
            value: cells(rows, rights, decisive, questions.groups) if enough(rows, questions) else {"rows": len(rows)}
            for value, rows in sorted(groups.items())
        }
    found = {change: cells(list(rows), rights, rows, questions.groups) for change, rows in flips.items()}
    return {
        "changes": found,
        "parts": parts,
        "follows_mirror": follows_mirror(questions, real, changed[MIRRORED]),
        "grounded_accuracy": found[OTHER_ANSWER].get("right_dependent"),
        "shuffled": shuffled(questions, real, rights, decisive, rule),
        "asked": len(asked),
    }


def enough(rows: Sequence[int], questions: Questions) -> bool:
    """Returns whether shares of these rows say anything."""
    return len(rows) >= FEWEST and len({questions.groups[row] for row in rows}) >= FEWEST_GROUPS


def depends(is_right: bool, real: str, changed: str, score: float | None) -> bool:
    """Returns whether an answer depends on the image.

    Args:
        is_right: whether the answer to the real image is right.
        real, changed: the answers to the real and to the other image.
        score: that of `changed` as an answer to the question about the real image; None if the rule leaves it out.
    """
    differs = simplify(changed) != simplify(real)
    return differs and not (is_right and score is not None and score >= RIGHT)


def shuffled(
    questions: Questions, real: Sequence[str], rights: dict[int, bool], decisive: dict[int, bool], rule: str
) -> dict[str, Any]:
    """Computes how many answers would be right and image-dependent if they were shuffled among equal questions.

    Of the n answers to a question, let r be right for a row. If two different ones of them are drawn for the row and
    for the other image, the first is right and the second is not with the probability r (n - r) / (n (n - 1)).

    Returns:
        `grounded_accuracy`, the mean of these probabilities over the rows of `decisive`, and `difference`: how much
        higher that of the model is, `[difference, low, high]`. `{}` without rows.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for row in rights:
        members[questions.prompts[row]].append(row)
    known: dict[tuple[str, str, str, str], bool] = {}
    chances, gains = [], []
    for row, flips in decisive.items():
        answer, others = questions.answers[row], members[questions.prompts[row]]
        right = 0
        for other in others:
            key = (real[other], answer.reference, answer.kind, answer.language)
            if key not in known:
                score = score_answer(*key, rule)
                known[key] = score is not None and score >= RIGHT
            right += known[key]
        size = len(others)
        chances.append(right * (size - right) / (size * (size - 1)) if size > 1 else 0.0)
        gains.append((rights[row] and flips) - chances[-1])
    if not chances:
        return {}
    interval = ratio_interval(gains, [1] * len(gains), [questions.groups[row] for row in decisive], least=-1.0)
    difference = [sum(gains) / len(gains), *(interval or (None, None))]
    return {"grounded_accuracy": sum(chances) / len(chances), "difference": difference}


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
    """Returns `grounded_accuracy` of answers: the share that is right, where the answer to another image is not.

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
            score, other = (
                score_answer(text, references[row], kinds[row], languages[row] or None, rule)
                for text in (texts[row], texts[donor])
            )
            if score is not None:
                found.append(score >= RIGHT and depends(True, texts[row], texts[donor], other))
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
