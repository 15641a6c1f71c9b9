"""Reads datasets of other people: VQA-RAD's layout, folders of images, Parquet, missing labels."""

from __future__ import annotations

import argparse
import json

import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value

from evaluation.datasets.answer_types import answer_type
from evaluation.datasets.rows import load_rows
from evaluation.datasets.split_slices import parse_split
from evaluation.loading import InputError
from tests.evaluation.small_run import picture

FLAGS = {
    "dataset": "", "dataset_config": None, "split": "test", "train_split": "train", "limit": None, "seed": None,
    "image_column": None,
    "question_column": None, "answer_column": None, "text_column": None,
}  # fmt: skip
ROWS = [
    (1, "Is there an effusion?", "Yes"),
    (1, "Which side is larger?", "left"),
    (2, "有积液吗?", "没有"),
    (3, "Is it CT or MRI?", "MRI"),
    (None, "What is seen?", "the report has far more words than any answer, and so it has no type"),
]


def load(folder, layout="chat", **changed):
    options = argparse.Namespace(**(FLAGS | {"dataset": str(folder)} | changed))
    found = load_rows(options, layout, "")
    return found.scored, found.train, found.config


@pytest.fixture(scope="module")
def vqa_rad(tmp_path_factory):
    """A folder of Parquet in the layout of VQA-RAD: image, question, answer, and nothing else."""
    folder = tmp_path_factory.mktemp("vqa-rad")
    features = Features({"image": Image(), "question": Value("string"), "answer": Value("string")})
    columns = [
        [number and picture((20, 20 + number), number) for number, _, _ in ROWS],
        *zip(*[row[1:] for row in ROWS], strict=True),
    ]
    table = Dataset.from_dict(dict(zip(features, map(list, columns), strict=True)), features=features)
    (folder / "data").mkdir()
    table.to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    table.select([0, 2]).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder


def test_the_layout_of_vqa_rad(vqa_rad):
    rows, train, config = load(vqa_rad)
    assert config == "default" and len(rows) == 5 and len(train) == 2
    assert [len(images) for images in rows["images"]] == [1, 1, 1, 1, 0]
    for row, (number, question, answer) in zip(rows, ROWS, strict=True):
        assert row["messages"] == [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        if number:
            assert row["images"][0].tobytes() == picture((20, 20 + number), number).tobytes()
    # Questions about one image stay together under the first row that has it.
    assert rows["image_path"] == ["row 0", "row 0", "row 2", "row 3", "row 4"]
    assert rows["language"] == ["en", "en", "zh", "en", "en"]
    assert rows["answer_type"] == ["CLOSED", "OPEN", "CLOSED", "CLOSED", ""]
    assert set(rows["source_dataset"]) == {""}


def test_named_columns_and_parts_of_splits(vqa_rad, tmp_path):
    table = Dataset.from_parquet(str(vqa_rad / "data" / "test-00000-of-00001.parquet"))
    table = table.rename_columns({"image": "scan", "question": "ask", "answer": "told"})
    table = table.add_column("image_path", ["x", None, "y", "z", "w"]).add_column(
        "language", ["fr", None, "", "en", "en"]
    )
    table.to_parquet(tmp_path / "test.parquet")
    names = {"image_column": "scan", "question_column": "ask", "answer_column": "told"}
    rows, train, _ = load(tmp_path, split="test[1:4]", **names)
    assert train is None and [row["messages"][1]["content"] for row in rows] == ["left", "没有", "MRI"]
    assert rows["image_path"] == ["row 0", "y", "z"] and rows["language"] == ["en", "zh", "en"]
    assert load(tmp_path, split="test[:40%]", **names)[0]["language"] == ["fr", "en"]
    with pytest.raises(
        InputError, match=r"missing columns: image, question, answer\. It has scan, ask, told, image_path"
    ):
        load(tmp_path)
    with pytest.raises(InputError, match=r"missing columns: asked\. .*name the columns by --question_column\."):
        load(tmp_path, **(names | {"question_column": "asked"}))
    with pytest.raises(InputError, match="the column scan has no texts but Image"):
        load(tmp_path, **(names | {"answer_column": "scan"}))
    with pytest.raises(InputError, match="the column language has no value in row 1"):
        load(tmp_path, **(names | {"answer_column": "language"}))


def test_a_train_split_with_scored_rows_is_not_used(vqa_rad):
    assert load(vqa_rad, split="train[:1]")[1] is None
    rows, train, _ = load(vqa_rad, split="test[:2]", train_split="test[2:]")
    assert (len(rows), len(train)) == (2, 3)
    with pytest.raises(InputError, match=r"--train_split test\[1:\] and --split test\[:2\] have rows in common"):
        load(vqa_rad, split="test[:2]", train_split="test[1:]")


def test_a_folder_of_images_with_captions(tmp_path):
    (tmp_path / "test").mkdir()
    lines = []
    for number in range(3):
        picture((20, 20), number).save(tmp_path / "test" / f"{number}.png")
        lines.append({"file_name": f"{number}.png", "caption": f"report {number}", "grade": number})
    (tmp_path / "test" / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows, train, config = load(tmp_path, "pairs")
    assert (train, config) == (None, "default")
    assert rows["text"] == ["report 0", "report 1", "report 2"] and len(set(rows["image_path"])) == 3
    assert rows[2]["image"].tobytes() == picture((20, 20), 2).tobytes()
    assert load(tmp_path, "pairs", text_column="grade")[0]["text"] == ["0", "1", "2"]


def test_classes_and_names_of_files(tmp_path):
    (tmp_path / "images").mkdir()
    picture((9, 9), 1).save(tmp_path / "images" / "a.png")
    features = Features({"image": Value("string"), "label": ClassLabel(names=["benign", "malignant"])})
    table = Dataset.from_dict({"image": ["images/a.png"], "label": [1]}, features=features)
    (tmp_path / "data").mkdir()
    table.to_parquet(tmp_path / "data" / "test.parquet")
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: all\n  data_files:\n  - split: test\n    path: data/*.parquet\n---\n"
    )
    rows, _, config = load(tmp_path, "pairs", text_column="label")
    assert config == "all" and rows["text"] == ["malignant"] and rows[0]["image"].size == (9, 9)
    outside = Dataset.from_dict({"image": ["../secret.png"], "label": [1]}, features=features)
    outside.to_parquet(tmp_path / "data" / "test.parquet")
    picture((9, 9), 1).save(tmp_path.parent / "secret.png")
    with pytest.raises(InputError, match=r"column image, row 0: \.\./secret\.png is not a file in"):
        load(tmp_path, "pairs", text_column="label")


def test_a_limit_keeps_the_numbers_of_the_rows(build):
    options = argparse.Namespace(**(FLAGS | {"dataset": str(build), "split": "train[10:]", "limit": 9}))
    found = load_rows(options, "chat", "")
    complete = load(build, split="train")[0]
    assert len(found.numbers) == 9 and min(found.numbers) >= 10
    assert [complete[number]["messages"] for number in found.numbers] == found.scored["messages"]


def test_a_build_of_this_project_is_read_as_it_is(build):
    from evaluation.loading import load_splits

    rows, train, config = load(build, split="validation")
    stored = load_splits(str(build), "chat", ["validation"])["validation"]
    assert config == "chat" and rows._fingerprint == stored._fingerprint and len(train) > len(rows)
    assert load(build, "pairs", split="validation")[2] == "pairs"


@pytest.mark.parametrize(
    ("text", "length", "rows"),
    [
        ("test", 5, [0, 1, 2, 3, 4]),
        ("test[:2]", 5, [0, 1]),
        ("test[-2:]", 5, [3, 4]),
        ("test[10%:20%]", 30, [3, 4, 5]),
        ("test[:50%]", 3, [0, 1]),
        ("test[50%:]", 3, [2]),
        ("test[9:]", 5, []),
        ("test[:]", 2, [0, 1]),
    ],
)
def test_parts_of_splits(text, length, rows):
    assert list(parse_split(text).rows(length)) == rows


def test_parts_of_splits_are_those_of_datasets():
    from datasets import ReadInstruction

    for text in ("test[10%:20%]", "test[:33%]", "test[-7:]", "test[3:-2]", "test[66%:]", "test[-10%:]"):
        for length in (1, 7, 30, 99, 1000):
            try:
                (theirs,) = ReadInstruction.from_spec(text).to_absolute({"test": length})
            except (AssertionError, ValueError):  # it refuses bounds outside of the split, which are cut here
                continue
            ours = parse_split(text).rows(length)
            assert [*ours] == [*range(length)][theirs.from_ : theirs.to], (text, length)


@pytest.mark.parametrize("text", ["test[", "test[1]", "test[1:2:3]", "test[a:b]", "[:3]", "test[:200%]", ""])
def test_splits_of_another_form_are_refused(text):
    with pytest.raises(InputError, match="give a split, or a part of it such as"):
        parse_split(text)


@pytest.mark.parametrize(
    ("question", "answer", "kind"),
    [
        ("Is it?", "Yes.", "CLOSED"),
        ("是吗?", "是的", "CLOSED"),
        ("有吗?", "没有。", "CLOSED"),
        ("Is it CT or MRI?", "ct", "CLOSED"),
        ("是CT还是MRI?", "MRI", "CLOSED"),
        ("Is it CT or MRI?", "X-ray", "OPEN"),
        ("Is the cord or no cord seen?", "cord", "CLOSED"),
        ("What is it?", "no abnormal mass", "OPEN"),
        ("哪里?", "左肺上叶", "OPEN"),
        ("Describe.", "one two three four five six seven eight nine ten eleven", ""),
    ],
)
def test_answer_types(question, answer, kind):
    assert answer_type(question, answer) == kind


@pytest.mark.parametrize("is_list", [False, True])
def test_an_image_that_is_a_file_elsewhere_is_refused(tmp_path, is_list):
    """A table can name any file of the machine, which would be sent to a server that is asked."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture((32, 32), 1).save(tmp_path / "private.png")
    folder = tmp_path / "data"
    folder.mkdir()
    picture((32, 32), 2).save(folder / "own.png")

    def write(path) -> None:
        image, name = {"bytes": None, "path": str(path)}, "images" if is_list else "image"
        kind = List(Image()) if is_list else Image()
        features = Features({name: kind, "question": Value("string"), "answer": Value("string")})
        content = {name: [[image] if is_list else image], "question": ["Is it CT?"], "answer": ["No"]}
        pq.write_table(pa.Table.from_pydict(content, features.arrow_schema), folder / "test.parquet")

    write(folder / "own.png")
    assert load(folder)[0][0]["images"][0].size == (32, 32)
    write(tmp_path / "private.png")
    with pytest.raises(InputError, match=r"column images?: an image is the file .*private.png, which is not part"):
        load(folder)
