"""Finds the positive pairs of a batch, the pairs that are masked out, and the weight of each positive.

`PositivePairs` stores ids of length M and compares them for a few rows of images at a time, so it never holds a matrix
of all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

POSITIVES = ("pair", "group", "mask")
WEIGHTS = ("none", "inverse")


@dataclass(frozen=True)
class PositivePairs:
    """Relates N images, the rows `offset` to `offset + N - 1` of M pairs, to all M texts.

    Attributes:
        positives: `pair`, `group` or `mask`, see `contrastive_loss`.
        images: N.
        texts: M.
        offset: the row of the first image among all M pairs.
        ids: id tensors `[M]`; an image and a text match if their rows agree in at least one of these.
        inverse_counts: `[M]`, 1/k for a row with k positives, or None if all pairs have the weight 1.
    """

    positives: str
    images: int
    texts: int
    offset: int
    ids: tuple[torch.Tensor, ...]
    inverse_counts: torch.Tensor | None

    def find_matches(self, start: int, stop: int) -> torch.Tensor | None:
        """Returns `[stop - start, M]` bool, the texts that match the images `start` to `stop - 1`, their own included.

        Returns None if there are no ids, so that each image matches only its own text.
        """
        matches = None
        rows = slice(self.offset + start, self.offset + stop)
        for ids in self.ids:
            equal = ids[rows, None] == ids[None, :]  # (n, 1) == (1, M) -> (n, M)
            matches = equal if matches is None else matches.logical_or_(equal)
        return matches

    def diagonal(self, values: torch.Tensor, start: int) -> torch.Tensor:
        """Returns a view `[n]` of the entries of `values` `[n, M]` at each image's own text.

        Args:
            start: the index of the image in the first row.
        """
        return values.diagonal(self.offset + start)

    def compute_weights(self, start: int, stop: int, matches: torch.Tensor) -> torch.Tensor | None:
        """Returns the weights `[stop - start, M]` of the pairs in the loss, or None if all are 1.

        Args:
            matches: the result of `find_matches` for these rows.
        """
        if self.inverse_counts is None or self.positives != "group":
            return None
        # A positive (i, j) has the weight (1 / k_i + 1 / k_j) / 2.
        half = self.inverse_counts / 2
        rows = half[self.offset + start : self.offset + stop, None]
        return torch.where(matches, rows + half[None, :], half.new_ones(()))

    def find_rows_with_others(self) -> list[bool]:
        """Returns for each of the N images whether it matches a text other than its own."""
        if not self.ids:
            return [False] * self.images
        rows = slice(self.offset, self.offset + self.images)
        return torch.stack([count_ids(ids)[rows] > 1 for ids in self.ids]).any(dim=0).tolist()


def find_positive_pairs(
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
    """Returns the pairs of `[N, D]` image and `[M, D]` text embeddings; for the arguments see `contrastive_loss`.

    Raises:
        ValueError: the ids do not fit the embeddings or each other.
    """
    images, texts = len(image_embeds), len(text_embeds)
    found = []
    for name, own, all_ids in (
        ("group_ids", group_ids, text_group_ids),
        ("image_ids", image_ids, text_image_ids),
    ):
        ids = check_ids(name, own, all_ids, images, texts, offset)
        if ids is not None and positives != "pair":
            found.append(ids.to(image_embeds.device))
    inverse = None
    if weights == "inverse" and positives == "group" and found:
        inverse = count_positives(found).to(torch.promote_types(image_embeds.dtype, torch.float32)).reciprocal()
    return PositivePairs(positives, images, texts, offset, tuple(found), inverse)


def check_ids(
    name: str, own: torch.Tensor | None, all_ids: torch.Tensor | None, images: int, texts: int, offset: int
) -> torch.Tensor | None:
    """Returns the ids `[M]` of all pairs, or None if none are given.

    Args:
        name: the argument that `own` was given as.
        own: `[N]`, the ids of the images.
        all_ids: `[M]`, the ids of all pairs; None if N equals M and `own` holds them.

    Raises:
        ValueError: a shape is wrong, the ids of all pairs are missing, or the two tensors disagree.
    """
    if own is not None and own.shape != (images,):
        raise ValueError(f"{name} has the shape {list(own.shape)}, but there are {images} images. Give [{images}].")
    if all_ids is None:
        if own is not None and images != texts:
            raise ValueError(
                f"{name} has the ids of {images} images, but there are {texts} texts. Give text_{name} as well, the "
                f"ids of all {texts} pairs."
            )
        return own
    if all_ids.shape != (texts,):
        raise ValueError(
            f"text_{name} has the shape {list(all_ids.shape)}, but there are {texts} texts. Give [{texts}]."
        )
    if own is not None and bool((own.to(all_ids.device) != all_ids[offset : offset + images]).any()):
        raise ValueError(
            f"{name} differs from text_{name}[{offset}:{offset + images}]. Give ids and offset of the same rows."
        )
    return all_ids


def count_positives(ids: list[torch.Tensor]) -> torch.Tensor:
    """Returns `[M]`, the number of pairs that agree with each pair in at least one id, itself included.

    It avoids comparing all pairs with all: pairs with the same text, plus pairs with the same image, minus pairs
    with both.
    """
    number = count_ids(ids[0])
    if len(ids) == 2:
        first, second = (torch.unique(one, return_inverse=True)[1] for one in ids)
        # Both are below M, so first * M + second is a unique id of the combination.
        number = number + count_ids(ids[1]) - count_ids(first * len(first) + second)
    return number


def count_ids(ids: torch.Tensor) -> torch.Tensor:
    """Returns `[M]`, the number of occurrences of each id."""
    _, inverse, number = torch.unique(ids, return_inverse=True, return_counts=True)
    return number[inverse]
