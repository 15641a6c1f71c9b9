"""A rebuilt folder gives its new rows, though `datasets` has the old ones in its cache."""

from __future__ import annotations

from datasets import load_dataset

from hub_datasets.build import main
from tests.hub_datasets.layouts import report_row, write_reports


def test_a_rebuild_is_not_hidden_by_the_cache(tmp_path):
    """Same folder, same rows, same sizes; only one word of a text is another."""
    seen = []
    for word in ("left", "near"):
        source = tmp_path / word
        texts = [f"The {word} lung is clear.", "The heart is of normal size."]
        write_reports(source, [report_row(number, text=text) for number, text in enumerate(texts)])
        assert (
            main(
                [
                    "--reports_dir",
                    str(source),
                    "--output_dir",
                    str(tmp_path / "data"),
                    "--overwrite",
                    "--val_fraction",
                    "0",
                ]
            )
            == 0
        )
        seen.append(sorted(load_dataset(str(tmp_path / "data"), "pairs", split="train")["text"])[1])
    assert seen == ["The left lung is clear.", "The near lung is clear."]
