"""Checks every number in the report by counting the files beside it, and that every rejection has its line."""

from __future__ import annotations

import io
import json
import random
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from PIL import Image

from hub_datasets.images.hashing import pixel_hash
from hub_datasets.output.report import (
    RowStatistics,
    duplicate_report,
    histogram,
    image_report,
    source_report,
    spread,
    summary,
    write_rejections,
    write_review,
)
from hub_datasets.records import Flag, Ignored, Reason, Rejection
from hub_datasets.schema import SPLITS
from hub_datasets.splits.groups import Fractions
from model_cards.pictures.fonts import font_files
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.hand_made import BY_NAME, decide, make_stage, question, report, settled, source_of
from tests.hub_datasets.layouts import png, read_lines, slake_row, tree, write_files, write_slake

# --- A whole build, counted again


class Counted:
    """A build's files, read without the project's own code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report = json.loads((folder / "report.json").read_text("utf-8"))
        self.rejections = read_lines(folder / "rejections.jsonl")
        self.rows: dict[str, list[dict]] = {}
        for config in ("pairs", "chat"):
            self.rows[config] = [
                {"split": split} | row
                for split in SPLITS
                for path in sorted((folder / config).glob(f"{split}-*.parquet"))
                for row in pq.read_table(path).to_pylist()
            ]

    def images(self) -> dict[bytes, list[dict]]:
        """The rows of both configs by picture: its pixels are decoded here."""
        found, hashes = defaultdict(list), {}
        for config, rows in self.rows.items():
            for row in rows:
                for image in [row["image"]] if config == "pairs" else row["images"]:
                    data = image["bytes"]
                    if data not in hashes:
                        hashes[data] = pixel_hash(Image.open(io.BytesIO(data)))
                    found[hashes[data]].append(row | {"data": data})
        return found


@pytest.fixture(scope="module", params=["small", "sample"])
def counted(request) -> Counted:
    """A build without any fault and one with planted ones, with a test split."""
    return Counted(request.getfixturevalue(f"built_{request.param}").folder)


def items_of(row: dict) -> int:
    """How many records a row of `chat` was made of: the images of one text, or the questions about one image."""
    questions = sum(message["role"] == "user" for message in row["messages"])
    return len(row["images"]) if row["template_id"] else questions


def test_rows_by_split(counted):
    for config, rows in counted.rows.items():
        assert counted.report["splits"][config] == Counter(row["split"] for row in rows)
        assert list(counted.report["splits"][config]) == [
            split for split in SPLITS if any(row["split"] == split for row in rows)
        ]


def test_rows_by_column(counted):
    columns = {
        "pairs": {"source_dataset", "language", "category", "license", "label", "modality", "body_part"},
        "chat": {"source_dataset", "language", "category", "license", "template_id", "context", "answer_type"},
        "regions": {"source_dataset", "category", "license"},
    }
    classes = counted.report["classes"]
    for config, rows in counted.rows.items():
        found = counted.report["rows_by"][config]
        if config == "pairs":
            rows = [row | {"label": row["label"] is not None and classes[row["label"]]} for row in rows]
        assert set(found) == columns[config]
        for column, by_value in found.items():
            expected = defaultdict(Counter)
            for row in rows:
                if row[column]:
                    expected[row[column]][row["split"]] += 1
            assert by_value == expected


def test_what_was_read_was_accepted_or_rejected(counted):
    for name, source in counted.report["sources"].items():
        rejected = Counter(line["code"] for line in counted.rejections if line["source"] == name)
        assert source["rejected"] == rejected and list(source["rejected"]) == sorted(rejected)
        accepted = sum(items_of(row) for row in counted.rows["chat"]
                       if row["source_dataset"] == name and row["context"] == "none")  # fmt: skip
        assert source["accepted"] == accepted and source["read"] == accepted + rejected.total()
    assert len(counted.rejections) == sum(sum(one["rejected"].values()) for one in counted.report["sources"].values())


def test_pictures_of_sources_and_of_all(counted):
    images = counted.images()
    for name, source in counted.report["sources"].items():
        of_source = [rows for rows in images.values() if any(row["source_dataset"] == name for row in rows)]
        assert source["images"] == len(of_source)
    assert counted.report["leakage"]["checked"]["image"] == len(images)
    first = [Image.open(io.BytesIO(rows[0]["data"])) for rows in images.values()]
    found = counted.report["images"]
    assert found["count"] == len(images) and found["bytes"] == sum(len(rows[0]["data"]) for rows in images.values())
    assert found["formats"] == Counter(image.format for image in first)
    for side, values in (("width", [i.width for i in first]), ("height", [i.height for i in first])):
        assert found[side] == {"min": min(values), "median": median_low(values), "max": max(values)}


def test_patients_are_those_that_the_rows_name(counted):
    patients = defaultdict(set)
    for row in counted.rows["pairs"]:
        if patient := json.loads(row["metadata"]).get("patient_id"):
            patients[row["source_dataset"]].add(patient)
    found = {name: source["patients"] for name, source in counted.report["sources"].items()}
    assert found == {name: len(patients[name]) for name in found} and any(found.values()) and not all(found.values())


def test_groups_are_counted_and_none_is_in_two_splits(counted):
    splits = defaultdict(set)
    for rows in counted.rows.values():
        for row in rows:
            splits[row["group_id"]].add(row["split"])
    assert all(len(of_group) == 1 for of_group in splits.values())
    assert counted.report["groups"] == Counter(split for (split,) in splits.values())
    for rows in counted.images().values():
        assert len({row["split"] for row in rows}) == len({row["group_id"] for row in rows}) == 1
    assert set(counted.report["leakage"]["leaks"].values()) == {0} and counted.report["leakage"]["examples"] == []


def test_the_gaps_are_those_of_the_rows(counted):
    settings = counted.report["settings"]
    shares = {"validation": settings["val_fraction"], "test": settings["test_fraction"]}
    shares["train"] = 1 - sum(shares.values())
    strata = defaultdict(lambda: defaultdict(set))
    for rows in counted.rows.values():
        for row in rows:
            strata[row["source_dataset"], row["language"]][row["split"]].add(row["group_id"])
    expected = {}
    for stratum, by_split in strata.items():
        if missing := [split for split in SPLITS if shares[split] > 0 and not by_split[split]]:
            groups = len(set().union(*by_split.values()))
            expected[stratum] = (missing, groups)
            assert groups < 1 / min(shares[split] for split in missing)  # nothing else can be missing here
    found = counted.report["coverage"]
    assert {(gap["source"], gap["language"]): (gap["missing"], gap["groups"]) for gap in found} == expected


def test_lengths_of_texts(counted):
    assert set(counted.report["texts"]) == {"pairs", "chat"}
    for config in ("pairs", "chat"):
        rows = counted.rows[config]
        lengths = defaultdict(list)
        for row in rows:
            said = (
                row["text"]
                if config == "pairs"
                else "".join(turn["content"] for turn in row["plain_messages"] if turn["role"] == "assistant")
            )
            lengths[row["language"]].append(len(said))
        found = counted.report["texts"][config]
        assert set(found) == set(lengths)
        for language, values in lengths.items():
            one = found[language]
            assert (one["min"], one["median"], one["max"]) == (min(values), median_low(values), max(values))
            for low, high, number in one["histogram"]:
                assert number == sum(low <= value < high for value in values)
            assert sum(number for *_, number in one["histogram"]) == len(values)


def test_shards_are_files(counted):
    for config, by_split in counted.report["shards"].items():
        for split, number in by_split.items():
            assert len(list((counted.folder / config).glob(f"{split}-*.parquet"))) == number
        assert set(by_split) == set(counted.report["splits"][config])


def test_copies_and_what_is_to_be_reviewed(counted):
    copies = Counter(
        line["source"] for line in counted.rejections if line["code"] in ("duplicate_image", "duplicate_row")
    )
    assert counted.report["duplicates"]["exact"] == copies
    review = read_lines(counted.folder / "review.jsonl")
    assert counted.report["review"] == {
        "rows": len(review), "flags": Counter(line["kind"] for line in review), "file": "review.jsonl", "ocr": False,
        "unreviewed": len(review), "decisions": {}, "idle": 0,
            "open": {},
    }  # fmt: skip


def test_leaks_of_the_official_splits(counted):
    """From the metadata of the rows, which say where SLAKE had them."""
    images, rows = defaultdict(set), Counter()
    for row in counted.rows["chat"]:
        if row["source_dataset"] == "slake":
            said = json.loads(row["metadata"])
            picture = pixel_hash(Image.open(io.BytesIO(row["images"][0]["bytes"])))
            images[picture].add(said["official_split"])
            rows[picture, said["official_split"]] += 1
    assert counted.report["leakage"]["official"]["slake"] == {
        "images": len(images),
        "images_in_several_files": sum(len(splits) > 1 for splits in images.values()),
        "test_rows": sum(count for (_, split), count in rows.items() if split == "test"),
        "test_rows_seen_in_train": sum(
            count for (picture, split), count in rows.items() if split == "test" and "train" in images[picture]
        ),
    }


def test_the_examples_are_rejections_and_the_report_names_none_of_what_may_not_be_shared(counted):
    lines = {(line["source"], line["item"], line["code"], line["message"]) for line in counted.rejections}
    for name, source in counted.report["sources"].items():
        if source["redistributable"] or source["synthetic"]:
            assert {code: len(named) for code, named in source["examples"].items()} == {
                code: min(3, number) for code, number in source["rejected"].items()
            }
        for code, named in source["examples"].items():
            assert all((name, one["item"], code, one["message"]) in lines for one in named)
        known = BY_NAME[name]
        assert (source["title"], source["homepage"], source["licence"], source["citation"], source["kind"]) == (
            known.title, known.homepage, known.licence, known.citation, known.kind,
        )  # fmt: skip


def test_the_printed_summary_is_that_of_the_report(counted, built_small, built_sample):
    printed = {one.folder: one.printed.stdout for one in (built_small, built_sample)}[counted.folder]
    before, found, _ = printed.partition(summary(counted.report) + "\n")
    assert found and all(line.startswith("medical_reports reports") for line in before.splitlines())


def test_nothing_of_this_machine_is_in_what_is_published(counted):
    """The folders of the sources are named where a person needs them: in `chat_instructions.jsonl` alone."""
    raw = str(counted.folder.parents[2]).encode()
    naming = {name for name, content in tree(counted.folder).items() if raw in content}
    assert naming == {"chat_instructions.jsonl"}


# --- One source


@pytest.fixture
def decisions(tmp_path):
    """Two sources: reports with all kinds of faults, and SLAKE with copies; SLAKE's may be shared."""
    records = [
        *(report(n) for n in range(6)),
        report(6, "images/0.png", text="Report 0."),
        *(report(n, f"gone/{n}.png") for n in range(7, 13)),
        Rejection("medical_reports", "line 13", Reason.TEXT_SHORT, "短"),
        Ignored("medical_reports", "Thumbs.db", "junk file of the operating system"),
    ]
    gone = {f"gone/{n}.png": {"code": "image_missing", "message": f"no file {n}"} for n in range(7, 13)}
    known = {"images/1.png": {"stripped": ["EXIF", "GPS"], "window": "0 to 4095", "width": 99, "format": "JPEG"}}
    flags = {"line 2": [Flag("email", "in the text")], "line 6": [Flag("email", "in the text")]}
    burned = {"images/3.png": {"flags": [Flag("burned_in_text", "top left")], "stripped": ["EXIF"]}}
    reports = make_stage(tmp_path / "a", records, gone | known | burned, flags=flags)
    questions = [question(n, n % 3) for n in range(6)] + [Ignored("slake", f"mask {n}", "no image") for n in range(150)]
    same = question(1, 1)
    same.item = "row 99"
    slake = make_stage(tmp_path / "b", [*questions, same], source=source_of("slake"))
    return decide(tmp_path / "d", reports, slake, fractions=Fractions(0))[0]


def test_the_numbers_of_a_source(decisions):
    left_out = {0: [Ignored("other", "x", "y")], 1: [Ignored("slake", "caption of 1.jpg (en)", "too long")]}
    slake = source_report(decisions, "slake", left_out)
    assert (slake["read"], slake["accepted"], slake["images"]) == (7, 6, 3)
    assert slake["rejected"] == {"duplicate_row": 1}
    assert slake["examples"]["duplicate_row"][0]["item"] == "row 99"
    assert slake["ignored_count"] == 151 and len(slake["ignored"]) == 100 and slake["ignored"][0] == "mask 0: no image"
    known = BY_NAME["slake"]
    assert (slake["title"], slake["licence"], slake["citation"]) == (known.title, known.licence, known.citation)
    assert (slake["synthetic"], slake["redistributable"]) == (False, True)


def test_a_source_that_may_not_be_shared_is_counted_and_not_named(decisions):
    reports = source_report(decisions, "medical_reports", {})
    assert (reports["read"], reports["accepted"]) == (14, 6)
    assert reports["rejected"] == {"duplicate_row": 1, "image_missing": 6, "text_short": 1}
    assert reports["examples"] == {} and reports["ignored"] == [] and reports["ignored_count"] == 1


@pytest.mark.parametrize("query", ["DELETE FROM rejections WHERE item = 'line 7'",
                                   "DELETE FROM accepted WHERE record ->> 1 = 'line 1'"])  # fmt: skip
def test_a_record_that_got_lost_is_an_error(decisions, query):
    decisions.database.execute(query)
    with pytest.raises(AssertionError, match="medical_reports: accepted and rejected do not add up"):
        source_report(decisions, "medical_reports", {})
    assert source_report(decisions, "slake", {})


def test_a_line_for_each_rejection(tmp_path):
    odd = Rejection("medical_reports", 'caf\udce9 "x"\n.png', Reason.TEXT_SHORT, "短\u2028")
    first = make_stage(tmp_path / "a", [report(0), odd, Rejection("medical_reports", "b", Reason.TEXT_EMPTY, "m")])
    second = make_stage(tmp_path / "b", [question(0, 0), Rejection("slake", "c", Reason.MALFORMED_ROW, "m")],
                        source=source_of("slake"))  # fmt: skip
    write_rejections(tmp_path / "rejections.jsonl", settled(tmp_path / "d", first, second))
    assert read_lines(tmp_path / "rejections.jsonl") == [
        {"source": "medical_reports", "item": r'caf\udce9 "x"\n.png', "code": "text_short", "message": r"短\u2028"},
        {"source": "medical_reports", "item": "b", "code": "text_empty", "message": "m"},
        {"source": "slake", "item": "c", "code": "malformed_row", "message": "m"},
    ]
    assert "短" in (tmp_path / "rejections.jsonl").read_text("utf-8")


def test_what_a_person_should_look_at(decisions, tmp_path):
    """Flags of rejected records, too: their files are still in the folder."""
    found = write_review(tmp_path / "review.jsonl", decisions, ocr=True)
    kinds = {"burned_in_text": 1, "email": 2}
    nothing = {"unreviewed": 3, "decisions": {}, "idle": 0}
    assert found == {"rows": 3, "flags": kinds, "file": "review.jsonl", "ocr": True} | nothing
    common = {"source": "medical_reports"}
    email = {"in": "text", "kind": "email", "detail": "in the text"}
    assert read_lines(tmp_path / "review.jsonl") == [
        common | {"item": "line 2"} | email,
        common | {"item": "line 6"} | email,
        common | {"item": "images/3.png", "in": "image", "kind": "burned_in_text", "detail": "top left"},
    ]


def test_what_was_done_to_images(decisions):
    found = image_report(decisions)
    assert found["count"] == 9 and found["formats"] == {"JPEG": 1, "PNG": 8}
    assert found["width"] == {"min": 12, "median": 12, "max": 99}
    assert (found["windowed"], found["stripped"]) == (1, {"EXIF": 2, "GPS": 1})


def test_copies(decisions):
    near = {"clusters": 0}
    assert duplicate_report(decisions, near) == {"exact": {"medical_reports": 1, "slake": 1}, "near": near}


# --- Numbers


@pytest.mark.parametrize("seed", range(20))
def test_spread_and_histogram_of_random_values(seed):
    rng = random.Random(seed)
    values = [rng.randrange(rng.choice([1, 5, 1000])) + rng.choice([0, 7]) for _ in range(rng.randrange(1, 200))]
    assert spread(Counter(values)) == {"min": min(values), "median": median_low(values), "max": max(values)}
    bins = histogram(Counter(values))
    assert 1 <= len(bins) <= 20 and bins[0][0] == min(values) and bins[-1][0] <= max(values) < bins[-1][1]
    assert all(one[1] == other[0] for one, other in pairwise(bins))
    for low, high, number in bins:
        assert number == sum(low <= value < high for value in values)


def test_the_spread_of_nothing():
    assert spread(Counter()) == {"min": 0, "median": 0, "max": 0}


def test_rows_are_counted_by_their_columns():
    statistics = RowStatistics(classes=["s/no", "s/yes"])
    common = {"source_dataset": "s", "language": "en", "category": "c", "license": "", "ungrounded": []}
    common |= {"label": None, "modality": None, "body_part": "knee"}
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"},
             {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "?"},
             {"role": "assistant", "content": "42"}]  # fmt: skip
    statistics.add("pairs", "test", common | {"text": "1234", "label": 0})
    statistics.add("pairs", "train", common | {"text": "12", "category": "d"})
    statistics.add("chat", "train", common | {"plain_messages": turns, "template_id": "", "context": "none",
                                              "answer_type": "OPEN"})  # fmt: skip
    assert statistics.splits() == {"pairs": {"train": 1, "test": 1}, "chat": {"train": 1}}
    assert statistics.rows_by()["pairs"] == {
        "source_dataset": {"s": {"test": 1, "train": 1}}, "language": {"en": {"test": 1, "train": 1}},
        "category": {"c": {"test": 1}, "d": {"train": 1}}, "license": {}, "label": {"s/no": {"test": 1}},
        "modality": {}, "body_part": {"knee": {"test": 1, "train": 1}},
    }  # fmt: skip
    assert statistics.rows_by()["chat"]["answer_type"] == {"OPEN": {"train": 1}}
    assert statistics.rows_by()["chat"]["template_id"] == {}
    assert statistics.texts() == {
        "pairs": {"en": {"min": 2, "median": 2, "max": 4, "histogram": [[2, 3, 1], [3, 4, 0], [4, 5, 1]]}},
        "chat": {"en": {"min": 5, "median": 5, "max": 5, "histogram": [[5, 6, 1]]}},
    }


# --- The summary


def test_the_summary():
    rejected = {"conflicting_labels": 1, "image_missing": 2_000}
    unnamed = {"guarantee": {"warning": "no patient IDs: images of one patient may be in different splits"}}
    made = SimpleNamespace(
        sources={
            "knee_xray": {"read": 3_501, "accepted": 1_500, "rejected": rejected, "ignored_count": 1}
            | {"guarantee": {"warning": ""}},
            "slake": {"read": 1, "accepted": 1, "rejected": {}, "ignored_count": 0} | unnamed,
            "medical_reports": {"read": 1, "accepted": 1, "rejected": {}, "ignored_count": 0} | unnamed,
        },
        splits={"pairs": {"train": 3_000, "validation": 1}, "chat": {"train": 1}},
        duplicates={"near": {"clusters": 2, "images": 1_005}},
        moved=1_002,
        moved_groups=[
            {"group": "s/patient:1", "split": "train", "why": "a row has A and B", "rows": ["t.csv line 3"]},
            *({"group": f"s/patient:{n}", "split": "train", "why": "a row has A and B", "rows": []} for n in (2, 3, 4)),
        ],
        idle_flags=["--window 0:9 has no effect: ..."],
        coverage=[{"source": "slake", "language": "zh", "groups": 3, "missing": ["validation", "test"], "why": "few"}],
        leakage={
            "leaks": {"image": 1_200, "near_duplicate": 3, "patient": 0},
            "official": {
                "slake": {"images_in_several_files": 640, "images": 642},
                "other": {"images_in_several_files": 0, "images": 9},
            },
        },
        review={"flags": {"email": 1_001, "phone_number": 2}, "file": "review.jsonl", "unreviewed": 1_000}
        | {"decisions": {"accept": 2, "reject": 1}, "idle": 1},
        numbered_categories=1_003,
        targets={
            "ungrounded": "strip",
            "rows": {
                "pairs": {
                    "slake": {
                        "en": {"rows": 2_000, "audited": True, "ungrounded": 1_004, "kinds": {"age": 1_004, "sex": 2}},
                        "fr": {"rows": 3, "audited": False, "ungrounded": 0, "kinds": {}},
                    }
                },
                "chat": {},
            },
            "settled": {"slake": {"en": {"age": 1_005}}},
            "variety": {
                "pairs": {
                    "knee_xray": {"train": {"rows": 2_000, "distinct": 5}, "test": {"rows": 3, "distinct": 3}},
                    "slake": {"train": {"rows": 3, "distinct": 2}},
                },
                "chat": {},
            },
        },
    )
    assert summary(vars(made)).splitlines() == [
        "knee_xray: read 3,501, accepted 1,500 (conflicting_labels 1, image_missing 2,000); ignored 1",
        "slake: read 1, accepted 1",
        "medical_reports: read 1, accepted 1",
        "pairs: train 3,000, validation 1",
        "chat: train 1",
        "pairs, slake (en): 1,004 of 2,000 say what no image shows: age 1,004, sex 2",
        "pairs, slake (fr): 3 rows were not audited for such claims",
        "--ungrounded strip, slake (en): records with age 1,005",
        "knee_xray: the texts of its 2,003 pairs repeat: 8 distinct ones, counted in each split",
        "slake, medical_reports: no patient IDs: images of one patient may be in different splits",
        "near-duplicates: 1,005 images in 2 clusters, kept together",
        "no rows of slake (zh) in validation, test: few (3)",
        "1,002 groups changed their split, because new rows connect groups of different splits:",
        "  s/patient:1 is in train now: a row has A and B (t.csv line 3)",
        "  s/patient:2 is in train now: a row has A and B",
        "  s/patient:3 is in train now: a row has A and B",
        "  all of them, with the rows that connect them, are in moved.jsonl",
        "LEAK: 1,200 image in more than one split",
        "LEAK: 3 near duplicate in more than one split",
        "slake: its official splits share 640 of 642 images",
        "--window 0:9 has no effect: ...",
        "to review before sharing (review.jsonl): email 1,001, phone_number 2",
        "--review: accept 2, reject 1; 1,000 flags are not reviewed",
        "--review: 1 decisions have no effect: their rows are not flagged, or rejected anyway",
        "1,003 categories are numbered in the card's pictures, because no installed font has their characters; "
        "for Chinese: pip install 'medpairs[zh]'",
    ]


def test_what_a_build_without_sharing_tells_is_in_its_own_files_only(tmp_path):
    """A report of one's own is named in files that stay here, and in nothing that a push publishes as text."""
    reports = write_files(
        tmp_path / "reports", {"reports.jsonl": '{"image": "Jane_Doe.png", "text": "Clear lungs."}\n'}
    )
    records = [{"image": f"{n}.png", "text": f"Clear lungs {n}."} for n in range(3)]
    write_files(reports, {"more.jsonl": "\n".join(map(json.dumps, records))} | {f"{n}.png": png(n) for n in range(3)})
    build_here({"--reports_dir": reports}, tmp_path / "out")
    naming = {name for name, content in tree(tmp_path / "out").items() if b"Jane_Doe" in content}
    assert naming == {"rejections.jsonl", "records.jsonl"}


@pytest.mark.parametrize("fonts", [1, 2])
def test_a_category_that_no_font_can_draw_is_numbered_and_told(fonts, tmp_path, monkeypatch):
    files = font_files()
    monkeypatch.setattr("model_cards.pictures.fonts.font_files", lambda: files[:fonts])
    rows = [slake_row(n, n, "这是什么?", f"答案{n}", q_lang="zh", location="肺部") for n in range(3)]
    made = build_here({"--slake_dir": write_slake(tmp_path / "slake", train=rows)}, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert made["rows_by"]["pairs"]["category"].keys() == {"肺部"}
    assert made["numbered_categories"] == json.loads((tmp_path / "out/report.json").read_text())["numbered_categories"]
    assert ("`#1` is `肺部`" in card) == (made["numbered_categories"] == 1) == (fonts == 1)
    assert ("1 category is numbered in the card's pictures" in summary(made)) == (fonts == 1)
