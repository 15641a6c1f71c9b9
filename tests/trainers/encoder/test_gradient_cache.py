"""Tests GradCache against one forward and backward pass over all pairs at once, in float64."""

from __future__ import annotations

import pytest
import torch

from modeling.siglip_medical.matryoshka_loss import embedding_loss
from tests.trainers.small_pairs import gradients, relative_error, small_model, small_pairs, split, stack
from trainers.encoder.gradient_cache import Contrast, RandomState

CPU = torch.device("cpu")
BOTH = {"image", "text"}


def run(model, batches, embed=None, trainable=BOTH, **settings) -> torch.Tensor:
    """The loss; its gradients are left in the model."""
    contrast = Contrast(
        batches,
        embed or (lambda inputs: model(**inputs, return_logits=False)),
        lambda *embeds, **ids: embedding_loss(model.config, *embeds, **ids),
        trainable=trainable,
        device=CPU,
        **settings,
    )
    loss = contrast.compute()
    for step in range(len(batches)):
        if not contrast.idle(step):
            contrast.surrogate(step).backward()
    return loss


def full(model, rows) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss and its gradients by one pass over all rows."""
    loss = model(**stack(rows), return_loss=True).loss
    loss.backward()
    return loss.detach(), gradients(model)


def rows_through(module) -> list[int]:
    """The list to which the number of rows of every pass through a tower is added."""
    seen: list[int] = []
    module.register_forward_hook(lambda _module, _args, output: seen.append(len(output.pooler_output)))
    return seen


@pytest.mark.parametrize("sizes", [(12,), (4, 4, 4), (5, 5, 2), (1,) * 12], ids=str)
@pytest.mark.parametrize(
    ("kind", "positives"),
    [("sigmoid", "group"), ("sigmoid", "mask"), ("sigmoid", "pair"), ("sigmoid_logsumexp", "pair")],
)
def test_it_is_the_gradient_of_the_full_batch(sizes, kind, positives):
    model = small_model(contrastive_loss=kind, positives=positives)
    rows = small_pairs(12)
    expected_loss, expected = full(model, rows)
    loss = run(model, split(rows, sizes))
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=0)
    assert relative_error(gradients(model), expected) < 1e-12
    assert kind != "sigmoid" or min(expected[name].abs().item() for name in ("logit_scale", "logit_bias")) > 1e-3


def test_plain_accumulation_is_another_gradient():
    """What the test above would not notice if the micro-batches were compared within themselves only."""
    model, rows = small_model(), small_pairs(12)
    _, expected = full(model, rows)
    for batch in split(rows, (4, 4, 4)):
        run(model, [batch])
    for parameter in model.parameters():
        parameter.grad /= 3
    assert relative_error(gradients(model), expected) > 0.1


def test_every_text_is_encoded_once_a_pass_and_the_first_micro_batch_once():
    model, rows = small_model(), small_pairs(24, texts=3)
    assert len({row["group_ids"].item() for row in rows}) == 3
    images, texts = rows_through(model.vision_model), rows_through(model.text_model)
    _, expected = full(model, rows)
    assert (images.pop(), texts.pop()) == (24, 24)
    run(model, split(rows, (4,) * 6))
    assert relative_error(gradients(model), expected) < 1e-12
    assert images == [4] * 11  # 6 without a graph but the last of them, 5 again
    assert texts == [3, 3]


def test_a_contrast_of_one_micro_batch_costs_no_second_pass():
    model, rows = small_model(), small_pairs(8)
    images, texts = rows_through(model.vision_model), rows_through(model.text_model)
    run(model, [stack(rows)])
    assert images == [8]
    assert texts == [len({row["group_ids"].item() for row in rows})]


def test_dropout_and_augmentation_are_those_of_the_first_pass():
    """The reference goes through the same micro-batches in the same order, with all the graphs at once."""
    model = small_model(attention_dropout=0.3).train()
    rows, sizes = small_pairs(12, texts=12), (4, 4, 4)
    assert len({row["group_ids"].item() for row in rows}) > 4  # more than one micro-batch of texts
    seen = []

    def embed(inputs):
        if "pixel_values" in inputs:
            pixels = inputs["pixel_values"]
            inputs = inputs | {"pixel_values": pixels + torch.randn(len(pixels), 1, 1, 1, dtype=pixels.dtype)}
        outputs = model(**inputs, return_logits=False)
        seen.append((inputs, outputs, torch.is_grad_enabled()))
        return outputs

    torch.manual_seed(1)
    loss = run(model, split(rows, sizes), embed)
    after = torch.rand(3)
    found = gradients(model)
    assert [graph for _, _, graph in seen] == [False, False, True, True, True]
    for first, second in ((seen[1], seen[3]), (seen[0], seen[4])):
        assert torch.equal(first[0]["pixel_values"], second[0]["pixel_values"])
        torch.testing.assert_close(first[1].image_embeds, second[1].image_embeds, rtol=0, atol=1e-10)

    # all at once: the texts of the micro-batches are those that the cache chose, the rows look them up
    passes = [inputs for inputs, _, _ in seen[:3]]
    torch.manual_seed(1)
    outputs = []
    for inputs in passes:
        torch.randn(4, 1, 1, 1, dtype=torch.float64)  # the augmentation's numbers; its pixels are in `inputs` already
        outputs.append(model(**inputs, return_logits=False))
    images = torch.cat([output.image_embeds for output in outputs[::-1]])
    parts = [(p["input_ids"], o.text_embeds) for p, o in zip(passes, outputs, strict=True) if "input_ids" in p]
    tokens = {tuple(row.tolist()): embed for ids, embeds in parts for row, embed in zip(ids, embeds, strict=True)}
    texts = torch.stack([tokens[tuple(row["input_ids"].tolist())] for row in rows])
    ids = {name: stack(rows)[name] for name in ("group_ids", "image_ids")}
    expected_loss = embedding_loss(model.config, images, texts, model.logit_scale, model.logit_bias, **ids)
    expected_loss.backward()
    torch.testing.assert_close(loss, expected_loss.detach(), rtol=1e-12, atol=0)
    assert relative_error(found, gradients(model)) < 1e-12
    assert torch.equal(after, torch.rand(3))  # the second pass draws no numbers of its own

    _, without = full(model.eval(), rows)
    assert relative_error(found, without) > 0.1  # so there was something to replay


@pytest.mark.parametrize("frozen", ["vision_model", "text_model", "both"])
def test_a_frozen_tower_is_embedded_once(frozen):
    model, rows = small_model(attention_dropout=0.3).eval(), small_pairs(12, texts=12)
    towers = ["vision_model", "text_model"] if frozen == "both" else [frozen]
    for tower in towers:
        getattr(model, tower).requires_grad_(False)
    _, expected = full(model, rows)
    images, texts = rows_through(model.vision_model), rows_through(model.text_model)
    modules = {"image": "vision_model", "text": "text_model"}
    trainable = {tower for tower, module in modules.items() if module not in towers}
    run(model, split(rows, (4, 4, 4)), trainable=trainable)
    assert relative_error(gradients(model), expected) < 1e-12
    number = len({row["group_ids"].item() for row in rows})
    assert sum(images) == (12 if frozen != "text_model" else 20)
    assert frozen != "text_model" or sum(texts) == number


@pytest.mark.parametrize(("sizes", "real"), [((4, 4, 4), (4, 4, 1)), ((4, 4, 4), (4, 1, 4)), ((3, 8, 1), (0, 8, 1))])
def test_rows_that_fill_up_an_epoch_do_not_count(sizes, real):
    model, rows = small_model(), small_pairs(12)
    starts = (0, sizes[0], sizes[0] + sizes[1])
    _, expected = full(
        model, [rows[start + n] for start, count in zip(starts, real, strict=True) for n in range(count)]
    )
    run(model, split(rows, sizes), real=real)
    assert relative_error(gradients(model), expected) < 1e-12


def test_texts_can_be_filled_up_to_shapes_that_never_change():
    model, rows = small_model(), small_pairs(12, texts=12)
    _, expected = full(model, rows)
    texts = rows_through(model.text_model)
    run(model, split(rows, (4, 4, 4)), fixed_shapes=True)
    assert relative_error(gradients(model), expected) < 1e-12
    assert set(texts) == {4}


def test_gradient_checkpointing_gives_the_same():
    model, rows = small_model().train(), small_pairs(12)
    _, expected = full(model, rows)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    run(model, split(rows, (4, 4, 4)))
    assert relative_error(gradients(model), expected) < 1e-12


def test_autocast_keeps_no_weights_without_a_graph():
    """Inside one autocast torch remembers a weight's bfloat16 copy: one made without a graph would get no gradient."""
    model, rows = small_model(torch.float32), small_pairs(12, dtype=torch.float32)
    _, expected = full(model, rows)

    def embed(inputs):
        with torch.autocast("cpu", torch.bfloat16):
            return model(**inputs, return_logits=False)

    run(model, split(rows, (4, 4, 4)), embed)
    found = gradients(model)
    flat = [torch.cat([grads[name].flatten() for name in sorted(expected)]) for grads in (found, expected)]
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.99
    assert all(found[name].abs().sum() > 0 for name in expected if expected[name].abs().sum() > 1e-3)


def test_random_states_are_replayed_and_put_back():
    state = RandomState(CPU)
    first = torch.rand(2)
    with state.replayed():
        assert torch.equal(torch.rand(2), first)
    second = torch.rand(2)
    with state.replayed():
        torch.rand(2)
        assert torch.equal(torch.rand(2), second)
