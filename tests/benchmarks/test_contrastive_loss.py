"""Checks the loss benchmark: it runs, its baselines compute the published losses, and its record meets the targets."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch

from modeling.siglip_medical.contrastive_loss import contrastive_loss
from tests.benchmarks.encoder import contrastive_loss as benchmark
from tests.benchmarks.encoder.contrastive_loss import BLOCKS, FULL, OURS, REPEATED, RESULT, SIGLIP


@pytest.mark.slow
def test_a_small_run(run, tmp_path):
    output = tmp_path / "result.json"
    command = ["python", "tests/benchmarks/encoder/contrastive_loss.py", "--pairs", "64", "1100", "--repeats", "1"]
    printed = run(*command, "--output", output).stdout
    result = json.loads(output.read_text(encoding="utf-8"))
    rows = {(row["pairs"], row["loss"]): row for row in result["losses"]}
    for pairs in (64, 1100):
        assert rows[pairs, OURS]["difference"] < 1e-5
        assert rows[pairs, OURS]["value"] == pytest.approx(rows[pairs, SIGLIP]["value"], rel=1e-5)
        assert rows[pairs, OURS]["seconds_to_ours"] == 1
        assert all(row["seconds"] > 0 for row in rows.values())
    assert rows[1100, SIGLIP]["peak_mib"] >= 10  # four matrices of 1,100 x 1,100
    assert "1,100 pairs" in printed
    here = benchmark.installed_loss() is not None
    assert ((64, FULL) in rows) == here and ("pip install --no-deps open_clip_torch" in printed) == (not here)


def test_a_loss_with_other_gradients_stops_it(monkeypatch):
    wrong = partial(contrastive_loss, positives="mask", group_ids=torch.zeros(8, dtype=torch.long))
    ours = contrastive_loss
    monkeypatch.setattr(benchmark, "loss_named", lambda name, _: ours if name == OURS else contrastive_loss)
    monkeypatch.setattr(benchmark, "in_new_process", benchmark.measure)
    assert [row["difference"] for row in benchmark.compare([SIGLIP, OURS], 8, 2, None)] == [0, 0]
    ours = wrong
    with pytest.raises(RuntimeError, match="ours with 8 pairs"):
        benchmark.compare([SIGLIP, OURS], 8, 1, None)


def test_of_several_runs_the_least_time_and_the_largest_peak_count():
    runs = [
        {"loss": "ours", "seconds": 2.0, "processor_seconds": 3.0, "peak_mib": 5},
        {"loss": "ours", "seconds": 1.0, "processor_seconds": 4.0, "peak_mib": 6},
    ]
    best = {"loss": "ours", "seconds": 1.0, "processor_seconds": 3.0, "peak_mib": 6}
    assert benchmark.fastest(runs) == best


@pytest.mark.parametrize("its_own", [False, True])
@pytest.mark.skipif(benchmark.installed_loss() is None, reason="needs open_clip_torch (pip install --no-deps)")
def test_open_clip_in_blocks_is_open_clip(monkeypatch, its_own):
    module = benchmark.load(benchmark.installed_loss())
    if its_own and "chunk_size" not in module.SigLipLoss.__init__.__code__.co_varnames:
        pytest.skip("this open_clip has no chunk_size")
    monkeypatch.setattr(benchmark, "BLOCK", 5)
    tensors = benchmark.inputs(12)
    values = [benchmark.open_clip_loss(module, in_blocks=blocks)(*tensors) for blocks in (False, True)]
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(values[0], contrastive_loss(*tensors))


def test_the_record_says_little_memory_and_equal_gradients():
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["losses"]
    largest = {row["loss"]: row for row in rows if row["pairs"] == 16_384}
    assert set(largest) == {SIGLIP, FULL, BLOCKS, OURS, REPEATED}
    assert largest[OURS]["peak_mib"] <= 300 and largest[REPEATED]["peak_mib"] <= 300
    assert largest[OURS]["seconds"] <= largest[FULL]["seconds"]  # of a record: it says what README and notes may say
    assert all(row["difference"] < 1e-4 for row in rows if row["loss"] != REPEATED)
