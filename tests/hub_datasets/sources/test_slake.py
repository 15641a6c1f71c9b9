"""The split files, rows of other shapes, and the caption that an image's questions and answers make."""

from __future__ import annotations

import json

import pytest

from hub_datasets.schema import BuildError, Ignored, Reason, Rejection
from hub_datasets.sources.slake import LOCATIONS_ZH, caption, read
from tests.hub_datasets.layouts import fates, records_of, slake_row, write_files, write_slake


def captions(rows: list[dict], max_chars: int = 999, folder=None) -> str:
    write_slake(folder, train=rows)
    return caption(records_of(read(folder)), max_chars)


def test_a_row_becomes_a_record(tmp_path):
    row = slake_row(16, 4, " Is the lung healthy? ", "No ", location="Chest_lung")
    (record,) = records_of(read(write_slake(tmp_path, train=[row])))
    assert record.item == "train.json row 1 (qid 16)"
    assert record.image == "imgs/xmlab4/source.jpg"
    assert (record.source, record.category, record.language) == ("slake", "Chest_lung", "en")
    assert (record.text, record.question, record.answer) == (None, "Is the lung healthy?", "No")
    assert record.groups == ("image:4",)
    assert record.metadata == row | {"official_split": "train"}


@pytest.mark.parametrize("validation", ["validate", "validation"])
def test_the_official_split_is_the_file(tmp_path, validation):
    parts = {name: [slake_row(n, n, "Q?", "A")] for n, name in enumerate(("test", validation, "train"))}
    found = records_of(read(write_slake(tmp_path, **parts)))
    assert [(record.metadata["official_split"], record.metadata["qid"]) for record in found] == [
        ("train", 2),
        ("validation", 1),
        ("test", 0),
    ]


def test_one_file_is_enough_and_both_names_of_validation_repeat_each_other(tmp_path, check):
    rows = [slake_row(0, 0, "Q?", "A")]
    tally = check("slake", write_slake(tmp_path, validate=rows, validation=rows))
    assert fates(tally) == {
        "validate.json row 1 (qid 0)": "accepted",
        "validation.json row 1 (qid 0)": "duplicate_row",
    }


def test_answers_stay_text(tmp_path):
    answers = ["42", "null", "true", "1e3", "[]", "是"]
    rows = [slake_row(n, 0, f"Question {n}?", answer) for n, answer in enumerate(answers)]
    assert [record.answer for record in records_of(read(write_slake(tmp_path, train=rows)))] == answers


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("text", "found str"),
        (None, "found NoneType"),
        ({}, "no key img_id, img_name, question"),
        ({"q_lang": None}, "q_lang: expected text"),
        ({"question": None, "answer": 42}, "question, answer: expected text"),
        ({"img_name": 4}, "img_name: expected text"),
        ({"modality": ["CT"]}, "modality: expected text"),
        ({"q_lang": "fr"}, "q_lang 'fr'; expected one of en, zh"),
    ],
)
def test_rows_of_another_shape(tmp_path, row, words):
    good = slake_row(1, 1, "Q?", "A")
    row = good | row if isinstance(row, dict) and row else row
    write_files(tmp_path, {"train.json": json.dumps([good, row, good])})
    first, rejection, last = read(tmp_path)
    assert isinstance(rejection, Rejection) and rejection.code is Reason.MALFORMED_ROW
    assert rejection.item == "train.json row 2" and words in rejection.message
    assert (first.item, last.item) == ("train.json row 1 (qid 1)", "train.json row 3 (qid 1)")


@pytest.mark.parametrize("key", ["img_id", "img_name", "question", "answer", "q_lang", "location", "modality", "qid"])
def test_a_row_without_a_key(tmp_path, key):
    row = {name: value for name, value in slake_row(1, 1, "Q?", "A").items() if name != key}
    (rejection,) = read(write_files(tmp_path, {"test.json": json.dumps([row])}))
    assert f"no key {key}; expected img_id" in rejection.message


def test_images_and_answers_that_are_not_there(tmp_path, check):
    rows = [
        slake_row(0, 0, "Q?", "A"),
        slake_row(1, 0, "Q?", ""),
        slake_row(2, 0, " ", "A"),
        slake_row(3, 0, "Q?", "A", img_name="xmlab99/source.jpg"),
        slake_row(4, 0, "Q?", "A", img_name="../../outside.jpg"),
        slake_row(5, 0, "Q?", "A", img_name=""),
    ]
    assert list(fates(check("slake", write_slake(tmp_path, train=rows))).values()) == [
        "accepted", "text_empty", "text_empty", "image_missing", "image_outside_root", "image_missing",
    ]  # fmt: skip


def test_a_folder_of_something_else(tmp_path):
    write_files(tmp_path, {"questions.json": "[]", "imgs/xmlab1/question.json": "[]"})
    with pytest.raises(BuildError, match=r"none of train.json, validate.json.*; --slake_dir is the folder with"):
        list(read(tmp_path))


def test_only_the_split_files_are_read(tmp_path):
    write_slake(tmp_path, train=[slake_row(0, 0, "Q?", "A")])
    write_files(tmp_path, {"imgs/xmlab0/question.json": "[1]", "mask.txt": "", "KG/en_organ.csv": "a#b"})
    (record,) = read(tmp_path)
    assert not isinstance(record, Ignored)


# --- Captions


def test_a_caption_in_english(tmp_path):
    rows = [
        slake_row(0, 3, "Is the lung healthy?", "No", location="Chest_lung", modality="CT"),
        slake_row(1, 3, "Which side?", "Left.", location="Chest_lung", modality="CT"),
        slake_row(2, 3, "Is the lung healthy?", "No", location="Chest_lung", modality="CT"),
    ]
    assert captions(rows, folder=tmp_path) == "CT image, chest lung. Is the lung healthy? No. Which side? Left."


def test_a_caption_in_chinese(tmp_path):
    rows = [slake_row(0, 3, "肺部健康吗?", "不健康。", q_lang="zh"), slake_row(1, 3, "模态?", "MRI", q_lang="zh")]
    assert captions(rows, folder=tmp_path) == "X-Ray图像，肺部。肺部健康吗?不健康。模态?MRI。"
    rows = [slake_row(0, 3, "问题?", "是", q_lang="zh", location="Elbow")]
    assert captions(rows, folder=tmp_path).startswith("X-Ray图像，Elbow。")


def test_a_caption_takes_what_fits(tmp_path):
    rows = [slake_row(n, 3, f"{n}{'x' * (40 if n % 2 else 4)}?", "A") for n in range(6)]
    assert captions(rows, 50, tmp_path) == "X-Ray image, lung. 0xxxx? A. 2xxxx? A. 4xxxx? A."
    for limit in range(18, 200):
        text = captions(rows, limit, tmp_path)
        assert len(text) <= limit and text.startswith("X-Ray image, lung.")
    assert "5xxxx" in text


def test_the_real_locations_have_chinese_words(real_data):
    rows = [row for part in ("train", "validate", "test") for row in json.loads(
        (real_data / "slake" / f"{part}.json").read_text("utf-8"))]  # fmt: skip
    assert {row["location"] for row in rows} <= set(LOCATIONS_ZH)
