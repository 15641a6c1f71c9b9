"""Generates the synthetic folders of four sources that the build benchmark reads.

Each picture is a few soft shapes under fine noise. Sizes and noise are chosen so that files take as long to decode as
real ones, about 3.6 ms on average: they have about as many bytes per pixel as the real files of their source (0.4 for a
knee, 1 to 1.6 for a lesion, 0.2 for a slice, 0.6 for a chest).
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

SHARES = {"knee": 0.35, "lesion": 0.25, "slice": 0.1, "chest": 0.3}  # about the shares of images in the public datasets
FLAGS = {"knee": "--knee_dir", "lesion": "--pad_ufes_dir", "slice": "--slake_dir", "chest": "--reports_dir"}
QUESTIONS = 22  # per slice, in both languages together
GRADES = ("Normal", "Doubtful", "Mild", "Moderate", "Severe")
DIAGNOSES = ("ACK", "BCC", "MEL", "NEV", "SCC", "SEK")
REGIONS = ("FACE", "ARM", "BACK", "CHEST", "NOSE", "FOOT")
LESION_HEADER = (  # the header of `metadata.csv`
    "patient_id,lesion_id,smoke,drink,background_father,background_mother,age,pesticide,gender,skin_cancer_history,"
    "cancer_history,has_piped_water,has_sewage_system,fitspatrick,region,diameter_1,diameter_2,diagnostic,itch,grew,"
    "hurt,changed,bleed,elevation,img_id,biopsed"
)
LESION_CELLS = {
    "smoke": "False", "drink": "False", "background_father": "POMERANIA", "background_mother": "BRAZIL",
    "pesticide": "False", "skin_cancer_history": "True", "cancer_history": "True", "has_piped_water": "True",
    "has_sewage_system": "True", "fitspatrick": "3.0", "itch": "True", "grew": "UNK", "hurt": "False",
    "changed": "UNK", "bleed": "False", "elevation": "True", "biopsed": "True",
}  # fmt: skip
AT_ONCE = 16  # images per task of a process
SMALL = 320  # pixels; large enough that 2,000 fill several row groups
TILE = 2048  # side of the noise image from which the noise of all pictures is cropped


@dataclass(frozen=True, slots=True)
class Drawn:
    """One image of a source: its kind, its path below the root folder, and its text."""

    kind: str
    path: str
    text: str


def draw(
    root: Path, counts: dict[str, int], small: bool = False, processes: int = 2, questions: int = QUESTIONS
) -> list[Drawn]:
    """Draws images of each kind into `root/KIND`, and writes the tables that their source requires.

    Args:
        root: the root folder.
        counts: number of images by kind.
        small: draw gray images of SMALL x SMALL pixels, for measurements in which only their number matters.
        processes: number of processes.
        questions: number of questions about a slice.
    """
    layouts = LAYOUTS | {"slice": partial(lay_out_slices, questions=questions)}
    drawn = [one for kind, count in counts.items() if count for one in layouts[kind](root / kind, count)]
    parts = [(str(root), drawn[start : start + AT_ONCE], start, small) for start in range(0, len(drawn), AT_ONCE)]
    for path in {(root / one.path).parent for one in drawn}:
        path.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(draw_some, parts))
    return drawn


def draw_some(part: tuple[str, list[Drawn], int, bool]) -> None:
    """Draws the images of one task in another process."""
    root, drawn, start, small = part
    noise = noise_tile()
    for number, one in enumerate(drawn, start):
        rng = np.random.default_rng([7, number])
        picture = small_picture(rng, noise) if small else PICTURES[one.kind](rng, noise)
        options = {"quality": 92} if one.path.endswith(".jpg") else {"compress_level": 1 if small else 3}
        picture.save(Path(root) / one.path, **options)


@cache
def noise_tile() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((TILE, TILE), dtype=np.float32)


def field(rng: np.random.Generator, width: int, height: int, detail: int = 9) -> np.ndarray:
    """Returns soft shapes, [height, width] float32 in about 0..255."""
    coarse = rng.uniform(0, 255, (detail, detail)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def grain(rng: np.random.Generator, noise: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns a random crop of the noise, [height, width] with mean 0 and standard deviation 1."""
    top, left = (int(rng.integers(0, TILE - side)) for side in (height, width))
    return noise[top : top + height, left : left + width]


def to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def knee_picture(rng: np.random.Generator, noise: np.ndarray) -> Image.Image:
    """Gray, 300 x 161 for one knee or up to 640 x 161 for both."""
    width = int(rng.integers(300, 330)) if rng.random() < 0.88 else int(rng.integers(560, 641))
    return Image.fromarray(to_bytes(field(rng, width, 161) + 1.7 * grain(rng, noise, width, 161)))


def lesion_picture(rng: np.random.Generator, noise: np.ndarray) -> Image.Image:
    """A photograph of 350 to 950 pixels; two of three have an opaque alpha channel."""
    side = int(rng.integers(350, 951))
    light = field(rng, side, side) + 1.6 * grain(rng, noise, side, side)
    colors = [0.6 * light + 0.3 * field(rng, side, side, 4) + 0.6 * grain(rng, noise, side, side) for _ in range(3)]
    if rng.random() < 0.65:
        colors.append(np.full((side, side), 255, np.float32))
    return Image.fromarray(np.stack([to_bytes(color) for color in colors], axis=-1))


def slice_picture(rng: np.random.Generator, noise: np.ndarray) -> Image.Image:
    """A slice like those of SLAKE: gray values in RGB, 512 or 1024 pixels."""
    side = 512 if rng.random() < 0.65 else 1024
    values = to_bytes(field(rng, side, side, 24) + 3 * grain(rng, noise, side, side))
    return Image.fromarray(values).convert("RGB")


def chest_picture(rng: np.random.Generator, noise: np.ndarray) -> Image.Image:
    """A chest film like those of OpenI: gray values in RGB, 512 pixels wide."""
    height = int(rng.integers(420, 565))
    values = to_bytes(field(rng, 512, height, 16) + 1.4 * grain(rng, noise, 512, height))
    return Image.fromarray(values).convert("RGB")


def small_picture(rng: np.random.Generator, noise: np.ndarray) -> Image.Image:
    return Image.fromarray(to_bytes(field(rng, SMALL, SMALL) + grain(rng, noise, SMALL, SMALL)))


def lay_out_knees(folder: Path, count: int) -> list[Drawn]:
    """Places the images in one folder per grade."""
    drawn = []
    for number in range(count):
        grade, name = number % len(GRADES), GRADES[number % len(GRADES)]
        path = f"knee/MedicalExpert-I/{grade}{name}/{name}G{grade} ({number}).png"
        drawn.append(Drawn("knee", path, f"Knee X-ray, Kellgren-Lawrence grade {grade}: {name.lower()}."))
    return drawn


def lay_out_lesions(folder: Path, count: int) -> list[Drawn]:
    """Writes `metadata.csv` for images of which each patient has two."""
    rows, drawn = [], []
    for number in range(count):
        patient, name = f"PAT_{number // 2}", f"PAT_{number // 2}_{number}_{number % 997}.png"
        cells = {
            "patient_id": patient, "lesion_id": str(number), "age": str(20 + number % 60), "img_id": name,
            "gender": "FEMALE", "region": REGIONS[number % len(REGIONS)], "diameter_1": f"{3 + number % 20}.0",
            "diameter_2": "5.0", "diagnostic": DIAGNOSES[number % len(DIAGNOSES)],
        }  # fmt: skip
        rows.append(LESION_CELLS | cells)
        text = f"Skin lesion, {cells['diagnostic']}, on the {cells['region'].lower()} of a person of {cells['age']}."
        drawn.append(Drawn("lesion", f"lesion/images/imgs_part_{1 + number % 3}/{name}", text))
    table = io.StringIO()
    writer = csv.DictWriter(table, LESION_HEADER.split(","), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write(folder / "metadata.csv", table.getvalue())
    return drawn


def lay_out_slices(folder: Path, count: int, questions: int = QUESTIONS) -> list[Drawn]:
    """Writes three JSON files with some questions per image, half of them in Chinese."""
    files: dict[str, list[dict]] = {"train.json": [], "validate.json": [], "test.json": []}
    drawn = []
    for image in range(count):
        path = f"imgs/xmlab{image}/source.jpg"
        drawn.append(Drawn("slice", f"slice/{path}", f"Slice {image}: where is the lesion? In region {image}."))
        for number in range(questions):
            chinese = number >= (questions + 1) // 2
            row = {
                "img_id": image, "img_name": path.removeprefix("imgs/"), "q_lang": "zh" if chinese else "en",
                "question": f"图中第{number}个器官是什么?" if chinese else f"What is organ {number} in this image?",
                "answer": f"肝脏{number}" if chinese else f"Liver, region {number}", "location": "Abdomen",
                "modality": "CT", "answer_type": "OPEN", "base_type": "vqa", "content_type": "Organ",
                "triple": ["vhead", "_", "_"],
            }  # fmt: skip
            files[list(files)[0 if image % 6 < 4 else image % 6 - 3]].append(row)
    qids = itertools.count()  # as in SLAKE, each file continues the one before
    for name, rows in files.items():
        for row in rows:
            row["qid"] = next(qids)
        write(folder / name, json.dumps(rows, ensure_ascii=False))
    return drawn


def lay_out_chests(folder: Path, count: int) -> list[Drawn]:
    """Writes one line of JSON per image, with two images per study."""
    lines, drawn = [], []
    for number in range(count):
        text = f"Heart size is normal. A nodule of {number % 30 + 1} mm lies in zone {number % 7}; study {number // 2}."
        row = {"image": f"images/{number}.png", "text": text, "language": "en", "study_id": f"S{number // 2}"}
        lines.append(json.dumps(row))
        drawn.append(Drawn("chest", f"chest/images/{number}.png", text))
    write(folder / "reports.jsonl", "\n".join(lines) + "\n")
    return drawn


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def lay_out_imagefolder(root: Path, folder: Path, drawn: list[Drawn]) -> None:
    """The same files once more, as links, in the layout of `datasets`' imagefolder.

    In no order of kinds: it gives each process one part of the files, and the parts shall be as hard as each other.
    """
    folder.mkdir()
    drawn = [drawn[place] for place in np.random.default_rng(0).permutation(len(drawn))]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("file_name", "text"))
    for number, one in enumerate(drawn):
        name = f"{number:06d}{Path(one.path).suffix}"
        os.link(root / one.path, folder / name)
        writer.writerow((name, one.text))
    write(folder / "metadata.csv", table.getvalue())


LAYOUTS: dict[str, Callable[[Path, int], list[Drawn]]] = {
    "knee": lay_out_knees, "lesion": lay_out_lesions, "slice": lay_out_slices, "chest": lay_out_chests,
}  # fmt: skip
PICTURES: dict[str, Callable[[np.random.Generator, np.ndarray], Image.Image]] = {
    "knee": knee_picture, "lesion": lesion_picture, "slice": slice_picture, "chest": chest_picture,
}  # fmt: skip
