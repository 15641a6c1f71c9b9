"""What every command of the project does the same on the command line."""

from __future__ import annotations

import argparse
import re
from typing import Any

SECRET = "_token"  # noqa: S105 (how the names of flags end whose value is not shown)
SHOWN = 100  # characters of a value that a message repeats
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # pathlib makes one slash of two
# Of an address: user name and password, and what comes after the path, which may hold a signature.
NOT_SHOWN = re.compile(r"(?<=:/)(/?)[^/@]*@|[?#].*", re.DOTALL)


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
