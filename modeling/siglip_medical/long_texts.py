"""Handles reports that are longer than SigLIP's 64 tokens.

A report is split into sentences. Training draws some of them in each epoch, and `encode_text` can average the
embeddings of all of them.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

LONG_TEXT = ("first", "mean")
# A period after these words does not end a sentence; nor does one after a single letter ("J. Smith", "e.g.").
ABBREVIATIONS = frozenset(
    (
        *("dr", "mr", "mrs", "ms", "prof", "st", "approx", "ca", "cf", "vs", "etc", "fig", "figs", "no", "nos", "vol"),
        *("pt", "pts", "hx", "dx", "rx", "tx", "sx", "ant", "post", "inf", "sup", "lat", "med", "resp", "incl", "excl"),
        *("max", "min", "avg", "dept", "univ", "inc", "ltd", "al"),
        *("jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
    )
)
# The end of a sentence: Chinese or English marks with the closing quotes and brackets after them, or line breaks.
END = re.compile(
    r"[。！？；]+[”’」』）)]*"
    r"|[!?]+[\"')\]]*(?=\s|$|[一-鿿])"
    r"|\.+[\"')\]]*(?=\s|$|[一-鿿])"
    r"|\n+"
)
LAST_WORD = re.compile(r"([A-Za-z]+|[0-9]+)$")
LIST_NUMBER = re.compile(r"(?:^|[\n。；;.])\s*\(?[0-9]{1,2}$")


def split_sentences(text: str) -> list[str]:
    """Splits a report in English, Chinese or both into non-empty sentences without surrounding spaces.

    A period ends a sentence if a space, a Chinese character or the end of the text follows, but not within a number,
    after an abbreviation, after a list number ("1. No fracture.") or before a lowercase letter. A line break always
    ends a sentence.
    """
    sentences, start = [], 0
    for match in END.finditer(text):
        if match.group().startswith(".") and not ends_sentence(text, start, match):
            continue
        sentences.append(text[start : match.end()])
        start = match.end()
    sentences.append(text[start:])
    return [sentence for sentence in map(str.strip, sentences) if sentence]


def ends_sentence(text: str, start: int, stop: re.Match) -> bool:
    """Returns whether the period matched by `stop` ends the sentence that starts at index `start`."""
    before, after = text[start : stop.start()], text[stop.end() :].lstrip(" \t")
    if not after or after[0] == "\n":
        return True
    # Abbreviations matter only for a bare period: a period with a closing quote or bracket ends a sentence.
    word = LAST_WORD.search(before) if stop.group() == "." else None
    if word and word.group().isalpha():
        if word.group().lower() in ABBREVIATIONS:
            return False
        if len(word.group()) == 1 and not before[: word.start()].endswith(("grade ", "Grade ", "hepatitis ", "type ")):
            return False  # an initial, or the last letter of "e.g." and "i.e."
    if LIST_NUMBER.search(before):
        return False
    return not after[0].islower()


def sample_sentences(text: str, seed: int, epoch: int, count: int = 1) -> str:
    """Draws `count` consecutive sentences of a text; a text with no more sentences is returned unchanged.

    The draw depends only on the text, the seed and the epoch, so it is the same in every process, worker and resumed
    run. Over the epochs the model reads all sentences, and not only the first 64 tokens of the report.

    Raises:
        ValueError: `count` is less than 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}. Draw at least 1 sentence.")
    sentences = split_sentences(text)
    if len(sentences) <= count:
        return text
    digest = hashlib.blake2b(f"{seed}\0{epoch}\0{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    first = random.Random(int.from_bytes(digest)).randrange(len(sentences) - count + 1)
    return " ".join(sentences[first : first + count])


def encode_text(
    model: Any, processor: Any, texts: Sequence[str], *, long_text: str = "first", batch_size: int = 64
) -> torch.Tensor:
    """Embeds texts of any length with a SigLIP.

    Args:
        model: a SiglipModel or SiglipMedicalModel; its train or eval mode stays unchanged.
        processor: its processor.
        texts: N texts.
        long_text: `first` embeds the first 64 tokens of a text. `mean` averages the unit-length embeddings of its
            sentences, each truncated to 64 tokens, and normalizes the mean. Both are equal for a single sentence.
        batch_size: the number of sentences or texts per forward pass.

    Returns:
        `[N, D]` float32 embeddings of unit length on the model's device, without gradient.

    Raises:
        ValueError: `long_text` is unknown, or `texts` is a single string.
    """
    if long_text not in LONG_TEXT:
        raise ValueError(f"long_text is {long_text!r}. Use {' or '.join(LONG_TEXT)}.")
    if isinstance(texts, str):
        raise ValueError("texts is a single string. Give a list of texts.")
    parts = [[text] if long_text == "first" else split_sentences(text) or [text] for text in texts]
    flat = [part for text_parts in parts for part in text_parts]
    length = model.config.text_config.max_position_embeddings
    # SigLIP attends to its padding, and the stock model would apply any mask, so a mask is passed only to a model that
    # was trained with one.
    masked = bool(getattr(model.config, "text_attention_mask", False))
    names = ("input_ids", "attention_mask") if masked else ("input_ids",)
    embeds = []
    for start in range(0, len(flat), batch_size):
        inputs = processor(
            text=flat[start : start + batch_size],
            padding="max_length",
            truncation=True,
            max_length=length,
            return_attention_mask=masked,
            return_tensors="pt",
        )
        with torch.no_grad():
            output = model.get_text_features(**{name: inputs[name].to(model.device) for name in names})
        embeds.append(F.normalize(output.pooler_output.float(), dim=-1))
    if not flat:
        width = getattr(model.config, "truncate_dim", None) or model.config.text_config.projection_size
        return torch.zeros(0, width, device=model.device)
    part_embeds = torch.cat(embeds)  # (parts, D)
    if long_text == "first":
        return part_embeds
    text_of_part = torch.tensor(
        [row for row, text_parts in enumerate(parts) for _ in text_parts], device=part_embeds.device
    )
    sums = part_embeds.new_zeros(len(parts), part_embeds.shape[1]).index_add_(0, text_of_part, part_embeds)  # (N, D)
    # A single embedding has unit length already; normalizing it again could change its last bit.
    single = torch.bincount(text_of_part, minlength=len(parts)) == 1
    return torch.where(single[:, None], sums, F.normalize(sums, dim=-1))
