"""Publishes metrics as Spaces, so that `evaluate.load("org/medical_bleu")` finds them.

python evaluation/push_metrics.py --namespace org
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from evaluation.loading import first_line
from model_cards.console import Parser

METRICS_FOLDER = Path(__file__).resolve().parent


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status: 0, or 2 where the input or a flag is at fault."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--namespace", required=True, help="user or organisation on the Hub")
    parser.add_argument("--metrics", nargs="+", default=metric_names(), choices=metric_names(), help="(all)")
    parser.add_argument("--public", action="store_true", help="make new Spaces public; private otherwise")
    options = parser.parse_args(argv)

    from huggingface_hub.errors import HFValidationError, HTTPError

    try:
        for name in options.metrics:
            print(f"Pushed to {push_metric(name, options.namespace, private=not options.public)}")
    except (HTTPError, HFValidationError, OSError) as error:  # the Hub refuses, a bad name, no network or token
        print(f"error: --namespace {options.namespace}: {first_line(error)}", file=sys.stderr)
        return 2
    return 0


def metric_names() -> list[str]:
    """The folders here that are metrics: those with an app."""
    return sorted(path.parent.name for path in METRICS_FOLDER.glob("*/app.py"))


def push_metric(name: str, namespace: str, private: bool) -> str:
    """Uploads one metric folder to the Space `namespace/name`; returns its address."""
    from huggingface_hub import HfApi

    api = HfApi()
    space = api.create_repo(
        f"{namespace}/{name}", repo_type="space", space_sdk="gradio", private=private, exist_ok=True
    )
    api.upload_folder(
        repo_id=space.repo_id,
        repo_type="space",
        folder_path=METRICS_FOLDER / name,
        ignore_patterns=["__pycache__/*", "__init__.py"],
        commit_message=f"Metric {name}",
    )
    return str(space)


if __name__ == "__main__":
    sys.exit(main())
