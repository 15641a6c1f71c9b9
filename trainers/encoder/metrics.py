"""Measures an encoder's training beside its loss: cosines of pairs, hardness of the negatives, and throughput.

Sums stay on the device over many updates; they are read, and added up over the processes, when a line is logged.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from modeling.siglip_medical.contrastive_loss import normalize
from trainers.base.callbacks import Stopwatch
from trainers.base.distributed import world_size
from trainers.encoder.global_batch import GlobalRows

# Image-text pairs per chunk: 4 Mi cosines in float32 take 16 MiB.
PAIRS_AT_ONCE = 1 << 22
# What `matching` sums over the images, in this order.
SUMS = ("images", "matched", "with_negatives", "hardest", "beaten")


class TrainingMeter(Stopwatch):
    """Collects figures of the updates since the last logged line.

    Attributes:
        sums: `[5]` float64, the values of SUMS of this process; None before the first update.
        largest: scalar float32, the highest cosine of an image with a negative.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sums: torch.Tensor | None = None
        self.largest: torch.Tensor | None = None

    def add(self, rows: GlobalRows) -> None:
        """Adds the rows of one contrastive batch, without waiting for the device."""
        sums, largest = matching(rows)
        self.sums = sums if self.sums is None else self.sums + sums
        self.largest = largest if self.largest is None else torch.maximum(self.largest, largest)

    def take(self) -> dict[str, float]:
        """Returns the figures over all processes and resets them. To be called by all processes or by none.

        Returns:
            an empty dict if there was no update; else `matched_cosine`, the mean cosine of an image with its own text;
            `hardest_negative_cosine` and `hardest_negative_cosine_max`, mean and maximum over the images of the
            highest cosine with a negative text; `hardest_negative_wins`, the fraction of images for which that cosine
            exceeds the one with their own text; and `images_per_second` of all processes together.
        """
        if self.sums is None or self.largest is None:
            return {}
        if world_size() > 1:
            dist.all_reduce(self.sums)
            dist.all_reduce(self.largest, op=dist.ReduceOp.MAX)
        sums = dict(zip(SUMS, self.sums.tolist(), strict=True))
        figures = {"matched_cosine": sums["matched"] / sums["images"]}
        if sums["with_negatives"]:
            figures |= {
                "hardest_negative_cosine": sums["hardest"] / sums["with_negatives"],
                "hardest_negative_cosine_max": self.largest.item(),
                "hardest_negative_wins": sums["beaten"] / sums["with_negatives"],
            }
        if self.seconds:
            figures["images_per_second"] = round(sums["images"] / self.seconds, 3)
        self.sums = self.largest = None
        self.seconds = 0.0
        return figures

    def state(self) -> dict[str, Any]:
        """Returns this process's figures for a checkpoint, as JSON values; JSON preserves floats exactly."""
        sums, largest = (None if values is None else values.tolist() for values in (self.sums, self.largest))
        return {"sums": sums, "largest": largest, "seconds": self.seconds}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Restores the result of `state`."""
        self.seconds = state["seconds"]
        if state["sums"] is not None:
            self.sums = torch.tensor(state["sums"], dtype=torch.float64, device=device)
            self.largest = torch.tensor(state["largest"], dtype=torch.float32, device=device)


@torch.no_grad()
def matching(rows: GlobalRows) -> tuple[torch.Tensor, torch.Tensor]:
    """Compares this process's N images with the M texts of all processes.

    A text is a negative of an image unless it is its own text, equals that text, or belongs to an equal image. For
    those an image with a high cosine is not wrong, whatever `positives` makes of them in the loss.

    Returns:
        `[5]` float64, the sums of the figures in SUMS over the images, and a scalar, the highest cosine of an image
        with a negative (-1 if there is none).
    """
    images, texts, ids = normalize(rows.image_embeds), normalize(rows.text_embeds), rows.ids
    # [N], [M]: text own[i] belongs to image i.
    own = torch.arange(len(images), device=images.device) + ids["offset"]
    matched = (images * texts[own]).sum(dim=1)  # [N]
    hardest = torch.full_like(matched, -torch.inf)
    size = max(1, PAIRS_AT_ONCE // len(texts))
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        same = ids["group_ids"][part, None] == ids["text_group_ids"]  # [n, M]
        same |= ids["image_ids"][part, None] == ids["text_image_ids"]
        same[torch.arange(len(same), device=same.device), own[part]] = True
        # [n, D] @ [D, M] -> [n, M] -> [n]
        hardest[part] = (images[part] @ texts.T).masked_fill(same, -torch.inf).amax(dim=1)
    has = hardest.isfinite()
    found = torch.where(has, hardest, 0.0)
    figures = [torch.ones_like(matched), matched, has, found, has & (hardest > matched)]
    # The appended -1, the lowest cosine, makes the maximum defined for a process without rows.
    highest = torch.cat([hardest, hardest.new_full((1,), -1.0)]).amax()
    return torch.stack([values.double().sum() for values in figures]), highest
