"""Which pairs of a batch are positive, which are left out, and what does each positive weigh?

Nothing here is larger than the rows asked for: `PositivePairs` keeps ids of length M and compares them a few rows of
images at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

POSITIVES = ("pair", "group", "mask")
WEIGHTS = ("none", "inverse")


@dataclass(frozen=True)
class PositivePairs:
    """The pairs of N images, which are the rows `offset` to `offset + N` of M pairs, with all M texts.

    Attributes:
        positives: `pair`, `group` or `mask`, see `contrastive_loss`.
        images, texts: N and M.
        ids: `[M]` each; two pairs belong together where they agree in one of these.
        inverse_counts: `[M]`, 1/k of each pair's positives, or None where all weigh 1.
    """

    positives: str
    images: int
    texts: int
    offset: int
    ids: tuple[torch.Tensor, ...]
    inverse_counts: torch.Tensor | None

    def same(self, start: int, stop: int) -> torch.Tensor | None:
        """`[stop - start, M]`, true where an image's pair and a text's pair belong together, each with itself included.

        None where that is so of nothing but each row with itself.
        """
        same = None
        rows = slice(self.offset + start, self.offset + stop)
        for ids in self.ids:
            equal = ids[rows, None] == ids[None, :]
            same = equal if same is None else same.logical_or_(equal)
        return same

    def diagonal(self, values: torch.Tensor, start: int) -> torch.Tensor:
        """The view `[rows]` of each image with its own text in `values` `[rows, M]`, the first row being `start`."""
        return values.diagonal(self.offset + start)

    def weights(self, start: int, stop: int, same: torch.Tensor) -> torch.Tensor | None:
        """`[stop - start, M]`, what each pair weighs in the loss; None where all weigh 1."""
        if self.inverse_counts is None or self.positives != "group":
            return None
        half = self.inverse_counts / 2
        rows = half[self.offset + start : self.offset + stop, None]
        return torch.where(same, rows + half[None, :], half.new_ones(()))

    def rows_with_others(self) -> list[bool]:
        """For each of the N images: does it belong together with a text other than its own?"""
        if not self.ids:
            return [False] * self.images
        rows = slice(self.offset, self.offset + self.images)
        return torch.stack([counts(ids)[rows] > 1 for ids in self.ids]).any(dim=0).tolist()


def positive_pairs(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    *,
    positives: str,
    weights: str,
    offset: int,
    group_ids: torch.Tensor | None,
    image_ids: torch.Tensor | None,
    text_group_ids: torch.Tensor | None,
    text_image_ids: torch.Tensor | None,
) -> PositivePairs:
    """The pairs of these embeddings `[N, D]` and `[M, D]`; for the rest see `contrastive_loss`.

    Raises:
        ValueError: the ids do not fit the embeddings or each other.
    """
    images, texts = len(image_embeds), len(text_embeds)
    found = []
    for name, own, every in (
        ("group_ids", group_ids, text_group_ids),
        ("image_ids", image_ids, text_image_ids),
    ):
        ids = all_ids(name, own, every, images, texts, offset)
        if ids is not None and positives != "pair":
            found.append(ids.to(image_embeds.device))
    inverse = None
    if weights == "inverse" and positives == "group" and found:
        inverse = positives_of_each(found).to(torch.promote_types(image_embeds.dtype, torch.float32)).reciprocal()
    return PositivePairs(positives, images, texts, offset, tuple(found), inverse)


def all_ids(
    name: str, own: torch.Tensor | None, every: torch.Tensor | None, images: int, texts: int, offset: int
) -> torch.Tensor | None:
    """The ids `[M]` of all pairs, from those of the images `[N]` or of all of them; None where none were given."""
    if own is not None and own.shape != (images,):
        raise ValueError(f"{name} has the shape {list(own.shape)}, but there are {images} images: give [{images}]")
    if every is None:
        if own is not None and images != texts:
            raise ValueError(f"{images} images with {texts} texts: give text_{name}, the ids of all {texts} pairs")
        return own
    if every.shape != (texts,):
        raise ValueError(f"text_{name} has the shape {list(every.shape)}, but there are {texts} texts: give [{texts}]")
    if own is not None and bool((own.to(every.device) != every[offset : offset + images]).any()):
        raise ValueError(f"{name} differs from text_{name}[{offset}:{offset + images}]: offset or ids are wrong")
    return every


def positives_of_each(ids: list[torch.Tensor]) -> torch.Tensor:
    """`[M]`, with how many of all pairs each agrees in at least one id, itself included.

    Counted without comparing all with all: those with the same text, and those with the same image, less those with
    both.
    """
    number = counts(ids[0])
    if len(ids) == 2:
        first, second = (torch.unique(one, return_inverse=True)[1] for one in ids)
        number = number + counts(ids[1]) - counts(first * len(first) + second)
    return number


def counts(ids: torch.Tensor) -> torch.Tensor:
    """`[M]`, how often each id occurs."""
    _, inverse, number = torch.unique(ids, return_inverse=True, return_counts=True)
    return number[inverse]
