"""Describes a source of images and texts: how it is read, what its license permits, and its options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hub_datasets.records import Ignored, RawRecord, Reason, Regions, Rejection

if TYPE_CHECKING:  # `datasets` takes over half a second to import, and `--help` does not need it
    pass


@dataclass(frozen=True, slots=True)
class Choice:
    """A command-line option of one source.

    Attributes:
        values: what can be chosen, the default first.
        help: its help text.
        resolves: which records it decides about, by the reason why they are rejected without it; None if it changes
            records of any kind.
    """

    values: tuple[str, ...]
    help: str
    resolves: Reason | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A source of images and texts; `hub_datasets/sources/` has one module for each.

    Attributes:
        name: the value of the column `source_dataset`.
        flag: the command-line option that names its folder, or each of several.
        kind: which question templates fit its images: a key of `chat.TEMPLATES`.
        read: yields a RawRecord for each row or file found in one folder, a Rejection for each invalid one (a line that
            is not JSON, a row without its columns), an Ignored for files that are not data, and Regions for images in
            which something is marked. Raises BuildError if the folder is not this source, or a file cannot be parsed.
        title, homepage, licence, citation: for the card. `licence` is an SPDX identifier if there is one.
        redistributable: whether its license allows redistribution; if not, a push requires --redistribute.
        caption: makes the text of a pair from an image's questions and answers, for sources whose records have no text.
            Its arguments are all accepted records of one image in one language, in source order, and the maximum
            length.
        settle: resolves the records of one source with the same pixels: yields each record to keep, and a Rejection for
            each other one. The default is `conflicts.drop_repeats`.
        labels: all classes of its records' `label`, in their order, so that a class has the same number in every build;
            empty for a source whose classes are those that its records name.
        bibtex: the BibTeX entries of its publications, for the card.
        tables: whether its columns can be named by flags such as --image_column; `read` then also takes them and a list
            for notes on its tables.
        choices: its own command-line options by name. `settle` receives the chosen values.
        scans: whether its records have a `scan_series` and a `scan_number`, by which slices of one scan are joined.
        official_splits: whether its records can have an official split; if not, `--split_by official` is refused.
    """

    name: str
    flag: str
    kind: str
    read: Callable[..., Iterator[RawRecord | Rejection | Ignored | Regions]]
    title: str
    homepage: str
    licence: str
    citation: str
    redistributable: bool = True
    caption: Callable[[list[RawRecord], int], str] | None = None
    settle: Callable[[list[RawRecord], dict[str, str]], Iterator[RawRecord | Rejection]] | None = None
    labels: tuple[str, ...] = ()
    bibtex: str = ""
    tables: bool = False
    choices: dict[str, Choice] = field(default_factory=dict)
    scans: bool = False
    official_splits: bool = True
