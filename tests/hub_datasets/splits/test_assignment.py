"""Checks which records become rows, what connects them, and which split they get, over tables on disk."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import replace
from itertools import count

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.records import Reason, Rejection
from hub_datasets.schema import SPLITS
from hub_datasets.sources.conflicts import drop_repeats
from hub_datasets.splits.assignment import ONE_CONVERSATION, ONE_IMAGE, STAGE_SHIFT
from hub_datasets.splits.groups import Fractions, conversation_of, group_keys, read_memory, split_of
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.hand_made import decide, make_stage, question, report, settled, source_of
from tests.hub_datasets.layouts import read_lines, report_row, write_reports

HALF = Fractions(0.25, 0.25)


def rows_of(decisions, source: int = 0) -> dict[str, tuple[str, str]]:
    """Group and split of every accepted record, by item."""
    return {one.record.item: (one.group_id, one.split) for (one,) in decisions.accepted(source)}


def codes_of(decisions, source: int = 0) -> dict[str, str]:
    return {rejection.item: str(rejection.code) for rejection in decisions.rejections(source)}


def remembered(decisions) -> dict[str, str]:
    """What the next build reads of this one."""
    return read_memory("".join(decisions.memory()).encode("ascii"), "splits.txt")


# --- Accepted, rejected


def test_every_record_is_accepted_or_rejected_with_its_reason(tmp_path):
    records = [
        report(0),
        Rejection("medical_reports", "line 1", Reason.MALFORMED_ROW, "no JSON"),
        report(2, "images/gone.png"),
        report(3, "images/0.png"),  # says something else of the picture of line 0
        report(4, "images/0.png", text="Report 0."),  # says the same
        report(5, "images/copy.png", text="Report 0."),  # the same pixels in another file
    ]
    images = {
        "images/gone.png": {"code": "image_missing", "message": "no file"},
        "images/copy.png": {"data": b"the bytes of images/0.png" * 3},
    }
    decisions = settled(tmp_path / "d", make_stage(tmp_path / "s", records, images))
    assert codes_of(decisions) == {
        "line 1": "malformed_row", "line 2": "image_missing", "line 4": "duplicate_row", "line 5": "duplicate_image",
    }  # fmt: skip
    messages = {rejection.item: rejection.message for rejection in decisions.rejections(0)}
    assert messages["line 1"] == "no JSON" and messages["line 2"] == "no file" and "line 0" in messages["line 5"]
    assert (decisions.count("accepted", 0), decisions.count("rejections", 0)) == (2, 4)
    assert {rejection.source for rejection in decisions.rejections(0)} == {"medical_reports"}


@pytest.mark.parametrize("choice", ["reject", "keep_lower"])
def test_a_source_settles_what_is_said_of_one_picture(tmp_path, choice):
    """It gets all records of a picture in their order, and the values of its options."""
    seen = []

    def settle(records, settings):
        seen.append(([record.item for record in records], settings))
        yield replace(records[-1], text="merged")
        yield from (Rejection("", record.item, Reason.CONFLICTING_LABELS, "differs") for record in records[:-1])

    records = [report(n, f"images/{n % 3}.png") for n in range(7)]
    stage = make_stage(tmp_path / "s", records, source=source_of("medical_reports", settle=settle))
    decisions = settled(tmp_path / "d", stage, choices={"knee_conflicts": choice})
    assert sorted(seen) == [
        (items, {"knee_conflicts": choice})
        for items in (["line 0", "line 3", "line 6"], ["line 1", "line 4"], ["line 2", "line 5"])
    ]
    assert codes_of(decisions) == dict.fromkeys([f"line {n}" for n in range(4)], "conflicting_labels")
    assert decisions.count("accepted", 0) == 3
    decisions.make_groups()
    decisions.assign_splits(Fractions(), "group", {})
    assert [one.record.text for (one,) in decisions.accepted(0)] == ["merged"] * 3


def test_a_source_that_forgets_a_record_is_an_error(tmp_path):
    source = source_of("medical_reports", settle=lambda records, settings: iter(records[:1]))
    stage = make_stage(tmp_path / "s", [report(0), report(1, "images/0.png")], source=source)
    with pytest.raises(AssertionError, match=r"medical_reports: settle gave no answer for \['line 1'\]"):
        settled(tmp_path / "d", stage)


def test_records_with_one_item_are_not_mixed_up(tmp_path):
    """A table may name a line twice; each record keeps its own image."""
    records = [report(0, "images/a.png"), report(0, "images/b.png", text="Another.")]
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", records))
    found = [(one.record.text, one.record.image, one.image["content"]) for (one,) in decisions.accepted(0)]
    assert [one[:2] for one in found] == [("Report 0.", "images/a.png"), ("Another.", "images/b.png")]
    assert found[0][2] != found[1][2]


def test_nothing_accepted_is_an_error_that_names_the_first_reason(tmp_path):
    gone = {"images/1.png": {"code": "image_missing", "message": "no file 'images/1.png'"}}
    records = [report(1), Rejection("medical_reports", "line 2", Reason.MALFORMED_ROW, "no JSON")]
    stage = make_stage(tmp_path / "s", records, gone)
    with pytest.raises(BuildError, match=r"2 were rejected, the first is line 1: no file 'images/1\.png'"):
        settled(tmp_path / "d", stage)
    with pytest.raises(BuildError, match=r"no row was accepted; 0 were rejected$"):
        settled(tmp_path / "e", make_stage(tmp_path / "t", []))


def test_rejections_come_in_the_order_of_the_source(tmp_path):
    """Whatever found them: its reader, a worker, or its settling."""
    rng = random.Random(1)
    records, images = [], {}
    for number in range(60):
        fate = rng.randrange(4)
        if fate == 0:
            records.append(Rejection("medical_reports", f"line {number}", Reason.TEXT_EMPTY, "no text"))
        elif fate == 1:
            images[f"images/{number}.png"] = {"code": "image_missing", "message": "no file"}
            records.append(report(number))
        elif fate == 2:
            records.append(report(number, "images/same.png", text="The same."))
        else:
            records.append(report(number))
    decisions = settled(tmp_path / "d", make_stage(tmp_path / "s", records, images))
    numbers = [int(item.split()[1]) for item in codes_of(decisions)]
    assert numbers == sorted(numbers) and len(set(codes_of(decisions).values())) == 3
    assert len(numbers) + decisions.count("accepted", 0) == 60


# --- What ties records together


def test_the_keys_of_a_record():
    record = report(1, groups=("patient:7", "study:x"), conversation="c 1")
    assert group_keys(record, {"pixels": "9f", "groups": '["patient:aa"]'}) == [
        "image:9f", "medical_reports/patient:7", "medical_reports/study:x", "medical_reports/patient:aa",
        "medical_reports/conversation:c 1",
    ]  # fmt: skip


def tied(tmp_path, *stages, distance: int = 15) -> set[frozenset[str]]:
    """The records of each group, as `source item`."""
    decisions, _ = decide(tmp_path / "d", *stages, distance=distance)
    groups = defaultdict(set)
    for number, stage in enumerate(stages):
        for item, (group, _) in rows_of(decisions, number).items():
            groups[group].add(f"{stage.source.name} {item}")
    return {frozenset(items) for items in groups.values()}


@pytest.mark.parametrize("key", ["patient:7", "study:7", "lesion:7", "image:7"])
def test_a_key_of_a_source_ties_its_own_records_only(tmp_path, key):
    first = make_stage(tmp_path / "a", [report(n, groups=(key,) * (n < 2)) for n in range(3)])
    others = [report(n, f"images/1{n}.png", source="other", groups=(key,)) for n in range(2)]
    second = make_stage(tmp_path / "b", others, source=source_of("other"))
    assert tied(tmp_path, first, second) == {
        frozenset(["medical_reports line 0", "medical_reports line 1"]),
        frozenset(["medical_reports line 2"]),
        frozenset(["other line 0", "other line 1"]),
    }


def test_a_conversation_ties_its_records(tmp_path):
    stage = make_stage(tmp_path / "s", [report(n, conversation="c" * (n < 2)) for n in range(4)])
    assert sorted(map(len, tied(tmp_path, stage))) == [1, 1, 2]


def test_what_the_image_file_says_of_its_patient_ties(tmp_path):
    images = {f"images/{n}.png": {"groups": ["patient:aa"]} for n in range(2)}
    stage = make_stage(tmp_path / "s", [report(n) for n in range(3)], images)
    assert sorted(map(len, tied(tmp_path, stage))) == [1, 2]


def test_a_picture_ties_records_of_different_sources(tmp_path):
    same = {"data": b"one picture"}
    reports = make_stage(tmp_path / "a", [report(0), report(1)], {"images/0.png": same})
    slake = make_stage(
        tmp_path / "b", [question(0, 5), question(1, 6)], {"imgs/5/source.jpg": same}, source_of("slake")
    )
    assert tied(tmp_path, reports, slake) == {
        frozenset(["medical_reports line 0", "slake row 0"]),
        frozenset(["medical_reports line 1"]),
        frozenset(["slake row 1"]),
    }


def hash_of(*bits: int) -> dict[str, str]:
    """A perceptual hash that is a fixed noise but for some bits."""
    value = random.Random(0).getrandbits(256)
    for bit in bits:
        value ^= 1 << bit
    return {"perceptual": value.to_bytes(32).hex()}


def test_near_duplicates_tie_records_and_their_distance_counts(tmp_path):
    images = {"images/0.png": hash_of(), "images/1.png": hash_of(*range(15)), "images/2.png": hash_of(*range(100))}
    reports = make_stage(tmp_path / "a", [report(n) for n in range(3)], images)
    slake = make_stage(tmp_path / "b", [question(0, 1)], {"imgs/1/source.jpg": hash_of(*range(20))}, source_of("slake"))
    assert tied(tmp_path / "15", reports, slake) == {  # 15 bits to the first, 5 from there to the picture in SLAKE
        frozenset(["medical_reports line 0", "medical_reports line 1", "slake row 0"]),
        frozenset(["medical_reports line 2"]),
    }
    assert frozenset(["medical_reports line 0"]) in tied(tmp_path / "14", reports, slake, distance=14)
    decisions = settled(tmp_path / "d", reports, slake)
    assert decisions.find_near_duplicates(15) == {
        "distance": 15, "pairs": 2, "images": 3, "clusters": 1, "largest": 3,
    }  # fmt: skip


def test_a_copy_that_is_left_out_ties_its_patient_to_the_picture(tmp_path):
    """Two patients with one picture: the row of one of them is kept, and the other's further pictures go with it."""
    records = [
        report(0, groups=("patient:1",)),
        report(1, "images/0.png", text="Report 0.", groups=("patient:2",)),
        report(2, groups=("patient:2",)),
        report(3, groups=("patient:3",)),
    ]
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", records))
    assert codes_of(decisions) == {"line 1": "duplicate_row"}
    groups = rows_of(decisions)
    assert groups["line 0"] == groups["line 2"] != groups["line 3"]


def test_the_patient_in_the_file_of_a_copy_that_is_left_out_stays_with_the_picture(tmp_path):
    """Two DICOM files of one picture that name two patients, and a third of the second patient."""
    records = [report(0), report(1, text="Report 0."), report(2), report(3)]
    same, second = {"data": b"one picture"}, {"groups": ["patient:bb"]}
    images = {"images/0.png": same | {"groups": ["patient:aa"]}, "images/1.png": same | second, "images/2.png": second}
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", records, images))
    groups = rows_of(decisions)
    assert len(codes_of(decisions)) == 1 and groups["line 0"] == groups["line 2"] != groups["line 3"]


def test_groups_are_named_after_what_is_least_likely_to_change(tmp_path):
    records = [report(0, groups=("study:1", "patient:9")), report(1, groups=("study:1",)), report(2)]
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", records))
    names = {item: group for item, (group, _) in rows_of(decisions).items()}
    assert names["line 0"] == names["line 1"] == "medical_reports/patient:9"
    assert names["line 2"].startswith("image:")


# --- Random sources, against plain sets

serial = count()


def random_records(rng: random.Random, size: int, start: int = 0) -> list:
    """Reports that share patients, studies and pictures here and there."""
    records = []
    for number in range(start, start + size):
        groups = tuple(f"{kind}:{rng.randrange(size)}" for kind in ("patient", "study") if rng.random() < 0.4)
        image = f"images/{rng.choice([number, number, rng.randrange(number + 1)])}.png"
        language = rng.choice(("en", "en", "zh"))
        records.append(report(number, image, groups=groups, language=language))
    return records


def decided_for(tmp_path, records, **options):
    number = next(serial)
    return decide(tmp_path / f"d{number}", make_stage(tmp_path / f"s{number}", records), **options)


def plain_groups(records) -> set[frozenset[str]]:
    """Sets of items that share a key, merged until none do."""
    found: list[tuple[set, set]] = []
    for record in records:
        keys, items = {record.image, *record.groups}, {record.item}
        for one in [one for one in found if one[0] & keys]:
            found.remove(one)
            keys, items = keys | one[0], items | one[1]
        found.append((keys, items))
    return {frozenset(items) for _, items in found}


@pytest.mark.parametrize("seed", range(15))
def test_groups_are_the_records_that_share_something_directly_or_not(tmp_path, seed):
    records = random_records(random.Random(seed), 40)
    decisions, _ = decided_for(tmp_path, records, fractions=HALF)
    groups, splits = defaultdict(set), defaultdict(set)
    for item, (group, split) in rows_of(decisions).items():
        groups[group].add(item)
        splits[group].add(split)
    assert {frozenset(items) for items in groups.values()} == plain_groups(records)
    assert all(len(split) == 1 for split in splits.values())
    counted = defaultdict(int)
    for (split,) in splits.values():
        counted[split] += 1
    assert decisions.count_groups() == {split: counted[split] for split in SPLITS if counted[split]}


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_the_rows_makes_no_difference(tmp_path, seed):
    rng = random.Random(seed)
    records = random_records(rng, 40)
    found = [
        rows_of(decided_for(tmp_path, order, fractions=HALF)[0])
        for order in (records, rng.sample(records, len(records)))
    ]
    assert found[0] == found[1]


# --- The next build


@pytest.mark.parametrize("seed", range(15))
def test_more_rows_move_none_that_were_there(tmp_path, seed):
    """Unless they tie groups of two splits together: then `train` wins, and the group is reported."""
    rng = random.Random(seed)
    records = random_records(rng, 40)
    old, _ = decided_for(tmp_path, records, fractions=HALF)
    more = rng.sample(records + random_records(rng, 12, start=40), 52)
    new, assigned = decided_for(tmp_path, more, fractions=HALF, memory=remembered(old))
    before, after = rows_of(old), rows_of(new)
    splits_before = defaultdict(set)
    for item, (_, split) in before.items():
        splits_before[after[item][0]].add(split)
    assert set(assigned["moved"]) == {group for group, splits in splits_before.items() if len(splits) > 1}
    for item, (_, split) in before.items():
        group, split_now = after[item]
        if group not in assigned["moved"]:
            assert split_now == split
        else:
            assert split_now == next(name for name in SPLITS if name in splits_before[group])


def test_rows_that_tie_a_test_group_to_a_training_group(tmp_path):
    names = [f"patient:{n}" for n in range(60)]
    splits = {name: split_of(f"medical_reports/{name}", HALF) for name in names}
    held_out = next(name for name in names if splits[name] == "test")
    trained = next(name for name in names if splits[name] == "train")
    records = [report(n, groups=(name,)) for n, name in enumerate(names)]
    old, assigned = decided_for(tmp_path, records, fractions=HALF)
    assert assigned["moved"] == []
    tie = report(99, groups=(held_out, trained))
    new, assigned = decided_for(tmp_path, [*records, tie], fractions=HALF, memory=remembered(old))
    assert assigned["moved"] == [min(f"medical_reports/{name}" for name in (held_out, trained))]
    before, after = rows_of(old), rows_of(new)
    changed = {item for item in before if before[item][1] != after[item][1]}
    assert changed == {f"line {names.index(held_out)}"} and after["line 99"][1] == "train"


def test_a_group_that_fills_a_gap_stays_when_another_would_be_next_in_line(tmp_path):
    """A stratum so small that validation gets its one group by force. More rows change who would be chosen."""
    for start in range(100, 10_000, 100):
        few = [report(n, groups=(f"patient:{n}",), language="zh") for n in range(start, start + 10)]
        more = [report(n, groups=(f"patient:{n}",), language="zh") for n in range(start + 10, start + 13)]
        if all(split_of(f"medical_reports/{r.groups[0]}", Fractions(0.1)) == "train" for r in few + more):
            old, _ = decided_for(tmp_path, few, fractions=Fractions(0.1))
            (forced,) = (item for item, (_, split) in rows_of(old).items() if split == "validation")
            without, _ = decided_for(tmp_path, few + more, fractions=Fractions(0.1))
            if rows_of(without)[forced][1] == "train":
                break
    else:
        raise AssertionError("no case found")
    new, assigned = decided_for(tmp_path, few + more, fractions=Fractions(0.1), memory=remembered(old))
    assert {item for item, (_, split) in rows_of(new).items() if split == "validation"} == {forced}
    assert assigned == {"coverage": [], "moved": [], "kept": len(few), "groups": len(few) + len(more)}


def test_a_group_whose_name_changes_keeps_its_split(tmp_path):
    """A table that did not name patients names them now: all groups have other names."""
    records = [report(n) for n in range(60)]
    old, _ = decided_for(tmp_path, records, fractions=HALF)
    named = [replace(record, groups=(f"patient:{n}",)) for n, record in enumerate(records)]
    new, _ = decided_for(tmp_path, named, fractions=HALF, memory=remembered(old))
    fresh, _ = decided_for(tmp_path, named, fractions=HALF)
    splits = [{item: split for item, (_, split) in rows_of(one).items()} for one in (old, new, fresh)]
    assert splits[0] == splits[1] != splits[2]


def test_no_row_that_was_there_fills_a_gap(tmp_path):
    """An earlier build had no validation set: new groups alone can become one, and where there are none it is told."""
    records = [report(n, groups=(f"patient:{n}",)) for n in range(40)]
    old, _ = decided_for(tmp_path, records, fractions=Fractions(0))
    same, assigned = decided_for(tmp_path, records, fractions=HALF, memory=remembered(old))
    assert {split for _, split in rows_of(same).values()} == {"train"}
    (gap,) = assigned["coverage"]
    assert (gap["missing"], gap["why"]) == (["validation", "test"], "all are taken")
    more = [report(n, groups=(f"patient:{n}",)) for n in range(40, 60)]
    new, assigned = decided_for(tmp_path, records + more, fractions=HALF, memory=remembered(old))
    splits = {item: split for item, (_, split) in rows_of(new).items()}
    assert {splits[record.item] for record in records} == {"train"} and assigned["coverage"] == []
    assert {splits[record.item] for record in more} == set(SPLITS)


def test_rows_that_go_and_come_back_are_where_they_were(tmp_path):
    """Over three builds, of which the second lacks half of the rows."""
    records = [report(n, groups=(f"patient:{n}",)) for n in range(60)]
    first, _ = decided_for(tmp_path, records, fractions=HALF)
    second, _ = decided_for(tmp_path, records[:30], fractions=Fractions(0.1), memory=remembered(first))
    third, _ = decided_for(tmp_path, records, fractions=Fractions(0.1), memory=remembered(second))
    assert rows_of(third) == rows_of(first) and remembered(third) == remembered(first)
    assert rows_of(decided_for(tmp_path, records, fractions=Fractions(0.1))[0]) != rows_of(first)


def test_the_memory_holds_every_key_and_names_none(tmp_path):
    decisions, _ = decided_for(tmp_path, [report(0, groups=("patient:Jane Doe",)), report(1)], fractions=HALF)
    lines = list(decisions.memory())
    assert len(lines) == 3 and lines == sorted(lines) and "Jane" not in "".join(lines)


def test_two_readers_of_one_stage_do_not_disturb_each_other(tmp_path):
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", [report(n) for n in range(4)]))
    first, second = decisions.accepted(0), decisions.accepted(0)
    found = [[next(reader)[0].record.item for reader in (first, second)] for _ in range(2)]
    assert found == [["line 0", "line 0"], ["line 1", "line 1"]]
    assert [len(list(reader)) for reader in (second, first)] == [2, 2]


def test_a_build_over_an_earlier_one_keeps_its_splits(tmp_path):
    """The file `splits.txt` of the folder that is replaced; dropped where other shares are asked for."""

    def splits_of(output: str) -> dict[str, str]:
        return {line["image"]: line["split"] for line in read_lines(tmp_path / output / "chat_instructions.jsonl")}

    rows = [report_row(n, patient_id=str(n // 2)) for n in range(40)]
    sources = {"--reports_dir": write_reports(tmp_path / "reports", rows)}
    flags = ("--val_fraction", "0.25", "--test_fraction", "0.25", "--near_distance", "0")
    assert build_here(sources, tmp_path / "out", *flags)["moved"] == 0
    before = splits_of("out")
    # further images of known patients, new patients, and a row that ties a test patient to a training one
    held_out, trained = (next(n for n in range(40) if before[f"{tmp_path}/reports/images/{n}.png"] == split)
                         for split in ("test", "train"))  # fmt: skip
    rows += [report_row(n, patient_id=str(n - 30)) for n in range(40, 60)]
    rows += [report_row(60, image=f"images/{held_out}.png", patient_id=str(trained // 2))]
    write_reports(tmp_path / "reports", rows)
    report = build_here(sources, tmp_path / "out", *flags, "--overwrite")
    after = splits_of("out")
    assert report["moved"] == 1 and set(before.values()) == set(SPLITS)
    tied = {f"{tmp_path}/reports/images/{n}.png" for n in range(40) if n // 2 == held_out // 2}
    assert {image for image in before if before[image] != after[image]} == tied
    assert {after[image] for image in tied} == {"train"}
    other = ("--val_fraction", "0.5", "--near_distance", "0")
    build_here(sources, tmp_path / "out", *other, "--overwrite")
    build_here(sources, tmp_path / "fresh", *other)
    assert splits_of("out") == splits_of("fresh") != after


# --- The sources' own splits


def official(tmp_path, **options):
    questions = [
        question(n, n // 2, official_split=("train", "test")[n % 2] if n < 10 else "validation") for n in range(14)
    ]
    slake = make_stage(tmp_path / "a", questions, source=source_of("slake"))
    reports = make_stage(tmp_path / "b", [report(n, groups=(f"patient:{n}",)) for n in range(40)])
    return questions, decide(tmp_path / "d", slake, reports, split_by="official", **options)


def test_official_splits_are_taken_where_a_source_has_them(tmp_path):
    questions, (decisions, _) = official(tmp_path, fractions=HALF)
    assert {item: split for item, (_, split) in rows_of(decisions).items()} == {
        record.item: record.official_split for record in questions
    }
    for item, (group, split) in rows_of(decisions, 1).items():
        assert group == f"medical_reports/patient:{item.split()[1]}" and split in SPLITS
    assert {split for _, split in rows_of(decisions, 1).values()} == set(SPLITS)
    # five pictures of SLAKE are in two of its splits: they count in both
    assert sum(decisions.count_groups().values()) == 7 + 5 + 40


def test_the_coverage_is_that_of_the_official_splits(tmp_path):
    """Not of those that the groups would have had."""
    _, (decisions, assigned) = official(tmp_path, fractions=Fractions(0.05, 0.05))
    assert {split for _, split in rows_of(decisions).values()} == set(SPLITS)
    assert assigned["coverage"] == []
    only = [question(n, n, official_split="train") for n in range(40)]
    stage = make_stage(tmp_path / "only", only, source=source_of("slake"))
    _, assigned = decide(tmp_path / "e", stage, split_by="official", fractions=Fractions(0.25))
    (gap,) = assigned["coverage"]
    assert (gap["source"], gap["language"], gap["groups"], gap["missing"]) == ("slake", "en", 40, ["validation"])
    assert gap["why"] == "its own splits have none"


# --- Read when rows are made


def test_records_are_listed_together_in_place_of_the_first(tmp_path):
    records = [question(0, 1), question(1, 2), question(2, 1), question(3, 1, "zh"), question(4, 2)]
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", records, source=source_of("slake")), turns="multi")

    def listed(together: str) -> list[list[str]]:
        return [[one.record.item for one in members] for members in decisions.accepted(0, together)]

    assert listed("accepted.id") == [[f"row {n}"] for n in range(5)]
    assert listed(ONE_IMAGE) == [["row 0", "row 2"], ["row 1", "row 4"], ["row 3"]]
    assert listed(ONE_CONVERSATION) == [["row 0", "row 2"], ["row 1", "row 4"], ["row 3"]]


def test_what_is_listed_together_is_in_one_split(tmp_path):
    """With the sources' own splits an image can be in two: a caption for each."""
    records = [question(n, 0, official_split=("train", "test")[n % 2]) for n in range(4)]
    stage = make_stage(tmp_path / "s", records, source=source_of("slake"))
    decisions, _ = decide(tmp_path / "d", stage, split_by="official")
    found = [([one.record.item for one in members], members[0].split) for members in decisions.accepted(0, ONE_IMAGE)]
    assert found == [(["row 0", "row 2"], "train"), (["row 1", "row 3"], "test")]


def test_which_records_are_one_conversation():
    both = report(0, conversation="c"), report(1, conversation="c")
    assert conversation_of(both[0], "single") != conversation_of(both[1], "single")  # their texts differ
    same = [replace(record, text="Both views.") for record in both]
    assert conversation_of(same[0], "single") == conversation_of(same[1], "multi") is not None
    assert conversation_of(report(0), "single") is conversation_of(report(0), "multi") is None
    assert conversation_of(question(0, 1), "single") is None
    assert conversation_of(question(0, 1), "multi") == conversation_of(question(9, 1), "multi")
    assert conversation_of(question(0, 1), "multi") != conversation_of(question(0, 1, "zh"), "multi")


def test_the_number_of_a_record_leaves_room_for_a_trillion():
    assert 1 << STAGE_SHIFT > 10**12 and (1000 << STAGE_SHIFT) < 2**63


def test_a_record_comes_back_as_it_was(tmp_path):
    record = report(0, groups=("patient:张",), metadata={"": "x", "a": [1, None, 0.1], "n": 2**70}, conversation="c\n")
    record.text = 'caf\u00e9 "\u2028" \U0001f600'
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", [record]))
    ((found,),) = decisions.accepted(0)
    assert found.record == record and json.loads(found.image["groups"]) == []


def test_repeats_are_dropped_where_a_source_does_not_settle(tmp_path):
    assert source_of("slake").settle in (None, drop_repeats)
    records = [question(0, 1), replace(question(1, 1), question="Question 0?")]
    decisions = settled(tmp_path / "d", make_stage(tmp_path / "s", records, source=source_of("slake")))
    assert codes_of(decisions) == {"row 1": "duplicate_row"}
