"""Maps the stored gray values of a DICOM file to the bytes that are shown (PS3.3, C.11).

Values are rescaled by the Modality LUT and mapped through the window that is stored in the file: the first of its
lookup tables (VOI LUT), or the first pair of center and width, both as pydicom applies them. Without a stored window,
the window spans the smallest to the largest value, padding pixels excluded. A `--window` takes precedence for images of
more than 8 bits. MONOCHROME1, in which large values are dark, is inverted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from hub_datasets.images.windowing import describe, extremes, linear, per_value, scaled

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset


def show_gray(values: np.ndarray, dataset: Dataset, bounds: tuple[float, float] | None) -> tuple[np.ndarray, str]:
    """Returns gray values as bytes, large values bright, and a description of the window."""
    bits = dataset.get("BitsStored", 32)  # pixels of floating point need not say it
    deep = bits > 8 or rescale(values[:1], dataset).dtype != values.dtype
    if not (bounds and deep) and (view := find_view(dataset)):
        to_white, window = view
        shown = per_value(lambda stored: scaled(to_white(rescale(stored, dataset)), 0, 1), values)
    else:
        rescaled, padding = per_value(partial(rescale, dataset=dataset), values), find_padding(values, dataset)
        counted = rescaled if padding is None else rescaled[~padding]
        if bounds and deep:
            (low, high), how = bounds, "fixed"
        else:
            (low, high), how = (extremes(counted), "min-max") if deep else ((0, 2**bits - 1), "")
        shown, window = linear(rescaled, low, high), describe(how, counted, low, high) if how else ""
    return (255 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown), window


def rescale(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Applies the file's Modality LUT, or its slope and intercept, to the stored values."""
    import numpy as np
    from pydicom.pixels import apply_modality_lut

    if dataset.get("ModalityLUTSequence"):
        count_in_16_bits(dataset.ModalityLUTSequence[0])
        stored = stored.astype(np.int64)  # pydicom subtracts the first value of the table in the type that it is given
    return apply_modality_lut(stored, dataset)


def find_view(dataset: Dataset) -> tuple[Callable[[np.ndarray], np.ndarray], str] | None:
    """Returns the file's mapping of rescaled values to 0 (black) to 1 (white), as a function, and its name.

    Returns None without a lookup table or window, and for an invalid window: without a width, or with an unknown
    function.
    """
    import numpy as np
    from pydicom.pixels import apply_voi, apply_windowing

    if dataset.get("VOILUTSequence"):
        largest = 2 ** count_in_16_bits(dataset.VOILUTSequence[0]) - 1
        return lambda values: apply_voi(np.rint(values).astype(np.int64), dataset) / largest, "lookup table of the file"
    if None in (dataset.get("WindowCenter"), dataset.get("WindowWidth")):
        return None
    dataset.VOILUTFunction = dataset.get("VOILUTFunction") or "LINEAR"
    for name in ("BitsStored", "PixelRepresentation"):  # for the range of the result, which here is 0 to 1 for all
        dataset.setdefault(name, 1)

    def to_white(values: np.ndarray) -> np.ndarray:
        black, white = apply_windowing(np.array([-np.inf, np.inf]), dataset)
        return (apply_windowing(values, dataset) - black) / (white - black)

    try:
        to_white(np.zeros(1))
    except ValueError:
        return None
    return to_white, "window of the file"


def count_in_16_bits(table: Dataset) -> int:
    """Makes pydicom count the entries of a lookup table in 16 bits; returns the bits of an entry.

    pydicom counts in the bits of an entry: of a table with 4,096 entries of 8 bits, which is common, it would use only
    256.
    """
    entries, first, bits = table.LUTDescriptor
    table.LUTDescriptor = [entries, first, 16]
    return bits


def find_padding(values: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Returns a mask of padding pixels around a round picture; None without padding, or if all pixels are padding."""
    if "PixelPaddingValue" not in dataset:
        return None
    first = int(dataset.PixelPaddingValue)
    last = int(dataset.get("PixelPaddingRangeLimit", first))
    padding = (values >= min(first, last)) & (values <= max(first, last))
    return padding if padding.any() and not padding.all() else None
