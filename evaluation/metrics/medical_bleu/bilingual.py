"""Computes BLEU, chrF and ROUGE-L of texts in English, Chinese and other languages, each text by its language.

sacrebleu computes BLEU and chrF; this file selects the tokenizer for each text. Nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.metrics import BLEU, CHRF

from .rouge import SIGNATURE as ROUGE_SIGNATURE
from .rouge import rouge_l
from .tokens import detect_language, fold

# sacrebleu's tokenizer of each language. 13a finds no word boundaries in Chinese: a whole sentence becomes one token,
# and identical sentences score 0.0. Japanese and Thai do not separate words either, and Korean separates phrases; their
# texts are compared by characters, because a tokenizer for words would have to be downloaded. All other languages
# separate words by spaces.
TOKENIZERS = {"en": "13a", "zh": "zh", "ja": "char", "ko": "char", "th": "char"}
OTHER_LANGUAGES = "13a"
ORDERS = (1, 2, 3, 4)  # of n-grams; `bleu` is that of the last one
_CODE = re.compile("[a-z]{2,3}")  # of ISO 639; `und` is an undetermined language


class CorpusScore(NamedTuple):
    """BLEU of one corpus.

    Attributes:
        bleu: 0..100 by the highest order of n-grams, 1 to 4.
        brevity_penalty: 0..1.
        length_ratio: number of predicted words divided by number of reference words.
        signature: sacrebleu's signature of BLEU with n-grams up to 4.
    """

    bleu: dict[int, float]
    brevity_penalty: float
    length_ratio: float
    signature: str


def bleu_scores(
    predictions: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    languages: Sequence[str] | None = None,
    folding: str = "none",
) -> dict[str, float | int | dict[str, str]]:
    """Computes corpus BLEU, chrF and ROUGE-L of each language and of all texts together.

    Args:
        predictions: [N] untokenized texts; an empty one counts as a text without words.
        references: [N] texts, or [N] lists of at least one text each; the lists can differ in length.
        languages: [N] codes of ISO 639, for example "en" or "zh". None detects Chinese, Japanese, Korean and Thai in
            the references of each sample; all others count as English then.
        folding: "none", "width" or "width+script", see `tokens.fold`; noted in the signatures if it is not "none".

    Returns:
        the scores listed in `medical_bleu.py` and the README, in 0..100.

    Raises:
        ValueError: there are no samples, lengths differ, a prediction or reference is not a string, a sample has no
            reference or a blank one, a language is not a code, or the folding is unknown. The message names the sample.
    """
    references = [[texts] if isinstance(texts, str) else list(texts) for texts in references]
    _check_samples(predictions, references)
    if languages is None:
        languages = [detect_language("".join(texts)) for texts in references]
    _check_languages(languages, len(predictions))
    predictions = [fold(text, folding) for text in predictions]
    references = [[fold(text, folding) for text in texts] for texts in references]
    folded = "" if folding == "none" else f"|fold:{folding}"

    used = sorted(set(languages), key=lambda code: (code not in TOKENIZERS, [*TOKENIZERS, code].index(code), code))
    tokenizers = {language: TOKENIZERS.get(language, OTHER_LANGUAGES) for language in used}
    rows = {name: [row for row, value in enumerate(languages) if value == name] for name in used}
    corpora = {
        name: ([predictions[row] for row in own], [references[row] for row in own]) for name, own in rows.items()
    }
    scores = {name: _score_corpus(*corpora[name], tokenizers[name]) for name in used}

    # For one corpus of all languages, each text is tokenized here by its language, and not again by sacrebleu.
    tokenize = {name: BLEU(tokenize=tokenizer).tokenizer for name, tokenizer in tokenizers.items()}
    both = _score_corpus(
        [tokenize[name](text.rstrip()) for name, text in zip(languages, predictions, strict=True)],
        [[tokenize[name](text.rstrip()) for text in texts] for name, texts in zip(languages, references, strict=True)],
        "none",
    )
    chrf, chrf_signature = _chrf(predictions, references)
    longest = [rouge_l(text, texts) for text, texts in zip(predictions, references, strict=True)]

    result: dict[str, float | int | dict[str, str]] = _named(both.bleu, chrf, longest)
    for name, own in rows.items():
        found = _named(scores[name].bleu, _chrf(*corpora[name])[0], [longest[row] for row in own])
        result |= {f"{key}_{name}": value for key, value in found.items()}
    result |= {"brevity_penalty": both.brevity_penalty, "length_ratio": both.length_ratio}
    result |= {"num_samples": len(predictions)}
    result |= {f"num_samples_{name}": len(own) for name, own in rows.items()}
    signatures = {name: score.signature for name, score in scores.items()} | {"all": both.signature}
    signatures |= {"chrf": chrf_signature, "rouge_l": ROUGE_SIGNATURE}
    result["signature"] = {name: signature + folded for name, signature in signatures.items()}
    return result


def _named(bleu: dict[int, float], chrf: float, longest: list[float]) -> dict[str, float]:
    """Returns the scores of one corpus by their names."""
    named = {"bleu": bleu[ORDERS[-1]]} | {f"bleu_{order}": bleu[order] for order in ORDERS[:-1]}
    return named | {"chrf": chrf, "rouge_l": sum(longest) / len(longest)}


def _streams(references: list[list[str]]) -> list[list[str | None]]:
    """Returns references as sacrebleu expects them: the first ones of all samples, the second ones, ...

    None fills the gaps.
    """
    most = max(len(texts) for texts in references)
    return [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]


def _score_corpus(predictions: list[str], references: list[list[str]], tokenizer: str) -> CorpusScore:
    # `force` silences the warning that the text looks tokenized, which is intended for the tokenizer "none".
    metric = BLEU(tokenize=tokenizer, max_ngram_order=ORDERS[-1], force=tokenizer == "none")
    full = metric.corpus_score(predictions, _streams(references))
    found = {}
    for order in ORDERS:  # the counts of all orders are known, so that texts are tokenized once
        score = BLEU.compute_bleu(
            full.counts[:order],
            full.totals[:order],
            full.sys_len,
            full.ref_len,
            smooth_method=metric.smooth_method,
            smooth_value=metric.smooth_value,
            effective_order=metric.effective_order,
            max_ngram_order=order,
        ).score
        found[order] = min(score, 100.0)  # rounding gives equal texts 100.00000000000004
    return CorpusScore(found, full.bp, float(full.ratio), metric.get_signature().format())


def _chrf(predictions: list[str], references: list[list[str]]) -> tuple[float, str]:
    """Returns the chrF of a corpus in 0..100, and sacrebleu's signature."""
    metric = CHRF()
    score = metric.corpus_score(predictions, _streams(references)).score
    return min(score, 100.0), metric.get_signature().format()


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
