"""Compares the claims of generated texts with those of their references, and counts where they agree.

Two claims match if they say the same of the same finding: present, absent or uncertain. An organ that one of the two
texts does not name matches any. What matching claims say of side, severity and size is compared only where both say it;
`f1_detailed` demands all of it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from .claims import ABSENT, PRESENT, Claim, read_claims
from .details import LEFT, RIGHT
from .measurements import Size

# Two sizes agree if they differ by at most this share of the larger one, so that a rounded size is not an error.
SIZE_TOLERANCE = 0.05

# The files that decide how a text is read and compared.
RULE_FILES = (
    "agreement", "chinese_characters", "claims", "cues", "details", "findings", "measurements", "sentences",
)  # fmt: skip

_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_CODE = re.compile("[a-z]{2,3}")  # of ISO 639


@cache
def rules_signature() -> str:
    """Returns the name of these rules, for example `rules:0a1b2c3d`, a digest of their files.

    Scores are comparable only under the same rules, so it is to be reported with them.
    """
    digest = hashlib.sha256()
    for name in RULE_FILES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8").encode())
    return f"rules:{digest.hexdigest()[:8]}"


def detect_language(text: str) -> str:
    """Returns `zh` if a text has a Chinese character, otherwise `en`."""
    return "zh" if _CHINESE.search(text) else "en"


def consistency_scores(
    predictions: Sequence[str], references: Sequence[str], languages: Sequence[str] | None = None
) -> dict[str, float | int | None]:
    """Compares texts by their findings.

    Args:
        predictions: [N] texts; an empty one claims nothing.
        references: [N] texts.
        languages: [N] codes of ISO 639 (default: `zh` for a reference with a Chinese character, otherwise `en`). They
            decide which scores a sample counts in; both languages are read in every text.

    Returns:
        the scores listed in the README: shares in 0..1, None where there is nothing to compare, and the counts of
        which they are shares.

    Raises:
        ValueError: there are no samples, lengths differ, a text is not a string, a reference is blank, or a language is
            not a code. The message names the sample.
    """
    _check(predictions, references)
    if languages is None:
        languages = [detect_language(text) for text in references]
    _check_languages(languages, len(references))
    rows = [pair_counts(prediction, reference) for prediction, reference in zip(predictions, references, strict=True)]
    scores = shares_of(_total(rows))
    for language in sorted(set(languages)):
        chosen = [row for row, code in zip(rows, languages, strict=True) if code == language]
        scores |= {f"{name}_{language}": value for name, value in shares_of(_total(chosen)).items()}
    return scores


def pair_score(prediction: str, reference: str) -> float | None:
    """Returns `f1_detailed` of one text; None if its reference has no known finding."""
    return shares_of(pair_counts(prediction, reference))["f1_detailed"]


def pair_counts(prediction: str, reference: str) -> Counter[str]:
    """Returns what is counted for one text and its reference, of which a bootstrap over texts or patients draws.

    If the reference has no known finding, only `left_out` and `claims_left_out` are counted.
    """
    expected, given = read_claims(reference), read_claims(prediction)
    if not expected:
        return Counter(left_out=1, claims_left_out=len(given))
    pairs = match_claims(expected, given)
    counts = Counter(
        samples=1,
        predictions_without_findings=int(not given),
        reference_claims=len(expected),
        predicted_claims=len(given),
    )
    counts["matched"] = len(pairs)
    for one, other in pairs:
        sides, severities, sizes = same_sides(one, other), same_severities(one, other), same_sizes(one, other)
        counts["detailed"] += int(
            one.details == other.details and len(one.sizes) == len(other.sizes) and sizes is not False
        )
        for name, same in (("laterality", sides), ("severity", severities), ("measurement", sizes)):
            counts[name] += int(same is not None)
            counts[f"{name}_same"] += int(same is True)
        counts["side_contradictions"] += int({one.sides, other.sides} == {frozenset({LEFT}), frozenset({RIGHT})})
    counts["status_contradictions"] = len(_opposites(expected, given))
    return counts


def match_claims(expected: Sequence[Claim], given: Sequence[Claim]) -> list[tuple[Claim, Claim]]:
    """Returns pairs of claims with the same finding and status, each claim in one pair at most."""
    pairs, left = [], list(given)
    # Claims that name the same organ come first, so that one without an organ does not take their partner.
    for exact in (True, False):
        for one in expected:
            if any(one is paired for paired, _ in pairs):
                continue
            for other in left:
                if one.status == other.status and _same_finding(one, other, exact):
                    pairs.append((one, other))
                    left = [claim for claim in left if claim is not other]
                    break
    return pairs


def same_sides(one: Claim, other: Claim) -> bool | None:
    """Returns whether two claims name the same sides; None if one of them names none."""
    return one.sides == other.sides if one.sides and other.sides else None


def same_severities(one: Claim, other: Claim) -> bool | None:
    """Returns whether two claims give the same severities, side by side if their sides are equal; None without them."""
    here, there = one.severities, other.severities
    if not here or not there:
        return None
    if one.sides == other.sides:
        return here == there
    return {severity for _, severity in here} == {severity for _, severity in there}


def same_sizes(one: Claim, other: Claim) -> bool | None:
    """Returns whether two claims give the same sizes within `SIZE_TOLERANCE`; None if one of them gives none.

    Of findings that both texts have on both sides, each size is compared with that of its side.
    """
    if not one.sizes or not other.sizes:
        return None
    sided = len(one.sides) == len(other.sides) == 2
    left = list(other.sizes)
    for size in one.sizes:
        partner = next((there for there in left if _same_size(size, there, sided)), None)
        if partner is None:
            return False
        left.remove(partner)
    return not left


def _same_size(one: Size, other: Size, sided: bool) -> bool:
    if (one.unit, one.bound, len(one.numbers)) != (other.unit, other.bound, len(other.numbers)):
        return False
    if sided and one.side and other.side and one.side != other.side:
        return False
    return all(
        abs(here - there) <= SIZE_TOLERANCE * max(abs(here), abs(there))
        for here, there in zip(one.numbers, other.numbers, strict=True)
    )


def _same_finding(one: Claim, other: Claim, exact: bool) -> bool:
    if one.kind != other.kind:
        return False
    return one.organ == other.organ or (not exact and not (one.organ and other.organ))


def _opposites(expected: Sequence[Claim], given: Sequence[Claim]) -> list[tuple[Claim, Claim]]:
    """Returns pairs of claims that contradict each other: one text has the finding only as present, one as absent."""
    found = []
    for one in expected:
        for other in given:
            if {one.status, other.status} != {PRESENT, ABSENT} or not _same_finding(one, other, exact=False):
                continue
            if one.sides and other.sides and not one.sides & other.sides:
                continue  # present on the left and absent on the right is no contradiction
            both = [(claims, status) for claims, status in ((expected, other.status), (given, one.status))]
            if not any(
                claim.status == status and _same_finding(claim, one, exact=False)
                for claims, status in both
                for claim in claims
            ):
                found.append((one, other))
    return found


def _total(rows: list[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row)
    return total


def shares_of(counts: Counter[str]) -> dict[str, float | int | None]:
    """Returns the scores of one text, or of the sum of the counts of several texts."""

    def share(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    claims = counts["predicted_claims"] + counts["reference_claims"]
    return {
        "precision": share(counts["matched"], counts["predicted_claims"]),
        "recall": share(counts["matched"], counts["reference_claims"]),
        "f1": share(2 * counts["matched"], claims),
        "f1_detailed": share(2 * counts["detailed"], claims),
        **{
            f"{name}_agreement": share(counts[f"{name}_same"], counts[name])
            for name in ("laterality", "severity", "measurement")
        },
        "status_contradictions": counts["status_contradictions"],
        "side_contradictions": counts["side_contradictions"],
        "num_samples": counts["samples"],
        "num_predicted_claims": counts["predicted_claims"],
        "num_reference_claims": counts["reference_claims"],
        "num_matched_claims": counts["matched"],
        **{f"num_{name}": counts[name] for name in ("laterality", "severity", "measurement")},
        "num_predictions_without_findings": counts["predictions_without_findings"],
        "num_left_out": counts["left_out"],
        "num_claims_left_out": counts["claims_left_out"],
    }


def _check(predictions: Sequence[str], references: Sequence[str]) -> None:
    if len(predictions) != len(references):
        raise ValueError(
            f"There are {len(predictions)} predictions, but {len(references)} references. Give one reference per "
            "prediction."
        )
    if not len(references):
        raise ValueError("There are no samples: references is empty. Give at least one prediction and its reference.")
    for sample, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        if not isinstance(prediction, str):
            raise ValueError(f"sample {sample}: the prediction is {prediction!r}. Give a string.")
        if not isinstance(reference, str) or not reference.strip():
            raise ValueError(f"sample {sample}: the reference is {reference!r}. Give a text that is not blank.")


def _check_languages(languages: Sequence[str], num_samples: int) -> None:
    if len(languages) != num_samples:
        raise ValueError(
            f"There are {len(languages)} languages for {num_samples} samples. Give one per prediction, or omit them."
        )
    for sample, language in enumerate(languages):
        if not isinstance(language, str) or not _CODE.fullmatch(language):
            raise ValueError(f"sample {sample}: the language {language!r} is unknown. Use a code such as en or zh.")
