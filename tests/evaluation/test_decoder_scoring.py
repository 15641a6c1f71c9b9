from __future__ import annotations

import copy

import pytest
import torch

from evaluation.decoder_scoring import answer_loss, exact_match, generate_answers, plain, prompt_length, to_conversation
from tests.evaluation.small_run import picture

HEAD = "<|start_header_id|>{}<|end_header_id|>\n\n{}"
# One tile, two beside or above each other, four; English and Chinese; answers of one token and of many.
ROWS = [
    ((64, 64), "L", "Describe this medical image:", "Knee X-ray, Kellgren-Lawrence grade 2: mild osteoarthritis."),
    ((200, 40), "RGB", "图片中包含肝脏吗?", "包含"),
    ((30, 150), "RGBA", "Does the picture contain liver?", "Yes"),
    ((300, 280), "RGB", "Where is the lesion, and how large is it?", "On the left side, 1.5 cm."),
    ((64, 64), "P", "请描述这张医学图像：", "MRI图像，腹部。图片中包含肝脏吗?包含。"),
    ((90, 80), "RGB", "A?", "MRI image, abdomen. Does the picture contain liver? Yes. " * 6),
    ((1, 1), "1", "What modality is shown in this image?", "MRI"),
]


def make_row(size, mode, question, answer, seed=0) -> dict:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"images": [picture(size, seed, mode)], "messages": messages}


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    made = [make_row(*row, seed) for seed, row in enumerate(ROWS)]
    made[3]["images"].append(picture((90, 200), 11))  # two films of one study
    return made


@pytest.fixture(scope="module")
def model_and_processor(decoder):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    return AutoModelForImageTextToText.from_pretrained(decoder), AutoProcessor.from_pretrained(decoder)


def test_a_conversation_has_its_images_before_the_first_question(rows):
    row = copy.deepcopy(rows[2])
    row["messages"] = [{"role": "system", "content": "Be brief."}, *row["messages"], *row["messages"]]
    turns = to_conversation(row)
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert [part["type"] for part in turns[1]["content"]] == ["image", "text"]
    assert [part["type"] for turn in turns for part in turn["content"]].count("image") == 1
    assert turns[1]["content"][0]["image"].mode == "RGB"
    assert row["images"][0].mode == "RGBA"  # the row stays as it was


def by_hand(model, processor, row) -> tuple[float, int]:
    """Sum of -log p over the tokens of the answer and its end of turn, and their number; one token at a time."""
    question, answer = (turn["content"] for turn in row["messages"])
    marks = "<|image|>" * len(row["images"])
    prompt = "<|begin_of_text|>" + HEAD.format("user", f"{marks}{question}<|eot_id|>") + HEAD.format("assistant", "")
    count = len(processor.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    text = f"{prompt}{answer.strip()}<|eot_id|>"
    images = [image.convert("RGB") for image in row["images"]]
    inputs = processor(images=[images], text=[text], add_special_tokens=False, return_tensors="pt")
    tokens = inputs["input_ids"][0].tolist()
    assert tokens.count(processor.tokenizer.bos_token_id) == 1
    with torch.inference_mode():
        log_probabilities = model(**inputs).logits[0].double().log_softmax(-1)
    nll = [-log_probabilities[place - 1, tokens[place]].item() for place in range(count, len(tokens))]
    return sum(nll), len(nll)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_the_loss_is_the_mean_over_all_answer_tokens(model_and_processor, rows, batch_size):
    parts = [by_hand(*model_and_processor, row) for row in rows]
    expected = sum(total for total, _ in parts) / sum(count for _, count in parts)
    found = answer_loss(*model_and_processor, rows, batch_size)
    assert found == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(sum(total / count for total, count in parts) / len(parts), rel=1e-3)


def test_the_loss_sees_image_question_and_answer(model_and_processor, rows):
    whole = answer_loss(*model_and_processor, rows[:1], 1)
    changes = [
        {"images": [picture((64, 64), 99)]},
        {"messages": [{"role": "user", "content": "Yes?"}, rows[0]["messages"][1]]},
        {"messages": [rows[0]["messages"][0], {"role": "assistant", "content": "No."}]},
    ]
    for change in changes:
        assert answer_loss(*model_and_processor, [rows[0] | change], 1) != pytest.approx(whole, rel=1e-4)


def test_only_the_last_answer_counts(model_and_processor, rows):
    model, processor = model_and_processor
    row = rows[1] | {"messages": [*rows[0]["messages"], *rows[1]["messages"]]}
    conversation = to_conversation(row)
    before = processor.apply_chat_template(conversation[:-1], tokenize=False, add_generation_prompt=True)
    assert rows[0]["messages"][1]["content"] in before
    length = prompt_length(processor, conversation)
    inputs = processor.apply_chat_template(conversation, tokenize=True, return_dict=True, return_tensors="pt")
    assert processor.decode(inputs["input_ids"][0, length:]) == "包含<|eot_id|>"
    with torch.inference_mode():
        logits = model(**inputs).logits[0, length - 1 : -1]
    expected = torch.nn.functional.cross_entropy(logits, inputs["input_ids"][0, length:]).item()
    assert answer_loss(model, processor, [row], 1) == pytest.approx(expected, rel=1e-5)


def test_answers_of_a_batch_are_those_of_one_by_one(model_and_processor, rows):
    alone = [generate_answers(*model_and_processor, [row], 1, max_new_tokens=12)[0] for row in rows]
    assert len(set(alone)) > 4  # the rows do get answers of their own
    for batch_size in (2, 7):
        assert generate_answers(*model_and_processor, rows, batch_size, max_new_tokens=12) == alone
    assert generate_answers(*model_and_processor, rows[::-1], 3, max_new_tokens=12) == alone[::-1]


def test_the_reference_is_not_part_of_the_prompt(model_and_processor, rows):
    answers = generate_answers(*model_and_processor, rows, 3, max_new_tokens=12)
    others = copy.deepcopy(rows)
    for row in others:
        row["messages"][1]["content"] = "A wholly other answer, 完全不同的回答."
    assert generate_answers(*model_and_processor, others, 3, max_new_tokens=12) == answers
    for row in others:
        row["messages"][0]["content"] = "What else?"
    assert generate_answers(*model_and_processor, others, 3, max_new_tokens=12) != answers


def test_an_answer_has_no_prompt_and_no_special_tokens(model_and_processor, rows):
    model, processor = model_and_processor
    (answer,) = generate_answers(model, processor, rows[:1], 1, max_new_tokens=5)
    inputs = processor.apply_chat_template(
        to_conversation(rows[0])[:-1], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.inference_mode():
        tokens = model.generate(**inputs, max_new_tokens=5, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert answer == processor.tokenizer.decode(tokens, skip_special_tokens=True).strip() != ""
    assert len(tokens) <= 5


@pytest.mark.parametrize(
    ("prediction", "reference", "equal"),
    [
        ("Left  lung.", "left lung", True),
        (" No, it isn't!", "no it isn t", True),
        ("肝脏。", "肝脏", True),
        ("肝脏", "肾脏", False),
        ("T2", "t2", True),
        ("> 5 mm", "< 5 mm", False),
        ("+ve", "-ve", False),
        ("1.5 cm", "15 cm", False),
        ("ß", "ẞ", True),
        ("", "...", True),
        ("yes", "yes yes", False),
    ],
)
def test_exact_match(prediction, reference, equal):
    assert (plain(prediction) == plain(reference)) is equal
    assert exact_match([prediction, "right"], [reference, "Right."]) == (1.0 if equal else 0.5)


def test_exact_match_needs_pairs():
    with pytest.raises(ValueError, match="zip"):
        exact_match(["a"], ["a", "b"])
