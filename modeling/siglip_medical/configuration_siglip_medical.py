"""SiglipConfig with what the medical fine-tuning adds."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import SiglipConfig


@strict
class SiglipMedicalConfig(SiglipConfig):
    """Configuration of a SiglipMedicalModel.

    `model_type` stays `siglip` on purpose: a checkpoint then has two doors. `AutoModel.from_pretrained(id)` opens it
    as a stock SiglipModel; with `trust_remote_code=True` it opens as a SiglipMedicalModel, with its loss. The stock
    model knows none of the fields below: it gives the whole width, and attends to a mask whenever it is given one.

    Attributes:
        contrastive_loss: `sigmoid` or `sigmoid_logsumexp`. Not `loss_type`, which transformers uses itself.
        positives: `pair`, `group` or `mask`. For both see `contrastive_loss` in `loss.py`.
        matryoshka_dims: the widths that are trained, see `embedding_loss` in `objective.py`. None: the whole width.
        matryoshka_weights: a positive weight for each of them. None: all weigh the same.
        truncate_dim: how many leading dimensions the embeddings keep, unless a call says otherwise. None: all.
        text_attention_mask: whether the text tower looks at `attention_mask`. SigLIP was trained attending to its
            padding: a mask, which some tokenizers return, gives other embeddings. Set for training, it holds for good.

    Raises:
        ValueError: for a width that the towers cannot give, or weights without widths.
    """

    contrastive_loss: str = "sigmoid"
    positives: str = "group"
    matryoshka_dims: list[int] | None = None
    matryoshka_weights: list[float] | None = None
    truncate_dim: int | None = None
    text_attention_mask: bool = False

    def __post_init__(self, **kwargs) -> None:
        if self.matryoshka_weights is not None:
            self.matryoshka_weights = [float(weight) for weight in self.matryoshka_weights]  # [1, 1, 2] will do, too
        super().__post_init__(**kwargs)

    def validate_embedding_widths(self) -> None:
        """Called by `strict` when a configuration is made; a name that starts with `validate_` is what asks for it."""
        width = self.embedding_width
        for name, dims in (("truncate_dim", [self.truncate_dim]), ("matryoshka_dims", self.matryoshka_dims)):
            for dim in dims or []:
                if dim is not None and not 1 <= dim <= width:
                    raise ValueError(f"{name} {dim}: give a width between 1 and {width}, that of the embeddings")

    @property
    def embedding_width(self) -> int:
        """D, the width of the embeddings of both towers before any truncation."""
        return self.vision_config.hidden_size
