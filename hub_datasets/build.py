"""Builds the dataset: raw source folders in, `pairs` and `chat` as Parquet out, with a report of all that was read.

    python hub_datasets/build.py --slake_dir data/Datasets/SLAKE --pad_ufes_dir data/Datasets/PAD-UFES-20 \\
        --output_dir data/processed

Any subset of the sources will do. The result is a folder that `load_dataset(OUT, "pairs")` and
`load_dataset(OUT, "chat")` read, with `chat_instructions.jsonl`, `report.json`, `rejections.jsonl` and a card.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from hub_datasets import rows as rows_of
from hub_datasets.duplicates import drop_repeats
from hub_datasets.report import Accepted, Tally, make_report, summary, write_rejections
from hub_datasets.schema import BuildError, Ignored, RawRecord, Rejection, Source
from hub_datasets.sources import SOURCES
from hub_datasets.splits import Fractions, Groups, split_of
from hub_datasets.validation import CheckedImage, Problem, check_image, check_text, check_writable


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status: 0, or 2 where the input or a flag is at fault."""
    parser = argument_parser()
    options = parser.parse_args(argv)
    try:
        folders = source_folders(options)
        report = build(folders, options)
        print(summary(report))
        print(f"Written to {options.output_dir}: load_dataset({str(options.output_dir)!r}, 'pairs')")
        if options.push_to_hub:
            from hub_datasets.publish import push_dataset

            print(f"Pushed to {push_dataset(options.output_dir, options.push_to_hub, private=not options.public)}")
    except (BuildError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog="medpairs-build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for source in SOURCES:
        parser.add_argument(source.flag, type=Path, metavar="DIR", help=source.title)
    parser.add_argument("--output_dir", type=Path, default=Path("data/processed"), metavar="DIR")
    parser.add_argument("--overwrite", action="store_true", help="replace an output folder that is not empty")
    parser.add_argument("--val_fraction", type=float, default=0.05, help="share of groups for validation (%(default)s)")
    parser.add_argument("--test_fraction", type=float, default=0.0, help="share of groups for a test set (%(default)s)")
    parser.add_argument("--min_text_chars", type=int, default=5, help="a pair's text is longer (%(default)s)")
    parser.add_argument("--max_text_chars", type=int, default=1000, help="a pair's text is shorter (%(default)s)")
    parser.add_argument("--max_image_pixels", type=int, default=64_000_000, help="larger images are not decoded")
    parser.add_argument("--push_to_hub", metavar="ORG/NAME", help="push the result to this dataset repository")
    parser.add_argument("--public", action="store_true", help="make a new repository public; private otherwise")
    return parser


def source_folders(options: argparse.Namespace) -> list[tuple[Source, Path]]:
    """The sources that were asked for with their folders. Raises BuildError for what cannot be built."""
    held_out = (options.val_fraction, options.test_fraction)
    if not (min(held_out) >= 0 and sum(held_out) < 1):  # in this form it holds for `nan`, too
        raise BuildError("--val_fraction and --test_fraction are at least 0 and together less than 1")
    if not 0 <= options.min_text_chars < options.max_text_chars - 1:
        raise BuildError("--min_text_chars is at least 0, and --max_text_chars leaves room for a text above it")
    folders = []
    for source in SOURCES:
        folder = getattr(options, source.flag.removeprefix("--"))
        if folder is not None:
            if not folder.is_dir():
                raise BuildError(f"{source.flag} {folder}: no such folder")
            if is_empty(folder):
                raise BuildError(f"{source.flag} {folder}: the folder is empty")
            folders.append((source, folder))
    if not folders:
        flags = ", ".join(source.flag for source in SOURCES)
        raise BuildError(
            f"name the folder of at least one source ({flags}); to try without any, generate synthetic ones: "
            "python hub_datasets/sample_sources.py --output_dir data/sample"
        )
    check_output(options.output_dir, options.overwrite, folders)
    return folders


def check_output(output: Path, overwrite: bool, folders: list[tuple[Source, Path]]) -> None:
    """Raises BuildError where the output folder holds something that must stay."""
    for source, folder in folders:
        if folder.resolve().is_relative_to(output.resolve()):
            raise BuildError(f"--output_dir {output} holds {source.flag} {folder}; name another folder")
    if output.exists() and not output.is_dir():
        raise BuildError(f"--output_dir {output} is a file; name a folder")
    if output.exists() and not is_empty(output) and not overwrite:
        raise BuildError(f"--output_dir {output} exists and is not empty; name another folder or add --overwrite")


def is_empty(folder: Path) -> bool:
    """True where a folder holds nothing at all."""
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def build(folders: list[tuple[Source, Path]], options: argparse.Namespace) -> dict:
    """Reads, checks, groups, splits and writes; returns the report."""
    tallies = [read_and_check(source, folder, options) for source, folder in folders]
    if not any(tally.accepted for tally in tallies):
        rejected = [rejection for tally in tallies for rejection in tally.rejections]
        example = f", the first is {rejected[0].item}: {rejected[0].message}" if rejected else ""
        raise BuildError(f"no row was accepted; {len(rejected):,} were rejected{example}")
    fractions = Fractions(validation=options.val_fraction, test=options.test_fraction)
    assign_splits(tallies, fractions)

    rows = rows_of.make_rows(tallies, options.min_text_chars, options.max_text_chars)
    if not rows["pairs"]:
        raise BuildError("no text of a pair lies between --min_text_chars and --max_text_chars")
    flags = ("val_fraction", "test_fraction", "min_text_chars", "max_text_chars", "max_image_pixels")
    settings = {flag: getattr(options, flag) for flag in flags}
    report = make_report(tallies, rows, settings, rows_of.fingerprint(rows))
    with replaced_folder(options.output_dir) as output:
        write_rejections(output / "rejections.jsonl", tallies)
        rows_of.write_chat_instructions(output / "chat_instructions.jsonl", tallies, rows["chat"])
        write_dataset(output, rows, report)
    return report


def read_and_check(source: Source, folder: Path, options: argparse.Namespace) -> Tally:
    """Reads a source to its end and checks every record's text and image; each image is decoded once."""
    from tqdm import tqdm

    tally = Tally(source, folder)
    images: dict[str, CheckedImage | Problem] = {}
    by_content: dict[str, list[RawRecord]] = defaultdict(list)
    for record in tqdm(source.read(folder), desc=source.name, unit=" records", disable=None):
        if isinstance(record, Ignored):
            tally.ignored.append(record)
            continue
        tally.read += 1
        if isinstance(record, Rejection):
            tally.rejections.append(record)
            continue
        image: CheckedImage | Problem | None
        image = check_writable(record) or check_text(record, options.min_text_chars, options.max_text_chars)
        if image is None:
            if record.image not in images:
                images[record.image] = check_image(folder, record.image, options.max_image_pixels)
            image = images[record.image]
        if isinstance(image, Problem):
            tally.rejections.append(Rejection(source.name, record.item, image.code, image.message))
        else:
            by_content[image.sha256].append(record)

    settle = source.settle or drop_repeats
    for records in by_content.values():
        for settled in settle(records):
            if isinstance(settled, Rejection):
                tally.rejections.append(settled)
            else:
                tally.accepted.append(Accepted(settled, images[settled.image]))
    return tally


def assign_splits(tallies: list[Tally], fractions: Fractions) -> None:
    """Names the group of every accepted record, and the split of every group."""
    groups = Groups()
    everything = [accepted for tally in tallies for accepted in tally.accepted]
    for accepted in everything:
        groups.connect(group_keys(accepted))
    names = groups.names()
    for accepted in everything:
        accepted.group_id = names[group_keys(accepted)[0]]
        accepted.split = split_of(accepted.group_id, fractions)


def group_keys(accepted: Accepted) -> list[str]:
    """What ties a record to others: its image's content, in whatever source, and the keys its own source gives."""
    own = [f"{accepted.record.source}/{key}" for key in accepted.record.groups]
    return [f"image:{accepted.image.sha256}", *own]


def write_dataset(output: Path, rows: dict[str, dict[str, list[dict]]], report: dict) -> None:
    """Writes the Parquet of both configs, the report and the card; the folder then is a dataset repository."""
    from hub_datasets.med_pairs import CONFIGS, write_parquet
    from model_cards.dataset_card import write_dataset_card
    from model_cards.results import write_json

    scratch = output / ".scratch"
    rows_of.write_rows(scratch / "rows", rows)
    infos = {config: write_parquet(config, scratch / "rows", output, scratch) for config in CONFIGS}
    shutil.rmtree(scratch)
    write_json(output / "report.json", report)
    write_dataset_card(output, report, infos)


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Gives a hidden folder beside `target` to write to, and puts it in the place of `target` when all went well.

    A build that is killed leaves `target` as it was; what it leaves behind is removed by the next one.
    """
    target = target.resolve()  # so that it has a name, and a link stays a link
    target.parent.mkdir(parents=True, exist_ok=True)
    work, old = (target.with_name(f".{target.name}.{name}") for name in ("building", "old"))
    if old.exists() and not target.exists():  # killed between the two renames below
        old.rename(target)
    for leftover in (work, old):
        shutil.rmtree(leftover, ignore_errors=True)
    work.mkdir()
    try:
        yield work
        if target.exists():
            target.rename(old)
        work.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        for leftover in (work, old):
            shutil.rmtree(leftover, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
