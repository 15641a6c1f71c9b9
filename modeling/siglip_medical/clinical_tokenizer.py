"""A SigLIP tokenizer that normalises clinical text by itself, whoever opens it: the rules stand in its tokenizer.json.

A processor with code of its own reaches only those who trust that code; the rules inside the tokenizer reach the plain
`AutoTokenizer`, `AutoProcessor` and every pipeline too. A SentencePiece tokenizer (SigLIP) has no place for them: its
punctuation is deleted in Python, before the model file is looked at. So it is rewritten as a `tokenizers` tokenizer
that gives the same ids, which is checked on the spot. Two differences stay, both beyond what texts hold: a word after
a special token spelt out within a text ("one</s>two") begins a new word, and a combining mark on a character that is
itself a ligature or a sign keeps that from being taken apart.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from .text_normalizer import SPACE, clinical_normalizers

CARRIES = "clinical_normalizer"  # a key of tokenizer_config.json: the tokenizer has the rules already
VERSION = 1
# Looked at before a rewritten tokenizer is trusted: words, digits, marks, Chinese, bytes, special tokens.
PROBES = (
    "Knee X-ray, Kellgren-Lawrence grade 2: mild osteoarthritis.",
    "The lesion measures 1.5 x 2 cm (L4/5); <5 mm, +ve & -ve, 30%.",
    "MRI图像，腹部。图片中包含肝脏吗？包含。",
    "  leading and trailing   spaces \t\n",
    "café naïve ΑΩ straße ﬁ ① ㎝ ½ 😀 ▁ _ ~ ` ^",
    "",
)


def clinical_tokenizer(tokenizer: Any) -> Any:
    """A tokenizer with the clinical rules before its own normalisation; one that has them already, as it is.

    Args:
        tokenizer: a SiglipTokenizer, or any fast tokenizer, such as the Gemma tokenizer of SigLIP 2.

    Returns:
        a `PreTrainedTokenizerFast`. Where the tokenizer keeps capital letters, which is so for the Gemma tokenizer that
        SigLIP 2's fixed-resolution checkpoints name, it makes them small, as SigLIP 2 was trained.

    Raises:
        ValueError: the tokenizer is of a kind that cannot be rewritten, or its copy would give other ids.
    """
    if carries_rules(tokenizer):
        return tokenizer
    from tokenizers import Tokenizer, normalizers

    if getattr(tokenizer, "is_fast", False):
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        own = [normalizers.Lowercase(), *([backend.normalizer] if backend.normalizer is not None else [])]
    else:
        plain = rewritten(tokenizer)
        backend = plain.backend_tokenizer
        own = [backend.normalizer]
    backend.normalizer = normalizers.Sequence([*clinical_normalizers(), *own])
    return wrapped(backend, tokenizer, **{CARRIES: VERSION})


def carries_rules(tokenizer: Any) -> bool:
    """Whether a tokenizer normalises clinical text by itself."""
    return bool(getattr(tokenizer, "init_kwargs", {}).get(CARRIES))


def rewritten(slow: Any) -> Any:
    """A SiglipTokenizer as a `PreTrainedTokenizerFast` that gives the same ids.

    Raises:
        ValueError: it has no SentencePiece unigram model, or ids differ on any of a handful of texts.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, processors
    from transformers.convert_slow_tokenizer import import_protobuf

    proto = import_protobuf().ModelProto()
    proto.ParseFromString(Path(slow.vocab_file).read_bytes())
    if proto.trainer_spec.model_type != 1 or type(slow).__name__ != "SiglipTokenizer":
        raise ValueError(f"{type(slow).__name__} is no SiglipTokenizer with a unigram model: use normalize_text=False")
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    spec = proto.normalizer_spec
    unigram = models.Unigram(pieces, proto.trainer_spec.unk_id, proto.trainer_spec.byte_fallback)
    tokenizer = Tokenizer(unigram)
    # what SiglipTokenizer does in Python, then what its SentencePiece model does
    punctuation = "[" + "".join("\\" + mark for mark in string.punctuation) + "]"
    final_sigma = normalizers.Replace(Regex(r"(?<=\p{L})Σ(?!\p{L})"), "ς")  # as Python writes it small
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace("▁", " "),
            *([final_sigma, normalizers.Lowercase()] if slow.do_lower_case else []),
            normalizers.Replace(Regex(punctuation), ""),
            normalizers.Replace(Regex(SPACE + "+"), " "),
            normalizers.Strip(),
            *([normalizers.Precompiled(spec.precompiled_charsmap)] if spec.precompiled_charsmap else []),
            *([normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()] if spec.remove_extra_whitespaces else []),
            normalizers.Replace(" ", "▁"),
            normalizers.Prepend("▁"),
        ]
    )
    spaces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(spaces)
    end = slow.eos_token
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, slow.eos_token_id)]
    )
    fast = wrapped(tokenizer, slow)
    for text in PROBES:
        if slow(text)["input_ids"] != fast(text)["input_ids"]:
            raise ValueError(
                f"{slow.name_or_path}: rewritten, this tokenizer reads {text!r} differently: use normalize_text=False"
            )
    return fast


def wrapped(backend: Any, like: Any, **settings: Any) -> Any:
    """A `tokenizers` tokenizer as a `PreTrainedTokenizerFast` with the special tokens and defaults of another one."""
    from transformers import PreTrainedTokenizerFast

    names = ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "sep_token", "cls_token")
    kept = {token.content: token for token in like.added_tokens_decoder.values()}  # with their treatment of space
    special = {name: kept.get(str(token), token) for name in names if (token := getattr(like, name, None)) is not None}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=like.model_max_length,
        model_input_names=list(like.model_input_names),
        padding_side=like.padding_side,
        truncation_side=like.truncation_side,
        clean_up_tokenization_spaces=False,
        **special,
        **settings,
    )
    fast.name_or_path = like.name_or_path
    return fast
