"""Checks that a catalog returns what was written to it, in the order of the source."""

from __future__ import annotations

import json
import random
import sqlite3
from dataclasses import replace

import pytest

from hub_datasets.ingest.catalog import Catalog, connect
from hub_datasets.records import Flag, Ignored, RawRecord, Reason, Rejection, decoded, encoded
from tests.hub_datasets.hand_made import question, report

ODD = RawRecord(
    "s", "line 1\n(x)", "图/a b.png", "'; DROP TABLE records; --", "zh", text="\u2028\U0001f600\"\\'",
    groups=("patient:张",), conversation=" ",
    metadata={"": None, "a": [1, 0.1, 1e300, -(2**63), {"b": "null"}], "true": True},
)  # fmt: skip


@pytest.mark.parametrize("record", [ODD, report(1), question(2, 3), RawRecord("", "", "", "", "")])
def test_a_record_comes_back_as_it_was(record):
    found = decoded(encoded(record))
    assert found == record and isinstance(found.groups, tuple)
    assert json.loads(encoded(record))[0] == record.source


@pytest.fixture
def path(tmp_path):
    """A catalog of seven records: 2 was no record, 4 has an image that is gone, 1, 5 and 7 share a picture."""
    records = {1: report(1), 3: report(3), 4: report(4), 5: report(5, "images/1.png"), 6: ODD, 7: report(7)}
    catalog = Catalog(tmp_path / "c.sqlite", "create")
    catalog.ignore(Ignored("s", "caf\udce9.txt", "no image"))
    for number in range(1, 8):
        if number == 2:
            catalog.reject("line \udce9", Reason.MALFORMED_ROW, "no \udce9")
        else:
            flags = [Flag("email", "in the text")] * (number == 3)
            catalog.add(records[number], flags)
    catalog.ignore(Ignored("s", "b", "second"))
    catalog.close()
    return tmp_path / "c.sqlite"


def finished(path) -> Catalog:
    catalog = Catalog(path, "change")
    found = [{"name": name, "pixels": name[-5] * 2, "width": 9} for name in catalog.image_names()]
    for row in found:
        if row["name"] == "images/7.png":
            row |= {"pixels": "11", "flags": '[{"kind": "burned_in_text", "detail": "top"}]'}
    gone = {"name": "images/4.png", "code": "image_missing", "message": "no file"}
    catalog.add_images(gone if row["name"] == "images/4.png" else row for row in found)
    catalog.finish()
    return Catalog(path)


def test_each_image_is_named_once_in_the_order_of_the_records(path):
    catalog = Catalog(path, "change")
    names = ["images/1.png", "images/3.png", "images/4.png", "图/a b.png", "images/7.png"]
    assert list(catalog.image_names()) == names and catalog.count_images() == 5
    catalog.close()


def test_records_come_by_picture_then_in_the_order_of_the_source(path):
    found = list(finished(path).records_by_picture())
    assert [(pixels, seq) for pixels, seq, *_ in found] == [("11", 1), ("11", 5), ("11", 7), ("33", 3), ("bb", 6)]
    assert [record.item for _, _, record, *_ in found][-1] == ODD.item and found[-1][2] == ODD
    assert [image["width"] for *_, image, _ in found] == [9] * 5
    assert {image["code"] for *_, image, _ in found} == {None}
    assert all(content == encoded(record) for _, _, record, _, content in found)


def test_what_cannot_be_used_comes_with_its_reason(path):
    catalog = finished(path)
    assert list(catalog.rejections()) == [
        (2, Rejection("", "line \\udce9", Reason.MALFORMED_ROW, "no \\udce9")),
        (4, Rejection("", "line 4", Reason.IMAGE_MISSING, "no file")),
    ]
    assert catalog.count_read() == 7
    assert list(catalog.ignored()) == [("caf\\udce9.txt", "no image"), ("b", "second")]


def test_flags_of_texts_and_of_images(path):
    assert list(finished(path).flags()) == [
        ("line 3", "text", "email", "in the text"),
        ("images/7.png", "image", "burned_in_text", "top"),
    ]


def test_a_catalog_that_is_read_cannot_be_changed(path):
    catalog = finished(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        catalog.reject("line 9", Reason.TEXT_EMPTY, "")
        catalog.close()


def test_a_path_with_signs_that_addresses_are_made_of(tmp_path):
    """`?` and `#` would end the path, `%20` would be a blank."""
    path = tmp_path / "a?mode=ro#x%20 é.sqlite"
    Catalog(path, "create").close()
    assert path.is_file() and Catalog(path).count_read() == 0
    with pytest.raises(sqlite3.OperationalError):
        connect(tmp_path / "none.sqlite", read_only=True)


def test_random_catalogs_against_a_plain_list(tmp_path):
    rng = random.Random(0)
    for trial in range(10):
        catalog = Catalog(tmp_path / f"{trial}.sqlite", "create")
        said: list[RawRecord | Rejection] = []
        for number in range(rng.randrange(1, 60)):
            if rng.random() < 0.2:
                said.append(Rejection("", f"line {number}", rng.choice(list(Reason)), f"message {number}"))
                catalog.reject(said[-1].item, said[-1].code, said[-1].message)
            else:
                said.append(replace(report(number), image=f"{rng.randrange(20)}.png"))
                catalog.add(said[-1], ())
        bad = {f"{n}.png" for n in range(20) if rng.random() < 0.2}
        pixels = {f"{n}.png": f"{rng.randrange(10):032x}" for n in range(20)}
        catalog.add_images(
            {"name": name, "code": "image_missing", "message": "gone"}
            if name in bad
            else {"name": name, "pixels": pixels[name]}
            for name in catalog.image_names()
        )
        catalog.finish()
        catalog = Catalog(tmp_path / f"{trial}.sqlite")
        records = [(pixels[one.image], seq, one) for seq, one in enumerate(said, 1)
                   if isinstance(one, RawRecord) and one.image not in bad]  # fmt: skip
        assert [found[:3] for found in catalog.records_by_picture()] == sorted(records, key=lambda one: one[:2])
        assert list(catalog.rejections()) == [
            (seq, one if isinstance(one, Rejection) else Rejection("", one.item, Reason.IMAGE_MISSING, "gone"))
            for seq, one in enumerate(said, 1)
            if isinstance(one, Rejection) or one.image in bad
        ]
        assert catalog.count_read() == len(said)
        catalog.close()
