"""Checks the benchmark of neighboring slices on drawn volumes, and that its record shows what the project promises."""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image

from tests.benchmarks.dataset.scan_neighbors import RESULT, main
from tests.hub_datasets.layouts import slake_row, write_slake

AFTER = ("pairs_across_after", "held_out_with_a_neighbor_elsewhere_after")


def volume(seed: int, slices: int) -> list[bytes]:
    """Returns the slices of a drawn volume as JPEG files; each is like the next one."""
    rng = np.random.default_rng(seed)
    first, last = (
        np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).resize((96, 96)), float) for _ in range(2)
    )
    files = []
    for number in range(slices):
        buffer = io.BytesIO()
        share = 0.12 * number
        Image.fromarray(((1 - share) * first + share * last).astype(np.uint8)).convert("RGB").save(buffer, "JPEG")
        files.append(buffer.getvalue())
    return files


def test_a_small_run(tmp_path, capsys):
    slices = [data for seed in range(12) for data in volume(seed, 4)]
    rows = [slake_row(n, n, "Question?", "Yes", modality="CT") for n in range(len(slices))]
    folder = write_slake(tmp_path / "slake", train=rows)
    for number, data in enumerate(slices):
        (folder / f"imgs/xmlab{number}/source.jpg").write_bytes(data)
    output = tmp_path / "result.json"
    assert main(["--slake_dir", str(folder), "--output", str(output)]) == 0
    result = json.loads(output.read_text(encoding="utf-8"))
    assert (result["images"], result["groups_after"], result["largest_group_after"]) == (48, 12, 4)
    assert result["pairs_alike"] >= 30 and result["groups_before"] > 12
    assert sum(row["pairs_across_before"] for row in result["splits"]) > 50
    assert not any(row[name] for row in result["splits"] for name in AFTER)
    assert "pairs_across_after: 0" in capsys.readouterr().out


def test_the_recorded_result_meets_what_the_project_promises():
    """On the real images: without the join of scans most splits have such pairs, with it none has."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    assert result["images"] > 450 and result["pairs_alike"] > 100 and result["correlation"] == 0.97
    assert len(result["splits"]) == 20
    assert all(row["pairs_across_before"] > 0 for row in result["splits"])
    assert not any(row[name] for row in result["splits"] for name in AFTER)
    assert result["largest_group_after"] < result["images"] / 8
