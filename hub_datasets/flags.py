"""Defines the flags of `medpairs build`, with their help texts and default values."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from hub_datasets.errors import BuildError
from hub_datasets.images.frames import FRAMES
from hub_datasets.ingest.executors import ENGINES
from hub_datasets.schema import CONFIGS, TURNS, UNGROUNDED_MODES
from hub_datasets.sources import SOURCES
from hub_datasets.sources.base import Source
from hub_datasets.texts.official_splits import ADVICE
from model_cards.commands.console import Parser

SPLIT_BY = ("group", "official")
COLUMNS = {
    "image": "the path, name or ID of the image (default: recognized by its name)",
    "text": "the text (default: recognized by its name; findings and impression are joined)",
    "patient": "the ID of the patient (default: recognized by its name)",
    "split": "the official split: train, validation or test (default: recognized by its name)",
    "label": "the label, which becomes the category, and the text if there is no other (default: none)",
}


def argument_parser(description: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's flags."""
    parser = Parser(
        prog="medpairs build", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_sources(parser)
    add_columns(parser)
    add_result(parser)
    add_splits(parser)
    add_checks(parser)
    add_privacy(parser)
    add_chat(parser)
    add_work(parser)
    add_hub(parser)
    return parser


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for the folders to read, and the options of their sources."""
    sources = parser.add_argument_group(
        "sources",
        "A folder, an archive (zip, tar, tar.gz) or an fsspec address; archives inside folders are read without\n"
        "unpacking. A flag can be repeated: its folders become one source, and equal patient or study IDs mean the\n"
        "same patient or study.",
    )
    for source in SOURCES:
        sources.add_argument(source.flag, action="append", metavar="DIR", help=source.title)
        for name, choice in source.choices.items():
            help = f"{choice.help} (default: %(default)s)"
            sources.add_argument(f"--{name}", choices=choice.values, default=choice.values[0], help=help)
    sources.add_argument(
        "--follow_links",
        action="store_true",
        help="follow links to files and folders wherever they lead (default: only inside a source's folder and in a "
        "Hub cache)",
    )


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for the names of columns."""
    columns = parser.add_argument_group(
        "columns",
        "Columns of the tables in --reports_dir and --images_dir, by their exact names. Without these flags the\n"
        "usual English and Chinese names are recognized; the output says what each column was taken for.",
    )
    for name, what in COLUMNS.items():
        columns.add_argument(f"--{name}_column", default="", metavar="NAME", help=f"column with {what}")


def add_result(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for what is written, and where."""
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
    result.add_argument(
        "--configs",
        default=",".join(CONFIGS),
        metavar="NAMES",
        help="configs to write, separated by commas; `regions` is written where a source marks something in its images "
        "(default: %(default)s)",
    )


def add_splits(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for the splits."""
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
        help="earlier build whose rows keep their splits: a folder, an address, or a dataset on the Hub as ORG/NAME or "
        "ORG/NAME@REVISION (default: the build in --output_dir, if its fractions are the same)",
    )
    splits.add_argument(
        "--near_distance",
        type=int,
        metavar="BITS",
        help="maximum number of bits, of 256, in which the hashes of near-duplicates differ (default: 15)",
    )


def add_checks(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for what is accepted, and how images and texts are taken."""
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
        "--max_report_chars",
        type=int,
        default=8000,
        help="reports of --reports_dir must be shorter than this many characters, instead of --max_text_chars "
        "(default: %(default)s)",
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
        "--frames",
        choices=FRAMES,
        default=FRAMES[0],
        help="pictures to use of a file with several (multi-frame DICOM, TIFF with pages, animated GIF or WebP): "
        "`refuse` rejects the file, `all` makes one image of each (default: %(default)s)",
    )
    checks.add_argument(
        "--ocr",
        action="store_true",
        help="search images for burned-in text, and list it in review.jsonl; requires medpairs[ocr]",
    )
    checks.add_argument(
        "--review",
        default="",
        metavar="FILE",
        help="CSV file with a person's decisions: the columns item, named as in review.jsonl, decision (accept, reject "
        "or replace) and text; every build applies it again (default: none)",
    )
    checks.add_argument(
        "--ungrounded",
        choices=sorted(UNGROUNDED_MODES),
        default=UNGROUNDED_MODES[0],
        help="what becomes of texts and answers that say what no image shows (history, age, change since an earlier "
        "film, ...): `mark` names the kinds in the column `ungrounded`; `keep` leaves it empty; `strip` takes the "
        "sentences out; `reject` rejects the records; all count them (default: %(default)s)",
    )


def add_privacy(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for what is published of private sources."""
    privacy = parser.add_argument_group("privacy of your own data")
    privacy.add_argument(
        "--keep_columns",
        default="",
        metavar="A,B",
        help="columns to publish in `metadata` although they identify a person, or as they are instead of as a hash "
        "(default: none)",
    )
    privacy.add_argument(
        "--key_file",
        default="",
        metavar="FILE",
        help="secret key of the hashes that IDs and file names are published as; it is made if it does not exist "
        "(default: OUT.key beside --output_dir)",
    )
    privacy.add_argument(
        "--drop_flagged",
        action="store_true",
        help="reject every row that has something to review, see review.jsonl",
    )


def add_chat(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for conversations."""
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


def add_work(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for where the work is done."""
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


def add_hub(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for the push."""
    hub = parser.add_argument_group("Hub")
    hub.add_argument("--push_to_hub", metavar="ORG/NAME", help="dataset repository to push the result to")
    hub.add_argument(
        "--public",
        action="store_true",
        help="create a public repository, or push to an existing one; without it only private repositories are used",
    )
    hub.add_argument(
        "--reviewed",
        action="store_true",
        help="push although review.jsonl lists rows to review: you have looked at them, and they may be shared",
    )
    hub.add_argument(
        "--redistribute",
        action="store_true",
        help="push sources whose license is not known to allow redistribution as well",
    )


def refuse_idle_flags(arguments: argparse.Namespace, sources: Iterable[Source]) -> None:
    """Raise BuildError for a flag that can have no effect on the given sources, whatever they contain."""
    given = {source.name: source for source in sources}
    for source in SOURCES:
        for name, choice in source.choices.items():
            if getattr(arguments, name) != choice.values[0] and source.name not in given:
                raise BuildError(f"--{name} requires {source.flag}")
    lacking = [name for name, source in given.items() if not source.official_splits]
    if arguments.split_by == "official" and lacking:
        raise BuildError(f"--split_by official: {' and '.join(lacking)} has no official splits; {ADVICE}")
