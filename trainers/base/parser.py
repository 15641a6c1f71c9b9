"""Parses a recipe's flags and those of the command line, which win, into dataclasses, and formats `--help`.

`--help` lists this project's flags first, in groups in the order of use, and Trainer's own after them.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import sys
from dataclasses import Field, fields
from importlib.metadata import version
from typing import Any, NoReturn

from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from model_cards.commands.console import Parser
from trainers.base.arguments import EVALUATION, GROUPS, HUB, OUTPUT, REFUSED, RUN, TRAINING, fail

UNKNOWN = "unrecognized arguments: "  # argparse's words
TRAINER = f"Trainer's own flags (transformers {version('transformers')})"
# Flags of Trainer that are used so often that they belong with ours; their texts there take several lines.
BORROWED = {
    "per_device_train_batch_size": (TRAINING, "number of rows per micro-batch and device"),
    "max_steps": (TRAINING, "number of updates; above 0 it replaces --num_train_epochs"),
    "optim": (TRAINING, "optimizer"),
    "activation_checkpointing": (
        TRAINING,
        "recomputation of activations: less memory, more time (default: False)",
    ),
    "seed": (TRAINING, "seed of the random numbers: initial weights, order of the rows, dropout"),
    "use_cpu": (TRAINING, "training on the CPU even if there is a GPU"),
    "dataloader_num_workers": (TRAINING, "number of processes that prepare batches; 0 prepares them in the training's"),
    "per_device_eval_batch_size": (EVALUATION, "number of rows per batch of the evaluation and device"),
    "save_strategy": (OUTPUT, "times of checkpoints: `steps`, every save_steps updates and after each epoch, or `no`"),
    "report_to": (OUTPUT, "tracker of the metrics: none, tensorboard, trackio or wandb"),
    "trackio_space_id": (
        HUB,
        "trackio Space that receives the metrics, and sample answers with their images, as ORG/NAME; private unless "
        "--public (default: none)",
    ),
    "trackio_static_space_id": (
        HUB,
        "read-only trackio Space that is written after the training or at a push, as ORG/NAME; private unless "
        "--public (default: none)",
    ),
    "push_to_hub": (HUB, "push of the final model folder"),
    "hub_model_id": (HUB, "repository to push to, as ORG/NAME (default: the name of the output folder)"),
    "hub_token": (HUB, "token of the Hub (default: that of `hf auth login`)"),
}
METAVARS = {int: "N", float: "X", str: "TEXT", dict: "JSON", string_to_bool: "BOOL"}
SHOWN_CHOICES = 6  # of a flag with more, `--optim`, an error names them


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Prints one spelling of each flag, and its default unless the text names it."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        spelled = copy.copy(action)
        spelled.option_strings = action.option_strings[:1]
        return super()._format_action_invocation(spelled)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if "(default:" in (action.help or "") else super()._get_help_string(action)


class FlagParser(HfArgumentParser, Parser):
    """HfArgumentParser with groups, and with one line for a mistake instead of the names of its two hundred flags."""

    def __init__(self, kinds: tuple[type, ...], prog: str | None = None, description: str = "") -> None:
        usage = "%(prog)s [RECIPE] [--FLAG VALUE ...]"
        options = {"usage": usage, "formatter_class": HelpFormatter, "allow_abbrev": False, "add_help": False}
        super().__init__(prog=prog, description=description, **options)
        self.sections = {title: self.add_argument_group(title) for title in (*GROUPS, TRAINER)}
        run = self.sections[RUN]
        run.add_argument("-h", "--help", action="help", help="show this help and exit")
        run.add_argument(
            "--config",
            metavar="RECIPE",
            help="YAML file of flags, or name of a recipe of trainers/recipes; command-line flags override it "
            "(default: none)",
        )
        for kind in kinds:
            self._add_dataclass_arguments(kind)

    def _parse_dataclass_field(self, parser: argparse.ArgumentParser, field: Field) -> None:
        """As HfArgumentParser's, in the flag's group; `--no_x` is named in the text of `--x` and not listed."""
        group, text = BORROWED.get(field.name, (TRAINER, field.metadata.get("help") or "no description"))
        group, text = field.metadata.get("group", group), field.metadata["help"] if "group" in field.metadata else text
        own = copy.copy(field)  # the field itself belongs to the dataclass, which other parsers read
        own.metadata = {name: value for name, value in field.metadata.items() if name != "group"} | {"help": text}
        before = len(self._actions)
        super()._parse_dataclass_field(self.sections[group], own)
        action, *opposites = self._actions[before:]
        if action.metavar is None and len(action.choices or ()) in (0, *range(SHOWN_CHOICES + 1, 99)):
            action.metavar = METAVARS.get(action.type, "NAME" if action.choices else "VALUE")
        if field.name in REFUSED:
            action.help = argparse.SUPPRESS
        for opposite in opposites:
            opposite.help = argparse.SUPPRESS
            action.help = f"{text} (default: %(default)s; off: {opposite.option_strings[0]})"

    def error(self, message: str) -> NoReturn:
        close = []
        if message.startswith(UNKNOWN):
            unknown = message.removeprefix(UNKNOWN).split()[0].split("=")[0]
            close = difflib.get_close_matches(unknown, self._option_string_actions, n=1)
        fail(f"{message} ({f'did you mean {close[0]}? ' if close else ''}--help lists the flags)")


def parse(kinds: tuple[type, ...], prog: str, description: str, argv: list[str] | None) -> tuple[Any, ...]:
    """Returns the flags as dataclasses, each with the names of those that were given in its attribute `flags_given`.

    `--config NAME`, or NAME as the first word, is a recipe: a YAML file, or the name of a shipped one. An unknown flag
    or key or a wrong value ends the process with status 2 and one message.
    """
    words, recipe = split_config(sys.argv[1:] if argv is None else list(argv))
    parser = FlagParser(kinds, prog, description)
    usual = {action.dest: parser.get_default(action.dest) for action in parser._actions}
    family = prog.rsplit("-", 1)[-1]  # encoder or decoder
    if recipe is not None:
        from trainers.base.recipe_file import RecipeError, find_recipe, read_recipe

        try:
            parser.set_defaults(**read_recipe(find_recipe(recipe, family), kinds))
        except RecipeError as error:
            fail(str(error))
    namespace = vars(parser.parse_args(words))
    try:
        parsed = tuple(kind(**{name: namespace[name] for name in own_fields(kind)}) for kind in kinds)
    except (ValueError, ImportError) as error:
        parser.error(str(error))
    for one in parsed:  # what is not as it comes, for the recipe that a run leaves
        one.flags_given = [name for name in own_fields(type(one)) if namespace[name] != usual.get(name)]
    return parsed


def split_config(words: list[str]) -> tuple[list[str], str | None]:
    """Returns the words without the recipe, and the recipe: of `--config NAME`, or a first word that is not a flag."""
    if words and not words[0].startswith("-"):
        words = ["--config", *words]
    finder = Parser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config", action="append")
    try:
        found, rest = finder.parse_known_args(words)
    except argparse.ArgumentError:
        fail("--config: give a YAML file, or the name of a shipped recipe")
    if found.config is None:
        return words, None
    if len(found.config) > 1:
        fail(f"--config {' and '.join(found.config)}: one recipe at a time; flags of the command line change it")
    return rest, found.config[0]


def own_fields(kind: type) -> list[str]:
    """Returns the names of a dataclass's fields that can be given to it."""
    return [item.name for item in fields(kind) if item.init]
