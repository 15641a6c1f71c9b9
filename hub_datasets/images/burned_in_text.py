"""Finds text that is burned into the pixels of an image, which may name a patient."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from hub_datasets.errors import BuildError
from hub_datasets.records import Flag

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


# Text in images.
LEAST_CONFIDENCE = 0.7


LEAST_CHARACTERS = 3


MIN_SIDE = 512  # an image is made larger until its shorter side has as many pixels, so that small letters are found


MAX_SIDE = 1280


def find_burned_in_text(image: Picture) -> Flag | None:
    """Searches an image for lines of text, for example a patient's name on a film. Requires the extra `ocr`.

    Marks of one or two characters, for example L and R, are ignored.

    Returns:
        A flag `burned_in_text` with the number of lines and their bounds in pixels; None if there are none.

    Raises:
        BuildError: the extra `ocr` is not installed.
    """
    import numpy as np
    from PIL import Image

    scale = min(MAX_SIDE / max(image.size), max(1.0, MIN_SIDE / min(image.size)))
    size = tuple(max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("RGB", tuple(max(side, MIN_SIDE) for side in size))  # the engine would blow up a thin image
    canvas.paste(image.convert("RGB").resize(size))
    lines, _ = text_engine()(np.ascontiguousarray(np.asarray(canvas)[:, :, ::-1]))  # RapidOCR expects BGR
    boxes = [box for box, text, _ in lines or () if sum(character.isalnum() for character in text) >= LEAST_CHARACTERS]
    if not boxes:
        return None
    left, top = np.min(boxes, axis=(0, 1)) / scale
    right, bottom = np.max(boxes, axis=(0, 1)) / scale
    count = f"{len(boxes)} line{'s' if len(boxes) > 1 else ''}"
    return Flag("burned_in_text", f"{count} between x {left:.0f} and {right:.0f}, y {top:.0f} and {bottom:.0f}")


@functools.cache
def text_engine() -> Any:
    """Returns the OCR engine of this process. It uses one thread, because a build runs many processes."""
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise BuildError(f"--ocr requires an extra: pip install 'medpairs[ocr]' ({error})") from error
    return RapidOCR(
        intra_op_num_threads=1,
        inter_op_num_threads=1,
        use_cls=False,  # whether a line stands on its head: it is text either way
        text_score=LEAST_CONFIDENCE,
        det_limit_side_len=MIN_SIDE,
    )
