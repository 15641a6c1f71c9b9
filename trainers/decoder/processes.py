"""Trains one decoder on several processes with the losses of one process.

Trainer sums the losses of all labels of an update over all processes and divides by their number, so one process and
several agree. But rows that accelerate repeats, so that every process has a batch at the end of an epoch, would be
trained on twice: here their labels are removed, and with them their weight. A process whose batch has no image still
calls every layer (`modeling/mllama/image_states.py`), which DDP, FSDP2 and ZeRO-3 wait for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from evaluation.loading import InputError
from modeling.mllama.chunked_cross_entropy import IGNORE_INDEX
from modeling.mllama.patch import find_decoder
from trainers.base.distributed import check_batches, check_fsdp2, real_rows

if TYPE_CHECKING:
    from trainers.decoder.trainer import DecoderTrainer


def drop_repeated_labels(trainer: DecoderTrainer, batches: list[dict[str, torch.Tensor]]) -> None:
    """Removes the labels `[B, L]` of rows that only fill the last batches of an epoch, in place."""
    sizes = [len(batch["labels"]) for batch in batches]
    for batch, real in zip(batches, real_rows(trainer, sizes, trainer.rows_in_epoch), strict=True):
        batch["labels"][real:] = IGNORE_INDEX


def check_processes(trainer: DecoderTrainer) -> None:
    """Raises InputError for a way of running on several processes that would silently change the loss, or hang."""
    check_batches(trainer)
    check_fsdp2(trainer, "trainers/accelerate_configs/fsdp2_decoder.yaml")
    several = trainer.accelerator.num_processes > 1
    if several and not trainer.args.average_tokens_across_devices:
        raise InputError(
            "--average_tokens_across_devices False: each process would divide by its own labels, and those of a "
            "process with few would weigh more; leave it out"
        )
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if several and sharded and not getattr(find_decoder(trainer.model).model, "isolates_rows", False):
        raise InputError(
            "--isolate_rows False cannot be used with sharded weights: a process without images in its batch would "
            "deadlock. Remove the flag, or use trainers/accelerate_configs/ddp.yaml."
        )
