"""Chooses the pairs that the dataset card shows: one of each category of a source, the same in every build."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from hub_datasets.ingest.image_bytes import bytes_of
from hub_datasets.output.report import is_shareable
from hub_datasets.splits.assignment import Accepted

if TYPE_CHECKING:
    from model_cards.pictures.contact_sheet import Sample

EACH = 6  # pairs of each source that are held for the card, where it has fewer categories
MOST_CATEGORIES = 200  # of each source; of more, those that come first in the source

Held = tuple[str, str, str, Accepted]  # hash of the pixels, language, text, and the record


class Samples:
    """Holds the pair with the lowest hash of pixels in each category, and of a source with few categories more of them.

    Pictures that are flagged for review, texts with identifiers, and sources that must not be redistributed are left
    out.
    """

    def __init__(self) -> None:
        self.held: dict[str, dict[str, list[Held]]] = defaultdict(dict)  # by source and category

    def add(self, accepted: Accepted, columns: dict[str, Any]) -> None:
        """Considers a row of the config `pairs`."""
        from hub_datasets.texts.identifiers import find_identifiers

        record = accepted.record
        by_category = self.held[record.source]
        if record.category not in by_category and len(by_category) >= MOST_CATEGORIES:
            return
        one = (accepted.image["pixels"], record.language, columns["text"], accepted)
        found = by_category.get(record.category, [])
        if len(found) >= EACH and one[:3] >= found[-1][:3]:
            return
        if accepted.image["flags"] != "[]" or not is_shareable(accepted.stage) or find_identifiers(columns["text"]):
            return
        ordered = sorted([*found, one], key=lambda held: held[:3])
        pictures: dict[str, Held] = {}
        for held in ordered:  # a picture is shown once, with the first of its texts
            pictures.setdefault(held[0], held)
        by_category[record.category] = list(pictures.values())[:EACH]

    def chosen(self) -> list[Sample]:
        """Returns the samples: of each source first one of each category, then others until there are EACH."""
        from model_cards.pictures.contact_sheet import Sample

        chosen = []
        for by_category in self.held.values():
            turns = [found[place] for place in range(EACH) for found in by_category.values() if place < len(found)]
            for _, language, text, accepted in turns[: max(EACH, len(by_category))]:
                record = accepted.record
                data = bytes_of(accepted.stage, accepted.path, accepted.image)
                chosen.append(Sample(data, record.source, record.category, language, text))
        return chosen
