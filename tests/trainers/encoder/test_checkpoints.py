"""Tests the command with frozen towers and adapters: its files open without this project, and resuming is exact."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

QUICK = ("--tiny", "--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2", "--disable_tqdm", "True")
LORA = ("--lora_towers", "both", "--lora_r", "4", "--lora_dropout", "0.1", "--save_adapter")
STEPS = (
    "--max_steps",
    "4",
    "--save_steps",
    "2",
    "--eval_steps",
    "2",
    "--logging_steps",
    "1",
    "--save_total_limit",
    "5",
)
FAST = ("--learning_rate", "3e-3", "--text_lr", "1e-3", "--temperature_lr", "1e-2", "--warmup_steps", "0")


@pytest.fixture(scope="module")
def few(dataset, tmp_path_factory):
    """The address of the pixels, shared by the runs of this module."""
    return ("--dataset", dataset, "--image_cache", tmp_path_factory.mktemp("pixels"))


@pytest.fixture(scope="module")
def with_adapters(run, few, tmp_path_factory):
    """(the output folder, what was printed) of a run with adapters on both towers."""
    folder = tmp_path_factory.mktemp("lora") / "model"
    words = (*few, *QUICK, *LORA, *STEPS, *FAST, "--output_dir", folder)
    return folder, run("python", "trainers/run_encoder.py", *words).stdout


def losses(folder) -> list[float]:
    state = json.loads((folder / "checkpoint-4" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


@pytest.mark.slow
def test_a_resumed_run_with_adapters_has_the_same_losses_and_weights(with_adapters, run, few, tmp_path):
    from safetensors.torch import load_file

    folder, _ = with_adapters
    again = tmp_path / "again"
    shutil.copytree(folder / "checkpoint-2", again / "checkpoint-2")
    words = (*few, *QUICK, *LORA, *STEPS, *FAST, "--output_dir", again, "--resume_from_checkpoint", "True")
    run("python", "trainers/run_encoder.py", *words)
    assert losses(again) == losses(folder) and len(losses(folder)) == 4
    for name in ("model.safetensors", "lora.safetensors"):
        mine, theirs = (load_file(one / "checkpoint-4" / name) for one in (again, folder))
        assert mine.keys() == theirs.keys() and all(mine[key].equal(theirs[key]) for key in mine)


@pytest.mark.slow
def test_each_checkpoint_and_the_model_open_in_a_fresh_process(with_adapters, run, tmp_path):
    """Through either door, with the same logits; and the adapter beside the model that it was trained from."""
    folder, _ = with_adapters
    code = f"""
import json, torch
from PIL import Image
from transformers import AutoModel, AutoProcessor
image, logits, names = Image.linear_gradient("L").convert("RGB"), [], []
for name in ({str(folder)!r}, {str(folder / "checkpoint-2")!r}, {str(folder / "checkpoint-4")!r}):
    for trust in (None, True):
        model, info = AutoModel.from_pretrained(name, trust_remote_code=trust, output_loading_info=True)
        assert not any(info.values()), info
        processor = AutoProcessor.from_pretrained(name, trust_remote_code=trust)
        inputs = processor(images=image, text=["a", "b"], padding="max_length", max_length=64, return_tensors="pt")
        with torch.no_grad():
            logits.append(model(**inputs).logits_per_image)
        names.append(type(model).__name__)
apart = [[(one - other).abs().max().item() for other in logits] for one in logits]
print(json.dumps([names, apart]))
"""
    process = run("python", "-c", code, cwd=tmp_path, env={"PYTHONPATH": None}, fresh_home=True)
    names, apart = json.loads(process.stdout.splitlines()[-1])
    assert names == ["SiglipModel", "SiglipMedicalModel"] * 3
    assert max(apart[0][1], apart[2][3], apart[4][5]) < 1e-5 < 1e-3 < apart[2][4]  # of float32; two updates apart
    best = json.loads((folder / "training_summary.json").read_text())["best_step"]
    assert apart[0][best] < 1e-5  # the model is the best checkpoint: 2 is the third opened, 4 the fifth


def test_the_adapter_beside_its_base_model_is_the_merged_model(with_adapters, run, few, tmp_path):
    from peft import PeftModel
    from transformers import AutoModel

    folder, _ = with_adapters
    run("python", "trainers/run_encoder.py", *few, *QUICK, "--num_train_epochs", "0", "--output_dir", tmp_path / "base")
    base = AutoModel.from_pretrained(tmp_path / "base").eval()
    torch.manual_seed(0)
    inputs = {"pixel_values": torch.randn(3, 3, 64, 64), "input_ids": torch.randint(2, 200, (3, 64))}
    with torch.no_grad():
        before = base(**inputs).logits_per_image
        adapted = PeftModel.from_pretrained(base, folder / "adapter").eval()(**inputs).logits_per_image
        merged = AutoModel.from_pretrained(folder).eval()(**inputs).logits_per_image
    torch.testing.assert_close(adapted, merged, rtol=1e-4, atol=1e-4)
    assert (adapted - before).abs().max() > 0.1


def test_what_learns_is_printed_and_recorded(with_adapters):
    folder, printed = with_adapters
    lines = {line.split()[0]: line for line in printed.splitlines() if " weights in " in line}
    assert list(lines) == ["vision_decay", "text_decay", "temperature"]
    assert "learning rate 0.003" in lines["vision_decay"] and "learning rate 0.001" in lines["text_decay"]
    assert "learning rate 0.01, weight decay 0" in lines["temperature"]
    summary = json.loads((folder / "training_summary.json").read_text())
    assert summary["trainable_parameters"] == 2 * 3 * 4 * (4 * (128 + 128) + 2 * (128 + 256)) + 2
    assert not (folder / "lora.safetensors").exists()  # of the checkpoints only


@pytest.mark.slow
def test_a_run_with_adapters_goes_on_with_the_same_flags_only(with_adapters, run, few, tmp_path):
    folder, _ = with_adapters
    shutil.copytree(folder / "checkpoint-2", tmp_path / "checkpoint-2")
    (tmp_path / "recipe.yaml").write_text("kept: true")
    for words, said in (
        ((), "was trained with adapters; give the --lora_towers"),
        (("--lora_towers", "both", "--lora_r", "8"), "lora_r was 4 and is 8 now"),
    ):
        command = ("python", "trainers/run_encoder.py", *few, *QUICK, *STEPS, *words, "--output_dir", tmp_path)
        command += ("--resume_from_checkpoint", "True")
        process = run(*command, check=False)
        assert process.returncode == 2 and "--allow_changed_flags" in process.stderr.splitlines()[-1]
        process = run(*command, "--allow_changed_flags", "True", check=False)  # there are flags that it cannot allow
        assert process.returncode == 2
        assert said in process.stderr.splitlines()[-1] and "Traceback" not in process.stderr
    assert (tmp_path / "recipe.yaml").read_text() == "kept: true"  # what is refused changes nothing


def test_the_best_checkpoint_with_adapters_is_the_one_that_is_kept(with_adapters, run, few, tmp_path):
    """With an evaluation after every second update, at a rate that spoils the model after the first."""
    from safetensors.torch import load_file

    words = (*few, *QUICK, *LORA, *STEPS, "--output_dir", tmp_path / "run")
    run("python", "trainers/run_encoder.py", *words, "--learning_rate", "0.5", "--warmup_steps", "0")
    summary = json.loads((tmp_path / "run" / "training_summary.json").read_text())
    evaluated = {entry["step"]: entry["eval_loss"] for entry in summary["history"] if "eval_loss" in entry}
    best = min(evaluated, key=evaluated.get)
    assert summary["best_step"] == best and len(evaluated) >= 2
    final, kept = (
        load_file(one / "model.safetensors") for one in (tmp_path / "run", tmp_path / "run" / f"checkpoint-{best}")
    )
    assert all(final[name].equal(kept[name]) for name in kept)


@pytest.mark.slow
def test_temperature_and_bias_alone(run, few, tmp_path):
    """Both towers frozen: nothing else is another than it was, and the loss falls."""
    from safetensors.torch import load_file

    words = ("--freeze", "both", "--temperature_lr", "0.3", "--warmup_steps", "0", "--logging_steps", "1")
    run(
        "python", "trainers/run_encoder.py", *few, *QUICK, *words, "--max_steps", "12", "--output_dir", tmp_path / "fit"
    )
    run("python", "trainers/run_encoder.py", *few, *QUICK, "--num_train_epochs", "0", "--output_dir", tmp_path / "base")
    fitted, base = (load_file(tmp_path / name / "model.safetensors") for name in ("fit", "base"))
    assert {name for name in base if not fitted[name].equal(base[name])} == {"logit_scale", "logit_bias"}
    summary = json.loads((tmp_path / "fit" / "training_summary.json").read_text())
    assert summary["trainable_parameters"] == 2
    found = [entry["loss"] for entry in summary["history"] if "loss" in entry]
    assert len(found) == 12 and sum(found[-3:]) < sum(found[:3])
