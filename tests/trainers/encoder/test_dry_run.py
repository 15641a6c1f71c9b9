"""Tests the encoder's dry run: it announces what the real run then does, and writes nothing."""

from __future__ import annotations

import json
import re

import pytest

from trainers.encoder.arguments import EncoderTrainingArguments
from trainers.encoder.dry_run import schedule_of

QUICK = ("--tiny", "--use_cpu", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2")


def number(text: str, pattern: str) -> int:
    return int(re.search(pattern, text)[1].replace(",", ""))


@pytest.fixture(scope="module")
def said(run, dataset, tmp_path_factory, hub):
    """What the command prints, with an output folder, a cache and a working folder that stay as they were."""
    folder = tmp_path_factory.mktemp("dry")
    before, since = set(folder.rglob("*")), len(hub.log)
    words = ("--output_dir", folder / "out", "--push_to_hub", "--image_cache", folder / "pixels", "--eval_steps", "3")
    words += ("--save_steps", "6")
    process = run("python", "trainers/run_encoder.py", "--dataset", dataset, *QUICK, *words, "--dry_run")
    assert set(folder.rglob("*")) == before
    assert hub.log[since:] == []  # though it is to be pushed
    return process.stdout


def test_it_shows_a_batch_with_its_texts_as_pieces(said):
    assert "pixel_values   uint8  [8, 3, 64, 64]" in said and "input_ids      int64  [8, 64]" in said
    pieces = re.findall(r"^  row \d+: .+\n +(\S.+)", said, re.MULTILINE)
    assert len(pieces) == 3 and all("▁" in line and "</s>" in line for line in pieces)


def test_it_counts_what_the_tokenizer_loses(said, pairs):
    rows = {line.split()[0]: line.split() for line in said.splitlines() if re.match(r"  (all|en|zh) ", line)}
    languages = pairs["train"]["language"]
    assert int(rows["all"][1]) == len(languages)
    assert {name: int(row[1]) for name, row in rows.items() if name != "all"} == {
        name: languages.count(name) for name in set(languages)
    }


def test_it_lists_every_weight_once(said):
    groups = re.findall(r"^  (\w+) +([0-9,]+) weights in +(\d+) tensors", said, re.MULTILINE)
    assert [name for name, _, _ in groups] == [
        "vision_decay", "vision_no_decay", "text_decay", "text_no_decay", "temperature",
    ]  # fmt: skip
    total = number(said, r"of ([0-9,]+) weights are trainable")
    assert sum(int(weights.replace(",", "")) for _, weights, _ in groups) == total


def test_the_memory_adds_up(said):
    table = said[said.index("Memory of one process") :]
    rows = re.findall(r"^  ([a-z][a-z0-9 ]+?) {2,}([0-9,]+(?: +[0-9,]+)*)$", table, re.MULTILINE)
    columns = {name: [int(cell.replace(",", "")) for cell in cells.split()] for name, cells in rows}
    peak = columns.pop("peak")
    assert len(peak) == 4 and {"weights", "gradients", "optimizer"} <= columns.keys()
    for place, whole in enumerate(peak):
        assert whole == pytest.approx(sum(cells[place] for cells in columns.values()), abs=len(columns))


@pytest.mark.slow
def test_the_run_takes_the_course_that_it_told(said, run, dataset, tmp_path):
    words = ("--output_dir", tmp_path / "out", "--eval_steps", "3", "--logging_steps", "1", "--disable_tqdm", "True")
    words += ("--save_steps", "6", "--save_total_limit", "99")
    run("python", "trainers/run_encoder.py", "--dataset", dataset, *QUICK, *words)
    summary = json.loads((tmp_path / "out" / "training_summary.json").read_text())
    history = summary["history"]
    assert summary["updates"] == number(said, r"updates per epoch, and ([0-9,]+) in all")
    evaluated = [line["step"] for line in history if "eval_loss" in line]
    shown = re.search(r"evaluations: (\d+), after update (.+)", said)
    assert len(evaluated) == int(shown[1]) and ", ".join(map(str, evaluated[:4])) == ", ".join(shown[2].split(", ")[:4])
    saved = sorted(int(path.name.split("-")[1]) for path in (tmp_path / "out").glob("checkpoint-*"))
    shown = re.search(r"checkpoints: (\d+), after update ([^;]+);", said)
    planned = {int(step) for step in shown[2].split(", ")}
    assert planned <= set(saved) <= planned | set(evaluated) and "evaluation that is the best" in said
    rates = [line["learning_rate"] for line in history if "learning_rate" in line]
    assert rates.index(max(rates)) == number(said, r"rises to \S+ in ([0-9,]+) updates")


@pytest.mark.parametrize(
    ("rows", "flags", "expected"),
    [
        (2317, {}, (37, 74, (37, 74), (37, 74))),  # the specification's: 64 pairs, 2 epochs
        (2317, {"eval_steps": 20, "save_steps": 40}, (37, 74, (20, 37, 40, 60, 74), (37, 40, 74))),
        (64, {"max_steps": 3, "eval_strategy": "no"}, (1, 3, (), (1, 2, 3))),
        (65, {"eval_strategy": "epoch", "save_strategy": "epoch", "num_train_epochs": 1.5}, (2, 3, (2, 3), (2, 3))),
        (640, {"eval_steps": 0.25}, (10, 20, (5, 10, 15, 20), (10, 20))),
        (640, {"num_train_epochs": 0}, (10, 0, (), ())),
    ],
)
def test_the_course(rows, flags, expected):
    course = schedule_of(rows, EncoderTrainingArguments(output_dir="unused", use_cpu=True, **flags))
    assert (course.updates_per_epoch, course.updates, course.evaluations, course.checkpoints) == expected
    assert course.update == course.contrast == 64


def test_plain_accumulation_is_told_from_one_contrast():
    training = EncoderTrainingArguments(output_dir="unused", use_cpu=True, contrastive_batch_size=16)
    course = schedule_of(640, training)
    assert (course.update, course.contrast) == (64, 16)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--lora_towers", "both", "--lora_r", "4"],
        ["--freeze", "both"],
        ["--freeze", "vision", "--unfreeze_last_layers", "1", "--activation_checkpointing"],
        ["--text_attention_mask", "--matryoshka_dims", "128", "64", "--image_size", "72", "--augment", "light"],
        ["--batch_sampler", "stratified", "--sentence_sampling", "2", "--optim", "adafactor"],
    ],
    ids=lambda words: words[0].removeprefix("--"),
)
def test_it_goes_through_with_any_choice_of_weights(words, tiny_encoder, dataset, tmp_path, capsys):
    from trainers.run_encoder import main

    flags = ["--model_name_or_path", tiny_encoder, "--dataset", dataset, "--output_dir", tmp_path / "out", *QUICK[1:]]
    assert main([str(word) for word in (*flags, *words, "--dry_run")]) == 0
    assert "peak" in capsys.readouterr().out and not list(tmp_path.iterdir())
