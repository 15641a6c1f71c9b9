"""Patches a stock `MllamaForConditionalGeneration` (Llama 3.2 Vision) so that it trains faster and correctly.

    model = AutoModelForImageTextToText.from_pretrained("meta-llama/Llama-3.2-11B-Vision-Instruct")
    prepare_mllama(model)

`prepare_mllama` changes this one model in place, before or after peft wraps it: the output of a row no longer depends
on the other rows of its batch, rows can share images, and the language-model head runs only at positions that have a
label. The class, the weight names, the configuration and the files that `save_pretrained` writes stay the same; a
subclass would lose both the conversion of the checkpoint's key names and FSDP's wrapping by class name.
`restore_mllama` undoes the patch.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import MllamaForConditionalGeneration
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.models.mllama.modeling_mllama import MllamaTextCrossAttention
from transformers.utils import can_return_tuple

from modeling.mllama.chunked_cross_entropy import (
    compute_token_losses,
    find_supervised_positions,
    reduce_losses,
    sum_row_losses,
)
from modeling.mllama.cross_attention import cross_attention_forward
from modeling.mllama.image_states import prepare_cross_attention_inputs
from modeling.mllama.vision_tower import prepare_vision, restore_vision

EXPAND_METHOD = "_expand_inputs_for_generation"


def prepare_mllama(model: nn.Module, isolate_rows: bool = True) -> None:
    """Replaces the `forward` methods of this model's modules; their classes stay unchanged.

    Args:
        model: an `MllamaForConditionalGeneration`, or a wrapper around one, for example a peft model.
        isolate_rows: makes the output of a row independent of the other rows of its batch. If False, the results equal
            those of the stock model, in which tokens that see no image still receive cross-attention output.

    Raises:
        ValueError: the model contains no `MllamaForConditionalGeneration`.
    """
    decoder = find_decoder(model)
    decoder.forward = MethodType(decoder_forward, decoder)
    decoder.model.forward = MethodType(model_forward, decoder.model)
    decoder.model.isolates_rows = isolate_rows
    setattr(decoder, EXPAND_METHOD, MethodType(expand_inputs, decoder))
    prepare_vision(decoder.model.vision_model)
    for attention in find_cross_attentions(decoder):
        # Without this attribute, sdpa treats the module as causal when there is no mask (transformers #48172).
        attention.is_causal = False
        attention.forward = MethodType(cross_attention_forward, attention)


def restore_mllama(model: nn.Module) -> None:
    """Undoes `prepare_mllama`; a stock model stays unchanged. Raises ValueError as `prepare_mllama` does."""
    decoder = find_decoder(model)
    restore_vision(decoder.model.vision_model)
    patched = [(decoder, ("forward", EXPAND_METHOD)), (decoder.model, ("forward", "isolates_rows"))]
    patched += [(attention, ("forward", "is_causal")) for attention in find_cross_attentions(decoder)]
    for module, names in patched:
        for name in names:
            vars(module).pop(name, None)


def find_decoder(model: nn.Module) -> MllamaForConditionalGeneration:
    """Returns the `MllamaForConditionalGeneration` that `model` is or contains.

    Raises:
        ValueError: the model contains none.
    """
    for module in model.modules():
        if isinstance(module, MllamaForConditionalGeneration):
            return module
    raise ValueError(f"{type(model).__name__} neither is nor contains an MllamaForConditionalGeneration")


def find_cross_attentions(model: nn.Module) -> list[MllamaTextCrossAttention]:
    return [module for module in model.modules() if isinstance(module, MllamaTextCrossAttention)]


def expand_inputs(self: MllamaForConditionalGeneration, expand_size: int = 1, **inputs):
    """Replaces the method that `generate` expands its inputs with, and refuses to expand `image_index`.

    The stock method repeats the images, so the entries of `image_index` would refer to the wrong ones.

    Raises:
        ValueError: `image_index` is given and a row has more than one answer.
    """
    if expand_size > 1 and inputs.get("image_index") is not None:
        raise ValueError(
            f"image_index requires one answer per row, not {expand_size}. Use num_beams=1 and num_return_sequences=1, "
            "or leave out image_index and repeat the images: pixel_values[image_index], "
            "aspect_ratio_ids[image_index], aspect_ratio_mask[image_index]."
        )
    return getattr(type(self), EXPAND_METHOD)(self, expand_size=expand_size, **inputs)


@can_return_tuple
def decoder_forward(
    self: MllamaForConditionalGeneration,
    input_ids: torch.LongTensor | None = None,
    pixel_values: torch.Tensor | None = None,
    aspect_ratio_mask: torch.Tensor | None = None,
    aspect_ratio_ids: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    cross_attention_mask: torch.Tensor | None = None,
    cross_attention_states: torch.Tensor | None = None,
    position_ids: torch.LongTensor | None = None,
    past_key_values: Cache | None = None,
    inputs_embeds: torch.Tensor | None = None,
    labels: torch.LongTensor | None = None,
    use_cache: bool | None = None,
    logits_to_keep: int | torch.Tensor = 0,
    image_index: torch.LongTensor | None = None,
    per_row_loss: bool = False,
    num_items_in_batch: torch.Tensor | int | None = None,
    shift_labels: torch.LongTensor | None = None,
    **kwargs: Any,
) -> CausalLMOutputWithPast:
    """Replaces `MllamaForConditionalGeneration.forward`; only the arguments that differ are described.

    B is the batch size, L the text length, M the number of images per row, T the number of tiles per image, and N the
    number of distinct images of the batch.

    Args:
        labels: `[B, L]` int64 token ids, not shifted, -100 where there is no label. If given, `logits` is None.
        image_index: `[B, M]` int64, the index of each row's m-th image, -1 for none. It requires `pixel_values`
            `[N, T, 3, H, W]`, `aspect_ratio_ids` `[N]` and `aspect_ratio_mask` `[N, T]` of the N distinct images, and
            `cross_attention_mask` `[B, L, M, T]`. `generate` accepts it too, with one answer per row.
        per_row_loss: returns `loss` as `[B]`, the negative log-likelihood summed over the labels of each row.
        num_items_in_batch: the number of labels of the whole update. If given, `loss` is the sum of the token losses
            divided by it; otherwise `loss` is their mean.
        shift_labels: `[B, L]` labels that are already shifted; they take precedence over `labels`.

    Raises:
        ValueError: a label is outside the vocabulary of the head, or an index is outside the images.
    """
    if labels is not None:  # first, so that a wrong label is reported before the expensive part
        label_ids = labels if shift_labels is None else shift_labels
        vocab_size = self.config.text_config.vocab_size
        positions, targets = find_supervised_positions(label_ids, vocab_size, shifted=shift_labels is not None)
        use_cache = bool(use_cache)  # None would mean config.use_cache; no token is generated after a loss
    outputs = self.model(
        input_ids=input_ids,
        pixel_values=pixel_values,
        aspect_ratio_mask=aspect_ratio_mask,
        aspect_ratio_ids=aspect_ratio_ids,
        cross_attention_mask=cross_attention_mask,
        cross_attention_states=cross_attention_states,
        attention_mask=attention_mask,
        position_ids=position_ids,
        past_key_values=past_key_values,
        inputs_embeds=inputs_embeds,
        use_cache=use_cache,
        image_index=image_index,
        **kwargs,
    )
    hidden, logits, loss = outputs.last_hidden_state, None, None
    if labels is None:
        logits = self.lm_head(slice_logits_to_keep(hidden, logits_to_keep))
    else:
        losses = compute_token_losses(self.lm_head, hidden, positions.to(hidden.device), targets.to(hidden.device))
        if per_row_loss:
            loss = sum_row_losses(losses, positions.to(losses.device), *label_ids.shape)
        else:
            loss = reduce_losses(losses, num_items_in_batch)
    return CausalLMOutputWithPast(
        loss=loss,
        logits=logits,
        past_key_values=outputs.past_key_values,
        hidden_states=outputs.hidden_states,
        attentions=outputs.attentions,
    )


@can_return_tuple
def model_forward(
    self: nn.Module,
    input_ids: torch.LongTensor | None = None,
    pixel_values: torch.Tensor | None = None,
    aspect_ratio_mask: torch.Tensor | None = None,
    aspect_ratio_ids: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    cross_attention_mask: torch.Tensor | None = None,
    cross_attention_states: torch.Tensor | None = None,
    position_ids: torch.LongTensor | None = None,
    past_key_values: Cache | None = None,
    inputs_embeds: torch.Tensor | None = None,
    use_cache: bool | None = None,
    image_index: torch.LongTensor | None = None,
    **kwargs: Any,
) -> BaseModelOutputWithPast:
    """Replaces `MllamaModel.forward` and adds the argument `image_index`, see `decoder_forward`."""
    if (input_ids is None) ^ (inputs_embeds is not None):
        raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
    if pixel_values is not None and cross_attention_states is not None:
        raise ValueError("`pixel_values` and `cross_attention_states` cannot be provided simultaneously")
    if pixel_values is not None and aspect_ratio_ids is None:
        raise ValueError("`aspect_ratio_ids` must be provided if `pixel_values` is provided")
    tokens = input_ids if input_ids is not None else inputs_embeds
    length = tokens.shape[1]
    if cross_attention_mask is not None and cross_attention_mask.shape[1] != length:
        start = int(past_key_values.get_seq_length()) if past_key_values is not None else 0
        cross_attention_mask = cross_attention_mask[:, start : start + length]
    if self.isolates_rows and position_ids is None and attention_mask is not None and attention_mask.dim() == 2:
        # The tokens of a row keep their positions however much padding is on the left.
        position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]
    inputs = prepare_cross_attention_inputs(
        self,
        tokens,
        pixel_values,
        aspect_ratio_ids,
        aspect_ratio_mask,
        cross_attention_mask,
        cross_attention_states,
        image_index,
        past_key_values,
    )
    outputs = self.language_model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
        cross_attention_states=inputs.states,
        cross_attention_mask=inputs.mask,
        full_text_row_masked_out_mask=None if inputs.sees_image is None else inputs.sees_image.to(self.dtype),
        past_key_values=past_key_values,
        use_cache=use_cache,
        inputs_embeds=inputs_embeds,
        shared_images=inputs.shared_images,
        sees_image=inputs.sees_image if self.isolates_rows else None,
        **kwargs,
    )
    if outputs.past_key_values is not None and inputs.shared_images is not None:
        # The step that generates the next token needs to know which image each cached key belongs to.
        outputs.past_key_values.shared_images = inputs.shared_images
    return BaseModelOutputWithPast(
        last_hidden_state=outputs.last_hidden_state,
        past_key_values=outputs.past_key_values,
        hidden_states=outputs.hidden_states,
        attentions=outputs.attentions,
    )
