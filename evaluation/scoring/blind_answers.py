"""Answers questions without looking at an image, as a control for what a rule rewards.

A score means something only above what these answers reach by the same rule. Two of them are no answers at all: a rule
that rewards them can be gamed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from evaluation.scoring.prediction_files import Answer

# Each answer is a list of (probability, text); all but the coin's have one text.
Choices = list[tuple[float, str]]

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


def prior(answers: Sequence[Answer], seen: Sequence[Answer]) -> list[Choices]:
    """Returns the most frequent reference of the same question; without one, of the same type in the same language.

    The first of equally frequent ones in the order of the alphabet is taken for a type; for a question, the type
    decides between them. If `seen` is `answers`, a reference is not known to the only question that has it, because
    otherwise each question that is asked once would be answered by its own reference. The prior is then a little too
    high, which is the safe side for a control.

    Args:
        answers: [N] questions to answer.
        seen: the questions whose references are known: those of a train split, or `answers` itself.
    """
    by_question: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    by_type: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for answer in seen:
        by_question[question_key(answer)][answer.reference] += 1
        by_type[answer.language, answer.kind][answer.reference] += 1
    # The two most frequent of a type suffice, because at most one of them is not known to a question.
    leaders = {
        key: Counter(dict(sorted(count.items(), key=lambda item: (-item[1], item[0]))[:2]))
        for key, count in by_type.items()
    }
    found = []
    for answer in answers:
        own = answer.reference if seen is answers else None
        key = (answer.language, answer.kind)
        of_question = without(by_question.get(question_key(answer)) if answer.question else None, own)
        of_type = by_type.get(key, Counter())
        texts = of_question or without(leaders.get(key), own)
        best = min(
            texts, key=lambda text, count=texts, of_type=of_type: (-count[text], -of_type[text], text), default=""
        )
        found.append([(1.0, best)])
    return found


def question_key(answer: Answer) -> tuple[str, str]:
    return answer.language, " ".join(answer.question.lower().split())


def without(count: Counter[str] | None, text: str | None) -> Counter[str]:
    """Returns the counts without the text if it occurs once; no counts for None."""
    count = count or Counter()
    return count - Counter([text]) if count.get(text) == 1 else count


# In the order of the columns.
BLIND = {"question prior": prior, "coin": coin, "no answer": no_answer, "constant": constant}
