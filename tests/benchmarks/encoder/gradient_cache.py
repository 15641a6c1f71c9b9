"""Measures time and memory of exact gradients over an update, compared with accumulation and with one large batch.

    python tests/benchmarks/encoder/gradient_cache.py

trains a small SigLIP on random pairs on one CPU core in four ways: SiglipModel with its own loss in the stock Trainer,
and the encoder's trainer with plain accumulation, with GradCache, and with the update as one batch; first with texts
that all differ, then with five captions. It prints the time and memory of an update and the relative difference of its
gradient from that of the complete batch, and writes them to `tests/benchmarks/results/gradient_cache.json`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import numpy as np

from model_cards.results import write_json
from trainers.encoder import arguments

RESULT = Path(__file__).parents[1] / "results" / "gradient_cache.json"
UPDATE = 64  # pairs per update, as in the specification (8 x 8)
MICRO = 8
WAYS = {  # size of a micro-batch, and number of pairs that are contrasted with each other
    "stock": (MICRO, None),
    "plain accumulation": (MICRO, MICRO),
    "GradCache": (MICRO, UPDATE),
    "one batch": (UPDATE, UPDATE),
}
TEXTS = {"all different": UPDATE, "five captions": 5}
WORDS, LENGTH = 1000, 64


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--updates", type=int, default=4, help="updates per run; the first is not timed (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind, in turns (default: %(default)s)")
    parser.add_argument("--width", type=int, default=192, help="hidden size of both towers (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=4, help="layers of each tower (default: %(default)s)")
    parser.add_argument("--image_size", type=int, default=160, help="image size in pixels (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    options = parser.parse_args(argv)
    model = {"width": options.width, "layers": options.layers, "image_size": options.image_size}
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {multiprocessing.cpu_count()} processors, one used",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "accelerate")},
        "pairs_in_an_update": UPDATE,
        "micro_batch": MICRO,
        "model": model,
        "runs": [row for texts in TEXTS for row in compare(texts, model, options.updates, options.repeats)],
    }
    write_json(options.output, result)
    return 0


def compare(texts: str, model: dict[str, int], updates: int, repeats: int) -> list[dict]:
    """Measures the four ways on the same pairs, in turns, so that other work of the machine affects all of them."""
    runs: dict[str, list[dict]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            runs[way].append(in_new_process(way, texts, model, updates))
    whole = runs["one batch"][0]["gradient"]
    rows = []
    for way, measured in runs.items():
        gradient = measured[0]["gradient"]
        cosine = gradient @ whole / (np.linalg.norm(gradient) * np.linalg.norm(whole))
        rows.append(
            {
                "texts": texts,
                "way": way,
                "processor_seconds_per_update": round(min(run["seconds"] for run in measured), 3),
                "peak_mb": round(statistics.median(run["peak_mb"] for run in measured)),
                "gradient_cosine": round(float(cosine), 6),
                "gradient_error": float(f"{np.linalg.norm(gradient - whole) / np.linalg.norm(whole):.2g}"),
            }
        )
    plain = {row["way"]: row["processor_seconds_per_update"] for row in rows}
    print(f"\n{texts}")
    for row in rows:
        row["times_plain_accumulation"] = round(row["processor_seconds_per_update"] / plain["plain accumulation"], 2)
        row["times_stock"] = round(row["processor_seconds_per_update"] / plain["stock"], 2)
        print("  " + ", ".join(f"{name}: {value}" for name, value in row.items() if name != "texts"), flush=True)
    return rows


def in_new_process(*case: Any) -> dict:
    """Measures in a new process, so that the memory peak is that of this run only."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, case)


def measure(way: str, texts: str, model: dict[str, int], updates: int) -> dict:
    """Trains and measures.

    Returns:
        `seconds`: CPU seconds per update, the median without the first one; `peak_mb`: peak memory above the memory in
        use before the training; `gradient`: the gradient of the first update as one array.
    """
    import torch
    from transformers import PrinterCallback, TrainerCallback

    torch.set_num_threads(1)
    marks: list[float] = []
    gradient: list[np.ndarray] = []

    class Watch(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            marks.append(time.process_time())

        def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
            if not gradient:
                parts = {name: parameter.grad.flatten() for name, parameter in model.named_parameters()}
                gradient.append(torch.cat([parts[name] for name in sorted(parts)]).numpy().copy())

        def on_train_end(self, args, state, control, **kwargs):
            marks.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(way, RandomPairs(TEXTS[texts], model["image_size"], updates), model, updates, folder)
        trainer.add_callback(Watch())
        trainer.remove_callback(PrinterCallback)
        before = peak_mb()
        trainer.train()
    lasted = [end - start for start, end in pairwise(marks)]
    return {
        "seconds": statistics.median(lasted[1:] or lasted),
        "peak_mb": peak_mb() - before,
        "gradient": gradient[0],
    }


def make_trainer(way: str, pairs: RandomPairs, model: dict[str, int], updates: int, folder: str) -> Any:
    from transformers import SiglipModel, Trainer

    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
    from trainers.encoder import trainer as encoder_trainer

    micro, contrast = WAYS[way]
    flags = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": UPDATE // micro}
    flags |= {"max_steps": updates, "learning_rate": 0.0, "warmup_steps": 0, "max_grad_norm": 0, "use_cpu": True}
    flags |= {"eval_strategy": "no", "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    args = arguments.EncoderTrainingArguments(output_dir=folder, contrastive_batch_size=contrast, **flags)
    if way == "stock":
        stock = {"model": starting_model(SiglipModel, model), "data_collator": pairs.stock_batch}
        return Trainer(args=args, train_dataset=pairs, **stock)
    fitted = starting_model(SiglipMedicalModel, model)
    return encoder_trainer.EncoderTrainer(model=fitted, args=args, train_dataset=pairs, data_collator=pairs.batch)


def starting_model(kind: Any, model: dict[str, int]) -> Any:
    """Returns a model of the given class; all classes get the same random weights."""
    import torch
    from transformers import set_seed

    from modeling.siglip_medical.configuration_siglip_medical import SiglipMedicalConfig

    width = model["width"]
    tower = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": model["layers"]}
    tower |= {"num_attention_heads": max(1, width // 64)}
    ends = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 1)
    config = SiglipMedicalConfig(
        text_config=tower | ends | {"vocab_size": WORDS, "max_position_embeddings": LENGTH},
        vision_config=tower | {"image_size": model["image_size"], "patch_size": 16},
    )
    set_seed(0)
    made = kind(config)
    with torch.no_grad():
        made.logit_scale.fill_(2.3)
        made.logit_bias.fill_(-4.1)  # about -log(63), the best constant for 64 random pairs
    return made


class RandomPairs:
    """Pairs of noise images and random texts, with as many rows as the updates need."""

    def __init__(self, texts: int, image_size: int, updates: int) -> None:
        random = np.random.default_rng(0)
        self.texts = random.integers(2, WORDS, (texts, LENGTH))
        self.images = random.standard_normal((UPDATE, 3, image_size, image_size), dtype=np.float32)
        self.rows = UPDATE * updates

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> int:
        return row

    def batch(self, rows: Sequence[int]) -> dict:
        import torch

        images, texts = np.asarray(rows) % UPDATE, np.asarray(rows) % len(self.texts)
        return {
            "pixel_values": torch.from_numpy(self.images[images]),
            "input_ids": torch.from_numpy(self.texts[texts]),
            "group_ids": torch.from_numpy(texts),
            "image_ids": torch.from_numpy(images),
        }

    def stock_batch(self, rows: Sequence[int]) -> dict:
        batch = self.batch(rows)
        return {name: batch[name] for name in ("pixel_values", "input_ids")} | {"return_loss": True}


def peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    sys.exit(main())
