"""The columns of the two configs, and the codes: what other programs read stays as it is."""

from __future__ import annotations

from datasets import Features, Image, Json, List, Value

from hub_datasets.schema import Reason, chat_features, pair_features

TEXT = Value("string")


def test_columns_of_pairs():
    assert pair_features() == Features(
        image=Image(), image_path=TEXT, text=TEXT, source_dataset=TEXT, category=TEXT, language=TEXT, group_id=TEXT,
        metadata=Json(),
    )  # fmt: skip


def test_columns_of_chat():
    assert chat_features() == Features(
        images=List(Image()), messages=List({"role": TEXT, "content": TEXT}), image_path=TEXT, source_dataset=TEXT,
        category=TEXT, language=TEXT, group_id=TEXT, metadata=Json(),
    )  # fmt: skip


def test_a_code_is_its_name_in_small_letters():
    assert len(Reason) == 12
    assert all(str(reason) == reason.value == reason.name.lower() for reason in Reason)
