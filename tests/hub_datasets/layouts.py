"""Writes small folders in the layouts of the four sources, with images of noise that differ for every number."""

from __future__ import annotations

import csv
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from hub_datasets.records import RawRecord, Rejection

PAD_COLUMNS = (
    "patient_id", "lesion_id", "smoke", "drink", "background_father", "background_mother", "age", "pesticide",
    "gender", "skin_cancer_history", "cancer_history", "has_piped_water", "has_sewage_system", "fitspatrick", "region",
    "diameter_1", "diameter_2", "diagnostic", "itch", "grew", "hurt", "changed", "bleed", "elevation", "img_id",
    "biopsed",
)  # fmt: skip


def picture(number: int, mode: str = "RGB", size: tuple[int, int] = (12, 10)) -> Image.Image:
    """Returns an image of noise; the same number gives the same image."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(number).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.frombytes(mode, size, noise.tobytes())


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(number: int, **options) -> bytes:
    return encoded(picture(number, **options))


def jpeg(number: int, **options) -> bytes:
    return encoded(picture(number, **options), "JPEG")


def raw_png(width: int, height: int, depth: int, color: int, pixels: bytes = b"") -> bytes:
    """Returns a hand-made PNG for unusual headers; `depth` is in bits, `color` 0 is gray and 2 is RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def write_files(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def pad_row(number: int, **cells: str) -> dict[str, str]:
    """Returns a row like the real ones, for the image `PAT_<number>_<number>_1.png`."""
    row = dict.fromkeys(PAD_COLUMNS, "")
    row |= {"patient_id": f"PAT_{number}", "lesion_id": f"{number}", "age": "55", "region": "FACE", "biopsed": "True"}
    row |= {"diagnostic": "BCC", "img_id": f"PAT_{number}_{number}_1.png", "gender": "FEMALE", "fitspatrick": "2.0"}
    row |= {"diameter_1": "6.0", "diameter_2": "5.0", "itch": "True", "grew": "UNK", "bleed": "False"}
    return row | cells


def csv_text(rows: list[dict[str, str]], columns: tuple[str, ...] | None = None) -> str:
    table = io.StringIO()
    writer = csv.DictWriter(table, columns or tuple(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def write_pad(folder: Path, rows: list[dict[str, str]]) -> Path:
    """Writes the table and one image per row, in one of the three folders."""
    images = {f"images/imgs_part_{n % 3 + 1}/{row['img_id']}": png(1000 + n) for n, row in enumerate(rows)}
    return write_files(folder, {"metadata.csv": csv_text(rows, PAD_COLUMNS), **images})


def slake_row(qid: int, img_id: int, question: str, answer: str, **fields) -> dict:
    row = {"img_id": img_id, "img_name": f"xmlab{img_id}/source.jpg", "question": question, "answer": answer}
    row |= {"q_lang": "en", "location": "Lung", "modality": "X-Ray", "answer_type": "OPEN", "base_type": "vqa"}
    row |= {"content_type": "Organ", "triple": ["vhead", "_", "_"], "qid": qid}
    return row | fields


def write_slake(folder: Path, **rows: list[dict]) -> Path:
    """Writes `train`, `validate` and `test` with their rows, and every image that the rows refer to."""
    files = {f"{name}.json": json.dumps(part, ensure_ascii=False) for name, part in rows.items()}
    numbers = {row["img_id"] for part in rows.values() for row in part}
    return write_files(folder, files | {f"imgs/xmlab{n}/source.jpg": jpeg(2000 + n) for n in numbers})


def report_row(number: int, **fields) -> dict:
    row = {"image": f"images/{number}.png", "text": f"Chest X-ray {number}: no focal consolidation.", "language": "en"}
    return row | fields


def write_reports(folder: Path, rows: list, name: str = "reports.jsonl") -> Path:
    """Writes rows as JSON Lines, strings unchanged, and an image for each path in `images/`."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    names = [row["image"] for row in rows if isinstance(row, dict) and str(row.get("image")).startswith("images/")]
    return write_files(folder, {name: "\n".join(lines) + "\n"} | {n: png(3000 + i) for i, n in enumerate(names)})


def write_knee(folder: Path, copies: dict[str, int]) -> Path:
    """Writes images from a dictionary of their paths below the folder and their numbers."""
    return write_files(folder, {path: png(number, mode="L") for path, number in copies.items()})


def write_four_sources(folder: Path) -> dict[str, Path]:
    """Writes a few valid rows of each source and returns the folders by their flags."""
    knees = {f"MedicalExpert-{expert}/{grade} ({n}).png": 10 * k + n
             for k, grade in enumerate(("0Normal/NormalG0", "3Moderate/ModerateG3"))
             for expert in ("I", "II") for n in range(3)}  # fmt: skip
    questions = [slake_row(n, n // 3, f"Question {n}?", ("No", "42", "null", "true")[n % 4]) for n in range(9)]
    chinese = [slake_row(9 + n, n, f"问题 {n}?", "是", q_lang="zh") for n in range(3)]
    reports = [report_row(n, study_id=f"S{n // 2}") for n in range(8)]
    reports += [report_row(8 + n, text=f"胸片 {n}：双肺清晰，未见异常。", language="zh") for n in range(4)]
    return {
        "--knee_dir": write_knee(folder / "knee", knees),
        "--pad_ufes_dir": write_pad(folder / "pad", [pad_row(n) for n in range(8)]),
        "--slake_dir": write_slake(folder / "slake", train=questions, test=chinese),
        "--reports_dir": write_reports(folder / "reports", reports),
    }


def tree(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file below a folder by its relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def collect_records(found) -> list[RawRecord]:
    """Returns the items of a source as a list, all of which must be records."""
    found = list(found)
    assert all(isinstance(record, RawRecord) for record in found), found
    return found


def collect_rejections(found) -> dict[str, str]:
    """Returns the code of each rejection by its item."""
    return {rejection.item: str(rejection.code) for rejection in found if isinstance(rejection, Rejection)}
