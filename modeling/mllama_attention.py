"""How do rows of text attend to images that they share, and to none that is another row's?

Cross-attention has no order of its own: a query meets every key that its mask allows. So the questions of several rows
about one image may stand in one line, `[images, heads, rows * length, head_dim]`, before the keys and values of that
image, which then exist once. Where every token sees its whole image or nothing of it, there is no mask either, and the
fused kernels that know none can run.

What a token without any image gets from cross-attention is dropped. The stock model lets such tokens attend to
everything, drops what its feed-forward layer makes of it, but adds the attention's own output (transformers #39379);
Meta's model drops both (meta-llama/llama-models, models/llama3/multimodal/model.py).
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
    """Which row looks at which of the distinct images of a batch.

    Attributes:
        images: N, how many distinct images there are.
        tiles: `[U]` int64, which of an image's tiles any token sees, or None for all.
        whole: every token sees all these tiles of its image, or none.
        row_of_slot: `[N * R]` int64, with R the rows of the image that has most; or None where that is the order of the
            rows. Where an image has fewer, row 0 fills its places.
        slot_of_row: `[B]` int64, its inverse; a row without an image names slot 0.
        image_of_row: `[B, M]` int64 where rows have several images, None otherwise. Then there are no slots.
        blank: no row sees anything: the image stands in so that every weight takes part.
    """

    images: int
    tiles: torch.Tensor | None = None
    whole: bool = True
    row_of_slot: torch.Tensor | None = None
    slot_of_row: torch.Tensor | None = None
    image_of_row: torch.Tensor | None = None
    blank: bool = False


def share_images(
    image_index: torch.Tensor, cross_attention_mask: torch.Tensor, images: int, *, drop_tiles: bool
) -> SharedImages:
    """Groups the rows of a batch by image. Waits for the device once: the groups' sizes are sizes of tensors.

    Args:
        image_index: `[B, M]` which of the `images` is a row's m-th, -1 for none.
        cross_attention_mask: `[B, L, M, T]`.
        drop_tiles: leave out tiles that no token of the batch sees.

    Raises:
        ValueError: an index names no image.
    """
    rows, several = image_index.shape
    seen = cross_attention_mask.flatten(0, 2).any(0)  # (T)
    counts = cross_attention_mask.sum(-1)
    whole = ((counts == 0) | (counts == seen.sum())).all()
    facts = torch.cat([whole[None].long(), seen.long(), image_index.flatten().to(seen.device)]).tolist()
    whole, seen, index = bool(facts[0]), facts[1 : 1 + len(seen)], facts[1 + len(seen) :]
    if max(index) >= images or min(index) < -1:
        raise ValueError(
            f"image_index holds {min(index)} to {max(index)}, but there are {images} images in pixel_values"
        )

    def tensor(numbers: list[int]) -> torch.Tensor:
        return torch.tensor(numbers, device=cross_attention_mask.device)

    shared = SharedImages(images, whole=whole and several == 1 and (drop_tiles or all(seen)))
    if drop_tiles and not all(seen):
        # Nothing seen at all: one tile, so that there is something to attend to before it is dropped.
        shared.tiles = tensor([number for number, one in enumerate(seen) if one] or [0])
    if several > 1:
        shared.image_of_row = image_index.clamp(min=0)
        return shared
    rows_of_image: list[list[int]] = [[] for _ in range(images)]
    for row, image in enumerate(index):
        if image >= 0:
            rows_of_image[image].append(row)
    longest = max(1, *map(len, rows_of_image))
    order = [row for some in rows_of_image for row in some + [0] * (longest - len(some))]
    if order != list(range(rows)):
        place = {row: image * longest + i for image, some in enumerate(rows_of_image) for i, row in enumerate(some)}
        shared.row_of_slot, shared.slot_of_row = tensor(order), tensor([place.get(row, 0) for row in range(rows)])
    return shared


def blank_image(rows: int, device: torch.device) -> SharedImages:
    """An image of which no row sees anything: one row's questions stand before it, and their answers are dropped."""
    nought = torch.zeros(rows, dtype=torch.long, device=device)
    return SharedImages(1, row_of_slot=nought[:1], slot_of_row=nought, blank=True)


def prepare_mask(
    mask: torch.Tensor, shared: SharedImages, patches: int, dtype: torch.dtype
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """What the layers add to their scores, and which tokens see an image.

    Args:
        mask: `[B, L, M, T]`, 1 where a token sees a tile.
        patches: P, vectors a tile has.

    Returns:
        `[N, 1, R * L, U * P]`, or `[B, 1, L, M * U * P]` where rows have several images, 0 where a token sees a vector
        and the least number otherwise; None where `shared.whole`.
        `[B, 1, L, 1]` bool.
    """
    sees = mask.flatten(2).any(-1)[:, None, :, None]
    if shared.whole:
        return None, sees
    if shared.tiles is not None:
        mask = mask.index_select(3, shared.tiles)
    if shared.image_of_row is None:
        mask = to_slots(mask, shared).reshape(shared.images, -1, *mask.shape[2:])
    return _prepare_cross_attention_mask(mask, patches, dtype)[0], sees


def to_slots(rows: torch.Tensor, shared: SharedImages) -> torch.Tensor:
    """`[B, ...]` to `[N * R, ...]`."""
    return rows if shared.row_of_slot is None else rows.index_select(0, shared.row_of_slot)


def to_rows(slots: torch.Tensor, shared: SharedImages) -> torch.Tensor:
    """`[N * R, ...]` to `[B, ...]`."""
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
    """In place of `MllamaTextCrossAttention.forward`.

    Args:
        hidden_states: `[B, L, D]`.
        cross_attention_states: `[N, S, D]` of the distinct images where `shared_images`, else as in the stock model.
        attention_mask: of `prepare_mask`, or the stock model's.
        sees_image: `[B, 1, L, 1]` bool; what other tokens get is dropped. None: nothing is.
    """
    if attention_mask is not None and attention_mask.dtype != hidden_states.dtype and not autocast_runs(hidden_states):
        attention_mask = attention_mask.to(
            hidden_states.dtype
        )  # FSDP2 may compute in less than the weights are kept in
    if shared_images is None:
        output, weights = type(self).forward(
            self, hidden_states, cross_attention_states, past_key_values, attention_mask, use_cache, **kwargs
        )
    else:
        keys, values = keys_and_values(self, cross_attention_states, past_key_values)
        output, weights = shared_attention(self, hidden_states, keys, values, attention_mask, shared_images, **kwargs)
    if sees_image is not None:
        output = output.masked_fill(~sees_image[:, 0], 0.0)
    return output, weights


def autocast_runs(tensor: torch.Tensor) -> bool:
    return torch.is_autocast_enabled(tensor.device.type)


def keys_and_values(
    self: nn.Module, states: torch.Tensor | None, cache: Cache | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """`[N, kv_heads, S, head_dim]` each: of the states, once for each image, or what the cache has of them.

    Raises:
        ValueError: the cache has places of a fixed number, which are not those of these images.
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
            raise ValueError("image_index goes with a dynamic cache that holds no image yet, not with a static one")
    return keys, values


def shared_attention(
    self: nn.Module,
    hidden_states: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    attention_mask: torch.Tensor | None,
    shared: SharedImages,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`[B, L, D]` to `[B, L, D]`, and where eager attention has them the weights `[N, heads, R * L, S]`."""
    rows, length, _ = hidden_states.shape
    queries = self.q_norm(self.q_proj(hidden_states).view(rows, length, self.num_heads, self.head_dim))
    if shared.image_of_row is None:
        queries = to_slots(queries, shared).reshape(shared.images, -1, self.num_heads, self.head_dim)
    else:  # several images a row: its keys one after the other, a copy for each row
        keys, values = (
            one.index_select(0, shared.image_of_row.flatten())  # (B * M, heads, S, head_dim)
            .unflatten(0, (rows, -1))
            .transpose(1, 2)
            .flatten(2, 3)
            for one in (keys, values)
        )
    attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    dropout = self.dropout if self.training else 0.0
    output, weights = attend(
        self, queries.transpose(1, 2), keys, values, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs
    )
    output = output.reshape(-1, length, self.num_heads * self.head_dim)
    return self.o_proj(to_rows(output, shared)), weights
