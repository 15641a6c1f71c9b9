"""Reports longer than the 64 tokens that SigLIP reads: cut into sentences, drawn from in training, averaged in use."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

LONG_TEXT = ("first", "mean")
# Words whose full stop does not end a sentence; single letters ("J. Smith", "e.g.") never end one either.
ABBREVIATIONS = frozenset(
    (
        *("dr", "mr", "mrs", "ms", "prof", "st", "approx", "ca", "cf", "vs", "etc", "fig", "figs", "no", "nos", "vol"),
        *("pt", "pts", "hx", "dx", "rx", "tx", "sx", "ant", "post", "inf", "sup", "lat", "med", "resp", "incl", "excl"),
        *("max", "min", "avg", "dept", "univ", "inc", "ltd", "al"),
        *("jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
    )
)
# ends of sentences: Chinese marks, and English ones with what closes a quotation or bracket after them
END = re.compile(
    r"[。！？；]+[”’」』）)]*"
    r"|[!?]+[\"')\]]*(?=\s|$|[一-鿿])"
    r"|\.+[\"')\]]*(?=\s|$|[一-鿿])"
    r"|\n+"
)
LAST_WORD = re.compile(r"([A-Za-z]+|[0-9]+)$")
LIST_NUMBER = re.compile(r"(?:^|[\n。；;.])\s*\(?[0-9]{1,2}$")


def split_sentences(text: str) -> list[str]:
    """The sentences of a report in English, Chinese or both, without the space around them; none is empty.

    A full stop ends a sentence where space, Chinese or the end follows, and not within a number, after an
    abbreviation, after the number of a list ("1. No fracture."), or before a small letter. So does the end of a line.
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
    """Whether a full stop that is followed by space ends the sentence that began at `start`."""
    before, after = text[start : stop.start()], text[stop.end() :].lstrip(" \t")
    if not after or after[0] == "\n":
        return True
    word = LAST_WORD.search(before) if stop.group() == "." else None  # a quotation ends with a whole sentence
    if word and word.group().isalpha():
        if word.group().lower() in ABBREVIATIONS:
            return False
        if len(word.group()) == 1 and not before[: word.start()].endswith(("grade ", "Grade ", "hepatitis ", "type ")):
            return False  # an initial, or the last letter of "e.g." and "i.e."
    if LIST_NUMBER.search(before):
        return False
    return not after[0].islower()


def sample_sentences(text: str, seed: int, epoch: int, count: int = 1) -> str:
    """`count` sentences of a text that follow each other, drawn anew in every epoch; a shorter text as it is.

    The draw depends on the text, the seed and the epoch alone: it is the same in every process, worker and resumed
    run. Over the epochs every sentence is seen, where the beginning of the report alone would be.

    Raises:
        ValueError: `count` is less than one.
    """
    if count < 1:
        raise ValueError(f"count {count}: draw at least one sentence")
    sentences = split_sentences(text)
    if len(sentences) <= count:
        return text
    digest = hashlib.blake2b(f"{seed}\0{epoch}\0{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    first = random.Random(int.from_bytes(digest)).randrange(len(sentences) - count + 1)
    return " ".join(sentences[first : first + count])


def encode_text(
    model: Any, processor: Any, texts: Sequence[str], *, long_text: str = "first", batch_size: int = 64
) -> torch.Tensor:
    """Embeds texts of any length with a SigLIP, stock or not.

    Args:
        model: a SiglipModel or SiglipMedicalModel; it is used as it stands, in train or eval mode.
        processor: its processor.
        long_text: `first` reads the first 64 tokens of a text. `mean` takes the mean of the unit-length embeddings of
            its sentences, each cut at 64 tokens; a text of one sentence comes out the same either way.
        batch_size: how many sentences or texts at once.

    Returns:
        `[len(texts), D]` float32 of unit length on the model's device, without gradient.

    Raises:
        ValueError: for an unknown `long_text`, or a single string in place of several.
    """
    if long_text not in LONG_TEXT:
        raise ValueError(f"long_text {long_text!r}: give {' or '.join(LONG_TEXT)}")
    if isinstance(texts, str):
        raise ValueError("give a list of texts, not one string")
    parts = [[text] if long_text == "first" else split_sentences(text) or [text] for text in texts]
    flat = [part for own in parts for part in own]
    length = model.config.text_config.max_position_embeddings
    # SigLIP attends to its padding, and a stock model would obey a mask; ours was perhaps trained with one
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
    together = torch.cat(embeds)  # [sentences, D]
    if long_text == "first":
        return together
    owner = torch.tensor([row for row, own in enumerate(parts) for _ in own], device=together.device)
    sums = together.new_zeros(len(parts), together.shape[1]).index_add_(0, owner, together)
    single = torch.bincount(owner, minlength=len(parts)) == 1
    return torch.where(single[:, None], sums, F.normalize(sums, dim=-1))
