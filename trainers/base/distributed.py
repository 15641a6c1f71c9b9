"""Checks settings, counts processes and gathers values when several processes train one model."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import DistributedType
from transformers import Trainer
from transformers.trainer_utils import has_length

from evaluation.loading import InputError


def real_rows(trainer: Trainer, sizes: list[int], rows: int | None) -> list[int]:
    """Returns how many of the first rows of each micro-batch of an update count, in this process.

    All of them, except in the last micro-batch of an epoch with several processes: where all processes together have
    too few rows, accelerate fills it up with those of the first one; the rows of process 0 come first, then those of 1.

    Args:
        sizes: rows of each micro-batch.
        rows: the number of rows in the epoch, see `rows_in_epoch`.
    """
    real = list(sizes)
    state = trainer.accelerator.gradient_state
    if real and world_size() > 1 and state.end_of_dataloader and not trainer.args.dataloader_drop_last:
        left = max(0, state.remainder if rows is None else rows) % (real[-1] * world_size())
        if left:
            real[-1] = min(real[-1], max(0, left - rank() * real[-1]))
    return real


def rows_in_epoch(loader: Any) -> int | None:
    """Returns the number of rows of an epoch over all processes, without those that fill it up; None if unknown.

    `GradientState.remainder` has it too, but is wrong after an epoch was resumed in the middle.
    """
    batches = getattr(loader, "batch_sampler", None)
    sampler = getattr(getattr(batches, "batch_sampler", batches), "sampler", None)
    known = [source for source in (sampler, loader.dataset) if has_length(source)]
    return len(known[0]) if known else None


def one_device_per_process(args: Any) -> None:
    """Uses only one of several GPUs of a process: torch's DataParallel would split a batch without its loss knowing."""
    if args.n_gpu > 1:
        print(
            f"Training on one of {args.n_gpu} GPUs; for all of them start it with "
            "`accelerate launch --config_file trainers/accelerate_configs/ddp.yaml`"
        )
        args._n_gpu = 1


def check_batches(trainer: Trainer) -> None:
    """Raises InputError where accelerate would distribute batches in another way than `real_rows` counts."""
    settings = trainer.args.accelerator_config
    dealt = settings.split_batches or settings.dispatch_batches or not settings.even_batches
    if trainer.accelerator.num_processes > 1 and dealt:
        raise InputError(
            "--accelerator_config: leave split_batches and dispatch_batches false and even_batches true; the rows that "
            "even_batches repeats at the end of an epoch are left out of the loss"
        )


def check_fsdp2(trainer: Trainer, shipped: str) -> None:
    """Raises InputError for the older FSDP; `shipped` is the configuration to use instead."""
    accelerator = trainer.accelerator
    if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise InputError(f"FSDP 1 is not supported: set fsdp_version: 2, as {shipped} does")


def gather_counts(numbers: list[int], device: torch.device) -> list[list[int]]:
    """Returns the integers of every process, the same number of them in each."""
    if world_size() == 1:
        return [numbers]
    own = torch.tensor(numbers, device=device)
    all_numbers = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(all_numbers, own)
    return torch.stack(all_numbers).tolist()


def gather(rows: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Returns `[sum(sizes), ...]`: the rows of all processes one after another, of which process r has `sizes[r]`."""
    if world_size() == 1:
        return rows
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])  # a collective needs the same shape everywhere
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def from_first(value: Any) -> Any:
    """Returns the value of process 0 in every process; waits for all of them."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values, src=0)
    return values[0]


def world_size() -> int:
    """Returns the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns the number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0
