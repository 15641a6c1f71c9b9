"""Estimates the GPU memory of a training of the decoder, and what takes it, without running it on a GPU.

One update runs on tensors without content, as the encoder's does (`encoder/memory.py`): Llama 3.2 11B takes seconds on
a machine that could not hold it. The model is the one that trains, with its adapters, its 4-bit or 8-bit layers
(`memory/quantized_shapes.py`) and its patched forward (`modeling/mllama/patch.py`). Masks, labels and indices keep
their values (`memory/fake_values.py`), because their content decides what is computed: the vision tower is counted once
for each distinct image, and the head only where there are labels.

The estimate leaves out what no tensor shows: the CUDA context and kernels (0.5 to 1 GB), scratch space within single
operations, and fragmentation of the allocator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from modeling.mllama.patch import find_decoder, prepare_mllama
from trainers.decoder.quantization import QUANTISED, chosen_bits
from trainers.decoder.tuning import choose_learning
from trainers.memory.fake_values import KnownValues
from trainers.memory.optimizer_state import EIGHT_BIT, STATE_BYTES, switch_checkpointing
from trainers.memory.quantized_shapes import quantise_shapes
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
    size_of,
    tagged_modules,
    without_content,
)

TOWER_WEIGHTS, SELF_WEIGHTS = "weights: vision tower, projector", "weights: self-attention layers"
CROSS_WEIGHTS, WORD_WEIGHTS = "weights: cross-attention layers", "weights: embeddings and head"
ADAPTER_WEIGHTS, GATHERED = "weights: adapters", "weights gathered for a layer"
WEIGHT_KINDS = (TOWER_WEIGHTS, SELF_WEIGHTS, CROSS_WEIGHTS, WORD_WEIGHTS, ADAPTER_WEIGHTS)
CROSS = "cross-attention states, keys, values"
KINDS = (*WEIGHT_KINDS, GATHERED, GRADIENTS, OPTIMIZER, VISION, CROSS, TEXT, COPIES, LOSS, PIXELS, WORKSPACE)
TITLES = {TEXT: "activations of the text decoder", LOSS: "head and loss"}
FLOAT = 4


@dataclass(frozen=True)
class DecoderUpdate:
    """What of an update decides its memory, in one process.

    Attributes:
        rows: of a micro-batch.
        tokens: of a row, padding included.
        answer_tokens: of a row, those with a label.
        images: distinct ones of a micro-batch.
        tiles: of each of them that hold something, 1 to 4; the tower runs all four.
        images_in_row: that a row shows.
        micro_batches: of an update; with more than one, gradients of the last one are there when the next begins.
        bf16: whether the forward pass is computed in bfloat16 (autocast).
        activation_checkpointing: whether text layers are computed again in the backward pass.
        optim: TrainingArguments' name of the optimizer.
        processes: how many train together.
        sharded: whether they share weights, gradients and optimizer among them (FSDP2, ZeRO-3).
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
    """The model that `load_decoder` and `choose_learning` would give, on the meta device: shapes without memory.

    Args:
        config: an MllamaConfig.
        arguments: DecoderTuningArguments: scope, adapters and bits.
        dtype: of the weights.

    Raises:
        InputError: as `choose_learning`.
    """
    from transformers import MllamaForConditionalGeneration

    config = type(config).from_dict(config.to_dict())  # an own one: making a model writes into it
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = MllamaForConditionalGeneration._from_config(config, dtype=dtype)
    quantise_shapes(model, chosen_bits(arguments), QUANTISED)
    with torch.device("meta"):
        model = choose_learning(model, arguments)
    prepare_mllama(model, getattr(arguments, "isolate_rows", True))
    return model


def estimate_decoder(model: torch.nn.Module, update: DecoderUpdate) -> MemoryEstimate:
    """The memory of one update, the second or a later one: the first has no optimizer state yet.

    Args:
        model: from `bare_decoder`. It is used up: weights and buffers are replaced by fake ones.
        update: what is run.
    """
    ledger = Ledger()
    batch = small_tensors(update, find_decoder(model).config.vision_config.max_num_tiles)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, KnownValues(fake) as known:
        without_content(model)
        model.train()
        checkpoint_layers(model, update.activation_checkpointing)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        share = update.processes if update.sharded else 1
        with ledger, tagged_modules(model, ledger, part_of):
            kept = note_weights(model, ledger, update)
            kept.append(ledger.reserve(OPTIMIZER, state_bytes(update, trainable) // share))
            if update.sharded:
                # in float32, wherever what is added up is kept; a layer's own lives until it is split
                kept.append(ledger.reserve(GRADIENTS, FLOAT * sum(one.numel() for one in trainable) // share))
                for parameter in trainable:
                    parameter.register_post_accumulate_grad_hook(drop_gradient)
            elif update.processes > 1:  # DDP's buckets
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
    """Forward and backward of one micro-batch, as DecoderTrainer does them."""
    size = find_decoder(model).config.vision_config
    side, tiles = size.image_size, update.images * update.tiles
    # an update's micro-batches as bytes, and one that is fetched ahead
    waiting = ledger.reserve(PIXELS, (update.micro_batches + 1) * tiles * 3 * side**2)
    with ledger.tag(PIXELS):
        batch = {name: known.add(values) for name, values in batch.items()}
        for values in batch.values():
            ledger.note(values)
        pixels = torch.empty(update.images, size.max_num_tiles, size.num_channels, side, side)
    with ledger.tag(LOSS), torch.autocast("cpu", torch.bfloat16, enabled=update.bf16):
        loss = model(**batch, pixel_values=pixels, num_items_in_batch=update.rows * update.answer_tokens).loss
    with ledger.tag(WORKSPACE):
        loss.backward()
    del waiting, pixels, batch


def small_tensors(update: DecoderUpdate, slots: int) -> dict[str, torch.Tensor]:
    """A batch but for its pixels, with content: all rows full, the answer at their end."""
    rows, tokens = update.rows, update.tokens
    labels = torch.full((rows, tokens), -100)
    labels[:, tokens - update.answer_tokens :] = 0
    present = torch.zeros(update.images, slots, dtype=torch.long)
    present[:, : update.tiles] = 1
    index = torch.arange(rows * update.images_in_row).reshape(rows, -1) % update.images
    sees = present[index][:, None].expand(-1, tokens, -1, -1).contiguous()
    return {
        "input_ids": torch.zeros(rows, tokens, dtype=torch.long),
        "attention_mask": torch.ones(rows, tokens, dtype=torch.long),
        "labels": labels,
        "cross_attention_mask": sees,
        "aspect_ratio_ids": torch.ones(update.images, dtype=torch.long),
        "aspect_ratio_mask": present,
        "image_index": index,
    }


# --- whose memory it is ---


def part_of(name: str) -> str | None:
    """What the module of this name computes; None where that goes with the module around it."""
    last = name.rsplit(".", 1)[-1]
    if "vision_model" in name.split("."):
        return VISION if last == "vision_model" or last.isdigit() else None
    if last in ("multi_modal_projector", "cross_attn"):
        return CROSS
    if "language_model" in name.split("."):
        return TEXT if last == "language_model" or last.isdigit() else None
    return CROSS if last == "model" and name != "base_model" else LOSS if last == "lm_head" else None


def weight_kind(name: str, cross_layers: list[int]) -> str:
    parts = name.split(".")
    if any(part.startswith("lora_") for part in parts):
        return ADAPTER_WEIGHTS
    if "vision_model" in parts or "multi_modal_projector" in parts:
        return TOWER_WEIGHTS
    if "layers" in parts:
        return CROSS_WEIGHTS if int(parts[parts.index("layers") + 1]) in cross_layers else SELF_WEIGHTS
    return WORD_WEIGHTS


def note_weights(model: torch.nn.Module, ledger: Ledger, update: DecoderUpdate) -> list[torch.Tensor]:
    """Counts weights and buffers; where they are shared, a share of them, and what is gathered at a time."""
    cross_layers = find_decoder(model).config.text_config.cross_attention_layers
    kept, shares, layers, outside = [], dict.fromkeys(WEIGHT_KINDS, 0), {}, 0
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        kind = weight_kind(name, cross_layers)
        if not update.sharded:
            ledger.note(tensor, kind)
            continue
        ledger.note(tensor, "unsharded")  # not there: its share is
        # what learns is kept in float32, and gathered in 16 bits
        shares[kind] += max(size_of(tensor), FLOAT * tensor.numel() if tensor.requires_grad else 0)
        gathered = tensor.numel() * min(tensor.element_size(), 2 if update.bf16 else FLOAT)
        if (layer := layer_name(name)) is None:
            outside += gathered
        else:
            layers[layer] = layers.get(layer, 0) + gathered
    if update.sharded:
        ledger.start_over()
        kept += [ledger.reserve(kind, size // update.processes) for kind, size in shares.items()]
        # what lies in no layer stays gathered; a layer's weights, the next one's, and the buffer that gathered them
        kept.append(ledger.reserve(GATHERED, outside + 3 * max(layers.values(), default=0)))
    return kept


def layer_name(name: str) -> str | None:
    parts = name.split(".")
    return ".".join(parts[: parts.index("layers") + 2]) if "layers" in parts else None


def drop_gradient(parameter: torch.nn.Parameter) -> None:
    parameter.grad = None


def state_bytes(update: DecoderUpdate, trainable: list[torch.nn.Parameter]) -> int:
    """What the optimizer keeps: of AdamW two numbers like the weight, of its 8-bit form two bytes and their scales."""
    if "8bit" in update.optim:
        return round(EIGHT_BIT * sum(parameter.numel() for parameter in trainable))
    copies = STATE_BYTES.get(update.optim, 8) / FLOAT
    sizes = (FLOAT * one.numel() if update.sharded else size_of(one) for one in trainable)
    return round(copies * sum(sizes))


def checkpoint_layers(model: torch.nn.Module, on: bool) -> None:
    switch_checkpointing(find_decoder(model), on)
