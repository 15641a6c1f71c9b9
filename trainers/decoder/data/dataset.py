"""Reads rows of the config `chat`: tokens, and the tiles of each image once.

A dataset of questions repeats its images: SLAKE asks 6 to 41 questions about each. Every row identifies its images by
their number among the distinct ones, so that samplers and collators see which rows share an image. Memory holds two
numbers per row; all processes of a data loader read tokens and tiles from memory-mapped files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.loading import InputError
from trainers.decoder.arguments import DecoderArguments
from trainers.images.cache_builder import cached_images, image_keys
from trainers.images.cache_location import available_cpus, cache_folder
from trainers.images.cache_reader import CachedImages
from trainers.images.decoder_tiles import TileReader
from trainers.images.encoded import read_encoded_image


class ChatImages:
    """Gives access to the encoded images of conversations, numbered consecutively over all rows.

    Attributes:
        starts: `[rows + 1]` int64; row r has the images `starts[r]` to `starts[r + 1] - 1`.

    Raises:
        InputError: the column `images` is missing or does not contain lists of images.
    """

    def __init__(self, rows: Any) -> None:
        from datasets import Image

        if not isinstance(getattr(rows.features.get("images"), "feature", None), Image):
            raise InputError(
                "--dataset: no column `images` of lists of images; the config `chat` of hub_datasets has one"
            )
        names = [name for name in ("images", "image_path") if name in rows.column_names]
        # The Arrow format does not decode images; casting a list of images would copy all of them to another file.
        self.rows = rows.select_columns(names).with_format("arrow")
        lists = (self.rows[row]["images"][0] for row in range(len(rows)))
        counts = (len(images) if images.is_valid else 0 for images in lists)
        self.starts = np.concatenate([[0], np.cumsum(np.fromiter(counts, np.int64, len(rows)))])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __call__(self, number: int) -> tuple[bytes, str]:
        """Returns the bytes of an image and its name for messages, "--dataset, row 7, image 2 (slake/0001.jpg)".

        Raises:
            InputError: the image has no bytes and its file cannot be read.
        """
        # The last row that starts at or before this image; rows without images share a start and are skipped.
        row = int(np.searchsorted(self.starts, number, side="right")) - 1
        record = self.rows[row]
        images, position = record["images"][0], number - int(self.starts[row])
        where = f"--dataset, row {row}" + (f", image {position + 1}" if len(images) > 1 else "")
        shown = record["image_path"][0].as_py() if "image_path" in record.column_names and not position else ""
        return read_encoded_image(images[position], where, shown)


class DecoderRows(torch.utils.data.Dataset):
    """The rows for a DecoderCollator: dicts of `row`, `input_ids`, `labels`, `prompt_length` and `images`.

    `images` is a list of (key, tiles, aspect_ratio_id) in the order of the row: `key` is the number of the image among
    the distinct ones of the dataset, `tiles` `[n, 3, H, W]` uint8 its n tiles, read-only, and `aspect_ratio_id` counts
    from 1. Rows of one `__getitems__` that share an image share the array.

    Args:
        rows: a `datasets.Dataset` with the column `images`.
        chats: the tokens of the rows: `input_ids(row)` and `labels(row)` `[L]` int64, `prompt_length(row)`.
        reader: decodes the images to tiles.
        cache: folder of all image caches; None decodes an image at each access.
        workers: number of threads that build the cache.

    Attributes:
        keys: `[images]`, by image of `encoded`, its number among the distinct images.

    Raises:
        InputError: the cache cannot be built. Without a cache, reading the row of a damaged image raises it.
    """

    def __init__(self, rows: Any, chats: Any, reader: TileReader, cache: Path | None = None, workers: int = 1) -> None:
        self.rows, self.chats, self.reader = rows, chats, reader
        self.encoded = ChatImages(rows)
        self.cached: CachedImages | None = None
        if cache is not None and len(self.encoded):
            self.cached = cached_images(cache, reader, len(self.encoded), self.encoded, workers)
            self.keys = self.cached.slots
        else:
            keys = image_keys(len(self.encoded), self.encoded)
            self.keys = np.unique(keys, return_inverse=True)[1].reshape(-1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int | str) -> Any:
        """Returns a row by its number, or a column by its name as a `datasets.Dataset` does."""
        if isinstance(row, str):
            return self.rows[row]
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[dict]:
        """Returns several rows; each of their distinct images is read once."""
        read: dict[int, tuple[int, np.ndarray, int]] = {}
        return [
            {
                "row": int(row),
                "input_ids": self.chats.input_ids(row),
                "labels": self.chats.labels(row),
                "prompt_length": int(self.chats.prompt_length(row)),
                "images": [self.image(number, read) for number in range(self.starts[row], self.starts[row + 1])],
            }
            for row in rows
        ]

    @property
    def starts(self) -> np.ndarray:
        """`[rows + 1]` int64, the number of images before those of each row."""
        return self.encoded.starts

    def image(self, number: int, read: dict[int, tuple[int, np.ndarray, int]]) -> tuple[int, np.ndarray, int]:
        """Returns an image as (key, tiles, aspect_ratio_id).

        Args:
            number: of the image over all rows.
            read: images that were read before, by key; the image is added to it.
        """
        key = int(self.keys[number])
        if key not in read:
            tiles, ratio = self.cached.view(number) if self.cached else self.reader(*self.encoded(number))
            read[key] = key, tiles, ratio
        return read[key]

    def image_groups(self) -> np.ndarray:
        """Returns `[rows]` int64, equal for rows whose images have the same bytes in the same order."""
        counts = np.diff(self.starts)
        single = counts == 1
        # Group 0: rows without an image. Groups 1 to len(keys): rows with one image, by its key. Above: several images.
        groups = np.zeros(len(self), np.int64)
        groups[single] = 1 + self.keys[self.starts[:-1][single]]
        known: dict[bytes, int] = {}  # the groups of rows with several images, by the bytes of their keys
        several = np.flatnonzero(counts > 1)
        for row in several:
            images = self.keys[self.starts[row] : self.starts[row + 1]].tobytes()
            groups[row] = known.setdefault(images, 1 + len(self.keys) + len(known))
        return groups


def decoder_rows(
    splits: dict[str, Any], chats: dict[str, Any], processor: Any, arguments: DecoderArguments
) -> dict[str, DecoderRows]:
    """Wraps the splits as DecoderRows.

    Args:
        splits: `datasets.Dataset` by name of the split.
        chats: ChatTokens by name of the split.
        processor: an MllamaProcessor.

    Raises:
        InputError: as DecoderRows and TileReader.
    """
    reader = TileReader.of(processor.image_processor, arguments.draft_decode)
    cache, workers = cache_folder(arguments.image_cache), arguments.image_workers or available_cpus()
    return {name: DecoderRows(rows, chats[name], reader, cache, workers) for name, rows in splits.items()}
