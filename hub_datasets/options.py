"""Checks the flags of `medpairs build` and converts them to options, with one message for each mistake."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.flags import COLUMNS, argument_parser, refuse_idle_flags
from hub_datasets.images.validation import ImageSettings
from hub_datasets.images.windowing import parse_window
from hub_datasets.ingest.source_folders import normalize_address, source_folders
from hub_datasets.privacy.key_file import check_key_place
from hub_datasets.records import ColumnNames
from hub_datasets.schema import CONFIGS
from hub_datasets.sources import SOURCES
from hub_datasets.sources.base import Source
from hub_datasets.splits.earlier_splits import is_hub_name, pinned_address
from hub_datasets.splits.groups import Fractions, read_memory
from hub_datasets.splits.review import Review
from hub_datasets.synthetic.marker import is_synthetic
from hub_datasets.texts.validation import TextSettings

MEMORY = "splits.txt"
CACHE = "medpairs-cache"  # the folder inside --cache_dir that belongs to builds alone


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The checked flags of a build.

    Attributes:
        folders: (source, folder) pairs; the folders of one source follow each other.
        output: path or address of the dataset.
        cache: path or address of the cache of sources that were read.
        choices: values of the sources' own flags, by name.
        keep_splits: folder of the build whose splits are kept; empty for the build that is replaced.
        review: file with a person's decisions about rows; empty for none.
        keep_columns: columns of private sources that are published although they identify.
        key_file: path of the secret key; empty for the one beside the output.
        drop_flagged: whether rows with something to review are rejected.
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
    review: str = ""
    near_distance: int = 0
    chat_turns: str = "single"
    system_prompt: str = ""
    ungrounded: str = "mark"
    num_shards: int = 1
    configs: tuple[str, ...] = CONFIGS
    engine: str = "local"
    num_proc: int = 1
    overwrite: bool = False
    keep_columns: tuple[str, ...] = ()
    key_file: str = ""
    drop_flagged: bool = False

    def settings(self) -> dict[str, Any]:
        """Return the settings that decide which rows are accepted, what they contain and which split they are in."""
        return {
            "val_fraction": self.fractions.validation,
            "test_fraction": self.fractions.test,
            "split_by": self.split_by,
            "min_text_chars": self.texts.min_chars,
            "max_text_chars": self.texts.max_chars,
            "max_report_chars": self.texts.max_report_chars,
            "max_image_pixels": self.images.max_pixels,
            "min_image_side": self.images.min_side,
            "window": self.images.window,
            "frames": self.images.frames,
            "ocr": self.images.ocr,
            "near_distance": self.near_distance,
            "chat_turns": self.chat_turns,
            "system_prompt": self.system_prompt,
            "ungrounded": self.ungrounded,
            "num_shards": self.num_shards,
            "configs": ",".join(self.configs),
            **{f"{name}_column": value for name, value in asdict(self.texts.columns).items()},
            "keep_columns": ",".join(self.keep_columns),
            "drop_flagged": self.drop_flagged,
            **self.choices,
        }

    def defaults(self) -> dict[str, Any]:
        """Return the settings of a build with default flags."""
        arguments = argument_parser().parse_args([])
        check_flags(arguments)
        return options_of(arguments, ()).settings()

    def private_sources(self) -> frozenset[str]:
        """Return the sources whose names and IDs are hashed: those of which some folder must not be redistributed."""
        return frozenset(
            source.name for source, folder in self.folders if not (source.redistributable or is_synthetic(folder))
        )

    def restricted_sources(self) -> list[str]:
        """Return the sources whose license does not allow redistribution; synthetic folders are always allowed."""
        asked = ((source, folder) for source, folder in self.folders if not source.redistributable)
        return [
            f"{source.name} ({folder.label})" if folder.label else source.name
            for source, folder in asked
            if not is_synthetic(folder)
        ]

    def key(self, stage_keys: Sequence[str], fingerprint: str = "") -> str:
        """Return a hash of everything that the result depends on: the contents of the sources, addresses, settings.

        Args:
            stage_keys: the key of each folder, from `ingest.stage_keys`.
            fingerprint: that of the secret key of the hashes; empty without private sources.
        """
        from hub_datasets.ingest.ingest import code_of, digest, installed_version

        sources = [
            [source.name, storage.shown(folder.address), key]  # as `chat_instructions.jsonl` names the folder
            for (source, folder), key in zip(self.folders, stage_keys, strict=True)
        ]
        kept = self.keep_splits
        if kept and kept != self.output:  # the other build may have changed since
            kept = self.memory()
        written_by = [code_of("model_cards"), installed_version("datasets"), installed_version("pyarrow")]
        review = digest(storage.read(self.review).hex()) if self.review else ""
        return digest([sources, self.settings(), kept, review, written_by, fingerprint])

    def locks(self) -> dict[str, str]:
        """Return the folders that only one build at a time may use, each with the message for a second build."""
        wait = "wait for it, or name another"
        beside = cache_of(self.output)
        locks = {beside: f"another build is writing {storage.shown(self.output)}; {wait} --output_dir"}
        if canonical_address(self.cache) != beside:
            shown = storage.shown(self.cache)
            locks[self.cache] = f"another build is using the cache {shown}; {wait} --cache_dir"
        return locks

    def memory_header(self) -> str:
        """Return the first line of `splits.txt`: the settings that splits depend on."""
        shares = f"val_fraction {self.fractions.validation:g} test_fraction {self.fractions.test:g}"
        return f"# {shares} split_by {self.split_by}\n"

    def memory(self) -> dict[str, str]:
        """Return the splits of --keep_splits, or of the build that is replaced, by the hashes of their keys.

        The splits of the replaced build are used only if its fractions are the same, because other fractions ask for
        other splits. Raises BuildError where the file of splits is missing or invalid.
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


def read_options(arguments: argparse.Namespace) -> BuildOptions:
    """Convert the flags to options. Raises BuildError, which names the flag, for anything that cannot be built."""
    check_flags(arguments)
    folders = tuple(source_folders(arguments))
    if not folders:
        flags = ", ".join(source.flag for source in SOURCES)
        raise BuildError(
            f"no source is given; name the folder of at least one ({flags}). To try a build without any data, create "
            "synthetic sources: medpairs sample --output_dir data/sample"
        )
    check_places(arguments, folders)
    if is_hub_name(arguments.keep_splits):
        arguments.keep_splits = pinned_address(arguments.keep_splits)
        print(f"--keep_splits reads {arguments.keep_splits}")
    refuse_idle_flags(arguments, [source for source, _ in folders])
    options = options_of(arguments, folders)
    check_privacy(options)
    if options.keep_splits:
        options.memory()  # its errors are raised before the sources are read
    Review(options.review, options.texts)  # so are those of the file's rows
    return options


def options_of(arguments: argparse.Namespace, folders: tuple[tuple[Source, Folder], ...]) -> BuildOptions:
    """Convert the flags to options."""
    return BuildOptions(
        folders=folders,
        output=arguments.output_dir,
        cache=storage.absolute(
            storage.join(arguments.cache_dir, CACHE) if arguments.cache_dir else cache_of(arguments.output_dir)
        ),
        images=ImageSettings(
            arguments.max_image_pixels, arguments.min_image_side, arguments.window, arguments.ocr, arguments.frames
        ),
        texts=TextSettings(
            arguments.min_text_chars,
            arguments.max_text_chars,
            arguments.max_report_chars,
            ColumnNames(**{name: getattr(arguments, f"{name}_column").strip() for name in COLUMNS}),
        ),
        fractions=Fractions(arguments.val_fraction, arguments.test_fraction),
        choices={name: getattr(arguments, name) for source in SOURCES for name in source.choices},
        split_by=arguments.split_by,
        keep_splits=arguments.keep_splits,
        review=arguments.review,
        near_distance=arguments.near_distance,
        chat_turns=arguments.chat_turns,
        system_prompt=arguments.system_prompt,
        ungrounded=arguments.ungrounded,
        num_shards=arguments.num_shards,
        configs=arguments.configs,
        engine=arguments.engine,
        num_proc=arguments.num_proc or processors(),
        overwrite=arguments.overwrite,
        keep_columns=tuple(filter(None, map(str.strip, arguments.keep_columns.split(",")))),
        key_file=arguments.key_file,
        drop_flagged=arguments.drop_flagged,
    )


def check_privacy(options: BuildOptions) -> None:
    """Raise BuildError where flags about private data have no effect, or would publish the key."""
    if not options.private_sources():
        for flag in ("keep_columns", "key_file"):
            if getattr(options, flag):
                raise BuildError(
                    f"--{flag} has no effect: every source here is public or synthetic, and keeps its columns and names"
                )
        return
    folders = [(source.flag, folder) for source, folder in options.folders]
    check_key_place(options.output, options.key_file, folders)


def check_flags(arguments: argparse.Namespace) -> None:
    """Raise BuildError, which names the flag, for an invalid value."""
    for flag in ("output_dir", "cache_dir", "keep_splits", "review", "key_file"):
        setattr(arguments, flag, normalize_address(value) if (value := getattr(arguments, flag)) else value)
    if arguments.reviewed and arguments.drop_flagged:
        raise BuildError("--reviewed cannot be combined with --drop_flagged, which leaves nothing to review; give one")
    for flag in ("public", "redistribute", "reviewed"):
        if getattr(arguments, flag) and not arguments.push_to_hub:
            raise BuildError(f"--{flag} requires --push_to_hub ORG/NAME")
    if arguments.push_to_hub:
        check_repository(arguments.push_to_hub)
    arguments.configs = configs_named(arguments.configs)
    held_out = (arguments.val_fraction, arguments.test_fraction)
    if not (min(held_out) >= 0 and sum(held_out) < 1):  # in this form it is also true for NaN
        raise BuildError(
            f"--val_fraction is {held_out[0]:g} and --test_fraction is {held_out[1]:g}; both must be at least 0, and "
            "their sum less than 1"
        )
    if not 0 <= arguments.min_text_chars < arguments.max_text_chars - 1:
        raise BuildError(
            f"--min_text_chars is {arguments.min_text_chars} and --max_text_chars is {arguments.max_text_chars}; use "
            "at least 0, and a maximum that is larger by at least 2"
        )
    if not arguments.min_text_chars < arguments.max_report_chars - 1:
        raise BuildError(
            f"--min_text_chars is {arguments.min_text_chars} and --max_report_chars is {arguments.max_report_chars}; "
            "use a maximum that is larger by at least 2"
        )
    check_columns(arguments)
    if arguments.near_distance is None:
        from hub_datasets.splits.near_duplicates import NEAR_DISTANCE

        arguments.near_distance = NEAR_DISTANCE
    if not 0 <= arguments.near_distance < 128:
        raise BuildError(
            f"--near_distance is {arguments.near_distance}; use 0 to 127, because different images differ in about 128 "
            "bits"
        )
    for flag, least in (("num_proc", 0), ("num_shards", 1), ("max_image_pixels", 1), ("min_image_side", 1)):
        if (value := getattr(arguments, flag)) < least:
            raise BuildError(f"--{flag} is {value}; use at least {least}")
    if arguments.pad_text == "clinical" and arguments.ungrounded in ("strip", "reject") and arguments.pad_ufes_dir:
        raise BuildError(
            f"--pad_text clinical states history, age and sizes, which --ungrounded {arguments.ungrounded} refuses; "
            "use --pad_text visible, or --ungrounded mark"
        )
    parse_window(arguments.window)
    if arguments.ocr and find_spec("rapidocr_onnxruntime") is None:
        raise BuildError("--ocr requires an extra: pip install 'medpairs[ocr]'")


def configs_named(value: str) -> tuple[str, ...]:
    """Return the configs in a list like `pairs,chat`, in the order of CONFIGS. Raise BuildError for any other word."""
    names = [word.strip() for word in value.split(",")] if isinstance(value, str) else list(value)
    if unknown := [name for name in names if name not in CONFIGS]:
        raise BuildError(f"--configs {value}: {unknown[0]!r} is not a config; choose from {', '.join(CONFIGS)}")
    if set(names) == {"regions"}:
        raise BuildError("--configs regions: add pairs or chat, because only some images have regions")
    return tuple(config for config in CONFIGS if config in names)


def check_columns(arguments: argparse.Namespace) -> None:
    """Raise BuildError for a column that is named without a source with tables, or for two purposes."""
    tables = [source.flag for source in SOURCES if source.tables]
    names: dict[str, str] = {}
    for flag in (f"--{name}_column" for name in COLUMNS):
        value = getattr(arguments, flag.removeprefix("--")).strip()
        if not value:
            continue
        if not any(getattr(arguments, flag.removeprefix("--")) for flag in tables):
            raise BuildError(f"{flag} requires {' or '.join(tables)}")
        if value in names:
            raise BuildError(f"{names[value]} and {flag} both name {value!r}; use a column once")
        names[value] = flag


def check_repository(name: str) -> None:
    """Raise BuildError for a name that is not a valid name of a repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise BuildError(f"--push_to_hub {name}: {' '.join(str(error).split())}") from None


def check_places(arguments: argparse.Namespace, folders: Sequence[tuple[Source, Folder]]) -> None:
    """Raise BuildError where the output or the cache would overwrite a source, a file or a mount point."""
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
    """Return every folder and address among the flags."""
    flags = [getattr(arguments, flag) for flag in ("output_dir", "cache_dir", "keep_splits", "review")]
    given = (getattr(arguments, source.flag.removeprefix("--")) or () for source in SOURCES)
    return [*filter(None, flags), *(address for folders in given for address in folders)]


def cache_of(output: str) -> str:
    """Return the default cache of an output: a hidden folder beside it, or inside it at a remote address."""
    if storage.is_remote(output):
        return f"{output.rstrip('/')}/.cache"
    path = storage.local_path(output).resolve()
    return str(path.with_name(f".{path.name}.cache"))


def canonical_address(address: str) -> str:
    """Return an address in one spelling: a local path is made absolute and its links are resolved."""
    return address.rstrip("/") if storage.is_remote(address) else str(storage.local_path(address).resolve())


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
