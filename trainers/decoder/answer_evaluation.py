"""Generates and scores the decoder's answers to a fixed sample of evaluation rows during training.

A loss measures how likely the reference answers are, not what the model would answer. The sample depends on the rows
and the seed only, so that two evaluations differ by the model alone: within a run, after resuming it, and between runs
on the same data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from evaluation.controls.questions import find_donors, read_questions
from evaluation.controls.reliance import grounded_scores
from evaluation.scoring.answers import score_answers
from evaluation.scoring.decoder import answer_texts
from evaluation.scoring.messages import plain_messages
from trainers.base.distributed import rank, world_size
from trainers.decoder.data.collator import PromptCollator
from trainers.images.decoder_tiles import unpack_tiles

STRATA = ("source_dataset", "language", "answer_type")
# Intermediate values of BLEU, which are not scores.
NOT_SCORES = ("brevity_penalty", "length_ratio")


@dataclass(frozen=True)
class Answer:
    """The answer to one row.

    Attributes:
        row: its number in the evaluation rows.
        question, reference: its last two turns.
        generated: the model's answer.
        language, answer_type, source_dataset: the values of these columns, "" if missing.
    """

    row: int
    question: str
    reference: str
    generated: str
    language: str
    answer_type: str
    source_dataset: str


class AnswerEvaluation:
    """Generates and scores the answers to a fixed sample of rows.

    Args:
        rows: DecoderRows of the evaluation split.
        processor: an MllamaProcessor.
        samples: number of rows to answer, in proportion to sources, languages and answer types of all rows.
        shown: number of these rows to show.
        max_new_tokens: largest number of tokens of an answer.
        batch_size: number of rows to answer together.
        seed: seed of the sample.

    Attributes:
        chosen: `[samples]` int64, the rows in the order in which they are answered: rows of one image together.
        shown: `[shown]` int64, the rows to show, from different strata first.
        answers: the answers to `shown` of the last call.
    """

    def __init__(
        self, rows: Any, processor: Any, samples: int, shown: int, max_new_tokens: int, batch_size: int, seed: int
    ) -> None:
        self.rows, self.processor, self.collator = rows, processor, PromptCollator(processor)
        self.max_new_tokens, self.batch_size = max_new_tokens, batch_size
        table = rows.rows
        drawn = draw_rows(strata(table), samples, seed)
        self.shown = drawn[:shown]
        # Sorted by image, then by row: the last key of lexsort is the first criterion.
        self.chosen = drawn[np.lexsort((drawn, rows.image_groups()[drawn]))]
        known = {name: chosen_values(table, name, self.chosen) for name in STRATA}
        self.known = [dict(zip(STRATA, values, strict=True)) for values in zip(*known.values(), strict=True)]
        turns = [last_turn(rows, int(row)) for row in self.chosen]
        self.questions, self.references = [question for question, _ in turns], [answer for _, answer in turns]
        # Places in `chosen` of rows about another patient, which have the same question and another answer.
        self.donors = find_donors(asked_questions(rows, self.chosen), same_answer=False)
        self.answers: list[Answer] = []

    def __call__(self, model: Any, accelerator: Any) -> dict[str, float]:
        """Answers the chosen rows, sets `answers` and returns the scores, the same in all processes.

        To be called by all processes. It restores the modes of all modules and the random number generators, so that
        the losses of the following updates do not depend on it.

        Returns:
            `bleu`, `bleu_1`, `exact_match`, `accuracy`, `accuracy_open`, `accuracy_closed`, and the same per language;
            `grounded_accuracy`, the share of answers that are right and become different ones with the image of another
            patient, among the chosen open and closed questions that another patient has with another answer.
        """
        if not len(self.chosen):
            return {}
        texts = self.generate(accelerator.unwrap_model(model, keep_torch_compile=False), accelerator)
        scores = self.scores(texts)
        columns = zip(self.chosen.tolist(), self.questions, self.references, texts, self.known, strict=True)
        found = {row: Answer(row, *texts, **known) for row, *texts, known in columns}
        self.answers = [found[row] for row in self.shown.tolist()]
        return scores

    def scores(self, texts: list[str]) -> dict[str, float]:
        """Returns the scores of answers to all chosen rows, in their order. Raises as `score_answers`."""
        languages, kinds = ([known[name] for known in self.known] for name in ("language", "answer_type"))
        scores, _ = score_answers(texts, self.references, languages if all(languages) else None, kinds)
        columns = (texts, self.references, kinds, languages, self.donors)
        scores |= grounded_scores(*columns)
        return {name: value for name, value in scores.items() if not name.startswith(("num_", *NOT_SCORES))}

    def generate(self, model: Any, accelerator: Any) -> list[str]:
        """Returns the answers to all chosen rows; the batches are distributed over the processes."""
        starts = range(0, len(self.chosen), self.batch_size)
        # -(-a // b) rounds up.
        rounds = -(-len(starts) // world_size())
        mine: dict[int, str] = {}
        with evaluation_mode(model), accelerator.autocast():
            for number in range(rounds):
                # Sharded weights need every process in every round: one without a batch repeats the last one.
                start = starts[min(number * world_size() + rank(), len(starts) - 1)]
                batch = self.chosen[start : start + self.batch_size].tolist()
                mine |= zip(batch, self.answer(model, batch, accelerator.device), strict=True)
        if world_size() == 1:
            return [mine[row] for row in self.chosen.tolist()]
        gathered: list[Any] = [None] * world_size()
        dist.all_gather_object(gathered, mine)
        # Reversed, so that the first process wins for a repeated batch.
        merged = {row: text for part in reversed(gathered) for row, text in part.items()}
        return [merged[row] for row in self.chosen.tolist()]

    def answer(self, model: Any, batch: list[int], device: torch.device) -> list[str]:
        """Returns the answers to the rows of one batch, given by their numbers."""
        inputs = self.collator(self.rows.__getitems__(batch))
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        inputs = unpack_tiles(inputs, self.processor.image_processor)
        return answer_texts(model, self.processor, inputs, self.max_new_tokens)


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Sets the model to evaluation mode, which also disables activation checkpointing, and restores each module's mode.

    Greedy decoding draws no random numbers. The generators are restored in case anything else does: otherwise the
    dropout of the following updates would change.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def last_turn(rows: Any, row: int) -> tuple[str, str]:
    """Returns the last question of a row that `--max_seq_length` leaves, and its answer."""
    messages = plain_messages(rows.rows.select_columns(["messages"])[row]["messages"])
    answers = [position for position, message in enumerate(messages) if message["role"] == "assistant"]
    # The last answer, or as many before it as turns were dropped.
    position = answers[-1 - int(rows.chats.dropped_turns[row])]
    return messages[position - 1]["content"], messages[position]["content"].strip()


def asked_questions(rows: Any, chosen: np.ndarray) -> Any:
    """Returns the `Questions` of rows. Those of which `--max_seq_length` drops turns count as if they had no image."""
    questions = read_questions(rows.rows.select(chosen.tolist()))
    dropped = [int(rows.chats.dropped_turns[row]) for row in chosen.tolist()]
    images = ["" if count else image for image, count in zip(questions.images, dropped, strict=True)]
    return replace(questions, images=images)


def strata(table: Any) -> np.ndarray:
    """Returns `[rows]` int64, equal for rows that share source, language and answer type."""
    columns = [table[name][:] for name in STRATA if name in table.column_names]
    keys = list(zip(*columns, strict=True)) if columns else [()] * len(table)
    numbers = {key: number for number, key in enumerate(sorted(set(keys), key=repr))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)


def chosen_values(table: Any, name: str, rows: np.ndarray) -> list[str]:
    """Returns a column's values of some rows, "" if missing."""
    if name not in table.column_names:
        return [""] * len(rows)
    return [value or "" for value in table.select_columns([name])[rows.tolist()][name]]


def draw_rows(groups: Sequence[int] | np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Draws at most `samples` rows, in proportion to the groups and, if there are enough, at least one of each.

    Args:
        groups: `[rows]` int64, from 0 without gaps.

    Returns:
        `[samples]` int64, row numbers, ordered so that the first n rows cover as many groups as possible, for any n.
    """
    groups = np.asarray(groups, dtype=np.int64)
    samples = min(samples, len(groups))
    if not samples:
        return np.zeros(0, np.int64)
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, len(groups)])))
    sizes = np.bincount(groups)
    counts = shares(sizes, samples)
    positions, rows = [], []
    for group in np.flatnonzero(counts):
        members = random.permutation(np.flatnonzero(groups == group))[: counts[group]]
        rows.append(members)
        # Round robin: the first row of each group, then the second of each.
        positions.append(np.arange(counts[group]) * len(sizes) + group)
    return np.concatenate(rows)[np.argsort(np.concatenate(positions), kind="stable")]


def shares(sizes: np.ndarray, samples: int) -> np.ndarray:
    """Distributes `samples` over groups in proportion to their sizes, by the largest-remainder method.

    Groups that would get none take one from the largest while it has more than one.

    Args:
        sizes: `[groups]`.

    Returns:
        `[groups]` int64, whose sum is `samples`.
    """
    exact = sizes * samples / sizes.sum()
    counts = np.floor(exact).astype(np.int64)
    # The largest remainder first.
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: samples - counts.sum()]] += 1
    for group in np.flatnonzero((counts == 0) & (sizes > 0)):
        if counts.max() < 2:
            break
        counts[np.argmax(counts)] -= 1
        counts[group] = 1
    return counts
