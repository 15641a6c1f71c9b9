"""Checks the scores of answers by groups of patients against counting."""

from __future__ import annotations

import json

from datasets import Dataset

from evaluation.controls.subgroups import answer_subgroups


def test_answers_by_sex():
    """Closed questions are all right for women and all wrong for men; a report has exact match only."""
    messages, metadata, kinds, generated = [], [], [], []
    for number in range(80):
        sex = "F" if number % 2 else "M"
        kind = "CLOSED" if number < 70 else ""
        question = [{"role": "user", "content": [{"type": "text", "text": f"Is {number} normal?"}]}]
        messages.append([*question, {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}])
        metadata.append(json.dumps({"sex": sex}))
        kinds.append(kind)
        generated.append("yes." if sex == "F" else "no")
    rows = Dataset.from_dict(
        {"messages": messages, "metadata": metadata, "answer_type": kinds, "language": ["en"] * 80}
        | {"patient": [f"patient {number}" for number in range(80)]}
    )
    found = {entry["group"]: entry for entry in answer_subgroups(rows, generated, ["Yes"] * 80, "exact")}
    assert set(found) == {"female", "male"}
    for group, value in (("female", 1.0), ("male", 0.0)):
        metrics = found[group]["metrics"]
        names = ("exact_match", "accuracy_closed")
        assert set(metrics) == {*names, *(f"question_prior_{name}" for name in names)}
        assert metrics["question_prior_accuracy_closed"]["value"] == 1  # beside which 100 % says nothing
        assert metrics["exact_match"]["value"] == metrics["accuracy_closed"]["value"] == value
        assert (metrics["exact_match"]["rows"], metrics["accuracy_closed"]["rows"]) == (40, 35)
        assert metrics["accuracy_closed"]["low"] <= value <= metrics["accuracy_closed"]["high"]
