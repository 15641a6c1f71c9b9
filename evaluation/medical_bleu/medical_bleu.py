"""BLEU for English and Chinese medical text, as an `evaluate` metric; see README.md beside this file."""

from __future__ import annotations

import datasets
import evaluate

from .bilingual import bleu_scores, detect_language

__all__ = ["MedicalBleu", "bleu_scores", "detect_language"]

_DESCRIPTION = """
Corpus BLEU by sacrebleu for English, Chinese and mixed medical texts. Every text is tokenised by its own language, so
that Chinese is scored by characters and not as one long word. Needs no download.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: the generated texts, not tokenised. An empty one is allowed.
    references: one text for each prediction, or a list of texts for each; the lists may differ in length.
    languages: "en" or "zh" for each prediction. Without it, a sample is Chinese if at least a tenth of the characters
        of its references are.

Returns:
    bleu, bleu_1: 0..100, over all texts: BLEU with n-grams up to 4 words, and with single words.
    bleu_en, bleu_1_en, bleu_zh, bleu_1_zh: the same for one language, if there are texts in it.
    brevity_penalty, length_ratio: over all texts; the ratio is words predicted to words in the references.
    num_samples, num_samples_en, num_samples_zh: how many texts.
    signature: sacrebleu's signature for each language, and for "all" (tokenised before, hence tok:none).

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
        """Adds samples; a reference may be one text or a list of texts.

        `evaluate` looks at the first sample only: in a mixture, a list after it would be scored as the text "['...']",
        and no samples at all would be an IndexError. It also needs this docstring, to which it appends.
        """
        if references is not None:
            if len(references) == 0:
                raise ValueError("no samples: references are empty")
            references = [[texts] if isinstance(texts, str) else texts for texts in references]
        return super().add_batch(predictions=predictions, references=references, **kwargs)

    def _compute(self, predictions, references, languages=None):
        return bleu_scores(predictions, references, languages)
