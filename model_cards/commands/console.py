"""Behavior that all commands share: how flags are read, how errors are shown, and with which status it exits.

A command's `main` is decorated with `command`. Exit status 0: done. 1: something around the command failed, for example
a disk, the network or the Hub, and the same command may succeed later. 2: a flag or an input is wrong. 130: it was
interrupted.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Threads of OpenMP wait for work by spinning unless they are told to sleep, and the spinning takes the processor from
# whatever else runs: 14 updates of the encoder beside six busy processes took 112 s with two threads, and 28 s with
# this. OpenMP reads it when torch is imported, which no command does before it has imported this module.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

FAILED, WRONG, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141  # exit statuses; the last two are 128 + the signal's number
TRACEBACK = "MEDPAIRS_TRACEBACK"  # set in the environment, an error of the environment ends in its traceback

SECRET = "_token"  # noqa: S105 (how the names of flags end whose value is not shown)
SHOWN = 100  # characters of a value that a message repeats
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # pathlib makes one slash of two
# Of an address: user name and password, and what comes after the path, which may hold a signature.
NOT_SHOWN = re.compile(r"(?<=:/)(/?)[^/]*@|[?#].*", re.DOTALL)


class CommandError(Exception):
    """A flag or an input that a command cannot use: one line that names it and says what to do about it."""


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Decorates the `main` of a command: it returns an exit status and prints one line instead of a traceback.

    Notes of the exception (`add_note`) are added to that line, for example how an interrupted training is resumed. Any
    other exception is an error of this project: it keeps its traceback.
    """

    @functools.wraps(main)
    def guarded(argv: list[str] | None = None) -> int:
        try:
            try:
                return main(argv)
            finally:
                sys.stdout.flush()  # now, and not after the last line of Python: a reader may have gone
        except BrokenPipeError as error:
            if is_output_closed():  # as by `| head`
                return BROKEN_PIPE
            return ended(error)
        except (Exception, KeyboardInterrupt) as error:
            return ended(error)

    return guarded


def ended(error: BaseException) -> int:
    """Prints what ended a command in one line, and returns the exit status. Re-raises programming errors."""
    from model_cards.commands.environment_errors import environment_line, system_line

    if isinstance(error, KeyboardInterrupt):
        return say("interrupted", error, INTERRUPTED)
    line = environment_line(error)
    if os.environ.get(TRACEBACK) and (line or isinstance(error, OSError)):
        raise error
    status = WRONG if line is None else FAILED
    if isinstance(error, CommandError):  # its own words name the flag
        return say(f"error: {error}", error, status)
    if line is None:
        if not isinstance(error, OSError):
            raise error
        line = system_line(error)
    return say(f"error: {line}", error, status)


def say(line: str, error: BaseException, status: int) -> int:
    """Prints what ended a command, with the notes of its error, and returns the exit status."""
    close_progress_bars()
    print("; ".join([line, *getattr(error, "__notes__", ())]), file=sys.stderr, flush=True)
    return status


def close_progress_bars() -> None:
    """Ends the line that a progress bar stands on; as Python ends it would be drawn once more."""
    if tqdm := sys.modules.get("tqdm"):
        for bar in list(getattr(tqdm.tqdm, "_instances", ())):
            bar.close()


def is_output_closed() -> bool:
    """Returns whether the reader of stdout or stderr has closed its end; if so, silences them."""
    closed = [stream for stream in (sys.stdout, sys.stderr) if has_no_reader(stream)]
    for stream in closed:
        # Python flushes once more as it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return bool(closed)


def has_no_reader(stream: Any) -> bool:
    """Whether a stream is a pipe whose other end is closed. What is left in its buffer may be lost already."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # Windows has no poll, and a test may have a stream of its own
        return False


def local_folder(text: str) -> Path:
    """A flag's value that is a folder of this machine: `s3://bucket` would become a folder called `s3:`."""
    scheme, separator, _ = text.partition("://")
    if separator:
        raise argparse.ArgumentTypeError(f"{scheme}://... is not on this machine; name a folder that is")
    return Path(text)


class Parser(argparse.ArgumentParser):
    """ArgumentParser that refuses a repeated flag, of which argparse silently keeps the last value."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for name in (None, "store"):
            self.register("action", name, StoreOnce)


class StoreOnce(argparse.Action):
    """Stores the value of a flag; the same flag again on one command line is an error that names both values."""

    _seen_by: argparse.Namespace | None = None  # each command line has a namespace of its own
    _value: Any = None

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        is_switch = self.nargs == "?" and values == self._value  # `--bf16 --bf16` is not a contradiction
        if self._seen_by is namespace and not is_switch:
            advice = "give all values after one flag" if isinstance(values, list) else "give it once"
            raise argparse.ArgumentError(self, f"given twice{self._both(values)}; {advice}")
        self._seen_by, self._value = namespace, values
        setattr(namespace, self.dest, values)

    def _both(self, values: Any) -> str:
        return "" if self.dest.endswith(SECRET) else f", as {shown(self._value)} and {shown(values)}"


def shown(value: Any) -> str:
    """A flag's value for a message: on one line, and of an address neither password nor signature."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    if ADDRESS.search(text):
        text = NOT_SHOWN.sub(r"\1", text)
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
