"""Writes a folder of reports: `images/`, English reports as JSON Lines, Chinese reports as CSV in UTF-8 and in GBK.

Some studies have two radiographs and one report, which is written as two rows or as one row with both images. A few
radiographs have 16 bits, a few were photographed with a phone, and a few English studies have a second, Chinese report
with another export of the radiograph. The texts come from `report_texts.py`, the faults from `report_faults.py`.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from hub_datasets.synthetic.drawings.canvas import to_image
from hub_datasets.synthetic.drawings.chest import ChestFindings, draw_chest
from hub_datasets.synthetic.layouts import Written, save_image
from hub_datasets.synthetic.layouts.chest_findings import choose_findings
from hub_datasets.synthetic.layouts.file_faults import brighten, save_16_bit, save_phone_photograph
from hub_datasets.synthetic.layouts.report_texts import describe

IMAGES = 150
COLUMNS = ("image", "text", "language", "study_id")
# From the name of a table to its language and its share of the images.
TABLES = {"reports_en.jsonl": ("en", 0.55), "reports_zh.csv": ("zh", 0.25), "reports_zh_gbk.csv": ("zh", 0.20)}
# Of every 50 studies, number 2 has 16-bit images, number 3 phone photographs, and number 5 a second export.
PERIOD, DEEP, PHONE, EXPORTED = 50, 2, 3, 5


@dataclass(slots=True)
class Reporter:
    """Draws findings and texts for the studies of one language, and avoids repetitions.

    Attributes:
        used_findings: the findings of the studies so far.
        used_texts: the texts of the studies so far.
    """

    rng: np.random.Generator
    language: str
    used_findings: set[ChestFindings] = field(default_factory=set)
    used_texts: set[str] = field(default_factory=set)

    def draw_findings(self) -> ChestFindings:
        """Return findings that no other study has, unless 50 draws give none, as in a very large sample."""
        for _ in range(50):
            findings = choose_findings(self.rng)
            if findings not in self.used_findings:
                break
        if not findings.normal:  # several studies can be normal, with different texts
            self.used_findings.add(findings)
        return findings

    def write_text(self, findings: ChestFindings) -> str:
        """Return a report of the findings that no other study has, unless 50 draws give none."""
        for _ in range(50):
            text = describe(self.rng, findings, self.language)
            if 30 <= len(text) <= 300 and text not in self.used_texts:
                break
        self.used_texts.add(text)
        return text


def write(folder: Path, seed: int, scale: float) -> Written:
    """Write `images/` and the tables below `folder`."""
    from hub_datasets.synthetic.layouts.report_faults import plant_faults

    total = max(24, round(IMAGES * scale))
    reporters = {
        language: Reporter(np.random.default_rng([seed, 4, number]), language)
        for number, language in enumerate(("en", "zh"))
    }
    written = Written()
    tables: dict[str, list[dict | str]] = {}
    exports: list[tuple[str, ChestFindings]] = []  # radiographs that are exported a second time
    number = 0  # number of the study
    for name, (language, share) in TABLES.items():
        tables[name] = []
        images = 0
        while images < round(total * share):
            number += 1
            images += _write_study(reporters[language], folder, number, name, tables[name], exports, written)
    for image, findings in exports:
        number += 1
        tables["reports_zh.csv"].append(_write_export(reporters["zh"], folder, image, findings, number))
        written.oddities.append((tables["reports_zh.csv"][-1]["image"], "near_duplicate"))
    plant_faults(np.random.default_rng([seed, 4, 2]), folder, tables, number, written)
    for name, rows in tables.items():
        if name.endswith(".jsonl"):
            lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        else:
            (folder / name).write_bytes(format_csv(rows).encode("gbk" if "gbk" in name else "utf-8-sig"))
    counts = dict.fromkeys(reporters, 0)
    for name, rows in tables.items():
        counts[TABLES[name][0]] += len(rows)
    image_files = len(list((folder / "images").iterdir()))
    written.summary = f"{counts['en']} rows in English, {counts['zh']} in Chinese, {image_files} images"
    return written


def format_csv(rows: list[dict]) -> str:
    """Return the table as CSV with the line ends of a spreadsheet program."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def _write_study(
    reporter: Reporter, folder: Path, number: int, table: str, rows: list, exports: list, written: Written
) -> int:
    """Draw one study, add its row or rows to `rows`, and return its number of images."""
    rng = reporter.rng
    findings = reporter.draw_findings()
    common = {"text": reporter.write_text(findings), "language": reporter.language, "study_id": f"S{number:04d}"}
    images = 2 if rng.random() < 0.12 else 1
    suffix = ".png" if rng.random() < 0.6 else ".jpg"
    names = []
    for index in range(1, images + 1):
        name = f"images/S{number:04d}_{index}{suffix}"
        picture = draw_chest(rng, findings).picture
        if number % PERIOD == DEEP:
            name = f"images/S{number:04d}_{index}.png"
            save_16_bit(picture, folder / name)
            written.oddities.append((name, "deep"))
        elif number % PERIOD == PHONE:
            name = f"images/S{number:04d}_{index}.jpg"
            save_phone_photograph(to_image(picture), folder / name, orientation=6)
            written.oddities += [(name, "turned"), (name, "place")]
        else:
            save_image(to_image(picture), folder / name)
            if (number % PERIOD, index, reporter.language) == (EXPORTED, 1, "en"):
                exports.append((name, findings))
        names.append(name)
    if images > 1 and table.endswith(".jsonl") and number % 2:
        rows.append({"images": names} | common)
    elif images > 1 and "gbk" in table:
        rows.append({"image": ";".join(names)} | common)
    else:
        rows += [{"image": name} | common for name in names]
    return images


def _write_export(reporter: Reporter, folder: Path, image: str, findings: ChestFindings, number: int) -> dict:
    """Export a radiograph again, brighter and in another file format, and return a row in another language."""
    suffix = ".jpg" if image.endswith(".png") else ".png"
    row = {"image": f"images/S{number:04d}_1{suffix}", "text": reporter.write_text(findings)}
    with Image.open(folder / image) as radiograph:
        save_image(brighten(radiograph), folder / row["image"])
    return row | {"language": reporter.language, "study_id": f"S{number:04d}"}
