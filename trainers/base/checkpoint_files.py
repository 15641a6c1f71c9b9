"""Writes checkpoints so that a killed process never leaves a damaged one, and finds the complete ones in a folder.

A checkpoint is written to `checkpoint-N.partial`. When everything is on the disk, a manifest with the size and hash of
every file is written, and the folder is renamed to `checkpoint-N`; older ones are removed only after that, renamed
before they are deleted. So a folder with the name of a checkpoint is complete whenever the process is killed, and once
there was a checkpoint there always is one. The hashes detect later damage: an interrupted copy, a failing disk. The
file names protect what other programs and people put there: a folder with a file that its manifest does not list is
never deleted.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
from pathlib import Path

import xxhash
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from evaluation.loading import InputError
from model_cards.commands.owned_files import files_below

CHECKPOINT, PARTIAL = f"{PREFIX_CHECKPOINT_DIR}-", ".partial"
MANIFEST = "manifest.json"
LAST, AUTO = ("True", "true", "last"), "auto"  # words for --resume_from_checkpoint
BLOCK = 1 << 22


def step_of(folder: Path) -> int:
    """Returns the update after which a checkpoint was written, from its name; -1 for a folder of another name."""
    found = re.fullmatch(rf"{CHECKPOINT}(\d+)", folder.name)
    return int(found[1]) if found else -1


def checkpoints(output_dir: Path) -> list[Path]:
    """Returns the folders with the name of a checkpoint, complete or not, the earliest first."""
    folders = output_dir.iterdir() if output_dir.is_dir() else ()
    return sorted((folder for folder in folders if folder.is_dir() and step_of(folder) >= 0), key=step_of)


def partial(folder: Path) -> Path:
    """Returns the path of a checkpoint while it is written or deleted."""
    return folder.with_name(folder.name + PARTIAL)


def files_of(folder: Path) -> dict[str, Path]:
    """Returns all files below a folder but the manifest, by their name in it."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    found.pop(MANIFEST, None)
    return found


def digest(path: Path, to_disk: bool = False) -> str:
    """Returns the xxh3_128 of a file's bytes.

    Args:
        to_disk: also waits until they are on the disk, where a power cut cannot undo them.
    """
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            state.update(block)
        if to_disk:
            os.fsync(file.fileno())
    return state.hexdigest()


def manifest_files(folder: Path) -> set[str] | None:
    """Returns the names of the files that a training wrote to a checkpoint; None for any other folder."""
    if folder.is_symlink() or folder.name.endswith(PARTIAL):
        return None
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        ours = bool(files) and all("xxh3_128" in facts for facts in files.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return {MANIFEST, *files} if ours else None


def may_be_removed(folder: Path) -> bool:
    """Whether a training wrote everything that is in a checkpoint."""
    return set(files_below(folder)) <= (manifest_files(folder) or set()) and folder.is_dir()


def seal(folder: Path) -> None:
    """Makes `checkpoint-N` of the complete `checkpoint-N.partial`, in the place of one of that name.

    What has this name and was not written by a training is renamed to `checkpoint-N.kept`, which is printed.
    After `remove_partial`: nothing of an earlier attempt may be left.
    """
    source = partial(folder)
    files = files_of(source)
    manifest = {name: {"bytes": path.stat().st_size, "xxh3_128": digest(path, True)} for name, path in files.items()}
    with (source / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump({"files": manifest}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    for below in sorted({path.parent for path in files.values()} | {source}):
        sync_folder(below)
    aside = folder.with_name(f"{folder.name}.replaced{PARTIAL}")
    if may_be_removed(folder):
        folder.rename(aside)
    elif folder.exists() or folder.is_symlink():
        kept = unused_name(folder)
        folder.rename(kept)
        print(f"{folder} was not written by a training; it is kept as {kept.name}", flush=True)
    source.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def unused_name(folder: Path) -> Path:
    """Returns `checkpoint-N.kept`, or with a number after it where that exists."""
    names = (folder.with_name(f"{folder.name}.kept{number or ''}") for number in itertools.count())
    return next(name for name in names if not (name.exists() or name.is_symlink()))


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def damage(folder: Path) -> str | None:
    """Returns what is wrong with a checkpoint, in a few words; None for a complete one. Reads all of its bytes."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        wanted = {name: (facts["bytes"], facts["xxh3_128"]) for name, facts in manifest.items()}
    except OSError:
        return f"it has no {MANIFEST}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    for name, (size, expected) in wanted.items():
        try:
            found = (folder / name).stat().st_size
            if found != size:
                return f"{name} has {found} bytes instead of {size}"
            if digest(folder / name) != expected:
                return f"{name} has other bytes than were written"
        except OSError as error:
            return f"{name}: {error.strerror}"
    return None


def last_complete(output_dir: Path) -> Path | None:
    """Returns the last complete checkpoint of a folder; prints which are skipped, and why. None where there is none.

    Raises InputError where there are some, but none is complete.
    """
    found = checkpoints(output_dir)
    reasons = []
    for folder in reversed(found):
        reason = damage(folder)
        if reason is None:
            return folder
        reasons.append(f"{folder.name} is incomplete: {reason}")
        print(f"{output_dir}: {reasons[-1]}; it is skipped", flush=True)
    if found:
        raise InputError(f"--resume_from_checkpoint: no checkpoint in {output_dir} is complete ({'; '.join(reasons)})")
    return None


def chosen_checkpoint(flag: str | bool | None, output_dir: Path) -> Path | None:
    """Returns the checkpoint that `--resume_from_checkpoint` means; None for a new run.

    Args:
        flag: True or `last`, the last complete one of `output_dir`; `auto`, that or none; or the path of a checkpoint
            or of a folder with checkpoints.

    Raises:
        InputError: there is no such checkpoint, or none that is complete.
    """
    if not flag:
        return None
    if flag is True or flag in (*LAST, AUTO):
        checkpoint = last_complete(output_dir)
        if checkpoint is None and flag != AUTO:
            raise InputError(f"--resume_from_checkpoint: no {CHECKPOINT}* in {output_dir}")
        return checkpoint
    folder = Path(flag)
    if not folder.is_dir():
        raise InputError(f"--resume_from_checkpoint {flag}: no such folder; `last` means the last one in --output_dir")
    if step_of(folder) < 0:
        if (checkpoint := last_complete(folder)) is None:
            raise InputError(f"--resume_from_checkpoint {flag}: no {CHECKPOINT}* in it")
        return checkpoint
    if (reason := damage(folder)) is not None:
        raise InputError(
            f"--resume_from_checkpoint {flag}: it is incomplete: {reason}; `last` finds the last complete one"
        )
    return folder


def in_the_way(output_dir: Path, resumed: Path | None) -> list[Path]:
    """Returns the checkpoints of a folder that a run writing there does not come from: later ones, or another run's."""
    found = checkpoints(output_dir)
    if resumed is None or resumed.resolve().parent != output_dir.resolve():
        return found
    return [folder for folder in found if step_of(folder) > step_of(resumed)]


def remove(folders: list[Path]) -> None:
    """Deletes checkpoints; one that is half deleted when the process is killed no longer has the name of one."""
    for folder in folders:
        shutil.rmtree(partial(folder), ignore_errors=True)
        folder.rename(partial(folder))
        shutil.rmtree(partial(folder), ignore_errors=True)


def remove_partial(output_dir: Path) -> None:
    """Deletes what a killed process left of checkpoints that it was writing or deleting."""
    for folder in output_dir.glob(f"{CHECKPOINT}*{PARTIAL}"):
        if re.fullmatch(rf"{CHECKPOINT}\d+(\.replaced)?{re.escape(PARTIAL)}", folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def rotate(output_dir: Path, limit: int | None, newest: Path, best: str | None) -> None:
    """Deletes the oldest checkpoints until `limit` are left; never the newest and the best.

    Those with files that no training wrote stay, and do not count.
    """
    if not limit or limit < 1:
        return
    found = [folder for folder in checkpoints(output_dir) if may_be_removed(folder)]
    kept = {newest.resolve()} | ({Path(best).resolve()} if best else set())
    spare = [folder for folder in found if folder.resolve() not in kept]
    # Those with a later number are left of a run that was resumed from an earlier checkpoint.
    spare.sort(key=lambda folder: (step_of(folder) < step_of(newest), step_of(folder)))
    remove(spare[: max(0, len(found) - max(limit, len(found) - len(spare)))])
