"""Computes BLEU of texts in English, Chinese and other languages with the sacrebleu tokenizer of each text's language.

sacrebleu computes the scores; this file only selects the tokenizer for each text. Nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.metrics import BLEU

# sacrebleu's tokenizer of each language. 13a finds no word boundaries in Chinese: a whole sentence becomes one token,
# and identical sentences score 0.0. Japanese and Thai do not separate words either; their texts are compared by
# characters, because a tokenizer for words would have to be downloaded. All other languages separate words by spaces.
TOKENIZERS = {"en": "13a", "zh": "zh", "ja": "char", "th": "char"}
OTHER_LANGUAGES = "13a"
_CODE = re.compile("[a-z]{2,3}")  # of ISO 639; `und` is an undetermined language

# A text with at least this share of Chinese characters, not counting white space, is Chinese. The share is low because
# one Chinese character corresponds to a Latin word of several letters ("MRI T2 加权"), and because an English text that
# is taken for Chinese loses nothing: the Chinese tokenizer treats Latin words as the English one does.
MIN_CHINESE_SHARE = 0.1

# CJK ideographs without punctuation, because full-width brackets do not make an English text Chinese.
_IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


class CorpusScore(NamedTuple):
    """Scores of one corpus.

    Attributes:
        bleu: 0..100, BLEU with n-grams up to length 4.
        bleu_1: 0..100, BLEU with single words.
        brevity_penalty: 0..1.
        length_ratio: number of predicted words divided by number of reference words.
        signature: sacrebleu's signature of `bleu`.
    """

    bleu: float
    bleu_1: float
    brevity_penalty: float
    length_ratio: float
    signature: str


def detect_language(text: str) -> str:
    """Returns `zh` if at least a tenth of the characters, not counting white space, are Chinese, otherwise `en`."""
    visible = "".join(text.split())
    return "zh" if visible and len(_IDEOGRAPH.findall(visible)) >= MIN_CHINESE_SHARE * len(visible) else "en"


def bleu_scores(
    predictions: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    languages: Sequence[str] | None = None,
) -> dict[str, float | int | dict[str, str]]:
    """Computes the corpus BLEU of each language and of all texts together.

    Args:
        predictions: [N] untokenized texts; an empty one counts as a text without words.
        references: [N] texts, or [N] lists of at least one text each; the lists can differ in length.
        languages: [N] codes of ISO 639, for example "en" or "zh". None detects Chinese in the references of each
            sample; all others count as English then.

    Returns:
        the scores listed in `medical_bleu.py` and the README, in 0..100.

    Raises:
        ValueError: there are no samples, lengths differ, a prediction or reference is not a string, a sample has no
            reference or a blank one, or a language is not a code. The message names the sample.
    """
    references = [[texts] if isinstance(texts, str) else list(texts) for texts in references]
    _check_samples(predictions, references)
    if languages is None:
        languages = [detect_language("".join(texts)) for texts in references]
    _check_languages(languages, len(predictions))

    scores: dict[str, CorpusScore] = {}
    counts: dict[str, int] = {}
    used = sorted(set(languages), key=lambda code: (code not in TOKENIZERS, [*TOKENIZERS, code].index(code), code))
    tokenizers = {language: TOKENIZERS.get(language, OTHER_LANGUAGES) for language in used}
    for language, tokenizer in tokenizers.items():
        rows = [row for row, value in enumerate(languages) if value == language]
        if rows:
            counts[language] = len(rows)
            scores[language] = _score_corpus(
                [predictions[row] for row in rows], [references[row] for row in rows], tokenizer
            )

    # For one corpus of all languages, each text is tokenized here by its language, and not again by sacrebleu.
    tokenize = {name: BLEU(tokenize=tokenizer).tokenizer for name, tokenizer in tokenizers.items()}
    both = _score_corpus(
        [tokenize[name](text.rstrip()) for name, text in zip(languages, predictions, strict=True)],
        [[tokenize[name](text.rstrip()) for text in texts] for name, texts in zip(languages, references, strict=True)],
        "none",
    )

    result: dict[str, float | int | dict[str, str]] = {"bleu": both.bleu, "bleu_1": both.bleu_1}
    for language, score in scores.items():
        result |= {f"bleu_{language}": score.bleu, f"bleu_1_{language}": score.bleu_1}
    result |= {"brevity_penalty": both.brevity_penalty, "length_ratio": both.length_ratio}
    result |= {"num_samples": len(predictions)}
    result |= {f"num_samples_{language}": count for language, count in counts.items()}
    result["signature"] = {name: score.signature for name, score in scores.items()} | {"all": both.signature}
    return result


def _score_corpus(predictions: list[str], references: list[list[str]], tokenizer: str) -> CorpusScore:
    max_references = max(len(texts) for texts in references)
    # sacrebleu expects one stream of the first references of all samples, one of the second, ...; None fills gaps.
    streams = [[texts[i] if i < len(texts) else None for texts in references] for i in range(max_references)]
    # `force` silences the warning that the text looks tokenized, which is intended for the tokenizer "none".
    metrics = [BLEU(tokenize=tokenizer, max_ngram_order=order, force=tokenizer == "none") for order in (4, 1)]
    bleu, bleu_1 = (metric.corpus_score(predictions, streams) for metric in metrics)
    scores = [min(score.score, 100.0) for score in (bleu, bleu_1)]  # rounding gives equal texts 100.00000000000004
    return CorpusScore(*scores, bleu.bp, float(bleu.ratio), metrics[0].get_signature().format())


def _check_samples(predictions: Sequence[str], references: list[list[str]]) -> None:
    if not predictions:
        raise ValueError("There are no samples: predictions is empty. Give at least one prediction and its reference.")
    if len(predictions) != len(references):
        raise ValueError(
            f"There are {len(predictions)} predictions, but references for {len(references)} samples. Give references "
            "for each prediction."
        )
    for sample, (prediction, texts) in enumerate(zip(predictions, references, strict=True)):
        if not isinstance(prediction, str):
            raise ValueError(f"sample {sample}: the prediction is {prediction!r}. Give a string.")
        if not texts:
            raise ValueError(f"sample {sample}: the list of references is empty. Give at least one reference.")
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"sample {sample}: a reference is {text!r}. Give a text that is not blank.")


def _check_languages(languages: Sequence[str], num_samples: int) -> None:
    if len(languages) != num_samples:
        raise ValueError(
            f"There are {len(languages)} languages for {num_samples} samples. Give one per prediction, or omit them."
        )
    for sample, language in enumerate(languages):
        if not isinstance(language, str) or not _CODE.fullmatch(language):
            raise ValueError(f"sample {sample}: the language {language!r} is unknown. Use a code such as en or zh.")
