"""Checks the encoder training benchmark: it runs, its baselines train as published, and its ratios are correct."""

from __future__ import annotations

import json
import math
import sys

import pytest

from tests.benchmarks.encoder import end_to_end as benchmark
from tests.benchmarks.encoder import peers
from tests.benchmarks.encoder.end_to_end import LOOP, OURS, RESULT, RUN_CLIP, WAYS
from tests.benchmarks.encoder.ratios import Run, figures, ratios, reach

pytestmark = pytest.mark.slow


def test_a_small_run(run, tmp_path):
    output = tmp_path / "result.json"
    command = ["python", "tests/benchmarks/encoder/end_to_end.py", "--quick", "--work_dir", tmp_path]
    printed = run(*command, "--output", output, timeout=600).stdout
    part = json.loads(output.read_text(encoding="utf-8"))["sample"]
    assert set(part["ways"]) == {RUN_CLIP, LOOP, OURS} and set(part["ratios"]) == {RUN_CLIP, LOOP}
    chance = part["chance_recall_at_5"]
    for way in part["ways"].values():
        assert len(way["recall_at_5"]) == len(way["epoch_ends_after_seconds"]) == 2
        assert 0 < chance < 1 and all(0 < recall <= 1 for recall in way["recall_at_5"])
        assert way["steady_samples_per_processor_second"] > 0 and way["peak_mb"] > 100
        assert way["epoch_ends_after_processor_seconds"][-1] <= way["whole_run_processor_seconds"]
        assert way["to_target"]["samples"] in (part["pairs"]["train"], 2 * part["pairs"]["train"])
    assert part["ratios"][LOOP][LOOP]["samples_to_target"] == 1
    assert "target: R@5" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]  # nothing is left of the work


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A checkpoint and eleven pairs, the complete input of the baselines."""
    import datasets
    from PIL import Image

    folder = tmp_path_factory.mktemp("peers")
    colors = [(20 * row, 255 - 20 * row, 100) for row in range(11)]
    rows = {
        "image": [Image.new("RGB", (40, 30), color) for color in colors],
        "text": [f"Lesion number {row}, with the color {color}" for row, color in enumerate(colors)],
        "image_path": [f"{row}.png" for row in range(11)],
    }
    (folder / "data" / "pairs").mkdir(parents=True)
    for split in ("train", "validation"):
        datasets.Dataset.from_dict(rows).to_parquet(folder / "data" / "pairs" / f"{split}.parquet")
    card = "---\nconfigs:\n- config_name: pairs\n  data_files:\n"
    card += "".join(f"  - split: {split}\n    path: pairs/{split}.parquet\n" for split in ("train", "validation"))
    (folder / "data" / "README.md").write_text(card + "---\n", encoding="utf-8")
    peers.main(["start", *flags(folder), "--image_size", "32", "--logit_bias", "-9"])
    return folder


def flags(folder) -> list[str]:
    return ["--dataset", str(folder / "data"), "--start", str(folder / "start")]


@pytest.mark.parametrize("what", ["run_clip", "loop"])
def test_a_peer_learns_from_the_shared_start(what, start, tmp_path, capsys):
    more = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1", "--learning_rate", "1e-3"]
    peers.main([what, *flags(start), *more, "--output_dir", str(tmp_path), "--num_train_epochs", "6"])
    last = max(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert last.name == "checkpoint-18" and len(list(tmp_path.glob("checkpoint-*"))) == 6
    folders = [str(start / "start"), str(last)]
    capsys.readouterr()
    peers.main(["score", *flags(start), "--checkpoints", *folders])
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert scores[folders[1]]["loss"] < scores[folders[0]]["loss"]


def test_the_start_is_stock(start):
    from transformers import AutoModel, SiglipModel

    config = json.loads((start / "start" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["SiglipModel"] and "auto_map" not in config
    model = AutoModel.from_pretrained(start / "start")
    assert type(model) is SiglipModel
    assert model.logit_scale.item() == pytest.approx(math.log(10)) and model.logit_bias.item() == -9


def test_the_stock_loss_compares_a_micro_batch_only(start, tmp_path, monkeypatch):
    """`run_clip` trains on SiglipModel's loss of 4 pairs, averaged over the accumulation."""
    from transformers import SiglipModel

    seen = []
    forward = SiglipModel.forward

    def watched(model, **inputs):
        outputs = forward(model, **inputs)
        seen.append((tuple(outputs.logits_per_text.shape), inputs["return_loss"], outputs.loss.requires_grad))
        return outputs

    monkeypatch.setattr(SiglipModel, "forward", watched)
    more = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2", "--num_train_epochs", "1"]
    peers.main(["run_clip", *flags(start), *more, "--output_dir", str(tmp_path), "--save_strategy", "no"])
    assert seen == [((4, 4), True, True), ((4, 4), True, True), ((3, 3), True, True)]


def test_every_way_is_a_command_whose_flags_exist(tmp_path):
    from trainers.base.parser import parse
    from trainers.encoder.arguments import EncoderArguments, EncoderTrainingArguments

    def command(way):
        return benchmark.training(way, tmp_path / "data", tmp_path / "start", tmp_path / "out", 3, 1e-3, 7)

    for way, (program, _) in WAYS.items():
        line = command(way)
        assert line[0] == sys.executable
        if program == "ours":
            arguments, training = parse((EncoderArguments, EncoderTrainingArguments), "x", "", line[2:])
            assert training.seed == 7 and training.num_train_epochs == 3 and training.save_strategy == "steps"
            assert arguments.image_cache and training.per_device_train_batch_size in (8, 64)
            assert training.per_device_train_batch_size * training.gradient_accumulation_steps == 64
    sizes = {way: command(way) for way in (OURS, benchmark.PLAIN)}
    ours, plain = (parse((EncoderTrainingArguments, EncoderArguments), "x", "", line[2:])[0] for line in sizes.values())
    assert (ours.micro_batches_in_contrast, plain.micro_batches_in_contrast) == (8, 1)


# --- the figures ---

SLOW = Run(100.0, 80.0, 300.0, (("a1", 40.0, 30.0), ("a2", 60.0, 46.0), ("a3", 80.0, 62.0)))
FAST = Run(60.0, 40.0, 600.0, (("b1", 30.0, 20.0), ("b2", 40.0, 24.0), ("b3", 50.0, 28.0)))
SCORES = {
    name: {"recall_at_5": five, "recall_at_1": five / 2}
    for name, five in {"a1": 0.2, "a2": 0.5, "a3": 0.4, "b1": 0.3, "b2": 0.45, "b3": 0.8}.items()
}


def measured() -> dict:
    both = {"slow": figures([SLOW], 80, SCORES), "fast": figures([FAST], 80, SCORES)}
    for one in both.values():
        one["to_target"] = reach(one, 0.5, 80)
    return both


def test_steady_speed_leaves_out_start_and_first_epoch():
    slow = measured()["slow"]
    assert slow["steady_samples_per_second"] == 160 / 40
    assert slow["steady_samples_per_processor_second"] == 160 / 32
    assert slow["whole_run_samples_per_second"] == 240 / 100
    assert (slow["best_recall_at_5"], slow["final_recall_at_5"]) == (0.5, 0.4)


def test_what_the_target_took():
    both = measured()
    assert both["slow"]["to_target"] == {"samples": 160, "seconds": 60.0, "processor_seconds": 46.0}
    assert both["fast"]["to_target"] == {"samples": 240, "seconds": 50.0, "processor_seconds": 28.0}
    assert reach(both["slow"], 0.6, 80) is None


def test_ratios_are_above_one_where_a_way_is_better():
    row = ratios(measured(), "slow")["fast"]
    assert row["steady_samples_per_second"] == 2 and row["steady_samples_per_processor_second"] == 4
    assert row["best_recall_at_5"] == 1.6 and row["final_recall_at_5"] == 2
    assert row["whole_run_processor_seconds"] == 2 and row["peak_mb"] == 0.5
    assert row["samples_to_target"] == 0.67 and row["seconds_to_target"] == 1.2


def test_of_several_seeds_the_means_count():
    other = Run(
        120.0,
        90.0,
        310.0,
        tuple((f"b{epoch}", seconds, seconds) for epoch, seconds in ((1, 40.0), (2, 50.0), (3, 100.0))),
    )
    both = figures([SLOW, other], 80, SCORES)
    assert both["recall_at_5"] == [0.25, 0.475, 0.6]
    assert both["whole_run_seconds"] == 110 and both["peak_mb"] == 310
    assert both["steady_samples_per_second"] == 3.2


def test_a_command_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="no such word"):
        benchmark.watched([sys.executable, "-c", "raise SystemExit('no such word')"], tmp_path)


def test_moments_and_memory_of_a_command(tmp_path):
    code = """
import pathlib, sys, time
memory = bytearray(200 * 2**20)
for step in (9, 10):
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    pathlib.Path(sys.argv[1], f"checkpoint-{step}").mkdir()
    time.sleep(0.2)
"""
    done = benchmark.watched([sys.executable, "-c", code, str(tmp_path)], tmp_path)
    assert [name.rsplit("-", 1)[1] for name, _, _ in done.epochs] == ["9", "10"]
    (_, first, used_first), (_, second, used_second) = done.epochs
    assert first < second <= done.seconds and used_first < used_second <= done.processor_seconds
    assert 200 < done.peak_mb < 400 and done.processor_seconds >= 0.6


# --- the record ---


def test_the_record_is_of_all_ways_and_says_what_the_docs_promise():
    part = json.loads(RESULT.read_text(encoding="utf-8"))["sample"]
    ways = part["ways"]
    assert set(ways) == set(WAYS) and set(part["ratios"]) == {RUN_CLIP, LOOP}
    speed = {way: one["steady_samples_per_processor_second"] for way, one in ways.items()}
    assert speed[benchmark.WHOLE] > speed[benchmark.RUN_CLIP_WHOLE]
    assert speed[benchmark.PLAIN] > max(speed[RUN_CLIP], speed[LOOP])
    # an exact gradient over 8 x 8 trains as one batch of 64 does
    assert ways[OURS]["recall_at_5"] == pytest.approx(ways[benchmark.WHOLE]["recall_at_5"], abs=0.05)
    assert part["target_recall_at_5"] > 3 * part["chance_recall_at_5"]
