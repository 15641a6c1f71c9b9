"""A folder of one's own reports: `images/`, English reports as JSON lines, Chinese ones as CSV with a byte order mark.

Some studies have two films under one report. The texts are in `report_texts.py`.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np

from hub_datasets.phantoms.canvas import to_image
from hub_datasets.phantoms.chest import ChestFindings, draw_chest
from hub_datasets.sample_layouts import Written, cut_short, save
from hub_datasets.sample_layouts.report_texts import describe, long_text
from hub_datasets.schema import Reason

IMAGES = 150
COLUMNS = ("image", "text", "language", "study_id")
LANGUAGES = {"en": 0.55, "zh": 0.45}
SIDES, ZONES, EXTENTS = ("left", "right"), ("upper", "middle", "lower"), ("small", "medium", "large")


def write(folder: Path, seed: int, scale: float) -> Written:
    """Write `images/`, `reports_en.jsonl` and `reports_zh.csv` below `folder` and return what was written."""
    total = max(24, round(IMAGES * scale))
    rows: dict[str, list[dict]] = {}
    number = 0
    for language, share in LANGUAGES.items():
        rng = np.random.default_rng([seed, 4, list(LANGUAGES).index(language)])
        rows[language] = []
        told: set[str] = set()
        shown: set[ChestFindings] = set()
        while len(rows[language]) < round(total * share):
            number += 1
            rows[language] += _study(rng, folder, f"S{number:04d}", language, told, shown)
    faults = _break(np.random.default_rng([seed, 4, 2]), folder, rows, number)
    english = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows["en"]]
    (folder / "reports_en.jsonl").write_text("\n".join(english) + "\n", encoding="utf-8", newline="\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\r\n")  # as a spreadsheet program saves "CSV UTF-8"
    writer.writeheader()
    writer.writerows(rows["zh"])
    (folder / "reports_zh.csv").write_text(table.getvalue(), encoding="utf-8-sig", newline="")
    images = len(list((folder / "images").iterdir()))
    return Written(f"{len(rows['en'])} reports in English, {len(rows['zh'])} in Chinese, {images} images", faults)


def _study(rng, folder: Path, study: str, language: str, told: set[str], shown: set[ChestFindings]) -> list[dict]:
    """Draw one study that looks like no other one of its language; return a row for each of its films.

    Where a large sample has used up what there is to show or to say, it is shown or said again.
    """
    for _ in range(50):
        findings = _findings(rng)
        if findings not in shown:
            break
    if not findings.normal:  # several normal chests may be described, each in other words
        shown.add(findings)
    for _ in range(50):
        text = describe(rng, findings, language)
        if 30 <= len(text) <= 300 and text not in told:
            break
    told.add(text)
    films = 2 if rng.random() < 0.12 else 1
    suffix = ".png" if rng.random() < 0.6 else ".jpg"
    rows = []
    for film in range(1, films + 1):
        name = f"images/{study}_{film}{suffix}"
        save(to_image(draw_chest(rng, findings).picture), folder / name)
        rows.append({"image": name, "text": text, "language": language, "study_id": study})
    return rows


def _findings(rng: np.random.Generator) -> ChestFindings:
    """Return none to three findings that can be seen beside each other."""

    def pick(choices):
        return choices[int(rng.integers(len(choices)))]

    wanted = int(rng.choice([0, 1, 2, 3], p=[0.07, 0.35, 0.38, 0.20]))
    kinds = rng.permutation(["effusion", "nodule", "pneumothorax", "pneumonia", "heart", "pacemaker"])[:wanted]
    free = list(SIDES)  # one finding a side, or one would hide the other
    shown: dict = {}
    for kind in sorted(kinds):
        if kind == "heart":
            shown["cardiomegaly"] = pick(("mild", "marked"))
        elif kind == "pacemaker":
            shown["pacemaker"] = True
        elif kind == "effusion" and len(free) == 2 and rng.random() < 0.15:
            shown["effusions"] = tuple((side, pick(("small", "moderate"))) for side in free)
            free.clear()
        elif free:
            side = free.pop(int(rng.integers(len(free))))
            # A large heart covers what lies low on the left.
            covered = side == "left" and "heart" in kinds
            if kind == "effusion":
                shown["effusions"] = ((side, pick(("small", "moderate", "large"))),)
            elif kind == "nodule":
                shown["nodules"] = ((side, pick(ZONES[:1] if covered else ZONES), pick(EXTENTS)),)
            elif kind == "pneumonia":
                shown["consolidations"] = ((side, "upper" if covered else pick(("upper", "lower"))),)
            else:
                shown["pneumothorax"] = side
    return ChestFindings(**shown)


def _break(rng: np.random.Generator, folder: Path, rows: dict[str, list], studies: int) -> list[tuple[str, Reason]]:
    """Add broken rows in the last half of both files, where no other line's number begins with theirs."""
    broken: dict[str, list[tuple[dict | str, Reason]]] = {"en": [], "zh": []}

    def add(language: str, code: Reason, **changed: str) -> dict:
        number = studies + len(broken["en"]) + len(broken["zh"]) + 1
        drawn = "image" not in changed
        row = {"image": f"images/S{number:04d}_1.{'jpg' if code is Reason.IMAGE_UNREADABLE else 'png'}"}
        findings = _findings(rng)
        row |= {"text": describe(rng, findings, language), "language": language, "study_id": f"S{number:04d}"} | changed
        if drawn:
            save(to_image(draw_chest(rng, findings).picture), folder / row["image"])
        broken[language].append((row, code))
        return row

    add("en", Reason.TEXT_EMPTY, text="")
    add("en", Reason.TEXT_SHORT, text="ok")
    add("en", Reason.IMAGE_MISSING, image="images/S0000_1.png")
    add("en", Reason.IMAGE_OUTSIDE_ROOT, image="/etc/hostname")
    broken["en"].append(('{"image": "images/S0001_1.png", "text": "No focal', Reason.MALFORMED_ROW))
    add("zh", Reason.TEXT_LONG, text=long_text(rng, "zh", 1200))
    cut_short(folder / add("zh", Reason.IMAGE_UNREADABLE)["image"])

    faults = []
    for language, file in (("en", "reports_en.jsonl"), ("zh", "reports_zh.csv")):
        members = rows[language]
        for row, _ in broken[language]:
            members.insert(int(rng.integers(len(members) // 2, len(members))), row)
        header = 1 if language == "zh" else 0
        for row, code in broken[language]:
            # By identity: a row may say the same as another one.
            place = next(i for i, member in enumerate(members) if member is row)
            faults.append((f"{file} line {place + 1 + header}", code))
    return faults
