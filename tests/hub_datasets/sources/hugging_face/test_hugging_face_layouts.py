"""Checks Parquet files, image folders and built datasets: each image with its split and what is said of it."""

from __future__ import annotations

import io
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import Ignored, RawRecord, Rejection
from hub_datasets.sources.hugging_face.class_folders import class_of
from hub_datasets.sources.hugging_face.own_export import with_contexts
from hub_datasets.texts.patient_ids import patient_key
from tests.hub_datasets.sources.read_layouts import CLEAR, FLUID, PICTURE, ZH, cell, entries, outcomes, parquet

TRAIN = "data/train-00000-of-00001.parquet"
NAMES = {"label": {"_type": "ClassLabel", "names": ["normal", "BacterialPneumonia"]}}
CHAT = [{"role": "user", "content": "Which side?"}, {"role": "assistant", "content": "Left"}]
PARTS = [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "Which side?"}]},
         {"role": "assistant", "content": [{"type": "text", "text": "Left"}]}]  # fmt: skip

LAYOUTS = {
    "image and text": (
        {TRAIN: parquet({"image": [cell("a", "a.png"), cell("b", "b.png")], "text": [CLEAR, FLUID]}),
         "data/test-00000-of-00001.parquet": parquet({"image": [cell("c")], "text": [ZH]})},
        [("c", "test", ZH), ("a", "train", CLEAR), ("b", "train", FLUID)]),
    "names without a path, several row groups": (
        {"x.parquet": parquet({"image": [cell(name) for name in "abc"], "caption": [CLEAR, FLUID, ZH]},
                              row_group_size=1)},
        [("a", "", CLEAR), ("b", "", FLUID), ("c", "", ZH)]),
    "bare bytes": ({"x.parquet": parquet({"jpg": [PICTURE["a"]], "findings": ["Clear."], "impression": ["Normal."]})},
                   [("a", "", "Findings: Clear. Impression: Normal.")]),
    "a list of images": (
        {"x.parquet": parquet({"images": [[cell("a"), cell("b")], [cell("c")]], "report": [CLEAR, FLUID]})},
        [("a", "", CLEAR), ("b", "", CLEAR), ("c", "", FLUID)]),
    "questions": (
        {"x.parquet": parquet({"image": [cell("a")] * 2, "question": ["Which side?", "Is it big?"],
                               "answer": ["Left", "no"]})},
        [("a", "", ("Which side?", "Left")), ("a", "", ("Is it big?", "no"))]),
    "chats": ({"x.parquet": parquet({"images": [[cell("a")]], "messages": [CHAT]})},
              [("a", "", ("Which side?", "Left"))]),
    "chats in parts": ({"x.parquet": parquet({"images": [[cell("a")]], "messages": [PARTS]})},
                       [("a", "", ("Which side?", "Left"))]),
    "the cauldron": (
        {"x.parquet": parquet({"images": [[cell("a")]], "texts": [[{"user": "Which side?", "assistant": "Left",
                                                                    "source": "x"}]]})},
        [("a", "", ("Which side?", "Left"))]),
    "several captions": ({"x.parquet": parquet({"image": [cell("a")], "caption": [[CLEAR, FLUID]]})},
                         [("a", "", CLEAR), ("a", "", FLUID)]),
    "a column for the split": (
        {"x.parquet": parquet({"image": [cell("a"), cell("b")], "text": [CLEAR, FLUID], "split": ["val", "other"]})},
        [("a", "validation", CLEAR), ("b", "", FLUID)]),
    "paths instead of bytes": (
        {"data/x.parquet": parquet({"image": [{"bytes": None, "path": "img/1.png"}, cell("b"),
                                              {"bytes": None, "path": "../../etc/passwd"}, None],
                                    "text": [CLEAR, FLUID, CLEAR, CLEAR]}), "data/img/1.png": "a"},
        [("a", "", CLEAR), ("b", "", FLUID), ("image_outside_root", "", CLEAR), "image_missing"]),
    "metadata.parquet": (
        {"train/metadata.parquet": parquet({"file_name": ["1.png", "2.png"], "text": [CLEAR, FLUID]}),
         "train/1.png": "a", "train/2.png": "b"},
        [("a", "train", CLEAR), ("b", "train", FLUID)]),
    "metadata.jsonl": (
        {"train/metadata.jsonl": json.dumps({"file_name": "1.png", "text": CLEAR}), "train/1.png": "a",
         "test/metadata.jsonl": json.dumps({"file_name": "1.png", "text": FLUID}), "test/1.png": "b"},
        [("b", "test", FLUID), ("a", "train", CLEAR)]),
    "metadata.jsonl with several files of a row": (
        {"metadata.jsonl": json.dumps({"file_names": ["1.png", "2.png"], "text": CLEAR}), "1.png": "a", "2.png": "b"},
        [("a", "", CLEAR), ("b", "", CLEAR)]),
    "names with dots, and a label beside a text": (
        {"x.parquet": parquet({"image": [cell("a")], "text": [CLEAR], "a.b": [3], "label": [1]}, NAMES)},
        [("a", "", CLEAR)]),
    "an empty shard": (
        {"x-0.parquet": parquet({"image": [cell("a")], "text": [CLEAR]}),
         "x-1.parquet": parquet({"image": pa.array([], pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
                                 "text": pa.array([], pa.string())})},
        [("a", "", CLEAR)]),
}  # fmt: skip
LABELS = {
    "class labels": (
        {TRAIN: parquet({"image": [cell("a"), cell("b"), cell("c")], "label": [0, 1, 7]}, NAMES)},
        [("a", "train", "Image of: normal."), ("b", "train", "Image of: bacterial pneumonia."), "malformed_row"]),
    "numbers without names": ({TRAIN: parquet({"image": [cell("a")], "label": [0]})}, ["malformed_row"]),
    "several labels": (
        {TRAIN: parquet({"image": [cell("a")], "labels": [[1, 0]]},
                        {"labels": {"_type": "Sequence", "feature": NAMES["label"]}})},
        [("a", "train", "Image of: bacterial pneumonia, normal.")]),
    "class folders": (
        {"train/0_Normal/1.png": "a", "test/viral-pneumonia/1.png": "b", "train/loose.png": "c"},
        ["malformed_row", ("b", "test", "Image of: viral pneumonia."), ("a", "train", "Image of: normal.")]),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("flag", ["--reports_dir", "--images_dir"])
def test_a_layout_with_texts(name, flag, tmp_path):
    files, expected = LAYOUTS[name]
    assert sorted(map(str, outcomes(tmp_path, files, flag))) == sorted(map(str, expected))


@pytest.mark.parametrize("name", LABELS)
def test_a_layout_of_labels_alone(name, tmp_path):
    files, expected = LABELS[name]
    assert sorted(map(str, outcomes(tmp_path, files, "--images_dir"))) == sorted(map(str, expected))
    with pytest.raises(BuildError, match=r"no texts; --images_dir reads them"):
        entries(tmp_path, {}, "--reports_dir")


def test_the_other_columns_are_kept_and_give_the_patient(tmp_path):
    when = [pa.scalar(0, pa.timestamp("s")).as_py()]
    columns = {
        "image": [cell("a")],
        "mask": [cell("b")],
        "text": [CLEAR],
        "patient_id": [7],
        "taken": when,
        "raw": [b"x"],
    }
    found = entries(tmp_path, {TRAIN: parquet(columns)})
    (record,) = [entry for entry in found if isinstance(entry, RawRecord)]
    assert record.metadata == {"patient_id": 7, "taken": "1970-01-01T00:00:00"}
    assert record.groups == (patient_key(7),) and record.item == f"{TRAIN} row 0"
    (ignored,) = [entry for entry in found if isinstance(entry, Ignored)]
    assert ignored.item == f"{TRAIN} column mask" and ignored.why == "only image is read"


def test_columns_that_say_nothing_are_named(tmp_path):
    files = {"x.parquet": parquet({"image": [cell("a")], "height": [3]}), "y.parquet": parquet({"text": [CLEAR]}),
             "z.parquet": LAYOUTS["chats"][0]["x.parquet"]}  # fmt: skip
    ignored = {entry.item: entry.why for entry in entries(tmp_path, files) if isinstance(entry, Ignored)}
    assert "no column of texts" in ignored["x.parquet"] and "height" in ignored["x.parquet"]
    assert "no column of images" in ignored["y.parquet"] and "text" in ignored["y.parquet"]


@pytest.mark.parametrize("flag", ["--reports_dir", "--images_dir"])
def test_a_folder_of_such_a_file_alone_is_refused_with_its_columns(flag, tmp_path):
    with pytest.raises(BuildError, match=r"x.parquet: no column of texts.*; its columns are height"):
        entries(tmp_path, {"x.parquet": parquet({"image": [cell("a")], "height": [3]})}, flag)


def test_labels_beside_texts_are_passed_over_where_reports_are_read(tmp_path):
    files = {"1.png": "c", "1.txt": CLEAR, TRAIN: LABELS["class labels"][0][TRAIN]}
    ignored = {entry.item: entry.why for entry in entries(tmp_path, files) if isinstance(entry, Ignored)}
    assert ignored == {TRAIN: "labels and no texts; --images_dir reads them"}


@pytest.mark.parametrize("damage", [lambda data: b"PAR1", lambda data: data[: len(data) // 2], lambda data: b""])
def test_a_damaged_file_ends_the_build_with_its_name(damage, tmp_path):
    data = damage(LAYOUTS["image and text"][0][TRAIN])
    with pytest.raises(BuildError, match=r"x.parquet: truncated, or not a Parquet file"):
        entries(tmp_path, {"x.parquet": data})


def test_a_column_of_texts_that_is_packed_like_a_bomb_is_refused(tmp_path):
    """12 MB of blanks take 600 bytes; they are not unpacked."""
    file = io.BytesIO()
    table = pa.table({"image": [cell("a")], "text": [" " * 12_000_000]})
    pq.write_table(table, file, compression="zstd", use_dictionary=False)
    (tmp_path / "x.parquet").write_bytes(file.getvalue())
    with pytest.raises(BuildError, match=r"x.parquet: the column text has a compression ratio of [0-9,]+:1"):
        entries(tmp_path, {})


def test_memory_does_not_grow_with_the_rows_of_a_row_group(tmp_path):
    """The images of the row group have 40 MB, and each page one of them; no more than a few are held."""
    data = [{"bytes": bytes([n]) * 1_000_000, "path": None} for n in range(40)]
    file = io.BytesIO()
    table = pa.table({"image": data, "text": [CLEAR] * 40})
    pq.write_table(table, file, compression="none", use_dictionary=False, write_batch_size=1)
    (tmp_path / "x.parquet").write_bytes(file.getvalue())
    del data, file, table
    pool = pa.default_memory_pool()
    before, tracked = pool.bytes_allocated(), 0
    tracemalloc.start()
    folder = Folder(tmp_path)
    for number in range(40):
        assert folder.read(f"x.parquet/{number}.image") == bytes([number]) * 1_000_000
        tracked = max(tracked, pool.bytes_allocated() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tracked < 8_000_000 and peak < 8_000_000


@pytest.mark.parametrize(
    ("name", "label"), [("a/b/1.png", "b"), ("train/1.png", ""), ("images/1.png", ""), ("1.png", "")]
)
def test_the_class_of_an_image_is_the_folder_around_it(name, label):
    assert class_of(name) == label


def test_one_class_alone_is_not_a_label(tmp_path):
    with pytest.raises(BuildError, match=r"no .* file with"):
        entries(tmp_path, {"pneumonia/1.png": "a", "pneumonia/2.png": "b"}, "--images_dir")


def test_a_rejection_names_the_row(tmp_path):
    rows = {"image": [cell("a"), None], "text": [None, CLEAR]}
    found = [entry for entry in entries(tmp_path, {"x.parquet": parquet(rows)}) if isinstance(entry, Rejection)]
    assert [(entry.item, str(entry.code)) for entry in found] == [
        ("x.parquet row 0", "text_empty"), ("x.parquet row 1", "image_missing"),
    ]  # fmt: skip


def form(image: str, question: str, context: str, answer: str = CLEAR) -> dict:
    """A row of the config `chat` with one of the two forms of a question."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"image_path": image, "group_id": "g", "language": "en", "template_id": "t", "context": context,
            "plain_messages": turns}  # fmt: skip


def test_only_the_second_form_of_the_same_row_gives_its_context():
    """In a part of the rows a first form may be missing; its context must not reach the row before it."""
    asked = "Describe the film.\n\nClinical context: age 61"
    rows = [
        form("1.png", "Describe the film.", "none"),
        form("1.png", asked, "clinical"),
        form("2.png", "Describe the film.", "none"),
        form("3.png", asked, "clinical"),
        form("3.png", "Describe the film.", "none"),
        form("3.png", asked, "clinical", FLUID),
    ]
    found = with_contexts((number, row, ()) for number, row in enumerate(rows))
    assert [(number, context) for number, _, _, context in found] == [(0, "age 61"), (2, ""), (3, ""), (4, ""), (5, "")]
