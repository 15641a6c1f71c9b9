"""Rows of the config `chat` as the decoder's trainer reads them: tokens, and the tiles of each image once.

A data set of questions repeats its images: SLAKE asks 6 to 41 questions about one. Every row names its images by a
number of the distinct ones, so that whoever makes a batch sees which rows share them. What is kept in memory for a row
is two numbers; tokens and tiles are read from files that are mapped to memory, by every process of a loader alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.loading import InputError
from trainers.decoder.arguments import DecoderInputArguments
from trainers.images.cache_builder import cached_images, image_keys
from trainers.images.cache_location import cache_folder, processors
from trainers.images.cache_reader import CachedImages
from trainers.images.decoder_tiles import TileReader
from trainers.images.encoded import encoded_image


class ChatImages:
    """The bytes of the images of conversations as they lie in the dataset, numbered through all rows.

    Attributes:
        starts: `[rows + 1]` int64; row r has the images from `starts[r]` up to `starts[r + 1]`.

    Raises:
        InputError: the column `images` is missing or holds no lists of images.
    """

    def __init__(self, rows: Any) -> None:
        from datasets import Image

        if not isinstance(getattr(rows.features.get("images"), "feature", None), Image):
            raise InputError(
                "--dataset: no column `images` of lists of images; the config `chat` of hub_datasets has one"
            )
        names = [name for name in ("images", "image_path") if name in rows.column_names]
        # The arrow format decodes nothing; to cast a list of images would write all of them to a file once more.
        self.rows = rows.select_columns(names).with_format("arrow")
        lists = (self.rows[row]["images"][0] for row in range(len(rows)))
        counts = (len(images) if images.is_valid else 0 for images in lists)
        self.starts = np.concatenate([[0], np.cumsum(np.fromiter(counts, np.int64, len(rows)))])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __call__(self, number: int) -> tuple[bytes, str]:
        """(the bytes of an image, "row 7, image 2 (slake/0001.jpg)"). Raises InputError where there are none."""
        row = int(np.searchsorted(self.starts, number, side="right")) - 1
        record = self.rows[row]
        images, place = record["images"][0], number - int(self.starts[row])
        where = f"--dataset, row {row}" + (f", image {place + 1}" if len(images) > 1 else "")
        shown = record["image_path"][0].as_py() if "image_path" in record.column_names and not place else ""
        return encoded_image(images[place], where, shown)


class DecoderRows(torch.utils.data.Dataset):
    """What a DecoderCollator gets of each row: `row`, `input_ids`, `labels`, `prompt_length` and `images`.

    `images` is a list of (key, tiles, aspect_ratio_id), in the order of the row: `key` is a number of the distinct
    images of the dataset, `tiles` `[n, 3, H, W]` uint8 those that the image has, not to be written to, and
    `aspect_ratio_id` counts from 1. Rows of one `__getitems__` that share an image share the array.

    Args:
        rows: a `datasets.Dataset` with the column `images`.
        chats: the tokens of the rows: `input_ids(row)` and `labels(row)` `[L]` int64, `prompt_length(row)`.
        reader: how images become tiles.
        cache: folder of the image caches; None decodes an image every time it is asked for.
        workers: threads that build the cache.

    Raises:
        InputError: the cache cannot be built. Without a cache, a damaged image raises it when its row is read.
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
        """A row; for the name of a column that column, as a `datasets.Dataset` gives it."""
        if isinstance(row, str):
            return self.rows[row]
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[dict]:
        """Several rows, each distinct image of which is read once."""
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
        """`[rows + 1]` int64: how many images lie before those of each row."""
        return self.encoded.starts

    def image(self, number: int, read: dict[int, tuple[int, np.ndarray, int]]) -> tuple[int, np.ndarray, int]:
        """One of all images of all rows, as (key, tiles, aspect_ratio_id); from `read` where its key is there."""
        key = int(self.keys[number])
        if key not in read:
            tiles, ratio = self.cached.view(number) if self.cached else self.reader(*self.encoded(number))
            read[key] = key, tiles, ratio
        return read[key]

    def image_groups(self) -> np.ndarray:
        """`[rows]` int64: equal for rows whose images have the same bytes, in the same order."""
        counts = np.diff(self.starts)
        single = counts == 1
        groups = np.zeros(len(self), np.int64)  # rows without an image are one group
        groups[single] = 1 + self.keys[self.starts[:-1][single]]
        known: dict[bytes, int] = {}  # of rows with several images, which are few
        several = np.flatnonzero(counts > 1)
        for row in several:
            images = self.keys[self.starts[row] : self.starts[row + 1]].tobytes()
            groups[row] = known.setdefault(images, 1 + len(self.keys) + len(known))
        return groups


def decoder_rows(
    splits: dict[str, Any], chats: dict[str, Any], processor: Any, arguments: DecoderInputArguments
) -> dict[str, DecoderRows]:
    """The splits as DecoderRows.

    Args:
        splits: `datasets.Dataset` by name.
        chats: their ChatTokens by the same names.

    Raises:
        InputError: as DecoderRows and TileReader do.
    """
    reader = TileReader.of(processor.image_processor, arguments.draft_decode)
    cache, workers = cache_folder(arguments.image_cache), arguments.image_workers or processors()
    return {name: DecoderRows(rows, chats[name], reader, cache, workers) for name, rows in splits.items()}
