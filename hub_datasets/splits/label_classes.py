"""Names the classes of the column `label`: those of each source, in an order that is the same in every build."""

from __future__ import annotations

from hub_datasets.ingest.catalog import to_json
from hub_datasets.records import RawRecord
from hub_datasets.schema import class_name
from hub_datasets.splits.assignment import IN_STAGES, Decisions

LABEL = RawRecord.__slots__.index("label")  # place in the JSON of a record
MOST_CLASSES = 1000  # of a source; more labels than this are IDs or texts


def label_classes(decisions: Decisions) -> tuple[list[str], dict[str, int]]:
    """Returns the names of all classes, and the number of labels of each source that has too many to be classes.

    The classes are sorted by source. Those of a source are its own list or, without one, the labels of its accepted
    records in alphabetical order.
    """
    names: list[str] = []
    too_many: dict[str, int] = {}
    for source, numbers in decisions.sources.items():
        labels = list(decisions.stages[numbers[0]].source.labels)
        query = f"SELECT DISTINCT record ->> ? FROM accepted WHERE {IN_STAGES} ORDER BY 1"  # noqa: S608 (a constant)
        found = {label for (label,) in decisions.database.execute(query, (LABEL, to_json(numbers))) if label}
        if labels and not found:  # nothing of this source has a label
            continue
        labels += sorted(found - set(labels))
        if len(labels) > MOST_CLASSES:
            too_many[source] = len(labels)
        else:
            names += [class_name(source, label) for label in labels]
    return names, too_many
