"""Finds what kind of thing `--model` names.

A name is the address of a server, a file of predictions, or a folder or repository: of a model of transformers, of
adapters over one, of a model of open_clip, or of a SentenceTransformer. Only configurations are read to find the kind,
so that what cannot be evaluated is refused before anything large is downloaded.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

from evaluation.loading import InputError, load_advice, model_revision, weights_of
from evaluation.models.files import has_file, read_json
from model_cards.hub.weights import file_sha256
from model_cards.results import GENERATION, RETRIEVAL

TRANSFORMERS, ADAPTER, OPEN_CLIP, SENTENCE_TRANSFORMER = "transformers", "adapter", "open_clip", "sentence_transformer"
ADDRESS, PREDICTIONS = "address", "predictions"
MLLAMA = "mllama"

WHAT_WORKS = (
    "What can be evaluated: an encoder with get_image_features and get_text_features (CLIP, SigLIP, ALIGN, "
    "Chinese-CLIP ...), an image-text-to-text model with a chat template (Qwen-VL, Gemma 3, InternVL, LLaVA ...), "
    "adapters over one of these, an OpenAI-compatible address (--model http://...), or --predictions FILE"
)


@dataclass(frozen=True)
class Source:
    """What `--model` names.

    Attributes:
        name: the folder, repository, address or model name, as the record has it.
        task: RETRIEVAL for an encoder, GENERATION for what answers.
        form: how it is opened, for example TRANSFORMERS.
        family: the `model_type` of the configuration; "" where there is none.
        revision: the commit on the Hub; "" for anything else.
        base: for adapters, the model below them; otherwise "".
        settings: what else names it, for the record.
    """

    name: str
    task: str
    form: str
    family: str = ""
    revision: str = ""
    base: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


def find_source(options: argparse.Namespace) -> Source:
    """Finds what `--model` or `--predictions` names, without opening it.

    Raises:
        InputError: there is no such model, or it is of a kind that cannot be evaluated.
    """
    if options.predictions is not None:
        settings = {"predictions": file_sha256(options.predictions)}
        if options.prediction_key is not None:
            settings["prediction_key"] = options.prediction_key
        return Source(options.model, GENERATION, PREDICTIONS, settings=settings)
    if is_address(options.model):
        from evaluation.models.remote import served_model

        return Source(served_model(options), GENERATION, ADDRESS, settings={"reached_by": "OpenAI-compatible address"})
    model, revision = options.model, model_revision(options.model, options.model_revision)
    if has_file(model, "adapter_config.json", revision):
        return adapter_source(options, revision)
    if has_file(model, "config.json", revision):
        task, family = task_of(model, revision, f"--model {model}")
        return Source(model, task, TRANSFORMERS, family, revision)
    if has_file(model, "open_clip_config.json", revision):
        return Source(model, RETRIEVAL, OPEN_CLIP, OPEN_CLIP, revision)
    if has_file(model, "modules.json", revision):
        return Source(model, RETRIEVAL, SENTENCE_TRANSFORMER, SENTENCE_TRANSFORMER, revision)
    raise InputError(f"--model {model}: no config.json, and no configuration of another kind. {WHAT_WORKS}.")


def is_address(name: str) -> bool:
    """Returns whether a name is the address of a server."""
    return name.startswith(("http://", "https://"))


def adapter_source(options: argparse.Namespace, revision: str) -> Source:
    """Returns adapters with the model below them: that of `--base_model`, or the one that their configuration names."""
    content = read_json(options.model, "adapter_config.json", revision)
    base = options.base_model or content.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise InputError(f"--model {options.model}: adapters that name no model below them; name it with --base_model")
    if not has_file(options.model, "adapter_model.safetensors", revision):
        raise InputError(
            f"--model {options.model}: adapters without adapter_model.safetensors; no other form is loaded"
        )
    commit = model_revision(base, flag=f"--model {options.model}, adapters over")
    task, family = task_of(base, commit, f"--model {options.model}, adapters over {base}")
    more = {"base_revision": commit} if commit else {}
    return Source(options.model, task, ADAPTER, family, revision, base, more)


def task_of(model: str, revision: str | None, where: str) -> tuple[str, str]:
    """Returns the task of a model of transformers and its `model_type`, by its configuration.

    Raises:
        InputError: it is neither a dual encoder nor an image-text-to-text model of the installed transformers.
    """
    import transformers
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, MODEL_MAPPING

    config = read_config(model, revision)
    names = [name for name in getattr(config, "architectures", None) or () if isinstance(name, str)]
    named = [getattr(transformers, name, None) for name in names]
    if any(map(is_dual_encoder, named)):
        return RETRIEVAL, config.model_type
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return GENERATION, config.model_type
    if type(config) in MODEL_MAPPING and is_dual_encoder(MODEL_MAPPING[type(config)]):
        return RETRIEVAL, config.model_type
    raise InputError(f"{where}: a model of type {config.model_type!r} cannot be evaluated. {WHAT_WORKS}.")


def is_dual_encoder(model_class: Any) -> bool:
    """Returns whether a model class embeds images and texts."""
    return hasattr(model_class, "get_image_features") and hasattr(model_class, "get_text_features")


def read_config(model: str, revision: str | None = None) -> Any:
    """Returns the configuration of a model of transformers; raises InputError if it cannot be read."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model, revision=revision or None, trust_remote_code=False)
    except Exception as error:  # gated, missing, no network, an unknown type: each raises its own type
        raise InputError(f"{model}: {load_advice(model, error)}") from None


def weights_of_source(source: Source) -> str:
    """Returns the digest of the weights of a source, "" for an address or a file of predictions."""
    return "" if source.form in (ADDRESS, PREDICTIONS) else weights_of(source.name, source.revision or None)
