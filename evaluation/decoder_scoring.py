"""How well does a decoder answer? Generates the last answer of every conversation, and measures the loss on it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

IGNORED = -100


def to_conversation(row: dict) -> list[dict]:
    """A row of the config `chat` as a chat template wants it: the images stand before the first question."""
    return to_turns(row["messages"], [{"type": "image", "image": image.convert("RGB")} for image in row["images"]])


def to_turns(messages: list[dict], images: list[dict]) -> list[dict]:
    """The messages of a row as a chat template wants them, the given parts in front of the first question.

    Llama's control tokens (`<|image|>`, `<|eot_id|>`) are words like any other where they stand in a text: taken for
    tokens, they would end a turn or ask for an image that is not there. White space around an answer is no part of it.
    """
    turns = []
    for message in messages:
        text = message["content"].replace("<|", "< |")
        text = text.strip() if message["role"] == "assistant" else text
        turns.append({"role": message["role"], "content": [{"type": "text", "text": text}]})
    first_user = next(turn for turn in turns if turn["role"] == "user")
    first_user["content"] = images + first_user["content"]
    return turns


def encode(processor: Any, conversations: list[list[dict]], side: str, prompt: bool) -> Any:
    """Tokens, pixels and masks of conversations, padded on the given side; with `prompt`, up to where an answer starts.

    One step from conversation to tokens: the two-step path puts the begin-of-text token twice.
    """
    return processor.apply_chat_template(
        conversations,
        add_generation_prompt=prompt,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": side},
    )


def generate_answers(
    model: Any, processor: Any, rows: Any, batch_size: int, max_new_tokens: int, progress: Callable = iter
) -> list[str]:
    """Greedy answers to the last question of each row. The reference answers are not part of the input."""
    model.eval()
    answers: dict[int, str] = {}
    for numbers, batch in alike_batches(rows, batch_size, progress):
        prompts = [to_conversation(row)[:-1] for row in batch]
        inputs = encode(processor, prompts, side="left", prompt=True).to(model.device)
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        new = tokens[:, inputs["input_ids"].shape[1] :]
        texts = processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        answers |= {number: text.strip() for number, text in zip(numbers, texts, strict=True)}
    return [answers[number] for number in range(len(rows))]


def alike_batches(rows: Any, batch_size: int, progress: Callable) -> Iterator[tuple[list[int], list[dict]]]:
    """Yields (numbers, rows) of at most `batch_size` rows with the same number of images each.

    In a batch with a row of two images, one of a single image gets an empty place beside it, and Mllama lets the tokens
    in front of the image attend to it: the answer would depend on what else is in the batch.
    """
    for start in progress(range(0, len(rows), batch_size)):
        by_count: dict[int, tuple[list[int], list[dict]]] = {}
        for number in range(start, min(start + batch_size, len(rows))):
            row = rows[number]
            numbers, batch = by_count.setdefault(len(row["images"]), ([], []))
            numbers.append(number)
            batch.append(row)
        yield from by_count.values()


def answer_loss(model: Any, processor: Any, rows: Any, batch_size: int, progress: Callable = iter) -> float:
    """Mean negative log-likelihood, in nats a token, of the last answers with their end-of-turn token."""
    model.eval()
    total, tokens = 0.0, 0
    for _, batch in alike_batches(rows, batch_size, progress):
        conversations = [to_conversation(row) for row in batch]
        inputs = encode(processor, conversations, side="right", prompt=False).to(model.device)
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, IGNORED)
        for index, conversation in enumerate(conversations):
            labels[index, : prompt_length(processor, conversation)] = IGNORED
        with torch.inference_mode():
            logits = model(**inputs).logits[:, :-1]
        supervised = labels[:, 1:] != IGNORED
        total += F.cross_entropy(logits[supervised].float(), labels[:, 1:][supervised], reduction="sum").item()
        tokens += int(supervised.sum())
    return total / tokens


def prompt_length(processor: Any, conversation: list[dict]) -> int:
    """Tokens of a conversation up to where its last answer starts; the images are not needed for that."""
    text = processor.apply_chat_template(conversation[:-1], add_generation_prompt=True, tokenize=False)
    return len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])


def exact_match(predictions: list[str], references: list[str]) -> float:
    """Share of answers equal to their reference, case, white space and punctuation aside."""
    pairs = zip(predictions, references, strict=True)
    return sum(plain(prediction) == plain(reference) for prediction, reference in pairs) / len(references)


def plain(text: str) -> str:
    """Lower case, no punctuation of any script, single spaces. Symbols stay: "> 5 mm" is not "< 5 mm"."""
    kept = "".join(" " if unicodedata.category(char)[0] == "P" else char for char in text.lower())
    return " ".join(kept.split())
