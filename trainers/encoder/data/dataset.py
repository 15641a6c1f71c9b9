"""Reads rows of the config `pairs`: pixels at the model's input size, the text, and ids of both.

The pixels come from the image cache or are decoded at each access; the values are the same. Augmentation happens here,
where the row number is known: in a given epoch a row looks the same in every process, batch and resumed run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.loading import InputError
from evaluation.scoring.encoder import content_id
from trainers.encoder.arguments import EncoderArguments
from trainers.images.augmentation import Augmentation
from trainers.images.cache_builder import cached_images, image_keys
from trainers.images.cache_location import available_cpus, cache_folder
from trainers.images.cache_reader import CachedImages
from trainers.images.encoded import read_encoded_image
from trainers.images.encoder_pixels import PixelReader


class EncodedImages:
    """Gives access to the encoded images of a dataset by row, without decoding and without a copy.

    Raises:
        InputError: the column `image` is missing or does not contain images, or a row has none.
    """

    def __init__(self, rows: Any) -> None:
        from datasets import Image

        if not isinstance(rows.features.get("image"), Image):
            raise InputError("--dataset: no column `image` of images; the config `pairs` of hub_datasets has one")
        names = [name for name in ("image", "image_path") if name in rows.column_names]
        self.rows = rows.select_columns(names).cast_column("image", Image(decode=False)).with_format("arrow")

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, row: int) -> tuple[bytes, str]:
        """Returns the bytes of a row's image and its name for messages, "--dataset, row 7 (knee/0001.png)"."""
        record = self.rows[row]
        shown = record["image_path"][0].as_py() if "image_path" in record.column_names else ""
        return read_encoded_image(record["image"][0], f"--dataset, row {row}", shown)


class EncoderRows(torch.utils.data.Dataset):
    """The rows for an EncoderCollator: dicts of `pixels` `[3, H, W]` uint8, `text`, `image_id` and `group_id`.

    Args:
        rows: a `datasets.Dataset` with the columns `image` and `text`.
        reader: decodes and resizes the images.
        cache: folder of all image caches; None decodes an image at each access.
        workers: number of threads that build the cache.
        augmentation: changes the pixels, differently in each epoch; None for no change.
        text_of: `text_of(text, epoch)` returns the part of a text to read in an epoch; None for the full text.

    Raises:
        InputError: the cache cannot be built. Without a cache, reading the row of a damaged image raises it.
    """

    def __init__(
        self,
        rows: Any,
        reader: PixelReader,
        cache: Path | None = None,
        workers: int = 1,
        augmentation: Augmentation | None = None,
        text_of: Callable[[str, int], str] | None = None,
    ) -> None:
        self.rows, self.reader, self.augmentation, self.text_of = rows, reader, augmentation, text_of
        self.encoded = EncodedImages(rows)
        self.texts = rows.select_columns(["text"]).with_format("arrow")[:]["text"]
        self.cached: CachedImages | None = None
        if cache is not None:
            self.cached = cached_images(cache, reader, len(rows), self.encoded, workers)
        # In shared memory, because persistent workers of a data loader outlive an epoch.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, which decides the augmentation and the texts of the rows that are read from now on."""
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.rows)

    def text(self, row: int) -> str:
        """Returns the text of a row in this epoch."""
        text = self.texts[row].as_py()
        return text if self.text_of is None else self.text_of(text, int(self.epoch))

    def __getitem__(self, row: int | str) -> Any:
        """Returns a row by its number, or a column by its name as a `datasets.Dataset` does."""
        if isinstance(row, str):
            return self.rows[row]
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[dict]:
        """Returns several rows, whose pixels are views of one array `[N, 3, H, W]`: collating them needs no copy."""
        pixels = np.empty((len(rows), *self.reader.shape), np.uint8)
        items = []
        for row, out in zip(rows, pixels, strict=True):
            if self.cached is not None:
                image_id = self.cached.read(row, out)
            else:
                out[:], image_id = self.reader(*self.encoded(row))
            if self.augmentation is not None:
                out[:] = self.augmentation(out, int(self.epoch), row)
            text = self.text(row)
            items.append({"pixels": out, "text": text, "image_id": image_id, "group_id": content_id(text)})
        return items

    def image_groups(self) -> np.ndarray:
        """Returns `[rows]` int64, equal for rows whose images have the same bytes."""
        if self.cached is not None:
            return self.cached.slots.astype(np.int64)
        return np.unique(image_keys(len(self), self.encoded), return_inverse=True)[1].reshape(-1)

    def text_groups(self) -> np.ndarray:
        """Returns `[rows]` int64, equal for rows with the same text."""
        ids = np.array([content_id(text.as_py()) for text in self.texts])
        return np.unique(ids, return_inverse=True)[1].reshape(-1)

    def sources(self) -> np.ndarray:
        """Returns `[rows]` int64, the number of each row's `source_dataset`; zeros without such a column."""
        if "source_dataset" not in self.rows.column_names:
            return np.zeros(len(self), np.int64)
        return np.unique(np.array(self.rows["source_dataset"][:]), return_inverse=True)[1].reshape(-1)


def encoder_rows(
    splits: dict[str, Any],
    processor: Any,
    arguments: EncoderArguments,
    seed: int,
    text_of: Callable[[str, int], str] | None = None,
) -> dict:
    """Wraps the splits as EncoderRows; only the training split is augmented.

    Args:
        splits: `datasets.Dataset` by name of the split.
        processor: a SiglipMedicalProcessor.
        seed: seed of the augmentation.
        text_of: see EncoderRows; for the training split only.

    Returns:
        EncoderRows by name of the split.

    Raises:
        InputError: as EncoderRows and PixelReader.
    """
    reader = PixelReader.of(processor.image_processor, arguments.draft_decode)
    light, flip = arguments.augment == "light", arguments.horizontal_flip
    augmentations = {arguments.train_split: Augmentation(seed, light, flip)} if light or flip else {}
    cache, workers = cache_folder(arguments.image_cache), arguments.image_workers or available_cpus()
    texts = {arguments.train_split: text_of}
    return {
        name: EncoderRows(rows, reader, cache, workers, augmentations.get(name), texts.get(name))
        for name, rows in splits.items()
    }
