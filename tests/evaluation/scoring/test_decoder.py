"""Checks generated answers and their loss against single rows and the stock model."""

from __future__ import annotations

import copy

import pytest
import torch

from evaluation.metrics.medical_bleu.bilingual import bleu_scores
from evaluation.metrics.vqa_accuracy.short_answers import vqa_scores
from evaluation.scoring.answers import exact_match, score_answers, simplify
from evaluation.scoring.decoder import answer_loss, answer_spans, encode, generate_answers, to_conversation
from modeling.mllama.patch import prepare_mllama
from tests.evaluation.small_run import picture

HEAD = "<|start_header_id|>{}<|end_header_id|>\n\n{}"
# Images of one tile, of two side by side, of two stacked ones and of four; English and Chinese; short and long answers.
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

    model = AutoModelForImageTextToText.from_pretrained(decoder)
    prepare_mllama(model)
    return model, AutoProcessor.from_pretrained(decoder)


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
    """Sums -log p over the tokens of the answer and its end of turn, token by token; also returns their number."""
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


def test_all_answers_count_each_given_what_was_said_before(model_and_processor, rows):
    model, processor = model_and_processor
    row = rows[1] | {
        "messages": [{"role": "system", "content": "Be brief."}, *rows[0]["messages"], *rows[1]["messages"]]
    }
    conversation = to_conversation(row)
    inputs = stock(processor, conversation)
    ids = inputs["input_ids"][0]
    spans = answer_spans(processor, conversation)
    assert [processor.decode(ids[span]) for span in spans] == [
        f"{rows[0]['messages'][1]['content']}<|eot_id|>",
        "包含<|eot_id|>",
    ]
    with torch.inference_mode():
        logits = model(**inputs).logits[0].double()
    places = torch.cat([torch.arange(span.start, span.stop) for span in spans])
    expected = torch.nn.functional.cross_entropy(logits[places - 1], ids[places]).item()
    assert answer_loss(model, processor, [row], 1) == pytest.approx(expected, rel=1e-5)
    last = torch.nn.functional.cross_entropy(logits[places[-2:] - 1], ids[places[-2:]]).item()
    assert last != pytest.approx(expected, rel=1e-2)


def stock(processor, conversation):
    """Returns one conversation as the processor encodes it in a single step."""
    return processor.apply_chat_template(conversation, tokenize=True, return_dict=True, return_tensors="pt")


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_is_encoded_as_the_processor_does_it(model_and_processor, rows, side):
    processor = model_and_processor[1]
    mixed = [*rows, rows[3], rows[0], {"images": [], "messages": rows[0]["messages"]}]
    conversations = [to_conversation(row) for row in mixed]
    ours = encode(processor, conversations, side, prompt=False)
    texts = processor.apply_chat_template(conversations, tokenize=False)
    images = [[part["image"] for part in turns[0]["content"] if part["type"] == "image"] for turns in conversations]
    settings = {"add_special_tokens": False, "padding": True, "padding_side": side, "return_tensors": "pt"}
    theirs = processor(images=images, text=texts, **settings)
    for name in ("input_ids", "attention_mask", "cross_attention_mask"):
        assert torch.equal(ours[name], theirs[name]), name
    assert len(ours["pixel_values"]) == sum(len(row["images"]) for row in rows)  # the last three bring no new one
    for name in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask"):
        for row, index in enumerate(ours["image_index"].tolist()):
            for place, number in enumerate(index):
                if number >= 0:
                    assert torch.equal(ours[name][number], theirs[name][row, place]), (name, row)
    text_only = encode(processor, conversations[-1:], side, prompt=False)
    assert text_only.keys() == {"input_ids", "attention_mask"}


def test_rows_without_an_image_are_scored_beside_others(model_and_processor, rows):
    model, processor = model_and_processor
    mixed = [rows[0], {"images": [], "messages": rows[1]["messages"]}, rows[3], rows[3]]
    alone = [answer_loss(model, processor, [row], 1) for row in mixed]
    spans = [answer_spans(processor, to_conversation(row))[0] for row in mixed]
    counts = [span.stop - span.start for span in spans]
    expected = sum(loss * count for loss, count in zip(alone, counts, strict=True)) / sum(counts)
    assert answer_loss(model, processor, mixed, 4) == pytest.approx(expected, rel=1e-5)
    answers = [generate_answers(model, processor, [row], 1, 8)[0] for row in mixed]
    assert generate_answers(model, processor, mixed, 4, 8) == answers and len(set(answers[:3])) == 3


def test_rows_of_one_image_share_a_pass_of_the_vision_tower(model_and_processor, rows):
    model, processor = model_and_processor
    sizes = []
    hook = model.model.vision_model.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    asked = [rows[0] | {"messages": rows[number]["messages"]} for number in range(4)]
    try:
        answer_loss(model, processor, asked, 4)
        generate_answers(model, processor, asked, 4, 3)
    finally:
        hook.remove()
    assert sizes == [1, 1]


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
    assert (simplify(prediction) == simplify(reference)) is equal
    assert exact_match([prediction, "right"], [reference, "Right."]) == (1.0 if equal else 0.5)


def test_exact_match_needs_pairs():
    with pytest.raises(ValueError, match="zip"):
        exact_match(["a"], ["a", "b"])


def test_scores_of_answers_are_those_of_the_metrics():
    predictions = ["Left lung", "a heart", "包含", "No finding."]
    references = ["left lung.", "liver", "不包含", "No finding."]
    languages, kinds = ["en", "en", "zh", "en"], ["OPEN", "CLOSED", "closed", ""]
    scores, signatures = score_answers(predictions, references, languages, kinds)
    bleu = bleu_scores(predictions, references, languages)
    assert signatures == bleu.pop("signature") | {"accuracy": "rule:exact"}
    asked = vqa_scores(predictions[:3], references[:3], kinds[:3], languages[:3])
    assert asked.pop("rule") == "exact" and asked["num_samples"] == 3
    short, report = bleu_scores(predictions[:3], references[:3], languages[:3]), bleu_scores(["a b"], ["a b"])
    parts = {"num_short_answers": 3, "num_report_texts": 1, "short_bleu_1": short["bleu_1"]}
    parts["short_f1"] = vqa_scores(predictions[:3], references[:3], kinds[:3], languages[:3], "token_f1")["accuracy"]
    parts |= {f"report_{name}{end}": 100.0 for name in ("bleu_1", "bleu_2", "chrf", "rouge_l") for end in ("", "_en")}
    # Three tokens have no 4-grams, and the full stop is one of them.
    parts |= {f"report_bleu{end}": value for end in ("", "_en") for value in [report["bleu"]]}
    parts |= {f"report_bleu_3{end}": 100.0 for end in ("", "_en")}
    assert scores == pytest.approx(asked | bleu | {"exact_match": 0.5} | parts)
    assert scores["num_samples"] == 4 and scores["accuracy"] == pytest.approx(1 / 3)
    recall, named = score_answers(predictions, references, languages, kinds, rule="llava_med")
    assert named["accuracy"] == "rule:llava_med" and recall["accuracy_open"] == 1

    for kinds in (None, ["", None, "OTHER", ""]):
        scores, signatures = score_answers(predictions, references, None, kinds)
        assert "accuracy" not in scores and "accuracy" not in signatures
        assert scores["bleu_zh"] == bleu["bleu_zh"]
