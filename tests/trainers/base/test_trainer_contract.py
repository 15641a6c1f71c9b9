"""What the trainers override and use of `transformers.Trainer` is listed here, and is in the installed version.

A new transformers that renames a method, gives it another parameter, or no longer sets an attribute fails here by name,
instead of silently training without our override of it.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import textwrap
from pathlib import Path

import pytest
import transformers
from transformers import HfArgumentParser, Trainer, TrainingArguments

from trainers.base.parser import FlagParser, HelpFormatter
from trainers.base.trainer import BaseTrainer
from trainers.decoder.trainer import DecoderTrainer
from trainers.encoder.trainer import EncoderTrainer

ROOT = Path(__file__).resolve().parents[3]
TRAINERS = (BaseTrainer, EncoderTrainer, DecoderTrainer)

# Methods of Trainer that a trainer of ours replaces, with all of their parameters.
OVERRIDDEN = {
    "_determine_best_metric": "metrics trial",
    "_finalize_training": "trial num_train_samples start_time",
    "_get_grad_norm": "model grad_norm",
    "_get_num_items_in_batch": "batch_samples device",
    "_get_train_sampler": "train_dataset",
    "_init_training_state": "max_steps num_update_steps_per_epoch num_train_epochs resume_from_checkpoint trial",
    "_issue_warnings_after_load": "load_result",
    "_load_best_model": "",
    "_load_from_checkpoint": "resume_from_checkpoint model",
    "_load_optimizer_and_scheduler": "checkpoint",
    "_load_rng_state": "checkpoint",
    "_load_scaler": "checkpoint",
    "_prepare_inputs": "inputs",
    "_run_epoch": "model epoch train_dataloader steps_in_epoch num_update_steps_per_epoch trial ignore_keys_for_eval "
    "start_time resume_from_checkpoint epochs_trained steps_trained_in_current_epoch",
    "_save": "output_dir state_dict",
    "_save_checkpoint": "model trial",
    "create_optimizer": "model",
    "evaluation_loop": "dataloader description prediction_loss_only ignore_keys metric_key_prefix",
    "get_batch_samples": "epoch_iterator num_batches device",
    "get_train_dataloader": "",
    "init_hf_repo": "token private",
    "log": "logs start_time",
    "prediction_step": "model inputs prediction_loss_only ignore_keys",
    "train": "resume_from_checkpoint trial ignore_keys_for_eval",
    "training_step": "model inputs num_items_in_batch",
}
# Methods that are called without being replaced: the private ones, and public ones that are not documented.
CALLED = {
    "_save_optimizer_and_scheduler": "output_dir",
    "_save_rng_state": "output_dir",
    "_save_scaler": "output_dir",
    "get_optimizer_cls_and_kwargs": "args model",
    "save_model": "output_dir _internal_call",
    "store_flos": "",
}
# Attributes that Trainer sets, and that are read or set here.
ATTRIBUTES = {"_globalstep_last_logged", "_initial_global_step", "_total_loss_scalar", "_tr_loss"}
# Of the parser behind `--help`, and of argparse.
PARSER = {
    FlagParser: {"_add_dataclass_arguments": "dtype", "_parse_dataclass_field": "parser field"},
    HelpFormatter: {"_format_action_invocation": "action", "_get_help_string": "action"},
}
PARSER_ATTRIBUTES = {"_actions", "_option_string_actions"}


def own_names(kinds) -> set[str]:
    return {name for kind in kinds for name in vars(kind)}


def overridden(kinds, base) -> set[str]:
    """The names of a base class, but those that Python gives every class, which classes of ours define."""
    return {name for name in own_names(kinds) if hasattr(base, name) and not name.startswith("__")}


def private_names(paths, owners: set[str]) -> set[str]:
    """The names with one underscore that are read, set or called on `owners`, for example `self._save` in a file."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                owner = ast.unparse(node.value)
                if owner in owners:
                    found.add(node.attr)
    return found


def parameters(function) -> str:
    return " ".join(name for name in inspect.signature(function).parameters if name != "self")


def broken(listed: dict[str, str], base) -> list[str]:
    """What of a list a class does not have, or has with other parameters."""
    wrong = [name for name in listed if not callable(getattr(base, name, None))]
    return wrong + [
        f"{name}({parameters(getattr(base, name))})"
        for name, wanted in listed.items()
        if name not in wrong and parameters(getattr(base, name)) != wanted
    ]


def test_all_that_is_overridden_is_listed():
    assert overridden(TRAINERS, Trainer) == set(OVERRIDDEN)


def test_all_private_names_that_are_used_are_listed():
    paths = sorted((ROOT / "trainers").rglob("*.py"))
    trainers = [path for path in paths if path.name == "trainer.py"]
    used = private_names(trainers, {"self", "super()"}) | private_names(paths, {"trainer", "self.trainer"})
    ours = own_names(TRAINERS) - set(OVERRIDDEN)
    private = {name for name in {*OVERRIDDEN, *CALLED} if name.startswith("_")}
    assert used - ours - private == ATTRIBUTES
    assert {name for name in CALLED if name.startswith("_")} <= used


def test_the_installed_trainer_has_them_with_these_parameters():
    version = f"transformers {transformers.__version__}"
    assert broken(OVERRIDDEN | CALLED, Trainer) == [], version
    tree = ast.parse(textwrap.dedent(inspect.getsource(Trainer)))
    stored = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    assert ATTRIBUTES - stored == set(), version
    assert isinstance(inspect.getattr_static(TrainingArguments, "n_gpu"), property)  # reads _n_gpu, see distributed.py
    assert "self._n_gpu" in inspect.getsource(TrainingArguments)


@pytest.mark.parametrize(("kind", "base"), [(FlagParser, HfArgumentParser), (HelpFormatter, argparse.HelpFormatter)])
def test_the_parser_s_private_names_are_there(kind, base):
    assert broken(PARSER[kind], base) == []
    used = private_names([ROOT / "trainers/base/parser.py"], {"self", "super()", "parser"})
    assert used == PARSER_ATTRIBUTES | {name for listed in PARSER.values() for name in listed}
    assert set(vars(argparse.ArgumentParser())) >= PARSER_ATTRIBUTES


def test_a_renamed_method_and_a_new_parameter_are_named():
    class Renamed:
        def _load_scaler(self, checkpoint, strict=True): ...

    assert broken({"_load_scaler": "checkpoint", "_save": "output_dir"}, Renamed) == [
        "_save",
        "_load_scaler(checkpoint strict)",
    ]
