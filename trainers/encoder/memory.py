"""How much memory will a training of the encoder take, and what takes it?

One update is run without any data: its tensors have shapes, types and lifetimes, but no content (FakeTensorMode of
PyTorch), so a model of any size is run through in seconds on a machine that could not hold it. Every piece of memory
is noted when it is taken and when it is given back, with what it is for; the answer is what lay there at the moment
when most of it did. No formula has to know what a layer keeps for its backward pass: autograd itself decides it here.

What no tensor shows is left out: the CUDA context (about 0.5 GB, which torch.cuda.max_memory_allocated leaves out,
too), scratch space within single operations, memory that an allocator holds in reserve, and Python's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from trainers.memory.optimizer_state import EIGHT_BIT, STATE_BYTES, switch_checkpointing
from trainers.memory.tracker import (
    GRADIENTS,
    KINDS,
    LOSS,
    OPTIMIZER,
    PIXELS,
    WEIGHTS,
    WORKSPACE,
    Ledger,
    MemoryEstimate,
    size_of,
    tagged_modules,
    without_content,
)

FLOAT = 4


@dataclass(frozen=True)
class UpdateShape:
    """What of an update decides its memory, in one process.

    Attributes:
        micro_batch: images that are embedded at a time.
        texts: distinct texts that are encoded beside them, at most.
        micro_batches: of an update; with more than one the gradients of the last one are there when the next begins.
        contrast: pairs that the loss compares, of all processes.
        waiting: micro-batches whose pixels wait where the model is.
        pixel_bytes: of a colour value while it waits: 1, or 4 where it is normalised already.
        text_length: tokens of a text.
        bf16: whether the forward pass is computed in bfloat16.
        activation_checkpointing: whether layers are computed again in the backward pass.
        optim: TrainingArguments' name of the optimizer.
        processes: how many train together.
        sharded: whether they share weights, gradients and optimizer among them (FSDP).
    """

    micro_batch: int
    texts: int
    micro_batches: int = 1
    contrast: int = 0
    waiting: int = 1
    pixel_bytes: int = 1
    text_length: int = 64
    bf16: bool = False
    activation_checkpointing: bool = False
    optim: str = "adamw_torch_fused"
    processes: int = 1
    sharded: bool = False


def estimate_memory(model: torch.nn.Module, shape: UpdateShape) -> MemoryEstimate:
    """The memory of one update, the second or a later one: the first has no optimizer state yet.

    Args:
        model: a SiglipMedicalModel, perhaps with frozen parts or adapters. Its weights are not looked at, only their
            shapes: it may be on the meta device. It is emptied: weights and buffers are replaced by fake ones.
        shape: what is run.
    """
    from trainers.encoder.tuning import learning_towers

    vision, width = model.config.vision_config, model.config.vision_config.hidden_size
    ledger = Ledger()
    with FakeTensorMode(allow_non_fake_inputs=True):
        empty(model)
        model.train()  # dropout, where a model has any, keeps its mask
        switch_checkpointing(model, shape.activation_checkpointing)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        with ledger, tagged_modules(model, ledger):
            share = shape.processes if shape.sharded else 1
            with ledger.tag(WEIGHTS):
                for parameter in (*model.parameters(), *model.buffers()):
                    ledger.note(parameter)
            kept = [ledger.reserve(OPTIMIZER, state_bytes(shape.optim, trainable) // share)]
            if shape.processes > 1 and not shape.sharded:  # DDP's buckets
                kept.append(ledger.reserve(GRADIENTS, sum(size_of(parameter) for parameter in trainable)))
            if shape.micro_batches > 1:
                with ledger.tag(GRADIENTS):
                    for parameter in trainable:
                        parameter.grad = torch.empty_like(parameter)
            pixels = shape.micro_batch * 3 * vision.image_size**2
            kept.append(ledger.reserve(PIXELS, shape.waiting * pixels * shape.pixel_bytes))
            # the embeddings of both towers, the texts of all rows, and the gradients by them
            kept.append(ledger.reserve(LOSS, 5 * shape.contrast * width * FLOAT))
            run_update(model, shape, ledger, learning_towers(model))
    del kept
    parts = {kind: ledger.peak[kind] for kind in KINDS}
    if shape.sharded:
        for kind in (WEIGHTS, GRADIENTS):
            parts[kind] //= shape.processes
    return MemoryEstimate(parts)


def estimate_evaluation(model: torch.nn.Module, shape: UpdateShape, batch: int) -> MemoryEstimate:
    """The memory of embedding a batch while the optimizer waits; see `estimate_memory`."""
    vision = model.config.vision_config
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ledger = Ledger()
    with FakeTensorMode(allow_non_fake_inputs=True):
        empty(model)
        model.eval()
        with ledger, tagged_modules(model, ledger), torch.no_grad():
            with ledger.tag(WEIGHTS):
                for tensor in (*model.parameters(), *model.buffers()):
                    ledger.note(tensor)
            state = ledger.reserve(OPTIMIZER, state_bytes(shape.optim, trainable))
            with ledger.tag(PIXELS):
                pixels = torch.empty(batch, vision.num_channels, vision.image_size, vision.image_size)
                tokens = torch.empty(batch, shape.text_length, dtype=torch.int64)
            with torch.autocast("cpu", torch.bfloat16, enabled=shape.bf16):
                model(pixel_values=pixels, input_ids=tokens, return_logits=False)
    del state
    return MemoryEstimate({kind: ledger.peak[kind] for kind in KINDS})


def run_update(model: torch.nn.Module, shape: UpdateShape, ledger: Ledger, learning: set[str]) -> None:
    """Forward and backward of one micro-batch, as `gradient_cache.Contrast` does them."""
    vision = model.config.vision_config
    with ledger.tag(PIXELS):
        inputs = {
            "pixel_values": torch.empty(shape.micro_batch, vision.num_channels, vision.image_size, vision.image_size),
            "input_ids": torch.empty(max(shape.texts, 1), shape.text_length, dtype=torch.int64),
        }
    of_tower = {"image": ["pixel_values"], "text": ["input_ids"]}

    def embed(towers: set[str], graph: bool) -> Any:
        given = {name: inputs[name] for tower in towers for name in of_tower[tower]}
        with torch.set_grad_enabled(graph), torch.autocast("cpu", torch.bfloat16, enabled=shape.bf16):
            return model(**given, return_logits=False)

    frozen = {"image", "text"} - learning
    if frozen and learning:
        embed(frozen, graph=False)
    outputs = embed(learning or {"text"}, graph=True)
    loss = ledger.reserve(LOSS, loss_bytes(shape, vision.hidden_size))
    del loss
    embeds = [tensor for tensor in (outputs.image_embeds, outputs.text_embeds) if tensor is not None]
    total = sum((tensor * torch.empty_like(tensor)).sum() for tensor in (*embeds, outputs.logit_scale))
    del outputs, embeds
    with ledger.tag(WORKSPACE):
        total.backward()


def loss_bytes(shape: UpdateShape, width: int) -> int:
    """What `contrastive_loss` takes beside its inputs, see there and in chunked_contrastive_loss.py."""
    from modeling.siglip_medical.chunked_contrastive_loss import DEFAULT_CHUNK_LOGITS
    from modeling.siglip_medical.contrastive_loss import MAX_UNCHUNKED_PAIRS

    own = -(-shape.contrast // shape.processes)
    pairs = own * shape.contrast
    embeddings = 3 * (own + shape.contrast) * width * FLOAT
    if pairs <= MAX_UNCHUNKED_PAIRS:
        return embeddings + 6 * pairs * FLOAT  # logits, signed logits, losses, and the gradients by them
    return embeddings + 3 * min(pairs, max(DEFAULT_CHUNK_LOGITS, 32 * shape.contrast)) * FLOAT


def state_bytes(optim: str, trainable: list[torch.nn.Parameter]) -> int:
    each = EIGHT_BIT if "8bit" in optim else STATE_BYTES.get(optim, 8)
    return round(sum(parameter.numel() for parameter in trainable) * each)


def empty(model: torch.nn.Module) -> None:
    """Replaces weights and buffers by ones without content; to be called in a FakeTensorMode."""
    model.config.text_attention_mask = False  # a mask without content cannot be looked at; it takes next to nothing
    without_content(model)
