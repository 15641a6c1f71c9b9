"""What both trainers share: resuming and its limits, the best checkpoint, early stopping, reports, bad numbers."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch

from evaluation.loading import InputError
from tests.cases import few
from tests.trainers.killed_runs import bits, without_timings
from trainers.base.checkpoint_files import MANIFEST, checkpoints, damage, digest, files_of
from trainers.base.output_folder import MARKER

SECRET = "hf_never_to_be_seen"


@pytest.fixture(scope="module")
def trainer_in(tiny_encoder, pairs):
    """`trainer_in(folder, rows=range(24), **flags)`: 3 updates an epoch, a checkpoint after each."""
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
    from trainers.encoder.arguments import EncoderArguments, EncoderTrainingArguments
    from trainers.encoder.data.collator import EncoderCollator
    from trainers.encoder.trainer import EncoderTrainer

    def make(folder: Path, rows: range = range(24), model: str = "org/one", **flags):
        settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-3}
        settings |= {"logging_steps": 2, "disable_tqdm": True, "use_cpu": True, "eval_steps": 1, "save_steps": 1}
        settings |= {"num_train_epochs": 2, "save_total_limit": 9, "resume_from_checkpoint": None}
        processor = SiglipMedicalProcessor.from_pretrained(tiny_encoder)
        trainer = EncoderTrainer(
            model=SiglipMedicalModel.from_pretrained(tiny_encoder),
            args=EncoderTrainingArguments(output_dir=str(folder), **(settings | flags)),
            data_collator=EncoderCollator(processor),
            train_dataset=pairs["train"].shuffle(seed=0).select(rows),
            eval_dataset=pairs["validation"].shuffle(seed=0).select(range(13)),
            processing_class=processor,
        )
        trainer.record(EncoderArguments(model_name_or_path=model))
        return trainer

    return make


@pytest.fixture
def make_trainer(trainer_in, tmp_path):
    """As `trainer_in`, below the test's own folder."""
    return lambda folder="run", *args, **flags: trainer_in(tmp_path / folder, *args, **flags)


@pytest.fixture(scope="module")
def straight_run(trainer_in, tmp_path_factory):
    """A trainer that has done its 6 updates."""
    trainer = trainer_in(tmp_path_factory.mktemp("straight"))
    trainer.train()
    return trainer


@pytest.fixture
def run(straight_run, tmp_path):
    """(a trainer that has done its 6 updates, a copy of its folder to go on from)."""
    shutil.copytree(straight_run.args.output_dir, tmp_path / "copy")
    return straight_run, tmp_path / "copy"


def history(trainer) -> list[dict]:
    return [without_timings(entry) for entry in trainer.state.log_history]


def assert_same(trainer, expected) -> None:
    assert history(trainer) == history(expected)
    assert bits(trainer.model.state_dict()) == bits(expected.model.state_dict())


# --- exact ---


@pytest.mark.slow
def test_with_a_process_that_loads_the_rows(make_trainer):
    """Rows that were fetched ahead, and the random numbers that it takes to start a process."""
    flags = {"dataloader_num_workers": 1, "rows": range(22)}
    straight, resumed = make_trainer("straight", **flags), make_trainer("resumed", **flags)
    straight.train()
    resumed.train(resume_from_checkpoint=f"{straight.args.output_dir}/checkpoint-4")
    assert_same(resumed, straight)


@pytest.mark.slow
@pytest.mark.parametrize("step", few([3, 4]))
def test_early_stopping_has_waited_as_long_as_it_had(step, make_trainer):
    """A rate of zero: no recall is better than the first. Also after the checkpoint at which it stopped."""
    flags = {"patience": 3, "learning_rate": 0.0, "metric_for_best_model": "recall_at_5"}
    straight, resumed = make_trainer("straight", **flags), make_trainer("resumed", **flags)
    straight.train()
    assert straight.state.global_step == 4 and straight.state.best_global_step == 1
    resumed.train(resume_from_checkpoint=f"{straight.args.output_dir}/checkpoint-{step}")
    assert_same(resumed, straight)


def test_patience_may_come_later(run, make_trainer):
    trainer = make_trainer("copy", patience=1, num_train_epochs=4, learning_rate=1e-3)
    trainer.train(resume_from_checkpoint="last")
    assert trainer.state.global_step > 6


def test_a_run_that_is_over_does_no_update_more(run, make_trainer):
    """Not even in the middle of an epoch, where the stock Trainer does one."""
    flags = {"max_steps": 4}
    straight, resumed = make_trainer("straight", **flags), make_trainer("straight", **flags)
    straight.train()
    resumed.train(resume_from_checkpoint="last")
    assert_same(resumed, straight)


@pytest.mark.parametrize("name", few(["model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"]))
def test_a_checkpoint_cut_off_is_passed_over_and_the_end_is_the_same(name, run, make_trainer, capsys):
    straight, copy = run
    for step, keep in (("checkpoint-6", 0), ("checkpoint-5", -100)):
        path = copy / step / name
        path.write_bytes(path.read_bytes()[:keep])
    resumed = make_trainer("copy")
    resumed.train(resume_from_checkpoint="last")
    assert_same(resumed, straight)
    printed = capsys.readouterr().out
    for step in (5, 6):
        assert f"checkpoint-{step} is incomplete: {name} has" in printed
    assert all(damage(checkpoint) is None for checkpoint in checkpoints(copy))


def test_a_moved_folder_still_has_its_best(run, make_trainer):
    straight, copy = run
    resumed = make_trainer("copy")
    resumed.train(resume_from_checkpoint="last")
    assert Path(resumed.state.best_model_checkpoint).parent == copy
    assert_same(resumed, straight)


@pytest.mark.slow
def test_a_longer_run_goes_on(run, make_trainer):
    """With a constant rate it is what the long run would have been from the start."""
    flags = {"lr_scheduler_type": "constant", "warmup_steps": 0}
    short, straight = make_trainer("short", num_train_epochs=1, **flags), make_trainer("straight", **flags)
    short.train()
    straight.train()
    longer = make_trainer("short", **flags)
    longer.train(resume_from_checkpoint="last")
    end = [entry for entry in history(longer) if "train_loss" not in entry]
    assert end == [entry for entry in history(straight) if "train_loss" not in entry]
    assert bits(longer.model.state_dict()) == bits(straight.model.state_dict())


# --- another run ---

OTHERS = [
    ({"seed": 7}, "--seed was 42 in the checkpoint and is 7 now"),
    ({"per_device_train_batch_size": 2}, "--per_device_train_batch_size was 4 in the checkpoint and is 2 now"),
    ({"contrastive_batch_size": 4}, "--contrastive_batch_size was None in the checkpoint and is 4 now"),
    ({"model": "org/two"}, "--model_name_or_path was org/one in the checkpoint and is org/two now"),
    (
        {"rows": range(1, 25)},
        "the training rows differ (--dataset, --train_split; 24 rows in the checkpoint, 24 rows now)",
    ),
]


@pytest.mark.parametrize(("flags", "said"), OTHERS, ids=[next(iter(flags)) for flags, _ in OTHERS])
def test_another_run_is_refused_by_name_unless_allowed(flags, said, run, make_trainer, capsys):
    before = {path: path.read_bytes() for path in run[1].rglob("*") if path.is_file()}
    with pytest.raises(InputError) as caught:
        make_trainer("copy", **flags).train(resume_from_checkpoint="last")
    assert said in str(caught.value) and "--allow_changed_flags" in str(caught.value)
    assert before == {path: path.read_bytes() for path in run[1].rglob("*") if path.is_file()}
    if "model" in flags:
        trainer = make_trainer("copy", **flags, allow_changed_flags=True)
        trainer.train(resume_from_checkpoint=str(run[1] / "checkpoint-6"))
        assert said in capsys.readouterr().out


def test_what_decides_nothing_may_change(run, make_trainer):
    flags = {"logging_steps": 1, "save_steps": 2, "per_device_eval_batch_size": 3, "report_to": "none"}
    resumed = make_trainer("copy", **flags)
    resumed.train(resume_from_checkpoint="last")
    assert resumed.resumption.checkpoint == run[1] / "checkpoint-6" and resumed.state.global_step == 6
    assert bits(resumed.model.state_dict()) == bits(run[0].model.state_dict())


def test_later_checkpoints_are_not_lost_without_a_word(run, make_trainer):
    straight, copy = run
    earlier = str(copy / "checkpoint-2")
    with pytest.raises(InputError, match=r"checkpoint-3.*--overwrite"):
        make_trainer("copy").train(resume_from_checkpoint=earlier)
    assert len(checkpoints(copy)) == 6
    resumed = make_trainer("copy", overwrite=True)
    resumed.train(resume_from_checkpoint=earlier)
    assert_same(resumed, straight)


# --- what a folder from elsewhere may do ---


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_in_a_whole_checkpoint_is_not_run(name, run, make_trainer, tmp_path, monkeypatch):
    checkpoint, trap = run[1] / "checkpoint-4", tmp_path / "trap"
    torch.save({"state": Bomb(trap)}, checkpoint / name)
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    path = files_of(checkpoint)[name]
    manifest["files"][name] = {"bytes": path.stat().st_size, "xxh3_128": digest(path)}
    (checkpoint / MANIFEST).write_text(json.dumps(manifest))
    assert damage(checkpoint) is None
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # as a careless user has it
    with pytest.raises(InputError, match=r"checkpoint-4: a file holds more than tensors.* a pickle can run"):
        make_trainer("new").train(resume_from_checkpoint=str(checkpoint))
    assert not trap.exists()
    with pytest.raises(FileExistsError):  # the bomb is live
        (pickle.loads(pickle.dumps(Bomb(trap))), pickle.loads(pickle.dumps(Bomb(trap))))  # noqa: S301


# --- the best ---


@pytest.mark.parametrize(
    ("metric", "greater"), few([("recall_at_5", True), ("eval_recall_at_1", True), ("loss", False)])
)
def test_the_best_by_a_metric_is_loaded_and_kept_with_the_last(metric, greater, make_trainer, tmp_path):
    trainer = make_trainer(metric_for_best_model=metric, save_total_limit=2, num_train_epochs=3, save_steps=4)
    trainer.train()
    assert trainer.args.greater_is_better is greater
    name = f"eval_{metric.removeprefix('eval_')}"
    values = {entry["step"]: entry[name] for entry in trainer.state.log_history if name in entry}
    best = (max if greater else min)(values, key=values.get)  # the first of equals
    assert len(values) == 9 and trainer.state.best_global_step == best
    assert [path.name for path in checkpoints(tmp_path / "run")] == [f"checkpoint-{s}" for s in sorted({best, 9})]
    assert trainer.evaluate()[name] == pytest.approx(values[best], rel=1e-5)


def test_a_metric_that_does_not_exist_is_one_message(make_trainer):
    with pytest.raises(InputError, match=r"--metric_for_best_model recall_at_7: .*eval_recall_at_5"):
        make_trainer(metric_for_best_model="recall_at_7").train()


@pytest.mark.parametrize("when", ["resumed", "best"])
def test_a_weight_that_is_not_loaded_is_an_error(when, make_trainer):
    trainer = make_trainer(num_train_epochs=1)
    trainer.train()
    other = make_trainer("other", num_train_epochs=1)
    other.model.vision_model.register_parameter("new", torch.nn.Parameter(torch.zeros(2)))
    with pytest.raises(InputError, match=r"missing vision_model\.new"):
        if when == "resumed":
            other.train(resume_from_checkpoint=f"{trainer.args.output_dir}/checkpoint-2")
        else:
            other.state.best_model_checkpoint = f"{trainer.args.output_dir}/checkpoint-2"
            other._load_best_model()


# --- what a checkpoint carries ---


@pytest.mark.slow
def test_every_checkpoint_opens_in_a_fresh_process_with_the_same_embeddings(make_trainer, tmp_path, request):
    from PIL import Image

    trainer = make_trainer(num_train_epochs=1, load_best_model_at_end=False)
    trainer.train()
    inputs = {"images": Image.linear_gradient("L").convert("RGB"), "text": ["1.5 cm", "肝"]}
    settings = {"padding": "max_length", "max_length": 64, "return_tensors": "pt"}
    with torch.no_grad():
        expected = trainer.model.eval()(**trainer.processing_class(**inputs, **settings), return_logits=False)
    torch.save((expected.image_embeds, expected.text_embeds), tmp_path / "expected")
    code = f"""
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor
inputs = {{"images": Image.linear_gradient("L").convert("RGB"), "text": ["1.5 cm", "肝"]}}
for step in (1, 2, 3):
    folder = f"{tmp_path}/run/checkpoint-{{step}}"
    model, processor = (kind.from_pretrained(folder, trust_remote_code=True) for kind in (AutoModel, AutoProcessor))
    with torch.no_grad():
        found = model(**processor(**inputs, **{settings!r}), return_logits=False)
    image_embeds, text_embeds = torch.load("{tmp_path}/expected")
    for one, other in ((found.image_embeds, image_embeds), (found.text_embeds, text_embeds)):
        print((one - other).abs().max().item())
"""
    command = request.getfixturevalue("tests_run")
    answer = command("python", "-c", code, cwd=tmp_path, env={"PYTHONPATH": None}, fresh_home=True).stdout.split()
    apart = [float(number) for number in answer]
    assert max(apart[4:]) < 1e-5 < 1e-4 < min(apart[:4])  # of float32; the last one is the model in memory
    for checkpoint in checkpoints(tmp_path / "run"):
        names = set(files_of(checkpoint))
        assert {"training_args.json", "processor_config.json", "tokenizer_config.json", "run_record.json"} <= names
        assert "training_args.bin" not in names


@pytest.fixture
def tests_run(request):
    """The fixture `run` of tests/conftest.py, whose name is taken here."""
    from tests import conftest

    return conftest.run.__wrapped__(request.getfixturevalue("tmp_path_factory"))


# --- reports ---


def test_tensorboard_gets_the_figures_and_no_token(make_trainer, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = make_trainer(num_train_epochs=1, logging_steps=1, report_to="tensorboard", hub_token=SECRET)
    trainer.train()
    folders = {path.parent for path in (tmp_path / "run" / "runs").rglob("events.out.tfevents*")}
    assert len(folders) == 1
    events = EventAccumulator(str(folders.pop()))
    events.Reload()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses)
    assert {"eval/recall_at_5", "train/temperature", "train/grad_norm"} <= set(events.Tags()["scalars"])
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def test_a_report_to_what_is_not_installed_is_one_message(tmp_path, monkeypatch):
    import importlib.util

    from trainers.encoder.arguments import EncoderTrainingArguments

    missing = [name for name in ("wandb", "trackio", "tensorboard") if importlib.util.find_spec(name) is None]
    if not missing:
        pytest.skip("all of them are installed")
    with pytest.raises(ValueError, match=f"--report_to {missing[0]}: .* is not installed; pip install {missing[0]}"):
        EncoderTrainingArguments(output_dir=str(tmp_path), report_to=missing)
    assert EncoderTrainingArguments(output_dir=str(tmp_path), use_cpu=True).report_to == []


# --- numbers that are none ---


@pytest.mark.parametrize("sampler", ["random", "stratified"])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_rows(sampler, make_trainer, pairs, tmp_path):
    trainer = make_trainer(learning_rate=1e30, warmup_steps=0, max_grad_norm=0, eval_steps=100, save_steps=100)
    if sampler == "stratified":
        from trainers.encoder.data.stratified_sampler import StratifiedSampler

        order = StratifiedSampler(*[list(range(24))] * 3, seed=1)
        trainer.order = order
    seen, collate = [], trainer.data_collator
    trainer.data_collator = lambda rows: seen.append([row["image_path"] for row in rows]) or collate(rows)
    with pytest.raises(InputError, match=r"^update \d: the (loss|gradient's norm) is (nan|inf)") as caught:
        trainer.train()
    update = int(str(caught.value).split()[1].rstrip(":"))  # the second or a later one, as the processor rounds
    assert update > 1
    for path in [*seen[2 * update - 2], *seen[2 * update - 1]]:
        assert f"({path})" in str(caught.value)
    assert len(re.findall(r"\.(?:png|jpg)\)", str(caught.value))) == 8
    assert [path.name for path in (tmp_path / "run").iterdir()] == [MARKER]


def test_the_rows_are_the_right_ones_in_a_later_epoch_of_a_resumed_run(run, make_trainer):
    trainer = make_trainer("copy", num_train_epochs=4, allow_changed_flags=True, overwrite=True)
    seen, collate = [], trainer.data_collator
    trainer.data_collator = lambda rows: seen.append([row["image_path"] for row in rows]) or collate(rows)
    from transformers import TrainerCallback

    class Spoil(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if state.global_step == 7:
                torch.nn.init.constant_(model.logit_bias, float("nan"))

    trainer.add_callback(Spoil())
    with pytest.raises(InputError, match=r"^update 8: the loss is nan") as caught:
        trainer.train(resume_from_checkpoint=str(run[1] / "checkpoint-4"))
    batches = [paths for paths in seen if len(paths) == 4]  # the evaluation's have other sizes
    for path in [*batches[6], *batches[7]]:  # after 5 and 6, the rest of an epoch, and 7
        assert f"({path})" in str(caught.value)
    assert len(re.findall(r"\.(?:png|jpg)\)", str(caught.value))) == 8
    assert damage(checkpoints(run[1])[-1]) is None
