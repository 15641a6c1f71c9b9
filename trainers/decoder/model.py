"""Loads the decoder to start from, with its processor, at the precision that the flags ask for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from evaluation.loading import DECODER_TYPES, InputError, load_model_and_processor, model_type
from evaluation.scoring.messages import plain_messages
from trainers.base.inputs import starting_commit
from trainers.decoder.arguments import MERGED, DecoderArguments, DecoderTrainingArguments
from trainers.decoder.data.collator import CHAT_TEMPLATE
from trainers.decoder.quantization import check_quantized, keep_differentiable, quantization_settings


def load_decoder(arguments: DecoderArguments, rows: Any, training: DecoderTrainingArguments) -> tuple[Any, Any]:
    """Loads the model and the processor to start from.

    `--tiny` creates a random checkpoint in a temporary folder that exists as long as the model.

    Args:
        rows: the training split; `--tiny` builds a tokenizer from its texts.

    Returns:
        an MllamaForConditionalGeneration, quantized if the flags say so, and its MllamaProcessor.

    Raises:
        InputError: the checkpoint is not an Mllama, has missing or unexpected weights, bitsandbytes is required and not
            installed, or `--export` asks for the adapters of a `--tiny` model, whose base model is not published.
    """
    if not arguments.tiny:
        commit = starting_commit(arguments.model_name_or_path)
        model, processor = open_checkpoint(arguments.model_name_or_path, arguments, training, commit=commit)
        model.base_commit = commit  # `export_decoder` may open the base model again
        return model, processor
    if arguments.export != MERGED:
        raise InputError(
            f"--tiny cannot be combined with --export {arguments.export}: adapters require their base model, and the "
            "tiny one exists during this run only. Remove --export, or use a checkpoint (--model_name_or_path)"
        )
    from modeling.tiny_checkpoints import write_tiny_decoder
    from trainers.base.distributed import from_first, rank

    texts = [turn["content"] for messages in rows["messages"] for turn in plain_messages(messages)]
    scratch = tempfile.TemporaryDirectory(prefix="medpairs-tiny-")
    # All processes use the folder of the first one, which alone writes the weights.
    folder = from_first(scratch.name)
    if rank() == 0:
        write_tiny_decoder(Path(folder), texts, CHAT_TEMPLATE, training.seed)
    # Used as barriers: no process reads before the weights are written, and the folder exists until all have read.
    from_first("written")
    model, processor = open_checkpoint(folder, arguments, training)
    from_first("read")
    # Deleted together with the model, because `export_decoder` may read it again.
    model.scratch = scratch
    # The temporary folder must not be named in exported files.
    model.name_or_path = model.config._name_or_path = ""
    return model, processor


def base_source(model: Any, arguments: DecoderArguments) -> tuple[str, str | None]:
    """Returns the source of a model from `load_decoder`: (folder, None), or (name of the repository, commit)."""
    return (model.scratch.name, None) if arguments.tiny else (arguments.model_name_or_path, model.base_commit)


def weight_dtype(training: DecoderTrainingArguments) -> torch.dtype:
    """Returns the dtype of the weights: bfloat16 if the training computes in it, else float32."""
    return torch.bfloat16 if training.bf16 else torch.float32


def open_checkpoint(
    name: str,
    arguments: DecoderArguments,
    training: DecoderTrainingArguments,
    quantized: bool = True,
    commit: str | None = None,
) -> tuple[Any, Any]:
    """Opens an Mllama checkpoint and its processor, with the chat template that marks the assistant's tokens.

    Args:
        name: a folder, or a repository on the Hub.
        quantized: whether to quantize as the flags say; if False, the model is on the CPU in 16 or 32 bits.
        commit: commit of the repository; None for a folder.

    Raises:
        InputError: as `load_decoder`.
    """
    kind = model_type(name, commit)
    if kind not in DECODER_TYPES:
        raise InputError(f"--model_name_or_path {name}: a model of type {kind!r}, not {' or '.join(DECODER_TYPES)}")
    dtype = weight_dtype(training)
    settings: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    bits = quantization_settings(arguments, dtype) if quantized else None
    if bits is not None:
        settings |= {"quantization_config": bits, "device_map": {"": training.device}}
    model, processor = load_model_and_processor(name, AutoModelForImageTextToText, commit, **settings)
    if bits is not None:
        check_quantized(model, arguments, dtype)
        keep_differentiable(model)
    processor.chat_template = processor.tokenizer.chat_template = CHAT_TEMPLATE
    return model, processor
