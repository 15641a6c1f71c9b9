"""Checks how the records of several folders of one source are distinguished, merged and ordered."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from hub_datasets.ingest.joined_records import records_by_picture, rejections
from hub_datasets.output import rows as rows_of
from hub_datasets.output.card.samples import Samples
from hub_datasets.output.report import (
    RowStatistics,
    duplicate_report,
    source_report,
    summary,
    write_rejections,
    write_review,
)
from hub_datasets.records import Flag, Ignored, Reason, Rejection
from hub_datasets.splits.groups import Fractions
from hub_datasets.splits.leakage import find_leaks, official_leaks
from hub_datasets.texts.patient_ids import note_study, own_study
from hub_datasets.texts.validation import TextSettings
from tests.hub_datasets.checked import HASHED
from tests.hub_datasets.hand_made import decide, make_stage, question, report, settled, source_of
from tests.hub_datasets.layouts import read_lines

ONE_PICTURE = {"data": b"the same bytes in both folders" * 3}


@pytest.fixture
def joined(tmp_path):
    """`joined(january, february)`: a stage of each, of one source; more keywords go to both, or as a pair."""

    def make(*parts, images=(None, None), **options):
        labels = ("january", "february", "march")
        return [
            make_stage(tmp_path / label, part, found, label=label, **options)
            for label, part, found in zip(labels, parts, images, strict=False)
        ]

    return make


def groups_of(decisions) -> dict[str, str]:
    stages = range(len(decisions.stages))
    return {one.record.item: one.group_id for stage in stages for (one,) in decisions.accepted(stage)}


def test_items_and_images_begin_with_the_label(joined):
    gone = Rejection("medical_reports", "line 9", Reason.MALFORMED_ROW, "no JSON")
    stages = dict(enumerate(joined([report(0), gone], [report(0)])))
    found = {(number, record.item, record.image) for _, number, _, record, *_ in records_by_picture(stages)}
    assert found == {(0, "january/line 0", "january/images/0.png"), (1, "february/line 0", "february/images/0.png")}
    assert [(number, rejection.item) for number, _, rejection in rejections(stages)] == [(0, "january/line 9")]
    (alone,) = records_by_picture({0: replace(stages[0], folder=stages[0].folder.__class__("raw"))})
    assert (alone[3].item, alone[3].image) == ("line 0", "images/0.png")


def test_records_come_by_picture_and_then_by_folder(joined):
    """As `settle` needs them, and the same as if all were in one catalog."""
    same = {"images/0.png": ONE_PICTURE}
    parts = [[report(n, f"images/{n % 3}.png") for n in range(5)] for _ in range(3)]
    stages = dict(enumerate(joined(*parts, images=(same, same, same))))
    found = [(pixels, number, seq) for pixels, number, seq, *_ in records_by_picture(stages)]
    assert found == sorted(found) and len(found) == 15 and len({pixels for pixels, *_ in found}) == 3


# --- What two folders say of one picture


def test_a_copy_in_another_folder_is_rejected_by_name(joined, tmp_path):
    """The path and the words are the same; it is a copy all the same, and not the same row again."""
    january, february = [report(0), report(1)], [report(0), report(1, text="Something else.")]
    images = {"images/0.png": ONE_PICTURE, "images/1.png": {"data": b"another picture"}}
    decisions = settled(tmp_path / "d", *joined(january, february, images=(images, images)))
    (rejection,) = decisions.rejections(1)
    assert (rejection.item, rejection.code) == ("february/line 0", Reason.DUPLICATE_IMAGE)
    assert rejection.message == "repeats for a copy of the image the text of january/line 0"
    assert [decisions.count("accepted", stage) for stage in (0, 1)] == [2, 1]
    assert duplicate_report(decisions, {})["exact"] == {"medical_reports": 1}


def test_a_picture_in_two_folders_is_one_group(joined, tmp_path):
    images = {"images/0.png": ONE_PICTURE}
    january, february = [report(0, groups=("patient:a",))], [report(0, text="Other words.", groups=("patient:b",))]
    decisions, _ = decide(tmp_path / "d", *joined(january, february, images=(images, images)))
    assert set(groups_of(decisions).values()) == {"medical_reports/patient:a"}


def test_near_duplicates_are_found_across_folders(joined, tmp_path):
    near = [{"images/0.png": {"perceptual": f"{2**n - 1:064x}", "data": bytes([n]) * 9}} for n in (200, 203)]
    stages = joined([report(0)], [report(0, text="Other words.")], images=near)
    decisions, _ = decide(tmp_path / "d", *stages)
    assert len(set(groups_of(decisions).values())) == 1
    assert find_leaks(decisions)["checked"]["near_duplicate"] == 1


def test_every_folder_has_a_say_where_a_source_settles(joined, tmp_path):
    """Two experts, each in a folder of their own, graded the same knee."""
    knee = source_of("knee_xray")
    parts = []
    for expert, grade in (("I", 3), ("II", 2)):
        record = report(0, f"MedicalExpert-{expert}/x.png", text="x", category="Moderate")
        record.source = "knee_xray"
        record.metadata = {"kellgren_lawrence_grade": grade, "grade_by_expert": {expert: grade}}
        parts.append([record])
    images = [{f"MedicalExpert-{expert}/x.png": ONE_PICTURE} for expert in ("I", "II")]
    decisions = settled(
        tmp_path / "d", *joined(*parts, images=images, source=knee), choices={"knee_conflicts": "keep_lower"}
    )
    assert [decisions.count("accepted", stage) for stage in (0, 1)] == [0, 1]
    (rejection,) = decisions.rejections(0)
    assert "kept with grade 2 as february/line 0" in rejection.message


# --- Patients, studies, conversations


def test_a_patient_of_two_folders_is_one(joined, tmp_path):
    january = [report(n, groups=(f"patient:{n}",)) for n in range(40)]
    february = [report(n, text=f"Later report {n}.", groups=(f"patient:{n}",)) for n in range(40)]
    for one in february:
        one.image = f"images/later {one.item}.png"
    decisions, _ = decide(tmp_path / "d", *joined(january, february), fractions=Fractions(0.3, 0.2))
    groups = groups_of(decisions)
    assert len(set(groups.values())) == 40
    assert all(groups[f"january/line {n}"] == groups[f"february/line {n}"] for n in range(40))
    leaks = find_leaks(decisions)
    assert leaks["checked"]["patient"] == 40 and not any(leaks["leaks"].values())
    splits = {one.split for (one,) in decisions.accepted(0)}
    assert splits == {"train", "validation", "test"}


def test_groups_are_those_of_one_folder_with_all_the_rows(joined, tmp_path):
    """Also where each patient's studies are numbered from 1, which only all folders together show."""

    def rows(numbers):
        return [
            report(n, groups=(f"patient:{n}", f"study:{k}"), text=f"Report {n} {k}.") for n in numbers for k in (1, 2)
        ]

    records = [replace(record, image=f"images/{place}.png") for place, record in enumerate(rows(range(6)))]
    patients = {"1": set("012345"), "2": set("012345")}
    expected = {record.text: own_study(record.groups, patients) for record in records}
    decisions, _ = decide(tmp_path / "d", *joined(records[:2], records[2:]))
    found = {one.record.text: one.record.groups for stage in (0, 1) for (one,) in decisions.accepted(stage)}
    assert found == expected and found["Report 0 1."] == ("patient:0", "study:0/1")
    assert len(set(groups_of(decisions).values())) == 6


def test_a_study_without_patients_is_the_same_in_both_folders(joined, tmp_path):
    first, second = report(0, groups=("study:7",)), report(1, groups=("study:7",))
    decisions, _ = decide(tmp_path / "d", *joined([first], [second]))
    assert set(groups_of(decisions).values()) == {"medical_reports/study:7"}


def test_a_study_keeps_its_name_where_one_patient_has_it():
    patients: dict[str, set[str]] = {"9": {"a"}, "8": {"a", "b"}}
    assert own_study(("patient:a", "study:9"), patients) == ("patient:a", "study:9")
    assert own_study(("patient:a", "study:8"), patients) == ("patient:a", "study:a/8")
    assert own_study(("study:8",), patients) == ("study:8",)
    assert own_study(("patient:a", "lesion:a/8"), patients) == ("patient:a", "lesion:a/8")
    found: dict[str, set[str]] = {"9": set()}
    note_study(("patient:a", "lesion:1"), found)
    note_study(("patient:a:b", "study:9"), found)
    assert found == {"9": {"a:b"}}


def test_conversations_of_one_name_in_two_folders_are_two(joined, tmp_path):
    """The first report of each folder, in the same words; the pictures are of two people."""
    parts = [
        [report(n, f"images/{place}{n}.png", text="Normal.", conversation="1.xml") for n in range(2)] for place in "ab"
    ]
    decisions, _ = decide(tmp_path / "d", *joined(*parts), fractions=Fractions(0))
    written = rows_of.write_rows(decisions, tmp_path / "d", TextSettings(), "", RowStatistics())
    chats = read_lines(written.files["chat"]["train"].path)
    assert [(line["stage"], [image["name"] for image in line["images"]]) for line in chats] == [
        (0, ["a0.png", "a1.png"]), (1, ["b0.png", "b1.png"]),
    ]  # fmt: skip
    assert len({line["columns"]["group_id"] for line in chats}) == 2
    assert find_leaks(decisions)["checked"]["conversation"] == 2


@pytest.mark.parametrize("turns", ["single", "multi"])
def test_questions_about_one_path_in_two_folders_are_about_two_images(joined, tmp_path, turns):
    parts = [[question(n, 1) for n in range(2)], [question(n, 1) for n in range(2, 4)]]
    images = [{"imgs/1/source.jpg": {"data": bytes([n]) * 99}} for n in range(2)]
    decisions, _ = decide(
        tmp_path / "d", *joined(*parts, images=images, source=source_of("slake")), turns=turns, fractions=Fractions(0)
    )
    written = rows_of.write_rows(decisions, tmp_path / "d", TextSettings(), "", RowStatistics())
    pairs, chats = (read_lines(written.files[config]["train"].path) for config in ("pairs", "chat"))
    paths = ["slake/january/imgs/1/source.jpg", "slake/february/imgs/1/source.jpg"]
    assert [line["columns"]["image_path"] for line in pairs] == paths
    assert len(chats) == (2 if turns == "multi" else 4)
    assert len({line["columns"]["group_id"] for line in pairs}) == 1  # SLAKE's own number of the image is one


def test_official_splits_are_compared_across_folders(joined, tmp_path):
    parts = [[question(0, 1, official_split="train")], [question(1, 1, official_split="test")]]
    images = {"imgs/1/source.jpg": ONE_PICTURE}
    decisions = settled(tmp_path / "d", *joined(*parts, images=(images, images), source=source_of("slake")))
    assert official_leaks(decisions)["slake"] == {
        "images": 1, "images_in_several_files": 1, "test_rows": 1, "test_rows_seen_in_train": 1,
    }  # fmt: skip


# --- What the report says


@pytest.fixture
def decisions(joined, tmp_path):
    """January: a copy, a row that is no row, a file passed over. February: an image that does not exist, a flag."""
    same = {"images/0.png": ONE_PICTURE}
    gone = {"images/2.png": {"code": "image_missing", "message": "'images/2.png' does not exist"}}
    odd = [Rejection("medical_reports", "line 8", Reason.MALFORMED_ROW, "x"), Ignored("medical_reports", "a.db", "why")]
    january = [report(0), report(1), replace(report(3), image="images/0.png", text="Report 0."), *odd]
    february = [report(0), report(1, "images/1b.png"), report(2)]
    stages = joined(january, february, images=(same, same | gone), flags={"line 1": [Flag("email", "at the end")]})
    stages[1] = replace(stages[1], synthetic=True)
    return decide(tmp_path / "d", *stages, fractions=Fractions(0))[0]


def test_the_numbers_of_a_source_and_of_each_folder(decisions):
    found = source_report(decisions, "medical_reports", {1: [Ignored("medical_reports", "caption", "too long")]})
    assert (found["read"], found["accepted"], found["images"]) == (7, 3, 3)
    assert found["rejected"] == {"duplicate_image": 1, "duplicate_row": 1, "image_missing": 1, "malformed_row": 1}
    assert found["ignored_count"] == 2 and found["synthetic"] is False
    assert found["folders"] == {
        "january": {
            "synthetic": False, "read": 4, "accepted": 2, "rejected": {"duplicate_row": 1, "malformed_row": 1},
            "images": 2, "ignored_count": 1,
        },
        "february": {
            "synthetic": True, "read": 3, "accepted": 1, "rejected": {"duplicate_image": 1, "image_missing": 1},
            "images": 1, "ignored_count": 1,
        },
    }  # fmt: skip


def test_only_rows_of_a_folder_that_may_be_shared_are_named(decisions, tmp_path):
    found = source_report(decisions, "medical_reports", {})
    items = [one["item"] for named in found["examples"].values() for one in named]
    assert sorted(items) == ["february/line 0", "february/line 2"] and found["ignored"] == []
    samples = Samples()
    rows_of.write_rows(decisions, tmp_path, TextSettings(), "", RowStatistics(), samples=samples)
    assert [sample.data for sample in samples.chosen()] == [b"the bytes of images/1b.png" * 3]


def test_rejections_and_flags_name_the_folder(decisions, tmp_path):
    write_rejections(tmp_path / "rejections.jsonl", decisions)
    found = [(line["item"], line["code"]) for line in read_lines(tmp_path / "rejections.jsonl")]
    assert found == [
        ("january/line 3", "duplicate_row"), ("january/line 8", "malformed_row"),
        ("february/line 0", "duplicate_image"), ("february/line 2", "image_missing"),
    ]  # fmt: skip
    assert write_review(tmp_path / "review.jsonl", decisions, False)["rows"] == 2
    lines = read_lines(tmp_path / "review.jsonl")
    assert [line["item"] for line in lines] == ["january/line 1", "february/line 1"]


def test_a_folder_that_is_named_after_somebody_is_published_as_a_hash(tmp_path):
    """So nothing of it is to review."""
    stages = [
        make_stage(tmp_path / str(n), [report(n)], label=label) for n, label in enumerate(("february", "Mr_Sommer"))
    ]
    decisions, _ = decide(tmp_path / "d", *stages)
    decisions.publication = HASHED
    assert write_review(tmp_path / "review.jsonl", decisions, False)["flags"] == {}
    assert "Sommer" not in json.dumps(source_report(decisions, "medical_reports", {}))
    shown = [one.record.image for number in range(2) for (one,) in decisions.accepted(number)]
    assert len(shown) == 2 and all(re.fullmatch(r"[0-9a-f]{16}(\.png)?", name) for name in shown)


def test_a_lost_record_names_its_folder(decisions):
    decisions.database.execute("DELETE FROM rejections WHERE item = 'february/line 0'")
    with pytest.raises(AssertionError, match="medical_reports february: accepted and rejected do not add up"):
        source_report(decisions, "medical_reports", {})


def test_the_summary_counts_each_folder(decisions):
    source = source_report(decisions, "medical_reports", {})
    report = {"sources": {"medical_reports": source}, "splits": {}, "coverage": [], "moved": 0}
    report |= {
        "duplicates": {"near": {"clusters": 0}},
        "leakage": {"leaks": {}, "official": {}},
        "review": {"flags": {}},
        "targets": {"rows": {}, "settled": {}, "variety": {}},
    }
    assert summary(report).splitlines()[1:3] == ["  january: read 4, accepted 2", "  february: read 3, accepted 1"]
