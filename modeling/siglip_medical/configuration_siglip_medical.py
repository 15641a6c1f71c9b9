"""SiglipConfig with what the medical fine-tuning adds."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import SiglipConfig


@strict
class SiglipMedicalConfig(SiglipConfig):
    """Configuration of a SiglipMedicalModel.

    `model_type` stays `siglip` on purpose: a checkpoint then has two doors. `AutoModel.from_pretrained(id)` opens it
    as a stock SiglipModel; with `trust_remote_code=True` it opens as a SiglipMedicalModel, with its loss.

    Attributes:
        contrastive_loss: `sigmoid` or `sigmoid_logsumexp`. Not `loss_type`, which transformers uses itself.
        positives: `pair`, `group` or `mask`. For both see `contrastive_loss` in `loss.py`.
    """

    contrastive_loss: str = "sigmoid"
    positives: str = "group"
