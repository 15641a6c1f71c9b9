"""Measures one model, encoder or decoder, on one split of a dataset, and writes the result as a file.

    medpairs evaluate --model org/siglip-med --dataset org/med-pairs --split test

An encoder is scored as retrieval (recall at 1, 5 and 10 in both directions, with chance levels), a decoder by the
BLEU of its answers, their accuracy on open and closed questions, its loss and perplexity. With `--push_to_hub` the
result goes to the model's repository and its card.
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
from model_cards.commands.console import Parser, command, local_folder
from model_cards.results import GENERATION, NAMES, RETRIEVAL, EvaluationResult, is_commit, write_text

# What a scoring reads of the rows of a config.
COLUMNS = {
    "pairs": ("image", "text", "image_path"),
    "chat": ("images", "messages", "image_path", "source_dataset", "language"),
}


@command
def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status, see `model_cards/commands/console.py`."""
    options = argument_parser().parse_args(argv)
    check_options(options)
    result, predictions = evaluate_model(options)
    path = result.save(options.output_dir)
    write_lines(path.with_suffix(".predictions.jsonl"), predictions)
    shown = ", ".join(f"{NAMES[key]} {value:.4g}" for key, value in result.metrics.items() if key in NAMES)
    print(f"{result.model} on {result.dataset_split}, {result.samples} rows: {shown}\nWritten to {path}")
    if options.push_to_hub:
        from evaluation.publish_results import push_result

        print(f"Pushed to {push_result(result, create_pr=options.create_pr, public=options.public)}")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = Parser(prog="medpairs evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=os.path.expanduser, help="repository on the Hub, or a folder")
    parser.add_argument("--model_revision", help="commit, branch or tag of the model")
    parser.add_argument(
        "--dataset",
        default="data/processed",
        type=os.path.expanduser,
        help="repository or folder of a build (%(default)s)",
    )
    parser.add_argument("--dataset_revision", help="commit, branch or tag of the dataset")
    parser.add_argument("--split", default="validation", help="(%(default)s)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N rows, to try things out")
    parser.add_argument("--batch_size", type=positive, metavar="N", default=16, help="(%(default)s)")
    parser.add_argument(
        "--max_new_tokens", type=positive, metavar="N", default=128, help="longest answer of a decoder (%(default)s)"
    )
    parser.add_argument("--base_model", default="", help="named in the result beside the model")
    parser.add_argument("--output_dir", type=local_folder, default=Path("results"), help="(%(default)s)")
    parser.add_argument("--push_to_hub", action="store_true", help="add the result to the model's repository and card")
    parser.add_argument("--create_pr", action="store_true", help="as a pull request, for a model of somebody else")
    parser.add_argument("--public", action="store_true", help="push to a repository that is public; refused otherwise")
    return parser


def positive(text: str) -> int:
    """A flag's value that is at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return int(text)


def check_options(options: argparse.Namespace) -> None:
    """Raises InputError, before anything is scored, for what would be lost or refused afterwards."""
    for flag in ("create_pr", "public"):
        if getattr(options, flag) and not options.push_to_hub:
            raise InputError(f"--{flag}: it says how to push; add --push_to_hub")
    if options.push_to_hub and options.limit is not None:
        raise InputError("--limit: a result on the first rows alone is not published; leave out --push_to_hub")
    if options.push_to_hub:
        from evaluation.publish_results import check_push, refuse_folder

        refuse_folder(options.model)
    try:
        options.output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_dir {options.output_dir}: {error.strerror}") from None
    check_model(options.model)
    check_dataset(options.dataset)
    if options.push_to_hub:
        check_token(None)
        check_push(options.model, options.public)


def evaluate_model(options: argparse.Namespace) -> tuple[EvaluationResult, list[dict]]:
    """Loads, scores and returns the result with what it was made of: a prediction for each image or question."""
    # Asked for once and then named at every loading, so that what is recorded is what was scored.
    options.model_revision = model_revision(options.model, options.model_revision) or None
    print_source("model", options.model, options.model_revision or "")
    kind = model_type(options.model, options.model_revision)
    if kind in ENCODER_TYPES:
        task, config, score = RETRIEVAL, "pairs", score_encoder
    elif kind in DECODER_TYPES:
        task, config, score = GENERATION, "chat", score_decoder
    else:
        known = ", ".join(ENCODER_TYPES + DECODER_TYPES)
        raise InputError(f"--model {options.model}: a model of type {kind!r} cannot be scored; known are {known}")
    revision = dataset_revision(options.dataset, options.dataset_revision)
    print_source("dataset", options.dataset, revision)
    rows = load_rows(options, config, revision)
    weights = weights_of(options.model, options.model_revision)
    metrics, signatures, predictions = score(options, rows)
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
        settings={name: getattr(options, name) for name in ("limit", "batch_size", "max_new_tokens")},
    )
    return result, predictions


def load_rows(options: argparse.Namespace, config: str, revision: str) -> Any:
    """The rows to score. Raises InputError where they lack a column."""
    commit = revision if is_commit(revision) else None
    rows = load_splits(options.dataset, config, [options.split], commit)[options.split]
    if missing := [column for column in COLUMNS[config] if column not in rows.column_names]:
        raise InputError(f"--dataset {options.dataset}, config {config}: no column {', '.join(missing)}")
    return rows if options.limit is None else rows.select(range(min(options.limit, len(rows))))


def score_encoder(options: argparse.Namespace, rows: Any) -> tuple[dict, dict, list[dict]]:
    """Retrieval over the split: metrics, no signatures, and the nearest texts of every image."""
    from tqdm import tqdm
    from transformers import AutoModel

    from evaluation.scoring.encoder import embed_pairs, nearest_texts, score_embeddings

    model, processor = load_model_and_processor(options.model, AutoModel, options.model_revision)
    embeds = embed_pairs(to_device(model), processor, rows, options.batch_size, progress=tqdm)
    try:
        metrics = score_embeddings(embeds, model.logit_scale.item(), model.logit_bias.item())
    except ValueError as error:  # an embedding is not finite
        raise InputError(f"--model {options.model}: {error}") from None
    return metrics, {}, list(nearest_texts(embeds, list(rows["text"]), list(rows["image_path"])))


def score_decoder(options: argparse.Namespace, rows: Any) -> tuple[dict, dict, list[dict]]:
    """Answers over the split: metrics, what to quote with them, and each question with both answers."""
    import math

    from tqdm import tqdm
    from transformers import AutoModelForImageTextToText

    from evaluation.scoring.answers import score_answers
    from evaluation.scoring.decoder import answer_loss, generate_answers

    turns, languages = list(rows["messages"]), list(rows["language"])
    kinds = list(rows["answer_type"]) if "answer_type" in rows.column_names else [""] * len(rows)
    try:  # what cannot be scored is found before hours of generating
        check_turns(turns)
        references = [messages[-1]["content"] for messages in turns]
        score_answers(references, references, languages, kinds)
    except ValueError as error:
        raise InputError(f"--dataset {options.dataset}, config chat: {error}") from None
    model, processor = load_model_and_processor(options.model, AutoModelForImageTextToText, options.model_revision)
    to_device(model)
    generated = generate_answers(model, processor, rows, options.batch_size, options.max_new_tokens, progress=tqdm)
    metrics, signatures = score_answers(generated, references, languages, kinds)
    metrics["loss"] = answer_loss(model, processor, rows, options.batch_size, progress=tqdm)
    metrics["perplexity"] = math.exp(min(metrics["loss"], 700.0))
    columns = zip(rows["image_path"], rows["source_dataset"], languages, kinds, turns, generated, strict=True)
    predictions = [
        {
            "image_path": image_path,
            "source_dataset": source,
            "language": language,
            "answer_type": kind,
            "question": messages[-2]["content"],
            "reference": messages[-1]["content"],
            "generated": answer,
        }
        for image_path, source, language, kind, messages, answer in columns
    ]
    return metrics, signatures, predictions


def check_turns(turns: list[list[dict]]) -> None:
    """Raises ValueError unless every conversation ends with a question and its answer."""
    for row, messages in enumerate(turns):
        if [turn["role"] for turn in messages[-2:]] != ["user", "assistant"]:
            raise ValueError(f"row {row} does not end with a turn of the user and one of the assistant")


def to_device(model):
    """The model on the GPU where there is one."""
    import torch

    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def write_lines(path: Path, rows: list[dict]) -> None:
    """Writes one JSON a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
