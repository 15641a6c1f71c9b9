"""Extends SiglipConfig by the settings of the medical fine-tuning: loss, Matryoshka widths, text mask."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import SiglipConfig


@strict
class SiglipMedicalConfig(SiglipConfig):
    """Configuration of a SiglipMedicalModel.

    `model_type` stays `siglip` so that a checkpoint can be loaded in two ways: `AutoModel.from_pretrained(id)` loads a
    stock SiglipModel, and with `trust_remote_code=True` it loads a SiglipMedicalModel with its loss. The stock model
    ignores the fields below: it returns the full width, and it uses an attention mask whenever it gets one.

    Attributes:
        contrastive_loss: `sigmoid` or `sigmoid_logsumexp`, the `kind` of `contrastive_loss` in `contrastive_loss.py`.
            The field is not called `loss_type`, because transformers uses that name itself.
        positives: `pair`, `group` or `mask`, see `contrastive_loss` in `contrastive_loss.py`.
        contrastive_weights: `none` or `inverse`, the `weights` of `contrastive_loss`.
        matryoshka_dims: the widths to train, see `embedding_loss` in `matryoshka_loss.py`. None for the full width.
        matryoshka_weights: one positive weight per width. None for equal weights.
        truncate_dim: the number of leading dimensions that embeddings keep by default. None for all.
        text_attention_mask: whether the text tower uses `attention_mask`. SigLIP was trained to attend to its padding;
            a mask, which some tokenizers return, changes the embeddings. A model that was trained with the mask needs
            it in every later use.

    Raises:
        ValueError: a width is not between 1 and the width of the embeddings.
    """

    contrastive_loss: str = "sigmoid"
    positives: str = "group"
    contrastive_weights: str = "none"
    matryoshka_dims: list[int] | None = None
    matryoshka_weights: list[float] | None = None
    truncate_dim: int | None = None
    text_attention_mask: bool = False

    def __post_init__(self, **kwargs) -> None:
        if self.matryoshka_weights is not None:
            # The strict dataclass accepts no integers in a list of floats.
            self.matryoshka_weights = [float(weight) for weight in self.matryoshka_weights]
        super().__post_init__(**kwargs)

    def validate_embedding_widths(self) -> None:
        """Checks the widths. `strict` calls every method whose name starts with `validate_` on construction."""
        width = self.embedding_width
        for name, dims in (("truncate_dim", [self.truncate_dim]), ("matryoshka_dims", self.matryoshka_dims)):
            for dim in dims or []:
                if dim is not None and not 1 <= dim <= width:
                    raise ValueError(
                        f"{name}: {dim} is out of range. Use a width between 1 and {width}, the full width."
                    )

    @property
    def embedding_width(self) -> int:
        """D, the width of the embeddings of both towers before truncation."""
        return self.vision_config.hidden_size
