"""Tells requests for a description from questions, and makes captions from answers."""

from __future__ import annotations

import re
from functools import cache

from hub_datasets.chat.templates import TEMPLATES
from hub_datasets.records import RawRecord
from hub_datasets.sources.reports.language import CHINESE

ASKS_ONE_THING = re.compile(
    r"\s*(is|are|was|were|does|do|did|has|have|can|could|which|where|who|when|how (many|much|large|big))\b", re.I
)
REQUEST = re.compile(
    r"\b(describe|report|summari[sz]e|summary|caption|interpret|dictate|draft|write|provide|generate|characteri[sz]e|"
    r"document|analy[sz]e|explain|give|present|elaborate|illustrate|narrate|read)\b|"
    r"\bwhat (do|does|can|is|are)\b.*\b(show|depict|reveal|see|seen|findings?|visible|going on)\b",
    re.I,
)
REQUEST_ZH = re.compile("描述|报告|概括|解读|总结|说明|判读|撰写|口述|起草|所见|显示了什么|看到什么|诊断意见|印象")
LEAST_WORDS, LEAST_CHARACTERS = 4, 8  # of a description in English and in Chinese


@cache
def own_questions() -> frozenset[str]:
    """Returns the questions of this project's templates, which ask for a description."""
    lists = (pairs for languages in TEMPLATES.values() for pairs in languages.values())
    return frozenset(question for pairs in lists for pair in pairs for question in pair)


def is_described(question: str, answer: str) -> bool:
    """Returns whether a question asks for a description, and the answer is one: it can stand alone beside an image."""
    chinese = len(CHINESE.findall(answer))
    if chinese < LEAST_CHARACTERS and len(answer.split()) < LEAST_WORDS:
        return False
    question = question.strip()
    if question in own_questions():
        return True
    if ASKS_ONE_THING.match(question):
        return False
    return bool(REQUEST.search(question) or REQUEST_ZH.search(question))


def caption(records: list[RawRecord], max_chars: int) -> str:
    """Returns a caption of one image from its questions and answers in one language, as many as fit in `max_chars`."""
    chinese = records[0].language == "zh"
    text = ""
    for record in records:
        question, answer = (" ".join(said.split()) for said in (record.question, record.answer))
        answer = answer.rstrip(".。")
        said = f"{question}{answer}。" if chinese else f"{' ' if text else ''}{question} {answer}."
        if len(text) + len(said) <= max_chars and said.strip() not in text:
            text += said
    return text
