"""Makes the controls of a decoder's scores: answers without the image or with another one, scored like the model's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.controls.changed_images import answers_under_changes
from evaluation.controls.frozen_features import frozen_answers
from evaluation.controls.image_features import Encoder, encode_images
from evaluation.controls.questions import Questions, read_questions
from evaluation.controls.reliance import image_reliance, row_scores
from evaluation.datasets.groups import named_groups
from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, OPEN
from evaluation.scoring.answers import score_answers
from evaluation.scoring.blind_answers import constant
from evaluation.scoring.group_bootstrap import ratio_interval
from evaluation.scoring.measures import difference, finding_measures, ratio
from evaluation.scoring.question_prior import BACKOFF, majority, most_frequent
from evaluation.scoring.report_scores import is_report
from model_cards.controls import (
    BLANK,
    CONSTANT,
    CONTROLS,
    FROZEN,
    MAJORITY,
    MIRRORED,
    OTHER_ANSWER,
    PRIOR,
    SAME_ANSWER,
)

MOST_IMAGES = 2000  # images of the train split that are encoded for the frozen features
NO_ROWS = {
    BLANK: "no row has an image",
    OTHER_ANSWER: "no question is asked about two patients with different answers",
    SAME_ANSWER: "no question is asked about two patients with the same answer",
    MIRRORED: "no question is about left or right",
}


@dataclass(frozen=True)
class Controls:
    """The controls of one evaluation.

    Attributes:
        entries: what the result keeps, see `EvaluationResult.controls`.
        reliance: see `image_reliance`.
        answers: for each control [N] answers, None where it does not apply.
    """

    entries: list[dict[str, Any]]
    reliance: dict[str, Any]
    answers: dict[str, list[str | None]]


@dataclass(frozen=True)
class Known:
    """The questions whose answers are known.

    Attributes:
        rows: the rows of the train split; None if the other rows of the evaluated split are used instead.
        name: what the notes call them, for example `532 rows of train`.
    """

    rows: Any
    name: str


def measure_controls(
    rows: Any,
    real: Sequence[str],
    known: Known,
    rule: str,
    ask: Callable[[Sequence[dict]], list[str]] | None,
    encoder: Encoder | None,
    batch_size: int,
    left_out: Mapping[str, str],
    progress: Callable = iter,
) -> Controls:
    """Makes all controls of the answers to `rows`.

    Args:
        rows: [N] rows of the config `chat`, a `datasets.Dataset`.
        real: [N] the answers of the model.
        known: the questions whose answers the prior knows.
        rule: the rule of the accuracies.
        ask: asks the model again, with changed images; None leaves these controls out.
        encoder: encodes images for the frozen features; None leaves them out.
        batch_size: images per batch of the encoder.
        left_out: why controls are left out: `frozen` for the frozen features, `images` for those with changed images.
            If `asked` is given and `ask` is None, those that ask again are left out, and swaps are looked up.
        progress: a function that wraps the loop over the images, for example `tqdm`.
    """
    questions = read_questions(rows)
    seen_rows = None if known.rows is None else read_questions(known.rows)
    # A split that answers itself: no question knows its own answer, see `most_frequent`.
    seen = questions.answers if seen_rows is None else [a for a in seen_rows.answers if a.reference.strip()]
    levels = most_frequent(questions.answers, seen, BACKOFF)
    answers: dict[str, list[str | None]] = {
        PRIOR: [text for text, _ in levels],
        MAJORITY: only_texts(majority(questions.answers, seen)),
        CONSTANT: only_texts(constant(questions.answers, seen)),
    }
    notes = {PRIOR: prior_note([level for _, level in levels], known.name)}
    notes |= dict.fromkeys((MAJORITY, CONSTANT), f"from {known.name}")
    if seen_rows is None:
        notes[FROZEN] = "left out, because there is no other split to fit on"
    elif encoder is None:
        notes[FROZEN] = left_out["frozen"]
    else:
        answers[FROZEN], notes[FROZEN] = frozen_control(
            rows, questions, known, seen_rows, encoder, batch_size, progress
        )
    reliance: dict[str, Any] = {}
    if ask is None and "asked" not in left_out:
        notes |= dict.fromkeys(NO_ROWS, left_out["images"])
    else:
        if ask is None:
            notes |= dict.fromkeys((BLANK, MIRRORED), left_out["asked"])
        changed = answers_under_changes(rows, questions, real, ask)
        reliance = image_reliance(questions, real, changed, rule)
        answers |= changed
    entries = [entry_of(name, questions, real, answers.get(name), notes.get(name, ""), rule) for name in CONTROLS]
    return Controls(entries, reliance, answers)


def only_texts(choices: list[list[tuple[float, str]]]) -> list[str | None]:
    return [texts[0][1] for texts in choices]


def prior_note(levels: Sequence[str], name: str) -> str:
    """Returns how many rows each level of the prior answered."""
    counts = [f"{levels.count(level):,} by {level}" for level in (*BACKOFF, "") if level in levels]
    return f"from {name}, {', '.join(counts)}".removesuffix(" by ")


def entry_of(
    name: str, questions: Questions, real: Sequence[str], texts: Sequence[str | None] | None, note: str, rule: str
) -> dict[str, Any]:
    """Returns what a result keeps of a control."""
    rows = [row for row, text in enumerate(texts or ()) if text is not None]
    if not rows:
        return {"name": name, "metrics": {}, "samples": 0, "note": note or NO_ROWS.get(name, "no rows")}
    entry = {"name": name, "metrics": scores_of(questions, texts, rows, rule), "samples": len(rows), "note": note}
    if len(rows) < len(questions):
        entry["real"] = scores_of(questions, real, rows, rule)
    if name in (FROZEN, PRIOR):
        entry["difference"] = differences(questions, real, texts, rule)
    return entry


def scores_of(questions: Questions, texts: Sequence[str | None], rows: list[int], rule: str) -> dict[str, float]:
    """Returns the scores of some of the rows, as those of the model are computed."""
    answers = [questions.answers[row] for row in rows]
    columns = ([getattr(answer, name) for answer in answers] for name in ("reference", "language", "kind"))
    scores, _ = score_answers([texts[row] or "" for row in rows], *columns, rule)
    return {name: value for name, value in scores.items() if value is not None and math.isfinite(value)}


def differences(
    questions: Questions, real: Sequence[str], texts: Sequence[str | None], rule: str
) -> dict[str, list[float | None]]:
    """Returns scores of the model minus those of a control: accuracies, on rows that the rule counts for both, and F1.

    Each is `[difference, low, high]`; the bounds are None if there are too few groups.
    """
    found = {}
    pairs = list(zip(row_scores(questions, real, rule), row_scores(questions, texts, rule), strict=True))
    for kind in (OPEN, CLOSED):
        rows = [
            row
            for row, (ours, theirs) in enumerate(pairs)
            if questions.answers[row].kind == kind and ours is not None and theirs is not None
        ]
        if rows:
            gains = [pairs[row][0] - pairs[row][1] for row in rows]
            groups = [questions.groups[row] for row in rows]
            interval = ratio_interval(gains, [1] * len(rows), groups, least=-1.0)
            found[f"accuracy_{kind}"] = [sum(gains) / len(rows), *(interval or (None, None))]
    reports = [row for row, answer in enumerate(questions.answers) if is_report(answer.kind) and texts[row] is not None]
    references, kinds = ([getattr(questions.answers[row], name) for row in reports] for name in ("reference", "kind"))
    ours, theirs = (
        finding_measures([answers[row] for row in reports], references, kinds)["clinical_f1"]
        for answers in (real, texts)
    )
    if ours.counted.any():
        gain = (ratio(ours.sums.sum(axis=0, keepdims=True)) - ratio(theirs.sums.sum(axis=0, keepdims=True))).item()
        interval = difference(ours, theirs, [questions.groups[row] for row in reports])
        found["clinical_f1"] = [gain, *(interval or (None, None))]
    return found


def frozen_control(
    rows: Any,
    questions: Questions,
    known: Known,
    seen: Questions,
    encoder: Encoder,
    batch_size: int,
    progress: Callable,
) -> tuple[list[str | None], str]:
    """Returns the answers of kernel ridge on frozen features, and what they rest on."""
    fitted = first_rows(seen.images, MOST_IMAGES)
    asked = first_rows(questions.images, None)
    features: list[np.ndarray] = []
    places: list[dict[str, int]] = []
    for table, found in ((known.rows, fitted), (rows, asked)):
        encoded = encode_images(encoder, images_of(table, progress(list(found.values()))), batch_size)
        places.append({name: len(features) + number for number, name in enumerate(found)})
        features += [encoded[row] for row in found.values()]
    matrix = np.stack(features).astype(np.float32) if features else np.zeros((0, 1), np.float32)
    # Rows of images that are not encoded are not used to fit, nor are those of patients that are asked about: they can
    # be in a part of the same split.
    evaluated = named_groups(questions.groups)
    used = [
        row
        for row, name in enumerate(seen.images)
        if (not name or name in places[0]) and seen.answers[row].reference.strip() and seen.groups[row] not in evaluated
    ]
    texts, count = frozen_answers(
        questions.answers,
        [seen.answers[row] for row in used],
        np.array([places[1].get(name, -1) for name in questions.images], dtype=np.int64),
        np.array([places[0].get(seen.images[row], -1) for row in used], dtype=np.int64),
        matrix,
    )
    note = f"{matrix.shape[1]:,} numbers per image from {encoder.name}, fitted on {count:,} rows of the "
    note += f"train split, of which {len(fitted):,} images were encoded"
    if encoder.is_random:
        note += ". This tower began from random weights, so a pretrained encoder would show more"
    return list(texts), note


def first_rows(names: Sequence[str], most: int | None) -> dict[str, int]:
    """Returns the first row of each image by its name, at most so many of them, evenly spread."""
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if name:
            first.setdefault(name, row)
    if most is None or len(first) <= most:
        return first
    items = list(first.items())
    return dict(items[index * len(items) // most] for index in range(most))


def images_of(table: Any, rows: Sequence[int]) -> Iterator[tuple[int, list[Any]]]:
    """Yields the images of rows one after the other, so that few are in memory."""
    for row in rows:
        yield row, table[row]["images"]
