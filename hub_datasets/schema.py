"""Defines the columns of the configs `pairs`, `chat` and `regions`, the languages and the splits.

No other module of this package defines column names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `datasets` takes over half a second to import, and `--help` does not need it
    import datasets


LANGUAGES = ("en", "zh")  # those of the sources, with question templates; reports may have any code of ISO 639-1
UNDETERMINED = "und"  # the code of ISO 639-2 for a text whose language is not known
SPLITS = ("train", "validation", "test")
CONFIGS = ("pairs", "chat", "regions")
CONTEXTS = ("none", "clinical")  # what a question tells besides its image
# What becomes of texts that say what no image shows: `mark` names the kinds in a column, `keep` only counts them,
# `strip` takes the sentences out, `reject` rejects the records.
UNGROUNDED_MODES = ("mark", "keep", "strip", "reject")
TURNS = ("single", "multi")  # one conversation for each question, or for all questions of an image
# The columns of each config that hold images; the last column of `regions` is null where there is no mask.
IMAGE_COLUMNS = {"pairs": ("image",), "chat": ("images",), "regions": ("image", "mask")}


def pair_features(classes: Sequence[str] = ()) -> datasets.Features:
    """Columns of the config `pairs`: one image with one text about it.

    `ungrounded` names the kinds of what the text says and the image cannot show, see `texts/grounding`.

    Args:
        classes: the names of the classes in `label`, see `class_name`.
    """
    from datasets import ClassLabel, Features, Image, List, Value

    return Features(
        {
            "image": Image(),
            "image_path": Value("string"),
            "text": Value("string"),
            "label": ClassLabel(names=list(classes)),
            "width": Value("int32"),
            "height": Value("int32"),
            "language": Value("string"),
            "ungrounded": List(Value("string")),
            **common_columns(),
        }
    )


def chat_features() -> datasets.Features:
    """Columns of the config `chat`: the same images as conversations.

    `messages` has content parts, as `processor.apply_chat_template` requires: an image part for each image in front of
    the first question. Every part has a `text`, null in image parts, because Parquet has one type for all parts.
    `plain_messages` holds the same turns as plain strings; `Json()` content would turn the answer "42" into a number.
    `marked_messages` are the plain turns with `<image>` for each image in the first question, which LLaMA-Factory
    requires.
    """
    from datasets import Features, Image, List, Value

    part = {"type": Value("string"), "text": Value("string")}
    return Features(
        {
            "images": List(Image()),
            "messages": List({"role": Value("string"), "content": List(part)}),
            "plain_messages": List({"role": Value("string"), "content": Value("string")}),
            "marked_messages": List({"role": Value("string"), "content": Value("string")}),
            "image_path": Value("string"),
            "language": Value("string"),
            "ungrounded": List(Value("string")),
            "template_id": Value("string"),
            "context": Value("string"),
            "answer_type": Value("string"),
            "location": Value("string"),
            "content_type": Value("string"),
            **common_columns(),
        }
    )


def region_features() -> datasets.Features:
    """Columns of the config `regions`: an image with boxes around its organs and findings.

    A box is `[x, y, width, height]` in pixels from the upper left corner, as in COCO; `labels` names each box. In the
    mask, an image of the same size, each region has a color of its own.
    """
    from datasets import Features, Image, List, Value

    return Features(
        {
            "image": Image(),
            "mask": Image(),
            "boxes": List(List(Value("float32"), length=4)),
            "labels": List(Value("string")),
            "image_path": Value("string"),
            "width": Value("int32"),
            "height": Value("int32"),
            **common_columns(),
        }
    )


def common_columns() -> dict[str, datasets.Value]:
    """Columns that all configs have.

    `patient` and `study` are hashes, null where the source names none. `metadata` is JSON in a string: `Json()` cuts
    floats to 10 decimals, and `datasets` before 4.7 cannot open it.
    """
    from datasets import Value

    names = (
        "source_dataset", "category", "license", "official_split", "patient", "study", "modality",
        "body_part", "group_id", "metadata",
    )  # fmt: skip
    return {name: Value("string") for name in names}


def class_name(source: str, label: str) -> str:
    """The name of a class in the column `label`, with its source: `normal` of two sources are two classes."""
    return f"{source}/{label}"


def features_of(config: str, classes: Sequence[str] = ()) -> datasets.Features:
    """The columns of a config."""
    if config == "pairs":
        return pair_features(classes)
    return chat_features() if config == "chat" else region_features()
