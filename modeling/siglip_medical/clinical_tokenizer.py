"""Adds the rules for clinical text to a SigLIP tokenizer, where they are saved in its tokenizer.json.

Rules in a custom processor apply only with `trust_remote_code`. Rules inside the tokenizer also apply in the plain
`AutoTokenizer`, `AutoProcessor` and every pipeline. The SentencePiece tokenizer of SigLIP cannot contain them, because
its Python code deletes punctuation before the SentencePiece model runs. It is therefore converted to a `tokenizers`
tokenizer with the same ids, and the conversion is checked on a few texts.

Two differences remain, both for input that does not occur in practice: a word after a special token that is written
out in a text ("one</s>two") starts a new word, and a ligature or sign with a combining mark is not decomposed.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from .text_normalizer import SPACE, clinical_normalizers

RULES_KEY = "clinical_normalizer"  # key in tokenizer_config.json of a tokenizer that contains the rules
RULES_VERSION = 1
# A converted tokenizer must give the same ids for these: words, digits, marks, Chinese, bytes, special tokens.
PROBES = (
    "Knee X-ray, Kellgren-Lawrence grade 2: mild osteoarthritis.",
    "The lesion measures 1.5 x 2 cm (L4/5); <5 mm, +ve & -ve, 30%.",
    "MRI图像，腹部。图片中包含肝脏吗？包含。",
    "  leading and trailing   spaces \t\n",
    "café naïve ΑΩ straße ﬁ ① ㎝ ½ 😀 ▁ _ ~ ` ^",
    "",
)


def add_clinical_rules(tokenizer: Any) -> Any:
    """Returns a copy of a tokenizer that applies the clinical rules before its own normalization.

    Args:
        tokenizer: a SiglipTokenizer, or any fast tokenizer, for example the Gemma tokenizer of SigLIP 2.

    Returns:
        a `PreTrainedTokenizerFast`; the argument itself if it contains the rules already. A copy of a fast tokenizer
        also converts text to lowercase, as in the training of SigLIP 2; the Gemma tokenizer of its fixed-resolution
        checkpoints does not do that itself.

    Raises:
        ValueError: the tokenizer cannot be converted, or the converted tokenizer gives different ids.
    """
    if has_clinical_rules(tokenizer):
        return tokenizer
    from tokenizers import Tokenizer, normalizers

    if getattr(tokenizer, "is_fast", False):
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        own = [normalizers.Lowercase(), *([backend.normalizer] if backend.normalizer is not None else [])]
    else:
        converted = convert_siglip_tokenizer(tokenizer)
        backend = converted.backend_tokenizer
        own = [backend.normalizer]
    backend.normalizer = normalizers.Sequence([*clinical_normalizers(), *own])
    return wrap_backend(backend, tokenizer, **{RULES_KEY: RULES_VERSION})


def has_clinical_rules(tokenizer: Any) -> bool:
    """Returns whether a tokenizer contains the rules for clinical text."""
    return bool(getattr(tokenizer, "init_kwargs", {}).get(RULES_KEY))


def convert_siglip_tokenizer(slow: Any) -> Any:
    """Converts a SiglipTokenizer to a `PreTrainedTokenizerFast` that gives the same ids.

    Raises:
        ValueError: it has no SentencePiece unigram model, or the ids of one of `PROBES` differ.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, processors
    from transformers.convert_slow_tokenizer import import_protobuf

    proto = import_protobuf().ModelProto()
    proto.ParseFromString(Path(slow.vocab_file).read_bytes())
    if proto.trainer_spec.model_type != 1 or type(slow).__name__ != "SiglipTokenizer":
        raise ValueError(
            f"The clinical rules cannot be added to a {type(slow).__name__} with SentencePiece model type "
            f"{proto.trainer_spec.model_type}; only a SiglipTokenizer with a unigram model (type 1) is supported. Use "
            "normalize_text=False."
        )
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    spec = proto.normalizer_spec
    unigram = models.Unigram(pieces, proto.trainer_spec.unk_id, proto.trainer_spec.byte_fallback)
    tokenizer = Tokenizer(unigram)
    # First the steps of SiglipTokenizer's Python code, then those of its SentencePiece model.
    punctuation = "[" + "".join("\\" + mark for mark in string.punctuation) + "]"
    # Python's str.lower() writes a sigma at the end of a word as ς; Lowercase() does not.
    final_sigma = normalizers.Replace(Regex(r"(?<=\p{L})Σ(?!\p{L})"), "ς")
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
    fast = wrap_backend(tokenizer, slow)
    for text in PROBES:
        if slow(text)["input_ids"] != fast(text)["input_ids"]:
            raise ValueError(
                f"{slow.name_or_path}: the converted tokenizer gives different ids for {text!r}. Use "
                "normalize_text=False."
            )
    return fast


def wrap_backend(backend: Any, like: Any, **settings: Any) -> Any:
    """Wraps a `tokenizers` tokenizer in a `PreTrainedTokenizerFast` with the special tokens and defaults of `like`."""
    from transformers import PreTrainedTokenizerFast

    names = ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "sep_token", "cls_token")
    # AddedToken objects keep the settings for spaces next to a special token, which plain strings would lose.
    kept = {token.content: token for token in like.added_tokens_decoder.values()}
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
