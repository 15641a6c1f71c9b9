"""From words to dataclasses: a recipe's flags, then those of the command line, which win."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import Any, NoReturn

from transformers import HfArgumentParser

from model_cards.commands.console import Parser
from trainers.base.arguments import fail

UNKNOWN = "unrecognized arguments: "  # argparse's words


class FlagParser(HfArgumentParser, Parser):
    """HfArgumentParser that answers a mistake with one line, not with the names of its two hundred flags."""

    def error(self, message: str) -> NoReturn:
        close = []
        if message.startswith(UNKNOWN):
            unknown = message.removeprefix(UNKNOWN).split()[0].split("=")[0]
            close = difflib.get_close_matches(unknown, self._option_string_actions, n=1)
        fail(f"{message} ({f'did you mean {close[0]}? ' if close else ''}--help lists the flags)")


def parse(kinds: tuple[type, ...], prog: str, description: str, argv: list[str] | None) -> tuple[Any, ...]:
    """The flags as dataclasses, each with the names of those that were given in its attribute `flags_given`.

    `--config NAME`, or NAME as the first word, is a recipe: a YAML file, or the name of a shipped one. An unknown flag
    or key or a wrong value ends the process with status 2 and one message.
    """
    words, recipe = split_config(sys.argv[1:] if argv is None else list(argv))
    parser = FlagParser(kinds, prog=prog, description=description, allow_abbrev=False)
    usual = {action.dest: action.default for action in parser._actions}
    parser.add_argument("--config", help="YAML file with flags, or a shipped recipe's name; flags given here win.")
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
    """(the words without the recipe, the recipe): `--config NAME`, `--config=NAME`, or a first word that is no flag."""
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
    """The names of a dataclass that can be given to it."""
    return [name for name, item in kind.__dataclass_fields__.items() if item.init]
