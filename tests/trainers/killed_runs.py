"""Runs of the encoder's command that are killed, and what a run leaves behind that two runs must have in common.

A run is a child of a server that has imported everything once: it is `main` of the command in a process of its own,
without the seconds that an import takes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# What Python reports of itself as it changes files. Weights are written by other means: a delay falls into those.
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
TIMINGS = ("_runtime", "_per_second", "model_preparation_time")


def server() -> multiprocessing.context.BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["trainers.run_encoder", "trainers.encoder_trainer", "trainers.encoder_rows", "modeling.tiny_checkpoints"]
    )
    return context


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


def child(words: Sequence[str], log: Path, prepare: Callable[[], None] | None) -> None:
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from trainers.run_encoder import main

    if prepare is not None:
        prepare()
    sys.exit(main([*words]))


def run_command(words: Sequence[str], log: Path, prepare: Callable[[], None] | None = None) -> int:
    """`run_encoder.py` with these words. Returns the exit status, minus the signal's number where one ended it."""
    process = server().Process(target=child, args=([str(word) for word in words], log, prepare))
    process.start()
    process.join(240)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"no end after 240 s\n{log.read_text()[-4000:]}")
    return process.exitcode


def without_timings(entry: dict) -> dict:
    return {name: value for name, value in entry.items() if not any(word in name for word in TIMINGS)}


def outcome(folder: Path) -> dict:
    """All that a run has to show: summary, log, results, the bytes of the weights, the state of its last checkpoint."""
    import torch
    from safetensors.torch import load_file

    from trainers.checkpoints import checkpoints

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
        "last weights": bits(load_file(last / "model.safetensors")),
        "optimizer": {key: bits(values) for key, values in optimizer.items()},
        "random": (last / "rng_state.pth").read_bytes(),
        "schedule": torch.load(last / "scheduler.pt", weights_only=True),
    }


def bits(tensors: dict) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
