"""In which order do the rows of an epoch come, so that rows of one image share a batch, and a batch has little padding?

A vision tower of 18.6 TFLOP an image is most of a short answer's forward; it runs once for all rows of a batch that
show the image. Rows of an image that a batch cannot hold, or that `--rows_per_image` keeps apart, are chunks of their
own. Which rows make a chunk, which chunks a batch, and in which order the batches come is drawn anew in each epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

WINDOW = 50  # batches that are sorted by length together: transformers' LengthGroupedSampler has as many
JITTER = 0.2  # share of its length by which a row is taken for shorter or longer: rows meet other rows in each epoch


class ImageGroupSampler(Sampler[int]):
    """An order of all rows whose stretches of `batch_size` are the batches, whatever number of processes shares them.

    The rows of an image are cut at random into chunks of `batch_size` or `rows_per_image` rows and one with what
    remains. Chunks in random order are put together so that they fill batches whole; what then remains is laid end to
    end, and a chunk that crosses the end of a batch is in two. The order depends on the seed and the epoch
    alone: a resumed run skips what it has had.

    With `by_length`, an image's rows are cut into chunks in about the order of their lengths, and chunks change places
    among 50 batches at a time, those with long rows to those with long rows, as rows do in transformers'
    LengthGroupedSampler. The batches themselves come at random; the longest is not first.

    Args:
        groups: `[rows]` integers, equal for rows that show the same images.
        lengths: `[rows]` tokens of each row.
        batch_size: rows of a batch.
        rows_per_image: most rows of an image that are kept together; as many as a batch holds if None.
        seed: of the training.
        by_length: put rows of similar length together.

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
        """Chooses the order of the next `iter`."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> np.ndarray:
        """`[rows]` int64: every row once, in the order of this epoch."""
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, self.epoch])))
        rows = random.permutation(len(self))
        if self.batch_size == 1 or (self.chunk == 1 and not self.by_length):
            return rows
        rows, starts, sizes = self.chunks(rows, random)
        starts, sizes, remainder = self.set_aside(rows, starts, sizes, random)
        chosen = self.arranged(rows, starts, sizes, random)
        batches = self.flat(rows, starts[chosen], sizes[chosen]).reshape(-1, self.batch_size)
        return np.concatenate([batches[random.permutation(len(batches))].reshape(-1), remainder])

    def set_aside(
        self, rows: np.ndarray, starts: np.ndarray, sizes: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(starts, sizes, remainder): chunks that fill batches, and the rows that are too few for one.

        These come last. They are of any image: of one whose chunks fit in nowhere they would be the same each time.
        """
        drawn = random.permutation(len(sizes))
        before = np.cumsum(sizes[drawn]) - sizes[drawn]
        taken = np.clip(len(rows) % self.batch_size - before, 0, sizes[drawn])  # from the front of each chunk
        remainder = self.flat(rows, starts[drawn], taken)
        starts[drawn] += taken
        sizes[drawn] -= taken
        return starts[sizes > 0], sizes[sizes > 0], remainder

    def arranged(
        self, rows: np.ndarray, starts: np.ndarray, sizes: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        """The numbers of all chunks, those of a batch one after the other; last those that fill none as they are."""
        longest = np.maximum.reduceat(self.lengths[rows], starts) if len(starts) else starts
        batches, rest = self.packed(sizes, random.permutation(len(sizes)))
        left = np.array(rest, np.int64)
        more, rest = self.packed(sizes, left[np.argsort(-sizes[left], kind="stable")])  # closer, of what is left
        batches += more
        random.shuffle(batches)
        chosen = np.array([chunk for batch in batches for chunk in batch], np.int64)
        if self.by_length and len(chosen):
            windows = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches]) // WINDOW
            for size in np.unique(sizes[chosen]):  # a chunk changes places with others of its size
                same = sizes[chosen] == size
                chosen[same] = self.sorted_in_windows(chosen[same], windows[same], longest)
        rest = random.permutation(np.array(rest, np.int64))
        rest = self.sorted_in_windows(rest, np.cumsum(sizes[rest]) // (WINDOW * self.batch_size), longest)
        return np.concatenate([chosen, rest])

    def packed(self, sizes: np.ndarray, order: np.ndarray) -> tuple[list[list[int]], list[int]]:
        """Batches that whole chunks fill, and the chunks that are left over.

        Each chunk, in the given order, goes to the batch that it fills best (best fit, a heuristic of bin packing). As
        the order is random, most batches are mixtures like the whole: one of long reports alone, after one of short
        answers alone, would be two updates that pull apart.
        """
        whole: list[list[int]] = []
        by_space: list[list[list[int]]] = [[] for _ in range(self.batch_size)]  # batches that have so much room
        for chunk, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
            space = next((room for room in range(size, self.batch_size) if by_space[room]), self.batch_size)
            batch = by_space[space].pop() if space < self.batch_size else []
            batch.append(chunk)
            (by_space[space - size] if space > size else whole).append(batch)
        return whole, [chunk for batches in by_space for batch in batches for chunk in batch]

    def chunks(self, shuffled: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows, starts, sizes): chunk c is `rows[starts[c] : starts[c] + sizes[c]]`, rows of one image."""
        keys = [self.groups[shuffled]]
        if self.by_length:
            # Rows of an image in order of about their lengths; from short to long or back, for the last chunk is small.
            about = self.lengths[shuffled] * random.uniform(1 - JITTER, 1 + JITTER, len(shuffled))
            keys.insert(0, about * random.choice([-1.0, 1.0], len(self))[keys[0]])
        rows = shuffled[np.lexsort(keys)]
        groups = self.groups[rows]
        rank = np.arange(len(rows)) - np.searchsorted(groups, groups)
        starts = np.flatnonzero(rank % self.chunk == 0)
        return rows, starts, np.diff(np.append(starts, len(rows)))

    def sorted_in_windows(self, chunks: np.ndarray, windows: np.ndarray, longest: np.ndarray) -> np.ndarray:
        """The chunks with those of a window, a number that never falls along them, sorted by length."""
        return chunks[np.lexsort((longest[chunks], windows))] if self.by_length else chunks

    @staticmethod
    def flat(rows: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """The rows of chunks, one after the other."""
        return rows[np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())]


def order_of(rows: Any, arguments: Any, training: Any) -> ImageGroupSampler:
    """The order in which a training reads its rows.

    Args:
        rows: DecoderRows.
        arguments: DecoderInputArguments.
        training: TrainingArguments; without a `data_seed`, which may be 0, the seed is that of the training.
    """
    return ImageGroupSampler(
        rows.image_groups(),
        rows.chats.lengths,
        training.per_device_train_batch_size,
        arguments.rows_per_image,
        training.seed if training.data_seed is None else training.data_seed,
        arguments.group_by_length,
    )
