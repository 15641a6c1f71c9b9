"""Checks that a saved classifier gives the logits of the probe and, by `pipeline`, its class."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from evaluation.classification.embedder import siglip_patches
from evaluation.classification.head import save_head
from evaluation.classification.probes import LINEAR, ORDINAL, Probe, fit_probe
from tests.evaluation.classification.planted import KNEE
from tests.evaluation.small_run import picture

NAMES = [name.removeprefix("knee_xray/") for name in KNEE]


@pytest.fixture(scope="module")
def embed_patches(encoder):
    from transformers import AutoModel, AutoProcessor

    return siglip_patches(AutoModel.from_pretrained(encoder), AutoProcessor.from_pretrained(encoder))


@pytest.mark.parametrize("kind", [LINEAR, ORDINAL])
def test_the_classifier_is_the_probe(embed_patches, encoder, tmp_path, kind):
    from transformers import AutoModelForImageClassification, pipeline

    labels = [0, 1, 2, 4] * 6  # grade 3 was never seen
    images = [picture((64, 64), seed) for seed in range(24)]
    features = embed_patches(images)
    probe = fit_probe(kind, features, np.array(labels), features, np.array(labels))
    save_head(tmp_path / "knee", str(encoder), None, probe, NAMES)
    names = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert {path.name for path in (tmp_path / "knee").iterdir()} == names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["knee"]  # nothing is left of the writing
    others = [picture((90, 40), 100 + seed, mode) for seed, mode in enumerate(["RGB", "L", "RGB"])]
    rgb = [image.convert("RGB") for image in others]
    expected = probe.logits(embed_patches(rgb))
    found = pipeline("image-classification", model=str(tmp_path / "knee"), top_k=4)
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "knee")
    assert type(model).__name__ == "SiglipForImageClassification"
    pixels = found.image_processor(rgb, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = model(pixel_values=pixels).logits.double().numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))
    for image, row in zip(rgb, expected, strict=True):
        best = found(image)
        assert best[0]["label"] == NAMES[probe.classes[row.argmax()]]
        assert {one["label"] for one in best} == {"Normal", "Doubtful", "Mild", "Severe"}
    assert json.loads((tmp_path / "knee" / "config.json").read_text("utf-8"))["id2label"]["3"] == "Severe"


def test_a_classifier_is_replaced_and_other_folders_are_kept(embed_patches, encoder, tmp_path):
    width = embed_patches([picture((64, 64), 0)]).shape[1]
    probe = Probe(LINEAR, np.zeros((2, width)), np.zeros(2), np.array([0, 1]), 1.0)
    for names in (["a", "b"], ["c", "d"]):
        save_head(tmp_path / "skin", str(encoder), None, probe, names)
    assert json.loads((tmp_path / "skin" / "config.json").read_text("utf-8"))["id2label"] == {"0": "c", "1": "d"}
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="mine holds files that are not a classifier"):
        save_head(other, str(encoder), None, probe, ["a", "b"])
    narrow = Probe(LINEAR, np.zeros((2, 7)), np.zeros(2), np.array([0, 1]), 1.0)
    with pytest.raises(ValueError, match=r"128 wide, and the probe takes 7"):
        save_head(tmp_path / "new", str(encoder), None, narrow, ["a", "b"])
    assert not (tmp_path / "new").exists() and (other / "thesis.txt").read_text() == "years of work"
