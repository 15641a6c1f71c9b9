"""Runs the head benchmark on a small vocabulary: all paths agree, and ours uses the least memory."""

from __future__ import annotations

import json

import pytest
import torch

from tests.benchmarks.decoder import head_and_loss


@pytest.mark.slow
def test_paths_agree_and_ours_is_the_smallest(tmp_path, capsys):
    """With 20,000 words, all logits of a batch are about 80 MiB, far more than the noise of a process's peak."""
    output = tmp_path / "decoder_head.json"
    assert head_and_loss.main(["--words", "20000", "--width", "32", "--repeats", "1", "--output", str(output)]) == 0
    result = json.loads(output.read_text(encoding="utf-8"))
    assert result["words"] == 20_000
    rows = {(row["batch"], row["head_learns"], row["path"]): row for row in result["heads"]}
    assert len(rows) == len(head_and_loss.BATCHES) * 2 * len(head_and_loss.NAMES)
    assert all(row["difference"] < 1e-4 for row in rows.values())
    for learns in (False, True):
        stock, ours = (rows["short answers", learns, name] for name in (head_and_loss.STOCK, head_and_loss.OURS))
        assert ours["labels"] == 52
        assert 4 * ours["peak_mib"] <= stock["peak_mib"]
    assert "short answers, 52 labels, head frozen" in capsys.readouterr().out


def test_a_path_that_differs_is_not_recorded(tmp_path, monkeypatch):
    def measure(name, *case):
        head_and_loss.save_file({"loss": torch.tensor([2.0 if name == head_and_loss.OURS else 1.0])}, case[-1])
        times = {"seconds": 1.0, "processor_seconds": 1.0, "peak_mib": 1}
        return {"path": name, "labels": 1} | times

    monkeypatch.setattr(head_and_loss, "in_new_process", measure)
    with pytest.raises(RuntimeError, match=r"ours: loss or gradients differ by 1\.0"):
        head_and_loss.main(["--output", str(tmp_path / "out.json")])
    assert not (tmp_path / "out.json").exists()
