"""SiglipModel whose loss knows that two rows of a batch may hold the same text or the same image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import SiglipModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.siglip.modeling_siglip import SiglipOutput
from transformers.utils import can_return_tuple

from .configuration_siglip_medical import SiglipMedicalConfig
from .long_texts import encode_text
from .loss import normalize
from .objective import embedding_loss
from .position_embeddings import resize_positions

# Where SigLIP starts from scratch; a pretrained checkpoint brings its own (about t = 112 to 118, b = -12 to -17).
INITIAL_LOGIT_SCALE = math.log(10)
INITIAL_LOGIT_BIAS = -10.0
SCALARS = ("logit_scale", "logit_bias")
HALF = (torch.float16, torch.bfloat16)


@dataclass
class SiglipMedicalOutput(SiglipOutput):
    """SiglipOutput with the two scalars that the logits and the loss are made with.

    Attributes:
        loss: a scalar, where it was asked for.
        logits_per_image, logits_per_text: `[N, M]` and `[M, N]`, see `return_logits`.
        image_embeds, text_embeds: `[N, D]` and `[M, D]`, of unit length, in float32 or better; None for what was not
            given.
        logit_scale: `[1]`, the logarithm of the temperature, connected to the graph: whoever computes a loss from the
            embeddings outside the model gets its gradient this way, also where the parameter itself exists only
            during forward (FSDP).
        logit_bias: `[1]`, likewise.
    """

    logit_scale: torch.Tensor | None = None
    logit_bias: torch.Tensor | None = None


class SiglipMedicalModel(SiglipModel):
    """SigLIP with a duplicate-aware contrastive loss. Weights are named as SiglipModel's.

    Temperature and bias stay in float32 whatever the towers are loaded in or cast to: near -12.7 bfloat16 goes by
    steps of 0.06, and an update of lr 1e-4 is lost.
    """

    config: SiglipMedicalConfig
    config_class = SiglipMedicalConfig
    # The loss is a mean over the images of a batch: Trainer divides it by the accumulation steps, as for any other.
    # Without this it takes `**kwargs` below for a sign that the model counts tokens, and does not.
    accepts_loss_kwargs = False
    _keep_in_fp32_modules_strict = SCALARS

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As PreTrainedModel's, but nothing is made up: a checkpoint fits exactly, or it is an error.

        Left alone, transformers fills what is missing with random numbers, and with `ignore_mismatched_sizes` also
        the positions of another image size; the only sign is a line in a table.

        Raises:
            ValueError: a weight is missing, unexpected or of another shape.
        """
        with_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if keys := sorted(map(str, info.get(problem) or ())):
                raise ValueError(
                    f"{pretrained_model_name_or_path}: {len(keys)} {problem.replace('_', ' ')} in the checkpoint, such "
                    f"as {keys[0]}; load it as it is, and change the image size with set_image_size()"
                )
        return (model, info) if with_info else model

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As PreTrainedModel's; `pipeline("zero-shot-image-classification")` finds this class in the checkpoint."""
        name = f"{type(self).__module__.rsplit('.', 1)[-1]}.{type(self).__name__}"
        self.config.auto_map = dict(getattr(self.config, "auto_map", None) or {}) | {
            "AutoModelForZeroShotImageClassification": name
        }
        super().save_pretrained(save_directory, *args, **kwargs)

    def _init_weights(self, module: torch.nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, SiglipModel):
            init.constant_(module.logit_scale, INITIAL_LOGIT_SCALE)
            init.constant_(module.logit_bias, INITIAL_LOGIT_BIAS)

    def _apply(self, fn: Callable, recurse: bool = True) -> SiglipMedicalModel:
        """What `.to`, `.half`, `.bfloat16` and `.cuda` go through."""
        kept = [tensor for name in SCALARS for tensor in (getattr(self, name), getattr(self, name).grad)]

        def apply(tensor: torch.Tensor) -> torch.Tensor:
            result = fn(tensor)
            if result.dtype in HALF and any(tensor is one for one in kept):
                return tensor.to(device=result.device, dtype=torch.float32)
            return result

        return super()._apply(apply, recurse)

    @property
    def dtype(self) -> torch.dtype:
        """That of the towers; PreTrainedModel asks the first parameter, which here is the temperature."""
        return self.vision_model.embeddings.position_embedding.weight.dtype

    def get_text_features(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        truncate_dim: int | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """The text tower's output; `pooler_output` is `[M, D]` as the tower gives it, or cut and of unit length.

        Args:
            input_ids: `[M, 64]` tokens, padded to the maximal length, as SigLIP was trained.
            attention_mask: `[M, 64]`, ignored unless `config.text_attention_mask` is set.
            truncate_dim: how many leading dimensions to keep; None: what `config.truncate_dim` says.

        Raises:
            ValueError: the model was trained with the mask, and none is given; or `truncate_dim` is out of range.
        """
        if self.config.text_attention_mask and attention_mask is None:
            raise ValueError("config.text_attention_mask is set: give the attention_mask (return_attention_mask=True)")
        mask = attention_mask if self.config.text_attention_mask else None
        output = super().get_text_features(input_ids, attention_mask=mask, position_ids=position_ids, **kwargs)
        return self._truncated(output, truncate_dim)

    def get_image_features(
        self,
        pixel_values: torch.Tensor,
        interpolate_pos_encoding: bool = False,
        truncate_dim: int | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """The vision tower's output; `pooler_output` is `[N, D]` as the tower gives it, or cut and of unit length.

        Args:
            pixel_values: `[N, 3, height, width]`.
            truncate_dim: how many leading dimensions to keep; None: what `config.truncate_dim` says.
        """
        output = super().get_image_features(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, **kwargs)
        return self._truncated(output, truncate_dim)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        group_ids: torch.LongTensor | None = None,
        image_ids: torch.LongTensor | None = None,
        return_loss: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_logits: bool | None = None,
        truncate_dim: int | None = None,
        **kwargs: Any,
    ) -> SiglipMedicalOutput:
        """Embeds N images, M texts, or both and compares each with each.

        Args:
            input_ids: `[M, 64]` tokens, padded to the maximal length, as SigLIP was trained.
            pixel_values: `[N, 3, height, width]`.
            attention_mask: `[M, 64]`, ignored unless `config.text_attention_mask` is set.
            group_ids, image_ids: `[N]`, see `contrastive_loss`.
            return_loss: whether to compute the loss.
            return_logits: whether to compute the logits; None: where no loss is asked for, and both are given.
            truncate_dim: see `get_text_features`.

        Raises:
            ValueError: neither images nor texts are given, or a loss or logits are asked for without both.
        """
        if input_ids is None and pixel_values is None:
            raise ValueError("give pixel_values, input_ids, or both")
        both = input_ids is not None and pixel_values is not None
        if (return_loss or return_logits) and not both:
            raise ValueError("return_loss and return_logits compare images with texts: give pixel_values and input_ids")

        vision = text = image_embeds = text_embeds = None
        settings = kwargs | {"truncate_dim": truncate_dim, "return_dict": True}
        if pixel_values is not None:
            vision = self.get_image_features(pixel_values, interpolate_pos_encoding, **settings)
            image_embeds = unit_length(vision.pooler_output)
        if input_ids is not None:
            text = self.get_text_features(input_ids, attention_mask, position_ids, **settings)
            text_embeds = unit_length(text.pooler_output)

        logit_scale, logit_bias = self.logit_scale.clone(), self.logit_bias.clone()
        loss = logits_per_text = None
        if return_loss:
            scalars = (logit_scale, logit_bias)
            ids = {"group_ids": group_ids, "image_ids": image_ids}
            loss = embedding_loss(self.config, image_embeds, text_embeds, *scalars, **ids)
        if return_logits or (return_logits is None and both and not return_loss):
            with torch.autocast(text_embeds.device.type, enabled=False):
                logits_per_text = text_embeds @ image_embeds.T * logit_scale.exp() + logit_bias
        return SiglipMedicalOutput(
            loss=loss,
            logits_per_image=None if logits_per_text is None else logits_per_text.T,
            logits_per_text=logits_per_text,
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            text_model_output=text,
            vision_model_output=vision,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
        )

    def set_image_size(self, image_size: int, processor: Any = None) -> None:
        """Makes the model, and a processor, one of another image size for good, see `resize_positions`."""
        resize_positions(self, image_size, processor)

    def encode_text(
        self, texts: Sequence[str], processor: Any, long_text: str = "first", batch_size: int = 64
    ) -> torch.Tensor:
        """Unit-length embeddings `[len(texts), D]` of texts of any length, see `long_texts.encode_text`."""
        return encode_text(self, processor, texts, long_text=long_text, batch_size=batch_size)

    def _truncated(self, output: Any, truncate_dim: int | None) -> Any:
        dim = self.config.truncate_dim if truncate_dim is None else truncate_dim
        if dim is None:
            return output
        pooled = output.pooler_output if hasattr(output, "pooler_output") else output[1]
        if not 1 <= dim <= pooled.shape[-1]:
            raise ValueError(
                f"truncate_dim {dim}: give a width between 1 and {pooled.shape[-1]}, that of the embeddings"
            )
        cut = unit_length(pooled[..., :dim])
        if isinstance(output, tuple):
            return (output[0], cut, *output[2:])
        output["pooler_output"] = cut
        return output


def unit_length(embeds: torch.Tensor) -> torch.Tensor:
    """Rows of unit length, in float32 or better; a row of zeros stays zero."""
    return normalize(embeds.to(torch.promote_types(embeds.dtype, torch.float32)))


SiglipMedicalConfig.register_for_auto_class()
SiglipMedicalModel.register_for_auto_class("AutoModel")
