"""Shows what a training run of the encoder would do: batch, texts, parameters, schedule and memory; writes nothing."""

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
# Contrastive batches to read, to find the largest number of distinct texts in one.
CONTRASTS_READ = 20


def describe(inputs: Any, arguments: Any, training: Any) -> None:
    """Prints all sections of the dry run.

    Args:
        inputs: what `run_encoder.load` returns; its model cannot be used afterwards.
        arguments: EncoderArguments.
        training: EncoderTrainingArguments.
    """
    rows, model = inputs.rows[arguments.train_split], inputs.model
    course = schedule_of(len(rows), training)
    texts = max_distinct_texts(rows, inputs.processor, arguments, training, course)
    section("One batch", batch_lines(rows, inputs.processor, arguments, training))
    section("Texts", text_lines(rows, inputs.processor, model.config.text_config.max_position_embeddings))
    section("Trainable weights", [*describe_groups(parameter_groups(model, training)), counts_line(model)])
    section("Schedule", course_lines(course, len(rows), training))
    section("Memory of one process, in MiB", memory_lines(model, course, texts, training))
    print("\nDry run: nothing was trained, and nothing written.")


# --- the batch and the texts ---


def order(rows: Any, arguments: Any, training: Any) -> Any:
    """Returns the row numbers in the order of the first epoch."""
    if sampler := train_sampler(arguments.batch_sampler, rows, training.seed):
        return iter(sampler)
    generator = torch.Generator().manual_seed(training.data_seed or training.seed)
    return iter(torch.randperm(len(rows), generator=generator).tolist())


def batch_lines(rows: Any, processor: Any, arguments: Any, training: Any) -> list[str]:
    """Returns lines with the tensors of the first batch, and the tokens of its first rows."""
    chosen = list(islice(order(rows, arguments, training), training.per_device_train_batch_size))
    batch = EncoderCollator(processor, uint8=True)(rows.__getitems__(chosen))
    lines = []
    for name, values in batch.items():
        summary = f"{len(values.unique())} distinct" if values.ndim == 1 else f"{values.min()} to {values.max()}"
        lines.append(f"{name:<14} {str(values.dtype).removeprefix('torch.'):<6} {list(values.shape)}, {summary}")
    tokenizer = processor.tokenizer
    for row, ids in islice(zip(chosen, batch["input_ids"].tolist(), strict=True), TEXTS_SHOWN):
        pieces = tokenizer.convert_ids_to_tokens(ids)
        # The tokenizer pads with its last token: show the first of the equal tokens at the end, count the others.
        end = len(pieces)
        while end > 1 and pieces[end - 1] == pieces[end - 2]:
            end -= 1
        padding = f" (+ {len(pieces) - end} more)" if end < len(pieces) else ""
        lines += [f"row {row}: {shortened(rows.text(row))}", f"    {' '.join(pieces[:end])}{padding}"]
    return lines


def text_lines(rows: Any, processor: Any, max_length: int) -> list[str]:
    """Returns lines on what the tokenizer loses, by language, with examples of texts that get the same tokens."""
    names = rows.rows.column_names
    languages = rows.rows["language"][:] if "language" in names else ["unknown"] * len(rows)
    audits = audit_texts(processor, zip((text.as_py() for text in rows.texts), languages, strict=True), max_length)
    lines = format_audits(audits)
    for example in audits["all"].examples:
        first, second = (shortened(rows.texts[example[place]].as_py(), 70) for place in ("first", "second"))
        lines.append(f"same tokens: {first!r} and {second!r}")
    return lines


def max_distinct_texts(rows: Any, processor: Any, arguments: Any, training: Any, course: Schedule) -> int:
    """Returns the largest number of distinct texts per step and process, in the first contrastive batches."""
    numbers = order(rows, arguments, training)
    # Rows of a contrastive batch per process.
    own = course.contrast // course.processes
    collator, most = EncoderCollator(processor, uint8=True), 1
    for _ in range(CONTRASTS_READ):
        if not (chosen := list(islice(numbers, own))):
            break
        tokens = collator.tokenized([rows.text(row) for row in chosen])["input_ids"]
        distinct = len(torch.unique(tokens, dim=0))
        # As in `Contrast`: the texts are spread evenly over as few steps as hold them. -(-a // b) rounds up.
        steps = -(-distinct // min(course.micro_batch, len(chosen)))
        most = max(most, -(-distinct // steps))
    return most


# --- the schedule ---


def course_lines(course: Schedule, rows: int, training: Any) -> list[str]:
    """Returns lines on updates, learning rate, evaluations and checkpoints."""
    contrasts = course.update // course.contrast
    compared = f"the loss compares {course.contrast:,} pairs with each other"
    compared += f", {contrasts} times per update" if contrasts > 1 else ""
    first, *others = common_lines(course, rows, training, "pairs")
    return [first, compared, *others]


# --- the memory ---


def shape_of(course: Schedule, texts: int, training: Any) -> UpdateShape:
    """Returns the sizes and settings of an update that determine its memory."""
    on_gpu = training.device.type != "cpu"
    # The micro-batches of an update, and one that is prefetched.
    all_waiting = course.micro_batches + 1
    # EncoderTrainer keeps the micro-batches of a long contrastive batch in host memory until their turn.
    on_host = training.micro_batches_in_contrast > 1
    return UpdateShape(
        micro_batch=course.micro_batch,
        texts=texts,
        micro_batches=course.micro_batches,
        contrast=course.contrast,
        waiting=1 if on_gpu and on_host else all_waiting,
        bf16=training.bf16,
        activation_checkpointing=bool(training.activation_checkpointing),
        optim=str(getattr(training.optim, "value", training.optim)),
        processes=course.processes,
        sharded=os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" or bool(training.fsdp),
    )


def memory_lines(model: torch.nn.Module, course: Schedule, texts: int, training: Any) -> list[str]:
    """Returns a table of the memory by kind, with the given flags and with other precision and checkpointing."""
    shape = shape_of(course, texts, training)
    choices = [("as given", shape)]
    other = replace(shape, activation_checkpointing=not shape.activation_checkpointing)
    choices.append((f"{'without' if shape.activation_checkpointing else 'with'} checkpointing", other))
    if not shape.bf16:
        choices += [("in bfloat16", replace(shape, bf16=True)), ("both", replace(other, bf16=True))]
    bare = copy.deepcopy(model.to("meta"))
    found = [estimate_memory(copy.deepcopy(bare), choice) for _, choice in choices]
    lines = memory_table([name for name, _ in choices], found, KINDS)
    evaluation = estimate_evaluation(copy.deepcopy(bare), shape, training.per_device_eval_batch_size)
    lines.append(
        f"evaluation with batches of {training.per_device_eval_batch_size}: {amount(evaluation.peak)}"
        + (", more than training; lower --per_device_eval_batch_size" * (evaluation.peak > found[0].peak))
    )
    return [*lines, *fitting_lines(found[0], shape, training)]


def fitting_lines(estimate: MemoryEstimate, shape: UpdateShape, training: Any) -> list[str]:
    """Returns lines that compare the peak with the device that the training would run on."""
    precision = "bfloat16" if shape.bf16 else "float32"
    how = f"{precision}, at most {shape.texts} distinct texts per {shape.micro_batch} images"
    if training.device.type == "cuda":
        total = torch.cuda.get_device_properties(training.device).total_memory
        return [f"{how}; this GPU has {amount(total)}, of which CUDA uses about 500"]
    return [
        f"{how}; on a CPU add Python and the libraries, {amount(resident_memory())} now, and up to the same amount of",
        "small blocks that the C library keeps for reuse (MALLOC_MMAP_THRESHOLD_=131072 returns them)",
    ]
