"""How is a stock `MllamaForConditionalGeneration` (Llama 3.2 Vision) changed so that it trains faster and rightly?

    model = AutoModelForImageTextToText.from_pretrained("meta-llama/Llama-3.2-11B-Vision-Instruct")
    prepare_mllama(model)

changes this one model in place, before or after peft wraps it: what a row gives no longer depends on the rest of its
batch, rows may share images, and the head runs where there is a label. Classes, names of weights, configuration and
what `save_pretrained` writes stay as they are: a subclass would lose the checkpoint's conversion of key names, and
FSDP's wrapping by class names. `restore_mllama` undoes it.
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

from modeling.mllama_attention import cross_attention_forward
from modeling.mllama_images import look
from modeling.mllama_vision import prepare_vision, restore_vision
from modeling.supervised_loss import reduced_loss, row_losses, supervised_positions, token_losses

EXPAND = "_expand_inputs_for_generation"


def prepare_mllama(model: nn.Module, isolate_rows: bool = True) -> None:
    """Gives the model's own modules, not their classes, other forwards.

    Args:
        model: an `MllamaForConditionalGeneration`, or what wraps one, as peft does.
        isolate_rows: what a row gives does not depend on the other rows of its batch. Without it the results are the
            stock model's, in which tokens that see no image still get something of one.

    Raises:
        ValueError: there is no such model within.
    """
    decoder = find_decoder(model)
    decoder.forward = MethodType(decoder_forward, decoder)
    decoder.model.forward = MethodType(model_forward, decoder.model)
    decoder.model.isolates_rows = isolate_rows
    setattr(decoder, EXPAND, MethodType(expand_inputs, decoder))
    prepare_vision(decoder.model.vision_model)
    for attention in cross_attentions(decoder):
        attention.is_causal = False  # sdpa takes a module that says nothing for causal (transformers #48172)
        attention.forward = MethodType(cross_attention_forward, attention)


def restore_mllama(model: nn.Module) -> None:
    """Makes the model the stock one again; does nothing to a stock one. Raises ValueError as `prepare_mllama`."""
    decoder = find_decoder(model)
    restore_vision(decoder.model.vision_model)
    changed = [(decoder, ("forward", EXPAND)), (decoder.model, ("forward", "isolates_rows"))]
    changed += [(attention, ("forward", "is_causal")) for attention in cross_attentions(decoder)]
    for module, names in changed:
        for name in names:
            vars(module).pop(name, None)


def find_decoder(model: nn.Module) -> MllamaForConditionalGeneration:
    """The model itself, or the one within. Raises ValueError without one."""
    for module in model.modules():
        if isinstance(module, MllamaForConditionalGeneration):
            return module
    raise ValueError(f"{type(model).__name__} is no MllamaForConditionalGeneration and holds none")


def cross_attentions(model: nn.Module) -> list[MllamaTextCrossAttention]:
    return [module for module in model.modules() if isinstance(module, MllamaTextCrossAttention)]


def expand_inputs(self: MllamaForConditionalGeneration, expand_size: int = 1, **inputs):
    """In place of `generate`'s own: it would repeat the images, and the index would name the wrong ones."""
    if expand_size > 1 and inputs.get("image_index") is not None:
        raise ValueError(
            "image_index goes with one answer a row: num_beams=1 and num_return_sequences=1. Otherwise repeat the "
            "images: pixel_values[image_index], aspect_ratio_ids[image_index], aspect_ratio_mask[image_index]"
        )
    return getattr(type(self), EXPAND)(self, expand_size=expand_size, **inputs)


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
    """In place of `MllamaForConditionalGeneration.forward`; beside its arguments:

    Args:
        labels: `[B, L]` int64, not shifted, -100 where nothing is to be learned. With labels `logits` is None.
        image_index: `[B, M]` int64, which of the images is the row's m-th, -1 for none. Then `pixel_values`
            `[N, T, 3, H, W]`, `aspect_ratio_ids` `[N]` and `aspect_ratio_mask` `[N, T]` are of N distinct images, and
            `cross_attention_mask` `[B, L, M, T]` is wanted. In `generate` too, with one answer a row.
        per_row_loss: `loss` is `[B]`: each row's sum over its labels of the negative log-likelihood.
        num_items_in_batch: labels of the whole update; `loss` is then the sum over it, otherwise the mean.
        shift_labels: `[B, L]` labels already shifted; taken instead of `labels` where both are given.

    Raises:
        ValueError: a label is not a word of the head; an index names no image.
    """
    if labels is not None:  # looked at first: what is wrong with them shows before the work
        words = labels if shift_labels is None else shift_labels
        vocab_size = self.config.text_config.vocab_size
        positions, targets = supervised_positions(words, vocab_size, shifted=shift_labels is not None)
        use_cache = bool(use_cache)  # nothing follows a loss
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
        losses = token_losses(self.lm_head, hidden, positions.to(hidden.device), targets.to(hidden.device))
        if per_row_loss:
            loss = row_losses(losses, positions.to(losses.device), *words.shape)
        else:
            loss = reduced_loss(losses, num_items_in_batch)
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
    """In place of `MllamaModel.forward`, with `image_index` beside its arguments: see `decoder_forward`."""
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
        # A row's words stand at the same places whatever padding is on its left.
        position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]
    view = look(
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
        cross_attention_states=view.states,
        cross_attention_mask=view.mask,
        full_text_row_masked_out_mask=None if view.sees is None else view.sees.to(self.dtype),
        past_key_values=past_key_values,
        use_cache=use_cache,
        inputs_embeds=inputs_embeds,
        shared_images=view.shared,
        sees_image=view.sees if self.isolates_rows else None,
        **kwargs,
    )
    if outputs.past_key_values is not None and view.shared is not None:
        outputs.past_key_values.shared_images = view.shared  # whose keys these are: the next token's step asks
    return BaseModelOutputWithPast(
        last_hidden_state=outputs.last_hidden_state,
        past_key_values=outputs.past_key_values,
        hidden_states=outputs.hidden_states,
        attentions=outputs.attentions,
    )
