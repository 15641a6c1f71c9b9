"""Makes a small set of questions about images, whose truth is painted in the image, and answerers of known kinds."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

from datasets import Dataset
from PIL import Image

SIDES, ORGANS = ("Left", "Right"), ("Lung", "Liver", "Heart", "Brain")
QUESTIONS = {
    "Does the lung look normal?": ("CLOSED", ("Yes", "No"), "Abnormality"),
    "Which organ is abnormal?": ("OPEN", ORGANS, "Organ"),
    "Which side is abnormal?": ("OPEN", SIDES, "Position"),
    "肺部正常吗?": ("CLOSED", ("正常", "不正常"), "Abnormality"),
}


def make_rows(patients: int, first: int = 0, seed: int = 0) -> Dataset:
    """All questions about two images of each patient; an image's left half tells all answers.

    The red channel of the left half is the number of the truth; the right half is black, so that an image differs from
    its mirror image.
    """
    drawn, rows = random.Random(seed), []
    for patient in range(first, first + patients):
        for view in range(2):
            image, truth = Image.new("RGB", (16, 16)), drawn.randrange(240)
            image.paste((1 + truth, patient % 256, 1 + view), (0, 0, 8, 16))
            for question in QUESTIONS:
                kind, _, content = QUESTIONS[question]
                rows.append(
                    {
                        "images": [image],
                        "messages": [
                            {"role": "user", "content": question},
                            {"role": "assistant", "content": answer_to(question, truth)},
                        ],
                        "image_path": f"{patient}_{view}.png",
                        "language": "zh" if question[0] == "肺" else "en",
                        "source_dataset": "planted",
                        "answer_type": kind,
                        "content_type": content,
                        "group_id": f"patient {patient}",
                    }
                )
    return Dataset.from_list(rows).cast_column("images", image_list())


def image_list() -> Any:
    from datasets import Image as ImageFeature
    from datasets import List

    return List(ImageFeature())


def answer_to(question: str, truth: int) -> str:
    """The answer to a question about an image with this truth; more often the first one than the others."""
    answers = QUESTIONS[question][1]
    number = truth // (3 + list(QUESTIONS).index(question)) % (1 + len(answers))
    return answers[number] if number < len(answers) else answers[0]


def see(row: dict) -> tuple[int | None, bool]:
    """The truth that an image shows, None for a blank one, and whether the image is mirrored."""
    image = row["images"][0].convert("RGB")
    left, right = (image.getpixel((place, 8)) for place in (1, image.width - 2))
    if left == right:
        return None, False
    return (left[0] - 1, False) if left[2] else (right[0] - 1, True)


def oracle(rows: Any) -> list[str]:
    """Answers what the image shows: the other side of a mirrored image, and that a blank one shows nothing."""
    answers = []
    for row in rows:
        (truth, mirrored), question = see(row), row["messages"][0]["content"]
        text = "Nothing is visible." if truth is None else answer_to(question, truth)
        answers.append(dict(zip(SIDES, SIDES[::-1], strict=True)).get(text, text) if mirrored else text)
    return answers


def blind(rows: Any) -> list[str]:
    """Answers from the question alone, with its most frequent answer."""
    return [QUESTIONS[row["messages"][0]["content"]][1][0] for row in rows]


def notices_blank(rows: Any) -> list[str]:
    """Answers from the question alone, except that it says so if the image is blank."""
    return [text if see(row)[0] is not None else "No image." for row, text in zip(rows, blind(rows), strict=True)]


def restless(rows: Any) -> list[str]:
    """Looks at the image and answers by what does not matter: the patient."""
    return [f"answer {row['images'][0].convert('RGB').getpixel((1, 8))[1]}" for row in rows]


def wordy(rows: Any) -> list[str]:
    """Answers from the question alone, each time in other words; a rule that reads them finds the same answer."""
    return [f"{text}, {row['image_path']}" for row, text in zip(rows, blind(rows), strict=True)]


def coin(rows: Any) -> list[str]:
    """Answers one of the answers to the question, by a number that has nothing to do with the image."""
    found = []
    for row in rows:
        answers = QUESTIONS[row["messages"][0]["content"]][1]
        digest = hashlib.blake2b(row["images"][0].tobytes() + row["messages"][0]["content"].encode()).digest()
        found.append(answers[digest[0] % len(answers)])
    return found


ANSWERERS: dict[str, Callable[[Any], list[str]]] = {
    "oracle": oracle, "blind": blind, "notices_blank": notices_blank, "restless": restless, "coin": coin,
}  # fmt: skip
