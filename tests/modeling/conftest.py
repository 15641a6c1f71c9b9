"""One tiny encoder and one tiny decoder for the tests of this folder."""

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
    """The same model with a Gemma tokenizer, as SigLIP 2's fixed-resolution checkpoints have it."""
    from modeling.tiny_checkpoints import write_tiny_encoder

    folder = tmp_path_factory.mktemp("encoder2")
    write_tiny_encoder(folder, TEXTS, family="siglip2")
    return folder


@pytest.fixture(scope="session", params=["siglip", "siglip2"])
def trained_encoder(request, tmp_path_factory) -> Path:
    """What a trainer saves: one of the two, opened and saved with the project's classes."""
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
    from trainers.decoder_collator import CHAT_TEMPLATE

    folder = tmp_path_factory.mktemp("decoder")
    write_tiny_decoder(folder, TEXTS, CHAT_TEMPLATE)
    return folder
