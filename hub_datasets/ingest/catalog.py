"""Stores the records and images of one source on disk, so that memory use does not grow with the data.

A catalog is an SQLite file with texts and numbers. The bytes of an image stay in the source folder if they can
(`image_bytes`), and `edits` says what is taken out of them (`metadata.edits_to_json`). Other bytes are concatenated in
a few large files beside the catalog; `file` and `offset` locate them.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hub_datasets.errors import printable
from hub_datasets.records import (
    Flag,
    Ignored,
    RawRecord,
    Reason,
    Regions,
    Rejection,
    TableNote,
    decoded,
    encoded,
)

# What a worker finds out about an image: the first four say where its bytes are, `code` and `message` what is wrong.
IMAGE_COLUMNS = ("file", "offset", "edits", "length", "content", "format", "width", "height", "pixels", "perceptual",
                 "groups", "window", "stripped", "flags", "code", "message")  # fmt: skip
TABLES = f"""
CREATE TABLE records (seq INTEGER PRIMARY KEY, item, image, record, flags, code, message);
CREATE TABLE ignored (item, why);
CREATE TABLE regions (image PRIMARY KEY, boxes, mask);
CREATE TABLE tables (note);
CREATE TABLE images (name PRIMARY KEY, {", ".join(IMAGE_COLUMNS)});
CREATE TABLE thumbnails (name PRIMARY KEY, gray) WITHOUT ROWID;
"""
BY_IMAGE = "CREATE INDEX IF NOT EXISTS records_by_image ON records (image);"
INDICES = f"CREATE INDEX images_by_pixels ON images (pixels); {BY_IMAGE}"
CACHE_KIB = 8_000  # of SQLite's pages, for each open file
AT_ONCE = 500  # records that are written together


def connect(path: Path | str, read_only: bool = False) -> sqlite3.Connection:
    """Opens an SQLite file. Files that can be recreated are written without waiting for the disk."""
    database = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}", uri=True)
    database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    database.execute("PRAGMA temp_store = FILE")
    if not read_only:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA journal_mode = OFF")
    return database


class Catalog:
    """The tables of one source. `seq` numbers the records from 1, in the order of the source."""

    def __init__(self, path: Path, mode: str = "read") -> None:
        """Opens the catalog in `path` to `read`, to `change`, or to `create` it."""
        self.database = connect(path, read_only=mode == "read")
        self._seq = 0
        self._waiting: list[tuple] = []  # records that are written together
        if mode == "create":
            self.database.executescript(TABLES)

    def close(self) -> None:
        self._write()
        self.database.commit()
        self.database.close()

    # --- written while a source is read

    def add(self, record: RawRecord, flags: Iterable[Flag], content: str | None = None) -> None:
        """Adds a record whose texts can be used, and the name of its image.

        Args:
            content: what `encoded` returns for the record, if it is known.
        """
        noted = to_json([asdict(flag) for flag in flags]) if flags else "[]"
        self._append(record.item, record.image, content or encoded(record), noted, None, None)

    def reject(self, item: str, code: Reason, message: str) -> None:
        """Adds a record that cannot be used, with the reason."""
        self._append(printable(item), None, None, None, str(code), printable(message))

    def _append(self, *values: str | None) -> None:
        self._seq += 1
        self._waiting.append((self._seq, *values))
        if len(self._waiting) >= AT_ONCE:
            self._write()

    def _write(self) -> None:
        """Writes the records that are waiting, and the names of their images."""
        images = ((image,) for _, _, image, *_ in self._waiting if image is not None)
        self.database.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", self._waiting)
        self.database.executemany("INSERT OR IGNORE INTO images (name) VALUES (?)", images)
        self._waiting.clear()

    def ignore(self, ignored: Ignored) -> None:
        """Adds a file or item that was passed over."""
        self.database.execute("INSERT INTO ignored VALUES (?, ?)", (printable(ignored.item), printable(ignored.why)))

    def add_regions(self, regions: Regions) -> None:
        """Adds what a source marks in an image, and the name of the mask, which is read like an image."""
        self._write()  # an image comes before its mask
        values = (regions.image, to_json(regions.boxes), regions.mask)
        self.database.execute("INSERT OR IGNORE INTO regions VALUES (?, ?, ?)", values)
        if regions.mask:
            self.database.execute("INSERT OR IGNORE INTO images (name) VALUES (?)", (regions.mask,))

    def note(self, note: TableNote) -> None:
        """Adds how a table was understood."""
        self.database.execute("INSERT INTO tables VALUES (?)", (to_json(asdict(note)),))

    def image_names(self) -> Iterator[str]:
        """Yields the names of the images that records refer to, each once, in the order of the records."""
        self._write()
        yield from (name for (name,) in self.database.execute("SELECT name FROM images ORDER BY rowid"))

    @property
    def count(self) -> int:
        """Returns the number of records that were added or rejected, which is the seq of the last."""
        return self._seq

    def count_images(self) -> int:
        self._write()
        return self.database.execute("SELECT count(*) FROM images").fetchone()[0]

    def add_images(self, found: Iterable[dict[str, Any]]) -> None:
        """Adds the results of a worker for images: `name` and the known ones of IMAGE_COLUMNS.

        An image that is one frame of a file has the file's name in `frame_of`; an image of a source with scans also
        has a `thumbnail`, in Base64: results travel as JSON.
        """
        assignments = ", ".join(f"{column} = :{column}" for column in IMAGE_COLUMNS)
        empty = dict.fromkeys(IMAGE_COLUMNS)
        rows = [empty | row for row in found]
        whole = [row for row in rows if "frame_of" not in row]
        self.database.executemany(f"UPDATE images SET {assignments} WHERE name = :name", whole)
        if len(whole) < len(rows):
            self._add_frames([row for row in rows if "frame_of" in row], {row["name"] for row in whole})
        small = ((row["name"], base64.b64decode(row["thumbnail"])) for row in rows if row.get("thumbnail"))
        self.database.executemany("INSERT INTO thumbnails VALUES (?, ?)", small)

    def _add_frames(self, frames: list[dict[str, Any]], rejected: set[str]) -> None:
        """Adds the frames of files, and for each frame a copy of every record of its file, in place of that record.

        Args:
            rejected: files of which a part cannot be used; their records stay, too, so that they are reported.
        """
        self.database.execute(BY_IMAGE)
        columns = ("name", *IMAGE_COLUMNS)
        values = ", ".join(f":{column}" for column in columns)
        self.database.executemany(f"INSERT INTO images ({', '.join(columns)}) VALUES ({values})", frames)
        of_image = "SELECT item, record, flags FROM records WHERE image = ? ORDER BY seq"
        for frame in frames:
            for item, record, flags in self.database.execute(of_image, (frame["frame_of"],)).fetchall():
                copy = decoded(record)
                copy.item, copy.image = f"{item} {frame['name'].removeprefix(frame['frame_of'])}", frame["name"]
                new = (copy.item, copy.image, encoded(copy), flags)
                self.database.execute("INSERT INTO records (item, image, record, flags) VALUES (?, ?, ?, ?)", new)
        for file in dict.fromkeys(frame["frame_of"] for frame in frames):
            if file not in rejected:
                self.database.execute("DELETE FROM records WHERE image = ?", (file,))
                self.database.execute("DELETE FROM images WHERE name = ?", (file,))

    def finish(self) -> None:
        """Creates the indices for reading, and closes the file."""
        self.database.executescript(INDICES)
        self.close()

    # --- read afterwards

    def records_by_picture(self) -> Iterator[tuple[str | None, int, RawRecord, dict[str, Any], str]]:
        """Yields (hash of the pixels, seq, record, its image's row, the record in JSON), by picture, then by seq.

        Only records whose image can be used: see `rejections` for the others.
        """
        query = f"""SELECT images.pixels, seq, record, {", ".join(f"images.{c}" for c in IMAGE_COLUMNS)}
            FROM images JOIN records ON records.image = images.name
            WHERE records.record IS NOT NULL AND images.code IS NULL ORDER BY images.pixels, seq"""
        for pixels, seq, fields, *columns in self.database.execute(query):
            yield pixels, seq, decoded(fields), dict(zip(IMAGE_COLUMNS, columns, strict=True)), fields

    def rejections(self) -> Iterator[tuple[int, Rejection]]:
        """Yields (seq, rejection without its source) for records that cannot be used, or whose image cannot."""
        query = """SELECT seq, item, coalesce(records.code, images.code), coalesce(records.message, images.message)
            FROM records LEFT JOIN images ON records.image = images.name
            WHERE records.code IS NOT NULL OR images.code IS NOT NULL ORDER BY seq"""
        for seq, item, code, message in self.database.execute(query):
            yield seq, Rejection("", item, Reason(code), message)

    def flags(self, hidden: Collection[str] = ()) -> Iterator[tuple[str, str, str, str]]:
        """Yields (item or image, where: `text` or `image`, kind, detail) of everything that a person should review.

        Args:
            hidden: columns that are not published, whose flags are left out.
        """
        for where, table, name in (("text", "records", "item"), ("image", "images", "name")):
            query = f"SELECT {name}, flags FROM {table} WHERE flags IS NOT NULL AND flags != '[]' ORDER BY rowid"
            for item, flags in self.database.execute(query):
                for flag in (Flag(**found) for found in json.loads(flags)):
                    if flag.column not in hidden:
                        yield item, where, flag.kind, flag.detail

    def image_of(self, seq: int) -> str | None:
        """Returns the name of a record's image; None if its texts could not be used."""
        return self.database.execute("SELECT image FROM records WHERE seq = ?", (seq,)).fetchone()[0]

    def thumbnail(self, name: str) -> bytes:
        """Returns the gray values of an image of a source with scans, see `ExaminedImage.thumbnail`."""
        return self.database.execute("SELECT gray FROM thumbnails WHERE name = ?", (name,)).fetchone()[0]

    def has_regions(self) -> bool:
        return self.database.execute("SELECT 1 FROM regions").fetchone() is not None

    def regions_of(self, image: str) -> tuple[list[list], str, dict[str, Any]] | None:
        """Returns the boxes in an image, the name of its mask and the mask's row; None if nothing is marked in it.

        Without a mask, the name and the row are empty.
        """
        query = f"""SELECT boxes, mask, {", ".join(f"images.{c}" for c in IMAGE_COLUMNS)}
            FROM regions LEFT JOIN images ON images.name = mask WHERE image = ?"""
        found = self.database.execute(query, (image,)).fetchone()
        if found is None:
            return None
        boxes, mask, *columns = found
        return json.loads(boxes), mask, dict(zip(IMAGE_COLUMNS, columns, strict=True)) if mask else {}

    def ignored(self) -> Iterator[tuple[str, str]]:
        """Yields (item, why)."""
        yield from self.database.execute("SELECT item, why FROM ignored ORDER BY rowid")

    def notes(self) -> Iterator[TableNote]:
        """Yields how each table was understood, in the order in which the tables were read."""
        for (note,) in self.database.execute("SELECT note FROM tables ORDER BY rowid"):
            yield TableNote(**json.loads(note))

    def count_read(self) -> int:
        return self.database.execute("SELECT count(*) FROM records").fetchone()[0]


to_json = json.JSONEncoder(ensure_ascii=False).encode  # UTF-8, not ASCII
