"""Two processes train one prepared Mllama for a step, and compare it with the same step in one process.

    torchrun --standalone --nproc_per_node 2 tests/modeling/sharded_mllama.py FOLDER ddp fsdp2,lora

The first process has rows with images, the second has text alone: each must call the layers that the other calls.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from modeling.mllama import find_decoder, prepare_mllama
from tests.modeling.mllama_batches import ROWS, Row, batch, gradients, load

TEXT = [Row(9, learned=8), Row(7, learned=6)]  # with more labels than the other process has
SAME = 1e-6  # the stock norms compute in float32


def main() -> int:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    folder, *ways = sys.argv[1:]
    for way in ways:
        compare(folder, way.split(","))
        dist.barrier()
        print(f"process {dist.get_rank()}, {way}: the same", flush=True)
    dist.destroy_process_group()
    return 0


def compare(folder: str, way: list[str]) -> None:
    """`way` is ddp or fsdp2, with `lora`, `head` (a unit of its own), `last` (prepared after it was sharded)."""
    single = built(folder, prepare=True, lora="lora" in way)
    batches = [batch(single, rows, shared=True) for rows in (ROWS, TEXT)]
    expected: dict[str, torch.Tensor] = {}
    losses = []
    for inputs in batches:
        loss, found = gradients(single, inputs)
        losses.append(loss)
        for name, one in found.items():
            expected[name] = expected.get(name, 0) + one / 2

    model = built(folder, prepare="last" not in way, lora="lora" in way)
    inner = model
    if way[0] == "ddp":
        model = DistributedDataParallel(model)
    else:
        shard(model, head="head" in way)
    if "last" in way:
        prepare_mllama(model)
    loss = model(**batches[dist.get_rank()]).loss
    loss.backward()
    assert abs(float(loss - losses[dist.get_rank()])) < SAME, "loss"
    found = {name: one.grad for name, one in inner.named_parameters() if one.grad is not None}
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    for name, one in found.items():
        full = one.full_tensor() if hasattr(one, "full_tensor") else one
        assert float((full - expected[name]).abs().max()) < SAME, name
    with torch.no_grad():  # an evaluation, whose processes must call the same layers too
        model.eval()
        assert abs(float(model(**batches[dist.get_rank()]).loss - losses[dist.get_rank()])) < SAME, "evaluation"
        prompts = batch(inner, (ROWS, TEXT)[dist.get_rank()], shared=True, left=True, labels=False)
        how = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None}
        assert torch.equal(inner.generate(**prompts, **how), single.eval().generate(**prompts, **how)), "answers"


def built(folder: str, *, prepare: bool, lora: bool):
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
