"""What would a training of the encoder do? Its batch, texts, weights, course and memory, shown and nothing written."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from modeling.tokenizer_audit import audit_texts, format_audits
from trainers.base.training_plan import (
    Schedule,
    amount,
    common_lines,
    counts_line,
    memory_table,
    resident_memory,
    schedule_of,
    section,
    shortened,
)
from trainers.encoder.data.collator import EncoderCollator
from trainers.encoder.data.stratified_sampler import train_sampler
from trainers.encoder.memory import UpdateShape, estimate_evaluation, estimate_memory
from trainers.encoder.parameter_groups import describe_groups, parameter_groups
from trainers.memory.tracker import KINDS, MemoryEstimate

TEXTS_SHOWN = 3
CONTRASTS_LOOKED_AT = 20  # to see how many distinct texts stand in one


def describe(inputs: Any, arguments: Any, training: Any) -> None:
    """Prints all of it.

    Args:
        inputs: what `run_encoder.load` returns; its model is used up.
        arguments: EncoderArguments.
        training: EncoderTrainingArguments.
    """
    rows, model = inputs.rows[arguments.train_split], inputs.model
    course = schedule_of(len(rows), training)
    texts = most_texts(rows, inputs.processor, arguments, training, course)
    section("One batch", batch_lines(rows, inputs.processor, arguments, training))
    section("Texts", text_lines(rows, inputs.processor, model.config.text_config.max_position_embeddings))
    section("What learns", [*describe_groups(parameter_groups(model, training)), counts_line(model)])
    section("Course", course_lines(course, len(rows), training))
    section("Memory of one process, in MiB", memory_lines(model, course, texts, training))
    print("\nDry run: nothing was trained, and nothing written.")


# --- the batch and the texts ---


def order(rows: Any, arguments: Any, training: Any) -> Any:
    """The numbers of the rows as the first epoch takes them."""
    if sampler := train_sampler(arguments.batch_sampler, rows, training.seed):
        return iter(sampler)
    generator = torch.Generator().manual_seed(training.data_seed or training.seed)
    return iter(torch.randperm(len(rows), generator=generator).tolist())


def batch_lines(rows: Any, processor: Any, arguments: Any, training: Any) -> list[str]:
    chosen = list(islice(order(rows, arguments, training), training.per_device_train_batch_size))
    batch = EncoderCollator(processor, uint8=True)(rows.__getitems__(chosen))
    lines = []
    for name, values in batch.items():
        told = f"{len(values.unique())} distinct" if values.ndim == 1 else f"{values.min()} to {values.max()}"
        lines.append(f"{name:<14} {str(values.dtype).removeprefix('torch.'):<6} {list(values.shape)}, {told}")
    tokenizer = processor.tokenizer
    for row, ids in islice(zip(chosen, batch["input_ids"].tolist(), strict=True), TEXTS_SHOWN):
        pieces = tokenizer.convert_ids_to_tokens(ids)
        end = len(pieces)
        while end > 1 and pieces[end - 1] == pieces[end - 2]:
            end -= 1
        padding = f" and {len(pieces) - end} times more" if end < len(pieces) else ""
        lines += [f"row {row}: {shortened(rows.text(row))}", f"    {' '.join(pieces[:end])}{padding}"]
    return lines


def text_lines(rows: Any, processor: Any, max_length: int) -> list[str]:
    names = rows.rows.column_names
    languages = rows.rows["language"][:] if "language" in names else ["unknown"] * len(rows)
    audits = audit_texts(processor, zip((text.as_py() for text in rows.texts), languages, strict=True), max_length)
    lines = format_audits(audits)
    for example in audits["all"].examples:
        first, second = (shortened(rows.texts[example[place]].as_py(), 70) for place in ("first", "second"))
        lines.append(f"the same tokens: {first!r} and {second!r}")
    return lines


def most_texts(rows: Any, processor: Any, arguments: Any, training: Any, course: Schedule) -> int:
    """The most distinct texts that one process encodes beside a micro-batch, over the first contrasts of an epoch."""
    numbers = order(rows, arguments, training)
    own = course.contrast // course.processes  # rows of a contrast that one process has
    collator, most = EncoderCollator(processor, uint8=True), 1
    for _ in range(CONTRASTS_LOOKED_AT):
        if not (chosen := list(islice(numbers, own))):
            break
        tokens = collator.tokenized([rows.text(row) for row in chosen])["input_ids"]
        distinct = len(torch.unique(tokens, dim=0))
        steps = -(-distinct // min(course.micro_batch, len(chosen)))
        most = max(most, -(-distinct // steps))
    return most


# --- the weights and the course ---


def course_lines(course: Schedule, rows: int, training: Any) -> list[str]:
    contrasts = course.update // course.contrast
    compared = f"the loss compares {course.contrast:,} pairs with each other"
    compared += f", {contrasts} times in an update" if contrasts > 1 else ""
    first, *others = common_lines(course, rows, training, "pairs")
    return [first, compared, *others]


# --- the memory ---


def shape_of(course: Schedule, texts: int, training: Any) -> UpdateShape:
    """What of a training decides its memory."""
    on_gpu = training.device.type != "cpu"
    waits_here = course.micro_batches + 1  # an update's micro-batches, and one that is fetched ahead
    kept_away = training.micro_batches_in_contrast > 1  # in the host's memory, see EncoderTrainer
    return UpdateShape(
        micro_batch=course.micro_batch,
        texts=texts,
        micro_batches=course.micro_batches,
        contrast=course.contrast,
        waiting=1 if on_gpu and kept_away else waits_here,
        bf16=training.bf16,
        activation_checkpointing=bool(training.activation_checkpointing),
        optim=str(getattr(training.optim, "value", training.optim)),
        processes=course.processes,
        sharded=os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" or bool(training.fsdp),
    )


def memory_lines(model: torch.nn.Module, course: Schedule, texts: int, training: Any) -> list[str]:
    """A table: what memory is for, as the flags are, and with other choices of precision and checkpointing."""
    shape = shape_of(course, texts, training)
    choices = [("as it is", shape)]
    other = replace(shape, activation_checkpointing=not shape.activation_checkpointing)
    choices.append((f"{'without' if shape.activation_checkpointing else 'with'} checkpointing", other))
    if not shape.bf16:
        choices += [("in bfloat16", replace(shape, bf16=True)), ("both", replace(other, bf16=True))]
    bare = copy.deepcopy(model.to("meta"))
    found = [estimate_memory(copy.deepcopy(bare), choice) for _, choice in choices]
    lines = memory_table([name for name, _ in choices], found, KINDS)
    evaluation = estimate_evaluation(copy.deepcopy(bare), shape, training.per_device_eval_batch_size)
    lines.append(
        f"an evaluation in batches of {training.per_device_eval_batch_size}: {amount(evaluation.peak)}"
        + (", more than the training; lower --per_device_eval_batch_size" * (evaluation.peak > found[0].peak))
    )
    return [*lines, *fitting_lines(found[0], shape, training)]


def fitting_lines(estimate: MemoryEstimate, shape: UpdateShape, training: Any) -> list[str]:
    """What the peak means where the training would run."""
    precision = "bfloat16" if shape.bf16 else "float32"
    how = f"{precision}, at most {shape.texts} distinct texts beside {shape.micro_batch} images"
    if training.device.type == "cuda":
        total = torch.cuda.get_device_properties(training.device).total_memory
        return [f"{how}; this GPU has {amount(total)}, of which CUDA itself takes about 500"]
    return [
        f"{how}; on this processor Python and the libraries come on top, {amount(resident_memory())} now, and up to as",
        "much again of small pieces that the C library keeps for reuse (MALLOC_MMAP_THRESHOLD_=131072 gives them back)",
    ]
