"""Joins the records of all folders of a source, as if they were in one folder.

With several folders, the names of items and images start with the label of their folder, because the same path in two
folders is two images. A patient, study or lesion ID means the same patient, study or lesion in all folders, so that no
patient is in two splits. A study ID that occurs with several patients is a separate study for each of them. A
conversation never spans folders: two reports with the same text and number may belong to two patients.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hub_datasets.ingest.catalog import Catalog
from hub_datasets.ingest.ingest import Stage
from hub_datasets.records import RawRecord, Rejection
from hub_datasets.texts.patient_ids import note_study, own_study

# hash of the pixels, number of the stage, place in it, record, row of its image, the record in JSON if it is unchanged
Found = tuple[str | None, int, int, RawRecord, dict[str, Any], str | None]


def rejections(stages: Mapping[int, Stage]) -> Iterator[tuple[int, int, Rejection]]:
    """Yields (number of the stage, seq, rejection) of the records that were rejected while the folders were read."""
    for number, stage in stages.items():
        catalog = Catalog(stage.catalog)
        for seq, rejection in catalog.rejections():
            yield number, seq, replace(rejection, item=stage.folder.labeled(rejection.item))
        catalog.close()


def records_by_picture(stages: Mapping[int, Stage]) -> Iterator[Found]:
    """Yields the records with a usable image, sorted by picture, then by stage and seq.

    Args:
        stages: the stages of one source by their numbers, in order.
    """
    if len(stages) == 1:
        yield from merge_by_picture(stages)
        return
    patients: dict[str, set[str]] = defaultdict(set)
    for *_, record, _, _ in merge_by_picture(stages):
        note_study(record.groups, patients)
    for pixels, number, seq, record, image, _ in merge_by_picture(stages):
        label = stages[number].folder.labeled
        groups = own_study(record.groups, patients)
        named = replace(record, item=label(record.item), image=label(record.image), groups=groups)
        yield pixels, number, seq, named, image, None


def merge_by_picture(stages: Mapping[int, Stage]) -> Iterator[Found]:
    """Yields the unchanged records of all catalogs, sorted by picture."""
    return heapq.merge(*(in_stage(number, stage) for number, stage in stages.items()), key=lambda found: found[0] or "")


def in_stage(number: int, stage: Stage) -> Iterator[Found]:
    catalog = Catalog(stage.catalog)
    for pixels, *found in catalog.records_by_picture():
        yield pixels, number, *found
    catalog.close()
