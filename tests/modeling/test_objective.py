"""The Matryoshka loss is the weighted mean of contrastive losses of shorter embeddings, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from modeling.siglip_medical.loss import contrastive_loss
from modeling.siglip_medical.objective import embedding_loss

IDS = {"group_ids": torch.tensor([1, 2, 1, 4, 5, 6]), "image_ids": torch.tensor([1, 2, 3, 3, 5, 6])}


def batch() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    embeds = [torch.randn(6, 16, dtype=torch.float64, generator=generator) for _ in range(2)]
    scalars = [torch.tensor([value], dtype=torch.float64) for value in (1.5, -3.0)]
    return [tensor.requires_grad_() for tensor in (*embeds, *scalars)]


def settings(**more) -> SimpleNamespace:
    return SimpleNamespace(contrastive_loss="sigmoid", positives="group", **more)


@pytest.mark.parametrize("kind", ["sigmoid", "sigmoid_logsumexp"])
@pytest.mark.parametrize("positives", ["pair", "group", "mask"])
def test_without_widths_it_is_the_contrastive_loss(kind, positives):
    config = SimpleNamespace(contrastive_loss=kind, positives=positives)
    expected = contrastive_loss(*batch(), kind=kind, positives=positives, **IDS)
    torch.testing.assert_close(embedding_loss(config, *batch(), **IDS), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("weights", "shares"), [(None, [1 / 3] * 3), ([3.0, 2.0, 1.0], [1 / 2, 1 / 3, 1 / 6])])
def test_widths_are_averaged_in_value_and_gradient(weights, shares):
    dims, inputs = [16, 8, 4], batch()
    loss = embedding_loss(settings(matryoshka_dims=dims, matryoshka_weights=weights), *inputs, **IDS)
    loss.backward()
    plain = batch()
    expected = sum(
        share * contrastive_loss(plain[0][:, :dim], plain[1][:, :dim], *plain[2:], **IDS)
        for dim, share in zip(dims, shares, strict=True)
    )
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for one, other in zip(inputs, plain, strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-10, atol=1e-12)


def test_ids_that_are_none_are_left_out_and_a_wrong_one_is_an_error():
    without = embedding_loss(settings(), *batch())
    torch.testing.assert_close(embedding_loss(settings(), *batch(), group_ids=None), without, rtol=1e-12, atol=0)
    with pytest.raises(TypeError):
        embedding_loss(settings(), *batch(), grup_ids=IDS["group_ids"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"matryoshka_dims": [8, 4]}, "16 itself"),
        ({"matryoshka_dims": [32, 16]}, "between 1 and 16"),
        ({"matryoshka_dims": [16, 0]}, "between 1 and 16"),
        ({"matryoshka_dims": [16, 8, 8]}, "different widths"),
        ({"matryoshka_dims": [16, 8], "matryoshka_weights": [1.0]}, "one positive number for each"),
        ({"matryoshka_dims": [16, 8], "matryoshka_weights": [1.0, 0.0]}, "one positive number for each"),
        ({"matryoshka_weights": [1.0]}, "without matryoshka_dims"),
    ],
)
def test_widths_and_weights_that_do_not_fit_are_errors(more, message):
    with pytest.raises(ValueError, match=message):
        embedding_loss(settings(**more), *batch())


def test_training_makes_the_leading_dimensions_usable():
    """Two towers of random features that only agree in their last dimensions learn to agree in the first ones."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(32, 16, generator=generator)
    start = torch.eye(16).flip(0)
    recalls = {}
    for dims in (None, [16, 4]):
        torch.manual_seed(0)
        weights = [(start + 0.01 * torch.randn(16, 16)).requires_grad_() for _ in range(2)]
        noise = torch.cat(
            [torch.randn(32, 12), torch.zeros(32, 4)], dim=1
        )  # the first four of 16 after the flip are clean
        config = settings(matryoshka_dims=dims)
        optimizer = torch.optim.Adam(weights, lr=0.02)
        for _ in range(150):
            optimizer.zero_grad()
            images, texts = (features + noise) @ weights[0], features.flip(1).flip(1) @ weights[1]
            embedding_loss(config, images, texts, torch.tensor([2.3]), torch.tensor([-10.0])).backward()
            optimizer.step()
        with torch.no_grad():
            losses = contrastive_loss(images[:, :4], texts[:, :4], torch.tensor([2.3]), torch.tensor([-10.0]))
        recalls[str(dims)] = losses.item()
    assert recalls["[16, 4]"] < recalls["None"]
