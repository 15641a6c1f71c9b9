"""Fine-tunes a SigLIP encoder on image-text pairs with the sigmoid loss.

    medpairs train-encoder --dataset org/med-pairs --push_to_hub --hub_model_id org/siglip-med
    medpairs train-encoder --config gpu_16gb --dataset org/med-pairs --dry_run

Starts from `google/siglip-base-patch16-224` or any SigLIP checkpoint (`--model_name_or_path`), or from a small random
one (`--tiny`). Ends with the best checkpoint by validation loss in `--output_dir`, with its card. `--config` is a YAML
file of flags, or a recipe of `trainers/recipes`; `--dry_run` shows what a run would do.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from model_cards.commands.console import command
from trainers.base.parser import parse
from trainers.encoder.arguments import EncoderArguments, EncoderTrainingArguments

if TYPE_CHECKING:  # `--help` needs none of it
    from trainers.base.inputs import Inputs

CARD_FLAGS = (  # on the card: what the weights depend on
    "contrastive_loss",
    "positives",
    "contrastive_weights",
    "matryoshka_dims",
    "freeze",
    "lora_towers",
    "augment",
    "horizontal_flip",
    "batch_sampler",
    "normalize_text",
    "sentence_sampling",
)


@command
def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status, see `model_cards/commands/console.py`."""
    kinds = (EncoderArguments, EncoderTrainingArguments)
    arguments, training = parse(kinds, "medpairs train-encoder", __doc__, argv)
    from trainers.base.training_run import run

    return run(train, dry_run, arguments, training)


def load(arguments: EncoderArguments, training: EncoderTrainingArguments) -> Inputs:
    """Opens data and model. Raises InputError where one of them, or a flag about them, is wrong."""
    from transformers import set_seed

    from trainers.base.inputs import Inputs, open_splits
    from trainers.encoder.data.dataset import encoder_rows
    from trainers.encoder.data.sentence_sampling import SentenceSampling
    from trainers.encoder.model import load_encoder
    from trainers.encoder.tuning import set_trainable

    splits, revision = open_splits(arguments, training, "pairs")
    set_seed(training.seed)
    model, processor = load_encoder(arguments, splits[arguments.train_split], training.seed)
    set_trainable(model, arguments)
    text_of = None
    if arguments.sentence_sampling:
        length = model.config.text_config.max_position_embeddings
        text_of = SentenceSampling(processor, length, training.seed, arguments.sentence_sampling)
    rows = encoder_rows(splits, processor, arguments, training.seed, text_of)
    return Inputs(splits, revision, model, processor, rows)


def dry_run(arguments: EncoderArguments, training: EncoderTrainingArguments) -> None:
    """Prints what a training would do, and writes nothing."""
    from trainers.encoder.dry_run import describe

    arguments.image_cache = "none"
    inputs = load(arguments, training)
    describe(inputs, arguments, training)


def train(arguments: EncoderArguments, training: EncoderTrainingArguments) -> None:
    """Loads data and model, trains, and leaves a complete model folder."""
    from model_cards.results import RETRIEVAL
    from trainers.base.training_run import checked_name, evaluation_result, finish, summary_of, train_recorded
    from trainers.encoder.checkpoints import save_adapter
    from trainers.images.cache_location import cache_folder

    name = checked_name(arguments, training, cache_folder(arguments.image_cache))
    if name is None:
        return
    inputs = load(arguments, training)
    trainer = build_trainer(inputs, arguments, training)
    train_recorded(trainer, arguments)

    trainer.save_model(_internal_call=True)
    if arguments.save_adapter:
        save_adapter(trainer, trainer.folder / "adapter")
    summary = summary_of(
        trainer, inputs, arguments, kind="encoder", dataset_config="pairs", **card_facts(inputs, arguments, training)
    )
    result = evaluation_result(trainer, name, RETRIEVAL, "pairs", arguments, inputs.revision)
    if result is not None:
        from evaluation.controls.retrieval import retrieval_controls

        text_ids, image_ids = trainer.evaluated_ids
        rows = inputs.splits[arguments.eval_split]
        result = replace(result, controls=retrieval_controls(rows, image_ids, text_ids))
    finish(trainer, name, summary, result)


def card_facts(inputs: Inputs, arguments: EncoderArguments, training: EncoderTrainingArguments) -> dict[str, Any]:
    """Returns the facts about the weights that the card shows beside the hyperparameters."""
    size = inputs.model.config.vision_config.image_size
    facts = {"contrastive_batch_size": training.pairs_in_contrast, "image_size": size}
    return facts | {name: getattr(arguments, name) for name in CARD_FLAGS}


def build_trainer(inputs: Inputs, arguments: EncoderArguments, training: EncoderTrainingArguments) -> Any:
    """Returns the trainer with its order of rows."""
    from trainers.base.callbacks import EpochCallback
    from trainers.encoder.data.collator import EncoderCollator
    from trainers.encoder.data.stratified_sampler import train_sampler
    from trainers.encoder.frozen_tower_cache import cache_frozen_towers
    from trainers.encoder.trainer import EncoderTrainer

    rows = inputs.rows[arguments.train_split]
    trainer = EncoderTrainer(
        model=inputs.model,
        args=training,
        data_collator=EncoderCollator(inputs.processor, uint8=True),
        train_dataset=rows,
        eval_dataset=inputs.rows.get(arguments.eval_split),
        processing_class=inputs.processor,
    )
    cache_frozen_towers(trainer, arguments)
    trainer.add_callback(EpochCallback(rows))
    if sampler := train_sampler(arguments.batch_sampler, rows, training.seed):
        trainer.add_callback(EpochCallback(sampler))
        trainer.order = sampler
    return trainer


if __name__ == "__main__":
    sys.exit(main())
