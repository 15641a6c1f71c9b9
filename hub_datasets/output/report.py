"""Reports what was read and what became of it, in `report.json`, `rejections.jsonl` and `review.jsonl`.

Every number in the dataset card comes from the report.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hub_datasets.filesystem import hub_address, storage
from hub_datasets.ingest.catalog import Catalog
from hub_datasets.ingest.identifying import find_tokens
from hub_datasets.ingest.ingest import Stage
from hub_datasets.output.private_sources import hidden_columns, privacy_lines
from hub_datasets.output.tables import table_reports
from hub_datasets.output.targets import TargetStatistics, target_lines
from hub_datasets.privacy.publication import Publication
from hub_datasets.records import Ignored
from hub_datasets.schema import CONFIGS, SPLITS
from hub_datasets.splits.assignment import Decisions
from hub_datasets.splits.review import Review
from hub_datasets.texts.identifiers import find_identifiers

COUNTED = {  # the columns whose values are counted, by config
    "pairs": ("source_dataset", "language", "category", "license", "label", "modality", "body_part"),
    "chat": ("source_dataset", "language", "category", "license", "template_id", "context", "answer_type"),
    "regions": ("source_dataset", "category", "license"),
}
EXAMPLES = 3  # rejections that the report shows for each reason
REPLACEMENT = "replacement"  # where a flag is: the text that --review gives
IGNORED = 100  # passed-over files that it names for each source


class RowStatistics:
    """Counts rows as they are written: by split, by the values of some columns, and by text length.

    Args:
        configs: those that are written.
        classes: the names of the classes in the column `label`.
    """

    def __init__(self, configs: Sequence[str] = CONFIGS, classes: Sequence[str] = ()) -> None:
        self.configs = configs
        self.classes = classes
        self.rows: Counter[tuple[str, str]] = Counter()
        self.values: Counter[tuple[str, str, str, str]] = Counter()
        self.lengths: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
        self.targets = TargetStatistics()

    def add(self, config: str, split: str, columns: dict[str, Any]) -> None:
        self.rows[config, split] += 1
        if "ungrounded" in columns:  # a row with texts
            self.targets.add(config, split, columns)
        for column in COUNTED[config]:
            value = columns[column]
            if column == "label":
                value = None if value is None else self.classes[value]
            if value:
                self.values[config, column, value, split] += 1
        if config == "regions":
            return
        if config == "pairs":
            said = len(columns["text"])
        else:
            said = sum(len(turn["content"]) for turn in columns["plain_messages"] if turn["role"] == "assistant")
        self.lengths[config, columns["language"]][said] += 1

    def written(self) -> list[str]:
        """Returns the configs that the dataset has; `regions` is not one of them if no source marks anything."""
        return [config for config in self.configs if config != "regions" or any(c == config for c, _ in self.rows)]

    def splits(self) -> dict[str, dict[str, int]]:
        """Returns the number of rows by config and split."""
        found = {config: {split: self.rows[config, split] for split in SPLITS} for config in self.written()}
        return {config: {split: rows for split, rows in parts.items() if rows} for config, parts in found.items()}

    def rows_by(self) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
        """Returns the number of rows by config, column, value and split."""
        counts: dict = {config: {column: {} for column in COUNTED[config]} for config in self.written()}
        for (config, column, value, split), number in sorted(self.values.items()):
            counts[config][column].setdefault(value, {})[split] = number
        return counts

    def texts(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Returns the lengths in characters of pairs' texts and of answers in `chat`, by config and language."""
        found: dict = {config: {} for config in self.written() if config != "regions"}
        for (config, language), lengths in sorted(self.lengths.items()):
            found[config][language] = spread(lengths) | {"histogram": histogram(lengths)}
        return found


def spread(values: Counter[int]) -> dict[str, int]:
    """Returns the minimum, median and maximum of counted values."""
    half, seen = (values.total() - 1) // 2, 0
    for value in sorted(values):
        seen += values[value]
        if seen > half:
            return {"min": min(values), "median": value, "max": max(values)}
    return {"min": 0, "median": 0, "max": 0}


def histogram(values: Counter[int], bins: int = 16) -> list[list[int]]:
    """Returns `[low, high, number]` of bins of equal width with round bounds; high is exclusive.

    The last bin is wider where the largest hundredth of the values would make all others narrow.
    """
    most, seen = max(values), 0
    for value in sorted(values):
        seen += values[value]
        if seen >= 0.99 * values.total():
            most = value
            break
    steps = (base * 10**power for power in range(20) for base in (1, 2, 5))
    width = next(step for step in steps if most // step - min(values) // step < bins)
    first = min(values) // width
    count = most // width - first + 1
    numbers: Counter[int] = Counter()
    for value, number in values.items():
        numbers[min(value // width - first, count - 1)] += number
    found = [[width * (first + n), width * (first + n + 1), numbers[n]] for n in range(count)]
    found[-1][1] = max(found[-1][1], max(values) + 1)
    return found


def is_shareable(stage: Stage) -> bool:
    """Returns whether the report, which is published, may name rows and files of a source."""
    return stage.source.redistributable or stage.synthetic


def source_report(decisions: Decisions, name: str, left_out: Mapping[int, Sequence[Ignored]]) -> dict[str, Any]:
    """Returns the report on one source: records read, accepted and rejected, in total and per folder.

    Args:
        left_out: captions that `rows.write_rows` left out, by stage.

    Raises AssertionError if a record was lost.
    """
    numbers = decisions.sources[name]
    stages = [decisions.stages[number] for number in numbers]
    folders = [folder_report(decisions, number, left_out.get(number, ())) for number in numbers]
    examples: dict[str, list[dict[str, str]]] = defaultdict(list)
    passed_over: list[str] = []
    for stage, folder in zip(stages, folders, strict=True):
        if is_shareable(stage):
            passed_over += folder.passed_over
            for code, named in folder.examples.items():
                examples[code] += named
    rejected = sum((folder.rejected for folder in folders), Counter())
    source = stages[0].source
    found = {
        "kind": source.kind,
        "flag": source.flag,
        "title": source.title,
        "homepage": source.homepage,
        "licence": source.licence,
        "redistributable": source.redistributable,
        "citation": source.citation,
        "bibtex": source.bibtex,
        "synthetic": all(stage.synthetic for stage in stages),
        "read": sum(folder.read for folder in folders),
        "accepted": sum(folder.accepted for folder in folders),
        "rejected": {str(code): rejected[code] for code in sorted(rejected)},
        "examples": {str(code): named[:EXAMPLES] for code, named in sorted(examples.items())},
        "images": decisions.count_images(numbers),
        "patients": decisions.count_keys(numbers, "patient"),
        "tables": table_reports(stages, is_shareable),
        "ignored": passed_over[:IGNORED],
        "ignored_count": sum(len(folder.passed_over) for folder in folders),
    }
    commits = dict(hub_address.split_commit(storage.shareable(stage.folder.address)) for stage in stages)
    if any(commits.values()):
        found["hub_commits"] = {address: commit for address, commit in commits.items() if commit}
    if len(stages) > 1:
        found["folders"] = {
            decisions.publication.label(name, stage.folder.label): {
                "synthetic": stage.synthetic,
                "read": folder.read,
                "accepted": folder.accepted,
                "rejected": {str(code): folder.rejected[code] for code in sorted(folder.rejected)},
                "images": decisions.count_images([number]),
                "ignored_count": len(folder.passed_over),
            }
            for number, stage, folder in zip(numbers, stages, folders, strict=True)
        }
    return found


@dataclass(frozen=True, slots=True)
class FolderReport:
    """The report on one folder: numbers, the first rejections per reason, and what was passed over."""

    read: int
    accepted: int
    rejected: Counter[str]
    examples: dict[str, list[dict[str, str]]]
    passed_over: list[str]


def folder_report(decisions: Decisions, number: int, left_out: Iterable[Ignored]) -> FolderReport:
    """Returns the report on one folder. Raises AssertionError if a record was lost."""
    stage = decisions.stages[number]
    catalog = Catalog(stage.catalog)
    read = catalog.count_read()
    passed_over = [f"{stage.folder.labeled(item)}: {why}" for item, why in catalog.ignored()]
    passed_over += [f"{one.item}: {one.why}" for one in left_out]
    catalog.close()
    rejected: Counter[str] = Counter()
    examples: dict[str, list[dict[str, str]]] = defaultdict(list)
    for rejection in decisions.rejections(number):
        rejected[rejection.code] += 1
        if len(examples[rejection.code]) < EXAMPLES:
            examples[rejection.code].append({"item": rejection.item, "message": rejection.message})
    accepted = decisions.count("accepted", number)
    if accepted + rejected.total() != read:
        place = f"{stage.source.name} {stage.folder.label}".rstrip()
        raise AssertionError(f"{place}: accepted and rejected do not add up to the records read")
    return FolderReport(read, accepted, rejected, examples, passed_over)


def image_report(decisions: Decisions) -> dict[str, Any]:
    """Returns the number, formats and sizes of the distinct accepted pictures, and what was removed from them."""
    columns = ("format", "width", "height", "length", "window", "stripped")
    formats, widths, heights, stripped = (Counter() for _ in range(4))
    count = total = windowed = 0
    query = f"SELECT {', '.join(columns)} FROM accepted GROUP BY first_key"
    for format, width, height, length, window, removed in decisions.database.execute(query):
        count += 1
        total += length
        windowed += bool(window)
        formats[format] += 1
        widths[width] += 1
        heights[height] += 1
        stripped.update(json.loads(removed))
    sizes = {"width": spread(widths), "height": spread(heights)}
    found = {"count": count, "bytes": total, "formats": dict(sorted(formats.items())), **sizes}
    return found | {"windowed": windowed, "stripped": dict(sorted(stripped.items()))}


def write_rejections(path: Path, decisions: Decisions) -> None:
    """Writes one line of JSON per rejection, in the order in which the records were read."""
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:  # a name may not be UTF-8
        for number in range(len(decisions.stages)):
            for rejection in decisions.rejections(number):
                file.write(json.dumps(asdict(rejection), ensure_ascii=False) + "\n")


def write_review(path: Path, decisions: Decisions, ocr: bool, review: Review | None = None) -> dict[str, Any]:
    """Writes one line of JSON per flag for a person to review before the data is shared; returns the counts.

    Flags of rejected records are among them: their files are still in the source's folder. A flag that `--review`
    decides about has a `decision`. Of a replaced text, the new one is searched, too.
    """
    review = review or Review()
    kinds: Counter[str] = Counter()
    unreviewed = 0
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for source, item, where, kind, detail in all_flags(decisions, review):
            kinds[kind] += 1
            line = {"source": source, "item": item, "in": where, "kind": kind, "detail": detail}
            if decision := "" if where == REPLACEMENT else review.of_flag(source, item, where):
                line["decision"] = decision
            unreviewed += not decision
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    counts = {"rows": kinds.total(), "flags": dict(sorted(kinds.items())), "file": path.name, "ocr": ocr}
    return counts | {"unreviewed": unreviewed} | review.counts()


def all_flags(decisions: Decisions, review: Review) -> Iterator[tuple[str, str, str, str, str]]:
    """Yields (source, item or image, where, kind, detail) of the flags of all stages and of replaced texts."""
    for stage in decisions.stages:
        for flag in stage_flags(stage, decisions.publication):
            yield stage.source.name, *flag
    for (source, item), text in review.replaced.items():
        for flag in (*find_identifiers(text), *find_tokens(text)):
            yield source, item, REPLACEMENT, flag.kind, flag.detail


def stage_flags(stage: Stage, publication: Publication) -> Iterator[tuple[str, str, str, str]]:
    """Yields (item or image, where, kind, detail) of the flags of a folder's rows."""
    catalog = Catalog(stage.catalog)
    for item, *rest in catalog.flags(hidden_columns(stage, publication)):
        yield stage.folder.labeled(item), *rest
    catalog.close()


def duplicate_report(decisions: Decisions, near: dict[str, int]) -> dict[str, Any]:
    """Returns the number of rejected copies per source, and the numbers of near-duplicates."""
    query = """SELECT stage, count(*) FROM rejections WHERE code IN ('duplicate_image', 'duplicate_row')
        GROUP BY stage ORDER BY stage"""
    exact: Counter[str] = Counter()
    for number, count in decisions.database.execute(query):
        exact[decisions.stages[number].source.name] += count
    return {"exact": dict(exact), "near": near}


def summary(report: dict[str, Any], folders: Mapping[str, str] | None = None) -> str:
    """Returns the report as readable lines: one per source, one per config, and warnings.

    Args:
        folders: the names of folders of which the report, which is published, has hashes only.
    """
    folders = folders or {}
    lines = []
    for name, counts in report["sources"].items():
        reasons = ", ".join(f"{code} {number:,}" for code, number in counts["rejected"].items())
        ignored = counts["ignored_count"]
        lines.append(
            f"{name}: read {counts['read']:,}, accepted {counts['accepted']:,}"
            + f" ({reasons})" * bool(reasons)
            + f"; ignored {ignored:,}" * bool(ignored)
        )
        lines += [
            f"  {folders.get(label, label)}: read {folder['read']:,}, accepted {folder['accepted']:,}"
            for label, folder in counts.get("folders", {}).items()
        ]
    for config, splits in report["splits"].items():
        lines.append(f"{config}: " + ", ".join(f"{split} {rows:,}" for split, rows in splits.items()))
    lines += target_lines(report["targets"])
    if report["leakage"].get("split_by") != "official":
        warned = defaultdict(list)
        for name, counts in report["sources"].items():
            warned[counts.get("guarantee", {}).get("warning", "")].append(name)
        lines += [f"{', '.join(names)}: {warning}" for warning, names in warned.items() if warning]
    near = report["duplicates"]["near"]
    if near["clusters"]:
        lines.append(f"near-duplicates: {near['images']:,} images in {near['clusters']:,} clusters, kept together")
    for gap in report["coverage"]:
        place = f"{gap['source']} ({gap['language']})"
        lines.append(f"no rows of {place} in {', '.join(gap['missing'])}: {gap['why']} ({gap['groups']:,})")
    if moved := report["moved"]:
        lines.append(f"{moved:,} groups changed their split, because new rows connect groups of different splits:")
        for group in report.get("moved_groups", ())[:3]:
            rows = f" ({', '.join(group['rows'])})" if group["rows"] else ""
            lines.append(f"  {group['group']} is in {group['split']} now: {group['why']}{rows}")
        lines.append("  all of them, with the rows that connect them, are in moved.jsonl")
    for kind, number in report["leakage"]["leaks"].items():
        if number:
            lines.append(f"LEAK: {number:,} {kind.replace('_', ' ')} in more than one split")
    for name, leak in report["leakage"]["official"].items():
        if leak["images_in_several_files"]:
            several, images = leak["images_in_several_files"], leak["images"]
            lines.append(f"{name}: its official splits share {several:,} of {images:,} images")
    for name, number in report.get("labels_left_out", {}).items():
        lines.append(f"{name}: {number:,} different labels are too many to be classes; the column label is empty")
    lines += report.get("idle_flags", ())
    if flags := report["review"]["flags"]:
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in flags.items())
        lines.append(f"to review before sharing ({report['review']['file']}): {kinds}")
    if decided := report["review"].get("decisions"):
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in decided.items())
        lines.append(f"--review: {kinds}; {report['review']['unreviewed']:,} flags are not reviewed")
        if idle := report["review"]["idle"]:
            lines.append(f"--review: {idle:,} decisions have no effect: their rows are not flagged, or rejected anyway")
    lines += privacy_lines(report)
    if numbered := report.get("numbered_categories"):
        categories = "1 category is" if numbered == 1 else f"{numbered:,} categories are"
        lines.append(
            f"{categories} numbered in the card's pictures, because no installed font has their characters; "
            "for Chinese: pip install 'medpairs[zh]'"
        )
    return "\n".join(lines)
