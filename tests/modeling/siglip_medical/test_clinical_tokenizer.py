"""Checks that a tokenizer with the clinical rules gives the ids of the stock tokenizer for normalized text."""

from __future__ import annotations

import random

import pytest
from transformers import AutoProcessor, AutoTokenizer, SiglipTokenizer

from modeling.siglip_medical.clinical_tokenizer import add_clinical_rules, convert_siglip_tokenizer, has_clinical_rules
from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
from modeling.siglip_medical.text_normalizer import normalize_text

from .test_text_normalizer import DIFFERENT, EXPECTED, random_texts

CASES = [
    "Knee X-ray",
    "MRI图像，腹部。",
    "café cafe\u0301 ΑΩΣ İstanbul ﬁ①½",
    " \t lead",
    "tail  ",
    "▁a▁",
    "😀" * 3,
]


def train_siglip_tokenizer(folder, byte_fallback: bool) -> SiglipTokenizer:
    """Trains a small SiglipTokenizer; with byte fallback, as in SigLIP's English one, all characters differ."""
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(text.lower() for text in [*EXPECTED, *EXPECTED.values()] * 3),
        model_writer=model,
        vocab_size=600,
        hard_vocab_limit=False,
        byte_fallback=byte_fallback,
        add_dummy_prefix=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    return SiglipTokenizer(vocab_file=str(folder / "spiece.model"), model_input_names=["input_ids"])


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_a_converted_siglip_tokenizer_gives_the_same_ids_for_any_string(byte_fallback, tmp_path):
    slow = train_siglip_tokenizer(tmp_path, byte_fallback)
    fast = convert_siglip_tokenizer(slow)
    for text in [*CASES, *EXPECTED, *random_texts(3000, seed=0), *random_texts(200, seed=1, longest=90)]:
        assert fast(text)["input_ids"] == slow(text)["input_ids"], text
    # Random characters that both engines know; the Unicode tables of Python 3.11 lack the newest capital letters.
    generator = random.Random(5)
    known = [*range(32, 0x250), *range(0x2000, 0x20D0), *range(0x2100, 0x2C00), *range(0x3000, 0xA000)]
    for _ in range(2000):
        text = "".join(map(chr, generator.choices(known, k=8)))
        assert fast(text)["input_ids"] == slow(text)["input_ids"], text
    assert fast.decode(fast("knee x-ray 1")["input_ids"], skip_special_tokens=True) == "knee xray 1"


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_ids_equal_those_of_the_stock_tokenizer_for_normalized_text(family, request):
    base = AutoTokenizer.from_pretrained(
        request.getfixturevalue("tiny_encoder" if family == "siglip" else "tiny_siglip2")
    )
    clinical = add_clinical_rules(base)
    assert clinical.is_fast and has_clinical_rules(clinical) and not has_clinical_rules(base)
    for text in [*EXPECTED, *random_texts(500, seed=6)]:
        written = normalize_text(text)
        written = written.lower() if family == "siglip2" and "İ" not in written else written
        assert clinical(text)["input_ids"] == base(written)["input_ids"], text


# Different texts that have the same ids in the stock tokenizer, here with a small vocabulary.
@pytest.mark.parametrize(("one", "other"), [pair for pair in DIFFERENT if pair[0][0] not in "病"])
def test_colliding_texts_of_the_stock_tokenizer_get_different_ids(one, other, tmp_path_factory):
    slow = train_siglip_tokenizer(tmp_path_factory.mktemp("pieces"), True)
    fast = add_clinical_rules(slow)
    if one not in ("≤ 3", "±2", "2x3"):  # these contain no ASCII punctuation, so the stock tokenizer keeps them
        assert slow(one)["input_ids"] == slow(other)["input_ids"]
    assert fast(one)["input_ids"] != fast(other)["input_ids"]


GOLDEN = {
    "lesion 1.5 cm, KL 2-3": "▁lesion▁1▁point▁5▁cm▁kl▁2▁to▁3",
    "lesion 15 cm, KL 23": "▁lesion▁15▁cm▁kl▁23",
    "ER +ve": "▁er▁positive",
    "ER -ve": "▁er▁negative",
    "<5mm": "▁less▁than▁5▁mm",
    "5mm": "▁5▁mm",
    "T1/T2": "▁t1▁t2",
    "L4/5 1/2": "▁l4▁5▁1▁over▁2",
    "30% 2×3cm²": "▁30▁percent▁2▁by▁3▁cm▁squared",
    "（＋）": "▁positive",
    "大小1.5×2cm": "▁大小1点5乘2▁cm",
}


@pytest.mark.parametrize(("text", "pieces"), GOLDEN.items())
def test_golden_pieces(text, pieces, tmp_path):
    """The joined pieces are the text that the model reads, independent of the vocabulary."""
    fast = add_clinical_rules(train_siglip_tokenizer(tmp_path, True))
    ids = fast(text)["input_ids"]
    assert ids[-1] == fast.eos_token_id
    assert fast.decode(ids[:-1]).replace(" ", "▁") == pieces.removeprefix("▁")


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_a_saved_tokenizer_gives_the_same_ids_in_every_class(family, request, tmp_path):
    base = request.getfixturevalue("tiny_encoder" if family == "siglip" else "tiny_siglip2")
    processor = SiglipMedicalProcessor.from_pretrained(base)
    processor.save_pretrained(tmp_path)
    ours, stock = SiglipMedicalProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    settings = {"padding": "max_length", "max_length": 64, "truncation": True}
    assert type(stock).__name__ == "SiglipProcessor" and ours.normalize_text
    for text in [*EXPECTED, *CASES]:
        expected = processor(text=[text])["input_ids"]
        assert ours(text=[text])["input_ids"] == expected
        assert stock(text=[text], **settings)["input_ids"] == expected
        assert tokenizer([text], **settings)["input_ids"] == expected
    assert list(stock(text=["a"])) == list(ours(text=["a"])) == ["input_ids"]


def test_the_rules_are_added_only_once(trained_encoder):
    once = SiglipMedicalProcessor.from_pretrained(trained_encoder).tokenizer
    assert add_clinical_rules(once) is once


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_without_the_rules_the_tokenizer_equals_the_stock_one_and_the_setting_is_saved(family, request, tmp_path):
    base = request.getfixturevalue("tiny_encoder" if family == "siglip" else "tiny_siglip2")
    plain = SiglipMedicalProcessor.from_pretrained(base, normalize_text=False)
    plain.save_pretrained(tmp_path)
    again, stock = SiglipMedicalProcessor.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(base)
    assert again.normalize_text is False and not has_clinical_rules(again.tokenizer)
    for text in EXPECTED:
        expected = stock([text], padding="max_length", max_length=64, truncation=True)["input_ids"]
        assert again(text=[text])["input_ids"] == plain(text=[text])["input_ids"] == expected


def test_a_checkpoint_trained_with_the_rules_cannot_be_loaded_without_them(trained_encoder):
    with pytest.raises(ValueError, match="trained with the text normalizer"):
        SiglipMedicalProcessor.from_pretrained(trained_encoder, normalize_text=False)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_the_setting_for_the_mask_is_saved(family, request, tmp_path):
    base = request.getfixturevalue("tiny_encoder" if family == "siglip" else "tiny_siglip2")
    SiglipMedicalProcessor.from_pretrained(base, return_attention_mask=True).save_pretrained(tmp_path)
    for opened in (SiglipMedicalProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert list(opened(text=["a b"])) == ["input_ids", "attention_mask"]


def test_a_tokenizer_that_cannot_be_converted_is_an_error(tmp_path):
    from types import SimpleNamespace

    slow = train_siglip_tokenizer(tmp_path, True)
    other = type("OtherTokenizer", (SiglipTokenizer,), {})(vocab_file=slow.vocab_file)
    with pytest.raises(ValueError, match="normalize_text=False"):
        add_clinical_rules(other)
    assert not has_clinical_rules(SimpleNamespace())


def test_a_conversion_with_different_ids_is_an_error(tmp_path, monkeypatch):
    slow = train_siglip_tokenizer(tmp_path, True)
    monkeypatch.setattr(SiglipTokenizer, "remove_punctuation", lambda self, text: text.replace("-", ""))
    with pytest.raises(ValueError, match="gives different ids for"):
        add_clinical_rules(slow)
