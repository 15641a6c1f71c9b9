"""Runs of a command that are killed, and what a run leaves behind that two runs must have in common.

A run is `main` of the command in a process of its own, see `tests/forked.py`.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.forked import TRAIN_DECODER, TRAIN_ENCODER, Forked
from trainers.base.checkpoint_files import checkpoints, damage

# What Python reports of itself as it changes files. Weights are written by other means: a delay falls into those.
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
TIMINGS = ("_runtime", "_per_second", "model_preparation_time", "peak_memory")  # not the same in any two runs
ENCODER, DECODER = TRAIN_ENCODER, TRAIN_DECODER


def kill_at(number: int, delay: float, folder: Path, counted: Path | None = None) -> None:
    """Ends this process by SIGKILL `delay` seconds after its file event `number` below a folder.

    With `counted` it is not ended: the file gets one byte for each event.
    """
    seen, prefix = 0, str(folder)

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event not in EVENTS:
            return
        relative = event in ("os.remove", "os.rmdir") and not str(arguments[0]).startswith("/")  # of rmtree
        if not relative and not str(arguments[0]).startswith(prefix):
            return
        if counted is not None:
            descriptor = os.open(counted, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, b".")
            os.close(descriptor)
        elif seen == number:
            if delay:
                threading.Thread(target=killed_after, args=(delay,), daemon=True).start()
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    sys.addaudithook(hook)


def killed_after(delay: float) -> None:
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)


def last_given(*words: str | Path) -> list[str | Path]:
    """Command-line words without the flags, and their values, that are given again further back."""
    flags = [place for place, word in enumerate(words) if str(word).startswith("--")]
    groups = [words[begin:end] for begin, end in zip(flags, [*flags[1:], len(words)], strict=True)]
    return [word for group in {group[0]: group for group in groups}.values() for word in group]


def run_command(
    words: Sequence[str | Path], log: Path, prepare: Callable[[], None] | None = None, command: str = ENCODER
) -> int:
    """A command with these words. Returns the exit status, minus the signal's number where one ended it.

    Args:
        log: gets what it prints, after what it holds.
    """
    process = Forked(command, words, log, log, prepare=prepare)
    try:
        return process.wait(240)
    except subprocess.TimeoutExpired:
        process.kill_all()
        raise AssertionError(f"no end after 240 s\n{log.read_text()[-4000:]}") from None


class Runs:
    """One kind of run: undisturbed once, and then disturbed."""

    def __init__(self, folder: Path, words: list[str], command: str = ENCODER) -> None:
        self.folder, self.words, self.command = folder, words, command
        self.log, counted = folder / "log", folder / "events"
        prepare = functools.partial(kill_at, 0, 0.0, folder / "straight", counted)
        assert self.run(self.to("straight"), prepare) == 0, self.log.read_text()[-3000:]
        self.events = len(counted.read_bytes())
        self.expected = outcome(folder / "straight")

    def run(self, words: list[str], prepare: Callable[[], None] | None = None) -> int:
        return run_command(words, self.log, prepare, self.command)

    def to(self, name: str, *more: str) -> list[str]:
        """The words of a run to a folder of its own; a flag of `more` takes the place of one of the runs."""
        words = list(self.words)
        for flag in filter(self.words.__contains__, more[::2]):
            place = words.index(flag)
            del words[place : place + 2]
        return [*words, "--output_dir", str(self.folder / name), *more]

    def disturbed(self, name: str, kills: int, seed: int) -> int:
        """Kills a run at random moments and lets it end. Returns how often it was killed."""
        chance, killed = random.Random(seed), 0
        words = self.to(name, "--resume_from_checkpoint", "auto")
        # Moments of the undisturbed run, in their order: a resumed run comes at least as far as to the next one.
        moments = [0, *sorted(chance.sample(range(1, self.events * 3 // 4), kills))]
        for before, after in itertools.pairwise(moments):
            # of two kills one falls on a file operation, the other somewhere after one
            delay = chance.choice([0.0, chance.uniform(0, 0.2)])
            status = self.run(words, functools.partial(kill_at, after - before, delay, self.folder / name))
            for checkpoint in checkpoints(self.folder / name):
                assert damage(checkpoint) is None
            assert status in (0, -signal.SIGKILL), self.log.read_text()[-3000:]
            killed += status != 0
        assert self.run(words) == 0, self.log.read_text()[-3000:]
        return killed


def assert_same(found: dict, expected: dict) -> None:
    for name, value in expected.items():
        assert found[name] == value, name


def without_timings(entry: dict) -> dict:
    return {name: value for name, value in entry.items() if not any(word in name for word in TIMINGS)}


def outcome(folder: Path) -> dict:
    """All that a run has to show: summary, log, results, answers, the bytes of the weights, its last checkpoint."""
    import torch
    from safetensors.torch import load_file

    summary = json.loads((folder / "training_summary.json").read_text())
    summary["history"] = [without_timings(entry) for entry in summary["history"]]
    result = json.loads(next((folder / "results").iterdir()).read_text())
    last = checkpoints(folder)[-1]
    state = json.loads((last / "trainer_state.json").read_text())
    state["log_history"] = [without_timings(entry) for entry in state["log_history"]]
    state["best_model_checkpoint"] = Path(state["best_model_checkpoint"]).name
    optimizer = torch.load(last / "optimizer.pt", weights_only=True)["state"]
    return {
        "summary": summary,
        "metrics": result["metrics"],
        "checkpoints": [path.name for path in checkpoints(folder)],
        "state": state,
        "weights": bits(load_file(folder / "model.safetensors")),
        "last weights": {path.name: bits(load_file(path)) for path in sorted(last.glob("*.safetensors"))},
        "answers": {path.name: path.read_text() for path in sorted(folder.rglob("*.jsonl"))},
        "optimizer": {key: bits(values) for key, values in optimizer.items()},
        "random": (last / "rng_state.pth").read_bytes(),
        "schedule": torch.load(last / "scheduler.pt", weights_only=True),
    }


def bits(tensors: dict) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
