"""Checks that the dataset card shows the numbers of the report, with front matter that `load_dataset` reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard, DatasetCardData

from hub_datasets.schema import UNGROUNDED_MODES
from model_cards.dataset_card import MODES as CARD_MODES
from model_cards.dataset_card import size_category, write_dataset_card, write_pictures
from model_cards.pictures.fonts import font_files
from tests.model_cards import small_dataset
from tests.model_cards.markdown import front_matter, parse, tables

CONFIGS, SPLITS = ("pairs", "chat"), ("train", "validation", "test")
ROOT = Path(__file__).resolve().parents[2]


def table(text: str, *header: str) -> list[list[str]]:
    """Returns the rows, without the header, of the only table whose header starts with these cells."""
    (found,) = [lines for lines in tables(text) if tuple(lines[0][: len(header)]) == header]
    return found[1:]


def pictures(text: str) -> list[str]:
    inline = [child for token in parse(text) for child in token.children or []]
    return [child.attrs["src"] for child in inline if child.type == "image"]


@pytest.mark.parametrize("made_by", ["dataset", "build"])
def test_the_numbers_are_those_of_the_rows(request, made_by):
    folder = request.getfixturevalue(made_by)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    text = (folder / "README.md").read_text(encoding="utf-8")
    configs_written = list(report["splits"])
    rows = {config: load_dataset(str(folder), config) for config in configs_written}
    counted = {line[0]: line[1:4] for line in table(text, "", "train", "validation", "test")}
    for config in configs_written:
        assert counted[f"rows of {config}"] == [f"{len(rows[config][split]):,}" for split in SPLITS]
        files = [len(list((folder / config).glob(f"{split}-*.parquet"))) for split in SPLITS]
        assert counted[f"files of {config}"] == [str(number) for number in files]
    groups = [set(rows["chat"][split]["group_id"]) | set(rows["pairs"][split]["group_id"]) for split in SPLITS]
    assert counted["groups"] == [f"{len(names):,}" for names in groups]
    for column in ("source_dataset", "language", "license", "category", "template_id", "answer_type"):
        configs = [config for config in configs_written if column in rows[config]["train"].column_names]
        lines = table(text, column, *(f"{config} {split}" for config in configs for split in SPLITS))
        values = {config: [list(rows[config][split][column]) for split in SPLITS] for config in configs}
        found = {value for config in configs for part in values[config] for value in part if value}
        assert {line[0] for line in lines} == found
        for value, *numbers in lines:
            assert numbers == [f"{part.count(value):,}" for config in configs for part in values[config]]
    for name, *numbers in table(text, "source", "read", "accepted", "distinct images"):
        source = report["sources"][name]
        assert numbers[:3] == [f"{source[count]:,}" for count in ("read", "accepted", "images")]
        assert numbers[3] == ", ".join(f"{code} {count:,}" for code, count in source["rejected"].items())
    assert report["fingerprint"] in text and "Synthetic data." in text


def leaves(content, path=()):
    """Yields the path of every number in the report."""
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from leaves(value, (*path, key))
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield path


NUMBERS = list(leaves(small_dataset.make_report()))


def test_the_report_has_numbers():
    assert len(NUMBERS) > 150


def test_every_number_of_the_report_is_on_the_card(card_of, report):
    """Every number is replaced by a different one, all at once; those of the histograms appear only in pictures."""
    shown = {}
    for place, path in enumerate(NUMBERS):
        if "histogram" in path or path[0] == "settings":
            continue
        *above, last = path
        part = report
        for key in above:
            part = part[key]
        part[last] = shown[path] = 7_000_003 + 1_009 * place
    text = card_of(report)
    missing = [path for path, number in shown.items() if not re.search(rf"(?<![\d,]){number:,}(?!,?\d)", text)]
    assert missing == []


def test_the_yaml_is_what_load_dataset_reads(dataset, report):
    text = (dataset / "README.md").read_text(encoding="utf-8")
    fields = front_matter(text)
    assert [config["config_name"] for config in fields["configs"]] == ["pairs", "chat"]
    assert [config.get("default", False) for config in fields["configs"]] == [True, False]
    assert all(config["description"] == "fingerprint 0123456789abcdef" for config in fields["configs"])
    assert fields["language"] == ["en", "zh"]
    assert fields["license"] == "apache-2.0" and fields["size_categories"] == ["n<1K"]
    assert fields["annotations_creators"] == ["machine-generated"] and fields["source_datasets"] == ["original"]
    assert {"radiology", "medical-vqa", "medical-reports", "synthetic"} <= set(fields["tags"])
    assert "dermatology" not in fields["tags"]
    for info in fields["dataset_info"]:
        sizes = {split["name"]: split["num_examples"] for split in info["splits"]}
        assert sizes == report["splits"][info["config_name"]]
        files = list((dataset / info["config_name"]).glob("*.parquet"))
        assert info["download_size"] == sum(file.stat().st_size for file in files) > 10_000
    card = DatasetCard.load(dataset / "README.md")
    assert DatasetCardData(**card.data.to_dict()).to_dict() == card.data.to_dict() == fields


def test_another_fingerprint_is_another_yaml(card_of, report):
    """Otherwise, `load_dataset` would use its cache of the earlier build."""
    before = front_matter(card_of(report))["configs"]
    report["fingerprint"] = "f" * 16
    assert front_matter(card_of(report))["configs"] != before


def test_every_picture_is_there_and_no_other_file(dataset):
    shown = pictures((dataset / "README.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(f"assets/{path.name}" for path in (dataset / "assets").iterdir())
    assert len(shown) == 6 and all((dataset / path).read_bytes().startswith(b"\x89PNG") for path in shown)


def test_without_samples_there_is_no_contact_sheet(card_of, report, tmp_path):
    assert "assets/contact_sheet.png" not in pictures(card_of(report))
    assert not (tmp_path / "assets" / "contact_sheet.png").exists()


def test_chinese_names_are_in_the_pictures(card_of, report):
    assert "show numbers instead" not in card_of(report, small_dataset.samples())


def test_what_pictures_call_by_number_is_explained(card_of, report, monkeypatch):
    monkeypatch.setattr(
        "model_cards.pictures.fonts.font_files", lambda: font_files()[:1]
    )  # as where no font has Chinese
    text = card_of(report, small_dataset.samples())
    assert "show numbers instead" in text and "`#1` is `肺部`." in text
    sources = list(small_dataset.KINDS)
    of_samples = [[sample.source, sample.category, sample.language, sample.text] for sample in small_dataset.samples()]
    lines = [line[1:] for line in table(text, "#", "source")]
    assert sorted(lines) == sorted(of_samples)
    assert [line[0] for line in lines] == sorted((line[0] for line in of_samples), key=sources.index)


def test_the_same_input_gives_the_same_bytes(dataset, tmp_path):
    report = json.loads((dataset / "report.json").read_text(encoding="utf-8"))
    write_pictures(tmp_path, report, small_dataset.samples())
    write_dataset_card(tmp_path, report, small_dataset.write_parquet(tmp_path), small_dataset.samples())
    written = [path.relative_to(tmp_path) for path in sorted(tmp_path.rglob("*")) if path.suffix != ".parquet"]
    written = [path for path in written if (tmp_path / path).is_file()]
    assert len(written) == 9  # README.md, croissant.json, eval.yaml and six pictures
    for path in written:
        assert (tmp_path / path).read_bytes() == (dataset / path).read_bytes(), path


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (["CC-BY-4.0", "CC-BY-4.0", "CC-BY-4.0"], "cc-by-4.0"),
        (["CC-BY-4.0", None, None], "cc-by-4.0"),
        (["CC-BY-4.0", "CC-BY-SA-4.0", None], "other"),
        (["A license of its own", None, None], "other"),
        ([None, None, None], "apache-2.0"),
    ],
)
def test_the_license_is_that_of_the_real_sources(card_of, report, licenses, expected):
    for source, name in zip(report["sources"].values(), licenses, strict=True):
        source["synthetic"] = name is None
        source["licence"] = name or source["licence"]
    text = card_of(report)
    fields = front_matter(text)
    assert fields["license"] == expected
    synthetic = licenses.count(None)
    assert ("> **Synthetic data.**" in text) is (synthetic == 3) is ("synthetic" in fields["tags"])
    assert ("> **Partly synthetic data.**" in text) is (0 < synthetic < 3)
    assert ("found" in fields["annotations_creators"]) is (synthetic < 3)
    assert ("extended|other" in fields["source_datasets"]) is (synthetic < 3)


def test_sources_that_do_not_permit_publication_are_named(card_of, report):
    assert "Redistribution not permitted." not in card_of(report)
    report["sources"]["slake"] |= {"redistributable": False, "synthetic": False}
    text = card_of(report)
    assert "> **Redistribution not permitted.** The license of `slake` does not permit publication." in text
    report["sources"]["slake"]["synthetic"] = True  # synthetic files in its layout have no owner
    assert "Redistribution not permitted." not in card_of(report)


def test_leakage_is_reported(card_of, report):
    text = card_of(report)
    assert "No leakage was found: none of the checked values" in text and "overestimate" not in text
    report["leakage"] |= {
        "split_by": "official",
        "leaks": {"image": 298, "near_duplicate": 2, "patient": 0, "study": 0},
        "examples": ["slake/imgs/xmlab1/source.jpg: train, test"],
        "official": {
            "slake": {
                "images": 642,
                "images_in_several_files": 298,
                "test_rows": 2_094,
                "test_rows_seen_in_train": 1_517,
            }
        },
    }
    text = card_of(report)
    assert "**300 of the checked values occur in more than one split.**" in text and "overestimate" in text
    assert "`slake`: 298 of its 642 images are in more than one of its split files;" in text
    assert "1,517 of its 2,094 test rows are about an image that is also in its training file." in text
    assert "xmlab1/source.jpg: train, test" in text and "The splits overlap, see the section about leakage." in text
    assert "All rows of a group\nare in the same split." not in text and "by the sources are used unchanged." in text
    report["leakage"]["split_by"] = "group"
    text = card_of(report)
    assert "All rows of a group\nare in the same split." in text and "by the sources are not used here." in text


def test_a_report_with_nothing_to_tell(card_of, report):
    """One source, one split, no rejections, nothing stripped or flagged."""
    name = "knee_xray"
    report["sources"] = {name: report["sources"][name] | {"rejected": {}, "examples": {}, "ignored": []}}
    report["splits"] = {config: {"train": 4} for config in CONFIGS}
    report["rows_by"] = {
        config: {column: {"one": {"train": 4}} for column in columns} for config, columns in report["rows_by"].items()
    }
    report |= {"groups": {"train": 4}, "coverage": []}
    report |= {"classes": [], "labels_left_out": {}, "baselines": [], "subgroups": {}}
    report["rows_by"]["pairs"]["label"] = {}
    report["duplicates"]["exact"] = report["images"]["stripped"] = report["review"]["flags"] = {}
    report["review"]["ocr"] = False
    text = card_of(report)
    assert table(text, "", "train")[0][:2] == ["rows of pairs", "4"]
    assert table(text, "source_dataset", "pairs train", "chat train") == [["one", "4", "4"]]
    assert table(text, "source", "read")[0][4] == "none"
    assert "No source contains two images with identical pixels." in text and "No metadata was found." in text
    assert "images were not searched for burned-in text" in text
    assert "### Classes" not in text and "## Subgroups" not in text and "## Baselines" not in text


def test_classes_baselines_and_subgroups(card_of, report):
    text = card_of(report)
    assert table(text, "knee_xray", "train", "share", "validation") == [
        ["Normal", "1", "50.0%", "0", "0.0%", "1", "100.0%"],
        ["Severe", "1", "50.0%", "1", "100.0%", "0", "0.0%"],
    ]
    assert table(text, "source", "split", "rule") == [
        ["slake (zh)", "test", "most frequent answer to the question", "401", "302", "0.753 (0.7086 to 0.7926)"]
    ]
    report["subgroups"]["knee_xray"]["sex"]["male"] = {"train": 3, "validation": 29, "test": 30}
    assert table(card_of(report), "source", "subgroup", "value") == [
        ["knee_xray", "sex", "female", "411", "0, too few to test", "412"],
        ["knee_xray", "sex", "unknown", "413", "0, too few to test", "0, too few to test"],
        ["knee_xray", "sex", "male", "3", "29, too few to test", "30"],
    ]
    assert "```bibtex\n@misc{somebody2021set," in text


def test_a_dataset_of_conversations_alone(dataset, report, tmp_path):
    """With --configs chat: the tables, the pictures and the default config are those of `chat`."""
    from datasets import get_dataset_config_info

    for part in ("splits", "shards", "rows_by", "texts", "bytes"):
        del report[part]["pairs"]
    report["baselines"] = []
    write_pictures(tmp_path, report, [])
    write_dataset_card(tmp_path, report, {"chat": get_dataset_config_info(str(dataset), "chat")}, [])
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    fields = front_matter(text)
    assert [(one["config_name"], one["default"]) for one in fields["configs"]] == [("chat", True)]
    assert fields["language"] == ["en", "zh"] and "### Classes" not in text
    assert table(text, "source_dataset", "chat train", "chat validation", "chat test")


def test_many_values_of_a_column_are_counted_not_dropped(card_of, report):
    report["rows_by"]["pairs"]["category"] = {f"class {number:03}": {"train": 1000 - number} for number in range(50)}
    report["rows_by"]["chat"]["category"] = {}
    text = card_of(report)
    lines = table(text, "category")
    assert [line[0] for line in lines] == [f"class {number:03}" for number in range(40)]
    assert f"10 more values, with {sum(1000 - number for number in range(40, 50)):,} rows in all configs" in text


@pytest.mark.parametrize("missing", list(small_dataset.make_report()))
def test_a_report_that_lacks_something_is_an_error(card_of, report, missing):
    del report[missing]
    with pytest.raises(ValueError, match=missing):
        card_of(report)


def test_repeats_balance_and_claims(card_of, report):
    card = card_of(report)
    assert "| `pairs` | `slake` | train | 105 | 106 | 21 (20.0%) | 108 | Lung 109, Head 110 |" in card
    assert "Most frequent in `pairs` of `slake`: “Often.”" in card
    assert (
        "| `pairs` | `slake` | `en` | 101 | 102 | age 103 |" in card
        and "changed or rejected because of sex 104." in card
    )
    found = report["targets"]["variety"]["pairs"]["slake"]["train"]
    found["categories"] = {f"class {number}": 20 - number for number in range(10)}
    report["targets"]["rows"]["pairs"]["slake"]["en"]["audited"] = False
    card = card_of(report)
    assert "class 7 13 and 2 more |" in card and "| 101 | not searched |" in card


@pytest.mark.parametrize("mode", UNGROUNDED_MODES)
def test_what_became_of_claims(card_of, report, mode):
    report["targets"]["ungrounded"] = mode
    assert CARD_MODES[mode] in card_of(report)


def test_size_category():
    assert [size_category(rows) for rows in (0, 999, 1000, 9999, 10**5, 10**6)] == [
        "n<1K", "n<1K", "1K<n<10K", "1K<n<10K", "100K<n<1M", "n>1M",
    ]  # fmt: skip


def test_the_limits_of_near_duplicates_are_the_measured_ones(card_of, report):
    """Compares each phrase of the limits with the shares of altered copies that were found in every collection."""
    limits = " ".join(card_of(report).partition("## Limits")[2].split())
    measured = json.loads((ROOT / "tests/benchmarks/results/near_duplicates.json").read_text(encoding="utf-8"))
    assert f"{measured['distance']} bits find all or nearly all" in limits
    found: dict[str, list[float]] = {}
    for collection in measured["images"]:
        for alteration, copies in collection["altered"].items():
            found.setdefault(alteration, []).append(copies["found"])
    for phrase, alterations, least, most in (
        ("re-encoded as JPEG", "JPEG of quality 50", 0.9, 1),
        ("re-encoded as JPEG", "JPEG of quality 95", 0.9, 1),
        ("resized with smoothing", "resized to 50%", 0.9, 1),
        ("resized with smoothing", "resized to 200%", 0.9, 1),
        ("a tenth brighter", "brightness 1.1", 0.9, 1),
        ("or darker", "brightness 0.9", 0.9, 1),
        ("most of those cropped by half a percent", "cropped by 0.5% at each side", 0.8, 1),
        ("only some of those cropped by one percent", "cropped by 1% at each side", 0.2, 1),
        ("hardly any of those cropped by two", "cropped by 2% at each side", 0, 0.15),
        ("none that were mirrored", "mirrored (another image)", 0, 0),
        ("or rotated by 90 degrees", "turned by 90 degrees (another image)", 0, 0),
    ):
        assert phrase in limits
        assert least <= min(found[alterations]) and max(found[alterations]) <= most, alterations
