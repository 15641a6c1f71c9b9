"""Defines BLEU, chrF and ROUGE-L of English and Chinese medical text as an `evaluate` metric; see README.md."""

from __future__ import annotations

import datasets
import evaluate

# `evaluate.load` copies only the files that this one imports, and reads a comment behind an import as an address.
from .bilingual import bleu_scores
from .chinese_characters import simplified
from .rouge import rouge_l
from .tokens import detect_language, fold

__all__ = ["MedicalBleu", "bleu_scores", "detect_language", "fold", "rouge_l", "simplified"]

_DESCRIPTION = """
Corpus BLEU and chrF by sacrebleu, and ROUGE-L, for English, Chinese and mixed medical texts. Each text is tokenized
according to its language, so that Chinese is scored by characters and not as one long word. It downloads nothing.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: the generated texts, untokenized. Empty texts are allowed.
    references: one text, or a list of texts, per prediction; the lists can differ in length.
    languages: "en", "zh" or another code of ISO 639 per prediction. By default, a sample is Chinese, Japanese, Korean
        or Thai if at least a tenth of the characters of its references are of the script; otherwise it is English.
    folding: "none"; "width", so that full-width and half-width characters are equal; or "width+script", so that
        traditional and simplified Chinese characters are equal as well (default: "none").

Returns:
    bleu, bleu_1, bleu_2, bleu_3: 0..100, over all texts: BLEU with n-grams up to 4 words, and up to 1, 2 and 3.
    chrf: 0..100, F2 of character n-grams up to 6.
    rouge_l: 0..100, the mean over texts of the F1 of the longest common subsequence of words.
    bleu_en, chrf_en, rouge_l_en, bleu_zh, ...: the same for the texts of one language, if there are any.
    brevity_penalty, length_ratio: over all texts; the ratio is predicted words divided by reference words.
    num_samples, num_samples_en, num_samples_zh: number of texts.
    signature: sacrebleu's signature per language, and for "all" (tokenized beforehand, therefore tok:none), "chrf" and
        "rouge_l"; with the folding, if there is one.

Example:
    >>> import evaluate
    >>> metric = evaluate.load("org/medical_bleu")
    >>> scores = metric.compute(predictions=["左肺结节"], references=["左肺结节"])
    >>> round(scores["bleu"], 1)
    100.0
"""

_CITATION = """
@inproceedings{post-2018-call,
    title = {A Call for Clarity in Reporting {BLEU} Scores},
    author = {Post, Matt},
    booktitle = {Proceedings of the Third Conference on Machine Translation: Research Papers},
    year = {2018},
    url = {https://aclanthology.org/W18-6319},
    pages = {186--191}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class MedicalBleu(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=[
                datasets.Features({"predictions": text, "references": datasets.Sequence(text)}),
                datasets.Features({"predictions": text, "references": text}),
            ],
            codebase_urls=["https://github.com/mjpost/sacrebleu"],
            reference_urls=["https://aclanthology.org/W18-6319"],
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Adds samples; each reference is one text or a list of texts.

        `evaluate` determines the type from the first sample only: a list after a text would be scored as the text
        "['...']", and an empty batch would raise an IndexError. `evaluate` also appends to this docstring, so it has to
        exist.
        """
        if references is not None:
            if len(references) == 0:
                raise ValueError(
                    "There are no samples: references is empty. Give at least one prediction and its reference."
                )
            references = [[texts] if isinstance(texts, str) else texts for texts in references]
        return super().add_batch(predictions=predictions, references=references, **kwargs)

    def _compute(self, predictions, references, languages=None, folding="none"):
        return bleu_scores(predictions, references, languages, folding)
