"""Checkpoints of a decoder that it can really be resumed from."""

from __future__ import annotations

from functools import partial

from transformers import PreTrainedModel

from trainers.medical_trainer import MedicalTrainer


class DecoderCheckpoints(MedicalTrainer):
    """MedicalTrainer for an Mllama, or a PeftModel around one."""

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Saves a checkpoint with the weights under the names that the model in memory has.

        `save_pretrained` renames Mllama's weights to those of the released checkpoint, but resuming and
        `load_best_model_at_end` read a file into the model without renaming it back: they would load nothing and
        only warn (transformers issues 43701 and 40187). An adapter's names are not touched.
        """
        if not isinstance(self.model, PreTrainedModel):
            return super()._save(output_dir, state_dict)
        self.model.save_pretrained = partial(self.model.save_pretrained, save_original_format=False)
        try:
            super()._save(output_dir, state_dict)
        finally:
            del self.model.save_pretrained  # the class's own again
