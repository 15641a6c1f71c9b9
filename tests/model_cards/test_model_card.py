"""Checks that the model card shows the numbers of its files, also for hostile or damaged ones."""

from __future__ import annotations

import ast
import copy
import itertools
import json
import math
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import HfApi, ModelCard

from model_cards.card_update import set_front_matter
from model_cards.controls import CONTROLS, RETRIEVAL_CONTROLS
from model_cards.model_card import (
    SAMPLES,
    SUMMARY,
    curve,
    find_license,
    known_license,
    merged_index,
    read_samples,
    write_model_card,
)
from model_cards.rendering import number
from model_cards.results import GENERATION, RETRIEVAL, EvaluationResult
from tests.model_cards.all_controls import all_controls
from tests.model_cards.markdown import HOSTILE, code_blocks, front_matter, headings, one_line, tables

COMMIT = "a4badc659361c5df3c4b662ebd780fe84a9859e6"
SUMMARIES = {
    kind: {
        "kind": kind,
        "base_model": "",
        "dataset": "org/med-pairs",
        "dataset_config": config,
        "dataset_revision": COMMIT,
        "rows": {"train": 1440, "validation": 61},
        "hyperparameters": {"learning_rate": 0.003, "lr_scheduler_type": "cosine"},
        "parameters": 1929929,
        "trainable_parameters": 662400,
        "updates": 540,
        "history": [
            {"loss": 6.6161, "learning_rate": 1e-3, "step": 20, "epoch": 0.22},
            {"eval_loss": 5.4321, "eval_runtime": 3.0, "step": 20, "epoch": 0.22},
            {"loss": 1.5555, "step": 40, "epoch": 0.44},
            {"train_runtime": 91.0, "train_loss": 4.2, "step": 40, "epoch": 0.44},
        ],
        "device": "cpu",
        "versions": {"torch": "2.13.0"},
        **facts,
    }
    for kind, config, facts in (
        ("encoder", "pairs", {"contrastive_loss": "sigmoid", "positives": "group"}),
        ("decoder", "chat", {"train_scope": "lora", "lora": "r 32, alpha 32"}),
    )
}
RESULTS = {
    "encoder": EvaluationResult(
        "org/med", RETRIEVAL, "org/med-pairs", "pairs", "test", 145,
        {"recall_at_1": 0.1097, "recall_at_5": 0.42424, "chance_recall_at_5": 0.05404, "loss": 10.202},
        dataset_revision=COMMIT, controls=all_controls(145, RETRIEVAL, recall_at_5=0.05404),
    ),
    "decoder": EvaluationResult(
        "org/med", GENERATION, "org/med-pairs", "chat", "test", 1418,
        {"bleu": 38.4779, "exact_match": 0.39713, "loss": 0.56790},
        dataset_revision=COMMIT, signatures={"en": "nrefs:1|tok:13a", "zh": "nrefs:1|tok:zh"}, controls=all_controls(),
    ),
}  # fmt: skip
SAMPLE = {"image_path": "slake/1.jpg", "question": "What organ?", "reference": "Liver", "generated": "Lung"}


@pytest.fixture
def card_of(tmp_path):
    """Provides a function: card_of(kind, ...) returns the card that is written from these files."""

    def write(kind, summary=None, results=None, samples=(), repo_id="org/med") -> str:
        (tmp_path / SUMMARY).write_text(json.dumps(SUMMARIES[kind] | (summary or {})))
        for result in [RESULTS[kind]] if results is None else results:
            result.save(tmp_path / "results")
        if samples:
            (tmp_path / SAMPLES).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in samples))
        write_model_card(tmp_path, repo_id)
        return (tmp_path / "README.md").read_text(encoding="utf-8")

    return write


def test_an_encoders_numbers_are_those_of_its_files(card_of):
    text = card_of("encoder")
    scores, settings, losses = tables(text)
    assert scores == [
        ["ranked by", "R@5", "R@1", "loss"],
        ["this model", "0.4242", "0.1097", "10.2"],
        *([title, "0.05404", "–", "–"] for title in RETRIEVAL_CONTROLS.values()),
    ]
    assert settings[1:] == [
        ["learning_rate", "0.003"],
        ["lr_scheduler_type", "cosine"],
        ["contrastive_loss", "sigmoid"],
        ["positives", "group"],
    ]
    assert losses[1:] == [["20", "0.22", "6.616", "5.432"], ["40", "0.44", "1.556", "–"]]
    assert "540 updates on 1,440 rows; 662,400 of 1,929,929 parameters were trainable. Device: cpu." in text
    assert "split `test`, 145 rows (revision `a4badc659361c5df`)" in text and "Software versions: torch 2.13.0." in text
    (entry,) = front_matter(text)["model-index"]
    assert entry["name"] == "org/med"
    (measured,) = entry["results"]
    assert measured["dataset"]["type"] == "org/med-pairs" and measured["dataset"]["revision"] == COMMIT
    values = {metric["type"]: metric["value"] for metric in measured["metrics"]}
    assert values == {"recall_at_5": 0.42424, "recall_at_1": 0.1097, "loss": 10.202}


def test_a_decoder_shows_signatures_and_samples(card_of):
    text = card_of("decoder", samples=[SAMPLE])
    scores, settings, _, samples = tables(text)
    assert scores[:2] == [["answers", "BLEU", "exact match", "loss"], ["this model", "38.48", "0.3971", "0.5679"]]
    assert scores[2:] == [[f"{title}: left out", "–", "–", "–"] for title in CONTROLS.values()]
    assert ["lora", "r 32, alpha 32"] in settings
    assert samples == [["question", "reference", "generated"], ["What organ?", "Liver", "Lung"]]
    assert "Signatures: `nrefs:1|tok:13a` (en),\n`nrefs:1|tok:zh` (zh)." in text
    assert "1,418 rows" in text
    assert "Sample answers" in headings(text)


def test_an_encoder_has_no_samples(card_of):
    assert "Sample answers" not in headings(card_of("encoder"))


def test_the_code_is_python_and_names_the_repository(card_of):
    for kind in SUMMARIES:
        for name in ("org/med", 'a"b\\', "```\n'"):
            (block,) = code_blocks(card_of(kind, repo_id=name))
            strings = [node.value for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Constant)]
            assert strings.count(name) == 2


def test_results_on_several_datasets_keep_their_names(card_of):
    local = replace(RESULTS["encoder"], dataset="/home/jane/external", dataset_revision="ba0b4a9751397ee3")
    text = card_of("encoder", results=[RESULTS["encoder"], local])
    assert "on `org/med-pairs`" in text and "on `external`" in text and "jane" not in text
    entry = front_matter(text)["model-index"][0]
    assert [result["dataset"]["name"] for result in entry["results"]] == ["external", "org/med-pairs"]


LLAMA = "meta-llama/Llama-3.2-11B-Vision-Instruct"


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ({}, {"datasets": ["org/med-pairs"], "license": "apache-2.0"}),
        ({"dataset": "data/processed", "dataset_revision": "ba0b4a9751397ee3"}, {"license": "apache-2.0"}),
        (
            {"base_model": "google/siglip-base-patch16-224", "dataset_revision": ""},
            {
                "base_model": "google/siglip-base-patch16-224",
                "base_model_relation": "finetune",
                "license": "apache-2.0",
            },
        ),
        (
            {"base_model": LLAMA, "dataset_revision": ""},
            {"base_model": LLAMA, "base_model_relation": "finetune", "license": "other", "license_name": "llama3.2"},
        ),
        # of a folder, or of a repository whose card could not be read, the license is not known
        ({"base_model": "/home/jane/siglip", "dataset_revision": ""}, {}),
        ({"base_model": "model_cards/templates", "dataset_revision": ""}, {}),
        (
            {"base_model": "other/siglip", "dataset_revision": ""},
            {"base_model": "other/siglip", "base_model_relation": "finetune"},
        ),
        (
            {"base_model": LLAMA, "dataset_revision": "", "base_license": {"license": "mit"}},
            {"base_model": LLAMA, "base_model_relation": "finetune", "license": "mit"},
        ),
    ],
)
def test_the_yaml_says_only_what_the_hub_can_look_up(card_of, summary, expected, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    fields = front_matter(card_of("encoder", summary))
    named = ("datasets", "base_model", "base_model_relation", "license", "license_name")
    assert {name: fields[name] for name in named if name in fields} == expected
    assert ("tiny-random-start" in fields["tags"]) is ("base_model" not in summary)


@pytest.mark.parametrize(
    ("base", "license_key", "name"),
    [
        ("", "apache-2.0", None),
        ("google/siglip2-base-patch16-224", "apache-2.0", None),
        ("google/medsiglip-448", "other", "health-ai-developer-foundations"),
        ("microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224", "mit", None),
        (LLAMA, "other", "llama3.2"),
        ("org/my-Llama-med", "other", "llama3.2"),
        ("somebody/else", None, None),
        ("google/other", None, None),
    ],
)
def test_a_license_is_known_or_left_out(base, license_key, name):
    keys = known_license(base)
    assert (keys.get("license"), keys.get("license_name")) == (license_key, name)


def test_the_license_is_that_of_the_starting_checkpoint(repo_name, tmp_path):
    """The license is read from the card of the base model, on the Hub or in its folder."""
    own = {"license": "other", "license_name": "hai-def", "license_link": "https://example.org/terms"}
    card = f"---\n{yaml.safe_dump(own)}tags: [x]\n---\n# Base\n"
    assert find_license(str(tmp_path)) == find_license("") == find_license(repo_name) == {}
    (tmp_path / "README.md").write_text(card)
    HfApi().create_repo(repo_name)
    assert find_license(repo_name) == {}
    HfApi().upload_file(repo_id=repo_name, path_or_fileobj=card.encode(), path_in_repo="README.md")
    assert find_license(str(tmp_path)) == find_license(repo_name) == own
    (tmp_path / "README.md").write_text("---\nlicense: [a, b]\n---\n")
    assert find_license(str(tmp_path)) == {}
    (tmp_path / "README.md").write_text("---\na: [\n---\n")
    assert find_license(str(tmp_path)) == {}


# ---- an existing card ------------------------------------------------------------------------------------------------


def test_a_card_written_again_keeps_what_a_person_wrote(card_of, tmp_path):
    first = card_of("encoder")
    path = tmp_path / "README.md"
    edited = first.replace("license: apache-2.0", "license: mit  # mine") + "\n## Mine\n\nWritten by hand.\n"
    path.write_text(edited)
    again = card_of(
        "encoder", {"updates": 999}, [replace(RESULTS["encoder"], metrics={"recall_at_5": 0.5}, date="3000")]
    )
    assert "license: mit  # mine\n" in again and again.endswith("\n## Mine\n\nWritten by hand.\n")
    assert "999 updates" in again and "540 updates" not in again
    assert [entry["metrics"][0]["value"] for entry in front_matter(again)["model-index"][0]["results"]] == [0.5]


def test_a_folder_whose_training_changed_gets_the_keys_of_the_new_one(card_of, tmp_path):
    card_of("decoder", {"export": "adapter", "base_model": LLAMA}, [])
    earlier = json.loads((tmp_path / SUMMARY).read_text())
    notes = write_model_card(tmp_path, "org/med", SUMMARIES["encoder"], earlier)
    fields = front_matter((tmp_path / "README.md").read_text())
    assert notes == [] and fields["library_name"] == "transformers" and fields["license"] == "apache-2.0"
    assert "base_model" not in fields and "SigLIP" in headings((tmp_path / "README.md").read_text())[0]


def test_only_results_of_the_weights_are_shown(card_of):
    old, new = (
        replace(RESULTS["encoder"], weights=weights, dataset_split=weights, metrics={"recall_at_5": value})
        for weights, value in (("old", 0.91), ("new", 0.5))
    )
    unknown = replace(RESULTS["encoder"], dataset_split="unknown", metrics={"recall_at_5": 0.25})
    text = card_of("encoder", {"weights": "new"}, [old, new, unknown])
    shown = [row[1] for table in tables(text) for row in table if row[0] == "this model"]
    assert sorted(shown) == ["0.25", "0.5"]
    assert "0.91" not in text and "0.91" in card_of("encoder")


def test_entries_of_others_in_the_index_are_kept():
    theirs = {"task": {"type": "image-classification", "name": "retrieval"}, "metrics": []}
    card = set_front_matter("# Mine\n", {"model-index": [{"name": "x", "results": [theirs, "odd"]}, {"name": "y"}]})
    index = merged_index(card, [RESULTS["encoder"]], "org/med")
    assert index[0]["name"] == "x" and index[0]["results"][:2] == [theirs, "odd"] and index[1:] == [{"name": "y"}]
    assert index[0]["results"][2]["metrics"][0]["value"] == 0.42424
    card = set_front_matter(card, {"model-index": index})
    assert merged_index(card, [RESULTS["encoder"]], "org/med") == index
    assert merged_index(card, [], "org/med")[0]["results"] == [theirs, "odd"]
    assert merged_index("# Mine\n", [], "org/med") is None
    assert merged_index("---\nmodel-index: text\n---\n", [], "org/med") is None


def test_the_hub_takes_the_card(card_of, repo_name, tmp_path):
    api = HfApi()
    api.create_repo(repo_name)
    card_of("decoder", samples=[SAMPLE], repo_id=repo_name)
    ModelCard.load(tmp_path / "README.md").push_to_hub(repo_name)
    data = api.model_info(repo_name).card_data
    assert [result.metric_value for result in data.eval_results] == [38.4779, 0.39713, 0.5679]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_data_cannot_leave_its_place(card_of, hostile):
    plain = card_of("decoder", samples=[SAMPLE])
    summary = {
        "dataset": hostile,
        "dataset_config": hostile,
        "device": hostile,
        "versions": {hostile: hostile},
        "hyperparameters": {"learning_rate": hostile, "seed": 1},
        "lora": hostile,
    }
    result = replace(RESULTS["decoder"], dataset_split=hostile, dataset=hostile, signatures={hostile: hostile})
    sample = SAMPLE | dict.fromkeys(("question", "reference", "generated"), hostile)
    if "More Information" in hostile:
        summary.update(dataset="x", dataset_config="x")
        result = replace(result, dataset_split="x", dataset="x", signatures={})
    text = card_of("decoder", summary, [result], [sample])
    assert headings(text) == headings(plain)
    scores, other, settings, losses, samples = tables(text)  # those of the result that `plain` was made with, too
    assert [scores[0], other[0], losses] == [*[tables(plain)[0][0]] * 2, tables(plain)[2]]
    assert samples == [["question", "reference", "generated"], [one_line(hostile)] * 3]
    assert settings[1:] == [
        ["learning_rate", one_line(hostile)], ["seed", "1"], ["train_scope", "lora"], ["lora", one_line(hostile)],
    ]  # fmt: skip
    fields = front_matter(text)
    assert fields["license"] == "apache-2.0" and fields["model-index"][0]["name"] == "org/med"


def test_nothing_measured_is_said(card_of):
    text = card_of("encoder", results=[])
    assert "There are no results yet." in text and "model-index" not in front_matter(text)
    text = card_of("encoder", {"history": []}, results=[])
    assert len(tables(text)) == 1


# ---- invalid files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "classifier"}, "not a training summary"),
        ({"kind": ["encoder"]}, "not a training summary"),
        ({"base_model": None}, "not a training summary"),
        ({"history": None}, "not a training summary"),
        ({"updates": ...}, "has no attribute 'updates'"),
        ({"rows": ...}, "has no attribute 'rows'"),
        ({"dataset": ...}, "KeyError: 'dataset'"),
        ({"updates": "many"}, "must be real number"),
    ],
)
def test_a_summary_of_something_else_is_refused(tmp_path, change, words):
    summary = {name: value for name, value in (SUMMARIES["encoder"] | change).items() if value is not ...}
    (tmp_path / SUMMARY).write_text(json.dumps(summary))
    with pytest.raises(ValueError, match=words):
        write_model_card(tmp_path, "org/med")
    assert not (tmp_path / "README.md").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "7"])
def test_a_broken_summary_is_named(tmp_path, content):
    (tmp_path / SUMMARY).write_text(content)
    with pytest.raises(ValueError, match=r"training_summary\.json: not a training summary"):
        write_model_card(tmp_path, "org/med")


def test_samples_are_lines_of_json(tmp_path):
    path = tmp_path / SAMPLES
    assert read_samples(path) == []
    rows = [SAMPLE, SAMPLE | {"generated": "one\u2028two\x85three\rfour"}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert read_samples(path) == rows
    path.write_text("{")
    with pytest.raises(ValueError, match=r"samples\.jsonl: not a file of sample answers"):
        read_samples(path)


# ---- the curve -------------------------------------------------------------------------------------------------------


def test_a_long_curve_is_thinned_out_and_keeps_its_ends():
    history = [{"loss": float(step), "step": step, "epoch": step / 10} for step in range(1, 101)]
    history += [{"eval_loss": 0.5, "step": 100, "epoch": 10.0}]
    entries = curve(copy.deepcopy(history))
    assert len(entries) == 12
    assert entries[0] == {"step": 1, "epoch": 0.1, "loss": 1.0}
    assert entries[-1] == {"step": 100, "epoch": 10.0, "loss": 100.0, "eval_loss": 0.5}
    steps = [entry["step"] for entry in entries]
    assert {later - earlier for earlier, later in itertools.pairwise(steps)} == {9}
    assert curve(history[:12]) == history[:12]
    assert curve([{"train_runtime": 1.0, "step": 1, "epoch": 1.0}]) == []


def test_the_evaluation_of_the_best_checkpoint_is_not_that_of_the_last_update():
    """It is logged with the number of the last update, after the evaluation of that update."""
    last = [{"loss": 2.7, "step": 360, "epoch": 40.0}, {"eval_loss": 5.91, "step": 360, "epoch": 40.0}]
    entries = curve([{"loss": 9.0, "step": 9, "epoch": 1.0}, *last, {"eval_loss": 5.46, "step": 360, "epoch": 40.0}])
    assert entries[-1] == {"step": 360, "epoch": 40.0, "loss": 2.7, "eval_loss": 5.91}
    assert len(entries) == 2


def test_a_loss_that_is_not_finite_is_a_dash(card_of):
    history = [{"loss": None, "step": 1, "epoch": 0.5}, {"loss": math.nan, "step": 2, "epoch": 1.0}]
    rows = tables(card_of("encoder", {"history": history}))[-1]
    assert rows[1:] == [["1", "0.50", "–", "–"], ["2", "1.00", "–", "–"]]
    assert number(math.nan) == number(-math.inf) == "–"
