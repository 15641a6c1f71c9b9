"""Checks that the GPU record equals the estimate, and that the table in the README equals the record."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.decoder.gpu_table import BATCHES, GPUS, KINDS, LEARNED, RESULT, ROOM, TOKENS, estimate, in_gib
from tests.readme import decoder_memory_table

RECORD = json.loads(RESULT.read_text(encoding="utf-8"))
ROWS = {row["training"]: row for row in RECORD["trainings"]}


def test_every_training_and_gpu_is_in_it():
    assert list(ROWS) == list(KINDS) and list(RECORD["gpus"]) == list(GPUS)
    assert (RECORD["tokens"], RECORD["learned_tokens"], RECORD["room"]) == (TOKENS, LEARNED, ROOM)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["QLoRA, 4 bits", "LoRA", "full"])
def test_the_record_is_what_is_estimated(kind):
    processes = 8 if kind == "full" else 1
    found = estimate(KINDS[kind], 1, processes)
    assert ROWS[kind]["peak_gib"][str(processes)] == pytest.approx(in_gib(found.peak), abs=0.11)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "gpu"), [("QLoRA, 4 bits", "16 GB"), ("full", "8 x 80 GB")])
def test_the_largest_batch_fits_and_the_next_one_does_not(kind, gpu):
    size, processes = GPUS[gpu]
    batch = ROWS[kind]["largest_batch"][gpu]
    larger = BATCHES[BATCHES.index(batch) + 1]
    peaks = [estimate(KINDS[kind], rows, processes).peak for rows in (batch, larger)]
    assert peaks[0] <= ROOM * size * 1e9 < peaks[1]


def test_more_memory_never_fits_less():
    for row in RECORD["trainings"]:
        batches = [row["largest_batch"][gpu] for gpu, (_, count) in GPUS.items() if count == 1]
        assert batches == sorted(batches)
    assert ROWS["QLoRA, 4 bits"]["largest_batch"]["16 GB"] >= 1 and ROWS["full"]["largest_batch"]["80 GB"] == 0


def test_the_published_number_is_near():
    """That system uses less memory, because it offloads activation checkpoints to the host."""
    published = RECORD["published"]
    assert published["our_loaded_gib"] == pytest.approx(published["loaded_gib"], rel=0.2)
    assert published["our_peak_gib"] == pytest.approx(published["peak_gib"], rel=0.2)


def test_the_readme_has_a_row_for_each_training():
    lines = decoder_memory_table().splitlines()
    assert len(lines) == 2 + len(KINDS) and all(line.count("|") == 3 + len(GPUS) for line in lines)
    for name, line in zip(KINDS, lines[2:], strict=True):
        shown = {"head": "lm_head"}.get(name, name)
        assert line.startswith(f"| {shown} | {ROWS[name]['peak_gib']['1']:.1f} GiB |")
