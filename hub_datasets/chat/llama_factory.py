"""Marks images in conversations and describes the Parquet files as LLaMA-Factory requires."""

from __future__ import annotations

import json
from pathlib import Path

LLAMA_FACTORY_IMAGE = "<image>"
# What LLaMA-Factory reads as an image, a video or a sound at any position, and the beginning of Llama's control tokens.
LLAMA_FACTORY_RESERVED = (LLAMA_FACTORY_IMAGE, "<video>", "<audio>", "<|")


def mark_images(messages: list[dict[str, str]], images: int) -> list[dict[str, str]]:
    """Returns the messages with `<image>` for each image at the beginning of the first question.

    LLaMA-Factory (0.9.5, `data/mm_plugin.py`, `_validate_messages`) requires one `<image>` for each image in the texts,
    where TRL places the images itself and would read `<image>` as a word, so the same messages cannot serve both.
    Where a source's text contains such words, a space is inserted: they would count as missing images, and end the
    training.
    """
    turns = [{"role": turn["role"], "content": set_apart(turn["content"])} for turn in messages]
    first = next(turn for turn in turns if turn["role"] == "user")
    first["content"] = LLAMA_FACTORY_IMAGE * images + first["content"]
    return turns


def set_apart(text: str) -> str:
    """Returns the text with a space inside everything that LLaMA-Factory would not read as words."""
    for reserved in LLAMA_FACTORY_RESERVED:
        text = text.replace(reserved, f"{reserved[0]} {reserved[1:]}")
    return text


def llama_factory_info(files: dict[str, str]) -> dict:
    """Returns the content of `dataset_info.json`, with which LLaMA-Factory reads the rows of `chat`.

    Its format is sharegpt with other names for roles and columns; the format openai would add "detailed
    thinking off" to every system prompt.

    Args:
        files: path of each file relative to `dataset_info.json`, by the name for LLaMA-Factory's `--dataset`.
    """
    entry = {
        "formatting": "sharegpt",
        "columns": {"messages": "marked_messages", "images": "images"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
    return {name: {"file_name": file} | entry for name, file in files.items()}


def write_llama_factory_info(path: Path, shards: dict[str, int]) -> None:
    """Writes `dataset_info.json` for the Parquet files of `chat`: `--dataset_dir` of LLaMA-Factory is its folder.

    Args:
        shards: the number of Parquet files of each split; each file is a dataset, for example `chat_train_0`.
    """
    files = {
        f"chat_{split}_{number}": f"../chat/{split}-{number:05d}-of-{count:05d}.parquet"
        for split, count in shards.items()
        for number in range(count)
    }
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(llama_factory_info(files), indent=1), encoding="utf-8")
