"""Writes checkpoints with random weights that are small enough for a CPU, for `--tiny`, the demo and the tests.

In all other respects they are complete checkpoints: a tokenizer trained on the given texts, a processor, a
configuration and safetensors. Nothing is downloaded.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import set_seed

# The special tokens of Llama 3.2 in their order. `<|image|>` follows as the first id beyond the text vocabulary.
LLAMA_SPECIAL_TOKENS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|finetune_right_pad_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
]
IMAGE_TOKEN = "<|image|>"  # noqa: S105 (a token of a tokenizer)
# The pattern by which Llama 3 splits text before its byte-pair merges.
LLAMA_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def write_tiny_encoder(
    folder: Path, texts: Iterable[str], seed: int = 0, image_size: int = 64, family: str = "siglip"
) -> None:
    """Writes a SigLIP with about a million parameters and a tokenizer trained on raw and normalized `texts`.

    The processor is the stock one, as in the released checkpoints.

    Args:
        folder: the checkpoint folder to write.
        texts: training texts of the tokenizer.
        seed: seed of the weights.
        image_size: side length of the images in pixels, a multiple of 8.
        family: `siglip` for a SentencePiece tokenizer, or `siglip2` for a Gemma tokenizer like that of SigLIP 2's
            fixed-resolution checkpoints. The model is the same.
    """
    from transformers import SiglipProcessor, SiglipTokenizer
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    from modeling.siglip_medical.configuration_siglip_medical import SiglipMedicalConfig
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
    from modeling.siglip_medical.text_normalizer import normalize_text

    texts = [form for text in texts for form in dict.fromkeys((text, normalize_text(text)))]
    with tempfile.TemporaryDirectory() as scratch:
        # model_input_names as in the released checkpoint: SigLIP attends to its padding and gets no mask.
        if family == "siglip2":
            tokenizer = train_gemma_tokenizer(texts)
        else:
            tokenizer = SiglipTokenizer(
                vocab_file=train_sentencepiece(texts, Path(scratch) / "spiece.model"), model_input_names=["input_ids"]
            )
        image_processor = SiglipImageProcessorPil(size={"height": image_size, "width": image_size})
        size = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4}
        special_ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), tokenizer.eos_token_id)
        special_ids["pad_token_id"] = tokenizer.pad_token_id
        config = SiglipMedicalConfig(
            text_config=size | special_ids | {"vocab_size": len(tokenizer)},
            vision_config=size | {"image_size": image_size, "patch_size": 8},
        )
        set_seed(seed)
        SiglipMedicalModel(config).save_pretrained(folder)
        SiglipProcessor(image_processor, tokenizer).save_pretrained(folder)


def train_sentencepiece(texts: Iterable[str], path: Path, vocab_size: int = 1500) -> str:
    """Trains a SentencePiece unigram model for SigLIP's tokenizer, writes it to `path` and returns the path."""
    import sentencepiece

    # If sentencepiece wrote the file itself, the model would contain the file's name and differ between runs.
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(text.lower() for text in texts),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,  # few texts give a smaller vocabulary
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,  # makes the result reproducible
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
    return str(path)


def train_gemma_tokenizer(texts: Iterable[str], vocab_size: int = 1500):
    """Trains a byte-pair tokenizer with byte fallback, Gemma's special tokens and the settings of SigLIP 2.

    google/siglip2-base-patch16-224 uses the class GemmaTokenizer, adds `<eos>` but not `<bos>`, and pads with `<pad>`.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import GemmaTokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))  # noqa: S106
    bpe.normalizer = normalizers.Replace(" ", "▁")
    # Merges must stay within words during training. The final tokenizer needs no pre-tokenizer for that, because its
    # normalizer replaces all spaces.
    bpe.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special + fallback, show_progress=False)
    bpe.train_from_iterator((text.lower() for text in texts), trainer)
    model = json.loads(bpe.to_str())["model"]
    return GemmaTokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
        model_max_length=64,
    )


def write_tiny_decoder(
    folder: Path,
    texts: Iterable[str],
    chat_template: str,
    seed: int = 0,
    tile: int = 64,
    vision_sizes: Mapping[str, Any] = MappingProxyType({}),
    text_sizes: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Writes an Mllama with about two million parameters and a byte-pair tokenizer trained on `texts`.

    All gates are set to 0.5. With the usual initial value of zero, no gradient would reach the vision tower or the
    cross-attention, and the model could not learn from the image.

    Args:
        folder: the checkpoint folder to write.
        texts: training texts of the tokenizer.
        chat_template: the Jinja chat template of the processor.
        seed: seed of the weights.
        tile: side length of a tile in pixels, a multiple of 16.
        vision_sizes: fields of MllamaVisionConfig that replace the defaults below.
        text_sizes: fields of MllamaTextConfig that replace the defaults below.
    """
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaProcessor
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    tokenizer, vocab_size = train_llama_tokenizer(texts)
    image_processor = MllamaImageProcessorPil(
        size={"height": tile, "width": tile}, max_image_tiles=4, image_mean=CLIP_MEAN, image_std=CLIP_STD
    )
    vision = {"hidden_size": 64, "intermediate_size": 128, "attention_heads": 4, "patch_size": 16, "image_size": tile}
    vision |= {"num_hidden_layers": 2, "num_global_layers": 1, "intermediate_layers_indices": [0, 1], **vision_sizes}
    # The outputs of the intermediate layers are concatenated to the last one's; the released model does so with five.
    vision["vision_output_dim"] = vision["hidden_size"] * (1 + len(vision["intermediate_layers_indices"]))
    text = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = MllamaConfig(
        text_config=text
        | {"num_hidden_layers": 5, "cross_attention_layers": [1, 3], "max_position_embeddings": 2048}
        | dict(text_sizes)
        | {"vocab_size": vocab_size, "tie_word_embeddings": False}
        | {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
        vision_config=vision | {"max_num_tiles": 4},
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
    )
    set_seed(seed)
    model = MllamaForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("attn_gate", "mlp_gate", "gate_attn", "gate_ffn")):
                parameter.fill_(0.5)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    MllamaProcessor(image_processor, tokenizer, chat_template=chat_template).save_pretrained(folder)


def train_llama_tokenizer(texts: Iterable[str], vocab_size: int = 1200):
    """Trains a byte-level BPE with Llama 3.2's special tokens.

    Returns:
        the tokenizer, and the size of the text vocabulary, which is the id of the image token.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|begin_of_text|>",  # noqa: S106
        eos_token="<|eot_id|>",  # noqa: S106
        pad_token="<|finetune_right_pad_id|>",  # noqa: S106
        extra_special_tokens=LLAMA_SPECIAL_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        padding_side="right",
        model_max_length=131072,
    )
    text_vocab_size = len(tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": [*LLAMA_SPECIAL_TOKENS, IMAGE_TOKEN]})
    begin = tokenizer.bos_token
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, tokenizer.bos_token_id)]
    )
    return tokenizer, text_vocab_size
