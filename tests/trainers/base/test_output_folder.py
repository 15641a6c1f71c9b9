"""A training deletes and replaces what trainings wrote, and nothing else, whatever is named as its output folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.loading import InputError
from tests.trainers.killed_runs import run_command
from trainers.base.checkpoint_files import MANIFEST, checkpoints, damage, may_be_removed, remove_partial
from trainers.base.output_folder import (
    COMPLETE,
    MARKER,
    TRAINING,
    begin,
    check_contents,
    check_output_dir,
    contents_of,
    note_complete,
    note_writing,
    read_marker,
)
from trainers.encoder.arguments import EncoderArguments, EncoderTrainingArguments

QUICK = {"--max_steps": "2", "--save_steps": "1", "--per_device_train_batch_size": "4", "--eval_strategy": "no"}
QUICK |= {"--gradient_accumulation_steps": "1", "--disable_tqdm": "True", "--image_cache": "none"}
THESIS = b"years of work"


def tree(folder: Path) -> dict[str, bytes]:
    """The content of each file below a folder, and where each link leads."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = str(path.readlink()).encode()
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def put(folder: Path, *names: str, content: bytes = THESIS) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.fixture(scope="module")
def command(dataset, tmp_path_factory):
    """`command(folder, *words)`: (exit status, what was printed) of a training of the encoder to a folder."""
    log = tmp_path_factory.mktemp("logs") / "log"

    def run(folder: Path | str, *words: str | Path) -> tuple[int, str]:
        log.write_text("")
        flags = {"--dataset": dataset, "--output_dir": folder} | QUICK
        quick = [word for flag, value in flags.items() if flag not in words for word in (flag, value)]
        status = run_command(["--tiny", "--use_cpu", "--report_to", "tensorboard", *quick, *words], log)
        return status, log.read_text()

    return run


@pytest.fixture(scope="module")
def trained(command, tmp_path_factory) -> Path:
    """The output folder of a complete training; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("trained") / "out"
    status, printed = command(folder)
    assert status == 0, printed[-3000:]
    return folder


@pytest.fixture
def out(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "out")


def check(folder: Path | str, dataset: str = "org/data", model: str = "", **flags) -> None:
    """What the command looks at before it does any work."""
    training = EncoderTrainingArguments(output_dir=str(folder), use_cpu=True, **flags)
    check_output_dir(training)
    model_flags = {"model_name_or_path": model, "tiny": not model}
    check_contents(training, EncoderArguments(dataset=dataset, **model_flags), image_cache=None)


def refusal(folder: Path | str, **flags) -> str:
    """What a training to a folder is refused with; nothing in the folder changes."""
    before = tree(Path(folder))
    with pytest.raises(InputError) as caught:
        check(folder, **flags)
    assert tree(Path(folder)) == before and "\n" not in str(caught.value)
    return str(caught.value)


# --- a folder that no training wrote to ---

FOREIGN = {
    "a thesis": ("thesis.docx", "figures/1.png"),
    "another trainer's output": ("checkpoint-7/trainer_state.json", "config.json", "README.md", "training_args.json"),
    "a recipe of one's own": ("recipe.yaml",),
    "a marker of something else": (MARKER, "model.safetensors"),
}


@pytest.mark.parametrize("names", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("flags", [{"overwrite": True}, {"resume_from_checkpoint": "auto"}], ids=str)
def test_a_folder_of_somebody_else_is_refused_by_the_names_in_it(names, flags, tmp_path):
    put(tmp_path / "out", *names)
    said = refusal(tmp_path / "out", **flags)
    shown = [name for name in sorted({name.split("/")[0] for name in names}) if name != MARKER]
    assert said.startswith(f"--output_dir {tmp_path}/out holds {', '.join(shown[:3])}")
    assert f"name another one, for example {tmp_path}/out/training" in said


def test_the_command_refuses_before_it_reads_anything(command, tmp_path):
    put(tmp_path / "mine", "thesis.docx", "nested/deep/notes.txt")
    before = tree(tmp_path / "mine")
    status, printed = command(tmp_path / "mine", "--overwrite", "--dataset", tmp_path / "nowhere")
    assert status == 2 and printed.splitlines()[-1].startswith(
        f"error: --output_dir {tmp_path}/mine holds nested, thesis"
    )
    assert tree(tmp_path / "mine") == before and "no such folder" not in printed


def test_a_recipe_cannot_delete_anything(command, out, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"output_dir: {out}\noverwrite: true\n")
    before = tree(out)
    status, printed = command(out, "--config", recipe)
    assert status == 2 and printed.splitlines()[-1] == (
        f"error: --config {recipe}: overwrite: a recipe cannot delete an earlier training; remove this line, and give "
        "--overwrite on the command line"
    )
    assert tree(out) == before


# --- a folder of an earlier training ---


def test_what_a_training_leaves_is_all_its_own(trained):
    contents = contents_of(trained)
    assert contents.occupied == contents.other == []
    assert set(contents.own) == set(tree(trained))
    assert {"model.safetensors", "README.md", "recipe.yaml", "checkpoint-2/optimizer.pt"} <= set(contents.own)
    assert any(name.startswith("runs/") for name in contents.own)
    assert read_marker(trained)["stage"] == COMPLETE


def test_an_earlier_training_is_replaced_and_everything_else_stays(command, out):
    """Also files in folders that the training made, and what looks like a checkpoint's or a weight's name."""
    names = ["thesis.docx", "figures/a/plot.png", "results/mine.csv", "runs/notes.txt", "samples/marked.jsonl"]
    names += ["adapter_notes.txt", "model_best.safetensors", "checkpoint-best/weights.bin", "checkpoint-2-mine/a.bin"]
    put(out, *names)
    (out / "empty").mkdir()
    (out / "checkpoint-9").mkdir()
    shutil.copytree(out / "checkpoint-2", out / "checkpoint-9", dirs_exist_ok=True)
    (out / "link").symlink_to("/usr")
    status, printed = command(out, "--overwrite", "--seed", "7", "--save_strategy", "no")
    assert status == 0, printed[-3000:]
    assert f"--overwrite: kept in {out}, because no training wrote it: adapter_notes.txt, " in printed
    assert all((out / name).read_bytes() == THESIS for name in names)
    assert (out / "empty").is_dir() and (out / "link").is_symlink()
    assert json.loads((out / "training_args.json").read_text())["seed"] == 7
    assert checkpoints(out) == []
    contents = contents_of(out)
    assert contents.occupied == [] and set(contents.other) == {*names, "link"}


EDITED = ["recipe.yaml", "config.json", "training_summary.json"]


@pytest.mark.parametrize("name", EDITED)
@pytest.mark.parametrize("flags", [{"overwrite": True}, {"resume_from_checkpoint": "last"}], ids=str)
def test_what_a_person_edited_is_refused_by_its_name(name, flags, out):
    (out / name).write_text((out / name).read_text() + "\n")
    said = refusal(out, **flags)
    assert said == (
        f"--output_dir {out}: {name} is in the way: no training wrote it, or it was edited since; move it to another "
        "place, or name another folder"
    )


def test_files_of_others_under_the_names_of_a_training_are_refused(out, tmp_path):
    put(tmp_path, "elsewhere/model.safetensors")
    (out / "model.safetensors").unlink()
    (out / "model.safetensors").symlink_to(tmp_path / "elsewhere" / "model.safetensors")
    put(out, "checkpoint-7/weights.bin", "checkpoint-2/notes.txt", "results/org-model--retrieval--x.json")
    said = refusal(out, overwrite=True)
    assert "checkpoint-2/notes.txt, checkpoint-7/weights.bin, model.safetensors and 1 more is in the way" in said


def test_checkpoints_and_results_of_others_do_not_keep_a_training_from_being_resumed(out):
    put(out, "checkpoint-7/weights.bin", "checkpoint-2/notes.txt", "results/org-x--retrieval--y.json", "thesis.docx")
    check(out, resume_from_checkpoint="last")


@pytest.mark.slow
def test_what_a_person_wrote_into_the_card_is_in_the_next_one(command, out):
    """The numbers between our markers are those of the new training."""
    card = out / "README.md"
    card.write_text(card.read_text() + "\nScanners of our hospital only.\n")
    before = card.read_text()
    status, printed = command(out, "--overwrite", "--seed", "7", "--learning_rate", "0.0123")
    assert status == 0, printed[-3000:]
    assert "0.0123" not in before and "0.0123" in card.read_text()
    assert card.read_text().endswith("\nScanners of our hospital only.\n")
    assert contents_of(out).occupied == contents_of(out).other == []


def test_what_no_training_wrote_is_not_pushed(command, out, hub, repo_name):
    from huggingface_hub import HfApi

    put(out, "thesis.docx", "figures/plot.png")
    status, printed = command(out, "--overwrite", "--push_to_hub", "--hub_model_id", repo_name)
    assert status == 0, printed[-3000:]
    pushed = HfApi().list_repo_files(repo_name)
    assert {"model.safetensors", "README.md"} <= set(pushed)
    assert not {"thesis.docx", "figures/plot.png", MARKER} & set(pushed)


def test_a_training_without_checkpoints_is_not_begun_again_by_auto(out):
    for checkpoint in checkpoints(out):
        shutil.rmtree(checkpoint)
    said = refusal(out, resume_from_checkpoint="auto")
    assert "but no checkpoint to resume from" in said and "--overwrite" in said
    assert refusal(out) == (
        f"--output_dir {out} exists and is not empty; name another folder, resume from its last checkpoint with "
        "--resume_from_checkpoint last, or replace an earlier training there with --overwrite"
    )


@pytest.mark.parametrize("keep", ["recipe.yaml", "training_summary.json", "checkpoint-2"])
def test_a_training_of_an_earlier_version_is_recognized(keep, out):
    """It left no marker; one of these is enough to know it by."""
    put(out, "thesis.docx")
    evidence = {"recipe.yaml", "training_summary.json", "checkpoint-1", "checkpoint-2", MARKER}
    for name in evidence - {keep}:
        shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink(missing_ok=True)
    check(out, overwrite=True)
    begin(out, overwrite=True)
    assert set(tree(out)) == {"README.md", "thesis.docx", MARKER}  # people write in a card


# --- a training that was killed ---


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [False, True], ids=["an empty folder", "a card of an earlier training"])
def test_a_training_killed_before_its_first_checkpoint_is_begun_again_by_auto(earlier, command, out, tmp_path):
    folder = out if earlier else tmp_path / "new"
    begin(folder, overwrite=True)
    put(folder, "recipe.yaml", "samples/step-1.jsonl")
    assert ("README.md" in tree(folder)) is earlier and not checkpoints(folder)
    status, printed = command(folder, "--resume_from_checkpoint", "auto")
    assert status == 0, printed[-3000:]
    assert read_marker(folder)["stage"] == COMPLETE and (folder / "recipe.yaml").read_bytes() != THESIS


def test_a_killed_training_is_known_at_every_stage(tmp_path):
    begin(tmp_path, overwrite=False)
    assert read_marker(tmp_path)["stage"] == TRAINING
    put(tmp_path, "recipe.yaml", "samples/step-3.jsonl", ".recipe.yaml.17.18", f".{MARKER}.17.18")
    assert contents_of(tmp_path).occupied == contents_of(tmp_path).other == []
    put(tmp_path, "README.md", "model.safetensors")  # which a training writes only at its end
    assert contents_of(tmp_path).occupied == ["model.safetensors"]
    note_writing(tmp_path)
    put(tmp_path, ".README.md.17.18", "export.partial/model.safetensors")
    assert contents_of(tmp_path).occupied == contents_of(tmp_path).other == []
    note_complete(tmp_path)
    assert contents_of(tmp_path).occupied == []
    put(tmp_path, "recipe.yaml", content=b"edited")
    assert contents_of(tmp_path).occupied == ["recipe.yaml"]


@pytest.mark.parametrize("name", [MARKER, f".{MARKER}.17.18"])
def test_a_marker_alone_is_an_empty_folder(name, tmp_path):
    """A training that was refused, or killed, before it wrote anything else."""
    begin(tmp_path, overwrite=False)
    (tmp_path / MARKER).rename(tmp_path / name)
    check(tmp_path)
    begin(tmp_path, overwrite=True)
    assert set(tree(tmp_path)) == {MARKER}


# --- links, mount points and folders that nothing may empty ---


@pytest.mark.slow
def test_a_link_stays_a_link(command, out, tmp_path):
    put(out, "thesis.docx")
    (tmp_path / "link").symlink_to(out, target_is_directory=True)
    status, printed = command(tmp_path / "link", "--overwrite", "--seed", "7")
    assert status == 0, printed[-3000:]
    assert (tmp_path / "link").is_symlink() and (out / "thesis.docx").read_bytes() == THESIS
    assert json.loads((out / "training_args.json").read_text())["seed"] == 7


ON_A_DISK = """
import shutil, sys
from pathlib import Path
from trainers.base.output_folder import begin
out = Path(sys.argv[2])
shutil.copytree(sys.argv[1], out, dirs_exist_ok=True)
(out / "runs" / "other").write_text("kept")
begin(out, overwrite=True)
print(sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()))
"""


@pytest.mark.slow
def test_what_else_is_on_a_mounted_disk_stays(trained, run, tmp_path):
    """The output folder is a mount point, and holds another one; in a namespace of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "script.py").write_text(ON_A_DISK)
    nested = f"{disk}/runs/nested"
    mounted = f"mount -t tmpfs none {disk} && mkdir -p {nested} && mount -t tmpfs none {nested}"
    space = ("unshare", "--map-root-user", "--mount", "bash", "-c")
    if not shutil.which("unshare") or subprocess.run([*space, mounted], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    script = f"{mounted} && touch {nested}/events.out.tfevents.1"
    done = run(*space, f"{script} && {sys.executable} {tmp_path}/script.py {trained} {disk}")
    assert done.stdout.splitlines()[-1] == str(["README.md", MARKER, "runs/nested/events.out.tfevents.1", "runs/other"])


def test_folders_that_are_never_emptied(out, tmp_path, monkeypatch):
    for place in ("/", Path.home(), Path.cwd(), Path.cwd().parent):
        with pytest.raises(InputError, match=f"^--overwrite --output_dir {place}: this folder is or holds "):
            check(place, overwrite=True)
    put(out, "data/report.json", "base/config.json")
    (tmp_path / "alias").symlink_to(out / "data")
    held = "this folder is or holds"
    assert f"{held} --dataset {out}/data; name" in refusal(out, dataset=f"{out}/data", overwrite=True)
    assert f"{held} --dataset {tmp_path}/alias; name" in refusal(out, dataset=f"{tmp_path}/alias", overwrite=True)
    assert f"{held} --model_name_or_path {out}; name" in refusal(out, model=str(out), overwrite=True)
    assert f"{held} --model_name_or_path {out}/base; name" in refusal(out, model=f"{out}/base", overwrite=True)
    monkeypatch.setenv("HOME", str(out / "home"))
    assert f"{held} your home folder; name" in refusal(out, overwrite=True)
    monkeypatch.chdir(out)
    assert f"{held} the working directory; name" in refusal(".", overwrite=True)


@pytest.mark.parametrize("address", ["s3://bucket/models?sig=SECRET", "file:///tmp/models"])
def test_an_address_is_no_output_folder(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refusal(address)
    assert (
        said == f"--output_dir {address.split(':')[0]}://...: a training writes to a folder of this machine; name one"
    )


# --- checkpoints ---


@pytest.mark.slow
def test_checkpoints_with_files_of_others_are_not_rotated(command, out):
    """Nor counted, nor deleted at the end of a training that keeps only its best one."""
    others = ["checkpoint-0/pytorch_model.bin", "checkpoint-7-best/a.bin", "checkpoint-7.old/b"]
    put(out, "checkpoint-1/notes.txt", *others)
    words = "--resume_from_checkpoint last --max_steps 6 --save_total_limit 1 --eval_strategy steps --eval_steps 1"
    status, printed = command(out, *words.split())
    assert status == 0, printed[-3000:]
    assert (out / "checkpoint-1" / "notes.txt").read_bytes() == THESIS and may_be_removed(out / "checkpoint-1") is False
    for name in others:
        assert (out / name).read_bytes() == THESIS
    own = [path for path in checkpoints(out) if may_be_removed(path)]
    assert len(own) == 1 and damage(own[0]) is None


@pytest.mark.slow
def test_a_checkpoint_of_somebody_else_makes_room_under_another_name(command, out):
    put(out, "checkpoint-3/pytorch_model.bin")
    (out / "checkpoint-4").symlink_to(out / "checkpoint-3")
    status, printed = command(out, *["--resume_from_checkpoint", "last", "--max_steps", "4", "--save_total_limit", "9"])
    assert status == 0, printed[-3000:]
    assert f"{out}/checkpoint-3 was not written by a training; it is kept as checkpoint-3.kept" in printed
    assert (out / "checkpoint-3.kept" / "pytorch_model.bin").read_bytes() == THESIS
    assert (out / "checkpoint-4.kept").is_symlink()
    assert damage(out / "checkpoint-3") is None and damage(out / "checkpoint-4") is None


def test_later_checkpoints_with_files_of_others_are_not_deleted(command, out):
    put(out, "checkpoint-2/notes.txt")
    words = ["--resume_from_checkpoint", out / "checkpoint-1", "--overwrite", "--allow_changed_flags"]
    status, printed = command(out, *words)
    assert status == 2 and "checkpoint-2 would be deleted, but holds files that no training wrote" in printed
    assert (out / "checkpoint-2" / "notes.txt").read_bytes() == THESIS and damage(out / "checkpoint-2") is None


def test_what_is_only_named_like_a_half_written_checkpoint_stays(tmp_path):
    put(tmp_path, "checkpoint-notes.partial/a.txt", "checkpoint-7.partial/model.safetensors")
    put(tmp_path, "elsewhere/b.txt")
    (tmp_path / "checkpoint-8.partial").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    remove_partial(tmp_path)
    assert set(tree(tmp_path)) == {"checkpoint-notes.partial/a.txt", "elsewhere/b.txt", "checkpoint-8.partial"}


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"files": {}}', '{"files": {"a": 1}}', '{"files": ["a"]}'])
def test_a_manifest_of_something_else_makes_no_checkpoint(content, tmp_path):
    put(tmp_path / "checkpoint-7", MANIFEST, content=content.encode())
    assert may_be_removed(tmp_path / "checkpoint-7") is False
