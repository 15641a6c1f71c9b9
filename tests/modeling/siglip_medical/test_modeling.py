"""Checks that one checkpoint gives the same results as a stock SiglipModel and as a SiglipMedicalModel."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from PIL import Image

from tests.cases import few

TEXTS = ["liver", "lung", "liver"]


@pytest.fixture(scope="module")
def model(tiny_encoder):
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel

    return SiglipMedicalModel.from_pretrained(tiny_encoder)


@pytest.fixture(scope="module")
def inputs(tiny_encoder):
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor

    processor = SiglipMedicalProcessor.from_pretrained(tiny_encoder)
    images = [Image.new("RGB", (50, 40), (80 * i, 10, 200 - 70 * i)) for i in range(3)]
    return processor(images=images, text=TEXTS, return_tensors="pt")


def test_a_new_model_has_the_initial_temperature_and_bias_of_siglip():
    from modeling.siglip_medical.configuration_siglip_medical import SiglipMedicalConfig
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel

    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    tokens = {"vocab_size": 9, "pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1}
    config = SiglipMedicalConfig(text_config=size | tokens, vision_config=size | {"image_size": 16, "patch_size": 8})
    fresh = SiglipMedicalModel(config)
    assert fresh.logit_scale.item() == pytest.approx(math.log(10))
    assert fresh.logit_bias.item() == pytest.approx(-10)


def test_a_checkpoint_keeps_its_own_temperature_and_bias(model, tmp_path):
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel

    with torch.no_grad():
        scale, bias = model.logit_scale.clone(), model.logit_bias.clone()
        model.logit_scale.fill_(4.77)
        model.logit_bias.fill_(-12.9)
        model.save_pretrained(tmp_path)
        model.logit_scale.copy_(scale)
        model.logit_bias.copy_(bias)
    reloaded = SiglipMedicalModel.from_pretrained(tmp_path)
    assert (reloaded.logit_scale.item(), reloaded.logit_bias.item()) == pytest.approx((4.77, -12.9))


def test_weight_names_equal_those_of_siglip(model, tiny_encoder):
    from transformers import SiglipModel

    stock, info = SiglipModel.from_pretrained(tiny_encoder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert stock.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("trained_encoder", few(["siglip", "siglip2"]), indirect=True)
def test_stock_and_custom_classes_give_the_same_results(run, trained_encoder, tmp_path):
    """Runs in a new process that cannot import this project, like that of a Hub user, with text to be normalized."""
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor

    shutil.copytree(trained_encoder, tmp_path / "checkpoint")
    code = """
import json
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, pipeline
found, logits, embeds = [], [], []
texts = ["lesion 1.5 cm", "lesion 15 cm", "HER2 +ve", "HER2 -ve", "肝脏结节2-3mm"]
images = [Image.new("RGB", (50, 40), (80 * i, 10, 200 - 70 * i)) for i in range(3)]
for trust in (None, True):
    model = AutoModel.from_pretrained("checkpoint", trust_remote_code=trust)
    processor = AutoProcessor.from_pretrained("checkpoint", trust_remote_code=trust)
    padding = {} if trust else {"padding": "max_length", "max_length": 64, "truncation": True}
    inputs = processor(images=images, text=texts, return_tensors="pt", **padding)
    with torch.no_grad():
        output = model(**inputs)
    logits.append(output.logits_per_image)
    embeds.append(output.text_embeds)
    found.append([type(model).__name__, type(processor).__name__, list(inputs["input_ids"].shape)])
labels = {"candidate_labels": texts, "hypothesis_template": "{}"}
scores = []
for trust in (None, True):
    classify = pipeline("zero-shot-image-classification", model="checkpoint", trust_remote_code=trust)
    scores.append({one["label"]: one["score"] for one in classify(images[0], **labels)})
from transformers import SiglipVisionModel
tower = pipeline("image-feature-extraction", model=SiglipVisionModel.from_pretrained("checkpoint"),
                 image_processor=processor.image_processor)(images[0], pool=True)[0]
features = pipeline("image-feature-extraction", model="checkpoint", trust_remote_code=True)(images[0])
print(json.dumps({
    "found": found,
    "largest_difference": (logits[0] - logits[1]).abs().max().item(),
    "text_embeds": embeds[0].tolist(),
    "probabilities": torch.sigmoid(logits[0])[0].tolist(),
    "scores": [[one[text] for text in texts] for one in scores],
    "features": features,
    "tower": tower,
    "pooled": output.vision_model_output.pooler_output[0].tolist(),
    "image_embeds": output.image_embeds.tolist(),
}))
"""
    process = run("python", "-c", code, cwd=tmp_path, env={"PYTHONPATH": None}, fresh_home=True)
    answer = json.loads(process.stdout.splitlines()[-1])
    assert answer["found"] == [
        ["SiglipModel", "SiglipProcessor", [5, 64]],
        ["SiglipMedicalModel", "SiglipMedicalProcessor", [5, 64]],
    ]
    assert answer["largest_difference"] < 1e-5  # of float32

    model = SiglipMedicalModel.from_pretrained(trained_encoder)
    processor = SiglipMedicalProcessor.from_pretrained(trained_encoder)
    texts = ["lesion 1.5 cm", "lesion 15 cm", "HER2 +ve", "HER2 -ve", "肝脏结节2-3mm"]
    with torch.no_grad():
        here = model(**processor(text=texts, return_tensors="pt")).text_embeds
    torch.testing.assert_close(torch.tensor(answer["text_embeds"]), here, rtol=0, atol=1e-6)
    assert len({tuple(row) for row in answer["text_embeds"]}) == 5
    for scores in answer["scores"]:
        assert scores == pytest.approx(answer["probabilities"], rel=1e-5)
    assert answer["features"][0] == pytest.approx(answer["image_embeds"][0], rel=1e-4, abs=1e-6)
    # The stock SiglipModel requires texts, so without trust_remote_code this pipeline needs the vision tower.
    assert answer["tower"] == pytest.approx(answer["pooled"], rel=1e-4, abs=1e-6)


def test_the_loss_treats_equal_texts_as_positives(model, inputs):
    same, different = (
        model(**inputs, group_ids=torch.tensor(ids), return_loss=True).loss for ids in ([1, 2, 1], [1, 2, 3])
    )
    logits = model(**inputs).logits_per_image
    # Two pairs change sign. Since softplus(l) - softplus(-l) = l, each lowers the sum over 3 images by its logit.
    assert (different - same).item() == pytest.approx((logits[0, 2] + logits[2, 0]).item() / 3, rel=1e-5)


def test_all_parameters_get_gradients_temperature_and_bias_included(model, inputs):
    model.zero_grad()
    model(**inputs, return_loss=True).loss.backward()
    assert model.logit_scale.grad.abs().item() > 0 and model.logit_bias.grad.abs().item() > 0
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad()


def test_the_loss_is_computed_only_on_request(model, inputs):
    assert model(**inputs).loss is None


def test_texts_are_padded_and_truncated_to_64_tokens(tiny_encoder):
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor

    processor = SiglipMedicalProcessor.from_pretrained(tiny_encoder)
    inputs = processor(text=["lung", "liver " * 100], return_tensors="pt")
    assert list(inputs) == ["input_ids"]  # no mask, because SigLIP attends to its padding
    assert inputs["input_ids"].shape == (2, 64)
    masked = SiglipMedicalProcessor.from_pretrained(tiny_encoder, return_attention_mask=True)
    assert list(masked(text=["lung"], return_tensors="pt")) == ["input_ids", "attention_mask"]
    assert processor(text=["lung"], max_length=32, return_tensors="pt")["input_ids"].shape == (1, 32)
