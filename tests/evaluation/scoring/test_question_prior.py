"""Checks the answers that only other questions know: which level of the backoff decides, and ties."""

from __future__ import annotations

import random

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
    assert texts(prior(twice, twice)) == ["B", "B", "C", "B", "C", "B", "B"]
    alone = [opened("A", "q")]
    assert texts(prior(alone, alone)) == [""]
    assert texts(prior(alone, list(alone))) == ["A"]  # of a train split, the same question counts


def test_without_a_train_split_two_rows_of_a_question_do_not_vote_against_each_other():
    """If a row's own answer did not count, each row would get the other's answer, and the prior would be 0 %."""
    rows = [closed(text, f"Is there {what}?") for what in ("a", "b", "c", "d") for text in ("Yes", "No")]
    found = most_frequent(rows, rows, BACKOFF)
    assert (
        found == [("No", "question")] * 8
    )  # half of them are right, as many as with a train split of the same answers
    assert found == most_frequent(rows, list(rows), BACKOFF)
    more = [*rows, *[closed("Yes", "Is there a?")] * 2]
    assert [text for text, _ in most_frequent(more, more, BACKOFF)] == ["Yes", "Yes", *["Yes", "Yes"] * 4]


@pytest.mark.parametrize("seed", range(5))
def test_without_a_train_split_the_prior_is_too_good_if_anything(seed):
    """It has at least as many right as the vote of the other rows of a question that is asked several times."""
    drawn = random.Random(seed)
    rows = [closed(drawn.choice(("Yes", "No")), f"q{number % 20}") for number in range(drawn.randrange(40, 100))]
    right = sum(text == row.reference for row, text in zip(rows, texts(prior(rows, rows)), strict=True))
    others = 0
    for number, row in enumerate(rows):
        (text,) = texts(prior([row], rows[:number] + rows[number + 1 :]))
        others += text == row.reference
    assert right >= len(rows) / 2 and right >= others
