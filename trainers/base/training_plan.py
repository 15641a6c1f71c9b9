"""Computes when a training updates, evaluates and saves, and writes the lines in which a dry run shows it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.memory.tracker import MemoryEstimate

if TYPE_CHECKING:
    import torch

MIB = 2**20


@dataclass(frozen=True)
class Schedule:
    """When a training updates, evaluates and saves.

    Attributes:
        micro_batch, micro_batches, processes: their product is `update`, the rows of an update.
        contrast: number of pairs that the encoder's loss compares with each other; of the decoder, a micro-batch.
        updates_per_epoch, updates: of one epoch and of the whole training.
        warmup: updates with a rising learning rate.
        evaluations, checkpoints: the updates after which they will happen.
    """

    micro_batch: int
    micro_batches: int
    processes: int
    contrast: int
    updates_per_epoch: int
    updates: int
    warmup: int
    evaluations: tuple[int, ...]
    checkpoints: tuple[int, ...]

    @property
    def update(self) -> int:
        return self.micro_batch * self.micro_batches * self.processes


def schedule_of(rows: int, training: Any) -> Schedule:
    """Returns the schedule of a training on this number of rows, as Trainer and EpochEndCallback follow it."""
    micro, processes = training.per_device_train_batch_size, training.world_size
    steps = training.gradient_accumulation_steps
    batches = rows // (micro * processes) if training.dataloader_drop_last else -(-rows // (micro * processes))
    per_epoch = max(-(-batches // steps), 1)
    updates = training.max_steps if training.max_steps > 0 else math.ceil(training.num_train_epochs * per_epoch)
    ends = {*range(per_epoch, updates + 1, per_epoch), *([updates] if updates else [])}

    def times(strategy: Any, every: float | None) -> tuple[int, ...]:
        if strategy == "no":
            return ()
        every = math.ceil(updates * every) if every and every < 1 else int(every or updates or 1)
        in_between = range(every, updates + 1, every) if strategy == "steps" and every else ()
        return tuple(sorted({*in_between, *ends}))

    return Schedule(
        micro_batch=micro,
        micro_batches=steps,
        processes=processes,
        contrast=getattr(training, "pairs_in_contrast", micro),
        updates_per_epoch=per_epoch,
        updates=updates,
        warmup=training.get_warmup_steps(updates),
        evaluations=times(training.eval_strategy, training.eval_steps),
        checkpoints=times(training.save_strategy, training.save_steps),
    )


def common_lines(course: Schedule, rows: int, training: Any, things: str) -> list[str]:
    """Returns the lines that a dry run prints of any training; `things` is what rows are called."""
    factors = f"micro-batch {course.micro_batch} x accumulation {course.micro_batches} x processes {course.processes}"
    kept, saves_best = training.save_total_limit, training.load_best_model_at_end
    return [
        f"{factors} = an update of {course.update:,} {things}",
        f"{rows:,} rows are {course.updates_per_epoch:,} updates per epoch, and {course.updates:,} in all",
        f"the learning rate rises to {training.learning_rate:g} in {course.warmup:,} updates; its schedule is "
        f"{getattr(training.lr_scheduler_type, 'value', training.lr_scheduler_type)}",
        f"evaluations: {updates_shown(course.evaluations)}",
        f"checkpoints: {updates_shown(course.checkpoints)}"
        + ("; and after each evaluation that is the best so far" if course.evaluations and saves_best else "")
        + (f"; {kept} are kept" if course.checkpoints and kept else ""),
    ]


def updates_shown(updates: tuple[int, ...]) -> str:
    if not updates:
        return "none"
    shown = ", ".join(f"{update:,}" for update in updates[:4])
    more = f", ... {updates[-1]:,}" if len(updates) > 4 else ""
    return f"{len(updates)}, after update {shown}{more}"


# --- what dry runs show ---


def section(title: str, lines: list[str]) -> None:
    print("\n".join(["", title, *(f"  {line}" for line in lines)]))


def shortened(text: str, width: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 4]} ..."


def counts_line(model: torch.nn.Module) -> str:
    learning, whole = (
        sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad or every)
        for every in (False, True)
    )
    return f"{learning:,} of {whole:,} weights are trainable ({learning / whole:.1%}), {whole - learning:,} are frozen"


def memory_table(names: list[str], found: list[MemoryEstimate], kinds: Iterable[str], titles: Any = None) -> list[str]:
    """Returns the lines of a table in MiB: the uses of memory, and a column for each choice; empty rows are left out.

    Args:
        titles: a dict with other names of kinds, or None.
    """
    titles = titles or {}
    lines = ["".join([f"{'':<38}", *(f"{name:>24}" for name in names)])]
    for kind in kinds:
        if any(estimate.parts[kind] for estimate in found):
            cells = (f"{amount(estimate.parts[kind]):>24}" for estimate in found)
            lines.append("".join([f"{titles.get(kind, kind):<38}", *cells]))
    return [*lines, "".join([f"{'peak':<38}", *(f"{amount(estimate.peak):>24}" for estimate in found)])]


def amount(size: int) -> str:
    return f"{size / MIB:,.0f}"


def resident_memory() -> int:
    """Returns the bytes of this process that are in memory; 0 where the system does not report them."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))
