"""Reads recipes, YAML files of flags, strictly, and writes one for a finished run.

What the command line refuses a recipe refuses as well, naming the file, the key and what is expected: an unknown key, a
duplicate key (YAML silently keeps the last one), a value of another type. Where YAML 1.1 reads something else than is
meant, the message says so: an unquoted `no` is false; `1e-4`, which YAML takes for a text, is read as the number.
"""

from __future__ import annotations

import difflib
import math
import types
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
# Flags of one call of a command, which the recipe of a run leaves out.
OF_THE_MOMENT = {"overwrite", "resume_from_checkpoint", "allow_changed_flags", "dry_run"}
HEAD = "# The flags of this run."  # at the beginning of a recipe that a training writes
SECRET = "_token"  # noqa: S105 (how the names of secrets end)


class RecipeError(Exception):
    """A recipe that cannot be used: the message names the file, the key and what to do."""


class StrictLoader(yaml.SafeLoader):
    """SafeLoader for which a duplicate key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is not a string", key.start_mark)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {name}", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def shipped(family: str = "") -> list[str]:
    """Returns the names of the recipes that come with the project, for the encoder or the decoder."""
    return sorted(path.stem for path in RECIPES.glob(f"{family}*.yaml"))


def find_recipe(name: str, family: str) -> Path:
    """Returns the file that a name stands for: a path, or a shipped recipe with or without `encoder_` before it.

    Raises:
        RecipeError: there is no such file.
    """
    path = Path(name)
    if path.is_file():
        return path
    for stem in (name, f"{family}_{name}"):
        if stem in shipped():
            return RECIPES / f"{stem}.yaml"
    known = ", ".join(stem.removeprefix(f"{family}_") for stem in shipped(family)) or "none"
    raise RecipeError(f"--config {name}: neither a file nor a recipe; the recipes for the {family} are: {known}")


def read_recipe(path: Path, kinds: tuple[type, ...]) -> dict[str, Any]:
    """Returns the flags of a recipe, each of the type of its dataclass field.

    Args:
        kinds: the dataclasses whose fields are the flags.

    Raises:
        RecipeError: no YAML, no mapping, an unknown key, a duplicate one, or a value of another type.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)  # noqa: S506 (a SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"--config {path}: cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(f"--config {path}{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"--config {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise RecipeError(
            f"--config {path}: flags and values are expected, one per line, for example `learning_rate: 1e-4`"
        )
    hints, choices = {}, {}
    for kind in kinds:
        known = get_type_hints(kind)
        for item in fields(kind):
            if item.init:
                hints[item.name], choices[item.name] = known[item.name], item.metadata.get("choices")
    values = {}
    for key, value in content.items():
        if key not in hints:
            close = difflib.get_close_matches(key, hints, n=1)
            advice = f"did you mean {close[0]}?" if close else "--help lists the flags"
            raise RecipeError(f"--config {path}: {key} is not a flag of this command; {advice}")
        try:
            values[key] = converted(value, hints[key])
        except ValueError as error:
            raise RecipeError(f"--config {path}: {key}: {error}") from None
        if key == "overwrite" and values[key]:
            raise RecipeError(
                f"--config {path}: overwrite: a recipe cannot delete an earlier training; remove this line, and give "
                "--overwrite on the command line"
            )
        if choices[key] and values[key] is not None and values[key] not in choices[key]:
            raise RecipeError(
                f"--config {path}: {key}: expected one of {', '.join(choices[key])}, found {shown(value)}"
            )
    return values


def converted(value: Any, hint: Any) -> Any:
    """Returns a value of YAML in the type of its field. Raises ValueError that says what is expected."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        kind = get_origin(option) or option
        if kind is type(None) and value is None:
            return None
        if kind is bool and isinstance(value, bool):
            return value
        if kind is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if kind is float and (number := as_float(value)) is not None:
            return number
        if kind is list and (items := as_list(value, get_args(option))) is not None:
            return items
        if kind is dict and isinstance(value, dict):
            return value
        if kind is Literal and value in get_args(option):
            return value
        if isinstance(kind, type) and issubclass(kind, Enum) and value in [one.value for one in kind]:
            return value
    if str in options and isinstance(value, str):  # last: a text may be a number's
        return value
    if str in options and value is True and bool not in options:  # --resume_from_checkpoint true
        return "True"
    wanted = " or ".join(dict.fromkeys(described(option) for option in options))
    hint = "; YAML reads an unquoted no, off, yes or on as a truth value: quote it" if isinstance(value, bool) else ""
    raise ValueError(f"expected {wanted}, found {shown(value)}{hint}")


def as_float(value: Any) -> float | None:
    """Returns a number, also one like `1e-4`, which YAML 1.1 takes for a text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def as_list(value: Any, of: tuple[Any, ...]) -> list | None:
    """Returns a list whose items fit; of one item also without brackets, as on a command line."""
    items = value if isinstance(value, list) else [value]
    if isinstance(value, (dict, bool)) or value is None:
        return None
    hint = of[0] if of else str
    if hint is str:  # numbers that are words of a flag, as of image_mean
        return [str(item) for item in items] if all(isinstance(item, (str, int, float)) for item in items) else None
    try:
        return [converted(item, hint) for item in items]
    except ValueError:
        return None


def described(option: Any) -> str:
    kind = get_origin(option) or option
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "a mapping"}
    if kind is type(None):
        return "null"
    if kind is list:
        return f"a list of {described((get_args(option) or (str,))[0])}s".replace("a list of a ", "a list of ")
    if kind is Literal:
        return "one of " + ", ".join(map(str, get_args(option)))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(str(one.value) for one in kind)
    return names.get(kind, str(option))


def shown(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=200).removesuffix("...\n").strip()


def write_recipe(path: Path, arguments: Any, training: Any) -> None:
    """Writes the flags of a run as a recipe that starts it again.

    All flags of this project are in it, and those of TrainingArguments that were given.

    Args:
        arguments: the dataclass beside the training's.
        training: a BaseTrainingArguments; its attribute `flags_given` is what `parser.parse` has found.
    """
    own = {item.name: getattr(arguments, item.name) for item in fields(arguments)}
    kinds = [kind for kind in type(training).__mro__ if kind.__module__.startswith("trainers.")]
    chosen = {name for kind in kinds for name in kind.__annotations__} | set(getattr(training, "flags_given", ()))
    own |= {name: value for name, value in training.to_dict().items() if name in chosen}
    own = {name: value for name, value in own.items() if name not in OF_THE_MOMENT and not name.endswith(SECRET)}
    head = f"{HEAD} To start it again: --config this file, with another --output_dir.\n"
    path.write_text(head + yaml.safe_dump(own, allow_unicode=True), encoding="utf-8")
