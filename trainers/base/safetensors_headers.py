"""Reads the names and shapes of the tensors in a folder of safetensors from the headers, without loading a weight."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evaluation.loading import InputError

Shapes = dict[str, tuple[int, ...]]


def shapes_in(folder: Path, stem: str = "model") -> Shapes:
    """Returns name and shape of each tensor in `<stem>.safetensors`, or in the shards `<stem>-00001-of-*.safetensors`.

    Raises:
        InputError: there is no such file, or one of them is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted([*folder.glob(f"{stem}.safetensors"), *folder.glob(f"{stem}-*-of-*.safetensors")])
    if not files:
        raise InputError(f"{folder} holds no {stem}.safetensors")
    shapes: Shapes = {}
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(f"{path}: {error}") from None
    return shapes


def check_shapes(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Raises InputError where a weight is missing, unexpected or of another shape; `what` says whose weights they are.

    Args:
        found, wanted: shapes by name.
    """
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    other = [
        f"{name} {tuple(found[name])} instead of {tuple(wanted[name])}"
        for name in sorted(found.keys() & wanted.keys())
        if tuple(found[name]) != tuple(wanted[name])
    ]
    problems = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    said = [
        f"{word} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for word, names in problems
        if names
    ]
    if said:
        raise InputError(f"{what}: {'; '.join(said)}")
