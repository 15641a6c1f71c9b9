"""Tests which rows are answered during training, and that they are answered and scored as in `run_evaluation.py`."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from evaluation.scoring.answers import score_answers
from evaluation.scoring.decoder import generate_answers
from hub_datasets.chat.content_parts import to_parts
from tests.trainers.small_decoder import make_rows, open_decoder
from trainers.decoder.answer_evaluation import STRATA, AnswerEvaluation, draw_rows, shares, strata


@pytest.fixture(scope="module")
def decoder(tiny_decoder):
    return open_decoder(tiny_decoder)


@pytest.fixture(scope="module")
def rows(chat, decoder):
    return make_rows(chat["validation"], decoder[1])


def evaluation(rows, processor, samples=12, shown=5, batch_size=4, seed=0) -> AnswerEvaluation:
    return AnswerEvaluation(rows, processor, samples, shown, max_new_tokens=8, batch_size=batch_size, seed=seed)


# ---- the choice ------------------------------------------------------------------------------------------------------


def test_shares_by_hand():
    assert shares(np.array([70, 20, 10]), 10).tolist() == [7, 2, 1]
    assert shares(np.array([97, 2, 1]), 10).tolist() == [8, 1, 1]  # nobody is left out where there are enough
    assert shares(np.array([5, 5, 5]), 2).tolist() == [1, 1, 0]
    assert shares(np.array([3, 0, 1]), 4).tolist() == [3, 0, 1]


@pytest.mark.parametrize("samples", [1, 3, 8, 20, 300, 1000])
def test_drawn_rows_are_spread_over_the_groups(samples):
    groups = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [200, 60, 39, 1]))
    drawn = draw_rows(groups, samples, seed=7)
    assert len(drawn) == len(set(drawn.tolist())) == min(samples, 300)
    counts = np.bincount(groups[drawn], minlength=4)
    expected = np.array([200, 60, 39, 1]) * len(drawn) / 300
    assert (abs(counts - expected) <= (2 if samples <= 20 else 1)).all()
    if samples >= 4:
        assert (counts > 0).all()
        assert sorted(groups[drawn[:4]].tolist()) == [0, 1, 2, 3]  # those that are shown first are different
    assert np.array_equal(draw_rows(groups, samples, seed=7), drawn)
    if samples < 300:
        assert sorted(draw_rows(groups, samples, seed=8).tolist()) != sorted(drawn.tolist())


def test_no_rows_are_asked_for():
    assert len(draw_rows([0, 0, 1], 0, seed=0)) == 0


def test_the_strata_are_source_language_and_kind_of_question(chat):
    table = chat["validation"]
    groups = strata(table)
    keys = list(zip(*(table[name] for name in STRATA), strict=True))
    assert len(set(zip(groups.tolist(), keys, strict=True))) == len(set(keys)) == groups.max() + 1 > 4
    assert (strata(table.select_columns(["messages"])) == 0).all()


def test_the_same_rows_each_time_and_by_seed(rows, decoder, chat):
    first, again, other = (evaluation(rows, decoder[1], seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.chosen, again.chosen) and np.array_equal(first.shown, again.shown)
    assert set(first.chosen.tolist()) != set(other.chosen.tolist())
    assert set(first.shown.tolist()) < set(first.chosen.tolist()) and len(first.shown) == 5
    groups = rows.image_groups()[first.chosen]
    assert np.count_nonzero(np.diff(groups)) == len(set(groups.tolist())) - 1  # rows of one image come together
    asked = {name: set(chat["validation"].select(first.chosen)[name]) for name in STRATA}
    assert asked == {name: set(chat["validation"][name]) for name in STRATA}


# ---- answers and scores ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 5])
def test_answers_are_those_of_the_evaluation_and_are_scored_as_there(rows, decoder, batch_size):
    model, processor = decoder
    model = copy.deepcopy(model).double()  # in float32 the last bits, which depend on the batch, may decide a token
    scored = evaluation(rows, processor, batch_size=batch_size)
    found = scored(model, Accelerator(cpu=True))
    table = rows.rows.select(scored.chosen)
    texts = generate_answers(model, processor, table, 1, 8)
    assert len(set(texts)) > 3
    references = [messages[-1]["content"] for messages in table["plain_messages"]]
    expected, _ = score_answers(texts, references, table["language"], table["answer_type"])
    assert 0 <= found.pop("grounded_accuracy") <= found["accuracy"]  # a record has it in its image reliance
    assert found == {name: expected[name] for name in found}
    assert {"bleu", "bleu_en", "bleu_zh", "exact_match", "accuracy_closed_en", "accuracy_open"} <= found.keys()
    assert not any(name.startswith("num_") for name in found)
    shown = {answer.row: answer for answer in scored.answers}
    assert [answer.row for answer in scored.answers] == scored.shown.tolist()
    for row, text, whole in zip(scored.chosen.tolist(), texts, table, strict=True):
        if row in shown:
            assert shown[row].generated == text
            assert (shown[row].question, shown[row].reference) == tuple(
                turn["content"] for turn in whole["plain_messages"][-2:]
            )
            assert all(getattr(shown[row], name) == whole[name] for name in STRATA)


def test_adapters_and_16_bits_are_answered_with(rows, tiny_decoder):
    model, processor = open_decoder(tiny_decoder, "lora")
    scored = evaluation(rows, processor, samples=4)
    scored(model, Accelerator(cpu=True))
    before = [answer.generated for answer in scored.answers]
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.5)
    scored(model, Accelerator(cpu=True))
    assert [answer.generated for answer in scored.answers] != before
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        accelerator = Accelerator(cpu=True, mixed_precision="bf16")
        wrapped = accelerator.prepare_model(open_decoder(tiny_decoder)[0])
        assert scored(wrapped, accelerator).keys() >= {"bleu", "exact_match"}
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_a_shortened_conversation_is_asked_the_last_question_that_is_left(decoder, chat):
    turns = [{"role": role, "content": text} for role, text in (
        ("user", "First?"), ("assistant", "one "), ("user", "Second?"), ("assistant", "two " * 80))]  # fmt: skip
    table = chat["validation"].select(range(1)).map(lambda row: {"messages": to_parts(turns, 1)})
    rows = make_rows(table, decoder[1], max_length=60)
    assert rows.chats.dropped_turns[0] == 1
    scored = evaluation(rows, decoder[1])
    assert (scored.questions, scored.references) == (["First?"], ["one"])
    whole = evaluation(make_rows(table, decoder[1]), decoder[1])
    assert whole.questions == ["Second?"]


def test_without_samples_nothing_is_generated(rows, decoder):
    assert evaluation(rows, decoder[1], samples=0)(None, None) == {}


def test_grounded_accuracy_is_that_of_answers_that_change_with_the_image(rows, decoder):
    """An oracle is right and answers differently about the other patient; a blind model never does."""
    scored = evaluation(rows, decoder[1], samples=60)
    kinds = [known["answer_type"] for known in scored.known]
    counted = [row for row, donor in enumerate(scored.donors) if donor is not None and kinds[row]]
    assert counted
    for row in counted:
        donor = scored.donors[row]
        assert scored.questions[row] == scored.questions[donor] and scored.references[row] != scored.references[donor]
    assert scored.scores(scored.references)["grounded_accuracy"] == 1
    blind = dict(zip(scored.questions, scored.references, strict=True))  # one answer per question
    texts = [blind[question] for question in scored.questions]
    assert scored.scores(texts)["accuracy"] > 0 == scored.scores(texts)["grounded_accuracy"]
    assert scored.scores([""] * len(texts))["grounded_accuracy"] == 0


def test_without_two_patients_of_a_question_there_is_no_grounded_accuracy(rows, decoder):
    assert "grounded_accuracy" not in evaluation(rows, decoder[1], samples=1).scores([""])
