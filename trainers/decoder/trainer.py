"""Trains the decoder: bytes become pixels on the device, the loss is a mean over tokens, answers are scored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from evaluation.loading import InputError
from modeling.mllama.chunked_cross_entropy import IGNORE_INDEX
from trainers.base.callbacks import PauseMeter
from trainers.decoder.answer_evaluation import AnswerEvaluation
from trainers.decoder.metrics import TokenMeter
from trainers.decoder.processes import DecoderProcesses
from trainers.decoder.sample_tables import SampleTables
from trainers.decoder.tuning import count_weights
from trainers.images.decoder_tiles import unpack_tiles

LARGEST_LOSS = 700.0  # in nats a token; beyond it the perplexity is no float


class DecoderTrainer(DecoderProcesses):
    """Fits an Mllama that `prepare_mllama` has changed, or a PeftModel around one, on batches of a DecoderCollator.

    The loss of an update is the mean over its supervised tokens, of all micro-batches and processes, and that of the
    evaluation the mean over those of the whole split: a mean over batches would weigh the tokens of long answers less.

    Args:
        answers: which rows of the evaluation are answered and scored at each evaluation; None for none.

    Attributes:
        order: in which the rows of an epoch come, a sampler; None leaves it to Trainer.
        measured_on_part: names of metrics that are of the rows of `answers` alone, not of the whole split.
    """

    def __init__(self, *args: Any, answers: AnswerEvaluation | None = None, **kwargs: Any) -> None:
        super().__init__(*args, compute_metrics=self.score, **kwargs)
        self.can_return_loss = True
        self.answers = answers
        self.check_metric()
        if self.is_world_process_zero() and self.rounds_updates():
            print(
                "--bf16: all weights learn in bfloat16, in which updates of less than about 1/256 of a weight are "
                "lost; fsdp2_decoder.yaml on several GPUs, or --bf16 False, keeps them in float32",
                flush=True,
            )
        self.order: torch.utils.data.Sampler | None = None
        self.measured_on_part: frozenset[str] = frozenset()
        self.meter = TokenMeter()
        self.add_callback(PauseMeter(self.meter))
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
        """Whether weights that learn are kept in 16 bits; FSDP2 and ZeRO-3 keep theirs in 32."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return False
        return any(one.requires_grad and one.dtype == torch.bfloat16 for one in self.model.parameters())

    # --- training ---

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.order if self.order is not None else super()._get_train_sampler(train_dataset)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As Trainer's; bytes become pixels on the device, where that takes no time and moves a quarter of the data."""
        return unpack_tiles(super()._prepare_inputs(inputs), self.processing_class.image_processor)

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple[list, Any]:
        self.meter.resume()
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        self.meter.add(inputs)
        return super().training_step(model, inputs, num_items_in_batch)

    def summary(self, **facts: Any) -> dict:
        """As BaseTrainer's; a weight of 4 bits counts as one."""
        parameters = self.accelerator.unwrap_model(self.model).parameters()
        return super().summary(**facts) | {"parameters": sum(map(count_weights, parameters))}

    # --- what a resumed run goes on with ---

    def progress(self) -> dict[str, Any]:
        return super().progress() | {"meter": self.meter.state()}

    def restore_progress(self, progress: dict[str, Any]) -> None:
        super().restore_progress(progress)
        self.meter.restore(progress["meter"], self.args.device)

    # --- evaluation ---

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns two numbers for each row, the sum of its losses and how many tokens they are of: the logits of one
        row of 512 tokens take 263 MB at 128,256 words."""
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

    # --- logs ---

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds to a line about the training what `TokenMeter.take` gives."""
        if "loss" in logs:
            self.meter.pause()
            logs |= self.meter.take()
        super().log(logs, start_time)
