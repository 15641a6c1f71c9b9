"""Trains one decoder on several processes with the losses of one process.

Trainer sums the losses of all labels of an update over all processes and divides by their number, so one process and
several agree. But rows that accelerate repeats, so that every process has a batch at the end of an epoch, would be
trained on twice: here their labels are removed, and with them their weight. A process whose batch has no image still
calls every layer (`modeling/mllama/image_states.py`), which DDP, FSDP2 and ZeRO-3 wait for.
"""

from __future__ import annotations

from typing import Any

import torch

from evaluation.loading import InputError
from modeling.mllama.chunked_cross_entropy import IGNORE_INDEX
from modeling.mllama.patch import find_decoder
from trainers.base.distributed import check_batches, check_fsdp2, one_device_per_process, real_rows, rows_in_epoch
from trainers.decoder.checkpoints import DecoderCheckpoints


class DecoderProcesses(DecoderCheckpoints):
    """DecoderCheckpoints on one process or several: DDP, FSDP2, ZeRO-3.

    Raises:
        InputError: for a way of running on several processes that would change the loss unseen, or hang.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        one_device_per_process(kwargs["args"])
        super().__init__(*args, **kwargs)
        check_processes(self)
        self.rows_in_epoch: int | None = None

    def get_train_dataloader(self) -> Any:
        loader = super().get_train_dataloader()
        self.rows_in_epoch = rows_in_epoch(loader)
        return loader

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Any:
        """As Trainer's, after the rows that are only there to fill the last batches have lost their labels."""
        sizes = [len(batch["labels"]) for batch in batch_samples]
        for batch, real in zip(batch_samples, real_rows(self, sizes, self.rows_in_epoch), strict=True):
            batch["labels"][real:] = IGNORE_INDEX
        return super()._get_num_items_in_batch(batch_samples, device)


def check_processes(trainer: DecoderCheckpoints) -> None:
    """Raises InputError for a way of running on several processes that would change the loss unseen, or hang."""
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
            "--isolate_rows False: where weights are split among processes, one whose batch has no image would wait "
            "for the others forever; leave it out, or use trainers/accelerate_configs/ddp.yaml"
        )
