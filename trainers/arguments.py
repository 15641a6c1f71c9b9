"""Every flag of the two training commands, with its default: the specification's where it names one."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from transformers import HfArgumentParser, TrainingArguments

CHECKPOINT = "checkpoint-"


def flag(default: Any, text: str, **more: Any) -> Any:
    """A flag with its default and what `--help` says of it."""
    return field(default=default, metadata={"help": text, **more})


@dataclass
class MedicalTrainingArguments(TrainingArguments):
    """TrainingArguments with what both trainers change of them."""

    overwrite: bool = flag(False, "Write to an output folder that is not empty.")
    public: bool = flag(False, "Make a new repository on the Hub public; private otherwise.")
    mixed_precision: bool = flag(True, "bfloat16 where there is a GPU.")
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

    def __post_init__(self) -> None:
        if "no" in (self.eval_strategy, self.save_strategy):
            self.load_best_model_at_end = False
        super().__post_init__()
        if self.hub_strategy != "end":
            raise ValueError("--hub_strategy: only `end` is supported; a checkpoint's optimizer state is a pickle")
        import torch

        has_gpu = torch.cuda.is_available() and not self.use_cpu
        self.dataloader_pin_memory &= has_gpu
        if self.mixed_precision and not self.fp16:
            self.bf16 = has_gpu and torch.cuda.is_bf16_supported()


@dataclass
class EncoderTrainingArguments(MedicalTrainingArguments):
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
class DecoderTrainingArguments(MedicalTrainingArguments):
    """Defaults of the specification for the decoder."""

    output_dir: str | None = flag("checkpoints/decoder_finetuned", "Where checkpoints and the model are written.")
    per_device_train_batch_size: int = flag(1, "Rows in a batch.")
    per_device_eval_batch_size: int = flag(1, "Rows in a batch of the evaluation.")
    gradient_accumulation_steps: int = flag(4, "Batches whose gradients are added up before an update.")
    learning_rate: float = flag(2e-4, "Peak learning rate of AdamW.")
    weight_decay: float = flag(0.01, "Weight decay of AdamW.")
    num_train_epochs: float = flag(1, "Epochs; 0 saves the starting model without training it.")


@dataclass
class DataArguments:
    """Where the rows come from."""

    dataset: str = flag("data/processed", "Repository on the Hub, or a folder that hub_datasets/build.py wrote.")
    dataset_revision: str | None = flag(None, "Commit, branch or tag of the dataset.")
    train_split: str = flag("train", "Split to train on.")
    eval_split: str = flag("validation", "Split to evaluate on while training.")
    tiny: bool = flag(False, "Start from a small model with random weights instead, for tests and trials.")


@dataclass
class EncoderInputArguments(DataArguments):
    """How images become batches."""

    image_cache: str | None = flag(
        None,
        "Folder where images are kept as pixels at the model's size, decoded once; `none` decodes them every time. "
        "Unless given, medpairs-pixels in the cache of datasets.",
    )
    image_workers: int | None = flag(None, "Threads that fill the image cache; one for each processor core.")
    draft_decode: bool = flag(
        False, "Decode JPEG files at the size needed: faster for large photographs, not the stock processor's pixels."
    )
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

    def __post_init__(self) -> None:
        if self.image_workers is not None and self.image_workers < 1:
            raise ValueError(f"--image_workers {self.image_workers}: at least 1")


@dataclass
class EncoderArguments(EncoderInputArguments):
    """What is fitted, and to what."""

    model_name_or_path: str = flag("google/siglip-base-patch16-224", "Checkpoint to start from.")
    contrastive_loss: str = flag(
        "sigmoid", "Loss: SigLIP's, or the specification's listing.", choices=["sigmoid", "sigmoid_logsumexp"]
    )
    positives: str = flag(
        "group",
        "What equal texts or images of a batch are to each other: positives, left out, or negatives.",
        choices=["group", "mask", "pair"],
    )


@dataclass
class DecoderArguments(DataArguments):
    """What is fitted, and to what."""

    model_name_or_path: str = flag("meta-llama/Llama-3.2-11B-Vision-Instruct", "Checkpoint to start from.")
    train_scope: str = flag(
        "lora", "Which weights learn: low-rank adapters of the text decoder, or all.", choices=["lora", "full"]
    )
    lora_r: int = flag(16, "Rank of the adapters.")
    lora_alpha: int = flag(32, "Scale of the adapters, in units of their rank.")
    lora_dropout: float = flag(0.05, "Dropout of the adapters.")
    modules_to_save: list[str] | None = flag(None, "Modules trained whole, such as lm_head.")  # noqa: RUF009
    max_seq_length: int = flag(512, "Longest row in tokens; longer answers are cut at their end.")
    num_samples: int = flag(8, "Answers to generate when the training is over, for samples.jsonl and the card.")
    max_new_tokens: int = flag(128, "Longest generated answer in tokens.")


class FlagParser(HfArgumentParser):
    """HfArgumentParser that answers a mistake with one line, not with the names of its two hundred flags."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split()[0].split("=")[0]
        close = difflib.get_close_matches(unknown, self._option_string_actions, n=1)
        fail(f"{message} ({f'did you mean {close[0]}? ' if close else ''}--help lists the flags)")


def parse(kinds: tuple[type, ...], prog: str, description: str, argv: list[str] | None) -> tuple[Any, ...]:
    """The flags as dataclasses. An unknown flag or a wrong value ends the process with status 2 and one message."""
    parser = FlagParser(kinds, prog=prog, description=description, allow_abbrev=False)
    namespace = vars(parser.parse_args(argv))
    try:
        return tuple(kind(**{name: namespace[name] for name in own_fields(kind)}) for kind in kinds)
    except (ValueError, ImportError) as error:
        parser.error(str(error))


def own_fields(kind: type) -> list[str]:
    """The names of a dataclass that can be given to it."""
    return [name for name, item in kind.__dataclass_fields__.items() if item.init]


def check_output_dir(training: MedicalTrainingArguments) -> None:
    """Ends the process with status 2 where the output folder holds something that would be lost."""
    folder = Path(training.output_dir)
    if folder.exists() and not folder.is_dir():
        fail(f"--output_dir {folder} is a file")
    if folder.is_dir() and any(folder.iterdir()) and not (training.overwrite or training.resume_from_checkpoint):
        fail(
            f"--output_dir {folder} exists and is not empty; name another folder, go on from its last checkpoint with "
            "--resume_from_checkpoint True, or add --overwrite"
        )


def fail(message: str) -> NoReturn:
    """Ends the process with status 2 and one message."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
