"""Trains the decoder: bytes become pixels on the device, the loss is a mean over tokens, answers are scored."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback

from evaluation.loading import InputError
from modeling.mllama.chunked_cross_entropy import IGNORE_INDEX
from trainers.base.trainer import BaseTrainer
from trainers.decoder.answer_evaluation import AnswerEvaluation
from trainers.decoder.checkpoints import load_checked, save_method, saved_by
from trainers.decoder.metrics import TokenMeter
from trainers.decoder.processes import check_processes, drop_repeated_labels
from trainers.decoder.sample_tables import SampleTables
from trainers.images.decoder_tiles import unpack_tiles

LARGEST_LOSS = 700.0  # in nats a token; above it, exp(loss) overflows a float


class NoInputGradients(TrainerCallback):
    """Takes back the gradient at the embeddings that activation checkpointing asks for.

    Only the reentrant kind needs it. With it, the backward pass runs through frozen layers down to the first one: for
    a training of the head alone through the whole model.
    """

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        getattr(model, "module", model).disable_input_require_grads()


class DecoderTrainer(BaseTrainer):
    """Trains an Mllama that `prepare_mllama` has changed, or a PeftModel around one, on batches of a DecoderCollator.

    The loss of an update is the mean over its supervised tokens, of all micro-batches and processes, and that of the
    evaluation the mean over those of the whole split: a mean over batches would weigh the tokens of long answers less.

    Args:
        answers: which rows of the evaluation are answered and scored at each evaluation; None for none.

    Attributes:
        measured_on_part: names of metrics that are of the rows of `answers` alone, not of the whole split.

    Raises:
        InputError: a way of running on several processes would silently change the loss, or hang.
    """

    def __init__(self, *args: Any, answers: AnswerEvaluation | None = None, **kwargs: Any) -> None:
        super().__init__(*args, meter=TokenMeter(), compute_metrics=self.score, **kwargs)
        check_processes(self)
        self.add_callback(NoInputGradients())
        self.answers = answers
        self.check_metric()
        if self.is_world_process_zero() and self.rounds_updates():
            print(
                "--bf16: all weights are trained in bfloat16, in which updates of less than about 1/256 of a weight "
                "are lost; fsdp2_decoder.yaml on several GPUs, or --bf16 False, keeps them in float32",
                flush=True,
            )
        self.measured_on_part: frozenset[str] = frozenset()
        if answers is not None:
            self.add_callback(SampleTables(self))

    def check_metric(self) -> None:
        """Raises InputError where no evaluation will give what `--metric_for_best_model` names, before the training."""
        args, known = self.args, {"loss", "perplexity"}
        if args.eval_strategy == "no" or not (args.load_best_model_at_end or args.patience is not None):
            return
        if self.answers is not None and len(self.answers.chosen):
            known |= self.answers.scores([""] * len(self.answers.chosen)).keys()
        if (name := (args.metric_for_best_model or "loss").removeprefix("eval_")) not in known:
            raise InputError(
                f"--metric_for_best_model {name}: an evaluation of these rows gives {', '.join(sorted(known))}; more "
                "--eval_samples may give more"
            )

    def rounds_updates(self) -> bool:
        """Whether trainable weights are kept in 16 bits; FSDP2 and ZeRO-3 keep theirs in 32."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return False
        return any(one.requires_grad and one.dtype == torch.bfloat16 for one in self.model.parameters())

    # --- training ---

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As Trainer's; bytes become pixels on the device, where that takes no time and moves a quarter of the data."""
        return unpack_tiles(super()._prepare_inputs(inputs), self.processing_class.image_processor)

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Any:
        """As Trainer's, after the rows that only fill the last batches have lost their labels."""
        drop_repeated_labels(self, batch_samples)
        return super()._get_num_items_in_batch(batch_samples, device)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        self.meter.add(inputs)
        return super().training_step(model, inputs, num_items_in_batch)

    # --- checkpoints ---

    @property
    def inner_model(self) -> PreTrainedModel:
        """The Mllama, whatever is wrapped around it."""
        model = self.accelerator.unwrap_model(self.model)
        return model if isinstance(model, PreTrainedModel) else model.get_base_model()

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """As `save_method` writes, with processor and generation settings."""
        with saved_by(self.model, save_method(self)):
            super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            self.inner_model.generation_config.save_pretrained(folder)
            if not isinstance(self.model, PreTrainedModel):
                (folder / "README.md").unlink(missing_ok=True)  # peft's, which asks for more information

    def load_weights(self, folder: Path) -> bool:
        return load_checked(self, folder)

    # --- evaluation ---

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns two numbers for each row, the sum of its losses and the number of its tokens.

        The logits of one row of 512 tokens take 263 MB at 128,256 words, and are not kept.
        """
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            sums = model(**inputs, per_row_loss=True, use_cache=False).loss
        return None, sums.detach().float(), (inputs["labels"][:, 1:] != IGNORE_INDEX).sum(dim=1)

    def score(self, prediction: Any) -> dict[str, float]:
        """Loss and perplexity over the whole split.

        Raises:
            InputError: it has no token to predict.
        """
        sums, counts = (values.astype("float64").sum() for values in (prediction.predictions, prediction.label_ids))
        if not counts:
            raise InputError("--eval_split: no row has an answer to predict")
        loss = float(sums / counts)
        return {"loss": loss, "perplexity": math.exp(min(loss, LARGEST_LOSS))}

    def evaluation_loop(self, dataloader, description, *args, metric_key_prefix="eval", **kwargs):
        """As Trainer's; the answers to `self.answers` are scored with the evaluation of the split that they are of."""
        output = super().evaluation_loop(dataloader, description, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        if self.answers is not None and getattr(dataloader, "dataset", None) is self.answers.rows:
            scores = self.answers(self.model, self.accelerator)
            self.measured_on_part = frozenset(scores)
            output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in scores.items()})
        return output
