"""Defines the flags that both training commands share, with their default values.

The flags of one family are in `encoder/arguments.py` and `decoder/arguments.py`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass, field
from typing import Any, NoReturn

from transformers import TrainingArguments

# The groups of `--help`, in the order of use.
DATA, IMAGES, TEXTS, MODEL, TUNING = "Data", "Images", "Texts", "Starting model", "Trainable weights"
LOSS, TRAINING, EVALUATION = "Loss", "Optimization", "Evaluation"
OUTPUT, HUB, RUN = "Output and checkpoints", "Hub", "General"
GROUPS = (DATA, IMAGES, TEXTS, MODEL, TUNING, LOSS, TRAINING, EVALUATION, OUTPUT, HUB, RUN)
# Trainer's own flags that a push here does not follow: each is refused with this text, and `--help` leaves it out.
REFUSED = {
    "hub_private_repo": "repositories and trackio Spaces are private unless you add --public",
    "hub_revision": "a push is one commit on the main branch of --hub_model_id",
    "hub_always_push": "a model is pushed once, after the training",
}


def flag(group: str, default: Any, text: str, **more: Any) -> Any:
    """Returns a dataclass field that is a flag.

    Args:
        group: one of GROUPS, the heading in `--help`.
        text: what `--help` prints; the default is added unless the text names it itself as `(default: ...)`.
        more: further arguments of `ArgumentParser.add_argument`.
    """
    return field(default=default, metadata={"help": text, "group": group, **more})


@dataclass
class BaseTrainingArguments(TrainingArguments):
    """TrainingArguments with what both trainers change of them."""

    bf16: bool | None = flag(
        TRAINING,
        None,
        "computation in bfloat16 (default: True where there is a GPU that supports it)",
        nargs="?",
        const=True,
    )
    lr_scheduler_type: str = flag(TRAINING, "cosine", "learning rate schedule")
    remove_unused_columns: bool = flag(DATA, False, "removal of columns that the model does not take")
    eval_strategy: str = flag(
        EVALUATION, "steps", "times of evaluation: `steps`, every eval_steps updates and after each epoch, or `no`"
    )
    eval_steps: float | None = flag(EVALUATION, 500, "interval of evaluations, in updates; below 1, share of the run")
    patience: int | None = flag(
        EVALUATION, None, "number of evaluations without improvement before the training stops (default: never stops)"
    )
    metric_for_best_model: str | None = flag(
        EVALUATION,
        "loss",
        "metric that selects the best checkpoint: `loss`, lower is better, or a score: of the encoder for "
        "example `recall_at_5`, of the decoder `accuracy_closed`",
    )
    load_best_model_at_end: bool = flag(EVALUATION, True, "final model from the best checkpoint instead of the last")
    overwrite: bool = flag(
        OUTPUT, False, "deletion of what an earlier training wrote to the output folder; other files are kept"
    )
    logging_steps: float = flag(
        OUTPUT, 0.02, "interval of log lines, in updates; below 1, share of the run: 0.02 is about 50 lines per run"
    )
    save_steps: float = flag(OUTPUT, 1000, "interval of checkpoints, in updates; one more after each epoch")
    save_total_limit: int | None = flag(OUTPUT, 2, "number of checkpoints kept: with 2, the best one and the last one")
    resume_from_checkpoint: str | None = flag(
        OUTPUT,
        None,
        "checkpoint to resume from, with the results of an uninterrupted run: `last` (or True), the last complete one "
        "in output_dir; `auto`, the same, or a new run where there is none; or a path (default: a new run)",
    )
    allow_changed_flags: bool = flag(
        OUTPUT, False, "resuming with other data, seed, batch size or model; the result then equals neither run"
    )
    public: bool = flag(HUB, False, "new repositories are public, and pushes to public ones are allowed")
    hub_strategy: str = flag(HUB, "end", "time of the push: only `end`, one commit after the training")

    def __post_init__(self) -> None:
        if "no" in (self.eval_strategy, self.save_strategy):
            self.load_best_model_at_end = False
        import torch

        has_gpu = torch.cuda.is_available() and not self.use_cpu
        if self.bf16 is None:  # decided first: TrainingArguments derives from it what it tells accelerate
            self.bf16 = has_gpu and not self.fp16 and torch.cuda.is_bf16_supported()
        self.hub_private_repo = self._checked_privacy()
        super().__post_init__()
        if self.hub_strategy != "end":
            raise ValueError("--hub_strategy: only `end` is supported; a checkpoint's optimizer state is a pickle")
        for name in self.report_to:
            if name in ("tensorboard", "trackio", "wandb") and importlib.util.find_spec(name) is None:
                raise ValueError(f"--report_to {name}: {name} is not installed; pip install {name}")
        self.dataloader_pin_memory &= has_gpu

    def _checked_privacy(self) -> bool:
        """Returns whether new repositories and trackio Spaces are private, which --public alone decides.

        Raises ValueError for a flag of REFUSED; the value that this method returns passes, so that a copy can be made.
        """
        private = not self.public
        passing = {"hub_private_repo": (None, private), "hub_revision": (None,), "hub_always_push": (False,)}
        for name, reason in REFUSED.items():
            if getattr(self, name) not in passing[name]:
                raise ValueError(f"--{name} is not supported: {reason}; remove it")
        return private


@dataclass
class DataArguments:
    """Where the rows come from, and how image files become pixels."""

    dataset: str = flag(DATA, "data/processed", "repository on the Hub, or folder that `medpairs build` wrote")
    dataset_revision: str | None = flag(DATA, None, "commit, branch or tag of the dataset (default: the latest commit)")
    train_split: str = flag(DATA, "train", "split to train on")
    eval_split: str = flag(DATA, "validation", "split to evaluate on during the training")
    tiny: bool = flag(MODEL, False, "small model with random weights as the starting model, for tests and trials")
    image_cache: str | None = flag(
        IMAGES,
        None,
        "folder for decoded images at the model's size; `none` decodes them each time (default: medpairs-pixels in the "
        "cache of datasets)",
    )
    image_workers: int | None = flag(
        IMAGES, None, "number of threads that fill the image cache (default: one per CPU core)"
    )
    draft_decode: bool = flag(
        IMAGES,
        False,
        "JPEG decoding at reduced size: faster for large photographs, with other pixels than the stock processor's",
    )

    def __post_init__(self) -> None:
        for name in ("dataset", "model_name_or_path"):  # a recipe has no shell that does it
            if hasattr(self, name):
                setattr(self, name, os.path.expanduser(getattr(self, name)))  # noqa: PTH111 (a repository's name, too)
        if self.image_workers is not None and self.image_workers < 1:
            raise ValueError(f"--image_workers {self.image_workers}: must be at least 1")

    def check_adapters(self) -> None:
        """Raises ValueError for impossible settings of low-rank adapters, whose flags both families have."""
        if self.lora_r < 1 or self.lora_alpha <= 0 or not 0 <= self.lora_dropout < 1:
            raise ValueError("--lora_r and --lora_alpha must be at least 1, and --lora_dropout from 0 to below 1")


def fail(message: str) -> NoReturn:
    """Ends the process with status 2 and one message."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
