"""A statement about an image is kept once."""

from __future__ import annotations

from hub_datasets.duplicates import drop_repeats
from hub_datasets.schema import RawRecord, Reason, Rejection


def record(item: str, language: str = "en", **said: str) -> RawRecord:
    return RawRecord("slake", item, f"{item}.png", "Lung", language, **said)


def test_the_first_is_kept_and_the_others_name_it():
    records = [record(f"row {n}", question="Is it normal?", answer="No") for n in range(3)]
    kept, *rejected = drop_repeats(records, {})
    assert kept is records[0]
    assert [(rejection.item, rejection.code) for rejection in rejected] == [
        ("row 1", Reason.DUPLICATE_ROW),
        ("row 2", Reason.DUPLICATE_ROW),
    ]
    assert all(rejection.source == "slake" and "row 0" in rejection.message for rejection in rejected)


def test_every_part_of_a_statement_makes_a_difference():
    records = [
        record("a", question="Q?", answer="No"),
        record("b", question="Q?", answer="Yes"),
        record("c", question="P?", answer="No"),
        record("d", language="zh", question="Q?", answer="No"),
        record("e", text="Q?"),
        record("f", text="No"),
    ]
    assert list(drop_repeats(records, {})) == records


def test_repeats_keep_their_place_among_the_others():
    records = [record("a", text="one"), record("b", text="two"), record("c", text="one"), record("d", text="three")]
    kinds = ["repeat" if isinstance(found, Rejection) else found.item for found in drop_repeats(records, {})]
    assert kinds == ["a", "b", "repeat", "d"]
