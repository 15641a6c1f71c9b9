"""How a record reads as a conversation."""

from __future__ import annotations

import pytest

from hub_datasets.chat import messages
from hub_datasets.schema import LANGUAGES, RawRecord


def record(language: str, **said: str) -> RawRecord:
    return RawRecord("test", "row 1", "1.png", "report", language, **said)


def test_a_question_and_its_answer_are_taken_as_they_are():
    assert messages(record("en", question="Is the lung healthy?", answer="No")) == [
        {"role": "user", "content": "Is the lung healthy?"},
        {"role": "assistant", "content": "No"},
    ]


def test_a_description_is_asked_for_in_its_own_language():
    assert messages(record("en", text="Clear lungs.")) == [
        {"role": "user", "content": "Describe this medical image:"},
        {"role": "assistant", "content": "Clear lungs."},
    ]
    user, assistant = messages(record("zh", text="双肺清晰。"))
    assert user == {"role": "user", "content": "请描述这张医学图像："}
    assert assistant["content"] == "双肺清晰。"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_its_request(language):
    user, _ = messages(record(language, text="text"))
    assert user["content"]
