"""What does the text of a batch look at: its own images, images that rows share, or a blank one?"""

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

from modeling.mllama_attention import SharedImages, blank_image, prepare_mask, share_images
from modeling.supervised_loss import is_sharded


@dataclass
class View:
    """What the cross-attention layers are given.

    Attributes:
        states: keys and values are made of these; None where there are none, or where a cache has them.
        mask: added to the scores, or None.
        sees: `[B, 1, L, 1]` bool, which tokens see an image; None where there is no image or every token may see it.
        shared: how rows share images, or None.
    """

    states: torch.Tensor | None
    mask: torch.Tensor | None = None
    sees: torch.Tensor | None = None
    shared: SharedImages | None = None


def look(
    self: nn.Module,
    tokens: torch.Tensor,
    pixel_values: torch.Tensor | None,
    aspect_ratio_ids: torch.Tensor | None,
    aspect_ratio_mask: torch.Tensor | None,
    mask: torch.Tensor | None,
    states: torch.Tensor | None,
    image_index: torch.Tensor | None,
    cache: Cache | None,
) -> View:
    """Encodes the images and prepares masks.

    Args:
        self: an `MllamaModel` with `isolates_rows`.
        tokens: `[B, L]` or `[B, L, D]`; only the shape and device count.
        mask: `cross_attention_mask` `[B, L, M, T]` of these tokens, or None.
        states: given instead of pixels, or None.
        others: those of `modeling.mllama.decoder_forward`.

    Raises:
        ValueError: arguments that do not go together.
    """
    if pixel_values is not None and states is not None:
        raise ValueError("pixel_values and cross_attention_states cannot both be given")
    if pixel_values is not None and aspect_ratio_ids is None:
        raise ValueError("pixel_values need aspect_ratio_ids")
    cached = _has_cached_cross_attention_states(cache, self.config.text_config.cross_attention_layers[0])
    if pixel_values is not None and image_index is not None:
        return look_at_shared(self, pixel_values, aspect_ratio_ids, aspect_ratio_mask, mask, image_index)
    if pixel_values is not None:
        states = encode_images(self, pixel_values, aspect_ratio_ids, aspect_ratio_mask)
        states = states.reshape(-1, *states.shape[-2:])  # (B * M * T, P, D)
    elif cached and (shared := getattr(cache, "shared_images", None)) is not None:
        return shared_view(self, tokens, None, mask, shared)
    elif image_index is not None and not cached:
        raise ValueError("image_index names images, but there are no pixel_values")
    elif states is None and not cached and self.isolates_rows and (blank := blank_states(self)) is not None:
        return shared_view(self, tokens, blank, None, blank_image(len(tokens), tokens.device))
    if mask is None:
        return View(states)
    mask, row_mask = _prepare_cross_attention_mask(mask, self.vision_model.num_patches, self.dtype)
    return View(states, mask, row_mask.bool())


def look_at_shared(
    self: nn.Module,
    pixel_values: torch.Tensor,
    ids: torch.Tensor,
    tile_mask: torch.Tensor,
    mask: torch.Tensor | None,
    image_index: torch.Tensor,
) -> View:
    """The view of rows that share `[N, T, 3, H, W]` images, each of which is encoded once."""
    if mask is None or pixel_values.dim() != 5 or tile_mask is None:
        raise ValueError(
            "image_index goes with pixel_values [N, T, 3, H, W], aspect_ratio_ids [N], aspect_ratio_mask [N, T] and "
            "cross_attention_mask [B, L, M, T]"
        )
    if mask.dim() != 4 or image_index.dim() != 2 or mask.shape[::2] != image_index.shape:
        raise ValueError(
            f"cross_attention_mask {list(mask.shape)} is not [B, L, M, T] of image_index {list(image_index.shape)}"
        )
    if self.isolates_rows:
        mask = mask * (image_index >= 0)[:, None, :, None].to(mask)
    else:
        image_index, (pixel_values, ids, tile_mask) = with_empty_image(image_index, pixel_values, ids, tile_mask)
    shared = share_images(image_index, mask, len(pixel_values), drop_tiles=self.isolates_rows)
    images = (one.unsqueeze(1) for one in (pixel_values, ids, tile_mask))  # one a row, as the tower wants them
    states = encode_images(self, *images, shared.tiles).flatten(1, 2)  # (N, U * P, D)
    return shared_view(self, mask, states, mask, shared)


def shared_view(
    self: nn.Module,
    tokens: torch.Tensor,
    states: torch.Tensor | None,
    mask: torch.Tensor | None,
    shared: SharedImages,
) -> View:
    if shared.blank:
        rows, length = tokens.shape[:2]
        sees = torch.zeros(rows, 1, length, 1, dtype=torch.bool, device=tokens.device)
        return View(states, None, sees, shared)
    return View(states, *prepare_mask(mask, shared, self.vision_model.num_patches, self.dtype), shared)


def encode_images(
    self: nn.Module,
    pixel_values: torch.Tensor,
    aspect_ratio_ids: torch.Tensor,
    aspect_ratio_mask: torch.Tensor,
    tiles: torch.Tensor | None = None,
) -> torch.Tensor:
    """`[B, M, T, 3, H, W]` to `[B * M, U, P, D]`, of the tiles asked for: the tower and the projector.

    A frozen tower keeps nothing for a backward pass, also where gradient checkpointing makes its input ask for one.
    """
    frozen = not pixel_values.requires_grad and not learns(self.vision_model)
    with torch.no_grad() if frozen else contextlib.nullcontext():
        outputs = self.vision_model(
            pixel_values=pixel_values, aspect_ratio_ids=aspect_ratio_ids, aspect_ratio_mask=aspect_ratio_mask
        )
        states = outputs.last_hidden_state.flatten(0, 1)
    if tiles is not None:
        states = states.index_select(1, tiles)
    return self.multi_modal_projector(states)


def with_empty_image(
    image_index: torch.Tensor, pixel_values: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The image of nought that stands for none in the stock model, where every token may get something of it."""
    empty = mask.new_zeros(1, mask.shape[1])
    empty[0, 0] = 1  # as the processor has it
    index = torch.where(image_index < 0, len(pixel_values), image_index)
    pixels = torch.cat([pixel_values, torch.zeros_like(pixel_values[:1])])
    return index, (pixels, torch.cat([ids, torch.zeros_like(ids[:1])]), torch.cat([mask, empty]))


def blank_states(self: nn.Module) -> torch.Tensor | None:
    """States `[1, S, D]` for a batch without images, or None where it may go without.

    Every weight that learns has to take part, or DDP waits for its gradient; and where weights are sharded every
    process has to call the layers that the others call. So such a batch looks at a blank image, and drops what it saw.
    The tower itself, by far the largest part, runs only where it learns or is sharded.
    """
    training = self.training and torch.is_grad_enabled()
    attentions = (layer for layer in self.language_model.layers if hasattr(layer, "cross_attn"))
    tower_needed = is_sharded(self.vision_model) or (training and learns(self.vision_model))
    rest = (*attentions, self.multi_modal_projector)
    if not tower_needed and not any(is_sharded(one) or (training and learns(one)) for one in rest):
        return None
    size = self.config.vision_config
    kind = {"dtype": self.dtype, "device": next(self.vision_model.parameters()).device}
    if not tower_needed:
        return self.multi_modal_projector(torch.zeros(1, 1, size.vision_output_dim, **kind))
    pixels = torch.zeros(1, 1, size.max_num_tiles, size.num_channels, size.image_size, size.image_size, **kind)
    ids = torch.ones(1, 1, dtype=torch.long, device=pixels.device)
    mask = torch.zeros(1, 1, size.max_num_tiles, dtype=torch.long, device=pixels.device)
    mask[..., 0] = 1
    return encode_images(self, pixels, ids, mask).flatten(1, 2)


def learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
