"""Loads the encoder to start from, with its processor, and applies the flags to both."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from evaluation.loading import ENCODER_TYPES, InputError, load_model_and_processor, model_type
from modeling.siglip_medical.matryoshka_loss import resolve_matryoshka_dims
from modeling.siglip_medical.modeling_siglip_medical import (
    INITIAL_LOGIT_BIAS,
    INITIAL_LOGIT_SCALE,
    SiglipMedicalModel,
)
from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
from trainers.base.inputs import starting_commit
from trainers.encoder.arguments import EncoderArguments


def load_encoder(arguments: EncoderArguments, rows: Any, seed: int) -> tuple[Any, Any]:
    """Loads the model and the processor to start from.

    Args:
        arguments: EncoderArguments.
        rows: the training split; `--tiny` builds a tokenizer from its texts.
        seed: seed of the random weights of `--tiny`.

    Returns:
        a SiglipMedicalModel in float32 and its processor.

    Raises:
        InputError: a weight is missing or unexpected, or a flag does not fit the checkpoint.
    """
    if not arguments.tiny:
        name = arguments.model_name_or_path
        return open_checkpoint(name, arguments, starting_commit(name))
    from modeling.tiny_checkpoints import write_tiny_encoder
    from trainers.base.distributed import from_first, rank

    with tempfile.TemporaryDirectory() as scratch:
        # All processes use the folder of the first one, which alone writes the weights.
        folder = from_first(scratch)
        if rank() == 0:
            write_tiny_encoder(Path(folder), rows["text"], seed)
        # Used as barriers: no process reads before the weights are written, and the folder exists until all have read.
        from_first("written")
        model, processor = open_checkpoint(folder, arguments)
        from_first("read")
        return model, processor


def open_checkpoint(name: str, arguments: EncoderArguments, commit: str | None = None) -> tuple[Any, Any]:
    """Opens a SigLIP checkpoint as a SiglipMedicalModel in float32 with its processor, and applies the flags to both.

    Args:
        name: a folder, or a repository on the Hub.
        arguments: EncoderArguments.
        commit: commit of the repository; None for a folder.

    Raises:
        InputError: as `load_encoder`.
    """
    kind = model_type(name, commit)
    if kind not in ENCODER_TYPES:
        raise InputError(f"--model_name_or_path {name}: a model of type {kind!r}, not {' or '.join(ENCODER_TYPES)}")
    processing = {} if arguments.normalize_text else {"normalize_text": False}
    processing |= {"return_attention_mask": True} if arguments.text_attention_mask else {}
    model, processor = load_model_and_processor(
        name, SiglipMedicalModel, commit, processor_class=SiglipMedicalProcessor, processor_settings=processing,
        dtype=torch.float32,
    )  # fmt: skip
    try:
        set_objective(model.config, arguments)
        if arguments.image_size is not None:
            model.set_image_size(arguments.image_size, processor)
    except ValueError as error:
        raise InputError(f"--model_name_or_path {name}: {error}") from None
    for flag in ("image_mean", "image_std"):
        if (channels := arguments.channels(flag)) is not None:
            setattr(processor.image_processor, flag, channels)
            processor.image_processor.do_normalize = True
    if arguments.reset_temperature:
        with torch.no_grad():
            model.logit_scale.fill_(INITIAL_LOGIT_SCALE)
            model.logit_bias.fill_(INITIAL_LOGIT_BIAS)
    return model, processor


def set_objective(config: Any, arguments: EncoderArguments) -> None:
    """Writes the training objective into the configuration.

    Widths and the use of the attention mask keep the checkpoint's values unless a flag sets them.

    Raises:
        ValueError: the embeddings do not have one of the widths.
    """
    config.contrastive_loss, config.positives = arguments.contrastive_loss, arguments.positives
    config.contrastive_weights = arguments.contrastive_weights
    if arguments.matryoshka_dims is not None:
        config.matryoshka_dims, config.matryoshka_weights = arguments.matryoshka_dims, arguments.matryoshka_weights
    elif arguments.matryoshka_weights is not None:
        config.matryoshka_weights = arguments.matryoshka_weights
    if arguments.truncate_dim is not None:
        config.truncate_dim = arguments.truncate_dim
    if arguments.text_attention_mask:
        config.text_attention_mask = True
    config.validate_embedding_widths()
    resolve_matryoshka_dims(config, config.truncate_dim or config.embedding_width)
