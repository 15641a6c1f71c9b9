"""Checks the synthetic sample: reproducible bytes, the layouts of the sources, planted faults, images and texts."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFilter, ImageOps

from hub_datasets import generate_sample
from hub_datasets.errors import BuildError
from hub_datasets.images.hashing import perceptual_hash
from hub_datasets.records import Reason
from hub_datasets.splits.near_duplicates import NEAR_DISTANCE
from hub_datasets.synthetic.layouts import Written
from hub_datasets.texts.identifiers import find_identifiers
from tests.hub_datasets.checked import fates

ROOT = Path(__file__).resolve().parents[2]
KNEE_TREE = "Digital Knee X-ray Images/Knee X-ray Images"
PAD_COLUMNS = (
    "patient_id,lesion_id,smoke,drink,background_father,background_mother,age,pesticide,gender,skin_cancer_history,"
    "cancer_history,has_piped_water,has_sewage_system,fitspatrick,region,diameter_1,diameter_2,diagnostic,itch,grew,"
    "hurt,changed,bleed,elevation,img_id,biopsed"
)
SLAKE_KEYS = {
    "img_id", "img_name", "question", "answer", "q_lang", "location", "modality", "answer_type", "base_type",
    "content_type", "triple", "qid",
}  # fmt: skip
SLAKE_FILES = ("train.json", "validate.json", "test.json")
REPORT_FILES = {"reports_en.jsonl": "utf-8", "reports_zh.csv": "utf-8-sig", "reports_zh_gbk.csv": "gbk"}
REPORT_COLUMNS = ("image", "text", "language", "study_id")
DAMAGED = (Reason.IMAGE_FORMAT, Reason.IMAGE_UNREADABLE, Reason.IMAGE_TRUNCATED)


@pytest.fixture(scope="module", params=["small", pytest.param("full", marks=pytest.mark.slow)])
def sample(request, sample_folder, made_once) -> Path:
    """The smallest sample, and the one at full scale, as `make demo` uses it."""
    if request.param == "small":
        return sample_folder
    return made_once("full-sample", lambda folder: generate_sample.generate(folder / "raw")) / "raw"


# What has the numbers, or enough images of a kind, at full scale alone.
at_full_scale = pytest.mark.parametrize("sample", [pytest.param("full", marks=pytest.mark.slow)], indirect=True)


@pytest.fixture(scope="module")
def faults(sample) -> list[dict[str, str]]:
    return json.loads((sample / "planted_faults.json").read_text())


@pytest.fixture(scope="module")
def oddities(sample) -> set[tuple[str, str, str]]:
    """The planted oddities as (source, key, kind)."""
    entries = json.loads((sample / "planted_oddities.json").read_text())
    return {(entry["source"], entry["key"], entry["kind"]) for entry in entries}


def select_keys(faults: list[dict[str, str]], source: str, *codes: Reason) -> set[str]:
    return {fault["key"] for fault in faults if fault["source"] == source and fault["code"] in codes}


def hash_tree(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def load_gray(path: Path) -> np.ndarray:
    """Returns the picture upright, with gray levels from 0 to 255."""
    image = Image.open(path)
    if image.mode == "I;16":
        return np.asarray(image, dtype=np.float32) / 4095 * 255
    return np.asarray(ImageOps.exif_transpose(image).convert("L"), dtype=np.float32)


def is_intact(path: Path) -> bool:
    """Returns whether the file is an image with sides above 8 pixels that can be decoded completely."""
    if path.suffix not in (".png", ".jpg") or not path.is_file():
        return False
    try:
        with Image.open(path) as image:
            image.load()
            return min(image.size) > 8
    except OSError:
        return False


def read_pad_rows(sample: Path) -> list[dict[str, str]]:
    """Returns the rows that have all their cells."""
    with (sample / "pad_ufes/metadata.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["img_id"] is not None]


def read_slake_rows(sample: Path) -> list[dict]:
    return [row for name in SLAKE_FILES for row in json.loads((sample / "slake" / name).read_text("utf-8"))]


def read_report_table(sample: Path, name: str) -> list[tuple[str, dict | None]]:
    """Returns the position and the cells of each row of a table; None for a line that is not valid JSON."""
    text = (sample / "reports" / name).read_bytes().decode(REPORT_FILES[name])
    if name.endswith(".csv"):
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        return [(f"{name} line {number}", row) for number, row in enumerate(rows, 2)]
    lines = text.removesuffix("\n").split("\n")
    rows = [json.loads(line) if line.endswith("}") else None for line in lines]
    return [(f"{name} line {number}", row) for number, row in enumerate(rows, 1)]


def read_report_rows(sample: Path) -> list[dict]:
    """Returns one row per image of every valid report; `where` is the position of the report in its table."""
    found = []
    for name in REPORT_FILES:
        for where, row in read_report_table(sample, name):
            images = row.pop("images", None) or row["image"].split(";") if row else []
            found += [row | {"image": image, "where": where} for image in images]
    return found


# --- The command


@pytest.fixture
def draw_little(monkeypatch) -> None:
    """A sample has one file of each source."""

    def write(folder: Path, *_: object) -> Written:
        (folder / "1.png").touch()
        return Written("1 file")

    for name in generate_sample.FOLDERS:
        monkeypatch.setattr(f"hub_datasets.synthetic.layouts.{name}.write", write)


def test_hidden_folders_of_others_beside_it_stay(tmp_path, draw_little):
    (tmp_path / ".out.drawing").mkdir()
    (tmp_path / ".out.drawing" / "thesis.docx").write_text("years of work")
    generate_sample.generate(tmp_path / "out", scale=0.02)
    assert (tmp_path / ".out.drawing" / "thesis.docx").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.drawing", "out"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        generate_sample.generate(tmp_path / name, seed=seed, scale=0.05)
    assert hash_tree(tmp_path / "one") == hash_tree(tmp_path / "two")
    assert hash_tree(tmp_path / "one") != hash_tree(tmp_path / "other")


def test_generate_returns_the_folder_of_each_source(tmp_path, draw_little):
    folders = generate_sample.generate(tmp_path / "new", scale=0.05)
    assert folders == {
        "knee_xray": tmp_path / "new/knee",
        "pad_ufes_20": tmp_path / "new/pad_ufes",
        "slake": tmp_path / "new/slake",
        "medical_reports": tmp_path / "new/reports",
    }
    assert all(folder.is_dir() for folder in folders.values())


def test_a_folder_that_is_not_empty_is_an_error_and_stays_unchanged(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    script = ROOT / "hub_datasets/generate_sample.py"
    command = [sys.executable, str(script), "--output_dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path.parent)
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr and "not an empty folder" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_the_script_writes_into_an_empty_folder(tmp_path):
    target = tmp_path / "empty"
    target.mkdir()
    script = ROOT / "hub_datasets/generate_sample.py"
    command = [sys.executable, str(script), "--output_dir", "empty", "--scale", "0.05"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    for source in generate_sample.FOLDERS:
        assert f"{source}: " in done.stdout
    assert "synthetic" in (target / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("numbers", [{"seed": -1}, {"scale": 0}, {"scale": float("nan")}])
def test_numbers_out_of_range_are_errors(tmp_path, numbers):
    with pytest.raises(BuildError, match="--seed"):
        generate_sample.generate(tmp_path / "new", **numbers)


def test_a_repeated_flag_draws_nothing(tmp_path, capsys):
    for flags, message in (
        (("--seed", "1", "--seed=2"), "argument --seed: given twice, as '1' and '2'; give it once"),
        (("--output_dir", "b"), f"argument --output_dir: given twice, as '{tmp_path}/a' and 'b'; give it once"),
    ):
        with pytest.raises(SystemExit) as caught:
            generate_sample.main(["--output_dir", str(tmp_path / "a"), *flags])
        assert caught.value.code == 2 and capsys.readouterr().err.splitlines()[-1].endswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_leaves_nothing(tmp_path, draw_little, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("hub_datasets.synthetic.layouts.slake.write", fail)
    with pytest.raises(BuildError, match="no space left"):
        generate_sample.generate(tmp_path / "new", scale=0.05)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_command_loads_no_heavy_libraries():
    code = "import sys, hub_datasets.generate_sample; print({'numpy', 'PIL', 'torch', 'datasets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


# --- Layouts and sizes


def test_the_sample_is_small_and_every_source_is_marked_as_synthetic(sample):
    files = [path for path in sample.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6
    assert all((sample / folder / "SYNTHETIC.txt").is_file() for folder in generate_sample.FOLDERS.values())


def test_all_images_except_copies_of_knees_are_distinct(sample):
    for folder in ("pad_ufes", "slake/imgs", "reports"):
        images = [path for path in (sample / folder).rglob("*") if path.suffix in (".png", ".jpg")]
        images = [path for path in images if path.name != "mask.png"]
        assert len({path.read_bytes() for path in images}) == len(images)


@at_full_scale
def test_the_layout_of_knees(sample):
    tree = sample / "knee" / KNEE_TREE
    contents: dict[str, dict[str, set[int]]] = {}
    for expert in ("MedicalExpert-I", "MedicalExpert-II"):
        contents[expert] = {}
        for grade, name in enumerate(("Normal", "Doubtful", "Mild", "Moderate", "Severe")):
            files = sorted((tree / expert / f"{grade}{name}").glob("*.png"))
            assert {path.name for path in files} == {f"{name}G{grade} ({n}).png" for n in range(1, len(files) + 1)}
            for path in files:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                contents[expert].setdefault(digest, set()).add(grade)
    first, second = contents.values()
    shared = set(first) & set(second)
    # Contents in only one of the trees: the truncated file in the first, its intact copy and the page saved as an image
    # in the second, and two strips in the first whose brighter exports are in the second.
    assert (len(shared), len(set(first) - shared), len(set(second) - shared)) == (157, 3, 4)
    assert all(len(grades) == 1 for contents in (first, second) for grades in contents.values())
    conflicts = [(first[digest], second[digest]) for digest in shared if first[digest] != second[digest]]
    assert conflicts == [({0}, {1})] * 3
    assert len(list(tree.rglob("Thumbs.db"))) == 2


def test_knee_strips_have_the_mode_and_sizes_of_the_real_ones(sample, faults):
    broken = select_keys(faults, "knee_xray", *DAMAGED)
    sizes = Counter()
    for path in (sample / "knee").rglob("*.png"):
        if not any(path.as_posix().endswith(key) for key in broken):
            image = Image.open(path)
            assert (image.format, image.mode) == ("PNG", "L")
            sizes[image.size] += 1
    assert set(sizes) == {(300, 161), (300, 162), (600, 162)}
    assert sizes[600, 162] < 0.25 * sizes.total()


@at_full_scale
def test_the_layout_of_pad_ufes(sample):
    text = (sample / "pad_ufes/metadata.csv").read_text("ascii")
    assert text.splitlines()[0] == PAD_COLUMNS and "\r" not in text
    rows = read_pad_rows(sample)
    assert len(text.splitlines()) == 207 and len(rows) == 205
    patients = Counter(row["patient_id"] for row in rows)
    assert 110 <= len(patients) <= 150 and max(patients.values()) > 2
    assert len({row["img_id"] for row in rows}) == len(rows)
    for row in rows:
        name = f"{row['patient_id']}_{row['lesion_id']}_"
        assert row["img_id"] == "../../outside.png" or re.fullmatch(name + r"\d+\.png", row["img_id"])
    assert Counter(row["diagnostic"] for row in rows).most_common(2)[0][0] == "BCC"
    assert {row["diagnostic"] for row in rows} == {"ACK", "BCC", "MEL", "NEV", "SCC", "SEK"}
    lesions = {(row["patient_id"], row["lesion_id"]) for row in rows}
    assert len({lesion for _, lesion in lesions}) == len(lesions) - 1  # two patients share one number


@at_full_scale
def test_cells_of_pad_ufes_have_the_irregularities_of_the_real_ones(sample):
    rows = read_pad_rows(sample)
    empty = [row for row in rows if row["smoke"] == ""]
    assert 0.25 < len(empty) / len(rows) < 0.45
    for row in empty:
        assert row["biopsed"] == "False" and row["age"] and row["region"] == row["region"].upper()
        assert not any(row[column] for column in ("gender", "fitspatrick", "diameter_1", "diameter_2", "pesticide"))
    assert {row["fitspatrick"] for row in rows} <= {"", *(f"{n}.0" for n in range(1, 7))}
    assert {"True", "False", "UNK"} == {row["grew"] for row in rows}
    assert {"BRAZIL", "BRASIL", "UNK"} <= {row["background_father"] for row in rows}
    assert sum(row["diameter_1"] == "0.0" for row in rows) >= 1
    assert {row["biopsed"] for row in rows if row["diagnostic"] in ("BCC", "MEL", "SCC")} == {"True"}
    images = list((sample / "pad_ufes/images").glob("imgs_part_[123]/*.png"))
    assert {Image.open(path).mode for path in images} == {"RGB", "RGBA"}


@at_full_scale
def test_the_layout_of_slake(sample):
    rows = read_slake_rows(sample)
    assert [row["qid"] for row in rows] == list(range(len(rows)))
    assert 1100 <= len(rows) <= 1600
    assert sum(set(row) == SLAKE_KEYS for row in rows) == len(rows) - 1
    assert len({tuple(row) for row in rows if len(row) == 12}) == 2  # two orders of the keys occur
    for name in SLAKE_FILES:
        text = (sample / "slake" / name).read_bytes()
        assert text.startswith(b"[{") and b"\n" not in text and "的".encode() in text
    used = Counter((row["img_id"], row["q_lang"]) for row in rows)
    assert len(used) == 221 and set(used.values()) - {1} <= set(range(4, 10))
    assert {row["modality"] for row in rows} == {"CT", "MRI", "X-Ray"}
    assert all(row["question"].endswith("?") for row in rows if "question" in row)
    assert {path.name for path in (sample / "slake/KG").iterdir()} == {
        f"{prefix}{name}.csv" for prefix in ("", "en_") for name in ("disease", "organ", "organ_rel")
    }


@at_full_scale
def test_the_image_folders_of_slake(sample):
    rows = read_slake_rows(sample)
    folders = sorted((sample / "slake/imgs").iterdir())
    assert len(folders) == 110
    for folder in folders:
        image, mask = Image.open(folder / "source.jpg"), Image.open(folder / "mask.png")
        assert image.format == "JPEG" and image.mode == mask.mode == "RGB"
        assert image.size == mask.size and image.width == image.height
        asked = json.loads((folder / "question.json").read_text("utf-8"))
        assert all(set(row) == SLAKE_KEYS - {"qid", "content_type"} for row in asked)
        number = int(folder.name.removeprefix("xmlab"))
        assert len(asked) <= sum(row["img_id"] == number for row in rows)


@at_full_scale
def test_the_languages_of_slake_are_split_independently(sample):
    where: dict[int, set[str]] = {}
    for name in SLAKE_FILES:
        rows = json.loads((sample / "slake" / name).read_text("utf-8"))
        for language in ("en", "zh"):
            for number in {row["img_id"] for row in rows if row["q_lang"] == language}:
                where.setdefault(number, set()).add(name)
    assert sum(len(files) > 1 for files in where.values()) > 20


@at_full_scale
def test_the_layout_of_reports(sample, faults, oddities):
    header = ",".join(REPORT_COLUMNS).encode() + b"\r\n"
    assert (sample / "reports/reports_zh.csv").read_bytes().startswith(b"\xef\xbb\xbf" + header)
    assert (sample / "reports/reports_zh_gbk.csv").read_bytes().startswith(header)
    rows = read_report_rows(sample)
    assert all(set(row) == {*REPORT_COLUMNS, "where"} for row in rows)
    assert all(60 < count < 100 for count in Counter(row["language"] for row in rows).values())
    assert {row["language"] for row in rows if row["where"].startswith("reports_zh_gbk.csv")} == {"zh"}
    planted = {key for _, key, _ in oddities} | {fault["key"] for fault in faults}
    texts = [row["text"] for row in rows if row["where"] not in planted]
    assert all(30 <= len(text) <= 300 for text in texts)
    studies: dict[str, set[str]] = {}
    for row in rows:
        studies.setdefault(row["study_id"], set()).add(row["text"])
    assert all(len(study_texts) == 1 for study_texts in studies.values())
    assert len(rows) - len(studies) >= 8  # studies with two images
    assert len(set(texts)) >= 0.8 * len(texts)


@at_full_scale
def test_two_images_of_a_study_are_two_rows_or_one(sample):
    tables = {name: [row for _, row in read_report_table(sample, name) if row] for name in REPORT_FILES}
    assert sum("images" in row and len(row["images"]) == 2 for row in tables["reports_en.jsonl"]) >= 2
    assert sum(";" in row["image"] for row in tables["reports_zh_gbk.csv"]) >= 1
    for name in ("reports_en.jsonl", "reports_zh.csv"):
        assert max(Counter(row["study_id"] for row in tables[name]).values()) == 2


# --- Planted faults


def test_every_reason_is_planted(faults):
    on_request = {Reason.UNGROUNDED, Reason.FLAGGED, Reason.REVIEWED}  # by a flag of the build
    assert {fault["code"] for fault in faults} == set(Reason) - {Reason.DUPLICATE_IMAGE} - on_request
    assert {fault["source"] for fault in faults} == set(generate_sample.FOLDERS)
    assert len({(fault["source"], fault["key"]) for fault in faults}) == len(faults)


@pytest.mark.parametrize("name", list(generate_sample.FOLDERS))
def test_a_build_rejects_the_planted_faults_and_further_copies_of_knees(sample, faults, check, name):
    found = fates(check(name, sample / generate_sample.FOLDERS[name]))
    rejected = {item: code for item, code in found.items() if code not in ("accepted", Reason.DUPLICATE_IMAGE)}
    planted = {fault["key"]: fault["code"] for fault in faults if fault["source"] == name}
    assert len(rejected) == len(planted) > 4
    assert all([code] == [rejected[item] for item in rejected if key in item] for key, code in planted.items())
    copies = sum(code == Reason.DUPLICATE_IMAGE for code in found.values())
    files = len(list((sample / "knee" / KNEE_TREE).glob("*/*/*.png")))
    assert copies == ({327: 160, 55: 24}[files] if name == "knee_xray" else 0)


def test_only_the_planted_images_cannot_be_decoded(sample, faults):
    unreadable, other = set(), set()
    for path in sample.rglob("*"):
        if path.suffix not in (".png", ".jpg"):
            continue
        if not path.read_bytes().startswith((b"\x89PNG", b"\xff\xd8")):
            other.add(path)
            continue
        try:
            Image.open(path).load()
        except (OSError, SyntaxError):
            unreadable.add(path)
    keys = {key for name in ("knee_xray", "pad_ufes_20") for key in select_keys(faults, name, *DAMAGED[1:])}
    lines = select_keys(faults, "medical_reports", *DAMAGED[1:])
    keys |= {row["image"] for row in read_report_rows(sample) if row["where"] in lines}
    assert len(unreadable) == len(keys) == 3
    assert all(any(path.as_posix().endswith(key) for path in unreadable) for key in keys)
    (page,) = select_keys(faults, "knee_xray", Reason.IMAGE_FORMAT)
    assert [path.as_posix().endswith(page) for path in other] == [True]


def test_conflicts_of_knees_list_all_files_of_an_image(sample, faults):
    by_content: dict[bytes, set[str]] = {}
    for path in (sample / "knee").rglob("*.png"):
        by_content.setdefault(path.read_bytes(), set()).add("/".join(path.parts[-3:]))
    conflicting = {key for keys in by_content.values() if len({key.split("/")[1] for key in keys}) > 1 for key in keys}
    assert conflicting == select_keys(faults, "knee_xray", Reason.CONFLICTING_LABELS)
    assert len(conflicting) == 6


def test_the_faults_of_pad_ufes(sample, faults):
    present = {path.name for path in (sample / "pad_ufes/images").rglob("*.png")}
    absent = {row["img_id"] for row in read_pad_rows(sample)} - present
    planted = select_keys(faults, "pad_ufes_20", Reason.IMAGE_MISSING)
    outside = select_keys(faults, "pad_ufes_20", Reason.IMAGE_OUTSIDE_ROOT)
    assert outside == {"../../outside.png"} and len(planted) == 3
    assert absent == planted | outside
    with (sample / "pad_ufes/metadata.csv").open(newline="") as file:
        short = {f"metadata.csv line {n}" for n, cells in enumerate(csv.reader(file), 1) if len(cells) != 26}
    assert short == select_keys(faults, "pad_ufes_20", Reason.MALFORMED_ROW)


def test_the_faults_of_slake(sample, faults):
    files = {name: json.loads((sample / "slake" / name).read_text("utf-8")) for name in SLAKE_FILES}
    found, seen = set(), set()
    for name, rows in files.items():
        for number, row in enumerate(rows, 1):
            statement = (row["img_id"], row["q_lang"], row.get("question"), row["answer"])
            if "question" not in row:
                found.add((f"{name} row {number}", Reason.MALFORMED_ROW))
            elif not row["answer"]:
                found.add((f"qid {row['qid']}", Reason.TEXT_EMPTY))
            elif not (sample / "slake/imgs" / row["img_name"]).is_file():
                found.add((f"qid {row['qid']}", Reason.IMAGE_MISSING))
            elif statement in seen:
                found.add((f"qid {row['qid']}", Reason.DUPLICATE_ROW))
            seen.add(statement)
    assert found == {(fault["key"], fault["code"]) for fault in faults if fault["source"] == "slake"}
    assert Counter(code for _, code in found)[Reason.DUPLICATE_ROW] == 2


def test_the_faults_of_reports(sample, faults):
    found = set()
    for name in REPORT_FILES:
        for key, row in read_report_table(sample, name):
            if code := find_report_fault(sample / "reports", row):
                found.add((key, code))
    assert found == {(fault["key"], fault["code"]) for fault in faults if fault["source"] == "medical_reports"}


def find_report_fault(folder: Path, row: dict | None) -> Reason | None:
    """Returns the fault of a row, found without the checks of the project."""
    if row is None:
        return Reason.MALFORMED_ROW
    text, image = row["text"], (row.get("images") or row["image"].split(";"))[0]
    if image.startswith("/"):
        return Reason.IMAGE_OUTSIDE_ROOT
    if not (folder / image).is_file():
        return Reason.IMAGE_MISSING
    if len(text) <= 5:
        return Reason.TEXT_SHORT if text else Reason.TEXT_EMPTY
    if len(text) >= 8000:
        return Reason.TEXT_LONG
    if "\ufffd" in text or "\f" in text:
        return Reason.TEXT_ENCODING if "\ufffd" in text else Reason.TEXT_CONTROL_CHARACTERS
    with Image.open(folder / image) as picture:
        if getattr(picture, "is_animated", False):
            return Reason.IMAGE_ANIMATED
        if picture.width * picture.height > 64_000_000:
            return Reason.IMAGE_TOO_LARGE
        if min(picture.size) < 8:
            return Reason.IMAGE_TOO_SMALL
        try:
            picture.load()
        except OSError:
            return Reason.IMAGE_TRUNCATED
    return None


@at_full_scale
def test_keys_do_not_occur_in_the_names_of_other_rows(sample, faults):
    """The keys are searched in the items of a build: `qid 16` must not be found in `qid 160`."""
    items = [f"metadata.csv line {n} ({row['img_id']})" for n, row in enumerate(read_pad_rows(sample), 2)]
    items += [f"qid {row['qid']}" for row in read_slake_rows(sample)]
    items += [f"test.json row {n}" for n in range(1, 1000)]
    items += [where for name in REPORT_FILES for where, _ in read_report_table(sample, name)]
    items += [path.as_posix() for path in (sample / "knee").rglob("*.png")]
    for fault in faults:
        assert sum(fault["key"] in item for item in items) == 1, fault


# --- Valid rows that need special treatment


def test_only_the_planted_photographs_are_rotated_and_have_a_position(sample, oddities):
    found = set()
    for source, folder in generate_sample.FOLDERS.items():
        for path in (sample / folder).rglob("*"):
            if is_intact(path):
                exif = Image.open(path).getexif()
                name = path.relative_to(sample / folder).as_posix()
                found |= {(source, name, "turned")} if exif.get(ExifTags.Base.Orientation, 1) != 1 else set()
                found |= {(source, name, "place")} if exif.get_ifd(ExifTags.IFD.GPSInfo) else set()
    assert found == {oddity for oddity in oddities if oddity[2] in ("turned", "place")}
    assert {source for source, _, _ in found} == {"pad_ufes_20", "medical_reports"}


@at_full_scale
def test_a_phone_photograph_is_upright_if_exif_is_applied(sample, oddities):
    rotated = {name for source, name, kind in oddities if (source, kind) == ("medical_reports", "turned")}

    def downsample(picture: Image.Image) -> np.ndarray:
        gray = np.asarray(picture.convert("L").resize((32, 32)), dtype=np.float32)
        return (gray - gray.mean()) / gray.std()

    others = [path for path in (sample / "reports/images").glob("*_1.jpg") if f"images/{path.name}" not in rotated]
    average = np.mean([downsample(Image.open(path)) for path in others[:12]], axis=0)
    for name in rotated:
        image = Image.open(sample / "reports" / name)
        stored, upright = (float((average * downsample(i)).mean()) for i in (image, ImageOps.exif_transpose(image)))
        assert upright > 0.7 > 0.5 > stored, (name, upright, stored)
    assert rotated


@at_full_scale
def test_16_bit_images_have_the_values_of_a_12_bit_detector(sample, oddities):
    deep = {name for _, name, kind in oddities if kind == "deep"}
    assert len(deep) >= 2
    for path in (sample / "reports/images").glob("*.png"):
        if is_intact(path):
            image = Image.open(path)
            assert (image.mode == "I;16") == (f"images/{path.name}" in deep)
            assert image.mode != "I;16" or 1000 < np.asarray(image).max() <= 4095


@at_full_scale
def test_only_the_planted_images_are_near_duplicates(sample, oddities):
    """Compares the perceptual hashes of all images of a source whose bytes differ."""
    planted = {(source, name) for source, name, kind in oddities if kind == "near_duplicate"}
    found = set()
    for source in ("knee_xray", "medical_reports"):
        folder = sample / generate_sample.FOLDERS[source]
        hashes: dict[bytes, tuple[str, int]] = {}
        for path in sorted(folder.rglob("*")):
            if is_intact(path):
                code = perceptual_hash(Image.fromarray(load_gray(path).astype(np.uint8)))
                content = hashlib.sha256(path.read_bytes()).digest()
                hashes.setdefault(content, (path.relative_to(folder).as_posix(), int.from_bytes(code)))
        named = list(hashes.values())
        for place, (later, code) in enumerate(named):
            near = [name for name, other in named[:place] if (code ^ other).bit_count() <= NEAR_DISTANCE]
            found |= {(source, later)} if near else set()
    assert found == planted and len(planted) == 4


def test_private_data_is_found_only_where_it_is_planted(sample, oddities):
    texts = {row["where"]: row["text"] for row in read_report_rows(sample)}
    found = {(where, flag.kind) for where, text in texts.items() for flag in find_identifiers(text)}
    assert found == {(key, kind) for _, key, kind in oddities if kind in ("birth_date", "phone_number")}
    assert len(found) == 4


# --- Images match their texts


def measure_joint_gap(strip: np.ndarray) -> float:
    """Returns the mean height in pixels of the gap between the two bones, in the middle of the strip."""
    heights = []
    for x in range(70, 231, 4):
        column = strip[:, x : x + 3].mean(axis=1)
        bone = np.median(np.concatenate([column[15:45], column[118:150]]))
        heights.append(float((column[50:115] < 0.82 * bone).sum()))
    return float(np.mean(heights))


@at_full_scale
def test_the_joint_space_narrows_with_the_grade(sample, faults):
    broken = select_keys(faults, "knee_xray", *DAMAGED)
    gaps = []
    for grade in range(5):
        (folder,) = (sample / "knee" / KNEE_TREE / "MedicalExpert-II").glob(f"{grade}*")
        paths = [path for path in folder.glob("*.png") if "/".join(path.parts[-3:]) not in broken]
        strips = [load_gray(path) for path in paths]
        gaps.append(np.mean([measure_joint_gap(strip) for strip in strips if strip.shape[1] == 300]))
    assert all(wide > 1.08 * narrow for wide, narrow in pairwise(gaps)), gaps
    assert gaps[0] > 1.6 * gaps[4]


@at_full_scale
def test_the_area_of_photographed_lesions_matches_their_diameters(sample):
    areas, expected = [], []
    files = {path.name: path for path in (sample / "pad_ufes/images").rglob("*.png")}
    for row in read_pad_rows(sample):
        if row["diagnostic"] in ("MEL", "NEV", "SEK") and float(row["diameter_1"] or 0) and row["img_id"] in files:
            without_hair = Image.open(files[row["img_id"]]).convert("RGB").filter(ImageFilter.MedianFilter(5))
            image = np.asarray(without_hair, dtype=np.float32)
            dark = image.sum(axis=2) < 0.75 * np.median(image.sum(axis=2))
            low, high = (round(share * dark.shape[1]) for share in (0.12, 0.82))
            areas.append(dark[low:high, low:high].sum() / dark.shape[1] ** 2)
            expected.append(float(row["diameter_1"]) * float(row["diameter_2"]))
    assert len(areas) > 12
    assert np.corrcoef(areas, expected)[0, 1] > 0.8, list(zip(areas, expected, strict=True))


def measure_lower_lungs(image: np.ndarray) -> tuple[float, float]:
    """Returns the brightness of the lower outer part of the patient's left and right lung."""
    size = image.shape[0]
    band = image[round(0.66 * size) : round(0.75 * size)]
    right, left = band[:, round(0.15 * size) : round(0.26 * size)], band[:, round(0.74 * size) : round(0.85 * size)]
    return float(left.mean()), float(right.mean())


# Patterns of effusions on the patient's left and right in English and in Chinese reports.
EFFUSIONS = (
    (r"left(-sided)? pleural", r"right(-sided)? pleural"),
    (r"左侧(胸腔.{2,3}积液|肋膈角消失|可见.{2,3}胸腔)", r"右侧(胸腔.{2,3}积液|肋膈角消失|可见.{2,3}胸腔)"),
)


@at_full_scale
def test_effusions_are_on_the_side_stated_in_the_report(sample):
    checked = Counter()
    for row in read_report_rows(sample):
        path = sample / "reports" / row["image"]
        # Pneumonia and nodules brighten a lung as well.
        if not is_intact(path) or re.search("pneumonia|nodule|mass|肺炎|结节|肿块", row["text"]):
            continue
        for left, right in EFFUSIONS:
            on_left, on_right = (bool(re.search(side, row["text"])) for side in (left, right))
            if on_left != on_right:
                left_brightness, right_brightness = measure_lower_lungs(load_gray(path))
                assert (left_brightness > right_brightness) == on_left, row
                checked["left" if on_left else "right", row["language"]] += 1
    assert len({side for side, _ in checked}) == len({language for _, language in checked}) == 2
    assert checked.total() >= 8, checked


def read_boxes(sample: Path, number: int) -> dict[str, list[float]]:
    boxes = json.loads((sample / f"slake/imgs/xmlab{number}/detection.json").read_text())
    return {name: box for entry in boxes for name, box in entry.items()}


def test_boxes_of_slake_match_the_mask(sample):
    for folder in (sample / "slake/imgs").iterdir():
        mask = np.asarray(Image.open(folder / "mask.png"))[..., 0]
        boxes = read_boxes(sample, int(folder.name.removeprefix("xmlab")))
        assert len(np.unique(mask)) - 1 == len(boxes)
        covered = np.zeros_like(mask, dtype=bool)
        for x, y, width, height in boxes.values():
            part = mask[int(y) : int(y + height), int(x) : int(x + width)]
            values = np.unique(part[part > 0])
            # At least one region touches all four sides of the box.
            assert any(all(edge.any() for edge in get_edges(part == value)) for value in values)
            covered[int(y) : int(y + height), int(x) : int(x + width)] = True
        assert not (mask[~covered] > 0).any()


def get_edges(region: np.ndarray) -> tuple[np.ndarray, ...]:
    return region[0], region[-1], region[:, 0], region[:, -1]


@at_full_scale
def test_answers_of_slake_match_the_drawing(sample):
    chinese = {"肝脏": "liver", "脾脏": "spleen", "胃": "stomach", "肾脏": "kidney", "结肠": "colon", "心脏": "heart"}
    checked = Counter()
    for row in read_slake_rows(sample):
        question = row.get("question", "")
        if not row["answer"] or row["img_id"] == 110:
            continue
        boxes = read_boxes(sample, row["img_id"])
        names = {name.lower().removeprefix("left ").removeprefix("right ") for name in boxes}
        if "Cardiomegaly" in boxes:  # the finding covers the heart in the mask
            names.add("heart")
        english = re.fullmatch(r"Does the picture contain (.+)\?", question)
        zh = re.fullmatch(r"图片中包含(.+)吗\?", question)
        if english or (zh and zh[1] in chinese):
            organ = english[1] if english else chinese[zh[1]]
            assert (row["answer"] in ("Yes", "包含")) == (organ in names), row
            checked["organ", row["q_lang"]] += 1
        elif question == "What diseases are included in the picture?":
            assert row["answer"] == "None" or row["answer"] in boxes, row
            checked["disease"] += 1
        elif question == "Where is/are the abnormality located?":
            side = re.match(r"(Left|Right) (Lung|Frontal|Occipital|Kidney)", row["answer"])
            (finding,) = set(boxes) & DISEASES
            if side:  # the patient's left is on the right of the image
                x, _, width, _ = boxes[finding]
                size = Image.open(sample / "slake/imgs" / row["img_name"]).width
                assert (x + width / 2 > size / 2) == (side[1] == "Left"), row
                checked["side"] += 1
    assert all(count > 30 for count in checked.values()) and len(checked) == 4, checked


DISEASES = {
    "Lung Cancer", "Pneumonia", "Pleural Effusion", "Nodule", "Pneumothorax", "Cardiomegaly", "Brain Tumor",
    "Brain Edema", "Liver Cancer", "Kidney Cancer", "Bladder Cancer", "Thyroid Nodule",
}  # fmt: skip
