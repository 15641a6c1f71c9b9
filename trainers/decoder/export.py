"""What is left of a training of the decoder? The model, its adapters, or both, as folders that others open.

Merged, the adapters are added into the weights of the base, in the 16 or 32 bits that it has: the sum is formed in
float32, layer by layer, and rounded once. A base of 4 or 8 bits is opened again in full for that; added into rounded
weights and rounded again, the adapters would partly be lost. Names are those of the released checkpoint. Everything is
written under another name first and compared with what it should be, in names and shapes; only then it takes the place
of what was there.
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
from trainers.decoder.model import base_of, open_checkpoint, weight_dtype
from trainers.decoder.quantization import is_quantised

if TYPE_CHECKING:
    from trainers.decoder.trainer import DecoderTrainer

FOLDER = "adapter"  # of the adapters, where the model is written too
UNFINISHED = f"export{PARTIAL}"
# What an earlier export may have left, and a later one of another kind must not leave beside its own files.
WEIGHTS = re.compile(
    rf"({FOLDER}/)?(adapter_)?(model(-\d{{5}}-of-\d{{5}})?\.safetensors|model\.safetensors\.index\.json|config\.json)"
)
# The names in memory, and those of the released checkpoint; the first that fits.
RELEASED = (
    (r"^model\.language_model\.", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.", ""),
)


def export_decoder(trainer: DecoderTrainer, processor: Any, arguments: Any, folder: Path | str) -> torch.nn.Module:
    """Writes what `--export` says, in 16 or 32 bits, with processor, chat template and generation settings.

    To be called by all processes, when nothing is trained or evaluated any more: where it can, it merges in place.

    Args:
        arguments: DecoderArguments.
        folder: the output folder; checkpoints and other files in it are left alone.

    Returns:
        the model to answer with from now on: merged where that was done in place, else as it was trained.

    Raises:
        InputError: what was written has a weight too many, one too few, or one of another shape.
    """
    folder, state = Path(folder), gathered_state(trainer)
    answering: torch.nn.Module = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_world_process_zero():
        target = folder / UNFINISHED
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        try:
            answering = write_all(trainer, processor, arguments, target, state)
            install(target, folder)
        finally:
            shutil.rmtree(target, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return answering


def write_all(
    trainer: DecoderTrainer, processor: Any, arguments: Any, target: Path, state: dict[str, torch.Tensor] | None
) -> torch.nn.Module:
    """Writes the files of an export into an empty folder. Returns the model to answer with."""
    model, inner = trainer.accelerator.unwrap_model(trainer.model), trainer.inner_model
    answering, adapters, merged = model, None, inner
    if isinstance(model, PeftModel):
        alone, again = arguments.export == ADAPTER, state is not None or any(map(is_quantised, inner.modules()))
        if arguments.export != MERGED or again:
            adapters = target if alone else target / FOLDER
            write_adapters(model, adapters, state)
            write_company(inner, processor, adapters)
            if arguments.export != MERGED and Path(arguments.model_name_or_path).is_dir():
                print(f"The adapters open over {arguments.model_name_or_path}, a folder that others may not have")
        if alone:
            return model
        if again:
            state, merged = None, merged_again(*base_of(inner, arguments), adapters, arguments, trainer.args)
        else:
            answering = merged = merged_in_place(model)
        if arguments.export != BOTH and adapters is not None:
            shutil.rmtree(adapters)
    write_model(merged, target, weight_dtype(trainer.args), state)
    write_company(inner, processor, target)
    return answering


def gathered_state(trainer: DecoderTrainer) -> dict[str, torch.Tensor] | None:
    """All weights of a model that several processes share, in the first one; None where each process has them all."""
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return None
    return trainer.accelerator.get_state_dict(trainer.model_wrapped)


# --- merging ---


def merged_in_place(model: PeftModel) -> PreTrainedModel:
    """The Mllama within, its adapters added into its weights: in float32, one layer at a time, rounded once."""
    from peft.tuners.lora import LoraLayer

    with torch.no_grad():
        for layer in [module for module in model.modules() if isinstance(module, LoraLayer)]:
            base = layer.get_base_layer()
            dtype = base.weight.dtype
            base.float()
            layer.merge(safe_merge=True)  # raises where a sum is no number
            base.to(dtype)
    return model.unload()  # whose layers are merged by now


def merged_again(base: str, commit: str | None, adapters: Path, arguments: Any, training: Any) -> PreTrainedModel:
    """The base, opened again without quantisation, on the processor, with the adapters in a folder merged into it."""
    from peft import get_peft_model_state_dict

    opened, _ = open_checkpoint(base, arguments, training, quantised=False, commit=commit)
    model = PeftModel.from_pretrained(opened, adapters, torch_device="cpu")
    wanted = shapes_of(get_peft_model_state_dict(model, save_embedding_layers=False))
    check_shapes(shapes_in(adapters, ADAPTERS), wanted, f"{adapters} does not fit {base}")
    return merged_in_place(model)


def released_name(name: str) -> str:
    """What the released checkpoint calls a weight of an MllamaForConditionalGeneration."""
    for start, replacement in RELEASED:
        if re.match(start, name):
            return re.sub(start, replacement, name)
    return name


# --- writing ---


def write_model(
    model: PreTrainedModel, target: Path, dtype: torch.dtype, state: dict[str, torch.Tensor] | None = None
) -> None:
    """Writes configuration and weights, and looks at what was written."""
    vars(model.config).pop("use_cache", None)  # Trainer turns it off there for the training
    state = model.state_dict() if state is None else state
    state = {name: weight.to(dtype) for name, weight in state.items()}  # the same tensors where nothing changes
    model.save_pretrained(target, state_dict=state)
    wanted = {released_name(name): shape for name, shape in shapes_of(state).items()}
    check_shapes(shapes_in(target), wanted, f"the model written to {target}")


def write_adapters(model: PeftModel, target: Path, state: dict[str, torch.Tensor] | None) -> None:
    """Writes peft's two files, and looks at what was written."""
    from peft import get_peft_model_state_dict

    model.save_pretrained(target, save_embedding_layers=False, **({} if state is None else {"state_dict": state}))
    (target / "README.md").unlink(missing_ok=True)  # peft's, which asks for more information
    wanted = shapes_of(get_peft_model_state_dict(model, state_dict=state, save_embedding_layers=False))
    check_shapes(shapes_in(target, ADAPTERS), wanted, f"the adapters written to {target}")


def write_company(model: PreTrainedModel, processor: Any, target: Path) -> None:
    """Writes what answering needs beside weights: tokenizer, image processor, chat template, generation settings."""
    processor.save_pretrained(target)
    model.generation_config.save_pretrained(target)


def install(source: Path, folder: Path) -> None:
    """Moves the complete files of an export to their place, and takes away what an earlier one left of weights."""
    new = files_below(source)
    company = {f"{FOLDER}/{Path(name).name}" for name in new}  # of adapters that are no longer there
    earlier = {name for name in files_below(folder) if WEIGHTS.fullmatch(name) or name in company}
    remove_files(folder, earlier - set(new))
    for name in new:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(folder / name)
    sync_folder(folder)
