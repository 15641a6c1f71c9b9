"""Orders the rows of an epoch so that every batch has the dataset's mix of sources, and duplicates are far apart.

A contrastive loss asks which of the texts in a batch belongs to each image. Two rows with the same text, or the same
image, cost each other a negative, and a batch from a single source is easier or harder than the data as a whole. Random
order produces both by chance; `StratifiedSampler` avoids them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

RANDOM, STRATIFIED = "random", "stratified"
# Rows among which the sampler looks for one whose text and image have not occurred recently.
LOOK_AHEAD = 64


class StratifiedSampler(Sampler[int]):
    """Orders all rows so that every contiguous part, of whatever length, has the composition of the whole.

    The batches are contiguous parts of this one order, whatever their size and the number of processes that share
    them. The order depends on the seed and the epoch only, so that a resumed run can skip the rows it has processed.

    1. Within a source, the rows of each text (or of each image, if that has more rows) get evenly spaced positions from
       a random start. Rows without duplicates thereby get uniform positions, that is a random order.
    2. A row whose text or image occurred too recently is delayed until a few others have come.
    3. The sources are merged, each evenly spaced over the whole order.

    Args:
        sources, text_groups, image_groups: `[rows]` integers, equal for rows that share a source, a text, an image.
        seed: seed of the order.

    Raises:
        ValueError: the three arrays differ in length.
    """

    def __init__(self, sources: np.ndarray, text_groups: np.ndarray, image_groups: np.ndarray, seed: int) -> None:
        if not len(sources) == len(text_groups) == len(image_groups):
            lengths = f"{len(sources)}, {len(text_groups)} and {len(image_groups)}"
            raise ValueError(f"sources, text_groups and image_groups have {lengths} rows")
        self.sources, self.texts, self.images = (
            np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
            for groups in (sources, text_groups, image_groups)
        )
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, which decides the order of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> np.ndarray:
        """Returns `[rows]` int64, every row once, in the order of this epoch."""
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, self.epoch])))
        positions = np.empty(len(self))
        for source in range(self.sources.max(initial=-1) + 1):
            rows = np.flatnonzero(self.sources == source)
            spread = self.spread(rows, random)
            # Evenly spaced in [0, 1), with a random start for each source.
            positions[spread] = (np.arange(len(rows)) + random.random()) / len(rows)
        return np.argsort(positions, kind="stable")

    def spread(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Returns the rows of one source in an order in which equal texts and equal images are far apart."""
        # [n] each: how many rows of the source share the text, and the image, of each row
        text_counts, image_counts = (np.bincount(groups[rows])[groups[rows]] for groups in (self.texts, self.images))
        by_text = text_counts >= image_counts
        # Text groups are below len(self); the offset keeps image groups apart from them.
        groups = np.where(by_text, self.texts[rows], len(self) + self.images[rows])
        ordered = rows[np.argsort(even_positions(groups, random), kind="stable")]
        return self.deferred(ordered)

    def deferred(self, rows: np.ndarray) -> np.ndarray:
        """Moves a row back if its text or image occurred within half of the even distance between its rows.

        At each position the first of the next LOOK_AHEAD rows that need not wait is placed, or else the row with the
        shortest remaining wait.
        """
        # By group: half the distance that its rows have when they are evenly spaced.
        gaps = {}
        for name, groups in (("text", self.texts), ("image", self.images)):
            values, counts = np.unique(groups[rows], return_counts=True)
            gaps[name] = dict(zip(values.tolist(), (len(rows) / counts / 2).tolist(), strict=True))
        keys = list(zip(rows.tolist(), self.texts[rows].tolist(), self.images[rows].tolist(), strict=True))
        waiting, placed, next_key = [], [], 0
        # By group: the first position at which a text, or an image, may occur again.
        free_text: dict[int, float] = {}
        free_image: dict[int, float] = {}
        while len(placed) < len(rows):
            while len(waiting) < LOOK_AHEAD and next_key < len(keys):
                waiting.append(keys[next_key])
                next_key += 1
            position = len(placed)
            delays = (max(free_text.get(text, 0), free_image.get(image, 0)) - position for _, text, image in waiting)
            chosen, shortest = 0, float("inf")
            for number, delay in enumerate(delays):
                if delay < shortest:
                    chosen, shortest = number, delay
                if delay <= 0:
                    break
            row, text, image = waiting.pop(chosen)
            placed.append(row)
            free_text[text], free_image[image] = position + gaps["text"][text], position + gaps["image"][image]
        return np.array(placed, dtype=np.int64)


def even_positions(groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns positions `[rows]` in [0, 1): those of each group evenly spaced from a random start, in random order."""
    shuffled = random.permutation(len(groups))
    # The rows sorted by group, those of a group in random order.
    order = shuffled[np.argsort(groups[shuffled], kind="stable")]
    _, starts, members, counts = np.unique(groups[order], return_index=True, return_inverse=True, return_counts=True)
    members = members.reshape(-1)
    # The number of each row within its group, from 0: its index minus the index of the group's first row.
    rank = np.arange(len(groups)) - starts[members]
    positions = np.empty(len(groups))
    positions[order] = (rank + random.random(len(starts))[members]) / counts[members]
    return positions


def train_sampler(kind: str, rows: Any, seed: int) -> StratifiedSampler | None:
    """Returns the sampler that `--batch_sampler` names; None for that of Trainer.

    Args:
        kind: RANDOM or STRATIFIED.
        rows: EncoderRows.
        seed: seed of the order.
    """
    if kind == RANDOM:
        return None
    return StratifiedSampler(rows.sources(), rows.text_groups(), rows.image_groups(), seed)
