"""Compares the patched vision tower with the stock one: outputs, gradients under checkpointing, memory."""

from __future__ import annotations

import copy

import pytest
import torch

from modeling.mllama.patch import prepare_mllama, restore_mllama
from tests.modeling.mllama.batches import IMAGE_TILES, load, make_images

SAME = {"rtol": 1e-12, "atol": 1e-12}  # of float64: a product's last bits depend on where its factors are in memory


def make_inputs() -> dict[str, torch.Tensor]:
    pixels = make_images().unsqueeze(1)
    mask = torch.tensor([[[number < used for number in range(4)]] for used in IMAGE_TILES]).long()
    return {"pixel_values": pixels, "aspect_ratio_ids": torch.tensor(IMAGE_TILES)[:, None], "aspect_ratio_mask": mask}


@pytest.fixture(scope="module")
def models(tiny_decoder):
    stock = load(tiny_decoder).train()
    prepared = copy.deepcopy(stock)
    prepare_mllama(prepared)
    return stock, prepared


def test_the_states_equal_the_stock_ones(models):
    stock, prepared = (model.model.vision_model(**make_inputs()).last_hidden_state for model in models)
    torch.testing.assert_close(prepared, stock, **SAME)


def test_checkpointing_gives_the_stock_gradients_and_stores_less(models):
    stock, prepared = models[0], copy.deepcopy(models[1])
    prepare_mllama(prepared)
    prepared.gradient_checkpointing_enable({"use_reentrant": False})
    stored, found = [], []
    for model in (stock, prepared):
        tower, sizes = model.model.vision_model, []

        def store(tensor, sizes=sizes):
            sizes.append(tensor.untyped_storage().nbytes())
            return tensor

        model.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(store, lambda tensor: tensor):
            loss = tower(**make_inputs()).last_hidden_state.square().sum()
        loss.backward()
        stored.append(sum(sizes))
        found.append({name: one.grad.clone() for name, one in tower.named_parameters() if one.grad is not None})
    assert found[0].keys() == found[1].keys() and len(found[0]) > 20
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, **SAME)
    assert stored[1] < 0.5 * stored[0]


def test_states_that_no_code_reads_are_not_stored(models):
    hidden = torch.randn(1, 4 * 24, 64, dtype=torch.float64)
    encoder = models[1].model.vision_model.global_transformer
    assert encoder(hidden).hidden_states == (None,) * len(encoder.layers)
    stock = models[0].model.vision_model.global_transformer(hidden)
    torch.testing.assert_close(encoder(hidden).last_hidden_state, stock.last_hidden_state, **SAME)


def test_restoring_removes_the_patch(models):
    again = copy.deepcopy(models[1])
    restore_mllama(again)
    for encoder in (again.model.vision_model.transformer, again.model.vision_model.global_transformer):
        assert "forward" not in vars(encoder) and "read_layers" not in vars(encoder)
