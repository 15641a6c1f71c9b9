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
OWNED = ("sdk", "sdk_version", "python_version", "app_file")  # what the app depends on
NEEDED = ("tags",)  # by which `evaluate` finds it


@command
def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status, see `model_cards/commands/console.py`."""
    parser = Parser(
        prog="medpairs push-metrics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--namespace", required=True, help="user or organisation on the Hub")
    parser.add_argument("--metrics", nargs="+", default=metric_names(), choices=metric_names(), help="(all)")
    parser.add_argument(
        "--public", action="store_true", help="make new Spaces public, and push to Spaces that are; refused otherwise"
    )
    options = parser.parse_args(argv)

    try:
        check_writer()
        for name in options.metrics:  # all of them before the first one is pushed
            check_public(f"{options.namespace}/{name}", "space", options.public)
        for name in options.metrics:
            print(f"Pushed to {push_metric(name, options.namespace, private=not options.public)}")
    except (PushError, ValueError) as error:  # the Hub refuses, a bad name, no network or token; a card that is no YAML
        raise CommandError(f"--namespace {options.namespace}: {error}") from error
    return 0


def metric_names() -> list[str]:
    """The folders here that are metrics: those with an app."""
    return sorted(path.parent.name for path in METRICS_FOLDER.glob("*/app.py"))


def push_metric(name: str, namespace: str, private: bool) -> str:
    """Uploads one metric folder to the Space `namespace/name` in one commit; returns its address.

    Of the README there, our block and the keys that the app depends on are renewed, see `card_update.py`. Files that no
    metric has are left alone.

    Raises PushError where the Hub refuses, or the Space is public and `private` is asked for.
    """
    folder = METRICS_FOLDER / name
    files: dict[str, Path | bytes] = {
        path.name: path for path in folder.iterdir() if path.is_file() and path.name not in NOT_PUSHED
    }
    fresh = (folder / CARD).read_text(encoding="utf-8")
    known = {path.name for metric in metric_names() for path in (METRICS_FOLDER / metric).glob("*.*")}
    ours = re.compile("|".join(map(re.escape, sorted(known - NOT_PUSHED - {CARD}))))

    def decide(head: Head) -> Change:
        current = None if head.created else head.text(CARD)  # a new Space has one of the Hub's own
        text, notes = merge_card(current, fresh, owned=OWNED, needed=NEEDED)
        return Change(files | {CARD: text.encode()}, matching(head.files, ours, files), notes)

    pushed = push(f"{namespace}/{name}", "space", decide, f"Metric {name}", public=not private, space_sdk="gradio")
    return pushed.repository


if __name__ == "__main__":
    sys.exit(main())
