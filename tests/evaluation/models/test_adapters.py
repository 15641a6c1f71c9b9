"""Opens adapters over a model: those of PEFT, and those that a training of this project exports."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from evaluation.loading import InputError
from evaluation.models.open_model import open_answerer, open_encoder
from evaluation.models.source import ADAPTER, find_source
from tests.evaluation.models.conftest import flags, mean_loss, one_image


def write_adapters(model, folder, base: str, *targets: str) -> None:
    """Writes LoRA adapters that change what a model gives."""
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=list(targets)))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 1.0)
    adapted.peft_config["default"].base_model_name_or_path = base
    adapted.save_pretrained(folder)


@pytest.fixture(scope="module")
def adapters(family, tmp_path_factory):
    from transformers import AutoModelForImageTextToText

    base, folder = family("qwen2_vl"), tmp_path_factory.mktemp("adapters")
    write_adapters(AutoModelForImageTextToText.from_pretrained(base), folder, str(base), "q_proj", "v_proj")
    return base, folder


def test_adapters_over_a_decoder(adapters):
    base, folder = adapters
    source = find_source(flags(model=str(folder)))
    assert (source.form, source.family, source.base, source.name) == (ADAPTER, "qwen2_vl", str(base), str(folder))
    options, plain = flags(model=str(folder)), flags(model=str(base))
    adapted, alone = open_answerer(source, options), open_answerer(find_source(plain), plain)
    rows = one_image()
    assert adapted.answer(rows) != alone.answer(rows)
    assert mean_loss(adapted, rows) != pytest.approx(mean_loss(alone, rows), rel=1e-6)
    # Against the adapters merged into the weights.
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    merged = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), folder).merge_and_unload()
    from evaluation.models.decoders import chat_answerer
    from evaluation.models.opening import load_processor

    expected = chat_answerer(merged.eval(), load_processor(find_source(plain), str(base), None), "merged", 4, 6)
    assert adapted.answer(rows) == expected.answer(rows)
    assert mean_loss(adapted, rows) == pytest.approx(mean_loss(expected, rows), rel=1e-4)


@pytest.mark.slow
def test_adapters_over_an_encoder(family, tmp_path):
    from transformers import AutoModel

    base, images = family("clip"), [row["images"][0] for row in one_image()]
    write_adapters(AutoModel.from_pretrained(base), tmp_path, str(base), "q_proj")
    options, plain = flags(model=str(tmp_path)), flags(model=str(base))
    adapted = open_encoder(find_source(options), options).embed_images(images)
    assert abs(adapted - open_encoder(find_source(plain), plain).embed_images(images)).max() > 1e-3


@pytest.mark.slow
def test_adapters_that_a_training_exports(decoder, dataset_on_hub, run, tmp_path):
    """Their answers are those of the merged model of the same training."""
    training = f"trainers/run_decoder.py --dataset {dataset_on_hub} --model_name_or_path {decoder} --export both"
    run("python", *training.split(), "--max_steps", "2", "--num_samples", "0", "--output_dir", tmp_path / "out")
    folder = tmp_path / "out" / "adapter"
    rows = one_image()
    found = []
    for name in (folder, tmp_path / "out"):
        options = flags(model=str(name))
        answerer = open_answerer(find_source(options), options)
        found.append((answerer.answer(rows), mean_loss(answerer, rows)))
    assert found[0][0] == found[1][0] and found[0][1] == pytest.approx(found[1][1], rel=1e-3)


def test_adapters_that_cannot_be_opened(adapters, tmp_path):
    _, folder = adapters
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(content | {"base_model_name_or_path": "outputs/gone"}))
    with pytest.raises(InputError, match=r"adapters over outputs/gone: no such folder"):
        find_source(flags(model=str(copy)))
    (copy / "adapter_config.json").write_text(json.dumps(content | {"base_model_name_or_path": None}))
    with pytest.raises(InputError, match=r"adapters that name no model below them; name it with --base_model"):
        find_source(flags(model=str(copy)))
    (copy / "adapter_config.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"adapter_config\.json cannot be read"):
        find_source(flags(model=str(copy)))
    (copy / "adapter_config.json").write_text(json.dumps(content))
    (copy / "adapter_model.safetensors").rename(copy / "adapter_model.bin")  # which would be unpickled
    with pytest.raises(InputError, match=r"adapters without adapter_model\.safetensors"):
        find_source(flags(model=str(copy)))
