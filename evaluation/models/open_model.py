"""Opens what `--model` names as an encoder or as an answerer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from evaluation.models.protocols import Answerer, Encoder
from evaluation.models.source import ADDRESS, MLLAMA, OPEN_CLIP, PREDICTIONS, SENTENCE_TRANSFORMER, Source


def open_encoder(source: Source, options: argparse.Namespace) -> Encoder:
    """Opens a source of the task RETRIEVAL as an `Encoder`.

    Raises:
        InputError: it cannot be loaded, or a flag does not apply to it.
    """
    if source.form == OPEN_CLIP:
        from evaluation.models.extra_encoders import open_clip_encoder

        return open_clip_encoder(source, options)
    if source.form == SENTENCE_TRANSFORMER:
        from evaluation.models.extra_encoders import sentence_transformer_encoder

        return sentence_transformer_encoder(source, options)
    from transformers import AutoModel

    from evaluation.models.encoders import dual_encoder
    from evaluation.models.opening import open_model

    model, processor = open_model(source, AutoModel, options)
    return dual_encoder(model, processor, source.name)


def open_answerer(
    source: Source, options: argparse.Namespace, rows: Any = (), numbers: Sequence[int] = (), hashes: Sequence[str] = ()
) -> Answerer:
    """Opens a source of the task GENERATION as an `Answerer`.

    Args:
        rows: [N] the rows that are scored, to which predictions are joined.
        numbers: [N] their numbers in the split.
        hashes: [N] their hashes.

    Raises:
        InputError: it cannot be loaded, or a flag does not apply to it.
    """
    if source.form == PREDICTIONS:
        from evaluation.models.predictions import predictions_answerer

        return predictions_answerer(options, rows, numbers, hashes)
    if source.form == ADDRESS:
        from evaluation.models.remote import remote_answerer

        return remote_answerer(source.name, options)
    from transformers import AutoModelForImageTextToText

    from evaluation.models.opening import open_model

    model, processor = open_model(source, AutoModelForImageTextToText, options)
    if source.family == MLLAMA:
        from evaluation.models.mllama import mllama_answerer

        return mllama_answerer(model, processor, options.batch_size, options.max_new_tokens)
    from evaluation.models.decoders import chat_answerer

    return chat_answerer(model, processor, source.name, options.batch_size, options.max_new_tokens)
