"""Checks that datasets and models are loaded, or refused with a message that names the fix."""

from __future__ import annotations

import json
import shutil

import pytest
from datasets import Dataset
from huggingface_hub import HfApi

from evaluation.loading import (
    InputError,
    dataset_revision,
    first_line,
    load_model_and_processor,
    load_splits,
    model_revision,
    model_type,
)
from tests.evaluation.small_run import rows_of

# ---- datasets --------------------------------------------------------------------------------------------------------


def test_the_splits_that_exist(build):
    found = load_splits(str(build), "pairs", ["validation", "dev", "test"])
    report = json.loads((build / "report.json").read_text())
    assert {name: len(rows) for name, rows in found.items()} == {
        name: report["splits"]["pairs"][name] for name in ("validation", "test")
    }


@pytest.mark.parametrize(
    ("dataset", "config", "split", "words"),
    [
        ("no-such-folder", "pairs", "test", ["no such folder", "ORG/NAME", "`medpairs build --output_dir no-such-f"]),
        ("org/no-such-dataset", "pairs", "test", ["doesn't exist on the Hub", "a folder that `medpairs build` wrote"]),
        ("data/not-built-yet", "pairs", "test", ["no such folder", "`medpairs build --output_dir data/not-built-yet`"]),
        ("a b/c", "pairs", "test", ["no such folder"]),
        ("{build}", "no-such-config", "test", ["no config 'no-such-config'", "it has pairs, chat"]),
        ("{build}", "pairs", "dev", ["no split dev", "train, validation, test"]),
        ("{empty}", "pairs", "test", ["doesn't contain any data files"]),
        ("{file}", "pairs", "test", ["Couldn't find any data file"]),
        ("{broken}", "pairs", "test", ["config pairs: "]),
    ],
)
def test_a_dataset_that_cannot_be_read(build, tmp_path, dataset, config, split, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    shutil.copytree(build, tmp_path / "broken")
    for path in (tmp_path / "broken" / "pairs").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    name = dataset.format(build=build, **{name: tmp_path / name for name in ("empty", "file", "broken")})
    with pytest.raises(InputError) as caught:
        load_splits(name, config, [split])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"--dataset {name}")
    for word in words:
        assert word in message


def test_a_folder_comes_before_a_repository_of_its_name(build, tmp_path, monkeypatch, dataset_on_hub):
    """`org/small-pairs` is on the Hub; if a folder has the same name, the folder is used."""
    monkeypatch.chdir(tmp_path)
    assert len(load_splits(dataset_on_hub, "pairs", ["test"])["test"]) == rows_of(build, "test")
    commit = HfApi().dataset_info(dataset_on_hub).sha
    assert dataset_revision(dataset_on_hub) == commit
    shutil.copytree(build, tmp_path / dataset_on_hub, ignore=shutil.ignore_patterns("README.md"))
    with pytest.raises(InputError, match="no config 'pairs'; it has default"):
        load_splits(dataset_on_hub, "pairs", ["test"])
    assert dataset_revision(dataset_on_hub) == json.loads((build / "report.json").read_text())["fingerprint"] != commit


def test_a_folder_is_read_as_it_is_now(tmp_path):
    """`datasets` distinguishes folders only by their last name and their card."""
    card = "---\nconfigs:\n- config_name: pairs\n  data_files:\n  - split: test\n    path: pairs/*.parquet\n---\n"
    for parent, text in (("one", "first"), ("two", "other"), ("one", "later"), ("one", "later")):
        folder = tmp_path / parent / "data"
        (folder / "pairs").mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(card)
        Dataset.from_dict({"text": [text]}).to_parquet(folder / "pairs" / "test.parquet")
        assert load_splits(str(folder), "pairs", ["test"])["test"]["text"] == [text]


def test_a_folder_that_did_not_change_is_converted_once(build):
    files = [load_splits(str(build), "pairs", ["test"])["test"].cache_files for _ in range(2)]
    assert files[0] == files[1] != []


def test_a_revision_of_a_dataset(build, repo_name):
    api = HfApi()
    api.create_repo(repo_name, repo_type="dataset")
    api.upload_folder(repo_id=repo_name, repo_type="dataset", folder_path=build, allow_patterns=["*.md", "pairs/*"])
    api.create_tag(repo_name, repo_type="dataset", tag="v1")
    first = api.dataset_info(repo_name).sha
    api.upload_file(repo_id=repo_name, repo_type="dataset", path_or_fileobj=b"x", path_in_repo="note.txt")
    assert dataset_revision(repo_name, "v1") == first != dataset_revision(repo_name)
    assert len(load_splits(repo_name, "pairs", ["test"], revision="v1")["test"]) == rows_of(build, "test")
    with pytest.raises(InputError, match=f"--dataset {repo_name}: Invalid rev id"):
        dataset_revision(repo_name, "v2")
    with pytest.raises(InputError, match="config pairs: "):
        load_splits(repo_name, "pairs", ["test"], revision="v2")


def test_the_revision_of_a_folder(build, tmp_path):
    assert dataset_revision(str(tmp_path)) == ""
    for content in ("no JSON", '{"rows": 1}', "[1]"):
        (tmp_path / "report.json").write_text(content)
        with pytest.raises(InputError, match=r"report\.json is not the report of a build"):
            dataset_revision(str(tmp_path))


@pytest.mark.parametrize("revision_of", [dataset_revision, model_revision])
@pytest.mark.parametrize("name", ["org/nothing-here", "a b/c", "nothing-here", "a/b/c"])
def test_no_revision_of_what_is_not_there(revision_of, name):
    with pytest.raises(InputError, match=r"; give a folder.*or a.*repository|no such folder\. \w+ a \w+ w") as caught:
        revision_of(name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


# ---- models ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def changed(encoder, tmp_path):
    """Provides a function: changed(f) returns a copy of the encoder's folder after `f(folder)`."""

    def change(how):
        folder = tmp_path / "model"
        shutil.copytree(encoder, folder)
        how(folder)
        return str(folder)

    return change


def edit_weights(folder, edit) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def without_weight(folder) -> None:
    edit_weights(folder, lambda weights: weights.pop("logit_scale"))


def with_another_weight(folder) -> None:
    edit_weights(folder, lambda weights: weights.update(intruder=weights["logit_scale"].clone()))


def with_another_shape(folder) -> None:
    edit_weights(folder, lambda weights: weights.update(logit_bias=weights["logit_bias"].repeat(2)))


def only_pickle(folder) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def truncated(folder) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def without_tokenizer(folder) -> None:
    for name in ("tokenizer_config.json", "spiece.model"):
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (without_weight, "1 missing keys in the checkpoint, for example logit_scale"),
        (with_another_weight, "1 unexpected keys in the checkpoint, for example intruder"),
        (with_another_shape, "logit_bias|mismatch"),
        (only_pickle, "no file named model.safetensors"),
        (truncated, "safetensors|header|incomplete"),
        (without_tokenizer, "the processor cannot be loaded: "),
    ],
)
def test_a_model_that_is_not_whole(changed, how, words):
    from transformers import AutoModel

    folder = changed(how)
    with pytest.raises(InputError, match=words) as caught:
        load_model_and_processor(folder, AutoModel)
    assert str(caught.value).startswith(f"{folder}: ") and "\n" not in str(caught.value)


def test_a_whole_model(encoder):
    from transformers import AutoModel, SiglipModel

    model, processor = load_model_and_processor(str(encoder), AutoModel)
    assert type(model) is SiglipModel
    assert processor.tokenizer("liver")["input_ids"]
    assert model_type(str(encoder)) == "siglip"
    assert model_revision(str(encoder)) == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "config.json"),
        ("{", "config.json"),
        ('{"hidden_size": 4}', "model_type"),
        ('{"model_type": "no-such-type"}', "no-such-type"),
    ],
)
def test_no_model_type(tmp_path, content, words):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        model_type(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}: ") and "\n" not in str(caught.value)


def test_code_in_a_repository_is_not_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}')
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="contains custom code"):
        model_type(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_repository_that_is_not_there():
    with pytest.raises(InputError, match=r"org/none: .*; give a folder, or a repository on the Hub that you can read"):
        model_type("org/none")


def test_a_wrong_token_is_named(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match="org/none: Invalid credentials in Authorization header; give") as caught:
        model_type("org/none")
    assert "hf_wrong" not in str(caught.value)


def test_a_gated_repository_says_how_to_get_in(encoder, repo_name, monkeypatch):
    from transformers import AutoModel

    api = HfApi()
    api.create_repo(repo_name)
    api.upload_folder(repo_id=repo_name, folder_path=encoder)
    api.update_repo_settings(repo_name, gated="manual")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    for opened in (lambda: model_type(repo_name), lambda: load_model_and_processor(repo_name, AutoModel)):
        with pytest.raises(InputError, match=f"{repo_name}: the repository is gated; accept its license on the Hub"):
            opened()


def test_an_error_without_words_is_called_by_its_type():
    assert first_line(KeyError()) == "KeyError"
    assert first_line(OSError("\n  \nsecond line. \nthird")) == "second line"
