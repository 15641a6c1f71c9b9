"""Accepted records become rows: one a text, one a caption, one a chat; the same rows again as JSON lines."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from hub_datasets import rows as rows_of
from hub_datasets.report import Accepted, Tally
from hub_datasets.schema import RawRecord
from hub_datasets.sources import SOURCES
from hub_datasets.validation import CheckedImage
from tests.hub_datasets.layouts import read_lines

REPORTS, SLAKE = (next(s for s in SOURCES if s.name == name) for name in ("medical_reports", "slake"))


def report(number: int, split: str = "train", folder: str = "raw") -> Accepted:
    path = f"images/{number}.png"
    record = RawRecord("medical_reports", f"line {number}", path, "report", "en", f"Report {number}.")
    record.metadata = {"image": path, "n": number, "view": ""}
    image = CheckedImage(Path("/", folder, path), f"{number:064x}", 1, 1)
    return Accepted(record, image, f"image:{number:064x}", split)


def question(number: int, img: int, language: str = "en", split: str = "train", **fields) -> Accepted:
    record = RawRecord("slake", f"row {number}", f"imgs/{img}/source.jpg", "Lung", language)
    record.question, record.answer = f"Question {number}?", "42"
    record.metadata = {"modality": "CT", "location": "Lung", "qid": number, "official_split": "train"} | fields
    return Accepted(record, CheckedImage(Path(f"/raw/{img}.jpg"), f"{img:064x}", 1, 1), f"image:{img}", split)


def tallies(*accepted: Accepted) -> list[Tally]:
    by_source = {source.name: Tally(source, Path("data/raw")) for source in (REPORTS, SLAKE)}
    for one in accepted:
        by_source[one.record.source].accepted.append(one)
    return list(by_source.values())


def rows_from(*accepted: Accepted, shortest: int = 5, longest: int = 1000) -> dict:
    return rows_of.make_rows(tallies(*accepted), shortest, longest)


def test_rows_of_a_text():
    rows = rows_from(report(1))
    common = {
        "image_file": "/raw/images/1.png", "image_sha256": f"{1:064x}", "image_path": "medical_reports/images/1.png",
        "source_dataset": "medical_reports", "category": "report", "language": "en", "group_id": f"image:{1:064x}",
        "metadata": {"image": "images/1.png", "n": 1, "view": ""},
    }  # fmt: skip
    assert rows["pairs"] == {"train": [common | {"text": "Report 1."}]}
    chat = [{"role": "user", "content": "Describe this medical image:"}, {"role": "assistant", "content": "Report 1."}]
    assert rows["chat"] == {"train": [common | {"messages": chat}]}


def test_splits_come_in_their_order_and_empty_ones_are_left_out():
    rows = rows_from(report(1, "test"), report(2, "train"), report(3, "test"))
    for config in ("pairs", "chat"):
        found = {split: [row["metadata"]["n"] for row in part] for split, part in rows[config].items()}
        assert found == {"train": [2], "test": [1, 3]} and list(found) == ["train", "test"]


def test_a_caption_for_each_image_and_language():
    rows = rows_from(question(1, 1), question(2, 2), question(3, 1, "zh"), question(4, 1))
    pairs = rows["pairs"]["train"]
    assert [(row["image_path"], row["language"], row["metadata"]["items"]) for row in pairs] == [
        ("slake/imgs/1/source.jpg", "en", ["row 1", "row 4"]),
        ("slake/imgs/2/source.jpg", "en", ["row 2"]),
        ("slake/imgs/1/source.jpg", "zh", ["row 3"]),
    ]
    assert pairs[0]["text"] == "CT image, lung. Question 1? 42. Question 4? 42."
    assert [row["messages"][0]["content"] for row in rows["chat"]["train"]] == [f"Question {n}?" for n in (1, 2, 3, 4)]
    assert rows["chat"]["train"][0]["messages"][1] == {"role": "assistant", "content": "42"}


def test_the_metadata_of_a_caption_is_what_all_its_rows_say():
    rows = rows_from(question(1, 1, plane="axial"), question(2, 1, official_split="test"))
    assert rows["pairs"]["train"][0]["metadata"] == {"modality": "CT", "location": "Lung", "items": ["row 1", "row 2"]}


def test_a_caption_outside_the_bounds_is_left_out_by_name_and_its_chats_stay():
    members = tallies(question(1, 1), question(2, 2, modality="M" * 60), question(3, 1, "zh"))
    rows = rows_of.make_rows(members, 20, 60)
    assert [row["metadata"]["items"] for row in rows["pairs"]["train"]] == [["row 1"], ["row 3"]]
    assert len(rows["chat"]["train"]) == 3
    (ignored,) = members[1].ignored
    assert ignored.item == "caption of imgs/2/source.jpg (en)" and "fewer than 60" in ignored.why


@pytest.mark.parametrize("longest", range(30, 120))
def test_captions_keep_to_the_bounds(longest):
    for row in rows_from(*(question(n, 1) for n in range(9)), longest=longest)["pairs"]["train"]:
        assert 5 < len(row["text"]) < longest


# --- Files


@pytest.fixture
def written(tmp_path):
    chinese = question(3, 1, "zh")
    chinese.record.question = "问题三？"
    members = tallies(report(1), report(2, "test"), chinese)
    rows = rows_of.make_rows(members, 5, 1000)
    rows_of.write_rows(tmp_path / "rows", rows)
    rows_of.write_chat_instructions(tmp_path / "chat.jsonl", members, rows["chat"])
    return tmp_path, rows


def test_rows_for_the_builder(written):
    folder, rows = written
    assert {path.name for path in (folder / "rows").iterdir()} == {
        "pairs-train.jsonl", "pairs-test.jsonl", "chat-train.jsonl", "chat-test.jsonl",
    }  # fmt: skip
    (line,) = read_lines(folder / "rows/pairs-test.jsonl")
    assert line == {key: value for key, value in rows["pairs"]["test"][0].items() if key != "image_sha256"}


def test_chat_instructions_are_the_chat_rows_with_paths_as_they_were_given(written):
    folder, rows = written
    lines = read_lines(folder / "chat.jsonl")
    chats = [(split, row) for split, part in rows["chat"].items() for row in part]
    assert [line["messages"] for line in lines] == [row["messages"] for _, row in chats]
    assert [line["split"] for line in lines] == [split for split, _ in chats] == ["train", "train", "test"]
    assert [line["image"] for line in lines] == [
        "data/raw/images/1.png", "data/raw/imgs/1/source.jpg", "data/raw/images/2.png",
    ]  # fmt: skip
    provenance = ("source_dataset", "category", "language", "group_id", "metadata")
    assert all(line[key] == row[key] for line, (_, row) in zip(lines, chats, strict=True) for key in provenance)
    assert list(lines[0])[:2] == ["image", "messages"]
    assert "问题三？" in (folder / "chat.jsonl").read_text("utf-8")


def test_a_folder_whose_name_is_not_utf_8(tmp_path):
    one = report(1, folder="caf\udce9")
    tally = Tally(REPORTS, Path("data/caf\udce9"), accepted=[one])
    rows = rows_of.make_rows([tally], 5, 1000)
    rows_of.write_rows(tmp_path / "rows", rows)
    rows_of.write_chat_instructions(tmp_path / "chat.jsonl", [tally], rows["chat"])
    assert read_lines(tmp_path / "chat.jsonl")[0]["image"] == "data/caf\udce9/images/1.png"
    assert read_lines(tmp_path / "rows/chat-train.jsonl")[0]["image_file"] == "/caf\udce9/images/1.png"


# --- The fingerprint


def test_the_fingerprint_is_of_the_content_not_of_the_place():
    rows, elsewhere = rows_from(report(1)), rows_from(report(1, folder="elsewhere"))
    assert rows_of.fingerprint(rows) == rows_of.fingerprint(elsewhere)
    assert len(rows_of.fingerprint(rows)) == 16 and int(rows_of.fingerprint(rows), 16)


@pytest.mark.parametrize(
    "change",
    [{"image_sha256": "0" * 64}, {"text": "Report 1!"}, {"group_id": "image:1"}, {"category": "x"},
     {"image_path": "medical_reports/1.png"}, {"metadata": {"image": "images/1.png", "n": 1, "view": None}}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_everything_else_changes_the_fingerprint(change):
    rows = rows_from(report(1))
    changed = copy.deepcopy(rows)
    changed["pairs"]["train"][0] |= change
    assert rows_of.fingerprint(changed) != rows_of.fingerprint(rows)
    moved = {config: {"test": parts["train"]} for config, parts in rows.items()}
    assert rows_of.fingerprint(moved) != rows_of.fingerprint(rows)
    assert json.dumps(rows) == json.dumps(rows_from(report(1)))
