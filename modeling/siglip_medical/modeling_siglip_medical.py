"""SiglipModel whose loss knows that two rows of a batch may hold the same text or the same image."""

from __future__ import annotations

import math

import torch
from transformers import SiglipModel
from transformers import initialization as init
from transformers.models.siglip.modeling_siglip import SiglipOutput

from .configuration_siglip_medical import SiglipMedicalConfig
from .loss import contrastive_loss, normalize

# Where SigLIP starts from scratch; a pretrained checkpoint brings its own (about t = 112 to 118, b = -12 to -17).
INITIAL_LOGIT_SCALE = math.log(10)
INITIAL_LOGIT_BIAS = -10.0


class SiglipMedicalModel(SiglipModel):
    """SigLIP with a duplicate-aware contrastive loss. Weights are named as SiglipModel's."""

    config: SiglipMedicalConfig
    config_class = SiglipMedicalConfig
    # The loss is a mean over the images of a batch: Trainer divides it by the accumulation steps, as for any other.
    # Without this it takes `**kwargs` below for a sign that the model counts tokens, and does not.
    accepts_loss_kwargs = False

    def _init_weights(self, module: torch.nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, SiglipModel):
            init.constant_(module.logit_scale, INITIAL_LOGIT_SCALE)
            init.constant_(module.logit_bias, INITIAL_LOGIT_BIAS)

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
        **kwargs,
    ) -> SiglipOutput:
        """Embeds N images and N texts and compares each with each.

        Args:
            input_ids: `[N, 64]` tokens, padded to the maximal length, as SigLIP was trained.
            pixel_values: `[N, 3, height, width]`.
            group_ids, image_ids: `[N]`, see `contrastive_loss`.
            return_loss: whether to compute the loss.

        Returns:
            SiglipOutput with `loss` (a scalar or None), `logits_per_image` and `logits_per_text` `[N, N]`, and the
            unit-length `image_embeds` and `text_embeds` `[N, D]`.
        """
        vision = self.vision_model(
            pixel_values=pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, **kwargs
        )
        text = self.text_model(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, **kwargs)
        image_embeds, text_embeds = normalize(vision.pooler_output), normalize(text.pooler_output)
        logits_per_text = text_embeds @ image_embeds.T * self.logit_scale.exp() + self.logit_bias
        loss = None
        if return_loss:
            loss = contrastive_loss(
                image_embeds,
                text_embeds,
                self.logit_scale,
                self.logit_bias,
                kind=self.config.contrastive_loss,
                positives=self.config.positives,
                group_ids=group_ids,
                image_ids=image_ids,
            )
        return SiglipOutput(
            loss=loss,
            logits_per_image=logits_per_text.T,
            logits_per_text=logits_per_text,
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            text_model_output=text,
            vision_model_output=vision,
        )


SiglipMedicalConfig.register_for_auto_class()
SiglipMedicalModel.register_for_auto_class("AutoModel")
