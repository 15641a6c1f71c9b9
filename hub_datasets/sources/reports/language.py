"""Determines the language of a report: from its name, from its script, or from the words of Latin script.

The code is that of ISO 639-1, or `und` (undetermined). A language is never assumed: a text in Latin script that is too
short to decide, for example `CT`, gets the language that nearly all other texts of its folder have (`Majority`), and
`und` where there is none. The decision for Latin script adds two kinds of evidence: the classifier py3langid (byte
n-grams, trained on general text, unsure of medical terms) and words that only reports of one language have.

The metrics have rules of their own (`detect_language` in `evaluation/metrics`), because they decide how a text is split
into words. They cannot share this code: a metric is uploaded to the Hub without this package.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from typing import Any

from hub_datasets.schema import UNDETERMINED
from hub_datasets.sources.reports.language_words import NAMES, WORDS

CODES = {name: code for code, names in NAMES.items() for name in (code, *names.split())}
CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
KANA = re.compile(r"[\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d]")
HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
LATIN_WORD = re.compile(r"[A-Za-zÀ-ɏḀ-ỿ][A-Za-zÀ-ɏḀ-ỿ0-9]*")
WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
# Words of other scripts, and the languages that are written in them. One Greek letter is a symbol in any report.
SCRIPTS = {
    re.compile(r"[\u0400-\u052f]+"): ("ru", "uk", "bg", "sr", "kk"),
    re.compile(r"[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc]+"): ("ar", "fa", "ur"),
    re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]{3,}"): ("el",),
    re.compile(r"[\u0590-\u05ff]+"): ("he",),
    re.compile(r"[\u0900-\u097f]+"): ("hi",),
    re.compile(r"[\u0980-\u09ff]+"): ("bn",),
    re.compile(r"[\u0b80-\u0bff]+"): ("ta",),
    re.compile(r"[\u0c00-\u0c7f]+"): ("te",),
    re.compile(r"[\u0e00-\u0e7f]+"): ("th",),
    re.compile(r"[\u10a0-\u10ff]+"): ("ka",),
    re.compile(r"[\u0530-\u058f]+"): ("hy",),
}
# Letters that one of several languages of a script has alone.
LETTERS = {re.compile("[ыэё]", re.I): "ru", re.compile("[іїєґ]", re.I): "uk", re.compile("[јљњђћџ]", re.I): "sr",
           re.compile("[әғқңұүһ]", re.I): "kk", re.compile("[پچژگ]"): "fa", re.compile("[ٹڈڑںے]"): "ur"}  # fmt: skip
PRIOR = {"ru": 1.5, "ar": 1.5}  # by far the most texts in these scripts; no language in Latin script has an advantage
LATIN = ("en", "de", "es", "fr", "pt", "it", "nl", "pl", "sv", "tr", "da", "no", "fi", "cs", "ro", "hu", "vi", "id",
         "hr", "sk", "sl", "et", "lv", "lt", "ca")  # fmt: skip
WORD_WEIGHT = 1.2  # what one word of a list adds to the log-probability of the classifier
CLEAR_LEAD = 5  # words of a list more than of any other: the classifier is not asked
LEAST = 0.8  # probability from which a language is decided
FEWEST_LETTERS = 12  # in texts with fewer letters two words of a list are required
MOST_READ = 1000  # characters; more do not change the decision
# A majority: at least this many texts of a folder with a decided language, and this share of them.
LEAST_TEXTS, LEAST_SHARE = 3, 0.8


def language_named(value: str) -> str | None:
    """Returns the code for the name of a language (`en-US`, `zh_Hans`, `German`, `中文`), else None."""
    name = value.strip().casefold()
    return CODES.get(name) or CODES.get(re.split(r"[-_]", name, maxsplit=1)[0])


def detect(text: str) -> str:
    """Returns the code of a text's language; `und` if its script does not decide it and its words do not either.

    A text with at least as many Chinese characters as words in Latin letters is Chinese: reports name `CT` and `MRI` in
    any language. Japanese has syllables among the characters.
    """
    text = text[:MOST_READ]
    han, kana, hangul = (len(kind.findall(text)) for kind in (CHINESE, KANA, HANGUL))
    latin = len(LATIN_WORD.findall(text))
    others = {kind: len(kind.findall(text)) for kind in SCRIPTS} if not text.isascii() else {}
    other = max(others, key=others.get, default=None)
    if other is not None and others[other] >= max(1, latin, han):
        codes = SCRIPTS[other]
        return codes[0] if len(codes) == 1 else decide(text, codes)
    if han + kana + hangul and han + kana + hangul >= latin:
        if hangul > han + kana:
            return "ko"
        return "ja" if kana * 10 >= han + kana else "zh"
    return decide(text, LATIN)


def decide(text: str, codes: tuple[str, ...]) -> str:
    """Returns the most probable of some languages; `und` if it is not probable enough."""
    words = WORD.findall(text.casefold())
    if not words:
        return UNDETERMINED
    hits = Counter(code for word in words for code in LANGUAGES_OF.get(word, ()) if code in codes)
    (first, most), (_, second) = [*hits.most_common(2), ("", 0), ("", 0)][:2]
    if most - second >= CLEAR_LEAD:
        return first
    scores = {code: math.log(max(share, 1e-6)) for code, share in classify(text, codes).items()}
    for code in scores.keys() & PRIOR.keys():
        scores[code] += PRIOR[code]
    for only, code in LETTERS.items():
        if code in scores and only.search(text):
            scores[code] += 3
    for code, number in hits.items():
        scores[code] += WORD_WEIGHT * number
    best = max(scores, key=scores.get)
    total = sum(math.exp(score - scores[best]) for score in scores.values())
    letters = sum(map(len, words))
    enough = letters >= FEWEST_LETTERS or hits[best] >= 2
    return best if enough and 1 / total >= LEAST else UNDETERMINED


LANGUAGES_OF: dict[str, list[str]] = {}
for _code, _words in WORDS.items():
    for _word in dict.fromkeys(_words.split()):
        LANGUAGES_OF.setdefault(_word, []).append(_code)


def classify(text: str, codes: tuple[str, ...]) -> dict[str, float]:
    """Returns the probability of each of some languages by the classifier."""
    return dict(classifier(codes).rank(text))


@functools.cache
def classifier(codes: tuple[str, ...]) -> Any:
    """Returns the classifier for some languages. Loading it takes most of a second, so it is loaded once, when used."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    if codes == LATIN:
        identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    else:  # the same model with other languages
        whole = classifier(LATIN)
        identifier = LanguageIdentifier(
            *whole._full_model, whole.tk_nextmove, whole.tk_output, norm_probs=True, tk_row=whole.tk_row
        )
    identifier.set_languages(codes)
    return identifier


class Majority:
    """The language that nearly all decided texts of a folder have."""

    def __init__(self) -> None:
        self.decided: Counter[str] = Counter()

    def add(self, language: str) -> None:
        if language != UNDETERMINED:
            self.decided[language] += 1

    def language(self) -> str:
        """Returns the code; `und` if the texts are too few, or of several languages."""
        for code, number in self.decided.most_common(1):
            if number >= LEAST_TEXTS and number >= LEAST_SHARE * self.decided.total():
                return code
        return UNDETERMINED
