"""Tests how answers are shown during training: files, TensorBoard, W&B and trackio, as each really stores them."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.trainers.small_decoder import make_trainer
from trainers.base.output_folder import contents_of
from trainers.decoder.sample_tables import LONGEST, escaped, side_by_side, thumbnail

SHOWN, SECRETS = 3, ("PATIENT-NAME", "hf_secret", "group:77", "folder/of/a/patient")


@pytest.fixture
def train(tiny_decoder, chat, tmp_path, monkeypatch):
    """`train(report_to)`: two updates, an evaluation after each; rows that name a patient everywhere but in texts."""

    def secret(row):
        return {"image_path": "folder/of/a/patient.png", "group_id": "group:77", "metadata": '{"name": "PATIENT-NAME"}'}

    def run(report_to: str):
        table = chat["validation"].shuffle(seed=0).select(range(8)).map(secret)
        answers = {"samples": 4, "shown": SHOWN, "max_new_tokens": 4, "batch_size": 4, "seed": 0}
        flags = {"max_steps": 2, "eval_steps": 1, "save_strategy": "no", "report_to": report_to, "answers": answers}
        flags |= {"hub_token": "hf_secret", "run_name": "shown"}
        trainer = make_trainer(tmp_path / "run", tiny_decoder, chat["train"].select(range(8)), table, **flags)
        trainer.train()
        return trainer

    monkeypatch.chdir(tmp_path)
    return run


def test_files_and_nothing_else_without_a_tracker(train, monkeypatch):
    from trainers.decoder import sample_tables

    monkeypatch.setattr(sample_tables, "thumbnail", lambda data: pytest.fail("nobody looks at a picture"))
    trainer = train("none")
    folder = trainer.folder
    assert sorted(path.name for path in (folder / "samples").iterdir()) == ["step-1.jsonl", "step-2.jsonl"]
    lines = [json.loads(line) for line in (folder / "samples/step-2.jsonl").read_text("utf-8").splitlines()]
    assert [line["row"] for line in lines] == trainer.answers.shown.tolist() and len(lines) == SHOWN
    for line, answer in zip(lines, trainer.answers.answers, strict=True):
        assert line["generated"] == answer.generated and line["reference"] == answer.reference
    found = contents_of(folder)
    assert found.occupied == found.other == []  # a training that was killed here can begin again
    before = (folder / "samples/step-2.jsonl").read_bytes()
    trainer.evaluate()  # of the best model, after the training: not one of its steps
    assert (folder / "samples/step-2.jsonl").read_bytes() == before
    assert not any(secret in before.decode() for secret in SECRETS)


def test_tensorboard(train, tmp_path, monkeypatch):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    trainer = train("tensorboard")
    events = event_accumulator.EventAccumulator(str(tmp_path / "logs"), {"tensors": 0, "images": 0}).Reload()
    texts = events.Tensors("samples/text_summary")
    assert [event.step for event in texts] == [1, 2]
    said = texts[-1].tensor_proto.string_val[0].decode()
    for answer in trainer.answers.answers:
        assert escaped(answer.question) in said and escaped(answer.reference) in said
    assert len(said.splitlines()) == 2 + SHOWN
    pictures = events.Images("samples/0")
    assert [picture.step for picture in pictures] == [1, 2] and max(pictures[0].width, pictures[0].height) <= LONGEST
    files = b"".join(path.read_bytes() for path in (tmp_path / "logs").rglob("*") if path.is_file())
    assert not [secret for secret in SECRETS if secret.encode() in files]


def test_wandb(train, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    folder = tmp_path / "wandb"
    folder.mkdir()
    places = {"WANDB_DIR": folder, "WANDB_DATA_DIR": folder / "data", "WANDB_CACHE_DIR": folder / "cache"}
    for name, value in places.items() | {("WANDB_MODE", "offline"), ("WANDB_SILENT", "true")}:
        monkeypatch.setenv(name, str(value))
    trainer = train("wandb")
    import wandb

    wandb.finish()
    stored = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    staged = [path.read_bytes() for path in (folder / "data").rglob("*") if path.is_file()]  # of the tables' artifacts
    tables = [json.loads(content) for content in staged if content.startswith(b'{"') and b'"columns"' in content]
    assert {table["data"][0][0] for table in tables} == {1, 2}
    table = max(tables, key=lambda table: table["data"][0][0])
    assert table["columns"] == ["step", "image", "question", "reference", "generated", "language", "answer_type"]
    for cells, answer in zip(table["data"], trainer.answers.answers, strict=True):
        assert cells[2:] == [answer.question, answer.reference, answer.generated, answer.language, answer.answer_type]
        assert cells[1]["_type"] == "image-file" and cells[1]["format"] == "jpg"
    pictures = [content for content in staged if content.startswith(b"\xff\xd8")]
    assert len(set(pictures)) == len({cells[1]["sha256"] for cells in table["data"]}) > 1
    assert not [secret for secret in SECRETS if any(secret.encode() in content for content in stored)]


def test_trackio(train, tmp_path, monkeypatch):
    storage = pytest.importorskip("trackio.sqlite_storage", reason="trackio is not installed")
    trainer = train("trackio")
    databases = list(Path(storage.TRACKIO_DIR).rglob("*.db"))
    assert databases
    logged = storage.SQLiteStorage.get_logs(trainer.args.project, "shown")
    tables = [entry["samples"] for entry in logged if "samples" in entry]
    assert len(tables) == 2 and tables[-1]["_type"] == "trackio.table"
    for cells, answer in zip(tables[-1]["_value"], trainer.answers.answers, strict=True):
        assert (cells["step"], cells["question"]) == (2, escaped(answer.question))
        assert cells["generated"] == escaped(answer.generated) and cells["image"]["_type"] == "trackio.image"
    for database in databases:
        with sqlite3.connect(database) as connection:
            stored = "\n".join(connection.iterdump())
        assert not [secret for secret in SECRETS if secret in stored]


# ---- pictures and texts ----------------------------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str, **more) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def test_a_picture_is_small_upright_and_says_nothing_else():
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "PATIENT-NAME"  # turned by a quarter; the artist
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 1200, 3), np.uint8))
    small = thumbnail(encoded(photograph, "JPEG", exif=exif))
    assert small.size == (LONGEST // 2, LONGEST) and small.mode == "RGB"
    notes = PngInfo()
    notes.add_text("Comment", "PATIENT-NAME")
    for picture in (small, thumbnail(encoded(photograph, "PNG", pnginfo=notes))):
        assert b"PATIENT" not in encoded(picture, "PNG") and not picture.getexif() and not picture.info


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_pictures_of_every_mode(mode):
    image = Image.new("RGB", (40, 30), (200, 30, 30)).convert(mode)
    small = thumbnail(encoded(image, "JPEG" if mode == "CMYK" else "PNG"))
    assert (small.mode, small.size) == ("RGB", (40, 30))


def test_what_is_transparent_is_white():
    assert thumbnail(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_several_pictures_stand_side_by_side():
    whole = side_by_side([Image.new("RGB", (10, 20)), Image.new("RGB", (30, 5), "red")])
    assert whole.size == (44, 20)
    assert whole.getpixel((14, 0)) == (255, 0, 0) and whole.getpixel((11, 0)) == (255, 255, 255)


def test_a_model_s_words_are_no_marks():
    assert escaped("a | b\n<img src=x> *c* [d](e)") == r"a \| b &lt;img src=x&gt; \*c\* \[d\](e)"
