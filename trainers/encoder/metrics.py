"""What a training of the encoder logs beside its loss: how pairs match, how hard the negatives are, how fast it goes.

Sums are kept on the device over many updates; they are read, and added up over the processes, when a line is logged.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from modeling.siglip_medical.contrastive_loss import normalize
from trainers.base.callbacks import Stopwatch
from trainers.base.distributed import world_size
from trainers.encoder.global_batch import GlobalRows

PAIRS_AT_ONCE = 1 << 22  # of images with texts: 16 MiB of cosines
SUMS = ("images", "matched", "with_negatives", "hardest", "beaten")


class TrainingMeter(Stopwatch):
    """Collects figures of the updates since the last logged line."""

    def __init__(self) -> None:
        super().__init__()
        self.sums: torch.Tensor | None = None
        self.largest: torch.Tensor | None = None

    def add(self, rows: GlobalRows) -> None:
        """Adds the rows of one contrast, without waiting for the device."""
        sums, largest = matching(rows)
        self.sums = sums if self.sums is None else self.sums + sums
        self.largest = largest if self.largest is None else torch.maximum(self.largest, largest)

    def take(self) -> dict[str, float]:
        """The figures of all processes, and begins anew. To be called by all processes, or by none.

        Returns:
            nothing where there was no update; else `matched_cosine`, the mean cosine of an image with its own text;
            `hardest_negative_cosine` and `hardest_negative_cosine_max`, mean and maximum over the images of the
            highest cosine with a text that is not one of its own; `hardest_negative_wins`, the share of images for
            which that is higher than the cosine with their own; and `images_per_second` of all processes together.
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
        """What a checkpoint has to hold of this process's figures, for JSON, which keeps every digit of a float."""
        sums, largest = (None if values is None else values.tolist() for values in (self.sums, self.largest))
        return {"sums": sums, "largest": largest, "seconds": self.seconds}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Goes on with what `state` gave."""
        self.seconds = state["seconds"]
        if state["sums"] is not None:
            self.sums = torch.tensor(state["sums"], dtype=torch.float64, device=device)
            self.largest = torch.tensor(state["largest"], dtype=torch.float32, device=device)


@torch.no_grad()
def matching(rows: GlobalRows) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over this process's images of the figures in `SUMS`, `[5]`, and the highest cosine with a negative.

    A text is a negative of an image if it is not its own, nor equal to that, nor beside an equal image: whatever
    `positives` makes of those, an image that is near to them is not wrong.
    """
    images, texts, ids = normalize(rows.image_embeds), normalize(rows.text_embeds), rows.ids
    own = torch.arange(len(images), device=images.device) + ids["offset"]
    matched = (images * texts[own]).sum(dim=1)  # [N]
    hardest = torch.full_like(matched, -torch.inf)
    size = max(1, PAIRS_AT_ONCE // len(texts))
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        same = ids["group_ids"][part, None] == ids["text_group_ids"]  # [n, M]
        same |= ids["image_ids"][part, None] == ids["text_image_ids"]
        same[torch.arange(len(same), device=same.device), own[part]] = True
        hardest[part] = (images[part] @ texts.T).masked_fill(same, -torch.inf).amax(dim=1)
    has = hardest.isfinite()
    found = torch.where(has, hardest, 0.0)
    figures = [torch.ones_like(matched), matched, has, found, has & (hardest > matched)]
    highest = torch.cat([hardest, hardest.new_full((1,), -1.0)]).amax()
    return torch.stack([values.double().sum() for values in figures]), highest
