"""Checks the split files, irregular rows, and the caption made of an image's questions and answers."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import Ignored, RawRecord, Reason, Regions, Rejection
from hub_datasets.sources.slake import LOCATIONS_EN, LOCATIONS_ZH, SOURCE, caption
from tests.hub_datasets.layouts import collect_records, jpeg, slake_row, write_files, write_slake
from tests.hub_datasets.sources.mutations import mutated
from tests.hub_datasets.sources.settled import fates, ignored, settled


def read(path: Path) -> list:
    return list(SOURCE.read(Folder(path)))


def captions(rows: list[dict], max_chars: int = 999, folder=None) -> str:
    write_slake(folder, train=rows)
    return caption(collect_records(read(folder)), max_chars)


def test_a_row_becomes_a_record(tmp_path):
    row = slake_row(16, 4, " Is the lung healthy? ", "No ", location="Chest_lung")
    (record,) = collect_records(read(write_slake(tmp_path, train=[row])))
    assert record.item == "train.json row 1 (qid 16)"
    assert record.image == "imgs/xmlab4/source.jpg"
    assert (record.source, record.category, record.language) == ("slake", "Chest_lung", "en")
    assert (record.text, record.question, record.answer) == (None, "Is the lung healthy?", "No")
    assert record.groups == ("image:4",)
    assert record.official_split == "train" and record.metadata == row | {"official_split": "train"}


@pytest.mark.parametrize("validation", ["validate", "validation"])
def test_the_official_split_is_the_file(tmp_path, validation):
    parts = {name: [slake_row(n, n, "Q?", "A")] for n, name in enumerate(("test", validation, "train"))}
    found = collect_records(read(write_slake(tmp_path, **parts)))
    assert [(record.official_split, record.metadata["qid"]) for record in found] == [
        ("train", 2),
        ("validation", 1),
        ("test", 0),
    ]


def zip_folder(folder: Path, place: Path, above: str = "") -> None:
    """Packs a folder into a zip file, and takes the folder away."""
    with zipfile.ZipFile(place, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, above + path.relative_to(folder).as_posix())
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "layout", ["as it is", "below", "one zip", "imgs.zip", "bare imgs.zip", "upper case", "the zip"]
)
def test_downloads_as_people_leave_them(tmp_path, layout):
    rows = [slake_row(n, n, f"Q {n}?", "A") for n in range(4)]
    root = write_slake(tmp_path / "Slake1.0", train=rows[:2], validate=rows[2:3], test=rows[3:])
    above = ""
    if layout == "below":
        root, above = tmp_path, "Slake1.0/"
    elif layout in ("one zip", "the zip"):
        zip_folder(root, tmp_path / "Slake1.0.zip", "Slake1.0/")
        root = tmp_path / "Slake1.0.zip" if layout == "the zip" else tmp_path
        above = "Slake1.0/" if layout == "the zip" else "Slake1.0.zip/Slake1.0/"
    elif layout == "imgs.zip":
        zip_folder(root / "imgs", root / "imgs.zip", "imgs/")
    elif layout == "bare imgs.zip":
        zip_folder(root / "imgs", root / "imgs.zip")
    elif layout == "upper case":
        for path in list(root.rglob("source.jpg")):
            path.rename(path.with_name("source.JPG"))
        (root / "train.json").rename(root / "train.JSON")
    records = collect_records(read(root))
    assert [record.metadata["qid"] for record in records] == [0, 1, 2, 3]
    assert [record.official_split for record in records] == ["train", "train", "validation", "test"]
    assert records[2].item == f"{above}validate.json row 1 (qid 2)"
    assert [Folder(root).read(record.image) for record in records] == [jpeg(2000 + n) for n in range(4)]


def test_a_download_beside_its_unpacked_copy_is_read_once(tmp_path):
    rows = [slake_row(0, 0, "Q?", "A")]
    write_slake(tmp_path / "Slake1.0", train=rows)
    write_slake(tmp_path / "copy", train=rows)
    found = read(tmp_path)
    assert len([one for one in found if isinstance(one, RawRecord)]) == 1
    assert ignored(found)["copy/train.json"] == "the same as in Slake1.0"
    write_slake(tmp_path / "copy", train=[slake_row(0, 0, "Q?", "B")])
    with pytest.raises(
        BuildError, match=r"in 'Slake1\.0' and in 'copy' differ; name a folder with only one of the two"
    ):
        read(tmp_path)


def test_both_names_of_the_validation_file(tmp_path):
    row = slake_row(0, 0, "Q?", "A")
    other_order = dict(reversed(row.items()))
    found = read(write_slake(tmp_path, validate=[row], validation=[other_order]))
    assert ignored(found) == {"validation.json": "the same as validate.json"} and len(found) == 2
    with pytest.raises(BuildError, match=r"validation\.json: differs from validate\.json, the other name"):
        read(write_slake(tmp_path, validation=[row, slake_row(1, 0, "Q?", "A")]))


def test_answers_stay_text(tmp_path):
    answers = ["42", "null", "true", "1e3", "[]", "是"]
    rows = [slake_row(n, 0, f"Question {n}?", answer) for n, answer in enumerate(answers)]
    assert [record.answer for record in collect_records(read(write_slake(tmp_path, train=rows)))] == answers


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
        ({"img_id": None}, "img_id: expected a number"),
        ({"img_id": True, "qid": "x"}, "img_id, qid: expected a number"),
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


def test_images_and_answers_that_are_not_there(tmp_path):
    rows = [
        slake_row(0, 0, "Q?", "A"),
        slake_row(1, 0, "Q?", ""),
        slake_row(2, 0, " ", "A"),
        slake_row(3, 0, "Q?", "A", img_name="xmlab99/source.jpg"),
        slake_row(4, 0, "Q?", "A", img_name="../../outside.jpg"),
        slake_row(5, 0, "Q?", "A", img_name=""),
    ]
    found = fates(settled(SOURCE, write_slake(tmp_path, train=rows)))
    assert {item.split()[-1]: code for item, code in found.items()} == {
        "0)": "accepted", "1)": "text_empty", "2)": "text_empty", "3)": "image_missing", "4)": "image_outside_root",
        "5)": "image_missing",
    }  # fmt: skip


def test_an_image_in_two_places(tmp_path):
    rows = [slake_row(0, 0, "Q?", "A"), slake_row(1, 1, "Q?", "A")]
    write_slake(tmp_path, train=rows)
    write_files(tmp_path, {"old/xmlab0/source.jpg": jpeg(2000), "old/xmlab1/source.jpg": jpeg(9)})
    record, rejection, *_ = read(tmp_path)
    assert record.image == "imgs/xmlab0/source.jpg"
    assert isinstance(rejection, Rejection) and "are different images; keep only the right one" in rejection.message


def test_a_folder_of_something_else(tmp_path):
    write_files(tmp_path, {"questions.json": "[]", "imgs/xmlab1/question.json": "[]"})
    with pytest.raises(BuildError, match=r"none of train.json, validate.json.*; --slake_dir must contain"):
        read(tmp_path)


def test_only_the_split_files_are_read_and_the_rest_is_counted(tmp_path):
    write_slake(tmp_path, train=[slake_row(n, n, "Q?", "A") for n in range(5)])
    write_files(tmp_path, {"mask.txt": "", "KG/en_organ.csv": "a#b", "imgs/Thumbs.db": "",
                           "imgs/xmlab9/source.jpg": jpeg(1)})  # fmt: skip
    for n in range(5):
        write_files(tmp_path, {f"imgs/xmlab{n}/{name}": "[1]" for name in ("question.json", "mask.png")})
    found = read(tmp_path)
    assert len([one for one in found if isinstance(one, RawRecord)]) == 5
    assert ignored(found) == {
        "imgs/Thumbs.db": "junk file of the operating system",
        "KG/en_organ.csv": "contains no questions of a split",
        "imgs/xmlab0/question.json and 4 more": "contains no questions of a split",
        "imgs/xmlab9/source.jpg": "not named in any question",
        "mask.txt": "contains no questions of a split",
    }


# --- Boxes and masks

BOXES = """\ufeff[{"Liver": [33.0, 67, 98.5, 108]}, {"Left Kidney": [1, 2, 3, 4], "Spleen": [5, 6, 7, 8]},
{"Liver": [9, 9, 9, 9]}]"""


def regions_beside(tmp_path, **files: str) -> tuple[list[Regions], list[str]]:
    """What is marked in one image with these files beside it, and the files that could not be used."""
    write_slake(tmp_path, train=[slake_row(0, 0, "Q?", "A")])
    write_files(tmp_path, {f"imgs/xmlab0/{name.replace('_', '.')}": content for name, content in files.items()})
    found = read(tmp_path)
    why = [one.why for one in found if isinstance(one, Ignored)]
    return [one for one in found if isinstance(one, Regions)], why


def test_the_boxes_and_the_mask_of_an_image(tmp_path):
    ((marked,), why) = regions_beside(tmp_path, detection_json=BOXES, mask_png="a mask")
    assert (marked.image, marked.mask, why) == ("imgs/xmlab0/source.jpg", "imgs/xmlab0/mask.png", [])
    assert marked.boxes == (
        ("Liver", 33.0, 67.0, 98.5, 108.0), ("Left Kidney", 1, 2, 3, 4), ("Spleen", 5, 6, 7, 8), ("Liver", 9, 9, 9, 9),
    )  # fmt: skip


def test_an_image_with_only_one_of_the_two_files(tmp_path):
    ((marked,), _) = regions_beside(tmp_path / "boxes", detection_json=BOXES)
    assert len(marked.boxes) == 4 and marked.mask == ""
    ((marked,), _) = regions_beside(tmp_path / "mask", detection_json="[]", mask_png="a mask")
    assert marked.boxes == () and marked.mask == "imgs/xmlab0/mask.png"
    assert regions_beside(tmp_path / "nothing", detection_json="[]") == ([], [])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "not a list of boxes"),
        ('{"Liver": [1, 2, 3, 4]}', "expected a list of objects"),
        ('[["Liver", 1, 2, 3, 4]]', "expected a list of objects"),
        ('[{"Liver": [1, 2, 3]}]', "the box of 'Liver' is not four numbers"),
        ('[{"Liver": [1, 2, 3, "4"]}]', "the box of 'Liver' is not four numbers"),
        ('[{"Liver": [1, 2, 3, true]}]', "the box of 'Liver' is not four numbers"),
        ('[{"Liver": [1, 2, 3, NaN]}]', "the box of 'Liver' is not four numbers"),
        ('[{"Liver": 7}]', "the box of 'Liver' is not four numbers"),
        ('[{"": [1, 2, 3, 4]}]', "a name is not one line"),
        ('[{"a\\nb": [1, 2, 3, 4]}]', "a name is not one line"),
        ("[" * 100_000, "not a list of boxes"),
        ("[" + ", ".join(['{"Liver": [1, 2, 3, 4]}'] * 1001) + "]", "1,001 boxes; at most 1,000"),
        (" " * 2_000_000, "2,000,000 bytes"),
    ],
)
def test_a_file_of_boxes_that_cannot_be_used_is_named_and_the_mask_is_kept(tmp_path, content, why):
    found, named = regions_beside(tmp_path, detection_json=content, mask_png="a mask")
    assert [(one.boxes, one.mask) for one in found] == [((), "imgs/xmlab0/mask.png")]
    assert (len(named) == 1 and why in named[0]) if why else named == []


# --- Other sets with files of the same names


def without(row: dict, *keys: str, **more) -> dict:
    return {key: value for key, value in row.items() if key not in keys} | more


ROWS = [slake_row(n, n // 3, f"Q {n}?", "A") for n in range(30)]
CSLAKE = [without(row, "qid", "q_lang", "base_type", "content_type", "triple", role="sub", role_num="0")
          for row in ROWS]  # fmt: skip
CEDO = [without(row, "img_id", "img_name", "qid", image_id=1, image_name="xmlab1/source.jpg", question_id=n,
                question_type="Organ") for n, row in enumerate(ROWS)]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "missing", "found"),
    [(CSLAKE, "q_lang, qid", "role, role_num"), (CEDO, "img_id, img_name, qid", "image_id, image_name, question_id")],
    ids=["CSLAKE", "CEDO"],
)
def test_sets_with_other_keys(tmp_path, rows, missing, found):
    write_files(tmp_path, {"train.json": json.dumps(rows)})
    with pytest.raises(BuildError, match=r"train\.json: not SLAKE's own file") as caught:
        read(tmp_path)
    message = str(caught.value)
    assert f"its rows have no {missing};" in message and "expected the keys img_id, img_name, question" in message
    assert found in message.partition("found ")[2]


def test_the_same_questions_in_another_split(tmp_path):
    """SLAKE-CP has SLAKE's keys and SLAKE's qid, dealt out to the files anew."""
    dealt = {"train": ROWS[0::3], "validate": ROWS[1::3], "test": ROWS[2::3]}
    with pytest.raises(BuildError, match=r"a different split of SLAKE's questions, for example SLAKE-CP"):
        read(write_slake(tmp_path, **dealt))


def test_a_few_odd_rows_are_only_rejected(tmp_path):
    rows = [without(row, "qid") if n == 4 else row for n, row in enumerate(ROWS)]
    rows[5] = rows[5] | {"qid": 10**6}
    found = read(write_slake(tmp_path, train=rows[:20], test=rows[20:]))
    assert Counter(type(one) for one in found) == {RawRecord: 29, Rejection: 1}


# --- Captions


def test_a_caption_in_english(tmp_path):
    rows = [
        slake_row(0, 3, "Is the lung healthy?", "No", location="Chest_lung", modality="CT"),
        slake_row(1, 3, "Which side?", "Left.", location="Chest_lung", modality="CT"),
        slake_row(2, 3, "Is the lung healthy?", "No", location="Chest_lung", modality="CT"),
    ]
    assert captions(rows, folder=tmp_path) == "CT image, chest and lungs. Is the lung healthy? No. Which side? Left."


def test_a_caption_in_chinese(tmp_path):
    rows = [slake_row(0, 3, "肺部健康吗?", "不健康。", q_lang="zh"), slake_row(1, 3, "模态?", "MRI", q_lang="zh")]
    assert captions(rows, folder=tmp_path) == "X线图像，肺部。肺部健康吗？不健康。模态？MRI。"
    rows = [slake_row(0, 3, "问题?", "是", q_lang="zh", location="Elbow")]
    assert captions(rows, folder=tmp_path).startswith("X线图像，Elbow。")


def test_a_caption_says_what_is_seen_first_and_nothing_twice(tmp_path):
    rows = [
        slake_row(0, 3, "What modality is used?", "X-Ray", content_type="Modality"),
        slake_row(1, 3, "Which part of the body?", "Chest Lung", location="Chest_lung", content_type="Position"),
        slake_row(2, 3, "What is the function of the lung?", "Breathe", content_type="KG", base_type="kvqa"),
        slake_row(3, 3, "Where is the nodule?", "Upper Left", content_type="Position"),
        slake_row(4, 3, "What diseases are there?", "Nodule", content_type="Abnormality"),
        slake_row(5, 3, "What is this?", "Something", content_type=["of another kind"]),
    ]
    rows = [row | {"location": "Chest_lung"} for row in rows]
    assert captions(rows, folder=tmp_path) == (
        "X-ray image, chest and lungs. What diseases are there? Nodule. Where is the nodule? Upper Left. "
        "What is this? Something."
    )
    assert captions(rows[:2], folder=tmp_path) == "X-ray image, chest and lungs."
    rows = [slake_row(n, 3, "?", answer, q_lang="zh") for n, answer in enumerate(("肺部", "X-Ray", "心脏"))]
    assert captions(rows, folder=tmp_path) == "X线图像，肺部。？心脏。"


def test_a_caption_takes_what_fits(tmp_path):
    rows = [slake_row(n, 3, f"{n}{'x' * (40 if n % 2 else 4)}?", "A") for n in range(6)]
    assert captions(rows, 51, tmp_path) == "X-ray image, lungs. 0xxxx? A. 2xxxx? A. 4xxxx? A."
    for limit in range(19, 200):
        text = captions(rows, limit, tmp_path)
        assert len(text) <= limit and text.startswith("X-ray image, lungs.")
    assert "5xxxx" in text


@pytest.mark.parametrize(
    ("question", "answer", "said"),
    [
        ("异常病变在哪个位置?", "左肺, 右侧", "异常病变在哪个位置？左肺，右侧。"),
        ("主要器官是什么?", "肝脏,心脏,脾脏", "主要器官是什么？肝脏，心脏，脾脏。"),
        ("多大?", "1,000 mm, 3:1", "多大？1,000 mm，3:1。"),
        ("这是？", "T1;T2", "这是？T1；T2。"),
        ("问  题 ?", "是  的", "问 题？是 的。"),
    ],
)
def test_signs_and_blanks_of_chinese(tmp_path, question, answer, said):
    assert captions([slake_row(0, 3, question, answer, q_lang="zh")], folder=tmp_path) == f"X线图像，肺部。{said}"


def test_blanks_and_signs_of_english(tmp_path):
    rows = [slake_row(0, 3, "What  plane?", "Transverse  Plane, left", location="Brain_Face", modality="MRI")]
    assert captions(rows, folder=tmp_path) == "MRI image, brain and face. What plane? Transverse Plane, left."


@pytest.mark.parametrize("kind", [{"base_type": "kvqa"}, {"content_type": "KG"}])
def test_general_knowledge_is_no_part_of_a_caption(tmp_path, kind):
    rows = [slake_row(0, 3, "What does the lung do?", "Breathe", **kind)]
    assert captions(rows, folder=tmp_path) == "X-ray image, lungs."
    assert len(collect_records(read(tmp_path))) == 1, "it is still a question of its own"


def test_every_location_has_words_in_both_languages():
    assert set(LOCATIONS_EN) == set(LOCATIONS_ZH)


def test_the_real_locations_have_chinese_words(real_data):
    rows = [row for part in ("train", "validate", "test") for row in json.loads(
        (real_data / "slake" / f"{part}.json").read_text("utf-8"))]  # fmt: skip
    assert {row["location"] for row in rows} <= set(LOCATIONS_ZH)


# --- The real rows, and as many as there really are


def test_the_real_sample(real_data):
    rows = [(part, row) for part in ("train", "validate", "test") for row in json.loads(
        (real_data / "slake" / f"{part}.json").read_text("utf-8"))]  # fmt: skip
    found = read(real_data / "slake")
    records = [one for one in found if isinstance(one, RawRecord)]
    splits = {"train": "train", "validate": "validation", "test": "test"}
    assert [(record.official_split, record.metadata) for record in records] == [
        (splits[part], row | {"official_split": splits[part]}) for part, row in rows
    ]
    assert len(records) == 319 and not any(isinstance(one, Rejection) for one in found)
    counted = ignored(found)
    assert counted["imgs/xmlab0/question.json and 14 more"] == "contains no questions of a split" and len(counted) == 7
    regions = [one for one in found if isinstance(one, Regions)]
    boxes = [json.loads(path.read_text("utf-8")) for path in real_data.glob("slake/imgs/*/detection.json")]
    masks = {path.relative_to(real_data / "slake").as_posix() for path in real_data.glob("slake/imgs/*/mask.png")}
    assert sum(len(one.boxes) for one in regions) == sum(map(len, boxes)) == 46
    assert {one.mask for one in regions if one.mask} == masks and len(masks) == 8
    by_image = defaultdict(list)
    for record in records:
        by_image[record.image, record.language].append(record)
    for same in by_image.values():
        text = caption(same, 999)
        assert "  " not in text and not (same[0].language == "zh" and set("?,") & set(text))
        assert 20 <= len(text) <= 999 and (LOCATIONS_ZH[same[0].category] in text) == (same[0].language == "zh")


def full_size() -> dict[str, list[dict]]:
    """As many rows as SLAKE has in each file and language, dealt out to the images as its own files are.

    English and Chinese were split independently, 450, 96 and 96 images each: `both` counts the images by the file
    that has their English and the file that has their Chinese rows.
    """
    both = {(0, 0): 314, (0, 1): 65, (0, 2): 71, (1, 0): 65, (1, 1): 18, (1, 2): 13, (2, 0): 71, (2, 1): 13,
            (2, 2): 12}  # fmt: skip
    sizes = {"en": (4919, 1053, 1061), "zh": (4916, 1046, 1033)}
    files_of = [pair for pair, count in both.items() for _ in range(count)]
    files: list[list[dict]] = [[], [], []]
    for which, language in enumerate(("en", "zh")):
        for file in range(3):
            images = [n for n, pair in enumerate(files_of) if pair[which] == file]
            for n in range(sizes[language][file]):
                image, turn = images[n % len(images)], n // len(images)
                row = slake_row(
                    0, image, f"{'问题' if language == 'zh' else 'Question'} {turn}?", "是", q_lang=language
                )
                files[file].append(row if n % 4 else dict(reversed(row.items())))  # the order of keys differs
    train = files[0]
    image_19 = [row for row in train if row["img_id"] == 19 and row["q_lang"] == "en"]
    others = [row for row in train if row["img_id"] == 20 and row["q_lang"] == "en"] + [
        row for row in train if row["img_id"] == 21 and row["q_lang"] == "en"
    ]
    for row, repeated in zip(others, (image_19 * 2)[:14], strict=False):  # 14 rows say what others have said
        row |= repeated
    next(row for row in train if row["img_id"] == 281 and row["q_lang"] == "en")["answer"] = ""
    for qid, row in enumerate(row for file in files for row in file):
        row["qid"] = qid
    return dict(zip(("train", "validate", "test"), files, strict=True))


def test_the_full_size(tmp_path):
    rows = full_size()
    files = {f"{name}.json": json.dumps(part, ensure_ascii=False) for name, part in rows.items()}
    for n in range(642):
        files |= {
            f"imgs/xmlab{n}/source.jpg": f"{n}",
            f"imgs/xmlab{n}/mask.png": "",
            f"imgs/xmlab{n}/question.json": "",
        }
        files[f"imgs/xmlab{n}/detection.json"] = "[]"
    found = read(write_files(tmp_path, files))
    records = [one for one in found if isinstance(one, RawRecord)]
    assert len(records) == 14_028 and len(ignored(found)) == 1
    regions = [one for one in found if isinstance(one, Regions)]
    assert len(regions) == len({one.image for one in regions}) == 642 == len(found) - len(records) - 1
    assert Counter((record.official_split, record.language) for record in records) == {
        ("train", "en"): 4919, ("train", "zh"): 4916, ("validation", "en"): 1053, ("validation", "zh"): 1046,
        ("test", "en"): 1061, ("test", "zh"): 1033,
    }  # fmt: skip
    assert sum(record.answer != "" for record in records) == 14_027
    said = {(record.image, record.language, record.question, record.answer) for record in records}
    assert len(said) == 14_014 and len([one for one in said if one[3]]) == 14_013
    splits = defaultdict(set)
    for record in records:
        splits[record.groups].add(record.official_split)
    assert len(splits) == 642 and sum(len(found) > 1 for found in splits.values()) == 298
    assert Counter(tuple(sorted(found)) for found in splits.values() if len(found) > 1) == {
        ("test", "train"): 142, ("train", "validation"): 130, ("test", "validation"): 26,
    }  # fmt: skip


# --- Damage


@pytest.mark.parametrize("file", ["train.json", "Slake.zip"])
def test_damaged_files(tmp_path, file):
    """Every row is a record or a rejection, or the file is refused in one line."""
    rng = random.Random(4)
    write_slake(tmp_path / "in", train=ROWS[:12], test=ROWS[12:16])
    if file == "Slake.zip":
        zip_folder(tmp_path / "in", tmp_path / "Slake.zip", "Slake1.0/")
    else:
        (tmp_path / "in").rename(tmp_path / "Slake1.0")
        file = "Slake1.0/train.json"
    data = (tmp_path / file).read_bytes()
    refused = rejected = accepted = 0
    for _ in range(200):
        write_files(tmp_path, {file: mutated(data, rng)})
        try:
            done = settled(SOURCE, tmp_path)
        except BuildError as error:
            assert str(error).startswith(str(tmp_path)) and len(str(error).splitlines()) == 1
            refused += 1
        else:
            rejected += sum(isinstance(one, Rejection) for one in done)
            accepted += sum(isinstance(one, RawRecord) for one in done)
    assert refused > 50 and rejected > 5 and accepted > 100
