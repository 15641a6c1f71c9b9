"""A small decoder with its rows, collator and Trainer, as a training makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from modeling.mllama.patch import prepare_mllama
from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments
from trainers.decoder.data.collator import DecoderCollator
from trainers.decoder.data.dataset import DecoderRows
from trainers.decoder.data.tokenization import encode_chats
from trainers.images.decoder_tiles import TileReader

FLAGS = {
    "per_device_train_batch_size": 2, "per_device_eval_batch_size": 4, "gradient_accumulation_steps": 1,
    "learning_rate": 3e-3, "logging_steps": 1, "disable_tqdm": True, "use_cpu": True,
}  # fmt: skip


def make_rows(table: Any, processor: Any, max_length: int = 512) -> DecoderRows:
    """Rows of the config `chat`, their images decoded when they are read."""
    chats = encode_chats(table, processor, max_length, train_on_prompt=False)
    return DecoderRows(table, chats, TileReader.of(processor.image_processor))


def open_decoder(folder: Path, scope: str = "full") -> tuple[Any, Any]:
    """The model, prepared, with adapters where the scope says so, and its processor."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from trainers.decoder.tuning import set_trainable

    torch.manual_seed(0)  # of the adapters
    model = AutoModelForImageTextToText.from_pretrained(folder)
    model = set_trainable(model, DecoderArguments(train_scope=scope, lora_r=4, lora_dropout=0.0))
    prepare_mllama(model)
    return model, AutoProcessor.from_pretrained(folder)


def make_trainer(folder: Path, checkpoint: Path, train: Any, evaluation: Any, scope: str = "full", **flags: Any):
    """A DecoderTrainer on tables of the config `chat`.

    Args:
        flags: of the training; and `answers`, the arguments of AnswerEvaluation after the processor.
    """
    from trainers.decoder.answer_evaluation import AnswerEvaluation
    from trainers.decoder.trainer import DecoderTrainer

    model, processor = open_decoder(checkpoint, scope)
    answers, rows = flags.pop("answers", None), make_rows(evaluation, processor)
    return DecoderTrainer(
        model=model,
        args=DecoderTrainingArguments(output_dir=str(folder), **FLAGS | flags),
        data_collator=DecoderCollator(processor),
        train_dataset=make_rows(train, processor),
        eval_dataset=rows,
        processing_class=processor,
        answers=AnswerEvaluation(rows, processor, **answers) if answers else None,
    )
