"""Opens or builds the image cache of many drawn pictures and prints a hash of its pixels; a command.

    python -m tests.trainers.images.build_cache FOLDER COUNT MILLISECONDS READER

READER is `encoder` (an image is one tile) or `decoder` (an image is one to four). The build is slowed down by so many
milliseconds an image, so that another process finds it at work.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import xxhash

from tests.trainers import chat_images
from tests.trainers.images import encoded_images
from tests.trainers.images.encoded_images import encoded, picture
from trainers.images.cache_builder import cached_images

READERS = {"encoder": encoded_images.READER, "decoder": chat_images.READER}
FILES = [encoded(picture(seed, *size)) for seed, size in enumerate([(30, 20), (150, 40), (90, 90), (40, 130)] * 3)]


def encoded_row(row: int) -> tuple[bytes, str]:
    """The same pictures with other bytes after them."""
    return FILES[row % len(FILES)] + row.to_bytes(4, "big"), f"row {row}"


class SlowRows:
    """Slow when a row is asked for to be decoded: before that it is for the key, and for the number of its tiles."""

    def __init__(self, seconds: float, before: int) -> None:
        self.seconds, self.before, self.asked = seconds, before, Counter()

    def __call__(self, row: int) -> tuple[bytes, str]:
        if self.asked[row] >= self.before:
            time.sleep(self.seconds)
        self.asked[row] += 1
        return encoded_row(row)


def main(words: list[str]) -> int:
    folder, count, milliseconds, reader = Path(words[0]), int(words[1]), float(words[2]), words[3]
    slow = SlowRows(milliseconds / 1000, before=1 if reader == "encoder" else 2)
    cache = cached_images(folder, READERS[reader], count, slow, workers=2)
    digest = xxhash.xxh3_128()
    for row in range(count):
        digest.update(cache.view(row)[0])
    print(digest.hexdigest())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
