"""Loads a model of transformers with its processor, at the precision and on the devices that the flags name.

Weights are read from safetensors only, and no code of a repository is run. A processor is loaded without its part for
videos, which would require torchvision: a question here has images only.
"""

from __future__ import annotations

import argparse
import contextlib
from types import SimpleNamespace
from typing import Any

from evaluation.loading import InputError, check_loading_info, load_advice
from evaluation.models.files import has_file
from evaluation.models.source import ADAPTER, MLLAMA, Source, read_config

STRICT = ("siglip", MLLAMA)  # families whose checkpoints have no weights that the model does not load


def open_model(source: Source, model_class: type, options: argparse.Namespace) -> tuple[Any, Any]:
    """Loads the model of a source and its processor.

    Args:
        source: a source of the form TRANSFORMERS or ADAPTER.
        model_class: AutoModel or AutoModelForImageTextToText.
        options: the flags, of which `dtype`, `device_map` and `load_in_4bit` are read.

    Raises:
        InputError: something cannot be loaded, a weight is missing, or bitsandbytes is not installed.
    """
    name = source.base or source.name
    revision = (source.settings.get("base_revision") if source.form == ADAPTER else source.revision) or None
    # The processor first: it takes seconds, and a family without one is refused before gigabytes are loaded.
    processor = load_processor(source, name, revision)
    settings = loading_settings(options)
    try:
        model, info = model_class.from_pretrained(
            name, revision=revision, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **settings
        )
    except Exception as error:  # gated, missing, no network, broken files: each raises its own type
        raise InputError(f"{name}: {load_advice(name, error)}") from None
    if source.family not in STRICT:
        info = {**info, "unexpected_keys": ()}  # for example of heads that are used in training only
    check_loading_info(name, info)
    if source.form == ADAPTER:
        model = with_adapters(model, source)
    if "device_map" not in settings:
        model = to_device(model)
    return model.eval(), processor


def loading_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments of `from_pretrained` for `--dtype`, `--device_map` and `--load_in_4bit`."""
    import torch

    settings: dict[str, Any] = {}
    if options.dtype != "auto":
        settings["dtype"] = getattr(torch, options.dtype)
    if options.device_map is not None:
        settings["device_map"] = options.device_map
    if options.load_in_4bit:
        from importlib.util import find_spec

        from transformers import BitsAndBytesConfig

        if find_spec("bitsandbytes") is None:
            raise InputError('--load_in_4bit requires bitsandbytes: pip install "medpairs[quantization]"')
        compute = settings.setdefault("dtype", torch.bfloat16)
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
        )
        # Quantized weights are made where they stay.
        settings.setdefault("device_map", {"": 0 if torch.cuda.is_available() else "cpu"})
    return settings


def with_adapters(model: Any, source: Source) -> Any:
    """Puts adapters on a model. Raises InputError if they do not fit it."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, source.name, revision=source.revision or None)
    except Exception as error:  # other names or shapes, an unknown kind of adapter: each raises its own type
        raise InputError(
            f"--model {source.name}: the adapters do not fit {source.base}: {load_advice(source.name, error)}"
        ) from None


def load_processor(source: Source, base: str, revision: str | None) -> Any:
    """Returns the processor of a source; for adapters without one, that of the model below them.

    Raises:
        InputError: there is no processor, or it cannot be loaded.
    """
    processor_class = image_processor_class(base, revision)
    own = source.form == ADAPTER and has_file(source.name, "tokenizer_config.json", source.revision)
    name, revision = (source.name, source.revision or None) if own else (base, revision)
    try:
        return processor_class.from_pretrained(name, revision=revision, trust_remote_code=False)
    except Exception as error:  # as above
        raise InputError(f"{name}: the processor cannot be loaded: {load_advice(name, error)}") from None


def image_processor_class(base: str, revision: str | None) -> Any:
    """Returns the processor class of a model, without its part for videos; AutoProcessor where there is none."""
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    config = read_config(base, revision)
    found = None
    with contextlib.suppress(KeyError):
        found = PROCESSOR_MAPPING[type(config)]
    if found is None or "video_processor" not in found.get_attributes():
        return AutoProcessor  # it reads the class from the checkpoint
    return without_videos(found)


def without_videos(processor_class: Any) -> Any:
    """Returns a processor class without its part for videos; the class itself where there is none."""
    if "video_processor" not in processor_class.get_attributes():
        return processor_class
    place = processor_class.get_attributes().index("video_processor")
    parts = [part for part in processor_class.get_attributes() if part != "video_processor"]

    def read_parts(cls: type, *arguments: Any, **settings: Any) -> list[Any]:
        found = processor_class._get_arguments_from_pretrained.__func__(cls, *arguments, **settings)
        # The base class takes as many parts as `get_attributes` names, and ignores the rest.
        return [*found[:place], None, *found[place:]]

    members = {
        # SmolVLM reads them for every prompt.
        "video_processor": SimpleNamespace(num_frames=None, fps=None),
        "get_attributes": classmethod(lambda cls: parts),
        "_get_arguments_from_pretrained": classmethod(read_parts),
    }
    return type(processor_class.__name__, (processor_class,), members)


def to_device(model: Any) -> Any:
    """Moves the model to the GPU if there is one, and returns it."""
    import torch

    return model.to("cuda" if torch.cuda.is_available() else "cpu")
