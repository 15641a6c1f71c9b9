"""Writes one page about a complete run: data, rejections, loss curves, predictions of the models and leaderboard.

Everything on it comes from files that the commands wrote. The page works without other files and without a network.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from model_cards.model_card import SUMMARY, losses_by_update
from model_cards.rendering import environment
from model_cards.results import NAMES, slug, write_text
from model_cards.tables.leaderboard_lines import table_lines
from model_cards.tables.reliance_tables import reliance_table, reliance_words

SPLITS = ("train", "validation", "test")
THUMBNAIL = 160  # pixels of the longer side
PER_SOURCE = 12  # images per source
SHOWN_ROWS = 12  # predictions per model
SHOWN_REJECTIONS = 40


def write_run_page(
    page: Path,
    data_dir: Path,
    model_dirs: dict[str, Path],
    results_dir: Path,
    predictions: dict[str, Path],
    cards: dict[str, str],
) -> None:
    """Writes `page`, and one page per card in the folder `cards` next to it.

    Args:
        page: the HTML file to write.
        data_dir: the folder of a build, with `report.json`, `rejections.jsonl` and its Parquet files.
        model_dirs: folders with a `training_summary.json`, by displayed name.
        results_dir: a folder with `leaderboard.json`.
        predictions: prediction files of `run_evaluation.py`, by displayed name.
        cards: the text of each card, by repository.
    """
    images = Thumbnails(data_dir)
    env = environment(html=True)
    card_files = {}
    for place, (repository, text) in enumerate(cards.items(), 1):
        card_files[repository] = f"cards/{place}-{slug(repository)}.html"
        card = env.get_template("card_page.html").render(title=repository, text=text, page=page.name)
        write_text(page.parent / card_files[repository], card)
    summaries = {name: read_json(folder / SUMMARY) for name, folder in model_dirs.items()}
    found, said = split_predictions(predictions)
    html = env.get_template("run_page.html").render(
        report=read_json(data_dir / "report.json"),
        sheets=images.contact_sheets(),
        rejections=read_lines(data_dir / "rejections.jsonl"),
        shown_rejections=SHOWN_REJECTIONS,
        curves={name: curve_svg(summary["history"]) for name, summary in summaries.items()},
        summaries=summaries,
        found={name: images.illustrated(spread(rows)) for name, rows in found.items()},
        said={name: images.illustrated(spread(rows)) for name, rows in said.items()},
        tables=read_json(results_dir / "leaderboard.json"),
        lines=table_lines,
        reliance=reliance_table,
        words=reliance_words,
        names=NAMES,
        cards=card_files,
    )
    write_text(page, html)


class Thumbnails:
    """Makes small copies of the images of a build, as data URLs for `<img src>`."""

    def __init__(self, data_dir: Path) -> None:
        from datasets import load_dataset

        # Loads the files and not the folder, for which `datasets` could return cached rows of an earlier build.
        files = [str(path) for split in SPLITS for path in sorted((data_dir / "pairs").glob(f"{split}-*.parquet"))]
        self.rows = load_dataset("parquet", data_files=files, split="train")
        self.index = {path: row for row, path in enumerate(self.rows["image_path"])}

    def contact_sheets(self) -> dict[str, list[dict]]:
        """Returns evenly spread rows of each source, each with `src`, `text` and `category`."""
        by_source: dict[str, list[int]] = defaultdict(list)
        for row, source in enumerate(self.rows["source_dataset"]):
            by_source[source].append(row)
        return {
            source: [self.describe(self.rows[row]) for row in spread(rows, PER_SOURCE)]
            for source, rows in by_source.items()
        }

    def illustrated(self, predictions: Iterable[dict]) -> list[dict]:
        """Adds the `src` of their image to predictions; those whose image is not in the build are omitted."""
        return [
            prediction | {"src": thumbnail(self.rows[self.index[prediction["image_path"]]]["image"])}
            for prediction in predictions
            if prediction["image_path"] in self.index
        ]

    @staticmethod
    def describe(row: dict) -> dict:
        return {"src": thumbnail(row["image"]), "text": row["text"], "category": row["category"]}


def thumbnail(image: Any) -> str:
    """Returns a data URL with a small JPEG."""
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def split_predictions(files: dict[str, Path]) -> tuple[dict[str, list[dict]], dict[str, list[dict]]]:
    """Splits predictions into those of encoders (retrieved texts) and of decoders (generated answers)."""
    found, said = {}, {}
    for name, file in files.items():
        rows = read_lines(file)
        (found if rows and "nearest" in rows[0] else said)[name] = rows
    return found, said


def spread(rows: list, count: int = SHOWN_ROWS) -> list:
    """Returns at most `count` of the rows, evenly spread."""
    if len(rows) <= count:
        return list(rows)
    return [rows[index * len(rows) // count] for index in range(count)]


def curve_svg(history: list[dict], width: int = 640, height: int = 220) -> dict:
    """Returns the parts of an SVG of the losses of a training.

    Args:
        history: the log of the training.
        width, height: size of the plot in SVG units.

    Returns:
        `lines`: the points of each polyline, `ends`: the final losses, `top`: the largest loss, `last`: the last
        update, and the size. Without any finite loss, there are no lines.
    """
    series = {
        name: [(entry["step"], entry[name]) for entry in losses_by_update(history) if is_measured(entry.get(name))]
        for name in ("loss", "eval_loss")
    }
    points = [point for line in series.values() for point in line]
    if not points:
        return {"lines": {}, "width": width, "height": height}
    top = max(value for _, value in points)
    last = max(step for step, _ in points) or 1

    def place(step: float, value: float) -> str:
        return f"{width * step / last:.1f},{height * (1 - value / top) if top else height:.1f}"

    lines = {name: " ".join(place(*point) for point in line) for name, line in series.items() if line}
    ends = {name: line[-1][1] for name, line in series.items() if line}
    return {"lines": lines, "ends": ends, "top": top, "last": last, "width": width, "height": height}


def is_measured(value: float | None) -> bool:
    """Returns whether a loss was logged and is finite; it can be NaN after a divergence."""
    return value is not None and math.isfinite(value)


def read_json(path: Path) -> Any:
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict]:
    """Reads a file with one JSON object per line."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
