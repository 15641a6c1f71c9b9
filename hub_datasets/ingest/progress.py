"""Shows how far a build is: a bar on a terminal, and elsewhere, for example in a log, a line every half minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TextIO

EVERY = 30.0  # seconds between two lines
LONG = 5.0  # seconds; a shorter stage gets no line at its end


class Progress:
    """Counts the items of one stage of a build; used as a context manager.

    Without a terminal, a line is written every half minute and, for a stage of more than five seconds, at its end:
    `slake: images 12,400 of 18,000 (69%), 310/s, 18 s left`.

    Args:
        stage: what is counted, for example `slake: images`.
        total: how many items there will be; None if that is not known.
        stream: where lines are written; the standard error output by default.
        clock: returns seconds.
    """

    def __init__(
        self,
        stage: str,
        total: int | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage, self.total, self.count = stage, total, 0
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._bar: Any = None

    def __enter__(self) -> Progress:
        self._start = self._last = self._clock()
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, desc=self.stage, unit="", file=self._stream)
        return self

    def update(self, number: int = 1) -> None:
        """Counts some items that are done."""
        self.count += number
        if self._bar is not None:
            self._bar.update(number)
        elif (now := self._clock()) - self._last >= EVERY:
            self._last = now
            self._write(self.line(now - self._start))

    def line(self, seconds: float) -> str:
        """Returns the line about the items that were done in some seconds."""
        rate = self.count / seconds if seconds > 0 else 0.0
        if not self.total:
            return f"{self.stage} {self.count:,}, {per_second(rate)}"
        text = f"{self.stage} {self.count:,} of {self.total:,} ({self.count / self.total:.0%}), {per_second(rate)}"
        return f"{text}, {duration((self.total - self.count) / rate)} left" if rate else text

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None and (seconds := self._clock() - self._start) >= LONG:
            rate = per_second(self.count / seconds)
            self._write(f"{self.stage} {self.count:,} done in {duration(seconds)}, {rate}")

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def counted(items: Iterable[Any], stage: str, total: int | None = None) -> Iterator[Any]:
    """Yields the items, and shows how many were taken."""
    with Progress(stage, total) as progress:
        for item in items:
            yield item
            progress.update()


def per_second(rate: float) -> str:
    """Formats a rate as `310/s`, `2.5/s` or, below one per second, `12/min`."""
    if rate >= 9.95:
        return f"{rate:,.0f}/s"
    return f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.0f}/min"


def duration(seconds: float) -> str:
    """Formats seconds as `45 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
