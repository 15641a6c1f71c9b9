"""Asks a model again with a blank image, and with mirrored images, and looks up its answers for swapped ones.

A blank image is the same for all rows, so each distinct question is asked about it once. Mirrored images are for
open and closed questions about left and right only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evaluation.controls.questions import Questions, find_donors, is_lateral
from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, OPEN
from evaluation.scoring.rgb_images import to_rgb
from model_cards.controls import BLANK, MIRRORED, OTHER_ANSWER, SAME_ANSWER

# A gray square: the shape of an image tells which source it is from, so it must not be kept.
BLANK_SIZE, BLANK_COLOR = (224, 224), (128, 128, 128)


class ChangedRows(Sequence):
    """Rows whose images are replaced when they are read.

    Args:
        rows: rows of the config `chat`.
        cases: the number of a row and the change of its images, BLANK or MIRRORED, for each changed row.
    """

    def __init__(self, rows: Any, cases: Sequence[tuple[int, str]]) -> None:
        self.rows, self.cases = rows, cases

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, place: int) -> dict:
        number, change = self.cases[place]
        row = dict(self.rows[number])
        return row | {"images": [change_image(image, change, f"row {number}") for image in row["images"]]}


def change_image(image: Any, change: str, where: str) -> Any:
    """Returns a blank or a mirrored image; `where` names the row, for messages."""
    from PIL import Image, ImageOps

    return Image.new("RGB", BLANK_SIZE, BLANK_COLOR) if change == BLANK else ImageOps.mirror(to_rgb(image, where))


def answers_under_changes(
    rows: Any, questions: Questions, real: Sequence[str], answer: Callable[[Sequence[dict]], list[str]] | None
) -> dict[str, list[str | None]]:
    """Returns the answers of a model with changed images.

    Args:
        rows: [N] rows of the config `chat`.
        questions: their questions.
        real: [N] the answers of the model with the real images.
        answer: asks the model; None if it cannot be asked again, so that only swaps are looked up.

    Returns:
        for each change [N] answers; None where the change does not apply: the row has no image, it is no open or
            closed question about left or right, or no other patient has the same question with such an answer.
    """
    cases: dict[tuple, tuple[int, str]] = {}  # one row for all that ask the model the same
    keys: dict[str, list[tuple | None]] = {BLANK: [], MIRRORED: []}
    for row, question in enumerate(questions.answers):
        has_image = answer is not None and bool(questions.images[row])
        keys[BLANK].append((questions.prompts[row], BLANK, questions.image_counts[row]) if has_image else None)
        # A report names sides, too, but what becomes of it is not counted.
        mirrored = has_image and question.kind in (OPEN, CLOSED) and is_lateral(question)
        keys[MIRRORED].append((questions.prompts[row], MIRRORED, questions.images[row]) if mirrored else None)
        for change, found in keys.items():
            if found[row] is not None:
                cases.setdefault(found[row], (row, change))
    # Mirrored images in the order of the rows, in which those of one image stand together and share a pass of the
    # tower. All blank images are one: there, the length counts, because a batch takes as long as its longest answer,
    # and answers without an image are mostly as long as the real ones.
    order = sorted(
        cases, key=lambda key: (1, cases[key][0]) if cases[key][1] == MIRRORED else (0, len(real[cases[key][0]]))
    )
    texts = answer(ChangedRows(rows, [cases[key] for key in order])) if order else []
    known = dict(zip(order, texts, strict=True))
    answers = {change: [None if key is None else known[key] for key in found] for change, found in keys.items()}
    for change, same_answer in ((OTHER_ANSWER, False), (SAME_ANSWER, True)):
        donors = find_donors(questions, same_answer)
        answers[change] = [None if donor is None else real[donor] for donor in donors]
    return answers
