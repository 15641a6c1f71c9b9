"""Checks a patched Mllama: the stock model's numbers, rows independent of their batch, saving, peft."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForImageTextToText

from modeling.mllama.patch import find_cross_attentions, find_decoder, prepare_mllama, restore_mllama
from tests.modeling.mllama.batches import ROWS, TWO_IMAGES, Row, batch, gradients, largest_difference, load

SAME = 1e-10
IMPLEMENTATIONS = ["sdpa", "eager"]
TARGETS = r".*cross_attn\.(q|k|v|o)_proj"


def without_labels(inputs: dict) -> dict:
    return {name: value for name, value in inputs.items() if name != "labels"}


# --- rows alone and together ---


def compute_row_logits(model, rows: list[Row], **options) -> list[torch.Tensor]:
    """Returns `[L, V]` logits of every row, without padding."""
    inputs = batch(model, rows, labels=False, **options)
    with torch.no_grad():
        logits = model(**inputs).logits
    return [one[seen.bool()] for one, seen in zip(logits, inputs["attention_mask"], strict=True)]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_a_row_has_the_same_logits_alone_and_in_any_batch(tiny_mllama, exact, implementation, shared, left):
    model = load(tiny_mllama, implementation)
    text = TWO_IMAGES.index(ROWS[2])
    stock_text = compute_row_logits(model, [TWO_IMAGES[text]], shared=False)[0]
    prepare_mllama(model)
    together = compute_row_logits(model, TWO_IMAGES, shared=shared, left=left)
    alone = [compute_row_logits(model, [row], shared=False)[0] for row in TWO_IMAGES]
    for one, other in zip(together, alone, strict=True):
        assert float((one - other).abs().max()) < SAME
    assert float((together[text] - stock_text).abs().max()) < SAME


def test_without_isolation_a_row_depends_on_its_batch(tiny_mllama, exact):
    """This is the reason for isolation, and shows that the test above can fail."""
    model = load(tiny_mllama)
    prepare_mllama(model, isolate_rows=False)
    together, alone = (compute_row_logits(model, rows, shared=False) for rows in (ROWS, [ROWS[2]]))
    assert float((together[2] - alone[0]).abs().max()) > 1e-3


@pytest.mark.parametrize("shared", [False, True])
def test_greedy_answers_are_the_same_alone_and_together(tiny_mllama, exact, shared):
    model = load(tiny_mllama)
    prepare_mllama(model)
    how = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}

    def answers(rows: list[Row]) -> torch.Tensor:
        inputs = batch(model, rows, shared=shared, left=True, labels=False)
        return model.generate(**inputs, **how)[:, inputs["input_ids"].shape[1] :]

    together = answers(TWO_IMAGES)
    assert together.shape == (len(TWO_IMAGES), 6)
    for row, answer in zip(TWO_IMAGES, together, strict=True):
        assert torch.equal(answers([row])[0], answer)
    assert len({tuple(answer.tolist()) for answer in together}) > 3  # shows that answers differ between rows


# --- the stock model's numbers ---


def stock_gradients(model, inputs: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Computes the loss of a stock model's logits in their own precision; its own loss converts them to float32."""
    model.zero_grad()
    logits = model(**without_labels(inputs)).logits
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten())
    loss.backward()
    return loss.detach(), {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("rows", [TWO_IMAGES, [ROWS[2]]], ids=["mixed", "text"])
def test_without_isolation_logits_equal_the_stock_ones(tiny_mllama, exact, implementation, rows):
    model = load(tiny_mllama, implementation)
    inputs = batch(model, rows, shared=False, labels=False)
    with torch.no_grad():
        stock, last = model(**inputs).logits, model(**inputs, logits_to_keep=2).logits
        prepare_mllama(model, isolate_rows=False)
        assert float((model(**inputs).logits - stock).abs().max()) < SAME
        assert float((model(**inputs, logits_to_keep=2).logits - last).abs().max()) < SAME
        restore_mllama(model)
        assert float((model(**inputs).logits - stock).abs().max()) < SAME


def test_loss_and_gradients_equal_the_stock_ones(tiny_mllama, exact):
    model = load(tiny_mllama)
    inputs = batch(model, ROWS, shared=False)
    expected, stock = stock_gradients(model, inputs)
    prepare_mllama(model, isolate_rows=False)
    loss, ours = gradients(model, inputs)
    assert loss.dtype == torch.float64
    assert abs(float(loss - expected)) < SAME
    assert largest_difference(ours, stock) < SAME


def test_arguments_of_the_loss_work_as_in_the_stock_model(tiny_mllama):
    model = load(tiny_mllama, dtype=torch.float32)
    inputs = batch(model, ROWS, shared=False)
    stock, by_seven = model(**inputs).loss, model(**inputs, num_items_in_batch=7).loss
    prepare_mllama(model, isolate_rows=False)
    found = model(**inputs)
    assert found.logits is None
    assert found.past_key_values is None
    torch.testing.assert_close(found.loss, stock)
    torch.testing.assert_close(model(**inputs, num_items_in_batch=7).loss, by_seven)
    torch.testing.assert_close(model(**inputs, num_items_in_batch=torch.tensor(7)).loss, by_seven)
    shifted = F.pad(inputs["labels"][:, 1:], (0, 1), value=-100)
    torch.testing.assert_close(model(**inputs, shift_labels=shifted).loss, stock)
    assert isinstance(model(**inputs, return_dict=False), tuple)
    rows = model(**inputs, per_row_loss=True).loss
    assert rows.shape == (len(ROWS),)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.sum() / 12, stock)
    assert rows[4] == 0  # this row has no labels
    assert rows[1] > 0


def test_the_error_for_a_wrong_label_names_its_token_id(tiny_mllama):
    model = load(tiny_mllama)
    prepare_mllama(model)
    inputs = batch(model, ROWS, shared=False)
    inputs["labels"] = inputs["input_ids"]
    with pytest.raises(ValueError, match=f"token ids \\[{model.config.image_token_index}\\]"):
        model(**inputs)


def test_without_a_mask_every_token_sees_all_states(tiny_mllama, exact):
    """Without a mask the stock layer applies causal attention to its keys (transformers #48172)."""
    model = load(tiny_mllama)
    words = torch.randint(10, 300, (1, 5), generator=torch.Generator().manual_seed(1))
    states = torch.randn(1, 20, model.config.text_config.hidden_size, dtype=torch.float64)
    other = states.clone()
    other[:, 10:] += 1

    def change() -> float:
        with torch.no_grad():
            one, two = (model(input_ids=words, cross_attention_states=some).logits for some in (states, other))
        return float((one - two).abs().max())

    assert change() < SAME
    prepare_mllama(model)
    assert change() > 1e-3


# --- batches without images ---


@pytest.mark.parametrize("tower_trainable", [True, False])
def test_a_batch_without_images_gives_every_weight_a_gradient(tiny_mllama, exact, tower_trainable):
    """DDP waits for the gradient of every trainable weight; those of the layers for images are zero."""
    model = load(tiny_mllama).train()
    model.model.vision_model.requires_grad_(tower_trainable)
    inputs = batch(model, [ROWS[2], Row(9)], shared=True)
    expected, stock = stock_gradients(model, inputs)
    prepare_mllama(model)
    calls = []
    model.model.vision_model.register_forward_hook(lambda *_: calls.append(1))
    loss, ours = gradients(model, inputs)
    assert abs(float(loss - expected)) < SAME
    assert ours.keys() == {name for name, one in model.named_parameters() if one.requires_grad}
    assert len(calls) == tower_trainable
    assert largest_difference({name: ours[name] for name in stock}, stock) < SAME
    assert all(not gradient.any() for name, gradient in ours.items() if name not in stock)
    with torch.no_grad():
        calls.clear()
        model(**inputs)
    assert not calls  # without gradients, the layers for images are skipped


@pytest.mark.parametrize("shared", [False, True])
def test_a_batch_without_labels_has_a_loss_of_zero(tiny_mllama, shared):
    model = load(tiny_mllama).train()
    prepare_mllama(model)
    inputs = batch(model, ROWS, shared=shared)
    inputs["labels"].fill_(-100)
    loss, found = gradients(model, inputs)
    assert loss == 0
    assert all(not gradient.any() for gradient in found.values())
    assert not model(**inputs, num_items_in_batch=torch.tensor(0)).loss.isnan()
    assert torch.equal(model(**inputs, per_row_loss=True).loss, torch.zeros(len(ROWS), dtype=torch.float64))


# --- the model in other libraries ---


def test_the_signature_shows_trainer_that_loss_arguments_are_accepted(tiny_mllama):
    model = load(tiny_mllama)
    prepare_mllama(model)
    parameters = inspect.signature(model.forward).parameters
    assert any(one.kind == inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    assert {"image_index", "per_row_loss", "labels"} <= parameters.keys()


def test_saving_writes_a_stock_checkpoint(tiny_mllama, tmp_path):
    model = load(tiny_mllama)
    before = model.config.to_dict()
    prepare_mllama(model)
    model.save_pretrained(tmp_path)
    assert model.config.to_dict() == before
    again, report = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True, dtype=torch.float64)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    for name, one in model.state_dict().items():
        assert torch.equal(one, again.state_dict()[name]), name
    assert type(again) is type(model)


def test_a_deep_copy_is_independent(tiny_mllama, exact):
    model = load(tiny_mllama)
    prepare_mllama(model)
    inputs = batch(model, ROWS, shared=True, labels=False)
    with torch.no_grad():
        expected = model(**inputs).logits
        other = copy.deepcopy(model)
        for one in other.parameters():
            one.mul_(1.5)
        assert float((model(**inputs).logits - expected).abs().max()) < SAME
        assert float((other(**inputs).logits - expected).abs().max()) > 1e-3
    for one in (other, other.model, *find_cross_attentions(other)):
        assert one.forward.__self__ is one


def test_another_model_is_refused():
    with pytest.raises(ValueError, match="Linear neither is nor contains an MllamaForConditionalGeneration"):
        prepare_mllama(torch.nn.Linear(2, 2))


def with_adapters(model, **options):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    wanted = {"r": 4, "target_modules": TARGETS, "init_lora_weights": False} | options
    return get_peft_model(model, LoraConfig(**wanted))


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("task_type", [None, "CAUSAL_LM"])
@pytest.mark.parametrize("before", [False, True])
def test_adapters_added_before_or_after_the_patch(tiny_mllama, exact, tmp_path, dora, task_type, before):
    base = load(tiny_mllama)
    if before:
        prepare_mllama(base)
    model = with_adapters(base, use_dora=dora, task_type=task_type)
    if not before:
        prepare_mllama(model)
    shared, repeated = (batch(model, ROWS, shared=one) for one in (True, False))
    loss, ours = gradients(model, shared)
    other_loss, others = gradients(model, repeated)
    assert abs(float(loss - other_loss)) < SAME
    assert largest_difference(ours, others) < SAME
    assert {name for name, one in model.named_parameters() if one.requires_grad} == ours.keys()
    prompts = {**batch(model, ROWS, shared=True, left=True, labels=False), "do_sample": False, "max_new_tokens": 3}
    answers = model.generate(**prompts)
    # After merging, the model equals a stock model with the merged weights.
    merged = model.merge_and_unload()
    assert torch.equal(merged.generate(**prompts), answers)
    merged.save_pretrained(tmp_path)
    restore_mllama(merged)
    again = load(tmp_path)
    inputs = batch(model, [ROWS[0]], shared=False, labels=False)
    with torch.no_grad():
        assert float((again(**inputs).logits - merged(**inputs).logits).abs().max()) < SAME


@pytest.mark.parametrize("options", [{"modules_to_save": ["lm_head"]}, {"target_modules": ["q_proj", "lm_head"]}])
def test_a_head_wrapped_by_peft(tiny_mllama, exact, options):
    model = with_adapters(load(tiny_mllama), **options)
    inputs = batch(model, ROWS, shared=False)
    expected, stock = stock_gradients(model, inputs)
    prepare_mllama(model, isolate_rows=False)
    loss, ours = gradients(model, inputs)
    assert any("lm_head" in name for name in ours)
    assert abs(float(loss - expected)) < SAME
    assert largest_difference(ours, stock) < SAME
    assert find_decoder(model) is model.get_base_model()
