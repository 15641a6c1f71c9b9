"""Refuses near-duplicates that tie so much together that the splits lose their meaning.

Chains of similar pictures, for example of one view of the same joint, can connect most patients of a dataset to a
single group. It goes to one split as a whole, and another split may have nothing left.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from hub_datasets.errors import BuildError
from hub_datasets.schema import SPLITS
from hub_datasets.splits.assignment import ITEM, Decisions
from hub_datasets.splits.groups import Fractions, Groups

LARGEST = 0.1  # share of the groups that near-duplicates may tie to one
FEW = 10  # groups that they may always tie to one, in small datasets
EXAMPLES = 3


def refuse_ties(decisions: Decisions, distance: int, fractions: Fractions) -> None:
    """Raises BuildError, with advice, if near-duplicates tie too much, see `problem_of_ties`."""
    if problem := problem_of_ties(decisions, distance, fractions):
        raise BuildError(problem)


def problem_of_ties(decisions: Decisions, distance: int, fractions: Fractions) -> str:
    """Returns what is wrong if near-duplicates tie more than LARGEST of all groups into one, or empty a split.

    Equal hashes (`distance` 0) are always accepted.

    Args:
        distance: the bits in which hashes of near-duplicates differ at most.
        fractions: a split with a share must have rows if there were enough groups for it without near-duplicates.
    """
    if not distance or not decisions.database.execute("SELECT 1 FROM near").fetchone():
        return ""
    before = roots_without_near(decisions)
    query = "SELECT DISTINCT first_key, root FROM accepted JOIN keys ON keys.id = first_key"
    tied: dict[int, set[int]] = defaultdict(set)  # the groups without near-duplicates, by the one they are in now
    for key, root in decisions.database.execute(query):
        tied[root].add(before.root(key))
    sizes = Counter({root: len(members) for root, members in tied.items()})
    total, (root, largest) = sizes.total(), sizes.most_common(1)[0]
    problem = ""
    if largest > max(FEW, LARGEST * total):
        problem = f"tie {largest:,} of {total:,} groups (patients, studies, scans, images) into one"
    else:
        there = {split for (split,) in decisions.database.execute("SELECT DISTINCT split FROM accepted")}
        for split in SPLITS:
            share = fractions.of(split)
            if share > 0 and split not in there and total * share >= 1 > len(sizes) * share:
                problem = f"tie {total:,} groups into {len(sizes):,}, and {split} would have no rows"
    if not problem:
        return ""
    names = "; ".join(examples(decisions, root))
    return (
        f"--near_distance {distance}: near-duplicates {problem}; lower --near_distance (0 joins equal hashes only), "
        f"after a look at pairs, for example {names}"
    )


def roots_without_near(decisions: Decisions) -> Groups:
    """Returns the components over all keys that there would be without near-duplicates."""
    (count,) = decisions.database.execute("SELECT coalesce(max(id), 0) FROM keys").fetchone()
    groups = Groups(count + 1)
    query = "SELECT first_key, key FROM record_keys JOIN accepted ON accepted.id = owner"
    for pair in decisions.database.execute(query):
        groups.connect(pair)
    for pair in decisions.database.execute("SELECT first, second FROM scans"):
        groups.connect(pair)
    return groups


def examples(decisions: Decisions, root: int) -> Sequence[str]:
    """Returns some pairs of near-duplicates of a group, by the names of their rows."""
    query = "SELECT first, second FROM near JOIN keys ON keys.id = first WHERE root = ? LIMIT ?"
    item = "SELECT record ->> ? FROM accepted WHERE first_key = ? ORDER BY id LIMIT 1"
    return [
        " and ".join(decisions.database.execute(item, (ITEM, key)).fetchone()[0] for key in pair)
        for pair in decisions.database.execute(query, (root, EXAMPLES)).fetchall()
    ]
