"""How does the decoder answer while it trains? The same few rows of the evaluation at each time, generated and scored.

A loss says how surprised a model is by the right answers, not what it would answer. Which rows are answered follows
from the rows and the seed alone, so that two evaluations differ by the model only: of this run, of one that was
resumed, and of another on the same data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from evaluation.scoring.answers import score_answers
from evaluation.scoring.decoder import answer_texts
from trainers.base.distributed import rank, world_size
from trainers.decoder.data.collator import PromptCollator
from trainers.images.decoder_tiles import unpack_tiles

STRATA = ("source_dataset", "language", "answer_type")
NO_SCORES = ("brevity_penalty", "length_ratio")  # of the BLEU; there is no better or worse of them


@dataclass(frozen=True)
class Answer:
    """One row as it was answered.

    Attributes:
        row: its number in the evaluation rows.
        question, reference: its last two turns.
        generated: the model's answer.
        language, answer_type, source_dataset: as the dataset names them, "" where it does not.
    """

    row: int
    question: str
    reference: str
    generated: str
    language: str
    answer_type: str
    source_dataset: str


class AnswerEvaluation:
    """Generates and scores the answers to a fixed choice of rows.

    Args:
        rows: DecoderRows of the evaluation.
        processor: an MllamaProcessor.
        samples: how many rows are answered, spread over sources, languages and kinds of questions as all rows are.
        shown: how many of these are shown.
        max_new_tokens: longest answer in tokens.
        batch_size: rows that are answered together.
        seed: of the choice.

    Attributes:
        chosen: `[samples]` int64, the rows in the order in which they are answered: those of one image together.
        shown: `[shown]` int64, rows of these; the first ones are as different as can be.
        answers: what the last call gave for `shown`.
    """

    def __init__(
        self, rows: Any, processor: Any, samples: int, shown: int, max_new_tokens: int, batch_size: int, seed: int
    ) -> None:
        self.rows, self.processor, self.collator = rows, processor, PromptCollator(processor)
        self.max_new_tokens, self.batch_size = max_new_tokens, batch_size
        table = rows.rows
        drawn = draw_rows(strata(table), samples, seed)
        self.shown = drawn[:shown]
        self.chosen = drawn[np.lexsort((drawn, rows.image_groups()[drawn]))]
        known = {name: chosen_values(table, name, self.chosen) for name in STRATA}
        self.known = [dict(zip(STRATA, values, strict=True)) for values in zip(*known.values(), strict=True)]
        turns = [last_turn(rows, int(row)) for row in self.chosen]
        self.questions, self.references = [question for question, _ in turns], [answer for _, answer in turns]
        self.answers: list[Answer] = []

    def __call__(self, model: Any, accelerator: Any) -> dict[str, float]:
        """The scores of the model's answers, the same on all processes; `answers` are those to show.

        The model is left in its mode and the random numbers as they were: the losses that follow do not depend on it.
        To be called by all processes.

        Returns:
            `bleu`, `bleu_1`, `exact_match`, `accuracy`, `accuracy_open`, `accuracy_closed`, and the same by language.
        """
        if not len(self.chosen):
            return {}
        texts = self.generate(accelerator.unwrap_model(model, keep_torch_compile=False), accelerator)
        scores = self.scores(texts)
        columns = zip(self.chosen.tolist(), self.questions, self.references, texts, self.known, strict=True)
        found = {row: Answer(row, *said, **known) for row, *said, known in columns}
        self.answers = [found[row] for row in self.shown.tolist()]
        return scores

    def scores(self, texts: list[str]) -> dict[str, float]:
        """The scores of answers to all chosen rows, in their order: what a call returns. Raises as `score_answers`."""
        languages, kinds = ([known[name] for known in self.known] for name in ("language", "answer_type"))
        scores, _ = score_answers(texts, self.references, languages if all(languages) else None, kinds)
        return {name: value for name, value in scores.items() if not name.startswith(("num_", *NO_SCORES))}

    def generate(self, model: Any, accelerator: Any) -> list[str]:
        """The answers to all chosen rows, each process doing its share of the batches."""
        starts = range(0, len(self.chosen), self.batch_size)
        rounds = -(-len(starts) // world_size())
        mine: dict[int, str] = {}
        with answering(model), accelerator.autocast():
            for number in range(rounds):
                # Where weights are split, every process takes part in every round: one without a batch repeats one.
                start = starts[min(number * world_size() + rank(), len(starts) - 1)]
                batch = self.chosen[start : start + self.batch_size].tolist()
                mine |= zip(batch, self.answer(model, batch, accelerator.device), strict=True)
        if world_size() == 1:
            return [mine[row] for row in self.chosen.tolist()]
        gathered: list[Any] = [None] * world_size()
        dist.all_gather_object(gathered, mine)
        merged = {row: text for part in reversed(gathered) for row, text in part.items()}
        return [merged[row] for row in self.chosen.tolist()]

    def answer(self, model: Any, batch: list[int], device: torch.device) -> list[str]:
        """The answers to some rows, by their numbers."""
        inputs = self.collator(self.rows.__getitems__(batch))
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        inputs = unpack_tiles(inputs, self.processor.image_processor)
        return answer_texts(model, self.processor, inputs, self.max_new_tokens)


@contextmanager
def answering(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode, with which activation checkpointing is off; afterwards each module is in its own.

    Greedy answers draw no random numbers. That nothing else does is made sure of: dropout would go another way.
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
    """The question that a row's prompt ends with, and its answer: the last that `--max_seq_length` leaves of it."""
    messages = rows.rows.select_columns(["messages"])[row]["messages"]
    answered = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    place = answered[-1 - int(rows.chats.dropped_turns[row])]
    return messages[place - 1]["content"], messages[place]["content"].strip()


def strata(table: Any) -> np.ndarray:
    """`[rows]` int64, equal where rows share source, language and kind of question."""
    columns = [table[name][:] for name in STRATA if name in table.column_names]
    keys = list(zip(*columns, strict=True)) if columns else [()] * len(table)
    names = {key: place for place, key in enumerate(sorted(set(keys), key=repr))}
    return np.array([names[key] for key in keys], dtype=np.int64)


def chosen_values(table: Any, name: str, rows: np.ndarray) -> list[str]:
    """A column's values of some rows, "" where there is none."""
    if name not in table.column_names:
        return [""] * len(rows)
    return [value or "" for value in table.select_columns([name])[rows.tolist()][name]]


def draw_rows(groups: Sequence[int] | np.ndarray, samples: int, seed: int) -> np.ndarray:
    """At most `samples` rows, from every group its share and, where there are enough, at least one.

    Args:
        groups: `[rows]` int64, from 0 on without a gap.

    Returns:
        their numbers, int64, so ordered that every stretch of them is spread over the groups as well as can be.
    """
    groups = np.asarray(groups, dtype=np.int64)
    samples = min(samples, len(groups))
    if not samples:
        return np.zeros(0, np.int64)
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, len(groups)])))
    sizes = np.bincount(groups)
    counts = shares(sizes, samples)
    places, rows = [], []
    for group in np.flatnonzero(counts):
        members = random.permutation(np.flatnonzero(groups == group))[: counts[group]]
        rows.append(members)
        places.append(np.arange(counts[group]) * len(sizes) + group)  # one of each group, then the second of each
    return np.concatenate(rows)[np.argsort(np.concatenate(places), kind="stable")]


def shares(sizes: np.ndarray, samples: int) -> np.ndarray:
    """How many of `samples` fall to groups of these sizes: in proportion, by largest remainders, none left empty."""
    exact = sizes * samples / sizes.sum()
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")  # the largest remainder first
    counts[order[: samples - counts.sum()]] += 1
    for group in np.flatnonzero((counts == 0) & (sizes > 0)):
        if counts.max() < 2:
            break
        counts[np.argmax(counts)] -= 1
        counts[group] = 1
    return counts
