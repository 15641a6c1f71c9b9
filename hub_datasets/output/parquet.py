"""Writes the rows of a split as Parquet shards, each an independent task for any process or machine.

Where a shard begins and ends depends only on the rows, so the files do not depend on who writes them or in which order.
"""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from pyarrow.json import ParseOptions, ReadOptions, read_json

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.ingest.image_bytes import source_bytes
from hub_datasets.schema import IMAGE_COLUMNS

if TYPE_CHECKING:
    from hub_datasets.output.rows import RowFile

# The leaves of the Parquet schema that hold the images' bytes: they are compressed already.
BYTES_LEAVES = {
    "pairs": ("image.bytes",),
    "chat": ("images.list.element.bytes",),
    "regions": ("image.bytes", "mask.bytes"),
}
ROW_GROUP_BYTES = 32_000_000  # a reader holds a row group at a time; the Hub's viewer requires less than 100 MB
SHARD_BYTES = 300_000_000
# Pages are cut at content-defined boundaries, as in `datasets`, so that the Hub stores unchanged parts only once.
CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}

# An image while repeated images are written: a place in a list of bytes, and its name.
POINTING = pa.struct({"bytes": pa.dictionary(pa.int32(), pa.binary()), "path": pa.string()})
Place = dict[str, Any]  # where an image is, with the fields of PLACE
# `columns.image_place`, as the rows' JSON has it
PLACE = pa.struct(
    {
        "file": pa.string(),
        "offset": pa.int64(),
        "edits": pa.string(),
        "length": pa.int64(),
        "name": pa.string(),
        "content": pa.string(),
    }
)
NOTHING: Place = {"length": 0, "content": "", "name": ""}  # of a row without this image
# `stage`: the address of its folder; `source`: the folder that it was read from; `follow_links`
StageFolders = dict[str, Any]
# config, schema, folders (of the stages by their numbers), rows (file), start (byte in it), ends (of each row group's
# lines), groups (rows of each), pointing, target
Shard = dict[str, Any]


def plan_shards(
    config: str, split: str, schema: pa.Schema, file: RowFile, folders: list[StageFolders], target: str, least: int
) -> list[Shard]:
    """Divides the rows of a split into shards of about the same size, and the shards into row groups.

    Args:
        schema: schema of the Parquet files, with the features of `datasets`.
        file: the rows.
        folders: where the images of each stage are.
        target: folder or address below which `{config}/{split}-00000-of-00001.parquet` will be.
        least: minimum number of shards, if there are enough rows.
    """
    sizes = stored_sizes(file)
    total, rows = sum(sizes), len(sizes)
    count = min(max(shard_count(total), least, 1), rows)
    common = {"config": config, "schema": base64.b64encode(schema.serialize()).decode(), "rows": str(file.path)}
    common |= {"folders": folders}
    shards: list[Shard] = []
    start = row = seen = 0
    pictures = row_pictures(file)
    for number in range(count):
        groups, ends, in_group, in_shard, repeats = [0], [], RowGroup(), 0, False
        # at least one row for each shard that follows; the last one takes what is left
        while row < rows - (count - number - 1):
            if in_shard and number < count - 1 and seen + sizes[row] / 2 > total * (number + 1) / count:
                break
            images = next(pictures)
            if groups[-1] and in_group.size + in_group.added(file.sizes[row], images) > ROW_GROUP_BYTES:
                groups.append(0)
                ends.append(file.ends[row - 1])
                in_group = RowGroup()
            repeats |= in_group.repeats(images)
            in_group.add(file.sizes[row], images)
            groups[-1] += 1
            in_shard += 1
            seen += sizes[row]
            row += 1
        name = f"{split}-{number:05d}-of-{count:05d}.parquet"
        place = {"start": start, "ends": [*ends, file.ends[row - 1]], "groups": groups}
        # A mask is an image of its own, so that nothing is repeated in `regions`.
        repeated = {"pointing": repeats and config != "regions"}
        shards.append(common | place | repeated | {"target": storage.join(target, config, name)})
        start = file.ends[row - 1]
    return shards


def shard_count(total: int) -> int:
    """Returns the number of shards for some bytes: 1, 2, 3, 4, 6, 9, 13, 19 and so on, each about half more.

    A shard then holds between 200 and 300 MB (150 MB of two), and the number, which is part of every file's name, stays
    the same until the data has grown by about half.
    """
    count = 1
    while total > count * SHARD_BYTES:
        count = max(count + 1, count * 3 // 2)
    return count


def stored_sizes(file: RowFile) -> array:
    """Returns the bytes that each row adds to a file that stores an image once in each row group."""
    sizes, group = array("q"), RowGroup()
    for columns, images in zip(file.sizes, row_pictures(file), strict=True):
        if group.size + group.added(columns, images) > ROW_GROUP_BYTES:
            group = RowGroup()
        sizes.append(group.added(columns, images))
        group.add(columns, images)
    return sizes


def row_pictures(file: RowFile) -> Iterator[dict[int, int]]:
    """Yields the images of each row: the bytes of each, by the number that equal images share."""
    start = 0
    for count in file.counts:
        yield dict(zip(file.images[start : start + count], file.lengths[start : start + count], strict=True))
        start += count


class RowGroup:
    """The bytes of a row group that stores each image once."""

    def __init__(self) -> None:
        self.size = 0
        self._held: set[int] = set()

    def added(self, columns: int, images: dict[int, int]) -> int:
        """Returns the bytes that a row would add: those of its columns and of images that the group does not have."""
        return columns + sum(length for image, length in images.items() if image not in self._held)

    def repeats(self, images: dict[int, int]) -> bool:
        """Returns whether the group has one of the images."""
        return not self._held.isdisjoint(images)

    def add(self, columns: int, images: dict[int, int]) -> None:
        self.size += self.added(columns, images)
        self._held.update(images)


def write_shard(shard: Shard) -> dict[str, int]:
    """Writes one Parquet file in a worker; returns its `rows`, its `bytes`, and the bytes of its rows in `memory`.

    Images are stored unchanged. Where an image occurs in several rows, each row group stores it once, as a dictionary
    value. Pages are cut at content-defined boundaries, so that the Hub stores unchanged parts only once.
    """
    config, schema, pointing = shard["config"], schema_of(shard), shard["pointing"]
    leaves, images = leaf_names(schema), BYTES_LEAVES[shard["config"]]
    with open_sink(shard["target"]) as file:
        writer = pq.ParquetWriter(
            file,
            schema.set(*deduplicated_images(schema, config)) if pointing else schema,
            compression={leaf: "none" if leaf in images else "snappy" for leaf in leaves},
            use_dictionary=[leaf for leaf in leaves if pointing or leaf not in images],
            dictionary_pagesize_limit=4 * ROW_GROUP_BYTES,  # so that all images of a row group fit
            write_statistics=[leaf for leaf in leaves if leaf not in images],
            use_content_defined_chunking=CHUNKING,
            write_page_index=True,
            store_schema=False,
        )
        memory = 0
        with writer:
            for table, repeated in read_tables(shard, pointing):
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


def deduplicated_images(schema: pa.Schema, config: str) -> tuple[int, pa.Field]:
    """Returns the index and field of the image column of `pairs` or `chat`, with a type that stores each image once."""
    (column,) = IMAGE_COLUMNS[config]
    place = schema.get_field_index(column)
    return place, schema.field(place).with_type(pa.list_(POINTING) if config == "chat" else POINTING)


def shard_tables(shard: Shard) -> Iterator[pa.Table]:
    """Yields the rows of a shard as tables, one per row group, with the bytes of their images."""
    for table, _ in read_tables(shard):
        yield table


def read_tables(shard: Shard, pointing: bool = False) -> Iterator[tuple[pa.Table, int]]:
    """Yields each row group as a table, and the bytes that are saved by storing repeated images once.

    Args:
        pointing: whether the table stores repeated images once, as dictionary values.
    """
    schema, start = schema_of(shard), shard["start"]
    with storage.open_file(shard["rows"], "rb") as file, Images(shard["folders"]) as images:
        file.seek(start)
        for end in shard["ends"]:
            yield make_table(shard["config"], schema, file.read(end - start), images, pointing)
            start = end


class Images:
    """Reads the bytes of images from source folders and from files of stages, which stay open for one shard.

    Args:
        folders: of the stages by their numbers.
    """

    def __init__(self, folders: list[StageFolders]) -> None:
        self._folders = folders
        self._files: dict[str, Any] = {}
        self._sources: dict[int, Folder] = {}

    def __enter__(self) -> Images:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def read_into(self, target: memoryview, stage: int, place: Place) -> None:
        """Fills `target` with an image. Raises BuildError if its bytes are not those that were examined."""
        if place["offset"] < 0:
            target[:] = source_bytes(self._folder(stage), place["file"], place["edits"], place["content"])
            return
        address = storage.join(self._folders[stage]["stage"], place["file"])
        if address not in self._files:
            if len(self._files) >= 16:  # rows are mostly in the order of the files
                self._files.pop(next(iter(self._files))).close()
            self._files[address] = storage.open_file(address, "rb")
        file = self._files[address]
        file.seek(place["offset"])
        if file.readinto(target) != len(target) or xxhash.xxh3_128_hexdigest(target) != place["content"]:
            raise BuildError(f"{storage.shown(address)} is damaged; remove the folder that contains it, and run again")

    def _folder(self, stage: int) -> Folder:
        if stage not in self._sources:
            place = self._folders[stage]
            self._sources[stage] = Folder(place["source"], place["follow_links"])
        return self._sources[stage]


def make_table(config: str, schema: pa.Schema, lines: bytes, images: Images, pointing: bool) -> tuple[pa.Table, int]:
    """Returns rows, lines of JSON, with their images in the form that `read_tables` yields."""
    held = IMAGE_COLUMNS[config]
    given = parse_lines(lines, pa.struct([field for field in schema if field.name not in held]))
    rows = [
        [(stage, place) for place in places] for stage, places in zip(*map(pa.Array.to_pylist, given[1:]), strict=True)
    ]
    pictures, repeated = {}, 0
    for number, column in enumerate(held):
        if config == "chat":
            found = [picture for row in rows for picture in row]
        else:  # the image of this column; None if the row has none
            found = [row[number] if number < len(row) else None for row in rows]
        pictures[column], saved = picture_array(found, images, pointing)
        repeated += saved
    if config == "chat":
        ends = accumulate(map(len, rows), initial=0)
        pictures[column] = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pictures[column])
    if pointing:
        schema = schema.set(*deduplicated_images(schema, config))
    columns = [
        (pictures[field.name] if field.name in pictures else given[0].field(field.name)).cast(field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema), repeated


def parse_lines(lines: bytes, columns: pa.StructType) -> tuple[pa.StructArray, pa.Array, pa.Array]:
    """Returns the columns of rows, the numbers of their stages, and the places of their images."""
    expected = pa.schema({"columns": with_free_lists(columns), "stage": pa.int64(), "images": pa.list_(PLACE)})
    table = read_json(
        pa.BufferReader(lines),
        ReadOptions(use_threads=False, block_size=len(lines) + 1),  # one block, which holds every line
        ParseOptions(explicit_schema=expected, unexpected_field_behavior="error"),
    ).combine_chunks()
    return tuple(table.column(name).chunk(0) for name in expected.names)


def with_free_lists(kind: pa.DataType) -> pa.DataType:
    """Returns a type with lists of any length instead of lists of a fixed length, which Arrow does not read of JSON."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(with_free_lists(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(with_free_lists(kind.value_type))
    return kind


def picture_array(
    pictures: list[tuple[int, Place] | None], images: Images, pointing: bool
) -> tuple[pa.StructArray, int]:
    """Reads the bytes of images into an Arrow array with their names; also returns the bytes saved by pointing.

    Args:
        pictures: the stage and the place of each; None for a row without an image.
    """
    missing = pa.array([picture is None for picture in pictures])
    known = [(0, NOTHING) if picture is None else picture for picture in pictures]
    held = list({place["content"]: (stage, place) for stage, place in known}.values()) if pointing else known
    ends = array("i", accumulate((place["length"] for _, place in held), initial=0))
    buffer = pa.allocate_buffer(ends[-1])
    view = memoryview(buffer).cast("B")
    for (stage, place), start, end in zip(held, ends, ends[1:], strict=False):
        if place is not NOTHING:
            images.read_into(view[start:end], stage, place)
    data = pa.BinaryArray.from_buffers(pa.binary(), len(held), [None, pa.py_buffer(ends), buffer])
    if pointing:
        # Equal images must be one value, even from different files: for a repeated dictionary value, Parquet reserves
        # space that it does not fill, and whatever was in memory there would be published.
        numbers = {place["content"]: number for number, (_, place) in enumerate(held)}
        indices = array("i", (numbers[place["content"]] for _, place in known))
        data = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), data)
    repeated = sum(place["length"] for _, place in known) - ends[-1]
    names = pa.array([place["name"] for _, place in known], pa.string())
    return pa.StructArray.from_arrays([data, names], ["bytes", "path"], mask=missing), repeated
