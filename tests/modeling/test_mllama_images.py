"""Images that rows share: the same loss and gradients as with an image for each row, each encoded once."""

from __future__ import annotations

import pytest
import torch

from modeling.mllama import cross_attentions, prepare_mllama
from tests.modeling.mllama_batches import (
    IMAGE_TILES,
    ROWS,
    TWO_IMAGES,
    Row,
    batch,
    gradients,
    largest_difference,
    load,
)

SAME = 1e-10
ONE_IMAGE = [Row(8, [2], [1]), Row(6, [2], [1], learned=2), Row(7, [2], [1], learned=4)]
EVEN = [Row(8, [0], [1]), Row(6, [0], [2], learned=1), Row(7, [1], [1]), Row(5, [1], [1], learned=1)]
CASES = {"uneven": ROWS, "two images": TWO_IMAGES, "one image": ONE_IMAGE, "even": EVEN, "reversed": ROWS[::-1]}


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("rows", CASES.values(), ids=CASES)
def test_loss_and_all_gradients_are_those_of_repeated_images(tiny_mllama, exact, implementation, isolate, rows):
    model = load(tiny_mllama, implementation).train()
    prepare_mllama(model, isolate_rows=isolate)
    loss, ours = gradients(model, batch(model, rows, shared=True))
    expected, theirs = gradients(model, batch(model, rows, shared=False))
    assert abs(float(loss - expected)) < SAME
    assert largest_difference(ours, theirs) < SAME
    assert sum(bool(one.any()) for name, one in ours.items() if "vision_model" in name) > 20


@pytest.mark.parametrize("reentrant", [None, False])
def test_each_image_is_encoded_once(tiny_mllama, reentrant):
    """Tower, projector and projections of keys and values, with activation checkpointing and without."""
    model = load(tiny_mllama).train()
    prepare_mllama(model)
    if reentrant is not None:
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    shapes: dict[str, list] = {}

    def note(name: str):
        return lambda module, args, output: shapes.setdefault(name, []).append(tuple(args[0].shape))

    inner = model.model
    inner.vision_model.patch_embedding.register_forward_hook(note("tower"))
    inner.multi_modal_projector.register_forward_hook(note("projector"))
    for attention in cross_attentions(model):
        attention.k_proj.register_forward_hook(note("keys"))
        attention.v_proj.register_forward_hook(note("values"))
    model(**batch(model, ROWS, shared=True)).loss  # noqa: B018
    images, patches = len(IMAGE_TILES), inner.vision_model.num_patches
    # rows look at images of one and of two tiles; the image of four tiles is in the batch, but no row looks at it
    assert shapes["tower"] == [(images * 4, 3, 64, 64)]
    assert shapes["projector"] == [(images, 2, patches, 192)]
    assert shapes["keys"] == shapes["values"] == [(images, 2 * patches, 128)] * 2


def test_a_frozen_tower_keeps_nothing(tiny_mllama):
    """Also where activation checkpointing makes the inputs ask for a gradient."""
    model = load(tiny_mllama).train()
    prepare_mllama(model)
    model.model.vision_model.requires_grad_(False)
    model.enable_input_require_grads()
    asked = []
    model.model.vision_model.register_forward_hook(
        lambda module, args, output: asked.append(output.last_hidden_state.requires_grad)
    )
    _, found = gradients(model, batch(model, ROWS, shared=True))
    assert asked == [False]
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
    assert len(calls) == 2  # it does compute again
    assert abs(float(loss - expected)) < SAME
    assert largest_difference(ours, theirs) < SAME


def test_one_kernel_without_a_mask_where_images_are_seen_whole(tiny_mllama, monkeypatch):
    """Fused attention kernels know no mask; repeated keys and values are not made for them either."""
    calls = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def note(query, key, *args, attn_mask=None, **options):
        calls.append((tuple(query.shape), tuple(key.shape), attn_mask is None))
        return attend(query, key, *args, attn_mask=attn_mask, **options)

    model = load(tiny_mllama)
    prepare_mllama(model)
    patches = model.model.vision_model.num_patches
    inputs = batch(model, [ROWS[0], ROWS[3], ROWS[2]], shared=True)
    for name in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask"):
        inputs[name] = inputs[name][:1]
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", note)
    model(**inputs)
    # one image, two of the three rows, ten words each; two heads of keys for four of queries
    crossed = [call for call in calls if call[1][2] == patches]
    assert crossed == [((1, 4, 20, 32), (1, 2, patches, 32), True)] * 2


@pytest.mark.parametrize("rows", [ROWS, TWO_IMAGES], ids=["one", "two images"])
def test_answers_are_those_of_repeated_images(tiny_mllama, exact, rows):
    model = load(tiny_mllama)
    prepare_mllama(model)
    how = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    shared, repeated = (
        model.generate(**batch(model, rows, shared=one, left=True, labels=False), **how) for one in (True, False)
    )
    assert torch.equal(shared, repeated)
    without = model.generate(**batch(model, rows, shared=True, left=True, labels=False), **how, use_cache=False)
    assert torch.equal(shared, without)


def test_a_cache_goes_on_by_hand(tiny_mllama, exact):
    """Word by word with a cache, without `generate`, gives the logits of all words at once."""
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


def test_what_cannot_be_shared_is_said(tiny_mllama):
    model = load(tiny_mllama)
    prepare_mllama(model)
    inputs = batch(model, ROWS, shared=True, labels=False)
    for options in ({"num_beams": 2}, {"num_return_sequences": 2, "do_sample": True}):
        with pytest.raises(ValueError, match="one answer a row"):
            model.generate(**inputs, max_new_tokens=2, **options)
    with pytest.raises(ValueError, match="dynamic cache"):
        model.generate(**inputs, max_new_tokens=2, cache_implementation="static")
    with pytest.raises(ValueError, match="there are 3 images"):
        model(**(inputs | {"image_index": inputs["image_index"] + 3}))
    with pytest.raises(ValueError, match="cross_attention_mask"):
        model(**(inputs | {"cross_attention_mask": None}))
    with pytest.raises(ValueError, match="no pixel_values"):
        model(**(inputs | {"pixel_values": None}))
    with pytest.raises(ValueError, match="of image_index"):
        model(**(inputs | {"image_index": inputs["image_index"][:2]}))


def test_beams_with_repeated_images(tiny_mllama, exact):
    model = load(tiny_mllama)
    inputs = batch(model, [ROWS[0], ROWS[3]], shared=False, left=True, labels=False)
    how = {"max_new_tokens": 5, "do_sample": False, "num_beams": 3}
    expected = model.generate(**inputs, **how)
    prepare_mllama(model)
    assert torch.equal(model.generate(**inputs, **how), expected)


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
