"""Finds the columns of images in the schema of a Parquet file, by their types and by what `datasets` wrote into it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Columns of bare bytes that hold images; a struct of bytes and path is one under any name.
BYTES_COLUMNS = ("image", "images", "img", "picture", "jpg", "jpeg", "png", "image_bytes", "bytes", "content")


@dataclass(frozen=True, slots=True)
class ImageColumn:
    """A column of images.

    Attributes:
        name: of the column.
        many: whether a cell is a list of images.
        data, path: the leaf columns of the bytes and of the file names; `path` is empty if there is none.
        bare: whether an image is its bytes, and not a struct.
    """

    name: str
    many: bool
    data: str
    path: str = ""
    bare: bool = False


def features_of(schema: Any) -> dict[str, Any]:
    """Returns the description of the columns that `datasets` writes into a file; empty if there is none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def image_columns(schema: Any, features: dict[str, Any], leaves: Sequence[str]) -> Iterator[ImageColumn]:
    """Yields the columns of images: structs of bytes and path, columns that `datasets` calls Image, and bare bytes.

    `image` and `images` come first, then the order of the file counts.
    """
    for field in sorted(schema, key=lambda field: field.name.casefold() not in ("image", "images")):
        inner, many = field.type, False
        if is_list(inner):
            inner, many = inner.value_type, True
        below = [leaf for leaf in leaves if is_below(leaf, field.name)]
        if is_struct(inner) and inner.get_field_index("bytes") >= 0 and is_binary(inner.field("bytes").type):
            data = next((leaf for leaf in below if leaf.endswith(".bytes")), "")
            path = next((leaf for leaf in below if leaf.endswith(".path")), "")
            if data:
                yield ImageColumn(field.name, many, data, path)
        elif (
            is_binary(inner)
            and len(below) == 1
            and (field.name.casefold() in BYTES_COLUMNS or is_image_feature(features.get(field.name)))
        ):
            yield ImageColumn(field.name, many, below[0], bare=True)


def is_below(leaf: str, name: str) -> bool:
    """Returns whether a leaf column belongs to a column, whose own name may hold dots."""
    return leaf == name or leaf.startswith(f"{name}.")


def is_image_feature(feature: Any) -> bool:
    """Returns whether `datasets` describes a column as an image or a list of images."""
    while isinstance(feature, dict) and "feature" in feature:
        feature = feature["feature"]
    if isinstance(feature, list) and feature:
        feature = feature[0]
    return isinstance(feature, dict) and feature.get("_type") == "Image"


def is_binary(kind: Any) -> bool:
    """Returns whether an Arrow type is bytes."""
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def is_list(kind: Any) -> bool:
    """Returns whether an Arrow type is a list."""
    import pyarrow as pa

    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_struct(kind: Any) -> bool:
    """Returns whether an Arrow type is a struct."""
    import pyarrow as pa

    return pa.types.is_struct(kind)


def holds_bytes(kind: Any) -> bool:
    """Returns whether an Arrow type is bytes, or contains them."""
    if is_list(kind):
        return holds_bytes(kind.value_type)
    if is_struct(kind):
        return any(holds_bytes(kind.field(number).type) for number in range(kind.num_fields))
    return is_binary(kind)
