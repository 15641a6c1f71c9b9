"""Writes docs/flags.md, the page with every flag of every command, and the trainings' flags that a shell completes.

python -m tests.flags_page
"""

from __future__ import annotations

import argparse
import sys

from tests.commands import NAMES, parser_of
from tests.pages import DOCS, ROOT

PAGE = DOCS / "flags.md"
HEAD = """# Flags

Every flag of every command, written from the commands' own parsers by `python -m tests.flags_page`. `--help` of a
command says the same. For the trainings, a recipe may give any of these flags: see [the encoder](encoder.md).
"""
HIDDEN = ("help",)
NAMES_FILE = ROOT / "trainers" / "flag_names.txt"  # read by medpairs.py, which cannot wait for `transformers`


def page() -> str:
    """The page as it should be."""
    return "\n".join([HEAD, *(command_section(name) for name in NAMES)])


def command_section(name: str) -> str:
    """The flags of a command, in the groups of its help."""
    parser = parser_of(name)
    parts = [f"## medpairs {name}\n"]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest not in HIDDEN]
        unlisted = [action for action in actions if action.help == argparse.SUPPRESS]  # `--no_x`, named beside `--x`
        actions = [action for action in actions if action not in unlisted]
        if not actions:
            continue
        if group.title not in ("options", "positional arguments"):
            parts.append(f"### {name}: {group.title}\n")
            if group.description:
                parts.append(f"{' '.join(group.description.split())}\n")
        parts.append("| flag | value | meaning |\n|---|---|---|")
        parts += [line_of(action, unlisted, parser) for action in actions]
        parts.append("")
    if len(parts) == 1:
        parts.append("This command has no flags.\n")
    return "\n".join(parts)


def line_of(action: argparse.Action, unlisted: list[argparse.Action], parser: argparse.ArgumentParser) -> str:
    """A line of the table: the flag and what turns it off, what it takes, its help with its default."""
    spelled = [name for one in (action, *unlisted) if one.dest == action.dest for name in one.option_strings]
    names = ", ".join(f"`{name}`" for name in spelled) or f"`{action.dest}`"
    said = parser._get_formatter()._expand_help(action) if action.help else ""
    if action.default not in (None, "", False, argparse.SUPPRESS) and action.nargs != 0:
        default = " ".join(map(str, action.default)) if isinstance(action.default, list) else str(action.default)
        if "(default" not in said and f"({default})" not in said:
            said = f"{said} (default: {default})"
    return f"| {names} | {cell(value_of(action))} | {cell(said)} |"


def value_of(action: argparse.Action) -> str:
    """What follows the flag: the choices, or the name of the value; nothing for a switch."""
    if action.nargs == 0:
        return ""
    if action.choices:
        return ", ".join(f"`{choice}`" for choice in action.choices)
    if action.metavar:
        return f"`{action.metavar}`"
    kind = getattr(action.type, "__name__", "")
    shown = {"int": "integer", "float": "number", "string_to_bool": "true or false"}.get(kind, "")
    return f"{shown}, several" if action.nargs in ("+", "*") and shown else shown


def cell(text: str) -> str:
    """Text that is safe in a table's cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def flag_names() -> str:
    """A line for each training: the command, then one spelling of each flag that `--help` lists."""
    lines = []
    for name in ("train-encoder", "train-decoder"):
        listed = [one for one in parser_of(name)._actions if one.dest not in HIDDEN and one.help != argparse.SUPPRESS]
        lines.append(" ".join([name, *(action.option_strings[0] for action in listed)]))
    return "\n".join(lines) + "\n"


def main() -> int:
    NAMES_FILE.write_text(flag_names(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
