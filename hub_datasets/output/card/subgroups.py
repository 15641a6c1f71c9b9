"""Counts the rows of subgroups of patients: sex, age band, skin type and body part, where the sources say them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from hub_datasets.records import RawRecord
from hub_datasets.schema import SPLITS

# The fields of sources' metadata that say it, in small letters.
SEX = ("sex", "gender", "patientsex", "patient_sex", "性别")
AGE = ("age", "patientage", "patient_age", "age_approx", "年龄")
SKIN = ("fitspatrick", "fitzpatrick", "fitzpatrick_skin_type", "skin_type")
SEXES = {"female": "female", "f": "female", "woman": "female", "女": "female", "女性": "female",
         "male": "male", "m": "male", "man": "male", "男": "male", "男性": "male"}  # fmt: skip
BANDS = ((20, "under 20"), (40, "20 to 39"), (60, "40 to 59"), (80, "60 to 79"), (math.inf, "80 and over"))
OLDEST = 130  # years; a larger number is something else
KINDS = ("sex", "age", "skin_type", "body_part")
UNKNOWN = "unknown"
MOST = 20  # values of a kind that the report names, those with the most rows
OTHERS = "all others"


class Subgroups:
    """Counts rows of the config `pairs` by source, kind of subgroup, value and split."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], Counter[tuple[str, str]]] = {}

    def add(self, record: RawRecord, split: str) -> None:
        """Counts a row by the metadata of its (first) record."""
        for kind, value in subgroups_of(record).items():
            self.counts.setdefault((record.source, kind), Counter())[value, split] += 1

    def found(self) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
        """Returns the rows by source, kind, value and split; a kind that a source never says is left out."""
        report: dict = {}
        for (source, kind), counts in sorted(self.counts.items(), key=lambda one: (one[0][0], KINDS.index(one[0][1]))):
            totals: Counter[str] = Counter()
            for (value, _), number in counts.items():
                totals[value] += number
            if set(totals) == {UNKNOWN}:
                continue
            named = sorted((value for value in totals if value != UNKNOWN), key=lambda value: (-totals[value], value))
            kept = set(named[:MOST])
            order = [value for _, value in BANDS if value in kept] if kind == "age" else []
            order += [value for value in (named[:MOST] if kind == "body_part" else sorted(kept)) if value not in order]
            order += [OTHERS] * (len(named) > MOST) + [UNKNOWN] * (UNKNOWN in totals)
            by_value: dict[str, Counter[str]] = {value: Counter() for value in order}
            for (value, split), number in counts.items():
                by_value[value if value in by_value else OTHERS][split] += number
            report.setdefault(source, {})[kind] = {
                value: {split: by_split[split] for split in SPLITS if by_split[split]}
                for value, by_split in by_value.items()
            }
        return report


def subgroups_of(record: RawRecord) -> dict[str, str]:
    """Returns the value of each kind of subgroup for a record, `unknown` where it does not say it."""
    fields = {str(key).strip().casefold(): value for key, value in record.metadata.items()}
    return {
        "sex": SEXES.get(str(first(fields, SEX)).strip().casefold(), UNKNOWN),
        "age": age_band(first(fields, AGE)),
        "skin_type": skin_type(first(fields, SKIN)),
        "body_part": record.body_part or UNKNOWN,
    }


def first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Returns the first of the named fields that has a value; empty if there is none."""
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), "")


def age_band(value: Any) -> str:
    """Returns the band of an age in years: a number, or a text such as `55`, `55.0`, `055Y` or `55岁`."""
    years = number_of(str(value).strip().removesuffix("岁").removesuffix("Y").removesuffix("y"))
    return UNKNOWN if years is None or years > OLDEST else next(band for limit, band in BANDS if years < limit)


def skin_type(value: Any) -> str:
    """Returns the Fitzpatrick type of a number from 1 to 6."""
    number = number_of(str(value).strip())
    return f"type {number:.0f}" if number in range(1, 7) else UNKNOWN


def number_of(text: str) -> float | None:
    """Returns a number that is not negative; None for any other text."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None
