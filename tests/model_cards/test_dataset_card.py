from __future__ import annotations

import copy
import json

import pytest
from datasets import get_dataset_config_info, load_dataset
from huggingface_hub import HfApi

from model_cards.dataset_card import size_category, write_dataset_card
from tests.model_cards.markdown import HOSTILE, front_matter, headings, one_line, tables


@pytest.fixture(scope="module")
def report(build) -> dict:
    return json.loads((build / "report.json").read_text())


@pytest.fixture
def card_of(build, tmp_path):
    """A function: card_of(report) is the card of a build with that report."""

    def write(report: dict) -> str:
        infos = {config: get_dataset_config_info(str(build), config) for config in ("pairs", "chat")}
        write_dataset_card(tmp_path, report, infos)
        return (tmp_path / "README.md").read_text(encoding="utf-8")

    return write


def test_the_numbers_are_those_of_the_rows(build, report):
    text = (build / "README.md").read_text(encoding="utf-8")
    splits, read, *counts, _ = tables(text)
    assert splits[0] == ["config", "train", "validation", "test"]
    rows = {config: load_dataset(str(build), config) for config in ("pairs", "chat")}
    for line in splits[1:3]:
        assert line[1:] == [f"{len(rows[line[0]][split]):,}" for split in splits[0][1:]]
    assert splits[3][0] == "groups"
    for split, groups in zip(splits[0][1:], splits[3][1:], strict=True):
        assert len(set(rows["chat"][split]["group_id"]) | set(rows["pairs"][split]["group_id"])) == int(groups)
    for line in read[1:]:
        source = report["sources"][line[0]]
        assert line[1:4] == [f"{source[name]:,}" for name in ("read", "accepted", "images")]
        assert line[4] == ", ".join(f"{code} {count:,}" for code, count in source["rejected"].items())
        assert line[5] == "synthetic"
    assert len(read) == 5
    assert [table[0][0] for table in counts] == ["source_dataset", "language", "category"]
    for (column, *names), *lines in counts:
        for value, *numbers in lines:
            for split, number in zip(names, numbers, strict=True):
                assert int(number) == list(rows["pairs"][split][column]).count(value)
    assert report["fingerprint"] in text and "Synthetic data." in text


def test_the_yaml_is_what_load_dataset_reads(build, report):
    fields = front_matter((build / "README.md").read_text(encoding="utf-8"))
    assert [config["config_name"] for config in fields["configs"]] == ["pairs", "chat"]
    assert [config.get("default", False) for config in fields["configs"]] == [True, False]
    assert fields["language"] == ["en", "zh"]
    assert fields["license"] == "apache-2.0" and "synthetic" in fields["tags"]
    assert fields["size_categories"] == ["n<1K"]
    for info in fields["dataset_info"]:
        sizes = {split["name"]: split["num_examples"] for split in info["splits"]}
        assert sizes == report["splits"][info["config_name"]]
        files = list((build / info["config_name"]).glob("*.parquet"))
        assert len(files) == 3
        assert info["download_size"] == sum(file.stat().st_size for file in files) > 10_000


def test_the_hub_takes_the_card(build, repo_name):
    api = HfApi()
    api.create_repo(repo_name, repo_type="dataset")
    api.upload_file(
        repo_id=repo_name, repo_type="dataset", path_or_fileobj=build / "README.md", path_in_repo="README.md"
    )
    assert api.dataset_info(repo_name).card_data.pretty_name == "Medical image-text pairs and chats"


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (["CC-BY-4.0", "CC-BY-4.0", "CC-BY-4.0", "CC-BY-4.0"], "cc-by-4.0"),
        (["CC-BY-4.0", None, None, None], "cc-by-4.0"),
        (["CC-BY-4.0", "CC-BY-SA-4.0", None, None], "other"),
        ([None, None, None, None], "apache-2.0"),
    ],
)
def test_the_licence_is_that_of_the_real_sources(card_of, report, licences, expected):
    changed = copy.deepcopy(report)
    for source, licence in zip(changed["sources"].values(), licences, strict=True):
        source["synthetic"] = licence is None
        source["licence"] = licence or source["licence"]
    text = card_of(changed)
    assert front_matter(text)["license"] == expected
    synthetic = licences.count(None) == 4
    assert ("Synthetic data." in text) is synthetic
    assert ("synthetic" in front_matter(text)["tags"]) is synthetic
    assert [line[5] for line in tables(text)[1][1:]] == [licence or "synthetic" for licence in licences]


@pytest.mark.parametrize("hostile", [text for text in HOSTILE if "More Information" not in text])
def test_data_cannot_leave_its_place(card_of, report, hostile):
    changed = copy.deepcopy(report)
    name, source = next(iter(changed["sources"].items()))
    changed["sources"][hostile] = source | {"title": hostile, "licence": hostile, "citation": hostile}
    changed["sources"][hostile] |= {"synthetic": False, "rejected": {hostile: 3}}
    del changed["sources"][name]
    for column in ("category", "language"):
        changed["rows_by"]["pairs"][column][hostile] = {"train": 1}
    plain = card_of(report)
    text = card_of(changed)
    assert headings(text) == headings(plain)
    assert [len(table[0]) for table in tables(text)] == [len(table[0]) for table in tables(plain)]
    _, read, *counts, _ = tables(text)
    numbers = [str(source[name]) for name in ("read", "accepted", "images")]
    assert read[-1] == [one_line(hostile), *numbers, f"{one_line(hostile)} 3", one_line(hostile)]
    assert counts[1][-1] == counts[2][-1] == [one_line(hostile), "1", "0", "0"]
    fields = front_matter(text)
    assert fields["pretty_name"] == "Medical image-text pairs and chats" and len(fields["language"]) == 3


@pytest.mark.parametrize("missing", ["groups", "settings", "fingerprint"])
def test_a_report_that_lacks_something_is_an_error(card_of, report, missing):
    with pytest.raises((ValueError, KeyError), match=missing):
        card_of({name: value for name, value in report.items() if name != missing})


def test_size_category():
    assert [size_category(rows) for rows in (0, 999, 1000, 9999, 10**5, 10**6)] == [
        "n<1K", "n<1K", "1K<n<10K", "1K<n<10K", "100K<n<1M", "n>1M",
    ]  # fmt: skip
