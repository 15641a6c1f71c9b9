"""Adds broken rows to the tables of reports, with faults that occur in real tables, and rows with private data.

All of them are in the last half of their table, where their line number is not the beginning of another one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hub_datasets.records import Reason
from hub_datasets.synthetic.drawings.canvas import to_image
from hub_datasets.synthetic.drawings.chest import draw_chest
from hub_datasets.synthetic.layouts import Written, file_faults, save_image
from hub_datasets.synthetic.layouts.chest_findings import choose_findings
from hub_datasets.synthetic.layouts.report_texts import describe, describe_at_length

ENGLISH, CHINESE, GBK = "reports_en.jsonl", "reports_zh.csv", "reports_zh_gbk.csv"
TRUNCATED_LINE = '{"image": "images/S0001_1.png", "text": "No focal'
# Unassigned telephone numbers: 555-0142 is reserved for fiction, and no Chinese mobile number starts with 100.
PRIVATE = {
    ENGLISH: " Patient born 03/14/1951. Results telephoned to (555) 555-0142.",
    CHINESE: "患者出生日期：1951年3月14日，联系电话：10012345678。",
}


def plant_faults(
    rng: np.random.Generator, folder: Path, tables: dict[str, list], studies: int, written: Written
) -> None:
    """Add the rows to `tables`, write their images, and list them in `written`.

    Args:
        studies: the highest study number so far.
    """
    planted: list[tuple[str, dict | str, Reason | None]] = []

    def add(table: str, code: Reason | None, suffix: str = ".png", **changed: str) -> Path:
        number = f"S{studies + len(planted) + 1:04d}"
        findings = choose_findings(rng)
        language = "en" if table == ENGLISH else "zh"
        row = {"image": f"images/{number}_1{suffix}", "text": describe(rng, findings, language)}
        row |= {"language": language, "study_id": number} | changed
        image = to_image(draw_chest(rng, findings).picture)
        path = folder / row["image"]
        if "image" not in changed:
            save_image(image, path)
        if code is Reason.IMAGE_TOO_SMALL:
            file_faults.save_thumbnail(image, path)
        elif code is Reason.IMAGE_ANIMATED:
            file_faults.save_animation(image, path)
        elif code is Reason.IMAGE_TOO_LARGE:
            file_faults.save_scan(path)
        elif code is Reason.IMAGE_TRUNCATED:
            file_faults.truncate_file(path)
        elif code is Reason.TEXT_ENCODING:  # a degree sign that a wrong conversion has replaced
            row["text"] = f"Film taken at 45\ufffd of inclination. {row['text']}"
        elif code is Reason.TEXT_CONTROL_CHARACTERS:  # the form feed between two printed pages
            row["text"] = f"{row['text']}\f{row['text']}"
        elif code is None:
            row["text"] += PRIVATE[table]
        planted.append((table, row, code))
        return path

    add(ENGLISH, Reason.TEXT_EMPTY, text="")
    add(ENGLISH, Reason.TEXT_SHORT, text="ok")
    add(ENGLISH, Reason.TEXT_ENCODING)
    add(ENGLISH, Reason.IMAGE_MISSING, image="images/S0000_1.png")
    add(ENGLISH, Reason.IMAGE_OUTSIDE_ROOT, image="/etc/hostname")
    add(ENGLISH, Reason.IMAGE_TOO_LARGE)
    add(ENGLISH, Reason.IMAGE_TOO_SMALL)
    planted.append((ENGLISH, TRUNCATED_LINE, Reason.MALFORMED_ROW))
    add(CHINESE, Reason.TEXT_LONG, text=describe_at_length(rng, "zh", 8200))
    add(CHINESE, Reason.IMAGE_TRUNCATED, suffix=".jpg")
    add(CHINESE, Reason.TEXT_CONTROL_CHARACTERS)
    add(GBK, Reason.IMAGE_ANIMATED)
    add(ENGLISH, None)
    add(CHINESE, None)

    for table, row, _ in planted:
        members = tables[table]
        members.insert(int(rng.integers(len(members) // 2, len(members))), row)
    for table, row, code in planted:
        # Rows are compared by identity, because another row can have the same content.
        line = 1 + next(number for number, member in enumerate(tables[table]) if member is row)
        key = f"{table} line {line + (not table.endswith('.jsonl'))}"  # a CSV file has a header line
        if code:
            written.faults.append((key, code))
        else:
            written.oddities += [(key, "birth_date"), (key, "phone_number")]
