"""Exact gradients of one contrastive loss over more pairs than fit into memory at once (GradCache).

1. Every micro-batch is embedded without a graph, the state of the random numbers kept beside it.
2. The loss over all these embeddings, of all processes, gives the gradient by each of them.
3. Every micro-batch is embedded again, now with its graph and with the same random numbers, and the gradients of step 2
   are propagated from its embeddings into the towers. Added up they are the gradient of the loss, not an estimate.

Gao et al., 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv:2101.06983. Plain
accumulation is something else: it adds up losses over micro-batches, each with its own few negatives.

Three savings: the micro-batch embedded last in step 1 has its graph already and is not embedded again, so a contrast of
one micro-batch costs nothing extra; a text that stands beside many images is encoded once; and a frozen tower once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from trainers.base.distributed import gather_counts, world_size
from trainers.encoder.global_batch import GlobalRows, gather_rows, global_gradients

# What of a batch goes into which tower, or has come out of it before. All else that a batch may hold is not for the
# model.
TOWERS = {"image": ("pixel_values", "image_embeds"), "text": ("input_ids", "attention_mask", "text_embeds")}
IDS = ("group_ids", "image_ids")
Batch = dict[str, torch.Tensor]


class Contrast:
    """The micro-batches whose pairs are compared with each other, and what remains to be done for each of them.

        contrast = Contrast(batches, embed, loss_of, learning={"image", "text"}, device=device)
        loss = contrast.compute()
        for step in range(len(batches)):
            contrast.surrogate(step).backward()

    leaves in the parameters what `loss.backward()` of one forward pass over all the pairs would.

    Args:
        batches: micro-batches with `pixel_values` `[n, 3, H, W]`, `input_ids` `[n, L]`, perhaps `attention_mask`
            `[n, L]`, and `group_ids`, `image_ids` `[n]`, on any device. Every process has the same number of them.
            `image_embeds` `[n, D]` in the place of the pixels, or `text_embeds` in that of the tokens, are what a
            frozen tower has made of them.
        embed: `embed(inputs)` runs the model on the inputs of one tower or of both, wherever they lie, and returns
            its output with `image_embeds` and `text_embeds` `[n, D]` for what was given, `logit_scale`, `logit_bias`.
            Embeddings among the inputs come back as they are.
        loss_of: see `global_gradients`.
        learning: the towers with a parameter that learns; the others are embedded once and for all.
        device: where the model is.
        real: how many of the first rows of each micro-batch count. A sampler for several processes fills the end of an
            epoch up with rows that it has given out before: those are left out. None: all.
        fixed_shapes: fill the texts of a step up to a micro-batch, so that a compiled model sees no new shapes.
    """

    def __init__(
        self,
        batches: Sequence[Batch],
        embed: Callable[[Batch], Any],
        loss_of: Callable[..., torch.Tensor],
        *,
        learning: set[str],
        device: torch.device,
        real: Sequence[int] | None = None,
        fixed_shapes: bool = False,
    ) -> None:
        self.batches, self.embed, self.loss_of, self.device = batches, embed, loss_of, device
        self.learning = learning
        self.last = len(batches) - 1
        lengths = [len(batch["image_ids"]) for batch in batches]
        self.real = lengths if real is None else list(real)
        self.texts, self.text_of_row = distinct_texts(batches, self.real)
        self.chunks, self.text_counts = self._text_chunks(max(lengths), fixed_shapes)
        self.random: dict[int, RandomState] = {}
        self.first_outputs: Any = None  # of step 0, with its graph
        self.rows: GlobalRows | None = None
        self.gradients: dict[str, torch.Tensor] = {}

    def _text_chunks(self, size: int, fixed_shapes: bool) -> tuple[dict[int, torch.Tensor], dict[int, int]]:
        """Which of the distinct texts are encoded in which step, and how many of those count.

        In the last steps, because the last one, when DDP adds up the gradients of all processes, has to reach every
        parameter. In the same steps in every process, because FSDP gathers weights in all of them at once; who has
        fewer texts encodes one again, without a gradient.
        """
        number = len(next(iter(self.texts.values()))) if sum(self.real) else 0
        steps = max(1, *(own for (own,) in gather_counts([-(-number // size)], self.device)))
        parts = torch.arange(number).tensor_split(steps)
        first, width = len(self.batches) - steps, size if fixed_shapes else 1
        chunks = {first + place: F.pad(part, (0, max(0, width - len(part)))) for place, part in enumerate(parts)}
        return chunks, {first + place: len(part) for place, part in enumerate(parts)}

    def compute(self) -> torch.Tensor:
        """Steps 1 and 2. Returns this process's share of the loss: those of all processes add up to the loss."""
        found: dict[str, dict[int, torch.Tensor]] = {tower: {} for tower in TOWERS}
        for step in range(self.last, -1, -1):  # the first one last: its graph is used up before the next one is built
            learning = self._learning(step)
            for towers in ([tower for tower in self._towers(step) if tower not in learning], learning):
                if not towers:
                    continue
                if step and towers is learning:
                    self.random[step] = RandomState(self.device)
                outputs = self._run(step, towers, graph=step == 0 and towers is learning)
                for tower in towers:  # a copy: a CUDA graph writes its next output over this one
                    found[tower][step] = embeds_of(outputs, tower).detach().clone()
                if step == 0:
                    self.first_outputs = outputs
        return self._loss(found, outputs.logit_scale, outputs.logit_bias)

    def _loss(
        self, found: dict[str, dict[int, torch.Tensor]], logit_scale: torch.Tensor, logit_bias: torch.Tensor
    ) -> torch.Tensor:
        images = torch.cat([found["image"][step][:real] for step, real in enumerate(self.real)])
        texts = torch.cat([found["text"][step][:count] for step, count in self.text_counts.items()])
        text_of_row = self.text_of_row.to(self.device)
        ids = (real_rows(self.batches, name, self.real).to(self.device) for name in IDS)
        self.rows = gather_rows(images, texts[text_of_row], *ids)
        result = global_gradients(self.rows, logit_scale, logit_bias, self.loss_of)
        self.gradients = {
            "image": result.image_embeds,
            "text": torch.zeros_like(texts).index_add_(0, text_of_row, result.text_embeds),
            "logit_scale": result.logit_scale,
            "logit_bias": result.logit_bias,
        }
        return result.loss

    def idle(self, step: int) -> bool:
        """Whether nothing of a step learns, so that it has no surrogate: a frozen image tower and no texts."""
        return not self._learning(step)

    def surrogate(self, step: int) -> torch.Tensor:
        """Step 3: a scalar whose gradient is what this micro-batch contributes to that of the loss.

        Multiplied by the number of processes, whose mean DDP and FSDP take where the sum is wanted. To be asked for
        once, in the order of the steps, after `compute`.
        """
        if step == 0:
            outputs, self.first_outputs = self.first_outputs, None
        else:
            with self.random.pop(step).replayed():
                outputs = self._run(step, self._learning(step), graph=True)
        total = torch.zeros((), device=self.device)
        for tower in self._learning(step):
            embeds, gradient = embeds_of(outputs, tower), self._gradient(tower, step)
            total = total + (embeds[: len(gradient)] * gradient).sum()
        if step == self.last:
            for name in ("logit_scale", "logit_bias"):
                total = total + (getattr(outputs, name) * self.gradients[name]).sum()
        return total * world_size()

    def _gradient(self, tower: str, step: int) -> torch.Tensor:
        """`[n, D]`, by the first n embeddings of a step; what comes after them does not count."""
        counts = dict(enumerate(self.real)) if tower == "image" else self.text_counts
        start = sum(count for other, count in counts.items() if other < step)
        return self.gradients[tower][start : start + counts[step]]

    def _towers(self, step: int) -> list[str]:
        return ["image", "text"] if step in self.chunks else ["image"]

    def _learning(self, step: int) -> list[str]:
        """The towers that need a graph. With both frozen the last texts do, for temperature and bias."""
        learning = {"text"} if not self.learning and step == self.last else self.learning
        return [tower for tower in self._towers(step) if tower in learning]

    def _run(self, step: int, towers: list[str], graph: bool) -> Any:
        inputs: Batch = {}
        if "image" in towers:
            inputs |= {name: self.batches[step][name] for name in TOWERS["image"] if name in self.batches[step]}
        if "text" in towers:
            inputs |= {name: values[self.chunks[step].to(values.device)] for name, values in self.texts.items()}
        with torch.set_grad_enabled(graph):
            return self.embed(inputs)


def embeds_of(outputs: Any, tower: str) -> torch.Tensor:
    return getattr(outputs, f"{tower}_embeds")


def real_rows(batches: Sequence[Batch], name: str, real: Sequence[int]) -> torch.Tensor:
    return torch.cat([batch[name][:count] for batch, count in zip(batches, real, strict=True)])


def distinct_texts(batches: Sequence[Batch], real: Sequence[int]) -> tuple[Batch, torch.Tensor]:
    """The different texts among the rows that count, by their tokens; embeddings are left as they are.

    Returns:
        the text tower's inputs `[T, L]`, and for each row that counts which of them it has, `[N]`. Without any such
        row, T is 1 and N is 0.
    """
    names = [name for name in TOWERS["text"] if name in batches[0]]
    rows = {name: real_rows(batches, name, real) for name in names}
    if not sum(real):
        return {name: batches[0][name][:1] for name in names}, torch.zeros(0, dtype=torch.int64)
    if "text_embeds" in rows:
        return rows, torch.arange(sum(real))
    together = torch.cat([rows[name].long() for name in names], dim=1)
    unique, text_of_row = torch.unique(together, dim=0, return_inverse=True)
    parts = unique.split([rows[name].shape[1] for name in names], dim=1)
    return {name: part.to(rows[name].dtype) for name, part in zip(names, parts, strict=True)}, text_of_row


class RandomState:
    """The random numbers of the processor and of the accelerator as they stand now."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cpu = torch.get_rng_state()
        if device.type != "cpu":
            self.accelerator = torch.get_device_module(device).get_rng_state(*self._where())

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).set_rng_state(self.accelerator, *self._where())

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Inside, the same numbers come again; afterwards it goes on as if none had been drawn."""
        now = RandomState(self.device)
        self.restore()
        try:
            yield
        finally:
            now.restore()

    def _where(self) -> tuple[torch.device, ...]:
        return () if self.device.type == "mps" else (self.device,)  # of which there is one only
