"""Checks that shared images give the loss and gradients of repeated images, and that each is encoded once."""

from __future__ import annotations

import pytest
import torch

from modeling.mllama.patch import find_cross_attentions, prepare_mllama
from tests.modeling.mllama.batches import IMAGE_TILES, ROWS, TWO_IMAGES, Row, batch, gradients, largest_difference, load

SAME = 1e-10
ONE_IMAGE = [Row(8, [2], [1]), Row(6, [2], [1], labeled=2), Row(7, [2], [1], labeled=4)]
EVEN = [Row(8, [0], [1]), Row(6, [0], [2], labeled=1), Row(7, [1], [1]), Row(5, [1], [1], labeled=1)]
CASES = {"uneven": ROWS, "two images": TWO_IMAGES, "one image": ONE_IMAGE, "even": EVEN, "reversed": ROWS[::-1]}


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("rows", CASES.values(), ids=CASES)
def test_shared_images_give_the_loss_and_gradients_of_repeated_images(
    tiny_mllama, exact, implementation, isolate, rows
):
    model = load(tiny_mllama, implementation).train()
    prepare_mllama(model, isolate_rows=isolate)
    loss, ours = gradients(model, batch(model, rows, shared=True))
    expected, theirs = gradients(model, batch(model, rows, shared=False))
    assert abs(float(loss - expected)) < SAME
    assert largest_difference(ours, theirs) < SAME
    assert sum(bool(one.any()) for name, one in ours.items() if "vision_model" in name) > 20


@pytest.mark.parametrize("reentrant", [None, False])
def test_each_image_is_encoded_once(tiny_mllama, reentrant):
    """The tower, the projector and the key and value projections run once, with and without checkpointing."""
    model = load(tiny_mllama).train()
    prepare_mllama(model)
    if reentrant is not None:
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    shapes: dict[str, list] = {}

    def record(name: str):
        return lambda module, args, output: shapes.setdefault(name, []).append(tuple(args[0].shape))

    inner = model.model
    inner.vision_model.patch_embedding.register_forward_hook(record("tower"))
    inner.multi_modal_projector.register_forward_hook(record("projector"))
    for attention in find_cross_attentions(model):
        attention.k_proj.register_forward_hook(record("keys"))
        attention.v_proj.register_forward_hook(record("values"))
    model(**batch(model, ROWS, shared=True)).loss  # noqa: B018
    images, patches = len(IMAGE_TILES), inner.vision_model.num_patches
    # The rows have images of one and of two tiles; the batch also contains an image of four tiles that no row uses.
    assert shapes["tower"] == [(images * 4, 3, 64, 64)]
    assert shapes["projector"] == [(images, 2, patches, 192)]
    assert shapes["keys"] == shapes["values"] == [(images, 2 * patches, 128)] * 2


def test_a_frozen_tower_stores_nothing_for_the_backward_pass(tiny_mllama):
    """This also holds if activation checkpointing makes the inputs require a gradient."""
    model = load(tiny_mllama).train()
    prepare_mllama(model)
    model.model.vision_model.requires_grad_(False)
    model.enable_input_require_grads()
    requires_grad = []
    model.model.vision_model.register_forward_hook(
        lambda module, args, output: requires_grad.append(output.last_hidden_state.requires_grad)
    )
    _, found = gradients(model, batch(model, ROWS, shared=True))
    assert requires_grad == [False]
    assert found["model.multi_modal_projector.weight"].any()


@pytest.mark.parametrize("shared", [True, False])
def test_activation_checkpointing_changes_nothing(tiny_mllama, exact, shared):
    model = load(tiny_mllama).train()
    prepare_mllama(model)
    inputs = batch(model, ROWS, shared=shared)
    expected, theirs = gradients(model, inputs)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    calls = []
    model.model.language_model.layers[1].mlp.register_forward_hook(lambda *_: calls.append(1))
    loss, ours = gradients(model, inputs)
    assert len(calls) == 2  # the second call shows that checkpointing is active
    assert abs(float(loss - expected)) < SAME
    assert largest_difference(ours, theirs) < SAME


def test_whole_images_need_no_mask(tiny_mllama, monkeypatch):
    """Fused attention kernels support no mask; keys and values are not repeated for them either."""
    calls = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def record(query, key, *args, attn_mask=None, **options):
        calls.append((tuple(query.shape), tuple(key.shape), attn_mask is None))
        return attend(query, key, *args, attn_mask=attn_mask, **options)

    model = load(tiny_mllama)
    prepare_mllama(model)
    patches = model.model.vision_model.num_patches
    inputs = batch(model, [ROWS[0], ROWS[3], ROWS[2]], shared=True)
    for name in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask"):
        inputs[name] = inputs[name][:1]
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", record)
    model(**inputs)
    # One image, two of the three rows with ten tokens each; four query heads share two key heads.
    crossed = [call for call in calls if call[1][2] == patches]
    assert crossed == [((1, 4, 20, 32), (1, 2, patches, 32), True)] * 2


@pytest.mark.parametrize("rows", [ROWS, TWO_IMAGES], ids=["one", "two images"])
def test_shared_images_give_the_answers_of_repeated_images(tiny_mllama, exact, rows):
    model = load(tiny_mllama)
    prepare_mllama(model)
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    shared, repeated = (
        model.generate(**batch(model, rows, shared=one, left=True, labels=False), **options) for one in (True, False)
    )
    assert torch.equal(shared, repeated)
    uncached = model.generate(**batch(model, rows, shared=True, left=True, labels=False), **options, use_cache=False)
    assert torch.equal(shared, uncached)


def test_a_cache_can_be_used_without_generate(tiny_mllama, exact):
    """Token by token with a cache gives the logits of all tokens at once."""
    model = load(tiny_mllama)
    prepare_mllama(model)
    inputs = batch(model, [Row(9, [0], [1]), Row(9, [1], [1])], shared=True, labels=False)
    with torch.no_grad():
        expected = model(**inputs).logits
        first = {name: value[:, :6] for name, value in inputs.items() if name in ("input_ids", "attention_mask")}
        first["cross_attention_mask"] = inputs["cross_attention_mask"][:, :6]
        found = model(**(inputs | first), use_cache=True)
        for end in range(7, 10):
            found = model(
                input_ids=inputs["input_ids"][:, end - 1 : end],
                attention_mask=inputs["attention_mask"][:, :end],
                cross_attention_mask=inputs["cross_attention_mask"],
                image_index=inputs["image_index"],
                past_key_values=found.past_key_values,
                use_cache=True,
            )
            assert float((found.logits[:, 0] - expected[:, end - 1]).abs().max()) < SAME


def test_unsupported_uses_of_image_index_are_errors(tiny_mllama):
    model = load(tiny_mllama)
    prepare_mllama(model)
    inputs = batch(model, ROWS, shared=True, labels=False)
    for options in ({"num_beams": 2}, {"num_return_sequences": 2, "do_sample": True}):
        with pytest.raises(ValueError, match="one answer per row, not 2"):
            model.generate(**inputs, max_new_tokens=2, **options)
    with pytest.raises(ValueError, match="dynamic cache"):
        model.generate(**inputs, max_new_tokens=2, cache_implementation="static")
    with pytest.raises(ValueError, match="pixel_values has 3 images"):
        model(**(inputs | {"image_index": inputs["image_index"] + 3}))
    with pytest.raises(ValueError, match="cross_attention_mask is missing"):
        model(**(inputs | {"cross_attention_mask": None}))
    with pytest.raises(ValueError, match=r"image_index requires pixel_values\. Give"):
        model(**(inputs | {"pixel_values": None}))
    with pytest.raises(ValueError, match="of image_index"):
        model(**(inputs | {"image_index": inputs["image_index"][:2]}))


def test_beam_search_with_repeated_images(tiny_mllama, exact):
    model = load(tiny_mllama)
    inputs = batch(model, [ROWS[0], ROWS[3]], shared=False, left=True, labels=False)
    options = {"max_new_tokens": 5, "do_sample": False, "num_beams": 3}
    expected = model.generate(**inputs, **options)
    prepare_mllama(model)
    assert torch.equal(model.generate(**inputs, **options), expected)


@pytest.mark.parametrize("shared", [True, False])
def test_autocast(tiny_mllama, shared):
    model = load(tiny_mllama, dtype=torch.float32).train()
    prepare_mllama(model)
    expected, theirs = gradients(model, batch(model, ROWS, shared=shared))
    with torch.autocast("cpu", torch.bfloat16):
        loss, ours = gradients(model, batch(model, ROWS, shared=shared))
    assert loss.dtype == torch.float32
    assert abs(float(loss / expected) - 1) < 0.01
    for name in ("lm_head.weight", "model.multi_modal_projector.weight"):
        assert float((ours[name] - theirs[name]).norm() / theirs[name].norm()) < 0.1, name
