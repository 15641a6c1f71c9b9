"""Runs the evaluation command on tiny models and checks its files, flags and errors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset, load_dataset
from huggingface_hub import HfApi

from evaluation.metrics.medical_bleu.bilingual import bleu_scores
from evaluation.metrics.vqa_accuracy.short_answers import vqa_scores
from evaluation.models.encoders import dual_encoder
from evaluation.run_evaluation import main
from evaluation.scoring.answers import part_scores
from evaluation.scoring.encoder import embed_pairs, score_embeddings
from evaluation.scoring.report_scores import report_scores
from model_cards.controls import BLANK, CONTROLS, MIRRORED, OTHER_ANSWER, check_controls, result_table, result_tables
from model_cards.results import load_result, load_results
from model_cards.tables.reliance_tables import reliance_table
from model_cards.tables.retrieval_tables import retrieval_parts_table
from tests.evaluation.small_run import rows_of
from tests.model_cards.markdown import tables

IMAGE_CONTROLS = (BLANK, MIRRORED, OTHER_ANSWER)
HEAVY = ("torch", "transformers", "datasets", "evaluate", "huggingface_hub", "jinja2", "numpy", "sacrebleu")
HELP = f"""
import json, runpy, sys
for script in ("run_evaluation", "rules", "verify", "leaderboard", "push_metrics"):
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(f"evaluation/{{script}}.py", run_name="__main__")
    except SystemExit as end:
        assert end.code == 0
    print("imported:", [name for name in {HEAVY} if name in sys.modules])
"""


@pytest.fixture
def score(tmp_path, capsys) -> Callable[..., tuple[int, str, str]]:
    """A function: score(model, dataset, *flags) is the exit status, what was printed, and the errors. Results go to
    `tmp_path / "results"`, unless the flags say otherwise."""

    def run(model, dataset, *flags: str) -> tuple[int, str, str]:
        places = ["--model", str(model), "--dataset", str(dataset)]
        if "--output_dir" not in flags:
            places += ["--output_dir", str(tmp_path / "results")]
        status = main([*places, *flags])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def refused(score, tmp_path):
    """Provides a function: refused(model, dataset, *flags) asserts exit status 2 and returns the one message."""

    def run(*arguments) -> str:
        status, printed, complained = score(*arguments)
        assert (status, printed) == (2, "")
        assert "Traceback" not in complained
        *_, message = complained.strip().splitlines()
        assert message.startswith("error: ")
        assert not (tmp_path / "results").is_dir() or not any((tmp_path / "results").iterdir())
        return message.removeprefix("error: ")

    return run


def written(folder: Path):
    """Returns the only result in a folder and its predictions, and asserts that there is no other file."""
    (path,) = (path for path in folder.iterdir() if path.suffix == ".json")
    predictions = path.with_suffix(".predictions.jsonl")
    assert sorted(folder.iterdir()) == sorted([path, predictions])
    with predictions.open(encoding="utf-8") as lines:
        return load_result(path), [json.loads(line) for line in lines]


def test_an_encoder(score, encoder, build, tmp_path):
    status, printed, _ = score(encoder, build, "--split", "test", "--batch_size", "5")
    assert status == 0
    result, predictions = written(tmp_path / "results")
    rows = load_dataset(str(build), "pairs", split="test")
    report = json.loads((build / "report.json").read_text())
    assert (result.model, result.task, result.model_revision) == (str(encoder), "retrieval", "")
    assert (result.dataset, result.dataset_config, result.dataset_split) == (str(build), "pairs", "test")
    assert (result.samples, result.dataset_revision) == (len(rows), report["fingerprint"])
    assert result.settings == {"limit": None, "batch_size": 5, "max_new_tokens": 128}
    assert f"{len(rows)} rows: R@1 {result.metrics['recall_at_1']:.4g}" in printed and "loss" in printed

    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(encoder)
    embeds = embed_pairs(dual_encoder(model, AutoProcessor.from_pretrained(encoder), "tiny"), rows, 16)
    expected = score_embeddings(embeds, model.logit_scale.item(), model.logit_bias.item())
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    check_controls(result)  # made by default
    assert tables(printed)[0] == result_table(result) and all(entry["metrics"] for entry in result.controls)
    assert {"finding_map", "num_findings"} <= result.metrics.keys()
    assert retrieval_parts_table(result.parts) in tables(printed)
    for direction in ("image_to_text", "text_to_image"):
        assert {f"{direction}_recall_at_1", f"chance_{direction}_recall_at_1"} <= result.metrics.keys()
    # The predictions are those that the recall counts: an image whose first text is right is a hit.
    assert len(predictions) == result.metrics["num_images"] == len({row["image_path"] for row in predictions})
    hits = sum(row["nearest"][0]["right"] for row in predictions)
    assert hits / len(predictions) == pytest.approx(result.metrics["image_to_text_recall_at_1"])
    assert {row["text"] for row in predictions} <= set(rows["text"])


def test_a_decoder(score, decoder, build, tmp_path):
    status, printed, _ = score(decoder, build, "--max_new_tokens", "8", "--base_model", "org/base")
    assert status == 0
    result, predictions = written(tmp_path / "results")
    rows = load_dataset(str(build), "chat", split="validation")
    assert (result.task, result.dataset_config, result.dataset_split) == ("report_generation", "chat", "validation")
    assert (result.base_model, result.samples) == ("org/base", len(rows))
    assert result.settings["max_new_tokens"] == 8
    for row, prediction in zip(rows, predictions, strict=True):
        *_, question, answer = row["plain_messages"]
        assert (prediction["question"], prediction["reference"]) == (question["content"], answer["content"])
        assert all(
            prediction[name] == row[name] for name in ("image_path", "source_dataset", "language", "content_type")
        )
    # Rows of one patient share a number, which does not say who it is.
    together = {(row["group_id"], prediction["group"]) for row, prediction in zip(rows, predictions, strict=True)}
    assert len(together) == len({group for group, _ in together}) == len({number for _, number in together})
    assert {number for _, number in together} == {f"group {number + 1}" for number in range(len(together))}
    languages = [row["language"] for row in predictions]
    assert set(languages) == {"en", "zh"}
    generated, references = ([row[name] for row in predictions] for name in ("generated", "reference"))
    expected = bleu_scores(generated, references, languages)
    reports = [row for row, prediction in enumerate(predictions) if not prediction["answer_type"]]
    findings, rules = report_scores(
        *([column[row] for row in reports] for column in (generated, references, languages))
    )
    assert findings["num_reports"] > 0
    assert result.signatures == expected.pop("signature") | {"accuracy": "rule:exact", "clinical": rules}
    assert {"bleu_en", "bleu_zh", "bleu_1_en", "bleu_1_zh"} <= expected.keys()
    exact, loss = result.metrics.pop("exact_match"), result.metrics.pop("loss")
    assert 0 <= exact < 0.5 and 0 < loss < 2 * math.log(415)
    assert result.metrics.pop("perplexity") == pytest.approx(math.exp(loss))
    kinds = [row["answer_type"] for row in predictions]
    assert kinds == rows["answer_type"] and set(kinds) == {"OPEN", "CLOSED", ""}
    for kind in ("OPEN", "CLOSED"):  # the questions of SLAKE; reports have no part in the accuracies
        assert result.metrics[f"num_samples_{kind.lower()}"] == kinds.count(kind)
        assert 0 <= result.metrics[f"accuracy_{kind.lower()}"] < 0.5
    asked = [row for row, kind in enumerate(kinds) if kind]
    scores = vqa_scores(*([column[row] for row in asked] for column in (generated, references, kinds, languages)))
    scores |= part_scores(generated, references, languages, [kind.lower() for kind in kinds])
    others = {name: scores[name] for name in scores if name != "rule"} | findings
    assert result.metrics == pytest.approx(others | expected)
    assert result.metrics["num_report_texts"] == kinds.count("")
    assert f"BLEU {expected['bleu']:.4g}" in printed
    check_controls(result)  # made by default
    by_name = {entry["name"]: entry for entry in result.controls}
    assert all(entry["metrics"] for entry in by_name.values())
    assert by_name["blank_image"]["samples"] == by_name["frozen_features"]["samples"] == len(rows)
    for name in ("question_prior", "blank_image"):
        texts = [row["controls"][name] for row in predictions]
        assert by_name[name]["metrics"]["bleu"] == pytest.approx(bleu_scores(texts, references, languages)["bleu"])
        assert by_name[name]["metrics"]["num_reports"] == findings["num_reports"]
        assert 0 <= by_name[name]["metrics"]["clinical_f1"] <= 1
    difference = by_name["question_prior"]["difference"]["clinical_f1"][0]
    assert difference == pytest.approx(
        result.metrics["clinical_f1"] - by_name["question_prior"]["metrics"]["clinical_f1"]
    )
    swapped = [row["controls"].get("other_answer") for row in predictions]
    assert 0 < sum(text is not None for text in swapped) == by_name["other_answer"]["samples"] < len(rows)
    assert result.reliance["changes"]["other_answer"]["rows"] > 0
    shown, (result, _) = tables(printed), written(tmp_path / "results")
    assert shown[:2] == result_tables(result) and shown[2] == reliance_table(result.reliance)
    assert [table[0][0] for table in shown[:2]] == ["short answers", "reports"]


def test_controls_that_ask_the_model_can_be_left_out(score, decoder, build, tmp_path):
    flags = ("--no_image_controls", "--frozen_encoder", "none", "--max_new_tokens", "1", "--limit", "8")
    status, printed, _ = score(decoder, build, *flags)
    result, _ = written(tmp_path / "results")
    assert status == 0 and result.reliance == {}
    said = {entry["name"]: entry["note"] for entry in result.controls if not entry["metrics"]}
    left_out = dict.fromkeys(IMAGE_CONTROLS, "left out by --no_image_controls")
    assert said == left_out | {"frozen_features": "left out by --frozen_encoder none"}
    assert all(f"{CONTROLS[name]}: {words}" in printed for name, words in said.items())


@pytest.mark.slow
def test_the_encoder_of_the_frozen_features_can_be_named(score, decoder, encoder, build, tmp_path):
    flags = ("--frozen_encoder", str(encoder), "--no_image_controls", "--max_new_tokens", "1")
    assert score(decoder, build, *flags)[0] == 0
    result, _ = written(tmp_path / "results")
    assert f" numbers per image from {encoder.name}, fitted on " in result.controls[0]["note"]


def test_an_encoder_that_does_not_exist_is_refused_at_once(refused, decoder, build, monkeypatch):
    assert refused(decoder, build, "--frozen_encoder", "./none").startswith("--frozen_encoder ./none: no such folder")
    monkeypatch.setattr("evaluation.scoring.decoder.generate_answers", None)  # found before anything is generated
    assert refused(decoder, build, "--frozen_encoder", "org/none").startswith("org/none: ")


def test_a_trial_on_the_first_rows_leaves_the_whole_result(score, encoder, build, tmp_path):
    for flags in ((), ("--limit", "4"), ("--limit", "4"), ("--limit", "9999")):
        assert score(encoder, build, "--split", "test", *flags)[0] == 0
    results = load_results(tmp_path / "results")
    whole = len(load_dataset(str(build), "pairs", split="test"))
    assert sorted((result.samples, result.settings["limit"] or 0) for result in results) == [
        (4, 4),
        (whole, 0),
        (whole, 9999),
    ]


def test_the_hub(score, trained_encoder, dataset_on_hub, repo_name, build, tmp_path):
    """The recorded commit is the evaluated one, also for a tag, and even if the branch has moved since then."""
    from tests.evaluation.small_run import ENCODER

    api = HfApi()
    api.create_repo(repo_name, repo_type="dataset")
    api.upload_folder(repo_id=repo_name, repo_type="dataset", folder_path=build, allow_patterns=["*.md", "pairs/*"])
    api.create_tag(repo_name, repo_type="dataset", tag="v1")
    commit = api.dataset_info(repo_name).sha
    smaller = tmp_path / "smaller.parquet"
    load_dataset(str(build), "pairs", split="test").select(range(3)).to_parquet(smaller)
    (name,) = (path.name for path in (build / "pairs").glob("test-*"))
    api.upload_file(repo_id=repo_name, repo_type="dataset", path_or_fileobj=smaller, path_in_repo=f"pairs/{name}")
    status, printed, _ = score(
        ENCODER, repo_name, "--split", "test", "--dataset_revision", "v1", "--model_revision", "main"
    )
    assert status == 0
    model = api.model_info(ENCODER).sha
    lines = [f"model {ENCODER} at commit {model[:8]} (Hub)", f"dataset {repo_name} at commit {commit[:8]} (Hub)"]
    assert [line for line in printed.splitlines() if line.endswith(" (Hub)")] == lines
    result, _ = written(tmp_path / "results")
    assert (result.dataset_revision, result.samples) == (commit, rows_of(build, "test"))
    assert result.model_revision == model


# ---- what cannot be scored -------------------------------------------------------------------------------------------


def test_names_that_stand_for_nothing(refused, encoder, build, tmp_path):
    assert "org/none: " in refused("org/none", build)
    assert refused(tmp_path / "none", build).startswith(f"--model {tmp_path}/none: no such folder. Train a model with ")
    assert refused("outputs/none", build).startswith("--model outputs/none: no such folder")
    assert refused("~/none", build).startswith(f"--model {Path.home()}/none: no such folder")
    assert refused("s3://bucket/x?sig=SECRET", build).startswith("--model s3://...: no such folder")
    assert refused(encoder, "data/none").startswith("--dataset data/none: no such folder")
    assert refused(encoder, "org/none").startswith("--dataset org/none")
    assert refused(encoder, tmp_path / "none").startswith(f"--dataset {tmp_path}/none: no such folder")
    assert "no split dev; it has train, validation, test" in refused(encoder, build, "--split", "dev")


@pytest.mark.parametrize(("token", "said"), [("hf_read", "the token is read-only"), ("hf_wrong", "Invalid")])
def test_a_push_that_cannot_work_is_refused_before_the_scoring(
    refused, trained_encoder, build, token, said, monkeypatch
):
    from tests.evaluation.small_run import ENCODER

    monkeypatch.setenv("HF_TOKEN", token)
    message = refused(ENCODER, build, "--push_to_hub")
    assert message.startswith(f"--push_to_hub: {said}") and token not in message


@pytest.mark.slow
def test_without_a_connection_a_model_that_was_downloaded_is_scored(score, trained_encoder, build, run, tmp_path):
    """The recorded commit is that of the copy in the cache."""
    from tests.evaluation.small_run import ENCODER

    assert score(ENCODER, build, "--split", "test")[0] == 0
    online, _ = written(tmp_path / "results")
    commit = HfApi().model_info(ENCODER).sha
    command = ["python", "evaluation/run_evaluation.py", "--model", ENCODER, "--dataset", build, "--split", "test"]
    done = run(*command, "--output_dir", tmp_path / "offline", env={"HF_HUB_OFFLINE": "1"})
    assert f"model {ENCODER} at commit {commit[:8]} (Hub)" in done.stdout
    offline, _ = written(tmp_path / "offline")
    assert (offline.weights, offline.metrics) == (online.weights, online.metrics) and online.weights
    done = run(*command[:3], "org/none", *command[4:], env={"HF_HUB_OFFLINE": "1"}, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: org/none: the Hub is not asked, because HF_HUB_OFFLINE")


@pytest.mark.parametrize(
    "flags", [["--rule", "clinical"], ["--train_split", "test"], ["--frozen_encoder", "none"], ["--no_image_controls"]]
)
def test_rules_and_controls_are_for_a_decoder(refused, encoder, build, flags):
    message = f"{' '.join(flags)} requires a decoder, but --model {encoder} is an encoder"
    assert refused(encoder, build, *flags) == message


def test_a_train_split_that_is_not_there_is_an_error(refused, decoder, build):
    message = f"--train_split trian: --dataset {build}, config chat has no such split; leave the flag out"
    assert refused(decoder, build, "--train_split", "trian") == message


def test_a_rule_that_is_not_known(encoder, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--model", str(encoder), "--rule", "fuzzy"])
    assert ended.value.code == 2 and "argument --rule: invalid choice: 'fuzzy' (choose from" in capsys.readouterr().err


@pytest.mark.slow
def test_the_rule_is_in_the_result_and_in_its_name(score, decoder, build, tmp_path):
    """Results by two rules stand beside each other; what a rule leaves out is a number of the record."""
    flags = ("--max_new_tokens", "2", "--batch_size", "64")
    assert score(decoder, build, *flags)[0] == score(decoder, build, *flags, "--rule", "llava_med_2023_08")[0] == 0
    found = {result.signatures["accuracy"]: result for result in load_results(tmp_path / "results")}
    assert sorted(found) == ["rule:exact", "rule:llava_med_2023_08"]
    exact, llava = found["rule:exact"], found["rule:llava_med_2023_08"]
    assert "rule" not in exact.settings and llava.settings["rule"] == "llava_med_2023_08"
    assert exact.metrics["num_left_out"] == 0 and "left_out" not in exact.signatures
    counted = llava.metrics["num_samples_closed"] + llava.metrics.get("num_left_out_closed", 0)
    assert counted == exact.metrics["num_samples_closed"]


def test_a_model_of_another_type(refused, tmp_path, build):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    message = f"--model {tmp_path}: a model of type 'bert' cannot be evaluated. What can be evaluated: an encoder with "
    assert refused(tmp_path, build).startswith(message)


def test_a_model_without_numbers(refused, tmp_path, encoder, build):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(encoder, folder)
    weights = load_file(folder / "model.safetensors")
    weights["text_model.head.bias"].fill_(math.nan)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    rows = rows_of(build, "validation")
    message = f"--model {folder}: text_embeds has NaN or infinity in {rows} row(s), first in row 0. "
    assert refused(folder, build) == message + "Check the weights and the precision of the model."


TURNS = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "Liver."}]
CHAT = {"images": [], "messages": TURNS, "image_path": "a", "source_dataset": "own", "language": "en"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"language": "French"}, "config chat: sample 1: the language 'French' is unknown"),
        (
            {"messages": [*TURNS, TURNS[0]]},
            "config chat, split validation: row 1: the conversation does not end with a user",
        ),
        (
            {"messages": [TURNS[0], {"role": "assistant", "content": None}]},
            "row 1: the last question or its answer has no",
        ),
        ({"messages": [TURNS[1]]}, "config chat, split validation: row 1: the conversation does not end"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": " "}]}, "sample 1: a reference is ' '"),
    ],
)
def test_chats_that_cannot_be_scored_are_found_before_the_model_is_loaded(refused, decoder, tmp_path, change, words):
    (tmp_path / "data" / "chat").mkdir(parents=True)
    Dataset.from_list([CHAT, CHAT | change]).to_parquet(tmp_path / "data" / "chat" / "validation.parquet")
    (tmp_path / "data" / "README.md").write_text(CONFIG.format("chat"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text((decoder / "config.json").read_text())  # and no weights
    assert words in refused(tmp_path / "model", tmp_path / "data")


def test_image_parts_behind_a_question_are_found_before_the_model_is_loaded(refused, decoder, tmp_path):
    """They would be moved to its front."""
    text, image = {"type": "text", "text": "What?"}, {"type": "image", "text": None}
    parts = [{"role": role, "content": content} for role, content in (("user", [text, image]), ("assistant", [text]))]
    (tmp_path / "data" / "chat").mkdir(parents=True)
    Dataset.from_list([CHAT | {"messages": parts}]).to_parquet(tmp_path / "data" / "chat" / "validation.parquet")
    (tmp_path / "data" / "README.md").write_text(CONFIG.format("chat"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text((decoder / "config.json").read_text())
    assert "row 0: image parts must be in front of the first question" in refused(tmp_path / "model", tmp_path / "data")


CONFIG = "---\nconfigs:\n- config_name: {0}\n  data_files:\n  - split: validation\n    path: {0}/*.parquet\n---\n"


def test_a_dataset_of_another_shape(refused, encoder, tmp_path):
    (tmp_path / "pairs").mkdir()
    (tmp_path / "README.md").write_text(CONFIG.format("pairs"))
    Dataset.from_dict({"image": ["a"], "report": ["b"]}).to_parquet(tmp_path / "pairs" / "validation.parquet")
    message = f"--dataset {tmp_path}, config pairs: missing columns: text. It has image, report; name the columns by "
    assert refused(encoder, tmp_path) == message + "--text_column."
    message = f"--dataset {tmp_path}, config pairs, column image, row 0: a is not a file in {tmp_path}"
    assert refused(encoder, tmp_path, "--text_column", "report") == message
    empty = Dataset.from_dict({"image": ["a"], "text": ["b"], "image_path": ["c"]}).select([])
    empty.to_parquet(tmp_path / "pairs" / "validation.parquet")
    assert '"validation" corresponds to no data' in refused(encoder, tmp_path)


def test_flags_are_checked_before_anything_is_loaded(score, refused, encoder, tmp_path, capsys):
    nowhere = tmp_path / "none"
    message = f"--push_to_hub requires a model on the Hub, but {encoder} is a local folder. Push the model first, "
    assert refused(encoder, nowhere, "--push_to_hub") == message + "then evaluate its repository."
    message = refused("org/x", nowhere, "--push_to_hub", "--limit", "3")
    assert message.startswith("--limit cannot be combined with --push_to_hub, ")
    for flag in ("--create_pr", "--public"):
        assert refused("org/x", nowhere, flag) == f"{flag} requires --push_to_hub"
    (tmp_path / "file").write_text("x")
    message = refused("org/x", nowhere, "--output_dir", str(tmp_path / "file"))
    assert message == f"--output_dir {tmp_path}/file: File exists"
    for flag in ("--limit", "--batch_size", "--max_new_tokens"):
        for value in ("0", "-1", "x", "1.5"):
            with pytest.raises(SystemExit) as caught:
                score("org/x", nowhere, flag, value)
            assert caught.value.code == 2
            assert f"argument {flag}: {value} is not a positive integer" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--model", "--dataset", "--split", "--limit", "--output_dir", "--base_model"])
def test_a_repeated_flag_is_an_error(flag, tmp_path, capsys):
    words = ["--model", "org/x", "--output_dir", str(tmp_path / "out")]
    words = [*words, flag, "7"] if flag in words else [*words, flag, "8", f"{flag}=7"]
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2 and not (tmp_path / "out").exists()
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"medpairs evaluate: error: argument {flag}: given twice, as ")
    assert message.endswith(" and '7'; give it once")


# ---- as a script -----------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy(run):
    done = run("python", "-c", HELP)
    assert done.stdout.count("usage: ") == 5 and done.stdout.count("imported: []\n") == 5
    for words in ("--model", "--train", "--results_dir", "--namespace", "medpairs evaluate"):
        assert words in done.stdout


@pytest.mark.slow
def test_it_runs_from_any_folder(run, encoder, build, tmp_path, request):
    script = request.config.rootpath / "evaluation" / "run_evaluation.py"
    command = ["python", script, "--model", encoder, "--dataset", build, "--split", "test"]
    done = run(*command, cwd=tmp_path, env={"PYTHONPATH": None})
    result, _ = written(tmp_path / "results")
    assert f"Written to results/{result.file_name}\n" in done.stdout
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "results").iterdir()]
    assert not any("hf_test" in text for text in (done.stdout, done.stderr, *texts))  # HF_TOKEN is set

    done = run("python", script, "--model", tmp_path, "--dataset", build, cwd=tmp_path, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: --model {tmp_path}: no config.json")
