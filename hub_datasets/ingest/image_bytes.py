"""Keeps and reads the bytes of examined images, which stay in the source folder wherever that holds them.

An image in a file or a zip or tar file on this machine is read once more from there when it is published, and its
metadata is taken out again. Copied to the stage are only images that were encoded again, that are part of a table or of
an archive that had to be unpacked, or that are in a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import xxhash

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.images.metadata import edits_from_json, with_edits

if TYPE_CHECKING:
    from hub_datasets.ingest.ingest import Stage

MOST_EDITS = 50  # of an image that stays in the source folder; of more it is cheaper to keep the result


class StagedBytes:
    """A file for the bytes of images that are not in the source folder as they are published; made with the first."""

    def __init__(self, target: str) -> None:
        self._target, self._offset = target, 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> StagedBytes:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, data: bytes) -> dict[str, Any]:
        """Writes the bytes of an image; returns where they are."""
        if self._file is None:
            self._file = storage.open_file(self._target, "wb")
        self._file.write(data)
        self._offset += len(data)
        return {"file": self._target.rsplit("/", 1)[-1], "offset": self._offset - len(data)}


def source_bytes(folder: Folder, name: str, edits: str, content: str) -> bytes:
    """Returns the published bytes of an image that stayed in its source folder.

    Args:
        name: of its file below the folder.
        edits: the result of `edits_to_json`.
        content: the hash of the published bytes.

    Raises:
        BuildError: the file has changed since it was examined.
    """
    try:
        data = with_edits(folder.read_again(name), edits_from_json(edits))
    except FolderError:
        data = None
    if data is None or xxhash.xxh3_128_hexdigest(data) != content:
        raise BuildError(f"{folder.named(name)}: this file has changed since it was examined, or is gone; run again")
    return data


def bytes_of(stage: Stage, name: str, image: Mapping[str, Any]) -> bytes:
    """Returns the published bytes of an image.

    Args:
        name: of its file below the source folder.
        image: its row in the catalog.
    """
    if image["file"] is None:
        return source_bytes(stage.folder, name, image["edits"], image["content"])
    return storage.read_range(storage.join(stage.address, image["file"]), image["offset"], image["length"])
