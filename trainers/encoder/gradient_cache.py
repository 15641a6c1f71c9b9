"""Computes the exact gradient of one contrastive loss over more pairs than fit into memory at once (GradCache).

1. Embed every micro-batch without a graph, and save the state of the random number generators for each.
2. Compute the loss over all these embeddings, of all processes, and its gradient with respect to each embedding.
3. Embed every micro-batch again, now with a graph and with the same random numbers, and backpropagate the gradients of
   step 2 from its embeddings into the towers. Their sum is the gradient of the loss, not an estimate.

Gao et al., 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv:2101.06983. Plain
gradient accumulation differs: it adds up the losses of micro-batches, each of which has only its own few negatives.

Three savings: the micro-batch embedded last in step 1 already has its graph and is not embedded again, so a contrast of
one micro-batch costs nothing extra; a text that belongs to several images is encoded once; and a frozen tower runs
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from trainers.base.distributed import gather_counts, world_size
from trainers.encoder.global_batch import GlobalRows, gather_rows, global_gradients

# The inputs of each tower, or its precomputed outputs. Nothing else in a batch is passed to the model.
TOWERS = {"image": ("pixel_values", "image_embeds"), "text": ("input_ids", "attention_mask", "text_embeds")}
IDS = ("group_ids", "image_ids")
Batch = dict[str, torch.Tensor]


class Contrast:
    """Computes the gradient of one loss over all pairs of several micro-batches.

        contrast = Contrast(batches, embed, loss_of, trainable={"image", "text"}, device=device)
        loss = contrast.compute()
        for step in range(len(batches)):
            contrast.surrogate(step).backward()

    accumulates the same gradients as `loss.backward()` after one forward pass over all pairs. Step k embeds the images
    of micro-batch k; the distinct texts are encoded in the last steps.

    Args:
        batches: micro-batches with `pixel_values` `[n, 3, H, W]`, `input_ids` `[n, L]`, perhaps `attention_mask`
            `[n, L]`, and `group_ids`, `image_ids` `[n]`, on any device. Every process has the same number of them.
            `image_embeds` `[n, D]` instead of the pixels, or `text_embeds` instead of the tokens, are precomputed
            outputs of a frozen tower.
        embed: `embed(inputs)` runs the model on the inputs of one tower or of both, on any device, and returns an
            output with `image_embeds` and `text_embeds` `[n, D]` of the given inputs, `logit_scale` and `logit_bias`.
            Embeddings among the inputs are returned unchanged.
        loss_of: see `global_gradients`.
        trainable: the towers with a trainable parameter; the others are run only once.
        device: the model's device.
        real: how many of the first rows of each micro-batch count; None for all. A distributed sampler pads the end of
            an epoch with rows that it has returned before: those are left out of the loss.
        fixed_shapes: pads the texts of a step to the size of a micro-batch, so that a compiled model sees no new
            shapes.

    Attributes:
        texts: the text tower's inputs `[T, L]` of the T distinct texts.
        text_of_row: `[N]` int64, the index in `texts` of each row that counts.
        chunks: by step, `[t]` int64, the indices of the texts that are encoded in it, padding included.
        text_counts: by step, how many of the first texts of its chunk count.
        random: by step, the random number generators before its micro-batch was embedded.
        gradients: of the loss with respect to image embeddings `[N, D]`, text embeddings `[T, D]`, scale and bias.
    """

    def __init__(
        self,
        batches: Sequence[Batch],
        embed: Callable[[Batch], Any],
        loss_of: Callable[..., torch.Tensor],
        *,
        trainable: set[str],
        device: torch.device,
        real: Sequence[int] | None = None,
        fixed_shapes: bool = False,
    ) -> None:
        self.batches, self.embed, self.loss_of, self.device = batches, embed, loss_of, device
        self.trainable = trainable
        self.last = len(batches) - 1
        lengths = [len(batch["image_ids"]) for batch in batches]
        self.real = lengths if real is None else list(real)
        self.texts, self.text_of_row = distinct_texts(batches, self.real)
        self.chunks, self.text_counts = self._text_chunks(max(lengths), fixed_shapes)
        self.random: dict[int, RandomState] = {}
        # The outputs of step 0 with their graph.
        self.first_outputs: Any = None
        self.rows: GlobalRows | None = None
        self.gradients: dict[str, torch.Tensor] = {}

    def _text_chunks(self, size: int, fixed_shapes: bool) -> tuple[dict[int, torch.Tensor], dict[int, int]]:
        """Distributes the distinct texts over the last steps.

        The last steps, because DDP sums the gradients over the processes in the last one, which therefore has to reach
        every parameter. The same steps in every process, because FSDP gathers the weights in all processes at once; a
        process with fewer texts encodes its first text again, without a gradient.

        Args:
            size: largest number of texts per step.

        Returns:
            `chunks` and `text_counts`, see Attributes.
        """
        number = len(next(iter(self.texts.values()))) if sum(self.real) else 0
        # -(-a // b) rounds up. All processes take as many steps as the one with the most texts.
        steps = max(1, *(own for (own,) in gather_counts([-(-number // size)], self.device)))
        # Sizes differ by at most 1; a part may be empty.
        parts = torch.arange(number).tensor_split(steps)
        first, width = len(self.batches) - steps, size if fixed_shapes else 1
        # F.pad appends index 0, the first text.
        chunks = {first + index: F.pad(part, (0, max(0, width - len(part)))) for index, part in enumerate(parts)}
        return chunks, {first + index: len(part) for index, part in enumerate(parts)}

    def compute(self) -> torch.Tensor:
        """Runs steps 1 and 2 of the algorithm.

        Returns:
            scalar, this process's share of the loss; the sum over the processes is the loss.
        """
        # tower -> step -> [n, D]
        found: dict[str, dict[int, torch.Tensor]] = {tower: {} for tower in TOWERS}
        # Step 0 is embedded last, with a graph: that graph is consumed before the next one is built.
        for step in range(self.last, -1, -1):
            trainable = self._trainable(step)
            # Frozen towers first and by themselves: they never need a graph.
            for towers in ([tower for tower in self._towers(step) if tower not in trainable], trainable):
                if not towers:
                    continue
                if step and towers is trainable:
                    self.random[step] = RandomState(self.device)
                outputs = self._run(step, towers, graph=step == 0 and towers is trainable)
                for tower in towers:
                    # A copy, because a CUDA graph overwrites its output at the next replay.
                    found[tower][step] = embeds_of(outputs, tower).detach().clone()
                if step == 0:
                    self.first_outputs = outputs
        return self._loss(found, outputs.logit_scale, outputs.logit_bias)

    def _loss(
        self, found: dict[str, dict[int, torch.Tensor]], logit_scale: torch.Tensor, logit_bias: torch.Tensor
    ) -> torch.Tensor:
        images = torch.cat([found["image"][step][:real] for step, real in enumerate(self.real)])  # [N, D]
        texts = torch.cat([found["text"][step][:count] for step, count in self.text_counts.items()])  # [T, D]
        text_of_row = self.text_of_row.to(self.device)
        ids = (real_rows(self.batches, name, self.real).to(self.device) for name in IDS)
        # texts[text_of_row]: [T, D] -> [N, D], one text per image
        self.rows = gather_rows(images, texts[text_of_row], *ids)
        result = global_gradients(self.rows, logit_scale, logit_bias, self.loss_of)
        self.gradients = {
            "image": result.image_embeds,
            # [N, D] -> [T, D]: the gradient of a text is the sum over the rows that have it.
            "text": torch.zeros_like(texts).index_add_(0, text_of_row, result.text_embeds),
            "logit_scale": result.logit_scale,
            "logit_bias": result.logit_bias,
        }
        return result.loss

    def idle(self, step: int) -> bool:
        """Returns whether a step has no gradient, and so no surrogate: frozen images and no texts."""
        return not self._trainable(step)

    def surrogate(self, step: int) -> torch.Tensor:
        """Runs step 3 of the algorithm for one micro-batch. Call it once per step, in order, after `compute`.

        Returns:
            scalar whose gradient is this micro-batch's contribution to the gradient of the loss: the sum of the
            products of the embeddings with the gradients of step 2. It is multiplied by the world size, because DDP
            and FSDP average gradients over the processes where the sum is needed.
        """
        if step == 0:
            outputs, self.first_outputs = self.first_outputs, None
        else:
            with self.random.pop(step).replayed():
                outputs = self._run(step, self._trainable(step), graph=True)
        total = torch.zeros((), device=self.device)
        for tower in self._trainable(step):
            embeds, gradient = embeds_of(outputs, tower), self._gradient(tower, step)  # [n + padding, D], [n, D]
            total = total + (embeds[: len(gradient)] * gradient).sum()
        if step == self.last:
            for name in ("logit_scale", "logit_bias"):
                total = total + (getattr(outputs, name) * self.gradients[name]).sum()
        return total * world_size()

    def _gradient(self, tower: str, step: int) -> torch.Tensor:
        """Returns `[n, D]`, the gradient with respect to the n embeddings of a step that count."""
        counts = dict(enumerate(self.real)) if tower == "image" else self.text_counts
        start = sum(count for other, count in counts.items() if other < step)
        return self.gradients[tower][start : start + counts[step]]

    def _towers(self, step: int) -> list[str]:
        return ["image", "text"] if step in self.chunks else ["image"]

    def _trainable(self, step: int) -> list[str]:
        """Returns the towers that need a graph. If both are frozen, the last texts do, for temperature and bias."""
        trainable = {"text"} if not self.trainable and step == self.last else self.trainable
        return [tower for tower in self._towers(step) if tower in trainable]

    def _run(self, step: int, towers: list[str], graph: bool) -> Any:
        inputs: Batch = {}
        if "image" in towers:
            inputs |= {name: self.batches[step][name] for name in TOWERS["image"] if name in self.batches[step]}
        if "text" in towers:
            inputs |= {name: values[self.chunks[step].to(values.device)] for name, values in self.texts.items()}
        with torch.set_grad_enabled(graph):
            return self.embed(inputs)


def embeds_of(outputs: Any, tower: str) -> torch.Tensor:
    """Returns the embeddings `[n, D]` of a tower, `image` or `text`."""
    return getattr(outputs, f"{tower}_embeds")


def real_rows(batches: Sequence[Batch], name: str, real: Sequence[int]) -> torch.Tensor:
    """Returns the rows that count of one tensor of all micro-batches, `[N, ...]`."""
    return torch.cat([batch[name][:count] for batch, count in zip(batches, real, strict=True)])


def distinct_texts(batches: Sequence[Batch], real: Sequence[int]) -> tuple[Batch, torch.Tensor]:
    """Finds the distinct texts among the rows that count, by their tokens. Precomputed embeddings are not compared.

    Returns:
        the text tower's inputs `[T, L]`, and `[N]` int64, the index of each row's text. Without any row that counts, T
        is 1 and N is 0.
    """
    names = [name for name in TOWERS["text"] if name in batches[0]]
    rows = {name: real_rows(batches, name, real) for name in names}
    if not sum(real):
        return {name: batches[0][name][:1] for name in names}, torch.zeros(0, dtype=torch.int64)
    if "text_embeds" in rows:
        return rows, torch.arange(sum(real))
    # [N, L], or [N, 2 L] with the attention mask: texts are equal if both are.
    together = torch.cat([rows[name].long() for name in names], dim=1)
    unique, text_of_row = torch.unique(together, dim=0, return_inverse=True)
    parts = unique.split([rows[name].shape[1] for name in names], dim=1)
    return {name: part.to(rows[name].dtype) for name, part in zip(names, parts, strict=True)}, text_of_row


class RandomState:
    """A snapshot of the random number generators of the CPU and of the accelerator."""

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
        """Repeats the same random numbers inside the context; afterwards the generators are as they were before it."""
        now = RandomState(self.device)
        self.restore()
        try:
            yield
        finally:
            now.restore()

    def _where(self) -> tuple[torch.device, ...]:
        # There is only one MPS device, and its functions take no argument.
        return () if self.device.type == "mps" else (self.device,)
