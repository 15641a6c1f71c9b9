"""Applies the common tests of transformers' SigLIP, and further ones, to SiglipMedicalModel."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file

from modeling.siglip_medical.configuration_siglip_medical import SiglipMedicalConfig
from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel

SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = SIZE | {"vocab_size": 99, "pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1, "max_position_embeddings": 16}
VISION = SIZE | {"image_size": 32, "patch_size": 8}
SCALARS = ("logit_scale", "logit_bias")
SAME = {"rtol": 0, "atol": 1e-10}  # of float64: a product's last bits depend on where its factors are in memory


def small(attention: str = "eager", dtype: torch.dtype = torch.float64, **settings) -> SiglipMedicalModel:
    torch.manual_seed(0)
    config = SiglipMedicalConfig(text_config=dict(TEXT), vision_config=dict(VISION), **settings)
    return SiglipMedicalModel._from_config(config, attn_implementation=attention).to(dtype).eval()


def batch(count: int = 3, size: int = 32, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "pixel_values": torch.randn(count, 3, size, size, generator=generator, dtype=dtype),
        "input_ids": torch.randint(2, 99, (count, 16), generator=generator),
    }


@pytest.fixture(scope="module")
def model():
    return small()


def gradients(model: SiglipMedicalModel, inputs: dict) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**inputs, return_loss=True).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_saving_and_loading_keeps_weights_outputs_and_configuration(model, tmp_path):
    model.save_pretrained(tmp_path)
    reloaded = SiglipMedicalModel.from_pretrained(tmp_path, attn_implementation="eager")
    assert model.state_dict().keys() == reloaded.state_dict().keys()
    assert all(torch.equal(value, reloaded.state_dict()[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(reloaded(**batch()).logits_per_image, model(**batch()).logits_per_image, **SAME)
    kept, again = model.config.to_dict(), reloaded.config.to_dict()
    changing = {"_name_or_path", "dtype", "architectures", "transformers_version"}
    for part in ("text_config", "vision_config"):
        kept |= {f"{part}.{name}": value for name, value in kept.pop(part).items()}
        again |= {f"{part}.{name}": value for name, value in again.pop(part).items()}
    assert {n for n in kept if kept[n] != again.get(n) and n.split(".")[-1] not in changing} == set()


def test_it_equals_the_stock_model_in_logits_loss_and_gradients(tmp_path):
    """If all texts and images differ, the model equals SiglipModel."""
    from transformers import SiglipModel

    ours = small()
    ours.save_pretrained(tmp_path)
    stock = SiglipModel.from_pretrained(tmp_path, attn_implementation="eager", dtype=torch.float64).eval()
    inputs = batch()
    theirs, own = stock(**inputs, return_loss=True), ours(**inputs, return_loss=True, return_logits=True)
    assert torch.allclose(theirs.logits_per_image, own.logits_per_image, rtol=1e-12, atol=1e-12)
    assert theirs.loss.item() == pytest.approx(own.loss.item(), rel=1e-12)
    theirs.loss.backward()
    own.loss.backward()
    for (name, left), (_, right) in zip(stock.named_parameters(), ours.named_parameters(), strict=True):
        assert torch.allclose(left.grad, right.grad, rtol=1e-9, atol=1e-12), name


def test_the_same_input_gives_the_same_output(model):
    with torch.no_grad():
        torch.testing.assert_close(model(**batch()).logits_per_image, model(**batch()).logits_per_image, **SAME)


def test_a_row_does_not_depend_on_its_batch(model):
    together = model(**batch(4))
    for row in range(4):
        alone = model(**{name: value[row : row + 1] for name, value in batch(4).items()})
        for name in ("image_embeds", "text_embeds"):
            torch.testing.assert_close(alone[name][0], together[name][row], **SAME)


def test_images_only_texts_only_and_different_numbers_of_each(model):
    inputs = batch(4)
    both = model(**inputs)
    images, texts = model(pixel_values=inputs["pixel_values"]), model(input_ids=inputs["input_ids"])
    torch.testing.assert_close(images.image_embeds, both.image_embeds, **SAME)
    torch.testing.assert_close(texts.text_embeds, both.text_embeds, **SAME)
    for output, absent in ((images, "text"), (texts, "image")):
        assert output.loss is None and output.logits_per_image is None and output.logits_per_text is None
        assert output[f"{absent}_embeds"] is None if f"{absent}_embeds" in output else True
    uneven = model(pixel_values=inputs["pixel_values"][:1], input_ids=inputs["input_ids"])
    assert uneven.logits_per_image.shape == (1, 4) and uneven.logits_per_text.shape == (4, 1)


def test_missing_inputs_are_errors(model):
    inputs = batch()
    with pytest.raises(ValueError, match="Neither pixel_values nor input_ids is given"):
        model()
    for name, value in inputs.items():
        for wish in ("return_loss", "return_logits"):
            with pytest.raises(ValueError, match="pixel_values and input_ids"):
                model(**{name: value, wish: True})


def test_logits_are_computed_on_request_or_without_a_loss(model):
    assert model(**batch()).logits_per_image is not None
    assert model(**batch(), return_logits=False).logits_per_image is None
    assert model(**batch(), return_loss=True).logits_per_image is None
    output = model(**batch(), return_loss=True, return_logits=True)
    assert output.logits_per_image is not None and torch.equal(output.logits_per_text, output.logits_per_image.T)


def test_a_tuple_output_equals_the_named_output(model):
    named, plain = model(**batch()), model(**batch(), return_dict=False)
    assert isinstance(plain, tuple)
    torch.testing.assert_close(plain[0], named.logits_per_image, **SAME)
    torch.testing.assert_close(plain[3], named.image_embeds, **SAME)
    for features, inputs in ((model.get_image_features, "pixel_values"), (model.get_text_features, "input_ids")):
        one, two = features(batch()[inputs]), features(batch()[inputs], return_dict=False)
        torch.testing.assert_close(one.pooler_output, two[1], **SAME)


def test_hidden_states_and_attentions(model):
    output = model(**batch(), output_hidden_states=True, output_attentions=True)
    for tower, length in ((output.vision_model_output, 16), (output.text_model_output, 16)):
        assert [tuple(state.shape) for state in tower.hidden_states] == [(3, length, 32)] * 3
        assert [tuple(attention.shape) for attention in tower.attentions] == [(3, 4, length, length)] * 2
        assert torch.allclose(tower.attentions[0].sum(-1), torch.ones(3, 4, length).double(), atol=1e-5)
    plain = model(**batch())
    assert plain.vision_model_output.hidden_states is None and plain.vision_model_output.attentions is None


def test_gradients_reach_the_hidden_states(model):
    output = model(**batch(), output_hidden_states=True, return_loss=True)
    states = [output.vision_model_output.hidden_states[0], output.text_model_output.hidden_states[0]]
    for state in states:
        state.retain_grad()
    output.loss.backward()
    assert all(state.grad.abs().sum() > 0 for state in states)
    model.zero_grad()


def test_every_parameter_gets_a_gradient_and_one_step_lowers_the_loss():
    model = small().train()
    found = gradients(model, batch(4))
    # The bias of a key projection shifts all scores of a query equally, so its gradient is zero except for rounding.
    assert [name for name, grad in found.items() if not grad.abs().sum() > 0 and not name.endswith("k_proj.bias")] == []
    before = model(**batch(4), return_loss=True).loss.item()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    assert model(**batch(4), return_loss=True).loss.item() < before


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(reentrant):
    model = small().train()
    plain = gradients(model, batch(4))
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    assert model.is_activation_checkpointing
    if reentrant:
        model.enable_input_require_grads()
        handle = model.vision_model.embeddings.register_forward_hook(
            lambda module, inputs, output: output.requires_grad_()
        )
    checkpointed = gradients(model, batch(4))
    if reentrant:
        handle.remove()
    for name in plain:
        torch.testing.assert_close(checkpointed[name], plain[name], **SAME, msg=name)


def test_attention_back_ends_agree():
    eager, sdpa = small("eager"), small("sdpa")
    assert eager.vision_model.config._attn_implementation == "eager"
    assert sdpa.vision_model.config._attn_implementation == sdpa.text_model.config._attn_implementation == "sdpa"
    left, right = gradients(eager, batch()), gradients(sdpa, batch())
    assert all(torch.allclose(left[name], right[name], rtol=1e-4, atol=1e-5) for name in left)
    with torch.no_grad():
        assert torch.allclose(eager(**batch()).logits_per_image, sdpa(**batch()).logits_per_image, atol=1e-5)


def test_a_checkpoint_is_loaded_with_sdpa(tmp_path):
    small().save_pretrained(tmp_path)
    assert SiglipMedicalModel.from_pretrained(tmp_path).vision_model.config._attn_implementation == "sdpa"


def test_initialization_depends_only_on_the_seed_and_covers_all_weights():
    one, two = small(), small()
    assert all(torch.equal(left, right) for left, right in zip(one.parameters(), two.parameters(), strict=True))
    assert all(parameter.isfinite().all() for parameter in one.parameters())
    constant = {n for n, p in one.named_parameters() if p.numel() > 1 and p.std() == 0}
    ends = ("bias", "layer_norm1.weight", "layer_norm2.weight", "layernorm.weight", "layer_norm.weight")
    assert constant and all(name.endswith(ends) for name in constant)


def test_resizing_the_vocabulary_keeps_the_old_rows():
    model = small()
    old = model.get_input_embeddings().weight.detach().clone()
    before = model(**batch()).text_embeds
    model.resize_token_embeddings(120)
    assert model.get_input_embeddings().weight.shape == (120, 32) and model.config.text_config.vocab_size == 120
    assert torch.equal(model.get_input_embeddings().weight[:99], old)
    torch.testing.assert_close(model(**batch()).text_embeds, before, **SAME)


def test_a_zero_vector_gives_no_nan():
    model = small()
    with torch.no_grad():
        model.text_model.head.weight.zero_()
        model.text_model.head.bias.zero_()
    output = model(**batch(), return_loss=True, return_logits=True)
    assert output.loss.isfinite() and output.logits_per_image.isfinite().all()
    assert torch.equal(output.text_embeds, torch.zeros_like(output.text_embeds))
    output.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_temperature_and_bias_stay_in_float32(dtype, tmp_path):
    model, inputs = small(dtype=torch.float32), batch(dtype=torch.float32)
    with torch.no_grad():
        model.logit_scale.fill_(4.7215)
        model.logit_bias.fill_(-12.7183)
    exact = {name: getattr(model, name).clone() for name in SCALARS}
    model.save_pretrained(tmp_path / "full")
    cast = copy.deepcopy(model)
    gradients(cast, inputs)
    cast = cast.to(dtype)
    assert cast.logit_scale.grad.dtype == torch.float32
    loaded = SiglipMedicalModel.from_pretrained(tmp_path / "full", dtype=dtype)
    short = copy.deepcopy(model).half() if dtype == torch.float16 else copy.deepcopy(model).bfloat16()
    cast.save_pretrained(tmp_path / "half")
    reloaded = SiglipMedicalModel.from_pretrained(tmp_path / "half")
    for one in (cast, loaded, short, reloaded):
        assert one.dtype == dtype and one.vision_model.head.probe.dtype == dtype
        assert all(torch.equal(getattr(one, name), exact[name]) for name in SCALARS)
    saved = load_file(tmp_path / "half" / "model.safetensors")
    assert {saved[name].dtype for name in SCALARS} == {torch.float32}
    assert saved["vision_model.head.probe"].dtype == dtype
    output = reloaded(pixel_values=inputs["pixel_values"].to(dtype), input_ids=inputs["input_ids"])
    assert output.logits_per_image.dtype == output.image_embeds.dtype == torch.float32
    assert torch.allclose(output.image_embeds.norm(dim=-1), torch.ones(3), atol=1e-6)
    full = model(**inputs)
    assert torch.nn.functional.cosine_similarity(output.image_embeds, full.image_embeds).min() > 0.99
    assert copy.deepcopy(model).double().logit_scale.dtype == torch.float64  # a higher precision does apply


def test_autocast_compares_in_float32():
    model = small(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**batch(dtype=torch.float32), return_logits=True)
    expected = output.text_embeds @ output.image_embeds.T * output.logit_scale.exp() + output.logit_bias
    assert output.logits_per_text.dtype == torch.float32
    assert torch.allclose(output.logits_per_text, expected, atol=1e-5)


def test_a_loss_outside_the_model_gives_the_same_gradients():
    from modeling.siglip_medical.matryoshka_loss import embedding_loss

    model = small()
    inside = gradients(model, batch())
    model.zero_grad()
    output = model(**batch(), return_logits=False)
    scalars = (output.logit_scale, output.logit_bias)
    embedding_loss(model.config, output.image_embeds, output.text_embeds, *scalars).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, inside[name], **SAME, msg=name)


def test_the_mask_is_used_only_if_configured():
    ids = batch()["input_ids"]
    mask = torch.ones_like(ids)
    mask[:, 8:] = 0
    plain, masked = small(), small(text_attention_mask=True)
    for features in (lambda m, **k: m(input_ids=ids, **k).text_embeds, lambda m, **k: m.get_text_features(ids, **k)[1]):
        torch.testing.assert_close(features(plain, attention_mask=mask), features(plain), **SAME)
        assert not torch.allclose(features(masked, attention_mask=mask), features(plain), atol=1e-3)
        torch.testing.assert_close(features(masked, attention_mask=torch.ones_like(ids)), features(plain), **SAME)
        with pytest.raises(ValueError, match="attention_mask is missing"):
            features(masked)


@pytest.mark.parametrize("by_config", [True, False])
def test_truncation_keeps_the_leading_dimensions_at_unit_length(model, by_config):
    cut = small(truncate_dim=8) if by_config else model
    settings = {} if by_config else {"truncate_dim": 8}
    full, output = model(**batch()), cut(**batch(), **settings)
    for name in ("image_embeds", "text_embeds"):
        expected = torch.nn.functional.normalize(full[name][:, :8], dim=-1)
        assert output[name].shape == (3, 8)
        torch.testing.assert_close(output[name], expected, **SAME)
    logits = output.text_embeds @ output.image_embeds.T * model.logit_scale.exp() + model.logit_bias
    torch.testing.assert_close(output.logits_per_text, logits, **SAME)
    images = cut.get_image_features(batch()["pixel_values"], **settings).pooler_output
    texts = cut.get_text_features(batch()["input_ids"], **settings).pooler_output
    torch.testing.assert_close(images, output.image_embeds, **SAME)
    torch.testing.assert_close(texts, output.text_embeds, **SAME)


@pytest.mark.parametrize("dim", [0, 33, -1])
def test_a_width_out_of_range_is_an_error(model, dim):
    with pytest.raises(ValueError, match="between 1 and 32"):
        model(**batch(), truncate_dim=dim)
    with pytest.raises(Exception, match="between 1 and 32"):
        small(truncate_dim=dim)
    with pytest.raises(Exception, match="between 1 and 32"):
        small(matryoshka_dims=[32, dim])


def test_settings_are_saved(tmp_path):
    settings = {
        "truncate_dim": 8,
        "matryoshka_dims": [32, 8],
        "matryoshka_weights": [1, 2],
        "text_attention_mask": True,
    }
    small(**settings).save_pretrained(tmp_path)
    config = SiglipMedicalConfig.from_pretrained(tmp_path)
    assert {name: getattr(config, name) for name in settings} == settings


@pytest.mark.parametrize("problem", ["missing", "unexpected", "mismatched"])
def test_a_checkpoint_with_other_weights_is_an_error(problem, tmp_path):
    from safetensors.torch import save_file

    small().save_pretrained(tmp_path)
    weights, settings = load_file(tmp_path / "model.safetensors"), {}
    if problem == "missing":
        del weights["vision_model.head.probe"]
    elif problem == "unexpected":
        weights["vision_model.head.other"] = torch.ones(1)
    else:
        config = SiglipMedicalConfig.from_pretrained(tmp_path)
        config.vision_config.image_size = 64
        settings = {"config": config, "ignore_mismatched_sizes": True}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"1 {problem} keys"):
        SiglipMedicalModel.from_pretrained(tmp_path, **settings)
    if settings:
        with pytest.raises(RuntimeError):
            SiglipMedicalModel.from_pretrained(tmp_path, config=settings["config"])


def test_loading_returns_the_loading_info_on_request(tmp_path):
    small().save_pretrained(tmp_path)
    model, info = SiglipMedicalModel.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(model, SiglipMedicalModel) and not info["missing_keys"]


def test_the_model_can_be_exported(model):
    inputs = batch()
    program = torch.export.export(model, (), kwargs=inputs)
    exported = program.module()(**inputs)
    torch.testing.assert_close(exported["logits_per_image"], model(**inputs).logits_per_image, **SAME)


def test_the_loss_of_the_model_covers_all_matryoshka_widths():
    from modeling.siglip_medical.contrastive_loss import contrastive_loss

    model = small(matryoshka_dims=[32, 8], matryoshka_weights=[3, 1])
    output = model(**batch(), return_loss=True)
    scalars = (model.logit_scale, model.logit_bias)
    losses = [contrastive_loss(output.image_embeds[:, :d], output.text_embeds[:, :d], *scalars) for d in (32, 8)]
    assert output.loss.item() == pytest.approx((3 * losses[0] + losses[1]).item() / 4, rel=1e-6)
