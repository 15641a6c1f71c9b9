"""Implements cross-attention in which rows of text share images and attend only to images of their own.

The order of queries does not matter in cross-attention: each query attends to all keys that its mask allows. So the
queries of all rows of one image can be concatenated to `[images, heads, rows * length, head_dim]`, and the keys and
values of that image are computed and stored once. If every token sees either all of its image or nothing, no mask is
needed, and fused kernels without mask support can run.

The cross-attention output of tokens that see no image is dropped. The stock model lets such tokens attend to all
images; it drops the output of the feed-forward layer but adds that of the attention (transformers #39379). Meta's model
drops both (meta-llama/llama-models, models/llama3/multimodal/model.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers.cache_utils import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.mllama.modeling_mllama import _prepare_cross_attention_mask, eager_attention_forward


@dataclass
class SharedImages:
    """Maps the rows of a batch to its distinct images.

    If every row has at most one image, the queries are laid out in slots, each of which takes one row. Image n has the
    slots `n * R` to `n * R + R - 1`, where R is the largest number of rows of any image.

    Attributes:
        images: N, the number of distinct images.
        tiles: `[U]` int64, the tile numbers that at least one token sees, or None for all tiles.
        all_or_none: whether every token sees either all of these tiles of its image or none.
        row_of_slot: `[N * R]` int64, the row of each slot, or None if slot i holds row i for all rows. The unused slots
            of an image hold row 0.
        slot_of_row: `[B]` int64, the inverse of `row_of_slot`; 0 for a row without an image.
        image_of_row: `[B, M]` int64, the images of each row, if rows have several images. There are no slots then.
            None otherwise.
        blank: whether the image is a stand-in that no row sees, present so that every weight takes part.
    """

    images: int
    tiles: torch.Tensor | None = None
    all_or_none: bool = True
    row_of_slot: torch.Tensor | None = None
    slot_of_row: torch.Tensor | None = None
    image_of_row: torch.Tensor | None = None
    blank: bool = False


def group_rows_by_image(
    image_index: torch.Tensor, cross_attention_mask: torch.Tensor, images: int, *, drop_tiles: bool
) -> SharedImages:
    """Groups the rows of a batch by image. It synchronizes with the device once, because group sizes become shapes.

    Args:
        image_index: `[B, M]`, the index of each row's m-th image, -1 for none.
        cross_attention_mask: `[B, L, M, T]`, 1 where a token sees a tile.
        images: N, the number of distinct images.
        drop_tiles: whether to leave out tiles that no token of the batch sees.

    Raises:
        ValueError: an index is outside the images.
    """
    rows, images_per_row = image_index.shape
    tile_seen = cross_attention_mask.flatten(0, 2).any(0)  # (T)
    counts = cross_attention_mask.sum(-1)  # (B, L, M), the tiles that each token sees
    all_or_none = ((counts == 0) | (counts == tile_seen.sum())).all()
    # One tensor for all three, so that there is only one transfer from the device: 1 + T + B * M numbers.
    numbers = torch.cat(
        [all_or_none[None].long(), tile_seen.long(), image_index.flatten().to(tile_seen.device)]
    ).tolist()
    tiles = len(tile_seen)
    all_or_none, tile_seen, index = bool(numbers[0]), numbers[1 : 1 + tiles], numbers[1 + tiles :]
    if max(index) >= images or min(index) < -1:
        raise ValueError(
            f"image_index contains values from {min(index)} to {max(index)}, but pixel_values has {images} images. "
            f"Use 0 to {images - 1}, or -1 for no image."
        )

    def to_device(values: list[int]) -> torch.Tensor:
        return torch.tensor(values, device=cross_attention_mask.device)

    shared = SharedImages(images, all_or_none=all_or_none and images_per_row == 1 and (drop_tiles or all(tile_seen)))
    if drop_tiles and not all(tile_seen):
        # If no tile is seen, one is kept, because attention needs at least one key; its output is dropped later.
        shared.tiles = to_device([tile for tile, is_seen in enumerate(tile_seen) if is_seen] or [0])
    if images_per_row > 1:
        shared.image_of_row = image_index.clamp(min=0)
        return shared
    rows_of_image: list[list[int]] = [[] for _ in range(images)]
    for row, image in enumerate(index):
        if image >= 0:
            rows_of_image[image].append(row)
    slots_per_image = max(1, *map(len, rows_of_image))
    row_of_slot = [row for group in rows_of_image for row in group + [0] * (slots_per_image - len(group))]
    if row_of_slot != list(range(rows)):
        slots = {
            row: image * slots_per_image + place
            for image, group in enumerate(rows_of_image)
            for place, row in enumerate(group)
        }
        shared.row_of_slot = to_device(row_of_slot)
        shared.slot_of_row = to_device([slots.get(row, 0) for row in range(rows)])
    return shared


def share_blank_image(rows: int, device: torch.device) -> SharedImages:
    """Returns the mapping for a blank image that no row sees: only row 0 queries it, and its output is dropped."""
    zeros = torch.zeros(rows, dtype=torch.long, device=device)
    return SharedImages(1, row_of_slot=zeros[:1], slot_of_row=zeros, blank=True)


def prepare_mask(
    mask: torch.Tensor, shared: SharedImages, patches: int, dtype: torch.dtype
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Converts a mask over tiles to an additive mask over keys.

    Args:
        mask: `[B, L, M, T]`, 1 where a token sees a tile.
        patches: P, the number of vectors per tile.

    Returns:
        additive mask: `[N, 1, R * L, U * P]`, or `[B, 1, L, M * U * P]` if rows have several images. It is 0 where a
            token sees a vector and the lowest number of `dtype` elsewhere. None if `shared.all_or_none`.
        sees_image: `[B, 1, L, 1]` bool, the tokens that see an image.
    """
    sees_image = mask.flatten(2).any(-1)[:, None, :, None]  # (B, L, M * T) -> (B, 1, L, 1)
    if shared.all_or_none:
        return None, sees_image
    if shared.tiles is not None:
        mask = mask.index_select(3, shared.tiles)
    if shared.image_of_row is None:
        # (N * R, L, 1, U) -> (N, R * L, 1, U)
        mask = to_slots(mask, shared).reshape(shared.images, -1, *mask.shape[2:])
    return _prepare_cross_attention_mask(mask, patches, dtype)[0], sees_image


def to_slots(rows: torch.Tensor, shared: SharedImages) -> torch.Tensor:
    """Reorders rows `[B, ...]` to slots `[N * R, ...]`."""
    return rows if shared.row_of_slot is None else rows.index_select(0, shared.row_of_slot)


def to_rows(slots: torch.Tensor, shared: SharedImages) -> torch.Tensor:
    """Reorders slots `[N * R, ...]` to rows `[B, ...]`."""
    return slots if shared.slot_of_row is None else slots.index_select(0, shared.slot_of_row)


def cross_attention_forward(
    self: nn.Module,
    hidden_states: torch.Tensor,
    cross_attention_states: torch.Tensor | None = None,
    past_key_values: Cache | None = None,
    attention_mask: torch.Tensor | None = None,
    use_cache: bool | None = None,
    shared_images: SharedImages | None = None,
    sees_image: torch.Tensor | None = None,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Replaces `MllamaTextCrossAttention.forward`.

    Args:
        hidden_states: `[B, L, D]`.
        cross_attention_states: `[N, S, D]`, the S vectors of each distinct image, if `shared_images` is given;
            otherwise the states of the stock model.
        attention_mask: the additive mask of `prepare_mask`, or that of the stock model.
        shared_images: the mapping from rows to images; None for the stock model's layout.
        sees_image: `[B, 1, L, 1]` bool; the output of the tokens that see no image is set to 0. None keeps all output.
    """
    autocast = torch.is_autocast_enabled(hidden_states.device.type)
    if attention_mask is not None and attention_mask.dtype != hidden_states.dtype and not autocast:
        # With FSDP2 the computation can have a lower precision than the stored weights.
        attention_mask = attention_mask.to(hidden_states.dtype)
    if shared_images is None:
        output, weights = type(self).forward(
            self, hidden_states, cross_attention_states, past_key_values, attention_mask, use_cache, **kwargs
        )
    else:
        keys, values = get_keys_and_values(self, cross_attention_states, past_key_values)
        output, weights = attend_to_shared_images(
            self, hidden_states, keys, values, attention_mask, shared_images, **kwargs
        )
    if sees_image is not None:
        output = output.masked_fill(~sees_image[:, 0], 0.0)  # (B, L, 1) over (B, L, D)
    return output, weights


def get_keys_and_values(
    self: nn.Module, states: torch.Tensor | None, cache: Cache | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns keys and values, `[N, kv_heads, S, head_dim]` each, once per image.

    Args:
        states: `[N, S, D]`, or None to read both from the cache.
        cache: stores the new keys and values, if given.

    Raises:
        ValueError: the cache has a fixed number of positions, which differs from the number of these images' vectors.
    """
    if states is None:
        layer = cache.layers[self.layer_idx]
        return layer.keys, layer.values
    shape = (*states.shape[:2], self.num_key_value_heads, self.head_dim)
    keys = self.k_norm(self.k_proj(states).view(shape).transpose(1, 2))
    values = self.v_proj(states).view(shape).transpose(1, 2)
    if cache is not None:
        keys, values = cache.update(keys, values, self.layer_idx)
        if keys.shape[2] != shape[1]:
            raise ValueError(
                f"The cache returned keys of {keys.shape[2]} image vectors where {shape[1]} were stored. image_index "
                "requires an empty dynamic cache; a static cache is not supported."
            )
    return keys, values


def attend_to_shared_images(
    self: nn.Module,
    hidden_states: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    attention_mask: torch.Tensor | None,
    shared: SharedImages,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Computes attention of `[B, L, D]` text over the keys and values of N shared images.

    Returns:
        output: `[B, L, D]`.
        weights: `[N, heads, R * L, S]` from eager attention, None from the other implementations.
    """
    rows, length, _ = hidden_states.shape
    queries = self.q_norm(self.q_proj(hidden_states).view(rows, length, self.num_heads, self.head_dim))
    if shared.image_of_row is None:
        # (N * R, L, heads, head_dim) -> (N, R * L, heads, head_dim)
        queries = to_slots(queries, shared).reshape(shared.images, -1, self.num_heads, self.head_dim)
    else:
        # A row with several images attends to the concatenation of their keys, so every row needs its own copy:
        # (N, kv_heads, S, head_dim) -> (B * M, kv_heads, S, head_dim) -> (B, kv_heads, M * S, head_dim)
        keys, values = (
            tensor.index_select(0, shared.image_of_row.flatten()).unflatten(0, (rows, -1)).transpose(1, 2).flatten(2, 3)
            for tensor in (keys, values)
        )
    attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    dropout = self.dropout if self.training else 0.0
    output, weights = attend(
        self, queries.transpose(1, 2), keys, values, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs
    )
    # (N, R * L, heads, head_dim) -> (N * R, L, heads * head_dim)
    output = output.reshape(-1, length, self.num_heads * self.head_dim)
    return self.o_proj(to_rows(output, shared)), weights
