"""Checks that a split that is broken by hand is found before anything is written, for every kind of key."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict

import pytest

from hub_datasets.build import build
from hub_datasets.errors import BuildError
from hub_datasets.splits import leakage
from hub_datasets.splits.assignment import Decisions
from hub_datasets.splits.groups import Fractions
from tests.hub_datasets.checked import build_here, options_for
from tests.hub_datasets.hand_made import decide, make_stage, question, report, source_of
from tests.hub_datasets.layouts import png, report_row, slake_row, tree, write_files, write_reports, write_slake

HALF = Fractions(0.25, 0.25)
BITS = random.Random(0).getrandbits(256)
LOOKS = {"perceptual": BITS.to_bytes(32).hex()}
LOOKS_ALIKE = {"perceptual": (BITS ^ 0b1011).to_bytes(32).hex()}


@pytest.fixture
def decisions(tmp_path):
    """Two sources in which each kind of key ties two records."""
    records = [
        report(0, "images/a.png"),
        report(1, "images/a.png"),
        report(2, groups=("patient:1",)),
        report(3, groups=("patient:1",)),
        report(4, groups=("study:1",)),
        report(5, groups=("study:1",)),
        report(6, conversation="c"),
        report(7, conversation="c"),
        report(8, groups=("lesion:1",)),
        report(9, groups=("lesion:1",)),
        report(10),
        report(11),
        *(report(n) for n in range(20, 40)),
    ]
    images = {"images/10.png": LOOKS, "images/11.png": LOOKS_ALIKE, "images/20.png": {"data": b"in both sources"}}
    reports = make_stage(tmp_path / "a", records, images)
    both = {"imgs/0/source.jpg": {"data": b"in both sources"}}
    slake = make_stage(tmp_path / "b", [question(n, n) for n in range(3)], both, source_of("slake"))
    return decide(tmp_path / "d", reports, slake, fractions=HALF)[0]


def move(decisions: Decisions, item: str) -> None:
    """Puts one record into another split, as a fault in this code would."""
    query = "SELECT id, split FROM accepted WHERE record ->> 1 = ?"
    ((number, split),) = decisions.database.execute(query, (item,)).fetchall()
    other = "test" if split != "test" else "train"
    decisions.database.execute("UPDATE accepted SET split = ? WHERE id = ?", (other, number))


def test_a_sound_split_passes_and_all_that_was_checked_is_counted(decisions):
    found = leakage.find_leaks(decisions)
    leakage.refuse_leaks(found)
    assert found["checked"] == {
        "image": 31 + 2, "near_duplicate": 1, "patient": 1, "study": 1, "image_number": 3, "conversation": 1,
        "lesion": 1,
    }  # fmt: skip
    assert found["leaks"] == dict.fromkeys(found["checked"], 0) and found["examples"] == []


@pytest.mark.parametrize(
    ("items", "kind"),
    [
        (("line 0", "line 1"), "image"),
        (("line 2", "line 3"), "patient"),
        (("line 4", "line 5"), "study"),
        (("line 6", "line 7"), "conversation"),
        (("line 8", "line 9"), "lesion"),
        (("line 10", "line 11"), "near_duplicate"),
        (("line 20", "row 0"), "image"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ",
)
@pytest.mark.parametrize("which", [0, 1])
def test_a_leak_of_each_kind_is_found_and_named(decisions, items, kind, which):
    move(decisions, items[which])
    found = leakage.find_leaks(decisions)
    assert {kind: number for kind, number in found["leaks"].items() if number} == {kind: 1}
    (example,) = found["examples"]
    assert all(re.search(rf"(train|validation|test) has {item}\b", example) for item in items)
    with pytest.raises(BuildError) as refused:
        leakage.refuse_leaks(found)
    message = str(refused.value)
    assert message.startswith(f"1 leaks between splits ({kind} 1); nothing was written") and example in message


def test_ten_leaks_of_a_kind_are_named_and_all_are_counted(tmp_path):
    records = [report(n, groups=(f"patient:{n // 2}",)) for n in range(60)]
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", records))
    for number in range(0, 50, 2):
        move(decisions, f"line {number}")
    found = leakage.find_leaks(decisions)
    assert found["leaks"]["patient"] == 25 and len(found["examples"]) == 10
    with pytest.raises(BuildError, match=r"25 leaks between splits \(patient 25\)") as refused:
        leakage.refuse_leaks(found)
    assert len(str(refused.value).splitlines()) == 11


@pytest.mark.parametrize("seed", range(8))
def test_leaks_of_random_splits_are_those_of_a_plain_count(tmp_path, seed):
    rng = random.Random(seed)
    records = []
    for number in range(50):
        groups = tuple(f"{kind}:{rng.randrange(30)}" for kind in ("patient", "study") if rng.random() < 0.5)
        records.append(report(number, f"images/{rng.randrange(35)}.png", groups=groups))
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", records))
    splits = {record.item: rng.choice(("train", "validation", "test")) for record in records}
    for item, split in splits.items():
        decisions.database.execute("UPDATE accepted SET split = ? WHERE record ->> 1 = ?", (split, item))
    having = defaultdict(set)
    for record in records:
        for key in (f"image:{record.image}", *record.groups):
            having[key].add(splits[record.item])
    found = leakage.find_leaks(decisions)
    for kind in ("image", "patient", "study"):
        of_kind = [where for key, where in having.items() if key.startswith(kind)]
        assert found["checked"][kind] == len(of_kind)
        assert found["leaks"][kind] == sum(len(where) > 1 for where in of_kind) > 0


# --- In a whole build


def test_nothing_is_written_where_there_is_a_leak(tmp_path, monkeypatch):
    """The code that assigns splits is broken; the earlier build stays, and the next one may replace it."""
    reports = write_reports(tmp_path / "reports", [report_row(n, patient_id=str(n // 2)) for n in range(12)])
    build_here({"--reports_dir": reports}, tmp_path / "out", "--num_shards", "2")
    earlier = tree(tmp_path / "out")
    whole = Decisions.assign_splits

    def broken(self, *arguments):
        assigned = whole(self, *arguments)
        move(self, "reports.jsonl line 3")
        return assigned

    monkeypatch.setattr(Decisions, "assign_splits", broken)
    with pytest.raises(BuildError, match=r"1 leaks between splits \(patient 1\); nothing was written"):
        build_here({"--reports_dir": reports}, tmp_path / "out", "--overwrite")
    assert tree(tmp_path / "out") == earlier
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".out.cache",
        "out",
        "out.key",
        "out.names.jsonl",
        "reports",
    ]
    monkeypatch.undo()
    build_here({"--reports_dir": reports}, tmp_path / "out", "--overwrite")
    assert {name for name in earlier if "00001-of" in name} - tree(tmp_path / "out").keys()


def test_a_build_that_found_leaks_leaves_no_folder_in_the_way_of_the_next(tmp_path, monkeypatch):
    reports = write_reports(tmp_path / "reports", [report_row(n, patient_id=str(n // 2)) for n in range(12)])
    found = {"checked": {"patient": 6}, "leaks": {"patient": 1}, "examples": ["patient 1"]}
    monkeypatch.setattr(leakage, "find_leaks", lambda decisions: found)
    with pytest.raises(BuildError, match="nothing was written"):
        build_here({"--reports_dir": reports}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    build_here({"--reports_dir": reports}, tmp_path / "out")


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> tuple[list[tuple[str, dict]], dict]:
    """SLAKE's rows with the split of each, whose images are dealt out to its files at random, and the report."""
    folder = tmp_path_factory.mktemp("official")
    rng, rows, qid = random.Random(3), [], 0
    for name, size in (("train", 60), ("validate", 20), ("test", 25)):
        for _ in range(size):
            rows.append((name, slake_row(qid, rng.randrange(40), f"Question {qid}?", "Yes")))
            qid += 1
    slake = write_slake(folder / "slake", **{
        part: [row for name, row in rows if name == part] for part in ("train", "validate", "test")
    })  # fmt: skip
    # one picture has two numbers
    write_files(slake, {f"imgs/xmlab{n}/source.jpg": png(1) for n in (rows[0][1]["img_id"], rows[-1][1]["img_id"])})
    options = options_for({"--slake_dir": slake}, folder / "out", "--split_by", "official", "--near_distance", "0")
    return rows, build(options)


def test_leaks_of_the_official_splits_are_those_of_a_plain_count(official):
    rows, report = official
    same = {rows[-1][1]["img_id"]: rows[0][1]["img_id"]}
    files, tests = defaultdict(set), Counter()
    for name, row in rows:
        picture = same.get(row["img_id"], row["img_id"])
        files[picture].add(name)
        tests[picture] += name == "test"
    seen = sum(count for picture, count in tests.items() if "train" in files[picture])
    assert report["leakage"]["official"] == {
        "slake": {
            "images": len(files),
            "images_in_several_files": sum(len(names) > 1 for names in files.values()),
            "test_rows": 25,
            "test_rows_seen_in_train": seen,
        }
    }
    assert 0 < seen < 25
    assert report["leakage"]["leaks"]["image"] == sum(len(names) > 1 for names in files.values())
    assert report["leakage"]["checked"]["image"] == len(files)
    assert report["leakage"]["checked"]["image_number"] == len({row["img_id"] for _, row in rows}) == len(files) + 1
    assert report["leakage"]["split_by"] == "official"


def test_with_official_splits_every_row_keeps_its_own_and_leaks_are_reported_only(official):
    rows, report = official
    names = {"train": "train", "validate": "validation", "test": "test"}
    assert report["splits"]["chat"] == Counter(names[name] for name, _ in rows)


def test_sources_without_splits_of_their_own_are_not_reported(tmp_path):
    reports = make_stage(tmp_path / "a", [report(0)])
    slake = make_stage(tmp_path / "b", [question(0, 0, official_split="test")], source=source_of("slake"))
    decisions, _ = decide(tmp_path / "d", reports, slake)
    assert leakage.official_leaks(decisions) == {
        "slake": {"images": 1, "images_in_several_files": 0, "test_rows": 1, "test_rows_seen_in_train": 0}
    }
