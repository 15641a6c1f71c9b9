"""Checks how reports in two languages are split into sentences, sampled for training, and embedded."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from modeling.siglip_medical.long_texts import encode_text, sample_sentences, split_sentences

REPORT = [
    "Findings: The lesion measures 1.5 x 2.3 cm.",
    "No effusion is seen!",
    "Is there a fracture?",
    "Dr. Smith reviewed Fig. 3 of the prior exam, i.e. the MRI of Jan. 2020.",
    "KL grade 2.",
    "1. Mild osteoarthritis.",
    "2. No acute disease (see above).",
]
CHINESE = ["左肺见结节，大小约1.5cm。", "边界清晰；", "未见胸腔积液！", "是否复查？", "建议随访（3个月）。"]


def test_reports_are_split_into_sentences_in_both_languages():
    assert split_sentences(" ".join(REPORT)) == REPORT
    assert split_sentences("".join(CHINESE)) == CHINESE
    assert split_sentences(" ".join(REPORT) + "".join(CHINESE)) == [*REPORT, *CHINESE]


@pytest.mark.parametrize(
    "text",
    [
        "Grade 1.5 of 3.0", "approx. 5 mm", "e.g. the liver", "a vs. b", "No. 5 rib", "T1-w. images", "J. Smith",
        "pH 7.4", "...", "no stop at all", "版本1.5。", "ends.",
    ],
)  # fmt: skip
def test_a_single_sentence_is_not_split(text):
    assert split_sentences(text) == [text]


def test_line_breaks_quotes_and_empty_texts():
    assert split_sentences("One\nTwo.\n\n  Three  ") == ["One", "Two.", "Three"]
    assert split_sentences('He said "no." Then left.') == ['He said "no."', "Then left."]
    assert split_sentences("他说“没有。”然后走了。") == ["他说“没有。”", "然后走了。"]
    assert split_sentences("") == split_sentences(" \n ") == []


def test_splitting_loses_only_white_space():
    text = " ".join(REPORT) + "".join(CHINESE)
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


def test_sampling_depends_only_on_text_seed_and_epoch():
    text = " ".join(REPORT)
    assert sample_sentences(text, 0, 3) == sample_sentences(text, 0, 3)
    draws = Counter(sample_sentences(text, seed, epoch) for seed in range(20) for epoch in range(35))
    assert set(draws) == set(REPORT) and min(draws.values()) > 60  # 100 expected of each
    by_epoch = [[sample_sentences(text + str(row), 0, epoch) for row in range(30)] for epoch in (0, 1)]
    assert by_epoch[0] != by_epoch[1]


@pytest.mark.slow
def test_sampling_is_the_same_in_another_process(run):
    text = " ".join(REPORT)
    code = "from modeling.siglip_medical.long_texts import sample_sentences as sample\n"
    code += f"print([sample({text!r}, 7, epoch) for epoch in range(5)])"
    found = run("python", "-c", code, env={"PYTHONHASHSEED": "5"}).stdout.strip().splitlines()[-1]
    assert found == str([sample_sentences(text, 7, epoch) for epoch in range(5)])


def test_sampled_sentences_are_consecutive_and_short_texts_stay_whole():
    text = " ".join(REPORT)
    for epoch in range(20):
        assert sample_sentences(text, 0, epoch, count=3) in text
    assert sample_sentences("One. Two.", 0, 0, count=2) == "One. Two."
    assert sample_sentences("", 0, 0) == ""
    with pytest.raises(ValueError, match="at least 1 sentence"):
        sample_sentences(text, 0, 0, count=0)


@pytest.fixture(scope="module")
def opened(trained_encoder):
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor

    return SiglipMedicalModel.from_pretrained(trained_encoder), SiglipMedicalProcessor.from_pretrained(trained_encoder)


def embed(model, processor, text: str) -> torch.Tensor:
    with torch.no_grad():
        return model(**processor(text=[text], return_tensors="pt")).text_embeds[0]


def test_first_embeds_the_beginning_and_mean_all_sentences(opened):
    model, processor = opened
    long = " ".join(REPORT * 3)
    other = long + " An unexpected last sentence."
    texts = [long, other, REPORT[0], ""]
    first = model.encode_text(texts, processor)
    mean = model.encode_text(texts, processor, long_text="mean", batch_size=3)
    for row, text in enumerate(texts):
        assert torch.allclose(first[row], embed(model, processor, text), atol=1e-6)
        parts = torch.stack([embed(model, processor, part) for part in split_sentences(text) or [text]])
        assert torch.allclose(mean[row], torch.nn.functional.normalize(parts.mean(0), dim=0), atol=1e-5)
    assert torch.allclose(first[0], first[1], atol=1e-6) and not torch.allclose(mean[0], mean[1], atol=1e-4)
    assert torch.allclose(first[2:], mean[2:], atol=1e-6)
    assert torch.allclose(mean.norm(dim=1), torch.ones(4), atol=1e-5) and not mean.requires_grad


def test_the_stock_model_and_truncated_embeddings_work(opened, trained_encoder):
    from transformers import AutoModel, AutoProcessor

    model, processor = opened
    stock, own = AutoModel.from_pretrained(trained_encoder), AutoProcessor.from_pretrained(trained_encoder)
    texts = [" ".join(REPORT), "KL 2-3"]
    assert torch.allclose(encode_text(stock, own, texts, long_text="mean"), model.encode_text(texts, processor, "mean"))
    model.config.truncate_dim = 32
    try:
        assert model.encode_text(texts, processor, "mean").shape == (2, 32)
        assert model.encode_text([], processor).shape == (0, 32)
    finally:
        model.config.truncate_dim = None


def test_invalid_arguments_are_errors(opened):
    model, processor = opened
    with pytest.raises(ValueError, match="first or mean"):
        model.encode_text(["a"], processor, long_text="last")
    with pytest.raises(ValueError, match="a list of texts"):
        model.encode_text("a", processor)
