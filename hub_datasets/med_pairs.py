"""Builds the dataset from raw source folders in Python and returns its rows, like a builder of `datasets`.

    from hub_datasets.med_pairs import MedPairs

    builder = MedPairs("pairs", slake_dir="raw/slake", reports_dir=["raw/first", "raw/second"], val_fraction=0.1)
    builder.download_and_prepare("data/processed")
    train = builder.as_dataset(split="train")

There is one way to build: this class runs what `medpairs build` runs, with the same checks, cache, splits and report,
and reads the Parquet files that it wrote.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hub_datasets.build import build
from hub_datasets.errors import BuildError
from hub_datasets.options import argument_parser, read_options
from hub_datasets.schema import CONFIGS, features_of

if TYPE_CHECKING:
    import datasets

# Flags of the command that are not options here: the folder is an argument of a method, and publishing is a command.
NOT_OPTIONS = ("help", "output_dir", "push_to_hub", "public", "redistribute", "reviewed")


class MedPairs:
    """One config of the dataset, from raw folders to rows.

    Args:
        config: `pairs`, an image and a text about it; `chat`, the same images as conversations; or `regions`, the
            images with boxes and masks.
        options: flags of `medpairs build` without their dashes, for example `slake_dir`, `val_fraction` or `ocr`. A
            source with several folders takes a list, a switch takes True or False.

    Attributes:
        folder: the built dataset; None before `download_and_prepare`.
        report: the content of its `report.json`; empty before `download_and_prepare`.

    Raises:
        BuildError: the config or an option does not exist, or a value is not allowed. The message names it.
    """

    def __init__(self, config: str = "pairs", **options: str | float | bool | Sequence[str]) -> None:
        if config not in CONFIGS:
            raise BuildError(f"config {config!r} does not exist; choose from {', '.join(CONFIGS)}")
        self.config = config
        self.folder: str | None = None
        self.report: dict[str, Any] = {}
        self._words = words_of(options)
        parse(self._words)  # a mistake is reported here, not when the build starts

    @property
    def features(self) -> datasets.Features:
        """The columns of the rows. The classes of `label` are known after `download_and_prepare`."""
        return features_of(self.config, self.report.get("classes", ()))

    def download_and_prepare(self, output_dir: str | Path | None = None) -> None:
        """Build the dataset, or do nothing where it is already what the sources and options ask for.

        Args:
            output_dir: the folder for the dataset. By default a folder of its own for these options in the cache of
                `datasets`, which is replaced when the sources have changed.

        Raises:
            BuildError: as the command does, for example where a source is unreadable or the folder is not empty.
        """
        words = list(self._words)
        if output_dir is None:
            output_dir = self._cache_folder()
            words.append("--overwrite")
        arguments = parse([*words, f"--output_dir={output_dir}"])
        self.report = build(read_options(arguments))
        self.folder = arguments.output_dir

    def as_dataset(self, split: str | None = None) -> datasets.Dataset | datasets.DatasetDict:
        """Return the rows of a split, for example `train` or `validation[:10]`, or of all splits.

        Raises:
            BuildError: `download_and_prepare` has not run.
            ValueError: there is no such split.
        """
        from datasets import load_dataset

        if self.folder is None:
            raise BuildError("the dataset is not built yet; call download_and_prepare() first")
        if self.config not in self.report["splits"]:
            written = ", ".join(self.report["splits"])
            why = "no source marks anything in its images" if self.config == "regions" else "configs leaves it out"
            raise BuildError(f"config {self.config} was not written, because {why}; written were {written}")
        return load_dataset(self.folder, self.config, split=split)

    def _cache_folder(self) -> Path:
        from datasets import config

        key = hashlib.blake2b("\n".join(self._words).encode(), digest_size=8).hexdigest()
        return Path(config.HF_DATASETS_CACHE) / "med_pairs" / key


def words_of(options: dict[str, Any]) -> list[str]:
    """The options as words of the command line, in the order of their names."""
    flags = {
        action.dest: action
        for action in argument_parser()._actions
        if action.option_strings and action.dest not in NOT_OPTIONS
    }
    words = []
    for name, value in sorted(options.items()):
        if name not in flags:
            close = get_close_matches(name, flags, 1)
            raise BuildError(f"option {name} does not exist" + (f"; did you mean {close[0]}?" if close else ""))
        flag = flags[name].option_strings[0]
        if flags[name].nargs == 0:  # a switch
            if not isinstance(value, bool):
                raise BuildError(f"option {name} must be True or False, not {value!r}")
            words += [flag] * value
        elif isinstance(value, (list, tuple)):
            words += [f"{flag}={one}" for one in value]
        elif value is not None:
            words.append(f"{flag}={value}")
    return words


def parse(words: list[str]) -> argparse.Namespace:
    """The command's flags from its words. Raises BuildError where the command would print its usage and exit."""
    parser = argument_parser()

    def refuse(message: str) -> NoReturn:
        raise BuildError(message)

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args(words)
