"""The command: from a dataset to a model on the Hub that opens in a fresh process, and what it says when it cannot."""

from __future__ import annotations

import json
import shutil

import pytest

QUICK = ("--tiny", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1", "--disable_tqdm", "True")


@pytest.fixture(scope="module")
def pushed(run, dataset, tmp_path_factory):
    """(the output folder, the repository) of a short training that was pushed."""
    folder, repository = tmp_path_factory.mktemp("encoder") / "siglip", "org/siglip-pushed"
    words = ("--output_dir", folder, "--num_train_epochs", "1", "--push_to_hub", "--hub_model_id", repository)
    run("python", "trainers/run_encoder.py", "--dataset", dataset, *QUICK, *words)
    return folder, repository


def test_the_folder_is_complete(pushed):
    folder, repository = pushed
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "processor_config.json", "README.md"} <= names
    assert {"training_summary.json", "training_args.json", "results"} <= names
    result = json.loads(next((folder / "results").iterdir()).read_text())
    assert result["model"] == repository and result["dataset_split"] == "validation"
    assert 0 <= result["metrics"]["recall_at_5"] <= 1


def test_the_card_s_numbers_are_the_result_s(pushed):
    folder, _ = pushed
    metrics = json.loads(next((folder / "results").iterdir()).read_text())["metrics"]
    card = (folder / "README.md").read_text()
    assert f"| R@5 | {metrics['recall_at_5']:.4g} | {metrics['chance_recall_at_5']:.4g} |" in card
    assert f"value: {metrics['loss']}" in card


def test_the_card_says_what_the_weights_depend_on(pushed):
    card = (pushed[0] / "README.md").read_text()
    for line in ("| `contrastive_batch_size` | 8 |", "| `positives` | group |", "| `image_size` | 64 |"):
        assert line in card
    assert "matryoshka_dims" not in card  # not set


def test_a_cache_that_overwrite_would_remove_is_refused(run, dataset, tmp_path):
    words = ("--dataset", dataset, *QUICK, "--output_dir", tmp_path, "--overwrite", "--image_cache", tmp_path / "cache")
    (tmp_path / "kept.txt").write_text("kept")
    process = run("python", "trainers/run_encoder.py", *words, check=False)
    assert process.returncode == 2 and (tmp_path / "kept.txt").exists()
    assert "--image_cache" in process.stderr.splitlines()[-1] and "Traceback" not in process.stderr


def test_it_is_private_and_without_checkpoints(pushed, hub):
    from huggingface_hub import HfApi

    info = HfApi().model_info(pushed[1], token=hub.token)
    names = {file.rfilename for file in info.siblings}
    assert info.private
    assert {"model.safetensors", "README.md", "modeling_siglip_medical.py", "loss.py"} <= names
    assert not [name for name in names if name.startswith("checkpoint-") or name.endswith((".bin", ".pt", ".pth"))]


def test_it_opens_in_a_fresh_process_with_the_same_embeddings(pushed, run, tmp_path):
    """Through either door, from the Hub and from the folder."""
    folder, repository = pushed
    code = f"""
import json, torch
from PIL import Image
from transformers import AutoModel, AutoProcessor
image, logits, names = Image.linear_gradient("L").convert("RGB"), [], []
for name, trust in (({str(folder)!r}, True), ({repository!r}, None), ({repository!r}, True)):
    model, processor = (kind.from_pretrained(name, trust_remote_code=trust) for kind in (AutoModel, AutoProcessor))
    inputs = processor(images=image, text=["knee", "肝"], padding="max_length", max_length=64, return_tensors="pt")
    with torch.no_grad():
        logits.append(model(**inputs).logits_per_image)
    names.append(type(model).__name__)
print(json.dumps({{"names": names, "apart": max((other - logits[0]).abs().max().item() for other in logits)}}))
"""
    process = run("python", "-c", code, cwd=tmp_path, env={"PYTHONPATH": None}, fresh_home=True)
    answer = json.loads(process.stdout.splitlines()[-1])
    assert answer["names"] == ["SiglipMedicalModel", "SiglipModel", "SiglipMedicalModel"]
    assert answer["apart"] < 1e-5  # of float32


def test_it_goes_on_from_the_pushed_model(pushed, run, dataset, tmp_path):
    """A repository as the starting point: no epoch, so the weights come out as they went in."""
    from safetensors.torch import load_file

    words = ("--model_name_or_path", pushed[1], "--num_train_epochs", "0", "--output_dir", tmp_path / "again")
    run("python", "trainers/run_encoder.py", "--dataset", dataset, *words)
    before, after = (load_file(folder / "model.safetensors") for folder in (pushed[0], tmp_path / "again"))
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
    assert "org/siglip-pushed" in (tmp_path / "again" / "README.md").read_text()


def mistakes():
    yield "dataset", ["--dataset", "nowhere"], "--dataset nowhere: no such folder"
    yield "split", ["--train_split", "trian", "--eval_split", "valid"], "no split trian or valid"
    yield "model", ["--model_name_or_path", "org/none"], "org/none"
    yield "resume", ["--tiny", "--resume_from_checkpoint", "True"], "no checkpoint-* in"


@pytest.mark.parametrize(("words", "said"), [mistake[1:] for mistake in mistakes()], ids=[m[0] for m in mistakes()])
def test_a_mistake_is_one_message_and_status_2(words, said, run, dataset, tmp_path):
    command = ("python", "trainers/run_encoder.py", "--output_dir", tmp_path / "out", "--dataset", dataset, *words)
    process = run(*command, check=False)
    assert process.returncode == 2
    assert said in process.stderr.splitlines()[-1] and "Traceback" not in process.stderr


def test_a_missing_weight_is_an_error_and_not_a_random_one(tiny_encoder, run, dataset, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_encoder, tmp_path / "broken")
    weights = load_file(tmp_path / "broken" / "model.safetensors")
    del weights["vision_model.embeddings.position_embedding.weight"]
    save_file(weights, tmp_path / "broken" / "model.safetensors", metadata={"format": "pt"})
    words = ("--model_name_or_path", tmp_path / "broken", "--output_dir", tmp_path / "out", "--dataset", dataset)
    process = run("python", "trainers/run_encoder.py", *words, check=False)
    assert process.returncode == 2
    assert "missing keys" in process.stderr and "position_embedding" in process.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()
