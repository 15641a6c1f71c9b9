"""Hundreds of damaged inputs: each is rejected by name, or the build says no; never a traceback, never a lost row."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image

from hub_datasets import rows as rows_of
from hub_datasets.build import argument_parser, assign_splits, read_and_check
from hub_datasets.report import Tally, make_report, write_rejections
from hub_datasets.schema import BuildError
from hub_datasets.sources import SOURCES
from hub_datasets.splits import Fractions
from tests.hub_datasets.layouts import (
    csv_text,
    encoded,
    four_sources,
    pad_row,
    picture,
    read_lines,
    report_row,
    write_files,
)

OPTIONS = argument_parser().parse_args([])
NASTY = [b"", b"\0", b'"', b"\n", b"\r", b",", b"{", b"]", b"\\ud800", b"\xff", b"NaN", b"-1e999", b"9" * 5000, b"null",
         b"[" * 2000, b'{"a":', b"\xed\xa0\x80", b"../", b"/", b"\xef\xbb\xbf", b"\\u0000", b"true", b"'"]  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes flipped, cut out, doubled, or replaced by something nasty."""
    content = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(content) + 1)
        length = min(len(content) - at, rng.choice([1, 1, 1, 4, 50]))
        match rng.randrange(5):
            case 0 if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                del content[at : at + length]
            case 2:
                content[at:at] = content[at : at + length]
            case 3:
                content[at : at + length] = rng.choice(NASTY)
            case 4 if rng.random() < 0.2:
                del content[at:]
    return bytes(content)


def accounted(name: str, folder: Path) -> Tally | None:
    """Everything a build does but the Parquet files; None where it says no."""
    (source,) = (source for source in SOURCES if source.name == name)
    try:
        tally = read_and_check(source, folder, OPTIONS)
    except BuildError as error:
        assert str(folder) in str(error) and len(str(error).splitlines()) == 1
        return None
    assign_splits([tally], Fractions())
    rows = rows_of.make_rows([tally], 5, 1000)
    make_report([tally], rows, {}, rows_of.fingerprint(rows))  # accepted and rejected add up, or this raises
    out = folder.parent / "out"
    out.mkdir(exist_ok=True)
    write_rejections(out / "rejections.jsonl", [tally])
    rows_of.write_chat_instructions(out / "chat.jsonl", [tally], rows["chat"])
    assert len(read_lines(out / "rejections.jsonl")) == tally.read - len(tally.accepted)
    assert len(read_lines(out / "chat.jsonl")) == len(tally.accepted)
    return tally


@pytest.mark.parametrize(
    ("name", "file", "tries"),
    [("slake", "slake/train.json", 150), ("medical_reports", "reports/reports.jsonl", 150),
     ("medical_reports", "reports/r.json", 100), ("medical_reports", "reports/r.csv", 150),
     ("pad_ufes_20", "pad/metadata.csv", 150)],
)  # fmt: skip
def test_damaged_tables(tmp_path, name, file, tries):
    four_sources(tmp_path)
    rows = [report_row(n, text=f'Text "{n}", with\nlines 肺') for n in range(8)]
    if file.startswith("reports/r."):
        (tmp_path / "reports/reports.jsonl").unlink()
        write_files(tmp_path, {file: csv_text(rows) if file.endswith("csv") else json.dumps(rows)})
    path, rng = tmp_path / file, random.Random(file)
    original = path.read_bytes()
    outcomes = {"refused": 0, "rejected": 0, "accepted": 0}
    for _ in range(tries):
        path.write_bytes(mutated(original, rng))
        tally = accounted(name, path.parent)
        outcomes["refused" if tally is None else "rejected" if tally.rejections else "accepted"] += 1
    assert outcomes["rejected"] > 5 and outcomes["refused"] + outcomes["accepted"] > 5, outcomes


@pytest.mark.parametrize(("format", "mode"), [("PNG", "RGB"), ("PNG", "P"), ("PNG", "L"), ("JPEG", "RGB")])
def test_damaged_images(tmp_path, format, mode):
    image = picture(1, size=(40, 40)).convert(mode)
    original = encoded(image, format)
    rng, rows = random.Random(format + mode), []
    for n in range(150):
        rows.append(report_row(n))
        write_files(tmp_path, {f"reports/images/{n}.png": mutated(original, rng)})
    write_files(tmp_path, {"reports/r.jsonl": "\n".join(map(json.dumps, rows))})
    tally = accounted("medical_reports", tmp_path / "reports")
    assert tally.read == 150
    codes = {str(rejection.code) for rejection in tally.rejections}
    assert {"image_unreadable"} <= codes <= {"image_unreadable", "image_format", "image_too_large"}
    for accepted in tally.accepted:
        with Image.open(accepted.image.path) as decoded:
            assert decoded.convert("RGB").size == (accepted.image.width, accepted.image.height)


def test_a_whole_build_of_damaged_rows_can_be_loaded(build, tmp_path):
    """What is accepted in spite of the damage is written, and read again by `load_dataset`."""
    four_sources(tmp_path / "raw")
    rng = random.Random("whole")
    rows = [report_row(n % 8, text=f"Text {n} 肺", patient_id=n % 5, extra=[n, {"k": 0.1}]) for n in range(400)]
    whole = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    (tmp_path / "raw/reports/reports.jsonl").write_bytes(
        b"\n".join(line if rng.random() < 0.1 else damaged(line, rng) for line in whole)
    )
    build({"--reports_dir": tmp_path / "raw/reports"}, tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    source = report["sources"]["medical_reports"]
    assert source["read"] == source["accepted"] + sum(source["rejected"].values()) > 350
    assert source["accepted"] > 50 and len(source["rejected"]) > 3
    for config in ("pairs", "chat"):
        rows = [row for part in load_dataset(str(tmp_path / "out"), config).values() for row in part]
        assert len(rows) == source["accepted"]
        lines = read_lines(tmp_path / "out/chat_instructions.jsonl")
        assert [row["metadata"] for row in rows] == [line["metadata"] for line in lines]


def damaged(line: bytes, rng: random.Random) -> bytes:
    """A line with damage that is still UTF-8, as a file must be: text in it is replaced by what a machine may write."""
    word = rng.choice(
        [b'"\\ud800"', b"NaN", b"1e999", b"18446744073709551616", b"9" * 5000, b"[" * 500 + b"]" * 500, b'"\\u0000"',
         b"null", b'{"deep": [true]}', b'"\xe8\x82\xba"', b"", b"-9223372036854775808", b"1e-300", b'"42"']
    )  # fmt: skip
    keys = [b'"image": ', b'"text": ', b'"language": ', b'"patient_id": ', b'"extra": ']
    key = rng.choice([*keys, keys[-1], keys[-1]])
    head, _, tail = line.partition(key)
    end = tail.find(b', "') if key != keys[-1] else len(tail) - 1
    return head + key + word + tail[end:]


def test_the_mutations_are_the_same_on_every_run():
    same: Callable[[], bytes] = lambda: mutated(csv_text([pad_row(1)]).encode(), random.Random("same"))  # noqa: E731
    assert same() == same() != csv_text([pad_row(1)]).encode()
