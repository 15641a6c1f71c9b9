"""Run as a command: opens or builds the image cache of many drawn pictures, and prints a hash of its pixels.

    python -m tests.trainers.build_image_cache FOLDER COUNT MILLISECONDS

The build is slowed down by so many milliseconds an image, so that another process finds it at work.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import xxhash

from tests.trainers.encoded_images import READER, encoded, picture
from trainers.image_cache import cached_images

FILES = [encoded(picture(seed, 30, 20)) for seed in range(10)]


def encoded_row(row: int) -> tuple[bytes, str]:
    """The same pictures with other bytes after them."""
    return FILES[row % len(FILES)] + row.to_bytes(4, "big"), f"row {row}"


class SlowRows:
    """Slow from the second time on that a row is asked for: the first time is for the key."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.asked = seconds, set()

    def __call__(self, row: int) -> tuple[bytes, str]:
        if row in self.asked:
            time.sleep(self.seconds)
        self.asked.add(row)
        return encoded_row(row)


if __name__ == "__main__":
    folder, count, milliseconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    cache = cached_images(folder, READER, count, SlowRows(milliseconds / 1000), workers=2)
    out, digest = np.empty(READER.shape, np.uint8), xxhash.xxh3_128()
    for row in range(count):
        cache.read(row, out)
        digest.update(out)
    print(digest.hexdigest())
