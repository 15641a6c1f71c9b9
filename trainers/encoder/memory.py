"""Estimates the GPU memory of a training run of the encoder, and what takes it, without running it on a GPU.

One update runs on tensors with shapes, types and lifetimes but no content (PyTorch's FakeTensorMode), so that a model
of any size takes seconds on a machine that could not hold it. Every allocation is recorded with its purpose until its
release; the estimate is the state at the peak. No formula has to know what a layer saves for its backward pass:
autograd decides it here as it does in the training.

The estimate leaves out what no tensor shows: the CUDA context (about 0.5 GB, which torch.cuda.max_memory_allocated
leaves out, too), scratch space within single operations, the allocator's reserve, and Python's own memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from trainers.memory.optimizer_state import EIGHT_BIT_STATE_BYTES, STATE_BYTES, set_activation_checkpointing
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
    drop_contents,
    size_of,
    tagged_modules,
)

# Bytes of a float32.
FLOAT = 4


@dataclass(frozen=True)
class UpdateShape:
    """The sizes and settings of an update that determine its memory in one process.

    Attributes:
        micro_batch: number of images that are embedded at a time.
        texts: largest number of distinct texts that are encoded with them.
        micro_batches: per update; with more than one, the gradients of the previous one exist when the next starts.
        contrast: number of pairs that the loss compares, over all processes.
        waiting: number of micro-batches whose pixels wait on the model's device.
        pixel_bytes: bytes of a color value while it waits: 1, or 4 if it is normalized already.
        text_length: tokens per text.
        bf16: whether the forward pass runs in bfloat16.
        activation_checkpointing: whether the backward pass recomputes the layers.
        optim: name of the optimizer in TrainingArguments.
        processes: number of processes that train together.
        sharded: whether they shard weights, gradients and optimizer state (FSDP).
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
    """Estimates the memory of an update, the second or a later one: the first has no optimizer state yet.

    Args:
        model: a SiglipMedicalModel, with or without frozen parts or adapters, for example on the meta device: only the
            shapes of its weights are used. Its weights and buffers are replaced with fake ones.
        shape: the update to run.
    """
    from trainers.encoder.tuning import trainable_towers

    vision, width = model.config.vision_config, model.config.vision_config.hidden_size
    ledger = Ledger()
    with FakeTensorMode(allow_non_fake_inputs=True):
        drop_model_contents(model)
        model.train()  # dropout, if the model has any, saves its mask
        set_activation_checkpointing(model, shape.activation_checkpointing)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        with ledger, tagged_modules(model, ledger):
            share = shape.processes if shape.sharded else 1
            with ledger.tag(WEIGHTS):
                for parameter in (*model.parameters(), *model.buffers()):
                    ledger.note(parameter)
            kept = [ledger.reserve(OPTIMIZER, state_bytes(shape.optim, trainable) // share)]
            if shape.processes > 1 and not shape.sharded:
                # The buckets of DDP hold a copy of all gradients.
                kept.append(ledger.reserve(GRADIENTS, sum(size_of(parameter) for parameter in trainable)))
            if shape.micro_batches > 1:
                with ledger.tag(GRADIENTS):
                    for parameter in trainable:
                        parameter.grad = torch.empty_like(parameter)
            pixels = shape.micro_batch * 3 * vision.image_size**2
            kept.append(ledger.reserve(PIXELS, shape.waiting * pixels * shape.pixel_bytes))
            # [contrast, width] five times: the embeddings of both towers, the texts of all rows, and two gradients.
            kept.append(ledger.reserve(LOSS, 5 * shape.contrast * width * FLOAT))
            run_update(model, shape, ledger, trainable_towers(model))
    del kept
    parts = {kind: ledger.peak[kind] for kind in KINDS}
    if shape.sharded:
        for kind in (WEIGHTS, GRADIENTS):
            parts[kind] //= shape.processes
    return MemoryEstimate(parts)


def estimate_evaluation(model: torch.nn.Module, shape: UpdateShape, batch: int) -> MemoryEstimate:
    """Estimates the memory of embedding an evaluation batch while the optimizer state stays; see `estimate_memory`.

    Args:
        batch: number of images, and of texts, per batch.
    """
    vision = model.config.vision_config
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ledger = Ledger()
    with FakeTensorMode(allow_non_fake_inputs=True):
        drop_model_contents(model)
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


def run_update(model: torch.nn.Module, shape: UpdateShape, ledger: Ledger, trainable: set[str]) -> None:
    """Runs the forward and backward pass of one micro-batch as `gradient_cache.Contrast` does."""
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

    frozen = {"image", "text"} - trainable
    if frozen and trainable:
        embed(frozen, graph=False)
    outputs = embed(trainable or {"text"}, graph=True)
    loss = ledger.reserve(LOSS, loss_bytes(shape, vision.hidden_size))
    del loss
    embeds = [tensor for tensor in (outputs.image_embeds, outputs.text_embeds) if tensor is not None]
    total = sum((tensor * torch.empty_like(tensor)).sum() for tensor in (*embeds, outputs.logit_scale))
    del outputs, embeds
    with ledger.tag(WORKSPACE):
        total.backward()


def loss_bytes(shape: UpdateShape, width: int) -> int:
    """Returns the bytes that `contrastive_loss` allocates besides its inputs, in one process.

    Args:
        width: of the embeddings.
    """
    from modeling.siglip_medical.chunked_contrastive_loss import DEFAULT_CHUNK_LOGITS
    from modeling.siglip_medical.contrastive_loss import MAX_UNCHUNKED_PAIRS

    # This process compares its own images with all texts: [own, contrast] logits. -(-a // b) rounds up.
    own = -(-shape.contrast // shape.processes)
    pairs = own * shape.contrast
    # At most three tensors as large as own images and all texts: normalized embeddings and gradients.
    embeddings = 3 * (own + shape.contrast) * width * FLOAT
    if pairs <= MAX_UNCHUNKED_PAIRS:
        # [own, contrast] six times: logits, signed logits, losses, and the gradient of each.
        return embeddings + 6 * pairs * FLOAT
    # Three buffers of one chunk of logits; a chunk has at least 32 images.
    return embeddings + 3 * min(pairs, max(DEFAULT_CHUNK_LOGITS, 32 * shape.contrast)) * FLOAT


def state_bytes(optim: str, trainable: list[torch.nn.Parameter]) -> int:
    """Returns the bytes of the optimizer's state for float32 parameters."""
    each = EIGHT_BIT_STATE_BYTES if "8bit" in optim else STATE_BYTES.get(optim, 8)
    return round(sum(parameter.numel() for parameter in trainable) * each)


def drop_model_contents(model: torch.nn.Module) -> None:
    """Replaces weights and buffers with fake ones, in place. Call it inside a FakeTensorMode."""
    # The model would read the values of the mask, which fake tensors do not have; the mask takes almost no memory.
    model.config.text_attention_mask = False
    drop_contents(model)
