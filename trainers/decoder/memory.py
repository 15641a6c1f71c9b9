"""Estimates the GPU memory of a training run of the decoder, and what takes it, without running it on a GPU.

One update runs on tensors without content, as in `encoder/memory.py`: Llama 3.2 11B takes seconds on a machine that
could not hold it. The model is the one that is trained, with its adapters, its 4-bit or 8-bit layers
(`memory/quantized_shapes.py`) and its patched forward pass (`modeling/mllama/patch.py`). Masks, labels and indices keep
their values (`memory/fake_values.py`), because these decide what is computed: the vision tower runs once per distinct
image, and the head only at labels.

The estimate leaves out what no tensor shows: the CUDA context and kernels (0.5 to 1 GB), scratch space within single
operations, and fragmentation of the allocator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from modeling.mllama.chunked_cross_entropy import IGNORE_INDEX
from modeling.mllama.patch import find_decoder, prepare_mllama
from trainers.decoder.quantization import QUANTIZED_LAYERS, quantization_flag
from trainers.decoder.tuning import set_trainable
from trainers.memory.fake_values import KnownValues
from trainers.memory.optimizer_state import EIGHT_BIT_STATE_BYTES, STATE_BYTES, set_activation_checkpointing
from trainers.memory.quantized_shapes import quantize_shapes
from trainers.memory.tracker import (
    COPIES,
    GRADIENTS,
    LOSS,
    OPTIMIZER,
    PIXELS,
    TEXT,
    VISION,
    WORKSPACE,
    Ledger,
    MemoryEstimate,
    drop_contents,
    size_of,
    tagged_modules,
)

TOWER_WEIGHTS, SELF_WEIGHTS = "weights: vision tower, projector", "weights: self-attention layers"
CROSS_WEIGHTS, WORD_WEIGHTS = "weights: cross-attention layers", "weights: embeddings and head"
ADAPTER_WEIGHTS, GATHERED = "weights: adapters", "weights gathered for a layer"
WEIGHT_KINDS = (TOWER_WEIGHTS, SELF_WEIGHTS, CROSS_WEIGHTS, WORD_WEIGHTS, ADAPTER_WEIGHTS)
CROSS = "cross-attention states, keys, values"
KINDS = (*WEIGHT_KINDS, GATHERED, GRADIENTS, OPTIMIZER, VISION, CROSS, TEXT, COPIES, LOSS, PIXELS, WORKSPACE)
TITLES = {TEXT: "activations of the text decoder", LOSS: "head and loss"}
# Bytes of a float32.
FLOAT = 4


@dataclass(frozen=True)
class DecoderUpdate:
    """The sizes and settings of an update that determine its memory in one process.

    Attributes:
        rows: per micro-batch.
        tokens: per row, padding included.
        answer_tokens: labels per row.
        images: distinct images per micro-batch.
        tiles: non-empty tiles per image, 1 to 4; the vision tower runs on all four.
        images_in_row: images per row.
        micro_batches: per update; with more than one, the gradients of the previous one exist when the next starts.
        bf16: whether the forward pass runs in bfloat16 (autocast).
        activation_checkpointing: whether the backward pass recomputes the text layers.
        optim: name of the optimizer in TrainingArguments.
        processes: number of processes that train together.
        sharded: whether they shard weights, gradients and optimizer state (FSDP2, ZeRO-3).
    """

    rows: int = 1
    tokens: int = 512
    answer_tokens: int = 64
    images: int = 1
    tiles: int = 4
    images_in_row: int = 1
    micro_batches: int = 4
    bf16: bool = True
    activation_checkpointing: bool = False
    optim: str = "adamw_torch_fused"
    processes: int = 1
    sharded: bool = False


def bare_decoder(config: Any, arguments: Any, dtype: torch.dtype) -> torch.nn.Module:
    """Builds the model that `load_decoder` and `set_trainable` would return on the meta device, without memory.

    Args:
        config: an MllamaConfig.
        arguments: DecoderArguments: scope, adapters and quantization.
        dtype: dtype of the weights.

    Raises:
        InputError: as `set_trainable`.
    """
    from transformers import MllamaForConditionalGeneration

    # A copy, because creating a model changes its configuration.
    config = type(config).from_dict(config.to_dict())
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = MllamaForConditionalGeneration._from_config(config, dtype=dtype)
    quantize_shapes(model, quantization_flag(arguments), QUANTIZED_LAYERS)
    with torch.device("meta"):
        model = set_trainable(model, arguments)
    prepare_mllama(model, getattr(arguments, "isolate_rows", True))
    return model


def estimate_decoder(model: torch.nn.Module, update: DecoderUpdate) -> MemoryEstimate:
    """Estimates the memory of an update, the second or a later one: the first has no optimizer state yet.

    Args:
        model: from `bare_decoder`. Its weights and buffers are replaced with fake ones.
        update: the update to run.
    """
    ledger = Ledger()
    batch = small_tensors(update, find_decoder(model).config.vision_config.max_num_tiles)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, KnownValues(fake) as known:
        drop_contents(model)
        model.train()
        checkpoint_layers(model, update.activation_checkpointing)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        share = update.processes if update.sharded else 1
        with ledger, tagged_modules(model, ledger, part_of):
            kept = note_weights(model, ledger, update)
            kept.append(ledger.reserve(OPTIMIZER, state_bytes(update, trainable) // share))
            if update.sharded:
                # The accumulated gradients are sharded and in float32; the full gradient of a layer lives only until it
                # is reduced and split, which the hook imitates.
                kept.append(ledger.reserve(GRADIENTS, FLOAT * sum(one.numel() for one in trainable) // share))
                for parameter in trainable:
                    parameter.register_post_accumulate_grad_hook(drop_gradient)
            elif update.processes > 1:
                # The buckets of DDP hold a copy of all gradients.
                kept.append(ledger.reserve(GRADIENTS, sum(size_of(parameter) for parameter in trainable)))
            if update.micro_batches > 1 and not update.sharded:
                with ledger.tag(GRADIENTS):
                    for parameter in trainable:
                        parameter.grad = torch.empty_like(parameter)
            run_update(model, batch, update, ledger, known)
    del kept
    return MemoryEstimate({kind: ledger.peak[kind] for kind in KINDS})


def run_update(
    model: torch.nn.Module, batch: dict[str, torch.Tensor], update: DecoderUpdate, ledger: Ledger, known: KnownValues
) -> None:
    """Runs the forward and backward pass of one micro-batch as DecoderTrainer does."""
    size = find_decoder(model).config.vision_config
    side, tiles = size.image_size, update.images * update.tiles
    # [tiles, 3, side, side] uint8 for each micro-batch of an update, and for one that is prefetched.
    waiting = ledger.reserve(PIXELS, (update.micro_batches + 1) * tiles * 3 * side**2)
    with ledger.tag(PIXELS):
        batch = {name: known.add(values) for name, values in batch.items()}
        for values in batch.values():
            ledger.note(values)
        # [N, T, 3, H, W] float32
        pixels = torch.empty(update.images, size.max_num_tiles, size.num_channels, side, side)
    with ledger.tag(LOSS), torch.autocast("cpu", torch.bfloat16, enabled=update.bf16):
        loss = model(**batch, pixel_values=pixels, num_items_in_batch=update.rows * update.answer_tokens).loss
    with ledger.tag(WORKSPACE):
        loss.backward()
    del waiting, pixels, batch


def small_tensors(update: DecoderUpdate, slots: int) -> dict[str, torch.Tensor]:
    """Returns a batch with values but without pixels: full rows whose last tokens are the labels.

    See DecoderCollator for the letters of the shapes.

    Args:
        slots: T, the number of tiles that an image can have.
    """
    rows, tokens = update.rows, update.tokens
    labels = torch.full((rows, tokens), IGNORE_INDEX)  # [B, L]
    labels[:, tokens - update.answer_tokens :] = 0
    present = torch.zeros(update.images, slots, dtype=torch.long)  # [N, T]
    present[:, : update.tiles] = 1
    # [B, M], the images assigned to the rows in turn.
    index = torch.arange(rows * update.images_in_row).reshape(rows, -1) % update.images
    # present[index]: [B, M, T] -> [B, L, M, T]: every token sees all images of its row.
    visible = present[index][:, None].expand(-1, tokens, -1, -1).contiguous()
    return {
        "input_ids": torch.zeros(rows, tokens, dtype=torch.long),
        "attention_mask": torch.ones(rows, tokens, dtype=torch.long),
        "labels": labels,
        "cross_attention_mask": visible,
        "aspect_ratio_ids": torch.ones(update.images, dtype=torch.long),
        "aspect_ratio_mask": present,
        "image_index": index,
    }


# --- kinds of memory ---


def part_of(name: str) -> str | None:
    """Returns the kind of the activations of a module, by its name; None to count them with the module around it."""
    last = name.rsplit(".", 1)[-1]
    if "vision_model" in name.split("."):
        return VISION if last == "vision_model" or last.isdigit() else None
    if last in ("multi_modal_projector", "cross_attn"):
        return CROSS
    if "language_model" in name.split("."):
        return TEXT if last == "language_model" or last.isdigit() else None
    return CROSS if last == "model" and name != "base_model" else LOSS if last == "lm_head" else None


def weight_kind(name: str, cross_layers: list[int]) -> str:
    """Returns the kind of a weight, one of WEIGHT_KINDS.

    Args:
        cross_layers: numbers of the cross-attention layers.
    """
    parts = name.split(".")
    if any(part.startswith("lora_") for part in parts):
        return ADAPTER_WEIGHTS
    if "vision_model" in parts or "multi_modal_projector" in parts:
        return TOWER_WEIGHTS
    if "layers" in parts:
        return CROSS_WEIGHTS if int(parts[parts.index("layers") + 1]) in cross_layers else SELF_WEIGHTS
    return WORD_WEIGHTS


def note_weights(model: torch.nn.Module, ledger: Ledger, update: DecoderUpdate) -> list[torch.Tensor]:
    """Counts weights and buffers; if sharded, this process's share and what is gathered at a time.

    Returns:
        tensors that hold the counted memory; keep them until the estimate is done.
    """
    cross_layers = find_decoder(model).config.text_config.cross_attention_layers
    kept, shares, layers, outside = [], dict.fromkeys(WEIGHT_KINDS, 0), {}, 0
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        kind = weight_kind(name, cross_layers)
        if not update.sharded:
            ledger.note(tensor, kind)
            continue
        # Registered, so that views of it are not counted; `start_over` then removes it, as only its share exists.
        ledger.note(tensor, "unsharded")
        # Trainable weights are stored in float32 and gathered in 16 bits.
        shares[kind] += max(size_of(tensor), FLOAT * tensor.numel() if tensor.requires_grad else 0)
        gathered = tensor.numel() * min(tensor.element_size(), 2 if update.bf16 else FLOAT)
        if (layer := layer_name(name)) is None:
            outside += gathered
        else:
            layers[layer] = layers.get(layer, 0) + gathered
    if update.sharded:
        ledger.start_over()
        kept += [ledger.reserve(kind, size // update.processes) for kind, size in shares.items()]
        # Weights outside of layers stay gathered. Three times the largest layer: its weights, the prefetched weights of
        # the next one, and the buffer that they were gathered in.
        kept.append(ledger.reserve(GATHERED, outside + 3 * max(layers.values(), default=0)))
    return kept


def layer_name(name: str) -> str | None:
    """Returns the name of the layer that a weight belongs to, None if it is in none."""
    parts = name.split(".")
    # "model.layers.3.mlp.weight" -> "model.layers.3"
    return ".".join(parts[: parts.index("layers") + 2]) if "layers" in parts else None


def drop_gradient(parameter: torch.nn.Parameter) -> None:
    """Frees the gradient of a parameter."""
    parameter.grad = None


def state_bytes(update: DecoderUpdate, trainable: list[torch.nn.Parameter]) -> int:
    """Returns the bytes of the optimizer's state, in the dtype of the weights (float32 if sharded), before sharding."""
    if "8bit" in update.optim:
        return round(EIGHT_BIT_STATE_BYTES * sum(parameter.numel() for parameter in trainable))
    # State tensors per weight: 2 for AdamW.
    copies = STATE_BYTES.get(update.optim, 8) / FLOAT
    sizes = (FLOAT * one.numel() if update.sharded else size_of(one) for one in trainable)
    return round(copies * sum(sizes))


def checkpoint_layers(model: torch.nn.Module, enabled: bool) -> None:
    """Enables or disables activation checkpointing of the text layers."""
    set_activation_checkpointing(find_decoder(model), enabled)
