"""Tests the AdamW groups: every trainable weight is in exactly one, with the right learning rate and weight decay."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.trainers.small_pairs import small_model, small_pairs, stack
from trainers.encoder.arguments import EncoderArguments, EncoderTrainingArguments
from trainers.encoder.parameter_groups import ORDER, describe_groups, parameter_groups
from trainers.encoder.tuning import set_trainable

RATES = {"learning_rate": 1e-4, "weight_decay": 1e-2, "vision_lr": 1e-5, "text_lr": 2e-5, "temperature_lr": 1e-3}
CHOICES = [
    {},
    {"freeze": "vision"},
    {"freeze": "text", "unfreeze_last_layers": 1},
    {"freeze": "both"},
    {"lora_towers": "both"},
    {"lora_towers": "vision", "freeze": "text"},
]


def tuned(**flags):
    model = small_model()
    set_trainable(model, EncoderArguments(tiny=True, lora_r=2, **flags))
    return model


@pytest.mark.parametrize("flags", CHOICES, ids=str)
def test_every_parameter_that_learns_is_in_one_group(flags):
    model = tuned(**flags)
    groups = parameter_groups(model, SimpleNamespace(**RATES))
    names = [name for group in groups for name in group["names"]]
    assert len(names) == len(set(names))
    assert set(names) == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    parameters = dict(model.named_parameters())
    for group in groups:
        assert group["params"] and all(
            parameters[name] is parameter for name, parameter in zip(group["names"], group["params"], strict=True)
        )
    order = [group["name"] for group in groups]
    assert order == [name for name in ORDER if name in order]
    assert order == [group["name"] for group in parameter_groups(tuned(**flags), SimpleNamespace(**RATES))]


def test_what_has_a_place_and_not_a_size_does_not_decay():
    groups = {group["name"]: group for group in parameter_groups(tuned(), SimpleNamespace(**RATES))}
    assert list(groups) == list(ORDER)
    decayed = {name for group in groups.values() if group["weight_decay"] for name in group["names"]}
    kept = {name for group in groups.values() if not group["weight_decay"] for name in group["names"]}
    assert {name for name in kept if name.endswith("weight") and "norm" not in name} == {
        f"{tower}_model.embeddings.position_embedding.weight" for tower in ("vision", "text")
    }
    assert {"vision_model.head.probe", "logit_scale", "logit_bias"} <= kept
    assert all(name.endswith("weight") and "norm" not in name for name in decayed)
    assert "vision_model.head.attention.in_proj_weight" in decayed
    assert {group["name"]: group["lr"] for group in groups.values()} == {
        "vision_decay": 1e-5,
        "vision_no_decay": 1e-5,
        "text_decay": 2e-5,
        "text_no_decay": 2e-5,
        "temperature": 1e-3,
    }


def test_the_rates_are_the_common_one_unless_given(tmp_path):
    training = EncoderTrainingArguments(output_dir=str(tmp_path), vision_lr=0.0)
    groups = {group["name"]: group["lr"] for group in parameter_groups(tuned(), training)}
    assert groups.pop("vision_decay") == groups.pop("vision_no_decay") == 0
    assert set(groups.values()) == {1e-4}


def test_adapters_decay_as_weights_do():
    groups = parameter_groups(tuned(lora_towers="both"), SimpleNamespace(**RATES))
    assert [group["name"] for group in groups] == ["vision_decay", "text_decay", "temperature"]
    assert all("lora_" in name for group in groups[:2] for name in group["names"])


def test_a_parameter_of_no_tower_is_an_error():
    model = tuned()
    model.projection = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"projection\.weight belongs to no tower"):
        parameter_groups(model, SimpleNamespace(**RATES))


def test_fused_adamw_takes_them_and_each_tower_moves_at_its_own_rate():
    """The first step of Adam is the learning rate times the sign of the gradient."""
    model = tuned()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    settings = SimpleNamespace(**(RATES | {"weight_decay": 0.0}))
    optimizer = torch.optim.AdamW(parameter_groups(model, settings), fused=True)
    model(**stack(small_pairs(6)), return_loss=True).loss.backward()
    optimizer.step()
    rates = {"vision_model": 1e-5, "text_model": 2e-5, "logit_scale": 1e-3, "logit_bias": 1e-3}
    for name, parameter in model.named_parameters():
        if name.endswith("k_proj.bias"):
            continue  # it moves all scores of a query alike, so its gradient is zero
        step = (parameter.detach() - before[name]).abs().max().item()
        assert step == pytest.approx(rates[name.split(".")[0]], rel=1e-2), name


def test_the_description_counts_the_weights():
    model = tuned(freeze="vision")
    lines = describe_groups(parameter_groups(model, SimpleNamespace(**RATES)))
    numbers = [int(line.split()[1].replace(",", "")) for line in lines]
    assert sum(numbers) == sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert [line.split()[0] for line in lines] == ["text_decay", "text_no_decay", "temperature"]
    assert "learning rate 2e-05, weight decay 0.01" in lines[0] and "weight decay 0 " in lines[1]
