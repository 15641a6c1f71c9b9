"""Checks the answers that only other questions know: which level of the backoff decides, and ties."""

from __future__ import annotations

import pytest

from evaluation.scoring.prediction_files import Answer
from evaluation.scoring.question_prior import BACKOFF, majority, most_frequent, opening, prior


def closed(reference: str, question: str = "", language: str = "en", question_type: str = "") -> Answer:
    return Answer(question, reference, "", "closed", language, question_type)


def opened(reference: str, question: str = "", language: str = "en", question_type: str = "") -> Answer:
    return Answer(question, reference, "", "open", language, question_type)


def texts(choices: list) -> list[str]:
    assert all(len(one) == 1 and one[0][0] == 1.0 for one in choices)
    return [one[0][1] for one in choices]


SEEN = [
    *[closed("Yes", "Is it big?")] * 2,
    closed("No", "Is it big?"),
    *[closed("No", "Has it edges?")] * 4,
    *[opened("Lung", "Which organ?", question_type="Organ")] * 2,
    *[opened("CT", "What modality?", question_type="Modality")] * 3,
    closed("是", "大吗?", language="zh"),
]


@pytest.mark.parametrize(
    ("asked", "answer", "level"),
    [
        (closed("No", "Is it  BIG?"), "Yes", "question"),  # spaces and case do not count
        (closed("No", "Is it small?"), "Yes", "question type"),  # by its first two words
        (closed("Yes", "Can it move?"), "No", "answer type"),
        (closed("Yes"), "No", "answer type"),
        (opened("Liver", "Which part?", question_type="Organ"), "Lung", "question type"),
        (opened("Liver", "Which part?", question_type="Organs"), "CT", "answer type"),
        (opened("大", "多大?", language="zh"), "是", "language"),
        (opened("Ja", "Wo?", language="de"), "", ""),
    ],
)
def test_the_most_similar_questions_decide(asked, answer, level):
    assert most_frequent([asked], SEEN, BACKOFF) == [(answer, level)]
    assert texts(prior([asked], SEEN)) == [answer]


def test_the_majority_is_that_of_answer_type_and_language():
    asked = [closed("Yes", "Is it big?"), opened("x", "Which organ?"), opened("大", "多大?", language="zh")]
    assert texts(majority(asked, SEEN)) == ["No", "CT", "是"]


@pytest.mark.parametrize(
    ("question", "words"),
    [("Is there  a lesion?", "is there"), ("Why?", "why?"), ("", ""), ("图中有没有病变？", "有没有"),
     ("这是什么器官？", "什么"), ("肺正常吗？", "吗"), ("描述这张图像。", "描述这张图像。")],
)  # fmt: skip
def test_how_a_question_begins(question, words):
    assert opening(question) == words


def test_equally_frequent_answers_are_decided_by_the_language_and_then_by_the_alphabet():
    seen = [opened("B", "q"), opened("A", "q"), opened("B", "x"), opened("A", "y")]
    assert texts(prior([opened("?", "q")], seen)) == ["A"]
    assert texts(prior([opened("?", "q")], [*seen, opened("B", "z")])) == ["B"]


def test_a_question_does_not_answer_itself():
    """Otherwise a file in which every question is asked once would have a prior of 100 %."""
    answers = [opened(name, f"q{number}") for number, name in enumerate(["A", "B", "C", "A"])]
    assert texts(prior(answers, answers)) == ["A", "A", "A", "A"]  # by the answer type: each question is asked once
    twice = [*answers, opened("C", "q2"), opened("B", "q3"), opened("B", "q4")]
    assert texts(prior(twice, twice)) == ["B", "B", "C", "B", "C", "A", "B"]
    alone = [opened("A", "q")]
    assert texts(prior(alone, alone)) == [""]
    assert texts(prior(alone, list(alone))) == ["A"]  # of a train split, the same question counts
