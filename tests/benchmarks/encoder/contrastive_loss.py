"""Measures memory and time of the contrastive loss, forward and backward, compared with three baselines.

    OMP_NUM_THREADS=2 python tests/benchmarks/encoder/contrastive_loss.py

measures from the embeddings to all four gradients, each loss in its own process: the loss of `SiglipModel`, that of
open_clip (at once, and in blocks), and `modeling/siglip_medical/contrastive_loss.py`. It checks that all give the same
loss and gradients, prints a table and writes `tests/benchmarks/results/contrastive_loss.json`. open_clip is skipped if
it is not installed: `pip install --no-deps open_clip_torch` (the package itself requires torchvision, but only its
`loss.py` is read), or `--open_clip_loss` with the path of that file. Memory is the peak above the inputs: that of the
GPU if there is one, otherwise that of the process, which requires Linux's /proc.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import inspect
import multiprocessing
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from model_cards.results import write_json
from modeling.siglip_medical.contrastive_loss import contrastive_loss

RESULT = Path(__file__).parents[1] / "results" / "contrastive_loss.json"
SIGLIP, FULL, BLOCKS, OURS, REPEATED = (
    "SiglipModel",
    "open_clip",
    "open_clip in blocks",
    "ours",
    "ours, 5 texts, weights",
)
INSTALL = "open_clip is not installed and is skipped. To include it: pip install --no-deps open_clip_torch"
WIDTH = 768  # embedding size of SigLIP base
SCALE, BIAS = 4.7, -12.7  # logit scale and bias of pretrained checkpoints
BLOCK = 512  # pairs on each side of a block of open_clip
SAME = 1e-4  # tolerance relative to the norm of a gradient: float32 sums of 16,384 terms in another order
MIB = 2**20
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", type=int, nargs="+", default=[1_024, 4_096, 16_384], help="numbers of pairs (default: %(default)s)"
    )
    parser.add_argument(
        "--repeats", type=int, default=2, help="runs of each loss, of which the fastest counts (default: %(default)s)"
    )
    parser.add_argument("--open_clip_loss", type=Path, help="loss.py of open_clip, if the package is not installed")
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    options = parser.parse_args(argv)
    open_clip = options.open_clip_loss or installed_loss()
    if open_clip is None:
        print(INSTALL)
    names = [SIGLIP, *([FULL, BLOCKS] if open_clip else []), OURS, REPEATED]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(open_clip),
        "width": WIDTH,
        "losses": [row for pairs in options.pairs for row in compare(names, pairs, options.repeats, open_clip)],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, result)
    return 0


def compare(names: list[str], pairs: int, repeats: int, open_clip: Path | None) -> list[dict[str, Any]]:
    """Measures each loss; returns one row per loss. Raises RuntimeError if one differs from that of `SiglipModel`."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{number}.safetensors" for number, name in enumerate(names)}
        # The losses take turns, so that other work of the machine affects all of them.
        turns = [[in_new_process(name, pairs, open_clip, files[name]) for name in names] for _ in range(repeats)]
        for runs in zip(*turns, strict=True):
            rows.append(fastest(runs))
            if (name := rows[-1]["loss"]) != REPEATED:  # that one has other positives
                rows[-1]["difference"] = difference(files[name], files[SIGLIP])
    ours = next(row for row in rows if row["loss"] == OURS)
    print(f"\n{pairs:,} pairs".ljust(28) + f"{'MiB':>9}{'to ours':>9}{'seconds':>9}{'to ours':>9}", end="")
    print(f"{'processor':>11}  difference of gradients")
    for row in rows:
        row["memory_to_ours"] = round(row["peak_mib"] / max(ours["peak_mib"], 1), 2)
        row["seconds_to_ours"] = round(row["seconds"] / ours["seconds"], 2)
        print(f"  {row['loss']:24}{row['peak_mib']:10,}{row['memory_to_ours']:9.2f}", end="")
        print(f"{row['seconds']:9.3f}{row['seconds_to_ours']:9.2f}", end="")
        print(f"{row['processor_seconds']:11.3f}  {row.get('difference', '')}", flush=True)
    for row in rows:
        if row.get("difference", 0) > SAME:
            raise RuntimeError(
                f"{row['loss']} with {pairs} pairs: gradients differ by {row['difference']} of their norm"
            )
    return rows


def fastest(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Combines several runs into one row: the shortest times, and the largest memory peak."""
    return runs[0] | {
        "seconds": min(run["seconds"] for run in runs),
        "processor_seconds": min(run["processor_seconds"] for run in runs),
        "peak_mib": max(run["peak_mib"] for run in runs),
    }


def difference(file: Path, other: Path) -> float:
    """Returns the largest difference of loss and gradients, relative to the norm of each."""
    ours, theirs = load_file(file), load_file(other)
    return float(f"{max(float((ours[name] - two).norm() / two.norm()) for name, two in theirs.items()):.1e}")


# --- the measurement ---


def in_new_process(name: str, pairs: int, open_clip: Path | None, file: Path) -> dict[str, Any]:
    """Measures in a new process, so that the memory peak is that of this measurement only."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (name, pairs, open_clip, file))


def measure(name: str, pairs: int, open_clip: Path | None, file: Path) -> dict[str, Any]:
    """Measures peak memory and time of a loss and its gradients, and writes these to `file`."""
    loss = loss_named(name, open_clip)
    step(loss, inputs(min(pairs, 1_024)))  # a warm-up, because one-time initialization does not count
    tensors = inputs(pairs)
    before = start_of_peak()
    started, worked = time.perf_counter(), time.process_time()
    value = step(loss, tensors)
    seconds, used = time.perf_counter() - started, time.process_time() - worked
    highest = peak() - before
    found = (value, *(tensor.grad.cpu() for tensor in tensors))
    save_file({str(number): tensor.contiguous() for number, tensor in enumerate(found)}, file)
    return {
        "pairs": pairs,
        "loss": name,
        "seconds": round(seconds, 4),
        "processor_seconds": round(used, 4),
        "peak_mib": round(highest / MIB),
        "value": value.item(),
    }


def step(loss: Loss, tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
    value = loss(*tensors)
    value.backward()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return value.detach().cpu()


def inputs(pairs: int) -> tuple[torch.Tensor, ...]:
    """Returns embeddings, log temperature and bias; only matching pairs have similar embeddings, as after training."""
    generator = torch.Generator().manual_seed(pairs)
    images = torch.randn(pairs, WIDTH, generator=generator)
    texts = torch.randn(pairs, WIDTH, generator=generator).mul_(10).add_(images)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tensors = (images, texts, torch.tensor(SCALE), torch.tensor(BIAS))
    return tuple(tensor.to(device).requires_grad_() for tensor in tensors)


def start_of_peak() -> int:
    """Resets the memory peak; returns the bytes in use now."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    # Returns freed memory to the system; otherwise its reuse would not increase the peak.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 5 resets VmHWM, see proc(5)
    return status("VmRSS")


def peak() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else status("VmHWM")


def status(name: str) -> int:
    """Returns a number of bytes from the process status of Linux."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024


# --- the losses ---


def loss_named(name: str, open_clip: Path | None) -> Loss:
    if name == SIGLIP:
        return siglip_model_loss()
    if name in (FULL, BLOCKS):
        return open_clip_loss(load(open_clip), in_blocks=name == BLOCKS)
    return partial(repeated_texts_loss, texts=5) if name == REPEATED else contrastive_loss


def repeated_texts_loss(images: torch.Tensor, *others: torch.Tensor, texts: int) -> torch.Tensor:
    """Computes our loss with few distinct texts, like grades of knees; with five, a fifth of the pairs is positive."""
    ids = torch.arange(len(images), device=images.device) % texts
    return contrastive_loss(images, *others, group_ids=ids, weights="inverse")


def siglip_model_loss() -> Loss:
    """Returns the loss of `SiglipModel.forward` of transformers, with towers that return the given embeddings."""
    from transformers import SiglipConfig, SiglipModel
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    class Tower(torch.nn.Module):
        def forward(self, pixel_values=None, input_ids=None, **_) -> BaseModelOutputWithPooling:
            return BaseModelOutputWithPooling(pooler_output=input_ids if pixel_values is None else pixel_values)

    tiny = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    words = {"vocab_size": 8, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 1}
    model = SiglipModel(SiglipConfig(text_config=tiny | words, vision_config=tiny))
    model.vision_model, model.text_model = Tower(), Tower()
    del model.logit_scale, model.logit_bias  # parameters, which are replaced by the inputs

    def loss(images, texts, logit_scale, logit_bias):
        model.logit_scale, model.logit_bias = logit_scale, logit_bias
        return model(pixel_values=images, input_ids=texts, return_loss=True).loss

    return loss


def open_clip_loss(module: ModuleType, *, in_blocks: bool) -> Loss:
    """Returns open_clip's `SigLipLoss` with the normalization and `exp` of the forward pass of its models.

    Args:
        module: the module `loss.py` of open_clip.
        in_blocks: compute the loss in blocks: with the parameter `chunk_size` if this open_clip has it (3.3.0 does
            not), otherwise by calling `_loss` per block of images and texts, as open_clip does for other processes.
    """
    its_own = "chunk_size" in inspect.signature(module.SigLipLoss.__init__).parameters
    siglip = module.SigLipLoss(chunk_size=BLOCK) if in_blocks and its_own else module.SigLipLoss()

    def loss(images, texts, logit_scale, logit_bias):
        parts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1), logit_scale.exp(), logit_bias
        if not in_blocks or its_own:
            return siglip(*parts)
        images, texts, *scalars = parts
        total = 0
        for i, some_images in enumerate(images.split(BLOCK)):
            for j, some_texts in enumerate(texts.split(BLOCK)):
                part = siglip._loss(some_images, some_texts, *scalars, negative_only=i != j)
                total = total + part * (len(some_images) / len(images))
        return total

    return loss


def installed_loss() -> Path | None:
    """Returns the path of open_clip's `loss.py`, without importing the package; None if it is not installed."""
    found = importlib.util.find_spec("open_clip")
    return Path(found.origin).with_name("loss.py") if found and found.origin else None


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("open_clip_loss", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def versions(open_clip: Path | None) -> dict[str, str]:
    import transformers

    found = {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}
    if open_clip and (beside := open_clip.with_name("version.py")).is_file():
        found["open_clip_torch"] = re.search(r"['\"](.+?)['\"]", beside.read_text(encoding="utf-8"))[1]
    return found


def machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    sys.exit(main())
