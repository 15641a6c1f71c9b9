"""Tests the decoder's Trainer: resuming, loading the best model, the loss over all tokens, and the logged figures."""

from __future__ import annotations

import json
import math
import random
from functools import partial

import numpy as np
import pytest
import torch

from evaluation.loading import InputError
from evaluation.scoring.decoder import answer_loss
from modeling.mllama.chunked_cross_entropy import IGNORE_INDEX
from tests.cases import few
from tests.trainers import small_decoder
from trainers.decoder.answer_evaluation import AnswerEvaluation
from trainers.decoder.arguments import DecoderTrainingArguments
from trainers.decoder.data.image_group_sampler import ImageGroupSampler
from trainers.decoder.metrics import TokenMeter

TIMES = ("runtime", "per_second", "peak_memory")
ANSWERS = {"samples": 6, "shown": 3, "max_new_tokens": 6, "batch_size": 4, "seed": 1}


@pytest.fixture
def make_trainer(tiny_decoder, chat, tmp_path):
    """`make_trainer(folder, scope, **flags)` on a few rows."""

    def make(folder: str, scope: str = "full", **flags):
        train, evaluation = (chat[name].shuffle(seed=0) for name in ("train", "validation"))
        tables = train.select(range(16)), evaluation.select(range(10))
        return small_decoder.make_trainer(tmp_path / folder, tiny_decoder, *tables, scope, **flags)

    return make


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def course(trainer) -> list[dict]:
    """The whole log without times."""
    return [{name: value for name, value in entry.items() if not any(part in name for part in TIMES)}
            for entry in trainer.state.log_history if "train_loss" not in entry]  # fmt: skip


# ---- resuming --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("scope", few(["full", "lora"]))
def test_a_resumed_run_has_the_log_of_an_undisturbed_one(make_trainer, scope):
    """Stock Trainer loads nothing into a fully trained Mllama, and only warns: its losses start again."""
    flags = {"max_steps": 6, "save_steps": 2, "eval_steps": 2, "save_total_limit": 5, "answers": ANSWERS}
    undisturbed = make_trainer("straight", scope, **flags)
    undisturbed.train()
    resumed = make_trainer("resumed", scope, **flags)
    resumed.train(resume_from_checkpoint=f"{undisturbed.args.output_dir}/checkpoint-4")
    assert course(resumed) == course(undisturbed)
    assert len(set(losses(undisturbed))) > 4
    scored = [entry for entry in course(resumed) if "eval_bleu" in entry]
    assert [entry["step"] for entry in scored] == [2, 4, 6] and all("eval_accuracy_closed" in entry for entry in scored)
    assert np.array_equal(resumed.answers.chosen, undisturbed.answers.chosen)
    assert resumed.answers.answers == undisturbed.answers.answers


def test_a_resumed_run_counts_what_was_done_since_the_last_line(make_trainer):
    """Saved after update 2, logged after update 4: rows and tokens of updates 1 to 4 are in that line."""
    flags = {"max_steps": 4, "save_steps": 2, "eval_strategy": "no", "logging_steps": 4}
    counted = {}
    for folder, resume in (("whole", None), ("resumed", "whole/checkpoint-2")):
        trainer = make_trainer(folder, **flags)
        take = trainer.meter.take

        def taken(meter=trainer.meter, take=take, folder=folder):
            counted[folder] = [meter.counts.tolist(), meter.seconds]
            return take()

        trainer.meter.take = taken
        path = resume and str(trainer.folder.parent / resume)
        trainer.train(resume_from_checkpoint=path)
    before = json.loads((trainer.folder.parent / "whole/checkpoint-2/progress_0.json").read_text())["meter"]
    assert counted["resumed"][0] == counted["whole"][0] and counted["whole"][0][0] == 8
    assert before["counts"][0] == 4 and 0 < before["seconds"] < counted["resumed"][1]


# ---- the loss --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_evaluation_s_loss_is_over_all_tokens_as_run_evaluation_has_it(make_trainer, batch_size):
    trainer = make_trainer("loss", per_device_eval_batch_size=batch_size)
    found = trainer.evaluate()
    rows = trainer.eval_dataset
    expected = answer_loss(trainer.model, trainer.processing_class, rows.rows, 1)
    assert found["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert found["eval_perplexity"] == pytest.approx(math.exp(found["eval_loss"]))
    alone = [answer_loss(trainer.model, trainer.processing_class, rows.rows.select([row]), 1) for row in range(10)]
    assert sum(alone) / 10 != pytest.approx(expected, rel=1e-3)  # answers are of different lengths
    words = [(rows.chats.labels(row)[1:] != IGNORE_INDEX).sum() for row in range(10)]
    assert np.dot(alone, words) / sum(words) == pytest.approx(expected, rel=1e-5)


def test_an_evaluation_returns_two_numbers_of_each_row_and_no_logits(make_trainer):
    """Those of one row of 512 tokens take 263 MB at 128,256 words."""
    trainer = make_trainer("rows", per_device_eval_batch_size=3)
    found = trainer.predict(trainer.eval_dataset)
    assert found.predictions.shape == found.label_ids.shape == (10,)
    assert found.metrics["test_loss"] == pytest.approx(found.predictions.sum() / found.label_ids.sum())


def test_an_update_is_the_mean_over_its_tokens_whatever_the_micro_batches(make_trainer):
    flags = {"max_steps": 2, "eval_strategy": "no", "save_strategy": "no", "seed": 3, "learning_rate": 1e-2}
    runs = []
    for size, steps in ((4, 1), (2, 2), (1, 4)):
        trainer = make_trainer(f"b{size}", per_device_train_batch_size=size, gradient_accumulation_steps=steps, **flags)
        trainer.order = torch.utils.data.SequentialSampler(range(16))
        trainer.train()
        runs.append(losses(trainer))
    for run in runs[1:]:
        assert run == pytest.approx(runs[0], rel=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_scoring_answers_changes_no_loss(make_trainer, checkpointing):
    """Dropout draws random numbers in every update; the evaluation must leave them, and the model's mode, alone."""
    flags = {"max_steps": 4, "eval_steps": 1, "save_strategy": "no", "gradient_checkpointing": checkpointing}
    runs = {}
    for name, answers in (("without", None), ("with", ANSWERS)):
        trainer = make_trainer(name, "lora", answers=answers, **flags)
        for layer in trainer.model.modules():
            if hasattr(layer, "lora_dropout"):
                layer.lora_dropout["default"] = torch.nn.Dropout(0.3)
        trainer.train()
        runs[name] = (
            losses(trainer),
            [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry],
        )
    for found, expected in zip(runs["with"], runs["without"], strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    assert len(set(runs["with"][0])) == 4


def test_numbers_that_are_drawn_and_modes_are_left_alone(make_trainer):
    trainer = make_trainer("quiet", "lora", answers=ANSWERS)
    model = trainer.model.train()
    model.base_model.model.model.vision_model.eval()
    modes = [module.training for module in model.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    trainer.answers(model, trainer.accelerator)
    assert [module.training for module in model.modules()] == modes and len(set(modes)) == 2
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]


# ---- what is the best ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "greater"), [("loss", False), ("perplexity", False), ("eval_perplexity", False), ("bleu", True),
                            ("accuracy_closed_en", True), ("exact_match", True)],
)  # fmt: skip
def test_which_direction_is_better(tmp_path, metric, greater):
    training = DecoderTrainingArguments(output_dir=str(tmp_path), use_cpu=True, metric_for_best_model=metric)
    assert training.greater_is_better is greater
    given = DecoderTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, metric_for_best_model=metric, greater_is_better=not greater
    )
    assert given.greater_is_better is not greater


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "better"), [("bleu_1", max), ("perplexity", min)])
def test_the_best_checkpoint_by_a_metric_and_patience(make_trainer, monkeypatch, metric, better):
    values = iter([1.0, 3.0, 2.0, 0.5, 5.0] if better is max else [3.0, 1.0, 2.0, 4.0, 0.1])
    flags = {"max_steps": 5, "eval_steps": 1, "save_steps": 1, "save_total_limit": 9, "patience": 2}
    trainer = make_trainer("metric", metric_for_best_model=metric, answers=ANSWERS, **flags)
    if better is max:
        call = AnswerEvaluation.__call__
        monkeypatch.setattr(AnswerEvaluation, "__call__", lambda *args: call(*args) | {metric: next(values)})
    else:
        trainer.compute_metrics = lambda prediction: trainer.score(prediction) | {metric: next(values)}
    trainer.train()
    assert (trainer.state.best_global_step, trainer.state.global_step) == (2, 4)
    assert trainer.state.best_metric == (3.0 if better is max else 1.0)


def test_a_metric_that_will_not_be_measured_is_named_before_the_training(make_trainer):
    with pytest.raises(InputError, match=r"model bleu: .* gives loss, perplexity; more --eval_samples"):
        make_trainer("none", metric_for_best_model="bleu")
    with pytest.raises(InputError, match=r"--metric_for_best_model accuracy_closd: .* gives accuracy, .*, bleu, "):
        make_trainer("misspelt", metric_for_best_model="accuracy_closd", answers=ANSWERS)
    make_trainer("unused", metric_for_best_model="bleu", eval_strategy="no")


def test_grounded_accuracy_needs_questions_about_two_patients(tiny_decoder, chat, tmp_path):
    tables, answers = (chat["train"].select(range(4)), chat["validation"]), ANSWERS | {"samples": 60}
    flags = {"metric_for_best_model": "grounded_accuracy"}
    trainer = small_decoder.make_trainer(tmp_path / "a", tiny_decoder, *tables, "full", answers=answers, **flags)
    assert trainer.args.greater_is_better
    with pytest.raises(InputError, match=r"--metric_for_best_model grounded_accuracy: .*more --eval_samples may"):
        few_rows = answers | {"samples": 1}
        small_decoder.make_trainer(tmp_path / "b", tiny_decoder, *tables, "full", answers=few_rows, **flags)


def test_what_is_measured_on_some_rows_is_no_result_of_the_split(make_trainer):
    from trainers.base.arguments import DataArguments
    from trainers.base.training_run import evaluation_result

    trainer = make_trainer("result", answers=ANSWERS)
    result = evaluation_result(trainer, "m", "report_generation", "chat", DataArguments(), "")
    assert result.metrics.keys() == {"loss", "perplexity"} and result.samples == 10
    assert "eval_bleu" in trainer.evaluate()


# ---- what is logged --------------------------------------------------------------------------------------------------


def test_a_line_about_the_training_has_speed_and_memory(make_trainer):
    trainer = make_trainer("log", max_steps=2, logging_steps=1, eval_strategy="no", save_strategy="no")
    trainer.train()
    lines = [entry for entry in trainer.state.log_history if "loss" in entry]
    for line in lines:
        assert 0.05 < line["peak_memory_gib"] < 64 and line["grad_norm"] > 0
        assert line["tokens_per_second"] > line["supervised_tokens_per_second"] > line["samples_per_second"] > 0
    rows = trainer.train_dataset
    sampler = trainer.callback_handler.train_dataloader.batch_sampler
    trainer.callback_handler.train_dataloader.set_epoch(0)
    chosen = next(iter(sampler))
    tokens = sum(len(rows.chats.input_ids(row)) for row in chosen)
    words = sum(int((rows.chats.labels(row) != IGNORE_INDEX).sum()) for row in chosen)
    line = lines[0]
    assert line["tokens_per_second"] / line["samples_per_second"] == pytest.approx(tokens / 2, rel=1e-2)
    assert line["supervised_tokens_per_second"] / line["samples_per_second"] == pytest.approx(words / 2, rel=1e-2)


def test_the_meter_s_state_is_json_and_goes_on():
    batch = {
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "labels": torch.tensor([[5, 4, 3], [-100, 7, -100]]),
    }
    whole, first = TokenMeter(), TokenMeter()
    assert whole.take() == {}
    for meter in (whole, whole, first):
        meter.add(batch)
    second = TokenMeter()
    first.seconds, whole.seconds = 0.25, 0.5
    second.restore(json.loads(json.dumps(first.state())), torch.device("cpu"))
    second.add(batch)
    second.seconds += 0.25
    figures = whole.take()
    assert figures.pop("peak_memory_gib") > 0
    assert figures == {"samples_per_second": 8.0, "tokens_per_second": 20.0, "supervised_tokens_per_second": 12.0}
    assert {name: value for name, value in second.take().items() if name in figures} == figures
    assert whole.take() == {} and whole.seconds == 0


# ---- a loss that is no number ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True], ids=["random", "by image"])
def test_a_loss_that_is_no_number_names_its_rows(make_trainer, grouped):
    trainer = make_trainer("nan", max_steps=8, gradient_accumulation_steps=2, eval_strategy="no", save_strategy="no")
    rows = trainer.train_dataset
    if grouped:
        trainer.order = ImageGroupSampler(rows.image_groups(), rows.chats.lengths, 2, 2, 5, True)
    step, seen = type(trainer).training_step, []

    def spoiled(self, model, inputs, num_items_in_batch=None):
        seen.append(inputs["input_ids"].tolist())
        if len(seen) > 10:  # in the second epoch: 16 rows are 4 updates
            with torch.no_grad():
                next(parameter for parameter in model.parameters() if parameter.requires_grad).fill_(float("nan"))
        return step(self, model, inputs, num_items_in_batch)

    trainer.training_step = partial(spoiled, trainer)
    with pytest.raises(InputError, match=r"^update 6: the loss is nan") as caught:
        trainer.train()
    named = str(caught.value).split("Rows of this update: ")[1].split(". Check")[0].split(", ")
    numbers = [int(name.split()[0]) for name in named]
    paths = [name.split("(")[1].rstrip(")") for name in named]
    assert paths == [rows.rows[number]["image_path"] for number in numbers]
    said = [rows.chats.input_ids(number).tolist() for number in numbers]
    pad = trainer.processing_class.tokenizer.pad_token_id
    given = [[token for token in row if token != pad] for batch in seen[10:12] for row in batch]
    assert said == given and len(given) == 4


@pytest.mark.parametrize(
    ("flags", "rounds"),
    [({"train_scope": "full", "bf16": True}, True), ({"train_scope": "full"}, False),
     ({"train_scope": "lora", "bf16": True}, False), ({"train_scope": "lm_head", "bf16": True}, False)],
)  # fmt: skip
def test_weights_that_learn_in_16_bits_are_told(make_decoder_trainer, capsys, flags, rounds):
    """Adapters, and a head beside frozen weights, learn in float32; all weights do not where nothing splits them."""
    make_decoder_trainer("out", **flags)
    assert ("updates of less than" in capsys.readouterr().out) is rounds
