"""Reads rows and images of a Parquet file, whose image cells are files of their own: `data/train.parquet/17.png`.

Nothing in a Parquet file is trusted: neither the sizes that it declares nor the paths beside its images. Rows are read
page by page, so that memory holds one page and one cell; a page has at most the bytes of its row group.
"""

from __future__ import annotations

import os
import re
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, BinaryIO

from hub_datasets.errors import BuildError, one_line
from hub_datasets.filesystem.parquet.columns import features_of, holds_bytes, image_columns, is_below
from hub_datasets.filesystem.zip_archive import MAX_RATIO, RATIO_BYTES, Unreadable
from hub_datasets.records import Reason

PARQUET = ".parquet"
# The name of an image cell: the file, the row and, for a list of images, the place in the list, both from 0.
CELL = re.compile(r"(.+\.parquet)/([0-9]{1,12})(?:-([0-9]{1,4}))?\.[A-Za-z0-9]{1,8}", re.IGNORECASE)
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")
NO_SUFFIX = ".image"  # of an image whose row gives no file name; its bytes say what it is
BUFFER = 1024 * 1024  # bytes read at once; without it, Arrow reads a column of a row group at once
ROWS_AT_ONCE = 256
MAX_CHUNK = 2 * 1024**3  # bytes of one column in a row group, unpacked
MAX_OPEN = 8
MAX_COLUMNS = 2000


class ParquetTable:
    """An open Parquet file; several threads may read it at once.

    Attributes:
        schema: the Arrow schema.
        features: the columns as `datasets` describes them in the file; empty if it was written otherwise.
        image: the first column of images; None if there is none.
        other_images: the names of further columns of images, which are not read.
    """

    def __init__(self, file: BinaryIO, place: str):
        """Reads the footer of a file. Raises BuildError, which names the `place`, if it is damaged."""
        import pyarrow.parquet as pq

        self._lock = threading.Lock()
        self._place = place
        try:
            self._file = pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
            self.schema = self._file.schema_arrow
            leaves = [self._file.schema.column(number) for number in range(len(self._file.schema))]
            groups = [self._file.metadata.row_group(number) for number in range(self._file.num_row_groups)]
        except Exception as error:  # the parser raises many types on broken bytes
            raise BuildError(
                f"{place}: truncated, or not a Parquet file ({one_line(error)}); download it again, or remove it from "
                "the folder"
            ) from None
        if len(leaves) > MAX_COLUMNS:
            raise BuildError(f"{place}: {len(leaves):,} columns, the limit is {MAX_COLUMNS:,}; write fewer columns")
        self._leaves = {leaf.path: number for number, leaf in enumerate(leaves)}
        self._groups = groups
        self._starts = list(accumulate((group.num_rows for group in groups), initial=0))
        self.features = features_of(self.schema)
        found = list(image_columns(self.schema, self.features, self._leaves))
        self.image = found[0] if found else None
        self.other_images = [column.name for column in found[1:]]
        self._reader: Iterator[Any] | None = None
        self._group, self._next = -1, -1  # the row group of the reader, and the row that it yields next

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return self._starts[-1]

    def columns(self) -> list[str]:
        """Returns the names of the columns that hold no bytes."""
        images = {self.image.name if self.image else "", *self.other_images}
        return [field.name for field in self.schema if field.name not in images and not holds_bytes(field.type)]

    def rows(self) -> Iterator[tuple[int, dict[str, Any], list[str | None]]]:
        """Yields (number, cells without images, name of each image) of every row.

        The name of an image is what `read` takes, below the name of the file; None for an empty cell whose path is
        in the cell `path`. Raises BuildError if the file is damaged.
        """
        wanted = self.columns()
        leaves = [leaf for leaf in self._leaves if any(is_below(leaf, name) for name in wanted)]
        try:
            for number, group in enumerate(self._groups):
                self._check(group, leaves)
                yield from self._rows_of_group(number, group, leaves)
        except Unreadable as error:
            raise BuildError(f"{self._place}: {error.message}") from None
        except BuildError:
            raise
        except Exception as error:
            message = f"damaged: {one_line(error)}; download it again, or remove it from the folder"
            raise BuildError(f"{self._place}: {message}") from None

    def _rows_of_group(self, number: int, group: Any, leaves: Sequence[str]) -> Iterator[tuple[int, dict, list]]:
        light = self.image is None or self._needs_no_bytes(group)
        at_once = ROWS_AT_ONCE if light else 1
        asked = [*leaves]
        if self.image:
            asked += [self.image.path] if light else filter(None, (self.image.path, self.image.data))
            self._check(group, asked)
        if not asked:  # rows without a column that is read
            return
        start = self._starts[number]
        reader = self._file.iter_batches(at_once, row_groups=[number], columns=asked, use_threads=False)
        for batch in reader:
            for cells in batch.to_pylist():
                names: list[str | None] = []
                if self.image:
                    names = self._names(start, cells.pop(self.image.name, None), light)
                yield start, cells, names
                start += 1

    def _needs_no_bytes(self, group: Any) -> bool:
        """Returns whether every image of a row group has bytes, as its statistics say, and a column of paths."""
        statistics = group.column(self._leaves[self.image.data]).statistics
        return bool(self.image.path) and statistics is not None and statistics.null_count == 0

    def _names(self, row: int, cell: Any, light: bool) -> list[str | None]:
        """Returns the names of the images in a cell; None for an image without bytes."""
        images = (cell or []) if self.image.many else [cell]
        names: list[str | None] = []
        for place, image in enumerate(images):
            path = None if image is None or self.image.bare else image.get("path")
            data = image if self.image.bare or image is None else image.get("bytes")
            suffix = SUFFIX.search(path) if isinstance(path, str) else None
            part = f"-{place}" if self.image.many else ""
            present = light or data is not None
            names.append(f"{row}{part}{suffix[0].lower() if suffix else NO_SUFFIX}" if present else path_only(path))
        return names

    def _check(self, group: Any, leaves: Sequence[str]) -> None:
        """Raises Unreadable if columns of a row group are larger than they may be, or packed like a bomb."""
        for leaf in leaves:
            chunk = group.column(self._leaves[leaf])
            size, packed = chunk.total_uncompressed_size, max(1, chunk.total_compressed_size)
            if size > max(RATIO_BYTES, MAX_RATIO * packed):
                message = f"the column {leaf} has a compression ratio of {size // packed:,}:1, the limit is {MAX_RATIO}"
                raise Unreadable(Reason.IMAGE_TOO_LARGE, f"{message}:1 (possible bomb)")
            if size > MAX_CHUNK:
                message = f"the column {leaf} has {size:,} bytes in one row group, the limit is {MAX_CHUNK:,}"
                raise Unreadable(Reason.IMAGE_TOO_LARGE, f"{message}; write it with smaller row groups")

    def read(self, row: int, place: int | None, limit: int) -> bytes:
        """Returns the bytes of an image.

        Args:
            row: the number of the row, from 0.
            place: the place in a list of images; None if a cell is one image.

        Raises:
            Unreadable: there is none, it is larger than `limit`, or the file is damaged.
        """
        if self.image is None or not 0 <= row < self.row_count or self.image.many == (place is None):
            raise Unreadable(Reason.IMAGE_MISSING, "is not in its Parquet file")
        with self._lock:
            try:
                cell = self._cell(row)
            except Unreadable:
                raise
            except Exception as error:  # as above; also what does not fit in memory
                self._reader = None
                message = f"cannot be read from its Parquet file: {one_line(error)}"
                raise Unreadable(Reason.IMAGE_UNREADABLE, message) from None
        if self.image.many:
            if not cell.is_valid or place >= len(cell):
                raise Unreadable(Reason.IMAGE_MISSING, "is not in its Parquet file")
            cell = cell[place]
        data = cell if self.image.bare or not cell.is_valid else cell["bytes"]
        if not data.is_valid:
            raise Unreadable(Reason.IMAGE_MISSING, "has no bytes in its Parquet file")
        buffer = data.as_buffer()
        if buffer.size > limit:
            raise Unreadable(Reason.IMAGE_TOO_LARGE, f"has {buffer.size:,} bytes, the limit is {limit:,}")
        return buffer.to_pybytes()

    def _cell(self, row: int) -> Any:
        """Returns the cell of a row; the rows of a row group are read in order, and again from its start."""
        number = bisect_right(self._starts, row) - 1
        while self._groups[number].num_rows == 0:  # several row groups may begin at the same row
            number -= 1
        start = self._starts[number]
        if self._reader is None or self._group != number or row < self._next:
            self._check(self._groups[number], [self.image.data])
            columns = [self.image.data]
            self._reader = self._file.iter_batches(1, row_groups=[number], columns=columns, use_threads=False)
            self._group, self._next = number, start
        while True:
            batch = next(self._reader, None)
            if batch is None:
                raise Unreadable(Reason.IMAGE_UNREADABLE, "is missing in its Parquet file, which is damaged")
            self._next += 1
            if self._next > row:
                return batch.column(0)[0]


class OpenTables:
    """The Parquet files of a folder that stay open: images are read one after the other, by each process alone."""

    def __init__(self) -> None:
        self._close()

    def _close(self) -> None:
        self._tables: dict[str, ParquetTable] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def get(self, name: str, open_file: Callable[[str], BinaryIO], place: str) -> ParquetTable | None:
        """Returns a file; None if there is no such file, for example a folder. Raises BuildError if it is damaged.

        Args:
            open_file: opens a file of the folder; it raises Unreadable or OSError where there is none.
            place: how messages name the file.
        """
        if self._pid != os.getpid():  # a forked process would share its parent's place in the file
            self._close()
        with self._lock:
            if name not in self._tables:
                try:
                    file = open_file(name)
                except (Unreadable, OSError):
                    return None
                table = ParquetTable(file, place)
                if len(self._tables) >= MAX_OPEN:
                    del self._tables[next(iter(self._tables))]  # closed when its last reader is done
                self._tables[name] = table
            return self._tables[name]


def cell_of(name: str) -> tuple[str, int, int | None] | None:
    """Returns the file, the row and the place in a list of an image cell; None for the name of anything else."""
    found = CELL.fullmatch(name)
    return found and (found[1], int(found[2]), None if found[3] is None else int(found[3]))


def path_only(path: object) -> str | None:
    """Returns how an image without bytes is named: its path after a mark, None if it has no path either."""
    return f"path:{path}" if isinstance(path, str) and path.strip() else None
