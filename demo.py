"""The whole road, once, on a laptop: synthetic sources, dataset, Hub, encoder, decoder, evaluation, cards, one page.

    make demo

Each step is a command or a few lines that you could type yourself; they are printed before they run. The Hub is a
server on this machine: no account, no network, no GPU. Everything is written to `outputs/demo`. A new run deletes the
files of the one before; a folder that holds anything else is renamed, and nothing in it is lost.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

OUT = Path("outputs/demo")
WRITTEN = ".demo_files.json"  # names and sizes of the files of a run that came to its end
RAW, DATA, RESULTS, PAGE = OUT / "raw", OUT / "data", OUT / "results", OUT / "index.html"
DATASET, ENCODER, DECODER = "demo/med-pairs", "demo/siglip-med", "demo/llama-med"
TOKEN = "hf_demo"  # noqa: S105 (of the Hub that this script starts)
ENCODER_RECIPE = "--config demo"
DECODER_RECIPE = "--config demo"
started = time.monotonic()


def main() -> None:
    clear(OUT)
    OUT.mkdir(parents=True, exist_ok=True)

    title("Sources: four folders in the layouts of the real ones, drawn by the project")
    run(f"python hub_datasets/generate_sample.py --output_dir {RAW}")

    with hub() as environment:
        title("Dataset: read, validate, split, convert, publish")
        run(
            f"python hub_datasets/build.py --knee_dir {RAW}/knee --pad_ufes_dir {RAW}/pad_ufes --slake_dir {RAW}/slake"
            f" --reports_dir {RAW}/reports --output_dir {DATA} --val_fraction 0.08 --test_fraction 0.2"
            f" --push_to_hub {DATASET}",
            environment,
        )
        run_code(LOAD_DATASET, environment)

        title("Encoder: SigLIP with the sigmoid loss, from random weights")
        encoder = f"python trainers/run_encoder.py --dataset {DATASET} {ENCODER_RECIPE}"
        run(f"{encoder} --num_train_epochs 0 --output_dir {OUT}/siglip-untrained", environment)
        run(f"{encoder} --output_dir {OUT}/siglip-med"
            f" --push_to_hub --hub_model_id {ENCODER}", environment)  # fmt: skip

        title("Decoder: Llama 3.2 Vision, from random weights")
        decoder = f"python trainers/run_decoder.py --dataset {DATASET} {DECODER_RECIPE}"
        run(f"{decoder} --num_train_epochs 0 --num_samples 0 --output_dir {OUT}/llama-untrained", environment)
        run(f"{decoder} --output_dir {OUT}/llama-med"
            f" --push_to_hub --hub_model_id {DECODER}", environment)  # fmt: skip

        title("What was pushed opens in a fresh process with an empty cache")
        run_code(LOAD_MODELS, environment)

        title("Evaluation on the held-out test set, beside the untrained models")
        for model in (ENCODER, DECODER, OUT / "siglip-untrained", OUT / "llama-untrained"):
            push = "--push_to_hub" if model in (ENCODER, DECODER) else ""
            run(f"python evaluation/run_evaluation.py --model {model} --dataset {DATASET} --split test --batch_size 32"
                f" --max_new_tokens 64 --output_dir {RESULTS} {push}", environment)  # fmt: skip
        run("python evaluation/push_metrics.py --namespace demo", environment)
        run_code(LOAD_METRIC, environment)

        title("Leaderboard")
        run(f"python evaluation/leaderboard.py --results_dir {RESULTS}")
        cards = json.loads(run_code(READ_CARDS, environment, quiet=True))

    title("One page with all of it")
    write_page(cards)
    write_record()
    (OUT / WRITTEN).write_text(json.dumps(sizes(OUT)), encoding="utf-8")
    print(f"{PAGE.resolve()}\nDone in {time.monotonic() - started:.0f} s.")
    print(f"Browse what was pushed: {Path(sys.executable)} -m tests.hub_server --root {OUT}/hub --open_pages")


def clear(folder: Path) -> None:
    """Deletes the files of the demo before; renames a folder that holds anything else, or a demo that was stopped."""
    from model_cards.commands.owned_files import remove_files

    found = sizes(folder)
    try:
        written = json.loads((folder / WRITTEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        written = {}
    if found == written:
        remove_files(folder, [*found, WRITTEN])
    elif found:
        aside = next(name for n in itertools.count(1) if not (name := folder.with_name(f"{folder.name}-{n}")).exists())
        folder.rename(aside)
        print(f"{folder} holds what no finished demo wrote; it is now {aside}")


def sizes(folder: Path) -> dict[str, int]:
    """The bytes of each file below a folder, by name, without the list of them."""
    from model_cards.commands.owned_files import files_below

    return {name: (folder / name).lstat().st_size for name in files_below(folder) if name != WRITTEN}


LOAD_DATASET = f"""
from datasets import load_dataset

print(load_dataset("{DATASET}", "pairs"))
row = next(iter(load_dataset("{DATASET}", "chat", split="train", streaming=True)))
print(row["images"][0], row["messages"])
"""

LOAD_MODELS = f"""
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor

for trust_remote_code in (None, True):
    model = AutoModel.from_pretrained("{ENCODER}", trust_remote_code=trust_remote_code)
    processor = AutoProcessor.from_pretrained("{ENCODER}", trust_remote_code=trust_remote_code)
    print(type(model).__name__, type(processor).__name__, model.logit_scale.item(), model.logit_bias.item())
print(type(AutoModelForImageTextToText.from_pretrained("{DECODER}")).__name__)
"""

LOAD_METRIC = f"""
import json, evaluate, glob

rows = [json.loads(line) for line in open(glob.glob("{RESULTS}/demo-llama-med--*.predictions.jsonl")[0])]
bleu = evaluate.load("demo/medical_bleu")
scores = bleu.compute(predictions=[row["generated"] for row in rows], references=[row["reference"] for row in rows],
                      languages=[row["language"] for row in rows])
print("BLEU of the answers, by the metric's Space:", scores["bleu"])
"""

READ_CARDS = f"""
import json
from huggingface_hub import hf_hub_download

kinds = {{"{DATASET}": "dataset", "{ENCODER}": "model", "{DECODER}": "model", "demo/medical_bleu": "space",
         "demo/retrieval_recall": "space", "demo/vqa_accuracy": "space"}}
print(json.dumps({{name: open(hf_hub_download(name, "README.md", repo_type=kind)).read()
                  for name, kind in kinds.items()}}))
"""


@contextlib.contextmanager
def hub() -> Iterator[dict[str, str]]:
    """Starts the Hub of the tests on this machine; gives the environment in which all libraries use it."""
    command = [sys.executable, "-m", "tests.hub_server", "--root", str(OUT / "hub"), "--token", TOKEN]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline().strip()
        if not line.startswith("Hub on "):
            sys.exit("The Hub did not start.")
        print(f"\n{line}")
        yield {
            "HF_ENDPOINT": line.removeprefix("Hub on "),
            "HF_TOKEN": TOKEN,
            "HF_HOME": str((OUT / "hf_home").resolve()),
            "HF_HUB_DISABLE_XET": "1",  # the server stores files by LFS
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
    finally:
        server.terminate()
        server.wait(timeout=30)


def run(command: str, environment: dict[str, str] | None = None) -> None:
    """Prints a command and runs it; a failure ends the demo."""
    print(f"\n$ {command.strip()}", flush=True)
    begin = time.monotonic()
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    status = subprocess.run(words, env=child_environment(environment)).returncode
    if status:
        sys.exit(f"The demo stops here: exit status {status}.")
    print(f"({time.monotonic() - begin:.0f} s)", flush=True)


def run_code(code: str, environment: dict[str, str], quiet: bool = False) -> str:
    """Runs a few lines in a fresh process with an empty cache; returns what they print."""
    code = code.strip()
    if not quiet:
        print("\n" + textwrap.indent(code, ">>> "), flush=True)
    home = {"HF_HOME": str((OUT / "hf_home_fresh").resolve())}
    shutil.rmtree(home["HF_HOME"], ignore_errors=True)
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=child_environment(environment | home), stdout=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit("The demo stops here.")
    if not quiet:
        print(result.stdout, end="", flush=True)
    return result.stdout


def child_environment(extra: dict[str, str] | None) -> dict[str, str]:
    """This process's environment, without the account and caches of whoever runs the demo."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return kept | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "0"} | (extra or {})


def write_page(cards: dict[str, str]) -> None:
    """Writes the page from the files of this run."""
    from model_cards.run_report import write_run_page

    write_run_page(
        PAGE,
        DATA,
        {"encoder": OUT / "siglip-med", "decoder": OUT / "llama-med"},
        RESULTS,
        {name: next(RESULTS.glob(f"{name.replace('/', '-')}--*.predictions.jsonl")) for name in (ENCODER, DECODER)},
        cards,
    )


def write_record() -> None:
    """Writes what this run measured, and on what, to `demo.json`: the README's table is made from it."""
    from model_cards.results import load_results, write_json

    first = load_results(RESULTS)[0]
    machine = {"processors": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}
    facts = {"date": first.date[:10], "seconds": round(time.monotonic() - started), "versions": first.versions}
    tables = json.loads((RESULTS / "leaderboard.json").read_text(encoding="utf-8"))
    write_json(RESULTS / "demo.json", machine | facts | {"tables": tables})


def title(text: str) -> None:
    print(f"\n{'=' * 100}\n{time.monotonic() - started:4.0f} s  {text}\n{'=' * 100}", flush=True)


if __name__ == "__main__":
    main()
