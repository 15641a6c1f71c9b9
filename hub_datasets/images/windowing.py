"""Maps pixel values of more than 8 bits to the 8 bits of a published image.

The window is linear: the values from LOW to HIGH become 0 to 255, rounded to the nearest integer. The default window is

- for gray images, the image's own smallest to largest value, as radiology software does without a window: no value is
  clipped, but one bright spot, for example a metal marker, darkens the rest, and each image has its own window;
- for color images, 0 to the largest value of 8, 12 or 16 bits, the smallest bit depth that holds the image: stretching
  each image to its own extremes would change its colors, which have a clinical meaning.

The option `--window LOW:HIGH` sets fixed bounds for the whole dataset. Values outside the window become 0 or 255, and
the description of the window gives their number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from hub_datasets.errors import BuildError

if TYPE_CHECKING:  # `--help` does without numpy
    import numpy as np

NUMBER = r"([+-]?\d+(?:\.\d+)?)"
BOUNDS = re.compile(f"{NUMBER}:{NUMBER}", re.ASCII)
COLOR_DEPTHS = (8, 12, 16, 32)  # bits for each channel
ROWS = 64  # rows that are mapped at a time


def parse_window(text: str) -> tuple[float, float] | None:
    """Returns the bounds of `LOW:HIGH`; None for `auto`.

    Raises:
        BuildError: for anything else.
    """
    if text == "auto":
        return None
    found = BOUNDS.fullmatch(text)
    low, high = (float(found[1]), float(found[2])) if found else (0.0, 0.0)
    if not low < high or math.isinf(high - low):
        raise BuildError(
            f"--window {text!r} is neither auto nor LOW:HIGH, two numbers of which the first is smaller: "
            "use --window auto, or for example --window 0:4095"
        )
    return low, high


def linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns `values` as bytes: 0 up to `low`, 255 from `high`, linear in between. NaN becomes 0.

    If `low` equals `high`, only larger values become 255.
    """
    return per_value(lambda each: scaled(each, low, high), values)


def per_value(function: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """Returns `function(values)` for a function that works on each value separately.

    For integers of up to 16 bits, it is called once with all possible values, and the results are looked up.
    """
    import numpy as np

    if values.dtype.kind not in "iu" or values.dtype.itemsize > 2:
        return function(values)
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    places = values.view(f"u{values.itemsize}")
    table = function(np.arange(256**values.itemsize, dtype=places.dtype).view(values.dtype))
    found = np.empty(values.shape, table.dtype)
    for row in range(0, len(values), ROWS):  # numpy turns what it looks up by into 64 bits
        found[row : row + ROWS] = table[places[row : row + ROWS]]
    return found


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns `linear` in double precision."""
    import numpy as np

    values = values.astype(np.float64)
    if low == high:
        return np.where(values > high, 255, 0).astype(np.uint8)
    with np.errstate(all="ignore"):  # differences of huge values, which become infinite, and are clipped
        gray = np.rint((np.clip(values, low, high) - low) / (high - low) * 255)
    return np.nan_to_num(gray, nan=0.0, posinf=255.0, neginf=0.0).astype(np.uint8)


def extremes(values: np.ndarray) -> tuple[float, float]:
    """Returns the smallest and largest value other than NaN; 0 and 0 if there is none."""
    import numpy as np

    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def describe(how: str, values: np.ndarray, low: float, high: float) -> str:
    """Describes the window in words: `fixed 0..4095, 1.5 % of the values outside`."""
    import numpy as np

    outside = int(np.count_nonzero(values < low)) + int(np.count_nonzero(values > high))
    share = f", {100 * outside / values.size:.2g} % of the values outside" if outside else ""
    return f"{how} {low:.10g}..{high:.10g}{share}"


def window_gray(values: np.ndarray, bounds: tuple[float, float] | None) -> tuple[np.ndarray, str]:
    """Returns gray values as bytes, and a description of the window."""
    low, high = bounds or extremes(values)
    return linear(values, low, high), describe("fixed" if bounds else "min-max", values, low, high)


def window_color(values: np.ndarray, bounds: tuple[float, float] | None) -> tuple[np.ndarray, str]:
    """Returns the values of color channels as bytes, with one window for all channels, and its description."""
    if bounds:
        low, high = bounds
    else:
        largest = extremes(values)[1]
        low, high = 0.0, float(next((2**bits - 1 for bits in COLOR_DEPTHS if largest < 2**bits), largest))
    return linear(values, low, high), describe("fixed" if bounds else "full range", values, low, high)
