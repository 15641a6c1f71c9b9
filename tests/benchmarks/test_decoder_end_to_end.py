"""Checks the decoder training benchmark: it runs, its baselines learn, and its ratios are correct."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.decoder import end_to_end as benchmark
from tests.benchmarks.decoder import peers
from tests.benchmarks.decoder.end_to_end import OURS, TRL, TRL_WORKERS, figures, rates, ratios

pytestmark = pytest.mark.slow

TRAININGS = ("trl", "trl_defaults", "hf", "ours")
ROWS = 16


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Questions about four images, and the initial checkpoint of all runs."""
    import datasets
    from PIL import Image

    folder = tmp_path_factory.mktemp("peers")
    colors = [(60 * image, 255 - 60 * image, 100) for image in range(4)]
    questions = ("Which color is it?", "How many lungs are there?", "Is it a CT?", "这是什么?")
    features = datasets.Features(
        images=datasets.List(datasets.Image()),
        messages=datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")}),
        image_path=datasets.Value("string"),
    )
    rows = {
        "images": [[Image.new("RGB", (150, 120), colors[row // 4])] for row in range(ROWS)],
        "messages": [
            [{"role": "user", "content": questions[row % 4]}, {"role": "assistant", "content": f"number {row // 4}"}]
            for row in range(ROWS)
        ],
        "image_path": [f"{row // 4}.png" for row in range(ROWS)],
    }
    (folder / "data" / "chat").mkdir(parents=True)
    card = "---\nconfigs:\n- config_name: chat\n  data_files:\n"
    for split in ("train", "validation"):
        datasets.Dataset.from_dict(rows, features).to_parquet(folder / "data" / "chat" / f"{split}.parquet")
        card += f"  - split: {split}\n    path: chat/{split}.parquet\n"
    (folder / "data" / "README.md").write_text(card + "---\n", encoding="utf-8")
    return folder


def flags(folder) -> list[str]:
    return ["--dataset", str(folder / "data"), "--start", str(folder / "start")]


@pytest.fixture(scope="module")
def shape(start):
    """Writes the checkpoint; returns its description."""
    said = benchmark.command(benchmark.PEER, "start", *flags(start), "--per_device_train_batch_size", "4")
    return json.loads(said.splitlines()[-1])


def test_the_model_has_the_proportions_of_the_released_one(start, shape):
    from transformers import AutoModelForImageTextToText, MllamaForConditionalGeneration

    assert (shape["rows"], shape["images"]) == (ROWS, 4)
    assert 0.8 < shape["vision_tower"] < 0.9 and 0.04 < shape["projector_keys_values"] < 0.08
    model = AutoModelForImageTextToText.from_pretrained(start / "start")
    assert type(model) is MllamaForConditionalGeneration
    gates = [one for name, one in model.named_parameters() if name.endswith("attn_gate")]
    assert len(gates) == 2 and all(gate.item() for gate in gates)  # closed, no image would be seen


@pytest.fixture(scope="module")
def trained(start, shape):
    """The measurements and the model folder of each training, each in its own process as in the benchmark."""
    sizes = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2", "--max_steps", "6"]
    found = {}
    for what in TRAININGS:
        output = start / what
        benchmark.command(benchmark.PEER, what, *flags(start), *sizes, "--output_dir", output)
        found[what] = output, json.loads((output / peers.MEASURED).read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_every_training_learns_from_the_shared_start(start, trained, capsys):
    for _, measured in trained.values():
        assert len(measured["steps"]) == len(measured["losses"]) == 6
        assert measured["begin_seconds"] < measured["steps"][0][0] < measured["steps"][-1][0]
        assert measured["peak_mb"] > 100
    folders = [str(start / "start"), *(str(output) for output, _ in trained.values())]
    capsys.readouterr()
    peers.main(["score", *flags(start), "--models", *folders])
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert all(scores[folder] < scores[folders[0]] - 0.5 for folder in folders[1:])


@pytest.mark.slow
def test_the_peers_compute_the_same_losses(trained):
    """TRL with its best settings, and the stock Trainer: the same rows, the same labels, the same updates."""
    losses = {what: measured["losses"] for what, (_, measured) in trained.items()}
    assert losses["trl"] == pytest.approx(losses["hf"], abs=0.02)
    assert abs(losses["trl_defaults"][0] - losses["hf"][0]) > 0.05  # the prompt and the image token are in it


@pytest.mark.slow
def test_a_small_run(run, tmp_path):
    output = tmp_path / "result.json"
    line = ["python", "tests/benchmarks/decoder/end_to_end.py", "--quick", "--work_dir", tmp_path]
    printed = run(*line, "--output", output, timeout=900).stdout
    part = json.loads(output.read_text(encoding="utf-8"))["parts"]["slake"]
    assert set(part["ways"]) == {TRL, OURS} and part["steps"] == 3
    for way in part["ways"].values():
        assert way["samples_per_second"] > 0 and len(way["train_losses"]) == 3 and way["peak_mb"] > 100
        assert way["held_out_loss"] < part["start_loss"]
    assert part["ratios"]["samples_per_second"]["TRL at its best"] > 0
    assert "of the forward FLOPs" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]  # nothing is left of the work


# --- the figures ---


def measured(seconds: float, used: float, peak: float) -> dict:
    """Three updates, the first of which takes longer."""
    steps = [(10.0, 9.0), (10 + seconds, 9 + used), (10 + 2 * seconds, 9 + 2 * used)]
    return {"begin_seconds": 5.0, "steps": steps, "losses": [3.0, 2.0, 1.0], "peak_mb": peak}


def test_the_first_update_is_not_timed():
    assert rates(measured(2.0, 1.6, 1.0), update=16) == pytest.approx((8, 10))


def test_medians_of_repeats():
    runs = [measured(1.0, 1.0, 500.4), measured(4.0, 4.0, 400.0), measured(2.0, 1.0, 450.0)]
    found = figures(runs, [2.0, 1.0, 4.0], update=16)
    assert found["samples_per_second"] == 8 and found["samples_per_second_of_runs"] == [16, 4, 8]
    assert found["samples_per_processor_second"] == 16 and found["peak_mb"] == 500
    assert found["held_out_loss"] == 2 and found["train_losses"] == [3.0, 2.0, 1.0]


def test_ours_is_compared_with_the_faster_of_trl():
    speeds = {TRL: (10.0, 10.0), TRL_WORKERS: (15.0, 30.0), "Trainer": (8.0, 8.0), OURS: (30.0, 32.0)}
    names = ("samples_per_second", "samples_per_processor_second")
    found = ratios({way: dict(zip(names, speed, strict=True)) for way, speed in speeds.items()})
    assert found["samples_per_second"] == {TRL: 3, TRL_WORKERS: 2, "Trainer": 3.75, "TRL at its best": 2}
    assert found["samples_per_processor_second"] == {TRL: 3.2, "Trainer": 4}


def test_shared_settings_are_flags_of_ours(tmp_path):
    """Every setting of the baselines is passed to `run_decoder.py` with the same name."""
    from trainers.base.parser import parse
    from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments

    options = peers.argument_parser(["ours"]).parse_args(
        ["ours", "--dataset", "d", "--start", "s", "--output_dir", str(tmp_path), "--max_steps", "7"]
    )
    line = peers.our_flags(options)
    arguments, training = parse((DecoderArguments, DecoderTrainingArguments), "x", "", line)
    assert (training.max_steps, training.per_device_train_batch_size, training.gradient_accumulation_steps) == (7, 8, 2)
    assert (arguments.lora_r, arguments.lora_alpha, arguments.lora_dropout) == (16, 32, 0)
    assert arguments.rows_per_image is None and not training.bf16 and training.use_cpu
    for name, value in peers.settings(options).items():
        given = getattr(training, name)
        assert getattr(given, "value", given) == value or given == [] or given == [value], name


def test_ours_fits_the_weights_that_the_peers_fit():
    """The regular expression exists in two places, because the evaluation may not import the trainers."""
    from pathlib import Path

    import trainers.decoder.tuning as tuning

    assert peers.TARGETS.removeprefix(".*") in Path(tuning.__file__).read_text(encoding="utf-8")
