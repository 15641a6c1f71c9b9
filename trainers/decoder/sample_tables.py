"""Shows the answers of a training run: in `samples/` of the output folder, and as a table in each experiment tracker.

A table shows question, reference and generated answer of each row with a small picture. It contains no file name, which
may identify a patient, and no other metadata of the dataset. A picture is built from its pixels alone, so that no
metadata of the file remains in it.
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
# The longer side of a picture, in pixels.
LONGEST = 256
# Pixels between the pictures of one row.
GAP = 4
COLUMNS = ("step", "image", "question", "reference", "generated", "language", "answer_type")


class SampleTables(TrainerCallback):
    """Shows `trainer.answers.answers` after every evaluation during training, in the first process.

    Writes one line per answer to `samples/step-12.jsonl`, text and pictures to TensorBoard, a table to W&B and trackio.
    Trackers that are not enabled are not imported.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.pictures: dict[int, Image | None] = {}

    def on_evaluate(self, args, state, control, **kwargs):
        """Skips the evaluation after the training, whose answers `run_decoder.py` writes itself."""
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
        """Returns thumbnails of an evaluation row's images side by side; None if it has no image."""
        if row not in self.pictures:
            rows = self.trainer.answers.rows
            files = [rows.encoded(number)[0] for number in range(rows.starts[row], rows.starts[row + 1])]
            self.pictures[row] = side_by_side([thumbnail(data) for data in files]) if files else None
        return self.pictures[row]


def write_samples(path: Path, answers: list[Answer]) -> None:
    """Writes one JSON object per line with the fields of `Answer`; `row` is the number in the evaluation split."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(answer), ensure_ascii=False) for answer in answers)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


# --- pictures ---


def thumbnail(data: bytes) -> Image:
    """Returns a small RGB picture of an image file with its EXIF orientation applied and without its metadata."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (LONGEST, LONGEST))
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        small = upright.convert("RGB")
    small.thumbnail((LONGEST, LONGEST))
    # A new image from the pixels: text, EXIF data and color profile are left behind.
    return Image.fromarray(np.array(small))


def side_by_side(pictures: list[Image]) -> Image:
    """Returns several pictures as one, side by side on white."""
    from PIL import Image

    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    combined, left = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white"), 0
    for picture in pictures:
        combined.paste(picture, (left, 0))
        left += picture.width + GAP
    return combined


# --- trackers ---


def table(step: int, answers: list[Answer], pictures: list[Any]) -> list[list[Any]]:
    """Returns the cells of COLUMNS per answer; `pictures` are in the tracker's own type."""
    return [
        [step, picture, *(getattr(answer, name) for name in COLUMNS[2:])]
        for answer, picture in zip(answers, pictures, strict=True)
    ]


def show_in_tensorboard(callback: Any, step: int, answers: list[Answer], pictures: list[Image | None]) -> None:
    """Adds a text with all answers, and the picture of each under its number."""
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
    """Returns a cell of a Markdown table in which the model's text is neither Markdown nor HTML."""
    text = str(cell).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\`*_[]|#!":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def show_in_wandb(callback: Any, step: int, answers: list[Answer], pictures: list[Image | None]) -> None:
    """Logs a table to the callback's run, on the same step axis as its other values."""
    import wandb

    if wandb.run is None:
        return
    shown = [picture and wandb.Image(picture, file_type="jpg") for picture in pictures]
    rows = table(step, answers, shown)
    wandb.log({NAME: wandb.Table(columns=list(COLUMNS), data=rows), "train/global_step": step})


def show_in_trackio(callback: Any, step: int, answers: list[Answer], pictures: list[Image | None]) -> None:
    """Logs a table to trackio, which renders texts as Markdown: they are escaped."""
    import trackio

    rows = table(step, answers, [picture and trackio.Image(picture) for picture in pictures])
    escaped_rows = [[cells[0], cells[1] if cells[1] is not None else "", *map(escaped, cells[2:])] for cells in rows]
    trackio.log({NAME: trackio.Table(columns=list(COLUMNS), data=escaped_rows), "train/global_step": step})
