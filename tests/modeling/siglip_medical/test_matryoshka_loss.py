"""Checks that the Matryoshka loss is the weighted mean of the contrastive losses of truncated embeddings."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from modeling.siglip_medical.contrastive_loss import contrastive_loss
from modeling.siglip_medical.matryoshka_loss import embedding_loss

IDS = {"group_ids": torch.tensor([1, 2, 1, 4, 5, 6]), "image_ids": torch.tensor([1, 2, 3, 3, 5, 6])}


def make_batch() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    embeds = [torch.randn(6, 16, dtype=torch.float64, generator=generator) for _ in range(2)]
    scalars = [torch.tensor([value], dtype=torch.float64) for value in (1.5, -3.0)]
    return [tensor.requires_grad_() for tensor in (*embeds, *scalars)]


def make_config(**more) -> SimpleNamespace:
    return SimpleNamespace(contrastive_loss="sigmoid", positives="group", **more)


@pytest.mark.parametrize("kind", ["sigmoid", "sigmoid_logsumexp"])
@pytest.mark.parametrize("positives", ["pair", "group", "mask"])
def test_without_widths_it_is_the_contrastive_loss(kind, positives):
    config = SimpleNamespace(contrastive_loss=kind, positives=positives)
    expected = contrastive_loss(*make_batch(), kind=kind, positives=positives, **IDS)
    torch.testing.assert_close(embedding_loss(config, *make_batch(), **IDS), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("weights", "shares"), [(None, [1 / 3] * 3), ([3.0, 2.0, 1.0], [1 / 2, 1 / 3, 1 / 6])])
def test_loss_and_gradients_are_averaged_over_the_widths(weights, shares):
    dims, inputs = [16, 8, 4], make_batch()
    loss = embedding_loss(make_config(matryoshka_dims=dims, matryoshka_weights=weights), *inputs, **IDS)
    loss.backward()
    plain = make_batch()
    expected = sum(
        share * contrastive_loss(plain[0][:, :dim], plain[1][:, :dim], *plain[2:], **IDS)
        for dim, share in zip(dims, shares, strict=True)
    )
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for one, other in zip(inputs, plain, strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-10, atol=1e-12)


def test_ids_of_none_count_as_absent_and_an_unknown_name_is_an_error():
    without = embedding_loss(make_config(), *make_batch())
    found = embedding_loss(make_config(), *make_batch(), group_ids=None)
    torch.testing.assert_close(found, without, rtol=1e-12, atol=0)
    with pytest.raises(TypeError):
        embedding_loss(make_config(), *make_batch(), grup_ids=IDS["group_ids"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"matryoshka_dims": [8, 4]}, "include 16 itself"),
        ({"matryoshka_dims": [32, 16]}, "between 1 and 16"),
        ({"matryoshka_dims": [16, 0]}, "between 1 and 16"),
        ({"matryoshka_dims": [16, 8, 8]}, "different widths"),
        ({"matryoshka_dims": [16, 8], "matryoshka_weights": [1.0]}, "one positive number for each"),
        ({"matryoshka_dims": [16, 8], "matryoshka_weights": [1.0, 0.0]}, "one positive number for each"),
        ({"matryoshka_weights": [1.0]}, "matryoshka_dims is not set"),
    ],
)
def test_invalid_widths_and_weights_are_errors(more, message):
    with pytest.raises(ValueError, match=message):
        embedding_loss(make_config(**more), *make_batch())


def test_training_makes_the_leading_dimensions_usable():
    """Two towers whose outputs agree only in their last dimensions learn to agree in the first ones."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(32, 16, generator=generator)
    start = torch.eye(16).flip(0)
    recalls = {}
    for dims in (None, [16, 4]):
        torch.manual_seed(0)
        weights = [(start + 0.01 * torch.randn(16, 16)).requires_grad_() for _ in range(2)]
        noise = torch.cat(
            [torch.randn(32, 12), torch.zeros(32, 4)], dim=1
        )  # noise in all but the last four features, which the initial weights map to the first four dimensions
        config = make_config(matryoshka_dims=dims)
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
