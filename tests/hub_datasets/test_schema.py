"""Checks the columns of the configs and the codes, which other programs read."""

from __future__ import annotations

from dataclasses import fields

from datasets import ClassLabel, Features, Image, List, Value

from hub_datasets.errors import printable
from hub_datasets.records import RawRecord, Reason
from hub_datasets.schema import (
    CONFIGS,
    CONTEXTS,
    LANGUAGES,
    SPLITS,
    TURNS,
    UNGROUNDED_MODES,
    chat_features,
    features_of,
    pair_features,
    region_features,
)

TEXT = Value("string")
MESSAGES = List({"role": TEXT, "content": TEXT})
PARTS = List({"role": TEXT, "content": List({"type": TEXT, "text": TEXT})})


COMMON = dict.fromkeys(
    ["image_path", "source_dataset", "category", "license", "official_split", "patient", "study", "modality",
     "body_part", "group_id", "metadata"], TEXT
)  # fmt: skip
SIZE = {"width": Value("int32"), "height": Value("int32")}


def test_columns_of_pairs():
    label = ClassLabel(names=["knee_xray/Normal", "knee_xray/Severe"])
    expected = Features(image=Image(), text=TEXT, label=label, language=TEXT, ungrounded=List(TEXT), **SIZE, **COMMON)
    assert pair_features(["knee_xray/Normal", "knee_xray/Severe"]) == features_of("pairs", label.names) == expected
    assert pair_features()["label"] == ClassLabel(names=[])


def test_columns_of_chat():
    assert chat_features() == Features(
        images=List(Image()), messages=PARTS, plain_messages=MESSAGES, marked_messages=MESSAGES, language=TEXT,
        ungrounded=List(TEXT), template_id=TEXT, context=TEXT, answer_type=TEXT, location=TEXT, content_type=TEXT,
        **COMMON,
    )  # fmt: skip


def test_columns_of_regions():
    boxes = List(List(Value("float32"), length=4))
    assert region_features() == Features(image=Image(), mask=Image(), boxes=boxes, labels=List(TEXT), **SIZE, **COMMON)
    assert features_of("regions", ["knee_xray/Normal"]) == region_features()


def test_a_code_is_its_name_in_small_letters():
    assert len(Reason) == 20
    assert all(str(reason) == reason.value == reason.name.lower() for reason in Reason)


def test_the_names_that_folders_and_columns_have():
    assert (CONFIGS, SPLITS) == (("pairs", "chat", "regions"), ("train", "validation", "test"))
    assert (LANGUAGES, TURNS) == (("en", "zh"), ("single", "multi"))


def test_the_forms_of_a_question_and_what_becomes_of_claims():
    assert CONTEXTS == ("none", "clinical") and UNGROUNDED_MODES == ("mark", "keep", "strip", "reject")


def test_the_order_of_a_records_fields():
    """Catalogs hold records as lists in this order."""
    assert RawRecord.__slots__ == tuple(field.name for field in fields(RawRecord)) == (
        "source", "item", "image", "category", "language", "text", "question", "answer", "groups", "conversation",
        "official_split", "metadata", "scan_series", "scan_number", "label", "modality", "body_part", "context",
    )  # fmt: skip


def test_what_is_printed_is_one_line_and_commands_no_terminal():
    assert printable("胸片 (1) é.png") == "胸片 (1) é.png"
    assert printable("caf\udce9.png") == r"caf\udce9.png"
    assert printable("\x1b]0;owned\x07\x1b[2J.png") == r"\x1b]0;owned\x07\x1b[2J.png"
    assert printable("a\nb\r\x85\u2028\x9b\u202e\ufeff\0") == r"a\nb\r\x85\u2028\x9b\u202e\ufeff\x00"
    for code in range(0x110000):
        shown = printable(f"a{chr(code)}")
        assert shown.isprintable() and printable(shown) == shown and shown.encode(), code
