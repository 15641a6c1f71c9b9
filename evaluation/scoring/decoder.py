"""Generates a decoder's answer to the last question of each conversation, and measures the loss of all answers.

Batches keep the order of the rows and can mix rows with one image, several or none: the model is patched so that the
result of a row does not depend on its batch (`modeling/mllama/patch.py`). Rows of a batch with the same image share
one pass through the vision tower.
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

from evaluation.scoring.messages import plain_messages, row_number
from evaluation.scoring.rgb_images import to_rgb
from modeling.mllama.chunked_cross_entropy import IGNORE_INDEX, is_sharded
from modeling.mllama.patch import find_decoder, prepare_mllama


def to_conversation(row: dict, where: str = "a row") -> list[dict]:
    """Converts a row of the config `chat` to the form that chat templates require, with the images first.

    Args:
        where: the row, for the message of an image that cannot be read as training reads it.
    """
    return to_turns(row["messages"], [{"type": "image", "image": to_rgb(image, where)} for image in row["images"]])


def to_turns(messages: list[dict], images: list[dict]) -> list[dict]:
    """Converts the messages of a row to the form that chat templates require.

    Control tokens of Llama in a text (`<|image|>`, `<|eot_id|>`) are made ordinary text, because otherwise they would
    end the turn or refer to a missing image. White space around answers is removed.

    Args:
        messages: turns with `role` and `content`, plain or as content parts.
        images: the image parts, which are inserted before the first question.
    """
    turns = []
    for message in plain_messages(messages):
        text = message["content"].replace("<|", "< |")  # the tokenizer recognizes control tokens by "<|"
        text = text.strip() if message["role"] == "assistant" else text
        turns.append({"role": message["role"], "content": [{"type": "text", "text": text}]})
    first_user = next(turn for turn in turns if turn["role"] == "user")
    first_user["content"] = images + first_user["content"]
    return turns


def encode(processor: Any, conversations: list[list[dict]], side: str, prompt: bool) -> dict[str, torch.Tensor]:
    """Returns the inputs of a patched Mllama for a batch of conversations, with each distinct image once.

    B is the batch size, L the text length, N the number of distinct images, M the number of images per row, and T the
    number of tiles per image.

    Args:
        processor: an MllamaProcessor.
        conversations: [B] lists of turns from `to_conversation`.
        side: the side on which rows are padded, `left` or `right`.
        prompt: append the header of the assistant's next turn, for generation.

    Returns:
        `input_ids` and `attention_mask` `[B, L]`. If there are images, also `pixel_values` `[N, T, 3, H, W]` float32,
        `aspect_ratio_ids` `[N]`, `aspect_ratio_mask` `[N, T]`, `image_index` `[B, M]` (-1 for no image) and
        `cross_attention_mask` `[B, L, M, T]`.
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
    """Tokenizes rendered conversations with exactly one begin-of-text token, whether or not the template writes it."""
    texts = [build_string_from_input(text, processor.bos_token, processor.image_token) for text in texts]
    return processor.tokenizer(texts, add_special_tokens=False, **settings)


def encode_images(processor: Any, images: list[list[Any]], input_ids: list[list[int]]) -> dict[str, torch.Tensor]:
    """Returns pixels and masks of a batch with each distinct image once; an empty dictionary without images."""
    distinct: dict[tuple, int] = {}
    samples: list[list[Any]] = []  # one image each, because the image processor takes a list of images per sample
    index = torch.full((len(images), max(len(row) for row in images)), -1)  # [B, M]
    for row, pictures in enumerate(images):
        for place, picture in enumerate(pictures):
            key = picture.size, picture.tobytes()
            if key not in distinct:
                distinct[key] = len(samples)
                samples.append([picture])
            index[row, place] = distinct[key]
    if not samples:
        return {}
    encoded = processor.image_processor(samples, return_tensors="pt")
    counts = [encoded.num_tiles[number][0] for number in range(len(samples))]  # tiles per distinct image
    mask = convert_sparse_cross_attention_mask_to_dense(
        [get_cross_attention_token_mask(ids, processor.image_token_id) for ids in input_ids],
        num_tiles=[[counts[number] for number in row if number >= 0] for row in index.tolist()],
        max_num_tiles=processor.image_processor.max_image_tiles,
        length=len(input_ids[0]),
    )
    per_image = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
    # [N, 1, ...] -> [N, ...]: the processor keeps a dimension for the images of a sample, of which there is one.
    tensors = {name: torch.as_tensor(encoded[name]).squeeze(1) for name in per_image}
    return tensors | {"image_index": index, "cross_attention_mask": torch.from_numpy(mask)}


def prepare_for_scoring(model: Any) -> Any:
    """Sets the model to evaluation mode, patches it unless it is patched already, and returns it."""
    if not hasattr(find_decoder(model).model, "isolates_rows"):
        prepare_mllama(model)
    return model.eval()


def generate_answers(
    model: Any, processor: Any, rows: Any, batch_size: int, max_new_tokens: int, progress: Callable = iter
) -> list[str]:
    """Generates greedy answers to the last question of each row, after the reference answers to the earlier questions.

    The reference answer to the last question is not part of the input. The model is patched by `prepare_mllama` if it
    is not yet.

    Args:
        model: an `MllamaForConditionalGeneration`, or a wrapper around one.
        processor: its processor.
        rows: [N] rows of the config `chat`.
        batch_size: rows per batch.
        max_new_tokens: maximum length of an answer in tokens.
        progress: a function that wraps the loop over the batches, for example `tqdm`.

    Returns:
        [N] texts without special tokens.
    """
    model, answers = prepare_for_scoring(model), []
    for start in progress(range(0, len(rows), batch_size)):
        numbers = range(start, min(start + batch_size, len(rows)))
        prompts = [to_conversation(rows[number], f"row {row_number(rows, number)}")[:-1] for number in numbers]
        inputs = encode(processor, prompts, side="left", prompt=True)
        inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
        answers += answer_texts(model, processor, inputs, max_new_tokens)
    return answers


def answer_texts(model: Any, processor: Any, inputs: dict[str, torch.Tensor], max_new_tokens: int) -> list[str]:
    """Generates greedy answers to prompts that are padded on the left; returns texts without special tokens."""
    with torch.no_grad():  # not inference_mode, because tensors that the model may cache could not be trained on later
        tokens = model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, use_cache=True,
            temperature=None, top_p=None, top_k=None,
            # With sharded weights, all processes must take part in each gathering until the last one has its answers.
            synced_gpus=is_sharded(model),
        )  # fmt: skip
    new = tokens[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.tokenizer.batch_decode(new, skip_special_tokens=True)]


def answer_loss(model: Any, processor: Any, rows: Any, batch_size: int, progress: Callable = iter) -> float:
    """Computes the mean negative log-likelihood, in nats per token, of all answers with their end-of-turn tokens.

    The mean is over all answer tokens of the split, including those of the earlier answers of a conversation. Training
    minimizes the same loss and reports it as `eval_loss`, except with `--train_on_prompt`, and except for rows that
    `--max_seq_length` truncates, which are complete here. Its exponential is the perplexity. The model is patched by
    `prepare_mllama` if it is not yet.
    """
    losses = answer_losses(model, processor, rows, batch_size, progress)
    return sum(loss for loss, _ in losses) / sum(tokens for _, tokens in losses)


def answer_losses(
    model: Any, processor: Any, rows: Any, batch_size: int, progress: Callable = iter
) -> list[tuple[float, int]]:
    """Computes, for each row, the sum of the losses of `answer_loss` in nats and the number of its answer tokens.

    Returns:
        [N] pairs.
    """
    model, found = prepare_for_scoring(model), []
    for start in progress(range(0, len(rows), batch_size)):
        numbers = range(start, min(start + batch_size, len(rows)))
        conversations = [to_conversation(rows[number], f"row {row_number(rows, number)}") for number in numbers]
        inputs = encode(processor, conversations, side="right", prompt=False)
        labels = torch.full_like(inputs["input_ids"], IGNORE_INDEX)
        for row, conversation in enumerate(conversations):
            for span in answer_spans(processor, conversation):
                labels[row, span] = inputs["input_ids"][row, span]
        inputs = {name: tensor.to(model.device) for name, tensor in (inputs | {"labels": labels}).items()}
        with torch.inference_mode():
            losses = model(**inputs, per_row_loss=True).loss.double().tolist()  # [B]
        # The first token of a row is never predicted.
        found += zip(losses, (labels[:, 1:] != IGNORE_INDEX).sum(1).tolist(), strict=True)
    return found


def answer_spans(processor: Any, conversation: list[dict]) -> list[slice]:
    """Returns the token positions of each answer of a conversation, including its end-of-turn token.

    The positions are found by rendering the conversation up to each answer, so that the chat template requires no
    generation marks. No pixels are needed.
    """
    texts = []
    for place, turn in enumerate(conversation):
        if turn["role"] == "assistant":
            before = processor.apply_chat_template(conversation[:place], add_generation_prompt=True, tokenize=False)
            texts += [before, processor.apply_chat_template(conversation[: place + 1], tokenize=False)]
    lengths = [len(ids) for ids in tokenize(processor, texts)["input_ids"]]  # start, end, start, end, ...
    return [slice(*pair) for pair in zip(lengths[::2], lengths[1::2], strict=True)]
