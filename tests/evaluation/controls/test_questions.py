"""Checks what is read of the rows of a split: languages, types and groups, of datasets of others as well."""

from __future__ import annotations

from datasets import Dataset

from evaluation.controls.questions import read_questions


def rows(**columns: list) -> Dataset:
    """Two questions, one in each language."""
    turns = [("Is there a mass?", "Yes"), ("是否有肿块?", "是的")]
    messages = [[{"role": "user", "content": asked}, {"role": "assistant", "content": said}] for asked, said in turns]
    return Dataset.from_dict({"messages": messages, **columns})


def test_a_language_that_is_missing_is_detected():
    for columns in ({}, {"language": [None, None]}, {"language": ["", ""]}):
        assert [answer.language for answer in read_questions(rows(**columns)).answers] == ["en", "zh"]
    assert [answer.language for answer in read_questions(rows(language=["de", "zh"])).answers] == ["de", "zh"]


def test_columns_of_numbers_are_read_as_texts():
    found = read_questions(rows(content_type=[3, None], answer_type=["OPEN", None]))
    assert [(answer.question_type, answer.kind) for answer in found.answers] == [("3", "open"), ("", "")]
