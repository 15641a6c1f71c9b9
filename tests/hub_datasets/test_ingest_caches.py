"""Which folders are caches of builds, and which of their files a build wrote."""

from __future__ import annotations

import pytest

from hub_datasets.filesystem import storage
from hub_datasets.ingest_caches import held, ingest_caches
from tests.hub_datasets.layouts import write_files

STAGE = f"slake-{'0123456789abcdef0123'}"
OURS = [f"{STAGE}/catalogue.sqlite", f"{STAGE}/images-000000.bin", f"{STAGE}/stage.json", "scratch/decisions.sqlite"]
OTHERS = ["mine.txt", f"{STAGE}/mine.bin", "slake-0123/stage.json", "other-0123456789abcdef0123/stage.json"]


@pytest.mark.parametrize("place", ["data/.out.cache", "x/medpairs-cache"])
def test_the_files_of_a_build_are_found(tmp_path, place):
    write_files(tmp_path / place, dict.fromkeys([*OURS, *OTHERS], "x"))
    (cache,) = ingest_caches([tmp_path, tmp_path / place])
    assert cache.folder == tmp_path / place and list(cache.files) == sorted(OURS) and cache.size() == len(OURS)


@pytest.mark.parametrize("place", ["data/out.cache", "data/.out", "data/processed", "data/.other.cache/deeper"])
def test_other_folders_are_no_caches(tmp_path, place):
    write_files(tmp_path / place, dict.fromkeys(OURS, "x"))
    assert list(ingest_caches([tmp_path])) == []


def test_scratch_alone_is_not_known_as_a_build_s(tmp_path):
    write_files(tmp_path / ".browser.cache", {"scratch/mine": "x"})
    assert list(ingest_caches([tmp_path])) == []


def test_a_cache_in_use_cannot_be_held(tmp_path):
    with (
        storage.file_lock(str(tmp_path), "taken"),
        pytest.raises(OSError, match=r"^a build is using it$"),
        held(tmp_path),
    ):
        pass
    with held(tmp_path):
        pass
