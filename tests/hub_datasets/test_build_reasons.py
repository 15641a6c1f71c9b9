"""Checks every reason for a rejection in one build: counted, named, and no record lost."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from hub_datasets.records import Reason
from hub_datasets.synthetic.marker import write_marker
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.layouts import (
    encoded,
    picture,
    png,
    raw_png,
    read_lines,
    report_row,
    write_files,
    write_knee,
    write_reports,
)

TIMES = 4  # each; the report shows fewer
EXAMPLES = 3


def animated(number: int) -> bytes:
    return encoded(picture(number), save_all=True, append_images=[picture(number + 1)])


def damaged(number: int) -> bytes:
    """A PNG whose pixels are not those of its checksum."""
    data = bytearray(png(number))
    data[data.index(b"IDAT") + 20] ^= 1
    return bytes(data)


# What a line of a table holds instead of a sound row, or the bytes of its image: made from the row's number.
ROWS: dict[Reason, Callable[[int], dict | str]] = {
    Reason.IMAGE_MISSING: lambda n: {"image": f"gone/{n}.png"},
    Reason.IMAGE_OUTSIDE_ROOT: lambda n: {"image": f"../{n}.png"},
    Reason.TEXT_EMPTY: lambda n: {"text": " "},
    Reason.TEXT_SHORT: lambda n: {"text": "short"},
    Reason.TEXT_LONG: lambda n: {"text": "x" * 8000},
    Reason.TEXT_ENCODING: lambda n: {"text": f"Fluid in the knee\ufffds joint {n}."},
    Reason.TEXT_CONTROL_CHARACTERS: lambda n: {"text": f"Fluid \x07 in the joint {n}."},
    Reason.MALFORMED_ROW: lambda n: '{"image": ',
    Reason.DUPLICATE_ROW: lambda n: report_row(0),
    Reason.FLAGGED: lambda n: {"text": f"Call +49 170 12345{n} about the knee."},
    Reason.REVIEWED: lambda n: {},
    Reason.UNGROUNDED: lambda n: {"text": f"Unchanged heart, image {n}."},
}
IMAGES: dict[Reason, Callable[[int], bytes]] = {
    Reason.IMAGE_FORMAT: lambda n: b"<html>" + bytes([n]),
    Reason.IMAGE_UNREADABLE: damaged,
    Reason.IMAGE_TRUNCATED: lambda n: png(n)[:200],
    Reason.IMAGE_TOO_LARGE: lambda n: raw_png(20_000 + n, 20_000, 8, 2),
    Reason.IMAGE_TOO_SMALL: lambda n: png(n, size=(7, 200)),
    Reason.IMAGE_ANIMATED: animated,
}
COPIES = {Reason.DUPLICATE_IMAGE, Reason.CONFLICTING_LABELS}  # of knees, below


def write_faults(folder: Path) -> dict[str, Path]:
    """Reports with each fault TIMES, sound rows before and after them, and knees that are copies, by flag.

    Beside them is `decisions.csv`, by which a person rejects rows.
    """
    rows: list[dict | str] = [report_row(0)]
    images = {}
    decisions = "item,decision\n"
    for code in [*ROWS, *IMAGES] * TIMES:
        number = len(rows)
        change = ROWS[code](number) if code in ROWS else {}
        decisions += f"reports.jsonl line {number + 1},reject\n" if code == Reason.REVIEWED else ""
        rows.append(change if isinstance(change, str) else report_row(number) | change)
        if code in IMAGES:
            images[f"images/{number}.png"] = IMAGES[code](number)
    rows.append(report_row(len(rows)))
    write_files(folder, {"decisions.csv": decisions})
    copies = {f"{split}/0/{n}.png": n for n in range(TIMES) for split in ("train", "val")}
    conflicts = {
        f"{split}/{grade}/9{n}.png": 90 + n for n in range(TIMES // 2) for split, grade in (("train", 1), ("val", 2))
    }
    knee = write_knee(folder / "knee", copies | conflicts)
    return {"--reports_dir": write_files(write_reports(folder / "reports", rows), images), "--knee_dir": knee}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """`own` is a build of data as it may be someone's, `drawn` one of data that is marked as synthetic."""
    folder = tmp_path_factory.mktemp("faults")
    sources = write_faults(folder / "raw")
    flags = ("--drop_flagged", "--review", folder / "raw/decisions.csv", "--ungrounded")
    build_here(sources, folder / "own", *flags, "reject")
    write_marker(sources["--reports_dir"])
    build_here(sources, folder / "drawn", *flags, "strip")
    return folder


def report_of(build: Path) -> dict:
    return json.loads((build / "report.json").read_text("utf-8"))["sources"]


def test_there_is_a_case_for_every_reason():
    """A reason that is added to the schema fails here until it has one."""
    assert set(ROWS) | set(IMAGES) | COPIES == set(Reason)


@pytest.mark.parametrize("build", ["own", "drawn"])
def test_every_record_is_accepted_or_has_its_line(folder, build):
    rejections = read_lines(folder / build / "rejections.jsonl")
    assert all(set(rejection) == {"source", "item", "code", "message"} for rejection in rejections)
    places = [(rejection["source"], rejection["item"]) for rejection in rejections]
    assert len(set(places)) == len(places)
    found = [(rejection["source"], rejection["code"]) for rejection in rejections]
    for name, source in report_of(folder / build).items():
        assert source["read"] == source["accepted"] + sum(source["rejected"].values())
        assert source["rejected"] == Counter(code for of, code in found if of == name)
    sources = report_of(folder / build)
    assert sources["medical_reports"]["read"] == TIMES * (len(ROWS) + len(IMAGES)) + 2
    assert sources["medical_reports"]["accepted"] == 2
    assert (sources["knee_xray"]["read"], sources["knee_xray"]["accepted"]) == (3 * TIMES, TIMES)


@pytest.mark.parametrize("code", Reason)
def test_a_reason_is_counted_named_and_shown(folder, code):
    lines = [line for line in read_lines(folder / "drawn/rejections.jsonl") if line["code"] == code]
    assert len(lines) == TIMES and all(line["message"] for line in lines)
    (name,) = {line["source"] for line in lines}
    assert name == ("knee_xray" if code in COPIES else "medical_reports")
    source = report_of(folder / "drawn")[name]
    assert source["rejected"][code] == TIMES
    shown = [{"item": line["item"], "message": line["message"]} for line in lines]
    assert source["examples"][code] == shown[:EXAMPLES]
    if name == "medical_reports":  # each where its row stands: the first is line 1
        order = [*ROWS, *IMAGES]
        numbers = [2 + order.index(code) + turn * len(order) for turn in range(TIMES)]
        assert [line["item"] for line in lines] == [f"reports.jsonl line {number}" for number in numbers]


def test_the_rejections_are_in_the_order_of_the_records(folder):
    numbers = defaultdict(list)
    for line in read_lines(folder / "drawn/rejections.jsonl"):
        if line["source"] == "medical_reports":
            numbers[line["source"]].append(int(line["item"].rpartition(" ")[2]))
    assert numbers["medical_reports"] == list(range(2, 2 + TIMES * (len(ROWS) + len(IMAGES))))


def test_the_report_of_data_that_may_not_be_shared_names_no_row_of_it(folder):
    """`report.json` goes to the Hub; `rejections.jsonl` stays here and names them."""
    sources = report_of(folder / "own")
    assert sources["medical_reports"]["examples"] == {} and sources["medical_reports"]["ignored"] == []
    assert sources["medical_reports"]["rejected"] == report_of(folder / "drawn")["medical_reports"]["rejected"]
    assert set(sources["knee_xray"]["examples"]) == COPIES
    published = [path.read_bytes() for path in (folder / "own").rglob("*") if path.name in ("report.json", "README.md")]
    assert len(published) == 2 and not any(b"reports.jsonl line" in content for content in published)
    drawn = (folder / "drawn/report.json").read_bytes()
    assert b"reports.jsonl line" in drawn
