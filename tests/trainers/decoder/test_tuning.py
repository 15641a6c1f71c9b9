"""Tests which weights each `--train_scope` trains: by counts on the real model, by gradients on a small one."""

from __future__ import annotations

import pytest
import torch

from evaluation.loading import InputError
from tests.cases import few
from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments
from trainers.decoder.tuning import describe_trainable, set_trainable

R = 16


def real_config():
    """That of Llama-3.2-11B-Vision-Instruct, whose tiles have 560 pixels."""
    from transformers import MllamaConfig

    return MllamaConfig(vision_config={"image_size": 560})


def expected_weights(config) -> dict[str, int]:
    """How many weights learn in each scope: r * (inputs + outputs) for each linear layer with an adapter."""
    text, vision = config.text_config, config.vision_config
    hidden, wide = text.hidden_size, text.intermediate_size
    keys = hidden // text.num_attention_heads * text.num_key_value_heads
    cross = len(text.cross_attention_layers)
    attention = R * (2 * (hidden + hidden) + 2 * (hidden + keys))  # q and o, k and v
    feed_forward = R * 3 * (hidden + wide)
    projector = R * (vision.vision_output_dim + hidden)
    width = vision.hidden_size
    vision_layer = R * (4 * (width + width) + 2 * (width + vision.intermediate_size))
    lora = text.num_hidden_layers * (attention + feed_forward)  # a layer attends to itself or to the image
    return {
        "lm_head": text.vocab_size * hidden,
        "adapter": cross * attention + projector,
        "lora": lora,
        "lora_all": lora + projector + (vision.num_hidden_layers + vision.num_global_layers) * vision_layer,
    }


@pytest.fixture(scope="module")
def real():
    """`real(**flags)`: the real decoder without its memory, with what learns chosen."""
    from transformers import MllamaForConditionalGeneration

    def build(**flags):
        with torch.device("meta"):
            model = MllamaForConditionalGeneration(real_config())
            return set_trainable(model, DecoderArguments(lora_r=R, **flags))

    return build


MEASURED = {"lm_head": 525_336_576, "adapter": 3_596_288, "lora": 52_428_800, "lora_all": 67_362_816}


@pytest.mark.parametrize("scope", MEASURED)
def test_as_many_weights_learn_as_the_configuration_says(real, scope):
    model = real(train_scope=scope)
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert learning == expected_weights(real_config())[scope] == MEASURED[scope]


def test_all_weights_learn_in_full(real):
    model = real(train_scope="full")
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == 10_670_220_835


def test_lora_all_is_what_peft_calls_all_linear(real):
    from peft import LoraConfig, get_peft_model
    from transformers import MllamaForConditionalGeneration

    with torch.device("meta"):
        model = MllamaForConditionalGeneration(real_config())
        theirs = get_peft_model(model, LoraConfig(r=R, target_modules="all-linear"))

    def adapted(model) -> set[str]:
        return {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    assert adapted(real(train_scope="lora_all")) == adapted(theirs)


@pytest.mark.parametrize("dora", few([False, True]))
def test_gates_norms_and_embeddings_stay_as_they_are(real, dora):
    model = real(train_scope="lora_all", use_dora=dora)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name), name
    assert any("lora_magnitude_vector" in name for name, _ in model.named_parameters()) == dora


def test_the_parts_are_said_and_add_up(real):
    lines = describe_trainable(real(train_scope="adapter"))
    said = {line[:16].strip(): line[16:].split() for line in lines}
    assert said["projector"][0] == "188,416" and said["cross-attention"][0] == "3,407,872"
    assert said["all"][0] == "3,596,288" and said["vision tower"] == ["0", "of", "863,567,379", "weights", "learn"]
    assert "(0.03%)" in said["all"]
    for column in (0, 2):
        numbers = {part: int(words[column].replace(",", "")) for part, words in said.items()}
        assert numbers.pop("all") == sum(numbers.values())


def test_the_named_modules_learn_whole_beside_adapters(real):
    model = real(train_scope="lora", modules_to_save=["lm_head", "multi_modal_projector"])
    whole = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad and "lora_" not in name}
    assert sum(whole.values()) == 128256 * 4096 + 7680 * 4096 + 4096
    assert all(".modules_to_save.default." in name for name in whole)
    every = {line[:16].strip(): line.split("of")[1].split()[0] for line in describe_trainable(model)}
    assert every["head"] == f"{128256 * 4096:,}"  # its frozen original is not counted twice


def test_a_module_learns_whole_or_by_adapters(real):
    """The projector is in the scope, and asked for whole: then it has no adapter."""
    model = real(train_scope="adapter", modules_to_save=["multi_modal_projector"])
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split("multi_modal_projector.")[1] for name in names if "multi_modal_projector" in name} == {
        "modules_to_save.default.weight",
        "modules_to_save.default.bias",
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("norm", r"other names end with it, too, for example \S*_layernorm;"),
        ("lm_heads", r"there is no such module; the modules are .*lm_head, .*multi_modal_projector"),
        ("layers", "has no weights of its own"),
        ("rotary_emb", "has no weights of its own"),
        ("mlp", r"it contains .*layers\.0\.mlp\..*_proj, which has adapters with --train_scope lora"),
    ],
)
def test_a_module_that_cannot_learn_whole_is_one_clear_error(real, name, said):
    with pytest.raises(InputError, match=rf"--modules_to_save {name}: .*{said}"):
        real(train_scope="lora", modules_to_save=[name])


def test_a_quantized_module_does_not_learn_whole(make_decoder_trainer):
    pytest.importorskip("bitsandbytes")
    with pytest.raises(InputError, match=r"--modules_to_save cross_attn: quantized weights cannot be trained"):
        make_decoder_trainer("out", train_scope="adapter", load_in_4bit=True, modules_to_save=["cross_attn"])


# --- on a small model ---


@pytest.mark.parametrize("scope", few(["lm_head", "adapter", "lora", "lora_all", "full"], "lora", "full"))
def test_every_weight_that_learns_moves_and_no_other(make_decoder_trainer, scope):
    trainer = make_decoder_trainer("out", train_scope=scope, max_steps=3, eval_strategy="no", save_strategy="no")
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, before[name]), name
        elif not name.endswith("embed_tokens.weight"):  # rows of words that were not said stay
            assert not torch.equal(parameter, before[name]), name


def first_inputs(trainer) -> dict[str, torch.Tensor]:
    """What the model is given in the first step, without labels."""
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    return {name: values for name, values in inputs.items() if name != "labels"}


def test_dropout_is_that_of_the_adapters_alone(make_decoder_trainer):
    """Mllama has none of its own that is not 0: frozen parts in training mode compute as in evaluation."""
    trainer = make_decoder_trainer("out", train_scope="lora")
    inputs = first_inputs(trainer)
    with torch.no_grad():
        training, evaluation = (trainer.model.train(mode)(**inputs).logits for mode in (True, False))
    torch.testing.assert_close(training, evaluation)  # of float32
    rates = {m.p for m in make_decoder_trainer("o", train_scope="lora", lora_dropout=0.25).model.modules()
             if isinstance(m, torch.nn.Dropout)}  # fmt: skip
    assert rates == {0.25}


def test_what_learns_whole_beside_16_bits_does_so_in_float32(make_decoder_trainer):
    """An update of a hundredth of what bfloat16 can tell apart is kept; in bfloat16 a hundred of them are nothing."""
    flags = {"bf16": True, "learning_rate": 1e-6, "max_steps": 3, "eval_strategy": "no", "save_strategy": "no"}
    for own in ({"train_scope": "lm_head"}, {"train_scope": "adapter", "modules_to_save": ["lm_head"]}):
        trainer = make_decoder_trainer("out", **own, **flags)
        head = trainer.inner_model.lm_head
        weight = getattr(head, "modules_to_save", {"default": head})["default"].weight
        assert weight.dtype == torch.float32
        assert next(trainer.inner_model.model.vision_model.parameters()).dtype == torch.bfloat16
        before = weight.detach().clone()
        trainer.train()
        assert (weight != before).float().mean() > 0.5
        inputs = first_inputs(trainer)
        with torch.no_grad():  # and answers without autocast
            assert trainer.model.eval()(**inputs).logits.isfinite().all()


def test_a_projector_in_float32_hands_on_16_bits(make_decoder_trainer):
    trainer = make_decoder_trainer("out", train_scope="lora", modules_to_save=["multi_modal_projector"], bf16=True)
    inputs = first_inputs(trainer)
    with torch.no_grad():
        found = trainer.model.eval()(**inputs).logits
        stock = make_decoder_trainer("o", train_scope="lora", bf16=True).model.eval()(**inputs).logits
    torch.testing.assert_close(found, stock, rtol=0, atol=0.05)  # bfloat16's own noise


# --- activation checkpointing ---


@pytest.mark.parametrize("scope", few(["adapter", "lm_head", "full"]))
def test_recomputing_activations_changes_no_gradient(make_decoder_trainer, scope):
    flags = {"train_scope": scope, "max_steps": 3, "eval_strategy": "no", "save_strategy": "no"}
    plain, saving = (make_decoder_trainer("out", activation_checkpointing=given, **flags) for given in (False, True))
    for trainer in (plain, saving):
        trainer.train()
    assert saving.model.is_activation_checkpointing and not plain.model.is_activation_checkpointing
    for (name, one), other in zip(plain.model.named_parameters(), saving.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_no_gradient_is_computed_below_the_first_weight_that_learns(make_decoder_trainer):
    flags = {"max_steps": 1, "eval_strategy": "no", "save_strategy": "no", "activation_checkpointing": True}
    trainer = make_decoder_trainer("out", train_scope="lm_head", **flags)
    seen = []
    last = trainer.inner_model.model.language_model.norm  # after all frozen layers
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].requires_grad))
    trainer.train()
    assert seen and not any(seen)


def test_reentrant_checkpointing_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="--activation_checkpointing_kwargs: with use_reentrant the backward pass fails"
    ):
        DecoderTrainingArguments(output_dir=str(tmp_path), activation_checkpointing_kwargs={"use_reentrant": True})
    assert DecoderTrainingArguments(output_dir=str(tmp_path)).activation_checkpointing_kwargs == {
        "use_reentrant": False
    }
