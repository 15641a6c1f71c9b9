"""Checks that the cells of a Parquet file are read like files, in any order, and that no cell can do harm."""

from __future__ import annotations

import io
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import Reason
from tests.cases import few
from tests.hub_datasets.folders import sent

ROWS = 30


def content(row: int, place: int = 0) -> bytes:
    return f"image {row} {place} ".encode() * (row + 1)


def written(column: str = "image", many: bool = False, **options) -> bytes:
    """A file of ROWS images; the cell of row 3 is empty, and a list has as many images as the last digit of its row."""
    cells: list = [{"bytes": content(row), "path": f"{row}.png"} for row in range(ROWS)]
    if many:
        cells = [[{"bytes": content(row, place), "path": None} for place in range(row % 10)] for row in range(ROWS)]
    cells[3] = None
    file = io.BytesIO()
    pq.write_table(pa.table({column: cells, "text": ["x"] * ROWS}), file, **options)
    return file.getvalue()


@pytest.fixture(params=[{"row_group_size": 7}, {"row_group_size": 1}, {"use_dictionary": ["image.bytes"]}])
def folder(request, tmp_path) -> Folder:
    (tmp_path / "x.parquet").write_bytes(written(**request.param))
    return sent(Folder(tmp_path))


def code_of(folder: Folder, name: str, **options) -> Reason:
    with pytest.raises(FolderError) as error:
        folder.read(name, **options)
    assert "\n" not in str(error.value)
    return error.value.code


@pytest.mark.parametrize("order", [range(4, ROWS), range(ROWS - 1, 3, -1), (9, 9, 29, 4, 14, 5)])
def test_cells_are_read_in_any_order(folder, order):
    assert [folder.read(f"x.parquet/{row}.png") for row in order] == [content(row) for row in order]


def test_what_is_no_cell_is_missing(folder):
    for name in ("x.parquet/3.png", "x.parquet/30.png", "x.parquet/999999999999.png", "x.parquet/4-0.png",
                 "x.parquet/x.png", "x.parquet/4", "y.parquet/4.png"):  # fmt: skip
        assert code_of(folder, name) is Reason.IMAGE_MISSING
    assert code_of(folder, "x.parquet/../x.parquet/4.png") is Reason.IMAGE_OUTSIDE_ROOT
    assert code_of(folder, "x.parquet/20.png", limit=100) is Reason.IMAGE_TOO_LARGE


def test_the_places_of_lists(tmp_path):
    (tmp_path / "x.parquet").write_bytes(written("images", many=True, row_group_size=4))
    folder = Folder(tmp_path)
    for row in (19, 5, 12):
        assert [folder.read(f"x.parquet/{row}-{place}.png") for place in range(row % 10)] == [
            content(row, place) for place in range(row % 10)
        ]
    assert code_of(folder, "x.parquet/5-5.png") is code_of(folder, "x.parquet/3-0.png") is Reason.IMAGE_MISSING
    assert code_of(folder, "x.parquet/5.png") is Reason.IMAGE_MISSING


def test_a_file_in_a_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data/x.parquet", written())
    assert Folder(tmp_path).read("a.zip/data/x.parquet/5.png") == content(5)
    assert Folder(tmp_path / "a.zip").read("data/x.parquet/5.png") == content(5)


def test_a_folder_that_is_called_like_a_file(tmp_path):
    (tmp_path / "x.parquet").mkdir()
    (tmp_path / "x.parquet/5.png").write_bytes(b"an image")
    assert Folder(tmp_path).read("x.parquet/5.png") == b"an image"


@pytest.mark.parametrize("size", few([9_000_000, 300_000_000]))
def test_a_cell_that_is_packed_like_a_bomb_is_not_unpacked(size, tmp_path):
    file = io.BytesIO()
    table = pa.table({"image": [{"bytes": bytes(size), "path": "1.png"}]})
    pq.write_table(table, file, compression="zstd", use_dictionary=False)
    (tmp_path / "x.parquet").write_bytes(file.getvalue())
    before = pa.default_memory_pool().max_memory()
    assert code_of(Folder(tmp_path), "x.parquet/0.png") is Reason.IMAGE_TOO_LARGE
    assert pa.default_memory_pool().max_memory() == before


def test_pages_that_are_damaged_are_unreadable_and_the_others_are_read(tmp_path):
    data = bytearray(written(row_group_size=10, compression="none", use_dictionary=False))
    at = data.index(b"image 12 0")
    data[at - 60 : at] = b"\xff" * 60  # the head of the page of the second row group
    (tmp_path / "x.parquet").write_bytes(data)
    folder = Folder(tmp_path)
    assert code_of(folder, "x.parquet/12.png") is Reason.IMAGE_UNREADABLE and folder.failures == 1
    assert folder.read("x.parquet/25.png") == content(25) and folder.read("x.parquet/5.png") == content(5)


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BuildError, match=r"x.parquet: truncated, or not a Parquet file"):
        Folder(tmp_path).read("x.parquet/5.png")
