"""Runs updates of a decoder of a given size and prints their peak memory as the operating system counts it.

python -m tests.trainers.decoder.measured_run FILE JSON

JSON has `arguments` (of DecoderArguments), `update` (of DecoderUpdate) and `size` (of `configuration`). FILE gets
`measured`, the most bytes in memory beyond those of a process that has trained a tiny model of the same kind before.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

from tests.trainers.encoder.measured_run import in_memory

TINY = {"width": 64, "layers": 3, "vision_width": 32, "vision_layers": 2, "tile": 28, "words": 200}


def configuration(width: int, layers: int, vision_width: int, vision_layers: int, tile: int, words: int) -> Any:
    """An MllamaConfig in the proportions of the released one: every fourth text layer looks at the image."""
    from transformers import MllamaConfig

    kept = [0, vision_layers // 2]
    return MllamaConfig(
        text_config={
            "hidden_size": width, "intermediate_size": 7 * width // 2, "num_hidden_layers": layers,
            "num_attention_heads": width // 32, "num_key_value_heads": width // 64, "vocab_size": words,
            "cross_attention_layers": list(range(1, layers, 4)), "pad_token_id": 0, "bos_token_id": 0,
            "eos_token_id": 0, "tie_word_embeddings": False,
        },
        vision_config={
            "hidden_size": vision_width, "intermediate_size": 4 * vision_width, "attention_heads": vision_width // 16,
            "num_hidden_layers": vision_layers, "num_global_layers": 2, "image_size": tile, "patch_size": 14,
            "intermediate_layers_indices": kept, "vision_output_dim": vision_width * 3, "max_num_tiles": 4,
        },
        image_token_index=words,
    )  # fmt: skip


def build(config: Any, arguments: Any) -> Any:
    """The model that `bare_decoder` shows, with content."""
    import torch
    from transformers import MllamaForConditionalGeneration

    from modeling.mllama.patch import prepare_mllama
    from trainers.decoder.quantization import QUANTIZED_LAYERS, quantization_flag
    from trainers.decoder.tuning import set_trainable

    torch.manual_seed(0)
    config._attn_implementation = "sdpa"
    model = MllamaForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gate" in name.rsplit(".", 1)[-1]:
                parameter.fill_(0.5)
    if bits := quantization_flag(arguments):
        for name, module in list(model.named_modules()):
            if name.startswith(QUANTIZED_LAYERS) and isinstance(module, torch.nn.Linear):
                parent, _, own = name.rpartition(".")
                setattr(model.get_submodule(parent), own, quantized(module, bits))
        model.is_loaded_in_4bit, model.is_loaded_in_8bit = bits == "load_in_4bit", bits == "load_in_8bit"
    model = set_trainable(model, arguments)
    prepare_mllama(model)
    return model


def quantized(layer: Any, bits: str) -> Any:
    import bitsandbytes

    if bits == "load_in_4bit":
        few = bitsandbytes.nn.Linear4bit(
            layer.in_features, layer.out_features, bias=False, compute_dtype=layer.weight.dtype, quant_type="nf4",
            compress_statistics=True, device="meta",
        )  # fmt: skip
        few.weight = bitsandbytes.nn.Params4bit(
            layer.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True, module=few
        )
    else:
        few = bitsandbytes.nn.Linear8bitLt(
            layer.in_features, layer.out_features, bias=False, has_fp16_weights=False, device="meta"
        )
        few.weight = bitsandbytes.nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    return few.to("cpu")


def updates(model: Any, update: Any, count: int = 2) -> None:
    """Updates of the same shape as the estimate's, with random content, as Trainer does them."""
    import torch

    from modeling.mllama.patch import find_decoder
    from trainers.decoder.memory import checkpoint_layers, small_tensors

    size = find_decoder(model).config.vision_config
    checkpoint_layers(model, update.activation_checkpointing)
    model.train()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-5, fused=True)
    for _ in range(count):
        for _ in range(update.micro_batches):
            batch = small_tensors(update, size.max_num_tiles)
            pixels = torch.randn(update.images, size.max_num_tiles, 3, size.image_size, size.image_size)
            with torch.autocast("cpu", torch.bfloat16, enabled=update.bf16):
                loss = model(**batch, pixel_values=pixels, num_items_in_batch=100).loss
            loss.backward()
            del loss, batch, pixels
        optimizer.step()
        optimizer.zero_grad()


def main() -> int:
    from trainers.decoder.arguments import DecoderArguments
    from trainers.decoder.memory import DecoderUpdate

    given = json.loads(sys.argv[2])
    arguments, update = DecoderArguments(**given["arguments"]), DecoderUpdate(**given["update"])
    updates(build(configuration(**TINY), arguments), update, 1)
    gc.collect()
    start = in_memory("VmRSS")
    model = build(configuration(**given["size"]), arguments)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    updates(model, update)
    Path(sys.argv[1]).write_text(json.dumps({"measured": in_memory("VmHWM") - start}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
