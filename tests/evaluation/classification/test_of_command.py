"""Runs `medpairs evaluate` on an encoder and checks classification, alignment, subgroups and the saved classifier."""

from __future__ import annotations

import argparse
import json
import math

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, load_dataset

from evaluation.classification import of_command
from evaluation.classification.flags import PROBE_IMAGES
from evaluation.classification.of_command import chance_hits
from evaluation.metrics.embedding_alignment.alignment import alignment_scores
from evaluation.run_evaluation import main
from model_cards.results import load_result


def evaluate(model, dataset, folder, *flags: str) -> int:
    return main(["--model", str(model), "--dataset", str(dataset), "--output_dir", str(folder), *flags])


@pytest.mark.slow
def test_an_encoder(encoder, build, tmp_path, capsys):
    flags = ("--split", "validation", "--base", str(encoder), "--save_head", str(tmp_path / "heads"))
    assert evaluate(encoder, build, tmp_path / "results", *flags) == 0
    printed = capsys.readouterr().out
    (path,) = (tmp_path / "results").glob("*.json")
    result = load_result(path)
    predictions = [json.loads(line) for line in path.with_suffix(".predictions.jsonl").read_text("utf-8").splitlines()]
    rows = load_dataset(str(build), "pairs", split="validation")
    sources = {name.split("/")[0] for name in rows.features["label"].names}
    assert set(result.classification) == sources == {"knee_xray", "pad_ufes_20"}
    for source, entry in result.classification.items():
        methods = {method["name"]: method["metrics"] for method in entry["methods"]}
        assert {"chance", "majority", "metadata", "zero_shot_en", "zero_shot_zh", "linear_probe", "head"} <= set(
            methods
        )
        assert methods["base_zero_shot_en"] == methods["zero_shot_en"]  # the base is the model itself
        assert methods["base_linear_probe"] == methods["linear_probe"]
        assert ("ordinal_probe" in methods) == entry["ordered"] == (source == "knee_xray")
        assert methods["chance"]["balanced_accuracy"][0] == pytest.approx(1 / len(entry["classes"]))
        labeled = [row for row in predictions if row.get("classified", {}).get("source") == source]
        assert len(labeled) == entry["images"] == sum(entry["counts"])
        right = [row["classified"]["answers"]["linear_probe"] == row["classified"]["label"] for row in labeled]
        assert sum(right) / len(right) == pytest.approx(methods["linear_probe"]["accuracy"][0])
        assert f"{source}: {len(entry['classes'])} " in printed
        # What the folder classifies is what the record says of the head.
        from transformers import pipeline

        images = {row["image_path"]: row["image"].convert("RGB") for row in rows}
        classifier = pipeline("image-classification", model=str(tmp_path / "heads" / source))
        for row in labeled:
            assert classifier(images[row["image_path"]])[0]["label"] == row["classified"]["answers"]["head"]
    assert result.settings["base"] == str(encoder) and "probe_images" not in result.settings
    assert 0 <= result.alignment["matching_auc"] <= 1 and result.alignment["num_matched"] == len(rows)
    assert {entry["attribute"] for entry in result.subgroups} >= {"modality", "body part"}
    assert {value["note"] for entry in result.subgroups for value in entry["metrics"].values()} == {"too few to test"}
    assert "too few to test" in printed and "most frequent class" in printed


def test_alignment_is_that_of_the_metric(encoder, build, tmp_path):
    from transformers import AutoModel, AutoProcessor

    from evaluation.models.encoders import dual_encoder
    from evaluation.scoring.encoder import embed_pairs

    assert evaluate(encoder, build, tmp_path, "--split", "test", "--probe_images", "0") == 0
    (path,) = tmp_path.glob("*.json")
    result = load_result(path)
    model = AutoModel.from_pretrained(encoder)
    rows = load_dataset(str(build), "pairs", split="test")
    embeds = embed_pairs(dual_encoder(model, AutoProcessor.from_pretrained(encoder), "tiny"), rows, 16)
    names = ("image_embeds", "text_embeds", "text_ids", "image_ids")
    columns = [embeds[name] for name in names]
    expected = alignment_scores(*columns, model.logit_scale.item(), model.logit_bias.item())
    for name in ("matched_similarity", "matching_auc", "modality_gap", "ece"):
        assert result.alignment[name] == pytest.approx(expected[name], abs=1e-4)
    assert result.settings["probe_images"] == 0
    assert all("probe" not in m["name"] for entry in result.classification.values() for m in entry["methods"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--base", "./none"], "--base ./none: no such folder"),
        (["--base", "{decoder}"], "--base {decoder}: not an encoder of images and texts"),
        (["--save_head", "heads", "--probe_images", "0"], "--save_head cannot be combined with --probe_images 0"),
        (["--save_head", "heads", "--split", "train"], "--save_head cannot be combined with --split train: "),
        (["--save_head", "heads", "--split", "train[:9]"], "--save_head cannot be combined with --split train[:9]: "),
    ],
)
def test_flags_that_cannot_work_are_refused_at_once(encoder, decoder, build, tmp_path, capsys, flags, message):
    flags = [flag.format(decoder=decoder) for flag in flags]
    assert evaluate(encoder, build, tmp_path / "results", *flags) == 2
    assert capsys.readouterr().err.startswith(f"error: {message.format(decoder=decoder)}")


@pytest.mark.parametrize(
    ("split", "loaded"),
    [("test", ["train", "validation"]), ("train[:9]", ["validation"]), ("validation[:50%]", ["train"])],
)
def test_nothing_is_fitted_on_the_split_of_the_evaluated_part(monkeypatch, split, loaded):
    asked = []
    monkeypatch.setattr(of_command, "load_splits", lambda *places: asked.extend(places[2]) or {})
    rows = Dataset.from_dict({"label": [0]}, Features({"label": ClassLabel(names=["a", "b"])}))
    options = argparse.Namespace(dataset="org/x", dataset_config=None, dataset_revision=None, split=split)
    of_command.other_splits(options, rows)
    assert asked == loaded


@pytest.mark.parametrize("flags", [["--base", "."], ["--probe_images", "5"], ["--save_head", "heads"]])
def test_a_decoder_has_no_probes(decoder, build, tmp_path, capsys, flags):
    assert evaluate(decoder, build, tmp_path / "results", *flags) == 2
    assert capsys.readouterr().err.startswith(f"error: {flags[0]} requires an encoder, but --model {decoder}")


def test_a_number_of_images_is_a_whole_number(encoder, build, tmp_path, capsys):
    with pytest.raises(SystemExit):
        evaluate(encoder, build, tmp_path, "--probe_images", "-1")
    assert "-1 is not an integer of at least 0" in capsys.readouterr().err and PROBE_IMAGES == 2000


def test_the_chance_of_a_hit_is_that_of_the_recall():
    """Image 0 has two of eight texts, image 1 has six: five random ones miss the two with 6 / 56 of the draws."""
    ids = {"image_ids": np.array([0, 0, 1, 1, 1, 1, 1, 1]), "text_ids": np.arange(8)}
    assert chance_hits(ids) == pytest.approx([1 - math.comb(6, 5) / math.comb(8, 5)] * 2 + [1.0] * 6)
