"""SLAKE: questions and answers in English and Chinese on CT, MRI and X-ray images (Liu et al., 2021).

`train.json`, `validate.json` (`validation.json` in the Hub's copy) and `test.json` hold one row for each question;
the image of a row is `imgs/xmlabN/source.jpg`. The official files were split by language: one image is often in two
of them, so rows are grouped by image here and the official file is kept in `metadata.official_split`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hub_datasets.schema import LANGUAGES, BuildError, Ignored, RawRecord, Reason, Rejection, Source
from hub_datasets.sources.reading import read_json_array

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


def read(root: Path) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields a record for every question of the split files. Raises BuildError where there is none of them."""
    files = [root / name for name in FILES if (root / name).is_file()]
    if not files:
        raise BuildError(f"{root}: none of {', '.join(FILES)}; --slake_dir is the folder with train.json and imgs/")
    for file in files:
        for number, row in enumerate(read_json_array(file), 1):
            item = f"{file.name} row {number}"
            if problem := row_problem(row):
                yield Rejection(NAME, item, Reason.MALFORMED_ROW, problem)
            else:
                yield make_record(f"{item} (qid {row['qid']})", row, FILES[file.name])


def row_problem(row: object) -> str | None:
    """What is wrong with a row of a split file, None if nothing is."""
    if not isinstance(row, dict):
        return f"expected an object with the keys {', '.join(REQUIRED)}, found {type(row).__name__}"
    if missing := [key for key in REQUIRED if key not in row]:
        return f"no key {', '.join(missing)}; expected {', '.join(REQUIRED)}"
    if wrong := [key for key in TEXT_KEYS if not isinstance(row[key], str)]:
        return f"{', '.join(wrong)}: expected text"
    if row["q_lang"] not in LANGUAGES:
        return f"q_lang {row['q_lang']!r}; expected one of {', '.join(LANGUAGES)}"
    return None


def make_record(item: str, row: dict, official_split: str) -> RawRecord:
    """The record of one question and its answer."""
    return RawRecord(
        source=NAME,
        item=item,
        image=f"imgs/{row['img_name']}",
        category=row["location"],
        language=row["q_lang"],
        question=row["question"].strip(),
        answer=row["answer"].strip(),
        groups=(f"image:{row['img_id']}",),
        metadata=row | {"official_split": official_split},
    )


def caption(records: list[RawRecord], max_chars: int) -> str:
    """A caption of one image from its own questions and answers in one language.

    Modality and location come first; then the questions with their answers in the order of the source, as many as
    fit in `max_chars` characters.
    """
    first = records[0]
    modality, location = first.metadata["modality"], first.metadata["location"]
    if first.language == "zh":
        text, sentence = f"{modality}图像，{LOCATIONS_ZH.get(location, location)}。", "{question}{answer}。"
    else:
        text, sentence = f"{modality} image, {location.replace('_', ' ').lower()}.", " {question} {answer}."
    said = set()
    for record in records:
        addition = sentence.format(question=record.question, answer=record.answer.rstrip(".。"))
        if addition not in said and len(text) + len(addition) <= max_chars:
            said.add(addition)
            text += addition
    return text


SOURCE = Source(
    name=NAME,
    flag="--slake_dir",
    read=read,
    caption=caption,
    title="SLAKE: a semantically-labelled knowledge-enhanced dataset for medical visual question answering",
    homepage="https://www.med-vqa.com/slake/",
    licence="CC-BY-4.0",
    citation=(
        "Liu, B., et al.: SLAKE: a semantically-labeled knowledge-enhanced dataset for medical visual question "
        "answering. ISBI 2021. arXiv:2102.09542"
    ),
)
