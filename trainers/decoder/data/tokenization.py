"""Conversations as tokens and labels: read once, kept beside the dataset, and cut to length without their images.

The chat template renders a conversation and the tokenizer reads it in one step, as the processor does it, so that there
is one begin-of-text token; the template's generation marks say which tokens are the assistant's. Nothing of that
depends on `--max_seq_length`: what is kept are whole conversations, and they are cut where they are read.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from evaluation.loading import InputError
from evaluation.scoring.decoder import IGNORED, to_turns

VERSION = 1  # of what is kept: part of the cache's name
ROWS_AT_ONCE = 256
SHOWN = 3  # rows that an error names
# What can be wrong with a conversation, by the number that is kept for it.
FAULTS = {
    1: "begins with no question: after the system's messages comes the user's",
    2: "ends without an answer: its last message is not the assistant's",
    3: "has an empty answer",
    4: "has a role other than system, user and assistant",
}


class ChatTokens:
    """Tokens and labels of all rows, read from the cache of `datasets` without a copy.

    A conversation longer than `max_length` first loses its last turns, each a question with its answer, as long as an
    earlier answer remains; then its first answer loses its end. An image token or a question that is answered is never
    lost. The end-of-turn token after an answer that was cut is no label: the answer does not end there.

    Args:
        kept: what `encode_chats` keeps of the rows: `tokens`, and `starts` and `ends` of the answers in them.
        rows: the rows themselves; an error names their `image_path`.
        max_length: longest row in tokens.
        train_on_prompt: labels are all tokens, not the answers alone; never the image token.
        image_token_id: the token that is never a label.

    Attributes:
        lengths: `[rows]` int64, tokens of each row as it is trained on.
        shortened: `[rows]` bool, whether the row lost turns or the end of an answer.
        cut: `[rows]` bool, whether it lost the end of an answer.
        dropped_turns: `[rows]` int64, how many turns it lost.

    Raises:
        InputError: conversations without an answer, or questions that do not fit `max_length`.
    """

    def __init__(self, kept: Any, rows: Any, max_length: int, train_on_prompt: bool, image_token_id: int) -> None:
        self.kept, self.max_length = kept, max_length
        self.train_on_prompt, self.image_token_id = train_on_prompt, image_token_id
        self.tokens = Lists(kept, "tokens")
        self.starts, self.ends = Lists(kept, "starts").joined(), Lists(kept, "ends").joined()
        refuse_faults(kept.data.column("fault").to_numpy(), rows)
        answers = self.answer_counts = Lists(kept, "ends").lengths()
        self.first = np.cumsum(answers) - answers  # answer of each row
        refuse_long_prompts(self.starts[self.first] + 2, max_length, rows)
        fitting = np.concatenate([[0], np.cumsum(self.ends <= max_length)])
        fits = fitting[self.first + answers] - fitting[self.first]
        remaining = np.maximum(fits, 1)
        self.last = self.first + remaining - 1  # answer that remains of each row
        ends = self.ends[self.last].astype(np.int64)
        self.lengths = np.minimum(ends, max_length)
        self.cut = ends > max_length
        self.dropped_turns = answers - remaining
        self.shortened = self.cut | (self.dropped_turns > 0)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "tokens"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state, tokens=Lists(state["kept"], "tokens"))

    def input_ids(self, row: int) -> np.ndarray:
        """`[L]` int64."""
        tokens = self.tokens[row]
        ids = tokens[: self.lengths[row]].astype(np.int64)
        if self.cut[row]:
            ids[-1] = tokens[self.ends[self.last[row]] - 1]  # the end-of-turn token takes the last place
        return ids

    def labels(self, row: int) -> np.ndarray:
        """`[L]` int64, not shifted, -100 where there is nothing to learn."""
        ids = self.input_ids(row)
        if self.train_on_prompt:
            ids[ids == self.image_token_id] = IGNORED
            labels = ids
        else:
            labels = np.full_like(ids, IGNORED)
            for answer in range(self.first[row], self.last[row] + 1):
                span = slice(self.starts[answer], self.ends[answer])
                labels[span] = ids[span]
        if self.cut[row]:
            labels[-1] = IGNORED
        return labels

    def prompt_length(self, row: int) -> int:
        """Tokens before the last answer that remains: those of the prompt that asks for it."""
        return int(self.starts[self.last[row]])

    def report(self) -> list[str]:
        """What `--max_seq_length` cost, in one line; none where nothing was lost."""
        if not self.shortened.any():
            return []
        rows, cut, turns = int(self.shortened.sum()), int(self.cut.sum()), int(self.dropped_turns.sum())
        whole = int((self.ends[self.first + self.answer_counts - 1]).max())
        return [
            f"--max_seq_length {self.max_length} shortens {rows} of {len(self)} rows: {cut} lose the end of an answer, "
            f"and {turns} turns are left out; {whole} would keep everything"
        ]


class Lists:
    """A column of integer lists as numpy views of its Arrow buffers."""

    def __init__(self, kept: Any, column: str) -> None:
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []  # (bounds, values) of each chunk
        for chunk in kept.data.column(column).chunks:
            if len(chunk):
                bounds = chunk.offsets.to_numpy().astype(np.int64)
                self.parts.append((bounds, chunk.values.to_numpy(zero_copy_only=True)))
        self.starts = np.cumsum([0] + [len(bounds) - 1 for bounds, _ in self.parts])  # first row of each chunk

    def __getitem__(self, row: int) -> np.ndarray:
        part = int(np.searchsorted(self.starts, row, "right")) - 1
        bounds, values = self.parts[part]
        at = row - self.starts[part]
        return values[bounds[at] : bounds[at + 1]]

    def lengths(self) -> np.ndarray:
        """`[rows]` int64."""
        return np.concatenate([np.zeros(0, np.int64), *(np.diff(bounds) for bounds, _ in self.parts)])

    def joined(self) -> np.ndarray:
        """All values, one row after the other, copied."""
        parts = [values[bounds[0] : bounds[-1]] for bounds, values in self.parts]
        return np.concatenate([np.zeros(0, np.int32), *parts])


def encode_chats(
    rows: Any, processor: Any, max_length: int, train_on_prompt: bool, num_proc: int | None = None
) -> ChatTokens:
    """Tokens and labels of the rows of the config `chat`; what was read before comes from the cache of `datasets`.

    Args:
        rows: a `datasets.Dataset` with the columns `images`, which are not decoded, and `messages`.
        processor: an MllamaProcessor whose chat template has generation marks.
        max_length: longest row in tokens.
        train_on_prompt: labels are all tokens, not the answers alone.
        num_proc: processes that read the conversations; one unless given.

    Raises:
        InputError: the columns are missing, conversations have no answer, or questions do not fit `max_length`.
    """
    from datasets import Dataset, Features, List, Value

    if missing := {"images", "messages"} - set(rows.column_names):
        raise InputError(
            f"--dataset: no column `{min(missing)}`; the config `chat` of hub_datasets has images, messages"
        )
    template = processor.chat_template or processor.tokenizer.chat_template
    numbers = List(Value("int32"))
    features = Features({"tokens": numbers, "starts": numbers, "ends": numbers, "fault": Value("int8")})
    if not len(rows):  # `map` would return them as they are
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
    """A table of rows as a table of tokens; of the images only their number is read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counts = pc.fill_null(pc.list_value_length(batch["images"]), 0).to_pylist()
    messages = batch["messages"].to_pylist()
    faults = [fault_of(conversation) for conversation in messages]
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
    """(tokens, starts, ends) of conversations: an answer with its end of turn is `tokens[start:end]`."""
    encoded = tokenizer.apply_chat_template(
        turns,
        chat_template=template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        padding=False,
        truncation=False,
    )
    edges = [np.diff(np.array([0, *mask, 0], np.int8)) for mask in encoded["assistant_masks"]]
    starts, ends = ([np.flatnonzero(edge == step) for edge in edges] for step in (1, -1))
    return encoded["input_ids"], starts, ends


def fault_of(messages: list[dict]) -> int:
    """What of FAULTS is wrong with a conversation, 0 where nothing is."""
    roles = [message["role"] for message in messages]
    if not set(roles) <= {"system", "user", "assistant"}:
        return 4
    if next((role for role in roles if role != "system"), "") != "user":
        return 1
    if roles[-1] != "assistant":
        return 2
    if any(not (message["content"] or "").strip() for message in messages if message["role"] == "assistant"):
        return 3
    return 0


def refuse_faults(faults: np.ndarray, rows: Any) -> None:
    """Raises InputError where a conversation cannot be trained on."""
    if not faults.any():
        return
    wrong = [
        f"{named(rows, np.flatnonzero(faults == fault))} {text}"
        for fault, text in FAULTS.items()
        if (faults == fault).any()
    ]
    raise InputError(f"--dataset: {'; '.join(wrong)}. Each conversation needs questions with answers: leave it out")


def refuse_long_prompts(needed: np.ndarray, limit: int, rows: Any) -> None:
    """Raises InputError where a first question leaves no room for a token of its answer and the end of its turn."""
    long = np.flatnonzero(needed > limit)
    if len(long):
        raise InputError(
            f"--max_seq_length {limit}: {named(rows, long)} do not fit, even with one token of an answer; "
            f"--max_seq_length {needed.max()} would do"
        )


def named(rows: Any, numbers: np.ndarray) -> str:
    """ "5 rows (row 3, slake/img1/source.jpg; row 8, ...)"."""
    paths = rows.select(numbers[:SHOWN])["image_path"][:] if "image_path" in rows.column_names else []
    shown = [f"row {number}" for number in numbers[:SHOWN].tolist()]
    if paths:
        shown = [f"{row}, {path}" for row, path in zip(shown, paths, strict=True)]
    more = "; ..." if len(numbers) > SHOWN else ""
    return f"{len(numbers)} row{'s' if len(numbers) > 1 else ''} ({'; '.join(shown)}{more})"


def fingerprint(rows: Any, tokenizer: Any, template: str) -> str:
    """Names the cache by all that it depends on: the rows, the tokenizer, the template, the version of this file."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for changed_by_use in ("truncation", "padding"):
        state.pop(changed_by_use, None)
    said = [VERSION, rows._fingerprint, state, template, tokenizer.special_tokens_map]
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=8).hexdigest()
