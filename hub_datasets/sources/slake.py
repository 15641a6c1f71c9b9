"""Reads SLAKE: questions and answers in English and Chinese on CT, MRI and X-ray images (Liu et al., 2021).

`train.json`, `validate.json` (`validation.json` in the copy on the Hub) and `test.json` have one row per question. The
image of a row is `imgs/xmlabN/source.jpg`. The official files were split by language, so that an image is often in two
of them. Rows are therefore grouped by image, and their official file is kept as metadata. The images have no patients,
but their numbers follow the scans: slices of one person have close numbers, and are joined by `splits/scans`.

Other datasets are derived from SLAKE and have files of the same names: CSLAKE and CEDO have other keys, and SLAKE-CP
distributes the same rows differently over the files. They are not accepted as SLAKE.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import Ignored, RawRecord, Reason, Regions, Rejection
from hub_datasets.schema import LANGUAGES
from hub_datasets.sources import look_alikes
from hub_datasets.sources.base import Source
from hub_datasets.sources.file_readers import (
    ImageIndex,
    find_files,
    is_junk,
    passed_over,
    passed_over_by_default,
    printable,
    read_json_array,
    read_table,
)
from hub_datasets.sources.slake_regions import read_regions

NAME = "slake"
# file name: official split
FILES = {
    "train.json": "train",
    "validate.json": "validation",
    "validation.json": "validation",
    "test.json": "test",
}
REQUIRED = ("img_id", "img_name", "question", "answer", "q_lang", "location", "modality", "answer_type", "qid")
TEXT_KEYS = ("img_name", "question", "answer", "q_lang", "location", "modality", "answer_type")
LOCATIONS_ZH = {
    "Abdomen": "腹部",
    "Brain": "脑部",
    "Brain_Face": "脑部和面部",
    "Brain_Tissue": "脑组织",
    "Chest_heart": "胸部心脏",
    "Chest_lung": "胸部肺",
    "Chest_mediastinal": "胸部纵隔",
    "Lung": "肺部",
    "Neck": "颈部",
    "Pelvic Cavity": "盆腔",
}
LOCATIONS_EN = {
    "Abdomen": "abdomen",
    "Brain": "brain",
    "Brain_Face": "brain and face",
    "Brain_Tissue": "brain tissue",
    "Chest_heart": "chest and heart",
    "Chest_lung": "chest and lungs",
    "Chest_mediastinal": "chest and mediastinum",
    "Lung": "lungs",
    "Neck": "neck",
    "Pelvic Cavity": "pelvic cavity",
}
MODALITIES_EN = {"X-Ray": "X-ray"}
MODALITIES_ZH = {"X-Ray": "X线"}
# The kinds of question in the order in which they stand in a caption.
CAPTION_ORDER = ("Abnormality", "Organ", "Position", "Size", "Shape", "Color", "Quantity", "Plane", "Modality")
# Signs that SLAKE's Chinese has in ASCII; a comma or colon within a number stays.
SIGNS_ZH = str.maketrans("?,;:!", "？，；：！")
SIGN = re.compile(r" *(?:[?;!]|(?<![0-9])[,:]|[,:](?![0-9])) *")


def read(folder: Folder) -> Iterator[RawRecord | Rejection | Ignored | Regions]:
    """Yields a record for every question of the split files, which may be in any single folder or zip file.

    Raises BuildError if there are no split files, if they are in several folders and differ, or if their rows are not
    SLAKE's.
    """
    tables, repeated = find_tables(folder)
    rows = {name: read_json_array(folder, name) for name in tables}
    check_validation(folder, rows, repeated)
    for name, found in rows.items():
        check_keys(folder.named(name), found)
    check_split(folder, rows)
    images = ImageIndex(folder, parts=2)
    used = {*tables, *repeated}
    for name, split in tables.items():
        for number, row in enumerate(rows.get(name, ()), 1):
            record = make_record(f"{printable(name)} row {number}", row, split, name, images)
            if isinstance(record, RawRecord):
                used.add(record.image)
            yield record
    yield from read_regions(folder, NAME, used)
    yield from passed_over_by_default(NAME, folder)
    for name, why in repeated.items():
        yield Ignored(NAME, printable(name), why)
    others: dict[str, list[str]] = defaultdict(list)  # the questions once more, of 642 images
    for file in folder.files():
        if file.name not in used and not is_junk(file.name):
            others[file.name.rpartition("/")[2].lower()].append(file.name)
    for base, names in others.items():
        why = "not named in any question" if base == "source.jpg" else "contains no questions of a split"
        yield from passed_over(NAME, names, why, many=1)


def find_tables(folder: Folder) -> tuple[dict[str, str], dict[str, str]]:
    """Returns {name: official split} of the files to read, and {name: why} of their copies."""
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for base, split in FILES.items():
        for name in find_files(folder, base):
            places[name.rpartition("/")[0]][name] = split
    if not places:
        raise BuildError(
            f"{folder.named()}: none of {', '.join(FILES)}; --slake_dir must contain train.json and imgs/"
            f"{look_alikes.advice(folder, '--slake_dir')}"
        )
    first, *others = sorted(places, key=lambda place: (place.count("/"), place))
    repeated = {}
    for place in others:
        contents = [
            {name[len(at) :].lstrip("/").lower(): read_table(folder, name) for name in places[at]}
            for at in (first, place)
        ]
        if contents[0] != contents[1]:
            raise BuildError(
                f"{folder.named()}: {', '.join(FILES)} in {first or 'it'!r} and in {place!r} differ; name a folder "
                "with only one of the two"
            )
        repeated |= dict.fromkeys(places[place], f"the same as in {printable(first) or 'the folder above'}")
    return places[first], repeated


def check_validation(folder: Folder, rows: dict[str, list], repeated: dict[str, str]) -> None:
    """Keeps one of two equal validation files with different names. Raises BuildError if they differ."""
    names = [name for name in rows if FILES[name.rpartition("/")[2].lower()] == "validation"]
    for name in names[1:]:
        if rows[name] != rows[names[0]]:
            raise BuildError(
                f"{folder.named(name)}: differs from {printable(names[0])}, the other name of the validation file; "
                "keep only one of the two in the folder"
            )
        del rows[name]
        repeated[name] = f"the same as {printable(names[0])}"


def check_keys(place: str, rows: list[Any]) -> None:
    """Raises BuildError if most rows lack SLAKE's keys; a single such row is only rejected."""
    odd = [row for row in rows if isinstance(row, dict) and not row.keys() >= set(REQUIRED)]
    if len(odd) > max(1, len(rows) / 2):
        found = " ".join(", ".join(odd[0]).encode(errors="backslashreplace").decode().split())[:500]
        missing = ", ".join(key for key in REQUIRED if key not in odd[0])
        raise BuildError(
            f"{place}: not SLAKE's own file: its rows have no {missing}; expected the keys {', '.join(REQUIRED)}, "
            f"found {found or 'none'}"
        )


def check_split(folder: Folder, rows: dict[str, list]) -> None:
    """Raises BuildError if the questions were distributed differently: SLAKE's `qid` increases from file to file."""
    numbered = sorted(
        (row["qid"], name)
        for name, found in rows.items()
        for row in found
        if isinstance(row, dict) and type(row.get("qid")) is int
    )
    changes = sum(one[1] != other[1] for one, other in pairwise(numbered))
    if changes > max(10, len(numbered) / 20):
        raise BuildError(
            f"{folder.named()}: a different split of SLAKE's questions, for example SLAKE-CP: the values of qid in "
            f"{', '.join(map(printable, rows))} overlap; in SLAKE's own files each file continues the one before"
        )


def row_problem(row: object) -> str | None:
    """Returns what is wrong with a row of a split file; None if it is valid."""
    if not isinstance(row, dict):
        return f"expected an object with the keys {', '.join(REQUIRED)}, found {type(row).__name__}"
    if missing := [key for key in REQUIRED if key not in row]:
        return f"no key {', '.join(missing)}; expected {', '.join(REQUIRED)}"
    if wrong := [key for key in TEXT_KEYS if not isinstance(row[key], str)]:
        return f"{', '.join(wrong)}: expected text"
    if wrong := [key for key in ("img_id", "qid") if type(row[key]) is not int]:  # True is an int, too
        return f"{', '.join(wrong)}: expected a number"
    if row["q_lang"] not in LANGUAGES:
        return f"q_lang {row['q_lang'][:50]!r}; expected one of {', '.join(LANGUAGES)}"
    return None


def make_record(item: str, row: Any, official_split: str, table: str, images: ImageIndex) -> RawRecord | Rejection:
    """Returns the record of one question and its answer, or the reason why there is none."""
    if problem := row_problem(row):
        return Rejection(NAME, item, Reason.MALFORMED_ROW, problem)
    item += f" (qid {row['qid']})"
    found = images.find(row["img_name"])
    if len(found) > 1:
        message = f"{' and '.join(map(repr, found))} are different images; keep only the right one"
        return Rejection(NAME, item, Reason.MALFORMED_ROW, message)
    return RawRecord(
        source=NAME,
        item=item,
        # an image that is nowhere has the name that it should have: its reading says that it is missing, or outside
        image=found[0] if found else f"{table.rpartition('/')[0]}/imgs/{row['img_name']}".lstrip("/"),
        category=row["location"],
        language=row["q_lang"],
        question=row["question"].strip(),
        answer=row["answer"].strip(),
        groups=(f"image:{row['img_id']}",),
        official_split=official_split,
        metadata=row | {"official_split": official_split},
        scan_series=row["modality"],
        scan_number=row["img_id"],
        modality=MODALITIES_EN.get(row["modality"], row["modality"]),
        body_part=LOCATIONS_EN.get(row["location"], row["location"].replace("_", " ").lower()),
    )


def caption(records: list[RawRecord], max_chars: int) -> str:
    """Returns a caption of one image from its own questions and answers in one language.

    Modality and location come first; then the questions with their answers, as many as fit in `max_chars` characters,
    by their kind and in the order of the source. Questions of general knowledge, which are not about the image, and
    answers that only repeat the modality or the location are left out.
    """
    first = records[0]
    modality, location = first.metadata["modality"], first.metadata["location"]
    if first.language == "zh":
        where = LOCATIONS_ZH.get(location, location)
        text, sentence = f"{MODALITIES_ZH.get(modality, modality)}图像，{where}。", "{question}{answer}。"
    else:
        where = LOCATIONS_EN.get(location, location.replace("_", " ").lower())
        text, sentence = f"{MODALITIES_EN.get(modality, modality)} image, {where}.", " {question} {answer}."
    said = {modality.lower(), where, location.replace("_", " ").lower()}
    for record in sorted(filter(is_of_the_image, records), key=caption_order):
        answer = in_caption(record.answer, record.language).rstrip(".。")
        addition = sentence.format(question=in_caption(record.question, record.language), answer=answer)
        if not said & {answer.lower(), addition} and len(text) + len(addition) <= max_chars:
            said.add(addition)
            text += addition
    return text


def is_of_the_image(record: RawRecord) -> bool:
    """Returns false for a question that SLAKE's knowledge graph answers without the image."""
    return record.metadata.get("base_type") != "kvqa" and record.metadata.get("content_type") != "KG"


def in_caption(text: str, language: str) -> str:
    """Returns a question or an answer with single blanks, and Chinese text with Chinese punctuation."""
    text = " ".join(text.split())
    return SIGN.sub(lambda found: found[0].strip().translate(SIGNS_ZH), text) if language == "zh" else text


def caption_order(record: RawRecord) -> int:
    """Returns the position of a question in a caption; kinds that SLAKE does not have come last."""
    kind = record.metadata.get("content_type")
    return CAPTION_ORDER.index(kind) if kind in CAPTION_ORDER else len(CAPTION_ORDER) - 1


SOURCE = Source(
    name=NAME,
    flag="--slake_dir",
    kind="question_answering",
    read=read,
    caption=caption,
    scans=True,
    redistributable=True,
    title="SLAKE: a semantically-labeled knowledge-enhanced dataset for medical visual question answering",
    homepage="https://www.med-vqa.com/slake/",
    licence="CC-BY-4.0",
    citation=(
        "Liu, B., et al.: SLAKE: a semantically-labeled knowledge-enhanced dataset for medical visual question "
        "answering. ISBI 2021. arXiv:2102.09542"
    ),
    bibtex="""@inproceedings{liu2021slake,
  author = {Liu, Bo and others},
  title = {{SLAKE}: a semantically-labeled knowledge-enhanced dataset for medical visual question answering},
  booktitle = {IEEE International Symposium on Biomedical Imaging (ISBI)},
  year = {2021},
  eprint = {2102.09542},
  archivePrefix = {arXiv}
}""",
)
