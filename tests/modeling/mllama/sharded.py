"""Compares one training step of a patched Mllama in two processes with the same step in one process.

    torchrun --standalone --nproc_per_node 2 tests/modeling/mllama/sharded.py FOLDER ddp fsdp2,lora

The first process has rows with images, the second only text; both must call the same layers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from modeling.mllama.patch import find_decoder, prepare_mllama
from tests.modeling.mllama.batches import ROWS, Row, batch, gradients, load

TEXT = [Row(9, labeled=8), Row(7, labeled=6)]  # more labels than the other process has
SAME = 1e-6  # the stock norms compute in float32


def main() -> int:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    folder, *setups = sys.argv[1:]
    for setup in setups:
        compare(folder, setup.split(","))
        dist.barrier()
        print(f"process {dist.get_rank()}, {setup}: the same", flush=True)
    dist.destroy_process_group()
    return 0


def compare(folder: str, setup: list[str]) -> None:
    """Compares losses, gradients, an evaluation and generated answers.

    Args:
        setup: `ddp` or `fsdp2` first; then any of `lora`, `head` (the head is an FSDP unit) and `last` (the model is
            patched after it is sharded).
    """
    single = build_model(folder, prepare=True, lora="lora" in setup)
    batches = [batch(single, rows, shared=True) for rows in (ROWS, TEXT)]
    expected: dict[str, torch.Tensor] = {}
    losses = []
    for inputs in batches:
        loss, found = gradients(single, inputs)
        losses.append(loss)
        for name, one in found.items():
            expected[name] = expected.get(name, 0) + one / 2

    model = build_model(folder, prepare="last" not in setup, lora="lora" in setup)
    inner = model
    if setup[0] == "ddp":
        model = DistributedDataParallel(model)
    else:
        shard(model, head="head" in setup)
    if "last" in setup:
        prepare_mllama(model)
    loss = model(**batches[dist.get_rank()]).loss
    loss.backward()
    assert abs(float(loss - losses[dist.get_rank()])) < SAME, "loss"
    found = {name: one.grad for name, one in inner.named_parameters() if one.grad is not None}
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    for name, one in found.items():
        full = one.full_tensor() if hasattr(one, "full_tensor") else one
        assert float((full - expected[name]).abs().max()) < SAME, name
    with torch.no_grad():  # in an evaluation too, all processes must call the same layers
        model.eval()
        assert abs(float(model(**batches[dist.get_rank()]).loss - losses[dist.get_rank()])) < SAME, "evaluation"
        prompts = batch(inner, (ROWS, TEXT)[dist.get_rank()], shared=True, left=True, labels=False)
        options = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None}
        assert torch.equal(inner.generate(**prompts, **options), single.eval().generate(**prompts, **options)), (
            "answers"
        )


def build_model(folder: str, *, prepare: bool, lora: bool):
    model = load(Path(folder)).train()
    if lora:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(0)
        targets = r".*language_model\.layers\.\d+\.(self_attn|cross_attn|mlp)\.\w+_proj"
        model = get_peft_model(model, LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    if prepare:
        prepare_mllama(model)
    return model


def shard(model, *, head: bool) -> None:
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    inner = find_decoder(model)
    vision = inner.model.vision_model
    for layer in (*inner.model.language_model.layers, *vision.transformer.layers, *vision.global_transformer.layers):
        fully_shard(layer)
    if head:
        fully_shard(inner.lm_head)
    fully_shard(model)
    register_fsdp_forward_method(model, "generate")


if __name__ == "__main__":
    sys.exit(main())
