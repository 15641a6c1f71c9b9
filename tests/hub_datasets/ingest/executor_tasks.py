"""Provides tasks for engines in a module that other processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import FolderError
from hub_datasets.records import Reason

ERRORS = {
    "build": BuildError("--slake_dir x: the zip file changed"),
    "system": FileNotFoundError(2, "No such file or directory", "images.bin"),
    "store": OSError("the store said no"),
    "folder": FolderError(Reason.IMAGE_MISSING, "no file"),
    "value": ValueError("a fault in this code"),
}


def square(task: dict[str, Any]) -> dict[str, Any]:
    """Some take longer than those after them."""
    time.sleep(task.get("seconds", 0))
    return {"number": task["number"], "square": task["number"] ** 2, "text": task.get("text"), "process": os.getpid()}


def fail(task: dict[str, Any]) -> dict[str, Any]:
    """One of them fails."""
    if name := task.get("error"):
        raise ERRORS[name]
    return square(task)


def die(task: dict[str, Any]) -> dict[str, Any]:
    """One of them is killed, as a machine does that has no memory left."""
    if task["number"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return square(task)


def interrupted(task: dict[str, Any]) -> dict[str, Any]:
    """Ctrl-C reaches every process of a terminal."""
    os.kill(os.getpid(), signal.SIGINT)
    return square(task)


def wait(task: dict[str, Any]) -> dict[str, Any]:
    """Leaves its process number in a folder, and waits for long."""
    Path(task["folder"], str(os.getpid())).touch()
    time.sleep(600)
    return task


def code_of(task: dict[str, Any]) -> dict[str, Any]:
    """Where the worker has its code from."""
    from hub_datasets.ingest import ingest

    return {"file": ingest.__file__}
