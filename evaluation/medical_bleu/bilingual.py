"""How close are English and Chinese texts to their references, by BLEU with a tokeniser that fits each language?

sacrebleu alone does the counting; this file only decides which of its tokenisers a sentence gets. Nothing is
downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.metrics import BLEU

# sacrebleu's tokeniser for each language. 13a finds no word boundaries in Chinese: a whole sentence becomes one token,
# and identical sentences score 0.0.
TOKENIZERS = {"en": "13a", "zh": "zh"}

# From this share of Chinese characters on (white space not counted) a text is Chinese. It is low because one Chinese
# character says as much as a Latin word of several letters ("MRI T2 加权"), and because a mistake in this direction
# costs nothing: the Chinese tokeniser treats Latin words as the English one does.
CHINESE_SHARE = 0.1

# CJK ideographs; punctuation is left out, full-width brackets do not make an English text Chinese.
_IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


class CorpusScore(NamedTuple):
    """One corpus: BLEU with n-grams up to 4, with single words, and what to quote with it."""

    bleu: float
    bleu_1: float
    brevity_penalty: float
    length_ratio: float
    signature: str


def detect_language(text: str) -> str:
    """`zh` if at least a tenth of the characters that are not white space are Chinese, else `en`."""
    visible = "".join(text.split())
    return "zh" if visible and len(_IDEOGRAPH.findall(visible)) >= CHINESE_SHARE * len(visible) else "en"


def bleu_scores(
    predictions: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    languages: Sequence[str] | None = None,
) -> dict[str, float | int | dict[str, str]]:
    """Corpus BLEU of each language and of all texts together.

    Args:
        predictions: [N] texts, not tokenised; an empty one is a text without words.
        references: [N] one text each, or [N] lists of at least one text; lengths of lists may differ.
        languages: [N] of "en" or "zh". Without it, `detect_language` looks at each sample's references.

    Returns:
        As described in `medical_bleu.py` and the README. Scores are in 0..100.

    Raises:
        ValueError: there are no samples, lengths differ, a prediction or reference is no text, a sample has no
            reference or a blank one, or a language is not known. The message names the sample.
    """
    references = [[texts] if isinstance(texts, str) else list(texts) for texts in references]
    _check(predictions, references)
    if languages is None:
        languages = [detect_language("".join(texts)) for texts in references]
    _check_languages(languages, len(predictions))

    scores: dict[str, CorpusScore] = {}
    counts: dict[str, int] = {}
    for language, tokenizer in TOKENIZERS.items():
        rows = [row for row, value in enumerate(languages) if value == language]
        if rows:
            counts[language] = len(rows)
            scores[language] = _score([predictions[row] for row in rows], [references[row] for row in rows], tokenizer)

    # One corpus over both languages: each text is tokenised by its own language first, and by nothing afterwards.
    tokenize = {name: BLEU(tokenize=tokenizer).tokenizer for name, tokenizer in TOKENIZERS.items()}
    both = _score(
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


def _score(predictions: list[str], references: list[list[str]], tokenizer: str) -> CorpusScore:
    most = max(len(texts) for texts in references)
    # sacrebleu wants one stream for the first reference of every sample, one for the second, ...; None fills gaps.
    streams = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
    # `force` only silences the warning that text looks tokenised, which here it is on purpose.
    metrics = [BLEU(tokenize=tokenizer, max_ngram_order=order, force=tokenizer == "none") for order in (4, 1)]
    bleu, bleu_1 = (metric.corpus_score(predictions, streams) for metric in metrics)
    scores = [min(score.score, 100.0) for score in (bleu, bleu_1)]  # rounding takes equal texts to 100.00000000000004
    return CorpusScore(*scores, bleu.bp, float(bleu.ratio), metrics[0].get_signature().format())


def _check(predictions: Sequence[str], references: list[list[str]]) -> None:
    if not predictions:
        raise ValueError("no samples: predictions and references are empty")
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but references for {len(references)} samples")
    for sample, (prediction, texts) in enumerate(zip(predictions, references, strict=True)):
        if not isinstance(prediction, str):
            raise ValueError(f"sample {sample}: the prediction is {prediction!r}, not a text")
        if not texts:
            raise ValueError(f"sample {sample}: no reference")
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"sample {sample}: a reference is {text!r}, not a text with words")


def _check_languages(languages: Sequence[str], num_samples: int) -> None:
    if len(languages) != num_samples:
        raise ValueError(f"{len(languages)} languages for {num_samples} samples")
    for sample, language in enumerate(languages):
        if language not in TOKENIZERS:
            raise ValueError(f"sample {sample}: language {language!r} is not one of {sorted(TOKENIZERS)}")
