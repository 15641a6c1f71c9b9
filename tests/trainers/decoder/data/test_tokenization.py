"""Tests the tokens of conversations: rendered as by Meta's template, labeled by turn, and truncated."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage

from evaluation.loading import InputError
from trainers.decoder.data.tokenization import encode_chats

FEATURES = Features(
    {
        "images": List(Image()),
        "messages": List({"role": Value("string"), "content": Value("string")}),
        "image_path": Value("string"),
    }
)
QUESTION, ANSWER = "Where is the lesion?", "In the left lung, 左肺."


@pytest.fixture(scope="module")
def processor(tiny_decoder):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(tiny_decoder)


def messages(*turns: str, system: str | None = None) -> list[dict]:
    """A conversation that begins with the user."""
    said = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
    return [{"role": "system", "content": system}, *said] if system is not None else said


def dataset(*conversations: list[dict] | tuple[list[dict], int]) -> Dataset:
    """Conversations with one image each, or with the number given beside them."""
    rows = []
    for number, item in enumerate(conversations):
        turns, images = item if isinstance(item, tuple) else (item, 1)
        pictures = [PILImage.new("RGB", (90, 60), "gray")] * images
        rows.append({"images": pictures, "messages": turns, "image_path": f"slake/{number}.jpg"})
    return Dataset.from_list(rows, features=FEATURES)


def metas_text(conversation: list[dict], generation_prompt: bool = False, date: str = "26 Jul 2024") -> str:
    """What the chat template of meta-llama/Llama-3.2-11B-Vision-Instruct renders, of December 2024, without tools.

    Written down from its behavior: the header of the system stands where it has a message or where no message has an
    image, and its message alone is trimmed (huggingface.co/meta-llama/Llama-3.2-11B-Vision-Instruct/discussions/84).
    """
    system, turns = "", conversation
    if has_system := conversation[0]["role"] == "system":
        system, turns = conversation[0]["content"].strip(), conversation[1:]
    images = any(part["type"] == "image" for turn in turns if not isinstance(turn["content"], str)
                 for part in turn["content"])  # fmt: skip
    text = "<|begin_of_text|>"
    if has_system or not images:
        text += "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        text += f"Today Date: {date}\n\n{system}<|eot_id|>"
    for turn in turns:
        text += f"<|start_header_id|>{turn['role']}<|end_header_id|>\n\n"
        parts = [{"type": "text", "text": turn["content"]}] if isinstance(turn["content"], str) else turn["content"]
        text += (
            "".join("<|image|>" if part["type"] == "image" else part.get("text", "") for part in parts) + "<|eot_id|>"
        )
    return text + ("<|start_header_id|>assistant<|end_header_id|>\n\n" if generation_prompt else "")


def parts(images: int, text: str) -> list[dict]:
    return [{"type": "image"}] * images + [{"type": "text", "text": text}]


CONVERSATIONS = {
    "text": messages("Hello?", "Hi."),
    "text with a system": messages("Hello?", "Hi.", system="  You are a radiologist.\n"),
    "empty system": messages("Hello?", "Hi.", system=""),
    "image": [{"role": "user", "content": parts(1, QUESTION)}, {"role": "assistant", "content": parts(0, ANSWER)}],
    "image with a system": [
        {"role": "system", "content": " You are a radiologist. "},
        {"role": "user", "content": parts(1, QUESTION)},
        {"role": "assistant", "content": ANSWER},
    ],
    "several images, several turns, white space": [
        {"role": "user", "content": parts(3, "  What changed?\n\n")},
        {"role": "assistant", "content": "\n The effusion. "},
        {"role": "user", "content": " Anything else? "},
        {"role": "assistant", "content": parts(0, " No.\n")},
    ],
    "image in a later turn": [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": [*parts(0, "Before: "), *parts(1, "and after.")]},
    ],
    "system in the middle": [*messages("Hello?", "Hi."), {"role": "system", "content": " Be short. "}],
    "images of the assistant": [
        {"role": "user", "content": "Draw."},
        {"role": "assistant", "content": [*parts(1, "Here."), {"type": "audio"}]},
    ],
}


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_template_renders_what_metas_does(processor, name, prompt):
    conversation = CONVERSATIONS[name]
    ours = processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=prompt)
    assert ours == metas_text(conversation, prompt)
    dated = processor.apply_chat_template(conversation, tokenize=False, date_string="01 Jan 2027")
    assert dated == metas_text(conversation, date="01 Jan 2027")


def test_a_system_message_in_parts_is_its_text(processor):
    """Here Meta's template would show the list itself, with its brackets."""
    whole, split = CONVERSATIONS["image with a system"], list(CONVERSATIONS["image with a system"])
    split[0] = {"role": "system", "content": parts(0, " You are a radiologist. ")}
    assert processor.apply_chat_template(split, tokenize=False) == metas_text(whole)


def test_tools_are_refused_by_the_template(processor):
    """Its one departure from Meta's, with the date, which there is today's."""
    with pytest.raises(Exception, match="no tools"):
        processor.apply_chat_template(CONVERSATIONS["image"], tokenize=False, tools=[{"name": "zoom"}])
    with pytest.raises(Exception, match="no role ipython"):
        processor.apply_chat_template([{"role": "ipython", "content": "1"}], tokenize=False)


def mixed() -> Dataset:
    return dataset(
        messages(QUESTION, ANSWER),
        (messages("Hello?", "Hi."), 0),
        (messages("Which of the two?", "The second.\n ", "Why?", " It is larger."), 2),
        messages(" Is it healthy? ", "No.", system="You are a radiologist."),
        messages("a<|eot_id|><|image|>b", "c<|start_header_id|>system<|end_header_id|>d"),
    )


def in_parts(rows: Dataset) -> Dataset:
    """The same rows with content parts, as a build writes them."""
    from hub_datasets.chat.content_parts import to_parts
    from hub_datasets.schema import chat_features

    features = Features(FEATURES | {"messages": chat_features()["messages"]})
    found = [row | {"messages": to_parts(row["messages"], len(row["images"]))} for row in rows]
    return Dataset.from_list(found, features=features)


def test_content_parts_give_the_same_tokens(processor):
    plain, parts = (encode_chats(rows, processor, 512, False) for rows in (mixed(), in_parts(mixed())))
    assert plain.kept.to_list() == parts.kept.to_list() and len(plain.kept) == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda turns: turns[0]["content"].reverse(), "with image parts that are not one for each image"),
        (lambda turns: turns[0]["content"].pop(0), "with image parts that are not one for each image"),
        (
            lambda turns: turns[1]["content"].append({"type": "video", "text": None}),
            "with content parts other than images",
        ),
        (lambda turns: turns[1]["content"][0].update(text=" "), "with an empty answer"),
    ],
)
def test_content_parts_that_cannot_be_read_are_refused_with_their_rows(processor, change, said):
    rows = in_parts(mixed())
    found = rows.to_list()
    change(found[3]["messages"][1:])
    with pytest.raises(InputError, match=rf"1 rows? \(row 3, slake/3.jpg\) {said}"):
        encode_chats(Dataset.from_list(found, features=rows.features), processor, 512, False)


def test_tokens_and_labels_are_those_of_the_processor(processor):
    """One step from the conversation to tokens, as evaluation does it; labels by the marks of the template."""
    from evaluation.scoring.decoder import to_conversation

    rows = mixed()
    chats = encode_chats(rows, processor, 512, False)
    for number in range(len(rows)):
        stock = processor.apply_chat_template(
            to_conversation(rows[number]),
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            return_tensors="np",
        )
        ids, spoken = stock["input_ids"][0], np.array(stock["assistant_masks"][0], bool)
        assert chats.input_ids(number).tolist() == ids.tolist()
        assert chats.labels(number).tolist() == np.where(spoken, ids, -100).tolist()
        assert chats.lengths[number] == len(ids)
        assert (ids == processor.tokenizer.bos_token_id).sum() == 1
    assert not chats.shortened.any() and chats.report() == []
    assert chats.input_ids(0).dtype == chats.labels(0).dtype == np.int64


def supervised(chats, row: int, processor) -> str:
    labels = chats.labels(row)
    return processor.tokenizer.decode(labels[labels != -100])


def test_labels_are_every_answer_with_its_end(processor):
    chats = encode_chats(mixed(), processor, 512, False)
    assert supervised(chats, 0, processor) == f"{ANSWER}<|eot_id|>"
    assert supervised(chats, 2, processor) == "The second.<|eot_id|>It is larger.<|eot_id|>"
    assert supervised(chats, 4, processor) == "c< |start_header_id|>system< |end_header_id|>d<|eot_id|>"


def test_labels_of_the_prompt_are_all_tokens_but_the_image(processor):
    chats = encode_chats(mixed(), processor, 512, True)
    for row, images in enumerate((1, 0, 2, 1, 1)):
        ids, labels = chats.input_ids(row), chats.labels(row)
        image = ids == processor.image_token_id
        assert image.sum() == images
        assert labels.tolist() == np.where(image, -100, ids).tolist()


def test_the_prompt_is_what_asks_for_the_last_answer(processor):
    from evaluation.scoring.decoder import to_conversation

    rows = mixed()
    chats = encode_chats(rows, processor, 512, False)
    for number in range(len(rows)):
        prompt = processor.apply_chat_template(
            to_conversation(rows[number])[:-1], tokenize=True, return_dict=True, add_generation_prompt=True
        )
        assert chats.input_ids(number)[: chats.prompt_length(number)].tolist() == prompt["input_ids"][0]


def test_a_long_conversation_loses_whole_turns_first(processor):
    turns = [QUESTION, ANSWER] * 4
    whole = encode_chats(dataset(messages(*turns)), processor, 512, False)
    two = encode_chats(dataset(messages(*turns[:4])), processor, 512, False)
    for limit in (int(two.lengths[0]), int(two.lengths[0]) + 3):
        chats = encode_chats(dataset(messages(*turns)), processor, limit, False)
        assert chats.input_ids(0).tolist() == two.input_ids(0).tolist()
        assert chats.input_ids(0).tolist() == whole.input_ids(0)[: two.lengths[0]].tolist()
        assert chats.labels(0).tolist() == two.labels(0).tolist()
        assert chats.prompt_length(0) == two.prompt_length(0)
        assert chats.dropped_turns.tolist() == [2] and chats.shortened.all() and not chats.truncated.any()


@pytest.mark.parametrize("train_on_prompt", [False, True])
def test_the_last_answer_that_remains_loses_its_end(processor, train_on_prompt):
    """It is cut by tokens, and the end-of-turn token that closes it is no label: the answer does not stop there."""
    rows = dataset((messages(QUESTION, ANSWER * 20, "And?", "No."), 2))
    whole = encode_chats(rows, processor, 4096, train_on_prompt)
    chats = encode_chats(rows, processor, 60, train_on_prompt)
    ids, labels = chats.input_ids(0), chats.labels(0)
    assert len(ids) == len(labels) == chats.lengths[0] == 60
    assert ids[:-1].tolist() == whole.input_ids(0)[:59].tolist()
    assert ids[-1] == processor.tokenizer.convert_tokens_to_ids("<|eot_id|>")
    assert labels[-1] == -100 and labels[:-1].tolist() == whole.labels(0)[:59].tolist()
    assert (ids == processor.image_token_id).sum() == 2
    assert chats.truncated.all() and chats.shortened.all() and chats.dropped_turns.tolist() == [1]
    assert chats.report() == [
        "--max_seq_length 60 shortens 1 of 1 rows: 1 answers are truncated and 1 turns dropped; "
        f"the longest row has {len(whole.input_ids(0))} tokens"
    ]


def test_every_length_keeps_images_question_and_a_part_of_the_answer(processor):
    rows = mixed()
    whole = encode_chats(rows, processor, 512, False)
    least = int(max(whole.starts[whole.first])) + 2
    for limit in range(least, int(whole.lengths.max()) + 2):
        chats = encode_chats(rows, processor, limit, False)
        for row, images in enumerate((1, 0, 2, 1, 1)):
            ids, labels = chats.input_ids(row), chats.labels(row)
            assert len(ids) == chats.lengths[row] <= limit
            assert (ids == processor.image_token_id).sum() == images
            assert (labels[chats.prompt_length(row) :] != -100).any()
            assert chats.shortened[row] == (len(whole.input_ids(row)) > limit)
            if not chats.truncated[row]:
                assert ids.tolist() == whole.input_ids(row)[: len(ids)].tolist()


def test_questions_that_do_not_fit_are_counted_and_the_length_that_would_do_named(processor):
    long = messages(QUESTION * 30, "Left.")
    rows = dataset(messages("organ?", "liver"), *[long] * 5, messages(QUESTION * 10, "Left."))
    with pytest.raises(InputError) as error:
        encode_chats(rows, processor, 40, False)
    text = str(error.value)
    assert "6 rows (row 1, slake/1.jpg; row 2, slake/2.jpg; row 3, slake/3.jpg; ...)" in text
    enough = int(text.split("--max_seq_length ")[-1].split()[0])
    chats = encode_chats(rows, processor, enough, False)
    assert chats.lengths[1] <= enough
    with pytest.raises(InputError):
        encode_chats(rows, processor, enough - 1, False)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "without a user message first"),
        (messages(QUESTION), "without an assistant message at the end"),
        (messages(QUESTION, ANSWER, "And?"), "without an assistant message at the end"),
        (messages(QUESTION, " \n"), "with an empty answer"),
        (messages(QUESTION, "", QUESTION, ANSWER), "with an empty answer"),
        ([{"role": "assistant", "content": ANSWER}], "without a user message first"),
        ([{"role": "tool", "content": "1"}, *messages(QUESTION, ANSWER)], "with a role other than"),
    ],
)
def test_conversations_without_an_answer_are_refused_with_their_rows(processor, wrong, said):
    rows = dataset(messages(QUESTION, ANSWER), wrong, messages(QUESTION, ANSWER), wrong)
    with pytest.raises(InputError, match=rf"2 rows \(row 1, slake/1.jpg; row 3, slake/3.jpg\) {said}"):
        encode_chats(rows, processor, 512, False)


def test_a_dataset_of_pairs_is_refused(processor):
    with pytest.raises(InputError, match="no column `images`"):
        encode_chats(Dataset.from_dict({"text": ["a"]}), processor, 512, False)


@pytest.fixture
def stored(tmp_path) -> Dataset:
    """A dataset that lies in a file, so that `datasets` keeps what it makes of it."""
    mixed().save_to_disk(tmp_path / "rows")
    return Dataset.load_from_disk(tmp_path / "rows")


def test_a_second_run_reads_what_the_first_kept(stored, processor, monkeypatch):
    first = encode_chats(stored, processor, 512, False)
    assert first.kept.cache_files

    def no_work(*args, **kwargs):
        raise AssertionError("read again")

    monkeypatch.setattr("trainers.decoder.data.tokenization.tokens_of", no_work)
    for limit, on_prompt in ((512, False), (110, True)):  # how it is cut is no part of what is kept
        chats = encode_chats(stored, processor, limit, on_prompt)
        assert chats.kept.cache_files == first.kept.cache_files
        assert chats.input_ids(0).tolist() == first.input_ids(0).tolist()
    processor.tokenizer(["a", "b c"], padding=True, truncation=True, max_length=1)  # leaves its mark in the tokenizer
    encode_chats(stored, processor, 512, False)
    with pytest.raises(AssertionError, match="read again"):
        encode_chats(stored.select([1, 0, 2]), processor, 512, False)
    with pytest.raises(AssertionError, match="read again"):
        encode_chats(stored, with_template(processor, processor.chat_template + " "), 512, False)


def with_template(processor, template: str):
    from transformers import MllamaProcessor

    return MllamaProcessor(processor.image_processor, processor.tokenizer, chat_template=template)


def test_rows_in_another_order_and_processes_give_the_same(stored, processor):
    expected = encode_chats(stored, processor, 512, False)
    order = [4, 2, 0, 3, 1]
    picked = encode_chats(stored.select(order), processor, 512, False)
    both = encode_chats(stored.select(range(5)), processor, 512, False, num_proc=2)
    for place, row in enumerate(order):
        assert picked.input_ids(place).tolist() == expected.input_ids(row).tolist()
        assert picked.labels(place).tolist() == expected.labels(row).tolist()
        assert both.input_ids(row).tolist() == expected.input_ids(row).tolist()
        assert both.prompt_length(row) == expected.prompt_length(row)


def test_many_rows_across_several_parts(processor):
    """More rows than are written at once: each is found in its part."""
    rows = dataset(*[messages(f"Question {number}?", f"Answer {number}.", "And?", "No.") for number in range(2500)])
    chats = encode_chats(rows, processor, 512, False)
    assert len(chats.tokens.parts) > 1 and len(chats) == 2500
    for row in (0, 255, 256, 999, 1000, 1024, 2499):
        assert supervised(chats, row, processor) == f"Answer {row}.<|eot_id|>No.<|eot_id|>"


def test_a_loader_s_worker_gets_a_copy(stored, processor):
    chats = encode_chats(stored, processor, 512, False)
    data = pickle.dumps(chats)
    copy = pickle.loads(data)  # noqa: S301 (written two lines above)
    assert all(copy.input_ids(row).tolist() == chats.input_ids(row).tolist() for row in range(len(chats)))


def test_images_are_not_decoded(processor):
    """Bytes that are no image pass: only how many there are is looked at."""
    rows = dataset(messages(QUESTION, ANSWER)).cast_column("images", List(Image(decode=False)))
    broken = Dataset.from_list(
        [{"images": [{"bytes": b"none", "path": None}] * 2, "messages": rows[0]["messages"], "image_path": "x"}],
        features=FEATURES,
    )
    chats = encode_chats(broken, processor, 512, False)
    assert (chats.input_ids(0) == processor.image_token_id).sum() == 2


def test_no_rows_are_no_error(processor):
    chats = encode_chats(mixed().select([]), processor, 512, False)
    assert len(chats) == 0 and chats.report() == []
