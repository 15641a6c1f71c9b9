"""What of a report that is too long for the model is trained on? Other sentences of it in every epoch."""

from __future__ import annotations

from typing import Any

from modeling.siglip_medical.long_texts import sample_sentences

MOST_TEXTS = 500_000  # of which it is remembered whether they fit


class SentenceSampling:
    """Chooses the text of a row for an epoch.

    Args:
        processor: of the model; its tokenizer decides what is too long.
        max_length: the tokens that the model reads.
        seed: of the training.
        count: sentences that are drawn; they follow each other.
    """

    def __init__(self, processor: Any, max_length: int, seed: int, count: int) -> None:
        self.tokenizer, self.max_length, self.seed, self.count = processor.tokenizer, max_length, seed, count
        self.fits: dict[str, bool] = {}

    def __call__(self, text: str, epoch: int) -> str:
        """The text itself where the model can read all of it; else sentences of it, the same in every process."""
        fits = self.fits.get(text)
        if fits is None:
            fits = len(self.tokenizer(text, truncation=False, verbose=False)["input_ids"]) <= self.max_length
            if len(self.fits) < MOST_TEXTS:
                self.fits[text] = fits
        return text if fits else sample_sentences(text, self.seed, epoch, self.count)
