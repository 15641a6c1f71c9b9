"""Checks the Croissant description of a build: mlcroissant accepts it and reads the rows by it, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.model_cards import small_dataset


@pytest.fixture(scope="module")
def described(built_folder) -> dict:
    return json.loads((built_folder / "croissant.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def built_folder(tmp_path_factory) -> Path:
    """A build of all kinds of sources, with classes and regions."""
    from hub_datasets.generate_sample import generate
    from hub_datasets.sources import SOURCES
    from tests.hub_datasets.checked import build_here

    folder = tmp_path_factory.mktemp("croissant")
    flags = {source.name: source.flag for source in SOURCES}
    folders = {flags[name]: path for name, path in generate(folder / "raw", scale=0.02).items()}
    build_here(folders, folder / "out", "--val_fraction", "0.2", "--test_fraction", "0.2")
    return folder / "out"


@pytest.fixture(scope="module")
def opened(built_folder):
    """The dataset as mlcroissant opens it, which raises ValidationError for a description with errors."""
    reader = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed: pip install 'medpairs[dev]'")
    return reader.Dataset(built_folder / "croissant.json")


def test_mlcroissant_finds_no_error(opened):
    missing = {warning.split('"')[1] for warning in opened.metadata.ctx.issues.warnings}
    # a build has neither a date nor a number: the same input gives the same bytes
    assert missing == {"https://schema.org/datePublished", "https://schema.org/version"}
    assert opened.metadata.ctx.is_v1_1()


@pytest.mark.parametrize("config", ["pairs", "chat", "regions"])
def test_mlcroissant_reads_every_row(opened, built_folder, config):
    from datasets import load_dataset

    rows = {
        (row["image_path"], split, row.get("text") or json.dumps(row.get("plain_messages"))): row
        for split, part in load_dataset(str(built_folder), config).items()
        for row in part
    }
    count = 0
    for record in opened.records(config):
        found = {name.split("/", 1)[1]: value for name, value in record.items()}
        said = found["text"].decode() if config == "pairs" else "null"
        if config == "chat":
            turns = [
                {key.rsplit("/")[-1]: part.decode() for key, part in turn.items()} for turn in found["plain_messages"]
            ]
            said = json.dumps(turns)
        row = rows[found["image_path"].decode(), found["split"].decode(), said]
        assert found["group_id"].decode() == row["group_id"]
        if config == "pairs":
            assert found["image"].size == row["image"].size and found["label"] == row["label"]
        elif config == "regions":
            assert [list(map(float, box)) for box in found["boxes"]] == row["boxes"]
            assert found["mask"].size == row["mask"].size == (row["width"], row["height"])
        else:
            assert [image.size for image in found["images"]] == [image.size for image in row["images"]]
            assert [turn["chat/messages/role"].decode() for turn in found["messages"]] == [
                turn["role"] for turn in row["messages"]
            ]
        count += 1
    assert count == len(rows) > 10


def test_all_columns_and_classes_are_described(described, built_folder):
    from datasets import load_dataset_builder

    sets = {found["@id"]: found for found in described["recordSet"]}
    for config in ("pairs", "chat", "regions"):
        names = [field["name"] for field in sets[config]["field"]]
        features = load_dataset_builder(str(built_folder), config).info.features
        assert names == ["split", *features]
    labels = features_of_pairs(built_folder)
    assert [row["classes/name"] for row in sets["classes"]["data"]] == labels and len(labels) == 11
    assert [row["splits/name"] for row in sets["splits"]["data"]] == ["train", "validation", "test"]


def features_of_pairs(folder: Path) -> list[str]:
    from datasets import load_dataset_builder

    return load_dataset_builder(str(folder), "pairs").info.features["label"].names


def test_every_rai_field_is_filled_or_said_to_be_not_known(described):
    rai = {name: value for name, value in described.items() if name.startswith("rai:")}
    assert len(rai) == 18
    assert all(value and all(isinstance(one, str) and one for one in value) for value in rai.values())
    assert "Synthetic Data Generation" in rai["rai:dataCollectionType"]
    assert any("Fewer than 30 held-out rows" in bias for bias in rai["rai:dataBiases"])
    assert any("No patient IDs" in limit and "slake" in limit for limit in rai["rai:dataLimitations"])
    assert "misc{gornale2020digital" in described["citeAs"]


def test_the_licenses_are_those_of_the_rows():
    from model_cards.croissant import licenses

    report = small_dataset.make_report()
    assert licenses(report) == ["https://spdx.org/licenses/CC-BY-4.0.html", "unknown"]
