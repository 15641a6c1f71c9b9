"""Exports a trained decoder: the merged model, its adapters, or both, as folders that other libraries can open.

Merging adds the adapters to the weights of the base model, which keep their 16 or 32 bits: the sum is computed in
float32, layer by layer, and rounded once. A base model in 4 or 8 bits is opened again at full precision for this;
adding to rounded weights and rounding again would lose part of the adapters. The names are those of the released
checkpoint. Everything is written under a temporary name and its names and shapes are verified; only then it replaces
earlier files.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from model_cards.commands.owned_files import files_below, remove_files
from trainers.base.checkpoint_files import PARTIAL, sync_folder
from trainers.base.safetensors_headers import check_shapes, shapes_in
from trainers.decoder.arguments import ADAPTER, BOTH, MERGED
from trainers.decoder.checkpoints import ADAPTERS, shapes_of
from trainers.decoder.model import base_source, open_checkpoint, weight_dtype
from trainers.decoder.quantization import is_quantized

if TYPE_CHECKING:
    from trainers.decoder.trainer import DecoderTrainer

# The folder of the adapters if the model is written, too.
FOLDER = "adapter"
UNFINISHED = f"export{PARTIAL}"
# Files of an earlier export that a later one of another kind has to remove.
WEIGHTS = re.compile(
    rf"({FOLDER}/)?(adapter_)?(model(-\d{{5}}-of-\d{{5}})?\.safetensors|model\.safetensors\.index\.json|config\.json)"
)
# Prefixes of the names in memory and in the released checkpoint; the first match applies.
RELEASED = (
    (r"^model\.language_model\.", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.", ""),
)


def export_decoder(trainer: DecoderTrainer, processor: Any, arguments: Any, folder: Path | str) -> torch.nn.Module:
    """Writes what `--export` names, in 16 or 32 bits, with processor, chat template and generation settings.

    To be called by all processes, after all training and evaluation: it may merge the adapters in place.

    Args:
        processor: an MllamaProcessor.
        arguments: DecoderArguments.
        folder: the output folder; checkpoints and other files in it are not touched.

    Returns:
        the model to generate with from now on: merged if that was done in place, else as trained.

    Raises:
        InputError: the written files have additional or missing weights, or one of another shape.
    """
    folder, state = Path(folder), gathered_state(trainer)
    answering: torch.nn.Module = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_world_process_zero():
        target = folder / UNFINISHED
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        try:
            answering = write_all(trainer, processor, arguments, target, state)
            replace_export(target, folder)
        finally:
            shutil.rmtree(target, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return answering


def write_all(
    trainer: DecoderTrainer, processor: Any, arguments: Any, target: Path, state: dict[str, torch.Tensor] | None
) -> torch.nn.Module:
    """Writes the files of an export to an empty folder. Returns the model to generate with.

    Args:
        target: the folder.
        state: the gathered weights of a sharded model, else None.
    """
    model, inner = trainer.accelerator.unwrap_model(trainer.model), trainer.inner_model
    answering, adapters, merged = model, None, inner
    if isinstance(model, PeftModel):
        # A sharded or quantized base cannot be merged in place: it is opened again and needs the adapters as files.
        alone, reopen = arguments.export == ADAPTER, state is not None or any(map(is_quantized, inner.modules()))
        if arguments.export != MERGED or reopen:
            adapters = target if alone else target / FOLDER
            write_adapters(model, adapters, state)
            write_processor_files(inner, processor, adapters)
            if arguments.export != MERGED and Path(arguments.model_name_or_path).is_dir():
                base = arguments.model_name_or_path
                print(f"The adapters require the base model {base}, a folder that other users may not have")
        if alone:
            return model
        if reopen:
            state, merged = None, reopen_and_merge(*base_source(inner, arguments), adapters, arguments, trainer.args)
        else:
            answering = merged = merge_in_place(model)
        if arguments.export != BOTH and adapters is not None:
            shutil.rmtree(adapters)
    write_model(merged, target, weight_dtype(trainer.args), state)
    write_processor_files(inner, processor, target)
    return answering


def gathered_state(trainer: DecoderTrainer) -> dict[str, torch.Tensor] | None:
    """Returns all weights of a sharded model, in the first process; None if each process has all weights."""
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return None
    return trainer.accelerator.get_state_dict(trainer.model_wrapped)


# --- merging ---


def merge_in_place(model: PeftModel) -> PreTrainedModel:
    """Merges the adapters into the weights in float32, one layer at a time, rounded once. Returns the Mllama."""
    from peft.tuners.lora import LoraLayer

    with torch.no_grad():
        for layer in [module for module in model.modules() if isinstance(module, LoraLayer)]:
            base = layer.get_base_layer()
            dtype = base.weight.dtype
            base.float()
            layer.merge(safe_merge=True)  # raises if a sum is NaN or infinite
            base.to(dtype)
    # The layers are merged already; this removes the wrappers.
    return model.unload()


def reopen_and_merge(base: str, commit: str | None, adapters: Path, arguments: Any, training: Any) -> PreTrainedModel:
    """Opens the base model without quantization on the CPU and merges the adapters of a folder into it.

    Args:
        base: a folder, or a repository on the Hub at this commit.
        adapters: the folder of the adapters.
    """
    from peft import get_peft_model_state_dict

    opened, _ = open_checkpoint(base, arguments, training, quantized=False, commit=commit)
    model = PeftModel.from_pretrained(opened, adapters, torch_device="cpu")
    wanted = shapes_of(get_peft_model_state_dict(model, save_embedding_layers=False))
    check_shapes(shapes_in(adapters, ADAPTERS), wanted, f"{adapters} does not fit {base}")
    return merge_in_place(model)


def released_name(name: str) -> str:
    """Returns the released checkpoint's name of a weight of an MllamaForConditionalGeneration."""
    for start, replacement in RELEASED:
        if re.match(start, name):
            return re.sub(start, replacement, name)
    return name


# --- writing ---


def write_model(
    model: PreTrainedModel, target: Path, dtype: torch.dtype, state: dict[str, torch.Tensor] | None = None
) -> None:
    """Writes configuration and weights, and verifies the names and shapes in the files."""
    # Trainer sets it to False for the training.
    vars(model.config).pop("use_cache", None)
    state = model.state_dict() if state is None else state
    state = {name: weight.to(dtype) for name, weight in state.items()}  # no copy if the dtype is the same
    model.save_pretrained(target, state_dict=state)
    wanted = {released_name(name): shape for name, shape in shapes_of(state).items()}
    check_shapes(shapes_in(target), wanted, f"the model written to {target}")


def write_adapters(model: PeftModel, target: Path, state: dict[str, torch.Tensor] | None) -> None:
    """Writes the two files of peft, and verifies the names and shapes in them."""
    from peft import get_peft_model_state_dict

    model.save_pretrained(target, save_embedding_layers=False, **({} if state is None else {"state_dict": state}))
    # peft writes a model card of placeholders.
    (target / "README.md").unlink(missing_ok=True)
    wanted = shapes_of(get_peft_model_state_dict(model, state_dict=state, save_embedding_layers=False))
    check_shapes(shapes_in(target, ADAPTERS), wanted, f"the adapters written to {target}")


def write_processor_files(model: PreTrainedModel, processor: Any, target: Path) -> None:
    """Writes everything that generation needs besides weights: processor, chat template, generation settings."""
    processor.save_pretrained(target)
    model.generation_config.save_pretrained(target)


def replace_export(source: Path, folder: Path) -> None:
    """Moves the files of a complete export to the output folder and removes the weights of an earlier export."""
    new = files_below(source)
    # The processor's files beside earlier adapters have the same names as the new ones.
    beside_adapters = {f"{FOLDER}/{Path(name).name}" for name in new}
    earlier = {name for name in files_below(folder) if WEIGHTS.fullmatch(name) or name in beside_adapters}
    remove_files(folder, earlier - set(new))
    for name in new:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(folder / name)
    sync_folder(folder)
