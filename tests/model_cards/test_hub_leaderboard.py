"""Checks `eval.yaml`, which makes a dataset with a test split a benchmark."""

from __future__ import annotations

import yaml
from datasets import load_dataset
from huggingface_hub import HfApi

from model_cards.results import GENERATION, RETRIEVAL, EvaluationResult, eval_results_yaml


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
    assert set(spec) == {"name", "description", "evaluation_framework", "tasks"}
    assert {(task["config"], task["split"]) for task in spec["tasks"]} == {("pairs", "test"), ("chat", "test")}
    assert "3 rows of pairs and 3 rows of chat" in spec["description"]

    del report["splits"]["pairs"]["test"]
    card_of(report)
    spec = yaml.safe_load((tmp_path / "eval.yaml").read_text(encoding="utf-8"))
    assert {task["config"] for task in spec["tasks"]} == {"chat"}
    del report["splits"]["chat"]["test"]
    card_of(report)
    assert not (tmp_path / "eval.yaml").exists()
