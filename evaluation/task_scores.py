"""Scores a loaded split for each task: retrieval of an encoder, answers of a decoder with their controls."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from evaluation.datasets.rows import Rows
from evaluation.loading import InputError
from evaluation.models.open_model import open_answerer, open_encoder
from evaluation.models.source import Source
from evaluation.records.run import Run


def score_encoder(options: argparse.Namespace, source: Source, loaded: Rows, run: Run) -> tuple[dict, list[dict]]:
    """Scores retrieval, classes, alignment and groups of patients on the split.

    Returns:
        the fields of the result, and the nearest texts of each image.
    """
    import numpy as np
    from tqdm import tqdm

    from evaluation.classification.of_command import details_of, open_base
    from evaluation.controls.retrieval import measure_retrieval
    from evaluation.datasets.groups import read_groups
    from evaluation.records.sharing import batches, share
    from evaluation.scoring.encoder import embed_pairs, embedding_loss, nearest_texts

    base = open_base(options)  # before the scoring, so that a wrong name is found at once
    rows, encoder = loaded.scored, open_encoder(source, options)
    parts = share(
        batches(len(rows), options.batch_size),
        lambda numbers: embed_pairs(encoder, rows.select(numbers), options.batch_size, first=numbers[0]),
        tqdm,
    )
    embeds = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    try:
        measured = measure_retrieval(rows, embeds)
    except ValueError as error:  # an embedding contains NaN or infinity
        raise InputError(f"--model {options.model}: {error}") from None
    if encoder.scale_and_bias is not None:
        measured["metrics"]["loss"] = embedding_loss(embeds, *encoder.scale_and_bias)
    columns = [column for column in ("source_dataset", "language") if column in rows.column_names]
    known = [
        {"row": digest, "group": group} | dict(zip(columns, values, strict=True))
        for digest, group, *values in zip(
            run.hashes, numbered(read_groups(rows)), *(rows[name] for name in columns), strict=True
        )
    ]
    predictions = list(nearest_texts(embeds, list(rows["text"]), list(rows["image_path"]), known))
    return measured | details_of(options, rows, embeds, encoder, base, predictions, tqdm), predictions


def score_decoder(options: argparse.Namespace, source: Source, loaded: Rows, run: Run) -> tuple[dict, list[dict]]:
    """Scores answers on the split.

    Returns:
        the fields of the result, and each question with all answers.
    """
    from tqdm import tqdm

    from evaluation.controls.of_command import controls_of, encoder_of
    from evaluation.controls.questions import read_questions
    from evaluation.controls.subgroups import answer_subgroups
    from evaluation.records.rescoring import score_predictions
    from evaluation.scoring.answers import score_answers
    from evaluation.scoring.messages import plain_messages
    from model_cards.controls import PRIOR

    rows, train = loaded.scored, loaded.train
    languages, turns = list(rows["language"]), list(map(plain_messages, rows["messages"]))
    kinds, types = (
        list(rows[name]) if name in rows.column_names else [""] * len(rows) for name in ("answer_type", "content_type")
    )
    config = f"config {loaded.config}"
    for split, table in ((options.split, rows), (options.train_split, train)):
        try:  # finds invalid rows before hours of generation
            if table is not None:
                check_turns(list(table["messages"]))
                read_questions(table)
        except ValueError as error:
            raise InputError(f"--dataset {options.dataset}, {config}, split {split}: {error}") from None
    references = [messages[-1]["content"] for messages in turns]
    try:  # scores the references against themselves
        score_answers(references, references, languages, kinds)
    except ValueError as error:
        raise InputError(f"--dataset {options.dataset}, {config}: {error}") from None
    answerer = open_answerer(source, options, rows, loaded.numbers, run.hashes)
    encoder, batch = encoder_of(options, train, answerer), options.batch_size
    if answerer.known is not None:
        generated = list(answerer.known)
    else:
        generated = run.collect("answers", rows, run.hashes, answerer.answer, batch, tqdm)
    groups = numbered(read_questions(rows).groups)
    columns = zip(rows["image_path"], rows["source_dataset"], languages, kinds, turns, generated, strict=True)
    predictions = [
        {
            "row": run.hashes[row],
            "group": groups[row],
            "image_path": image_path,
            "source_dataset": source,
            "language": language,
            "answer_type": kind,
            "content_type": types[row],
            "question": messages[-2]["content"],
            "reference": messages[-1]["content"],
            "generated": answer,
        }
        for row, (image_path, source, language, kind, messages, answer) in enumerate(columns)
    ]
    run.write_predictions(predictions)
    losses: list[Any] = []
    if answerer.losses is not None:
        losses = run.collect("losses", rows, run.hashes, answerer.losses, batch, tqdm)
    controls = controls_of(options, rows, train, answerer, encoder, generated, run)
    for row, prediction in enumerate(predictions):
        if losses:
            prediction |= dict(zip(("loss", "tokens"), losses[row], strict=True))
        prediction["controls"] = {
            name: texts[row] for name, texts in controls.answers.items() if texts[row] is not None
        }
    metrics, signatures, intervals = score_predictions(predictions, options.rule)
    scores = {"metrics": metrics, "signatures": signatures, "intervals": intervals}
    scores["subgroups"] = answer_subgroups(rows, generated, controls.answers[PRIOR], options.rule)
    return scores | {"controls": controls.entries, "reliance": controls.reliance}, predictions


def numbered(groups: Sequence[str]) -> list[str]:
    """Returns names for groups that say which rows belong to one patient, and not to which: predictions are pushed.

    They are numbers in the order of the rows, so that they are the same for all models on the same rows.
    """
    numbers: dict[str, int] = {}
    return [f"group {numbers.setdefault(group, len(numbers) + 1)}" for group in groups]


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
