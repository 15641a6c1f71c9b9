"""The builder of the configs `pairs` and `chat`, for `datasets`: its features, its splits, its tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import datasets
import pyarrow as pa

from hub_datasets.output.parquet import Shard, shard_tables
from hub_datasets.schema import CONFIGS, chat_features, pair_features


@dataclass
class MedPairsConfig(datasets.BuilderConfig):
    """One of the two configs.

    Attributes:
        shards: by split, as `plan_shards` gives them.
    """

    shards: dict[str, list[Shard]] = field(default_factory=dict)


class MedPairs(datasets.ArrowBasedBuilder):
    """`pairs`: an image and a text about it. `chat`: the same images as conversations.

    Images keep their coding: nothing is re-encoded here.
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = MedPairsConfig
    BUILDER_CONFIGS = [MedPairsConfig(name=name) for name in CONFIGS]  # noqa: RUF012 (the base class's own attribute)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=features_of(self.config.name))

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        shards = self.config.shards.items()
        return [datasets.SplitGenerator(name=split, gen_kwargs={"shards": part}) for split, part in shards]

    def _generate_tables(self, shards: list[Shard]) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        for number, shard in enumerate(shards):
            for group, table in enumerate(shard_tables(shard)):
                yield (number, group), table


def features_of(config: str) -> datasets.Features:
    """The columns of a config."""
    return pair_features() if config == "pairs" else chat_features()
