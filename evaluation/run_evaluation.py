"""Evaluates one encoder or decoder on one split of a dataset, and writes the result to a file.

    medpairs evaluate --model org/siglip-med --dataset org/med-pairs --split test

An encoder is scored by retrieval: recall at 1, 5 and 10 in both directions, with chance levels. A decoder is scored by
the BLEU of its answers, their accuracy on open and closed questions, its loss and perplexity, beside controls that do
not see the image or see another one. `--push_to_hub` adds the result to the model's repository and its card.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from evaluation.loading import (
    DECODER_TYPES,
    ENCODER_TYPES,
    InputError,
    check_dataset,
    check_model,
    check_token,
    dataset_revision,
    load_model_and_processor,
    load_splits,
    model_revision,
    model_type,
    print_source,
    weights_of,
)
from evaluation.metrics.vqa_accuracy.short_answers import DEFAULT_RULE, RULES
from model_cards.commands.console import Parser, command, local_folder
from model_cards.controls_text import text_of_controls
from model_cards.results import GENERATION, NAMES, RETRIEVAL, EvaluationResult, is_commit, write_text

# The columns that the evaluation reads from each config.
COLUMNS = {
    "pairs": ("image", "text", "image_path"),
    "chat": ("images", "messages", "image_path", "source_dataset", "language"),
}

# The flags that choose how answers are scored and which controls stand beside them, with their defaults.
CHOICES = {"rule": DEFAULT_RULE, "train_split": "train", "frozen_encoder": "own", "no_image_controls": False}


@command
def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, see `model_cards/commands/console.py`."""
    options = argument_parser().parse_args(argv)
    check_options(options)
    result, predictions = evaluate_model(options)
    path = result.save(options.output_dir)
    write_json_lines(path.with_suffix(".predictions.jsonl"), predictions)
    shown = ", ".join(f"{NAMES[key]} {value:.4g}" for key, value in result.metrics.items() if key in NAMES)
    print(f"{result.model} on {result.dataset_split}, {result.samples} rows: {shown}\nWritten to {path}")
    print(text_of_controls(result), end="")
    if options.push_to_hub:
        from evaluation.publish_results import push_result

        print(f"Pushed to {push_result(result, create_pr=options.create_pr, public=options.public)}")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    parser = Parser(prog="medpairs evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=os.path.expanduser, help="folder, or repository on the Hub")
    parser.add_argument("--model_revision", help="commit, branch or tag of the model (default: the main branch)")
    parser.add_argument(
        "--dataset",
        default="data/processed",
        type=os.path.expanduser,
        help="folder of a build, or repository on the Hub (default: %(default)s)",
    )
    parser.add_argument("--dataset_revision", help="commit, branch or tag of the dataset (default: the main branch)")
    parser.add_argument("--split", default="validation", help="split to evaluate on (default: %(default)s)")
    parser.add_argument(
        "--limit", type=positive_integer, metavar="N", help="number of rows, from the first one (default: all rows)"
    )
    parser.add_argument(
        "--batch_size", type=positive_integer, metavar="N", default=16, help="rows per batch (default: %(default)s)"
    )
    parser.add_argument(
        "--max_new_tokens",
        type=positive_integer,
        metavar="N",
        default=128,
        help="maximum length in tokens of a decoder's answer (default: %(default)s)",
    )
    parser.add_argument(
        "--rule",
        choices=RULES,
        default=CHOICES["rule"],
        metavar="NAME",
        help=f"rule for a decoder's accuracy: {', '.join(RULES)} (default: %(default)s)",
    )
    parser.add_argument(
        "--train_split",
        metavar="NAME",
        default=CHOICES["train_split"],
        help="split from which a decoder's controls know the answers to questions (default: %(default)s)",
    )
    parser.add_argument(
        "--frozen_encoder",
        metavar="NAME",
        default=CHOICES["frozen_encoder"],
        help="encoder of the control `frozen features`: folder, repository, `own` for the decoder's vision tower, or "
        "`none` to leave it out (default: %(default)s)",
    )
    parser.add_argument(
        "--no_image_controls",
        action="store_true",
        help="do not ask a decoder again with blank, swapped and mirrored images; the tables say so",
    )
    parser.add_argument("--base_model", default="", help="base model, recorded in the result (default: none)")
    parser.add_argument(
        "--output_dir", type=local_folder, default=Path("results"), help="folder for results (default: %(default)s)"
    )
    parser.add_argument("--push_to_hub", action="store_true", help="add the result to the model's repository and card")
    parser.add_argument("--create_pr", action="store_true", help="push as a pull request, for a model of another owner")
    parser.add_argument("--public", action="store_true", help="allow pushes to a public repository (default: no)")
    return parser


def positive_integer(text: str) -> int:
    """Converts the value of a flag to an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return int(text)


def check_options(options: argparse.Namespace) -> None:
    """Raises InputError, before anything is scored, if the result could not be saved or pushed afterwards."""
    for flag in ("create_pr", "public"):
        if getattr(options, flag) and not options.push_to_hub:
            raise InputError(f"--{flag} requires --push_to_hub")
    if options.push_to_hub and options.limit is not None:
        raise InputError(
            "--limit cannot be combined with --push_to_hub, because only results on all rows are published. Leave out "
            "one of the two flags."
        )
    if options.push_to_hub:
        from evaluation.publish_results import check_push, refuse_folder

        refuse_folder(options.model)
    try:
        options.output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_dir {options.output_dir}: {error.strerror}") from None
    check_model(options.model)
    if options.frozen_encoder not in ("own", "none"):
        check_model(options.frozen_encoder, "--frozen_encoder")
    check_dataset(options.dataset)
    if options.push_to_hub:
        check_token(None)
        check_push(options.model, options.public)


def evaluate_model(options: argparse.Namespace) -> tuple[EvaluationResult, list[dict]]:
    """Loads and scores a model.

    Returns:
        the result, and one prediction per image (encoder) or per conversation (decoder).

    Raises:
        InputError: the model or dataset cannot be loaded, or a model of this type cannot be evaluated.
    """
    # The branch is resolved to a commit once and the commit is used for every download, so that the recorded revision
    # is the evaluated one even if somebody pushes in between.
    options.model_revision = model_revision(options.model, options.model_revision) or None
    print_source("model", options.model, options.model_revision or "")
    kind = model_type(options.model, options.model_revision)
    if kind in ENCODER_TYPES:
        task, config, score = RETRIEVAL, "pairs", score_encoder
    elif kind in DECODER_TYPES:
        task, config, score = GENERATION, "chat", score_decoder
    else:
        known = ", ".join(ENCODER_TYPES + DECODER_TYPES)
        raise InputError(
            f"--model {options.model}: a model of type {kind!r} cannot be evaluated. The supported types are {known}."
        )
    if task == RETRIEVAL and (chosen := chosen_settings(options)):
        name = next(iter(chosen))
        given = f"--{name}" if chosen[name] is True else f"--{name} {chosen[name]}"
        raise InputError(f"{given} requires a decoder, but --model {options.model} is an encoder")
    revision = dataset_revision(options.dataset, options.dataset_revision)
    print_source("dataset", options.dataset, revision)
    rows, train = load_rows(options, config, revision)
    weights = weights_of(options.model, options.model_revision)
    metrics, signatures, predictions, more = score(options, rows, train)
    result = EvaluationResult(
        model=options.model,
        model_revision=options.model_revision or "",
        weights=weights,
        base_model=options.base_model,
        task=task,
        dataset=options.dataset,
        dataset_config=config,
        dataset_split=options.split,
        dataset_revision=revision,
        samples=len(rows),
        metrics=metrics,
        signatures=signatures,
        settings={name: getattr(options, name) for name in ("limit", "batch_size", "max_new_tokens")}
        | chosen_settings(options),
        **more,
    )
    return result, predictions


def chosen_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the rule and the choice of controls as settings, so that results by two of them have files of their own.

    Defaults are left out, so that their file has the same name as before there was anything to choose.
    """
    return {name: getattr(options, name) for name, default in CHOICES.items() if getattr(options, name) != default}


def load_rows(options: argparse.Namespace, config: str, revision: str) -> tuple[Any, Any]:
    """Returns the rows to score, and those of the train split; None if there are none or they are the same split.

    Raises:
        InputError: a column is missing, or the dataset has not the split that `--train_split` names.
    """
    commit = revision if is_commit(revision) else None
    wanted = [options.split] if config == "pairs" else [options.split, options.train_split]
    splits = load_splits(options.dataset, config, wanted, commit)
    if options.split not in splits:
        splits |= load_splits(options.dataset, config, [options.split], commit)  # raises, and names the splits
    if options.train_split not in (*splits, CHOICES["train_split"]):
        known = f"--dataset {options.dataset}, config {config}"
        raise InputError(f"--train_split {options.train_split}: {known} has no such split; leave the flag out")
    rows = splits.pop(options.split)
    train = splits.get(options.train_split)
    if missing := [column for column in COLUMNS[config] if column not in rows.column_names]:
        raise InputError(f"--dataset {options.dataset}, config {config}: missing columns: {', '.join(missing)}")
    return rows if options.limit is None else rows.select(range(min(options.limit, len(rows)))), train


def score_encoder(options: argparse.Namespace, rows: Any, train: Any) -> tuple[dict, dict, list[dict], dict]:
    """Scores retrieval on the split; `train` is not used.

    Returns:
        the metrics, no signatures, the nearest texts of each image, and no controls.
    """
    from tqdm import tqdm
    from transformers import AutoModel

    from evaluation.scoring.encoder import embed_pairs, nearest_texts, score_embeddings

    model, processor = load_model_and_processor(options.model, AutoModel, options.model_revision)
    embeds = embed_pairs(to_device(model), processor, rows, options.batch_size, progress=tqdm)
    try:
        metrics = score_embeddings(embeds, model.logit_scale.item(), model.logit_bias.item())
    except ValueError as error:  # an embedding contains NaN or infinity
        raise InputError(f"--model {options.model}: {error}") from None
    return metrics, {}, list(nearest_texts(embeds, list(rows["text"]), list(rows["image_path"]))), {}


def score_decoder(options: argparse.Namespace, rows: Any, train: Any) -> tuple[dict, dict, list[dict], dict]:
    """Scores answers on the split.

    Returns:
        the metrics, their signatures, each question with all answers, and the controls of the result.
    """
    import math

    from tqdm import tqdm
    from transformers import AutoModelForImageTextToText

    from evaluation.controls.of_command import controls_of, encoder_of
    from evaluation.controls.questions import read_questions
    from evaluation.scoring.answers import score_answers
    from evaluation.scoring.decoder import answer_loss, generate_answers
    from evaluation.scoring.messages import plain_messages

    languages, turns = list(rows["language"]), list(map(plain_messages, rows["messages"]))
    kinds, types = (
        list(rows[name]) if name in rows.column_names else [""] * len(rows) for name in ("answer_type", "content_type")
    )
    for split, table in ((options.split, rows), (options.train_split, train)):
        try:  # finds invalid rows before hours of generation
            if table is not None:
                check_turns(list(table["messages"]))
                read_questions(table)
        except ValueError as error:
            raise InputError(f"--dataset {options.dataset}, config chat, split {split}: {error}") from None
    references = [messages[-1]["content"] for messages in turns]
    try:  # scores the references against themselves
        score_answers(references, references, languages, kinds)
    except ValueError as error:
        raise InputError(f"--dataset {options.dataset}, config chat: {error}") from None
    model, processor = load_model_and_processor(options.model, AutoModelForImageTextToText, options.model_revision)
    encoder = encoder_of(options, train, to_device(model), processor)
    generated = generate_answers(model, processor, rows, options.batch_size, options.max_new_tokens, progress=tqdm)
    metrics, signatures = score_answers(generated, references, languages, kinds, options.rule)
    metrics["loss"] = answer_loss(model, processor, rows, options.batch_size, progress=tqdm)
    metrics["perplexity"] = math.exp(min(metrics["loss"], 700.0))  # exp of more than 709 overflows a float
    controls = controls_of(options, rows, train, model, processor, encoder, generated)
    columns = zip(rows["image_path"], rows["source_dataset"], languages, kinds, turns, generated, strict=True)
    predictions = [
        {
            "image_path": image_path,
            "source_dataset": source,
            "language": language,
            "answer_type": kind,
            "content_type": types[row],
            "question": messages[-2]["content"],
            "reference": messages[-1]["content"],
            "generated": answer,
            "controls": {name: texts[row] for name, texts in controls.answers.items() if texts[row] is not None},
        }
        for row, (image_path, source, language, kind, messages, answer) in enumerate(columns)
    ]
    return metrics, signatures, predictions, {"controls": controls.entries, "reliance": controls.reliance}


def check_turns(turns: list[list[dict]]) -> None:
    """Raises ValueError unless every conversation ends with a question and its answer, and images come first."""
    from evaluation.scoring.messages import are_images_first, part_types

    for row, messages in enumerate(turns):
        if [turn["role"] for turn in messages[-2:]] != ["user", "assistant"]:
            raise ValueError(f"row {row}: the conversation does not end with a user turn and an assistant turn")
        if any(turn["content"] is None for turn in messages[-2:]):
            raise ValueError(f"row {row}: the last question or its answer has no text")
        if not part_types(messages) <= {"image", "text"} or not are_images_first(messages):
            raise ValueError(
                f"row {row}: image parts must be in front of the first question, and other parts are texts"
            )


def to_device(model):
    """Moves the model to the GPU if there is one, and returns it."""
    import torch

    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def write_json_lines(path: Path, rows: list[dict]) -> None:
    """Writes one JSON object per line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
