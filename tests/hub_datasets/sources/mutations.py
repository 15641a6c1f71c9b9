"""Damages bytes at random, reproducibly for a seed."""

from __future__ import annotations

import random

NASTY = [b"", b"\0", b'"', b"\n", b"\r", b",", b"{", b"]", b"\\ud800", b"\xff", b"NaN", b"-1e999", b"9" * 5000, b"null",
         b"[" * 2000, b'{"a":', b"\xed\xa0\x80", b"../", b"/", b"\xef\xbb\xbf", b"\\u0000", b"true", b"'"]  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes flipped, cut out, doubled, or replaced by something nasty."""
    content = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(content) + 1)
        length = min(len(content) - at, rng.choice([1, 1, 1, 4, 50]))
        match rng.randrange(5):
            case 0 if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                del content[at : at + length]
            case 2:
                content[at:at] = content[at : at + length]
            case 3:
                content[at : at + length] = rng.choice(NASTY)
            case 4 if rng.random() < 0.2:
                del content[at:]
    return bytes(content)
