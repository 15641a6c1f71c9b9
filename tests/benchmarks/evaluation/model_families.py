"""Evaluates a tiny checkpoint of each family of models with `medpairs evaluate`, and says what came of it.

    python tests/benchmarks/evaluation/model_families.py

writes `tests/benchmarks/results/model_families.json`, from which `python -m tests.readme` makes the table in
`docs/evaluation.md`. The checkpoints have
random weights and the architecture, processor and form of prompts of their family; nothing is downloaded. So the table
says whether a family can be evaluated, with which controls, and not how good it is.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from evaluation.run_evaluation import main as evaluate
from model_cards.controls import BLANK, FROZEN
from model_cards.results import load_results, write_json
from tests.evaluation.models.tiny_families import ENCODERS, FAMILIES, write_family
from tests.evaluation.small_run import picture

RESULT = Path(__file__).parents[1] / "results" / "model_families.json"
PACKAGES = ("torch", "transformers", "torchvision", "num2words")
EXAMPLES = {
    "clip": "CLIP, PubMedCLIP", "siglip": "SigLIP, MedSigLIP, SigLIP 2 of fixed resolution",
    "siglip2": "SigLIP 2 NaFlex", "align": "ALIGN", "chinese_clip": "Chinese-CLIP", "metaclip_2": "MetaCLIP 2",
    "altclip": "AltCLIP", "blip": "BLIP, retrieval", "vision-text-dual-encoder": "two towers put together",
    "mllama": "Llama 3.2 Vision", "qwen2_vl": "Qwen2-VL", "qwen2_5_vl": "Qwen2.5-VL, Lingshu", "qwen3_vl": "Qwen3-VL",
    "gemma3": "Gemma 3, MedGemma", "idefics2": "Idefics2", "idefics3": "Idefics3", "smolvlm": "SmolVLM",
    "internvl": "InternVL3", "llava": "LLaVA 1.5", "llava_next": "LLaVA-NeXT", "llava_onevision": "LLaVA-OneVision",
    "mistral3": "Mistral Small 3.1", "paligemma": "PaliGemma", "blip-2": "BLIP-2",
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="NAME")
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        data = write_data(Path(scratch) / "data")
        families = [outcome(name, Path(scratch), data) for name in options.families]
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES},
        "evaluated": sum(family["result"] == "evaluated" for family in families),
        "families": families,
    }
    write_json(options.output, result)
    for family in families:
        print(f"{family['family']:26} {family['result']}")
    return 0


def installed(name: str) -> str:
    """Returns the version of a package, "" if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def write_data(folder: Path) -> Path:
    """Writes a dataset in the layout of others: image, question, answer, and a text of the image."""
    from datasets import Dataset, Features, Image, Value

    features = Features(
        {"image": Image(), "question": Value("string"), "answer": Value("string"), "text": Value("string")}
    )
    asked = [("Is there an effusion?", "yes"), ("有积液吗?", "没有"), ("Which side?", "left"), ("Is it clear?", "no")]
    for split, size in (("train", 12), ("test", 8)):
        rows = [asked[row % 4] for row in range(size)]
        columns = {
            "image": [picture((40 + row, 60), row) for row in range(size)],
            "question": [question for question, _ in rows],
            "answer": [answer for _, answer in rows],
            "text": [f"report {row}" for row in range(size)],
        }
        folder.mkdir(exist_ok=True)
        Dataset.from_dict(columns, features=features).to_parquet(folder / f"{split}.parquet")
    return folder


def outcome(family: str, scratch: Path, data: Path) -> dict[str, Any]:
    """Evaluates a family and returns what came of it."""
    found = {"family": family, "models": EXAMPLES[family], "kind": "encoder" if family in ENCODERS else "decoder"}
    errors, folder = io.StringIO(), scratch / family
    folder.mkdir()
    words = ["--model", str(folder / "model"), "--dataset", str(data), "--split", "test", "--max_new_tokens", "4"]
    try:
        write_family(family, folder / "model")
    except ImportError as error:  # the processor of this family requires a package
        return found | {"result": " ".join(str(error).split()).partition(". ")[0]}
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = evaluate([*words, "--output_dir", str(folder / "results")])
    if status != 0:
        *_, line = errors.getvalue().strip().splitlines()
        return found | {"result": line.removeprefix("error: ").replace(str(folder / "model"), "FOLDER")}
    (result,) = load_results(folder / "results")
    controls = {entry["name"]: entry for entry in result.controls}
    return found | {
        "result": "evaluated",
        "rows": result.samples,
        "loss": "loss" in result.metrics,
        "own_tower": bool(controls.get(FROZEN, {}).get("metrics")),
        "image_controls": bool(controls.get(BLANK, {}).get("metrics")),
    }


if __name__ == "__main__":
    sys.exit(main())
