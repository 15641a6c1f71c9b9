"""Where do the rows of a split lie on disk? As Parquet shards, each a task that any process or machine can do alone.

Where a shard begins and ends depends on the rows alone, so the files are the same whoever writes them, in any order.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hub_datasets import storage

IMAGE_COLUMN = {"pairs": "image", "chat": "images"}
# The leaf of the Parquet schema that holds the images' bytes: they are compressed already.
BYTES_LEAF = {"pairs": "image.bytes", "chat": "images.list.element.bytes"}
ROW_GROUP_BYTES = 32_000_000  # a reader holds a row group at a time; the Hub's viewer wants less than 100 MB
SHARD_BYTES = 256_000_000
# Where pages are cut: as `datasets` does it, where the content says, so that the Hub stores what did not change once.
CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}

Shard = dict[str, Any]  # config, schema, rows (file), start and end (bytes in it), groups (rows of each), target


def plan_shards(
    config: str,
    split: str,
    schema: pa.Schema,
    rows: str,
    ends: Sequence[int],
    sizes: Sequence[int],
    target: str,
    least: int,
) -> list[Shard]:
    """Cuts the rows of a split into shards of about the same size, and those into row groups.

    Args:
        schema: of the Parquet files, with what `datasets` wants to know of its features.
        rows: file of the rows, one JSON a line.
        ends: where each line ends, in bytes.
        sizes: bytes of each row with its images.
        target: folder or address below which `{config}/{split}-00000-of-00001.parquet` will lie.
        least: as many shards as this, where there are rows enough.
    """
    total = sum(sizes)
    count = min(max(-(-total // SHARD_BYTES), least, 1), len(sizes))
    common = {"config": config, "schema": base64.b64encode(schema.serialize()).decode(), "rows": rows}
    shards, start, row, seen = [], 0, 0, 0
    for number in range(count):
        groups, size, in_group = [0], 0, 0
        # at least one row for each shard that follows; the last one takes what is left
        while row < len(sizes) - (count - number - 1):
            if size and number < count - 1 and seen + sizes[row] / 2 > total * (number + 1) / count:
                break
            if groups[-1] and in_group + sizes[row] > ROW_GROUP_BYTES:
                groups.append(0)
                in_group = 0
            in_group += sizes[row]
            groups[-1] += 1
            size += sizes[row]
            seen += sizes[row]
            row += 1
        name = f"{split}-{number:05d}-of-{count:05d}.parquet"
        place = {"start": start, "end": ends[row - 1], "groups": groups, "target": storage.join(target, config, name)}
        shards.append(common | place)
        start = ends[row - 1]
    return shards


def write_shard(shard: Shard) -> dict[str, int]:
    """A worker's task: writes one Parquet file; returns its `rows`, its `bytes`, and those of its rows in `memory`.

    Images are stored as they are. In `chat` an image is often in many rows: each row group keeps it once, and points
    to it (a dictionary). Chunks are cut where the content says, so that the Hub stores what did not change once.
    """
    config = shard["config"]
    schema = schema_of(shard)
    leaves = leaf_names(schema)
    with storage.open_file(shard["target"], "wb") as file:
        writer = pq.ParquetWriter(
            file,
            schema,
            compression={leaf: "none" if leaf == BYTES_LEAF[config] else "snappy" for leaf in leaves},
            use_dictionary=[leaf for leaf in leaves if leaf != BYTES_LEAF["pairs"]],
            dictionary_pagesize_limit=4 * ROW_GROUP_BYTES,  # so that all images of a row group fit
            write_statistics=[leaf for leaf in leaves if leaf != BYTES_LEAF[config]],
            use_content_defined_chunking=CHUNKING,
            write_page_index=True,
        )
        memory = 0
        with writer:
            for table in shard_tables(shard):
                writer.write_table(table, row_group_size=len(table))
                memory += table.nbytes
            writer.add_key_value_metadata({"content_defined_chunking": json.dumps(CHUNKING)})
        return {"rows": sum(shard["groups"]), "bytes": file.tell(), "memory": memory}


def schema_of(shard: Shard) -> pa.Schema:
    """The schema that a shard carries."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(shard["schema"])))


def leaf_names(schema: pa.Schema) -> list[str]:
    """The columns of the Parquet file that a schema makes: `images.list.element.bytes`."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    columns = pq.ParquetFile(sink.getvalue()).schema
    return [columns.column(number).path for number in range(len(columns))]


def shard_tables(shard: Shard) -> Iterator[pa.Table]:
    """The rows of a shard as tables, one for each row group; the bytes of the images are read here."""
    schema = schema_of(shard)
    with storage.open_file(shard["rows"], "rb") as file, Images() as images:
        file.seek(shard["start"])
        for count in shard["groups"]:
            rows = [json.loads(file.readline()) for _ in range(count)]
            yield make_table(shard["config"], schema, rows, images)


class Images:
    """The bytes of images, from files that stay open for one shard."""

    def __init__(self) -> None:
        self._files: dict[str, Any] = {}

    def __enter__(self) -> Images:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def read(self, address: str, offset: int, length: int) -> bytes:
        """A part of a file."""
        if address not in self._files:
            if len(self._files) >= 16:  # rows follow the files, by and large
                self._files.pop(next(iter(self._files))).close()
            self._files[address] = storage.open_file(address, "rb")
        file = self._files[address]
        file.seek(offset)
        return file.read(length)


def make_table(config: str, schema: pa.Schema, rows: list[dict[str, Any]], images: Images) -> pa.Table:
    """Rows with their images as a table."""
    columns: dict[str, list] = defaultdict(list)
    held: dict[tuple[str, int], bytes] = {}  # the rows about one image follow each other
    for row in rows:
        pictures = []
        for address, offset, length, name in row["images"]:
            if (address, offset) not in held:
                held[address, offset] = images.read(address, offset, length)
            pictures.append({"bytes": held[address, offset], "path": name})
        columns[IMAGE_COLUMN[config]].append(pictures[0] if config == "pairs" else pictures)
        for name, value in row["columns"].items():
            columns[name].append(value)
    return pa.Table.from_pydict(columns, schema=schema)
