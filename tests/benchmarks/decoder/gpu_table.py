"""Estimates which training of Llama 3.2 11B fits on which GPU, from one update on tensors without data.

    python tests/benchmarks/decoder/gpu_table.py

uses the released configuration, rows of 512 tokens of which 64 have labels, and the worst case for images: a different
image of four tiles in each row. It prints, and writes to `tests/benchmarks/results/decoder_memory.json`, the peak of
each kind of training with one row per batch, and the largest batch that fits in nine tenths of a GPU's memory. Nothing
is measured here; tests check that the estimate is within 20 percent of real runs
(tests/trainers/decoder/test_memory.py).
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from model_cards.results import write_json

RESULT = Path(__file__).parents[1] / "results" / "decoder_memory.json"
GIB = 2**30
ROOM = 0.9  # usable share of a GPU's memory; the rest is for the CUDA context and fragmentation
GPUS = {"16 GB": (16, 1), "24 GB": (24, 1), "40 GB": (40, 1), "48 GB": (48, 1), "80 GB": (80, 1), "8 x 80 GB": (80, 8)}
BATCHES = (1, 2, 4, 8, 16, 32, 64)
TOKENS, LEARNED = 512, 64
EIGHT_BIT = "paged_adamw_8bit"
KINDS = {  # flags of each training, with activation checkpointing by default
    "QLoRA, 4 bits": {"train_scope": "lora", "load_in_4bit": True},
    "QLoRA, 4 bits, vision tower too": {"train_scope": "lora_all", "load_in_4bit": True},
    "LoRA, 8 bits": {"train_scope": "lora", "load_in_8bit": True},
    "adapter": {"train_scope": "adapter"},
    "LoRA": {"train_scope": "lora"},
    "LoRA, without checkpointing": {"train_scope": "lora", "activation_checkpointing": False},
    "LoRA, vision tower too": {"train_scope": "lora_all"},
    "head": {"train_scope": "lm_head"},
    "full, 8-bit AdamW": {"train_scope": "full", "optim": EIGHT_BIT},
    "full": {"train_scope": "full"},
}
PUBLISHED = {  # stored output of unslothai/notebooks nb/Llama3.2_(11B)-Vision.ipynb, on a Tesla T4
    "of": "Unsloth's notebook: 4 bits, r 16 on all linear layers, 2 rows, AdamW in 8 bits; it offloads checkpoints",
    "loaded_gib": 8.477,
    "peak_gib": 10.287,
}
LIKE_PUBLISHED = {"train_scope": "lora_all", "load_in_4bit": True, "optim": "adamw_8bit"}


def llama_config() -> Any:
    """Returns a configuration that needs as much memory as meta-llama/Llama-3.2-11B-Vision-Instruct.

    The defaults of transformers are those of the base model, whose tiles have 448 pixels.
    """
    from transformers import MllamaConfig

    config = MllamaConfig()
    config.vision_config.image_size = 560
    return config


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="(default: all)")
    parser.add_argument(
        "--batches", nargs="+", type=int, default=list(BATCHES), help="batch sizes (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    options = parser.parse_args(argv)
    rows = []
    for kind in options.kinds:
        rows.append(fitting(kind, sorted(options.batches)))
        print(rows[-1], flush=True)
    like = estimate(LIKE_PUBLISHED, 2, tokens=256)
    published = PUBLISHED | {
        "our_loaded_gib": in_gib(sum(size for part, size in like.parts.items() if part.startswith("weights: "))),
        "our_peak_gib": in_gib(like.peak),
    }
    write_json(options.output, {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")},
        "tokens": TOKENS,
        "learned_tokens": LEARNED,
        "images_in_a_row": 1,
        "room": ROOM,
        "gpus": {name: {"gigabytes": size, "count": count} for name, (size, count) in GPUS.items()},
        "trainings": rows,
        "published": published,
    })  # fmt: skip
    return 0


def fitting(kind: str, batches: list[int]) -> dict[str, Any]:
    """Returns the peak with one row, and for each GPU the largest batch per process that fits, 0 for none."""
    flags, row = KINDS[kind], {"training": kind}
    row["peak_gib"] = {str(processes): in_gib(estimate(flags, batches[0], processes).peak) for processes in (1, 8)}
    row["largest_batch"] = {}
    for name, (size, processes) in GPUS.items():
        if processes > 1 and flags["train_scope"] != "full":
            continue  # each GPU holds a copy, so the result is that of one GPU
        row["largest_batch"][name] = largest(flags, size * ROOM * 1e9, processes, batches)
    return row


def largest(flags: dict[str, Any], room: float, processes: int, batches: Iterable[int]) -> int:
    best = 0
    for batch in batches:
        if estimate(flags, batch, processes).peak > room:
            break
        best = batch
    return best


def estimate(flags: dict[str, Any], batch: int, processes: int = 1, tokens: int = TOKENS) -> Any:
    """Returns a MemoryEstimate; with several processes, weights are sharded only if all of them are trainable."""
    return estimated(tuple(sorted(flags.items())), batch, processes, tokens)


@cache
def estimated(flags: tuple[tuple[str, Any], ...], batch: int, processes: int, tokens: int) -> Any:
    import torch

    from trainers.decoder import arguments, memory

    given = dict(flags)
    checkpointing, optim = given.pop("activation_checkpointing", True), given.pop("optim", "adamw_torch_fused")
    chosen = arguments.DecoderArguments(**given)
    update = memory.DecoderUpdate(
        rows=batch, tokens=tokens, answer_tokens=LEARNED, images=batch, micro_batches=4, optim=optim,
        activation_checkpointing=checkpointing, processes=processes,
        sharded=processes > 1 and chosen.train_scope == arguments.FULL,
    )  # fmt: skip
    return memory.estimate_decoder(memory.bare_decoder(llama_config(), chosen, torch.bfloat16), update)


def in_gib(size: int) -> float:
    return round(size / GIB, 1)


if __name__ == "__main__":
    sys.exit(main())
