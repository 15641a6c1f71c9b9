"""Writes the rows of a split as Parquet shards, each an independent task for any process or machine.

Where a shard begins and ends depends only on the rows, so the files do not depend on who writes them or in which order.
"""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage

IMAGE_COLUMN = {"pairs": "image", "chat": "images"}
# The leaf of the Parquet schema that holds the images' bytes: they are compressed already.
BYTES_LEAF = {"pairs": "image.bytes", "chat": "images.list.element.bytes"}
ROW_GROUP_BYTES = 32_000_000  # a reader holds a row group at a time; the Hub's viewer requires less than 100 MB
SHARD_BYTES = 256_000_000
# Pages are cut at content-defined boundaries, as in `datasets`, so that the Hub stores unchanged parts only once.
CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}

# An image while `chat` is written: a place in a list of bytes, and its name.
POINTING = pa.struct({"bytes": pa.dictionary(pa.int32(), pa.binary()), "path": pa.string()})
Picture = tuple[str, int, int, str, str]  # file, offset, length, name, hash of the bytes
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
    """Divides the rows of a split into shards of about the same size, and the shards into row groups.

    Args:
        schema: schema of the Parquet files, with the features of `datasets`.
        rows: file of the rows, one JSON a line.
        ends: where each line ends, in bytes.
        sizes: bytes of each row with its images.
        target: folder or address below which `{config}/{split}-00000-of-00001.parquet` will lie.
        least: minimum number of shards, if there are enough rows.
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
    """Writes one Parquet file in a worker; returns its `rows`, its `bytes`, and the bytes of its rows in `memory`.

    Images are stored unchanged. In `chat` an image often occurs in many rows: each row group stores it once, as a
    dictionary value. Pages are cut at content-defined boundaries, so that the Hub stores unchanged parts only once.
    """
    config, schema = shard["config"], schema_of(shard)
    leaves = leaf_names(schema)
    with open_sink(shard["target"]) as file:
        writer = pq.ParquetWriter(
            file,
            schema if config == "pairs" else schema.set(*deduplicated_images(schema)),
            compression={leaf: "none" if leaf == BYTES_LEAF[config] else "snappy" for leaf in leaves},
            use_dictionary=[leaf for leaf in leaves if leaf != BYTES_LEAF["pairs"]],
            dictionary_pagesize_limit=4 * ROW_GROUP_BYTES,  # so that all images of a row group fit
            write_statistics=[leaf for leaf in leaves if leaf != BYTES_LEAF[config]],
            use_content_defined_chunking=CHUNKING,
            write_page_index=True,
            store_schema=False,
        )
        memory = 0
        with writer:
            for table, repeated in read_tables(shard, config == "chat"):
                writer.write_table(table, row_group_size=len(table))
                memory += table.nbytes + repeated
                del table  # before the next row group is read
            # the schema for readers, without the dictionary that was used for writing
            writer.add_key_value_metadata({b"ARROW:schema": base64.b64encode(schema.serialize()), **schema.metadata})
            writer.add_key_value_metadata({"content_defined_chunking": json.dumps(CHUNKING)})
        return {"rows": sum(shard["groups"]), "bytes": file.tell(), "memory": memory}


def open_sink(address: str) -> Any:
    """Opens a Parquet file for writing; local files are opened by Arrow directly."""
    if storage.is_remote(address):
        return storage.open_file(address, "wb")
    path = storage.local_path(address)
    path.parent.mkdir(parents=True, exist_ok=True)
    return pa.OSFile(str(path), "wb")


def schema_of(shard: Shard) -> pa.Schema:
    """Returns the Arrow schema of a shard."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(shard["schema"])))


def leaf_names(schema: pa.Schema) -> list[str]:
    """Returns the leaf columns of a schema's Parquet file, for example `images.list.element.bytes`."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    columns = pq.ParquetFile(sink.getvalue()).schema
    return [columns.column(number).path for number in range(len(columns))]


def deduplicated_images(schema: pa.Schema) -> tuple[int, pa.Field]:
    """Returns the index and the field of the image column of `chat`, with a type that stores each image once."""
    place = schema.get_field_index(IMAGE_COLUMN["chat"])
    return place, schema.field(place).with_type(pa.list_(POINTING))


def shard_tables(shard: Shard) -> Iterator[pa.Table]:
    """Yields the rows of a shard as tables, one per row group, with the bytes of their images."""
    for table, _ in read_tables(shard):
        yield table


def read_tables(shard: Shard, pointing: bool = False) -> Iterator[tuple[pa.Table, int]]:
    """Yields each row group as a table, and the bytes that are saved by storing repeated images once.

    Args:
        pointing: whether the table stores repeated images once, as dictionary values.
    """
    schema = schema_of(shard)
    with storage.open_file(shard["rows"], "rb") as file, Images() as images:
        file.seek(shard["start"])
        for count in shard["groups"]:
            rows = [json.loads(file.readline()) for _ in range(count)]
            yield make_table(shard["config"], schema, rows, images, pointing)


class Images:
    """Reads the bytes of images from files that stay open for one shard."""

    def __init__(self) -> None:
        self._files: dict[str, Any] = {}

    def __enter__(self) -> Images:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def read_into(self, target: memoryview, address: str, offset: int, content: str) -> None:
        """Fills `target` from a file. Raises BuildError if the content differs from what was written."""
        if address not in self._files:
            if len(self._files) >= 16:  # rows are mostly in the order of the files
                self._files.pop(next(iter(self._files))).close()
            self._files[address] = storage.open_file(address, "rb")
        file = self._files[address]
        file.seek(offset)
        if file.readinto(target) != len(target) or xxhash.xxh3_128_hexdigest(target) != content:
            raise BuildError(f"{storage.shown(address)} is damaged; remove the folder that contains it, and run again")


def make_table(
    config: str, schema: pa.Schema, rows: list[dict[str, Any]], images: Images, pointing: bool
) -> tuple[pa.Table, int]:
    """Returns rows with their images in the form that `read_tables` yields."""
    pictures, repeated = picture_array([picture for row in rows for picture in row["images"]], images, pointing)
    if config == "chat":
        ends = accumulate((len(row["images"]) for row in rows), initial=0)
        pictures = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pictures)
    if pointing:
        schema = schema.set(*deduplicated_images(schema))
    columns = [
        pictures.cast(field.type)  # the names of its parts
        if field.name == IMAGE_COLUMN[config]
        else pa.array((row["columns"][field.name] for row in rows), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema), repeated


def picture_array(pictures: list[Picture], images: Images, pointing: bool) -> tuple[pa.StructArray, int]:
    """Reads the bytes of images into an Arrow array with their names; also returns the bytes saved by pointing."""
    held = list({picture[4]: picture for picture in pictures}.values()) if pointing else pictures
    ends = array("i", accumulate((length for _, _, length, *_ in held), initial=0))
    buffer = pa.allocate_buffer(ends[-1])
    view = memoryview(buffer)
    for (file, offset, _, _, content), start, end in zip(held, ends, ends[1:], strict=False):
        images.read_into(view[start:end], file, offset, content)
    data = pa.BinaryArray.from_buffers(pa.binary(), len(held), [None, pa.py_buffer(ends), buffer])
    if pointing:
        # Equal images must be one value, even from different files: for a repeated dictionary value, Parquet reserves
        # space that it does not fill, and whatever was in memory there would be published.
        numbers = {picture[4]: number for number, picture in enumerate(held)}
        indices = array("i", (numbers[content] for *_, content in pictures))
        data = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), data)
    repeated = sum(length for _, _, length, *_ in pictures) - ends[-1]
    names = pa.array([name for *_, name, _ in pictures], pa.string())
    return pa.StructArray.from_arrays([data, names], ["bytes", "path"]), repeated
