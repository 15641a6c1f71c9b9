"""Where are a training's answers shown? In `samples/` of the output folder, and as a table wherever the run is tracked.

A table says of each row its question, the right answer, the model's, and shows a small picture: no name of a file,
which may name a patient, and none of the dataset's other metadata. A picture is drawn anew, so that nothing but its
pixels is left of the file's.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import TrainerCallback

if TYPE_CHECKING:
    from PIL.Image import Image

    from trainers.decoder.answer_evaluation import Answer

FOLDER, NAME = "samples", "samples"
LONGEST = 256  # pixels of a picture's longer side
GAP = 4  # pixels between the pictures of one row
COLUMNS = ("step", "image", "question", "reference", "generated", "language", "answer_type")


class SampleTables(TrainerCallback):
    """Shows `trainer.answers.answers` after every evaluation of a training: one process does.

    `samples/step-12.jsonl` has a line for each; TensorBoard gets a text and the pictures, W&B and trackio a table. A
    tracker that is not on is not imported.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.pictures: dict[int, Image | None] = {}

    def on_evaluate(self, args, state, control, **kwargs):
        """Also called for an evaluation after the training, of which `run_decoder.py` writes the answers itself."""
        answers = self.trainer.answers.answers
        if not (state.is_world_process_zero and self.trainer.is_in_train and answers):
            return
        write_samples(Path(args.output_dir) / FOLDER / f"step-{state.global_step}.jsonl", answers)
        trackers = {type(callback).__name__: callback for callback in self.trainer.callback_handler.callbacks}
        for name, show in (
            ("TensorBoardCallback", show_in_tensorboard),
            ("WandbCallback", show_in_wandb),
            ("TrackioCallback", show_in_trackio),
        ):
            if name in trackers:
                show(trackers[name], state.global_step, answers, [self.picture(answer.row) for answer in answers])

    def picture(self, row: int) -> Image | None:
        """The images of a row of the evaluation, small and side by side; None where it has none."""
        if row not in self.pictures:
            rows = self.trainer.answers.rows
            files = [rows.encoded(number)[0] for number in range(rows.starts[row], rows.starts[row + 1])]
            self.pictures[row] = side_by_side([thumbnail(data) for data in files]) if files else None
        return self.pictures[row]


def write_samples(path: Path, answers: list[Answer]) -> None:
    """Writes one JSON a line: the fields of `Answer`, `row` being the number in the evaluation split."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(answer), ensure_ascii=False) for answer in answers)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


# --- pictures ---


def thumbnail(data: bytes) -> Image:
    """A small RGB picture of an image file, turned as it says, without anything else that the file says."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (LONGEST, LONGEST))
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        small = upright.convert("RGB")
    small.thumbnail((LONGEST, LONGEST))
    return Image.fromarray(np.array(small))  # the file's text, EXIF and colour profile stay behind


def side_by_side(pictures: list[Image]) -> Image:
    """One picture of several, on white."""
    from PIL import Image

    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    whole, left = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white"), 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + GAP
    return whole


# --- trackers ---


def table(step: int, answers: list[Answer], pictures: list[Any]) -> list[list[Any]]:
    """The cells of COLUMNS; of a picture what the tracker takes for one."""
    return [
        [step, picture, *(getattr(answer, name) for name in COLUMNS[2:])]
        for answer, picture in zip(answers, pictures, strict=True)
    ]


def show_in_tensorboard(callback: Any, step: int, answers: list[Answer], pictures: list[Image | None]) -> None:
    """A text with all answers, and under the number of each its picture."""
    writer = callback.tb_writer
    if writer is None:
        return
    numbers = [number if picture else "" for number, picture in enumerate(pictures)]
    lines = ["| " + " | ".join(map(escaped, cells[1:])) + " |" for cells in table(step, answers, numbers)]
    head = ["| " + " | ".join(COLUMNS[1:]) + " |", "|---" * len(COLUMNS[1:]) + "|"]
    writer.add_text(NAME, "\n".join([*head, *lines]), step)
    for number, picture in enumerate(pictures):
        if picture is not None:
            writer.add_image(f"{NAME}/{number}", np.asarray(picture), step, dataformats="HWC")
    writer.flush()


def escaped(cell: Any) -> str:
    """A cell of a Markdown table: a model's words are shown as they are, not as marks or as HTML."""
    text = str(cell).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\`*_[]|#!":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def show_in_wandb(callback: Any, step: int, answers: list[Answer], pictures: list[Image | None]) -> None:
    """A table of the run that the callback has begun, on the axis that its other values are on."""
    import wandb

    if wandb.run is None:
        return
    shown = [picture and wandb.Image(picture, file_type="jpg") for picture in pictures]
    rows = table(step, answers, shown)
    wandb.log({NAME: wandb.Table(columns=list(COLUMNS), data=rows), "train/global_step": step})


def show_in_trackio(callback: Any, step: int, answers: list[Answer], pictures: list[Image | None]) -> None:
    """As for W&B; trackio shows texts as Markdown, and takes a path or a picture without saying how it is stored."""
    import trackio

    rows = table(step, answers, [picture and trackio.Image(picture) for picture in pictures])
    escape = [[cells[0], cells[1] if cells[1] is not None else "", *map(escaped, cells[2:])] for cells in rows]
    trackio.log({NAME: trackio.Table(columns=list(COLUMNS), data=escape), "train/global_step": step})
