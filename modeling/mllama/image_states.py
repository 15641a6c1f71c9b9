"""Prepares the inputs of the cross-attention layers: states of a batch's images, masks, and which rows share an image.

A row attends to images of its own, to images that it shares with other rows, or, in a batch without images, to a blank
one.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from torch import nn
from transformers.cache_utils import Cache
from transformers.models.mllama.modeling_mllama import (
    _has_cached_cross_attention_states,
    _prepare_cross_attention_mask,
)

from modeling.mllama.chunked_cross_entropy import is_sharded
from modeling.mllama.cross_attention import SharedImages, group_rows_by_image, prepare_mask, share_blank_image


@dataclass
class CrossAttentionInputs:
    """The arguments of the cross-attention layers.

    Attributes:
        states: `[N, S, D]` image states, from which keys and values are computed. None if the batch has no images or
            the cache holds their keys and values.
        mask: the additive mask, or None.
        sees_image: `[B, 1, L, 1]` bool, the tokens that see an image. None if there is no image or no mask.
        shared_images: the mapping from rows to images, or None for the stock model's layout.
    """

    states: torch.Tensor | None
    mask: torch.Tensor | None = None
    sees_image: torch.Tensor | None = None
    shared_images: SharedImages | None = None


def prepare_cross_attention_inputs(
    self: nn.Module,
    tokens: torch.Tensor,
    pixel_values: torch.Tensor | None,
    aspect_ratio_ids: torch.Tensor | None,
    aspect_ratio_mask: torch.Tensor | None,
    mask: torch.Tensor | None,
    states: torch.Tensor | None,
    image_index: torch.Tensor | None,
    cache: Cache | None,
) -> CrossAttentionInputs:
    """Encodes the images of a batch and prepares the masks. The other arguments are those of `decoder_forward`.

    Args:
        self: an `MllamaModel` with `isolates_rows`.
        tokens: `[B, L]` or `[B, L, D]`; only its shape and device are used.
        mask: `cross_attention_mask` `[B, L, M, T]` of these tokens, or None.
        states: image states to use instead of pixels, or None.

    Raises:
        ValueError: the arguments contradict each other.
    """
    if pixel_values is not None and states is not None:
        raise ValueError("pixel_values cannot be combined with cross_attention_states. Leave out one of them.")
    if pixel_values is not None and aspect_ratio_ids is None:
        raise ValueError("pixel_values requires aspect_ratio_ids. Give the aspect_ratio_ids of the processor.")
    cached = _has_cached_cross_attention_states(cache, self.config.text_config.cross_attention_layers[0])
    if pixel_values is not None and image_index is not None:
        return prepare_shared_images(self, pixel_values, aspect_ratio_ids, aspect_ratio_mask, mask, image_index)
    if pixel_values is not None:
        states = encode_images(self, pixel_values, aspect_ratio_ids, aspect_ratio_mask)
        states = states.reshape(-1, *states.shape[-2:])  # (B * M * T, P, D)
    elif cached and (shared := getattr(cache, "shared_images", None)) is not None:
        return combine_with_masks(self, tokens, None, mask, shared)
    elif image_index is not None and not cached:
        raise ValueError("image_index requires pixel_values. Give the images, or leave out image_index.")
    elif states is None and not cached and self.isolates_rows and (blank := encode_blank_image(self)) is not None:
        return combine_with_masks(self, tokens, blank, None, share_blank_image(len(tokens), tokens.device))
    if mask is None:
        return CrossAttentionInputs(states)
    mask, row_mask = _prepare_cross_attention_mask(mask, self.vision_model.num_patches, self.dtype)
    return CrossAttentionInputs(states, mask, row_mask.bool())


def prepare_shared_images(
    self: nn.Module,
    pixel_values: torch.Tensor,
    ids: torch.Tensor,
    tile_mask: torch.Tensor,
    mask: torch.Tensor | None,
    image_index: torch.Tensor,
) -> CrossAttentionInputs:
    """Encodes `[N, T, 3, H, W]` images that rows share, each of them once.

    Raises:
        ValueError: an argument is missing or has the wrong shape.
    """
    if mask is None or pixel_values.dim() != 5 or tile_mask is None:
        raise ValueError(
            "image_index requires pixel_values [N, T, 3, H, W], aspect_ratio_ids [N], aspect_ratio_mask [N, T] and "
            f"cross_attention_mask [B, L, M, T]; pixel_values has the shape {list(pixel_values.shape)}, "
            f"aspect_ratio_mask is {'missing' if tile_mask is None else 'given'} and cross_attention_mask is "
            f"{'missing' if mask is None else 'given'}."
        )
    if mask.dim() != 4 or image_index.dim() != 2 or mask.shape[::2] != image_index.shape:
        raise ValueError(
            f"cross_attention_mask has the shape {list(mask.shape)}, which does not match the shape "
            f"{list(image_index.shape)} of image_index. Give [B, L, M, T] and [B, M]."
        )
    if self.isolates_rows:
        mask = mask * (image_index >= 0)[:, None, :, None].to(mask)
    else:
        image_index, (pixel_values, ids, tile_mask) = append_empty_image(image_index, pixel_values, ids, tile_mask)
    shared = group_rows_by_image(image_index, mask, len(pixel_values), drop_tiles=self.isolates_rows)
    # The tower expects a dimension for the images of a row: (N, T, ...) -> (N, 1, T, ...)
    images = (tensor.unsqueeze(1) for tensor in (pixel_values, ids, tile_mask))
    states = encode_images(self, *images, shared.tiles).flatten(1, 2)  # (N, U, P, D) -> (N, U * P, D)
    return combine_with_masks(self, mask, states, mask, shared)


def combine_with_masks(
    self: nn.Module,
    tokens: torch.Tensor,
    states: torch.Tensor | None,
    mask: torch.Tensor | None,
    shared: SharedImages,
) -> CrossAttentionInputs:
    """Adds the masks to `states`; `tokens` gives the batch size, the length and the device for a blank image."""
    if shared.blank:
        rows, length = tokens.shape[:2]
        sees_image = torch.zeros(rows, 1, length, 1, dtype=torch.bool, device=tokens.device)
        return CrossAttentionInputs(states, None, sees_image, shared)
    return CrossAttentionInputs(states, *prepare_mask(mask, shared, self.vision_model.num_patches, self.dtype), shared)


def encode_images(
    self: nn.Module,
    pixel_values: torch.Tensor,
    aspect_ratio_ids: torch.Tensor,
    aspect_ratio_mask: torch.Tensor,
    tiles: torch.Tensor | None = None,
) -> torch.Tensor:
    """Runs the tower and the projector on `[B, M, T, 3, H, W]` images.

    A frozen tower runs without gradient and stores nothing for a backward pass, even if gradient checkpointing marks
    its input embeddings as requiring a gradient.

    Args:
        tiles: `[U]` the tile numbers to return, or None for all.

    Returns:
        `[B * M, U, P, D]`.
    """
    frozen = not pixel_values.requires_grad and not is_trainable(self.vision_model)
    with torch.no_grad() if frozen else contextlib.nullcontext():
        outputs = self.vision_model(
            pixel_values=pixel_values, aspect_ratio_ids=aspect_ratio_ids, aspect_ratio_mask=aspect_ratio_mask
        )
        states = outputs.last_hidden_state.flatten(0, 1)
    if tiles is not None:
        states = states.index_select(1, tiles)
    return self.multi_modal_projector(states)


def append_empty_image(
    image_index: torch.Tensor, pixel_values: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Appends an all-zero image and refers to it wherever `image_index` is -1, as the stock model's layout does.

    Without isolation of rows this matters: tokens that see no image receive attention output from it.

    Returns:
        the new index, and the images, aspect ratio ids and tile mask with N + 1 entries each.
    """
    empty = mask.new_zeros(1, mask.shape[1])
    empty[0, 0] = 1  # the processor marks the first tile of an empty image as valid
    index = torch.where(image_index < 0, len(pixel_values), image_index)
    pixels = torch.cat([pixel_values, torch.zeros_like(pixel_values[:1])])
    return index, (pixels, torch.cat([ids, torch.zeros_like(ids[:1])]), torch.cat([mask, empty]))


def encode_blank_image(self: nn.Module) -> torch.Tensor | None:
    """Returns the states `[1, S, D]` of a blank image for a batch without images, or None if none is needed.

    Every trainable weight has to take part in the loss, because DDP waits for its gradient; and if weights are sharded,
    every process has to call the same layers. Such a batch therefore attends to a blank image and drops the result. The
    tower itself, by far the largest part, runs only if it is trainable or sharded.
    """
    training = self.training and torch.is_grad_enabled()
    attentions = (layer for layer in self.language_model.layers if hasattr(layer, "cross_attn"))
    tower_needed = is_sharded(self.vision_model) or (training and is_trainable(self.vision_model))
    rest = (*attentions, self.multi_modal_projector)
    if not tower_needed and not any(is_sharded(module) or (training and is_trainable(module)) for module in rest):
        return None
    config = self.config.vision_config
    options = {"dtype": self.dtype, "device": next(self.vision_model.parameters()).device}
    if not tower_needed:
        return self.multi_modal_projector(torch.zeros(1, 1, config.vision_output_dim, **options))
    # (B, M, T, 3, H, W) with B = M = 1
    pixels = torch.zeros(
        1, 1, config.max_num_tiles, config.num_channels, config.image_size, config.image_size, **options
    )
    ids = torch.ones(1, 1, dtype=torch.long, device=pixels.device)  # aspect ratio 1 is a single tile
    mask = torch.zeros(1, 1, config.max_num_tiles, dtype=torch.long, device=pixels.device)
    mask[..., 0] = 1
    return encode_images(self, pixels, ids, mask).flatten(1, 2)  # (1, T, P, D) -> (1, T * P, D)


def is_trainable(module: nn.Module) -> bool:
    """Returns whether at least one weight of the module requires a gradient."""
    return any(parameter.requires_grad for parameter in module.parameters())
