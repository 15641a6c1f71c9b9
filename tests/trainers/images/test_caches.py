"""Tests which files count as image caches: exactly those that the image cache writes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from tests.hub_datasets.layouts import tree, write_files
from trainers.encoder.frozen_tower_cache import write_embeddings
from trainers.images.cache_builder import cached_images
from trainers.images.caches import pixel_caches


@pytest.fixture(autouse=True)
def no_cache_of_others(tmp_path, monkeypatch):
    """The default folder of caches, in which other tests may have left some, is another one here."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "default"))


@dataclass
class Small:
    """The pixels of an image at 4 x 4."""

    shape: ClassVar[tuple[int, int, int]] = (3, 4, 4)
    max_tiles: ClassVar[int] = 1

    def __call__(self, data: bytes, where: str) -> tuple[np.ndarray, int]:
        image = Image.open(io.BytesIO(data)).convert("RGB").resize((4, 4))
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)[None]), 0


def encoded(row: int) -> tuple[bytes, str]:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (row, 0, 0)).save(data, "png")
    return data.getvalue(), str(row)


def test_all_that_trainings_write_is_found_and_nothing_else(tmp_path):
    cache = cached_images(tmp_path / "pixels", Small(), 3, encoded, workers=1)
    assert write_embeddings(cache.folder / f"image-{'a' * 32}.npy", np.zeros((3, 2), np.float32), np.arange(3))
    written = set(tree(tmp_path / "pixels"))
    assert len(written) == 7  # pixels, table, manifest, lock, embeddings, their numbers and checksum
    write_files(cache.folder, {"notes.txt": "mine", "deeper/pixels.u8": "mine"})
    write_files(tmp_path, {"mine/pixels.u8": "mine", f"pixels/{'b' * 32}/manifest.json": "no table of images"})
    (found,) = pixel_caches([tmp_path])
    assert found.folder == tmp_path / "pixels" and set(found.files) == written
    found.delete()
    left = {f"pixels/{cache.folder.name}/notes.txt", f"pixels/{cache.folder.name}/deeper/pixels.u8"}
    assert set(tree(tmp_path)) == left | {"mine/pixels.u8", f"pixels/{'b' * 32}/manifest.json"}
    assert list(pixel_caches([tmp_path])) == []
