"""The whole road, once, on a laptop: synthetic sources, dataset, Hub, encoder, decoder, evaluation, cards, one page.

    make demo

Each step is a command or a few lines that you could type yourself; they are printed before they run. The Hub is a
server on this machine: no account, no network, no GPU. The encoder and the decoder are trained and evaluated at the
same time where there are two processor cores. Everything is written to `outputs/demo`. A new run deletes the files of
the one before; a folder that holds anything else is renamed, and nothing in it is lost. Ctrl-C or SIGTERM ends the demo
with every process that it started.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from model_cards.commands.console import CommandError, Parser, command

OUT = Path("outputs/demo")
WRITTEN = ".demo_files.json"  # names and sizes of the files of a run that came to its end
RAW, DATA, RESULTS, PAGE = OUT / "raw", OUT / "data", OUT / "results", OUT / "index.html"
DATASET, ENCODER, DECODER = "demo/med-pairs", "demo/siglip-med", "demo/llama-med"
TOKEN = "hf_demo"  # noqa: S105 (of the Hub that this script starts)
ENCODER_RECIPE = "--config demo"
DECODER_RECIPE = "--config demo"
SECONDS_TO_END = 10  # that a process is given before it is killed
started = time.monotonic()


@command
def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status, see `model_cards/commands/console.py`."""
    parser = Parser(prog="medpairs demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(argv)
    signal.signal(signal.SIGTERM, interrupt)  # `kill` and schedulers; Ctrl-C does so by itself
    try:
        walk()
    except KeyboardInterrupt as error:
        error.add_note(f"everything that the demo started has ended; what it wrote is in {OUT}")
        raise
    finally:
        children.end()
    return 0


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def walk() -> None:
    """The steps."""
    clear(OUT)
    OUT.mkdir(parents=True, exist_ok=True)

    title("Sources: four folders in the layouts of the real ones, drawn by the project")
    run(f"medpairs sample --output_dir {RAW}")

    with hub() as environment:
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


class Children:
    """The processes that run, each with a process group of its own, so that what they start ends with them."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen] = []
        self.lock, self.ended = threading.Lock(), False

    def start(self, words: list[str], environment: dict[str, str] | None, **more: Any) -> subprocess.Popen:
        with self.lock:
            if self.ended:
                raise CommandError("the demo has ended")
            process = subprocess.Popen(
                words, env=child_environment(environment), text=True, start_new_session=True, **more
            )
            self.running.append(process)
        return process

    def end(self) -> None:
        """Ends all of them, by force where they take too long. None is started any more."""
        with self.lock:
            self.ended = True
        for process in self.running:
            self.tell(process, signal.SIGTERM)
        deadline = time.monotonic() + SECONDS_TO_END
        for process in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            self.tell(process, getattr(signal, "SIGKILL", signal.SIGTERM))  # whatever is left of its group
            process.wait()

    @staticmethod
    def tell(process: subprocess.Popen, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left in the group
            if hasattr(os, "killpg"):
                os.killpg(process.pid, number)
            elif process.poll() is None:
                process.terminate()


children = Children()


@contextlib.contextmanager
def hub() -> Iterator[dict[str, str]]:
    """Starts the Hub of the tests on this machine; gives the environment in which all libraries use it."""
    words = [sys.executable, "-m", "tests.hub_server", "--root", str(OUT / "hub"), "--token", TOKEN]
    server = children.start(words, None, stdout=subprocess.PIPE)
    line = server.stdout.readline().strip()
    if not line.startswith("Hub on "):
        raise CommandError("the Hub did not start")
    print(f"\n{line}")
    yield {
        "HF_ENDPOINT": line.removeprefix("Hub on "),
        "HF_TOKEN": TOKEN,
        "HF_HOME": str((OUT / "hf_home").resolve()),
        "HF_HUB_DISABLE_XET": "1",  # the server stores files by LFS
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    server.terminate()
    server.wait(timeout=30)


def run(line: str, environment: dict[str, str] | None = None) -> None:
    """Prints a command and runs it; a failure ends the demo."""
    print(f"\n$ {line}", flush=True)
    begin = time.monotonic()
    check(children.start(words_of(line), environment).wait(), line)
    print(f"({time.monotonic() - begin:.0f} s)", flush=True)


def run_beside(lanes: dict[str, list[str]], environment: dict[str, str]) -> None:
    """Runs the commands of each lane one after the other, and the lanes beside each other, a thread for each.

    On a single core the lanes run in their order. What they print is printed line by line, behind the lane's name.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment = environment | {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    if cores < 2 * len(lanes):
        environment["OMP_NUM_THREADS"] = "1"

    def run_lane(name: str) -> None:
        for line in lanes[name]:
            print(f"{name:8}| $ {line}", flush=True)
            begin = time.monotonic()
            both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            process = children.start(words_of(line), environment, **both, errors="replace")
            for printed in process.stdout:
                print(f"{name:8}| {printed}", end="", flush=True)
            check(process.wait(), line)
            print(f"{name:8}| ({time.monotonic() - begin:.0f} s)", flush=True)

    with ThreadPoolExecutor(min(cores, len(lanes))) as pool:
        try:
            running = [pool.submit(run_lane, name) for name in lanes]
            for lane in wait(running, return_when=FIRST_EXCEPTION).done:
                lane.result()
        except BaseException:
            children.end()  # else the other lane would be waited for
            raise


def words_of(line: str) -> list[str]:
    """The words of a printed command; `medpairs` is that of this clone, installed or not."""
    program, *words = shlex.split(line)
    if program != "medpairs":
        raise ValueError(line)
    return [sys.executable, "medpairs.py", *words]


def check(status: int, line: str) -> None:
    if status:
        raise CommandError(f"the demo stops here: exit status {status} of `{line.split(' --')[0]}`")


def run_code(code: str, environment: dict[str, str], quiet: bool = False) -> str:
    """Runs a few lines in a fresh process with an empty cache; returns what they print."""
    code = code.strip()
    if not quiet:
        print("\n" + textwrap.indent(code, ">>> "), flush=True)
    home = {"HF_HOME": str((OUT / "hf_home_fresh").resolve())}
    shutil.rmtree(home["HF_HOME"], ignore_errors=True)
    process = children.start([sys.executable, "-c", code], environment | home, stdout=subprocess.PIPE)
    printed, _ = process.communicate()
    check(process.returncode, "python -c")
    if not quiet:
        print(printed, end="", flush=True)
    return printed


def child_environment(extra: dict[str, str] | None) -> dict[str, str]:
    """This process's environment, without the account and caches of whoever runs the demo."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return kept | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "0"} | (extra or {})


def processor_seconds() -> float:
    """The processor time of this process and of all that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


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
