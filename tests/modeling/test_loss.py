"""The loss against naive loops, against transformers, and where the usual formulas fail."""

from __future__ import annotations

import math

import pytest
import torch

from modeling.siglip_medical.loss import contrastive_loss

N, D = 7, 5
SCALE, BIAS = torch.tensor(math.log(8.0), dtype=torch.float64), torch.tensor(-2.5, dtype=torch.float64)
TEXTS = torch.tensor([1, 2, 1, 3, 2, 4, 1])
IMAGES = torch.tensor([9, 9, 8, 7, 6, 5, 5])


@pytest.fixture
def embeds() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, N, D, generator=generator, dtype=torch.float64)
    return images.requires_grad_(), (texts * 3).requires_grad_()


def naive(images: torch.Tensor, texts: torch.Tensor, positives: str, group_ids, image_ids) -> torch.Tensor:
    """The definition, pair by pair."""
    total = torch.zeros((), dtype=torch.float64)
    for i in range(N):
        for j in range(N):
            x, y = images[i] / images[i].norm(), texts[j] / texts[j].norm()
            logit = SCALE.exp() * (x @ y) + BIAS
            same = i == j
            also = (group_ids is not None and group_ids[i] == group_ids[j]) or (
                image_ids is not None and image_ids[i] == image_ids[j]
            )
            if positives == "mask" and also and not same:
                continue
            positive = same or (positives == "group" and bool(also))
            total = total - torch.log(torch.sigmoid(logit if positive else -logit))
    return total / N


@pytest.mark.parametrize("positives", ["pair", "group", "mask"])
@pytest.mark.parametrize("ids", [(None, None), (TEXTS, None), (None, IMAGES), (TEXTS, IMAGES)])
def test_sigmoid_loss_and_its_gradient_equal_the_definition(embeds, positives, ids):
    loss = contrastive_loss(*embeds, SCALE, BIAS, positives=positives, group_ids=ids[0], image_ids=ids[1])
    expected = naive(*embeds, positives, *ids)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    ours, theirs = (torch.autograd.grad(value, embeds) for value in (loss, expected))
    for gradient, definition in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, definition, rtol=1e-9, atol=1e-12)


def test_the_three_treatments_of_equal_texts_differ(embeds):
    values = {
        positives: contrastive_loss(*embeds, SCALE, BIAS, positives=positives, group_ids=TEXTS).item()
        for positives in ("pair", "group", "mask")
    }
    assert len({round(value, 6) for value in values.values()}) == 3


def test_the_listing_of_the_specification(embeds):
    """`-log(sigmoid(diagonal - logsumexp(row))).mean()`, as it is written there."""
    images, texts = (torch.nn.functional.normalize(part, dim=-1) for part in embeds)
    logits = images @ texts.T * SCALE.exp() + BIAS
    listing = -torch.log(torch.sigmoid(torch.diag(logits) - logits.logsumexp(dim=1))).mean()
    loss = contrastive_loss(*embeds, SCALE, BIAS, kind="sigmoid_logsumexp", group_ids=TEXTS)
    torch.testing.assert_close(loss, listing, rtol=1e-12, atol=0)


def test_it_is_siglip_s_own_loss_where_all_rows_differ(tiny_encoder):
    from transformers import AutoProcessor, SiglipModel

    model, processor = SiglipModel.from_pretrained(tiny_encoder), AutoProcessor.from_pretrained(tiny_encoder)
    from PIL import Image

    images = [Image.new("RGB", (40, 30), (60 * i, 20, 250 - 60 * i)) for i in range(4)]
    texts = ["liver", "lung", "left knee", "brain"]
    inputs = processor(images=images, text=texts, padding="max_length", max_length=64, return_tensors="pt")
    output = model(**inputs, return_loss=True)
    ours = contrastive_loss(
        output.vision_model_output.pooler_output,
        output.text_model_output.pooler_output,
        model.logit_scale,
        model.logit_bias,
        group_ids=torch.arange(4),
    )
    torch.testing.assert_close(ours, output.loss, rtol=1e-6, atol=1e-6)


def test_a_zero_vector_gives_no_nan():
    images, texts = torch.zeros(3, 4, requires_grad=True), torch.randn(3, 4)
    loss = contrastive_loss(images, texts, torch.tensor(2.0), torch.tensor(-10.0))
    loss.backward()
    assert loss.isfinite() and images.grad.isfinite().all()


def test_half_precision_embeddings_are_compared_in_float32():
    generator = torch.Generator().manual_seed(1)
    images, texts = torch.randn(2, 16, 8, generator=generator).bfloat16()
    scale, bias = torch.tensor(4.77), torch.tensor(-12.7)
    loss = contrastive_loss(images, texts, scale, bias)
    assert loss.dtype == torch.float32
    exact = contrastive_loss(images.double(), texts.double(), scale.double(), bias.double())
    assert abs(loss.item() - exact.item()) < 1e-4 * exact.item()


@pytest.mark.parametrize("wrong", [{"kind": "softmax"}, {"positives": "all"}])
def test_an_unknown_kind_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong.values()))):
        contrastive_loss(torch.ones(2, 2), torch.ones(2, 2), SCALE, BIAS, **wrong)
