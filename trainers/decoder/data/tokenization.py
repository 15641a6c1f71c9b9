"""Tokenizes conversations and their labels once, caches them beside the dataset, and truncates them when read.

The chat template renders a conversation and the tokenizer encodes it in one step, as in the processor, so that there is
exactly one begin-of-text token; the template's generation marks show which tokens are the assistant's. None of this
depends on `--max_seq_length`: the cache holds complete conversations, without images.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from evaluation.loading import InputError
from evaluation.scoring.decoder import to_turns
from evaluation.scoring.messages import are_images_first, part_types, plain_text
from modeling.mllama.chunked_cross_entropy import IGNORE_INDEX

# Version of the cached columns. It is part of the cache's name: a new version tokenizes all rows again.
VERSION = 1
ROWS_AT_ONCE = 256
# Rows that an error message names.
SHOWN = 3
# What can be wrong with a conversation, by the code in the cached column `fault`; 0 means valid.
FAULTS = {
    1: "without a user message first (after system messages)",
    2: "without an assistant message at the end",
    3: "with an empty answer",
    4: "with a role other than system, user and assistant",
    5: "with content parts other than images and texts",
    6: "with image parts that are not one for each image, all in front of the first question",
}


class ChatTokens:
    """Tokens and labels of all rows, truncated to a length, read from the cache of `datasets` without a copy.

    A conversation longer than `max_length` first loses its last turns (a question with its answer each) while an
    earlier answer remains; then its first answer is truncated. Image tokens and answered questions are never lost. The
    end-of-turn token after a truncated answer is not a label, because the answer does not end there.

    Args:
        kept: the columns that `encode_chats` caches: `tokens`, `starts` and `ends` of the answers, and `fault`.
        rows: the rows of the dataset; error messages name their `image_path`.
        max_length: largest number of tokens per row.
        train_on_prompt: whether all tokens are labels, not only those of answers.
        image_token_id: the token that is never a label.

    Attributes:
        lengths: `[rows]` int64, tokens of each row after truncation.
        shortened: `[rows]` bool, whether the row lost turns or the end of an answer.
        truncated: `[rows]` bool, whether it lost the end of an answer.
        dropped_turns: `[rows]` int64, how many turns it lost.
        starts, ends: `[answers]` int32, the token range of each answer within its row, over all rows.
        first, last: `[rows]` int64, the index in `starts` of the first answer of a row, and of the last that remains.

    Raises:
        InputError: a conversation has no answer, or a question does not fit into `max_length`.
    """

    def __init__(self, kept: Any, rows: Any, max_length: int, train_on_prompt: bool, image_token_id: int) -> None:
        self.kept, self.max_length = kept, max_length
        self.train_on_prompt, self.image_token_id = train_on_prompt, image_token_id
        self.tokens = ListColumn(kept, "tokens")
        self.starts, self.ends = ListColumn(kept, "starts").joined(), ListColumn(kept, "ends").joined()
        check_faults(kept.data.column("fault").to_numpy(), rows)
        answers = self.answer_counts = ListColumn(kept, "ends").lengths()
        self.first = np.cumsum(answers) - answers
        # + 2: at least one token of the answer and the end-of-turn token.
        check_prompt_lengths(self.starts[self.first] + 2, max_length, rows)
        # fitting[a]: how many of the answers before answer a end within max_length; [answers + 1].
        fitting = np.concatenate([[0], np.cumsum(self.ends <= max_length)])
        fits = fitting[self.first + answers] - fitting[self.first]  # [rows]
        remaining = np.maximum(fits, 1)
        self.last = self.first + remaining - 1
        ends = self.ends[self.last].astype(np.int64)
        self.lengths = np.minimum(ends, max_length)
        self.truncated = ends > max_length
        self.dropped_turns = answers - remaining
        self.shortened = self.truncated | (self.dropped_turns > 0)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "tokens"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state, tokens=ListColumn(state["kept"], "tokens"))

    def input_ids(self, row: int) -> np.ndarray:
        """Returns the tokens of a row, `[L]` int64."""
        tokens = self.tokens[row]
        ids = tokens[: self.lengths[row]].astype(np.int64)
        if self.truncated[row]:
            # The end-of-turn token of the answer replaces the last token that fits.
            ids[-1] = tokens[self.ends[self.last[row]] - 1]
        return ids

    def labels(self, row: int) -> np.ndarray:
        """Returns the labels of a row, `[L]` int64, not shifted, IGNORE_INDEX where a token is not a label."""
        ids = self.input_ids(row)
        if self.train_on_prompt:
            ids[ids == self.image_token_id] = IGNORE_INDEX
            labels = ids
        else:
            labels = np.full_like(ids, IGNORE_INDEX)
            for answer in range(self.first[row], self.last[row] + 1):
                span = slice(self.starts[answer], self.ends[answer])
                labels[span] = ids[span]
        if self.truncated[row]:
            labels[-1] = IGNORE_INDEX
        return labels

    def prompt_length(self, row: int) -> int:
        """Returns the number of tokens before the last remaining answer."""
        return int(self.starts[self.last[row]])

    def report(self) -> list[str]:
        """Returns a line on what `--max_seq_length` removed; an empty list if it removed nothing."""
        if not self.shortened.any():
            return []
        rows, answers, turns = (int(values.sum()) for values in (self.shortened, self.truncated, self.dropped_turns))
        longest = int((self.ends[self.first + self.answer_counts - 1]).max())
        return [
            f"--max_seq_length {self.max_length} shortens {rows} of {len(self)} rows: {answers} answers are truncated "
            f"and {turns} turns dropped; the longest row has {longest} tokens"
        ]


class ListColumn:
    """A column of integer lists as NumPy views of its Arrow buffers.

    Attributes:
        parts: by Arrow chunk, (bounds, values): list i of the chunk is `values[bounds[i] : bounds[i + 1]]`.
        starts: `[chunks + 1]` int64, the first row of each chunk.
    """

    def __init__(self, kept: Any, column: str) -> None:
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []
        for chunk in kept.data.column(column).chunks:
            if len(chunk):
                bounds = chunk.offsets.to_numpy().astype(np.int64)
                self.parts.append((bounds, chunk.values.to_numpy(zero_copy_only=True)))
        self.starts = np.cumsum([0] + [len(bounds) - 1 for bounds, _ in self.parts])

    def __getitem__(self, row: int) -> np.ndarray:
        # The chunk that contains the row: the last one that starts at or before it.
        part = int(np.searchsorted(self.starts, row, "right")) - 1
        bounds, values = self.parts[part]
        index = row - self.starts[part]
        return values[bounds[index] : bounds[index + 1]]

    def lengths(self) -> np.ndarray:
        """Returns the length of each list, `[rows]` int64."""
        return np.concatenate([np.zeros(0, np.int64), *(np.diff(bounds) for bounds, _ in self.parts)])

    def joined(self) -> np.ndarray:
        """Returns all values, one row after another, as a copy."""
        parts = [values[bounds[0] : bounds[-1]] for bounds, values in self.parts]
        return np.concatenate([np.zeros(0, np.int32), *parts])


def encode_chats(
    rows: Any, processor: Any, max_length: int, train_on_prompt: bool, num_proc: int | None = None
) -> ChatTokens:
    """Tokenizes the rows of the config `chat`, or reads their tokens from the cache of `datasets`.

    Args:
        rows: a `datasets.Dataset` with the columns `images`, which are not decoded, and `messages`.
        processor: an MllamaProcessor whose chat template has generation marks.
        max_length: largest number of tokens per row.
        train_on_prompt: whether all tokens are labels, not only those of answers.
        num_proc: number of tokenizing processes; None for one.

    Raises:
        InputError: a column is missing, a conversation has no answer, or a question does not fit into `max_length`.
    """
    from datasets import Dataset, Features, List, Value

    if missing := {"images", "messages"} - set(rows.column_names):
        raise InputError(
            f"--dataset: no column `{min(missing)}`; the config `chat` of hub_datasets has images, messages"
        )
    template = processor.chat_template or processor.tokenizer.chat_template
    numbers = List(Value("int32"))
    features = Features({"tokens": numbers, "starts": numbers, "ends": numbers, "fault": Value("int8")})
    if not len(rows):
        # `map` returns an empty dataset unchanged, without the new columns.
        empty = Dataset.from_dict({name: [] for name in features}, features=features)
        return ChatTokens(empty, rows, max_length, train_on_prompt, processor.image_token_id)
    kept = rows.select_columns(["images", "messages"]).with_format("arrow").map(
        encode_batch,
        batched=True,
        batch_size=ROWS_AT_ONCE,
        remove_columns=["images", "messages"],
        features=features,
        fn_kwargs={"tokenizer": processor.tokenizer, "template": template},
        new_fingerprint=fingerprint(rows, processor.tokenizer, template),
        num_proc=num_proc if num_proc and num_proc > 1 else None,
        desc="Reading conversations",
    )  # fmt: skip
    return ChatTokens(kept.with_format(None), rows, max_length, train_on_prompt, processor.image_token_id)


def encode_batch(batch: Any, tokenizer: Any, template: str) -> Any:
    """Converts an Arrow table of rows to one of tokens; of the images it reads only their number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counts = pc.fill_null(pc.list_value_length(batch["images"]), 0).to_pylist()
    messages = batch["messages"].to_pylist()
    faults = [find_fault(conversation, count) for conversation, count in zip(messages, counts, strict=True)]
    turns = [
        to_turns(conversation, [{"type": "image"}] * count)
        for conversation, count, fault in zip(messages, counts, faults, strict=True)
        if not fault
    ]
    encoded = iter(zip(*tokens_of(turns, tokenizer, template), strict=True)) if turns else iter(())
    columns: dict[str, list] = {"tokens": [], "starts": [], "ends": []}
    for fault in faults:
        for column, values in zip(columns.values(), ([], [], []) if fault else next(encoded), strict=True):
            column.append(values)
    numbers = pa.list_(pa.int32())
    return pa.table(
        {name: pa.array(column, numbers) for name, column in columns.items()} | {"fault": pa.array(faults, pa.int8())}
    )


def tokens_of(turns: list[list[dict]], tokenizer: Any, template: str) -> tuple[list, list, list]:
    """Tokenizes conversations.

    Returns:
        the tokens of each, and the starts and ends of its answers: `tokens[start:end]` is an answer with its
        end-of-turn token.
    """
    encoded = tokenizer.apply_chat_template(
        turns,
        chat_template=template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        padding=False,
        truncation=False,
    )
    # The mask is 1 at the assistant's tokens; padded with a 0 on both sides, its difference is 1 at the first token of
    # an answer and -1 after the last.
    edges = [np.diff(np.array([0, *mask, 0], np.int8)) for mask in encoded["assistant_masks"]]
    starts, ends = ([np.flatnonzero(edge == step) for edge in edges] for step in (1, -1))
    return encoded["input_ids"], starts, ends


def find_fault(messages: list[dict], images: int) -> int:
    """Returns what is wrong with a conversation about some images, a key of FAULTS, or 0."""
    roles = [message["role"] for message in messages]
    if not set(roles) <= {"system", "user", "assistant"}:
        return 4
    if next((role for role in roles if role != "system"), "") != "user":
        return 1
    if roles[-1] != "assistant":
        return 2
    if not part_types(messages) <= {"image", "text"}:
        return 5
    if any(not (plain_text(m["content"]) or "").strip() for m in messages if m["role"] == "assistant"):
        return 3
    return 0 if are_images_first(messages, images) else 6


def check_faults(faults: np.ndarray, rows: Any) -> None:
    """Raises InputError if a conversation is invalid.

    Args:
        faults: `[rows]` int8, 0 or a key of FAULTS.
    """
    if not faults.any():
        return
    wrong = [
        f"{list_rows(rows, np.flatnonzero(faults == fault))} {text}"
        for fault, text in FAULTS.items()
        if (faults == fault).any()
    ]
    raise InputError(
        f"--dataset: {'; '.join(wrong)}. A conversation requires questions with answers: fix or remove these rows"
    )


def check_prompt_lengths(needed: np.ndarray, limit: int, rows: Any) -> None:
    """Raises InputError if a first question leaves no room for one answer token and the end-of-turn token.

    Args:
        needed: `[rows]`, the smallest limit for each row, in tokens.
        limit: `--max_seq_length`.
    """
    long = np.flatnonzero(needed > limit)
    if len(long):
        raise InputError(
            f"--max_seq_length {limit}: {list_rows(rows, long)} do not fit, even with one token of an answer. Use at "
            f"least --max_seq_length {needed.max()}"
        )


def list_rows(rows: Any, numbers: np.ndarray) -> str:
    """Returns for example "5 rows (row 3, slake/img1/source.jpg; row 8, ...)"."""
    paths = rows.select(numbers[:SHOWN])["image_path"][:] if "image_path" in rows.column_names else []
    shown = [f"row {number}" for number in numbers[:SHOWN].tolist()]
    if paths:
        shown = [f"{row}, {path}" for row, path in zip(shown, paths, strict=True)]
    more = "; ..." if len(numbers) > SHOWN else ""
    return f"{len(numbers)} row{'s' if len(numbers) > 1 else ''} ({'; '.join(shown)}{more})"


def fingerprint(rows: Any, tokenizer: Any, template: str) -> str:
    """Returns the cache's name, a hash of everything that it depends on: rows, tokenizer, template and VERSION."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    # Calling a tokenizer changes these two settings, which `encode_chats` does not use.
    for setting in ("truncation", "padding"):
        state.pop(setting, None)
    parts = [VERSION, rows._fingerprint, state, template, tokenizer.special_tokens_map]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()
