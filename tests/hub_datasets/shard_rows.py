"""Creates rows with images in the form that `write_rows` leaves on disk, for tests of the Parquet files."""

from __future__ import annotations

import json
from pathlib import Path

import xxhash

from hub_datasets.chat.content_parts import to_parts
from hub_datasets.output.parquet import Shard, plan_shards
from hub_datasets.output.rows import RowFile
from hub_datasets.schema import IMAGE_COLUMNS, features_of


def digest_of(data: bytes) -> str:
    """What a worker that wrote an image's bytes says of them."""
    return xxhash.xxh3_128_hexdigest(data)


CLASSES = ("one", "two")  # the classes of the column `label`


def row(config: str, number: int, said: str, images: int = 1, **columns: str) -> tuple[dict, int]:
    """The columns of a row that says this, and the number of its (first) image."""
    features = features_of(config, CLASSES)
    found = {name: f"{name} {number}" for name in features if name not in IMAGE_COLUMNS[config]}
    found |= {name: number for name in ("width", "height") if name in features}
    if "ungrounded" in features:
        found["ungrounded"] = ["age", "sex"][: number % 3]
    if config == "pairs":
        found |= {"text": said, "label": number % 3 if number % 3 < 2 else None}
    elif config == "regions":
        found |= {"boxes": [[0.5, 1.0, 2.0, float(number)]] * (number % 3), "labels": [said] * (number % 3)}
    else:
        plain = [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]
        found |= {"messages": to_parts(plain, images), "plain_messages": plain}
        found["marked_messages"] = [{"role": "user", "content": "<image>" * images + "?"}, plain[1]]
    return found | columns, images


def write_rows(
    folder: Path, config: str, split: str, rows: list[tuple[dict, list[bytes]]], target: str, least: int = 1
) -> list[Shard]:
    """Writes rows, each with its images, and plans their shards. Equal images are stored once, as the cache does."""
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[bytes, dict] = {}
    with (folder / f"images-{config}-{split}.bin").open("ab") as file:
        for _, images in rows:
            for data in images:
                if data not in places:
                    where = {"file": Path(file.name).name, "offset": file.tell(), "edits": ""}
                    what = {"length": len(data), "name": f"{len(places)}.png", "content": digest_of(data)}
                    places[data] = where | what
                    file.write(data)
    lines = [
        json.dumps({"columns": columns, "images": [places[data] for data in images], "stage": 0}).encode() + b"\n"
        for columns, images in rows
    ]
    path = folder / f"{config}-{split}.jsonl"
    path.write_bytes(b"".join(lines))
    file = RowFile(path)
    for line, (columns, images) in zip(lines, rows, strict=True):
        file.add(len(line), len(json.dumps(columns)), [places[data] for data in images])
    schema = features_of(config, CLASSES).arrow_schema
    return plan_shards(config, split, schema, file, [stage_in(folder)], target, least)


def stage_in(folder: Path) -> dict:
    """The only stage, whose images lie in a folder, and whose source does, too."""
    return {"stage": str(folder), "source": str(folder), "follow_links": False}
