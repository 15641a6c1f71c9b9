"""The command: from a dataset to a decoder on the Hub that answers in a fresh process."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module")
def pushed(run, dataset, tmp_path_factory):
    """(the output folder, the repository, what was printed) of a short training with adapters that was pushed."""
    folder, repository = tmp_path_factory.mktemp("decoder") / "llama", "org/llama-pushed"
    words = ["--tiny", "--dataset", dataset, "--output_dir", folder, "--max_steps", "4", "--num_samples", "3"]
    words += ["--per_device_train_batch_size", "4", "--per_device_eval_batch_size", "16", "--max_new_tokens", "8"]
    process = run(
        "python",
        "trainers/run_decoder.py",
        *words,
        "--push_to_hub",
        "--hub_model_id",
        repository,
        "--disable_tqdm",
        "1",
    )
    return folder, repository, process.stdout


def test_the_folder_is_complete(pushed):
    """What the specification lists for a decoder's checkpoint, with safetensors and no pickle."""
    folder, _, _ = pushed
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= names
    assert {"tokenizer_config.json", "processor_config.json", "chat_template.jinja", "README.md"} <= names
    assert not [name for name in names if name.endswith(".bin") or name.startswith("adapter")]


def test_samples_are_written_printed_and_in_the_card(pushed):
    folder, _, printed = pushed
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 3
    card = (folder / "README.md").read_text()
    assert "## Sample answers" in card
    for sample in samples:
        assert sample["image_path"] in printed and f"reference: {sample['reference']}" in printed
        assert sample.keys() == {"image_path", "question", "reference", "generated"}


def test_the_adapters_are_in_the_weights_of_the_text_decoder_and_nowhere_else(pushed, chat, tmp_path):
    from safetensors.torch import load_file

    from modeling.tiny_checkpoints import write_tiny_decoder
    from trainers.decoder_collator import CHAT_TEMPLATE

    texts = [turn["content"] for messages in chat["train"]["messages"] for turn in messages]
    write_tiny_decoder(tmp_path, texts, CHAT_TEMPLATE, seed=42)  # what `--tiny` started from
    before, after = (load_file(folder / "model.safetensors") for folder in (tmp_path, pushed[0]))
    assert before.keys() == after.keys()
    moved = {name for name in before if not before[name].equal(after[name])}
    assert moved == {name for name in before if ".layers." in name and name.startswith("language_model.")
                     and name.endswith("_proj.weight")}  # fmt: skip
    summary = json.loads((pushed[0] / "training_summary.json").read_text())
    assert summary["train_scope"] == "lora" and 0 < summary["trainable_parameters"] < summary["parameters"] / 4


def test_it_answers_in_a_fresh_process(pushed, run, tmp_path):
    code = f"""
import json, sys
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
model, info = AutoModelForImageTextToText.from_pretrained({pushed[1]!r}, output_loading_info=True)
processor = AutoProcessor.from_pretrained({pushed[1]!r})
part = {{"type": "image", "image": Image.linear_gradient("L").convert("RGB")}}
chat = [{{"role": "user", "content": [part, {{"type": "text", "text": "Describe this medical image:"}}]}}]
inputs = processor.apply_chat_template(
    chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
tokens = model.generate(**inputs, max_new_tokens=5, do_sample=False)
missing = sorted(map(str, info["missing_keys"])) + sorted(map(str, info["unexpected_keys"]))
print(json.dumps({{"missing": missing, "new": int(tokens.shape[1] - inputs["input_ids"].shape[1])}}))
"""
    process = run("python", "-c", code, cwd=tmp_path, env={"PYTHONPATH": None}, fresh_home=True)
    answer = json.loads(process.stdout.splitlines()[-1])
    assert answer["missing"] == [] and 1 <= answer["new"] <= 5


def test_it_is_private(pushed, hub):
    from huggingface_hub import HfApi

    assert HfApi().model_info(pushed[1], token=hub.token).private


def test_an_encoder_is_no_decoder(tiny_encoder, run, dataset, tmp_path):
    words = ("--model_name_or_path", tiny_encoder, "--dataset", dataset, "--output_dir", tmp_path / "out")
    process = run("python", "trainers/run_decoder.py", *words, check=False)
    assert process.returncode == 2
    assert "a model of type 'siglip', not mllama" in process.stderr.splitlines()[-1]
