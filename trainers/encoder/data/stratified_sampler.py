"""In which order do the rows of an epoch come? Either as the Trainer draws them, or spread by source and duplicates.

A batch of a contrastive loss is a question: which of these texts belongs to this image? Two rows with the same text, or
the same image, take one negative away from each other, and a batch of one source is an easier question, or a harder
one, than the data ask. Drawn at random both happen by chance; `StratifiedSampler` keeps chance out of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

RANDOM, STRATIFIED = "random", "stratified"
LOOK_AHEAD = 64  # rows among which one is sought whose text and image have not been seen lately


class StratifiedSampler(Sampler[int]):
    """An order of all rows in which every stretch, however long, is like the whole.

    The batches of a run are stretches of this one order, whatever their size and however many processes share them, so
    it is the same for each. It depends on the seed and the epoch alone: a resumed run skips what it has had.

    Within a source the rows of one text, or of one image where that has more, are put at even distances from a random
    start. Rows that stand alone fall anywhere: among them the order is a random one. Then a row whose text or image
    came a short while ago waits for a few others. Last, the sources are merged, each at even distances of its own.

    Args:
        sources, text_groups, image_groups: `[rows]` integers, equal where the rows share a source, a text, an image.
        seed: of the training.

    Raises:
        ValueError: the three have not the same length.
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
        """Chooses the order of the next `iter`."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> np.ndarray:
        """`[rows]`: every row once, in the order of this epoch."""
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, self.epoch])))
        places = np.empty(len(self))
        for source in range(self.sources.max(initial=-1) + 1):
            rows = np.flatnonzero(self.sources == source)
            spread = self.spread(rows, random)
            places[spread] = (np.arange(len(rows)) + random.random()) / len(rows)
        return np.argsort(places, kind="stable")

    def spread(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Rows of one source, equal texts and equal images far from each other."""
        text_counts, image_counts = (np.bincount(groups[rows])[groups[rows]] for groups in (self.texts, self.images))
        by_text = text_counts >= image_counts
        groups = np.where(by_text, self.texts[rows], len(self) + self.images[rows])
        ordered = rows[np.argsort(even_places(groups, random), kind="stable")]
        return self.deferred(ordered)

    def deferred(self, rows: np.ndarray) -> np.ndarray:
        """The rows with those moved back whose text or image came within half of its even distance."""
        gaps = {}
        for name, groups in (("text", self.texts), ("image", self.images)):
            values, counts = np.unique(groups[rows], return_counts=True)
            gaps[name] = dict(zip(values.tolist(), (len(rows) / counts / 2).tolist(), strict=True))
        keys = list(zip(rows.tolist(), self.texts[rows].tolist(), self.images[rows].tolist(), strict=True))
        waiting, placed, next_key = [], [], 0
        free_text: dict[int, float] = {}  # the first position at which a text, or an image, may come again
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


def even_places(groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """`[rows]` in [0, 1): the members of a group, in random order, at even distances from a random start."""
    shuffled = random.permutation(len(groups))
    order = shuffled[np.argsort(groups[shuffled], kind="stable")]
    _, starts, members, counts = np.unique(groups[order], return_index=True, return_inverse=True, return_counts=True)
    members = members.reshape(-1)
    rank = np.arange(len(groups)) - starts[members]
    places = np.empty(len(groups))
    places[order] = (rank + random.random(len(starts))[members]) / counts[members]
    return places


def train_sampler(kind: str, rows: Any, seed: int) -> StratifiedSampler | None:
    """What `_get_train_sampler` of a Trainer is to return for `--batch_sampler`; None leaves it to the Trainer.

    Args:
        rows: EncoderRows.
    """
    if kind == RANDOM:
        return None
    return StratifiedSampler(rows.sources(), rows.text_groups(), rows.image_groups(), seed)
