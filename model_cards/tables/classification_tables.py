"""Lays out what a result has beside its headline: classification by an encoder, alignment, and groups of patients.

A value always stands with its 95 % interval and with the controls that do not look at the image. Groups with too few
patients have no value, and groups stand in the order of their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model_cards.rendering import aligned_table, number
from model_cards.results import EvaluationResult, is_number

METHODS = {
    "chance": "chance",
    "majority": "most frequent class",
    "metadata": "patient and site alone, no image",
    "base_zero_shot_en": "base model, English prompts",
    "base_zero_shot_zh": "base model, Chinese prompts",
    "base_linear_probe": "base model, linear probe",
    "base_ordinal_probe": "base model, ordinal probe",
    "zero_shot_en": "English prompts",
    "zero_shot_zh": "Chinese prompts",
    "linear_probe": "linear probe",
    "ordinal_probe": "ordinal probe",
    "head": "saved classifier",
}
METRICS = {
    "quadratic_kappa": "quadratic kappa",
    "balanced_accuracy": "balanced accuracy",
    "macro_auc": "AUC",
    "accuracy": "accuracy",
    "within_one": "off by one at most",
}
ALIGNMENT = {
    "matched_similarity": "similarity of matched pairs",
    "mismatched_similarity": "similarity of mismatched pairs",
    "matching_auc": "AUC of matched against mismatched (chance 0.5)",
    "modality_gap": "modality gap",
    "image_hubness": "hubness of images",
    "text_hubness": "hubness of texts",
    "ece": "calibration error",
    "brier": "Brier score",
    "base_rate_brier": "Brier score of the base rate alone",
}
GROUP_METRICS = {
    "image_to_text_recall_at_5": "own text among the first 5",
    "chance_image_to_text_recall_at_5": "the same by chance",
    "exact_match": "exact match",
    "question_prior_exact_match": "exact match, question prior",
    "accuracy_open": "open questions",
    "question_prior_accuracy_open": "open questions, question prior",
    "accuracy_closed": "closed questions",
    "question_prior_accuracy_closed": "closed questions, question prior",
    **METHODS,
}


def classification_tables(result: EvaluationResult) -> list[tuple[str, list[list[str]], list[str]]]:
    """Returns for each labeled source a title, a table with a line per method, and notes, without invalid parts."""
    found = []
    for source, entry in result.classification.items():
        methods = [method for method in listed(entry, "methods") if is_scored(method, "name") and method["metrics"]]
        metrics = [name for name in METRICS if any(name in method["metrics"] for method in methods)]
        if not metrics:
            continue
        lines = [["classified by", *(METRICS[name] for name in metrics)]]
        lines += [
            [title_of(method["name"]), *(with_interval(method["metrics"].get(name)) for name in metrics)]
            for method in methods
        ]
        kind = "grades" if entry.get("ordered") else "classes"
        sizes = f"{entry.get('images')} images, {entry.get('patients')} patients or scans"
        title = f"{source or 'labels'}: {len(listed(entry, 'classes'))} {kind}, {sizes}"
        notes = [f"{title_of(method['name'])}: {method['note']}" for method in methods if method.get("note")]
        found.append((title, lines, [*notes, *map(str, listed(entry, "notes")), *compared(entry)]))
    return found


def compared(entry: Mapping[str, Any]) -> list[str]:
    """Returns a sentence per method that says whether it is better than the metadata without the image, or the base."""
    said = []
    for difference in listed(entry, "differences"):
        if not is_scored(difference, "of", "to"):
            continue
        metric = next((name for name in METRICS if name in difference["metrics"]), None)
        if metric is None:
            continue
        value, low, high = difference["metrics"][metric]
        text = f"{title_of(difference['of'])} minus {title_of(difference['to'])}, {METRICS[metric]}: {value:+.3f}"
        if low is None or high is None:
            said.append(f"{text}; too few patients for an interval")
        else:
            word = "better" if low > 0 else "worse" if high < 0 else "not better, as far as these rows can tell"
            said.append(f"{text} [{low:+.3f}, {high:+.3f}]: {word}")
    return said


def title_of(method: str) -> str:
    return METHODS.get(method, method)


def listed(entry: Any, name: str) -> list:
    """Returns a list of an entry, `[]` if it has none."""
    found = entry.get(name) if isinstance(entry, Mapping) else None
    return found if isinstance(found, list) else []


def is_scored(entry: Any, *names: str) -> bool:
    """Returns whether an entry has these texts and `metrics`, each a value with two bounds, which may be None."""
    if not isinstance(entry, Mapping) or not all(isinstance(entry.get(name), str) for name in names):
        return False
    metrics = entry.get("metrics")
    return isinstance(metrics, Mapping) and all(
        isinstance(found, list)
        and len(found) == 3
        and is_number(found[0])
        and all(bound is None or is_number(bound) for bound in found[1:])
        for found in metrics.values()
    )


def alignment_table(result: EvaluationResult) -> list[list[str]]:
    """Returns the table of the alignment of images and texts; `[]` without it."""
    values = {name: result.alignment.get(name) for name in ALIGNMENT}
    lines = [[title, number(values[name])] for name, title in ALIGNMENT.items() if is_number(values[name])]
    return [["embeddings", "value"], *lines] if lines else []


def subgroup_table(result: EvaluationResult) -> list[list[str]]:
    """Returns the table of groups of patients, in the order of the record; `[]` if none is known.

    The groups of an attribute that are too small to test share a line, which names each with its number of patients.
    """
    entries = [entry for entry in result.subgroups if is_group(entry)]
    metrics = [name for name in GROUP_METRICS if any(name in entry["metrics"] for entry in entries)]
    if not metrics:
        return []
    lines = [["", "group", "patients", "rows", *(GROUP_METRICS[name] for name in metrics)]]
    for attribute in dict.fromkeys(entry["attribute"] for entry in entries):
        small = []
        for entry in (entry for entry in entries if entry["attribute"] == attribute):
            if not any(is_tested(found) for found in entry["metrics"].values()):
                small.append(entry)
                continue
            cells = [group_cell(entry["metrics"].get(name), entry["patients"]) for name in metrics]
            lines.append([attribute, entry["group"], number(entry["patients"]), number(entry["rows"]), *cells])
        if small:
            named = ", ".join(f"{entry['group']} ({entry['patients']:,})" for entry in small)
            # The note of the record, for example "too few to test".
            notes = [[entry["metrics"][name] for entry in small if name in entry["metrics"]] for name in metrics]
            cells = [group_cell({"note": first_note(found)} if found else None, 0) for found in notes]
            lines.append([attribute, named, number(None), number(sum(entry["rows"] for entry in small)), *cells])
    return lines


def first_note(found: Sequence[Any]) -> str:
    """Returns the first note of metrics without a value."""
    return next((one["note"] for one in found if isinstance(one, Mapping) and isinstance(one.get("note"), str)), "–")


def is_tested(found: Any) -> bool:
    """Returns whether a group is large enough for a value of a metric."""
    return isinstance(found, Mapping) and is_number(found.get("value"))


def is_group(entry: Any) -> bool:
    """Returns whether an element of `EvaluationResult.subgroups` has the fields that the table reads."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("metrics"), Mapping):
        return False
    texts = all(isinstance(entry.get(name), str) for name in ("attribute", "group"))
    return texts and all(is_number(entry.get(name)) for name in ("patients", "rows"))


def group_cell(found: Any, patients: int) -> str:
    """Returns the value of a group with its interval, or why it has none; with its patients where these are fewer."""
    if not isinstance(found, Mapping):
        return "–"
    fewer = (
        f" (n = {found['patients']:,})" if is_number(found.get("patients")) and found["patients"] != patients else ""
    )
    if not is_number(found.get("value")):
        return f"{found.get('note', '–')}{fewer}"
    return with_interval([found["value"], found.get("low"), found.get("high")]) + fewer


def with_interval(found: Sequence[float | None] | None) -> str:
    """Returns `0.812 [0.75, 0.86]`."""
    if not found or found[0] is None:
        return number(None)
    value, low, high = found
    return number(value) if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def text_of_details(result: EvaluationResult) -> str:
    """Returns all tables as text for a terminal; "" for a result without them."""
    parts = []
    for title, lines, notes in classification_tables(result):
        parts.append(f"{title}\n\n{aligned_table(lines)}" + "".join(f"- {note}\n" for note in notes))
    parts += [aligned_table(lines) for lines in (alignment_table(result),) if lines]
    parts += [aligned_table(lines, texts=(0, 1)) for lines in (subgroup_table(result),) if lines]
    return "".join(f"\n{part}" for part in parts)
