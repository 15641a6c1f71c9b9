"""Scores a model on groups of patients: by sex, age band, skin type, site, scanner and more, where they are known.

A mean over all patients can hide that a model fails for some. Small groups cannot show it: those with fewer than FEWEST
patients have their numbers of patients and rows, and no value. Groups stand in the order of their names and are never
ranked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.scoring.group_bootstrap import ratio_interval

FEWEST = 30  # patients
TOO_FEW = "too few to test"
AGES = (18, 40, 60, 80)  # the first age of each band but the first
MOST_METADATA = 100_000  # characters; longer metadata is not read
MOST_VALUES = 50  # of an attribute; one with more, for example a number per image, is not a group
# The keys of `metadata` that hold an attribute, in lower case without spaces, underscores and hyphens. The first that a
# row has is taken. PAD-UFES-20 spells skin type "fitspatrick".
KEYS = {
    "sex": ("sex", "gender", "patientsex", "性别"),
    "age": ("age", "patientage", "ageyears", "年龄"),
    "skin type": ("fitzpatrick", "fitspatrick", "fitzpatrickskintype", "skintype"),
    "site": ("site", "hospital", "institution", "institutionname", "center", "centre"),
    "scanner": ("scanner", "scannermodel", "manufacturermodelname", "manufacturer", "device"),
}
COLUMNS = {"modality": "modality", "body part": "body_part"}
SEXES = {"f": "female", "female": "female", "woman": "female", "女": "female",
         "m": "male", "male": "male", "man": "male", "男": "male"}  # fmt: skip
UNKNOWN = ("", "unk", "unknown", "none", "nan", "n/a", "na", "null", "?")


def attributes_of(rows: Any, places: Sequence[int] | None = None, single: bool = False) -> dict[str, list[str]]:
    """Returns the known attributes of rows: for each its value per row, "" where unknown.

    An attribute that is known of no row, or has more than MOST_VALUES values, is left out.

    Args:
        rows: a `datasets.Dataset` with `metadata`, JSON in a string, or with columns of their own.
        places: the rows to read (default: all).
        single: whether attributes are kept of which all rows have the same value. These have nothing to compare.
    """
    places = range(len(rows)) if places is None else places
    metadata = list(rows["metadata"]) if "metadata" in rows.column_names else [None] * len(rows)
    parsed = [read_metadata(metadata[row]) for row in places]
    direct = {simple(name): name for name in rows.column_names if name not in ("image", "images", "metadata")}
    found: dict[str, list[str]] = {}
    for attribute, keys in KEYS.items():
        columns = [list(rows[direct[key]]) for key in keys if key in direct]
        found[attribute] = [
            normalized(
                attribute, next(filter(known, [*(column[row] for column in columns), *map(values.get, keys)]), "")
            )
            for row, values in zip(places, parsed, strict=True)
        ]
    for attribute, name in COLUMNS.items():
        if name in rows.column_names:
            column = list(rows[name])
            found[attribute] = [normalized(attribute, column[row]) for row in places]
    fewest = 1 if single else 2
    return {name: values for name, values in found.items() if fewest <= len({*values} - {""}) <= MOST_VALUES}


def subgroup_scores(
    attributes: Mapping[str, Sequence[str]], values: Mapping[str, Sequence[float | None]], groups: Sequence[str]
) -> list[dict[str, Any]]:
    """Scores each group of each attribute.

    Args:
        attributes: for each [N] values, "" where unknown, see `attributes_of`.
        values: for each metric [N] scores of rows in 0..1, None where a row is not counted.
        groups: [N] the patient or scan of each row.

    Returns:
        one entry per attribute and group, in the order of their names, the rows whose group is unknown last:
        `attribute`, `group` ("unknown" for these), `patients`, `rows`, and `metrics`: for each metric `value`, `low`,
        `high`, `patients` and `rows`, or `note` and the two numbers if there are fewer than FEWEST patients.
    """
    names = np.asarray(groups, dtype=object).astype(str)
    entries = []
    for attribute, column in attributes.items():
        found = np.asarray(column, dtype=object).astype(str)
        for group in [*sorted({*found} - {""}, key=natural), ""]:
            chosen = found == group
            if not chosen.any():
                continue
            metrics = {name: share(scores, chosen, names) for name, scores in values.items()}
            entries.append(
                {
                    "attribute": attribute,
                    "group": group or "unknown",
                    "patients": len({*names[chosen]}),
                    "rows": int(chosen.sum()),
                    "metrics": {name: value for name, value in metrics.items() if value["rows"]},
                }
            )
    return entries


def share(scores: Sequence[float | None], chosen: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """Returns the mean of the counted rows among the chosen ones with its interval, or why there is none."""
    counted = chosen & np.array([score is not None for score in scores], dtype=bool)
    tops = np.array([0.0 if score is None else float(score) for score in scores])[counted]
    patients = len({*groups[counted]})
    sizes = {"patients": patients, "rows": int(counted.sum())}
    if patients < FEWEST:
        return sizes | {"note": TOO_FEW}
    low, high = ratio_interval(tops, np.ones(len(tops)), groups[counted]) or (None, None)
    return {"value": float(tops.mean()), "low": low, "high": high} | sizes


def read_metadata(text: Any) -> dict[str, Any]:
    """Returns the metadata of a row by simple keys; `{}` if it is not JSON of moderate size with an object."""
    if isinstance(text, dict):
        found = text
    elif not isinstance(text, str) or len(text) > MOST_METADATA:
        return {}
    else:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):  # not JSON, a number of too many digits, too deep
            return {}
    return {simple(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def simple(key: Any) -> str:
    return re.sub(r"[\s_-]+", "", str(key).lower())


def known(value: Any) -> bool:
    """Returns whether a value is a text or a number that says something."""
    return isinstance(value, str | int | float) and str(value).strip().lower() not in UNKNOWN


def normalized(attribute: str, value: Any) -> str:
    """Returns the group that a value belongs to, "" if it is not known."""
    text = str(value).strip().lower() if known(value) else ""
    if attribute == "sex":
        return SEXES.get(text, "")
    if attribute == "age":
        return age_band(text)
    if attribute == "skin type":  # Fitzpatrick I to VI; PAD-UFES-20 writes 4.0 and, for unknown, 0.0
        number = re.fullmatch(r"(?:type )?([1-6])(?:\.0+)?", text)
        return number[1] if number else {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6"}.get(text, "")
    return "".join(letter if letter.isprintable() else " " for letter in text[:80])


def age_band(text: str) -> str:
    """Returns the band of an age in years, for example `40 to 59`. DICOM's `045Y` and `006M` are read as well."""
    found = re.fullmatch(r"(\d{1,3})(?:\.\d+)?\s*(y|m|w|d|years?|岁)?", text)
    if not found:
        return ""
    years = 0 if found[2] in ("m", "w", "d") else int(found[1])
    if years > 130:
        return ""
    starts = (0, *AGES)
    place = max(number for number, start in enumerate(starts) if years >= start)
    if place == 0:
        return f"under {AGES[0]}"
    return f"{starts[place]} and over" if place == len(AGES) else f"{starts[place]} to {starts[place + 1] - 1}"


def natural(text: str) -> tuple:
    """Sorts `under 18` before `18 to 39` and `9` before `10`."""
    return not text.startswith("under "), [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part
    ]
