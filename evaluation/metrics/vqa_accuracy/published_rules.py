"""Scores an answer as published evaluations do, each rebuilt from a reading of its code or report.

A rule takes a prediction and its reference and returns a score in 0..1, or None where the published code leaves the
question out of the count. Oddities are kept on purpose: a number can only be compared with a published one if it is
computed the same way. All rules are independent of the language; those that split words split them at white space, so
that a Chinese answer is one word.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from functools import lru_cache

from .plain_rules import ARTICLES, NUMBERS

# ---- LLaVA-Med: llava/eval of microsoft/LLaVA-Med, commit ad758b6 (2023-08), corrected in b9a98a7 (2023-12) --------

# The marks of the VQA evaluation without the colon, the apostrophe and the dollar sign.
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_MOST_STOPS = 32  # the published code passes the value of re.UNICODE where `re.sub` takes a count

# Contractions of the VQA evaluation, which are written back with their apostrophes where one of these is missing.
_FULL = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _contractions() -> dict[str, str]:
    """Returns the full form for each short one: without its only apostrophe, or without one of several."""
    found = {"somebody'd": "somebodyd"}  # the published table has this pair the wrong way around
    for full in _FULL.split():
        places = [place for place, char in enumerate(full) if char == "'"]
        found |= {full[:place] + full[place + 1 :]: full for place in places}
    return found


_CONTRACTIONS = _contractions()


@lru_cache(maxsize=1 << 16)
def vqa_normalize(text: str) -> str:
    """Normalizes a text as LLaVA-Med does, after the VQA evaluation.

    A mark is deleted if it stands beside a space somewhere in the text, or if the text has a comma between digits;
    otherwise it becomes a space. Full stops that no digit follows are deleted. Words are in lower case, numbers up to
    ten are digits, articles are left out, and contractions get their apostrophes back.
    """
    deleted = re.search(r"\d,\d", text) is not None
    marks = {mark: "" if deleted or f"{mark} " in text or f" {mark}" in text else " " for mark in _MARKS}
    text = re.sub(r"\.(?!\d)", "", text.translate(str.maketrans(marks)), count=_MOST_STOPS)
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def _recall(predicted: str, expected: str) -> float:
    """Returns the share of the reference's words that the prediction has, with LLaVA-Med's way to count.

    A common word counts as often as the prediction has it, and a missing word as often as the reference has it.
    """
    given, wanted = (Counter(text.lower().split()) for text in (predicted, expected))
    found = sum(count for word, count in given.items() if word in wanted)
    missing = sum(count for word, count in wanted.items() if word not in given)
    return found / (found + missing) if found else 0.0


def llava_med_open(prediction: str, reference: str, language: str) -> float:
    """Returns the recall of words that LLaVA-Med reports for open questions, of texts that are normalized twice."""
    texts = (vqa_normalize(vqa_normalize(text.lower())) for text in (prediction, reference))
    return _recall(*texts)


def llava_med_closed_2023_12(prediction: str, reference: str, language: str) -> float:
    """Returns 1 if the prediction contains "yes" or "no", and contains the reference; both are compared as substrings.

    "Normal" contains "no". The right answer to a closed question that is not a yes-no question scores 0.
    """
    predicted, expected = (vqa_normalize(text.lower()) for text in (prediction, reference))
    return float(("yes" in predicted or "no" in predicted) and expected in predicted)


def llava_med_closed_2023_08(prediction: str, reference: str, language: str) -> float | None:
    """Returns the score of `llava_med_closed_2023_12`, but None for a prediction with the wrong "yes" or "no".

    The first published code counted such a question neither as right nor as wrong.
    """
    predicted = vqa_normalize(prediction.lower())
    if llava_med_closed_2023_12(prediction, reference, language):
        return 1.0
    return None if "yes" in predicted or "no" in predicted else 0.0


# ---- MedVLMBench: eval/vqa.py of ubc-tea/MedVLMBench, commit 07a6e4d -----------------------------------------------


def medvlmbench_closed(prediction: str, reference: str, language: str) -> float:
    """Returns 1 if the prediction contains the reference, letter by letter without case."""
    return float(reference.lower() in prediction.lower())


def medvlmbench_open(prediction: str, reference: str, language: str) -> float:
    """Returns 1 if LLaVA-Med's recall of words is at least 0.75."""
    texts = (vqa_normalize(text.lower()) for text in (prediction, reference))
    return float(_recall(*texts) >= 0.75)


# ---- MedEvalKit without a judge: utils/ of alibaba-damo-academy/MedEvalKit, commit 9b12e3b -------------------------

# What announces an answer, in the order in which the text is shortened to what follows it.
_ANNOUNCEMENTS = (
    "**answer**:", "**answer**", "*answer*:", "**answer:**", "answer is", "answer:", "答案:", "final answer",
    "final answer is",
)  # fmt: skip
_NOT_BOXED = "None"


def _boxed(text: str) -> str:
    r"""Returns the content of the last `\boxed{...}`, with balanced braces; "None" without one."""
    _, opening, rest = text.rpartition("\\boxed{")
    depth = 1 if opening else 0
    for place, char in enumerate(rest if opening else ""):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if not depth:
            return rest[:place].strip()
    return _NOT_BOXED


def _tagged(text: str) -> str:
    """Returns what stands between the tags <answer> and </answer>, joined by spaces; the text itself without any."""
    found, rest = [], text
    while "<answer>" in rest and "</answer>" in (rest := rest.partition("<answer>")[2]):
        inside, _, rest = rest.partition("</answer>")
        found.append(inside)
    return " ".join(found).strip() or text


@lru_cache(maxsize=1 << 16)
def _announced(prediction: str) -> str:
    """Returns the part of a prediction that MedEvalKit takes for the answer, in lower case, with its spaces."""
    boxed = _boxed(prediction)
    text = boxed if boxed != _NOT_BOXED else _tagged(prediction)
    text = text.lower()
    # "boxed" as a word without the command leaves the text "None", which no reference equals.
    text = _boxed(text) if "boxed" in text else _tagged(text)
    for words in _ANNOUNCEMENTS:
        text = text.rpartition(words)[2]
    return text


def medevalkit_open(prediction: str, reference: str, language: str) -> float:
    """Returns 1 if the answer equals the reference without case; punctuation and spaces count."""
    return float(_announced(prediction) == reference.lower())


def medevalkit_closed(prediction: str, reference: str, language: str) -> float:
    """Returns 1 if the answer without full stops and line breaks equals the reference without case.

    A decimal is never right, because its point is deleted in the answer but not in the reference.
    For the references "yes" and "no" in lower case, as in VQA-RAD, the answer must contain exactly one of "yes" and
    "no", and it must be the reference. SLAKE writes "Yes" and "No", for which the answers are compared as a whole.
    """
    answer = _announced(prediction).replace("\n", "").replace(".", "")
    if reference in ("yes", "no"):
        return float(("yes" in answer) != ("no" in answer) and reference in answer)
    return float(answer == reference.lower())


# ---- lmms-eval: lmms_eval/tasks/slake/utils.py of EvolvingLMMs-Lab/lmms-eval, commit 65ef07d -----------------------

# ASCII punctuation, its full-width forms but the full stop's, and the Chinese marks that the published table has.
_WIDE = "".join(chr(ord(mark) + 0xFEE0) for mark in string.punctuation if mark != ".") + "。｡、《》【】"
_BLANKED = str.maketrans(dict.fromkeys(string.punctuation + _WIDE, " "))
_ALIASES = {
    **dict.fromkeys(("yes", "yeah", "yep", "true"), "yes"),
    **dict.fromkeys(("no", "nope", "false"), "no"),
    **dict.fromkeys(("是", "是的", "有", "包含", "可以", "能", "会", "正常"), "yes"),
    **dict.fromkeys(("否", "不是", "没有", "无", "不包含", "不能", "不会", "不可以", "不正常", "异常"), "no"),
    "x ray": "xray",
}


@lru_cache(maxsize=1 << 16)
def _lmms_normalize(text: str) -> str:
    text = re.sub(r"\([^)]*\)", " ", text.strip().lower())
    text = re.sub("（[^）]*）", " ", text)  # in a second pass, as published, which differs where brackets are mixed
    text = " ".join(text.translate(_BLANKED).split())
    return _ALIASES.get(text, text)


def lmms_eval(prediction: str, reference: str, language: str) -> float:
    """Returns 1 if both texts are equal without case, brackets and punctuation, by lmms-eval's table of aliases.

    The aliases replace whole answers only: words for yes and no in both languages, where 正常 (normal) is a yes and
    异常 (abnormal) a no, and x-ray.
    """
    return float(_lmms_normalize(prediction) == _lmms_normalize(reference))
