"""Shows what a training run of the decoder would do: batch, labels, parameters, schedule and memory; trains nothing.

It reads no weights: configuration and processor are enough, so that `--dry_run` of Llama 3.2 11B runs on a laptop. It
writes nothing except the tokens that `datasets` caches.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.loading import DECODER_TYPES, InputError, load_advice
from evaluation.scoring.messages import plain_messages
from trainers.base.inputs import starting_commit
from trainers.base.training_plan import (
    Schedule,
    amount,
    common_lines,
    memory_table,
    resident_memory,
    schedule_of,
    section,
)
from trainers.decoder.arguments import FULL, LM_HEAD, LORA, DecoderArguments, DecoderTrainingArguments
from trainers.decoder.data.collator import DecoderCollator
from trainers.decoder.data.image_group_sampler import train_sampler
from trainers.decoder.data.label_colors import has_colors, legend, marked_text
from trainers.decoder.memory import KINDS, TITLES, DecoderUpdate, bare_decoder, estimate_decoder
from trainers.decoder.model import weight_dtype
from trainers.decoder.tuning import describe_trainable
from trainers.memory.tracker import MemoryEstimate

ROWS_SHOWN = 3
# Batches to read, to find the largest numbers of images and labels in one.
BATCHES_READ = 50


@dataclass
class BareInputs:
    """The inputs of a dry run.

    Attributes:
        rows: DecoderRows by name of the split.
        processor: an MllamaProcessor.
        config: an MllamaConfig.
    """

    rows: dict[str, Any]
    processor: Any
    config: Any


def load_bare(arguments: DecoderArguments, training: DecoderTrainingArguments) -> BareInputs:
    """Opens data, processor and configuration.

    Raises:
        InputError: one of them cannot be opened, or a flag does not fit.
    """
    from trainers.base.inputs import open_splits
    from trainers.decoder.data.dataset import decoder_rows
    from trainers.decoder.data.tokenization import encode_chats

    arguments.image_cache = "none"
    splits, _ = open_splits(arguments, training, "chat")
    config, processor = bare_checkpoint(arguments, splits[arguments.train_split], training)
    chats = {
        name: encode_chats(rows, processor, arguments.max_seq_length, arguments.train_on_prompt)
        for name, rows in splits.items()
    }
    return BareInputs(decoder_rows(splits, chats, processor, arguments), processor, config)


def bare_checkpoint(arguments: DecoderArguments, rows: Any, training: DecoderTrainingArguments) -> tuple[Any, Any]:
    """Opens the configuration and the processor of the model that `load_decoder` would load.

    Args:
        rows: the training split; `--tiny` builds a tokenizer from its texts.

    Raises:
        InputError: they cannot be opened, or belong to another type of model.
    """
    from transformers import AutoConfig, AutoProcessor

    from trainers.decoder.data.collator import CHAT_TEMPLATE

    with tempfile.TemporaryDirectory(prefix="medpairs-tiny-") as scratch:
        name, commit = arguments.model_name_or_path, None
        if arguments.tiny:
            from modeling.tiny_checkpoints import write_tiny_decoder

            texts = [turn["content"] for messages in rows["messages"] for turn in plain_messages(messages)]
            write_tiny_decoder(Path(scratch), texts, CHAT_TEMPLATE, training.seed)
            name = scratch
        else:
            commit = starting_commit(name)
        try:
            config = AutoConfig.from_pretrained(name, revision=commit, trust_remote_code=False)
            processor = AutoProcessor.from_pretrained(name, revision=commit, trust_remote_code=False)
        except Exception as error:  # gated, missing, no network, damaged files: each raises its own type
            raise InputError(f"--model_name_or_path {name}: {load_advice(name, error)}") from None
    if config.model_type not in DECODER_TYPES:
        kinds = " or ".join(DECODER_TYPES)
        raise InputError(f"--model_name_or_path {name}: a model of type {config.model_type!r}, not {kinds}")
    processor.chat_template = processor.tokenizer.chat_template = CHAT_TEMPLATE
    return config, processor


def describe(inputs: BareInputs, arguments: DecoderArguments, training: DecoderTrainingArguments) -> None:
    """Prints all sections of the dry run.

    Args:
        inputs: from `load_bare`.
    """
    rows = inputs.rows[arguments.train_split]
    course = schedule_of(len(rows), training)
    shape = shape_of(rows, arguments, training, course)
    model = bare_decoder(inputs.config, replace(arguments, load_in_4bit=False, load_in_8bit=False), torch.float32)
    section("One batch", batch_lines(rows, inputs.processor, arguments, training))
    section("Rows", row_lines(rows, arguments, training))
    section("Trainable weights", describe_trainable(model))
    section("Schedule", common_lines(course, len(rows), training, "rows"))
    section("Memory of one process, in MiB", memory_lines(inputs.config, shape, arguments, training))
    print("\nDry run: nothing was trained, and nothing written.")


# --- the batch ---


def batches(rows: Any, arguments: DecoderArguments, training: DecoderTrainingArguments) -> Iterator[list[int]]:
    """Yields the row numbers of each batch of the first epoch, over all processes."""
    size = training.per_device_train_batch_size
    numbers = iter(train_sampler(rows, arguments, training))
    while chosen := list(islice(numbers, size)):
        yield chosen


def distinct_images(rows: Any, chosen: list[int]) -> dict[int, int]:
    """Returns the distinct images of a batch: for each key the number of one of its occurrences in the dataset."""
    numbers = [number for row in chosen for number in range(rows.starts[row], rows.starts[row + 1])]
    return {int(rows.keys[number]): number for number in numbers}


def batch_lines(rows: Any, processor: Any, arguments: DecoderArguments, training: DecoderTrainingArguments) -> list:
    """Returns lines with the tensors of the first batch, and its first rows with their labels."""
    chosen = next(batches(rows, arguments, training))
    batch = DecoderCollator(processor)(rows.__getitems__(chosen))
    lines = []
    for name, values in batch.items():
        summary = f"{values.min()} to {values.max()}"
        lines.append(f"{name:<21} {str(values.dtype).removeprefix('torch.'):<6} {list(values.shape)}, {summary}")
    color = has_colors()
    lines.append(legend(color))
    columns = (batch[name].tolist() for name in ("input_ids", "labels", "attention_mask"))
    for row, ids, labels, mask in islice(zip(chosen, *columns, strict=True), ROWS_SHOWN):
        supervised = sum(label >= 0 for label in labels)
        lines.append(f"row {row}: {sum(mask)} tokens, {supervised} labels")
        lines.append(f"    {marked_text(ids, labels, mask, processor.tokenizer, processor.image_token_id, color)}")
    return lines


def row_lines(rows: Any, arguments: DecoderArguments, training: DecoderTrainingArguments) -> list[str]:
    """Returns lines on lengths, truncation, padding, and how often the vision tower runs."""
    lengths, groups = rows.chats.lengths, rows.image_groups()
    padded = tower = 0
    for chosen in batches(rows, arguments, training):
        padded += len(chosen) * int(lengths[chosen].max())
        tower += len(distinct_images(rows, chosen))
    total = int(lengths.sum())
    lines = [
        f"{len(rows):,} rows of {lengths.min()} to {lengths.max()} tokens, {total / len(rows):.0f} on average",
        f"an epoch is {padded:,} tokens, of which {1 - total / padded:.1%} are padding",
        f"{len(np.unique(groups)):,} distinct images or sets of images; the vision tower runs {tower / len(rows):.2f} "
        f"times per row",
    ]
    return [*lines, *(rows.chats.report() or [f"no row is longer than --max_seq_length {arguments.max_seq_length}"])]


# --- the memory ---


def shape_of(
    rows: Any, arguments: DecoderArguments, training: DecoderTrainingArguments, course: Schedule
) -> DecoderUpdate:
    """Returns the sizes of an update that determine its memory: the longest row, and maxima of the first batches."""
    images = tiles = answers = 1
    known: dict[int, int] = {}  # the number of tiles of each image, by its key
    for chosen in islice(batches(rows, arguments, training), BATCHES_READ):
        distinct = distinct_images(rows, chosen)
        images = max(images, len(distinct))
        for key, number in distinct.items():
            if key not in known:
                known[key] = rows.reader.tiles(*rows.encoded(number))
            tiles = max(tiles, known[key])
        labels = sum(int((rows.chats.labels(row) >= 0).sum()) for row in chosen)
        # Labels per row, rounded up.
        answers = max(answers, -(-labels // len(chosen)))
    tokens = int(rows.chats.lengths.max())
    return DecoderUpdate(
        rows=course.micro_batch,
        tokens=tokens,
        answer_tokens=min(answers, tokens),
        images=images,
        tiles=tiles,
        images_in_row=max(int(np.diff(rows.starts).max()), 1),
        micro_batches=course.micro_batches,
        bf16=training.bf16,
        activation_checkpointing=bool(training.activation_checkpointing),
        optim=str(getattr(training.optim, "value", training.optim)),
        processes=course.processes,
        sharded=is_sharded(training),
    )


def is_sharded(training: DecoderTrainingArguments) -> bool:
    """Returns whether processes shard weights, gradients and optimizer state: FSDP, or stage 3 of DeepSpeed."""
    fsdp = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" or bool(training.fsdp)
    stage = getattr(getattr(training, "hf_deepspeed_config", None), "is_zero3", lambda: False)()
    return fsdp or stage or os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3"


def other_choices(arguments: DecoderArguments, shape: DecoderUpdate) -> list[tuple[str, Any, DecoderUpdate]]:
    """Returns the columns of the memory table as (title, arguments, shape): the given flags, then alternatives."""
    on = shape.activation_checkpointing
    other = replace(shape, activation_checkpointing=not on)
    choices = [
        ("as given", arguments, shape),
        (f"{'without' if on else 'with'} checkpointing", arguments, other),
    ]
    if not shape.bf16:
        # The precision that a GPU would use.
        choices.append(("in bfloat16", arguments, replace(shape, bf16=True)))
    checkpointed = shape if on else other
    if arguments.load_in_4bit or arguments.load_in_8bit:
        bare = replace(arguments, load_in_4bit=False, load_in_8bit=False)
        choices.append(("16 bits, checkpointing" if shape.bf16 else "32 bits, checkpointing", bare, checkpointed))
    elif arguments.train_scope in (FULL, LM_HEAD):
        choices.append(("lora, checkpointing", replace(arguments, train_scope=LORA), checkpointed))
    else:
        choices.append(("4 bits, checkpointing", replace(arguments, load_in_4bit=True), checkpointed))
    return choices


def memory_lines(
    config: Any, shape: DecoderUpdate, arguments: DecoderArguments, training: DecoderTrainingArguments
) -> list[str]:
    """Returns a table of the memory by kind, with the given flags and with alternatives."""
    choices = other_choices(arguments, shape)
    found = [
        estimate_decoder(bare_decoder(config, chosen, weight_dtype(update)), update) for _, chosen, update in choices
    ]
    return [
        *memory_table([name for name, _, _ in choices], found, KINDS, TITLES),
        *fitting_lines(found, shape, training),
    ]


def fitting_lines(found: list[MemoryEstimate], shape: DecoderUpdate, training: DecoderTrainingArguments) -> list[str]:
    """Returns a line that compares the peak with the device that the training would run on."""
    precision = "bfloat16" if shape.bf16 else "float32"
    how = (
        f"{precision}, {shape.rows} rows of {shape.tokens} tokens, {shape.answer_tokens} labels each, "
        f"{shape.images} distinct images of {shape.tiles} tiles"
    )
    if training.device.type == "cuda":
        total = torch.cuda.get_device_properties(training.device).total_memory
        # A tenth of the memory goes to CUDA and fragmentation.
        verdict = "it does not fit" if found[0].peak > 0.9 * total else "it fits"
        return [f"{how}; this GPU has {amount(total)}, of which CUDA and fragmentation use a tenth: {verdict}"]
    return [f"{how}; on a CPU add Python and the libraries, {amount(resident_memory())} now"]
