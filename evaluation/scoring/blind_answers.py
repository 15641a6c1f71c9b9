"""Answers questions without looking at an image, as a control for what a rule rewards.

A score means something only above what these answers reach by the same rule. Two of them are no answers at all: a rule
that rewards them can be gamed. The most frequent answers are in `question_prior.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from evaluation.scoring.prediction_files import Answer
from evaluation.scoring.question_prior import Choices, majority, prior

COIN = {"en": ("yes", "no"), "zh": ("是", "不是")}  # other languages: the English words
NO_ANSWER = {"en": "I do not know, it looks normal.", "zh": "我不知道，看起来正常。"}
CONSTANT_WORDS = 17  # long enough for the frequent answers of SLAKE
# What a constant text is filled up with if the references have fewer words.
FILLING = {
    "en": "left right upper lower lung liver heart brain chest abdomen head ct mri x-ray black white 2",
    "zh": "左侧 右侧 上方 下方 肺 肝脏 心脏 大脑 胸腔 腹部 头部 ct mri x-ray 黑色 白色 2",
}


def coin(answers: Sequence[Answer], seen: Sequence[Answer]) -> list[Choices]:
    """Returns yes or no with equal probability, in the language of the question, also to open questions."""
    return [[(0.5, word) for word in COIN.get(answer.language, COIN["en"])] for answer in answers]


def no_answer(answers: Sequence[Answer], seen: Sequence[Answer]) -> list[Choices]:
    """Returns a sentence that answers nothing."""
    return [[(1.0, NO_ANSWER.get(answer.language, NO_ANSWER["en"]))] for answer in answers]


def constant(answers: Sequence[Answer], seen: Sequence[Answer]) -> list[Choices]:
    """Returns the same text to every question of a language: see `constant_texts`."""
    texts = constant_texts(seen)
    return [[(1.0, texts.get(answer.language, ""))] for answer in answers]


def constant_texts(seen: Sequence[Answer]) -> dict[str, str]:
    """Returns for each language a text of 17 words: yes, no, and the most frequent words of the references."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in seen:
        words = (word.strip(",.;，、。；") for word in answer.reference.lower().split())
        counts[answer.language].update(filter(None, words))
    texts = {}
    for language, count in counts.items():
        frequent = [word for word, _ in sorted(count.items(), key=lambda item: (-item[1], item[0]))]
        filling = FILLING.get(language, FILLING["en"]).split()
        words = dict.fromkeys([*COIN.get(language, COIN["en"]), *frequent, *filling])
        texts[language] = " ".join(list(words)[:CONSTANT_WORDS])
    return texts


# In the order of the columns.
BLIND = {
    "question prior": prior, "majority": majority, "coin": coin, "no answer": no_answer, "constant": constant,
}  # fmt: skip
