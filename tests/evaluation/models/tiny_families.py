"""Writes tiny checkpoints of families of other people, with random weights, tokenizers made here, and chat templates
of the form that the family has. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, set_seed
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from evaluation.models.opening import without_videos
from tests.evaluation.small_run import TEXTS

SIDE = 32  # pixels
SPREAD = 0.1  # of weights, where more would make every answer the same
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {**VISION, "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": False}

# Each writes a turn as its family does.
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}{% if p.type == 'image' %}IMAGE"
    "{% else %}{{ p.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{% for p in m.content %}{% if p.type == 'image' %}<start_of_image>{% else %}{{ p.text }}{% endif %}{% endfor %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
VICUNA = (
    "{% for m in messages %}{{ 'ASSISTANT: ' if m.role == 'assistant' else 'USER: ' }}"
    "{% for p in m.content %}{% if p.type == 'image' %}<image>\n{% else %}{{ p.text }}{% endif %}{% endfor %}"
    "{{ eos_token if m.role == 'assistant' else ' ' }}{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
IDEFICS = (
    "<|im_start|>{% for m in messages %}{{ m.role.capitalize() }}:{% for p in m.content %}{% if p.type == 'image' %}"
    "<image>{% else %} {{ p.text }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
PIXTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{% for p in m.content %}"
    "{% if p.type == 'image' %}[IMG]{% else %}{{ p.text }}{% endif %}{% endfor %}[/INST]"
    "{% elif m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content[0].text }}[/SYSTEM_PROMPT]"
    "{% else %}{{ m.content[0].text }}{{ eos_token }}{% endif %}{% endfor %}"
)


def tokenizer(*special: str, named: dict[str, str] | None = None, masked: bool = True, **settings: Any) -> Any:
    """A byte-level tokenizer with special tokens; `named` become attributes, for example `image_token`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<pad>", "<s>", "</s>"],
        show_progress=False,
    )  # fmt: skip
    bpe.train_from_iterator(TEXTS, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=named or {},
        model_input_names=["input_ids", "attention_mask"] if masked else ["input_ids"],
        **settings,
    )
    made.add_tokens([token for token in special if token not in (named or {}).values()], special_tokens=True)
    return made


def ids(made: Any) -> dict[str, int]:
    return {"vocab_size": len(made)} | {f"{name}_token_id": getattr(made, f"{name}_token_id") for name in SPECIAL}


SPECIAL = ("pad", "bos", "eos")


def with_end(made: Any) -> Any:
    """Makes a tokenizer write its bos and eos around a text, as those of CLIP and BERT do."""
    from tokenizers import processors

    made._tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", made.bos_token_id), ("</s>", made.eos_token_id)]
    )
    return made


def square(kind: type, **more: Any) -> Any:
    """An image processor that gives squares of SIDE pixels."""
    return kind(size={"height": SIDE, "width": SIDE}, **more)


def clip_images(kind: type = CLIPImageProcessorPil) -> Any:
    return kind(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})


def saved(folder: Path, model: Any, processor: Any) -> None:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def decoder(folder: Path, model_class: type, config: Any, processor: Any, spread: float = 0.2) -> None:
    """Writes a decoder with weights that are large enough for its answers to depend on the image."""
    model, made = spread_weights(model_class(config), spread), processor.tokenizer
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = made.pad_token_id, made.eos_token_id
    saved(folder, model, processor)


def spread_weights(model: Any, spread: float = 0.2) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, spread)
    return model


# ---- encoders --------------------------------------------------------------------------------------------------------


def clip(folder: Path, family: str = "CLIP") -> None:
    import transformers

    made = with_end(tokenizer(model_max_length=77))
    text = VISION | {"max_position_embeddings": 77} | ids(made)
    vision = VISION | {"image_size": SIDE, "patch_size": 8}
    config = getattr(transformers, f"{family}Config")(text_config=text, vision_config=vision, projection_dim=24)
    processor = transformers.CLIPProcessor(clip_images(), made)
    saved(folder, getattr(transformers, f"{family}Model")(config), processor)


def metaclip_2(folder: Path) -> None:
    clip(folder, "MetaClip2")


def siglip(folder: Path) -> None:
    from tests.evaluation.small_run import write_encoder

    write_encoder(folder)


def siglip2(folder: Path) -> None:
    from transformers import Siglip2Config, Siglip2Model, Siglip2Processor
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    from modeling.tiny_checkpoints import train_gemma_tokenizer

    made = train_gemma_tokenizer(TEXTS)
    text = VISION | {"max_position_embeddings": 64, "projection_size": 32} | ids(made)
    config = Siglip2Config(text_config=text, vision_config=VISION | {"num_patches": 16, "patch_size": 8})
    images = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    saved(folder, Siglip2Model(config), Siglip2Processor(images, made))


def align(folder: Path) -> None:
    from transformers import AlignConfig, AlignModel, AlignProcessor
    from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil

    made = with_end(tokenizer(model_max_length=64))
    vision = {
        "image_size": SIDE, "kernel_sizes": [3], "in_channels": [32], "out_channels": [32], "strides": [2],
        "num_block_repeats": [1], "expand_ratios": [1], "depthwise_padding": [], "hidden_dim": 32,
        "width_coefficient": 1.0, "depth_coefficient": 1.0, "depth_divisor": 4,
    }  # fmt: skip
    config = AlignConfig(text_config=VISION | ids(made), vision_config=vision, projection_dim=32)
    saved(folder, AlignModel(config), AlignProcessor(square(EfficientNetImageProcessorPil), made))


def chinese_clip(folder: Path) -> None:
    from transformers import ChineseCLIPConfig, ChineseCLIPModel, ChineseCLIPProcessor
    from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil

    made = with_end(tokenizer(model_max_length=512))
    vision = VISION | {"image_size": SIDE, "patch_size": 8}
    config = ChineseCLIPConfig(text_config=VISION | ids(made), vision_config=vision, projection_dim=24)
    saved(folder, ChineseCLIPModel(config), ChineseCLIPProcessor(clip_images(ChineseCLIPImageProcessorPil), made))


def altclip(folder: Path) -> None:
    from transformers import AltCLIPConfig, AltCLIPModel, AltCLIPProcessor

    made = with_end(tokenizer())  # no maximum length, so that the one of the model counts
    text = VISION | {"max_position_embeddings": 40, "project_dim": 24} | ids(made)
    vision = VISION | {"image_size": SIDE, "patch_size": 8}
    config = AltCLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    saved(folder, AltCLIPModel(config), AltCLIPProcessor(clip_images(), made))


def blip(folder: Path) -> None:
    from transformers import BlipConfig, BlipModel, BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    made = with_end(tokenizer(model_max_length=64))
    text = VISION | {"max_position_embeddings": 64, "encoder_hidden_size": 32} | ids(made)
    vision = VISION | {"image_size": SIDE, "patch_size": 8}
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=24, image_text_hidden_size=24)
    saved(folder, spread_weights(BlipModel(config)), BlipProcessor(square(BlipImageProcessorPil), made))


def vision_text_dual_encoder(folder: Path) -> None:
    from transformers import (
        BertConfig,
        VisionTextDualEncoderConfig,
        VisionTextDualEncoderModel,
        VisionTextDualEncoderProcessor,
        ViTConfig,
    )
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    made = with_end(tokenizer(model_max_length=64))
    towers = ViTConfig(**VISION, image_size=SIDE, patch_size=8), BertConfig(**VISION, **ids(made))
    config = VisionTextDualEncoderConfig.from_vision_text_configs(*towers, projection_dim=24)
    model = VisionTextDualEncoderModel(config)
    saved(folder, model, VisionTextDualEncoderProcessor(square(ViTImageProcessorPil), made))


# ---- decoders --------------------------------------------------------------------------------------------------------


def mllama(folder: Path) -> None:
    from tests.evaluation.small_run import write_decoder

    write_decoder(folder)


def qwen_vl(folder: Path, family: str, **vision: Any) -> None:
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    image = "<|vision_start|><|image_pad|><|vision_end|>"
    special = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    made = tokenizer(*special)
    made.eos_token = "<|im_end|>"
    numbers = {
        f"{name}_token_id": made.convert_tokens_to_ids(token)
        for name, token in zip(("vision_start", "vision_end", "image", "video"), special[2:], strict=True)
    }
    name = f"{family}ForConditionalGeneration"
    rope = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}}
    config = getattr(transformers, f"{family}Config")(
        text_config=TEXT | rope | ids(made) | {"head_dim": 8}, vision_config=vision, **numbers
    )
    kind = getattr(transformers, f"{family}Processor")
    pixels = (vision["patch_size"] * 2) ** 2
    images = Qwen2VLImageProcessorPil(
        patch_size=vision["patch_size"],
        merge_size=2,
        temporal_patch_size=2,
        min_pixels=4 * pixels,
        max_pixels=9 * pixels,
    )
    template = CHATML.replace("IMAGE", image)
    decoder(
        folder, getattr(transformers, name), config, without_videos(kind)(images, made, None, chat_template=template)
    )


def qwen2_vl(folder: Path) -> None:
    qwen_vl(folder, "Qwen2VL", depth=2, embed_dim=32, hidden_size=32, num_heads=4, mlp_ratio=2, patch_size=8)


def qwen2_5_vl(folder: Path) -> None:
    more = {"intermediate_size": 64, "out_hidden_size": 32, "window_size": 32, "fullatt_block_indexes": [1]}
    qwen_vl(folder, "Qwen2_5_VL", depth=2, hidden_size=32, num_heads=4, patch_size=8, **more)


def qwen3_vl(folder: Path) -> None:
    more = {"intermediate_size": 64, "out_hidden_size": 32, "num_position_embeddings": 64}
    more |= {"deepstack_visual_indexes": [0, 1]}
    qwen_vl(folder, "Qwen3VL", depth=2, hidden_size=32, num_heads=4, patch_size=8, **more)


def gemma3(folder: Path) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    named = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    made = tokenizer("<start_of_turn>", "<end_of_turn>", named=named)
    made.eos_token = "<end_of_turn>"
    config = Gemma3Config(
        text_config=TEXT | ids(made) | {"head_dim": 8, "sliding_window": 512},
        vision_config=VISION | {"image_size": SIDE, "patch_size": 8},
        mm_tokens_per_image=4,
        image_token_index=made.image_token_id,
        boi_token_index=made.boi_token_id,
        eoi_token_index=made.eoi_token_id,
    )
    images = square(Gemma3ImageProcessorPil)
    processor = Gemma3Processor(images, made, chat_template=GEMMA, image_seq_length=4)
    decoder(folder, Gemma3ForConditionalGeneration, config, processor, spread=SPREAD)


def idefics3(folder: Path, family: str = "Idefics3") -> None:
    import transformers
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    named = {"fake_image_token": "<fake_token_around_image>", "image_token": "<image>"}
    named |= {"end_of_utterance_token": "<end_of_utterance>", "global_image_token": "<global-img>"}
    made = tokenizer("<|im_start|>", *(f"<row_{row}_col_{column}>" for row in "1234" for column in "1234"), named=named)
    made.eos_token = "<end_of_utterance>"
    config = getattr(transformers, f"{family}Config")(
        text_config=TEXT | ids(made) | {"model_type": "llama"},
        vision_config=VISION | {"image_size": SIDE, "patch_size": 8},
        image_token_id=made.convert_tokens_to_ids("<image>"),
        pad_token_id=made.pad_token_id,
        scale_factor=2,
    )
    kind = Idefics3ImageProcessorPil if family == "Idefics3" else SmolVLMImageProcessorPil
    images = kind(size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE})
    processor = without_videos(getattr(transformers, f"{family}Processor"))
    video = () if family == "Idefics3" else (None,)
    processor = processor(images, made, *video, image_seq_len=4, chat_template=IDEFICS)
    decoder(folder, getattr(transformers, f"{family}ForConditionalGeneration"), config, processor)


def smolvlm(folder: Path) -> None:
    idefics3(folder, "SmolVLM")


def internvl(folder: Path) -> None:
    from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    made = tokenizer("<|im_start|>", "<|im_end|>", named=named | {"video_token": "<video>"})
    made.eos_token = "<|im_end|>"
    config = InternVLConfig(
        text_config=TEXT | ids(made) | {"model_type": "qwen2"},
        vision_config=VISION | {"image_size": [SIDE, SIDE], "patch_size": [8, 8]},
        image_token_id=made.context_image_token_id,
        downsample_ratio=0.5,
    )
    images = square(GotOcr2ImageProcessorPil, crop_to_patches=True, max_patches=2)
    template = CHATML.replace("IMAGE", "<IMG_CONTEXT>\n")
    processor = without_videos(InternVLProcessor)(images, made, None, image_seq_length=4, chat_template=template)
    decoder(folder, InternVLForConditionalGeneration, config, processor)


def llava(folder: Path, family: str = "Llava") -> None:
    import transformers
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

    onevision = family == "LlavaOnevision"
    made = tokenizer("<image>", "<video>", "<|im_start|>", "<|im_end|>")
    vision = VISION | {"image_size": SIDE, "patch_size": 8}
    vision |= {"model_type": "siglip_vision_model" if onevision else "clip_vision_model"}
    grids = {"image_grid_pinpoints": [[SIDE, 2 * SIDE], [2 * SIDE, SIDE]]} if family != "Llava" else {}
    video = {"video_token_index": made.convert_tokens_to_ids("<video>")} if onevision else {}
    config = getattr(transformers, f"{family}Config")(
        text_config=TEXT | ids(made) | {"model_type": "llama"},
        vision_config=vision,
        image_token_index=made.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="full" if onevision else "default",
        **grids,
        **video,
    )
    size = {"shortest_edge": SIDE}, {"height": SIDE, "width": SIDE}
    if family == "Llava":
        images = LlavaImageProcessorPil(size=size[0], crop_size=size[1])
    elif onevision:
        images = LlavaOnevisionImageProcessorPil(size=size[1], **grids)
    else:
        images = LlavaNextImageProcessorPil(size=size[0], crop_size=size[1], **grids)
    strategy = {"vision_feature_select_strategy": config.vision_feature_select_strategy}
    more = {"num_image_tokens": 16} if onevision else {"patch_size": 8, "num_additional_image_tokens": 1}
    kind = without_videos(getattr(transformers, f"{family}Processor"))
    processor = kind(images, made, *([None] if onevision else []), chat_template=VICUNA, **strategy, **more)
    decoder(folder, getattr(transformers, f"{family}ForConditionalGeneration"), config, processor)


def llava_next(folder: Path) -> None:
    llava(folder, "LlavaNext")


def llava_onevision(folder: Path) -> None:
    llava(folder, "LlavaOnevision")


def paligemma(folder: Path) -> None:
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PaliGemmaProcessor

    made = tokenizer(named={"image_token": "<image>"})
    images = square(SiglipImageProcessorPil)
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(images, made)
    config = PaliGemmaConfig(
        text_config=TEXT | ids(made) | {"model_type": "gemma", "head_dim": 8},
        vision_config=VISION | {"image_size": SIDE, "patch_size": 8, "projection_dim": 32},
        projection_dim=32,
        image_token_index=made.image_token_id,
    )
    config.text_config.vocab_size = config.vocab_size = len(processor.tokenizer)
    decoder(folder, PaliGemmaForConditionalGeneration, config, processor, spread=SPREAD)


def pixtral(folder: Path) -> None:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration, PixtralProcessor
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

    made = tokenizer("[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")
    config = Mistral3Config(
        text_config=TEXT | ids(made) | {"model_type": "mistral", "head_dim": 8},
        vision_config=VISION | {"image_size": SIDE, "patch_size": 8, "model_type": "pixtral", "head_dim": 8},
        image_token_index=made.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=1,
    )
    images = PixtralImageProcessorPil(size={"longest_edge": SIDE}, patch_size={"height": 8, "width": 8})
    processor = PixtralProcessor(images, made, patch_size=8, chat_template=PIXTRAL)
    decoder(folder, Mistral3ForConditionalGeneration, config, processor)


def idefics2(folder: Path) -> None:
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration, Idefics2Processor
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    made = tokenizer("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<|im_start|>")
    images = Idefics2ImageProcessorPil(size={"longest_edge": 2 * SIDE, "shortest_edge": SIDE}, do_image_splitting=False)
    processor = Idefics2Processor(images, made, image_seq_len=4, chat_template=IDEFICS)
    config = Idefics2Config(
        text_config=TEXT | ids(made) | {"model_type": "mistral"},
        vision_config=VISION | {"image_size": SIDE * 2, "patch_size": 8},
        perceiver_config={"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2,
                          "resampler_head_dim": 8, "num_key_value_heads": 1},
        image_token_id=made.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    decoder(folder, Idefics2ForConditionalGeneration, config, processor)


def blip_2(folder: Path) -> None:
    """A family without turns and without a chat template."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    made = tokenizer("<image>")
    config = Blip2Config(
        text_config={"model_type": "opt", "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2,
                     "num_attention_heads": 4, "word_embed_proj_dim": 32} | ids(made),
        vision_config=VISION | {"image_size": SIDE, "patch_size": 8},
        qformer_config=VISION | {"encoder_hidden_size": 32},
        num_query_tokens=4,
        image_token_index=made.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    saved(folder, Blip2ForConditionalGeneration(config), Blip2Processor(square(BlipImageProcessorPil), made, 4))


ENCODERS: dict[str, Callable[[Path], None]] = {
    "clip": clip,
    "siglip": siglip,
    "siglip2": siglip2,
    "align": align,
    "chinese_clip": chinese_clip,
    "metaclip_2": metaclip_2,
    "altclip": altclip,
    "blip": blip,
    "vision-text-dual-encoder": vision_text_dual_encoder,
}
DECODERS: dict[str, Callable[[Path], None]] = {
    "mllama": mllama,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "gemma3": gemma3,
    "idefics2": idefics2,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "internvl": internvl,
    "llava": llava,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "mistral3": pixtral,
    "paligemma": paligemma,
}
REFUSED: dict[str, Callable[[Path], None]] = {"blip-2": blip_2}
FAMILIES = ENCODERS | DECODERS | REFUSED


def write_family(family: str, folder: Path) -> Path:
    """Writes the checkpoint of a family and returns its folder."""
    set_seed(0)
    FAMILIES[family](folder)
    return folder
