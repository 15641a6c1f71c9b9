"""Makes the controls that the flags of `medpairs evaluate` ask for."""

from __future__ import annotations

import argparse
from typing import Any

from tqdm import tqdm

from evaluation.controls.image_features import Encoder, began_random, load_encoder
from evaluation.controls.measure import Controls, Known, measure_controls
from evaluation.models.protocols import FROZEN, IMAGES, Answerer
from evaluation.records.run import Run


def encoder_of(options: argparse.Namespace, train: Any, answerer: Answerer) -> Encoder | None:
    """Returns what encodes images for the frozen features; None if they are left out.

    To be called before the answers are generated, so that a wrong name is found at once.

    Raises:
        InputError: the encoder of `--frozen_encoder` cannot be loaded.
    """
    if train is None or options.frozen_encoder == "none":
        return None
    if options.frozen_encoder != "own":
        return load_encoder(options.frozen_encoder)
    if answerer.encode_images is None:
        return None
    is_random = began_random(options.model, options.model_revision)
    return Encoder("the model's own vision tower as it is", answerer.encode_images, is_random)


def controls_of(
    options: argparse.Namespace,
    rows: Any,
    train: Any,
    answerer: Answerer,
    encoder: Encoder | None,
    generated: list[str],
    run: Run,
) -> Controls:
    """Makes the controls of a decoder's answers.

    Args:
        options: the flags of `medpairs evaluate`.
        rows: [N] the rows that were answered.
        train: the rows of the train split, or None.
        answerer: what answered.
        encoder: that of `encoder_of`.
        generated: [N] the answers of the model.
        run: keeps the answers as they are made.
    """

    def ask(changed: Any) -> list[str]:
        keys = [f"{run.hashes[number]} {change}" for number, change in changed.cases]
        return run.collect("controls", changed, keys, answerer.answer, options.batch_size, tqdm)

    others = f"the other rows of {options.split}"
    known = Known(train, others if train is None else f"{len(train):,} rows of {options.train_split}")
    no_encoder = answerer.left_out.get(FROZEN, "") if options.frozen_encoder == "own" else ""
    left_out = {
        "frozen": no_encoder or "left out by --frozen_encoder none",
        "images": "left out by --no_image_controls",
    }
    image_asker = None
    if not options.no_image_controls:
        if answerer.known is None:
            image_asker = ask
        else:
            left_out["asked"] = answerer.left_out[IMAGES]
    return measure_controls(
        rows, generated, known, options.rule, image_asker, encoder, options.batch_size, left_out, tqdm
    )
