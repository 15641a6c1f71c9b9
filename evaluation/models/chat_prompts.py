"""Writes the prompts of a model: by its chat template, or in the form of PaliGemma, which has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.loading import InputError
from evaluation.metrics.vqa_accuracy.short_answers import detect_language
from evaluation.scoring.messages import plain_messages
from evaluation.scoring.rgb_images import to_rgb

LEFT = {"padding": True, "padding_side": "left"}


def plain_tokens(text: str, processor: Any) -> str:
    """Returns a text in which the special tokens of a tokenizer are ordinary text, by a space after their first sign.

    Otherwise a question could end its turn, or refer to an image that is not there.
    """
    tokens = {token.content for token in processor.tokenizer.added_tokens_decoder.values() if token.special}
    tokens |= {token for token in (getattr(processor, "image_token", None),) if isinstance(token, str)}
    for token in sorted(tokens, key=len, reverse=True):
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


class ChatPrompts:
    """Writes conversations by the chat template of a processor.

    A template that refuses a turn of the system gets its text at the start of the first question.

    Args:
        processor: a processor with a chat template.
    """

    has_loss = True

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.takes_system = self.renders([{"role": "system", "content": [{"type": "text", "text": "a"}]}])

    def renders(self, before: list[dict]) -> bool:
        """Returns whether the template accepts these turns before a question, and writes their text."""
        import jinja2

        question = {"role": "user", "content": [{"type": "text", "text": "b"}]}
        try:
            texts = [
                self.processor.apply_chat_template([*turns, question], tokenize=False, add_generation_prompt=True)
                for turns in (before, [])
            ]
        except (jinja2.TemplateError, TypeError, KeyError, IndexError):
            return False
        return texts[0] != texts[1]

    def turns(self, row: dict, images: Sequence[Any] = ()) -> list[dict]:
        """Returns the turns of a row as content parts, with the images at the start of the first question."""
        turns = [
            {"role": turn["role"], "text": plain_tokens(turn["content"].strip(), self.processor)}
            for turn in plain_messages(row["messages"])
        ]
        if not self.takes_system:
            system = [turn["text"] for turn in turns if turn["role"] == "system"]
            turns = [turn for turn in turns if turn["role"] != "system"]
            turns[0]["text"] = "\n\n".join([*system, turns[0]["text"]])
        found = [{"role": turn["role"], "content": [{"type": "text", "text": turn["text"]}]} for turn in turns]
        first = next(turn for turn in found if turn["role"] == "user")
        first["content"] = [{"type": "image", "image": image} for image in images] + first["content"]
        return found

    def encode(self, rows: Sequence[dict], numbers: Sequence[int], prompt: bool) -> Any:
        """Returns the inputs of the model, padded on the left.

        Args:
            rows: [B] rows of the config `chat`, with the same number of images each.
            numbers: [B] the numbers of the rows, for messages.
            prompt: without the last answer and with the header of the next turn, for generation.

        Raises:
            InputError: the template refuses a conversation, or an image cannot be read as training reads it.
        """
        conversations = []
        for row, number in zip(rows, numbers, strict=True):
            turns = self.turns(row, [to_rgb(image, f"row {number}") for image in row["images"]])
            conversations.append(turns[:-1] if prompt else turns)
        import jinja2

        try:
            return self.processor.apply_chat_template(
                conversations,
                add_generation_prompt=prompt,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs=dict(LEFT),  # a processor adds to it
            )
        except jinja2.TemplateError as error:  # for example: roles must alternate
            rows_named = ", ".join(map(str, numbers[:4]))
            raise InputError(
                f"the chat template of the model refuses a conversation among rows {rows_named}: {error}. Evaluate "
                "without these rows, for example by --split."
            ) from None

    def answer_spans(self, row: dict, ends: set[int]) -> list[tuple[int, int]]:
        """Returns where each answer of a conversation starts and ends, in tokens from the end of the conversation.

        An answer is what the conversation has more with it than without it, up to the first token that ends an answer.
        All images stand before the first answer, so they need not be expanded to count.

        Args:
            ends: the tokens that end an answer.
        """
        turns = self.turns(row)
        complete = self.token_ids(turns, prompt=False)
        spans = []
        for place, turn in enumerate(turns):
            if turn["role"] == "assistant":
                before, after = self.token_ids(turns[:place], True), self.token_ids(turns[: place + 1], False)
                start = common_start(before, after)
                stop = next((end + 1 for end in range(start, len(after)) if after[end] in ends), len(after))
                spans.append((len(complete) - start, len(complete) - stop))
        return spans

    def token_ids(self, turns: list[dict], prompt: bool) -> list[int]:
        """Returns the tokens of turns without images."""
        text = self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
        bos = self.processor.tokenizer.bos_token
        special = not (bos is not None and text.startswith(bos))
        return self.processor.tokenizer(text, add_special_tokens=special)["input_ids"]


def common_start(first: Sequence[int], second: Sequence[int]) -> int:
    """Returns how many tokens two sequences have in common from their start."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))


class PaliGemmaPrompts:
    """Writes prompts in the form in which PaliGemma was trained for questions, `answer en <question>`.

    It has no turns, so only the last question is asked, about exactly one image, and the loss of whole conversations is
    not defined.

    Args:
        processor: a PaliGemmaProcessor.
    """

    has_loss = False

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def encode(self, rows: Sequence[dict], numbers: Sequence[int], prompt: bool) -> Any:
        """Returns the inputs of the model, padded on the left; see `ChatPrompts.encode`.

        Raises:
            InputError: a row has no image or several.
        """
        texts, images = [], []
        for row, number in zip(rows, numbers, strict=True):
            if len(row["images"]) != 1:
                raise InputError(
                    f"row {number} has {len(row['images'])} images, but PaliGemma answers about exactly one. Evaluate "
                    "a model with a chat template, or a split in which every row has one image."
                )
            question = plain_messages(row["messages"])[-2]["content"].strip()
            language = row.get("language") or detect_language(question)
            texts.append(f"<image>answer {language} {plain_tokens(question, self.processor)}")
            images.append([to_rgb(row["images"][0], f"row {number}")])
        return self.processor(text=texts, images=images, return_tensors="pt", **LEFT)

    def answer_spans(self, row: dict, ends: set[int]) -> list[tuple[int, int]]:
        """Raises ValueError, because PaliGemma reads no conversations."""
        raise ValueError("PaliGemma has no turns, and so no loss of their answers")
