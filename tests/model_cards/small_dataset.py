"""Writes a dataset of a few rows as a build does, with a report that has all parts the card reads."""

from __future__ import annotations

import copy
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from model_cards.dataset_card import write_dataset_card, write_pictures
from model_cards.pictures.contact_sheet import Sample

# source, category, language, split, text, turns of its conversation
ROWS = [
    ("knee_xray", "Normal", "en", "train", "Knee X-ray, grade 0.", "closed"),
    ("knee_xray", "Severe", "en", "train", "Knee X-ray, grade 4.", "closed"),
    ("knee_xray", "Severe", "en", "validation", "Knee X-ray, grade 4, again.", "closed"),
    ("knee_xray", "Normal", "en", "test", "Knee X-ray, grade 0, again.", "closed"),
    ("slake", "Lung", "en", "train", "CT image, lung. Is it healthy? No.", "closed"),
    ("slake", "肺部", "zh", "train", "CT图像，肺部。健康吗?不是。", "closed"),
    ("slake", "肺部", "zh", "test", "CT图像，肺部。有什么?肺炎。", "open"),
    ("medical_reports", "report", "en", "train", "The heart is normal in size.", "open"),
    ("medical_reports", "report", "en", "validation", "There is no pleural effusion.", "open"),
    ("medical_reports", "report", "zh", "test", "心影不大，双肺清晰。", "open"),
]
PUBLISHED = {
    "title": "A title",
    "homepage": "https://data.example/set/1",
    "licence": "CC-BY-4.0",
    "redistributable": True,
    "citation": "Somebody: A set. doi:10.1/abc",
    "synthetic": True,
    "bibtex": "@misc{somebody2021set,\n  title = {A set}\n}",
}
OWN = PUBLISHED | {"title": "Reports of one's own", "homepage": "", "licence": "unknown", "citation": "", "bibtex": ""}
FLAGS = {"knee_xray": "--knee_dir", "slake": "--slake_dir", "medical_reports": "--reports_dir"}
KINDS = {"knee_xray": "radiograph", "slake": "question_answering", "medical_reports": "report"}


def picture(number: int, size: tuple[int, int] = (48, 40)) -> bytes:
    """Returns a PNG whose pixels depend on the number."""
    image = Image.new("RGB", size, (40 * number % 256, 90, 160))
    ImageDraw.Draw(image).ellipse((4 + number, 4, 24 + number, 30), fill=(230, 220, 60))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def samples() -> list[Sample]:
    return [Sample(picture(place), row[0], row[1], row[2], row[4]) for place, row in enumerate(ROWS)]


def write_dataset(folder: Path) -> None:
    """Writes the rows, the report and the card."""
    infos = write_parquet(folder)
    (folder / "report.json").write_text(json.dumps(make_report()), encoding="utf-8")
    write_pictures(folder, make_report(), samples())
    write_dataset_card(folder, make_report(), infos, samples())


def write_card(folder: Path, dataset: Path, report: dict, samples: Sequence[Sample] = ()) -> str:
    """Writes the card of a dataset's rows with another report, and returns its text."""
    from datasets import get_dataset_config_info

    infos = {config: get_dataset_config_info(str(dataset), config) for config in ("pairs", "chat")}
    write_pictures(folder, report, samples)
    write_dataset_card(folder, report, infos, samples)
    return (folder / "README.md").read_text(encoding="utf-8")


def write_parquet(folder: Path) -> dict:
    """Writes `{config}/{split}-00000-of-00001.parquet` for both configs; returns their `DatasetInfo`."""
    from datasets import Dataset, DatasetInfo, Features, Image, List, SplitDict, SplitInfo, Value

    shared = ("source_dataset", "category", "language", "license", "group_id")
    columns = {name: Value("string") for name in shared}
    messages = List({"role": Value("string"), "content": Value("string")})
    asked = {name: Value("string") for name in ("template_id", "answer_type")}
    features = {
        "pairs": Features({"image": Image(), "text": Value("string"), **columns}),
        "chat": Features({"images": List(Image()), "messages": messages, **columns, **asked}),
    }
    infos = {}
    for config, kinds in features.items():
        splits = SplitDict()
        for split in ("train", "validation", "test"):
            rows = [row(config, place) for place, content in enumerate(ROWS) if content[3] == split]
            rows = [{name: content[name] for name in kinds} for content in rows]
            path = folder / config / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(exist_ok=True)
            Dataset.from_list(rows, features=kinds).to_parquet(path)
            splits.add(SplitInfo(split, num_bytes=1, num_examples=len(rows)))
        infos[config] = DatasetInfo(config_name=config, features=kinds, splits=splits, dataset_size=3)
    return infos


def row(config: str, place: int) -> dict:
    """One row, with the columns of both configs."""
    source, category, language, _, text, answer_type = ROWS[place]
    image = {"bytes": picture(place), "path": f"{place}.png"}
    messages = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": text}]
    content = {"image": image, "images": [image], "text": text, "messages": messages, "source_dataset": source}
    content |= {"category": category, "language": language, "answer_type": answer_type, "group_id": f"image:{place}"}
    return content | {"license": license_of(source), "template_id": f"{KINDS[source]}_{language}"}


def license_of(source: str) -> str:
    return "unknown" if source == "medical_reports" else "CC-BY-4.0"


def make_report() -> dict:
    """Returns the report of ROWS, with distinct numbers for everything that does not follow from the rows."""
    return copy.deepcopy(
        {
            "sources": {name: source_report(name, place) for place, name in enumerate(KINDS)},
            "splits": {config: dict(Counter(row[3] for row in ROWS)) for config in ("pairs", "chat")},
            "shards": {config: {"train": 1, "validation": 1, "test": 1} for config in ("pairs", "chat")},
            "rows_by": {config: rows_by(config) for config in ("pairs", "chat")},
            "groups": dict(Counter(row[3] for row in ROWS)),
            "coverage": [
                {"source": "slake", "language": "en", "groups": 1, "missing": ["validation", "test"], "why": "too few"}
            ],
            "leakage": {
                "split_by": "group",
                "checked": {"image": 31, "near_duplicate": 32, "patient": 33, "study": 34},
                "leaks": {"image": 0, "near_duplicate": 0, "patient": 0, "study": 0},
                "examples": [],
                "official": {},
            },
            "duplicates": {
                "exact": {"knee_xray": 41},
                "near": {"distance": 42, "pairs": 43, "clusters": 44, "largest": 45, "images": 46},
            },
            "review": {"rows": 51, "flags": {"phone_number": 52}, "file": "review.jsonl", "ocr": True},
            "images": {
                "count": 61,
                "bytes": 6_200_000,
                "formats": {"JPEG": 63, "PNG": 64},
                "width": {"min": 65, "median": 66.5, "max": 67},
                "height": {"min": 68, "median": 69, "max": 70},
                "windowed": 71,
                "stripped": {"EXIF": 72, "GPS": 73},
            },
            "texts": {
                config: {language: lengths(place) for place, language in enumerate(("en", "zh"))}
                for config in ("pairs", "chat")
            },
            "targets": targets(),
            "settings": {"val_fraction": 0.2, "test_fraction": 0.1, "window": "auto", "ocr": True, "system_prompt": ""},
            "fingerprint": "0123456789abcdef",
            "classes": ["knee_xray/Normal", "knee_xray/Severe"],
            "labels_left_out": {"medical_reports": 1_301},
            "bytes": {
                "pairs": {"files": 1_310_000, "unfolded": 1_320_000},
                "chat": {"files": 1_330_000, "unfolded": 1_340_000},
            },
            "baselines": [
                {
                    "source": "slake",
                    "language": "zh",
                    "split": "test",
                    "rule": "most frequent answer to the question",
                    "rows": 401,
                    "correct": 302,
                    "share": 0.753,
                    "low": 0.7086,
                    "high": 0.7926,
                },
            ],
            "subgroups": {"knee_xray": {"sex": {"female": {"train": 411, "test": 412}, "unknown": {"train": 413}}}},
        }
    )


def targets() -> dict:
    """Returns the part of the report about what texts say, of one source."""
    variety = {"rows": 105, "distinct": 106, "repeats": 21, "most_frequent": {"rows": 108, "text": "Often."}}
    variety["categories"] = {"Lung": 109, "Head": 110}
    claims = {"rows": 101, "audited": True, "ungrounded": 102, "kinds": {"age": 103}}
    return {
        "ungrounded": "mark",
        "rows": {"pairs": {"slake": {"en": claims}}},
        "settled": {"slake": {"en": {"sex": 104}}},
        "variety": {"pairs": {"slake": {"train": variety}}},
    }


def source_report(name: str, place: int) -> dict:
    """Returns the report of a source with consistent numbers, with records rejected for two reasons."""
    accepted = sum(row[0] == name for row in ROWS)
    base = OWN if name == "medical_reports" else PUBLISHED
    return base | {
        "kind": KINDS[name],
        "flag": FLAGS[name],
        "read": accepted + 4 + place,
        "accepted": accepted,
        "rejected": {"image_missing": 3, "text_empty": 1 + place},
        "examples": {"image_missing": [{"item": "rows.csv line 7 (a.png)", "message": "no file 'a.png'"}]},
        "images": 80 + place,
        "ignored": ["Thumbs.db: left by the operating system"],
        "ignored_count": 90 + place,
    }


def rows_by(config: str) -> dict[str, dict[str, dict[str, int]]]:
    columns = ["source_dataset", "language", "category", "license"]
    columns += ["template_id", "answer_type"] if config == "chat" else ["label"]
    counts: dict = {column: {} for column in columns}
    for place, content in enumerate(ROWS):
        for column in columns:
            value = row(config, place)[column] if column != "label" else f"{content[0]}/{content[1]}"
            if column == "label" and content[0] != "knee_xray":
                continue
            by_split = counts[column].setdefault(value, {})
            by_split[content[3]] = by_split.get(content[3], 0) + 1
    return counts


def lengths(place: int) -> dict:
    return {
        "min": 101 + place,
        "median": 111.5 + place,
        "max": 151 + place,
        "histogram": [[100, 120, 4], [120, 140, 0], [140, 160, 2 + place]],
    }
