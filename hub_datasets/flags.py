"""Defines the flags of `medpairs build`, with their help texts and default values."""

from __future__ import annotations

import argparse

from hub_datasets.ingest.executors import ENGINES
from hub_datasets.schema import TURNS, UNGROUNDED_MODES
from hub_datasets.sources import SOURCES
from model_cards.commands.console import Parser

SPLIT_BY = ("group", "official")


def argument_parser(description: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's flags."""
    parser = Parser(
        prog="medpairs build", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sources = parser.add_argument_group(
        "sources",
        "A folder, a zip file or an fsspec address; zip files inside folders are read without unpacking. A flag can\n"
        "be repeated: its folders become one source, and equal patient or study IDs mean the same patient or study.",
    )
    for source in SOURCES:
        sources.add_argument(source.flag, action="append", metavar="DIR", help=source.title)
        for name, values in source.choices.items():
            sources.add_argument(
                f"--{name}",
                choices=values,
                default=values[0],
                help=f"{source.choice_help[name]} (default: %(default)s)",
            )

    result = parser.add_argument_group("result")
    result.add_argument(
        "--output_dir", default="data/processed", metavar="DIR", help="folder of the dataset (default: %(default)s)"
    )
    result.add_argument(
        "--overwrite", action="store_true", help="replace an earlier build in --output_dir; other files there are kept"
    )
    result.add_argument(
        "--num_shards", type=int, default=1, help="minimum number of Parquet files per split (default: %(default)s)"
    )

    splits = parser.add_argument_group("splits")
    splits.add_argument(
        "--val_fraction",
        type=float,
        default=0.05,
        help="share of groups in the validation split (default: %(default)s)",
    )
    splits.add_argument(
        "--test_fraction", type=float, default=0.0, help="share of groups in the test split (default: %(default)s)"
    )
    splits.add_argument(
        "--split_by",
        choices=SPLIT_BY,
        default="group",
        help="`group` keeps patients, studies and pictures in one split; `official` uses the sources' own splits and "
        "reports their leaks (default: %(default)s)",
    )
    splits.add_argument(
        "--keep_splits",
        default="",
        metavar="DIR",
        help="earlier build or dataset whose rows keep their splits (default: the build in --output_dir, if its "
        "fractions are the same)",
    )
    splits.add_argument(
        "--near_distance",
        type=int,
        metavar="BITS",
        help="maximum number of bits, of 256, in which the hashes of near-duplicates differ (default: 15)",
    )

    checks = parser.add_argument_group("checks")
    checks.add_argument(
        "--min_text_chars",
        type=int,
        default=5,
        help="texts of pairs must be longer than this many characters (default: %(default)s)",
    )
    checks.add_argument(
        "--max_text_chars",
        type=int,
        default=1000,
        help="texts of pairs must be shorter than this many characters (default: %(default)s)",
    )
    checks.add_argument(
        "--max_image_pixels",
        type=int,
        default=64_000_000,
        help="maximum number of pixels per image; larger images are rejected undecoded (default: %(default)s)",
    )
    checks.add_argument(
        "--min_image_side",
        type=int,
        default=8,
        help="minimum width and height of images in pixels (default: %(default)s)",
    )
    checks.add_argument(
        "--window",
        default="auto",
        metavar="LOW:HIGH",
        help="values of images of more than 8 bits that become black and white, as --window=LOW:HIGH; `auto` uses the "
        "stored window or each image's extremes (default: %(default)s)",
    )
    checks.add_argument(
        "--ocr",
        action="store_true",
        help="search images for burned-in text, and list it in review.jsonl; requires medpairs[ocr]",
    )

    checks.add_argument(
        "--ungrounded",
        choices=sorted(UNGROUNDED_MODES),
        default=UNGROUNDED_MODES[0],
        help="what becomes of texts and answers that say what no image shows (history, age, change since an earlier "
        "film, ...): `mark` names the kinds in the column `ungrounded`; `keep` leaves it empty; `strip` takes the "
        "sentences out; `reject` rejects the records; all count them (default: %(default)s)",
    )

    chat = parser.add_argument_group("chat")
    chat.add_argument(
        "--chat_turns",
        choices=TURNS,
        default="single",
        help="`single`: one conversation per question; `multi`: one per image with all its questions "
        "(default: %(default)s)",
    )
    chat.add_argument(
        "--system_prompt", default="", metavar="TEXT", help="first message of every conversation (default: none)"
    )

    work = parser.add_argument_group("work")
    work.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="where images are read: in processes of this machine or on a Ray cluster (default: %(default)s)",
    )
    work.add_argument(
        "--num_proc", type=int, default=0, help="number of processes (default: one per processor of this machine)"
    )
    work.add_argument(
        "--cache_dir",
        default="",
        metavar="DIR",
        help="folder for what was read, which the next build reuses (default: a hidden folder beside --output_dir)",
    )

    hub = parser.add_argument_group("Hub")
    hub.add_argument("--push_to_hub", metavar="ORG/NAME", help="dataset repository to push the result to")
    hub.add_argument(
        "--public",
        action="store_true",
        help="create a public repository, or push to an existing one; without it only private repositories are used",
    )
    hub.add_argument(
        "--redistribute",
        action="store_true",
        help="push sources whose license is not known to allow redistribution as well",
    )
    return parser
