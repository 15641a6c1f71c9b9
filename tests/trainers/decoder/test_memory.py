"""Tests the estimate of the decoder's memory against real runs, real quantized layers, and sizes of Llama 3.2 11B."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.benchmarks.decoder.gpu_table import llama_config
from tests.cases import few
from tests.trainers.decoder.measured_run import configuration, quantized
from tests.trainers.encoder.measured_run import in_memory
from trainers.decoder.arguments import DecoderArguments
from trainers.decoder.memory import (
    ADAPTER_WEIGHTS,
    CROSS,
    CROSS_WEIGHTS,
    KINDS,
    SELF_WEIGHTS,
    TOWER_WEIGHTS,
    WEIGHT_KINDS,
    WORD_WEIGHTS,
    DecoderUpdate,
    bare_decoder,
    estimate_decoder,
)
from trainers.memory import quantized_shapes
from trainers.memory.fake_values import KnownValues
from trainers.memory.tracker import GRADIENTS, LOSS, OPTIMIZER, PIXELS, TEXT, VISION

MIB, GIB = 2**20, 2**30
SIZE = {"width": 384, "layers": 6, "vision_width": 192, "vision_layers": 4, "tile": 168, "words": 8000}
UPDATE = DecoderUpdate(rows=4, tokens=192, answer_tokens=24, images=2, tiles=4, micro_batches=2, bf16=False)


@functools.cache
def estimate(update: DecoderUpdate = UPDATE, dtype: torch.dtype = torch.float32, **flags):
    return estimate_decoder(bare_decoder(configuration(**SIZE), DecoderArguments(**flags), dtype), update)


# --- beside real runs ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "checkpointing"),
    [
        ({"train_scope": "full"}, True),
        ({"train_scope": "lora"}, False),
        ({"train_scope": "full"}, False),
        ({"train_scope": "lora"}, True),
        ({"train_scope": "lora", "load_in_4bit": True}, False),
        ({"train_scope": "lora", "load_in_8bit": True}, False),
        ({"train_scope": "lora_all", "load_in_4bit": True}, True),
        ({"train_scope": "lora_all"}, False),
        ({"train_scope": "adapter"}, False),
        ({"train_scope": "lm_head"}, False),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else f"checkpointing {value}",
)
def test_a_real_run_takes_what_was_estimated(flags, checkpointing, run, tmp_path):
    if "load_in_4bit" in flags or "load_in_8bit" in flags:
        pytest.importorskip("bitsandbytes")
    update = replace(UPDATE, activation_checkpointing=checkpointing)
    given = {"arguments": flags, "update": asdict(update), "size": SIZE}
    file = tmp_path / "measured.json"
    words = ("-m", "tests.trainers.decoder.measured_run", file, json.dumps(given))
    run("python", *words, env={"MALLOC_MMAP_THRESHOLD_": "131072"}, timeout=900)
    measured = json.loads(file.read_text())["measured"]
    assert measured > 100 * MIB
    assert estimate(update, **flags).peak == pytest.approx(measured, rel=0.2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("flags", [{"train_scope": "full"}, {"train_scope": "lora"}])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_gpu_takes_what_was_estimated(flags, checkpointing):
    """As torch.cuda.max_memory_allocated counts it, in bfloat16."""
    from tests.trainers.decoder.measured_run import build, updates

    update = replace(UPDATE, activation_checkpointing=checkpointing, bf16=True)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    model = build(configuration(**SIZE), DecoderArguments(**flags)).to("cuda", torch.bfloat16)
    updates(model, update)
    measured = torch.cuda.max_memory_allocated() - before
    assert estimate(update, torch.bfloat16, **flags).peak == pytest.approx(measured, rel=0.2)


# --- layers of few bits ---


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_layers_of_few_bits_hold_as_many_bytes_as_real_ones(bits):
    pytest.importorskip("bitsandbytes")
    real = quantized(torch.nn.Linear(512, 1024, bias=False), bits)
    if bits == "load_in_4bit":
        state = real.weight.quant_state
        tensors = [real.weight.data, state.absmax, state.state2.absmax]
    else:
        tensors = [real.weight.data if real.weight.CB is None else real.weight.CB, real.weight.SCB]
    kind = {"load_in_4bit": quantized_shapes.Linear4bit, "load_in_8bit": quantized_shapes.Linear8bitLt}[bits]
    ours = kind(torch.empty(1024, 512, device="meta"))
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*ours.parameters(), *ours.buffers()))
    assert held == sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.slow
def test_few_bits_take_the_text_decoder_and_leave_the_rest():
    whole, four, eight = (
        estimate(dtype=torch.bfloat16, **flags).parts for flags in ({}, {"load_in_4bit": True}, {"load_in_8bit": True})
    )
    for kind in (SELF_WEIGHTS, CROSS_WEIGHTS):
        assert four[kind] == pytest.approx(whole[kind] / 4, rel=0.05)
        assert eight[kind] == pytest.approx(whole[kind] / 2, rel=0.05)
    for kind in (TOWER_WEIGHTS, WORD_WEIGHTS, ADAPTER_WEIGHTS, GRADIENTS, OPTIMIZER):
        assert four[kind] == eight[kind] == whole[kind]


# --- what decides it ---


@pytest.mark.slow
def test_an_image_that_rows_share_is_counted_once():
    """With the tower learning, so that it keeps what its backward pass needs."""
    update = replace(UPDATE, rows=8)
    one, two, each = (estimate(replace(update, images=n), train_scope="full").parts for n in (1, 2, 8))
    assert two[VISION] == pytest.approx(2 * one[VISION], rel=0.05)
    assert each[VISION] == pytest.approx(8 * one[VISION], rel=0.05)
    assert one[TEXT] == pytest.approx(each[TEXT], rel=0.05) and one[PIXELS] < each[PIXELS]


def test_tiles_that_are_empty_leave_the_cross_attention():
    one, four = (estimate(replace(UPDATE, tiles=n), train_scope="full").parts for n in (1, 4))
    assert one[CROSS] < 0.8 * four[CROSS] and one[VISION] == pytest.approx(four[VISION], rel=0.05)


def test_the_head_runs_where_there_is_a_label():
    few, many = (
        estimate(replace(UPDATE, tokens=512, rows=8, answer_tokens=n), train_scope="lm_head") for n in (4, 256)
    )
    logits = 8 * 252 * SIZE["words"] * 4
    assert few.peak < many.peak and many.peak - few.peak < logits  # in chunks: never all of them
    assert few.parts[LOSS] < 20 * MIB


def test_activation_checkpointing_takes_less_in_both_towers():
    plain, less = (
        estimate(replace(UPDATE, activation_checkpointing=on), train_scope="full").parts for on in (False, True)
    )
    assert less[VISION] + less[TEXT] < 0.6 * (plain[VISION] + plain[TEXT])
    assert all(less[kind] == plain[kind] for kind in (*WEIGHT_KINDS, GRADIENTS, OPTIMIZER))


def test_weights_gradients_and_optimizer_are_counted_by_their_numbers():
    model = bare_decoder(configuration(**SIZE), DecoderArguments(train_scope="full"), torch.float32)
    weights = sum(parameter.numel() for parameter in model.parameters())
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    parts = estimate_decoder(model, UPDATE).parts
    assert sum(parts[kind] for kind in WEIGHT_KINDS) == 4 * weights + buffers
    assert parts[GRADIENTS] == 4 * weights and parts[OPTIMIZER] == 8 * weights
    eight_bit = estimate(replace(UPDATE, optim="paged_adamw_8bit"), train_scope="full").parts
    assert eight_bit[OPTIMIZER] == pytest.approx(2.03 * weights, rel=0.001)


def test_processes_hold_buckets_or_share():
    flags = {"train_scope": "full"}
    alone, ddp, shared = (
        estimate(replace(UPDATE, processes=n, sharded=sharded), **flags).parts
        for n, sharded in ((1, False), (4, False), (4, True))
    )
    assert ddp[GRADIENTS] == 2 * alone[GRADIENTS]
    for kind in (*WEIGHT_KINDS[:4], GRADIENTS, OPTIMIZER):
        assert shared[kind] == pytest.approx(alone[kind] / 4, rel=0.01)
    assert shared[VISION] == pytest.approx(alone[VISION], rel=0.1)


@pytest.mark.parametrize("scope", few(["lm_head", "adapter", "lora", "lora_all", "full"], "lm_head", "lora"))
def test_every_scope_goes_through_in_bfloat16(scope):
    parts = estimate(replace(UPDATE, bf16=True), torch.bfloat16, train_scope=scope).parts
    assert set(parts) == set(KINDS) and parts[GRADIENTS] > 0 and min(parts.values()) >= 0


# --- Llama 3.2 11B ---


@pytest.mark.slow
def test_llama_is_estimated_without_its_memory():
    """Its weights in bfloat16 are 19.9 GiB with a head of its own (vLLM issue 10569)."""
    resident = in_memory("VmRSS")
    arguments = DecoderArguments()
    update = DecoderUpdate(activation_checkpointing=True)
    found = estimate_decoder(bare_decoder(llama_config(), arguments, torch.bfloat16), update)
    weights = sum(found.parts[kind] for kind in WEIGHT_KINDS) - found.parts[ADAPTER_WEIGHTS]
    assert weights / GIB == pytest.approx(19.9, abs=0.1)
    assert found.parts[ADAPTER_WEIGHTS] == 4 * 52_428_800  # decoder.md: 52.43 M in the text decoder, rank 16
    assert in_memory("VmRSS") - resident < 500 * MIB


# --- contents that are known ---


def followed():
    return FakeTensorMode(allow_non_fake_inputs=True)


def test_contents_are_followed_through_masks_and_indices():
    labels = torch.tensor([[-100, 3, -100], [5, 6, -100]])
    with followed() as fake, KnownValues(fake) as known:
        given, hidden = known.add(labels), torch.empty(2, 3, 8)
        where = (given != -100).nonzero()
        assert where.shape == (3, 2) and where.tolist() == [[0, 1], [1, 0], [1, 1]]
        assert hidden[given != -100].shape == (3, 8)
        assert bool((given > 5).any()) and int(given.max()) == 6
        assert torch.arange(4)[1:].sum().item() == 6


def test_what_was_written_over_is_no_longer_known():
    ones = torch.ones(3)
    with followed() as fake, KnownValues(fake) as known:
        given = known.add(ones)
        view = given[:2]
        given += 1
        assert view.tolist() == [2, 2]
        given += torch.empty(3)
        assert known.content(given) is None and known.content(view) is None
