"""Builds the configs `pairs`, `chat` and `regions` from raw source folders, as Parquet with a report of all files.

    medpairs build --slake_dir data/Datasets/SLAKE --pad_ufes_dir data/Datasets/PAD-UFES-20 --output_dir data/processed

At least one source is required. The flag of a source can be repeated for several folders of that source. The result is
a folder that `load_dataset(OUT, "pairs")` and `load_dataset(OUT, "chat")` read, with `chat_instructions.jsonl`,
`report.json`, `rejections.jsonl`, `review.jsonl` and a card. A hidden folder beside it caches what was read, so that
the next build reads only sources that have changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from hub_datasets.chat import llama_factory
from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.options import BuildOptions, addresses_of, argument_parser, read_options
from hub_datasets.output.publish import check_push, push_dataset, refuse_restricted_sources
from model_cards.commands.console import command


@command
def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status, see `model_cards/commands/console.py`."""
    arguments = argument_parser(__doc__).parse_args(argv)
    try:
        options = read_options(arguments)
        if arguments.push_to_hub:  # refuse now what would be refused after hours of work
            if not arguments.redistribute:
                refuse_restricted_sources(options.restricted_sources())
            check_push(options.output, arguments.push_to_hub, public=arguments.public)
        if arguments.redistribute and not options.restricted_sources():
            print("--redistribute has no effect: the licenses of all these sources allow redistribution")
        report = build(options)
        print(report_lines(report, options))
        output = storage.shown(options.output)
        print(f"Written to {output}: load_dataset({output!r}, 'pairs')")
        if line := private_line(options):
            print(line)
        if arguments.push_to_hub:
            visibility = {"private": not arguments.public, "redistribute": arguments.redistribute}
            visibility["reviewed"] = arguments.reviewed
            print(f"Pushed to {push_dataset(options.output, arguments.push_to_hub, **visibility)}")
    except OSError as error:
        if any(map(storage.has_secrets, addresses_of(arguments))):  # the error may repeat them
            raise BuildError(f"the build failed: {error.strerror or type(error).__name__}") from None
        raise
    except KeyboardInterrupt as error:
        if not getattr(error, "__notes__", None):  # `build` has not begun, or is done
            error.add_note(what_is_kept([], ""))
        raise
    return 0


def report_lines(report: dict[str, Any], options: BuildOptions) -> str:
    from hub_datasets.output.private_sources import folder_names
    from hub_datasets.output.report import summary

    return summary(report, folder_names(options))


def private_line(options: BuildOptions) -> str:
    from hub_datasets.output.private_sources import private_files

    return private_files(options)


def print_tables(stages: list) -> None:
    """Prints what the columns of each table were taken for."""
    from hub_datasets.output.tables import table_lines

    for line in table_lines(stages):
        print(line)


def build(options: BuildOptions) -> dict[str, Any]:
    """Builds a dataset from its sources and returns the report.

    If the output is already the result of this build, nothing is done.
    """
    from hub_datasets.ingest.executors import LazyEngine
    from hub_datasets.ingest.ingest import ingest_folder, remove_stale, stage_keys
    from hub_datasets.output.earlier_build import check_output
    from hub_datasets.output.folder import is_current, is_empty, written_folder
    from hub_datasets.output.private_sources import (
        check_kept_key,
        check_key_is_there,
        key_fingerprint,
        place_names,
        usable_key,
    )
    from model_cards.commands.owned_files import some

    check_kept_key(options)
    place, cache = storage.shown(options.output), storage.shown(options.cache)
    with ExitStack() as held:
        for folder, message in options.locks().items():
            held.enter_context(storage.file_lock(folder, message))
        scratch = held.enter_context(storage.scratch_folder(options.cache))
        for _, folder in options.folders:
            folder.scratch = str(scratch)  # a tar.gz is unpacked there
        keys = stage_keys(options.folders, options.images, options.texts)
        build_key = options.key(keys, key_fingerprint(options))
        if is_current(options.output, build_key):
            return json.loads(storage.read(storage.join(options.output, "report.json")))
        if not options.overwrite:
            check_key_is_there(options)
        if not (options.overwrite or is_empty(options.output)):
            raise BuildError(f"--output_dir {place} exists and is not empty; name another folder or add --overwrite")
        kept = []
        if not is_empty(options.output):
            kept = check_output(options.output, options.cache)
        engine = LazyEngine(options.engine, options.num_proc)
        stages = []
        try:
            for (source, folder), key in zip(options.folders, keys, strict=True):
                settings = (options.images, options.texts, engine, options.cache, scratch)
                stages.append(ingest_folder(source, folder, key, *settings))
            lasting = all(stage.lasting for stage in stages)  # else the next build has to look again
            with usable_key(options) as hasher:
                build_key = options.key(keys, hasher.fingerprint) if hasher else build_key  # the key may be a new one
                with written_folder(options.output, build_key if lasting else "", scratch) as output:
                    report = write_dataset(stages, options, engine, output, scratch, hasher)
                    place_names(scratch, options)  # before the dataset is in its place, which is never without it
            print_tables(stages)
            if kept:
                print(f"--overwrite: kept in {place}, because no build wrote it: {some(kept)}")
            remove_stale(options.cache, stages)
        except KeyboardInterrupt as error:
            error.add_note(what_is_kept(stages, cache))
            raise
        except sqlite3.OperationalError as error:
            raise BuildError(f"{cache}: cannot be read or written: {error}; is the disk full?") from None
        except sqlite3.DatabaseError as error:
            raise BuildError(f"{cache}: damaged ({error}); remove this folder and run again") from None
        except OSError as error:
            if error.filename:
                raise
            reason = storage.describe_error(error, options.output, options.cache)
            raise BuildError(f"{place} or {cache} cannot be written: {reason}") from None
        finally:
            engine.close()
    return report


def what_is_kept(stages: list, cache: str) -> str:
    """Returns what an interrupted build leaves, and how it is resumed."""
    if not stages:
        return "no source was read completely, so that the same command begins from the start"
    names = ", ".join(f"{stage.source.name} {stage.folder.label}".rstrip() for stage in stages)
    return f"kept in {cache}: {names}; the same command resumes after these"


@dataclass(frozen=True, slots=True)
class Settled:
    """What a build has decided before it writes anything.

    Attributes:
        decisions: the tables of accepted records, groups and splits.
        review: a person's decisions, and what became of them.
        stripped: the records that `--ungrounded` changed, counted by source, language and kind.
        near: the numbers of near-duplicates.
        scans: the numbers of slices of one scan, by source.
        memory: the splits of the earlier build.
        assigned: what `assign_splits` returned.
        official: the rows with an official split, by source; empty unless `--split_by official` asks for them.
        leaks: what `find_leaks` returned.
    """

    decisions: Any
    review: Any
    stripped: Any
    near: dict[str, int]
    scans: dict[str, Any]
    memory: dict[str, str]
    assigned: dict[str, Any]
    official: dict[str, dict[str, int]]
    leaks: dict[str, Any]


def settle(stages: list, options: BuildOptions, scratch: Path, hasher: Any) -> Settled:
    """Resolves duplicates, applies a person's decisions, and assigns splits. Raises BuildError for what must not be."""
    from hub_datasets.output import private_sources
    from hub_datasets.output.local_files import check_review
    from hub_datasets.splits import leakage
    from hub_datasets.splits.assignment import Decisions
    from hub_datasets.splits.official import count_official
    from hub_datasets.splits.review import Review
    from hub_datasets.splits.scans import find_scans
    from hub_datasets.splits.ties import refuse_ties
    from hub_datasets.splits.ungrounded import settle_targets

    publication = private_sources.make_publication(stages, options, hasher)
    dropped = private_sources.dropped_records(stages, publication) if options.drop_flagged else None
    decisions = Decisions(scratch / "decisions.sqlite", stages, options.chat_turns, publication)
    review = Review(options.review, options.texts)
    decisions.settle(options.choices, review, dropped)
    check_review(stages, review, publication)
    stripped = settle_targets(decisions, options.ungrounded, options.texts)
    near = decisions.find_near_duplicates(options.near_distance)
    scans = find_scans(decisions)
    decisions.make_groups()
    memory = options.memory()
    assigned = decisions.assign_splits(options.fractions, options.split_by, memory)
    official = count_official(decisions) if options.split_by == "official" else {}
    leaks = leakage.find_leaks(decisions)
    if options.split_by == "group":
        refuse_ties(decisions, options.near_distance, options.fractions)
        leakage.refuse_leaks(leaks)
    return Settled(decisions, review, stripped, near, scans, memory, assigned, official, leaks)


def write_dataset(
    stages: list, options: BuildOptions, engine: Any, output: Any, scratch: Path, hasher: Any = None
) -> dict[str, Any]:
    """Resolves duplicates, assigns splits and writes the dataset; returns the report.

    Args:
        hasher: of the IDs and names of private sources; None without such sources.
    """
    from hub_datasets.output import private_sources, report, rows
    from hub_datasets.output.card.baselines import baselines
    from hub_datasets.output.card.samples import Samples
    from hub_datasets.output.card.subgroups import Subgroups
    from hub_datasets.output.idle_flags import idle_flags
    from hub_datasets.splits.label_classes import label_classes

    settled = settle(stages, options, scratch, hasher)
    decisions = settled.decisions
    output.classes, too_many = label_classes(decisions)
    statistics, pairs, subgroups = report.RowStatistics(options.configs, output.classes), Samples(), Subgroups()
    written = rows.write_rows(
        decisions, scratch, options.texts, options.system_prompt, statistics, options.configs, output.classes, pairs,
        subgroups, options.ungrounded,
    )  # fmt: skip
    if "regions" in written.files and not written.files["regions"]:
        del written.files["regions"]
    if not written.files.get("pairs", True):
        raise BuildError(
            f"no text of a pair is longer than --min_text_chars {options.texts.min_chars} and shorter than "
            f"--max_text_chars {options.texts.max_chars} characters; change these bounds"
        )
    with (
        rows.shared(written, options.cache),
        engine.in_background(output.write_shards, written.files, stages, engine, options.num_shards) as finished,
    ):
        content = write_reports(stages, options, settled, output.local, scratch, statistics, written)
        content |= split_report(stages, options, settled, output.local)
        content |= {"classes": output.classes, "labels_left_out": too_many, "subgroups": subgroups.found()}
        content["baselines"] = baselines(decisions, content["rows_by"].get("pairs", {}).get("label", {}))
        samples = pairs.chosen()
        content["numbered_categories"] = output.draw_card(content, samples)
        content["shards"] = shards = finished()
        content["bytes"] = output.bytes()
        content["idle_flags"] = list(idle_flags(content))
    if "chat" in shards:
        llama_factory.write_llama_factory_info(output.local / "llama_factory" / "dataset_info.json", shards["chat"])
    output.write_card(content, samples)
    private_sources.write_names(scratch, decisions)
    decisions.close()
    return content


def split_report(stages: list, options: BuildOptions, settled: Settled, local: Path) -> dict[str, Any]:
    """Returns the parts of the report about groups and splits; writes the groups that moved to their file."""
    from hub_datasets.output import report
    from hub_datasets.output.idle_flags import count_questions
    from hub_datasets.output.local_files import write_moved
    from hub_datasets.splits import leakage
    from hub_datasets.splits.moved_groups import moved_groups

    decisions, assigned = settled.decisions, settled.assigned
    kept = {}
    if options.keep_splits:
        kept = {"from": storage.shown(options.keep_splits), "groups": assigned["kept"], "of": assigned["groups"]}
    shareable = all(map(report.is_shareable, stages))
    return {
        "coverage": assigned["coverage"],
        "moved": len(assigned["moved"]),
        "moved_groups": write_moved(local, decisions, moved_groups(decisions, settled.memory, assigned["moved"])),
        "kept_splits": kept,
        "official": settled.official,
        "questions": count_questions(decisions),
        "duplicates": report.duplicate_report(decisions, settled.near),
        "scans": settled.scans,
        "leakage": {
            "split_by": options.split_by,
            **settled.leaks,
            "examples": settled.leaks["examples"] if shareable else [],
            "official": leakage.official_leaks(decisions),
        },
    }


def write_reports(
    stages: list, options: BuildOptions, settled: Settled, local: Path, scratch: Path, statistics: Any, written: Any
) -> dict[str, Any]:
    """Writes the files beside the Parquet files; returns the parts of the report about sources and rows."""
    from hub_datasets.output import private_sources, report, rows, targets
    from hub_datasets.output.local_files import write_records
    from hub_datasets.splits.guarantees import guarantee

    decisions, review = settled.decisions, settled.review
    if "chat" in options.configs:
        rows.write_chat_instructions(scratch, local / "chat_instructions.jsonl")
    report.write_rejections(local / "rejections.jsonl", decisions)
    flags = report.write_review(local / "review.jsonl", decisions, options.images.ocr, review)
    write_records(local, decisions)
    with (local / "splits.txt").open("w", encoding="ascii") as file:
        file.writelines(options.memory_header())
        file.writelines(decisions.memory())
    sources = {name: report.source_report(decisions, name, written.left_out) for name in decisions.sources}
    for name, counts in sources.items():
        counts["guarantee"] = guarantee(decisions, name, settled.scans.get(name))
    closed = {stage.source.name for stage in stages if not report.is_shareable(stage)}
    return {
        "sources": sources,
        "splits": statistics.splits(),
        "rows_by": statistics.rows_by(),
        "groups": decisions.count_groups(),
        "review": flags | {"open": private_sources.open_flags(decisions, review)},
        "privacy": private_sources.privacy_report(decisions.publication),
        "images": report.image_report(decisions),
        "texts": statistics.texts(),
        "targets": targets.target_report(statistics.targets, options.ungrounded, settled.stripped, closed=closed),
        "settings": options.settings(),
        "defaults": options.defaults(),
        "fingerprint": written.fingerprint,
    }


if __name__ == "__main__":
    sys.exit(main())
