"""Checks the files of a model repository after pushes of weights and results, whatever it contained before."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from model_cards.hub.commit import PushError
from model_cards.hub.model_repository import push_model, push_result
from model_cards.hub.weights import folder_weights
from model_cards.model_card import SAMPLES, SUMMARY, write_model_card
from model_cards.results import EvaluationResult, write_json
from tests.cases import few
from tests.model_cards.all_controls import all_controls
from tests.model_cards.markdown import code_blocks, front_matter, headings, tables
from tests.model_cards.test_model_card import LLAMA, RESULTS, SAMPLE, SUMMARIES

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
COMMON = ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "training_args.json", "recipe.yaml")
CODE = ("modeling_siglip_medical.py", "contrastive_loss.py")
# The forms of a saved model, with the files that only this form has.
FORMS = {
    "encoder": ("encoder", ("config.json", "model.safetensors", *CODE)),
    "encoder and adapter": (
        "encoder",
        ("config.json", "model.safetensors", *CODE, "adapter/adapter_config.json", "adapter/adapter_model.safetensors"),
    ),
    "merged": ("decoder", ("config.json", "generation_config.json", "model.safetensors", "chat_template.jinja")),
    "sharded": ("decoder", ("config.json", "generation_config.json", *SHARDS, "chat_template.jinja")),
    "adapters": (
        "decoder",
        ("adapter_config.json", "adapter_model.safetensors", "generation_config.json", "chat_template.jinja"),
    ),
    "both": (
        "decoder",
        ("config.json", "model.safetensors", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"),
    ),
}
HOSTED = "c" * 40  # the revision of a dataset on the Hub


@pytest.fixture
def trained(tmp_path, repo_name):
    """Provides a function: trained(form, seed) returns the folder of such a training, with its own result."""

    def write(form: str, seed: int = 1, result: bool = True, **facts) -> Path:
        kind, names = FORMS[form]
        folder = tmp_path / f"{form}-{seed}"
        for name in (*COMMON, *names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(f"{'{}' if name.endswith('.json') else ''}\0{form} {seed} {name}".encode())
        export = {"export": "adapter" if form == "adapters" else "merged"} if kind == "decoder" else {}
        weights = folder_weights(folder)
        summary = SUMMARIES[kind] | export | {"weights": weights, "updates": 100 + seed} | facts
        if kind == "decoder":
            (folder / SAMPLES).write_text(json.dumps(SAMPLE) + "\n")
        if result:
            own = replace(
                RESULTS[kind], model=repo_name, dataset_split="validation", weights=weights,
                metrics={next(iter(RESULTS[kind].metrics)): 0.1 * seed, "loss": 1.0 * seed},
            )  # fmt: skip
            own.save(folder / "results")
        write_model_card(folder, repo_name, summary)
        write_json(folder / SUMMARY, summary)
        return folder

    return write


def push(folder: Path, name: str, **more) -> None:
    push_model(folder, name, public=False, code=CODE, **more)


def files_of(name: str) -> set[str]:
    return set(HfApi().list_repo_files(name)) - {".gitattributes"}


def here(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def text_of(name: str, path: str = "README.md", revision: str | None = None) -> str:
    return Path(HfApi().hf_hub_download(name, path, revision=revision)).read_bytes().decode()


def upload(name: str, path: str, content: str | bytes) -> None:
    content = content.encode() if isinstance(content, str) else content
    HfApi().upload_file(repo_id=name, path_or_fileobj=content, path_in_repo=path)


def commits(name: str) -> int:
    return len(HfApi().list_repo_commits(name))


def scores(name: str) -> dict[str, float]:
    entries = HfApi().model_info(name, expand=["evalResults"]).eval_results or []
    return {entry.task_id: entry.value for entry in entries}


def result_of(folder: Path, name: str, **facts) -> EvaluationResult:
    """Returns a result on the test split of a dataset on the Hub for the weights in a folder."""
    kind = json.loads((folder / SUMMARY).read_text())["kind"]
    facts = {"weights": folder_weights(folder), "dataset_revision": HOSTED} | facts
    return replace(RESULTS[kind], model=name, **facts)


# ---- one form over another -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"), few(itertools.product(FORMS, FORMS), *itertools.pairwise([*FORMS, *FORMS][:7]))
)
def test_a_push_leaves_its_own_files_and_those_of_people(before, after, trained, repo_name):
    first, second = trained(before, 1), trained(after, 2)
    push(first, repo_name)
    assert files_of(repo_name) == here(first)
    mine = {
        "NOTES.md",
        "adapter/notes.md",
        "extra.safetensors",
        "results/readers.json",
        "my_model.py",
        "data/config.json",
    }
    for name in mine:
        upload(repo_name, name, f"\0of a person: {name}")
    count = commits(repo_name)
    push(second, repo_name)
    assert files_of(repo_name) == here(second) | mine
    assert commits(repo_name) == count + 1
    for name in here(second) - {"README.md"}:
        assert text_of(repo_name, name).encode() == (second / name).read_bytes(), name
    fields = front_matter(text_of(repo_name))
    kind = FORMS[after][0]
    assert fields == front_matter((second / "README.md").read_text())  # nobody had edited the card
    assert fields["library_name"] == ("peft" if after == "adapters" else "transformers")
    assert headings(text_of(repo_name)) == headings((second / "README.md").read_text())
    assert ("Sample answers" in headings(text_of(repo_name))) is (kind == "decoder")


def test_what_stays_on_this_machine(trained, repo_name):
    folder = trained("encoder")
    for name in (
        "checkpoint-5/model.safetensors",
        "runs/events",
        "samples/1.jsonl",
        "_tmp",
        "a.pt",
        "training_args.bin",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    push(folder, repo_name)
    assert not {name for name in files_of(repo_name) if name.startswith(("checkpoint", "runs", "samples/", "_"))}
    assert not {name for name in files_of(repo_name) if name.endswith((".pt", ".bin"))}


# ---- results belong to weights ---------------------------------------------------------------------------------------


def test_new_weights_take_the_old_scores_away(trained, repo_name, capsys):
    first, second = trained("encoder", 1), trained("encoder", 2)
    push(first, repo_name)
    push_result(result_of(first, repo_name, metrics={"recall_at_5": 0.91}), public=False)
    before = text_of(repo_name)
    assert "0.91" in before and scores(repo_name) == {"pairs_test_recall_at_5": 0.91}
    capsys.readouterr()
    push(second, repo_name)
    removed = "retrieval on org/med-pairs (test), retrieval on org/med-pairs (validation)"
    assert capsys.readouterr().out == f"Removed results of other weights: {removed}\n"
    card = text_of(repo_name)
    assert "0.91" not in card
    shown = [table[:2] for table in tables(card) if table[0][0] == "ranked by"]
    assert shown == [[["ranked by", "R@1", "loss"], ["this model", "0.2", "2"]]]
    assert {entry["dataset"]["split"] for entry in front_matter(card)["model-index"][0]["results"]} == {"validation"}
    assert scores(repo_name) == {} and not [name for name in files_of(repo_name) if name.startswith(".eval_results/")]
    assert [name for name in files_of(repo_name) if name.startswith("results/")] == [
        f"results/{path.name}" for path in (second / "results").iterdir()
    ]


def test_the_same_weights_keep_their_scores(trained, repo_name):
    """Pushed again, after a run that was resumed at its end."""
    folder = trained("merged")
    push(folder, repo_name)
    push_result(result_of(folder, repo_name, metrics={"bleu": 12.5}, controls=all_controls()), public=False)
    before, values = files_of(repo_name), scores(repo_name)
    push(folder, repo_name)
    assert files_of(repo_name) == before and scores(repo_name) == values == {"chat_test_bleu": 12.5}
    assert ["this model", "12.5"] in [line for table in tables(text_of(repo_name)) for line in table]


def test_results_of_other_weights_in_the_folder_stay_there(trained, repo_name):
    folder = trained("encoder", 2)
    stray = result_of(folder, repo_name, weights="0" * 64, metrics={"recall_at_5": 0.91})
    stray.save(folder / "results")
    push(folder, repo_name)
    assert f"results/{stray.file_name}" not in files_of(repo_name) and "0.91" not in text_of(repo_name)
    assert (folder / "results" / stray.file_name).exists()


def test_a_result_of_weights_that_are_gone_is_refused(trained, repo_name):
    first, second = trained("encoder", 1), trained("encoder", 2)
    push(first, repo_name)
    push(second, repo_name)
    count = commits(repo_name)
    with pytest.raises(PushError, match="was measured for different weights from those now in the repository"):
        push_result(result_of(first, repo_name), public=False)
    assert commits(repo_name) == count
    push_result(result_of(second, repo_name), public=False)


@pytest.mark.parametrize("known", ["commit", "nothing"])
def test_a_result_without_a_digest_belongs_to_the_weights_at_its_commit(known, trained, repo_name):
    """Older results name no weights; without a commit either, they count as results of the weights next to them."""
    first, second = trained("encoder", 1, result=False), trained("encoder", 2, result=False)
    push(first, repo_name)
    revision = HfApi().model_info(repo_name).sha if known == "commit" else ""
    old = result_of(first, repo_name, weights="", model_revision=revision, metrics={"recall_at_5": 0.91})
    upload(repo_name, f"results/{old.file_name}", old.text)
    push_result(result_of(first, repo_name, dataset_split="validation"), public=False)
    assert "0.91" in text_of(repo_name)
    push(second, repo_name)
    assert "0.91" not in text_of(repo_name) and f"results/{old.file_name}" not in files_of(repo_name)
    if known == "commit":  # put there by a version that left the score of other weights
        upload(repo_name, f"results/{old.file_name}", old.text)
        push_result(result_of(second, repo_name, dataset_split="validation"), public=False)
        assert "0.91" not in text_of(repo_name) and f"results/{old.file_name}" not in files_of(repo_name)


def test_a_measurement_made_again_replaces_one_that_did_not_say_its_weights(trained, repo_name):
    folder = trained("encoder", result=False)
    push(folder, repo_name)
    old = result_of(folder, repo_name, weights="", metrics={"recall_at_5": 0.5})
    upload(repo_name, f"results/{old.file_name}", old.text)
    push_result(result_of(folder, repo_name, metrics={"recall_at_5": 0.6}), public=False)
    assert len([name for name in files_of(repo_name) if name.startswith("results/")]) == 1
    assert "0.6 |" in text_of(repo_name) and "0.5 |" not in text_of(repo_name)


def test_results_with_other_settings_stand_beside_each_other(trained, repo_name):
    """The card shows both; the leaderboard and `model-index` have one place per number, for the newest result."""
    folder = trained("merged", result=False)
    push(folder, repo_name)
    for place, (tokens, bleu) in enumerate([(16, 1.0), (512, 2.0)]):
        settings, date = {"limit": None, "max_new_tokens": tokens}, f"2026-01-0{1 + place}T00:00:00Z"
        push_result(result_of(folder, repo_name, settings=settings, date=date, metrics={"bleu": bleu}), public=False)
    card = text_of(repo_name)
    assert "answers of at most 16 tokens:" in card and "answers of at most 512 tokens:" in card
    (entry,) = front_matter(card)["model-index"][0]["results"]
    assert [metric["value"] for metric in entry["metrics"]] == [2.0] and scores(repo_name) == {"chat_test_bleu": 2.0}


def test_files_that_only_look_like_results_are_said_and_left(trained, repo_name, capsys):
    folder = trained("encoder")
    push(folder, repo_name)
    name = "results/a--b--c--0123abcd.json"
    upload(repo_name, name, "{}")
    upload(repo_name, ".eval_results/theirs.yaml", "[]\n")
    push_result(result_of(folder, repo_name), public=False)
    push(trained("encoder", 2), repo_name)
    assert capsys.readouterr().out.count(f"Not a result file, left unchanged: {name}") == 2
    assert {name, ".eval_results/theirs.yaml"} <= files_of(repo_name)


# ---- the card that a person edited -----------------------------------------------------------------------------------


def edit(name: str) -> str:
    """A person corrects the license, adds keys with comments, a section, and an entry of their own."""
    text = text_of(name)
    license_line = next(line for line in text.splitlines() if line.startswith("license:"))
    text = text.replace(license_line, "license: cc-by-nc-4.0  # corrected\nlanguage: [en,   zh]")
    text = text.replace("\n# ", "\n# My own ", 1) + "\n## Intended use\n\nWritten by hand.\n"
    fields = front_matter(text)
    entry = {
        "task": {"type": "x"},
        "dataset": {"name": "other", "type": "o"},
        "metrics": [{"type": "f1", "value": 0.5}],
    }
    index = [{"name": "theirs", "results": [entry]}]
    if "model-index" not in fields:
        text = text.replace("---\n", "---\n" + yaml.safe_dump({"model-index": index}), 1)
    upload(name, "README.md", text)
    return text


def without_blocks(text: str) -> str:
    from model_cards.card_update import outside, split_card

    return outside(split_card(text)[1])


@pytest.mark.parametrize(("before", "after"), [("encoder", "encoder"), ("adapters", "merged"), ("merged", "encoder")])
def test_an_edited_card_survives_results_and_trainings(before, after, trained, repo_name):
    first, second = trained(before, 1, result=False), trained(after, 2)
    push(first, repo_name)
    edited = edit(repo_name)
    push_result(result_of(first, repo_name), public=False)
    measured = text_of(repo_name)
    assert without_blocks(measured) == without_blocks(edited)
    front = [text.partition("license:")[2].partition("\n# ")[0] for text in (measured, edited)]
    assert front[0] == front[1]
    assert len(front_matter(measured)["model-index"][0]["results"]) == 2
    assert "split `test`" in measured and "split `test`" not in edited

    push(second, repo_name)
    card = text_of(repo_name)
    assert without_blocks(card) == without_blocks(edited)
    assert "license: cc-by-nc-4.0  # corrected\nlanguage: [en,   zh]\n" in card
    fields, fresh = front_matter(card), front_matter((second / "README.md").read_text())
    kept = {"license": "cc-by-nc-4.0", "language": ["en", "zh"], "model-index": fields["model-index"]}
    assert fields == fresh | kept | ({"license_name": "x"} if "license_name" in fields else {})
    theirs, ours = fields["model-index"][0]["results"]
    assert fields["model-index"][0]["name"] == "theirs" and theirs["metrics"][0]["type"] == "f1"
    assert ours["dataset"]["split"] == "validation"
    assert "102 updates" in card and code_blocks(card) == code_blocks((second / "README.md").read_text())


def test_a_card_edited_in_the_folder_reaches_the_repository(trained, repo_name):
    first, second = trained("encoder", 1), trained("encoder", 2)
    push(first, repo_name)
    path = second / "README.md"
    path.write_text(path.read_text() + "\n## Mine\n\nWritten here.\n")
    push(second, repo_name)
    assert text_of(repo_name).endswith("\n## Mine\n\nWritten here.\n")


def test_a_removed_block_stays_away(trained, repo_name, capsys):
    folder = trained("encoder", 1)
    push(folder, repo_name)
    text = text_of(repo_name)
    start, end = text.index("<!-- medpairs:results -->"), text.index("<!-- medpairs:training -->")
    upload(repo_name, "README.md", text[:start] + text[end:])
    push_result(result_of(folder, repo_name), public=False)
    push(trained("encoder", 2), repo_name)
    said = "README.md: blocks not updated, because their markers were removed or changed: results"
    assert capsys.readouterr().out.count(said) == 2
    card = text_of(repo_name)
    assert "## Results" not in card and "102 updates" in card
    assert front_matter(card)["model-index"][0]["results"][0]["dataset"]["split"] == "validation"


MINE = "---\nlicense: mit  # mine\n---\n# Mine\n\nWritten by hand.\n"


def test_a_card_that_was_never_ours_keeps_its_text(trained, repo_name, capsys):
    folder = trained("adapters", base_model=LLAMA)
    HfApi().create_repo(repo_name, private=True)
    upload(repo_name, "README.md", MINE)
    push(folder, repo_name)
    said = "README.md contains no medpairs blocks and keeps its text; updated keys: base_model, base_model_relation, "
    assert said in capsys.readouterr().out
    card = text_of(repo_name)
    assert card.endswith("---\n# Mine\n\nWritten by hand.\n") and card.startswith("---\nlicense: mit  # mine\n")
    fields = front_matter(card)
    assert fields["library_name"] == "peft" and fields["base_model"] == LLAMA and "tags" not in fields
    push_result(result_of(folder, repo_name), public=False)
    after = text_of(repo_name)
    assert after.partition("model-index")[0] == card.partition("model-index")[0]
    assert {entry["dataset"]["split"] for entry in front_matter(after)["model-index"][0]["results"]} == {
        "validation", "test",
    }  # fmt: skip


def test_a_model_of_others_gets_its_index_alone(repo_name):
    """It has no training summary of ours."""
    HfApi().create_repo(repo_name, private=True)
    upload(repo_name, "README.md", MINE)
    upload(repo_name, "model.safetensors", b"\0theirs")
    result = replace(RESULTS["encoder"], model=repo_name, dataset_revision=HOSTED)
    push_result(result, public=False)
    card = text_of(repo_name)
    assert card.endswith("---\n# Mine\n\nWritten by hand.\n") and card.startswith(
        "---\nlicense: mit  # mine\nmodel-index:"
    )
    upload(repo_name, "README.md", "")
    HfApi().delete_file("README.md", repo_name)
    push_result(replace(result, dataset_split="validation"), public=False)
    assert "README.md" not in files_of(repo_name)


def test_a_repository_that_the_page_of_the_hub_made_gets_our_card(trained, repo_name):
    """Its README contains only the license that its owner chose."""
    folder = trained("encoder")
    HfApi().create_repo(repo_name, private=True)
    upload(repo_name, "README.md", "---\nlicense: cc-by-nc-4.0\n---\n")
    push(folder, repo_name)
    card, own = text_of(repo_name), (folder / "README.md").read_text()
    assert headings(card) == headings(own)
    assert front_matter(card) == front_matter(own) | {"license": "cc-by-nc-4.0"}


@pytest.mark.parametrize("text", ["---\na: [\n---\n# Mine\n", b"# Gr\xf6\xdfe\n"])
def test_a_card_that_cannot_be_read_is_named_and_nothing_is_pushed(text, trained, repo_name):
    push(trained("encoder", 1), repo_name)
    from tests.conftest import SERVER

    with SERVER.app.store.lock:  # the client would not send it
        repo = SERVER.app.store.repos[f"models/{repo_name}"]
        head = repo.refs["refs/heads/main"]
        content = text if isinstance(text, bytes) else text.encode()
        files = repo.files(head) | {"README.md": SERVER.app.store.add_file(content)}
        SERVER.app.store.commit(repo, "refs/heads/main", files, "By hand", parent=head)
    count = commits(repo_name)
    with pytest.raises((PushError, ValueError), match=r"README\.md.*correct"):
        push(trained("encoder", 2), repo_name)
    assert commits(repo_name) == count
