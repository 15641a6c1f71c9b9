"""What a tokenizer loses of the texts it is given: cut ends, pieces it has no word for, different texts made equal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
EXAMPLES = 5
BATCH = 256
ALL = "all"


@dataclass
class TextAudit:
    """Counts over the texts of one language, or over all of them.

    Attributes:
        texts: how many there were, repetitions included.
        distinct: how many different ones; capitals and space make no difference.
        tokens: over all texts, before truncation and without special tokens.
        longest: the most tokens of one text, special tokens included, as the model would have to read them.
        truncated: texts that are cut at the model's length.
        byte_tokens: tokens that are a single byte, for want of a word: three for a Chinese character.
        byte_texts: texts with any of them.
        unknown_tokens: tokens that stand for anything.
        unknown_texts: texts with any of them.
        collisions: different texts whose tokens are those of an earlier text: what told them apart is lost.
        cut_collisions: different texts that are equal once they are cut, and were not before.
        examples: a few collisions, each `{"first": row, "second": row, "text": the second}`, rows counted from 0.
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
    cut_collisions: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def rates(self) -> dict[str, float]:
        """Shares from 0 to 1: of the texts, of the tokens for bytes and unknowns, of distinct texts for collisions."""
        texts, tokens, distinct = max(self.texts, 1), max(self.tokens, 1), max(self.distinct, 1)
        return {
            "truncation_rate": self.truncated / texts,
            "byte_fallback_rate": self.byte_tokens / tokens,
            "unknown_rate": self.unknown_tokens / tokens,
            "collision_rate": self.collisions / distinct,
            "tokens_per_text": self.tokens / texts,
        }


def audit_texts(processor: Any, texts: Iterable[tuple[str, str]], max_length: int = 64) -> dict[str, TextAudit]:
    """Tokenises a stream of texts and counts what is lost.

    Kept in memory are hashes, of about 200 bytes for each distinct text, and never the texts.

    Args:
        processor: a processor or a tokenizer, stock or not; what it would give the model is what is counted.
        texts: pairs of a text and its language; `all` is no language.
        max_length: the tokens that the model reads, special tokens included.

    Returns:
        an audit for `all`, and one for each language in the order of their names.

    Raises:
        ValueError: a language is called `all`.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    byte_ids = frozenset(index for token, index in tokenizer.get_vocab().items() if BYTE_TOKEN.fullmatch(token))
    audits: dict[str, TextAudit] = {ALL: TextAudit()}
    seen: dict[bytes, bytes] = {}  # tokens, whole or cut -> the first text that gave them, and its row
    row = 0
    for batch in batches(texts):
        all_ids = tokenizer([text for text, _ in batch], truncation=False, padding=False, verbose=False)["input_ids"]
        for (text, language), ids in zip(batch, all_ids, strict=True):
            if language == ALL:
                raise ValueError(f"a text of language {ALL!r}: give its language, such as en")
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
                compare(audit, seen, scope, text, ids, max_length, row)
            row += 1
    return {ALL: audits[ALL]} | {name: audits[name] for name in sorted(audits) if name != ALL}


def compare(
    audit: TextAudit, seen: dict[bytes, bytes], scope: str, text: str, ids: list[int], max_length: int, row: int
) -> None:
    """Notes a text, and counts it where another one was noted under the same tokens."""
    name = digest(scope, "text", " ".join(text.lower().split()))
    if name in seen:
        return
    seen[name] = b""
    audit.distinct += 1
    whole = digest(scope, "whole", repr(ids))
    if whole in seen:
        audit.collisions += 1
        if len(audit.examples) < EXAMPLES:
            audit.examples.append({"first": int.from_bytes(seen[whole]), "second": row, "text": text})
        return
    seen[whole] = row.to_bytes(8)
    cut = digest(scope, "cut", repr([*ids[: max_length - 1], ids[-1]]))  # as read: the end token stays
    if cut in seen:
        audit.cut_collisions += 1
    seen[cut] = b""


def digest(*parts: str) -> bytes:
    """12 bytes: among a hundred million texts two meet by chance once in ten million audits."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).digest()


def batches(texts: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    stream = iter(texts)
    while batch := list(islice(stream, BATCH)):
        yield batch


def audit_lines(audits: dict[str, TextAudit]) -> list[str]:
    """A table in plain text, a line for each language, for a command to print."""
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
