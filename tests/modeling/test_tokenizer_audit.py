"""Compares the audit of a tokenizer with counts made by hand."""

from __future__ import annotations

import pytest

from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
from modeling.tokenizer_audit import audit_texts, format_audits

from .siglip_medical.test_clinical_tokenizer import train_siglip_tokenizer

ROWS = [
    ("Lesion 1.5 cm", "en"),
    ("lesion 15 cm", "en"),  # the stock tokenizer's 1.5 cm
    ("LESION  15 cm", "en"),  # a duplicate, except for case and white space
    ("positive +ve", "en"),
    ("positive -ve", "en"),
    ("龘龘", "zh"),
    ("lesion 1.5 cm", "zh"),  # a duplicate of a text in another language
]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return train_siglip_tokenizer(tmp_path_factory.mktemp("pieces"), True)


def test_counts_per_language(stock):
    audits = audit_texts(stock, iter(ROWS))
    assert list(audits) == ["all", "en", "zh"]
    everything, english, chinese = audits.values()
    assert (everything.texts, english.texts, chinese.texts) == (7, 5, 2)
    assert (everything.distinct, english.distinct, chinese.distinct) == (5, 4, 2)
    assert (everything.collisions, english.collisions, chinese.collisions) == (2, 2, 0)
    assert everything.examples == [
        {"first": 0, "second": 1, "text": "lesion 15 cm"},
        {"first": 3, "second": 4, "text": "positive -ve"},
    ]
    assert (chinese.byte_tokens, chinese.byte_texts, english.byte_tokens) == (6, 1, 0)
    lengths = [len(stock(text)["input_ids"]) for text, _ in ROWS]
    assert everything.longest == max(lengths) and everything.tokens == sum(lengths) - len(ROWS)
    assert everything.truncated == everything.unknown_tokens == 0
    assert everything.rates()["collision_rate"] == pytest.approx(2 / 5)
    assert chinese.rates()["byte_fallback_rate"] == pytest.approx(6 / chinese.tokens)


def test_the_normalizer_prevents_collisions(stock, tiny_encoder):
    processor = SiglipMedicalProcessor.from_pretrained(tiny_encoder)
    clinical = SiglipMedicalProcessor(processor.image_processor, stock)
    audit = audit_texts(clinical, ROWS)["all"]
    assert audit.collisions == 0 and audit.distinct == 5


def test_truncated_texts_and_their_collisions(stock):
    start = "cm " * 70
    rows = [(start + "to", "en"), (start + "cm", "en"), ("cm " * 63, "en"), ("cm " * 64, "en")]
    single = [len(stock(text)["input_ids"]) for text, _ in rows]
    assert single[0] > 70 and single[1:] == [72, 64, 65]
    audit = audit_texts(stock, rows)["all"]
    # All four have the same 63 leading tokens and an end token: three are truncated, three equal an earlier one.
    assert (audit.truncated, audit.truncation_collisions, audit.collisions, audit.longest) == (3, 3, 0, max(single))
    assert audit_texts(stock, rows, max_length=max(single))["all"].truncated == 0


def test_unknown_tokens(tmp_path):
    without_bytes = train_siglip_tokenizer(tmp_path, False)
    audit = audit_texts(without_bytes, [("lesion 龘", "zh"), ("lesion", "zh")])["zh"]
    assert (audit.unknown_tokens, audit.unknown_texts, audit.byte_tokens) == (1, 1, 0)
    assert audit.rates()["unknown_rate"] == pytest.approx(1 / audit.tokens)


def test_a_gemma_tokenizer_falls_back_to_bytes(tiny_siglip2):
    audit = audit_texts(SiglipMedicalProcessor.from_pretrained(tiny_siglip2), [("龘", "zh"), ("knee", "en")])
    assert (audit["zh"].byte_tokens, audit["en"].byte_tokens) == (3, 0)


def test_the_batch_size_does_not_matter(stock, monkeypatch):
    from modeling import tokenizer_audit

    whole = audit_texts(stock, ROWS * 50)
    monkeypatch.setattr(tokenizer_audit, "BATCH_SIZE", 3)
    assert audit_texts(stock, iter(ROWS * 50)) == whole
    assert whole["all"].texts == 350 and whole["all"].distinct == 5


def test_an_empty_audit_and_an_invalid_language(stock):
    assert audit_texts(stock, [])["all"].rates() == dict.fromkeys(
        ["truncation_rate", "byte_fallback_rate", "unknown_rate", "collision_rate", "tokens_per_text"], 0.0
    )
    with pytest.raises(ValueError, match="row 0: the language is 'all'"):
        audit_texts(stock, [("a", "all")])


def test_the_table_has_one_line_per_language(stock):
    lines = format_audits(audit_texts(stock, ROWS))
    assert [line.split()[0] for line in lines] == ["language", "all", "en", "zh"]
    assert len({len(line) for line in lines}) == 1 and lines[2].split()[-1] == "2"
