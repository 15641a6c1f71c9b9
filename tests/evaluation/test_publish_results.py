"""Pushes results to a local Hub server and checks the repository, the card and the leaderboard files."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi, ModelCard

from evaluation.loading import InputError
from evaluation.publish_results import check_push, push_result
from evaluation.run_evaluation import main
from model_cards.controls import result_table
from model_cards.hub_leaderboard import eval_results_yaml
from model_cards.results import GENERATION, HEADLINE, RETRIEVAL, EvaluationResult, load_results
from tests.cases import few
from tests.evaluation.small_run import DATASET, DECODER, ENCODER, TOKEN, rows_of, train
from tests.model_cards.all_controls import all_controls
from tests.model_cards.markdown import front_matter, headings, tables

COMMIT = "c" * 40
RESULT = EvaluationResult(
    "org/x", RETRIEVAL, "org/benchmark", "pairs", "test", 145, {"recall_at_5": 0.4321, "loss": 9.75},
    dataset_revision=COMMIT,
)  # fmt: skip


PUSH = """
import sys
from evaluation.publish_results import push_result
from model_cards.results import parse_result

push_result(parse_result(sys.argv[1]))
"""


def commits(name: str) -> int:
    return len(HfApi().list_repo_commits(name))


def text_of(name: str, path: str) -> str:
    return Path(HfApi().hf_hub_download(name, path)).read_text(encoding="utf-8")


def files_of(name: str, folder: str) -> list[str]:
    return [path for path in HfApi().list_repo_files(name) if path.startswith(f"{folder}/")]


def values_of(name: str) -> dict[str, float]:
    entries = HfApi().model_info(name, expand=["evalResults"]).eval_results or []
    return {entry.task_id: entry.value for entry in entries}


@pytest.fixture
def foreign(repo_name) -> str:
    """A private repository with a model that this project did not train."""
    api = HfApi()
    api.create_repo(repo_name, private=True)
    api.upload_file(repo_id=repo_name, path_or_fileobj=b"# Mine\n", path_in_repo="README.md")
    return repo_name


def test_the_leaderboard_names_the_rule_of_an_accuracy():
    metrics = {"accuracy_open": 0.5, "accuracy_closed": 0.25, "exact_match": 0.1}
    result = replace(RESULT, task=GENERATION, metrics=metrics, signatures={"accuracy": "rule:llava_med_2023_12"})
    notes = [entry["notes"] for entry in yaml.safe_load(eval_results_yaml(result))]
    assert notes == ["145 rows of pairs/test, rule:llava_med_2023_12"] * 2 + ["145 rows of pairs/test"]


def test_one_commit_has_result_card_and_leaderboard(trained_encoder, build, tmp_path, capsys, hub):
    before, card_before = commits(ENCODER), text_of(ENCODER, "README.md")
    flags = ["--model", ENCODER, "--dataset", DATASET, "--split", "test", "--output_dir", str(tmp_path)]
    assert main([*flags, "--push_to_hub"]) == 0
    printed, _ = capsys.readouterr()
    assert f"Pushed to {hub.endpoint}/{ENCODER}/commit/" in printed
    assert commits(ENCODER) == before + 1
    (result,) = load_results(tmp_path)
    assert text_of(ENCODER, f"results/{result.file_name}") == (tmp_path / result.file_name).read_text("utf-8")
    predictions = (tmp_path / result.file_name).with_suffix(".predictions.jsonl")
    assert text_of(ENCODER, f"results/{predictions.name}") == predictions.read_text("utf-8")
    assert len(files_of(ENCODER, "results")) == 3  # that of the training is kept

    card = text_of(ENCODER, "README.md")
    shown = [table for table in tables(card) if table[0][:3] == ["ranked by", "R@5", "R@1"]]
    assert result_table(result) in shown
    assert (
        len(shown) == 2 and f"split `test`, {rows_of(build, 'test')} rows" in card and "split `test`" not in card_before
    )
    splits = {entry["dataset"]["split"] for entry in front_matter(card)["model-index"][0]["results"]}
    assert splits == {"validation", "test"}
    values = {
        f"pairs_test_{name}": result.metrics[name]
        for name, larger_is_better in HEADLINE[RETRIEVAL].items()
        if larger_is_better and name in result.metrics
    }
    assert values_of(ENCODER) == pytest.approx(values)


def test_a_second_split_stands_beside_the_first(foreign):
    push_result(replace(RESULT, model=foreign))
    push_result(replace(RESULT, model=foreign, dataset_split="validation", metrics={"recall_at_1": 0.25}))
    push_result(replace(RESULT, model=foreign, dataset_split="train", metrics={"loss": 1.0}))  # less of it is better
    push_result(replace(RESULT, model=foreign, metrics={"recall_at_5": 0.5}))  # measured again
    assert values_of(foreign) == {"pairs_test_recall_at_5": 0.5, "pairs_validation_recall_at_1": 0.25}
    assert len(files_of(foreign, "results")) == 3
    card = text_of(foreign, "README.md")
    assert card.endswith("---\n\n# Mine\n")  # of a card that is not ours, the index alone
    assert {entry["dataset"]["split"] for entry in front_matter(card)["model-index"][0]["results"]} == {
        "test", "train", "validation",
    }  # fmt: skip


@pytest.mark.slow
def test_sample_answers_stay_in_the_card(trained_decoder):
    before = text_of(DECODER, "README.md")
    assert "Sample answers" in headings(before)
    push_result(
        replace(
            RESULT,
            model=DECODER,
            task=GENERATION,
            dataset_config="chat",
            metrics={"bleu": 12.345},
            controls=all_controls(),
        )
    )
    card = text_of(DECODER, "README.md")
    assert headings(card) == headings(before)
    assert tables(card)[-1] == tables(before)[-1]
    assert ["this model", "12.35"] in [row for table in tables(card) for row in table]


def test_a_local_dataset_has_no_leaderboard_on_the_hub(foreign):
    push_result(replace(RESULT, model=foreign, dataset="data/processed", dataset_revision="ba0b4a9751397ee3"))
    assert len(files_of(foreign, "results")) == 1
    assert files_of(foreign, ".eval_results") == []


def test_a_pull_request_for_a_model_of_another_owner(foreign, monkeypatch, hub):
    result = replace(RESULT, model=foreign)
    HfApi().update_repo_settings(foreign, private=False)
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(InputError, match=f"--push_to_hub {foreign}: .*may not write"):
        push_result(result, public=True)
    before = commits(foreign)
    assert push_result(result, create_pr=True, public=True) == f"{hub.endpoint}/{foreign}/discussions/1"
    assert commits(foreign) == before and files_of(foreign, "results") == []
    assert HfApi().file_exists(foreign, f"results/{result.file_name}", revision="refs/pr/1")


@pytest.mark.parametrize("create_pr", [False, True])
def test_a_model_that_is_public_is_refused_unless_that_is_meant(create_pr, foreign):
    result, before = replace(RESULT, model=foreign), commits(foreign)
    HfApi().update_repo_settings(foreign, private=False)
    for refused in (lambda: check_push(foreign, False), lambda: push_result(result, create_pr=create_pr)):
        with pytest.raises(InputError, match=f"--push_to_hub {foreign}: the repository is public; add --public"):
            refused()
    assert commits(foreign) == before and list(HfApi().get_repo_discussions(foreign)) == []
    check_push(foreign, True)
    push_result(result, create_pr=create_pr, public=True)


def test_the_command_refuses_it_before_anything_is_scored(foreign, tmp_path, capsys, hub):
    HfApi().update_repo_settings(foreign, private=False)
    since = len(hub.log)
    flags = ["--model", foreign, "--dataset", "org/none", "--output_dir", str(tmp_path / "results"), "--push_to_hub"]
    assert main(flags) == 2
    assert "the repository is public; add --public to push to it" in capsys.readouterr().err
    assert {path for _, path, _ in hub.log[since:]} == {"/api/whoami-v2", f"/api/models/{foreign}"}
    assert not any((tmp_path / "results").iterdir())


def test_an_overtaken_push_starts_again(trained_encoder, hub, run):
    """Another process adds a result between reading the repository and the commit: the card shows both."""
    results = [replace(RESULT, model=ENCODER, dataset=f"org/{name}") for name in ("own", "theirs")]
    hold, since = threading.Event(), len(hub.log)
    held = hub.fault("POST", f"{ENCODER}/commit/", times=2, hold=hold)
    with ThreadPoolExecutor() as pool:
        pushes = [pool.submit(run, "python", "-c", PUSH, result.text) for result in results]
        end = time.monotonic() + 120
        while held.times and time.monotonic() < end:
            time.sleep(0.01)
        hold.set()
        assert [push.result().returncode for push in pushes] == [0, 0]
    answered = [status for method, path, status in hub.log[since:] if f"{ENCODER}/commit/" in path]
    assert sorted(answered) == [200, 200, 412]
    card = text_of(ENCODER, "README.md")
    assert "on `org/own`" in card and "on `org/theirs`" in card


def test_a_busy_hub_is_asked_again(foreign, hub, waits, capsys):
    hub.fault("POST", "/commit/", 429, headers={"retry-after": "1"})
    hub.fault("POST", "/commit/", 503, headers={"retry-after": "0"})
    push_result(replace(RESULT, model=foreign))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": trying")[2] for line in lines] == [" again in 1 s (1 of 5)", " again in 0 s (2 of 5)"]
    assert waits == [1, 0]
    assert len(files_of(foreign, "results")) == 1


def test_a_training_summary_of_another_project_is_named(foreign):
    content = json.dumps({"kind": "other"}).encode()
    HfApi().upload_file(repo_id=foreign, path_or_fileobj=content, path_in_repo="training_summary.json")
    before = commits(foreign)
    with pytest.raises(InputError, match=f"--push_to_hub {foreign}: .*not a training summary") as caught:
        push_result(replace(RESULT, model=foreign))
    assert "\n" not in str(caught.value) and commits(foreign) == before


@pytest.mark.parametrize(
    ("model", "token", "words"),
    [
        ("org/none", "hf_test", "Repository not found"),
        ("org/none", "hf_wrong", "Invalid credentials"),
        ("no good/name", "hf_test", "Repo id must"),
    ],
)
def test_a_refusal_is_one_line(monkeypatch, model, token, words):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputError, match=f"--push_to_hub {model}: {words}") as caught:
        push_result(replace(RESULT, model=model))
    assert "\n" not in str(caught.value) and token not in str(caught.value)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"is a local folder\. Push the model first"):
        push_result(replace(RESULT, model=str(tmp_path)))


@pytest.mark.parametrize(("trained", "name"), few([("trained_encoder", ENCODER), ("trained_decoder", DECODER)]))
def test_no_token_is_written_or_printed(trained, name, tmp_path, request):
    """The training got the token in HF_TOKEN and in --hub_token, and pushed."""
    folder, printed = request.getfixturevalue(trained)
    push_result(replace(RESULT, model=name))
    assert "Pushed to" in printed and TOKEN not in printed
    pushed = Path(HfApi().snapshot_download(name, local_dir=tmp_path / name))
    files = [path for place in (folder, pushed) for path in place.rglob("*") if path.is_file()]
    assert {"README.md", "training_args.json", "training_summary.json"} <= {path.name for path in files}
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
    assert ModelCard.load(pushed / "README.md").data.model_name == name


@pytest.mark.slow
def test_a_trained_model_a_person_and_an_evaluation(trained_encoder, build, tmp_path, run):
    """A person corrects the license and writes a section; then the model is scored, and trained again."""
    folder, name = tmp_path / "again", "org/edited-siglip"
    train(run, "encoder", name, folder)
    first = text_of(name, "README.md")
    edited = first.replace("license: apache-2.0", "license: cc-by-nc-4.0") + "\n## Intended use\n\nWritten by hand.\n"
    HfApi().upload_file(repo_id=name, path_or_fileobj=edited.encode(), path_in_repo="README.md")
    flags = ["--model", name, "--dataset", DATASET, "--split", "test", "--output_dir", str(tmp_path / "results")]
    assert main([*flags, "--push_to_hub"]) == 0
    (result,) = load_results(tmp_path / "results")
    assert result.weights == json.loads(text_of(name, "training_summary.json"))["weights"]
    assert f"results/{result.file_name}" in files_of(name, "results") and len(files_of(name, "results")) == 3
    assert [path.rpartition("--")[2] for path in files_of(name, ".eval_results")] == ["test.yaml"]

    train(run, "encoder", name, folder, "--overwrite", "--seed", "7")
    card = text_of(name, "README.md")
    assert "license: cc-by-nc-4.0\n" in card and card.endswith("\n## Intended use\n\nWritten by hand.\n")
    assert files_of(name, ".eval_results") == [] and values_of(name) == {}
    assert files_of(name, "results") == [f"results/{path.name}" for path in (folder / "results").iterdir()]
    assert {entry["dataset"]["split"] for entry in front_matter(card)["model-index"][0]["results"]} == {"validation"}
    with pytest.raises(InputError, match="was measured for different weights"):
        push_result(result)


@pytest.mark.parametrize(
    ("model_is_private", "dataset", "reason"),
    [
        (True, "private", ""),
        (True, "folder", ""),
        (False, "public", ""),
        (False, "private", "is private"),
        (False, "gated", "is gated"),
        (False, "folder", "is a local folder"),
    ],
)
def test_predictions_do_not_publish_a_dataset(repo_name, tmp_path, capsys, model_is_private, dataset, reason):
    """They quote its questions and answers."""
    api = HfApi()
    api.create_repo(repo_name, private=model_is_private)
    api.upload_file(repo_id=repo_name, path_or_fileobj=b"# Mine\n", path_in_repo="README.md")
    if dataset != "folder":
        api.create_repo(f"{repo_name}-data", repo_type="dataset", private=dataset == "private")
    if dataset == "gated":
        api.update_repo_settings(f"{repo_name}-data", repo_type="dataset", gated="auto")
    revision = "0" * 16 if dataset == "folder" else "a" * 40
    result = replace(RESULT, model=repo_name, dataset=f"{repo_name}-data", dataset_revision=revision)
    (tmp_path / "a.predictions.jsonl").write_text("{}\n")
    push_result(result, tmp_path / "a.predictions.jsonl", public=True)
    pushed = f"results/{result.file_name}".replace(".json", ".predictions.jsonl")
    assert (pushed in files_of(repo_name, "results")) == (not reason)
    printed = capsys.readouterr().out
    assert (f"The predictions stay on this machine: {repo_name} is public, and " in printed) == bool(reason)
    assert reason in printed
