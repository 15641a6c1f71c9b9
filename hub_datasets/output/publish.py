"""Pushes the folder that a build wrote to the Hub in one commit, and notes that commit in the folder."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.output.earlier_build import MANIFEST, read_manifest

# Rejections and flags name files and rows of the sources, and the JSONL holds paths of this machine: they stay here.
CARD = "README.md"
FILES = [CARD, "croissant.json", "report.json", "splits.txt", "eval.yaml", "llama_factory/dataset_info.json"]
PATTERNS = ["pairs/*.parquet", "chat/*.parquet", "regions/*.parquet", "assets/*.png"]
# What a build may have pushed and a later one may lack; other files in the repository are somebody else's.
OURS = re.compile(
    r"eval\.yaml|croissant\.json|(pairs|chat|regions)/\w+-\d{5}-of-\d{5}\.parquet"
    r"|assets/(funnel|splits|categories|text_lengths|contact_sheet|classes-\w+)\.png"
)


def refuse_restricted_sources(names: Iterable[str]) -> None:
    """Raises BuildError if there are sources whose license does not allow redistribution."""
    if found := ", ".join(names):
        raise BuildError(
            f"--push_to_hub: the license of {found} is not known to allow redistribution; "
            "leave this source out, or add --redistribute if you have the right to publish it"
        )


def open_flags(report: Mapping[str, Any]) -> dict[str, int]:
    """Returns the numbers of rows that are still to review, by kind, from the report of a build."""
    return report["review"].get("open", {})


def refuse_open_flags(folder: Path, report: Mapping[str, Any]) -> None:
    """Raises BuildError if rows are flagged that nobody has reviewed."""
    if found := open_flags(report):
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in found.items())
        raise BuildError(
            f"--push_to_hub: rows to review before they are shared: {kinds}; look at {folder / 'review.jsonl'}, "
            f"then add "
            "--reviewed to push them all, or --drop_flagged --overwrite to leave them out"
        )


def check_push(folder: str | Path, repo_id: str, public: bool) -> None:
    """Raises BuildError, before anything is read, for a push that would be refused; changes nothing on the Hub."""
    from model_cards.hub.commit import PushError, check_public, check_writer

    refuse_address(folder)
    try:
        check_writer()
        check_public(repo_id, "dataset", public)
    except PushError as error:
        raise BuildError(f"--push_to_hub {repo_id}: {error}") from None


def refuse_address(folder: str | Path) -> None:
    """Raises BuildError for a build that is not on this machine."""
    if storage.is_remote(folder):
        raise BuildError(f"--push_to_hub: {storage.shown(folder)} is not on this machine; push from a folder that is")


def push_dataset(
    folder: str | Path, repo_id: str, private: bool = True, redistribute: bool = False, reviewed: bool = False
) -> str:
    """Pushes the build in `folder` to the dataset repository `repo_id`, which is created if it does not exist.

    Files of an earlier build that this one does not have are removed in the same commit. A person's edits of the card,
    here or on the Hub, are kept; if both were edited, the Hub's version is kept.

    Args:
        redistribute: whether to push sources whose license is not known to allow redistribution; otherwise they are
            refused.
        reviewed: whether somebody has looked at the rows that are flagged for review; otherwise they are refused.

    Returns:
        the address of the repository. Raises BuildError if the Hub refuses, or if the repository is public and
        `private` is set.
    """
    refuse_address(folder)
    folder = storage.local_path(folder)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    sources = report["sources"].items()
    if not redistribute:
        refuse_restricted_sources(n for n, s in sources if not (s["redistributable"] or s["synthetic"]))
    if not reviewed:
        refuse_open_flags(folder, report)
    from huggingface_hub.utils import filter_repo_objects

    from model_cards.card_update import read_card
    from model_cards.dataset_card import check_card, merge_pushed_card
    from model_cards.hub.commit import Change, Head, PushError, matching, push

    here = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    chosen = {name: here[name] for name in filter_repo_objects(here, allow_patterns=[*FILES, *PATTERNS])}

    def decide(head: Head) -> Change:
        earlier = head.text("report.json")
        text, notes = merge_pushed_card(head.text(CARD), read_card(folder / CARD) or "", report, earlier)
        return Change(chosen | {CARD: text.encode()}, matching(head.files, OURS, chosen), notes)

    try:
        check_card(read_card(folder / CARD))
        pushed = push(repo_id, "dataset", decide, "Build of the dataset", public=not private)
        note_push(folder, pushed.repository, pushed.commit)
        return pushed.repository
    except (PushError, ValueError, OSError) as error:
        raise BuildError(f"--push_to_hub {repo_id}: {error}; the build itself is in {folder}") from None


def note_push(folder: Path, repository: str, commit: str) -> None:
    """Adds `pushed`, the repository and the commit, to the manifest of a build, which the next build replaces.

    A training from the folder names that dataset in its card, where a path of this machine would say nothing.

    Args:
        repository: address of the repository, which ends with `datasets/ORG/NAME`.
        commit: address of the commit, which ends with its hash.
    """
    from model_cards.results import write_json

    manifest = read_manifest(str(folder))
    if manifest is None:  # a dataset that was downloaded from the Hub
        return
    name = repository.partition("/datasets/")[2]
    manifest["pushed"] = {"repository": name, "commit": commit.rpartition("/")[2]}
    with contextlib.suppress(OSError):  # a folder that cannot be written to: the push itself is done
        write_json(folder / MANIFEST, manifest)
