"""The copies that `datasets` makes of folders are found, and files of others beside them are not."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset, config

from evaluation.folder_caches import folder_caches
from evaluation.loading import load_splits
from tests.hub_datasets.layouts import tree, write_files

CARD = "---\nconfigs:\n- config_name: pairs\n  data_files:\n  - split: train\n    path: pairs/*.parquet\n---\n"


def test_all_that_datasets_writes_is_found_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write_files(tmp_path / "data", {"README.md": CARD, "pairs/x": ""})
    Dataset.from_dict({"a": [1, 2]}).to_parquet(str(tmp_path / "data/pairs/train.parquet"))
    rows = load_splits(str(tmp_path / "data"), "pairs", ["train"])["train"]
    rows.map(lambda row: {"b": row["a"]})
    written = set(tree(tmp_path / "cache" / "folders"))
    assert any(name.endswith(".arrow") for name in written)
    write_files(
        tmp_path / "cache", {"folders/notes.txt": "mine", "folders/mine/x.arrow": "mine", "org___x/y.arrow": "x"}
    )
    (found,) = folder_caches([Path("/no/such")])
    assert found.folder == tmp_path / "cache" / "folders" and set(found.files) == written
    found.delete()
    assert set(tree(tmp_path / "cache")) == {"folders/notes.txt", "folders/mine/x.arrow", "org___x/y.arrow"}
