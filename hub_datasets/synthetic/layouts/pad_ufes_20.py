"""Writes the layout of PAD-UFES-20: `metadata.csv` with one row per photograph, and the photographs in three folders.

The irregularities are those of the real dataset: lesions with several photographs, patients with several lesions, one
`lesion_id` that two patients share, clinical cells that are empty or `UNK`, both `BRAZIL` and `BRASIL`, numbers like
`2.0`, a diameter of 0.0, and PNG files with and without an alpha channel. A few photographs are stored as by a phone:
rotated, with the EXIF orientation that undoes it, and with a GPS position.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from hub_datasets.records import Reason
from hub_datasets.synthetic.drawings.skin import Lesion, draw_lesion
from hub_datasets.synthetic.layouts import Written, allocate, save_image
from hub_datasets.synthetic.layouts.file_faults import ROTATIONS, damage_file, save_phone_photograph

COLUMNS = (
    "patient_id", "lesion_id", "smoke", "drink", "background_father", "background_mother", "age", "pesticide", "gender",
    "skin_cancer_history", "cancer_history", "has_piped_water", "has_sewage_system", "fitspatrick", "region",
    "diameter_1", "diameter_2", "diagnostic", "itch", "grew", "hurt", "changed", "bleed", "elevation", "img_id",
    "biopsed",
)  # fmt: skip
# Columns that are filled only for some patients: `smoke` to `fitspatrick` without `age`, and the diameters.
CLINICAL = (*COLUMNS[2:6], *COLUMNS[7:14], "diameter_1", "diameter_2")
SHARES = {"BCC": 845, "ACK": 730, "NEV": 244, "SEK": 235, "SCC": 192, "MEL": 52}  # images in the real dataset
BIOPSIED = ("BCC", "MEL", "SCC")  # always biopsied; about a fifth of the others is
REGIONS = {
    "FACE": 570, "FOREARM": 392, "CHEST": 280, "BACK": 248, "ARM": 192, "NOSE": 158, "HAND": 126, "NECK": 93,
    "THIGH": 73, "EAR": 73, "ABDOMEN": 36, "LIP": 23, "SCALP": 18, "FOOT": 16,
}  # fmt: skip
COUNTRIES = ("POMERANIA", "GERMANY", "ITALY", "BRAZIL", "BRASIL", "PORTUGAL", "NETHERLANDS", "NORWAY")
COUNTRY_SHARES = (0.36, 0.26, 0.16, 0.07, 0.07, 0.04, 0.02, 0.02)
# Probability that a column is True, by diagnosis; "" is for all other diagnoses.
PROBABILITIES = {
    "itch": {"NEV": 0.2, "": 0.55},
    "grew": {"MEL": 0.7, "": 0.4},
    "hurt": {"": 0.2},
    "changed": {"MEL": 0.65, "": 0.2},
    "bleed": {"BCC": 0.4, "SCC": 0.45, "MEL": 0.3, "": 0.05},
    "elevation": {"ACK": 0.25, "NEV": 0.45, "": 0.65},
}
# Probability that a column is UNK.
UNKNOWN = {"itch": 0.01, "grew": 0.17, "hurt": 0.01, "changed": 0.17, "bleed": 0.01, "elevation": 0.01}
PHOTOGRAPHS = 200
MISSING = 3


def write(folder: Path, seed: int, scale: float) -> Written:
    """Write `metadata.csv` and `images/imgs_part_{1,2,3}/` below `folder`."""
    rng = np.random.default_rng([seed, 2])
    total = max(24, round(PHOTOGRAPHS * scale))
    rows, lesions = _draw_patients(rng, total + MISSING + 3)
    if total >= 60:
        _share_lesion_id(rows)
        _remove_diameters(rows)
    _name_images(rng, rows)

    order = rng.permutation(len(rows))
    places = rng.choice(len(rows) // 2, MISSING + 2 + len(ROTATIONS), replace=False).tolist()
    # The malformed row is identified only by its line number. It is in the last half, where this number is not the
    # beginning of another one.
    roles: dict[int, str] = dict.fromkeys(places[2 : MISSING + 2], "missing")
    roles |= {places[0]: "damaged", places[1]: "outside"}
    rotated = dict(zip(places[MISSING + 2 :], ROTATIONS, strict=True))
    roles[len(rows) // 2 + int(rng.integers(len(rows) // 2))] = "malformed"
    written = Written()
    lines = [",".join(COLUMNS)]
    for place, i in enumerate(order):
        row, role = rows[i], roles.get(place)
        path = folder / "images" / f"imgs_part_{_choose_part(row)}" / row["img_id"]
        if role in (None, "damaged"):
            image = _draw_photograph(lesions[i], np.random.default_rng([seed, 2, int(i)]))
            if place in rotated:
                save_phone_photograph(image, path, rotated[place])
                name = path.relative_to(folder).as_posix()
                written.oddities += [(name, "turned"), (name, "place")]
            else:
                save_image(image, path)
        if role == "damaged":
            damage_file(path)
            written.faults.append((row["img_id"], Reason.IMAGE_UNREADABLE))
        elif role == "missing":
            written.faults.append((row["img_id"], Reason.IMAGE_MISSING))
        elif role == "outside":
            row["img_id"] = "../../outside.png"
            written.faults.append((row["img_id"], Reason.IMAGE_OUTSIDE_ROOT))
        cells = [row[column] for column in COLUMNS]
        if role == "malformed":
            cells = cells[:14]
            written.faults.append((f"metadata.csv line {place + 2}", Reason.MALFORMED_ROW))
        lines.append(_format_csv_line(cells))
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")
    patients = len({row["patient_id"] for row in rows})
    written.summary = f"{len(rows)} rows of {patients} patients, {len(list(folder.glob('images/*/*.png')))} images"
    return written


def _draw_patients(rng: np.random.Generator, total: int) -> tuple[list[dict[str, str]], list[Lesion]]:
    """Return the rows and the lesions of `total` photographs, of about two patients per three photographs."""
    diagnoses = allocate(total, SHARES)
    rows: list[dict[str, str]] = []
    lesions: list[Lesion] = []
    numbers = iter(rng.permutation(np.arange(1, max(2200, 2 * total))))
    lesion_numbers = iter(rng.permutation(np.arange(1, max(5000, 3 * total))))
    while diagnoses:
        patient = _draw_patient(rng, int(next(numbers)))
        for _ in range(int(rng.choice([1, 2, 3], p=[0.78, 0.17, 0.05]))):
            if not diagnoses:
                break
            diagnosis = diagnoses[int(rng.integers(len(diagnoses)))]
            row, lesion = _draw_lesion_row(rng, patient, diagnosis, int(next(lesion_numbers)))
            for _ in range(int(rng.choice([1, 2, 3], p=[0.82, 0.14, 0.04]))):
                if diagnosis in diagnoses:
                    diagnoses.remove(diagnosis)
                    rows.append(dict(row))
                    lesions.append(lesion)
    return rows, lesions


def _draw_patient(rng: np.random.Generator, number: int) -> dict[str, str]:
    """Return the cells of a patient."""
    parents = [str(rng.choice(COUNTRIES, p=COUNTRY_SHARES)) if rng.random() > 0.06 else "UNK" for _ in range(2)]
    flags = ("smoke", "drink", "pesticide", "skin_cancer_history", "cancer_history", "has_piped_water")
    flags += ("has_sewage_system",)
    return {
        "patient_id": f"PAT_{number}",
        "background_father": parents[0],
        "background_mother": parents[1],
        "age": str(int(np.clip(rng.normal(60, 16), 6, 94))),
        "gender": str(rng.choice(["FEMALE", "MALE"])),
        "fitspatrick": f"{rng.choice([1, 2, 3, 4, 5, 6], p=[0.12, 0.42, 0.28, 0.10, 0.05, 0.03])}.0",
        **{flag: str(bool(rng.random() < 0.4)) for flag in flags},
    }


def _draw_lesion_row(
    rng: np.random.Generator, patient: dict, diagnosis: str, number: int
) -> tuple[dict[str, str], Lesion]:
    """Return the row of one lesion, without `img_id`, and the lesion with the same properties."""
    length = int(rng.choice([4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20]))
    # A nevus is nearly round; other lesions can be longer than wide.
    width = max(3, round(length * rng.uniform(0.9 if diagnosis == "NEV" else 0.55, 1.0)))
    region = str(rng.choice(list(REGIONS), p=np.sqrt(list(REGIONS.values())) / np.sqrt(list(REGIONS.values())).sum()))
    biopsied = diagnosis in BIOPSIED or rng.random() < 0.21
    answers = {}
    for column, probabilities in PROBABILITIES.items():
        true = rng.random() < probabilities.get(diagnosis, probabilities[""])
        answers[column] = "UNK" if rng.random() < UNKNOWN[column] else str(bool(true))
    row = {
        **patient,
        "lesion_id": str(number),
        "region": region,
        "diameter_1": f"{length}.0",
        "diameter_2": f"{width}.0",
        "diagnostic": diagnosis,
        **answers,
        "biopsed": str(biopsied),
    }
    visible = {column: answer == "True" for column, answer in answers.items()}
    lesion = Lesion(
        diagnosis=diagnosis,
        length_mm=length,
        width_mm=width,
        tone=int(float(patient["fitspatrick"])),
        region=region,
        age=int(patient["age"]),
        hairy=patient["gender"] == "MALE",
        elevated=visible["elevation"],
        bleeding=visible["bleed"],
        scratched=visible["itch"],
        sore=visible["hurt"],
        grown=visible["grew"],
        changed=visible["changed"],
        biopsied=biopsied,
        shape_seed=int(rng.integers(2**32)),
    )
    if not biopsied and rng.random() < 0.84:
        row.update(dict.fromkeys(CLINICAL, ""))
    return row, lesion


def _share_lesion_id(rows: list[dict[str, str]]) -> None:
    """Give a lesion of one patient the number of another patient's lesion, because `lesion_id` alone is not unique."""
    first = rows[0]
    other = next(row for row in rows if row["patient_id"] != first["patient_id"])
    old = other["lesion_id"]
    for row in rows:
        if row["lesion_id"] == old and row["patient_id"] == other["patient_id"]:
            row["lesion_id"] = first["lesion_id"]


def _remove_diameters(rows: list[dict[str, str]]) -> None:
    """Set the diameters of one lesion to 0.0, as for a lesion that was not measured."""
    first = next(row for row in reversed(rows) if row["diameter_1"])
    for row in rows:
        if (row["patient_id"], row["lesion_id"]) == (first["patient_id"], first["lesion_id"]):
            row["diameter_1"] = row["diameter_2"] = "0.0"


def _name_images(rng: np.random.Generator, rows: list[dict[str, str]]) -> None:
    """Set `img_id` of every row to PAT_<patient>_<lesion>_<random number>.png."""
    # The numbers are distinct and have three digits, so that no name is a part of another one.
    for row, number in zip(rows, rng.permutation(np.arange(100, 100 + max(900, len(rows)))), strict=False):
        row["img_id"] = f"{row['patient_id']}_{row['lesion_id']}_{number}.png"


def _choose_part(row: dict[str, str]) -> int:
    """Return the number of the folder, 1 to 3, that contains the photographs of the row's patient."""
    return int(row["patient_id"].removeprefix("PAT_")) % 3 + 1


def _draw_photograph(lesion: Lesion, rng: np.random.Generator) -> Image.Image:
    """Return a photograph of the lesion, not always square and not always without an alpha channel."""
    size = int(rng.choice([128, 144, 160, 176, 192]))
    image = draw_lesion(rng, lesion, size)
    if rng.random() < 0.12:
        image = image.crop((0, size // 16, size, size - size // 16))
    if rng.random() < 0.4:
        image.putalpha(255)
    return image


def _format_csv_line(cells: list[str]) -> str:
    """Return the cells as one line of CSV without a line end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
