"""Answers questions with an Mllama, whose rows of one image share a pass of the vision tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.models.protocols import Answerer
from evaluation.models.vision_towers import mllama_tower
from evaluation.scoring import decoder


def mllama_answerer(model: Any, processor: Any, batch_size: int, max_new_tokens: int) -> Answerer:
    """Returns an Mllama, or a wrapper around one, as an answerer. It is patched by `prepare_mllama` when it is asked.

    Args:
        model, processor: the model and its processor.
        batch_size: rows per batch.
        max_new_tokens: maximum length of an answer in tokens.
    """

    def answer(rows: Sequence[dict]) -> list[str]:
        return decoder.generate_answers(model, processor, rows, batch_size, max_new_tokens)

    def losses(rows: Sequence[dict]) -> list[tuple[float, int]]:
        return decoder.answer_losses(model, processor, rows, batch_size)

    return Answerer(answer, losses, mllama_tower(model, processor))
