"""Creates rows with images in the form that `write_rows` leaves on disk, for tests of the Parquet files."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path

import xxhash

from hub_datasets.output.parquet import Shard, plan_shards
from hub_datasets.schema import features_of


def digest_of(data: bytes) -> str:
    """What a worker that wrote an image's bytes says of them."""
    return xxhash.xxh3_128_hexdigest(data)


def row(config: str, number: int, said: str, images: int = 1, **columns: str) -> tuple[dict, int]:
    """The columns of a row that says this, and the number of its (first) image."""
    texts = {name: f"{name} {number}" for name in features_of(config) if name not in ("image", "images", "text")}
    texts["ungrounded"] = ["age", "sex"][: number % 3]
    if config == "pairs":
        texts["text"] = said
    else:
        texts["messages"] = [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]
        texts["marked_messages"] = [{"role": "user", "content": "<image>" * images + "?"}, texts["messages"][1]]
    return texts | columns, images


def write_rows(
    folder: Path, config: str, split: str, rows: list[tuple[dict, list[bytes]]], target: str, least: int = 1
) -> list[Shard]:
    """Writes rows, each with its images, and plans their shards. Equal images are stored once, as the cache does."""
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[bytes, list] = {}
    with (folder / f"images-{config}-{split}.bin").open("ab") as file:
        for _, images in rows:
            for data in images:
                if data not in places:
                    places[data] = [file.name, file.tell(), len(data), f"{len(places)}.png", digest_of(data)]
                    file.write(data)
    lines = [
        json.dumps({"columns": columns, "images": [places[data] for data in images], "paths": []}).encode() + b"\n"
        for columns, images in rows
    ]
    path = folder / f"{config}-{split}.jsonl"
    path.write_bytes(b"".join(lines))
    ends = list(accumulate(map(len, lines)))
    sizes = [len(line) + sum(map(len, images)) for line, (_, images) in zip(lines, rows, strict=True)]
    return plan_shards(config, split, features_of(config).arrow_schema, str(path), ends, sizes, target, least)
