"""Joins files of predictions to rows, in each form, and refuses those that are not one to one."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset

from evaluation.loading import InputError
from evaluation.models.predictions import predictions_answerer
from tests.evaluation.models.conftest import flags, turns

QUESTIONS = [("a", "Liver?", "Yes"), ("a", "Which side?", "left"), ("b", "Liver?", "No")]


@pytest.fixture(scope="module")
def rows() -> Dataset:
    return Dataset.from_list(
        [{"image_path": path, "messages": turns(question, answer)} for path, question, answer in QUESTIONS]
    )


@pytest.fixture
def joined(tmp_path, rows):
    """A function: joined(entries, **flags) are the answers of a file with these predictions."""

    def join(entries, **changed):
        path = tmp_path / "file.jsonl"
        path.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries), "utf-8")
        return predictions_answerer(flags(predictions=path, **changed), rows, range(len(rows)), HASHES)

    return join


HASHES = [letter * 64 for letter in "abc"]
BY_ROW = [{"row": 2, "prediction": "c"}, {"row": 0, "prediction": " a "}, {"row": "1", "prediction": "b"}]
OURS = [{"image_path": path, "question": text, "generated": f"{path} {text}"} for path, text, _ in QUESTIONS[::-1]]
LMMS_EVAL = [
    {"doc_id": number, "doc": {"question": text, "id": f"q{number}"}, "target": answer.lower(),
     "filtered_resps": [[f"said {number}"]]}
    for number, (_, text, answer) in enumerate(QUESTIONS)
]  # fmt: skip


def test_predictions_are_joined_by_the_number_of_the_row(joined, rows):
    answerer = joined(BY_ROW)
    assert answerer.known == ["a", "b", "c"]
    assert answerer.losses is None and set(answerer.left_out) == {"frozen", "images"}


def test_the_other_forms(joined, rows):
    assert joined(OURS).known == [f"{path} {text}" for path, text, _ in QUESTIONS]
    by_hash = [{"row": digest, "generated": text} for digest, text in zip(HASHES, "xyz", strict=True)]
    assert joined(by_hash[::-1]).known == ["x", "y", "z"]  # as this project writes them
    assert joined(LMMS_EVAL[::-1]).known == ["said 0", "said 1", "said 2"]
    by_question = [entry | {"image_path": path} for entry, (path, *_) in zip(LMMS_EVAL, QUESTIONS, strict=True)]
    assert joined(by_question, prediction_key="image_path, question").known[2] == "said 2"


@pytest.mark.parametrize(
    ("entries", "changed", "words"),
    [
        (BY_ROW[1:], {}, "no prediction for 1 of 3 rows: row 2"),
        ([*BY_ROW, {"row": 0, "prediction": "x"}], {}, "row 4: row 0 is there twice, first in row 2"),
        ([*BY_ROW, {"row": 7, "prediction": "x"}], {}, "1 predictions for no row of the split: row 7"),
        ([{"prediction": "x"}], {}, "no field `row` with the number of the row from 0"),
        ([{"row": 0}], {}, "row 1: no answer; a prediction has"),
        ([{"row": 0, "prediction": 5}], {}, "row 1: prediction is not a text"),
        ([{"row": 0, "prediction": "x" * 70_000}], {}, "row 1: prediction is not a text of at most 65,536"),
        (OURS, {"prediction_key": "question"}, "rows 0 and 2 of the dataset both have question Liver?"),
        (OURS, {"prediction_key": "patient"}, "row 1: no patient, by which predictions are joined"),
        ([entry | {"scan": 1} for entry in OURS[:1]], {"prediction_key": "scan"}, "the dataset has no such column"),
        (OURS, {"prediction_key": "a,,b"}, "name fields, separated by commas"),
        ([], {}, "the file has no rows"),
        ([[1]], {}, "row 1: a list and not a JSON object"),
        ([entry | {"target": "wrong"} for entry in LMMS_EVAL], {}, "its reference is wrong, but row 0 of the dataset"),
    ],
)  # fmt: skip
def test_what_is_refused(joined, entries, changed, words):
    with pytest.raises(InputError) as caught:
        if changed.get("prediction_key") == "question":
            entries = [{**entry, "question": f"{entry['question']} {number}"} for number, entry in enumerate(entries)]
        joined(entries, **changed)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_with_a_limit_the_file_may_have_more_rows(joined, rows):
    more = [*BY_ROW, {"row": 7, "prediction": "x"}]
    assert joined(more, limit=3).known == ["a", "b", "c"]
