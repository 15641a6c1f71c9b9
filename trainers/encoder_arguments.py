"""The flags that say what the encoder starts from, what it is fitted to, and what is seen before it is."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.arguments import EncoderTuningArguments, flag

# ImageNet's mean and standard deviation of the channels, for images in [0, 1]; what `imagenet` stands for.
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


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
