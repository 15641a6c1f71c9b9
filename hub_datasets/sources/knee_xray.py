"""Knee radiographs with a Kellgren-Lawrence grade, in two public layouts.

- Mendeley "Digital Knee X-ray Images" (Gornale and Patravali, 2020, doi:10.17632/t9ndx37v5h.1):
  `MedicalExpert-{I,II}/{0Normal,1Doubtful,2Mild,3Moderate,4Severe}/NormalG0 (1).png`. Both experts' folders hold the
  same 1,633 images in 3,300 files, and 11 of them carry another grade with the second expert.
- OAI kneeKL224 (Chen, 2018, doi:10.17632/56rmx5bjcr.1): `{train,val,test,auto_test}/{0..4}/9001695L.png`, where the
  first seven digits are the patient and the letter is the side.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from hub_datasets.schema import BuildError, Ignored, RawRecord, Reason, Rejection, Source
from hub_datasets.sources.reading import is_junk, printable

NAME = "knee_xray"
GRADES = ("Normal", "Doubtful", "Mild", "Moderate", "Severe")
EXPERT_FOLDER = re.compile(r"MedicalExpert-(I{1,2})")
MENDELEY_GRADES = {f"{grade}{name}".lower(): grade for grade, name in enumerate(GRADES)}
OAI_GRADES = {str(grade): grade for grade in range(len(GRADES))}
OAI_SPLITS = ("train", "val", "test", "auto_test")
OAI_FILE = re.compile(r"(\d{7})([LR])?")


def read(root: Path) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields a record for every file in a grade folder of either layout, in path order, and Ignored for the others.

    Raises BuildError where there is no grade folder, and OSError where a folder cannot be read.
    """
    ignored: list[Ignored] = []
    found = False
    for folder, subfolders, files in os.walk(root, onerror=fail):
        subfolders.sort()
        here = Path(folder).relative_to(root)
        for name in subfolders:
            if (root / here / name).is_symlink():
                ignored.append(Ignored(NAME, printable((here / name).as_posix()), "a link to a folder"))
        layout = grade_folder(here.parts)
        found = found or layout is not None
        for name in sorted(files):
            path = here / name
            if is_junk(path):
                ignored.append(Ignored(NAME, printable(path.as_posix()), "left by the operating system"))
            elif layout is None:
                ignored.append(Ignored(NAME, printable(path.as_posix()), "not in the folder of a grade"))
            else:
                yield make_record(path.as_posix(), **layout)
    yield from ignored
    if not found:
        raise BuildError(
            f"{root}: no knee images found; expected MedicalExpert-I/0Normal/*.png (Mendeley) or train/0/*.png (OAI)"
        )


def fail(error: OSError) -> None:
    """Raises the error of a folder that cannot be read, which `os.walk` passes over by default."""
    raise error


def grade_folder(parts: tuple[str, ...]) -> dict | None:
    """What the last two folders of a path say: the grade, and the expert or the official split. None for others."""
    if len(parts) < 2:
        return None
    parent, name = parts[-2:]
    expert = EXPERT_FOLDER.fullmatch(parent)
    if expert and name.lower() in MENDELEY_GRADES:
        return {"grade": MENDELEY_GRADES[name.lower()], "expert": expert[1]}
    if parent in OAI_SPLITS and name in OAI_GRADES:
        return {"grade": OAI_GRADES[name], "official_split": parent}
    return None


def make_record(image: str, grade: int, expert: str | None = None, official_split: str | None = None) -> RawRecord:
    """The record of one file. A file of the Mendeley set names no patient; one of the OAI does."""
    metadata: dict = {"kellgren_lawrence_grade": grade}
    groups: tuple[str, ...] = ()
    if expert:
        metadata["grade_by_expert"] = {expert: grade}
    else:
        metadata["official_split"] = official_split
        if match := OAI_FILE.match(Path(image).stem):
            metadata |= {"patient_id": match[1], "side": match[2]}
            groups = (f"patient:{match[1]}",)
    return RawRecord(
        source=NAME,
        item=printable(image),
        image=image,
        category=GRADES[grade],
        language="en",
        text=describe(grade, [expert] if expert else []),
        groups=groups,
        metadata=metadata,
    )


def describe(grade: int, experts: list[str]) -> str:
    """The grade in words, and who gave it."""
    finding = "no osteoarthritis" if grade == 0 else f"{GRADES[grade].lower()} osteoarthritis"
    text = f"Knee X-ray, Kellgren-Lawrence grade {grade}: {finding}."
    if experts:
        text += f" Graded by medical expert{'s' if len(experts) > 1 else ''} {' and '.join(experts)}."
    return text


def settle(copies: list[RawRecord]) -> Iterator[RawRecord | Rejection]:
    """Makes one record of the files that hold the same image.

    The first file is kept, with the grades of both experts; the others are rejected as copies. Where the grades
    differ nobody can say which is right: all the files are rejected, each naming the others.
    """
    grades = {record.metadata["kellgren_lawrence_grade"] for record in copies}
    if len(grades) > 1:
        for record in copies:
            others = "; ".join(
                f"{other.item} has grade {other.metadata['kellgren_lawrence_grade']}"
                for other in copies
                if other is not record
            )
            message = f"the same image with another grade: {others}"
            yield Rejection(NAME, record.item, Reason.CONFLICTING_LABELS, message)
        return
    kept, *rest = copies
    by_expert: dict[str, int] = {}
    for record in copies:
        by_expert |= record.metadata.get("grade_by_expert", {})
    if by_expert:
        kept.metadata["grade_by_expert"] = by_expert
        kept.text = describe(kept.metadata["kellgren_lawrence_grade"], sorted(by_expert))
    kept.groups = tuple(sorted({group for record in copies for group in record.groups}))
    yield kept
    for record in rest:
        yield Rejection(NAME, record.item, Reason.DUPLICATE_IMAGE, f"the same image as {kept.item}")


SOURCE = Source(
    name=NAME,
    flag="--knee_dir",
    read=read,
    settle=settle,
    title="Knee X-rays with Kellgren-Lawrence grades (Mendeley Digital Knee X-ray Images; OAI kneeKL224)",
    homepage="https://data.mendeley.com/datasets/t9ndx37v5h/1",
    licence="CC-BY-4.0",
    citation=(
        "Gornale, S., Patravali, P.: Digital Knee X-ray Images. Mendeley Data, V1 (2020). "
        "doi:10.17632/t9ndx37v5h.1; Chen, P.: Knee Osteoarthritis Severity Grading Dataset. "
        "Mendeley Data, V1 (2018). doi:10.17632/56rmx5bjcr.1"
    ),
)
