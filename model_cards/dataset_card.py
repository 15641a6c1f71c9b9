"""Writes the dataset card from the build's report: what was read, accepted and rejected, and why.

Every number on the card comes from the report. `hub_leaderboard.py` writes the file that makes the dataset a benchmark.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model_cards.card_update import contents, front_matter, merge_card, outside, set_front_matter, split_card
from model_cards.croissant import croissant
from model_cards.hub_leaderboard import write_benchmark
from model_cards.pictures.charts import categories, class_shares, funnel, split_order, split_shares, text_lengths
from model_cards.pictures.contact_sheet import Sample, choose, contact_sheet
from model_cards.pictures.fonts import labels
from model_cards.rendering import code, render_card
from model_cards.results import write_json, write_text
from model_cards.tables.dataset_tables import (
    FEW,
    bibtex_of,
    class_picture,
    class_tables,
    is_too_few,
    share,
    subgroup_rows,
)

__all__ = ["Sample", "write_dataset_card", "write_pictures"]

OWNED = ("configs", "dataset_info")  # keys that describe the files and their number of rows
TITLE = "Medical image-text pairs and chats"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
# The identifiers of common data licenses on the Hub; any other license is `other`.
HUB_LICENSES = {
    "apache-2.0", "mit", "cc", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "pddl",
    "odc-by", "odbl", "unknown",
}  # fmt: skip
TAGS = {
    "radiograph": ("radiology", "x-ray"),
    "skin_lesion": ("dermatology",),
    "question_answering": ("medical-vqa",),
    "report": ("medical-reports",),
    "image": ("labeled-images",),
}
KEYS = {
    "image": "image with identical pixels",
    "near_duplicate": "similar image, by perceptual hash",
    "scan": "two slices of one scan, by image number and correlation",
    "patient": "patient",
    "study": "study or report",
    "image_number": "image number of the source",
    "conversation": "conversation",
    "lesion": "lesion",
}
CONFIGS = {
    "pairs": "an image and a text about it",
    "chat": "the same images as conversations",
    "regions": "images with boxes and masks of what they show",
}
# What became of claims that no image shows, by the value of --ungrounded.
MODES = {
    "mark": "The column `ungrounded` names their kinds.",
    "keep": "They were only counted: the column `ungrounded` is empty.",
    "strip": "The sentences were taken out; the original text is in `metadata`.",
    "reject": "The records were rejected.",
}
VALUES_SHOWN = 40  # values of a column in a table of the card
CATEGORIES_SHOWN = 8  # in a cell of a table
TEXT_SHOWN = 200  # characters of a text below the contact sheet, and of an example


def write_dataset_card(
    folder: Path,
    report: dict,
    infos: dict,
    samples: Sequence[Sample],
    current: str | None = None,
    earlier: str | None = None,
) -> list[str]:
    """Writes `README.md`, `croissant.json`, and `eval.yaml` if there is a test split.

    `write_pictures` writes the pictures of the card. `load_dataset` and the viewer of the Hub read its YAML. The same
    input gives the same bytes.

    Args:
        folder: contains `{config}/{split}-*.parquet`.
        report: the `report.json` of the build.
        infos: `datasets.DatasetInfo` by config; their `download_size` is set to the size of the files.
        samples: rows of the dataset with their images, some of which are shown; without any, there is no contact sheet.
        current: the card of the build that is replaced; text written by people stays, see `card_update.py`.
        earlier: the text of the report of that build.

    Returns:
        notes about parts of the card that were not updated.

    Raises:
        ValueError: a part of the report is missing or invalid, or the front matter of the existing card is not YAML.
    """
    from datasets.info import DatasetInfosDict

    for config, info in infos.items():
        if size := sum(path.stat().st_size for path in (folder / config).glob("*.parquet")):  # 0: stored elsewhere
            info.download_size = size
    shown = choose(samples)
    try:
        data = card_data(report, list(infos))
        DatasetInfosDict(infos).to_dataset_card_data(data)
        card = render(data, report, shown)
        write_benchmark(folder / "eval.yaml", TITLE, report)
        described = croissant(TITLE, report, {config: info.features for config, info in infos.items()})
    except KeyError as error:
        raise ValueError(f"the report lacks {error}") from None
    text, notes = merge_dataset_card(current, card.content, earlier)
    write_text(folder / "README.md", text)
    write_json(folder / "croissant.json", described)
    return notes


def merge_dataset_card(
    current: str | None, fresh: str, earlier: str | None, blocks: Mapping[str, str] | None = None
) -> tuple[str, list[str]]:
    """Merges the card of a build into an existing one, see `merge_card`. Configs that a person added are kept.

    Args:
        current: the existing card, or None.
        fresh: the card of the build.
        earlier: the text of the report from which the existing card was written.
        blocks: see `merge_card`.
    """
    if current is not None:
        keys, fresh_keys = front_matter(current), front_matter(fresh)
        both = {key: with_other_configs(fresh_keys.get(key), keys.get(key)) for key in OWNED}
        fresh = set_front_matter(fresh, both)
    return merge_card(current, fresh, base=base_card(earlier), owned=OWNED, blocks=blocks)


def merge_pushed_card(current: str | None, local: str, report: dict, earlier: str | None) -> tuple[str, list[str]]:
    """The card to push: that of the build's folder, with what a person wrote into the one in the repository.

    Args:
        current: the card in the repository.
        local: the card in the folder.
        report: of the build in the folder.
        earlier: the text of the report in the repository.
    """
    plain = base_card(json.dumps(report)) or local
    blocks = contents(split_card(plain)[1]) | contents(split_card(local)[1])
    text, notes = merge_dataset_card(current, local, earlier, blocks)
    body, own, written = (outside(split_card(card)[1]) for card in (text, local, plain))
    if current is not None and own not in (body, written):
        notes.append("README.md was changed both here and in the repository: the text there stays")
    return text, notes


def check_card(card: str | None) -> None:
    """Raises ValueError for the card of a build that cannot be pushed: none, one that is not YAML, or lacks a key."""
    keys = front_matter(card or "")
    if missing := [key for key in OWNED if key not in keys]:
        raise ValueError(f"README.md lacks {' and '.join(missing)}, without which nothing loads; build again")


def base_card(report: str | None) -> str | None:
    """The card of an earlier build without what its rows say; None where its report is not like ours."""
    try:
        content = json.loads(report or "")
        return render(card_data(content, list(content["splits"])), content, ()).content
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def with_other_configs(ours: Any, theirs: Any) -> Any:
    """The entries of our configs, and those of configs that are not ours."""
    ours, theirs = (value if isinstance(value, list) else [value] if value else [] for value in (ours, theirs))
    names = {entry["config_name"] for entry in ours}
    return ours + [entry for entry in theirs if isinstance(entry, dict) and entry.get("config_name") not in names]


def write_pictures(folder: Path, report: Mapping, samples: Sequence[Sample]) -> int:
    """Writes the card's plots and contact sheet to `assets`.

    Returns:
        how many categories the pictures call by a number, because no font here can draw their names.

    Args:
        report: `report.json`, of which `sources`, `rows_by` and `texts` are needed.
        samples: those of `write_dataset_card`.

    Raises:
        ValueError: the report lacks a part.
    """
    shown = choose(samples)
    try:
        pictures = draw(report, shown)
    except KeyError as error:
        raise ValueError(f"the report lacks {error}") from None
    (folder / "assets").mkdir(exist_ok=True)
    for name, content in pictures.items():
        (folder / "assets" / name).write_bytes(content)
    return len(numbered(picture_labels(report, shown)))


def draw(report: Mapping, shown: Sequence[Sample]) -> dict[str, bytes]:
    """Draws the pictures; returns PNGs by file name."""
    by_category = report["rows_by"][main_config(report)]["category"]
    names = picture_labels(report, shown)
    pictures = {
        "funnel.png": funnel(report["sources"]),
        "splits.png": split_shares(report["rows_by"]),
        "categories.png": categories({name: sum(counts.values()) for name, counts in by_category.items()}, names),
        "text_lengths.png": text_lengths(report["texts"]),
    }
    for source, table in class_tables(report).items():
        pictures[class_picture(source)] = class_shares(source, table)
    return pictures | ({"contact_sheet.png": contact_sheet(shown, names)} if shown else {})


def main_config(report: Mapping) -> str:
    """Returns `pairs`, or `chat` for a dataset without it."""
    return "pairs" if "pairs" in report["rows_by"] else "chat"


def with_column(report: Mapping, column: str) -> list[str]:
    """Returns the configs whose rows are counted by a column, and have values in it."""
    return [config for config, columns in report["rows_by"].items() if columns.get(column)]


def picture_labels(report: Mapping, shown: Sequence[Sample]) -> dict[str, str]:
    """Returns the label of each category in pictures."""
    return labels({*report["rows_by"][main_config(report)]["category"], *(sample.category for sample in shown)})


def numbered(names: Mapping[str, str]) -> dict[str, str]:
    """Returns those labels of `picture_labels` that are numbers."""
    return {value: label for value, label in names.items() if value != label and value.strip()}


def card_data(report: Mapping, configs: Sequence[str]) -> Any:
    """Returns the YAML of the card, a `DatasetCardData`, without the description of the columns."""
    from huggingface_hub import DatasetCardData

    sources = report["sources"].values()
    synthetic = synthetic_parts(report)
    real = [source for source in sources if not source["synthetic"]]
    licenses = sorted({source["licence"].lower() for source in real})
    license_id = "apache-2.0" if not real else licenses[0] if len(licenses) == 1 else "other"
    # A source without a publication is original data of the user; any other one is derived from a published dataset.
    published = any(source["homepage"] or source["citation"] for source in real)
    own = bool(synthetic) or any(not (source["homepage"] or source["citation"]) for source in real)
    kinds = {tag: None for source in sources for tag in TAGS.get(source["kind"], ())}
    return DatasetCardData(
        pretty_name=TITLE,
        language=sorted(set(report["rows_by"][main_config(report)]["language"]) - {"und"}),  # which the Hub has not
        license=license_id if license_id in HUB_LICENSES else "other",
        size_categories=[size_category(max(sum(splits.values()) for splits in report["splits"].values()))],
        task_categories=["image-text-to-text", "visual-question-answering", "zero-shot-image-classification"],
        annotations_creators=["found"] * bool(real) + ["machine-generated"] * bool(synthetic),
        source_datasets=["original"] * own + ["extended|other"] * published,
        tags=["medical", "image-text", "medpairs", *kinds, *(["synthetic"] if not real else [])],
        configs=[config_yaml(config, report, default=config == main_config(report)) for config in configs],
    )


def synthetic_parts(report: Mapping) -> list[str]:
    """Returns the synthetic sources; if only some folders of a source are synthetic, these as `source/folder`."""
    names = []
    for name, source in report["sources"].items():
        folders = {"": source} if source["synthetic"] else source.get("folders", {})
        names += [f"{name}/{label}" if label else name for label, folder in folders.items() if folder["synthetic"]]
    return names


def config_yaml(config: str, report: Mapping, default: bool) -> dict:
    """Returns the part of the card's YAML that lists the files of a config.

    `load_dataset` identifies the cache of a folder by its last name and this YAML alone, not by the files. Without the
    fingerprint, it would return the rows of an earlier build, or of another folder with the same name.
    """
    files = [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in report["splits"][config]]
    content = {"config_name": config, "data_files": files, "description": f"fingerprint {report['fingerprint']}"}
    return content | ({"default": True} if default else {})


def size_category(rows: int) -> str:
    """Returns the size category of the Hub for a number of rows."""
    return next((word for limit, word in SIZES if rows < limit), "n>1M")


def render(data: Any, report: Mapping, shown: Sequence[Sample]) -> Any:
    """Renders the card, a `DatasetCard`, from its YAML and the report."""
    from huggingface_hub import DatasetCard

    sources = report["sources"].items()
    return render_card(
        DatasetCard,
        data,
        "dataset_card.md",
        title=TITLE,
        report=report,
        synthetic=synthetic_parts(report),
        all_synthetic=all(source["synthetic"] for _, source in sources),
        closed=[name for name, source in sources if not (source["redistributable"] or source["synthetic"])],
        splits=split_order(split for by_split in report["splits"].values() for split in by_split),
        leaks=sum(report["leakage"]["leaks"].values()),
        keys=KEYS,
        values=largest_values,
        balance=balance,
        modes=MODES,
        renamed=numbered(picture_labels(report, shown)),
        shown=shown,
        every_category=set(report["rows_by"][main_config(report)]["category"]) <= {one.category for one in shown},
        configs=CONFIGS,
        with_column=with_column,
        class_tables=class_tables,
        class_picture=class_picture,
        share=share,
        subgroups=subgroup_rows(report),
        is_too_few=is_too_few,
        few=FEW,
        bibtex=fenced(bibtex_of(report), "bibtex") if bibtex_of(report) else "",
        clipped=clipped,
        address=address,
        megabytes=megabytes,
        command=fenced(rebuild_command(report)),
    )


def largest_values(report: Mapping, column: str) -> tuple[list[tuple[str, dict[str, Mapping]]], int, int]:
    """Returns the values of a column, those with the most rows first.

    Returns:
        the first 40 values with their rows by config and split, the number of other values, and the number of rows of
        these.
    """
    tables = {config: columns[column] for config, columns in report["rows_by"].items() if column in columns}
    rows = {
        value: {config: tables[config].get(value, {}) for config in tables}
        for table in tables.values()
        for value in table
    }
    total = {value: sum(sum(counts.values()) for counts in by_config.values()) for value, by_config in rows.items()}
    ranked = sorted(rows, key=lambda value: (-total[value], value))
    rest = ranked[VALUES_SHOWN:]
    return [(value, rows[value]) for value in ranked[:VALUES_SHOWN]], len(rest), sum(total[value] for value in rest)


def balance(categories: Mapping[str, int]) -> str:
    """Returns the categories with their rows, those with the most first, and how many more there are."""
    named = [f"{name} {rows:,}" for name, rows in list(categories.items())[:CATEGORIES_SHOWN]]
    more = len(categories) - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more else "")


def rebuild_command(report: Mapping) -> str:
    """Returns the command that builds this dataset again, with placeholders for folders and all non-default settings.

    If the report has no `defaults` (the default value of each flag), all settings are included.
    """
    defaults = report.get("defaults", {})
    words = []
    for source in report["sources"].values():  # with several folders, their names are part of the rows
        names = [f"/{shlex.quote(label)}" for label in source.get("folders", ())] or [""]
        words += [f"{source['flag']} <folder>{name}" for name in names]
    for flag, value in report["settings"].items():
        if value in (None, False, "", []) or (flag in defaults and defaults[flag] == value):
            continue
        values = [] if value is True else value if isinstance(value, list | tuple) else [value]
        words.append(" ".join([f"--{flag}", *(shlex.quote(str(item)) for item in values)]))
    if report["review"].get("decisions"):
        words.append("--review <decisions.csv>")
    return " \\\n    ".join(["medpairs build", *words, "--output_dir <folder>"])


def fenced(text: str, language: str = "bash") -> str:
    """Returns a code block whose fence is longer than any run of backticks in the text."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def address(url: str) -> str:
    """Returns a URL as a link, and any other text as inline code."""
    plain = re.fullmatch(r"https?://[A-Za-z0-9.-]+(?::\d+)?(?:/[A-Za-z0-9._~/%?=&+,;:@-]*)?", url)
    return f"<{url}>" if plain else code(url)


def clipped(text: str, most: int = TEXT_SHOWN) -> str:
    """Returns the text in one line, truncated to `most` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def megabytes(size: int) -> str:
    """Formats a number of bytes as `12.35 MB` (10^6 bytes)."""
    return f"{size / 1e6:,.2f} MB"
