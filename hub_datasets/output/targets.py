"""Counts what a model is trained to say: how often texts repeat, how categories are balanced, what no image shows."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from hub_datasets.schema import CONTEXTS, SPLITS
from hub_datasets.texts.grounding.audit import AUDITED
from hub_datasets.texts.identifiers import find_identifiers

CANDIDATES = 100
TEXTS = ("pairs", "chat")  # the configs with texts
SHOWN = 300  # characters of the most frequent text


@dataclass(slots=True)
class Variety:
    """The texts of one config, source and split, in 8 bytes a row.

    Attributes:
        hashes: of the text of each row.
        candidates: by hash, the text and a counter of texts that may be the most frequent one (Misra and Gries, 1982):
            a text of more than one in CANDIDATES rows is among them, however many texts there are.
    """

    hashes: array = field(default_factory=lambda: array("Q"))
    candidates: dict[int, list] = field(default_factory=dict)
    categories: Counter[str] = field(default_factory=Counter)

    def add(self, text: str, category: str) -> None:
        self.categories[category] += 1
        key = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
        self.hashes.append(key)
        if key in self.candidates:
            self.candidates[key][1] += 1
        elif len(self.candidates) < CANDIDATES:
            self.candidates[key] = [text, 1]
        else:
            for candidate in self.candidates.values():
                candidate[1] -= 1
            self.candidates = {other: known for other, known in self.candidates.items() if known[1]}

    def counted(self) -> tuple[int, int, str]:
        """Returns the number of distinct texts, the rows of the most frequent one, and that text if it is known."""
        import numpy as np

        values, counts = np.unique(np.frombuffer(self.hashes, np.uint64), return_counts=True)
        largest = int(counts.argmax())
        text, _ = self.candidates.get(int(values[largest]), ("", 0))
        return len(values), int(counts[largest]), text


class TargetStatistics:
    """Counts the targets of rows as they are written: texts of pairs, and all answers of a conversation as one."""

    def __init__(self) -> None:
        self.varieties: dict[tuple[str, str, str], Variety] = defaultdict(Variety)
        self.rows: Counter[tuple[str, str, str]] = Counter()  # config, source, language
        self.ungrounded: Counter[tuple[str, str, str]] = Counter()
        self.kinds: Counter[tuple[str, str, str, str]] = Counter()

    def add(self, config: str, split: str, columns: Mapping[str, Any]) -> None:
        place = (config, columns["source_dataset"], columns["language"])
        self.rows[place] += 1
        self.ungrounded[place] += bool(columns["ungrounded"])
        self.kinds.update((*place, kind) for kind in columns["ungrounded"])
        if columns.get("context", CONTEXTS[0]) != CONTEXTS[0]:
            return  # the second form of a conversation: the same answer is no repeat
        said = columns["text"] if config == "pairs" else "\n".join(answers(columns["plain_messages"]))
        self.varieties[config, columns["source_dataset"], split].add(said, columns["category"])


def answers(messages: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Yields the answers of a conversation."""
    return (turn["content"] for turn in messages if turn["role"] == "assistant")


def target_report(
    statistics: TargetStatistics, mode: str, settled: Mapping[tuple[str, str, str], int], closed: Iterable[str] = ()
) -> dict[str, Any]:
    """Returns the part `targets` of the report.

    Args:
        mode: the value of `--ungrounded`.
        settled: the result of `settle_targets`: records that were changed or rejected, by source, language and kind.
        closed: sources of which no text may be quoted.

    Returns:
        `ungrounded`: the mode; `rows`: by config, source and language the rows, those with a claim that no image shows,
        and the kinds; `settled`: records by source, language and kind that `strip` changed or rejected, or `reject`
        rejected; `variety`: by config, source and split the rows, distinct texts, repeats, the most frequent
        text with its count, and the rows per category; a conversation in two forms counts once.
    """
    rows: dict[str, Any] = {config: {} for config in TEXTS}
    for place, number in sorted(statistics.rows.items()):
        config, source, language = place
        kinds = {key[3]: count for key, count in sorted(statistics.kinds.items()) if key[:3] == place}
        found = {
            "rows": number,
            "audited": language in AUDITED,
            "ungrounded": statistics.ungrounded[place],
            "kinds": kinds,
        }
        rows[config].setdefault(source, {})[language] = found
    changed: dict[str, Any] = {}
    for (source, language, kind), number in sorted(settled.items()):
        changed.setdefault(source, {}).setdefault(language, {})[kind] = number
    variety: dict[str, Any] = {config: {} for config in TEXTS}
    for config, source, split in sorted(statistics.varieties, key=lambda key: (*key[:2], SPLITS.index(key[2]))):
        counted = variety_report(statistics.varieties[config, source, split], source in closed)
        variety[config].setdefault(source, {})[split] = counted
    return {"ungrounded": mode, "rows": rows, "settled": changed, "variety": variety}


def variety_report(found: Variety, closed: bool) -> dict[str, Any]:
    """Returns the numbers of one source and split.

    The most frequent text is left out if it occurs once, may be in less than 1 % of the rows, is flagged, or belongs to
    a source that must not be shared.
    """
    rows = len(found.hashes)
    distinct, largest, frequent = found.counted()
    text = "" if closed or largest < 2 or find_identifiers(frequent) else frequent[:SHOWN]
    return {
        "rows": rows,
        "distinct": distinct,
        "repeats": rows - distinct,
        "most_frequent": {"rows": largest, "text": text},
        "categories": dict(sorted(found.categories.items(), key=lambda item: (-item[1], item[0]))),
    }


def target_lines(targets: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of the printed summary: claims that no image shows, by config and source, and repeated texts."""
    for config, sources in targets["rows"].items():
        for source, languages in sources.items():
            for language, found in languages.items():
                if found["ungrounded"]:
                    kinds = ", ".join(f"{kind} {number:,}" for kind, number in found["kinds"].items())
                    place = f"{config}, {source} ({language})"
                    yield f"{place}: {found['ungrounded']:,} of {found['rows']:,} say what no image shows: {kinds}"
                if not found["audited"]:
                    rows = "1 row was" if found["rows"] == 1 else f"{found['rows']:,} rows were"
                    yield f"{config}, {source} ({language}): {rows} not audited for such claims"
    for source, languages in targets["settled"].items():
        for language, kinds in languages.items():
            said = ", ".join(f"{kind} {number:,}" for kind, number in kinds.items())
            yield f"--ungrounded {targets['ungrounded']}, {source} ({language}): records with {said}"
    for source, splits in targets["variety"].get("pairs", {}).items():
        rows, distinct = (sum(found[key] for found in splits.values()) for key in ("rows", "distinct"))
        if distinct * 2 <= rows:  # a text occurs twice on average
            yield f"{source}: the texts of its {rows:,} pairs repeat: {distinct:,} distinct ones, counted in each split"
