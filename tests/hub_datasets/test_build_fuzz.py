"""Checks that each of thousands of damaged inputs is rejected by name or refused, without tracebacks and lost rows."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from datasets import Image, load_dataset
from PIL import Image as Pillow

from hub_datasets.errors import BuildError
from hub_datasets.output import report as reports
from hub_datasets.output import rows as rows_of
from hub_datasets.sources import SOURCES
from tests.cases import few
from tests.hub_datasets.checked import build_here, decided, options_for
from tests.hub_datasets.image_files import deep_png, packaged_dicom
from tests.hub_datasets.layouts import (
    csv_text,
    encoded,
    pad_row,
    picture,
    png,
    read_lines,
    report_row,
    slake_row,
    write_files,
    write_four_sources,
    write_reports,
    write_slake,
)
from tests.hub_datasets.sources.mutations import mutated
from tests.hub_datasets.sources.reports.test_openi import report as openi_report

FLAGS = {source.name: source.flag for source in SOURCES}
# How many damaged files, rows or lines there are of each kind.
TABLES = {
    ("slake", "slake/train.json"): 150, ("medical_reports", "reports/reports.jsonl"): 120,
    ("medical_reports", "reports/r.json"): 120, ("medical_reports", "reports/r.csv"): 150,
    ("pad_ufes_20", "pad/metadata.csv"): 160,
}  # fmt: skip
ZIPS = {"slake": 200, "medical_reports": 200}
IMAGES = 380  # of each of the eight kinds below
XML_FILES = 500
LINES = 800


def images() -> dict[str, bytes]:
    """A sound file of each kind, by the name of the kind."""
    image = picture(1, size=(40, 40))
    noise = np.random.default_rng(1).integers(0, 4096, (20, 20, 1)).astype(np.uint16)
    return {
        "png rgb": encoded(image),
        "png palette": encoded(image.convert("P")),
        "png gray": encoded(image.convert("L")),
        "png sealed": encoded(image.convert("RGBA")),
        "png 16 bit": deep_png(noise, 0),
        "jpeg": encoded(image, "JPEG", exif=with_orientation()),
        "jpeg progressive": encoded(image.convert("L"), "JPEG", progressive=True, comment=b"a comment"),
        "dicom": packaged_dicom("CT_small.dcm"),
    }


def with_orientation() -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    return exif


def sealed(data: bytes) -> bytes:
    """A PNG with the checksums that its damaged chunks should have, so that the damage gets past them."""
    result, place = data[:8], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        body = data[place + 4 : place + 8 + length]
        result += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return result + data[place:]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """The same number of bytes, some of them with a bit turned."""
    content = bytearray(data)
    for _ in range(rng.choice([1, 1, 3])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def accounted(name: str, folder: Path, work: Path) -> Mapping[str, int] | None:
    """Everything a build does but the shards and the card; None where it says no.

    Returns:
        `read`, `accepted` and `rejected`, which add up.
    """
    shutil.rmtree(work, ignore_errors=True)
    try:
        options = options_for({FLAGS[name]: folder}, work / "out")
        decisions, _ = decided(options, work)
    except BuildError as error:
        assert len(str(error).splitlines()) == 1 and (str(folder) in str(error) or "no row was accepted" in str(error))
        return None
    try:
        written = rows_of.write_rows(decisions, work, options.texts, "", reports.RowStatistics())
        rows_of.write_chat_instructions(work, work / "chat.jsonl")
        reports.write_rejections(work / "rejections.jsonl", decisions)
        reports.write_review(work / "review.jsonl", decisions, False)
        source = reports.source_report(decisions, name, written.left_out)  # raises where they do not add up
    finally:
        decisions.close()
    rejected = [line["code"] for line in read_lines(work / "rejections.jsonl")]
    assert Counter(rejected) == source["rejected"]
    chats = [chat for chat in read_lines(work / "chat.jsonl") if chat["context"] == "none"]  # a second form adds none
    assert sum(len(chat.get("images", "1")) for chat in chats) == source["accepted"] == source["read"] - len(rejected)
    return {"read": source["read"], "accepted": source["accepted"], "rejected": len(rejected)}


def test_there_are_five_thousand():
    total = sum(TABLES.values()) + sum(ZIPS.values()) + IMAGES * len(images()) + XML_FILES + LINES
    assert total >= 5_000


def test_the_mutations_are_the_same_on_every_run():
    data = csv_text([pad_row(1)]).encode()
    assert mutated(data, random.Random("same")) == mutated(data, random.Random("same")) != data


@pytest.mark.parametrize(("name", "file"), few(TABLES))
def test_damaged_tables(tmp_path, name, file):
    write_four_sources(tmp_path)
    rows = [report_row(n, text=f'Text "{n}", with\nlines 肺') for n in range(8)]
    if file.startswith("reports/r."):
        (tmp_path / "reports/reports.jsonl").unlink()
        write_files(tmp_path, {file: csv_text(rows) if file.endswith("csv") else json.dumps(rows)})
    path, rng = tmp_path / file, random.Random(file)
    original = path.read_bytes()
    outcomes = Counter()
    for _ in range(TABLES[name, file]):
        path.write_bytes(mutated(original, rng))
        found = accounted(name, path.parent, tmp_path / "work")
        outcomes["refused" if found is None else "rejected" if found["rejected"] else "accepted"] += 1
    assert outcomes["rejected"] > 5 and outcomes["refused"] + outcomes["accepted"] > 5, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("name", ZIPS)
def test_damaged_zip_files(tmp_path, name):
    """Their directories, their members' names and sizes, what is packed in them."""
    whole = write_reports(tmp_path / "whole", [report_row(n) for n in range(4)])
    if name == "slake":
        rows = [slake_row(n, n, f"Question {n}?", "Yes") for n in range(4)]
        whole = write_slake(tmp_path / "whole-slake", train=rows[:2], test=rows[2:])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in whole.rglob("*") if path.is_file()):
            archive.writestr(zipfile.ZipInfo(path.relative_to(whole).as_posix()), path.read_bytes())
    rng, outcomes = random.Random(name), Counter()
    for turn in range(ZIPS[name]):
        damaged = (mutated, flipped, flipped)[turn % 3](packed.getvalue(), rng)
        write_files(tmp_path, {"in/data.zip": damaged})
        found = accounted(name, tmp_path / "in", tmp_path / "work")
        outcomes["refused" if found is None else "rejected" if found["rejected"] else "accepted"] += 1
    assert outcomes["refused"] > 20 and outcomes["rejected"] > 2 and outcomes["accepted"] > 2, outcomes
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "work", "whole", "whole-slake"}  # nothing unpacked


@pytest.mark.parametrize("kind", few(images()))
def test_damaged_images(tmp_path, kind):
    original, rng = images()[kind], random.Random(kind)
    suffix = "dcm" if kind == "dicom" else "jpg" if kind.startswith("jpeg") else "png"
    rows, files = [], {}
    for n in range(IMAGES):
        rows.append(report_row(n, image=f"images/{n}.{suffix}"))
        damaged = mutated(original, rng)
        files[rows[-1]["image"]] = sealed(damaged) if kind == "png sealed" else damaged
    write_files(tmp_path / "reports", files | {"r.jsonl": "\n".join(map(json.dumps, [*rows, report_row(IMAGES)]))})
    write_files(tmp_path / "reports", {f"images/{IMAGES}.png": png(1)})  # a sound one, so that there is a build
    report = build_here({"--reports_dir": tmp_path / "reports"}, tmp_path / "out", "--near_distance", "0")
    report = report["sources"]["medical_reports"]
    assert report["read"] == IMAGES + 1 == report["accepted"] + sum(report["rejected"].values())
    assert len(set(report["rejected"])) > 1 and all(code.startswith("image_") for code in report["rejected"])
    dataset = load_dataset(str(tmp_path / "out"), "pairs").cast_column("image", Image(decode=False))
    published = [image["bytes"] for part in dataset.values() for image in part["image"]]
    assert len(published) == report["accepted"]
    for data in published:
        with Pillow.open(io.BytesIO(data), formats=("PNG", "JPEG")) as decoded:
            decoded.load()
            assert not decoded.getexif() and not {"comment", "exif", "xmp"} & set(decoded.info)


def test_damaged_xml(tmp_path):
    """Each file is a report of its own, or says why it is none; the others are read."""
    rng = random.Random("xml")
    files = {f"xml/{n}.xml": mutated(openi_report(n, images=1).encode(), rng) for n in range(XML_FILES)}
    pictures = {f"images/CXR{n}_IM-{n:04d}-1001.png": png(n) for n in range(XML_FILES)}
    write_files(tmp_path / "reports", files | pictures)
    report = build_here({"--reports_dir": tmp_path / "reports"}, tmp_path / "out")["sources"]["medical_reports"]
    rejected = {line["item"].partition(".xml")[0] for line in read_lines(tmp_path / "out/rejections.jsonl")}
    assert report["read"] == report["accepted"] + sum(report["rejected"].values())
    assert len(rejected) > 100 and report["accepted"] > 50
    others = report["ignored_count"] - 1  # XML whose first tag was hit; the last line counts the images of all of them
    assert others >= 0 and report["read"] + others >= XML_FILES


@pytest.mark.slow
def test_a_whole_build_of_damaged_rows_can_be_loaded(build, tmp_path):
    """What is accepted in spite of the damage is written, and read again by `load_dataset`."""
    write_four_sources(tmp_path / "raw")
    rng = random.Random("whole")
    rows = [report_row(n % 8, text=f"Text {n} 肺", patient_id=n % 5, extra=[n, {"k": 0.1}]) for n in range(LINES)]
    whole = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    (tmp_path / "raw/reports/reports.jsonl").write_bytes(
        b"\n".join(line if rng.random() < 0.1 else damaged_line(line, rng) for line in whole)
    )
    build({"--reports_dir": tmp_path / "raw/reports"}, tmp_path / "out")
    source = json.loads((tmp_path / "out/report.json").read_text("utf-8"))["sources"]["medical_reports"]
    assert source["read"] == source["accepted"] + sum(source["rejected"].values()) > 0.9 * LINES
    assert source["accepted"] > 0.15 * LINES and len(source["rejected"]) > 3
    lines = read_lines(tmp_path / "out/chat_instructions.jsonl")
    for config in ("pairs", "chat"):
        rows = [row for part in load_dataset(str(tmp_path / "out"), config).values() for row in part]
        assert len(rows) == source["accepted"]
        assert sorted(row["metadata"] for row in rows) == sorted(
            json.dumps(line["metadata"], ensure_ascii=False) for line in lines
        )


def damaged_line(line: bytes, rng: random.Random) -> bytes:
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


def test_damaged_inputs_give_the_same_build_again(tmp_path):
    """What a decoder does with damage does not depend on the moment: the same bytes in, the same bytes out."""
    rng, rows, files = random.Random("again"), [], {}
    for n in range(60):
        rows.append(report_row(n, image=f"images/{n}.jpg"))
        files[rows[-1]["image"]] = mutated(images()["jpeg progressive"], rng)
    folder = write_files(tmp_path / "reports", files | {"r.jsonl": "\n".join(map(json.dumps, rows))})
    fingerprints = set()
    for name in ("one", "two"):
        report = build_here({"--reports_dir": folder}, tmp_path / name, "--near_distance", "0")
        shard = (tmp_path / name / "pairs/train-00000-of-00001.parquet").read_bytes()
        fingerprints.add((report["fingerprint"], hashlib.sha256(shard).hexdigest()))
    assert len(fingerprints) == 1
