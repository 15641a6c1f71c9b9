"""Computes the hash chain of a record: dataset -> checkpoint -> answers -> predictions -> score -> record.

Each link has the hash of its content and a hash over that one and the link before it. Who knows the last link can
check all that the score rests on: changing a byte of any content changes its hash, and that of every later link.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from model_cards.results import EvaluationResult, json_text, without_nan

DATASET, CHECKPOINT, ANSWERS, PREDICTIONS, SCORE, RECORD = LINKS = (
    "dataset", "checkpoint", "answers", "predictions", "score", "record",
)  # fmt: skip
# The fields that the link SCORE covers: all that was measured, and by which rule and settings.
SCORED = (
    "task", "samples", "metrics", "signatures", "intervals", "settings", "controls", "reliance", "parts",
    "classification", "alignment", "subgroups",
)  # fmt: skip
ROWS_AT_ONCE = 100  # rows whose encoded images are in memory while they are hashed


def sha256(content: str | bytes) -> str:
    """Returns the SHA-256 of a text in UTF-8 or of bytes."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def canonical(content: Any) -> str:
    """Returns JSON that is equal for equal content: sorted keys, no white space, null for NaN and infinity."""
    return json.dumps(without_nan(content), ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)


def row_hashes(rows: Any) -> list[str]:
    """Returns the hash of each row: of all its columns, with images as encoded bytes, which are not decoded.

    Args:
        rows: [N] a `datasets.Dataset`, or any sequence of rows with images of PIL.

    Raises:
        OSError: an image that is not part of the dataset cannot be read from its file.
    """
    if not hasattr(rows, "with_format"):
        return [row_hash(rows[number]) for number in range(len(rows))]
    # In the format arrow an image is its bytes; otherwise reading a row decodes it.
    table = rows.with_format("arrow")
    batches = (table[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE))
    return [row_hash(row) for batch in batches for row in batch.to_pylist()]


def row_hash(row: Mapping[str, Any]) -> str:
    """Returns the hash of one row, see `row_hashes`."""
    return sha256(canonical(hashable(row)))


def hashable(value: Any) -> Any:
    """Returns a value with the hash of its content in place of bytes and images."""
    if isinstance(value, Mapping):
        if set(value) == {"bytes", "path"}:  # an image of `datasets`; the path depends on the machine
            data = value["bytes"]
            return hashable(Path(value["path"]).read_bytes() if data is None and value["path"] else data)
        return {str(key): hashable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [hashable(inner) for inner in value]
    if isinstance(value, bytes):
        return sha256(value)
    if hasattr(value, "tobytes") and hasattr(value, "mode"):  # an image of PIL
        return [value.mode, list(value.size), sha256(value.tobytes())]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def fingerprint(hashes: Sequence[str]) -> str:
    """Returns the fingerprint of rows in their order, from the hash of each."""
    return sha256("".join(f"{digest}\n" for digest in hashes))


def answers_hash(predictions: Sequence[Mapping[str, Any]]) -> str:
    """Returns the hash of what the model said: the answers of a decoder, or the nearest texts of an encoder.

    It depends neither on losses nor on controls, so it is known before they are made.
    """
    said = ({name: row[name] for name in ("row", "generated", "nearest") if name in row} for row in predictions)
    return sha256("".join(f"{canonical(row)}\n" for row in said))


def score_hash(record: Mapping[str, Any]) -> str:
    """Returns the hash of the fields that say the score and by which rule and settings it was measured."""
    return sha256(canonical({name: record.get(name) for name in SCORED}))


def record_hash(record: Mapping[str, Any]) -> str:
    """Returns the hash of all fields of a record; of its chain, those before the link RECORD."""
    chain = [entry for entry in record.get("chain", []) if entry.get("name") != RECORD]
    return sha256(canonical({**record, "chain": chain}))


def links(contents: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yields the chain of the hashes of contents, in the order of LINKS; each entry has `name`, `content`, `link`."""
    before = ""
    for name in LINKS:
        if name in contents:
            before = link_hash(before, name, contents[name])
            yield {"name": name, "content": contents[name], "link": before}


def link_hash(before: str, name: str, content: str) -> str:
    """Returns the hash of a link from the hash of the link before it, its name and its content."""
    return sha256(f"{before}\n{name}\n{content}\n")


def content_of(chain: Sequence[Mapping[str, Any]], name: str) -> str:
    """Returns the hash of the content of a link; "" if the chain does not have it."""
    return next((str(entry.get("content", "")) for entry in chain if entry.get("name") == name), "")


def sealed(result: EvaluationResult, contents: Mapping[str, str]) -> EvaluationResult:
    """Returns a result with its chain.

    Args:
        result: the result, without a chain.
        contents: the hashes of the contents of the links DATASET, CHECKPOINT, ANSWERS and PREDICTIONS.
    """
    contents = {**contents, SCORE: score_hash(asdict(result))}
    result = replace(result, chain=list(links(contents)))
    # The hash is that of the fields as they will be read from the file.
    contents[RECORD] = record_hash(json.loads(json_text(asdict(result))))
    return replace(result, chain=list(links(contents)))
