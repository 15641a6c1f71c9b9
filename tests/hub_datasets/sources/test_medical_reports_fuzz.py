"""Checks that each of hundreds of damaged files is read, rejected by row, or refused by name, without other changes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import Ignored, RawRecord, Rejection
from hub_datasets.sources.medical_reports import read
from hub_datasets.sources.reports.language_words import NAMES
from tests.hub_datasets.layouts import csv_text, png, report_row, write_files
from tests.hub_datasets.sources.reports.test_openi import report

ROWS = [report_row(n, study_id=f"S{n // 2}") for n in range(5)]
ROWS += [report_row(n, text=f"双肺清晰，未见异常；“第 {n} 例”。", language="zh") for n in range(5, 10)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
ANNOTATIONS = {"annotations": [{"image_id": f"{n}", "caption": row["text"]} for n, row in enumerate(ROWS)]}
SEEDS = {
    "r.jsonl": LINES.encode(),
    "gbk/r.jsonl": LINES.encode("gbk"),
    "r.csv": csv_text(ROWS[:5] + [row | {"study_id": ""} for row in ROWS[5:]]).encode("utf-8-sig"),
    "gbk/r.csv": csv_text([row | {"study_id": ""} for row in ROWS]).encode("gbk"),
    "r.tsv": csv_text([row | {"study_id": ""} for row in ROWS]).replace(",", "\t").encode("utf-16"),
    "r.json": json.dumps(ROWS, ensure_ascii=False).encode("gb18030"),
    "openi.json": json.dumps(ANNOTATIONS).encode(),
    "1.xml": report(1).encode(),
}
PIECES = [b"\0", b"\n", b"\r", b'"', b",", b";", b"\t", b"\xff\xfe", b"\xef\xbb\xbf", b"[", b"{", b"<!DOCTYPE a [",
          b"&a;", b"\xed\xa0\x80", b"\\ud800", b"../", b"|", b"1e999", "肺".encode(), "肺".encode("gbk")]  # fmt: skip


def mutated(data: bytes, rng: np.random.Generator, pieces: list[bytes] = PIECES) -> bytes:
    """One to four bytes changed, or a piece put in, taken out, doubled or cut off."""
    for _ in range(int(rng.integers(1, 5))):
        place, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 40))
        kind = int(rng.integers(6))
        if kind == 0:
            data = data[:place] + bytes(rng.integers(0, 256, 1, dtype=np.uint8)) + data[place + 1 :]
        elif kind == 1:
            data = data[:place] + pieces[int(rng.integers(len(pieces)))] + data[place:]
        elif kind == 2:
            data = data[:place] + data[place + length :]
        elif kind == 3:
            data = data[: place + length] + data[place:]
        elif kind == 4:
            data = data[:place] + data[place + 1 :]
        elif rng.random() < 0.2:
            data = data[:place]
    return data


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files(tmp_path, name):
    rng = np.random.default_rng([7, *name.encode()])
    write_files(tmp_path, {f"images/{n}.png": png(n) for n in range(3)} | {"CXR1_IM-0001-1001.png": b"", "4.png": b""})
    refused = read_whole = noticed = 0
    for _ in range(100):
        write_files(tmp_path, {name: mutated(SEEDS[name], rng)})
        try:
            found = list(read(Folder(tmp_path)))
        except BuildError as error:
            refused += 1
            assert str(error).startswith(f"{tmp_path}") and len(str(error).splitlines()) == 1, error
            continue
        read_whole += 1
        records = [entry for entry in found if isinstance(entry, RawRecord)]
        assert all(isinstance(entry, RawRecord | Rejection | Ignored) for entry in found)
        assert len({entry.item for entry in found}) == len(found)
        for record in records:
            assert record.language in NAMES and isinstance(record.text, str) and isinstance(record.image, str)
            assert "\ufffd" not in record.text and all(key.split(":")[1] for key in record.groups)
        noticed += any(isinstance(entry, Rejection) for entry in found)
    assert read_whole >= 10 and refused + noticed >= 50, (read_whole, refused, noticed)


@pytest.mark.parametrize("name", ["r.jsonl", "gbk/r.jsonl"])
def test_a_damaged_line_changes_no_other(tmp_path, name):
    rng = np.random.default_rng([8, *name.encode()])
    lines = SEEDS[name].split(b"\n")
    one_line = [piece for piece in PIECES if b"\n" not in piece]
    broken = 0
    for _ in range(200):
        place = int(rng.integers(1, 10))
        line = mutated(lines[place], rng, one_line).replace(b"\n", b"")
        write_files(tmp_path, {name: b"\n".join([*lines[:place], line, *lines[place + 1 :]])})
        found = list(read(Folder(tmp_path)))
        items = {f"{name} line {number}": row for number, row in enumerate(ROWS, 1) if number != place + 1}
        same = {entry.item: entry for entry in found if entry.item in items}
        assert {item: (entry.text, entry.language) for item, entry in same.items()} == {
            item: (row["text"], row["language"]) for item, row in items.items()
        }
        broken += any(getattr(entry, "code", "") == "text_encoding" for entry in found)
    assert broken >= 20
