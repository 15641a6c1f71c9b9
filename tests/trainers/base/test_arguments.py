"""The flags: the specification's defaults, and mistakes answered with one line and exit status 2."""

from __future__ import annotations

import json
import re

import pytest


def defaults(kind, **given):
    return kind(output_dir="unused", **given)


def test_the_encoder_s_defaults_are_the_specification_s():
    from trainers.encoder.arguments import EncoderTrainingArguments

    args = defaults(EncoderTrainingArguments)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (8, 8)
    assert (args.learning_rate, args.weight_decay) == (1e-4, 1e-4)
    assert (args.adam_beta1, args.adam_beta2, args.max_grad_norm) == (0.9, 0.95, 1.0)
    assert (args.lr_scheduler_type, args.num_train_epochs) == ("cosine", 2)
    assert args.get_warmup_steps(600) == 60
    assert (args.eval_steps, args.save_steps) == (500, 1000)
    assert args.load_best_model_at_end and args.metric_for_best_model == "loss"


def test_what_starts_from_the_checkpoint_is_the_checkpoint_s():
    from trainers.encoder.arguments import EncoderArguments

    arguments = EncoderArguments()
    assert (arguments.model_name_or_path, arguments.tiny) == ("google/siglip-base-patch16-224", False)
    assert (arguments.contrastive_loss, arguments.positives) == ("sigmoid", "group")
    given = ("image_size", "image_mean", "image_std", "truncate_dim", "matryoshka_dims", "matryoshka_weights")
    assert all(getattr(arguments, name) is None for name in given)
    assert (arguments.normalize_text, arguments.contrastive_weights) == (True, "none")
    assert not (arguments.reset_temperature or arguments.text_attention_mask or arguments.sentence_sampling)


@pytest.mark.parametrize(("flag", "told"), [(None, "no"), (True, "bf16"), (False, "no")])
def test_bfloat16_reaches_accelerate(flag, told):
    """TrainingArguments tells it of what is decided before its own __post_init__, and of nothing else."""
    from trainers.encoder.arguments import EncoderTrainingArguments

    args = defaults(EncoderTrainingArguments, use_cpu=True, bf16=flag)
    assert args.bf16 is bool(flag) and args.mixed_precision == told


def test_the_decoder_s_defaults_are_the_specification_s():
    from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments

    args = defaults(DecoderTrainingArguments)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (1, 4)
    assert (args.learning_rate, args.weight_decay, args.num_train_epochs) == (2e-4, 0.01, 1)
    assert DecoderArguments().max_seq_length == 512
    assert DecoderArguments().train_scope == "lora"


def test_nothing_is_public_by_default():
    from trainers.encoder.arguments import EncoderTrainingArguments

    assert defaults(EncoderTrainingArguments).public is False
    assert defaults(EncoderTrainingArguments).push_to_hub is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--learning_rat", "1"], "did you mean --learning_rate?"),
        (["--learning_rate", "fast"], "--learning_rate"),
        (["--hub_strategy", "every_save"], "--hub_strategy"),
        (["--contrastive_loss", "softmax"], "--contrastive_loss"),
        (["--image_mean", "0.5", "0.4"], "--image_mean 0.5 0.4: give one number or three"),
        (["--image_std", "0"], "--image_std 0: give one number or three between 0 and 1"),
        (["--image_std", "clip"], "or the word imagenet"),
        (["--sentence_sampling", "-1"], "--sentence_sampling -1"),
        (["--config", "nowhere"], "--config nowhere: neither a file nor a recipe"),
        (["--output_dir", "other"], "--output_dir/--output-dir: given twice, as 'other' and 'unused'; give it once"),
        (["--seed", "1", "--seed=2"], "argument --seed: given twice, as '1' and '2'; give it once"),
        (["--tiny", "--tiny", "--dataset", "a", "--dataset", "b"], "argument --dataset: given twice, as 'a' and 'b'"),
        (["--bf16", "False", "--bf16"], "argument --bf16: given twice, as 'False' and 'True'; give it once"),
        (
            ["--matryoshka_dims", "4", "2", "--matryoshka-dims", "1"],
            "given twice, as '4 2' and '1'; give all values after one flag",
        ),
        (["--config", "demo", "--config", "gpu_16gb"], "--config demo and gpu_16gb: one recipe at a time"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words, said, capsys):
    from trainers.run_encoder import main

    with pytest.raises(SystemExit) as stopped:
        main([*words, "--output_dir", "unused"])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run_encoder", "run_decoder"])
def test_help_imports_no_more_than_the_flags_need(run, command):
    """`--help` costs what importing TrainingArguments costs: nothing else is loaded for it."""
    code = f"""
import contextlib, io, json, sys
from transformers import HfArgumentParser, TrainingArguments
TrainingArguments(output_dir="unused")
needed = set(sys.modules)
from trainers.{command} import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as said:
    main(["--help"])
print(json.dumps({{"more": sorted(set(sys.modules) - needed), "said": len(said.getvalue())}}))
"""
    answer = json.loads(run("python", "-c", code).stdout.splitlines()[-1])
    family = f"trainers.{command.removeprefix('run_')}"
    own = {"trainers", "trainers.base", "trainers.base.arguments", "trainers.base.parser", f"trainers.{command}"}
    own |= {family, f"{family}.arguments"}
    allowed = {"difflib", "model_cards", "model_cards.commands", "model_cards.commands.console"} | own
    assert [name for name in answer["more"] if name not in allowed] == []
    assert answer["said"] > 10_000


def families():
    from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments
    from trainers.encoder.arguments import EncoderArguments, EncoderTrainingArguments

    return {
        "encoder": (EncoderArguments, EncoderTrainingArguments),
        "decoder": (DecoderArguments, DecoderTrainingArguments),
    }


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_every_flag_is_in_one_group_with_its_default(family, capsys):
    """Ours come first, in the order of use; what is left of Trainer's has the last heading."""
    from trainers.base.arguments import GROUPS, REFUSED
    from trainers.base.parser import BORROWED, TRAINER, FlagParser

    kinds = families()[family]
    parser = FlagParser(kinds, "medpairs-train", "")
    in_groups = [action for section in parser.sections.values() for action in section._group_actions]
    assert len(set(map(id, in_groups))) == len(in_groups) == len(parser._actions)
    ours = {
        name
        for kind in kinds
        for one in kind.__mro__
        if one.__module__.startswith("trainers.")
        for name in vars(one).get("__annotations__", {})
    }
    names = {title: {action.dest for action in section._group_actions} for title, section in parser.sections.items()}
    assert names[TRAINER].isdisjoint(ours | set(BORROWED)) and list(names) == [*GROUPS, TRAINER]
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    said = capsys.readouterr().out
    headings = [title for title in names if f"\n{title}:\n" in said]
    assert [said.index(f"\n{title}:\n") for title in headings] == sorted(
        said.index(f"\n{title}:\n") for title in headings
    )
    assert headings[0] == "Data" and headings[-1] == TRAINER
    listed = re.findall(r"^  (?:-h|--(\w+))", said, re.MULTILINE)
    assert len(listed) == len(set(listed)) and set(listed) - {"", "config"} == {a.dest for a in in_groups} - {
        "help",
        "config",
        *REFUSED,
    }
    entries = re.split(r"^  (?=-)", said.split("\nData:\n")[1], flags=re.MULTILINE)[1:]
    assert [entry.split()[0] for entry in entries if "(default:" not in " ".join(entry.split())] == ["-h"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--hub_private_repo", "False"], "--hub_private_repo is not supported: .* private unless you add --public"),
        (["--public", "--hub_private_repo", "True"], "--hub_private_repo is not supported"),
        (["--hub_revision", "draft"], "--hub_revision is not supported: a push is one commit on the main branch"),
        (["--hub_always_push", "True"], "--hub_always_push is not supported: a model is pushed once"),
    ],
)
@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_trainer_s_flags_that_a_push_does_not_follow_are_refused(family, flags, named, tmp_path, capsys):
    """On the command line and in a recipe."""
    from trainers.base.parser import parse

    words = [flag for flag in flags if flag != "--public"]
    recipe = tmp_path / "mine.yaml"
    public = "public: true\n" if "--public" in flags else ""
    recipe.write_text(f"use_cpu: true\n{public}{words[0].removeprefix('--')}: {words[1].lower()}\n")
    for argv in (["--use_cpu", *flags], ["--config", str(recipe)]):
        with pytest.raises(SystemExit) as ended:
            parse(families()[family], f"medpairs train-{family}", "", argv)
        assert ended.value.code == 2 and re.search(named, capsys.readouterr().err)


@pytest.mark.parametrize(("flags", "private"), [([], True), (["--public"], False)])
def test_a_trackio_space_is_private_unless_public(flags, private):
    """Trainer's callback creates the Space with `private=args.hub_private_repo`; None would make it public."""
    import inspect

    from transformers.integrations import TrackioCallback

    from trainers.base.parser import parse

    assert "private=args.hub_private_repo" in inspect.getsource(TrackioCallback.setup)
    argv = ["--use_cpu", "--trackio_space_id", "org/runs", *flags]
    _, training = parse(families()["encoder"], "medpairs train-encoder", "", argv)
    assert training.hub_private_repo is private


@pytest.mark.parametrize(("shipped", "shown"), [(None, "2e-4"), ("demo", "3e-3")])
def test_help_shows_the_defaults_of_a_recipe(shipped, shown, capsys):
    from trainers.base.parser import parse

    with pytest.raises(SystemExit):
        parse(families()["decoder"], "medpairs-train-decoder", "", [*([shipped] if shipped else []), "--help"])
    assert f"peak learning rate of AdamW (default: {float(shown)})" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("updates", "lines"), [(18, 18), (50, 50), (149, 49), (1000, 50), (10_001, 49)])
def test_a_run_logs_about_fifty_lines(updates, lines):
    from transformers.trainer_callback import TrainerState

    state = TrainerState()
    state.compute_steps(defaults(families()["encoder"][1], use_cpu=True), updates)
    assert updates // state.logging_steps == lines


@pytest.mark.parametrize("command", ["run_encoder", "run_decoder"])
def test_an_output_folder_that_is_not_empty_is_left_alone(command, tmp_path, run):
    (tmp_path / "weights").write_text("mine")
    process = run("python", f"trainers/{command}.py", "--tiny", "--output_dir", tmp_path, check=False)
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith(f"error: --output_dir {tmp_path} exists and is not empty")
    assert (tmp_path / "weights").read_text() == "mine"


def test_without_evaluation_there_is_no_best_model():
    from trainers.encoder.arguments import EncoderTrainingArguments

    args = defaults(EncoderTrainingArguments, eval_strategy="no")
    assert args.load_best_model_at_end is False


def test_liger_is_left_out_without_a_gpu_and_never_replaces_the_forward(monkeypatch):
    import transformers.utils

    from trainers.decoder.arguments import LIGER_HEADS, DecoderTrainingArguments

    assert defaults(DecoderTrainingArguments, use_cpu=True).use_liger_kernel is False
    monkeypatch.setattr(transformers.utils, "is_liger_kernel_available", lambda: True)
    assert defaults(DecoderTrainingArguments, use_cpu=True).use_liger_kernel is False
    asked = defaults(DecoderTrainingArguments, use_cpu=True, use_liger_kernel=True, liger_kernel_config={"rope": False})
    assert asked.liger_kernel_config == dict.fromkeys(LIGER_HEADS, False) | {"rope": False}
    with pytest.raises(ValueError, match="--liger_kernel_config cross_entropy"):
        defaults(
            DecoderTrainingArguments, use_cpu=True, use_liger_kernel=True, liger_kernel_config={"cross_entropy": True}
        )
    monkeypatch.setattr(transformers.utils, "is_liger_kernel_available", lambda: False)
    with pytest.raises(ValueError, match="pip install liger-kernel"):
        defaults(DecoderTrainingArguments, use_cpu=True, use_liger_kernel=True)


def test_liger_s_own_patches_leave_the_prepared_forward(tmp_path):
    """Where liger-kernel is installed, which needs Triton."""
    pytest.importorskip("liger_kernel", reason="liger-kernel is not installed")
    pytest.importorskip("triton", reason="Triton is not installed")
    code = """
import sys
from transformers import AutoModelForImageTextToText
from transformers.integrations.liger import apply_liger_kernel
from modeling.mllama.patch import prepare_mllama, decoder_forward
from modeling.tiny_checkpoints import write_tiny_decoder
from trainers.decoder.arguments import DecoderTrainingArguments
from trainers.decoder.data.collator import CHAT_TEMPLATE
write_tiny_decoder(sys.argv[1], ["a question and an answer"], CHAT_TEMPLATE, 0)
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1])
prepare_mllama(model)
args = DecoderTrainingArguments(output_dir="unused", use_cpu=True, use_liger_kernel=True)
apply_liger_kernel(model, args.liger_kernel_config)
assert model.forward.__func__ is decoder_forward, model.forward
assert "Liger" in repr(model.model.language_model.norm.forward), model.model.language_model.norm
"""
    import subprocess
    import sys

    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], check=True)
