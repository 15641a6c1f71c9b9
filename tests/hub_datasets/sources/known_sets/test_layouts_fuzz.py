"""Damages the files of layouts at random: each gives records, rejections with a reason, or one BuildError."""

from __future__ import annotations

import random

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import RawRecord
from hub_datasets.sources import labeled_images
from hub_datasets.texts.validation import check_text, write_record
from tests.cases import few
from tests.hub_datasets.layouts import write_files
from tests.hub_datasets.sources.hugging_face import test_hugging_face_layouts
from tests.hub_datasets.sources.known_sets import published
from tests.hub_datasets.sources.mutations import mutated
from tests.hub_datasets.sources.read_layouts import content_of

LAYOUTS = published.LAYOUTS | published.LABELS | test_hugging_face_layouts.LAYOUTS
DAMAGED = 5  # files of each layout for each seed
IMAGES = (".png", ".jpg")


@pytest.mark.parametrize("seed", few(range(8)))
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_damaged_file_gives_an_answer_and_no_crash(name, seed, tmp_path):
    files = {file: content_of(content) for file, content in LAYOUTS[name][0].items()}
    files = {file: content.encode() if isinstance(content, str) else content for file, content in files.items()}
    damaged = [file for file in files if not file.endswith(IMAGES)]
    write_files(tmp_path, files)
    rng = random.Random(f"{name} {seed}")
    for _ in range(DAMAGED):
        file = rng.choice(damaged)
        write_files(tmp_path, {file: mutated(files[file], rng)})
        folder = Folder(tmp_path)
        try:
            for entry in labeled_images.SOURCE.read(folder):
                if isinstance(entry, RawRecord):
                    write_record(entry)
                    check_text(entry, 5, 1000)
                    folder.read(entry.image)
                assert "\n" not in entry.item
        except (BuildError, FolderError) as error:
            assert "\n" not in str(error)
        write_files(tmp_path, {file: files[file]})
