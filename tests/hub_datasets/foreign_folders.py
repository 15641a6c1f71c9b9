"""Builds each of several foreign folders and prints what became of it as a table.

    python -m tests.hub_datasets.foreign_folders FOLDER

FOLDER holds one folder per case. A file that holds nothing but the path of a file or folder beside it stands for a link
to that, which a copy of the case has lost; it is made a link again.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hub_datasets.errors import BuildError
from tests.hub_datasets.checked import build_here

FLAGS = {"hf_jsonl_splits": ("--split_by", "official"), "symlink_images": ("--follow_links",)}
LONGEST_LINK = 200  # bytes of a file that may stand for a link


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a folder: rows that were read and accepted, languages, or the error."""

    read: int = 0
    accepted: int = 0
    languages: tuple[str, ...] = ()
    converted: int = 0
    error: str = ""


def outcome_of(case: Path, work: Path) -> Outcome:
    """Builds a copy of a case, with its links."""
    copy = restored(case, work / "cases")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            report = build_here({"--reports_dir": copy}, work / "out", *FLAGS.get(case.name, ()))
    except BuildError as error:
        return Outcome(error=str(error).replace(str(copy), case.name))
    counts = report["sources"]["medical_reports"]
    languages = tuple(sorted(report["rows_by"]["pairs"]["language"]))
    converted = sum(n for what, n in report["images"]["stripped"].items() if what.endswith("converted to PNG"))
    return Outcome(counts["read"], counts["accepted"], languages, converted)


def restored(case: Path, place: Path) -> Path:
    """Returns a copy of a case in which the files that stand for links are links."""
    shutil.copytree(case.parent, place, dirs_exist_ok=True)
    for path in (place / case.name).rglob("*"):
        path.parent.chmod(0o755)
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= LONGEST_LINK:
            target = path.read_bytes()
            with contextlib.suppress(UnicodeDecodeError, ValueError, OSError):
                if target.startswith(b"../") and (path.parent / target.decode()).exists():
                    path.unlink()
                    path.symlink_to(target.decode())
    return place / case.name


def table(folder: Path) -> str:
    """Returns the outcomes of all cases in a folder, as Markdown."""
    lines = ["| case | read | accepted | languages | converted | error |", "|---|---:|---:|---|---:|---|"]
    for case in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("_")):
        with tempfile.TemporaryDirectory() as work:
            one = outcome_of(case, Path(work))
        cells = (case.name, one.read, one.accepted, ", ".join(one.languages), one.converted, one.error)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
