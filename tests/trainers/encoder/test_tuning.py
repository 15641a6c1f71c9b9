"""Tests which weights are trainable with every option, and that adapters are merged, saved and loaded exactly."""

from __future__ import annotations

import pytest
import torch

from evaluation.loading import InputError
from tests.trainers.small_pairs import gradients, relative_error, small_model, small_pairs, stack
from trainers.encoder.arguments import EncoderArguments
from trainers.encoder.tuning import (
    adapted_layers,
    export_adapter,
    load_adapters,
    merged_state,
    save_adapters,
    set_frozen_parts_to_eval,
    set_trainable,
)

RANK = 2
SCALARS = {"logit_scale", "logit_bias"}
SAME = {"rtol": 0, "atol": 1e-10}  # of float64: a product's last bits depend on where its factors are in memory


def tuned(model=None, **flags):
    model = small_model() if model is None else model
    set_trainable(model, EncoderArguments(tiny=True, **({"lora_r": RANK} | flags)))
    return model


def with_random_adapters(**flags):
    """Adapters as after a training: peft starts them at zero."""
    model = tuned(lora_towers="both", **flags)
    torch.manual_seed(3)
    for layer in adapted_layers(model).values():
        torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
    return model


def names(model, *prefixes: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


def with_gradients(model) -> set[str]:
    """Of a real backward pass: what learns has a gradient, what does not has none."""
    model(**stack(small_pairs(6)), return_loss=True).loss.backward()
    found = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert found == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return found


@pytest.mark.parametrize(
    ("flags", "learning"),
    [
        ({}, ("vision_model.", "text_model.")),
        ({"freeze": "vision"}, ("text_model.",)),
        ({"freeze": "text"}, ("vision_model.",)),
        ({"freeze": "both"}, ()),
        (
            {"freeze": "vision", "unfreeze_last_layers": 1},
            ("text_model.", "vision_model.encoder.layers.1.", "vision_model.post_layernorm.", "vision_model.head."),
        ),
        (
            {"freeze": "both", "unfreeze_last_layers": 1},
            (
                *("vision_model.encoder.layers.1.", "vision_model.post_layernorm.", "vision_model.head."),
                *("text_model.encoder.layers.1.", "text_model.final_layer_norm.", "text_model.head."),
            ),
        ),
        (
            {"freeze": "text", "unfreeze_last_layers": 2},
            ("vision_model.", "text_model.encoder.", "text_model.final_layer_norm.", "text_model.head."),
        ),
    ],
    ids=str,
)
def test_what_is_frozen_has_no_gradient(flags, learning):
    model = tuned(**flags)
    assert with_gradients(model) == SCALARS | (names(model, *learning) if learning else set())


@pytest.mark.parametrize("tower", ["vision", "text", "both"])
def test_adapters_are_in_the_encoder_of_their_tower_only(tower):
    model = tuned(lora_towers=tower)
    adapters = {name for name, _ in model.named_parameters() if "lora_" in name}
    chosen = ["vision", "text"] if tower == "both" else [tower]
    assert {name.split("_")[0] for name in adapters} == set(chosen)
    assert len(adapters) == len(chosen) * 2 * 6 * 2  # layers, linear layers in each, A and B
    count = sum(parameter.numel() for name, parameter in model.named_parameters() if name in adapters)
    assert count == len(chosen) * 2 * RANK * (4 * (32 + 32) + 2 * (32 + 64))
    others = [f"{other}_model." for other in ("vision", "text") if other not in chosen]
    assert with_gradients(model) == adapters | (names(model, *others) if others else set()) | SCALARS


def test_adapters_beside_a_frozen_tower():
    model = tuned(lora_towers="vision", freeze="text")
    assert with_gradients(model) == {name for name, _ in model.named_parameters() if "lora_" in name} | SCALARS


def test_adapters_that_have_not_learned_change_nothing():
    batch = stack(small_pairs(6))
    expected, model = small_model(), tuned(lora_towers="both")
    torch.testing.assert_close(model(**batch).logits_per_image, expected(**batch).logits_per_image, **SAME)
    assert merged_state(model).keys() == expected.state_dict().keys()
    assert all(merged_state(model)[name].equal(value) for name, value in expected.state_dict().items())


def test_merged_weights_give_what_the_adapters_gave():
    model, batch = with_random_adapters(), stack(small_pairs(6))
    merged, untouched = small_model(), small_model()
    merged.load_state_dict(merged_state(model))
    found, expected = (one(**batch) for one in (merged, model))
    for name in ("logits_per_image", "image_embeds", "text_embeds"):
        torch.testing.assert_close(found[name], expected[name], **SAME)
        assert (found[name] - untouched(**batch)[name]).abs().max() > 1e-2
    assert "peft" not in type(model).__module__ and type(model) is type(merged)


def test_merging_is_what_peft_does():
    """`merge` of peft's own layers, in place, on a second model with the same adapters."""
    model, theirs = with_random_adapters(), with_random_adapters()
    merged = merged_state(model)
    for name, layer in adapted_layers(theirs).items():
        layer.merge()
        torch.testing.assert_close(layer.base_layer.weight, merged[f"{name}.weight"], **SAME)


def test_a_checkpoint_gives_the_same_bits_back(tmp_path):
    from safetensors.torch import save_file

    model = with_random_adapters()
    save_file({name: value.contiguous() for name, value in merged_state(model).items()}, tmp_path / "model.safetensors")
    save_adapters(model, tmp_path)
    again = tuned(lora_towers="both")
    load_adapters(again, tmp_path)
    assert all(again.state_dict()[name].equal(value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "flags", [{"lora_towers": "vision"}, {"lora_towers": "both", "lora_alpha": 1}, {"lora_towers": "both", "lora_r": 3}]
)
def test_adapters_of_another_run_are_refused(flags, tmp_path):
    from safetensors.torch import save_file

    model = with_random_adapters()
    save_file({name: value.contiguous() for name, value in merged_state(model).items()}, tmp_path / "model.safetensors")
    save_adapters(model, tmp_path)
    with pytest.raises(InputError, match="adapters do not match this run"):
        load_adapters(tuned(**flags), tmp_path)
    (tmp_path / "lora.safetensors").unlink()
    with pytest.raises(InputError, match="trained without adapters"):
        load_adapters(tuned(lora_towers="both"), tmp_path)


def test_peft_opens_the_adapter_beside_the_base_model(tmp_path):
    from peft import PeftModel

    model, batch = with_random_adapters(), stack(small_pairs(6))
    with torch.no_grad():
        model.logit_scale += 1
        model.logit_bias -= 2
    export_adapter(model, tmp_path / "adapter")
    again = PeftModel.from_pretrained(small_model(), tmp_path / "adapter")
    torch.testing.assert_close(again(**batch).logits_per_image, model(**batch).logits_per_image, **SAME)


def test_frozen_parts_are_in_evaluation_mode_and_the_others_in_training_mode():
    model = tuned(small_model(attention_dropout=0.5), freeze="vision", unfreeze_last_layers=1).train()
    set_frozen_parts_to_eval(model)
    layers = model.vision_model.encoder.layers
    assert model.training and model.text_model.training and layers[1].training and layers[1].self_attn.training
    assert not any(module.training for part in (layers[0], model.vision_model.embeddings) for module in part.modules())
    model = tuned(small_model(attention_dropout=0.5), freeze="vision").train()
    set_frozen_parts_to_eval(model)
    batch, seen = stack(small_pairs(6)), []
    for _ in range(2):
        outputs = model(**batch)
        assert not outputs.image_embeds.requires_grad
        seen.append(outputs)
    torch.testing.assert_close(seen[0].image_embeds, seen[1].image_embeds, **SAME)
    assert (seen[0].text_embeds - seen[1].text_embeds).abs().max() > 1e-3  # the dropout of the tower that learns


def kept_for_backward(model) -> int:
    """Bytes that autograd keeps of a forward pass, weights not counted."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(**stack(small_pairs(32)), return_loss=True).loss
    assert loss.requires_grad
    return sum(size for size, _ in kept.values())


def test_a_frozen_tower_keeps_no_activations():
    whole, vision, both = (kept_for_backward(tuned(freeze=tower)) for tower in ("none", "vision", "both"))
    last = kept_for_backward(tuned(freeze="vision", unfreeze_last_layers=1))
    text = kept_for_backward(tuned(freeze="text"))
    assert both < 0.05 * whole
    assert vision < last < whole
    assert vision + text == pytest.approx(whole, rel=0.1)


@pytest.mark.parametrize("flags", [{"lora_towers": "both"}, {"freeze": "both", "unfreeze_last_layers": 1}], ids=str)
def test_activation_checkpointing_leaves_the_gradients_as_they_are(flags):
    """The reentrant kind loses them where the inputs of a layer need none; what Trainer asks for is the other one."""
    model, batch = (with_random_adapters() if "lora_towers" in flags else tuned(**flags)), stack(small_pairs(6))
    model(**batch, return_loss=True).loss.backward()
    expected = gradients(model)
    model.train()
    set_frozen_parts_to_eval(model)
    model.activation_checkpointing_enable()
    passes = []
    model.vision_model.encoder.layers[1].self_attn.register_forward_hook(lambda *_: passes.append(1))
    model(**batch, return_loss=True).loss.backward()
    assert relative_error(gradients(model), expected) < 1e-12
    assert len(passes) == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"unfreeze_last_layers": 1}, "--unfreeze_last_layers 1: give a number of layers, and --freeze"),
        ({"unfreeze_last_layers": -1, "freeze": "text"}, "--unfreeze_last_layers -1"),
        ({"freeze": "both", "lora_towers": "text"}, "remove the text tower from --freeze"),
        ({"lora_towers": "text", "lora_r": 0}, "--lora_r"),
        ({"save_adapter": True}, "--lora_towers"),
        ({"cache_frozen_tower": True}, "--cache_frozen_tower requires --freeze"),
        (
            {"cache_frozen_tower": True, "freeze": "text", "unfreeze_last_layers": 1},
            "cannot be combined with --unfreeze",
        ),
        ({"cache_frozen_tower": True, "freeze": "vision", "augment": "light"}, "cannot be combined with --augment or"),
    ],
    ids=str,
)
def test_flags_that_contradict_each_other_are_errors(flags, said):
    with pytest.raises(ValueError) as error:
        EncoderArguments(**flags)
    assert said in str(error.value)


def test_more_layers_than_there_are_is_an_error():
    with pytest.raises(InputError, match="the vision tower has 2 layers"):
        tuned(freeze="vision", unfreeze_last_layers=3)
