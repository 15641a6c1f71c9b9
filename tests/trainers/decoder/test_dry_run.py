"""Tests the decoder's dry run: it shows labels, schedule and memory, reads no weights and writes nothing."""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path

import pytest

from trainers.base.training_plan import schedule_of
from trainers.decoder import dry_run
from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments
from trainers.decoder.data.collator import DecoderCollator
from trainers.decoder.data.label_colors import ANSI, RESET, has_colors, marked_text
from trainers.decoder.dry_run import batches, describe, load_bare, shape_of
from trainers.decoder.memory import KINDS
from trainers.memory.tracker import MemoryEstimate


def inputs_of(dataset, model, folder, **flags):
    own = {name: flags.pop(name) for name in list(flags) if name in DecoderArguments.__dataclass_fields__}
    settings = {"per_device_train_batch_size": 4, "use_cpu": True, "output_dir": str(folder / "out")} | flags
    arguments = DecoderArguments(dataset=str(dataset), model_name_or_path=str(model), **own)
    training = DecoderTrainingArguments(**settings)
    return load_bare(arguments, training), arguments, training


@pytest.fixture
def without_memory(monkeypatch) -> None:
    """The table of memory has ones: its four estimates are most of the time that a dry run takes."""
    monkeypatch.setattr(dry_run, "estimate_decoder", lambda *_: MemoryEstimate(dict.fromkeys(KINDS, 1)))


def number(text: str, pattern: str) -> int:
    return int(re.search(pattern, text)[1].replace(",", ""))


@pytest.fixture
def weightless(tiny_decoder, tmp_path) -> Path:
    """The tiny checkpoint without its weights."""
    folder = tmp_path / "weightless"
    folder.mkdir()
    for path in tiny_decoder.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_it_needs_no_weights_and_writes_nothing(weightless, dataset, tmp_path, capsys, without_memory):
    before = set(tmp_path.rglob("*"))
    describe(*inputs_of(dataset, weightless, tmp_path))
    said = capsys.readouterr().out
    assert set(tmp_path.rglob("*")) == before
    for title in ("One batch", "Rows", "Trainable weights", "Schedule", "Memory of one process, in MiB"):
        assert f"\n{title}\n" in said
    assert said.endswith("Dry run: nothing was trained, and nothing written.\n") and "\033" not in said


def test_what_is_learned_stands_in_brackets(tiny_decoder, dataset, tmp_path, capsys, without_memory):
    inputs, arguments, training = inputs_of(dataset, tiny_decoder, tmp_path)
    describe(inputs, arguments, training)
    said = capsys.readouterr().out
    rows = inputs.rows["train"]
    chosen = next(batches(rows, arguments, training))
    lines = said.splitlines()
    for row in chosen[:3]:
        place = next(index for index, line in enumerate(lines) if line.startswith(f"  row {row}: "))
        assert int(re.search(r", (\d+) labels", lines[place])[1]) == (rows.chats.labels(row) >= 0).sum()
        answers = [turn["content"] for turn in rows.rows[row]["plain_messages"] if turn["role"] == "assistant"]
        marked = re.findall(r"\[\[(.*?)\]\]", lines[place + 1])
        assert len(marked) == len(answers)
        for text, answer in zip(marked, answers, strict=True):
            assert answer.strip() in text.replace("\\n", "\n") and text.endswith("<|eot_id|>")
        assert lines[place + 1].count("<|image|>") == 1 and "[[<|image|>" not in lines[place + 1]


def test_rows_are_counted(tiny_decoder, dataset, tmp_path, capsys, without_memory):
    inputs, arguments, training = inputs_of(dataset, tiny_decoder, tmp_path, max_seq_length=100)
    rows = inputs.rows["train"]
    describe(inputs, arguments, training)
    said = capsys.readouterr().out
    cut = int(rows.chats.shortened.sum())
    assert cut > 0 and f"shortens {cut} of {len(rows)} rows" in said
    chosen = list(batches(rows, arguments, training))
    padded = sum(len(batch) * max(int(rows.chats.lengths[row]) for row in batch) for batch in chosen)
    assert number(said, r"an epoch is ([0-9,]+) tokens") == padded
    collate = DecoderCollator(inputs.processor)
    towers = sum(len(collate(rows.__getitems__(batch))["aspect_ratio_ids"]) for batch in chosen)
    assert f"the vision tower runs {towers / len(rows):.2f} times per row" in said


@pytest.mark.slow
def test_the_memory_adds_up(weightless, dataset, tmp_path, capsys):
    describe(*inputs_of(dataset, weightless, tmp_path))
    said = capsys.readouterr().out
    table = said[said.index("Memory of one process") :]
    rows = re.findall(r"^  ([a-z][a-z0-9:,\- ]+?) {2,}([0-9,]+(?: +[0-9,]+)*)$", table, re.MULTILINE)
    columns = {name: [int(cell.replace(",", "")) for cell in cells.split()] for name, cells in rows}
    peak = columns.pop("peak")
    assert len(peak) == 4 and {"weights: adapters", "gradients", "optimizer"} <= columns.keys()
    for place, whole in enumerate(peak):
        assert whole == pytest.approx(sum(cells[place] for cells in columns.values()), abs=len(columns))


def test_the_shape_is_that_of_the_batches(tiny_decoder, dataset, tmp_path):
    inputs, arguments, training = inputs_of(dataset, tiny_decoder, tmp_path, rows_per_image=1)
    rows = inputs.rows["train"]
    shape = shape_of(rows, arguments, training, schedule_of(len(rows), training))
    collate = DecoderCollator(inputs.processor)
    found = [collate(rows.__getitems__(batch)) for batch in islice(batches(rows, arguments, training), 50)]
    assert (shape.rows, shape.tokens) == (4, int(rows.chats.lengths.max()))
    assert shape.images == max(len(batch["aspect_ratio_ids"]) for batch in found)
    assert shape.images_in_row == max(batch["image_index"].shape[1] for batch in found)
    assert shape.tiles == max(int(batch["aspect_ratio_mask"].sum(1).max()) for batch in found)
    assert shape.answer_tokens == max(-(-int((batch["labels"] >= 0).sum()) // len(batch["labels"])) for batch in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {"train_scope": "full", "activation_checkpointing": True},
        {"train_scope": "lora", "load_in_4bit": True},
        {"train_scope": "lora_all", "use_dora": True},
        {"train_scope": "lm_head", "train_on_prompt": True, "optim": "adafactor"},
        {"use_dora": True, "load_in_8bit": True},
        {"tiny": True, "modules_to_save": ["lm_head", "embed_tokens"], "isolate_rows": False},
    ],
    ids=lambda flags: " ".join(map(str, flags.values())),
)
def test_it_goes_through_with_any_choice_of_weights(flags, tiny_decoder, dataset, tmp_path, capsys):
    describe(*inputs_of(dataset, tiny_decoder, tmp_path, **flags))
    assert re.search(r"^  peak +[0-9,]+", capsys.readouterr().out, re.MULTILINE) and not list(tmp_path.iterdir())


def test_another_kind_of_model_is_refused(tiny_encoder, dataset, tmp_path):
    from evaluation.loading import InputError

    with pytest.raises(InputError, match="siglip"):
        inputs_of(dataset, tiny_encoder, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mllama"}))
    with pytest.raises(InputError, match="--model_name_or_path"):
        inputs_of(dataset, tmp_path, tmp_path)


# --- colors ---


class Stream:
    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_colors_are_for_terminals_that_want_them(monkeypatch):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert has_colors(Stream(True)) and not has_colors(Stream(False))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colors(Stream(True))


def test_each_kind_of_token_has_its_mark(tiny_decoder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_decoder)
    image = tokenizer.convert_tokens_to_ids("<|image|>")
    question, answer = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("is it", "no\x1b\n"))
    pad = [tokenizer.pad_token_id] * 3
    ids = [image, *question, *answer, *pad]
    labels = [-100] * (1 + len(question)) + answer + [-100] * 3
    mask = [1] * (len(ids) - 3) + [0] * 3
    plain = marked_text(ids, labels, mask, tokenizer, image, color=False)
    assert plain == "<|image|>is it[[no\\x1b\\n]] + 3 padding"
    parts = [f"{ANSI['image']}<|image|>", f"{ANSI['prompt']}is it", f"{ANSI['label']}no\\x1b\\n"]
    colored = marked_text(ids, labels, mask, tokenizer, image, color=True)
    assert colored == "".join(part + RESET for part in parts) + " + 3 padding"
