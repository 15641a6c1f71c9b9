"""Orders the rows of an epoch so that rows of one image share a batch and batches contain little padding.

The vision tower, 18.6 TFLOP per image, is most of the forward pass of a short answer; it runs once for all rows of a
batch that show the same image. Rows beyond the batch size or `--rows_per_image` form separate chunks. Which rows form a
chunk, which chunks a batch, and the order of the batches are drawn again in each epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

# Batches per window within which chunks are sorted by length, as in transformers' LengthGroupedSampler.
WINDOW = 50
# Each length is scaled by a random factor from 0.8 to 1.2 before sorting, so that chunks differ between epochs.
JITTER = 0.2


class ImageGroupSampler(Sampler[int]):
    """Orders all rows so that each `batch_size` consecutive rows form a batch, for any number of processes.

    1. The rows of each image are split at random into chunks of `batch_size` or `rows_per_image` rows, and one smaller
       chunk of the remaining rows.
    2. Chunks in random order are packed so that they fill batches exactly.
    3. The chunks that fill no batch are placed one after another; one that crosses the end of a batch is split.
    4. The batches are shuffled; rows that are too few for a batch come last.

    The order depends on the seed and the epoch only, so that a resumed run can skip the rows it has processed.

    With `by_length`, the rows of an image are split in approximate order of their lengths, and chunks of equal size are
    sorted by length within windows of 50 batches, as rows are in transformers' LengthGroupedSampler. The batches are
    still shuffled; the longest is not first.

    Args:
        groups: `[rows]` integers, equal for rows that show the same images.
        lengths: `[rows]`, the number of tokens of each row.
        batch_size: rows per batch.
        rows_per_image: largest number of rows of an image that stay together; None for `batch_size`.
        seed: seed of the order.
        by_length: whether to group rows of similar length.

    Raises:
        ValueError: groups and lengths differ in length, or a size is below 1.
    """

    def __init__(
        self,
        groups: np.ndarray,
        lengths: np.ndarray,
        batch_size: int,
        rows_per_image: int | None,
        seed: int,
        by_length: bool,
    ) -> None:
        self.chunk = batch_size if rows_per_image is None else min(rows_per_image, batch_size)
        if len(groups) != len(lengths):
            raise ValueError(f"groups and lengths have {len(groups)} and {len(lengths)} rows")
        if self.chunk < 1:
            raise ValueError(f"batch_size {batch_size}, rows_per_image {rows_per_image}: at least 1")
        self.groups = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
        self.lengths = np.asarray(lengths, np.int64)
        self.batch_size, self.by_length = batch_size, by_length
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, which decides the order of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> np.ndarray:
        """Returns `[rows]` int64, every row once, in the order of this epoch."""
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, self.epoch])))
        rows = random.permutation(len(self))
        if self.batch_size == 1 or (self.chunk == 1 and not self.by_length):
            return rows
        rows, starts, sizes = self.split_into_chunks(rows, random)
        starts, sizes, remainder = self.set_remainder_aside(rows, starts, sizes, random)
        ordered = self.order_chunks(rows, starts, sizes, random)
        # [batches * batch_size] -> [batches, batch_size]
        batches = self.rows_of_chunks(rows, starts[ordered], sizes[ordered]).reshape(-1, self.batch_size)
        return np.concatenate([batches[random.permutation(len(batches))].reshape(-1), remainder])

    def set_remainder_aside(
        self, rows: np.ndarray, starts: np.ndarray, sizes: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Removes as many rows from random chunks as do not fill a batch.

        They are the last rows of the epoch. Random chunks, because otherwise they would be the chunks that fit nowhere,
        the same in each epoch.

        Returns:
            starts and sizes of the remaining chunks, and the removed rows.
        """
        drawn = random.permutation(len(sizes))
        before = np.cumsum(sizes[drawn]) - sizes[drawn]
        # Rows to take from the front of each drawn chunk: all of the first ones, a part of one, none of the others.
        taken = np.clip(len(rows) % self.batch_size - before, 0, sizes[drawn])
        remainder = self.rows_of_chunks(rows, starts[drawn], taken)
        starts[drawn] += taken
        sizes[drawn] -= taken
        return starts[sizes > 0], sizes[sizes > 0], remainder

    def order_chunks(
        self, rows: np.ndarray, starts: np.ndarray, sizes: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        """Returns the indices of all chunks: first those of the full batches, batch by batch, then the others."""
        # [chunks]: the length of the longest row of each chunk
        longest = np.maximum.reduceat(self.lengths[rows], starts) if len(starts) else starts
        batches, rest = self.pack(sizes, random.permutation(len(sizes)))
        left = np.array(rest, np.int64)
        # A second pass over the left chunks, largest first, packs more tightly.
        more, rest = self.pack(sizes, left[np.argsort(-sizes[left], kind="stable")])
        batches += more
        random.shuffle(batches)
        ordered = np.array([chunk for batch in batches for chunk in batch], np.int64)
        if self.by_length and len(ordered):
            # The window of each chunk: that of its batch.
            windows = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches]) // WINDOW
            # Only chunks of equal size can be exchanged without changing the size of a batch.
            for size in np.unique(sizes[ordered]):
                same = sizes[ordered] == size
                ordered[same] = self.sort_in_windows(ordered[same], windows[same], longest)
        rest = random.permutation(np.array(rest, np.int64))
        rest = self.sort_in_windows(rest, np.cumsum(sizes[rest]) // (WINDOW * self.batch_size), longest)
        return np.concatenate([ordered, rest])

    def pack(self, sizes: np.ndarray, order: np.ndarray) -> tuple[list[list[int]], list[int]]:
        """Packs chunks into batches by best fit: each chunk goes to the fullest batch that still has room for it.

        With chunks in random order most batches are mixtures like the dataset. A batch of long reports only, after one
        of short answers only, would give two updates in different directions.

        Args:
            sizes: `[chunks]`.
            order: indices of the chunks to pack, in this order.

        Returns:
            the chunks of each full batch, and the chunks that are in none.
        """
        full: list[list[int]] = []
        # by_space[s]: the open batches with room for s more rows.
        by_space: list[list[list[int]]] = [[] for _ in range(self.batch_size)]
        for chunk, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
            # The smallest sufficient room; a new batch has room for `batch_size` rows.
            space = next((room for room in range(size, self.batch_size) if by_space[room]), self.batch_size)
            batch = by_space[space].pop() if space < self.batch_size else []
            batch.append(chunk)
            (by_space[space - size] if space > size else full).append(batch)
        return full, [chunk for batches in by_space for batch in batches for chunk in batch]

    def split_into_chunks(
        self, shuffled: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Splits the rows of each image into chunks.

        Args:
            shuffled: `[rows]`, all rows in random order.

        Returns:
            rows, starts, sizes: chunk c is `rows[starts[c] : starts[c] + sizes[c]]`.
        """
        keys = [self.groups[shuffled]]
        if self.by_length:
            # Ascending or descending at random per image: the smaller last chunk does not always have the longest rows.
            about = self.lengths[shuffled] * random.uniform(1 - JITTER, 1 + JITTER, len(shuffled))
            keys.insert(0, about * random.choice([-1.0, 1.0], len(self))[keys[0]])
        # The last key of lexsort is the first criterion: by group, then by length. The sort is stable.
        rows = shuffled[np.lexsort(keys)]
        groups = self.groups[rows]
        # The number of each row within its group: `groups` is sorted, so that searchsorted finds the group's first row.
        rank = np.arange(len(rows)) - np.searchsorted(groups, groups)
        starts = np.flatnonzero(rank % self.chunk == 0)
        return rows, starts, np.diff(np.append(starts, len(rows)))

    def sort_in_windows(self, chunks: np.ndarray, windows: np.ndarray, longest: np.ndarray) -> np.ndarray:
        """Sorts the chunks of each window by length; without `by_length` returns them unchanged.

        Args:
            chunks: indices of chunks.
            windows: the window of each, ascending.
            longest: `[all chunks]`, the length of the longest row of each.
        """
        return chunks[np.lexsort((longest[chunks], windows))] if self.by_length else chunks

    @staticmethod
    def rows_of_chunks(rows: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Returns the rows of chunks, one after another."""
        # Position p of the output, within chunk c, reads rows[starts[c] + p - (sum of the sizes before c)].
        return rows[np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())]


def train_sampler(rows: Any, arguments: Any, training: Any) -> ImageGroupSampler:
    """Returns the sampler of the training rows.

    Args:
        rows: DecoderRows.
        arguments: DecoderArguments.
        training: TrainingArguments; `seed` is used if `data_seed` is None.
    """
    return ImageGroupSampler(
        rows.image_groups(),
        rows.chats.lengths,
        training.per_device_train_batch_size,
        arguments.rows_per_image,
        training.seed if training.data_seed is None else training.data_seed,
        arguments.group_by_length,
    )
