"""What does a training start from? The rows that its flags name, at one revision of the dataset, and a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evaluation.loading import dataset_revision, load_splits
from model_cards.results import is_commit
from trainers.arguments import DataArguments, MedicalTrainingArguments
from trainers.medical_trainer import without_evaluation


@dataclass
class Inputs:
    """What a training starts from.

    Attributes:
        splits: `datasets.Dataset` by name; rows: the same as EncoderRows or DecoderRows.
        revision: the commit, or the fingerprint, of the dataset.
    """

    splits: dict[str, Any]
    revision: str
    model: Any
    processor: Any
    rows: dict[str, Any]


def open_splits(
    arguments: DataArguments, training: MedicalTrainingArguments, config: str
) -> tuple[dict[str, Any], str]:
    """The splits to train on and to evaluate on, and the commit or the fingerprint of their dataset.

    Without a split to evaluate on the evaluation is turned off, which is said.

    Args:
        config: `pairs` or `chat`.

    Returns:
        `datasets.Dataset` by name of the split, and the revision.

    Raises:
        InputError: the dataset cannot be read, or has neither split.
    """
    revision = dataset_revision(arguments.dataset, arguments.dataset_revision)
    commit = revision if is_commit(revision) else None  # what is recorded is what is read
    splits = load_splits(arguments.dataset, config, [arguments.train_split, arguments.eval_split], commit)
    if arguments.eval_split not in splits:
        without_evaluation(training, arguments.eval_split)
    return splits, revision
