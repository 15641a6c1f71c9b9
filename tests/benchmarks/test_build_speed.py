"""Checks the build benchmark: all its sources are accepted, and its baselines read the same files."""

import json
import sys

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.benchmarks.dataset import build_peers, build_speed
from tests.benchmarks.dataset.build_sources import SHARES, draw, lay_out_imagefolder

BYTES_PER_PIXEL = {"knee": (0.3, 0.7), "lesion": (0.7, 1.8), "slice": (0.1, 0.35), "chest": (0.4, 0.9)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    images = draw(root / "mix", dict.fromkeys(SHARES, 3))
    lay_out_imagefolder(root / "mix", root / "imagefolder", images)
    return root, images


def test_drawn_images_are_as_dense_as_real_ones(drawn):
    root, images = drawn
    for kind, (least, most) in BYTES_PER_PIXEL.items():
        size = pixels = 0
        for one in images:
            if one.kind == kind:
                path = root / "mix" / one.path
                with Image.open(path) as image:
                    pixels += image.width * image.height
                size += path.stat().st_size
        assert least < size / pixels < most, kind


def test_the_peers_read_every_image_and_imagefolder_writes_them_into_its_parquet(drawn, tmp_path):
    root, images = drawn
    assert build_peers.decode(root / "mix", 1) == len(images)
    assert build_peers.imagefolder(root / "imagefolder", 1, tmp_path / "out.parquet") == len(images)
    written = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert {row["image"]["bytes"] for row in written} == {(root / "mix" / one.path).read_bytes() for one in images}
    assert all(row["usable"] for row in written)


def test_a_run_tells_the_memory_of_the_command_and_of_its_workers():
    code = """
import subprocess, sys, time
held = bytearray(b"x") * 80_000_000
subprocess.run([sys.executable, "-c", "import time; held = bytearray(b'x') * 40_000_000; time.sleep(1)"])
"""
    run = build_speed.run([sys.executable, "-c", code])
    assert 76 < run.parent_mb < 120
    assert 38 < run.worker_mb < 76
    assert run.processor_seconds > 0
    assert run.seconds > 1


def test_a_command_that_fails_says_why():
    with pytest.raises(RuntimeError, match="no such folder"):
        build_speed.run([sys.executable, "-c", "raise SystemExit('no such folder')"])


@pytest.mark.slow
def test_all_parts_are_measured_and_written(tmp_path, capsys):
    result = tmp_path / "result.json"
    sizes = ["--images", "20", "--repeats", "1", "--memory_images", "20", "40", "--slices", "3"]
    assert build_speed.main([*sizes, "--work_dir", str(tmp_path), "--result", str(result)]) == 0
    found = json.loads(result.read_text())
    assert {*build_speed.PARTS, "date", "machine", "versions"} < set(found)
    speed, rebuild, rows = found["speed"], found["rebuild"], found["rows"]
    decode, build = (speed["runs"][name]["1"][0]["seconds"] for name in ("decode", "build"))
    assert speed["build_to_decode"]["1"] == pytest.approx(decode / build)
    assert 0 < speed["disk_beside_output"] < 2  # of 20 images the output is small
    assert rebuild["sources"] == 4
    assert rebuild["sources_read_again"] == 1
    assert rows["rows"] == 66
    assert min(rows["profiled_seconds"].values()) > 0  # every phase is called as it is named
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    said = capsys.readouterr().out
    assert "nothing changed" in said
    assert "66 questions on 3 images" in said and "a further row takes" in said
