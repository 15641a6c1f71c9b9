"""Publishes metrics as Spaces, so that `evaluate.load("org/medical_bleu")` finds them.

medpairs push-metrics --namespace org
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from model_cards.card_update import merge_card
from model_cards.commands.console import CommandError, Parser, command
from model_cards.hub.commit import Change, Head, PushError, check_public, check_writer, matching, push

METRICS_FOLDER = Path(__file__).resolve().parent / "metrics"
CARD = "README.md"
NOT_PUSHED = {"__init__.py", "__pycache__"}
OWNED = ("sdk", "sdk_version", "python_version", "app_file")  # keys that the app depends on
NEEDED = ("tags",)  # `evaluate` finds metrics by their tags


@command
def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, see `model_cards/commands/console.py`."""
    parser = Parser(
        prog="medpairs push-metrics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--namespace", required=True, help="user or organization on the Hub")
    parser.add_argument(
        "--metrics", nargs="+", default=metric_names(), choices=metric_names(), help="metrics to push (default: all)"
    )
    parser.add_argument(
        "--public",
        action="store_true",
        help="create public Spaces and allow pushes to public Spaces (default: no)",
    )
    options = parser.parse_args(argv)

    try:
        check_writer()
        for name in options.metrics:  # all of them before the first one is pushed
            check_public(f"{options.namespace}/{name}", "space", options.public)
        for name in options.metrics:
            print(f"Pushed to {push_metric(name, options.namespace, private=not options.public)}")
    except (PushError, ValueError) as error:  # ValueError: a card that is not valid YAML
        raise CommandError(f"--namespace {options.namespace}: {error}") from error
    return 0


def metric_names() -> list[str]:
    """Returns the names of the metric folders, which are those with an app."""
    return sorted(path.parent.name for path in METRICS_FOLDER.glob("*/app.py"))


def push_metric(name: str, namespace: str, private: bool) -> str:
    """Uploads one metric folder to the Space `namespace/name` in one commit.

    In an existing README, only our block and the keys that the app depends on are updated, see `card_update.py`. Files
    that belong to no metric stay in the Space.

    Args:
        name: the metric, a folder of `evaluation/metrics`.
        namespace: user or organization on the Hub.
        private: refuse a public Space, and create a new one as private.

    Returns:
        the URL of the Space.

    Raises:
        PushError: the Hub refuses the push, or the Space is public although `private` is set.
    """
    folder = METRICS_FOLDER / name
    files: dict[str, Path | bytes] = {
        path.name: path for path in folder.iterdir() if path.is_file() and path.name not in NOT_PUSHED
    }
    fresh = (folder / CARD).read_text(encoding="utf-8")
    known = {path.name for metric in metric_names() for path in (METRICS_FOLDER / metric).glob("*.*")}
    ours = re.compile("|".join(map(re.escape, sorted(known - NOT_PUSHED - {CARD}))))

    def decide(head: Head) -> Change:
        current = None if head.created else head.text(CARD)  # the README of a new Space was written by the Hub
        text, notes = merge_card(current, fresh, owned=OWNED, needed=NEEDED)
        return Change(files | {CARD: text.encode()}, matching(head.files, ours, files), notes)

    pushed = push(f"{namespace}/{name}", "space", decide, f"Metric {name}", public=not private, space_sdk="gradio")
    return pushed.repository


if __name__ == "__main__":
    sys.exit(main())
