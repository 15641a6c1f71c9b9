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

from hub_datasets.ingest.catalog import Catalogue
from hub_datasets.ingest.ingest import Stage
from hub_datasets.records import RawRecord, Rejection
from hub_datasets.texts.patient_ids import note_study, own_study

# hash of the pixels, number of the stage, place in it, record, row of its image
Found = tuple[str | None, int, int, RawRecord, dict[str, Any]]


def rejections(stages: Mapping[int, Stage]) -> Iterator[tuple[int, int, Rejection]]:
    """Yields (number of the stage, place in it, rejection) of what was rejected while the folders were read."""
    for number, stage in stages.items():
        catalogue = Catalogue(stage.catalogue)
        for seq, rejection in catalogue.rejections():
            yield number, seq, replace(rejection, item=stage.folder.labeled(rejection.item))
        catalogue.close()


def records_by_picture(stages: Mapping[int, Stage]) -> Iterator[Found]:
    """Yields the records whose image can be used, sorted by picture, then by stage and by their place in it.

    Args:
        stages: those of one source by their numbers, in order.
    """
    if len(stages) == 1:
        yield from merged(stages)
        return
    patients: dict[str, set[str]] = defaultdict(set)
    for *_, record, _ in merged(stages):
        note_study(record.groups, patients)
    for pixels, number, seq, record, image in merged(stages):
        label = stages[number].folder.labeled
        groups = own_study(record.groups, patients)
        named = replace(record, item=label(record.item), image=label(record.image), groups=groups)
        yield pixels, number, seq, named, image


def merged(stages: Mapping[int, Stage]) -> Iterator[Found]:
    """The records of the catalogues as they are, all sorted by picture."""
    return heapq.merge(*(in_stage(number, stage) for number, stage in stages.items()), key=lambda found: found[0] or "")


def in_stage(number: int, stage: Stage) -> Iterator[Found]:
    catalogue = Catalogue(stage.catalogue)
    for pixels, *found in catalogue.records_by_picture():
        yield pixels, number, *found
    catalogue.close()
