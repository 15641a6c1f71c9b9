"""Reads the questions of a split with what the controls need to know of them, and finds images for the swaps.

A swapped image comes from another patient for whom the very same question is asked. The model was already asked that
question about that image, so its answer is known, and swaps cost nothing.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.datasets.groups import column, read_groups
from evaluation.metrics.vqa_accuracy.short_answers import detect_language
from evaluation.scoring.answers import simplify
from evaluation.scoring.messages import plain_messages
from evaluation.scoring.prediction_files import Answer

ROWS_AT_ONCE = 1000  # rows whose images are in memory while they are counted
# 左右 together is "about" or "both sides", and no side.
LATERAL = re.compile(r"\b(left|right)\b|左(?!右)|(?<!左)右", re.IGNORECASE)
SIDES = {"left": "right", "right": "left", "左": "右", "右": "左"}


@dataclass(frozen=True)
class Questions:
    """The questions of a split; each list has one entry per row.

    Attributes:
        answers: [N] the last question of each row with its reference; `prediction` is empty.
        prompts: [N] all turns before the last answer, as JSON. Rows with equal prompts ask the model the same.
        groups: [N] the patient or scan that a row belongs to.
        images: [N] what names the images of a row; "" for a row without an image.
        image_counts: [N] the number of images of a row.
        sources: [N] the source of a row.
    """

    answers: Sequence[Answer]
    prompts: Sequence[str]
    groups: Sequence[str]
    images: Sequence[str]
    image_counts: Sequence[int]
    sources: Sequence[str]

    def __len__(self) -> int:
        return len(self.answers)


def read_questions(rows: Any) -> Questions:
    """Reads the questions of rows of the config `chat`, a `datasets.Dataset`."""
    turns = [plain_messages(messages) for messages in rows["messages"]]
    kinds, types, sources = (column(rows, name) for name in ("answer_type", "content_type", "source_dataset"))
    answers = [
        Answer(
            messages[-2]["content"],
            messages[-1]["content"],
            "",
            kind.strip().lower(),
            language or detect_language(messages[-1]["content"]),
            question_type,
        )
        for messages, kind, language, question_type in zip(turns, kinds, column(rows, "language"), types, strict=True)
    ]
    paths, counts = column(rows, "image_path"), count_images(rows)
    return Questions(
        answers=answers,
        prompts=[json.dumps(messages[:-1], ensure_ascii=False, sort_keys=True) for messages in turns],
        groups=read_groups(rows),
        images=[
            f"{source}:{path or row}" if count else ""
            for row, (source, path, count) in enumerate(zip(sources, paths, counts, strict=True))
        ],
        image_counts=counts,
        sources=sources,
    )


def count_images(rows: Any) -> list[int]:
    """Returns the number of images of each row, without decoding them."""
    import pyarrow.compute as pc

    if "images" not in rows.column_names:
        return [0] * len(rows)
    table, counts = rows.select_columns(["images"]).with_format("arrow"), []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        lengths = pc.list_value_length(table[start : start + ROWS_AT_ONCE]["images"])
        counts += [length or 0 for length in lengths.to_pylist()]
    return counts


def find_donors(questions: Questions, same_answer: bool) -> list[int | None]:
    """Finds for each row the next one with the same prompt about another patient; the first row follows the last.

    Args:
        questions: the questions of a split.
        same_answer: the other row has the same reference, ignoring case and punctuation; otherwise a different one.

    Returns:
        [N] the number of the other row, None if there is none, or if the row has no image.
    """
    by_prompt: dict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(questions.prompts):
        if questions.images[row]:
            by_prompt[prompt].append(row)
    donors: list[int | None] = [None] * len(questions)
    for members in by_prompt.values():
        references = numbered([simplify(questions.answers[row].reference) for row in members])
        groups = numbered([questions.groups[row] for row in members])
        for place, row in enumerate(members):
            fits = (groups != groups[place]) & ((references == references[place]) == same_answer)
            if fits.any():
                after = np.flatnonzero(np.roll(fits, -place))[0]  # the distance to the next member that fits
                donors[row] = members[(place + int(after)) % len(members)]
    return donors


def numbered(names: list[str]) -> np.ndarray:
    """Returns [N] numbers, equal for equal names."""
    return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1]


def is_lateral(answer: Answer) -> bool:
    """Returns whether a question or its reference names left or right."""
    return LATERAL.search(f"{answer.question}\n{answer.reference}") is not None


def swap_sides(text: str) -> str:
    """Returns a text in lower case with left and right exchanged."""
    return LATERAL.sub(lambda match: SIDES[match[0]], text.lower())
