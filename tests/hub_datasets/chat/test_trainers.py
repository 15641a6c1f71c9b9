"""Checks rows of the config `chat`, read back from Parquet, in the collators of other trainers.

TRL and chat templates use `messages`. LLaMA-Factory requires marks for the images in the text and uses
`marked_messages`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from hub_datasets.chat.content_parts import to_parts
from hub_datasets.chat.conversations import make_conversation
from hub_datasets.chat.llama_factory import mark_images, write_llama_factory_info
from hub_datasets.records import RawRecord
from hub_datasets.schema import chat_features
from tests.hub_datasets.layouts import encoded, picture

SYSTEM = "You are a careful assistant for medical images."


def record(n: int, language: str = "en", **said) -> RawRecord:
    return RawRecord("test", f"row {n}", f"{n}.png", "report", language, **said)


# (records of one conversation, kind, system prompt, images)
CONVERSATIONS = {
    "one image": ([record(0, text="Knee X-ray, Kellgren-Lawrence grade 0.")], "radiograph", "", 1),
    "Chinese, with a system prompt": ([record(1, "zh", text="双肺清晰，未见异常。")], "report", SYSTEM, 1),
    "several turns": (
        [record(2, question=f"Question {n}?", answer=answer) for n, answer in enumerate(("No", "42", "null", "true"))],
        "question_answering",
        "",
        1,
    ),
    "several images": ([record(n, text="No effusion.", conversation="s1") for n in (3, 4, 5)], "report", SYSTEM, 3),
    "Chinese, several turns": (
        [record(6, "zh", question=f"问题{n}?", answer=answer) for n, answer in enumerate(("是的", "2", "左肺, 右侧"))],
        "question_answering",
        SYSTEM,
        1,
    ),
    "Chinese, two images": ([record(n, "zh", text="未见异常。", conversation="s2") for n in (7, 8)], "report", "", 2),
}
NAMES = list(CONVERSATIONS)
IMAGES = [images for *_, images in CONVERSATIONS.values()]


def image_bytes(n: int) -> bytes:
    """A gray PNG, a color PNG or a JPEG, of a size of its own."""
    mode, format = (("L", "PNG"), ("RGB", "PNG"), ("RGB", "JPEG"))[n % 3]
    return encoded(picture(n, mode, (90 + 30 * n, 60)), format)


@pytest.fixture(scope="module")
def parquet_folder(tmp_path_factory) -> Path:
    """Where the rows lie, as a build writes them."""
    return tmp_path_factory.mktemp("published")


@pytest.fixture(scope="module")
def rows(parquet_folder):
    """The conversations as a dataset that `load_dataset` has read from Parquet."""
    from datasets import Dataset, load_dataset

    features = chat_features()
    made = []
    for number, (records, kind, system_prompt, _) in enumerate(CONVERSATIONS.values()):
        names = dict.fromkeys(record.image for record in records)
        images = [{"bytes": image_bytes(3 * number + n), "path": name} for n, name in enumerate(names)]
        row = dict.fromkeys(features, "") | {"images": images, "metadata": json.dumps({"item": records[0].item})}
        row |= make_conversation(records, kind, system_prompt)
        plain = row["messages"]
        row |= {"messages": to_parts(plain, len(images)), "plain_messages": plain}
        made.append(row | {"marked_messages": mark_images(plain, len(images))})
    file = parquet_folder / "chat" / "train-00000-of-00001.parquet"
    file.parent.mkdir()
    Dataset.from_list(made, features=features).to_parquet(file)
    return load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(parquet_folder / "cache"))


@pytest.fixture(scope="module")
def checkpoint(rows, tmp_path_factory) -> Path:
    from modeling.tiny_checkpoints import write_tiny_decoder
    from trainers.decoder.data.collator import CHAT_TEMPLATE

    folder = tmp_path_factory.mktemp("decoder")
    texts = [turn["content"] for messages in rows["plain_messages"] for turn in messages]
    write_tiny_decoder(folder, texts, CHAT_TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def processor(checkpoint):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def collate(processor):
    """`collate(rows, **options)`: a batch as TRL's SFTTrainer makes it."""
    pytest.importorskip("trl", reason="TRL is not installed: pip install 'medpairs[dev]'")
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    def batch(rows, **options):
        return DataCollatorForVisionLanguageModeling(processor, **options)(list(rows))

    return batch


def rendered(row: dict) -> str:
    """A row as Llama 3.2 Vision reads it, put together by hand."""
    text, images = "<|begin_of_text|>", "<|image|>" * len(row["images"])
    for turn in row["plain_messages"]:
        text += f"<|start_header_id|>{turn['role']}<|end_header_id|>\n\n"
        if turn["role"] == "system":
            text += "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
        if turn["role"] == "user":
            text, images = text + images, ""
        text += turn["content"] + "<|eot_id|>"
    return text


def tokens(batch, index: int) -> list[int]:
    return batch["input_ids"][index][batch["attention_mask"][index] == 1].tolist()


def test_the_rows_hold_what_they_are_said_to_hold(rows):
    assert rows.features == chat_features()
    assert [len(row["images"]) for row in rows] == IMAGES
    roles = [[turn["role"] for turn in messages] for messages in rows["plain_messages"]]
    turn = ["user", "assistant"]
    assert roles == [turn, ["system", *turn], turn * 4, ["system", *turn], ["system", *turn * 3], turn]
    assert rows[2]["plain_messages"][3]["content"] == "42", "a text, not a number"
    assert rows[2]["messages"][3] == {"role": "assistant", "content": [{"type": "text", "text": "42"}]}
    image, text = rows[2]["messages"][0]["content"]
    assert (image, text) == ({"type": "image", "text": None}, {"type": "text", "text": "Question 0?"})


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_a_chat_template_reads_the_messages_as_they_are(rows, processor, index):
    """One image token for each image, and every word, without a conversion."""
    template = processor.chat_template
    text = processor.apply_chat_template(rows[index]["messages"], chat_template=template)
    assert text == rendered(rows[index]) and text.count("<|image|>") == IMAGES[index]


# As in the chat templates of SmolVLM and Idefics, Qwen2-VL and LLaVA: which parts are images for them, and which texts.
TEMPLATES = {
    "smolvlm": "{% for message in messages %}{{message['role']}}{% if message['content'][0]['type'] == 'image' %}"
    "{{':'}}{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}"
    "{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end>{% endfor %}",
    "qwen": "{% for message in messages %}{{message['role']}}:{% if message['content'] is string %}"
    "{{message['content']}}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or "
    "'image' in content or 'image_url' in content %}<image>{% elif 'text' in content %}{{content['text']}}{% endif %}"
    "{% endfor %}{% endif %}<end>{% endfor %}",
    "llava": "{% for message in messages %}{{message['role']}}:{% for content in message['content'] | "
    "selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}{% for content in message['content'] | "
    "selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}<end>{% endfor %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_other_models_templates_give_an_image_token_for_each_image_part(rows, processor, name):
    for row, images in zip(rows, IMAGES, strict=True):
        text = processor.apply_chat_template(row["messages"], chat_template=TEMPLATES[name])
        turns = [turn for turn in text.split("<end>") if turn]
        assert text.count("<image>") == images and "None" not in text
        assert [turn.split(":", 1)[1].replace("<image>", "").strip() for turn in turns] == [
            turn["content"].strip() for turn in row["plain_messages"]
        ]


def test_trl_makes_one_batch_of_all_rows(rows, collate):
    batch = collate(rows)
    length = batch["input_ids"].shape[1]
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "pixel_values": (6, 3, 4, 3, 64, 64),
        "aspect_ratio_ids": (6, 3),
        "aspect_ratio_mask": (6, 3, 4),
        "cross_attention_mask": (6, length, 3, 4),
        "input_ids": (6, length),
        "attention_mask": (6, length),
        "labels": (6, length),
    }


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_trl_reads_every_word_and_every_image(rows, collate, processor, index):
    batch = collate(rows)
    assert processor.tokenizer.decode(tokens(batch, index)) == rendered(rows[index])
    assert tokens(batch, index).count(processor.image_token_id) == IMAGES[index]
    seen = batch["pixel_values"][index].flatten(1).abs().sum(1) > 0
    assert seen.tolist() == [n < IMAGES[index] for n in range(3)]
    attended = batch["cross_attention_mask"][index].sum(dim=(0, 2)) > 0
    assert attended.tolist() == seen.tolist()


def test_trl_s_labels_are_the_tokens_without_the_padding(rows, collate):
    batch = collate(rows)
    assert batch["labels"].equal(batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100))


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_trl_s_labels_are_the_answers_with_assistant_only_loss(rows, collate, processor, index):
    labels = collate(rows, assistant_only_loss=True)["labels"][index]
    turns = rows[index]["plain_messages"]
    answers = [turn["content"] + "<|eot_id|>" for turn in turns if turn["role"] == "assistant"]
    assert processor.tokenizer.decode(labels[labels != -100]) == "".join(answers)


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_a_row_in_trl_s_batch_is_the_row_alone(rows, collate, index):
    batch, alone = collate(rows), collate([rows[index]])
    assert tokens(batch, index) == tokens(alone, 0)
    assert batch["pixel_values"][index, : IMAGES[index]].equal(alone["pixel_values"][0])


def test_trl_s_trainer_trains_on_the_rows(rows, checkpoint, processor, tmp_path):
    pytest.importorskip("trl", reason="TRL is not installed: pip install 'medpairs[dev]'")
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(
        str(tmp_path), max_steps=2, per_device_train_batch_size=3, max_length=None, assistant_only_loss=True,
        report_to="none", use_cpu=True, bf16=False, save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    trainer = SFTTrainer(str(checkpoint), config, train_dataset=rows, processing_class=processor)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and all(math.isfinite(loss) and loss > 0 for loss in losses)


@pytest.fixture(scope="module")
def llama_factory_folder(rows, parquet_folder) -> Path:
    """`dataset_info.json` beside the Parquet: a `dataset_dir`."""
    write_llama_factory_info(parquet_folder / "llama_factory" / "dataset_info.json", {"train": 1})
    return parquet_folder / "llama_factory"


def test_rows_for_llama_factory_keep_its_rules(rows, llama_factory_folder):
    """As its data/README.md has them: columns and tags that exist, system first, then question and answer in turn,
    and as many marks as images."""
    (entry,) = json.loads((llama_factory_folder / "dataset_info.json").read_text()).values()
    columns, tags = entry["columns"], entry["tags"]
    assert (llama_factory_folder / entry["file_name"]).is_file() and set(columns.values()) <= set(rows.column_names)
    for row in rows:
        turns = row[columns["messages"]]
        roles = [turn[tags["role_tag"]] for turn in turns]
        spoken = roles[1:] if roles[0] == tags["system_tag"] else roles
        assert spoken == [tags["user_tag"], tags["assistant_tag"]] * (len(spoken) // 2) != []
        texts = [turn[tags["content_tag"]] for turn in turns]
        assert "".join(texts).count("<image>") == len(row[columns["images"]])
        assert [text.removeprefix("<image>" * len(row["images"])) for text in texts] == [
            turn["content"] for turn in row["plain_messages"]
        ]


@pytest.fixture(scope="module")
def llama_factory():
    reason = "LLaMA-Factory is not installed; it needs older versions of transformers and datasets than medpairs"
    return pytest.importorskip("llamafactory.data", reason=reason)


def test_llama_factory_converts_the_rows(rows, llama_factory_folder, llama_factory, processor):
    from datasets import load_dataset
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.mm_plugin import get_mm_plugin
    from llamafactory.data.parser import get_dataset_list

    (attributes,) = get_dataset_list(["chat_train_0"], str(llama_factory_folder))
    settings = SimpleNamespace(media_dir=str(llama_factory_folder))
    convert = get_dataset_converter(attributes.formatting, attributes, settings)
    plugin = get_mm_plugin("mllama", image_token="<|image|>")
    file = str(llama_factory_folder / attributes.dataset_name)
    lines = load_dataset("parquet", data_files=file, split="train", cache_dir=str(llama_factory_folder / "cache"))
    for row, line in zip(rows, lines, strict=True):
        made = convert(line)
        messages = plugin.process_messages(made["_prompt"] + made["_response"], made["_images"], [], [], processor)
        system = [{"role": "system", "content": made["_system"]}] if made["_system"] else []
        images = plugin.get_mm_inputs(made["_images"], [], [], [len(row["images"])], [0], [0], [[0]], processor)
        assert images["pixel_values"].shape[:2] == (1, len(row["images"]))
        as_read = [turn | {"content": turn["content"].replace("<|image|>", "")} for turn in messages]
        assert system + as_read == row["plain_messages"]
        assert messages[0]["content"].startswith("<|image|>" * len(row["images"]))


def test_llama_factory_refuses_rows_without_marks(rows, llama_factory, processor):
    """Why it has a column of its own."""
    from llamafactory.data.mm_plugin import get_mm_plugin

    plugin = get_mm_plugin("mllama", image_token="<|image|>")
    with pytest.raises(ValueError, match="number of images does not match"):
        plugin.process_messages(rows[0]["plain_messages"], rows[0]["images"], [], [], processor)
