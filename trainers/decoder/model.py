"""Which model and processor does a training of the decoder start from? A checkpoint, in the bits that the flags say."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from evaluation.loading import DECODER_TYPES, InputError, load_model_and_processor, model_type
from trainers.base.inputs import starting_commit
from trainers.decoder.arguments import MERGED, DecoderArguments, DecoderTrainingArguments
from trainers.decoder.data.collator import CHAT_TEMPLATE
from trainers.decoder.quantization import check_quantised, keep_differentiable, quantization_settings


def load_decoder(arguments: DecoderArguments, rows: Any, training: DecoderTrainingArguments) -> tuple[Any, Any]:
    """The model and processor to start from.

    `--tiny` makes a random checkpoint of its own; it lies in a temporary folder that lives as long as the model.

    Args:
        rows: of the training split; `--tiny` makes a tokenizer from their texts.

    Raises:
        InputError: no Mllama, a weight is missing or unexpected, or bitsandbytes is asked for and missing; or
            adapters alone are to be written for `--tiny`, whose base nobody else has.
    """
    if not arguments.tiny:
        commit = starting_commit(arguments.model_name_or_path)
        model, processor = open_checkpoint(arguments.model_name_or_path, arguments, training, commit=commit)
        model.base_commit = commit  # export may read the base again
        return model, processor
    if arguments.export != MERGED:
        raise InputError(
            f"--tiny --export {arguments.export}: adapters open over the model that they were trained on, and a tiny "
            "one is made for this run alone; leave --export out, or name a checkpoint by --model_name_or_path"
        )
    from modeling.tiny_checkpoints import write_tiny_decoder
    from trainers.base.distributed import from_first, rank

    texts = [turn["content"] for messages in rows["messages"] for turn in messages]
    scratch = tempfile.TemporaryDirectory(prefix="medpairs-tiny-")
    folder = from_first(scratch.name)  # of several processes only the first one writes weights
    if rank() == 0:
        write_tiny_decoder(Path(folder), texts, CHAT_TEMPLATE, training.seed)
    from_first("written")
    model, processor = open_checkpoint(folder, arguments, training)
    from_first("read")
    model.scratch = scratch  # the folder goes when the model goes: export may read it again
    model.name_or_path = model.config._name_or_path = ""  # no file that is written names it
    return model, processor


def base_of(model: Any, arguments: DecoderArguments) -> tuple[str, str | None]:
    """What a model from `load_decoder` was read from: (a folder, None), or (a repository's name, its commit)."""
    return (model.scratch.name, None) if arguments.tiny else (arguments.model_name_or_path, model.base_commit)


def weight_dtype(training: DecoderTrainingArguments) -> torch.dtype:
    """What weights are kept in: 16 bits where the training computes in them, else 32."""
    return torch.bfloat16 if training.bf16 else torch.float32


def open_checkpoint(
    name: str,
    arguments: DecoderArguments,
    training: DecoderTrainingArguments,
    quantised: bool = True,
    commit: str | None = None,
) -> tuple[Any, Any]:
    """An Mllama checkpoint with its processor, which gets the chat template that marks the assistant's words.

    Args:
        name: a folder, or a repository on the Hub.
        commit: of the repository.
        quantised: False opens it in whole numbers of bytes, on the processor, whatever the flags say.
    """
    kind = model_type(name, commit)
    if kind not in DECODER_TYPES:
        raise InputError(f"--model_name_or_path {name}: a model of type {kind!r}, not {' or '.join(DECODER_TYPES)}")
    dtype = weight_dtype(training)
    settings: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    bits = quantization_settings(arguments, dtype) if quantised else None
    if bits is not None:
        settings |= {"quantization_config": bits, "device_map": {"": training.device}}
    model, processor = load_model_and_processor(name, AutoModelForImageTextToText, commit, **settings)
    if bits is not None:
        check_quantised(model, arguments, dtype)
        keep_differentiable(model)
    processor.chat_template = processor.tokenizer.chat_template = CHAT_TEMPLATE
    return model, processor
