"""Refuses to resume from a checkpoint of a different run (other data, seed, batch size or model).

Every checkpoint holds a record of the flags, of the rows and of the world size. A run resumed with another batch size
or other rows would continue silently, and its result would be that of neither run. Flags that change where a run
writes, how long it takes or how much it prints may change, and so may its length.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xxhash

from evaluation.loading import InputError
from model_cards.results import without_nan

RECORD = "run_record.json"
ALLOW = "--allow_changed_flags"

# Of the data only the content counts, wherever it lies: see `rows_digest`.
# fmt: off
FREE = frozenset([
    # where it writes, and how much it says
    "output_dir", "overwrite", "public", "run_name", "project", "report_to", "disable_tqdm", "debug", "dry_run",
    # how long it is
    "num_train_epochs", "max_steps", "patience", "resume_from_checkpoint", "allow_changed_flags",
    # where the data lie
    "dataset", "dataset_revision", "train_split", "eval_split", "image_cache", "image_workers",
    # what is done beside the training
    "per_device_eval_batch_size", "prediction_loss_only", "do_train", "do_eval", "do_predict", "local_rank",
    "load_best_model_at_end", "save_adapter", "skip_memory_metrics", "ddp_timeout", "num_samples", "max_new_tokens",
    "config",
])
# fmt: on
FREE_PREFIXES = ("hub_", "push_to", "log_", "logging_", "save_", "eval_", "trackio_", "dataloader_num_", "dataloader_p")


def deciding(flags: dict[str, Any]) -> dict[str, Any]:
    """Returns the flags that decide the numbers, as JSON gives them back."""
    chosen = {name: value for name, value in flags.items() if name not in FREE and not name.startswith(FREE_PREFIXES)}
    return without_nan(json.loads(json.dumps(chosen, default=str)))


def rows_digest(rows: Any) -> str | None:
    """Returns a hash of the rows: of their columns, and of the sizes of their images. None where it is unknown.

    Args:
        rows: a `datasets.Dataset`, or what has one as its attribute `rows`, or as that one's.
    """
    import datasets

    while not isinstance(rows, datasets.Dataset) and hasattr(rows, "rows"):
        rows = rows.rows
    if not isinstance(rows, datasets.Dataset):
        return None
    # Image, or a list of them. The arrow format gives what is stored; casting a list would copy all images to a file.
    images = [
        name
        for name, feature in rows.features.items()
        if isinstance(getattr(feature, "feature", feature), datasets.Image)
    ]
    state = xxhash.xxh3_128(json.dumps(sorted(rows.column_names)).encode())
    for table in rows.with_format("arrow").iter(1000):
        for name in sorted(rows.column_names):
            column = table[name]
            state.update(repr(image_sizes(column) if name in images else column.to_pylist()).encode())
    return f"{len(rows)} rows, {state.hexdigest()}"


def image_sizes(column: Any) -> list:
    """Returns the number of bytes of each image, without reading them; a path where the image is not in the table.

    Of lists of images: the number in each row, and then the same of all images.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return [pc.list_value_length(column).to_pylist(), *image_sizes(pc.list_flatten(column))]
    structs = column.combine_chunks()
    structs = pa.concat_arrays(structs.chunks) if isinstance(structs, pa.ChunkedArray) else structs
    sizes = pc.binary_length(pc.struct_field(structs, "bytes")).to_pylist()
    paths = pc.struct_field(structs, "path").to_pylist()
    return [size if size is not None else Path(path or "").name for size, path in zip(sizes, paths, strict=True)]


def record_of(flags: dict[str, Any], training_rows: Any, evaluation_rows: Any, processes: int) -> dict[str, Any]:
    """Returns what a checkpoint stores about its run."""
    rows = {"training": rows_digest(training_rows), "evaluation": rows_digest(evaluation_rows)}
    return {"flags": deciding(flags), "rows": rows, "processes": processes}


def read_record(checkpoint: Path) -> dict[str, Any]:
    try:
        return json.loads((checkpoint / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def differing_flags(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns `--seed was 42 in the checkpoint and is 7 now`, for each flag that both know."""
    return [
        f"--{name} was {before[name]} in the checkpoint and is {now[name]} now"
        for name in sorted(before.keys() & now.keys())
        if before[name] != now[name]
    ]


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns the differences between two records, in words."""
    said = differing_flags(before.get("flags", {}), now["flags"])
    rows = before.get("rows", {})
    for kind, flag in (("training", "--train_split"), ("evaluation", "--eval_split")):
        if rows.get(kind) and now["rows"][kind] and rows[kind] != now["rows"][kind]:
            counts = [text.split(",")[0] for text in (rows[kind], now["rows"][kind])]
            said.append(f"the {kind} rows differ (--dataset, {flag}; {counts[0]} in the checkpoint, {counts[1]} now)")
    if before.get("processes", now["processes"]) != now["processes"]:
        said.append(
            f"the number of processes was {before['processes']} in the checkpoint and is {now['processes']} now"
        )
    return said


def check_same(checkpoint: Path, now: dict[str, Any], allowed: bool) -> None:
    """Raises InputError where a checkpoint belongs to another run; prints that instead where it is allowed."""
    if not (said := differences(read_record(checkpoint), now)):
        return
    if not allowed:
        raise InputError(
            f"--resume_from_checkpoint {checkpoint}: cannot resume another run: {'; '.join(said)}. "
            f"Use the values of the checkpoint. {ALLOW} resumes anyway; the result then equals neither run."
        )
    print(f"{ALLOW}: {'; '.join(said)}. The result equals neither run", flush=True)


def finished(output_dir: Path, flags: dict[str, Any], length: Sequence[str], written: Sequence[str]) -> bool:
    """Whether a folder holds the end of this very run, so that nothing is left to do.

    Args:
        flags: of the run now, all of them.
        length: names of the flags that say how long a run is.
        written: the files that a training writes last.
    """
    from trainers.base.checkpoint_files import checkpoints

    found = checkpoints(output_dir)
    if not found or not all((output_dir / name).is_file() for name in written):
        return False
    try:
        before = json.loads((output_dir / "training_args.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same_length = all(before.get(name) == flags.get(name) for name in length)
    return same_length and not differing_flags(read_record(found[-1]).get("flags", {}), deciding(flags))
