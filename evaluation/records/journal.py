"""Keeps answers on the disk as they are made, so that a killed evaluation continues where it was.

A journal is a file of JSON lines. The first line is its header: model, data and settings, on which every answer
depends. Each other line has the answers of one batch, a key per row, and a checksum; it is written and flushed to the
disk before the next batch is asked. Batches are kept or asked again as a whole, so that a continued run asks the very
batches that a run without interruption asks.

The name of a journal is a hash of its header: another model, other rows or other settings begin another file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.loading import InputError
from evaluation.records.chain import canonical, sha256
from model_cards.checks.strict_json import parse_json

FOLDER = "unfinished"  # in the folder of the results
VERSION = 1
CHECK_DIGITS = 16


class Journal:
    """The answers of one run that were already made. A context manager: it holds a lock while it is open.

    Args:
        folder: the folder of the results.
        header: all that the answers depend on, as JSON.
        process: the number of this process; each one writes a file of its own and reads those of all.

    Raises:
        InputError: another process is writing the same journal, or a file has a foreign header or a damaged line.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any], process: int = 0) -> None:
        self.header = json.loads(canonical({"journal": VERSION, **header}))
        name = sha256(canonical(self.header))[:CHECK_DIGITS]
        self.folder, self.pattern = folder / FOLDER, f"{name}.*.jsonl"
        self.path = self.folder / f"{name}.{process}.jsonl"
        self.known: dict[tuple[str, str], Any] = {}
        self.file: Any = None
        self.lock: Any = None

    def __enter__(self) -> Journal:
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.path.with_suffix(".lock"))
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"{self.path}: another process is evaluating the same model on the same rows. Wait for it, or give "
                "another --output_dir."
            ) from None
        try:
            for path in sorted(self.folder.glob(self.pattern)):
                self.read(path, own=path == self.path)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None
        self.lock.release()
        Path(self.lock.lock_file).unlink(missing_ok=True)
        remove_if_empty(self.folder)

    def read(self, path: Path, own: bool) -> None:
        """Reads a journal; of the own file, the part of a line that was being written at the end is cut off."""
        good = 0
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break  # written in part, when the run was killed
                entry = self.parsed(line, f"{path}, line {number}")
                if number == 1:
                    if entry != self.header:
                        raise InputError(f"{path}: not the journal of this evaluation. Delete it to start again.")
                else:
                    values = zip(entry["keys"], entry["values"], strict=True)
                    self.known |= {(entry["kind"], key): value for key, value in values}
                good += len(line)
        if own and good < path.stat().st_size:
            os.truncate(path, good)

    def parsed(self, line: bytes, place: str) -> dict[str, Any]:
        """Returns the entry of a complete line. Raises InputError if its checksum is another one."""
        check, _, text = line.decode("utf-8", errors="replace").rstrip("\n").partition(" ")
        if check != sha256(text)[:CHECK_DIGITS]:
            raise InputError(f"{place}: damaged. Delete the file to start the evaluation again.")
        return parse_json(text)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Writes a line and waits until it is on the disk."""
        if self.file is None:
            is_new = not self.path.exists() or not self.path.stat().st_size
            self.file = self.path.open("ab")
            if is_new:
                self.append(self.header)
        text = canonical(entry)
        self.file.write(f"{sha256(text)[:CHECK_DIGITS]} {text}\n".encode())
        self.file.flush()
        os.fsync(self.file.fileno())

    def values(self, kind: str, keys: Sequence[str], make: Callable[[], Sequence[Any]]) -> list[Any]:
        """Returns the values of a batch: those that are known, or else those that `make` returns, which are kept.

        Args:
            kind: what the values are, for example `answers`.
            keys: [B] what identifies each row.
            make: makes all [B] values, each a text or other JSON.

        Raises:
            ValueError: `make` returns another number of values.
        """
        places = [(kind, key) for key in keys]
        if any(place not in self.known for place in places):
            values = list(make())
            if len(values) != len(keys):
                raise ValueError(f"{len(values)} answers for {len(keys)} rows")
            self.append({"kind": kind, "keys": list(keys), "values": values})
            self.known |= dict(zip(places, values, strict=True))
        return [self.known[place] for place in places]

    def remove(self) -> None:
        """Deletes the journals of all processes, once the record of the evaluation is written."""
        if self.file is not None:
            self.file.close()
            self.file = None
        for path in self.folder.glob(self.pattern):
            path.unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    """Removes a folder that has no files."""
    try:
        folder.rmdir()
    except OSError:  # not empty, or another process was faster
        return
