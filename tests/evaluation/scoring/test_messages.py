"""Checks that messages are read the same as plain texts and as content parts."""

from __future__ import annotations

import pytest

from evaluation.scoring.decoder import to_turns
from evaluation.scoring.messages import are_images_first, part_types, plain_messages
from hub_datasets.chat.content_parts import to_parts

PLAIN = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "Left."},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "Yes."},
]
IMAGE, TEXT = {"type": "image", "text": None}, {"type": "text", "text": "a"}


@pytest.mark.parametrize("images", [0, 1, 3])
def test_both_forms_give_the_same_turns(images):
    parts = to_parts(PLAIN, images)
    assert plain_messages(parts) == plain_messages(PLAIN) == PLAIN
    pictures = [{"type": "image"}] * images
    assert to_turns(parts, pictures) == to_turns(PLAIN, pictures)
    assert are_images_first(parts, images) and are_images_first(PLAIN, images) and are_images_first(parts)
    assert not are_images_first(parts, images + 1)
    assert part_types(parts) == ({"image", "text"} if images else {"text"}) and part_types(PLAIN) == set()


def test_several_texts_of_a_message_are_lines():
    message = {"role": "user", "content": [IMAGE, TEXT, {"type": "text", "text": "b"}]}
    assert plain_messages([message]) == [{"role": "user", "content": "a\nb"}]
    assert plain_messages([{"role": "assistant", "content": None}]) == [{"role": "assistant", "content": None}]


@pytest.mark.parametrize(
    "contents",
    [[[TEXT, IMAGE], [TEXT]], [[TEXT], [TEXT], [IMAGE, TEXT]], [[TEXT], [IMAGE, TEXT]], [[IMAGE, TEXT, IMAGE]]],
)
def test_images_in_other_places_are_noticed(contents):
    roles = ["user", "assistant", "user"]
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    assert not are_images_first(messages) and not are_images_first(messages, 1)
