"""Checks what is read of the rows of a split: languages, types and groups, of datasets of others as well."""

from __future__ import annotations

from dataclasses import replace

from datasets import Dataset

from evaluation.controls.questions import is_lateral, read_questions


def rows(**columns: list) -> Dataset:
    """Two questions, one in each language."""
    turns = [("Is there a mass?", "Yes"), ("是否有肿块?", "是的")]
    messages = [[{"role": "user", "content": asked}, {"role": "assistant", "content": said}] for asked, said in turns]
    return Dataset.from_dict({"messages": messages, **columns})


def test_a_language_that_is_missing_is_detected():
    for columns in ({}, {"language": [None, None]}, {"language": ["", ""]}):
        assert [answer.language for answer in read_questions(rows(**columns)).answers] == ["en", "zh"]
    assert [answer.language for answer in read_questions(rows(language=["de", "zh"])).answers] == ["de", "zh"]


def test_patients_of_two_sources_are_different_groups_and_joined_groups_are_one():
    named = {"source_dataset": ["a", "b"], "patient": ["7", "7"]}
    assert read_questions(rows(**named)).groups == ["a:7", "b:7"]
    assert read_questions(rows(**named, group_id=["g", "g"])).groups == ["g", "g"]
    assert read_questions(rows(**named, group_id=["g", None])).groups == ["g", "b:7"]


def test_left_and_right_together_are_no_side():
    for text, lateral in (
        ("左肺", True),
        ("右侧", True),
        ("左右对称吗", False),
        ("大约5厘米左右", False),
        ("The LEFT", True),
    ):
        (answer, _) = read_questions(rows()).answers
        assert is_lateral(replace(answer, question=text, reference="")) is lateral


def test_columns_of_numbers_are_read_as_texts():
    found = read_questions(rows(content_type=[3, None], answer_type=["OPEN", None]))
    assert [(answer.question_type, answer.kind) for answer in found.answers] == [("3", "open"), ("", "")]
