"""A folder of one's own reports: `images/`, English ones as JSON lines, Chinese ones as CSV in UTF-8 and in GBK.

Some studies have two films under one report, which are two rows, or one row that names both. A few films are of 16
bits, a few were photographed with a phone, and a few of the English studies were reported in Chinese, too, from
another export of the film. The texts are in `report_texts.py`, what is wrong with some rows in `report_faults.py`.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from hub_datasets.phantoms.canvas import to_image
from hub_datasets.phantoms.chest import ChestFindings, draw_chest
from hub_datasets.sample_layouts import Written, save
from hub_datasets.sample_layouts.file_faults import brightened, save_deep, save_phone_photograph
from hub_datasets.sample_layouts.report_texts import describe

IMAGES = 150
COLUMNS = ("image", "text", "language", "study_id")
# file: (language, share of the images)
TABLES = {"reports_en.jsonl": ("en", 0.55), "reports_zh.csv": ("zh", 0.25), "reports_zh_gbk.csv": ("zh", 0.20)}
SIDES, ZONES, EXTENTS = ("left", "right"), ("upper", "middle", "lower"), ("small", "medium", "large")
# Of fifty studies: the one whose film has 16 bits, is a photograph of the film, and was exported twice.
EVERY, DEEP, PHONE, TWICE = 50, 2, 3, 5


@dataclass(slots=True)
class Telling:
    """What the studies of one language have shown and said so far."""

    rng: np.random.Generator
    language: str
    shown: set[ChestFindings] = field(default_factory=set)
    told: set[str] = field(default_factory=set)

    def findings(self) -> ChestFindings:
        """Findings that no other study has; where a large sample has used up what there is, they are shown again."""
        for _ in range(50):
            findings = choose_findings(self.rng)
            if findings not in self.shown:
                break
        if not findings.normal:  # several normal chests may be described, each in other words
            self.shown.add(findings)
        return findings

    def text(self, findings: ChestFindings) -> str:
        """A report in words that no other one has, as long as there are others."""
        for _ in range(50):
            text = describe(self.rng, findings, self.language)
            if 30 <= len(text) <= 300 and text not in self.told:
                break
        self.told.add(text)
        return text


def write(folder: Path, seed: int, scale: float) -> Written:
    """Write `images/` and the tables below `folder` and return what was written."""
    from hub_datasets.sample_layouts.report_faults import plant

    total = max(24, round(IMAGES * scale))
    tellings = {
        language: Telling(np.random.default_rng([seed, 4, number]), language)
        for number, language in enumerate(("en", "zh"))
    }
    written = Written()
    tables: dict[str, list[dict | str]] = {}
    exports: list[tuple[str, ChestFindings]] = []  # films that are exported once more
    number = 0  # of the study
    for name, (language, share) in TABLES.items():
        tables[name] = []
        films = 0
        while films < round(total * share):
            number += 1
            films += _study(tellings[language], folder, number, name, tables[name], exports, written)
    for image, findings in exports:
        number += 1
        tables["reports_zh.csv"].append(_export(tellings["zh"], folder, image, findings, number))
        written.oddities.append((tables["reports_zh.csv"][-1]["image"], "near_duplicate"))
    plant(np.random.default_rng([seed, 4, 2]), folder, tables, number, written)
    for name, rows in tables.items():
        if name.endswith(".jsonl"):
            lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        else:
            (folder / name).write_bytes(as_csv(rows).encode("gbk" if "gbk" in name else "utf-8-sig"))
    counts = dict.fromkeys(tellings, 0)
    for name, rows in tables.items():
        counts[TABLES[name][0]] += len(rows)
    images = len(list((folder / "images").iterdir()))
    written.summary = f"{counts['en']} rows in English, {counts['zh']} in Chinese, {images} images"
    return written


def as_csv(rows: list[dict]) -> str:
    """The table as a spreadsheet program saves it."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def _study(telling: Telling, folder: Path, number: int, table: str, rows: list, exports: list, written: Written) -> int:
    """Draw one study, add its row or rows, and return how many films it has."""
    rng = telling.rng
    findings = telling.findings()
    common = {"text": telling.text(findings), "language": telling.language, "study_id": f"S{number:04d}"}
    films = 2 if rng.random() < 0.12 else 1
    suffix = ".png" if rng.random() < 0.6 else ".jpg"
    names = []
    for film in range(1, films + 1):
        name = f"images/S{number:04d}_{film}{suffix}"
        picture = draw_chest(rng, findings).picture
        if number % EVERY == DEEP:
            name = f"images/S{number:04d}_{film}.png"
            save_deep(picture, folder / name)
            written.oddities.append((name, "deep"))
        elif number % EVERY == PHONE:
            name = f"images/S{number:04d}_{film}.jpg"
            save_phone_photograph(to_image(picture), folder / name, orientation=6)
            written.oddities += [(name, "turned"), (name, "place")]
        else:
            save(to_image(picture), folder / name)
            if (number % EVERY, film, telling.language) == (TWICE, 1, "en"):
                exports.append((name, findings))
        names.append(name)
    if films > 1 and table.endswith(".jsonl") and number % 2:
        rows.append({"images": names} | common)
    elif films > 1 and "gbk" in table:
        rows.append({"image": ";".join(names)} | common)
    else:
        rows += [{"image": name} | common for name in names]
    return films


def _export(telling: Telling, folder: Path, image: str, findings: ChestFindings, number: int) -> dict:
    """Export a film once more, brighter and as another kind of file, and report it in another language."""
    suffix = ".jpg" if image.endswith(".png") else ".png"
    row = {"image": f"images/S{number:04d}_1{suffix}", "text": telling.text(findings)}
    with Image.open(folder / image) as film:
        save(brightened(film), folder / row["image"])
    return row | {"language": telling.language, "study_id": f"S{number:04d}"}


def choose_findings(rng: np.random.Generator) -> ChestFindings:
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
