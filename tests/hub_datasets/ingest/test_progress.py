"""Checks the lines that a build without a terminal writes about its progress."""

from __future__ import annotations

import io

import pytest

from hub_datasets.ingest.progress import Progress, duration, per_second


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(seconds_each: float, items: int, total: int | None, stream: io.StringIO | None = None) -> list[str]:
    """What is written while items are counted that take some seconds each."""
    stream, now = stream or io.StringIO(), [0.0]
    with Progress("slake: images", total, stream, lambda: now[0]) as progress:
        for _ in range(items):
            now[0] += seconds_each
            progress.update()
    return stream.getvalue().splitlines()


def test_a_line_every_half_minute_and_one_at_the_end():
    assert lines_of(0.125, 1_000, 1_000) == [
        "slake: images 240 of 1,000 (24%), 8.0/s, 1 min 35 s left",
        "slake: images 480 of 1,000 (48%), 8.0/s, 1 min 05 s left",
        "slake: images 720 of 1,000 (72%), 8.0/s, 35 s left",
        "slake: images 960 of 1,000 (96%), 8.0/s, 5 s left",
        "slake: images 1,000 done in 2 min 05 s, 8.0/s",
    ]


def test_without_a_total_there_is_no_time_left():
    assert lines_of(2, 16, None) == ["slake: images 15, 30/min", "slake: images 16 done in 32 s, 30/min"]


def test_a_short_stage_writes_nothing():
    assert lines_of(0.001, 1_000, 1_000) == [] and lines_of(0, 0, 0) == []


def test_a_stage_that_fails_does_not_say_that_it_is_done():
    stream, now = io.StringIO(), [0.0]
    with pytest.raises(KeyboardInterrupt), Progress("rows", 10, stream, lambda: now[0]):
        now[0] = 60
        raise KeyboardInterrupt
    assert stream.getvalue() == ""


def test_a_terminal_has_a_bar():
    shown = "".join(lines_of(10, 10, 10, Terminal()))
    assert "slake: images: 100%" in shown and "left" not in shown


@pytest.mark.parametrize(
    ("rate", "shown"), [(0, "0/min"), (0.5, "30/min"), (1, "1.0/s"), (9.94, "9.9/s"), (12_345.6, "12,346/s")]
)
def test_a_rate(rate, shown):
    assert per_second(rate) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (7500, "2 h 05 min")],
)
def test_a_duration(seconds, shown):
    assert duration(seconds) == shown
