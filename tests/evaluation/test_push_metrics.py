"""Pushes metrics to a local Hub server and checks the Spaces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from evaluation.push_metrics import METRICS_FOLDER, main, metric_names

LOAD = """
import json, evaluate

bleu = evaluate.load("tester/medical_bleu").compute(predictions=["左肺结节"], references=["左肺结节"])
recall = evaluate.load("tester/retrieval_recall").compute(predictions=[[2, 1]], references=[[1]], ks=[1, 2])
vqa = evaluate.load("tester/vqa_accuracy").compute(predictions=["左肺"], references=["左肺。"], answer_types=["OPEN"])
print(json.dumps([bleu, recall, vqa]))
"""


@pytest.mark.slow
def test_the_metrics_open_in_a_fresh_process(run, tmp_path, capsys, hub):
    assert main(["--namespace", "tester"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"Pushed to {hub.endpoint}/spaces/tester/{name}" for name in metric_names()]
    done = run("python", "-I", "-c", LOAD, cwd=tmp_path, env={"PYTHONPATH": None}, fresh_home=True)
    bleu, recall, vqa = json.loads(done.stdout.splitlines()[-1])
    assert bleu["bleu"] == pytest.approx(100) and bleu["num_samples_zh"] == 1
    assert recall["recall_at_1"] == 0 and recall["recall_at_2"] == 1
    assert vqa["accuracy_open_zh"] == 1

    api = HfApi()
    for name in metric_names():
        files = set(api.list_repo_files(f"tester/{name}", repo_type="space"))
        here = {path.name for path in (METRICS_FOLDER / name).iterdir() if path.is_file()}
        assert files - {".gitattributes"} == here - {"__init__.py"}
        info = api.space_info(f"tester/{name}")
        assert info.private and info.sdk == "gradio"
    assert main(["--namespace", "tester"]) == 0  # a second push changes nothing and succeeds


def test_some_and_public(monkeypatch, capsys, hub):
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert main(["--namespace", "other", "--metrics", "retrieval_recall", "--public"]) == 0
    assert capsys.readouterr().out == f"Pushed to {hub.endpoint}/spaces/other/retrieval_recall\n"
    assert [space.id for space in HfApi().list_spaces(author="other")] == ["other/retrieval_recall"]
    assert HfApi().space_info("other/retrieval_recall").private is False


NAME = "vqa_accuracy"


def space(namespace: str, files: dict[str, bytes], private: bool = True) -> str:
    """Creates a Space with these files in its own namespace."""
    api, name = HfApi(), f"{namespace}/{NAME}"
    api.delete_repo(name, repo_type="space", missing_ok=True)
    api.create_repo(name, repo_type="space", space_sdk="gradio", private=private)
    for path, content in files.items():
        api.upload_file(repo_id=name, repo_type="space", path_or_fileobj=content, path_in_repo=path)
    return name


def push_to(namespace: str, *more: str) -> int:
    return main(["--namespace", namespace, "--metrics", NAME, *more])


def read(name: str, path: str = "README.md") -> str:
    return Path(HfApi().hf_hub_download(name, path, repo_type="space")).read_text("utf-8")


def test_a_space_that_is_public_is_refused_unless_that_is_meant(capsys):
    name = space("org", {}, private=False)
    assert push_to("org") == 2
    assert capsys.readouterr().err == ("error: --namespace org: the repository is public; add --public to push to it\n")
    assert HfApi().list_repo_files(name, repo_type="space") == [".gitattributes"]
    assert push_to("org", "--public") == 0


def test_a_space_that_a_person_edited(capsys):
    """The person's files stay, files of another metric of ours are removed, and our block in the README is updated."""
    name = space("org", {})
    assert push_to("org") == 0
    own = read(name)
    assert own == (METRICS_FOLDER / NAME / "README.md").read_text("utf-8")
    edited = own.replace("\npinned: false", "\npinned: true  # mine").replace("sdk_version: ", "sdk_version: 1.")
    edited = edited.replace("\n## Definition\n", "\n## Changed\n") + "\n## Mine\n\nWritten by hand.\n"
    files = {"README.md": edited.encode(), "mine.py": b"1\n", "bilingual.py": b"2\n", "data.json": b"{}"}
    for path, content in files.items():
        HfApi().upload_file(repo_id=name, repo_type="space", path_or_fileobj=content, path_in_repo=path)
    before = len(HfApi().list_repo_commits(name, repo_type="space"))
    assert push_to("org") == 0
    expected = own.replace("\npinned: false", "\npinned: true  # mine") + "\n## Mine\n\nWritten by hand.\n"
    assert read(name) == expected
    there = set(HfApi().list_repo_files(name, repo_type="space"))
    assert {"mine.py", "data.json"} <= there and "bilingual.py" not in there
    assert len(HfApi().list_repo_commits(name, repo_type="space")) == before + 1
    assert "README.md" not in capsys.readouterr().out


def test_a_readme_that_was_never_ours_keeps_its_text(capsys):
    name = space("org", {"README.md": b"---\ntitle: Mine\nsdk: docker\n---\n# Mine\n"})
    assert push_to("org") == 0
    text = read(name)
    assert text.startswith("---\ntitle: Mine\nsdk: gradio\n") and text.endswith("---\n# Mine\n")
    assert "tags:\n- evaluate\n- metric\n" in text and "emoji" not in text
    written = "app_file, python_version, sdk, sdk_version, tags"
    said = f"README.md contains no medpairs blocks and keeps its text; updated keys: {written}"
    assert said in capsys.readouterr().out


def test_a_busy_hub_is_asked_again(hub, waits, capsys):
    name = space("org", {})
    hub.fault("POST", "/commit/", 429, headers={"retry-after": "1"})
    hub.fault("POST", "/commit/", 503, headers={"retry-after": "0"})
    assert push_to("org") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": trying")[2] for line in lines[:2]] == [" again in 1 s (1 of 5)", " again in 0 s (2 of 5)"]
    assert waits == [1, 0]
    assert "app.py" in HfApi().list_repo_files(name, repo_type="space")


def test_the_metrics_are_the_folders_with_an_app():
    assert {"medical_bleu", "retrieval_recall", "vqa_accuracy"} <= set(metric_names())


@pytest.mark.parametrize(
    ("namespace", "token", "words"),
    [
        ("nobody", "hf_test", "this token may not write to nobody"),
        ("org", "hf_wrong", "Invalid credentials in Authorization header"),
        ("org", None, "Token is required"),
        ("org", "hf_read", "write"),
        ("no good/name", "hf_test", "Repo id must"),
    ],
)
def test_a_refusal_is_one_line(monkeypatch, capsys, namespace, token, words):
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    assert main(["--namespace", namespace]) == 2
    printed, complained = capsys.readouterr()
    assert printed == ""
    assert complained.startswith(f"error: --namespace {namespace}: ") and words in complained
    assert complained.count("\n") == 1 and "hf_" not in complained


def test_flags(capsys):
    for arguments in ([], ["--namespace", "org", "--metrics", "accuracy"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert "invalid choice: 'accuracy'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--namespace", "a", "--namespace=b"], "--namespace: given twice, as 'a' and 'b'; give it once"),
        (
            ["--namespace", "a", "--metrics", "medical_bleu", "--metrics", "vqa_accuracy"],
            "--metrics: given twice, as 'medical_bleu' and 'vqa_accuracy'; give all values after one flag",
        ),
    ],
)
def test_a_repeated_flag_pushes_nothing(capsys, hub, words, message):
    before = len(hub.log)
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2 and len(hub.log) == before
    assert capsys.readouterr().err.endswith(f"error: argument {message}\n")


def test_no_network(run):
    """In its own process, because the address of the Hub is read once."""
    env = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = run("python", "evaluation/push_metrics.py", "--namespace", "org", env=env, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: --namespace org: no connection to 127.0.0.1:9: ")
