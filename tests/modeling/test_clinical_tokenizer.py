"""The normaliser inside a tokenizer: the same ids as the stock tokenizer gives for the text written out."""

from __future__ import annotations

import random

import pytest
from transformers import AutoProcessor, AutoTokenizer, SiglipTokenizer

from modeling.siglip_medical.clinical_tokenizer import carries_rules, clinical_tokenizer, rewritten
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


def byte_tokenizer(folder, byte_fallback: bool) -> SiglipTokenizer:
    """A SentencePiece model with byte pieces, as SigLIP's English one has them, so that no two characters are alike."""
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
def test_a_rewritten_siglip_tokenizer_gives_the_same_ids_for_any_string(byte_fallback, tmp_path):
    slow = byte_tokenizer(tmp_path, byte_fallback)
    fast = rewritten(slow)
    for text in [*CASES, *EXPECTED, *random_texts(3000, seed=0), *random_texts(200, seed=1, longest=90)]:
        assert fast(text)["input_ids"] == slow(text)["input_ids"], text
    generator = random.Random(5)  # and any characters that both engines know: Python 3.11 lacks the newest capitals
    known = [*range(32, 0x250), *range(0x2000, 0x20D0), *range(0x2100, 0x2C00), *range(0x3000, 0xA000)]
    for _ in range(2000):
        text = "".join(map(chr, generator.choices(known, k=8)))
        assert fast(text)["input_ids"] == slow(text)["input_ids"], text
    assert fast.decode(fast("knee x-ray 1")["input_ids"], skip_special_tokens=True) == "knee xray 1"


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_it_reads_a_text_as_the_stock_one_reads_it_written_out(family, request):
    base = AutoTokenizer.from_pretrained(
        request.getfixturevalue("tiny_encoder" if family == "siglip" else "tiny_siglip2")
    )
    clinical = clinical_tokenizer(base)
    assert clinical.is_fast and carries_rules(clinical) and not carries_rules(base)
    for text in [*EXPECTED, *random_texts(500, seed=6)]:
        written = normalize_text(text)
        written = written.lower() if family == "siglip2" and "İ" not in written else written
        assert clinical(text)["input_ids"] == base(written)["input_ids"], text


# Different texts that are one to the stock tokenizer's code, here with a tiny vocabulary, and must not be.
@pytest.mark.parametrize(("one", "other"), [pair for pair in DIFFERENT if pair[0][0] not in "病"])
def test_collisions_of_the_stock_tokenizer_are_gone(one, other, tmp_path_factory):
    slow = byte_tokenizer(tmp_path_factory.mktemp("pieces"), True)
    fast = clinical_tokenizer(slow)
    if one not in ("≤ 3", "±2", "2x3"):  # which are no ASCII punctuation, and stay
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
    """Pieces joined again say what the model is told, whatever the vocabulary; bytes stand for what it lacks."""
    fast = clinical_tokenizer(byte_tokenizer(tmp_path, True))
    ids = fast(text)["input_ids"]
    assert ids[-1] == fast.eos_token_id
    assert fast.decode(ids[:-1]).replace(" ", "▁") == pieces.removeprefix("▁")


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_saved_and_opened_by_anyone_it_gives_the_same_ids(family, request, tmp_path):
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


def test_opened_twice_the_rules_stand_there_once(trained_encoder):
    once = SiglipMedicalProcessor.from_pretrained(trained_encoder).tokenizer
    assert clinical_tokenizer(once) is once


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_without_the_rules_the_tokenizer_is_the_stock_one_and_says_so(family, request, tmp_path):
    base = request.getfixturevalue("tiny_encoder" if family == "siglip" else "tiny_siglip2")
    plain = SiglipMedicalProcessor.from_pretrained(base, normalize_text=False)
    plain.save_pretrained(tmp_path)
    again, stock = SiglipMedicalProcessor.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(base)
    assert again.normalize_text is False and not carries_rules(again.tokenizer)
    for text in EXPECTED:
        expected = stock([text], padding="max_length", max_length=64, truncation=True)["input_ids"]
        assert again(text=[text])["input_ids"] == plain(text=[text])["input_ids"] == expected


def test_a_checkpoint_trained_with_the_rules_cannot_be_opened_without(trained_encoder):
    with pytest.raises(ValueError, match="trained with the normaliser"):
        SiglipMedicalProcessor.from_pretrained(trained_encoder, normalize_text=False)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_the_mask_is_saved_where_it_is_wanted(family, request, tmp_path):
    base = request.getfixturevalue("tiny_encoder" if family == "siglip" else "tiny_siglip2")
    SiglipMedicalProcessor.from_pretrained(base, return_attention_mask=True).save_pretrained(tmp_path)
    for opened in (SiglipMedicalProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert list(opened(text=["a b"])) == ["input_ids", "attention_mask"]


def test_a_tokenizer_that_cannot_be_rewritten_is_an_error(tmp_path):
    from types import SimpleNamespace

    slow = byte_tokenizer(tmp_path, True)
    other = type("OtherTokenizer", (SiglipTokenizer,), {})(vocab_file=slow.vocab_file)
    with pytest.raises(ValueError, match="normalize_text=False"):
        clinical_tokenizer(other)
    assert not carries_rules(SimpleNamespace())


def test_one_that_would_read_differently_is_an_error(tmp_path, monkeypatch):
    slow = byte_tokenizer(tmp_path, True)
    monkeypatch.setattr(SiglipTokenizer, "remove_punctuation", lambda self, text: text.replace("-", ""))
    with pytest.raises(ValueError, match=r"reads .* differently"):
        clinical_tokenizer(slow)
