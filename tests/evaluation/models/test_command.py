"""Runs the command on models of others: controls, records and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evaluation.run_evaluation import main
from model_cards.controls import BLANK, FROZEN, MIRRORED, OTHER_ANSWER, check_controls
from model_cards.results import load_results
from tests.evaluation.models.test_remote import KEY, address, server

__all__ = ["server"]


@pytest.fixture
def score(tmp_path, capsys):
    """A function: score(*flags) is the status, what was printed, the last line of errors, and the record."""

    def run(*words):
        status = main([*map(str, words), "--output_dir", str(tmp_path / "results")])
        printed, complained = capsys.readouterr()
        results = load_results(tmp_path / "results") if (tmp_path / "results").is_dir() else []
        newest = max(
            results, key=lambda result: (tmp_path / "results" / result.file_name).stat().st_mtime_ns, default=None
        )
        return status, printed, (complained.strip().splitlines() or [""])[-1], newest

    return run


def notes(result) -> dict[str, str]:
    return {entry["name"]: entry["note"] for entry in result.controls if not entry["metrics"]}


def test_an_encoder_of_another_family(score, family, build):
    status, printed, _, result = score("--model", family("clip"), "--dataset", build, "--split", "test[:60%]")
    assert status == 0 and "R@1" in printed and "loss" not in result.metrics and "loss" not in printed
    assert result.dataset_split == "test[:60%]" and result.weights and 0 <= result.metrics["recall_at_1"] <= 1


@pytest.mark.slow
def test_a_decoder_of_another_family_has_all_controls(score, family, build):
    flags = ("--dataset", build, "--max_new_tokens", "2", "--limit", "12", "--base_model", "org/base")
    status, printed, _, result = score("--model", family("qwen2_vl"), *flags)
    assert status == 0 and "frozen features" in printed
    check_controls(result)
    assert result.metrics["loss"] > 0 and result.base_model == "org/base"
    entries = {entry["name"]: entry for entry in result.controls}
    assert entries[FROZEN]["metrics"] and "the model's own vision tower" in entries[FROZEN]["note"]
    assert entries[BLANK]["samples"] == 12


@pytest.mark.slow
def test_predictions_of_this_command_have_the_scores_of_their_run(score, decoder, build, tmp_path):
    flags = ("--dataset", build, "--split", "validation")
    asked = score("--model", decoder, *flags, "--max_new_tokens", "4", "--frozen_encoder", "none")[3]
    (path,) = (tmp_path / "results").glob("*.predictions.jsonl")
    shutil.move(path, tmp_path / "mine.jsonl")
    status, _, error, result = score("--predictions", tmp_path / "mine.jsonl", *flags)
    assert (status, result.model, result.weights) == (0, "mine", ""), error
    same = [name for name in result.metrics if name not in ("loss", "perplexity")]
    assert {name: asked.metrics[name] for name in same} == pytest.approx(result.metrics)
    assert "loss" not in result.metrics
    why = "left out, because a file of predictions cannot be asked again"
    assert {name: notes(result)[name] for name in (BLANK, MIRRORED)} == {BLANK: why, MIRRORED: why}
    assert "no vision tower" in notes(result)[FROZEN]
    # Swapped images are looked up among the answers that are there.
    found = [{entry["name"]: entry for entry in each.controls} for each in (asked, result)]
    assert found[0][OTHER_ANSWER]["metrics"] == found[1][OTHER_ANSWER]["metrics"] and found[0][OTHER_ANSWER]["metrics"]


def test_an_address_and_its_key(score, server, build, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    flags = ("--dataset", build, "--limit", "8", "--api_key_env", "MY_KEY")
    status, printed, error, result = score("--model", address(server), *flags)
    assert status == 0, error
    check_controls(result)
    assert (result.model, result.weights, result.model_revision) == ("org/served", "", "")
    entries = {entry["name"]: entry for entry in result.controls}
    assert entries[BLANK]["samples"] == 8 and "vision tower" in notes(result)[FROZEN]
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "results").iterdir()]
    assert not any(KEY in text or str(server.server_port) in text for text in texts)
    assert KEY not in printed + error


def test_flags_that_do_not_belong_together(score, family, build, tmp_path):
    (tmp_path / "file.jsonl").write_text(json.dumps({"row": 0, "prediction": "x"}) + "\n")
    file = ("--predictions", tmp_path / "file.jsonl")
    web = ("--model", "http://localhost:9/v1")
    clip = ("--model", family("clip"))
    for words, message in (
        ((), "--model is required, or a file of answers with --predictions"),
        (("--predictions", tmp_path / "none"), f"--predictions {tmp_path}/none: no such file"),
        ((*file, "--dtype", "float16"), "--dtype cannot be combined with --predictions, because no weights are loaded"),
        ((*web, "--load_in_4bit"), "--load_in_4bit cannot be combined with an address, because no weights are loaded"),
        (
            (*web, "--push_to_hub"),
            "--push_to_hub cannot be combined with an address, because the weights are not known",
        ),
        ((*clip, "--served_model", "x"), "--served_model requires --model with an address"),
        ((*clip, "--prediction_key", "x"), "--prediction_key requires --predictions"),
        ((*clip, "--question_column", "x"), "--question_column requires a decoder, but --model "),
        ((*file, "--text_column", "x"), "--text_column requires an encoder, but --model file is not one"),
        ((*clip, "--split", "test["), "--split test[: give a split, or a part of it such as test[:100]"),
        ((*clip, "--split", "test[:1]", "--push_to_hub"), "--split test[:1] cannot be combined with --push_to_hub"),
    ):
        status, _, error, result = score(*words, "--dataset", build)
        assert status == 2 and error.startswith(f"error: {message}"), error
        assert result is None
    assert Path(build).is_dir()


def test_a_record_on_a_dataset_of_others_can_be_verified(score, tmp_path, capsys, monkeypatch):
    from datasets import Dataset, Features, Image, Value

    from evaluation.verify import main as verify
    from tests.evaluation.small_run import picture

    features = Features({"scan": Image(), "question": Value("string"), "answer": Value("string")})
    columns = {"scan": [picture((9, 9), n // 2) for n in range(8)], "question": ["Liver?", "Side?"] * 4}
    table = Dataset.from_dict(columns | {"answer": ["yes", "left", "no", "right"] * 2}, features=features)
    (tmp_path / "data").mkdir()
    table.to_parquet(tmp_path / "data" / "test.parquet")
    lines = [json.dumps({"row": row, "prediction": "yes"}) for row in range(8)]
    (tmp_path / "file.jsonl").write_text("\n".join(lines))
    flags = ("--predictions", tmp_path / "file.jsonl", "--dataset", tmp_path / "data", "--split", "test[2:]")
    status, _, error, result = score(*flags, "--image_column", "scan")
    assert status == 0, error
    assert result.settings["image_column"] == "scan" and len(result.settings["predictions"]) == 64
    assert (result.samples, result.metrics["accuracy_closed"]) == (6, pytest.approx(1 / 3))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")  # the command sets them, and they are undone after the test
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")
    verify([str(tmp_path / "results" / result.file_name), "--dataset", str(tmp_path / "elsewhere")])
    said = capsys.readouterr().out
    assert "6 rows of test[2:]" in said and "6 answers" in said, said
    Dataset.from_dict(table[:7] | {"answer": ["no"] * 7}, features=features).to_parquet(
        tmp_path / "elsewhere" / "test.parquet"
    )
    assert verify([str(tmp_path / "results" / result.file_name), "--dataset", str(tmp_path / "elsewhere")]) != 0
