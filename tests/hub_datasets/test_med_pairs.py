"""MedPairs gives the rows of a build of raw folders; a whole build gives the bytes of its sources."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from datasets import Dataset, Image, List, load_dataset

from hub_datasets.errors import BuildError
from hub_datasets.med_pairs import MedPairs
from hub_datasets.schema import features_of
from tests.hub_datasets.checked import plant_key, real_names


def undecoded(dataset, config: str) -> list[dict]:
    column, feature = ("image", Image(decode=False)) if config == "pairs" else ("images", List(Image(decode=False)))
    return list(dataset.cast_column(column, feature))


def options(built, *flags: str) -> dict[str, str]:
    """The folders of a build's sources under the names that MedPairs has for them."""
    return {
        flag.removeprefix("--"): str(folder) for flag, folder in built.sources.items() if not flags or flag in flags
    }


@pytest.mark.parametrize("config", ["pairs", "chat"])
def test_it_gives_the_rows_that_the_command_writes(config, built_small, tmp_path):
    plant_key(built_small.sources, tmp_path / "out")
    builder = MedPairs(config, **options(built_small), val_fraction=0.3)
    builder.download_and_prepare(tmp_path / "out")
    assert builder.report == json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    rows, command = builder.as_dataset(), load_dataset(str(built_small.folder), config)
    assert list(rows) == list(command) == ["train", "validation"]
    for split, part in rows.items():
        assert part.features == builder.features == features_of(config, builder.report["classes"])
        assert undecoded(part, config) == undecoded(command[split], config)
    one = builder.as_dataset(split="validation")
    assert isinstance(one, Dataset) and undecoded(one, config) == undecoded(rows["validation"], config)


def test_without_a_folder_it_builds_in_the_cache_and_follows_the_sources(built_small, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    source = shutil.copytree(built_small.sources["--pad_ufes_dir"], tmp_path / "pad")
    builder = MedPairs(pad_ufes_dir=source, val_fraction=0.3)
    builder.download_and_prepare()
    first, rows = builder.folder, len(builder.as_dataset("train+validation"))
    assert first.startswith(str(tmp_path / "cache"))
    image = next(source.rglob("*.png"))
    image.write_bytes(b"no image any more")
    again = MedPairs(pad_ufes_dir=source, val_fraction=0.3)
    again.download_and_prepare()
    assert again.folder == first and len(again.as_dataset("train+validation")) == rows - 1
    other = MedPairs(pad_ufes_dir=source, val_fraction=0.2)
    other.download_and_prepare()
    assert other.folder != first


def test_several_folders_of_a_source_are_taken_together(built_small, tmp_path):
    second = shutil.copytree(built_small.sources["--pad_ufes_dir"], tmp_path / "second")
    one = MedPairs(**options(built_small, "--pad_ufes_dir"), val_fraction=0.3)
    one.download_and_prepare(tmp_path / "one")
    both = MedPairs(pad_ufes_dir=[str(built_small.sources["--pad_ufes_dir"]), str(second)], val_fraction=0.3)
    both.download_and_prepare(tmp_path / "both")
    counts = [builder.report["sources"]["pad_ufes_20"]["read"] for builder in (one, both)]
    assert counts[1] == 2 * counts[0]


@pytest.mark.parametrize(
    ("config", "wrong", "message"),
    [
        ("images", {}, "config 'images' does not exist; choose from pairs, chat"),
        ("pairs", {"slake_folder": "x"}, "option slake_folder does not exist; did you mean slake_dir?"),
        ("pairs", {"push_to_hub": "a/b"}, "option push_to_hub does not exist"),
        ("pairs", {"ocr": "yes"}, "option ocr must be True or False, not 'yes'"),
        ("pairs", {"val_fraction": "much"}, "argument --val_fraction: invalid float value: 'much'"),
        ("pairs", {"split_by": "luck"}, "argument --split_by: invalid choice: 'luck'"),
    ],
)
def test_a_wrong_option_is_named_at_once(config, wrong, message):
    with pytest.raises(BuildError) as refused:
        MedPairs(config, **wrong)
    assert message in str(refused.value)


def test_rows_need_a_build(tmp_path):
    builder = MedPairs(slake_dir=str(tmp_path))
    with pytest.raises(BuildError, match="call download_and_prepare"):
        builder.as_dataset()


def test_a_config_that_was_not_written(built_small, tmp_path):
    builder = MedPairs("regions", **options(built_small, "--knee_dir"))
    builder.download_and_prepare(tmp_path / "out")
    with pytest.raises(BuildError, match="regions was not written, because no source marks anything in its images"):
        builder.as_dataset()
    builder = MedPairs("chat", configs="pairs", **options(built_small, "--knee_dir"))
    builder.download_and_prepare(tmp_path / "pairs")
    with pytest.raises(BuildError, match="chat was not written, because configs leaves it out; written were pairs"):
        builder.as_dataset()
    assert sorted(path.name for path in (tmp_path / "pairs").iterdir() if path.is_dir()) == ["assets", "pairs"]
    assert not (tmp_path / "pairs" / "chat_instructions.jsonl").exists()


@pytest.mark.parametrize(
    ("configs", "why"),
    [("pairs,images", "'images' is not a config"), ("", "'' is not a config"), ("regions", "add pairs")],
)
def test_configs_that_cannot_be_written(built_small, tmp_path, configs, why):
    builder = MedPairs("pairs", configs=configs, **options(built_small, "--knee_dir"))
    with pytest.raises(BuildError, match=why):
        builder.download_and_prepare(tmp_path / "out")


def test_the_bytes_of_a_whole_build(built_small):
    """Every image in the dataset is a file of its source, byte for byte: see `image_path`, or the map of names."""
    folders = {"knee_xray": "--knee_dir", "pad_ufes_20": "--pad_ufes_dir", "slake": "--slake_dir"}
    folders["medical_reports"] = "--reports_dir"
    seen, names = set(), real_names(built_small.folder)
    for config in ("pairs", "chat"):
        for part in load_dataset(str(built_small.folder), config).values():
            for example in undecoded(part, config):
                shown = example["image_path"]
                source, _, path = names.get(shown, shown).partition("/")
                image = example["image"] if config == "pairs" else example["images"][0]
                content = (built_small.sources[folders[source]] / path).read_bytes()
                assert hashlib.sha256(image["bytes"]).digest() == hashlib.sha256(content).digest()
                assert image["path"] == shown.rpartition("/")[2]
                seen.add((config, source))
    assert len(seen) == 8
