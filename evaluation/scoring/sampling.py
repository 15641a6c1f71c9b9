"""Chooses some rows of a split at random, with each source represented as in the whole split."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence


def stratified_rows(sources: Sequence[str], limit: int, seed: int) -> list[int]:
    """Chooses rows.

    Args:
        sources: [N] the source of each row.
        limit: number of rows to choose.
        seed: seed of the choice.

    Returns:
        the numbers of `min(limit, N)` rows in increasing order. Each source has its share of them, rounded; where the
        limit allows, at least one.
    """
    if limit >= len(sources):
        return list(range(len(sources)))
    counts = Counter(sources)
    names = sorted(counts)
    shares = {name: limit * counts[name] / len(sources) for name in names}
    floor = 1 if limit >= len(names) else 0
    chosen = {name: max(floor, int(shares[name])) for name in names}
    # The largest remainders are rounded up; if the sources with one row have too many together, the largest give back.
    while sum(chosen.values()) != limit:
        if sum(chosen.values()) < limit:
            open_names = [name for name in names if chosen[name] < counts[name]]
            chosen[max(open_names, key=lambda name: shares[name] - chosen[name])] += 1
        else:
            chosen[min((n for n in names if chosen[n] > floor), key=lambda name: shares[name] - chosen[name])] -= 1
    generator, found = random.Random(seed), []
    for name in names:
        rows = [row for row, source in enumerate(sources) if source == name]
        found += generator.sample(rows, chosen[name])
    return sorted(found)
