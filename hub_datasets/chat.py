"""How does a row read as a conversation?"""

from __future__ import annotations

from hub_datasets.schema import RawRecord

# What a person asks of an image that has a description and no question of its own.
DESCRIBE = {"en": "Describe this medical image:", "zh": "请描述这张医学图像："}


def messages(record: RawRecord) -> list[dict[str, str]]:
    """The turns of a record, question first: its own, or a request to describe the image in the text's language."""
    if record.question is not None:
        question, answer = record.question, record.answer
    else:
        question, answer = DESCRIBE[record.language], record.text
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
