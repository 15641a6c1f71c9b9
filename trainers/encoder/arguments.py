"""Defines the flags of the encoder's training: starting model, images, texts, tuning, loss and optimization."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.base.arguments import (
    DATA,
    IMAGES,
    LOSS,
    MODEL,
    OUTPUT,
    RUN,
    TEXTS,
    TRAINING,
    TUNING,
    BaseTrainingArguments,
    DataArguments,
    flag,
)

# ImageNet's mean and standard deviation of the channels, for images in [0, 1]; what `imagenet` stands for.
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@dataclass
class EncoderTrainingArguments(BaseTrainingArguments):
    """Training arguments of the encoder, with its default values and learning rates of its parts."""

    gradient_accumulation_steps: int = flag(TRAINING, 8, "number of micro-batches per update")
    contrastive_batch_size: int | None = flag(
        LOSS,
        None,
        "number of pairs compared in one contrastive loss; micro-batch x processes gives plain gradient accumulation "
        "(default: the complete update, --per_device_train_batch_size x --gradient_accumulation_steps x processes)",
    )
    num_train_epochs: float = flag(TRAINING, 2, "number of epochs; 0 saves the starting model without training it")
    learning_rate: float = flag(TRAINING, 1e-4, "peak learning rate of AdamW")
    vision_lr: float | None = flag(
        TRAINING, None, "peak learning rate of the vision tower (default: that of --learning_rate)"
    )
    text_lr: float | None = flag(
        TRAINING, None, "peak learning rate of the text tower (default: that of --learning_rate)"
    )
    temperature_lr: float | None = flag(
        TRAINING, None, "peak learning rate of temperature and bias (default: that of --learning_rate)"
    )
    weight_decay: float = flag(TRAINING, 1e-4, "weight decay of AdamW")
    adam_beta2: float = flag(TRAINING, 0.95, "beta2 of AdamW")
    warmup_steps: float = flag(TRAINING, 0.1, "share of the updates with a rising learning rate; from 1 on, number")
    ddp_find_unused_parameters: bool | None = flag(
        TRAINING, False, "search of each backward pass for weights without a gradient"
    )
    output_dir: str | None = flag(OUTPUT, "checkpoints/encoder_finetuned", "folder for checkpoints and the model")
    logging_nan_inf_filter: bool = flag(
        OUTPUT, False, "omission of NaN and infinite losses from the log; the check takes time"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("vision_lr", "text_lr", "temperature_lr"):
            rate = getattr(self, name)
            if rate is not None and not 0 <= rate < float("inf"):
                raise ValueError(f"--{name} {rate}: must be 0 or more; --freeze keeps a tower unchanged")
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized() and dist.get_world_size() != self.world_size:
            raise ValueError(
                f"{dist.get_world_size()} processes were launched, but they cannot communicate without a GPU. Add "
                "--use_cpu."
            )
        self.micro_batches_in_contrast  # noqa: B018 (a wrong value is an error now, not when the training starts)
        if self.auto_find_batch_size:
            raise ValueError(
                "--auto_find_batch_size would change how many pairs the loss compares; lower "
                "--per_device_train_batch_size and raise --gradient_accumulation_steps instead"
            )

    @property
    def pairs_in_contrast(self) -> int:
        """The number of pairs that the loss compares with each other, of all processes together."""
        return self.per_device_train_batch_size * self.micro_batches_in_contrast * self.world_size

    @property
    def micro_batches_in_contrast(self) -> int:
        """The number of micro-batches of each process that are compared; it divides the accumulation steps.

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
            f"{self.gradient_accumulation_steps}), for example {' or '.join(map(str, nearest))}"
        )


@dataclass
class EncoderArguments(DataArguments):
    """What is trained, and on what."""

    batch_sampler: str = flag(
        DATA,
        "random",
        "order of the rows; `stratified` gives every batch the sources' shares, and spreads equal texts and images",
        choices=["random", "stratified"],
    )
    image_size: int | None = flag(
        IMAGES,
        None,
        "side of the images in pixels, a multiple of the checkpoint's patch size, for example 448; its position "
        "embeddings are resized once, and saved so (default: the checkpoint's)",
    )
    image_mean: list[str] | None = flag(  # noqa: RUF009
        IMAGES, None, "mean of the channels, from 0 to 1: one number, three, or `imagenet` (default: the checkpoint's)"
    )
    image_std: list[str] | None = flag(  # noqa: RUF009
        IMAGES,
        None,
        "standard deviation of the channels, from 0 to 1: one number, three, or `imagenet` (default: the checkpoint's)",
    )
    augment: str = flag(
        IMAGES,
        "none",
        "augmentation of training images; `light`: crop, rotation, brightness",
        choices=["none", "light"],
    )
    horizontal_flip: bool = flag(
        IMAGES,
        False,
        "mirroring of each training image with probability 0.5; not for texts that name left or right, nor for organs "
        "with a side, because texts are not changed",
    )
    normalize_text: bool = flag(
        TEXTS,
        True,
        "spelling out of numbers, signs and units of clinical texts before they are tokenized; ignored for a "
        "checkpoint that was trained without",
    )
    text_attention_mask: bool = flag(
        TEXTS,
        False,
        "mask for padding in the text tower; SigLIP's original one attends to padding (saved with the model)",
    )
    sentence_sampling: int = flag(
        TEXTS,
        0,
        "number of sentences of a training text too long for the model, others in each epoch; 0 truncates the text",
    )
    model_name_or_path: str = flag(MODEL, "google/siglip-base-patch16-224", "checkpoint to start from")
    reset_temperature: bool = flag(
        MODEL, False, "temperature 10 and bias -10 at the start, as from scratch, instead of the checkpoint's"
    )
    truncate_dim: int | None = flag(
        MODEL, None, "number of leading embedding dimensions that are trained and saved (default: all)"
    )
    freeze: str = flag(
        TUNING,
        "none",
        "tower whose weights are frozen; `both` trains temperature and bias alone",
        choices=["none", "vision", "text", "both"],
    )
    unfreeze_last_layers: int = flag(
        TUNING, 0, "number of last layers of a frozen tower that are trained, with the norm and the pooling head"
    )
    lora_towers: str = flag(
        TUNING,
        "none",
        "tower of which low-rank adapters are trained instead of the weights; they are merged into the final model",
        choices=["none", "vision", "text", "both"],
    )
    lora_r: int = flag(TUNING, 16, "rank of the adapters")
    lora_alpha: int = flag(TUNING, 32, "scale of the adapters, in units of their rank")
    lora_dropout: float = flag(TUNING, 0.0, "dropout of the adapters")
    save_adapter: bool = flag(TUNING, False, "copy of the adapters alone in `adapter/` of the output folder")
    cache_frozen_tower: bool | None = flag(
        TUNING,
        None,
        "one embedding of each distinct image or text by a frozen tower, computed before the training (default: True "
        "where it changes nothing, which is without augmentation)",
    )
    contrastive_loss: str = flag(
        LOSS,
        "sigmoid",
        "loss: `sigmoid`, the pairwise sigmoid loss of SigLIP; `sigmoid_logsumexp`, "
        "-log sigmoid(score - logsumexp over the texts) per image, in which the bias cancels",
        choices=["sigmoid", "sigmoid_logsumexp"],
    )
    positives: str = flag(
        LOSS,
        "group",
        "equal texts or images of a batch: `group`, positives; `mask`, left out; `pair`, negatives",
        choices=["group", "mask", "pair"],
    )
    contrastive_weights: str = flag(
        LOSS,
        "none",
        "weights of positives; `inverse`: each of k positives weighs 1/k, so that a frequent text counts once",
        choices=["none", "inverse"],
    )
    matryoshka_dims: list[int] | None = flag(  # noqa: RUF009
        LOSS,
        None,
        "widths at which the leading dimensions are an embedding by themselves, for example 768 512 256 (default: the "
        "full width alone)",
    )
    matryoshka_weights: list[float] | None = flag(  # noqa: RUF009
        LOSS, None, "weight of each width in the loss (default: equal)"
    )
    dry_run: bool = flag(
        RUN,
        False,
        "preview of a batch, the truncated texts, the trainable weights, the schedule and the memory; nothing is "
        "trained or written",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_tuning()
        self.check_texts()
        for name in ("image_mean", "image_std"):
            self.channels(name)

    def check_tuning(self) -> None:
        """Raises ValueError where flags about trainable weights contradict each other."""
        frozen = {tower for tower in ("vision", "text") if self.freeze in (tower, "both")}
        if self.unfreeze_last_layers < 0 or (self.unfreeze_last_layers and not frozen):
            raise ValueError(
                f"--unfreeze_last_layers {self.unfreeze_last_layers}: give a number of layers, and --freeze with the "
                "tower that they belong to"
            )
        if both := sorted(frozen & {tower for tower in ("vision", "text") if self.lora_towers in (tower, "both")}):
            raise ValueError(
                f"--freeze {self.freeze} cannot be combined with --lora_towers {self.lora_towers}: the base "
                f"weights are already frozen; remove the {both[0]} tower from --freeze"
            )
        self.check_adapters()
        if self.save_adapter and self.lora_towers == "none":
            raise ValueError("--save_adapter requires --lora_towers")
        if self.cache_frozen_tower and (not frozen or self.unfreeze_last_layers):
            raise ValueError(
                "--cache_frozen_tower requires --freeze and cannot be combined with --unfreeze_last_layers"
            )
        if self.cache_frozen_tower and "vision" in frozen and (self.augment != "none" or self.horizontal_flip):
            raise ValueError(
                "--cache_frozen_tower cannot be combined with --augment or --horizontal_flip, which change the images "
                "in every epoch; leave out one of them"
            )

    def check_texts(self) -> None:
        """Raises ValueError where flags about texts contradict each other."""
        if self.sentence_sampling < 0:
            raise ValueError(f"--sentence_sampling {self.sentence_sampling}: a number of sentences, 0 for none")
        if self.sentence_sampling and self.cache_frozen_tower and self.freeze in ("text", "both"):
            raise ValueError(
                "--cache_frozen_tower cannot be combined with --sentence_sampling, which changes texts in each epoch"
            )

    def channels(self, name: str) -> list[float] | None:
        """`--image_mean` or `--image_std` as three numbers; None where the checkpoint's are used.

        Raises ValueError where it is neither one or three numbers nor the word `imagenet`.
        """
        words = getattr(self, name)
        if words is None:
            return None
        if words == ["imagenet"]:
            return IMAGENET[name]
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            numbers = []
        least = 0 if name == "image_mean" else 1e-6
        if len(numbers) not in (1, 3) or not all(least <= number <= 1 for number in numbers):
            raise ValueError(
                f"--{name} {' '.join(map(str, words))}: give one number or three between 0 and 1, for example 0.5, or "
                "the word imagenet"
            )
        return numbers * (3 // len(numbers))
