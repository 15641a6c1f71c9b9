"""Compares the contrastive loss with naive loops and with transformers, and checks numerically difficult cases."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from modeling.siglip_medical import chunked_contrastive_loss
from modeling.siglip_medical.contrastive_loss import contrastive_loss

N, D = 7, 5
SCALE, BIAS = torch.tensor(math.log(8.0), dtype=torch.float64), torch.tensor(-2.5, dtype=torch.float64)
TEXTS = torch.tensor([1, 2, 1, 3, 2, 4, 1])
IMAGES = torch.tensor([9, 9, 8, 7, 6, 5, 5])
IDS = [(None, None), (TEXTS, None), (None, IMAGES), (TEXTS, IMAGES)]
CASES = [
    *({"positives": positives, "weights": "none"} for positives in ("pair", "group", "mask")),
    {"positives": "group", "weights": "inverse"},
    {"kind": "sigmoid_logsumexp"},
]


@pytest.fixture
def embeds() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, N, D, generator=generator, dtype=torch.float64)
    return images.requires_grad_(), (texts * 3).requires_grad_()


@pytest.fixture
def inputs(embeds) -> tuple[torch.Tensor, ...]:
    """Returns embeddings, scale and bias, all of which require a gradient."""
    return (*embeds, SCALE.clone().requires_grad_(), BIAS.clone().requires_grad_())


def compute_naive_loss(
    images, texts, scale, bias, positives: str, group_ids, image_ids, weights: str = "none"
) -> torch.Tensor:
    """Computes the loss by its definition, one pair at a time."""

    def related(i: int, j: int) -> bool:
        return any(ids is not None and bool(ids[i] == ids[j]) for ids in (group_ids, image_ids))

    total = torch.zeros((), dtype=torch.float64)
    image_positives = [sum(i == j or related(i, j) for j in range(N)) for i in range(N)]
    text_positives = [sum(i == j or related(i, j) for i in range(N)) for j in range(N)]
    for i in range(N):
        for j in range(N):
            x, y = images[i] / images[i].norm(), texts[j] / texts[j].norm()
            logit = scale.exp() * (x @ y) + bias
            if positives == "mask" and related(i, j) and i != j:
                continue
            positive = i == j or (positives == "group" and related(i, j))
            inverse = positive and positives == "group" and weights == "inverse"
            weight = (1 / image_positives[i] + 1 / text_positives[j]) / 2 if inverse else 1
            total = total - weight * torch.log(torch.sigmoid(logit if positive else -logit))
    return total / N


def loss_and_gradients(loss: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, inputs)]


def assert_equal(ours: list[torch.Tensor], theirs: list[torch.Tensor], rtol: float = 1e-9, atol: float = 1e-12) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


# --- the definition ---


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("case", CASES[:-1], ids=str)
@pytest.mark.parametrize("ids", IDS)
def test_sigmoid_loss_and_its_gradients_equal_the_definition(inputs, case, ids, chunk_size):
    loss = contrastive_loss(*inputs, **case, group_ids=ids[0], image_ids=ids[1], chunk_size=chunk_size)
    expected = compute_naive_loss(*inputs, case["positives"], *ids, weights=case["weights"])
    assert_equal(loss_and_gradients(loss, inputs), loss_and_gradients(expected, inputs))


def test_the_settings_for_equal_texts_give_different_losses(inputs):
    values = [contrastive_loss(*inputs, **case, group_ids=TEXTS).item() for case in CASES]
    assert len({round(value, 6) for value in values}) == len(CASES)


def test_inverse_weights_of_all_positives_sum_to_the_number_of_pairs():
    """With zero embeddings and a bias of 0, every pair has the loss log 2, so the total loss counts the weights."""
    zeros, zero = torch.zeros(N, D), torch.tensor(0.0)
    loss = contrastive_loss(zeros, zeros, zero, zero, group_ids=TEXTS, image_ids=IMAGES, weights="inverse")
    related = (TEXTS[:, None] == TEXTS) | (IMAGES[:, None] == IMAGES)
    assert loss.item() * N / math.log(2) == pytest.approx(int((~related).sum()) + N)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_the_logsumexp_loss_equals_its_formula(embeds, chunk_size):
    """The formula is `-log(sigmoid(diagonal - logsumexp(row))).mean()`."""
    images, texts = (torch.nn.functional.normalize(part, dim=-1) for part in embeds)
    logits = images @ texts.T * SCALE.exp() + BIAS
    expected = -torch.log(torch.sigmoid(torch.diag(logits) - logits.logsumexp(dim=1))).mean()
    loss = contrastive_loss(*embeds, SCALE, BIAS, kind="sigmoid_logsumexp", group_ids=TEXTS, chunk_size=chunk_size)
    assert_equal(loss_and_gradients(loss, embeds), loss_and_gradients(expected, embeds))


def test_the_loss_equals_siglip_s_own_if_all_rows_differ(tiny_encoder):
    from transformers import AutoProcessor, SiglipModel

    model, processor = SiglipModel.from_pretrained(tiny_encoder), AutoProcessor.from_pretrained(tiny_encoder)
    from PIL import Image

    images = [Image.new("RGB", (40, 30), (60 * i, 20, 250 - 60 * i)) for i in range(4)]
    texts = ["liver", "lung", "left knee", "brain"]
    inputs = processor(images=images, text=texts, padding="max_length", max_length=64, return_tensors="pt")
    output = model(**inputs, return_loss=True)
    for chunk_size in (None, 3):  # the temperature and bias of SiglipModel have the shape [1]
        ours = contrastive_loss(
            output.vision_model_output.pooler_output,
            output.text_model_output.pooler_output,
            model.logit_scale,
            model.logit_bias,
            group_ids=torch.arange(4),
            chunk_size=chunk_size,
        )
        torch.testing.assert_close(ours, output.loss, rtol=1e-6, atol=1e-6)
        parameters = (model.logit_scale, model.logit_bias, model.vision_model.embeddings.position_embedding.weight)
        theirs = torch.autograd.grad(output.loss, parameters, retain_graph=True)
        gradients = torch.autograd.grad(ours, parameters, retain_graph=True)
        assert_equal(gradients, theirs, rtol=1e-4, atol=1e-6)


# --- in chunks ---


@pytest.mark.parametrize("cached_logits", [1, 60, 1 << 18])
@pytest.mark.parametrize("chunk_size", [1, 7, 16, 29, 1000])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_chunks_of_any_size_give_the_unchunked_result(monkeypatch, case, chunk_size, cached_logits):
    """Only some rows match others, so both code paths for a chunk run."""
    monkeypatch.setattr(chunked_contrastive_loss, "CACHED_LOGITS", cached_logits)
    inputs = draw_inputs(29, 6)
    ids = {"group_ids": torch.arange(29), "image_ids": torch.arange(29)}
    ids["group_ids"][[3, 4, 20]] = 3
    ids["image_ids"][[4, 11]] = 4
    whole = loss_and_gradients(contrastive_loss(*inputs, **case, **ids), inputs)
    chunked = loss_and_gradients(contrastive_loss(*inputs, **case, **ids, chunk_size=chunk_size), inputs)
    assert_equal(chunked, whole, rtol=1e-10)
    if "kind" not in case and case["positives"] != "pair":
        without = loss_and_gradients(contrastive_loss(*inputs, **case, chunk_size=chunk_size), inputs)
        assert not torch.allclose(without[0], whole[0], rtol=1e-3)


def draw_inputs(count: int, width: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(count)
    images, texts = torch.randn(2, count, width, generator=generator, dtype=torch.float64).to(dtype)
    scalars = (torch.tensor(value, dtype=torch.promote_types(dtype, torch.float32)) for value in (3.0, -4.0))
    return tuple(part.requires_grad_() for part in (images, texts, *scalars))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_of_chunks_equal_finite_differences(case):
    inputs = draw_inputs(5, 3)
    ids = {"group_ids": TEXTS[:5], "image_ids": IMAGES[:5]}

    def loss(*parts):
        return contrastive_loss(*parts, **case, **ids, chunk_size=2)

    assert torch.autograd.gradcheck(loss, inputs, nondet_tol=1e-10)


def test_many_pairs_are_computed_in_chunks_by_default():
    inputs = draw_inputs(1_100, 4, torch.float32)
    ids = torch.arange(1_100) % 300
    loss = contrastive_loss(*inputs, group_ids=ids)
    assert "ChunkedLoss" in str(loss.grad_fn.next_functions)
    assert "ChunkedLoss" not in str(contrastive_loss(*draw_inputs(N, D)).grad_fn.next_functions)
    exact = tuple(part.detach().double().requires_grad_() for part in inputs)
    expected = loss_and_gradients(contrastive_loss(*exact, group_ids=ids), exact)
    for ours, theirs in zip(loss_and_gradients(loss, inputs), expected, strict=True):
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_a_factor_on_the_loss_multiplies_its_gradients(inputs, chunk_size):
    plain = loss_and_gradients(contrastive_loss(*inputs, group_ids=TEXTS, chunk_size=chunk_size), inputs)
    scaled = loss_and_gradients(contrastive_loss(*inputs, group_ids=TEXTS, chunk_size=chunk_size) * -3.5, inputs)
    assert_equal(scaled, [part * -3.5 for part in plain])


def test_a_second_backward_pass_gives_the_same_gradients(inputs):
    loss = contrastive_loss(*inputs, group_ids=TEXTS, chunk_size=3)
    first = [part * 1 for part in torch.autograd.grad(loss * 2, inputs, retain_graph=True)]
    again = torch.autograd.grad(loss, inputs, retain_graph=True)
    assert_equal(first, [part * 2 for part in again])
    loss.backward()
    assert_equal([part.grad for part in inputs], again)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_second_derivatives_are_refused_in_chunks_and_correct_without(inputs):
    loss = contrastive_loss(*inputs, group_ids=TEXTS, chunk_size=3)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(loss, inputs[:1], create_graph=True)

    def without(*parts):
        return contrastive_loss(*parts, group_ids=TEXTS)

    assert torch.autograd.gradgradcheck(without, inputs, nondet_tol=1e-10)


@pytest.mark.parametrize("needed", [needed for needed in itertools.product([True, False], repeat=4) if any(needed)])
def test_only_needed_gradients_are_computed(inputs, needed):
    whole = torch.autograd.grad(contrastive_loss(*inputs, group_ids=TEXTS), inputs)
    parts = tuple(part.detach().requires_grad_(need) for part, need in zip(inputs, needed, strict=True))
    contrastive_loss(*parts, group_ids=TEXTS, chunk_size=3).backward()
    for part, need, expected in zip(parts, needed, whole, strict=True):
        assert (part.grad is not None) == need
        if need:
            torch.testing.assert_close(part.grad, expected, rtol=1e-9, atol=1e-12)


def test_without_gradients_nothing_is_computed_for_them(inputs, monkeypatch):
    calls = []
    monkeypatch.setattr(
        chunked_contrastive_loss,
        "backpropagate_normalization_",
        lambda *rows: calls.append(rows) or pytest.fail("a gradient"),
    )
    expected = contrastive_loss(*inputs)
    with torch.no_grad():
        loss = contrastive_loss(*inputs, chunk_size=3)
    frozen = contrastive_loss(*(part.detach() for part in inputs), chunk_size=3)
    assert not loss.requires_grad and not frozen.requires_grad and not calls
    torch.testing.assert_close(torch.stack([loss, frozen]), torch.stack([expected, expected]).detach())


# --- several processes ---


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_losses_of_several_processes_average_to_that_of_the_whole_batch(inputs, case, chunk_size):
    whole = loss_and_gradients(contrastive_loss(*inputs, **case, group_ids=TEXTS, image_ids=IMAGES), inputs)
    total = 0
    for start, stop in ((0, 3), (3, 4), (4, 4), (4, 7)):  # uneven sizes, one of them without images
        loss = contrastive_loss(
            inputs[0][start:stop],
            *inputs[1:],
            **case,
            group_ids=TEXTS[start:stop],
            image_ids=None if start else IMAGES[start:stop],  # text_image_ids alone is sufficient
            text_group_ids=TEXTS,
            text_image_ids=IMAGES,
            offset=start,
            chunk_size=chunk_size,
        )
        total = total + loss * (stop - start) / N
    assert_equal(loss_and_gradients(total, inputs), whole)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"offset": 5}, "3 images and 7 texts, and offset is 5"),
        ({"offset": -1}, "offset is -1"),
        ({"group_ids": TEXTS[:3]}, "text_group_ids"),
        ({"image_ids": IMAGES}, "image_ids has the shape"),
        ({"text_image_ids": IMAGES[:3]}, "text_image_ids has the shape"),
        ({"group_ids": TEXTS[:3], "text_group_ids": TEXTS, "offset": 1}, "group_ids differs from"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
)
def test_ids_and_rows_that_do_not_match_are_refused(inputs, wrong, message):
    with pytest.raises(ValueError, match=message):
        contrastive_loss(inputs[0][:3], *inputs[1:], **wrong)


def test_embeddings_of_different_widths_are_refused(inputs):
    with pytest.raises(ValueError, match=r"\[7, 4\] and text_embeds the shape \[7, 5\]"):
        contrastive_loss(inputs[0][:, :4], *inputs[1:])
    with pytest.raises(ValueError, match="scalars"):
        contrastive_loss(*inputs[:2], torch.ones(2), BIAS)


# --- numerically difficult cases ---


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_zero_vector_gives_no_nan(case, chunk_size):
    images, texts = torch.randn(2, 4, 4)
    images[[0, 2]] = texts[3] = 0
    inputs = (images.requires_grad_(), texts.requires_grad_(), torch.tensor(2.0), torch.tensor(-10.0))
    loss = contrastive_loss(*inputs, **case, group_ids=TEXTS[:4], chunk_size=chunk_size)
    loss.backward()
    assert loss.isfinite() and images.grad.isfinite().all() and texts.grad.isfinite().all()


def test_a_zero_vector_has_the_same_gradient_in_chunks(inputs):
    with torch.no_grad():
        inputs[0][2], inputs[1][4] = 0, 0
        inputs[1][5] *= 1e-12  # a norm below the minimum that it is divided by
    whole = loss_and_gradients(contrastive_loss(*inputs, group_ids=TEXTS), inputs)
    assert_equal(loss_and_gradients(contrastive_loss(*inputs, group_ids=TEXTS, chunk_size=2), inputs), whole)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_losses_of_confident_pairs_stay_exact(chunk_size):
    """With logits of +-90 in float32, as in a trained model, losses are neither infinite nor rounded to zero."""
    images = torch.eye(2, 3).requires_grad_()
    texts = torch.tensor([[1.0, 0, 0], [0, -1.0, 0]])
    scale, bias = torch.tensor(math.log(90.0), requires_grad=True), torch.tensor(0.0, requires_grad=True)
    loss = contrastive_loss(images, texts, scale, bias, chunk_size=chunk_size)
    # Pair (0, 0) has the loss exp(-90), pair (1, 1) the loss 90, the other two log 2 each.
    assert loss.item() == pytest.approx((2 * math.log(2) + 90) / 2, rel=1e-6)
    confident = contrastive_loss(texts[:1], texts[:1], torch.tensor(math.log(30.0)), bias, chunk_size=chunk_size)
    assert confident.item() == pytest.approx(math.exp(-30), rel=1e-4)
    loss.backward()
    assert scale.grad.item() == pytest.approx(45, rel=1e-6) and images.grad.isfinite().all()


@pytest.mark.parametrize("chunk_size", [None, 5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_embeddings_are_compared_in_float32(dtype, chunk_size):
    inputs = draw_inputs(16, 8, dtype)
    loss = contrastive_loss(*inputs, group_ids=torch.arange(16) // 2, chunk_size=chunk_size)
    assert loss.dtype == torch.float32
    exact = tuple(part.detach().double().requires_grad_() for part in inputs)
    expected = loss_and_gradients(contrastive_loss(*exact, group_ids=torch.arange(16) // 2), exact)
    for ours, theirs, part in zip(loss_and_gradients(loss, inputs)[1:], expected[1:], inputs, strict=True):
        assert ours.dtype == part.dtype
        torch.testing.assert_close(ours.double(), theirs, rtol=2 * torch.finfo(part.dtype).eps, atol=1e-5)
    assert loss.item() == pytest.approx(expected[0].item(), rel=1e-6)


def test_towers_of_different_precision(inputs):
    images = inputs[0].detach().bfloat16().requires_grad_()
    expected = loss_and_gradients(contrastive_loss(images, *inputs[1:]), (images, *inputs[1:]))
    chunked = contrastive_loss(images, *inputs[1:], chunk_size=3)
    assert chunked.dtype == torch.float64
    assert_equal(loss_and_gradients(chunked, (images, *inputs[1:])), expected)


@pytest.mark.parametrize("chunk_size", [None, 5])
def test_autocast_does_not_change_the_logits(chunk_size):
    inputs = draw_inputs(16, 8, torch.float32)
    expected = loss_and_gradients(contrastive_loss(*inputs), inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = contrastive_loss(*inputs, chunk_size=chunk_size)
    assert loss.dtype == torch.float32
    assert_equal(loss_and_gradients(loss, inputs), expected, rtol=1e-5, atol=1e-6)
    if chunk_size:
        with torch.autocast("cpu", dtype=torch.bfloat16):  # the second backward pass computes the gradients again
            loss = contrastive_loss(*inputs, chunk_size=chunk_size)
            torch.autograd.grad(loss, inputs, retain_graph=True)
            assert_equal(loss_and_gradients(loss, inputs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"kind": "softmax"}, {"positives": "all"}, {"weights": "soft"}])
def test_the_error_for_an_unknown_setting_names_it(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong.values()))):
        contrastive_loss(torch.ones(2, 2), torch.ones(2, 2), SCALE, BIAS, **wrong)
