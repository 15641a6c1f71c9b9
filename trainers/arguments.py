"""The flags of the two training commands, with their defaults: the specification's where it names one.

Those that say what is fitted, and to what, are in `encoder_arguments.py` and `decoder_arguments.py`.
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
class EncoderRateArguments(MedicalTrainingArguments):
    """Learning rates of the parts of the encoder."""

    vision_lr: float | None = flag(None, "Peak learning rate of the vision tower; --learning_rate unless given.")
    text_lr: float | None = flag(None, "Peak learning rate of the text tower; --learning_rate unless given.")
    temperature_lr: float | None = flag(
        None, "Peak learning rate of temperature and bias; --learning_rate unless given."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("vision_lr", "text_lr", "temperature_lr"):
            rate = getattr(self, name)
            if rate is not None and not 0 <= rate < float("inf"):
                raise ValueError(f"--{name} {rate}: 0 or more; --freeze keeps a tower as it is")


@dataclass
class EncoderTrainingArguments(EncoderRateArguments):
    """Defaults of the specification for the encoder."""

    output_dir: str | None = flag("checkpoints/encoder_finetuned", "Where checkpoints and the model are written.")
    gradient_accumulation_steps: int = flag(8, "Batches whose gradients are added up before an update.")
    learning_rate: float = flag(1e-4, "Peak learning rate of AdamW.")
    weight_decay: float = flag(1e-4, "Weight decay of AdamW.")
    adam_beta2: float = flag(0.95, "Beta2 of AdamW.")
    warmup_steps: float = flag(0.1, "Share of the updates with a rising learning rate; from 1 on, their number.")
    num_train_epochs: float = flag(2, "Epochs; 0 saves the starting model without training it.")
    contrastive_batch_size: int | None = flag(
        None,
        "Pairs that the loss compares with each other, a whole update by default: --per_device_train_batch_size x "
        "--gradient_accumulation_steps x processes. Micro-batch x processes is plain accumulation.",
    )
    logging_nan_inf_filter: bool = flag(False, "Hide a loss that is no number from the log; looking costs time.")
    ddp_find_unused_parameters: bool | None = flag(False, "Search each backward pass for weights without a gradient.")

    def __post_init__(self) -> None:
        super().__post_init__()
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized() and dist.get_world_size() != self.world_size:
            raise ValueError(
                f"{dist.get_world_size()} processes were launched, but without a GPU each would train by itself: add "
                "--use_cpu, and they train together on the processor"
            )
        self.micro_batches_in_contrast  # noqa: B018 (a wrong value is an error now, not when the training starts)
        if self.auto_find_batch_size:
            raise ValueError(
                "--auto_find_batch_size would change how many pairs the loss compares; lower "
                "--per_device_train_batch_size and raise --gradient_accumulation_steps instead"
            )

    @property
    def pairs_in_contrast(self) -> int:
        """How many pairs the loss compares with each other, of all processes together."""
        return self.per_device_train_batch_size * self.micro_batches_in_contrast * self.world_size

    @property
    def micro_batches_in_contrast(self) -> int:
        """How many micro-batches of each process are compared with each other; it divides the accumulation steps.

        Raises ValueError where `contrastive_batch_size` allows for no such number.
        """
        if self.contrastive_batch_size is None:
            return self.gradient_accumulation_steps
        micro = self.per_device_train_batch_size * self.world_size
        number, rest = divmod(self.contrastive_batch_size, micro)
        if number > 0 and rest == 0 and self.gradient_accumulation_steps % number == 0:
            return number
        fitting = [
            micro * n
            for n in range(1, self.gradient_accumulation_steps + 1)
            if not self.gradient_accumulation_steps % n
        ]
        nearest = sorted(sorted(fitting, key=lambda size: abs(size - self.contrastive_batch_size))[:2])
        raise ValueError(
            f"--contrastive_batch_size {self.contrastive_batch_size}: give a multiple of {micro} "
            f"(--per_device_train_batch_size {self.per_device_train_batch_size} x {self.world_size} processes) that "
            f"divides the update of {micro * self.gradient_accumulation_steps} (x --gradient_accumulation_steps "
            f"{self.gradient_accumulation_steps}), such as {' or '.join(map(str, nearest))}"
        )


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


@dataclass
class EncoderInputArguments(ImageArguments):
    """How images become batches."""

    augment: str = flag(
        "none", "`light` crops, turns and brightens training images a little.", choices=["none", "light"]
    )
    horizontal_flip: bool = flag(
        False,
        "Mirror every other training image. Not for texts that say left or right, nor for organs that have a side: "
        "texts stay as they are, and become false.",
    )
    batch_sampler: str = flag(
        "random",
        "Order of the rows; `stratified` gives every batch the sources' shares, and spreads equal texts and images.",
        choices=["random", "stratified"],
    )


@dataclass
class EncoderTuningArguments(EncoderInputArguments):
    """Which weights learn. Temperature and bias always do."""

    freeze: str = flag(
        "none",
        "Tower that does not learn; `both` fits temperature and bias alone.",
        choices=["none", "vision", "text", "both"],
    )
    unfreeze_last_layers: int = flag(
        0, "Last layers of a frozen tower that learn all the same, with the norm and the pooling head after them."
    )
    lora_towers: str = flag(
        "none",
        "Tower that learns low-rank adapters of its linear layers instead of its weights; they are added into the "
        "weights of the model that is written.",
        choices=["none", "vision", "text", "both"],
    )
    lora_r: int = flag(16, "Rank of the adapters.")
    lora_alpha: int = flag(32, "Scale of the adapters, in units of their rank.")
    lora_dropout: float = flag(0.0, "Dropout of the adapters.")
    save_adapter: bool = flag(False, "Keep the adapters by themselves too, in `adapter/` of the output folder.")
    cache_frozen_tower: bool | None = flag(
        None,
        "Embed each distinct image, or text, of a frozen tower once, and train on that. Unless given: where it changes "
        "nothing, which is without augmentation.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen = {tower for tower in ("vision", "text") if self.freeze in (tower, "both")}
        if self.unfreeze_last_layers < 0 or (self.unfreeze_last_layers and not chosen):
            raise ValueError(
                f"--unfreeze_last_layers {self.unfreeze_last_layers}: give a number of layers, and --freeze with the "
                "tower that they belong to"
            )
        if twice := sorted(chosen & {tower for tower in ("vision", "text") if self.lora_towers in (tower, "both")}):
            raise ValueError(
                f"--freeze {self.freeze} --lora_towers {self.lora_towers}: adapters keep the weights of the "
                f"{twice[0]} tower as they are; leave it out of --freeze"
            )
        if self.lora_r < 1 or self.lora_alpha <= 0 or not 0 <= self.lora_dropout < 1:
            raise ValueError("--lora_r and --lora_alpha are at least 1, --lora_dropout is from 0 to below 1")
        if self.save_adapter and self.lora_towers == "none":
            raise ValueError("--save_adapter: there are adapters with --lora_towers only")
        if self.cache_frozen_tower and (not chosen or self.unfreeze_last_layers):
            raise ValueError("--cache_frozen_tower: give --freeze, without --unfreeze_last_layers")
        if self.cache_frozen_tower and "vision" in chosen and (self.augment != "none" or self.horizontal_flip):
            raise ValueError(
                "--cache_frozen_tower: augmented images look different in every epoch; leave out --augment and "
                "--horizontal_flip, or do without the cache"
            )


def fail(message: str) -> NoReturn:
    """Ends the process with status 2 and one message."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
