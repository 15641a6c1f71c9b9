"""Embeds images and texts with models of open_clip and of sentence-transformers, both optional extras."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from evaluation.loading import InputError, load_advice
from evaluation.models.files import has_file, path_of, read_json
from evaluation.models.flags import LOADING
from evaluation.models.protocols import Encoder
from evaluation.models.source import Source
from model_cards.checks.strict_json import parse_json

WEIGHTS = "open_clip_model.safetensors"
# What a configuration may pass on to a tokenizer.
TOKENIZER_SETTINGS = {"clean", "context_length", "language", "strip_sep_token"}


def open_clip_encoder(source: Source, options: argparse.Namespace) -> Encoder:
    """Opens a model of open_clip, for example BiomedCLIP.

    Raises:
        InputError: open_clip is not installed, the repository has no safetensors, or they do not fit the model.
    """
    refuse_loading_flags(options, "a model of open_clip")
    try:
        import open_clip
    except ImportError:
        raise InputError(f'--model {source.name}: a model of open_clip: pip install "medpairs[openclip]"') from None
    name, revision = source.name, source.revision or None
    if not has_file(name, WEIGHTS, revision):
        raise InputError(
            f"--model {name}: no {WEIGHTS}, and no other form of weights is loaded. Load it with open_clip, and save "
            "its state_dict with safetensors under this name, beside open_clip_config.json."
        )
    content = read_json(name, "open_clip_config.json", revision)
    try:
        folder = Path(name)
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.txt", WEIGHTS]))
        # Its own loader may choose pickled weights, so the model is made without weights and filled from safetensors.
        refuse_tokenizer_settings(content)
        place = f"local-dir:{folder}"
        model, _, preprocess = open_clip.create_model_and_transforms(place, load_weights=False, pretrained_text=False)
        model.load_state_dict(load_file(folder / WEIGHTS), strict=True)
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

    # Some models have a bias that was never trained; the configuration says which loss was used.
    has_bias = content.get("model_cfg", {}).get("init_logit_bias") is not None
    trained = (model.logit_scale.item(), model.logit_bias.item()) if has_bias else None
    return Encoder(embed_images, embed_texts, trained)


def refuse_tokenizer_settings(content: dict[str, Any]) -> None:
    """Raises ValueError for settings that a configuration passes on to a tokenizer of transformers, for example
    `trust_remote_code`, which would run code of a repository."""
    given = ((content.get("model_cfg") or {}).get("text_cfg") or {}).get("tokenizer_kwargs") or {}
    if unknown := sorted(map(str, set(given) - TOKENIZER_SETTINGS)):
        raise ValueError(f"open_clip_config.json sets tokenizer_kwargs that are not known: {', '.join(unknown)}")


def sentence_transformer_encoder(source: Source, options: argparse.Namespace) -> Encoder:
    """Opens a SentenceTransformer that embeds images and texts, for example clip-ViT-B-32.

    Raises:
        InputError: sentence-transformers is not installed, or the model embeds texts only.
    """
    refuse_loading_flags(options, "a SentenceTransformer")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise InputError(f'--model {source.name}: a SentenceTransformer: pip install "medpairs[sbert]"') from None
    from PIL import Image

    refuse_other_modules(source)
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


def refuse_other_modules(source: Source) -> None:
    """Raises InputError for a `modules.json` that names classes of another package, which would be imported."""
    path = path_of(source.name, "modules.json", source.revision or None)
    try:
        types = [module["type"] for module in parse_json(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"--model {source.name}: modules.json cannot be read: {error}") from None
    if others := [name for name in types if not str(name).startswith("sentence_transformers.")]:
        raise InputError(
            f"--model {source.name}: its module {others[0]!s:.100} is not a part of sentence-transformers, and no code "
            "of a repository is run"
        )


def refuse_loading_flags(options: argparse.Namespace, kind: str) -> None:
    """Raises InputError for flags that have no effect on models of another library."""
    for name, default in LOADING.items():
        if getattr(options, name) != default:
            raise InputError(f"--{name} has no effect on {kind}; leave it out")
