"""Defines the two things that can be scored, however a model is reached: an `Answerer` and an `Encoder`.

Both are records of functions, so that one of them can be replaced, for example by one that keeps what it was given:
`dataclasses.replace(answerer, answer=kept(answerer.answer))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # read by --help
    import numpy as np


# Takes rows of the config `chat` and returns the answers to their last questions, in the same order.
Answer = Callable[[Sequence[dict]], list[str]]
# Takes the same and returns, for each row, the sum of the losses of its reference answers in nats, and their tokens.
Losses = Callable[[Sequence[dict]], list[tuple[float, int]]]
# Takes [N] PIL images in RGB and returns `[N, D]` float32.
EncodeImages = Callable[[Sequence[Any]], "np.ndarray"]

FROZEN, IMAGES = "frozen", "images"  # the keys of `Answerer.left_out`


@dataclass(frozen=True)
class Answerer:
    """What answers questions about images.

    Attributes:
        answer: answers the last question of each row.
        losses: the losses of the reference answers; None where they are not defined or cannot be read.
        encode_images: the model's own vision tower, for the control "frozen features"; None if it has none that can be
            called.
        known: [N] the answers to the rows that are scored, if they are known without asking: those of a file of
            predictions, which cannot be asked about other images.
        left_out: why something is left out, as the note of a control: `frozen` if there is no `encode_images`,
            `images` if there are `known` answers.
    """

    answer: Answer
    losses: Losses | None = None
    encode_images: EncodeImages | None = None
    known: Sequence[str] | None = None
    left_out: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Encoder:
    """What embeds images and texts into one space.

    Attributes:
        embed_images: takes `[N]` PIL images in RGB and returns `[N, D]` float32, not normalized.
        embed_texts: takes `[N]` texts and returns `[N, D]` float32, not normalized.
        scale_and_bias: the logarithm of the factor of the cosine similarities and the bias of a model that was trained
            with the sigmoid loss; None for others, whose loss is a different one and is not compared.
    """

    embed_images: EncodeImages
    embed_texts: Callable[[Sequence[str]], np.ndarray]
    scale_and_bias: tuple[float, float] | None = None
