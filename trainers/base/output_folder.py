"""Distinguishes what a training wrote to its output folder from everything else there, and deletes nothing else.

A training marks the folder when it begins to write there (`_training_files.json`; names with an underscore are not
pushed). The marker records how far the training got and which files it wrote, with a fingerprint of the texts: a card
that a person edited is no longer the training's. Checkpoints have a manifest of their own. Earlier versions left no
marker: their trainings are recognized by the summary, the recipe or a checkpoint, and the files by their names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evaluation.loading import InputError
from model_cards.commands.console import CommandError
from model_cards.commands.names import is_path
from model_cards.commands.owned_files import Contents, files_below, held_in, remove_files, some, user_places
from model_cards.hub.model_repository import MODEL_FILE
from model_cards.model_card import CARD, SUMMARY, read_summary
from model_cards.results import write_json
from trainers.base.arguments import BaseTrainingArguments
from trainers.base.checkpoint_files import AUTO, CHECKPOINT, checkpoints, digest, manifest_files
from trainers.base.recipe_file import HEAD

MARKER = "_training_files.json"
TRAINING, WRITING, COMPLETE = "training", "writing", "complete"  # how far a training got
LAST_WRITTEN = (SUMMARY,)  # by a complete training
RECIPE = "recipe.yaml"

# Names that trainings write: while they train, and when they write the model.
EARLY = re.compile(rf"{re.escape(RECIPE)}|runs/(.+/)?events\.out\.tfevents\.[^/]+|samples/step-\d+\.jsonl")
MODULES = sorted(path.name for path in (Path(__file__).resolve().parents[2] / "modeling/siglip_medical").glob("*.py"))
FINAL = re.compile(
    rf"{MODEL_FILE}|{'|'.join(map(re.escape, MODULES))}|training_args\.bin|export\.partial/.+|{re.escape(CARD)}"
    r"|results/[^/]+--[^/]+\.json|adapter|export\.partial"  # the last two as links
)
SAVED = re.compile(rf"{CHECKPOINT}\d+(\.replaced)?(\.partial)?(/.*)?")
UNFINISHED = re.compile(r"((?:.+/)?)\.([^/]+)\.\d+\.\d+")  # of model_cards.results.write_text, killed before it renamed
TEXTS = (".md", ".json", ".jsonl", ".yaml", ".jinja", ".py", ".txt")  # what people edit


# --- checks before any work ---


def check_output_dir(training: BaseTrainingArguments) -> None:
    """Raises InputError where `--output_dir` cannot take a training, or holds one that no flag gives up."""
    scheme, separator, _ = training.output_dir.partition("://")
    if separator:
        raise InputError(f"--output_dir {scheme}://...: a training writes to a folder of this machine; name one")
    folder = Path(training.output_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output_dir {folder} is a file; name a folder")
    if names_in(folder) and not (training.overwrite or training.resume_from_checkpoint):
        raise InputError(
            f"--output_dir {folder} exists and is not empty; name another folder, resume from its last checkpoint with "
            "--resume_from_checkpoint last, or replace an earlier training there with --overwrite"
        )


def check_contents(training: BaseTrainingArguments, arguments: Any, image_cache: Path | None) -> None:
    """Raises InputError where a training would delete or replace what no training wrote. Changes nothing.

    Args:
        arguments: the dataclass beside the training's.
        image_cache: the folder of the image caches; None where there is none.
    """
    folder, emptied = Path(training.output_dir), is_emptied(training)
    if not (names := names_in(folder)):
        return
    if emptied and (held := held_in(folder, places_of(arguments, image_cache))):
        raise InputError(f"--overwrite --output_dir {folder}: this folder is or holds {held}; name another folder")
    if not has_training(folder):
        raise InputError(
            f"--output_dir {folder} holds {some(names)}, and no training wrote to this folder; name another one, for "
            f"example {folder / 'training'}"
        )
    contents = contents_of(folder)
    occupied = contents.occupied
    if not emptied:  # a training that is resumed replaces no checkpoint of others, and no other result
        occupied = [name for name in occupied if not (SAVED.fullmatch(name) or name.startswith("results/"))]
    if occupied:
        raise InputError(
            f"--output_dir {folder}: {some(occupied)} is in the way: no training wrote it, or it was edited since; "
            "move it to another place, or name another folder"
        )
    # A training that was killed before its first checkpoint leaves its recipe, and the card of the one before it.
    kept = {name for name in contents.own if name == CARD or EARLY.fullmatch(name)}
    finished = [name for name in contents.own if FINAL.fullmatch(name) and name not in kept]
    if training.resume_from_checkpoint == AUTO and finished and not checkpoints(folder):
        raise InputError(
            f"--resume_from_checkpoint auto: --output_dir {folder} holds {some(finished)} but no checkpoint to resume "
            "from; name another folder, or replace this training with --overwrite instead of this flag"
        )


@contextmanager
def says_how_to_resume(folder: Path) -> Iterator[None]:
    """Adds to what ends a training, Ctrl-C or a full disk, how the same command resumes it."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not isinstance(error, CommandError):
            saved = checkpoints(folder)
            resume = f"resume from {saved[-1]} with --resume_from_checkpoint last" if saved else "nothing was saved yet"
            error.add_note(resume)
        raise


def is_emptied(training: BaseTrainingArguments) -> bool:
    """Whether the flags say that an earlier training is deleted; one that is resumed is not."""
    return training.overwrite and not training.resume_from_checkpoint


def names_in(folder: Path) -> list[str]:
    """Returns the names in a folder. A marker alone does not count: a refused or killed training may leave it."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if name != MARKER and not is_unfinished_marker(name)]


def is_unfinished_marker(name: str) -> bool:
    found = UNFINISHED.fullmatch(name)
    return found is not None and found[2] == MARKER


def places_of(arguments: Any, image_cache: Path | None) -> dict[str, str | Path]:
    """Returns what a training reads, and the folders that nothing may empty, by what a message calls them."""
    names = {"--dataset": arguments.dataset}
    if not arguments.tiny:
        names["--model_name_or_path"] = arguments.model_name_or_path
    places: dict[str, str | Path] = {f"{flag} {name}": name for flag, name in names.items() if is_path(name)}
    if image_cache:
        places[f"--image_cache {image_cache}"] = image_cache
    return user_places() | places


# --- who wrote which file ---


def has_training(folder: Path) -> bool:
    """Whether a training of this project has written to a folder."""
    if read_marker(folder) is not None:
        return True
    try:
        if (folder / RECIPE).read_text(encoding="utf-8").startswith(HEAD):
            return True
    except (OSError, UnicodeDecodeError):
        pass
    try:
        read_summary(folder / SUMMARY)
        return True
    except ValueError:
        return any(manifest_files(path) is not None for path in folder.glob(f"{CHECKPOINT}*"))


def contents_of(folder: Path) -> Contents:
    """Returns what is in an output folder, by who wrote it."""
    marker = read_marker(folder)
    if marker is None:  # an earlier version left none
        marker = {"stage": WRITING if has_training(folder) else "", "files": {}}
    contents = Contents()
    for name in files_below(folder):
        unfinished = UNFINISHED.fullmatch(name)
        used = name if unfinished is None else unfinished[1] + unfinished[2]
        if not any(pattern.fullmatch(used) for pattern in (EARLY, FINAL, SAVED)):
            (contents.own if used == MARKER else contents.other).append(name)
        elif marker["stage"] and (unfinished or is_own(folder, name, marker)):
            contents.own.append(name)
        else:
            contents.occupied.append(name)
    return contents


def is_own(folder: Path, name: str, marker: dict[str, Any]) -> bool:
    """Whether a training wrote a file of a name that trainings use."""
    path = folder / name
    if path.is_symlink() or not path.is_file():
        return False
    if saved := SAVED.fullmatch(name):
        top, _, rest = name.partition("/")
        if saved[2]:  # half written, or half deleted
            return bool(rest)
        return rest in (manifest_files(folder / top) or ())
    if name == CARD:  # it stays, and what a person wrote into it is in the next card, too
        return True
    if marker["stage"] == WRITING or (EARLY.fullmatch(name) and name not in marker["files"]):
        return True
    return name in marker["files"] and marker["files"][name] in (None, fingerprint(path))


# --- the marker ---


def read_marker(folder: Path) -> dict[str, Any] | None:
    """Returns the marker of a folder: `stage`, and `files` with the fingerprints of texts; None where there is none."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        known = marker["stage"] in (TRAINING, WRITING, COMPLETE) and isinstance(marker["files"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return marker if known else None


def begin(folder: Path, overwrite: bool) -> None:
    """Marks an output folder as a training's.

    Args:
        overwrite: first deletes what earlier trainings wrote there; whatever else is there is kept, which is printed.
    """
    contents = contents_of(folder)
    if overwrite:
        own = sorted(set(contents.own) - {CARD}, key=lambda name: name == MARKER)  # the marker last
        remove_files(folder, own)
        if kept := contents.occupied + contents.other:
            print(f"--overwrite: kept in {folder}, because no training wrote it: {some(kept)}", flush=True)
    # Not those that a resumed training writes again before it writes the model.
    lasting = [name for name in contents.own if not EARLY.fullmatch(name) and name not in (CARD, *LAST_WRITTEN)]
    write_marker(folder, TRAINING, () if overwrite else lasting)


def note_recipe(folder: Path) -> None:
    """Adds the recipe that was just written to the marker: one that a person edits later is not deleted."""
    marker = read_marker(folder)
    if marker is not None:
        write_marker(folder, marker["stage"], {*marker["files"], RECIPE})


def note_writing(folder: Path) -> None:
    """Notes in the marker that the model is being written: from now on all names that trainings use are its own."""
    write_marker(folder, WRITING, ())


def note_complete(folder: Path) -> None:
    """Notes in the marker that a training is complete, and which files are its own."""
    write_marker(folder, COMPLETE, contents_of(folder).own)


def write_marker(folder: Path, stage: str, names: Iterable[str]) -> None:
    listed = [name for name in sorted(names) if not (SAVED.fullmatch(name) or UNFINISHED.fullmatch(name))]
    files = {
        name: fingerprint(folder / name) if name.endswith(TEXTS) else None
        for name in listed
        if name != MARKER and (folder / name).is_file()
    }
    write_json(folder / MARKER, {"stage": stage, "files": files})


def fingerprint(path: Path) -> str:
    """Returns a text that changes with the content of a file."""
    return f"{path.stat().st_size} bytes, xxh3_128 {digest(path)}"
