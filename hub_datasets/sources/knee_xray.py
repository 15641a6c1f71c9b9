"""Reads knee radiographs with a Kellgren-Lawrence grade, in two public layouts.

- Mendeley "Digital Knee X-ray Images" (Gornale and Patravali, 2020, doi:10.17632/t9ndx37v5h.1):
  `MedicalExpert-{I,II}/{0Normal,1Doubtful,2Mild,3Moderate,4Severe}/NormalG0 (1).png`. Both experts' folders contain
  the same 1,633 images in 3,300 files, and the experts disagree on the grade of 11 images.
- OAI kneeKL224 (Chen, 2018, doi:10.17632/56rmx5bjcr.1): `{train,val,test,auto_test}/{0..4}/9001695L.png`, where the
  first seven digits are the patient and the letter is the side (`9001695_1.png` in `auto_test`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import Ignored, RawRecord, Reason, Rejection
from hub_datasets.sources import look_alikes
from hub_datasets.sources.base import Choice, Source
from hub_datasets.sources.file_readers import is_junk, passed_over, passed_over_by_default, printable

NAME = "knee_xray"
GRADES = ("Normal", "Doubtful", "Mild", "Moderate", "Severe")
EXPERT_FOLDER = re.compile(r"Medical ?Expert[- ]?(I{1,2})", re.IGNORECASE)
MENDELEY_GRADES = {f"{grade}{name}".lower(): grade for grade, name in enumerate(GRADES)}
OAI_GRADES = {str(grade): grade for grade in range(len(GRADES))}
# `auto_test` holds other crops of the patients of `test`.
OAI_SPLITS = {"train": "train", "val": "validation", "test": "test", "auto_test": "test"}
OAI_FILE = re.compile(r"(\d{7})(?!\d)([LR])?", re.ASCII)
SIDES = {"L": "left", "R": "right"}
CONFLICTS = ("reject", "keep_lower", "keep_higher")


def read(folder: Folder) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields a record for every file in a grade folder of either layout, sorted by name, and Ignored for the others.

    Raises BuildError if there is no grade folder.
    """
    names = [file.name for file in folder.files() if not is_junk(file.name)]
    layouts = {name: grade_folder(name) for name in names}
    if not any(layouts.values()):
        raise BuildError(
            f"{folder.named()}: no knee images found; expected MedicalExpert-I/0Normal/*.png (Mendeley) or "
            f"train/0/*.png (OAI){look_alikes.advice(folder, '--knee_dir')}"
        )
    for name, layout in layouts.items():
        if layout:
            yield make_record(name, **layout)
    yield from passed_over_by_default(NAME, folder)
    yield from passed_over(NAME, [name for name in names if not layouts[name]], "not in a folder of a grade")


def grade_folder(name: str) -> dict | None:
    """Returns the grade and the expert or official split in the last two folders of a name; None for other names.

    A zip file, and a folder inside a folder of the same name, count as one folder.
    """
    parts: list[str] = []
    for part in name.split("/")[:-1]:
        part = part[:-4] if part.lower().endswith(".zip") else part
        if part not in parts[-1:]:
            parts.append(part)
    if len(parts) < 2:
        return None
    above, last = parts[-2:]
    expert = EXPERT_FOLDER.fullmatch(above)
    if expert and last.lower() in MENDELEY_GRADES:
        return {"grade": MENDELEY_GRADES[last.lower()], "expert": expert[1].upper()}
    if above in OAI_SPLITS and last in OAI_GRADES:
        return {"grade": OAI_GRADES[last], "oai_folder": above}
    return None


def make_record(image: str, grade: int, expert: str = "", oai_folder: str = "") -> RawRecord:
    """Returns the record of one file. Files of the Mendeley set name no patient; those of OAI do."""
    metadata: dict = {"kellgren_lawrence_grade": grade}
    groups: tuple[str, ...] = ()
    if expert:
        metadata["grade_by_expert"] = {expert: grade}
    else:
        metadata["official_split"] = oai_folder
        if match := OAI_FILE.match(image.rpartition("/")[2]):
            metadata["patient_id"] = match[1]
            if match[2]:
                metadata["side"] = match[2]
            groups = (f"patient:{match[1]}",)
    return RawRecord(
        source=NAME,
        item=printable(image),
        image=image,
        category=GRADES[grade],
        language="en",
        text=describe(grade, metadata.get("side", "")),
        groups=groups,
        official_split=OAI_SPLITS.get(oai_folder, ""),
        metadata=metadata,
        label=GRADES[grade],
        modality="X-ray",
        body_part="knee",
    )


def describe(grade: int, side: str = "") -> str:
    """Describes a grade in words, with the side if the name of the file says it (`L` or `R`)."""
    finding = "no osteoarthritis" if grade == 0 else f"{GRADES[grade].lower()} osteoarthritis"
    what = f"X-ray of the {SIDES[side]} knee" if side else "Knee X-ray"
    return f"{what}, Kellgren-Lawrence grade {grade}: {finding}."


def settle(copies: list[RawRecord], settings: dict[str, str]) -> Iterator[RawRecord | Rejection]:
    """Merges the files with the same image into one record.

    The first file is kept, with the grades of both experts; the others are rejected as copies. If the grades differ,
    the right one is unknown: `knee_conflicts` is `reject` (all the files are rejected, each naming the
    others), `keep_lower` or `keep_higher` (the files with the other grade are rejected; the metadata says who gave
    it).
    """
    choice = settings.get("knee_conflicts", CONFLICTS[0])
    grades = sorted({grade_of(record) for record in copies})
    chosen = grades[-1] if choice == "keep_higher" else grades[0]
    if len(grades) > 1 and choice == "reject":
        for record in copies:
            others = "; ".join(f"{other.item} has grade {grade_of(other)}" for other in copies if other is not record)
            message = f"the same image with another grade: {others}"
            yield Rejection(NAME, record.item, Reason.CONFLICTING_LABELS, message)
        return
    kept = next(record for record in copies if grade_of(record) == chosen)
    yield merge(kept, copies, grades)
    for record in copies:
        if grade_of(record) != chosen:
            message = f"grade {grade_of(record)}; the same image is kept with grade {chosen} as {kept.item}"
            yield Rejection(NAME, record.item, Reason.CONFLICTING_LABELS, message)
        elif record is not kept:
            yield Rejection(NAME, record.item, Reason.DUPLICATE_IMAGE, f"the same image as {kept.item}")


def grade_of(record: RawRecord) -> int:
    return record.metadata["kellgren_lawrence_grade"]


def merge(kept: RawRecord, copies: list[RawRecord], grades: list[int]) -> RawRecord:
    """Returns the kept record with the grades, experts and patients of its copies."""
    metadata = dict(kept.metadata)
    by_expert: dict[str, int] = {}
    for record in (*copies, kept):  # of an expert with contradicting grades, the kept grade is reported
        by_expert |= record.metadata.get("grade_by_expert", {})
    if by_expert:
        metadata["grade_by_expert"] = dict(sorted(by_expert.items()))
    if len(grades) > 1:
        metadata["conflicting_grades"] = grades
    groups = sorted({group for record in copies for group in record.groups})
    sides = {record.metadata.get("side", "") for record in copies}
    text = describe(grade_of(kept), sides.pop() if len(sides) == 1 else "")  # two names that disagree say nothing
    return replace(kept, text=text, groups=tuple(groups), metadata=metadata)


SOURCE = Source(
    name=NAME,
    flag="--knee_dir",
    kind="radiograph",
    read=read,
    settle=settle,
    choices={
        "knee_conflicts": Choice(
            CONFLICTS, "rule for images of --knee_dir with contradicting labels", Reason.CONFLICTING_LABELS
        )
    },
    labels=GRADES,
    redistributable=True,
    title="Knee X-rays with Kellgren-Lawrence grades (Mendeley Digital Knee X-ray Images; OAI kneeKL224)",
    homepage="https://data.mendeley.com/datasets/t9ndx37v5h/1",
    licence="CC-BY-4.0",
    citation=(
        "Gornale, S., Patravali, P.: Digital Knee X-ray Images. Mendeley Data, V1 (2020). "
        "doi:10.17632/t9ndx37v5h.1; Chen, P.: Knee Osteoarthritis Severity Grading Dataset. "
        "Mendeley Data, V1 (2018). doi:10.17632/56rmx5bjcr.1"
    ),
    bibtex="""@misc{gornale2020digital,
  author = {Gornale, Shivanand and Patravali, Pooja},
  title = {Digital Knee X-ray Images},
  publisher = {Mendeley Data},
  version = {1},
  year = {2020},
  doi = {10.17632/t9ndx37v5h.1}
}
@misc{chen2018knee,
  author = {Chen, Pingjun},
  title = {Knee Osteoarthritis Severity Grading Dataset},
  publisher = {Mendeley Data},
  version = {1},
  year = {2018},
  doi = {10.17632/56rmx5bjcr.1}
}""",
)
