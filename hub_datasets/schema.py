"""Defines the columns of the configs `pairs` and `chat`, the languages and the splits.

No other module of this package defines column names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `datasets` takes over half a second to import, and `--help` does not need it
    import datasets


LANGUAGES = ("en", "zh")
SPLITS = ("train", "validation", "test")
CONFIGS = ("pairs", "chat")
CONTEXTS = ("none", "clinical")  # what a question tells besides its image
# What becomes of texts that say what no image shows: `mark` names the kinds in a column, `keep` only counts them,
# `strip` takes the sentences out, `reject` rejects the records.
UNGROUNDED_MODES = ("mark", "keep", "strip", "reject")
TURNS = ("single", "multi")  # one conversation for each question, or for all questions of an image


def pair_features() -> datasets.Features:
    """Columns of the config `pairs`: one image with one text about it.

    `ungrounded` names the kinds of what the text says and the image cannot show, see `texts/grounding`. `metadata` is
    JSON in a string: `Json()` cuts floats to 10 decimals, and `datasets` before 4.7 cannot open it.
    """
    from datasets import Features, Image, List, Value

    return Features(
        {
            "image": Image(),
            "image_path": Value("string"),
            "text": Value("string"),
            "source_dataset": Value("string"),
            "category": Value("string"),
            "language": Value("string"),
            "ungrounded": List(Value("string")),
            "license": Value("string"),
            "group_id": Value("string"),
            "metadata": Value("string"),
        }
    )


def chat_features() -> datasets.Features:
    """Columns of the config `chat`: the same images as conversations.

    `messages` holds plain strings: `Json()` content would turn the answer "42" into a number, and mixed lists of
    parts would not load in every trainer. `marked_messages` are the same with `<image>` for each image in the first
    question: TRL places the images there itself, LLaMA-Factory requires the marks.
    """
    from datasets import Features, Image, List, Value

    return Features(
        {
            "images": List(Image()),
            "messages": List({"role": Value("string"), "content": Value("string")}),
            "marked_messages": List({"role": Value("string"), "content": Value("string")}),
            "image_path": Value("string"),
            "source_dataset": Value("string"),
            "category": Value("string"),
            "language": Value("string"),
            "ungrounded": List(Value("string")),
            "license": Value("string"),
            "template_id": Value("string"),
            "context": Value("string"),
            "answer_type": Value("string"),
            "modality": Value("string"),
            "location": Value("string"),
            "content_type": Value("string"),
            "group_id": Value("string"),
            "metadata": Value("string"),
        }
    )


def features_of(config: str) -> datasets.Features:
    """The columns of a config."""
    return pair_features() if config == "pairs" else chat_features()
