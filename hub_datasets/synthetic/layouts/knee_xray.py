"""Writes the layout of Mendeley's "Digital Knee X-ray Images": folders by expert and grade, no table, no patients.

As in the real dataset, the folders of both experts contain the same images under different numbers, a few images occur
twice within each expert's folders, and the first expert gave a few images the grade 0 and the second one the grade 1.
Further copies are not faults: a build drops them as `duplicate_image`, and `write` does not list them. Two of the
second expert's copies are brighter than the first expert's: near-duplicates, which a build keeps and must assign to the
same split.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hub_datasets.records import Reason
from hub_datasets.synthetic.drawings.knee import draw_both_knees, draw_knee
from hub_datasets.synthetic.layouts import Written, allocate, save_image
from hub_datasets.synthetic.layouts.file_faults import brighten, truncate_file

TREE = Path("Digital Knee X-ray Images/Knee X-ray Images")
EXPERTS = ("MedicalExpert-I", "MedicalExpert-II")
GRADES = ("Normal", "Doubtful", "Mild", "Moderate", "Severe")
SHARES = dict(enumerate((514, 477, 232, 221, 206)))  # images per grade in the real dataset, by the first expert
DISTINCT, COPIES, CONFLICTS, BRIGHTENED = 160, 3, 3, 2

# The response of a web server in an error, saved under the name of the requested file.
ERROR_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>503 Service Unavailable</title></head><body>Try again.</body></html>\n"
)


@dataclass(slots=True)
class _Strip:
    """A distinct image: its PNG file, and the grade that each expert gave it."""

    path: Path
    grades: tuple[int, int]
    copies: int = 1
    conflict: bool = False
    brightened: bool = False


def write(folder: Path, seed: int, scale: float) -> Written:
    """Write the folders of both experts below `folder`."""
    rng = np.random.default_rng([seed, 1])
    total = max(24, round(DISTINCT * scale))
    grades = [(grade, grade) for grade in allocate(total - CONFLICTS, SHARES)] + [(0, 1)] * CONFLICTS
    drawn = folder / ".drawn"
    strips = [_draw(drawn / f"{i}.png", pair, np.random.default_rng([seed, 1, i])) for i, pair in enumerate(grades)]

    agreed = [strip for strip in strips if not strip.conflict]
    chosen = rng.permutation(len(agreed))
    for i in chosen[:COPIES]:
        agreed[i].copies = 2
    truncated = agreed[chosen[COPIES]]
    for i in chosen[COPIES + 1 : COPIES + 1 + BRIGHTENED]:
        agreed[i].brightened = True

    written = Written()
    for which, expert in enumerate(EXPERTS):
        for grade, name in enumerate(GRADES):
            grade_dir = folder / TREE / expert / f"{grade}{name}"
            grade_dir.mkdir(parents=True)
            graded = [strip for strip in strips for _ in range(strip.copies) if strip.grades[which] == grade]
            order = rng.permutation(len(graded))
            for number, i in enumerate(order, 1):
                path = grade_dir / f"{name}G{grade} ({number}).png"
                path.write_bytes(graded[i].path.read_bytes())
                if graded[i].brightened and which == 1:
                    with Image.open(graded[i].path) as image:
                        save_image(brighten(image), path)
                    written.oddities.append((path.relative_to(folder).as_posix(), "near_duplicate"))
                key = f"{expert}/{grade}{name}/{path.name}"
                if graded[i].conflict:
                    written.faults.append((key, Reason.CONFLICTING_LABELS))
                elif graded[i] is truncated and which == 0:  # the second expert's copy stays intact
                    truncate_file(path)
                    written.faults.append((key, Reason.IMAGE_TRUNCATED))
            if (which, grade) == (1, 3):
                path = grade_dir / f"{name}G{grade} ({len(graded) + 1}).png"
                path.write_text(ERROR_PAGE, encoding="utf-8")
                written.faults.append((f"{expert}/{grade}{name}/{path.name}", Reason.IMAGE_FORMAT))
            if (which, grade) in ((0, 0), (1, 4)):  # a thumbnail file of Windows, which a build has to ignore
                (grade_dir / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + rng.bytes(504))
    for strip in strips:
        strip.path.unlink()
    drawn.rmdir()
    files = sum(2 * strip.copies for strip in strips) + 1
    written.summary = f"{files} files of {len(strips)} distinct strips, graded by two experts"
    return written


def _draw(path: Path, grades: tuple[int, int], rng: np.random.Generator) -> _Strip:
    """Draw the strip for the higher of the two grades and write it to `path`."""
    grade = max(grades)
    if rng.random() < 0.11:  # 186 of the 1,650 real images show both knees
        image = draw_both_knees(rng, grade)
    else:
        image = draw_knee(rng, grade, fibula_left=rng.random() < 0.5, height=int(rng.integers(161, 163)))
    save_image(image, path)
    return _Strip(path, grades, conflict=grades[0] != grades[1])
