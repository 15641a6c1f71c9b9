"""Answers questions with any image-text-to-text model of transformers, in the form of its own chat template.

Answers are greedy, and penalties of repetition that a checkpoint sets for sampling are off, so that all families are
asked in the same way. Prompts are padded on the left. Rows with different numbers of images are not put into one pass,
because the processors of several families require the same number in each row.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from evaluation.loading import InputError
from evaluation.models.chat_prompts import ChatPrompts, PaliGemmaPrompts
from evaluation.models.protocols import FROZEN, Answerer
from evaluation.models.vision_towers import chat_model_tower
from evaluation.scoring.messages import row_number

NO_TOWER = "left out, because the model's vision tower cannot be called by itself; name another with --frozen_encoder"


def chat_answerer(model: Any, processor: Any, name: str, batch_size: int, max_new_tokens: int) -> Answerer:
    """Returns an image-text-to-text model as an answerer.

    Args:
        model, processor: the model, or a wrapper around one, and its processor.
        name: the name of the model, for messages.
        batch_size: rows per batch.
        max_new_tokens: maximum length of an answer in tokens.

    Raises:
        InputError: it has no chat template, and no form of prompts of its own that is known.
    """
    prompts = prompts_of(model, processor, name)

    def batches(rows: Sequence[dict]) -> Iterator[tuple[list[int], list[dict]]]:
        for start in range(0, len(rows), batch_size):
            yield from same_images(rows, range(start, min(start + batch_size, len(rows))))

    def answer(rows: Sequence[dict]) -> list[str]:
        found: dict[int, str] = {}
        for numbers, batch in batches(rows):
            inputs = on_model(prompts.encode(batch, named(rows, numbers), prompt=True), model)
            found |= dict(zip(numbers, answer_texts(model, processor, inputs, max_new_tokens), strict=True))
        return [found[number] for number in range(len(rows))]

    def losses(rows: Sequence[dict]) -> list[tuple[float, int]]:
        found: dict[int, tuple[float, int]] = {}
        for numbers, batch in batches(rows):
            inputs = on_model(prompts.encode(batch, named(rows, numbers), prompt=False), model)
            spans = [prompts.answer_spans(row, end_tokens(model)) for row in batch]
            found |= dict(zip(numbers, summed_losses(model, inputs, spans), strict=True))
        return [found[number] for number in range(len(rows))]

    tower = chat_model_tower(model, processor)
    left_out = {} if tower is not None else {FROZEN: NO_TOWER}
    return Answerer(answer, losses if prompts.has_loss else None, tower, left_out=left_out)


def prompts_of(model: Any, processor: Any, name: str) -> ChatPrompts | PaliGemmaPrompts:
    """Returns what writes the prompts of a model. Raises InputError if no form of them is known."""
    template = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
    if template is not None:
        return ChatPrompts(processor)
    if model.config.model_type == "paligemma":
        return PaliGemmaPrompts(processor)
    raise InputError(
        f"--model {name}: a model of type {model.config.model_type!r} without a chat template, so it is not known how "
        "to ask it. Use a checkpoint with a chat template (most that end in -Instruct or -it have one), or answer with "
        "your own code and give the answers with --predictions."
    )


def same_images(rows: Any, numbers: Sequence[int]) -> list[tuple[list[int], list[dict]]]:
    """Returns the rows of a batch in groups with the same number of images, with their numbers."""
    groups: dict[int, tuple[list[int], list[dict]]] = {}
    for number in numbers:
        row = rows[number]
        places, members = groups.setdefault(len(row["images"]), ([], []))
        places.append(number)
        members.append(row)
    return list(groups.values())


def named(rows: Any, places: Sequence[int]) -> list[int]:
    """Returns the numbers of rows for messages."""
    return [row_number(rows, place) for place in places]


def on_model(inputs: Any, model: Any) -> Any:
    """Moves the inputs to the device of the model; pixels also to its precision."""
    return inputs.to(model.device, dtype=model.dtype)


def answer_texts(model: Any, processor: Any, inputs: Any, max_new_tokens: int) -> list[str]:
    """Generates greedy answers to prompts that are padded on the left; returns texts without special tokens."""
    tokenizer = processor.tokenizer
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    with torch.inference_mode():
        tokens = model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, use_cache=True, pad_token_id=padding,
            temperature=None, top_p=None, top_k=None, repetition_penalty=1.0, no_repeat_ngram_size=0,
        )  # fmt: skip
    new = tokens[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def end_tokens(model: Any) -> set[int]:
    """Returns the tokens that end an answer."""
    found = model.generation_config.eos_token_id
    return set(found if isinstance(found, (list, tuple)) else [] if found is None else [found])


def summed_losses(model: Any, inputs: Any, spans: list[list[tuple[int, int]]]) -> list[tuple[float, int]]:
    """Returns the sum of the negative log-likelihoods of the tokens in the spans of each row, and their number.

    Args:
        inputs: of B conversations, padded on the left.
        spans: [B] the start and the end of each answer, counted in tokens from the end of the conversation.
    """
    kept = max(start for row in spans for start, _ in row) + 1
    takes = inspect.signature(inner_model(model).forward).parameters
    more = {"logits_to_keep": kept} if "logits_to_keep" in takes else {}
    with torch.inference_mode():
        logits = model(**inputs, use_cache=False, **more).logits
    found = []
    for number, row in enumerate(spans):
        total, count = 0.0, 0
        for start, end in row:
            targets = inputs["input_ids"][number, inputs["input_ids"].shape[1] - start :][: start - end]
            # A token is predicted at the place before it.
            scores = logits[number, logits.shape[1] - start - 1 :][: start - end].float()
            total += torch.nn.functional.cross_entropy(scores, targets, reduction="sum").item()
            count += start - end
        found.append((total, count))
    return found


def inner_model(model: Any) -> Any:
    """Returns the model below adapters, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
