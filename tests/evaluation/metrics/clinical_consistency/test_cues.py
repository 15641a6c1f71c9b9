"""Checks that each rule for denials, doubts and affirmations is reached by a text, past the rules before it."""

from __future__ import annotations

from evaluation.metrics.clinical_consistency import claims, cues
from evaluation.metrics.clinical_consistency.details import mark_details
from evaluation.metrics.clinical_consistency.sentences import normalized, sentences_of
from tests.benchmarks.evaluation.clinical_consistency import LANGUAGES, read_probe
from tests.evaluation.metrics.clinical_consistency.test_claims import DETAILS, STATUSES


def test_no_rule_is_dead():
    """A rule that an earlier one always comes before would never be noticed to be wrong."""
    rows = [row for language in LANGUAGES for row in read_probe(language)]
    texts = [row[name] for row in rows for name in ("reference", "same", "changed") if name in row]
    texts += [text for text, _ in (*STATUSES, *DETAILS)]
    used = set()
    for text in texts:
        for sentence in sentences_of(normalized(text)):
            marked, *_ = mark_details(claims._mark_findings(sentence)[1])
            for number, (mark, pattern) in enumerate(cues.RULES):
                marked, count = pattern.subn(mark, marked)
                if count:
                    used.add(number)
    assert [cues._RULES[number] for number in range(len(cues.RULES)) if number not in used] == []


def test_a_word_in_a_word_is_no_cue():
    for text in ("notes", "nodular", "nonobstructing", "mayo", "canton", "butane"):
        assert cues.mark_cues(text) == text
    assert cues.mark_cues("no x") == f"{cues.NO} x"
