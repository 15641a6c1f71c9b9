"""Provides tiny encoders and decoders for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

TEXTS = [
    "Knee X-ray, Kellgren-Lawrence grade 2: mild osteoarthritis.",
    "MRI image, abdomen. Does the picture contain liver? Yes.",
    "MRI图像，腹部。图片中包含肝脏吗?包含。",
    "Describe this medical image: The lesion measures 1.5 cm on the left side.",
]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    from modeling.tiny_checkpoints import write_tiny_encoder

    folder = tmp_path_factory.mktemp("encoder")
    write_tiny_encoder(folder, TEXTS)
    return folder


@pytest.fixture(scope="session")
def tiny_siglip2(tmp_path_factory) -> Path:
    """The same model with a Gemma tokenizer, like SigLIP 2's fixed-resolution checkpoints."""
    from modeling.tiny_checkpoints import write_tiny_encoder

    folder = tmp_path_factory.mktemp("encoder2")
    write_tiny_encoder(folder, TEXTS, family="siglip2")
    return folder


@pytest.fixture(scope="session", params=["siglip", "siglip2"])
def trained_encoder(request, tmp_path_factory) -> Path:
    """One of the two, loaded and saved with the project's classes, as a trainer does."""
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor

    base = request.getfixturevalue("tiny_encoder" if request.param == "siglip" else "tiny_siglip2")
    folder = tmp_path_factory.mktemp(f"trained-{request.param}")
    SiglipMedicalModel.from_pretrained(base).save_pretrained(folder)
    SiglipMedicalProcessor.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory) -> Path:
    from modeling.tiny_checkpoints import write_tiny_decoder
    from trainers.decoder.data.collator import CHAT_TEMPLATE

    folder = tmp_path_factory.mktemp("decoder")
    write_tiny_decoder(folder, TEXTS, CHAT_TEMPLATE)
    return folder


@pytest.fixture(scope="session")
def tiny_mllama(tmp_path_factory) -> Path:
    """A decoder with open gates for tests that need no chat template."""
    from modeling.tiny_checkpoints import write_tiny_decoder

    folder = tmp_path_factory.mktemp("mllama")
    write_tiny_decoder(folder, TEXTS, "{{ messages }}")
    return folder


@pytest.fixture
def exact(monkeypatch) -> None:
    """Computes norms and the softmax of eager attention in the precision of the weights.

    The stock model always computes them in float32; float64 is needed to compare two results to 1e-10.
    """
    import torch
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.mllama import modeling_mllama

    def norm(self, hidden_states):
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        return self.weight * (hidden_states * torch.rsqrt(variance + self.variance_epsilon))

    def eager(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
        key, value = (modeling_mllama.repeat_kv(states, module.num_key_value_groups) for states in (key, value))
        scores = query @ key.transpose(2, 3) * scaling
        weights = (scores if attention_mask is None else scores + attention_mask).softmax(-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    monkeypatch.setattr(modeling_mllama.MllamaTextRMSNorm, "forward", norm)
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "eager", eager)
