"""Runs the complete pipeline once on a laptop: synthetic sources, dataset, Hub, training, evaluation, cards, one page.

    make demo

Each step is a command or a few lines that you could type yourself; they are printed before they run. The Hub is a
server on this machine: no account, no network, no GPU. The encoder and the decoder are trained and evaluated at the
same time where there are two processor cores. Everything is written to `outputs/demo`. A new run deletes the files of
the one before; a folder that holds anything else is renamed, and nothing in it is lost. Ctrl-C or SIGTERM ends the demo
with every process that it started.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path

import demo_processes
from demo_processes import hub, processor_seconds, run, run_beside, run_code
from model_cards.commands.console import Parser, command

OUT = Path("outputs/demo")
WRITTEN = ".demo_files.json"  # names and sizes of the files of a run that came to its end
RAW, DATA, RESULTS, PAGE = OUT / "raw", OUT / "data", OUT / "results", OUT / "index.html"
DATASET, ENCODER, DECODER = "demo/med-pairs", "demo/siglip-med", "demo/llama-med"
TOKEN = "hf_demo"  # noqa: S105 (of the Hub that this script starts)
ENCODER_RECIPE = "--config demo"
DECODER_RECIPE = "--config demo"
started = time.monotonic()


@command
def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status, see `model_cards/commands/console.py`."""
    parser = Parser(prog="medpairs demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(argv)
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C; `kill` and schedulers
        signal.signal(number, demo_processes.children.interrupt)
    try:
        walk()
    except KeyboardInterrupt as error:
        error.add_note(f"everything that the demo started has ended; what it wrote is in {OUT}")
        raise
    finally:
        demo_processes.children.end()
    return 0


def walk() -> None:
    """The steps."""
    clear(OUT)
    OUT.mkdir(parents=True, exist_ok=True)

    title("Sources: four folders in the layouts of the real ones, drawn by the project")
    run(f"medpairs sample --output_dir {RAW}")

    with hub(OUT / "hub", TOKEN) as environment:
        title("Dataset: read, validate, split, convert, publish")
        run(
            f"medpairs build --knee_dir {RAW}/knee --pad_ufes_dir {RAW}/pad_ufes --slake_dir {RAW}/slake"
            f" --reports_dir {RAW}/reports --output_dir {DATA} --val_fraction 0.08 --test_fraction 0.2"
            f" --push_to_hub {DATASET}",
            environment,
        )
        run_code(LOAD_DATASET, environment)

        title("Decoder and encoder: Llama 3.2 Vision and SigLIP from random weights, and their scores on held-out rows")
        run_beside(
            {
                "decoder": commands_of("decoder", DECODER_RECIPE, "llama", DECODER, " --num_samples 0"),
                "encoder": commands_of("encoder", ENCODER_RECIPE, "siglip", ENCODER),
            },
            environment,
        )

        title("What was pushed opens in a fresh process with an empty cache")
        run_code(LOAD_MODELS, environment)
        run("medpairs push-metrics --namespace demo", environment)
        run_code(LOAD_METRIC, environment)

        title("Leaderboard")
        run(f"medpairs leaderboard --results_dir {RESULTS}")
        cards = json.loads(run_code(READ_CARDS, environment, quiet=True))

    title("One page with all of it")
    write_page(cards)
    write_record()
    (OUT / WRITTEN).write_text(json.dumps(sizes(OUT)), encoding="utf-8")
    print(
        f"{PAGE.resolve()}\nDone in {time.monotonic() - started:.0f} s ({processor_seconds():.0f} s of processor time)."
    )
    print(f"Browse what was pushed: {Path(sys.executable)} -m tests.hub_server --root {OUT}/hub --open_pages")


def commands_of(family: str, recipe: str, name: str, repository: str, untrained: str = "") -> list[str]:
    """A training and its evaluation, then the same for the model that it starts from."""
    train = f"medpairs train-{family} --dataset {DATASET} {recipe} --output_dir {OUT}/{name}"
    score = f"medpairs evaluate --dataset {DATASET} --split test --batch_size 32 --max_new_tokens 64"
    return [
        f"{train}-med --push_to_hub --hub_model_id {repository}",
        f"{score} --output_dir {RESULTS} --model {repository} --push_to_hub",
        f"{train}-untrained --num_train_epochs 0{untrained}",
        f"{score} --output_dir {RESULTS} --model {OUT}/{name}-untrained",
    ]


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
    facts["processor_seconds"] = round(processor_seconds())
    tables = json.loads((RESULTS / "leaderboard.json").read_text(encoding="utf-8"))
    write_json(RESULTS / "demo.json", machine | facts | {"tables": tables})


def title(text: str) -> None:
    print(f"\n{'=' * 100}\n{time.monotonic() - started:4.0f} s  {text}\n{'=' * 100}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
