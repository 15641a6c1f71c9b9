"""Generates the last answer of every conversation with a decoder, and measures the loss of all answers.

Rows are scored in batches in the order they come, with one image, with several or with none: the model is prepared so
that the result of a row does not depend on the rest of its batch (`modeling/mllama/patch.py`), and rows of a batch that
show the same image share its pass through the vision tower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.models.mllama.processing_mllama import (
    build_string_from_input,
    convert_sparse_cross_attention_mask_to_dense,
    get_cross_attention_token_mask,
)

from modeling.mllama.chunked_cross_entropy import is_sharded
from modeling.mllama.patch import find_decoder, prepare_mllama

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


def encode(processor: Any, conversations: list[list[dict]], side: str, prompt: bool) -> dict[str, torch.Tensor]:
    """What a prepared Mllama is given for conversations: tokens, and of the images each one once.

    Args:
        side: where rows are padded, `left` or `right`.
        prompt: up to where an answer starts.

    Returns:
        `input_ids` and `attention_mask` `[B, L]`; where there is an image, of the N distinct ones `pixel_values`
        `[N, T, 3, H, W]` float32, `aspect_ratio_ids` `[N]` and `aspect_ratio_mask` `[N, T]`, and `image_index`
        `[B, M]`, -1 where a row has fewer than M, and `cross_attention_mask` `[B, L, M, T]`.
    """
    texts = processor.apply_chat_template(conversations, add_generation_prompt=prompt, tokenize=False)
    tokens = tokenize(processor, texts, padding=True, padding_side=side, return_tensors="pt")
    inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    images = [
        [part["image"] for turn in turns for part in turn["content"] if part["type"] == "image"]
        for turns in conversations
    ]
    return inputs | encode_images(processor, images, inputs["input_ids"].tolist())


def tokenize(processor: Any, texts: list[str], **settings: Any) -> Any:
    """Tokens of rendered conversations, with the begin-of-text token once, whether the template writes it or not."""
    texts = [build_string_from_input(text, processor.bos_token, processor.image_token) for text in texts]
    return processor.tokenizer(texts, add_special_tokens=False, **settings)


def encode_images(processor: Any, images: list[list[Any]], input_ids: list[list[int]]) -> dict[str, torch.Tensor]:
    """Pixels and masks of a batch, each distinct image once; nothing where no row has one."""
    distinct: dict[tuple, int] = {}
    shown: list[list[Any]] = []
    index = torch.full((len(images), max(len(row) for row in images)), -1)
    for row, pictures in enumerate(images):
        for place, picture in enumerate(pictures):
            key = picture.size, picture.tobytes()
            if key not in distinct:
                distinct[key] = len(shown)
                shown.append([picture])
            index[row, place] = distinct[key]
    if not shown:
        return {}
    encoded = processor.image_processor(shown, return_tensors="pt")
    counts = [encoded.num_tiles[number][0] for number in range(len(shown))]
    mask = convert_sparse_cross_attention_mask_to_dense(
        [get_cross_attention_token_mask(ids, processor.image_token_id) for ids in input_ids],
        num_tiles=[[counts[number] for number in row if number >= 0] for row in index.tolist()],
        max_num_tiles=processor.image_processor.max_image_tiles,
        length=len(input_ids[0]),
    )
    one_each = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
    tensors = {name: torch.as_tensor(encoded[name]).squeeze(1) for name in one_each}
    return tensors | {"image_index": index, "cross_attention_mask": torch.from_numpy(mask)}


def prepared(model: Any) -> Any:
    """The model in evaluation mode, its rows isolated from each other unless it was prepared before."""
    if not hasattr(find_decoder(model).model, "isolates_rows"):
        prepare_mllama(model)
    return model.eval()


def generate_answers(
    model: Any, processor: Any, rows: Any, batch_size: int, max_new_tokens: int, progress: Callable = iter
) -> list[str]:
    """Greedy answers to the last question of each row, given the true answers to those before it.

    The reference answer is not part of the input. A model that `prepare_mllama` has not prepared is prepared.
    """
    model, answers = prepared(model), []
    for start in progress(range(0, len(rows), batch_size)):
        batch = [rows[number] for number in range(start, min(start + batch_size, len(rows)))]
        inputs = encode(processor, [to_conversation(row)[:-1] for row in batch], side="left", prompt=True)
        inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
        answers += answer_texts(model, processor, inputs, max_new_tokens)
    return answers


def answer_texts(model: Any, processor: Any, inputs: dict[str, torch.Tensor], max_new_tokens: int) -> list[str]:
    """Greedy answers to prompts that are padded on the left, as texts without special tokens."""
    with torch.no_grad():  # not inference_mode: what a model may keep of it could not be trained on afterwards
        tokens = model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, use_cache=True,
            temperature=None, top_p=None, top_k=None,
            # Weights that are split among processes are gathered by all: until the last one has its answers.
            synced_gpus=is_sharded(model),
        )  # fmt: skip
    new = tokens[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.tokenizer.batch_decode(new, skip_special_tokens=True)]


def answer_loss(model: Any, processor: Any, rows: Any, batch_size: int, progress: Callable = iter) -> float:
    """Mean negative log-likelihood, in nats a token, of all answers with their end-of-turn tokens.

    Of every answer of a conversation, not of the last one alone, over all tokens of the split: what training minimises,
    and what it reports as `eval_loss`, but for `--train_on_prompt` and for rows that `--max_seq_length` shortens, which
    are whole here. Its exponential is the perplexity. A model that `prepare_mllama` has not prepared is prepared.
    """
    model = prepared(model)
    total, tokens = 0.0, 0
    for start in progress(range(0, len(rows), batch_size)):
        numbers = range(start, min(start + batch_size, len(rows)))
        conversations = [to_conversation(rows[number]) for number in numbers]
        inputs = encode(processor, conversations, side="right", prompt=False)
        labels = torch.full_like(inputs["input_ids"], IGNORED)
        for row, conversation in enumerate(conversations):
            for span in answer_spans(processor, conversation):
                labels[row, span] = inputs["input_ids"][row, span]
        inputs = {name: tensor.to(model.device) for name, tensor in (inputs | {"labels": labels}).items()}
        with torch.inference_mode():
            total += model(**inputs, per_row_loss=True).loss.double().sum().item()
        tokens += int((labels[:, 1:] != IGNORED).sum())
    return total / tokens


def answer_spans(processor: Any, conversation: list[dict]) -> list[slice]:
    """Where in its tokens the answers of a conversation stand, with their end-of-turn tokens.

    Found by rendering it up to there, so that a chat template needs no generation marks; that needs no pixels.
    """
    texts = []
    for place, turn in enumerate(conversation):
        if turn["role"] == "assistant":
            before = processor.apply_chat_template(conversation[:place], add_generation_prompt=True, tokenize=False)
            texts += [before, processor.apply_chat_template(conversation[: place + 1], tokenize=False)]
    lengths = [len(ids) for ids in tokenize(processor, texts)["input_ids"]]
    return [slice(*pair) for pair in zip(lengths[::2], lengths[1::2], strict=True)]
