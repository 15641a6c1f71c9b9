"""The flags that say what the encoder starts from, what it is fitted to, and what is seen before it is."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.base.arguments import ImageArguments, MedicalTrainingArguments, flag

# ImageNet's mean and standard deviation of the channels, for images in [0, 1]; what `imagenet` stands for.
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


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


@dataclass
class EncoderTextArguments(EncoderTuningArguments):
    """How texts become tokens."""

    normalize_text: bool = flag(
        True,
        "Write numbers, signs and units of clinical texts out before they are tokenised; a checkpoint that was trained "
        "without goes on without.",
    )
    text_attention_mask: bool = flag(
        False, "The text tower does not look at padding. SigLIP was trained looking at it; the choice is saved."
    )
    sentence_sampling: int = flag(
        0,
        "So many sentences of a training text that is too long for the model, others in each epoch; 0: its beginning.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sentence_sampling < 0:
            raise ValueError(f"--sentence_sampling {self.sentence_sampling}: a number of sentences, 0 for none")
        if self.sentence_sampling and self.cache_frozen_tower and self.freeze in ("text", "both"):
            raise ValueError(
                "--cache_frozen_tower: with --sentence_sampling texts are others in every epoch; leave one of them out"
            )


@dataclass
class EncoderArguments(EncoderTextArguments):
    """What is fitted, and to what."""

    model_name_or_path: str = flag("google/siglip-base-patch16-224", "Checkpoint to start from.")
    image_size: int | None = flag(
        None,
        "Side of the images in pixels, a multiple of the checkpoint's patches, such as 448; its positions are resized "
        "once, and saved so. The checkpoint's own unless given.",
    )
    image_mean: list[str] | None = flag(  # noqa: RUF009
        None, "Mean of the channels, subtracted: one number, three, or `imagenet`. The checkpoint's unless given."
    )
    image_std: list[str] | None = flag(None, "What they are divided by, likewise.")  # noqa: RUF009
    reset_temperature: bool = flag(
        False, "Start with the temperature 10 and the bias -10, as from scratch, not with the checkpoint's."
    )
    truncate_dim: int | None = flag(None, "Train and save only so many leading dimensions of the embeddings.")
    matryoshka_dims: list[int] | None = flag(  # noqa: RUF009
        None, "Widths at which the leading dimensions are an embedding by themselves, such as 768 512 256."
    )
    matryoshka_weights: list[float] | None = flag(  # noqa: RUF009
        None, "Weight of each of them in the loss; equal unless given."
    )
    contrastive_loss: str = flag(
        "sigmoid", "Loss: SigLIP's, or the specification's listing.", choices=["sigmoid", "sigmoid_logsumexp"]
    )
    positives: str = flag(
        "group",
        "What equal texts or images of a batch are to each other: positives, left out, or negatives.",
        choices=["group", "mask", "pair"],
    )
    contrastive_weights: str = flag(
        "none",
        "`inverse`: each of k positives weighs 1/k, so that a frequent text counts no more than a rare one.",
        choices=["none", "inverse"],
    )
    dry_run: bool = flag(
        False,
        "Show a batch, what the tokenizer loses, what learns, how the training will run and how much memory it takes; "
        "nothing is trained and nothing written.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("image_mean", "image_std"):
            self.channels(name)

    def channels(self, name: str) -> list[float] | None:
        """`--image_mean` or `--image_std` as three numbers; None where it is the checkpoint's to say.

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
                f"--{name} {' '.join(map(str, words))}: give one number or three between 0 and 1, such as 0.5, or the "
                "word imagenet"
            )
        return numbers * (3 // len(numbers))
