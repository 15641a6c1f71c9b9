"""What `load_dataset` gives back is what was put in: bytes, strings, numbers, nothing re-encoded or guessed."""

from __future__ import annotations

import hashlib
import json

import pytest
from datasets import Image, List, load_dataset

from hub_datasets.med_pairs import write_parquet
from hub_datasets.schema import BuildError, chat_features, pair_features
from tests.hub_datasets.layouts import encoded, jpeg, pad_row, picture, png, write_files

METADATA = {
    "empty": "", "unknown": "UNK", "no": "False", "null": None, "false": False, "zero": 0, "one": 1.0, "list": [],
    "digits": "42", "word": "null", "nested": {"a": [{"b": "true"}, None, -(2**63), 2**64 - 1]}, "": "key",
    "深": "肺\n",
    "small": 1e-12, "third": 1 / 3, "large": 1e300, "escaped": '"\\\0\u2028😀</script>', "pad": pad_row(1),
}  # fmt: skip


def row(number: int, folder, **fields) -> dict:
    path = f"images/{number}.png"
    common = {"image_file": str(folder / path), "image_path": f"test/{path}", "source_dataset": "test"}
    return common | {"category": "c", "language": "en", "group_id": "g", "metadata": {"n": number}} | fields


@pytest.fixture
def written(tmp_path):
    """Rows of both configs as Parquet, loaded again."""
    write_files(tmp_path, {"images/0.png": png(0), "images/1.png": jpeg(1)})
    (tmp_path / "images/2.png").write_bytes(encoded(picture(2).convert("P"), "PNG", dpi=(72, 72)))
    answers = ["42", "null", "true", "[]", "{}", "1e3", "0.10", "是", "No", ' "', "NaN", "\0"]
    rows = {
        "pairs-train": [row(0, tmp_path, text="42", metadata=METADATA), row(1, tmp_path, text="null")],
        "pairs-test": [row(2, tmp_path, text="双肺清晰。")],
        "chat-train": [
            row(0, tmp_path, messages=[{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}])
            for answer in answers
        ],
    }
    lines = {f"rows/{name}.jsonl": "\n".join(map(json.dumps, part)) + "\n" for name, part in rows.items()}
    write_files(tmp_path, lines)
    infos = {c: write_parquet(c, tmp_path / "rows", tmp_path / "out", tmp_path / "cache") for c in ("pairs", "chat")}
    return tmp_path / "out", infos, answers


def loaded(folder, config: str, split: str, **options):
    files = {"data_files": {split: str(folder / config / f"{split}-*.parquet")}}
    return load_dataset("parquet", split=split, **files, **options)


def test_files_and_info(written):
    folder, infos, _ = written
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")) == [
        "chat/train-00000-of-00001.parquet",
        "pairs/test-00000-of-00001.parquet",
        "pairs/train-00000-of-00001.parquet",
    ]
    assert infos["pairs"].features == pair_features() and infos["chat"].features == chat_features()
    assert {split: part.num_examples for split, part in infos["pairs"].splits.items()} == {"train": 2, "test": 1}


def test_features_come_back_from_the_files_alone(written):
    folder, _, _ = written
    assert loaded(folder, "pairs", "train").features == pair_features()
    assert loaded(folder, "chat", "train").features == chat_features()


def test_metadata_comes_back_as_it_went_in(written):
    folder, _, _ = written
    for dataset in (loaded(folder, "pairs", "train"), loaded(folder, "pairs", "train", streaming=True)):
        found = next(iter(dataset))["metadata"]
        assert list(found) == list(METADATA)
        for key, value in METADATA.items():
            expected = pytest.approx(value, rel=1e-12, abs=0) if isinstance(value, float) else value
            assert found[key] == expected and type(found[key]) is type(value), key


def test_answers_stay_text(written):
    folder, _, answers = written
    for dataset in (loaded(folder, "chat", "train"), loaded(folder, "chat", "train", streaming=True)):
        assert [example["messages"][1] for example in dataset] == [
            {"role": "assistant", "content": answer} for answer in answers
        ]
    assert [example["text"] for example in loaded(folder, "pairs", "train")] == ["42", "null"]


def test_the_bytes_of_an_image_are_the_files_own(written):
    folder, _, _ = written
    sources = {f"{n}.png": (folder.parent / f"images/{n}.png").read_bytes() for n in range(3)}
    raw = loaded(folder, "pairs", "train").cast_column("image", Image(decode=False))
    assert [(example["image"]["path"], example["image"]["bytes"]) for example in raw] == list(sources.items())[:2]
    raw = loaded(folder, "chat", "train").cast_column("images", List(Image(decode=False)))
    assert [example["images"][0]["bytes"] for example in raw] == [sources["0.png"]] * len(raw)
    assert [image.mode for image in loaded(folder, "pairs", "test")["image"]] == ["P"]


def test_an_image_that_is_gone(tmp_path):
    write_files(tmp_path, {"rows/pairs-train.jsonl": json.dumps(row(7, tmp_path, text="text"))})
    with pytest.raises(BuildError, match=r"the Parquet files of 'pairs' cannot be written: .*7\.png"):
        write_parquet("pairs", tmp_path / "rows", tmp_path / "out", tmp_path / "cache")
    assert not (tmp_path / "out").exists()


def test_the_bytes_of_a_whole_build(built_small):
    """Every image in the dataset is a file of its source, byte for byte, and `image_path` says which."""
    folders = {"knee_xray": "--knee_dir", "pad_ufes_20": "--pad_ufes_dir", "slake": "--slake_dir"}
    folders["medical_reports"] = "--reports_dir"
    seen = set()
    for config, column, feature in (("pairs", "image", Image(decode=False)), ("chat", "images", None)):
        dataset = load_dataset(str(built_small.folder), config)
        for part in dataset.values():
            for example in part.cast_column(column, feature or List(Image(decode=False))):
                source, _, path = example["image_path"].partition("/")
                image = example[column] if config == "pairs" else example[column][0]
                content = (built_small.sources[folders[source]] / path).read_bytes()
                assert hashlib.sha256(image["bytes"]).digest() == hashlib.sha256(content).digest()
                seen.add(source)
    assert seen == set(folders)
