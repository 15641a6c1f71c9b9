"""The flags of the two training commands, with their defaults: the specification's where it names one.

Those that say what is fitted, and to what, are in `encoder/arguments.py` and `decoder/arguments.py`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass, field
from typing import Any, NoReturn

from transformers import TrainingArguments

CHECKPOINT = "checkpoint-"


def flag(default: Any, text: str, **more: Any) -> Any:
    """A flag with its default and what `--help` says of it."""
    return field(default=default, metadata={"help": text, **more})


@dataclass
class MedicalTrainingArguments(TrainingArguments):
    """TrainingArguments with what both trainers change of them."""

    overwrite: bool = flag(
        False, "Delete what an earlier training wrote to the output folder; other files there are kept."
    )
    allow_changed_flags: bool = flag(
        False, "Resume with other data, seed, batch size or model than before; the result is that of neither run."
    )
    public: bool = flag(False, "Make a new repository on the Hub public, and push to one that is; refused otherwise.")
    bf16: bool | None = flag(
        None, "Compute in bfloat16. Unless given, where there is a GPU that has it.", nargs="?", const=True
    )
    patience: int | None = flag(None, "Stop after this many evaluations without a better one.")
    hub_strategy: str = flag("end", "Only `end`: one complete commit with the card, when the training is over.")
    remove_unused_columns: bool = flag(False, "The collators choose the columns.")
    lr_scheduler_type: str = flag("cosine", "Learning rate schedule.")
    logging_steps: float = flag(100, "Log every this many updates.")
    eval_strategy: str = flag("steps", "`steps` evaluates every eval_steps updates and at the end of every epoch.")
    eval_steps: float | None = flag(500, "Evaluate every this many updates.")
    save_steps: float = flag(1000, "Save a checkpoint every this many updates, and at the end of every epoch.")
    save_total_limit: int | None = flag(2, "Keep the best and the last checkpoint.")
    load_best_model_at_end: bool = flag(True, "End with the best checkpoint, not with the last.")
    metric_for_best_model: str | None = flag(
        "loss", "Which evaluation is the best: `loss`, where less is better, or such as `recall_at_5`."
    )
    resume_from_checkpoint: str | None = flag(
        None,
        "`last` (or True): go on from the last whole checkpoint in output_dir, exactly as if nothing had been; `auto`: "
        "that, or begin where there is none; or the path of a checkpoint.",
    )

    def __post_init__(self) -> None:
        if "no" in (self.eval_strategy, self.save_strategy):
            self.load_best_model_at_end = False
        import torch

        has_gpu = torch.cuda.is_available() and not self.use_cpu
        if self.bf16 is None:  # decided first: TrainingArguments derives from it what it tells accelerate
            self.bf16 = has_gpu and not self.fp16 and torch.cuda.is_bf16_supported()
        super().__post_init__()
        if self.hub_strategy != "end":
            raise ValueError("--hub_strategy: only `end` is supported; a checkpoint's optimizer state is a pickle")
        for name in self.report_to:
            if name in ("tensorboard", "trackio", "wandb") and importlib.util.find_spec(name) is None:
                raise ValueError(f"--report_to {name}: {name} is not installed; pip install {name}")
        self.dataloader_pin_memory &= has_gpu


@dataclass
class DataArguments:
    """Where the rows come from."""

    dataset: str = flag("data/processed", "Repository on the Hub, or a folder that `medpairs build` wrote.")
    dataset_revision: str | None = flag(None, "Commit, branch or tag of the dataset.")
    train_split: str = flag("train", "Split to train on.")
    eval_split: str = flag("validation", "Split to evaluate on while training.")
    tiny: bool = flag(False, "Start from a small model with random weights instead, for tests and trials.")

    def __post_init__(self) -> None:
        for name in ("dataset", "model_name_or_path"):  # a recipe has no shell that does it
            if hasattr(self, name):
                setattr(self, name, os.path.expanduser(getattr(self, name)))  # noqa: PTH111 (a repository's name, too)


@dataclass
class ImageArguments(DataArguments):
    """How image files become pixels."""

    image_cache: str | None = flag(
        None,
        "Folder where images are kept as pixels at the model's size, decoded once; `none` decodes them every time. "
        "Unless given, medpairs-pixels in the cache of datasets.",
    )
    image_workers: int | None = flag(None, "Threads that fill the image cache; one for each processor core.")
    draft_decode: bool = flag(
        False, "Decode JPEG files at the size needed: faster for large photographs, not the stock processor's pixels."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_workers is not None and self.image_workers < 1:
            raise ValueError(f"--image_workers {self.image_workers}: at least 1")


def fail(message: str) -> NoReturn:
    """Ends the process with status 2 and one message."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
