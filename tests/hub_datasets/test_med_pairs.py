"""The builder of `datasets` gives the rows of the Parquet files; a whole build gives the bytes of its sources."""

from __future__ import annotations

import hashlib

import pytest
from datasets import Image, List, Split, load_dataset

from hub_datasets.med_pairs import MedPairs, features_of
from hub_datasets.output.parquet import write_shard
from hub_datasets.schema import CONFIGS, chat_features, pair_features
from tests.hub_datasets.layouts import jpeg, png
from tests.hub_datasets.shard_rows import row, write_rows

ROWS = {"train": 30, "test": 7}


def undecoded(dataset, config: str) -> list[dict]:
    column, feature = ("image", Image(decode=False)) if config == "pairs" else ("images", List(Image(decode=False)))
    return list(dataset.cast_column(column, feature))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The Parquet files of both configs, and a builder for each from the same rows."""
    folder, builders = tmp_path_factory.mktemp("med-pairs"), {}
    for config in CONFIGS:
        shards = {}
        for split, size in ROWS.items():
            images = [png(n) if n % 2 else jpeg(n) for n in range(size)]
            rows = [(row(config, n, f"{split} {n}")[0], [image]) for n, image in enumerate(images)]
            shards[split] = write_rows(folder / "rows", config, split, rows, str(folder / "out"), least=3)
            for shard in shards[split]:
                write_shard(shard)
        builders[config] = MedPairs(config_name=config, shards=shards, cache_dir=str(folder / "cache"))
    return folder / "out", builders


def from_files(folder, config: str, split: str) -> list[dict]:
    files = {"data_files": {split: str(folder / config / f"{split}-*.parquet")}}
    return undecoded(load_dataset("parquet", split=split, **files), config)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_builder_gives_the_rows_of_the_files(written, config):
    folder, builders = written
    builder = builders[config]
    builder.download_and_prepare()
    assert {split: part.num_examples for split, part in builder.info.splits.items()} == ROWS
    for split, size in ROWS.items():
        dataset = builder.as_dataset(split=Split(split))
        assert dataset.features == features_of(config) and len(dataset) == size
        found = undecoded(dataset, config)
        assert found == from_files(folder, config, split)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_builder_streams_the_rows_of_the_files(written, config):
    folder, builders = written
    streams = builders[config].as_streaming_dataset()
    assert list(streams) == list(ROWS)
    for split, stream in streams.items():
        assert stream.features == features_of(config) and stream.num_shards == 3
        assert undecoded(stream, config) == from_files(folder, config, split)
    assert next(iter(streams["test"]))["image" if config == "pairs" else "images"]


def test_the_columns_of_the_configs():
    assert features_of("pairs") == pair_features() and features_of("chat") == chat_features()
    assert list(MedPairs.builder_configs) == list(CONFIGS)


def test_the_bytes_of_a_whole_build(built_small):
    """Every image in the dataset is a file of its source, byte for byte, and `image_path` says which."""
    folders = {"knee_xray": "--knee_dir", "pad_ufes_20": "--pad_ufes_dir", "slake": "--slake_dir"}
    folders["medical_reports"] = "--reports_dir"
    seen = set()
    for config in CONFIGS:
        for part in load_dataset(str(built_small.folder), config).values():
            for example in undecoded(part, config):
                source, _, path = example["image_path"].partition("/")
                image = example["image"] if config == "pairs" else example["images"][0]
                content = (built_small.sources[folders[source]] / path).read_bytes()
                assert hashlib.sha256(image["bytes"]).digest() == hashlib.sha256(content).digest()
                assert image["path"] == path.rpartition("/")[2]
                seen.add((config, source))
    assert len(seen) == 8
