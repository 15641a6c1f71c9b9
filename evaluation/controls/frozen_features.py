"""Answers questions by kernel ridge regression on image features and words of the question: the row "frozen features".

Fitting takes seconds. A model that was fine-tuned for hours has to beat it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from evaluation.metrics.vqa_accuracy.plain_rules import normalize, split_words
from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, OPEN
from evaluation.scoring.prediction_files import Answer
from evaluation.scoring.question_prior import prior

RIDGE = 0.3  # added to the diagonal of the kernel
IMAGE_SHARE = 0.95  # of the kernel of two questions, how much depends on the images
SHARPNESS = 6.0  # of the kernel of words: exp(6 * (cosine - 1))
LONGEST_PHRASE = 3  # words
# Rows that are used to fit one language and answer type: the time grows with the cube, the memory with the square.
MOST_ROWS = 4000


def frozen_answers(
    answers: Sequence[Answer],
    seen: Sequence[Answer],
    images: np.ndarray,
    seen_images: np.ndarray,
    features: np.ndarray,
) -> tuple[list[str], int]:
    """Answers each question.

    Each language and answer type is fitted by itself. The classes of open and closed questions are the answers that
    occur more than once. Other rows, for example reports, get the text of the most similar row. Where nothing is known
    of a language and answer type, the question prior answers.

    Args:
        answers: [N] questions to answer.
        seen: [M] questions of the train split with their references.
        images: [N] int, the image of each question as a row of `features`, -1 for none.
        seen_images: [M] the same of the train split.
        features: `[I, D]` float, the features of each image.

    Returns:
        [N] answers, and the number of rows that they were fitted on.
    """
    fallback = [choices[0][1] for choices in prior(answers, seen)]
    fitted = np.unique(seen_images[seen_images >= 0])
    kernel = image_kernel(features, fitted)
    # The column of each image of the train split; -1, an image that is not there, is the last one.
    columns = np.where(seen_images >= 0, np.searchsorted(fitted, seen_images), -1)
    known, asked = by_kind(seen), by_kind(answers)
    found, used = list(fallback), 0
    for group, rows in asked.items():
        train = evenly(known.get(group, []), MOST_ROWS)
        if not train:
            continue
        texts = [seen[row].reference for row in train]
        words = question_kernel([seen[row].question for row in train], [answers[row].question for row in rows])
        kernels = [
            similarity * (1 - IMAGE_SHARE + IMAGE_SHARE * kernel[np.ix_(places, columns[train])])
            for similarity, places in zip(words, (seen_images[train], images[rows]), strict=True)
        ]  # [n, n], [m, n]
        if group[1] in (OPEN, CLOSED):
            chosen = classify(*kernels, texts)
            used += sum(count for count in Counter(map(normalize, texts)).values() if count > 1)
        else:
            chosen = [texts[place] for place in kernels[1].argmax(1)]
            used += len(texts)
        for row, text in zip(rows, chosen, strict=True):
            found[row] = fallback[row] if text is None else text
    return found, used


def by_kind(answers: Sequence[Answer]) -> dict[tuple[str, str], list[int]]:
    """Returns the rows of each language and answer type."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, answer in enumerate(answers):
        groups[answer.language, answer.kind].append(row)
    return groups


def evenly(rows: list[int], most: int) -> list[int]:
    """Returns at most so many of the rows, evenly spread."""
    return rows if len(rows) <= most else [rows[index * len(rows) // most] for index in range(most)]


def classify(train_kernel: np.ndarray, kernel: np.ndarray, texts: Sequence[str]) -> list[str | None]:
    """Returns the class of each row of `kernel` by ridge regression on one-hot classes; None if there is no class.

    Args:
        train_kernel: `[n, n]`, of the rows that are known.
        kernel: `[m, n]`, of the rows to classify with those that are known.
        texts: [n] the answers that are known. Those that occur once are not used.
    """
    names = [normalize(text) for text in texts]
    counts = Counter(names)
    labels = {name: label for label, name in enumerate(sorted(name for name in counts if counts[name] > 1))}
    if not labels:
        return [None] * len(kernel)
    used = [row for row, name in enumerate(names) if name in labels]
    # What a class is called: its most frequent spelling.
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for row in used:
        spellings[names[row]][texts[row]] += 1
    targets = np.eye(len(labels))[[labels[names[row]] for row in used]]  # [u, classes]
    mean = targets.mean(0)
    inner = train_kernel[np.ix_(used, used)] + RIDGE * np.eye(len(used))
    scores = kernel[:, used] @ np.linalg.solve(inner, targets - mean) + mean
    shown = [spellings[name].most_common(1)[0][0] for name in labels]
    return [shown[label] for label in scores.argmax(1)]


def image_kernel(features: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Returns the similarities in 0..1 of all images to those of the train split.

    It is exp(-squared distance / its median) of features that are standardized over the images of the train split.

    Args:
        features: `[I, D]`.
        fitted: [F] the numbers of the images of the train split, sorted.

    Returns:
        `[I + 1, F + 1]`. The last row and the last column are no image, which is similar to itself alone.
    """
    kernel = np.zeros((len(features) + 1, len(fitted) + 1))
    kernel[-1, -1] = 1
    if not len(fitted):
        return kernel
    base = features[fitted]
    scaled = (features - base.mean(0)) / (base.std(0) + 1e-6)
    products = (scaled @ scaled[fitted].T).astype(np.float64) / max(1, scaled.shape[1])
    lengths = np.square(scaled, dtype=np.float64).mean(1)
    squared = np.maximum(lengths[:, None] + lengths[None, fitted] - 2 * products, 0)
    width = float(np.median(squared[fitted]))
    kernel[:-1, :-1] = np.exp(-squared / (width or 1.0))
    return kernel


def question_kernel(known: Sequence[str], asked: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the similarities `[n, n]` and `[m, n]` of questions in 0..1, by tf-idf of phrases of up to three words.

    Each Chinese character is a word. The weights are those of the questions that are known. Only distinct questions are
    compared, because many are asked again.
    """
    distinct = {text: number for number, text in enumerate(dict.fromkeys([*known, *asked]))}
    counts = [Counter(phrases(text)) for text in distinct]
    spread: Counter[str] = Counter()
    for text in dict.fromkeys(known):
        spread.update(set(counts[distinct[text]]))
    total = len(dict.fromkeys(known))
    postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for number, count in enumerate(counts):
        weights = {
            phrase: (1 + math.log(times)) * (1 + math.log((1 + total) / (1 + spread[phrase])))
            for phrase, times in count.items()
            if phrase in spread
        }
        length = math.sqrt(sum(weight**2 for weight in weights.values())) or 1.0
        for phrase, weight in weights.items():
            postings[phrase].append((number, weight / length))
    cosine = np.zeros((len(distinct), total))  # known questions have the first numbers
    for entries in postings.values():
        places, values = (np.array(column) for column in zip(*entries, strict=True))
        first = places < total
        cosine[np.ix_(places, places[first])] += np.outer(values, values[first])
    np.fill_diagonal(cosine, 1.0)  # a question without a word equals itself all the same
    similarity = np.exp(SHARPNESS * (np.minimum(cosine, 1.0) - 1))
    rows, columns = ([distinct[text] for text in texts] for texts in (asked, known))
    return similarity[np.ix_(columns, columns)], similarity[np.ix_(rows, columns)]


def phrases(text: str) -> list[str]:
    """Returns the phrases of one to three words."""
    words = split_words(text)
    return [
        " ".join(words[start : start + size])
        for size in range(1, LONGEST_PHRASE + 1)
        for start in range(len(words) - size + 1)
    ]
