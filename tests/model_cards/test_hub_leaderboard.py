"""Checks `eval.yaml`, which makes a dataset with a test split a benchmark."""

from __future__ import annotations

from dataclasses import replace

import yaml
from datasets import load_dataset
from huggingface_hub import EvalResultEntry, HfApi, parse_eval_result_entries

from model_cards.hub_leaderboard import eval_results_name, eval_results_yaml
from model_cards.results import GENERATION, HEADLINE, RETRIEVAL, EvaluationResult


def test_the_hub_takes_the_card_and_ranks_results_by_its_tasks(dataset, repo_name):
    api = HfApi()
    api.create_repo(repo_name, repo_type="dataset")
    api.upload_folder(repo_id=repo_name, repo_type="dataset", folder_path=dataset)
    assert api.dataset_info(repo_name).card_data.pretty_name == "Medical image-text pairs and chats"
    assert load_dataset(repo_name, "pairs", split="test")[0]["text"] == "Knee X-ray, grade 0, again."
    measured = {
        RETRIEVAL: ("pairs", {"recall_at_5": 0.5, "recall_at_1": 0.25, "recall_at_10": 0.75, "loss": 2.0}),
        GENERATION: ("chat", {"bleu": 31.0, "bleu_1": 52.0, "exact_match": 0.125, "loss": 1.0}),
    }
    model = f"{repo_name}-model"
    api.create_repo(model)
    for task, (config, metrics) in measured.items():
        result = EvaluationResult(model, task, repo_name, config, "test", 3, metrics, dataset_revision="a" * 40)
        path = f".eval_results/{task}.yaml"
        api.upload_file(repo_id=model, path_in_repo=path, path_or_fileobj=eval_results_yaml(result).encode())
    ranked = api.get_dataset_leaderboard(repo_name, base_model_only=False)
    assert {row.value for row in ranked} == {0.5, 0.25, 0.75, 31.0, 52.0, 0.125}  # no loss: less of it is better


def test_the_benchmark_is_the_test_split(dataset, card_of, report, tmp_path):
    spec = yaml.safe_load((dataset / "eval.yaml").read_text(encoding="utf-8"))
    assert set(spec) == {"name", "description", "tasks"}  # no program on the Hub's list computes them
    assert {(task["config"], task["split"]) for task in spec["tasks"]} == {("pairs", "test"), ("chat", "test")}
    assert "3 rows of pairs and 3 rows of chat" in spec["description"]

    del report["splits"]["pairs"]["test"]
    card_of(report)
    spec = yaml.safe_load((tmp_path / "eval.yaml").read_text(encoding="utf-8"))
    assert {task["config"] for task in spec["tasks"]} == {"chat"}
    del report["splits"]["chat"]["test"]
    card_of(report)
    assert not (tmp_path / "eval.yaml").exists()


RESULT = EvaluationResult(
    model="org/siglip-med",
    task=RETRIEVAL,
    dataset="org/med-pairs",
    dataset_config="pairs",
    dataset_split="test",
    samples=145,
    metrics={"recall_at_1": 0.25, "recall_at_5": 0.5, "chance_recall_at_5": 0.1, "num_images": 120, "loss": 9.75},
    dataset_revision="a" * 40,
    intervals={"recall_at_5": [0.44321, 0.56]},
)


def test_eval_results_are_what_the_hub_reads():
    entries = parse_eval_result_entries(yaml.safe_load(eval_results_yaml(RESULT)))
    assert all(isinstance(entry, EvalResultEntry) for entry in entries)
    assert [(entry.dataset_id, entry.task_id, entry.value) for entry in entries] == [
        ("org/med-pairs", "pairs_test_recall_at_5", 0.5),
        ("org/med-pairs", "pairs_test_recall_at_1", 0.25),
    ]
    assert {entry.dataset_revision for entry in entries} == {RESULT.dataset_revision}
    notes = [entry.notes for entry in entries]
    assert notes == ["145 rows of pairs/test, 95 % interval 0.4432 to 0.56", "145 rows of pairs/test"]
    record = f"/org/siglip-med/blob/main/results/{RESULT.file_name}"
    assert all(entry.source_url.startswith("http") and entry.source_url.endswith(record) for entry in entries)
    hostile = replace(RESULT, dataset_split="test\n- dataset: {id: evil}\n---\n{{ x }}")
    assert {item["dataset"]["id"] for item in yaml.safe_load(eval_results_yaml(hostile))} == {"org/med-pairs"}


def test_every_id_of_a_result_is_defined_by_the_dataset(dataset):
    """A result with all metrics of its task."""
    spec = yaml.safe_load((dataset / "eval.yaml").read_text(encoding="utf-8"))
    defined = {task["id"] for task in spec["tasks"]}
    for task, config in ((RETRIEVAL, "pairs"), (GENERATION, "chat")):
        result = replace(RESULT, task=task, dataset_config=config, metrics=dict.fromkeys(HEADLINE[task], 0.5))
        named = {entry["dataset"]["task_id"] for entry in yaml.safe_load(eval_results_yaml(result))}
        assert named and named <= defined


def test_notes_name_the_rule_and_the_signature():
    signatures = {"accuracy": "rule:exact", "all": "nrefs:1|case:mixed", "en": "nrefs:1|tok:13a"}
    metrics = {"bleu": 31.0, "bleu_1": 52.0, "accuracy_open": 0.5, "exact_match": 0.5}
    result = replace(RESULT, task=GENERATION, metrics=metrics, signatures=signatures, intervals={})
    notes = [entry["notes"].partition("test")[2] for entry in yaml.safe_load(eval_results_yaml(result))]
    assert notes == [", nrefs:1|case:mixed", ", nrefs:1|case:mixed", ", rule:exact", ""]


def test_a_result_on_a_leaderboard_has_one_file_for_a_task_and_split():
    assert eval_results_name(RESULT) == "org-med-pairs--retrieval--test.yaml"
    assert eval_results_name(replace(RESULT, dataset_revision="b" * 40)) == eval_results_name(RESULT)
