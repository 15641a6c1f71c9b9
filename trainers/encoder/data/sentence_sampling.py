"""Samples sentences from reports that are longer than the model's input, different ones in each epoch.

Truncation would always drop the end of a report, where the impression usually stands.
"""

from __future__ import annotations

from typing import Any

from modeling.siglip_medical.long_texts import sample_sentences

# Distinct texts for which the class remembers whether they fit.
MAX_CACHED_TEXTS = 500_000


class SentenceSampling:
    """Selects the part of a text to train on in an epoch.

    Args:
        processor: the model's processor; its tokenizer measures the length.
        max_length: largest number of tokens that the model reads.
        seed: seed of the selection.
        count: number of consecutive sentences to select.
    """

    def __init__(self, processor: Any, max_length: int, seed: int, count: int) -> None:
        self.tokenizer, self.max_length, self.seed, self.count = processor.tokenizer, max_length, seed, count
        self.fits: dict[str, bool] = {}

    def __call__(self, text: str, epoch: int) -> str:
        """Returns the text if the model can read all of it, else some of its sentences, the same in every process."""
        fits = self.fits.get(text)
        if fits is None:
            fits = len(self.tokenizer(text, truncation=False, verbose=False)["input_ids"]) <= self.max_length
            if len(self.fits) < MAX_CACHED_TEXTS:
                self.fits[text] = fits
        return text if fits else sample_sentences(text, self.seed, epoch, self.count)
