"""Embeds images and texts with models of open_clip and of sentence-transformers, both optional extras."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.loading import InputError, load_advice
from evaluation.models.files import has_file, path_of, read_json
from evaluation.models.flags import LOADING
from evaluation.models.protocols import Encoder
from evaluation.models.source import Source

WEIGHTS = "open_clip_model.safetensors"


def open_clip_encoder(source: Source, options: argparse.Namespace) -> Encoder:
    """Opens a model of open_clip, for example BiomedCLIP.

    Raises:
        InputError: open_clip is not installed, the repository has no safetensors, or they do not fit the model.
    """
    refuse_loading_flags(options, "a model of open_clip")
    try:
        import open_clip
    except ImportError:
        raise InputError(f'--model {source.name}: a model of open_clip: pip install "medpairs[open_clip]"') from None
    name, revision = source.name, source.revision or None
    if not has_file(name, WEIGHTS, revision):
        raise InputError(
            f"--model {name}: no {WEIGHTS}, and no other form of weights is loaded. Load it with open_clip, and save "
            "its state_dict with safetensors under this name, beside open_clip_config.json."
        )
    content = read_json(name, "open_clip_config.json", revision)
    folder = Path(name) if Path(name).is_dir() else path_of(name, WEIGHTS, revision).parent
    # The texts' tokenizer is in the folder or on the Hub, so for a repository the snapshot must have its files.
    place = f"local-dir:{folder}" if Path(name).is_dir() else f"hf-hub:{name}"
    try:
        model, preprocess = open_clip.create_model_from_pretrained(place, load_weights=False)
        from safetensors.torch import load_file

        model.load_state_dict(load_file(path_of(name, WEIGHTS, revision)), strict=True)
        tokenizer = open_clip.get_tokenizer(place)
    except Exception as error:  # a configuration or weights of another kind: each raises its own type
        raise InputError(f"--model {name}: {load_advice(name, error)}") from None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()

    def embed_images(images: Sequence[Any]) -> np.ndarray:
        pixels = torch.stack([preprocess(image) for image in images]).to(device)
        with torch.inference_mode():
            return model.encode_image(pixels).float().cpu().numpy()

    def embed_texts(texts: Sequence[str]) -> np.ndarray:
        with torch.inference_mode():
            return model.encode_text(tokenizer(list(texts)).to(device)).float().cpu().numpy()

    bias, is_siglip = (
        getattr(model, "logit_bias", None),
        content.get("model_cfg", {}).get("init_logit_bias") is not None,
    )
    trained = (model.logit_scale.item(), bias.item()) if is_siglip and bias is not None else None
    return Encoder(embed_images, embed_texts, trained)


def sentence_transformer_encoder(source: Source, options: argparse.Namespace) -> Encoder:
    """Opens a SentenceTransformer that embeds images and texts, for example clip-ViT-B-32.

    Raises:
        InputError: sentence-transformers is not installed, or the model embeds texts only.
    """
    refuse_loading_flags(options, "a SentenceTransformer")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise InputError(
            f'--model {source.name}: a SentenceTransformer: pip install "medpairs[sentence_transformers]"'
        ) from None
    from PIL import Image

    try:
        model = SentenceTransformer(
            source.name,
            revision=source.revision or None,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:  # as above
        raise InputError(f"--model {source.name}: {load_advice(source.name, error)}") from None

    def embed(inputs: Sequence[Any]) -> np.ndarray:
        found = model.encode(list(inputs), convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(found, dtype=np.float32)

    try:
        sizes = {embed([Image.new("RGB", (32, 32))]).shape[1], embed(["a"]).shape[1]}
    except Exception:  # what a model of texts raises for an image depends on its modules
        sizes = set()
    if len(sizes) != 1:
        raise InputError(
            f"--model {source.name}: this SentenceTransformer does not embed images and texts into one space. Give one "
            "that does, for example sentence-transformers/clip-ViT-B-32."
        )
    return Encoder(embed, embed)


def refuse_loading_flags(options: argparse.Namespace, kind: str) -> None:
    """Raises InputError for flags that have no effect on models of another library."""
    for name, default in LOADING.items():
        if getattr(options, name) != default:
            raise InputError(f"--{name} has no effect on {kind}; leave it out")
