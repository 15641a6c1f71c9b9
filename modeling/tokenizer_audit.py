"""Counts what a tokenizer loses: truncated texts, byte-fallback and unknown tokens, and collisions of texts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
MAX_EXAMPLES = 5  # collisions that are listed per language
BATCH_SIZE = 256
ALL = "all"


@dataclass
class TextAudit:
    """Counts over the texts of one language, or over all texts.

    Attributes:
        texts: number of texts, duplicates included.
        distinct: number of distinct texts, ignoring case and white space.
        tokens: number of tokens of all texts, before truncation and without special tokens.
        longest: number of tokens of the longest text before truncation, special tokens included.
        truncated: number of texts that are truncated to the model's length.
        byte_tokens: number of byte-fallback tokens; a Chinese character takes three.
        byte_texts: number of texts with byte-fallback tokens.
        unknown_tokens: number of unknown tokens.
        unknown_texts: number of texts with unknown tokens.
        collisions: number of distinct texts with the same tokens as an earlier text.
        truncation_collisions: number of distinct texts that become equal to an earlier one only by truncation.
        examples: up to `MAX_EXAMPLES` collisions, each `{"first": row, "second": row, "text": the second text}`; rows
            count from 0.
    """

    texts: int = 0
    distinct: int = 0
    tokens: int = 0
    longest: int = 0
    truncated: int = 0
    byte_tokens: int = 0
    byte_texts: int = 0
    unknown_tokens: int = 0
    unknown_texts: int = 0
    collisions: int = 0
    truncation_collisions: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def rates(self) -> dict[str, float]:
        """Returns the rates from 0 to 1, and the mean number of tokens per text.

        Truncation is per text, byte-fallback and unknown tokens per token, collisions per distinct text.
        """
        texts, tokens, distinct = max(self.texts, 1), max(self.tokens, 1), max(self.distinct, 1)
        return {
            "truncation_rate": self.truncated / texts,
            "byte_fallback_rate": self.byte_tokens / tokens,
            "unknown_rate": self.unknown_tokens / tokens,
            "collision_rate": self.collisions / distinct,
            "tokens_per_text": self.tokens / texts,
        }


def audit_texts(processor: Any, texts: Iterable[tuple[str, str]], max_length: int = 64) -> dict[str, TextAudit]:
    """Tokenizes a stream of texts and counts what is lost.

    It stores hashes, about 200 bytes per distinct text, and not the texts.

    Args:
        processor: a processor or a tokenizer, stock or not, used with its own normalization.
        texts: pairs of a text and its language; a language must not be called `all`.
        max_length: the maximum number of tokens of the model, special tokens included.

    Returns:
        the audit of all texts under `all`, then one audit per language, sorted by name.

    Raises:
        ValueError: a language is called `all`.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    byte_ids = frozenset(index for token, index in tokenizer.get_vocab().items() if BYTE_TOKEN.fullmatch(token))
    audits: dict[str, TextAudit] = {ALL: TextAudit()}
    seen: dict[bytes, bytes] = {}  # from the digest of full or truncated tokens to the row of the first such text
    row = 0
    for batch in split_batches(texts):
        all_ids = tokenizer([text for text, _ in batch], truncation=False, padding=False, verbose=False)["input_ids"]
        for (text, language), ids in zip(batch, all_ids, strict=True):
            if language == ALL:
                raise ValueError(
                    f"row {row}: the language is {ALL!r}, which is the name of the total. Give a language code, for "
                    "example en."
                )
            own = [index for index in ids if index not in special]
            counts = {
                "texts": 1,
                "tokens": len(own),
                "truncated": int(len(ids) > max_length),
                "byte_tokens": sum(index in byte_ids for index in own),
                "unknown_tokens": own.count(tokenizer.unk_token_id),
            }
            counts |= {f"{kind}_texts": int(counts[f"{kind}_tokens"] > 0) for kind in ("byte", "unknown")}
            for scope in (ALL, language):
                audit = audits.setdefault(scope, TextAudit())
                for name, count in counts.items():
                    setattr(audit, name, getattr(audit, name) + count)
                audit.longest = max(audit.longest, len(ids))
                count_collisions(audit, seen, scope, text, ids, max_length, row)
            row += 1
    return {ALL: audits[ALL]} | {name: audits[name] for name in sorted(audits) if name != ALL}


def count_collisions(
    audit: TextAudit, seen: dict[bytes, bytes], scope: str, text: str, ids: list[int], max_length: int, row: int
) -> None:
    """Counts a distinct text, and its collision with an earlier text of the same tokens, and updates `seen`."""
    text_key = digest(scope, "text", " ".join(text.lower().split()))
    if text_key in seen:
        return
    seen[text_key] = b""
    audit.distinct += 1
    full_key = digest(scope, "whole", repr(ids))
    if full_key in seen:
        audit.collisions += 1
        if len(audit.examples) < MAX_EXAMPLES:
            audit.examples.append({"first": int.from_bytes(seen[full_key]), "second": row, "text": text})
        return
    seen[full_key] = row.to_bytes(8)
    # Truncation keeps the end token as the last one.
    truncated_key = digest(scope, "cut", repr([*ids[: max_length - 1], ids[-1]]))
    if truncated_key in seen:
        audit.truncation_collisions += 1
    seen[truncated_key] = b""


def digest(*parts: str) -> bytes:
    """Returns a hash of 12 bytes. For 100 million texts, the probability of any chance collision is below 1e-11."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).digest()


def split_batches(texts: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Yields the texts in lists of up to `BATCH_SIZE`."""
    stream = iter(texts)
    while batch := list(islice(stream, BATCH_SIZE)):
        yield batch


def format_audits(audits: dict[str, TextAudit]) -> list[str]:
    """Returns the lines of a plain-text table with one row per language, for a command to print."""
    head = (
        f"{'language':<10}{'texts':>9}{'tokens/text':>13}{'truncated':>11}{'bytes':>8}{'unknown':>9}{'collisions':>12}"
    )
    lines = [head]
    for name, audit in audits.items():
        rates = audit.rates()
        shares = "".join(
            f"{rates[rate]:>{width}.1%}"
            for rate, width in (("truncation_rate", 11), ("byte_fallback_rate", 8), ("unknown_rate", 9))
        )
        lines.append(f"{name:<10}{audit.texts:>9}{rates['tokens_per_text']:>13.1f}{shares}{audit.collisions:>12}")
    return lines
