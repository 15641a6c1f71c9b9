"""Checks that resized position embeddings give the results of `interpolate_pos_encoding=True`, also when saved."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

SIZES = [32, 48, 56, 72, 96, 128, 8]  # smaller and larger than the model's 64, with patches of 8


@pytest.fixture
def opened(tiny_encoder):
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor

    return SiglipMedicalModel.from_pretrained(tiny_encoder), SiglipMedicalProcessor.from_pretrained(tiny_encoder)


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-10), (torch.bfloat16, 0.05)], ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_resized_positions_equal_interpolation(opened, size, dtype, rounding):
    """The positions are equal to the bit, as the same code computes them; features are equal up to rounding."""
    model, processor = opened[0].to(dtype), opened[1]
    embeddings = model.vision_model.embeddings
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size)).to(dtype)
    with torch.no_grad():
        flag = model.get_image_features(pixels, interpolate_pos_encoding=True)
        interpolated = embeddings.interpolate_pos_encoding(torch.empty(1, (size // 8) ** 2, 128), size, size)[0]
        model.set_image_size(size, processor)
        resized = model.get_image_features(pixels)
    for name in ("pooler_output", "last_hidden_state"):
        torch.testing.assert_close(resized[name], flag[name], rtol=0, atol=rounding)
    assert model.config.vision_config.image_size == model.vision_model.config.image_size == size
    positions = embeddings.position_embedding.weight
    assert torch.equal(positions, interpolated)
    assert positions.shape == ((size // 8) ** 2, 128) and positions.dtype == dtype and positions.requires_grad


@pytest.mark.slow
def test_stock_and_custom_classes_load_the_saved_size_without_flags(opened, run, tmp_path):
    model, processor = opened
    image = Image.radial_gradient("L").convert("RGB")
    large = processor(images=image, size={"height": 128, "width": 128}, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = model.get_image_features(large, interpolate_pos_encoding=True).pooler_output
    model.set_image_size(128, processor)
    model.save_pretrained(tmp_path / "checkpoint")
    processor.save_pretrained(tmp_path / "checkpoint")
    code = """
import json
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor
image, found = Image.radial_gradient("L").convert("RGB"), []
for trust in (None, True):
    model, info = AutoModel.from_pretrained("checkpoint", trust_remote_code=trust, output_loading_info=True)
    processor = AutoProcessor.from_pretrained("checkpoint", trust_remote_code=trust)
    inputs = processor(images=image, return_tensors="pt")
    with torch.no_grad():
        found.append(model.get_image_features(**inputs).pooler_output.tolist())
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    assert inputs["pixel_values"].shape == (1, 3, 128, 128)
print(json.dumps(found))
"""
    answer = json.loads(run("python", "-c", code, cwd=tmp_path, env={"PYTHONPATH": None}).stdout.splitlines()[-1])
    assert json.loads((tmp_path / "checkpoint" / "config.json").read_text())["vision_config"]["image_size"] == 128
    for found in answer:
        torch.testing.assert_close(torch.tensor(found), expected)  # of float32


def test_resized_positions_get_gradients(opened):
    model, _ = opened
    model.set_image_size(96)
    model(
        pixel_values=torch.randn(2, 3, 96, 96), input_ids=torch.ones(2, 64, dtype=torch.long), return_loss=True
    ).loss.backward()
    gradient = model.vision_model.embeddings.position_embedding.weight.grad
    assert gradient.shape == (144, 128) and (gradient.abs().sum(-1) > 0).all()


def test_the_stock_model_and_its_vision_tower_can_be_resized(tiny_encoder):
    from transformers import SiglipModel, SiglipVisionModel

    from modeling.siglip_medical.position_embeddings import resize_positions

    pixels = torch.randn(1, 3, 96, 96)
    stock, tower = SiglipModel.from_pretrained(tiny_encoder), SiglipVisionModel.from_pretrained(tiny_encoder)
    with torch.no_grad():
        expected = tower(pixels, interpolate_pos_encoding=True).pooler_output
        resize_positions(stock, 96)
        resize_positions(tower, 96)
        for found in (stock.get_image_features(pixels), tower(pixels)):
            torch.testing.assert_close(found.pooler_output, expected)  # of float32


def test_resizing_to_the_same_size_changes_nothing(opened):
    model, processor = opened
    before = model.vision_model.embeddings.position_embedding
    model.set_image_size(64, processor)
    assert model.vision_model.embeddings.position_embedding is before


@pytest.mark.parametrize(
    ("size", "message"),
    [(100, "Use 96 or 104"), (4, r"Use 8\.$"), (0, r"Use 8\.$"), (-8, r"Use 8\.$"), ((64, 32), "square")],
)
def test_an_invalid_size_is_an_error(opened, size, message):
    with pytest.raises(ValueError, match=message):
        opened[0].set_image_size(size)
    assert opened[0].config.vision_config.image_size == 64
