"""The command: from a dataset to a model on the Hub that opens in a fresh process, and what it says when it cannot."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from model_cards.controls import RETRIEVAL_CONTROLS
from tests.forked import TRAIN_ENCODER, run_main
from tests.model_cards.markdown import tables
from tests.trainers.killed_runs import last_given, run_command

QUICK = ("--tiny", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1", "--disable_tqdm", "True")


@pytest.fixture(scope="module")
def pushed(run, dataset, tmp_path_factory):
    """(the output folder, the repository) of a short training that was pushed."""
    folder, repository = tmp_path_factory.mktemp("encoder") / "siglip", "org/siglip-pushed"
    words = ("--output_dir", folder, "--num_train_epochs", "1", "--push_to_hub", "--hub_model_id", repository)
    run("python", "trainers/run_encoder.py", "--dataset", dataset, *QUICK, *words)
    return folder, repository


def test_the_folder_is_complete(pushed):
    folder, repository = pushed
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "processor_config.json", "README.md"} <= names
    assert {"training_summary.json", "training_args.json", "results"} <= names
    result = json.loads(next((folder / "results").iterdir()).read_text())
    assert result["model"] == repository and result["dataset_split"] == "validation"
    assert 0 <= result["metrics"]["recall_at_5"] <= 1


def test_the_card_s_numbers_are_the_result_s(pushed):
    folder, _ = pushed
    metrics = json.loads(next((folder / "results").iterdir()).read_text())["metrics"]
    card = (folder / "README.md").read_text()
    scores = next(table for table in tables(card) if table[0][0] == "ranked by")
    by_name = {line[0]: dict(zip(scores[0], line, strict=True)) for line in scores[1:]}
    assert by_name["this model"]["R@5"] == f"{metrics['recall_at_5']:.4g}"
    assert by_name["chance"]["R@5"] == f"{metrics['chance_recall_at_5']:.4g}"
    assert set(by_name) == {"this model", *RETRIEVAL_CONTROLS.values()}
    assert f"value: {metrics['loss']}" in card


def test_the_card_says_what_the_weights_depend_on(pushed):
    card = (pushed[0] / "README.md").read_text()
    for line in ("| `contrastive_batch_size` | 8 |", "| `positives` | group |", "| `image_size` | 64 |"):
        assert line in card
    assert "matryoshka_dims" not in card  # not set


def test_a_cache_that_overwrite_would_remove_is_refused(run, dataset, tmp_path):
    words = ("--dataset", dataset, *QUICK, "--output_dir", tmp_path, "--overwrite", "--image_cache", tmp_path / "cache")
    (tmp_path / "kept.txt").write_text("kept")
    process = run("python", "trainers/run_encoder.py", *words, check=False)
    assert process.returncode == 2 and (tmp_path / "kept.txt").exists()
    cache = f"--image_cache {tmp_path}/cache"
    assert f"this folder is or holds {cache}; name another folder" in process.stderr.splitlines()[-1]


def test_it_is_private_and_without_checkpoints(pushed, hub):
    from huggingface_hub import HfApi

    info = HfApi().model_info(pushed[1], token=hub.token)
    names = {file.rfilename for file in info.siblings}
    assert info.private
    assert {"model.safetensors", "README.md", "modeling_siglip_medical.py", "contrastive_loss.py"} <= names
    assert not [name for name in names if name.startswith("checkpoint-") or name.endswith((".bin", ".pt", ".pth"))]
    assert "_training_files.json" not in names and (pushed[0] / "_training_files.json").is_file()


@pytest.mark.slow
def test_it_opens_in_a_fresh_process_with_the_same_embeddings(pushed, run, tmp_path):
    """Through either door, from the Hub and from the folder."""
    folder, repository = pushed
    code = f"""
import json, torch
from PIL import Image
from transformers import AutoModel, AutoProcessor
image, logits, names = Image.linear_gradient("L").convert("RGB"), [], []
for name, trust in (({str(folder)!r}, True), ({repository!r}, None), ({repository!r}, True)):
    model, processor = (kind.from_pretrained(name, trust_remote_code=trust) for kind in (AutoModel, AutoProcessor))
    inputs = processor(images=image, text=["knee", "肝"], padding="max_length", max_length=64, return_tensors="pt")
    with torch.no_grad():
        logits.append(model(**inputs).logits_per_image)
    names.append(type(model).__name__)
print(json.dumps({{"names": names, "apart": max((other - logits[0]).abs().max().item() for other in logits)}}))
"""
    process = run("python", "-c", code, cwd=tmp_path, env={"PYTHONPATH": None}, fresh_home=True)
    answer = json.loads(process.stdout.splitlines()[-1])
    assert answer["names"] == ["SiglipMedicalModel", "SiglipModel", "SiglipMedicalModel"]
    assert answer["apart"] < 1e-5  # of float32


def test_it_goes_on_from_the_pushed_model(pushed, run, dataset, tmp_path):
    """A repository as the starting point: no epoch, so the weights come out as they went in."""
    from safetensors.torch import load_file

    words = ("--model_name_or_path", pushed[1], "--num_train_epochs", "0", "--output_dir", tmp_path / "again")
    run("python", "trainers/run_encoder.py", "--dataset", dataset, *words)
    before, after = (load_file(folder / "model.safetensors") for folder in (pushed[0], tmp_path / "again"))
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
    assert "org/siglip-pushed" in (tmp_path / "again" / "README.md").read_text()


def test_every_file_that_is_pushed_is_known_as_ours(pushed):
    """Else it would stay when a model of another form is pushed."""
    from huggingface_hub import HfApi

    from model_cards.hub.model_repository import MODEL_FILE, RESULT_FILE
    from modeling import siglip_medical

    code = [re.escape(path.name) for path in Path(siglip_medical.__file__).parent.glob("*.py")]
    known = re.compile("|".join([MODEL_FILE, RESULT_FILE.pattern, r"README\.md|\.gitattributes", *code]))
    assert [name for name in HfApi().list_repo_files(pushed[1]) if not known.fullmatch(name)] == []


def test_a_repository_that_is_public_is_refused_before_the_training(run, dataset, repo_name, tmp_path, hub):
    from huggingface_hub import HfApi

    HfApi().create_repo(repo_name, private=False)
    words = ("--dataset", dataset, "--output_dir", tmp_path / "out", "--push_to_hub", "--hub_model_id", repo_name)
    process = run("python", "trainers/run_encoder.py", *QUICK, *words, check=False)
    assert process.returncode == 2 and not (tmp_path / "out").exists()
    said = f"error: --push_to_hub {repo_name}: the repository is public; add --public to push to it"
    assert process.stderr.splitlines()[-1] == said
    assert HfApi().list_repo_files(repo_name) == [".gitattributes"]


def test_a_folder_is_pushed_to_a_public_repository_only_if_that_is_meant(pushed, repo_name, hub, capsys):
    from huggingface_hub import HfApi

    from evaluation.loading import InputError
    from trainers.base.training_run import push_folder

    HfApi().create_repo(repo_name, private=False)
    with pytest.raises(InputError, match=r"is public; add --public to push to it; the model itself is in /"):
        push_folder(pushed[0], repo_name, private=True, token=None)
    hub.fault("POST", "/commit/", 429, headers={"retry-after": "1"})
    hub.fault("POST", "/commit/", 503, headers={"retry-after": "0"})
    assert push_folder(pushed[0], repo_name, private=False, token=None) == f"{hub.endpoint}/{repo_name}"
    assert "model.safetensors" in HfApi().list_repo_files(repo_name)
    assert capsys.readouterr().out.count("The Hub answers ") == 2


@pytest.mark.slow
def test_a_longer_run_keeps_what_a_person_wrote_into_the_card(pushed, run, dataset, tmp_path):
    """And shows the result of the new weights alone, though the folder has both."""
    folder = tmp_path / "longer"
    shutil.copytree(pushed[0], folder)
    card = folder / "README.md"
    before = card.read_text()
    card.write_text(before.replace("license: apache-2.0", "license: mit  # mine") + "\n## Mine\n\nWritten by hand.\n")
    words = ("--num_train_epochs", "2", "--resume_from_checkpoint", "last", "--output_dir", folder)
    run("python", "trainers/run_encoder.py", "--dataset", dataset, *QUICK, *words)
    after = card.read_text()
    assert "license: mit  # mine\n" in after and after.endswith("\n## Mine\n\nWritten by hand.\n")
    summary = json.loads((folder / "training_summary.json").read_text())
    assert f"{summary['updates']} updates" in after and f"{summary['updates']} updates" not in before
    assert len(list((folder / "results").iterdir())) == 2
    assert sum(table[0][0] == "ranked by" for table in tables(after)) == 1


def mistakes():
    yield "dataset", ["--dataset", "nowhere"], "--dataset nowhere: no such folder"
    yield "split", ["--train_split", "trian", "--eval_split", "valid"], "no split trian or valid"
    yield "model", ["--model_name_or_path", "org/none"], "org/none"
    yield "resume", ["--tiny", "--resume_from_checkpoint", "True"], "no checkpoint-* in"


@pytest.mark.parametrize(("words", "said"), [mistake[1:] for mistake in mistakes()], ids=[m[0] for m in mistakes()])
def test_a_mistake_is_one_message_and_status_2(words, said, run, dataset, tmp_path):
    given = () if "--dataset" in words else ("--dataset", dataset)
    process = run("python", "trainers/run_encoder.py", "--output_dir", tmp_path / "out", *given, *words, check=False)
    assert process.returncode == 2
    assert said in process.stderr.splitlines()[-1] and "Traceback" not in process.stderr


# --- the Hub ---


def requests_of(hub, method: str = "POST") -> list[str]:
    """The paths of what was asked of the Hub to change something."""
    return [path for verb, path, _ in hub.log if verb == method]


def exists(repository: str) -> bool:
    from huggingface_hub import HfApi

    return HfApi().repo_exists(repository)


WRONG = {
    "dataset": (["--dataset", "org/none"], "org/none"),
    "folder": (["--dataset", "data/none"], "--dataset data/none: no such folder. Build a dataset with `medpairs build"),
    "path": (["--dataset", "/nope"], "--dataset /nope: no such folder"),
    "base": (["--model_name_or_path", "checkpoints/x"], "--model_name_or_path checkpoints/x: no such folder. Train a"),
    "train split": (["--tiny", "--train_split", "trian"], "no split trian; --train_split names it"),
    "split": (["--train_split", "trian", "--eval_split", "valid"], "no split trian or valid"),
    "model": (["--model_name_or_path", "org/none"], "org/none"),
    "columns": (["--dataset", "{captions}"], "no column text; its columns are image, caption"),
    "flags": (["--tiny", "--metric_for_best_model", "x", "--resume_from_checkpoint", "last"], "no checkpoint-* in"),
    "name": (["--tiny", "--hub_model_id", "a b/c"], "--hub_model_id a b/c: Repo id must use"),
    "token": (["--tiny", "--hub_token", "hf_wrong"], "--push_to_hub: Invalid"),
    "reader": (["--tiny", "--hub_token", "hf_read"], "--push_to_hub: the token is read-only"),
    "address": (["--tiny", "--output_dir", "s3://bucket/out"], "--output_dir s3://...: a training writes to a folder"),
}


@pytest.fixture(scope="module")
def captions(pairs, tmp_path_factory):
    """A dataset whose texts have another name."""
    folder = tmp_path_factory.mktemp("captions") / "data"
    (folder / "pairs").mkdir(parents=True)
    rows = pairs["train"].select(range(4)).select_columns(["image", "text"]).rename_column("text", "caption")
    rows.to_parquet(str(folder / "pairs" / "train.parquet"))
    lines = ["configs:", "- config_name: pairs", "  data_files:", "  - split: train", "    path: pairs/train.parquet"]
    (folder / "README.md").write_text("\n".join(["---", *lines, "---", ""]))
    return folder


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_a_mistake_leaves_no_repository(words, said, dataset, captions, hub, repo_name, tmp_path):
    log, before = tmp_path / "log", len(requests_of(hub))
    words = [word.format(captions=captions) for word in words]
    common = ["--dataset", dataset, "--output_dir", tmp_path / "out", "--use_cpu"]
    push = ["--push_to_hub", "--hub_model_id", repo_name]
    assert run_command(last_given(*common, *push, *words), log) == 2, log.read_text()[-3000:]
    assert said in log.read_text().splitlines()[-1] and "hf_" not in log.read_text()
    assert not exists(repo_name) and requests_of(hub)[before:] == []
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_without_a_token_nothing_is_trained(dataset, repo_name, tmp_path):
    words = ("--dataset", dataset, *QUICK, "--output_dir", tmp_path / "out", "--push_to_hub")
    process = run_main(TRAIN_ENCODER, *words, "--hub_model_id", repo_name, env={"HF_TOKEN": None}, check=False)
    assert process.returncode == 2 and "log in with `hf auth login`" in process.stderr.splitlines()[-1]
    assert not exists(repo_name) and not (tmp_path / "out").exists()


def test_a_repository_that_may_not_be_made_deletes_no_earlier_training(pushed, dataset, tmp_path):
    """The Hub refuses it after everything else was found to be right, and before the folder is emptied."""
    folder, log = shutil.copytree(pushed[0], tmp_path / "out"), tmp_path / "log"
    names = {path.name for path in folder.rglob("*")}
    words = [*QUICK, "--dataset", dataset, "--output_dir", folder, "--overwrite"]
    assert run_command([*words, "--push_to_hub", "--hub_model_id", "stranger/x"], log) == 2, log.read_text()[-3000:]
    assert "error: --push_to_hub stranger/x: " in log.read_text().splitlines()[-1]
    assert {path.name for path in folder.rglob("*")} == names


@pytest.fixture(scope="module")
def moving_dataset(dataset, hub, tmp_path_factory):
    """(a dataset on the Hub of two commits, its first commit): the second one has other rows."""
    from huggingface_hub import HfApi

    from hub_datasets.output.publish import push_dataset

    name, api = "org/moving-pairs", HfApi()
    push_dataset(shutil.copytree(dataset, tmp_path_factory.mktemp("moving") / "data"), name)
    first = api.dataset_info(name).sha
    api.upload_file(repo_id=name, repo_type="dataset", path_or_fileobj=b"later", path_in_repo="note.txt")
    return name, first


def test_the_card_of_a_training_from_a_pushed_folder_names_the_dataset_on_the_hub(dataset, hub, tmp_path):
    """Not the folder, which says nothing to others; with the commit that holds these very files."""
    from huggingface_hub import HfApi

    from hub_datasets.output.publish import push_dataset

    folder, name, log = shutil.copytree(dataset, tmp_path / "processed"), "org/pushed-pairs", tmp_path / "log"
    push_dataset(folder, name)
    words = ["--tiny", "--use_cpu", "--num_train_epochs", "0", "--dataset", folder, "--output_dir", tmp_path / "out"]
    assert run_command(words, log) == 0, log.read_text()[-3000:]
    summary = json.loads((tmp_path / "out" / "training_summary.json").read_text())
    assert (summary["dataset"], summary["dataset_revision"]) == (name, HfApi().dataset_info(name).sha)
    (result,) = (json.loads(path.read_text()) for path in (tmp_path / "out" / "results").iterdir())
    assert (result["dataset"], result["dataset_revision"]) == (name, summary["dataset_revision"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert name in card and "processed" not in card and str(tmp_path) not in card


def test_what_comes_from_the_hub_is_printed_with_its_commit(pushed, moving_dataset, tmp_path):
    """One line for the dataset, one for the model; the same commit is read, and recorded."""
    from huggingface_hub import HfApi

    (name, first), log = moving_dataset, tmp_path / "log"
    words = ["--dataset", name, "--dataset_revision", first, "--model_name_or_path", pushed[1], "--use_cpu"]
    words += ["--num_train_epochs", "0", "--output_dir", tmp_path / "out"]
    assert run_command(words, log) == 0, log.read_text()[-3000:]
    model = HfApi().model_info(pushed[1]).sha
    said = [line for line in log.read_text().splitlines() if line.endswith(" (Hub)")]
    assert said == [f"dataset {name} at commit {first[:8]} (Hub)", f"model {pushed[1]} at commit {model[:8]} (Hub)"]
    assert json.loads((tmp_path / "out" / "training_summary.json").read_text())["dataset_revision"] == first


def test_a_model_is_read_at_the_commit_that_is_printed(pushed, monkeypatch, capsys):
    """Though somebody pushes in between what cannot be opened."""
    from huggingface_hub import HfApi

    from evaluation.loading import model_revision
    from trainers.base import inputs
    from trainers.encoder.arguments import EncoderArguments
    from trainers.encoder.model import load_encoder

    commit = model_revision(pushed[1])

    def pushed_meanwhile(kind, name, found):
        trainers_print(kind, name, found)
        HfApi().upload_file(repo_id=name, path_or_fileobj=b"{}", path_in_repo="config.json")

    trainers_print = inputs.print_source
    monkeypatch.setattr(inputs, "print_source", pushed_meanwhile)
    try:
        model, _ = load_encoder(EncoderArguments(model_name_or_path=pushed[1]), None, 0)
    finally:
        before = HfApi().hf_hub_download(pushed[1], "config.json", revision=commit)
        HfApi().upload_file(repo_id=pushed[1], path_or_fileobj=before, path_in_repo="config.json")
    assert model.config.model_type == "siglip" and f"at commit {commit[:8]} (Hub)" in capsys.readouterr().out


def test_a_missing_weight_is_an_error_and_not_a_random_one(tiny_encoder, run, dataset, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_encoder, tmp_path / "broken")
    weights = load_file(tmp_path / "broken" / "model.safetensors")
    del weights["vision_model.embeddings.position_embedding.weight"]
    save_file(weights, tmp_path / "broken" / "model.safetensors", metadata={"format": "pt"})
    words = ("--model_name_or_path", tmp_path / "broken", "--output_dir", tmp_path / "out", "--dataset", dataset)
    process = run("python", "trainers/run_encoder.py", *words, check=False)
    assert process.returncode == 2
    assert "missing keys" in process.stderr and "position_embedding" in process.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()
