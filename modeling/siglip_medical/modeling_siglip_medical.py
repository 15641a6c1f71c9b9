"""Defines SiglipMedicalModel, a SiglipModel whose loss accounts for equal texts and images within a batch."""

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
from .contrastive_loss import normalize
from .long_texts import encode_text
from .matryoshka_loss import embedding_loss
from .position_embeddings import resize_positions

# Initial values for training from scratch, as in SigLIP. Pretrained checkpoints have t = 112 to 118, b = -12 to -17.
INITIAL_LOGIT_SCALE = math.log(10)
INITIAL_LOGIT_BIAS = -10.0
SCALARS = ("logit_scale", "logit_bias")
HALF = (torch.float16, torch.bfloat16)


@dataclass
class SiglipMedicalOutput(SiglipOutput):
    """Extends SiglipOutput by the two scalars that the logits and the loss depend on.

    Attributes:
        loss: scalar, if requested.
        logits_per_image: `[N, M]`, if requested.
        logits_per_text: `[M, N]`, if requested.
        image_embeds: `[N, D]` of unit length in float32 or higher precision, or None without images.
        text_embeds: `[M, D]`, likewise, or None without texts.
        logit_scale: `[1]`, the logarithm of the temperature, connected to the graph. A loss that is computed from the
            embeddings outside the model can use it for the parameter's gradient, even if the parameter itself exists
            only during `forward` (FSDP).
        logit_bias: `[1]`, likewise.
    """

    logit_scale: torch.Tensor | None = None
    logit_bias: torch.Tensor | None = None


class SiglipMedicalModel(SiglipModel):
    """SigLIP with a duplicate-aware contrastive loss and the weight names of SiglipModel.

    Temperature and bias stay in float32 when the towers are loaded in or cast to another precision: near -12.7 the
    spacing of bfloat16 is 0.06, so an update at a learning rate of 1e-4 would be lost.
    """

    config: SiglipMedicalConfig
    config_class = SiglipMedicalConfig
    # The loss is a mean over the images of a batch, so Trainer has to divide it by the accumulation steps. Otherwise
    # Trainer concludes from `**kwargs` in `forward` that the model normalizes its loss by the number of tokens.
    accepts_loss_kwargs = False
    _keep_in_fp32_modules_strict = SCALARS

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Loads a checkpoint as PreTrainedModel does, but raises an error unless all weights match.

        By default transformers initializes missing weights randomly, and with `ignore_mismatched_sizes` also the
        position embeddings of a different image size, and reports this only in a table of the log.

        Raises:
            ValueError: a weight is missing, unexpected or has a different shape.
        """
        with_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if keys := sorted(map(str, info.get(problem) or ())):
                raise ValueError(
                    f"{pretrained_model_name_or_path}: the checkpoint has {len(keys)} {problem.replace('_', ' ')}, for "
                    f"example {keys[0]}. Load it with its own configuration, and change the image size afterwards with "
                    "set_image_size()."
                )
        return (model, info) if with_info else model

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Saves as PreTrainedModel does, and registers this class for `pipeline("zero-shot-image-classification")`."""
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
        """Keeps temperature and bias in float32; `.to`, `.half`, `.bfloat16` and `.cuda` call this method."""
        kept = [tensor for name in SCALARS for tensor in (getattr(self, name), getattr(self, name).grad)]

        def apply(tensor: torch.Tensor) -> torch.Tensor:
            result = fn(tensor)
            if result.dtype in HALF and any(tensor is one for one in kept):
                return tensor.to(device=result.device, dtype=torch.float32)
            return result

        return super()._apply(apply, recurse)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the towers. PreTrainedModel would return that of the first parameter, the temperature."""
        return self.vision_model.embeddings.position_embedding.weight.dtype

    def get_text_features(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        truncate_dim: int | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Returns the output of the text tower.

        `pooler_output` is `[M, D]`: the tower's output, or its leading dimensions scaled to unit length.

        Args:
            input_ids: `[M, 64]` tokens, padded to the maximum length as in SigLIP's training.
            attention_mask: `[M, 64]`, ignored unless `config.text_attention_mask` is set.
            truncate_dim: the number of leading dimensions to keep. None for `config.truncate_dim`.

        Raises:
            ValueError: the model was trained with the mask and none is given, or `truncate_dim` is out of range.
        """
        if self.config.text_attention_mask and attention_mask is None:
            raise ValueError(
                "attention_mask is missing, but config.text_attention_mask is set. Call the processor with "
                "return_attention_mask=True and pass its attention_mask."
            )
        mask = attention_mask if self.config.text_attention_mask else None
        output = super().get_text_features(input_ids, attention_mask=mask, position_ids=position_ids, **kwargs)
        return self._truncate(output, truncate_dim)

    def get_image_features(
        self,
        pixel_values: torch.Tensor,
        interpolate_pos_encoding: bool = False,
        truncate_dim: int | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Returns the output of the vision tower.

        `pooler_output` is `[N, D]`: the tower's output, or its leading dimensions scaled to unit length.

        Args:
            pixel_values: `[N, 3, height, width]`.
            interpolate_pos_encoding: whether to interpolate the position embeddings to the size of these images.
            truncate_dim: the number of leading dimensions to keep. None for `config.truncate_dim`.

        Raises:
            ValueError: `truncate_dim` is out of range.
        """
        output = super().get_image_features(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, **kwargs)
        return self._truncate(output, truncate_dim)

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
        """Embeds N images, M texts, or both, and compares every image with every text.

        Args:
            input_ids: `[M, 64]` tokens, padded to the maximum length as in SigLIP's training.
            pixel_values: `[N, 3, height, width]`.
            attention_mask: `[M, 64]`, ignored unless `config.text_attention_mask` is set.
            group_ids: `[N]`, see `contrastive_loss`.
            image_ids: `[N]`, see `contrastive_loss`.
            return_loss: whether to compute the loss.
            return_logits: whether to compute the logits. None computes them if images and texts are given and no loss
                is requested.
            truncate_dim: see `get_text_features`.

        Raises:
            ValueError: neither images nor texts are given, or the loss or the logits are requested without both.
        """
        if input_ids is None and pixel_values is None:
            raise ValueError("Neither pixel_values nor input_ids is given. Give one of them, or both.")
        both = input_ids is not None and pixel_values is not None
        if (return_loss or return_logits) and not both:
            raise ValueError(
                "return_loss and return_logits require both pixel_values and input_ids. Give the other one."
            )

        vision = text = image_embeds = text_embeds = None
        settings = kwargs | {"truncate_dim": truncate_dim, "return_dict": True}
        if pixel_values is not None:
            vision = self.get_image_features(pixel_values, interpolate_pos_encoding, **settings)
            image_embeds = scale_to_unit_length(vision.pooler_output)
        if input_ids is not None:
            text = self.get_text_features(input_ids, attention_mask, position_ids, **settings)
            text_embeds = scale_to_unit_length(text.pooler_output)

        logit_scale, logit_bias = self.logit_scale.clone(), self.logit_bias.clone()
        loss = logits_per_text = None
        if return_loss:
            scalars = (logit_scale, logit_bias)
            ids = {"group_ids": group_ids, "image_ids": image_ids}
            loss = embedding_loss(self.config, image_embeds, text_embeds, *scalars, **ids)
        if return_logits or (return_logits is None and both and not return_loss):
            with torch.autocast(text_embeds.device.type, enabled=False):
                # (M, D) @ (D, N) -> (M, N)
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
        """Changes the image size of the model, and of a processor, permanently; see `resize_positions`."""
        resize_positions(self, image_size, processor)

    def encode_text(
        self, texts: Sequence[str], processor: Any, long_text: str = "first", batch_size: int = 64
    ) -> torch.Tensor:
        """Returns unit-length embeddings `[len(texts), D]` of texts of any length, see `long_texts.encode_text`."""
        return encode_text(self, processor, texts, long_text=long_text, batch_size=batch_size)

    def _truncate(self, output: Any, truncate_dim: int | None) -> Any:
        """Truncates the pooled output of a tower and scales it to unit length; without a width it stays unchanged."""
        dim = self.config.truncate_dim if truncate_dim is None else truncate_dim
        if dim is None:
            return output
        pooled = output.pooler_output if hasattr(output, "pooler_output") else output[1]
        if not 1 <= dim <= pooled.shape[-1]:
            raise ValueError(
                f"truncate_dim: {dim} is out of range. Use a width between 1 and {pooled.shape[-1]}, the full width."
            )
        truncated = scale_to_unit_length(pooled[..., :dim])
        if isinstance(output, tuple):
            return (output[0], truncated, *output[2:])
        output["pooler_output"] = truncated
        return output


def scale_to_unit_length(embeds: torch.Tensor) -> torch.Tensor:
    """Scales rows to unit length in float32 or higher precision; a row of zeros stays zero."""
    return normalize(embeds.to(torch.promote_types(embeds.dtype, torch.float32)))


SiglipMedicalConfig.register_for_auto_class()
SiglipMedicalModel.register_for_auto_class("AutoModel")
