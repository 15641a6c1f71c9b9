"""The builder: turns the rows that a build has accepted into the Parquet files of the configs `pairs` and `chat`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets

from hub_datasets.schema import SPLITS, BuildError, chat_features, pair_features

CONFIGS = ("pairs", "chat")
IMAGE_COLUMN = {"pairs": "image", "chat": "images"}


@dataclass
class MedPairsConfig(datasets.BuilderConfig):
    """One of the two configs.

    Attributes:
        rows_dir: folder with one `{config}-{split}.jsonl` for every split that has rows. A line is a row without its
            image, and with `image_file`, the image's path on this machine.
    """

    rows_dir: str = ""


class MedPairs(datasets.GeneratorBasedBuilder):
    """`pairs`: an image and a text about it. `chat`: the same images as conversations.

    Images are written with their original bytes: nothing is re-encoded.
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = MedPairsConfig
    BUILDER_CONFIGS = [MedPairsConfig(name=name) for name in CONFIGS]  # noqa: RUF012 (the base class's own attribute)

    def _info(self) -> datasets.DatasetInfo:
        features = pair_features() if self.config.name == "pairs" else chat_features()
        return datasets.DatasetInfo(features=features)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        files = {split: Path(self.config.rows_dir) / f"{self.config.name}-{split}.jsonl" for split in SPLITS}
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"rows_file": file})
            for split, file in files.items()
            if file.exists()
        ]

    def _generate_examples(self, rows_file: Path) -> Iterator[tuple[int, dict]]:
        column = IMAGE_COLUMN[self.config.name]
        with rows_file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                row = json.loads(line)
                image = {"bytes": Path(row.pop("image_file")).read_bytes(), "path": Path(row["image_path"]).name}
                row[column] = image if column == "image" else [image]
                row["metadata"] = json.dumps(row["metadata"])  # `datasets` itself would cut floats to 10 decimals
                yield number, row


def write_parquet(config: str, rows_dir: Path, output_dir: Path, cache_dir: Path) -> datasets.DatasetInfo:
    """Writes `output_dir/{config}/{split}-00000-of-00001.parquet` (and further shards) from the rows in `rows_dir`.

    Returns:
        the config's info: its features, and the rows and bytes of each split. Raises BuildError where an image is
        gone or the disk is full.
    """
    builder = MedPairs(config_name=config, rows_dir=str(rows_dir), cache_dir=str(cache_dir))
    raw_dir = cache_dir / f"{config}-parquet"
    try:
        builder.download_and_prepare(output_dir=str(raw_dir), file_format="parquet")
    except datasets.exceptions.DatasetGenerationError as error:
        raise BuildError(f"the Parquet files of {config!r} cannot be written: {error.__cause__ or error}") from error
    target = output_dir / config
    target.mkdir(parents=True)
    for split in builder.info.splits:
        # The builder names a single file `med_pairs-train.parquet`, several `med_pairs-train-00000-of-00002.parquet`.
        shards = sorted(raw_dir.glob(f"*-{split}*.parquet"))
        for number, shard in enumerate(shards):
            shard.rename(target / f"{split}-{number:05d}-of-{len(shards):05d}.parquet")
    return builder.info
