"""Puts the columns of any dataset into the layout `pairs` or `chat`, without decoding or copying its images.

Labels that are missing are filled in: an image without a path is named by the first row that has the same image, so
that the questions about it stay together; the language is detected; the answer type is found by `answer_type`.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evaluation.datasets.answer_types import answer_type
from evaluation.datasets.flags import COLUMNS
from evaluation.loading import InputError
from evaluation.metrics.vqa_accuracy.plain_rules import detect_language
from evaluation.scoring.messages import plain_messages

ROWS_AT_ONCE = 1000  # rows whose encoded images are in memory while they are compared


def to_pairs(rows: Any, options: argparse.Namespace, where: str) -> Any:
    """Returns rows with the columns `image`, `text` and `image_path`.

    Args:
        rows: a `datasets.Dataset`.
        options: the flags, of which those of the columns are read.
        where: the dataset, for messages.

    Raises:
        InputError: a column is missing, or is not what it has to be.
    """
    names = found_columns(rows, options, ("image_column", "text_column"), where)
    columns = {"image": image_column(rows, names["image_column"], options, where)}
    columns["text"] = text_column(rows, names["text_column"], where)
    return with_labels(rows, columns, ("image_path",), options)


def to_chat(rows: Any, options: argparse.Namespace, where: str) -> Any:
    """Returns rows with the columns of the config `chat`; those that have `messages` keep them.

    Args and errors as for `to_pairs`.
    """
    wanted = ("image_path", "source_dataset", "language", "answer_type")
    if "messages" in rows.column_names and options.question_column is None and options.answer_column is None:
        names = found_columns(rows, options, ("image_column",), where, first="images")
        columns = {"images": list_column(image_column(rows, names["image_column"], options, where))}
        return with_labels(rows, columns, wanted, options)
    names = found_columns(rows, options, ("image_column", "question_column", "answer_column"), where)
    columns = {"images": list_column(image_column(rows, names["image_column"], options, where))}
    texts = (text_column(rows, names[name], where)[0].to_pylist() for name in ("question_column", "answer_column"))
    columns["messages"] = message_column(*texts)
    return with_labels(rows, columns, wanted, options)


def found_columns(
    rows: Any, options: argparse.Namespace, flags: Sequence[str], where: str, first: str = ""
) -> dict[str, str]:
    """Returns the column of each flag: the named one, or the first of the usual names that is there.

    Raises:
        InputError: some are missing.
    """
    found, missing = {}, {}
    for flag in flags:
        named = getattr(options, flag)
        usual = [first, *COLUMNS[flag]] if first else COLUMNS[flag]
        there = [name for name in ([named] if named is not None else usual) if name in rows.column_names]
        if there:
            found[flag] = there[0]
        else:
            missing[flag] = named if named is not None else COLUMNS[flag][0]
    if missing:
        raise InputError(
            f"{where}: missing columns: {', '.join(missing.values())}. It has {', '.join(rows.column_names)}; name the "
            f"columns by {', '.join(f'--{flag}' for flag in missing)}."
        )
    return found


# A column as Arrow data and the feature that reads it.
Column = tuple[pa.ChunkedArray, Any]


def image_column(rows: Any, name: str, options: argparse.Namespace, where: str) -> Column:
    """Returns a column of images, or of lists of images.

    A column of texts has the names of files in the folder of the dataset; a name that leaves the folder is refused.
    """
    import datasets

    feature, data = rows.features[name], arrow_column(rows, name)
    if isinstance(feature, datasets.List) and feature.feature == datasets.Value("null"):  # no row has an image
        kind = pa.list_(datasets.Image().pa_type)
        return pa.chunked_array([pa.array([[]] * len(rows), kind)]), datasets.List(datasets.Image())
    inner = feature.feature if isinstance(feature, datasets.List) else feature
    place = f"{where}, column {name}"
    if isinstance(inner, datasets.Image):
        check_files(data, options.dataset, place)
        return data, feature
    if isinstance(feature, dict) and {"bytes", "path"} <= feature.keys():
        check_files(data, options.dataset, place)
        return data, datasets.Image()
    if isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string"):
        paths = [
            None if text is None else file_below(options.dataset, text, f"{where}, column {name}, row {row}")
            for row, text in enumerate(data.to_pylist())
        ]
        values = pa.array([path and {"bytes": None, "path": path} for path in paths], datasets.Image().pa_type)
        return pa.chunked_array([values]), datasets.Image()
    raise InputError(f"{where}: the column {name} has no images; name another by --image_column")


def check_files(data: pa.ChunkedArray, dataset: str, where: str) -> None:
    """Checks that images which are files lie in the folder of the dataset or in the caches of Hugging Face.

    A table can name any file of this machine as an image, which would be read, and sent to a server that is asked.

    Args:
        data: images as structs of `bytes` and `path`, or lists of them.
        dataset: the folder or repository.
        where: the dataset and the column, for messages.

    Raises:
        InputError: an image is a file elsewhere.
    """
    from datasets import config
    from huggingface_hub.constants import HF_HUB_CACHE

    roots = [Path(config.HF_DATASETS_CACHE).resolve(), Path(HF_HUB_CACHE).resolve()]
    if Path(dataset).is_dir():
        roots.append(Path(dataset).resolve())
    for chunk in data.chunks:
        images = chunk.flatten() if pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type) else chunk
        are_files = pc.and_(pc.is_null(images.field("bytes")), pc.is_valid(images.field("path")))
        for path in images.field("path").filter(are_files).unique().to_pylist():
            if not any(Path(path).resolve().is_relative_to(root) for root in roots):
                raise InputError(f"{where}: an image is the file {path:.100}, which is not part of the dataset")


def file_below(folder: str, name: str, where: str) -> str:
    """Returns the path of a file in the folder of a dataset. Raises InputError for any other place."""
    if not Path(folder).is_dir():
        raise InputError(f"{where}: a name of a file and not an image. Give a dataset whose images are embedded.")
    root = Path(folder).resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise InputError(f"{where}: {name:.100} is not a file in {folder}")
    return str(path)


def text_column(rows: Any, name: str, where: str) -> Column:
    """Returns a column of texts; classes become their names, numbers and truth values texts."""
    import datasets

    feature, data = rows.features[name], arrow_column(rows, name)
    if isinstance(feature, datasets.ClassLabel):
        # -1 is the usual mark of a missing label.
        named = range(feature.num_classes)
        texts = [feature.int2str(value) if value in named else None for value in data.to_pylist()]
    elif not isinstance(feature, datasets.Value):
        raise InputError(f"{where}: the column {name} has no texts but {type(feature).__name__}; name another column")
    elif feature.dtype == "bool":
        texts = [None if value is None else ("no", "yes")[value] for value in data.to_pylist()]
    else:
        texts = [None if value is None else str(value) for value in data.to_pylist()]
    if None in texts:
        raise InputError(f"{where}: the column {name} has no value in row {texts.index(None)}")
    return pa.chunked_array([pa.array(texts, pa.string())]), datasets.Value("string")


def list_column(column: Column) -> Column:
    """Returns a column of lists: an image becomes a list of one, and no image an empty list."""
    import datasets

    data, feature = column
    if isinstance(feature, datasets.List):
        return data, feature
    chunks = []
    for chunk in data.chunks:
        valid = pc.is_valid(chunk)
        ends = pc.cumulative_sum(pc.cast(valid, pa.int32()))
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
        values = chunk if not chunk.null_count else chunk.filter(valid)
        chunks.append(pa.ListArray.from_arrays(offsets, values))
    kind = pa.list_(data.type)
    return pa.chunked_array(chunks, kind), datasets.List(feature)


def message_column(questions: Sequence[str], answers: Sequence[str]) -> Column:
    """Returns a column of conversations of one question and its answer."""
    import datasets

    feature = datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")})
    turns = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        for question, answer in zip(questions, answers, strict=True)
    ]
    kind = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
    return pa.chunked_array([pa.array(turns, kind)]), feature


def arrow_column(rows: Any, name: str) -> pa.ChunkedArray:
    """Returns a column as Arrow data, without decoding."""
    return rows.select_columns([name]).with_format("arrow")[:][name] if len(rows) else pa.chunked_array([[]])


def with_labels(rows: Any, columns: dict[str, Column], wanted: Sequence[str], options: argparse.Namespace) -> Any:
    """Returns a dataset of `columns` and of the other columns of `rows`, with the labels that it wants filled in."""
    import datasets

    kept = [name for name in rows.column_names if name not in columns]
    found = {name: (arrow_column(rows, name), rows.features[name]) for name in kept} | columns
    changed = {name for name, (_, feature) in columns.items() if rows.features.get(name) != feature}
    for name in wanted:
        values = found[name][0].to_pylist() if name in found else None
        complete = FILLERS[name](values, found, options)
        if complete != values:
            found[name] = pa.chunked_array([pa.array(complete, pa.string())]), datasets.Value("string")
            changed.add(name)
    if not changed and not any(getattr(options, flag) is not None for flag in COLUMNS):
        return rows  # a build of this project
    table = pa.table({name: data for name, (data, _) in found.items()})
    features = datasets.Features({name: feature for name, (_, feature) in found.items()})
    state = f"{rows._fingerprint} {sorted(columns)} {list(wanted)} {options.dataset}"
    fingerprint = hashlib.blake2b(state.encode(), digest_size=8).hexdigest()
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features), fingerprint=fingerprint)


def filled_paths(values: list | None, found: dict[str, Column], options: argparse.Namespace) -> list[str]:
    """Names each image without a path by the first row with the same encoded images."""
    if values is not None and all(values):
        return values  # without reading any image
    data = found["images" if "images" in found else "image"][0]
    names, first = [], {}
    for start in range(0, len(data), ROWS_AT_ONCE):
        for place, images in enumerate(data.slice(start, ROWS_AT_ONCE).to_pylist(), start):
            if values is not None and values[place]:
                names.append(str(values[place]))
                continue
            images = images if isinstance(images, list) else [images]
            content = [image and (image["bytes"] or str(image["path"]).encode()) for image in images]
            digest = hashlib.blake2b(b"|".join(part or b"" for part in content)).digest()
            names.append(f"row {first.setdefault(digest, place)}")
    return names


def filled_sources(values: list | None, found: dict[str, Column], options: argparse.Namespace) -> list[str]:
    """Leaves a source blank where it is missing: the rows have the same hash wherever the dataset is."""
    length = len(next(iter(found.values()))[0])
    return [value or "" for value in values or [None] * length]


def filled_languages(values: list | None, found: dict[str, Column], options: argparse.Namespace) -> list[str]:
    """Detects each language that is missing from question and answer."""
    length = len(found["messages"][0])
    known = values or [None] * length
    if all(known):
        return known
    return [
        value or detect_language(" ".join(turn["content"] or "" for turn in turns[-2:]))
        for value, turns in zip(known, conversations(found), strict=True)
    ]


def filled_types(values: list | None, found: dict[str, Column], options: argparse.Namespace) -> list[str]:
    """Finds the answer types if the dataset has no such column; a type that it leaves blank stays so."""
    if values is not None:
        return values
    turns = (turns[-2:] for turns in conversations(found))
    return [answer_type(*(turn["content"] or "" for turn in pair)) if len(pair) == 2 else "" for pair in turns]


def conversations(found: dict[str, Column]) -> list[list[dict]]:
    return [plain_messages(messages or []) for messages in found["messages"][0].to_pylist()]


FILLERS: dict[str, Callable[[list | None, dict[str, Column], argparse.Namespace], list]] = {
    "image_path": filled_paths,
    "source_dataset": filled_sources,
    "language": filled_languages,
    "answer_type": filled_types,
}
