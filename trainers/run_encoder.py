"""Fine-tunes a SigLIP encoder on image-text pairs with the sigmoid loss.

    python trainers/run_encoder.py --dataset org/med-pairs --push_to_hub --hub_model_id org/siglip-med

Starts from `google/siglip-base-patch16-224` or any SigLIP checkpoint (`--model_name_or_path`), or from a small random
one (`--tiny`). Ends with the best checkpoint by validation loss in `--output_dir`, with its card.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from trainers.arguments import EncoderArguments, EncoderTrainingArguments, check_output_dir, fail, parse


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status: 0, or 2 where the input or a flag is at fault."""
    kinds = (EncoderArguments, EncoderTrainingArguments)
    arguments, training = parse(kinds, "medpairs-train-encoder", __doc__, argv)
    check_output_dir(training)

    from evaluation.loading import InputError

    try:
        train(arguments, training)
    except InputError as error:
        fail(str(error))
    return 0


def train(arguments: EncoderArguments, training: EncoderTrainingArguments) -> None:
    """Loads data and model, trains, and leaves a complete model folder."""
    from transformers import set_seed

    from evaluation.loading import dataset_revision, load_splits
    from model_cards.results import RETRIEVAL, is_commit
    from trainers.batch_samplers import train_sampler
    from trainers.encoder_collator import EncoderCollator
    from trainers.encoder_rows import EpochCallback, encoder_rows
    from trainers.encoder_trainer import EncoderTrainer
    from trainers.medical_trainer import evaluation_result, finish, prepare_output, repository_name, without_evaluation

    revision = dataset_revision(arguments.dataset, arguments.dataset_revision)
    commit = revision if is_commit(revision) else None  # what is recorded is what is read
    splits = load_splits(arguments.dataset, "pairs", [arguments.train_split, arguments.eval_split], commit)
    if arguments.eval_split not in splits:
        without_evaluation(training, arguments.eval_split)
    name = repository_name(training)
    set_seed(training.seed)
    model, processor = load_encoder(arguments, splits[arguments.train_split], training.seed)
    rows = encoder_rows(splits, processor, arguments, training.seed)
    prepare_output(training)
    trainer = EncoderTrainer(
        model=model,
        args=training,
        data_collator=EncoderCollator(processor, uint8=True),
        train_dataset=rows[arguments.train_split],
        eval_dataset=rows.get(arguments.eval_split),
        processing_class=processor,
    )
    trainer.add_callback(EpochCallback(rows[arguments.train_split]))
    if sampler := train_sampler(arguments.batch_sampler, rows[arguments.train_split], training.seed):
        trainer.add_callback(EpochCallback(sampler))
        trainer._get_train_sampler = lambda train_dataset=None: sampler
    trainer.train_from_flags()
    trainer.save_model(_internal_call=True)

    summary = trainer.summary(
        kind="encoder",
        base_model="" if arguments.tiny else arguments.model_name_or_path,
        dataset=arguments.dataset,
        dataset_config="pairs",
        dataset_revision=revision,
        rows={split: len(rows) for split, rows in splits.items()},
        contrastive_loss=arguments.contrastive_loss,
        positives=arguments.positives,
        contrastive_batch_size=training.pairs_in_contrast,
    )
    result = evaluation_result(trainer, name, RETRIEVAL, "pairs", arguments, revision)
    finish(trainer, name, summary, result)


def load_encoder(arguments: EncoderArguments, rows: Any, seed: int) -> tuple[Any, Any]:
    """The model and processor to start from. Raises InputError where a weight is missing or unexpected."""
    if not arguments.tiny:
        return open_checkpoint(arguments.model_name_or_path, arguments)
    from modeling.tiny_checkpoints import write_tiny_encoder
    from trainers.gathering import from_first, rank

    with tempfile.TemporaryDirectory() as scratch:
        folder = from_first(scratch)  # of several processes only the first one writes weights
        if rank() == 0:
            write_tiny_encoder(Path(folder), rows["text"], seed)
        from_first("written")
        opened = open_checkpoint(folder, arguments)
        from_first("read")
        return opened


def open_checkpoint(name: str, arguments: EncoderArguments) -> tuple[Any, Any]:
    """A SigLIP checkpoint as a SiglipMedicalModel in float32, with its processor."""
    import torch

    from evaluation.loading import ENCODER_TYPES, InputError, load_model_and_processor, model_type
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor

    kind = model_type(name)
    if kind not in ENCODER_TYPES:
        raise InputError(f"--model_name_or_path {name}: a model of type {kind!r}, not {' or '.join(ENCODER_TYPES)}")
    model, processor = load_model_and_processor(
        name, SiglipMedicalModel, processor_class=SiglipMedicalProcessor, dtype=torch.float32
    )
    model.config.contrastive_loss, model.config.positives = arguments.contrastive_loss, arguments.positives
    return model, processor


if __name__ == "__main__":
    sys.exit(main())
