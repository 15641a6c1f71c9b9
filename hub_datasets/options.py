"""Defines the flags of `medpairs build` and checks them, with one message for each mistake."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.images.validation import ImageSettings
from hub_datasets.images.windowing import parse_window
from hub_datasets.ingest.executors import ENGINES
from hub_datasets.ingest.source_folders import source_folders, tidy
from hub_datasets.schema import TURNS
from hub_datasets.sources import SOURCES
from hub_datasets.sources.base import Source
from hub_datasets.splits.groups import Fractions, read_memory
from hub_datasets.synthetic.marker import is_synthetic
from hub_datasets.texts.validation import TextSettings
from model_cards.commands.console import Parser

SPLIT_BY = ("group", "official")
MEMORY = "splits.txt"
CACHE = "medpairs-cache"  # the folder in a --cache_dir that is the builds' own


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The flags of a build, checked.

    Attributes:
        folders: the sources that were asked for with their folders, those of one source after each other.
        output: path or address of the result.
        cache: path or address of what was read, for the next build.
        choices: values of the sources' own flags.
        keep_splits: a build whose splits are to be kept; empty for the one that is replaced.
    """

    folders: tuple[tuple[Source, Folder], ...]
    output: str
    cache: str
    images: ImageSettings
    texts: TextSettings
    fractions: Fractions
    choices: dict[str, str] = field(default_factory=dict)
    split_by: str = "group"
    keep_splits: str = ""
    near_distance: int = 0
    chat_turns: str = "single"
    system_prompt: str = ""
    num_shards: int = 1
    engine: str = "local"
    num_proc: int = 1
    overwrite: bool = False

    def settings(self) -> dict[str, Any]:
        """The flags that decide which rows are accepted, how they read and where they go."""
        return {
            "val_fraction": self.fractions.validation,
            "test_fraction": self.fractions.test,
            "split_by": self.split_by,
            "min_text_chars": self.texts.min_chars,
            "max_text_chars": self.texts.max_chars,
            "max_image_pixels": self.images.max_pixels,
            "min_image_side": self.images.min_side,
            "window": self.images.window,
            "ocr": self.images.ocr,
            "near_distance": self.near_distance,
            "chat_turns": self.chat_turns,
            "system_prompt": self.system_prompt,
            "num_shards": self.num_shards,
            **self.choices,
        }

    def defaults(self) -> dict[str, Any]:
        """The settings of a build without any flag but those of folders."""
        arguments = argument_parser().parse_args([])
        check_flags(arguments)
        return options_of(arguments, ()).settings()

    def not_to_be_shared(self) -> list[str]:
        """The sources whose licence does not let others publish them; what this project drew itself may be shared."""
        asked = ((source, folder) for source, folder in self.folders if not source.redistributable)
        return [
            f"{source.name} ({folder.label})" if folder.label else source.name
            for source, folder in asked
            if not is_synthetic(folder)
        ]

    def key(self, stage_keys: Sequence[str]) -> str:
        """Names everything that the result depends on: what was read, from where, and the settings.

        Args:
            stage_keys: of each of the folders, as `staging.stage_keys` has them.
        """
        from hub_datasets.ingest.ingest import code_of, digest, installed_version

        sources = [
            [source.name, storage.shown(folder.address), key]  # as `chat_instructions.jsonl` names the folder
            for (source, folder), key in zip(self.folders, stage_keys, strict=True)
        ]
        kept = self.keep_splits
        if kept and kept != self.output:  # splits of another build, which may have been built anew since
            kept = self.memory()
        written_by = [code_of("model_cards"), installed_version("datasets"), installed_version("pyarrow")]
        return digest([sources, self.settings(), kept, written_by])

    def locks(self) -> dict[str, str]:
        """The folders that only one build at a time may use, and what another one is told."""
        wait = "wait for it, or name another"
        beside = cache_of(self.output)
        locks = {beside: f"another build is writing {storage.shown(self.output)}; {wait} --output_dir"}
        if place_of(self.cache) != beside:
            shown = storage.shown(self.cache)
            locks[self.cache] = f"another build keeps what it reads in {shown}; {wait} --cache_dir"
        return locks

    def memory_header(self) -> str:
        """The first line of the file of splits: what they depend on."""
        shares = f"val_fraction {self.fractions.validation:g} test_fraction {self.fractions.test:g}"
        return f"# {shares} split_by {self.split_by}\n"

    def memory(self) -> dict[str, str]:
        """The splits of the build that is replaced, or of the one that was named: rows that were there stay there.

        The replaced build's count only where the shares are the same: who asks for other shares wants other splits.
        """
        address = storage.join(self.keep_splits or self.output, MEMORY)
        if not storage.exists(address):
            if self.keep_splits:
                shown = storage.shown(self.keep_splits)
                raise BuildError(f"--keep_splits {shown}: no {MEMORY} there; name the folder of a build")
            return {}
        header, _, lines = storage.read(address).partition(b"\n")
        if not self.keep_splits and header.decode("ascii", "replace") + "\n" != self.memory_header():
            return {}
        try:
            return read_memory(lines, MEMORY)
        except ValueError as error:
            shown = storage.shown(address)
            raise BuildError(f"{shown}: {error}; name another build, or remove the file") from None


def argument_parser(description: str | None = None) -> argparse.ArgumentParser:
    """The command's flags."""
    parser = Parser(
        prog="medpairs build", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sources = parser.add_argument_group(
        "sources",
        "folders, zip files among their files or not, or fsspec addresses. A flag may be repeated: several folders\n"
        "become one source, and a patient or study ID is taken for the same patient or study in all of them.",
    )
    for source in SOURCES:
        sources.add_argument(source.flag, action="append", metavar="DIR", help=source.title)
        for name, values in source.choices.items():
            sources.add_argument(
                f"--{name}", choices=values, default=values[0], help=f"for {source.flag} (%(default)s)"
            )

    result = parser.add_argument_group("result")
    result.add_argument("--output_dir", default="data/processed", metavar="DIR", help="%(default)s")
    result.add_argument("--overwrite", action="store_true", help="replace an earlier build; other files there stay")
    result.add_argument(
        "--num_shards", type=int, default=1, help="at least as many Parquet files a split (%(default)s)"
    )

    splits = parser.add_argument_group("splits")
    splits.add_argument("--val_fraction", type=float, default=0.05, help="share of groups for validation (%(default)s)")
    splits.add_argument("--test_fraction", type=float, default=0.0, help="share of groups for a test set (%(default)s)")
    splits.add_argument(
        "--split_by", choices=SPLIT_BY, default="group", help="`official` takes the sources' own splits, leaks and all"
    )
    splits.add_argument("--keep_splits", default="", metavar="DIR", help="keep the splits of this build or dataset")
    splits.add_argument(
        "--near_distance", type=int, metavar="BITS", help="of 256 that near-duplicates differ in at most (measured: 15)"
    )

    checks = parser.add_argument_group("checks")
    checks.add_argument("--min_text_chars", type=int, default=5, help="a pair's text is longer (%(default)s)")
    checks.add_argument("--max_text_chars", type=int, default=1000, help="a pair's text is shorter (%(default)s)")
    checks.add_argument("--max_image_pixels", type=int, default=64_000_000, help="larger images are not decoded")
    checks.add_argument("--min_image_side", type=int, default=8, help="smaller images are rejected (%(default)s)")
    checks.add_argument(
        "--window", default="auto", metavar="LOW:HIGH", help="for 16-bit images: `auto` or --window=LOW:HIGH"
    )
    checks.add_argument("--ocr", action="store_true", help="look for text burned into images (needs medpairs[ocr])")

    chat = parser.add_argument_group("chat")
    chat.add_argument("--chat_turns", choices=TURNS, default="single", help="`multi`: all questions of an image in one")
    chat.add_argument("--system_prompt", default="", metavar="TEXT", help="first message of every conversation")

    work = parser.add_argument_group("work")
    work.add_argument("--engine", choices=ENGINES, default="local", help="where images are read (%(default)s)")
    work.add_argument("--num_proc", type=int, default=0, help="processes; one for each processor if not given")
    work.add_argument("--cache_dir", default="", metavar="DIR", help="what was read, for the next build")

    hub = parser.add_argument_group("Hub")
    hub.add_argument("--push_to_hub", metavar="ORG/NAME", help="push the result to this dataset repository")
    hub.add_argument(
        "--public", action="store_true", help="make a new repository public, and push to one that is; refused otherwise"
    )
    hub.add_argument(
        "--redistribute", action="store_true", help="push sources, too, whose licence is not known to allow it"
    )
    return parser


def read_options(arguments: argparse.Namespace) -> BuildOptions:
    """The options that the flags make. Raises BuildError for what cannot be built."""
    check_flags(arguments)
    folders = tuple(source_folders(arguments))
    if not folders:
        flags = ", ".join(source.flag for source in SOURCES)
        raise BuildError(
            f"name the folder of at least one source ({flags}); to try without any, generate synthetic ones: "
            "medpairs sample --output_dir data/sample"
        )
    check_places(arguments, folders)
    options = options_of(arguments, folders)
    if options.keep_splits:
        options.memory()  # what is wrong with it is said before everything is read
    return options


def options_of(arguments: argparse.Namespace, folders: tuple[tuple[Source, Folder], ...]) -> BuildOptions:
    """The flags under the names that they have here."""
    return BuildOptions(
        folders=folders,
        output=arguments.output_dir,
        cache=storage.absolute(
            storage.join(arguments.cache_dir, CACHE) if arguments.cache_dir else cache_of(arguments.output_dir)
        ),
        images=ImageSettings(arguments.max_image_pixels, arguments.min_image_side, arguments.window, arguments.ocr),
        texts=TextSettings(arguments.min_text_chars, arguments.max_text_chars),
        fractions=Fractions(arguments.val_fraction, arguments.test_fraction),
        choices={name: getattr(arguments, name) for source in SOURCES for name in source.choices},
        split_by=arguments.split_by,
        keep_splits=arguments.keep_splits,
        near_distance=arguments.near_distance,
        chat_turns=arguments.chat_turns,
        system_prompt=arguments.system_prompt,
        num_shards=arguments.num_shards,
        engine=arguments.engine,
        num_proc=arguments.num_proc or processors(),
        overwrite=arguments.overwrite,
    )


def check_flags(arguments: argparse.Namespace) -> None:
    """Raises BuildError, which names the flag, for a value that makes no sense."""
    for flag in ("output_dir", "cache_dir", "keep_splits"):
        setattr(arguments, flag, tidy(value) if (value := getattr(arguments, flag)) else value)
    for flag in ("public", "redistribute"):
        if getattr(arguments, flag) and not arguments.push_to_hub:
            raise BuildError(f"--{flag} says how to push; name the repository with --push_to_hub ORG/NAME")
    if arguments.push_to_hub:
        check_repository(arguments.push_to_hub)
    held_out = (arguments.val_fraction, arguments.test_fraction)
    if not (min(held_out) >= 0 and sum(held_out) < 1):  # in this form it holds for `nan`, too
        raise BuildError("--val_fraction and --test_fraction are at least 0 and together less than 1")
    if not 0 <= arguments.min_text_chars < arguments.max_text_chars - 1:
        raise BuildError("--min_text_chars is at least 0, and --max_text_chars leaves room for a text above it")
    if arguments.near_distance is None:
        from hub_datasets.splits.near_duplicates import NEAR_DISTANCE

        arguments.near_distance = NEAR_DISTANCE
    if not 0 <= arguments.near_distance < 128:
        raise BuildError("--near_distance is at least 0 and less than 128: different images differ by about 128 bits")
    for flag, least in (("num_proc", 0), ("num_shards", 1), ("max_image_pixels", 1), ("min_image_side", 1)):
        if getattr(arguments, flag) < least:
            raise BuildError(f"--{flag} is at least {least}")
    parse_window(arguments.window)
    if arguments.ocr and find_spec("rapidocr_onnxruntime") is None:
        raise BuildError("--ocr needs an extra: pip install 'medpairs[ocr]'")


def check_repository(name: str) -> None:
    """Raises BuildError for a name that no repository can have."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise BuildError(f"--push_to_hub {name}: {' '.join(str(error).split())}") from None


def check_places(arguments: argparse.Namespace, folders: Sequence[tuple[Source, Folder]]) -> None:
    """Raises BuildError where the result or the cache cannot lie."""
    for flag in ("output_dir", "cache_dir"):
        address = getattr(arguments, flag)
        if not address:
            continue
        place = f"--{flag} {storage.shown(address)}"
        if storage.is_remote(address):
            storage.filesystem_of(address)
            for source, folder in folders:
                if f"{folder.address}/".startswith(f"{address.rstrip('/')}/") and flag == "output_dir":
                    raise BuildError(f"{place} contains {source.flag} {folder.named()}; name another address")
            if flag == "output_dir" and address.startswith("hf://") and not arguments.cache_dir:
                raise BuildError(
                    f"{place} requires --cache_dir; otherwise the cache would be published with the dataset"
                )
            continue
        path = storage.local_path(address)
        for source, folder in folders:
            if storage.is_remote(folder.address):
                continue
            read, written = storage.local_path(folder.address).resolve(), path.resolve()
            if read.is_relative_to(written) and flag == "output_dir":
                raise BuildError(f"{place} contains {source.flag} {folder.named()}; name another folder")
            if written.is_relative_to(read):
                raise BuildError(f"{place} is inside {source.flag} {folder.named()}; name another folder")
        if path.exists() and not path.is_dir():
            raise BuildError(f"{place} is a file; name a folder")
        if path.resolve().is_mount():  # is_mount() is true for `.`, so the path is resolved first
            raise BuildError(f"{place} is a mount point, which cannot be replaced; name a folder inside it")


def addresses_of(arguments: argparse.Namespace) -> list[str]:
    """Every folder and address among the flags."""
    flags = [getattr(arguments, flag) for flag in ("output_dir", "cache_dir", "keep_splits")]
    given = (getattr(arguments, source.flag.removeprefix("--")) or () for source in SOURCES)
    return [*filter(None, flags), *(address for folders in given for address in folders)]


def cache_of(output: str) -> str:
    """Where what was read is kept: a hidden folder beside the result, or in it where there is no beside."""
    if storage.is_remote(output):
        return f"{output.rstrip('/')}/.cache"
    path = storage.local_path(output).resolve()
    return str(path.with_name(f".{path.name}.cache"))


def place_of(address: str) -> str:
    """The address, or the one way to write a path of this machine."""
    return address.rstrip("/") if storage.is_remote(address) else str(storage.local_path(address).resolve())


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
