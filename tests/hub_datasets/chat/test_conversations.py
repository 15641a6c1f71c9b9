"""Checks how records become conversations."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from hub_datasets.chat import conversations
from hub_datasets.chat.conversations import choose_question, contexts_of, make_conversation, record_key
from hub_datasets.chat.llama_factory import llama_factory_info, mark_images
from hub_datasets.records import RawRecord
from hub_datasets.schema import CONTEXTS, LANGUAGES

EMPTY = {"answer_type": "", "modality": "", "location": "", "content_type": ""}
SLAKE = {"answer_type": "CLOSED", "modality": "X-Ray", "location": "Lung", "content_type": "Abnormality", "qid": 7}


def record(language: str = "en", image: str = "1.png", item: str = "row 1", **said) -> RawRecord:
    return RawRecord("test", item, image, "report", language, **said)


def question(asked: str, answer: str, language: str = "en", item: str = "row 1", image: str = "1.png", **fields):
    return record(language, image, item, question=asked, answer=answer, metadata=SLAKE | fields)


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def templates(kind: str, language: str, form: int) -> dict[str, str]:
    return {
        f"{kind}-{language}-{n:02d}": texts[form] for n, texts in enumerate(conversations.TEMPLATES[kind][language], 1)
    }


def test_a_question_and_its_answer_are_taken_as_they_are():
    made = make_conversation([question("Is  the lung healthy ?", "No")], "question_answering")
    assert made["messages"] == turns("Is  the lung healthy ?", "No")
    assert made["template_id"] == ""
    assert {field: made[field] for field in EMPTY} == {field: SLAKE[field] for field in EMPTY}


@pytest.mark.parametrize("kind", conversations.TEMPLATES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_is_asked_for_in_its_own_language(kind, language):
    text = {"en": "Clear lungs.", "zh": "双肺清晰。"}[language]
    made = make_conversation([record(language, text=text)], kind)
    assert made["messages"] == turns(templates(kind, language, 0)[made["template_id"]], text)
    assert {field: made[field] for field in EMPTY} == EMPTY


def test_questions_about_one_image_become_turns_in_their_order():
    asked = [question("Where?", "Left"), question("Is it healthy?", "No"), question("What organ?", "42")]
    made = make_conversation(asked, "question_answering")
    assert made["messages"] == turns("Where?", "Left", "Is it healthy?", "No", "What organ?", "42")
    assert make_conversation(asked[::-1], "question_answering")["messages"][:2] == turns("What organ?", "42")


def test_a_field_in_which_turns_differ_is_empty():
    made = make_conversation([question("a?", "b"), question("c?", "d", answer_type="OPEN")], "question_answering")
    assert (made["answer_type"], made["modality"], made["location"]) == ("", "X-Ray", "Lung")


@pytest.mark.parametrize("value", [None, 5, ["X-Ray"], {"name": "X-Ray"}])
def test_a_field_that_is_no_text_is_empty(value):
    assert make_conversation([record(text="Clear.", metadata={"modality": value})], "report")["modality"] == ""


def test_views_with_one_report_are_one_turn_that_speaks_of_several_images():
    views = [record(image=f"{n}.png", text="Clear lungs.", conversation="study 1") for n in range(3)]
    made = make_conversation(views, "report")
    expected = templates("report", "en", 1)[made["template_id"]].replace("{count}", "three")
    assert made["messages"] == turns(expected, "Clear lungs.")
    assert make_conversation(views[:1], "report")["template_id"] == made["template_id"], "one view was lost"


@pytest.mark.parametrize(("language", "words"), [("en", "Clinical context: "), ("zh", "临床资料：")])
def test_the_context_is_in_the_question_and_never_in_the_answer(language, words):
    known = record(language, text="Nevus.", context="8 years")
    assert contexts_of([known]) == CONTEXTS == ("none", "clinical")
    plain, clinical = (make_conversation([known], "skin_lesion", context=form) for form in CONTEXTS)
    assert (plain["context"], clinical["context"]) == CONTEXTS
    asked = plain["messages"][0]["content"]
    assert clinical["messages"] == turns(f"{asked}\n\n{words}8 years", "Nevus.") and "8 years" not in asked
    assert clinical["template_id"] == plain["template_id"]


def test_records_without_one_context_have_one_form():
    views = [record(image=f"{n}.png", text="Clear.", conversation="1", context=f"{n} years") for n in range(2)]
    assert contexts_of(views) == contexts_of([record(text="Clear.")]) == contexts_of([question("a?", "b")]) == ("none",)


def test_an_answer_beside_the_text_is_the_answer():
    made = make_conversation([record(text="Nevus of a man.", answer="Nevus.")], "skin_lesion")
    assert made["messages"][-1]["content"] == "Nevus."


def test_the_system_prompt_comes_first():
    made = make_conversation([question("Where?", "Left")], "question_answering", "You read medical images.")
    assert made["messages"] == [{"role": "system", "content": "You read medical images."}, *turns("Where?", "Left")]
    assert make_conversation([question("Where?", "Left")], "question_answering", " \n")["messages"][0]["role"] == "user"


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "at least one"),
        (
            [question("Where?", "Left"), question("哪里?", "左", "zh", "row 9")],
            r"row 1 and row 9 .*test, en and test, zh",
        ),
        ([record(text="a", image="1.png"), record(text="b", image="2.png", item="row 2")], "row 2.*texts differ"),
        ([record(text="a"), question("Where?", "Left", item="row 2")], "row 2.*texts differ"),
        ([question("a?", "b"), question("c?", "d", image="2.png")], "about 1.png and 2.png"),
        ([record(question="Where?")], "neither a text nor a question with its answer"),
    ],
)
def test_what_is_no_conversation_is_refused(records, message):
    with pytest.raises(ValueError, match=message):
        make_conversation(records, "question_answering")


def test_sources_are_not_mixed():
    other = RawRecord("other", "row 1", "1.png", "report", "en", text="a")
    with pytest.raises(ValueError, match="test, en and other, en"):
        make_conversation([record(text="a"), other], "report")


def test_a_kind_without_templates_is_an_error():
    with pytest.raises(ValueError, match="no question templates for 'painting'; kinds are radiograph"):
        choose_question("painting", "en", "key")


@pytest.mark.parametrize("language", ["fr", "ja", "und"])
def test_texts_in_languages_without_templates_are_asked_for_in_english(language):
    assert choose_question("report", language, "key") == choose_question("report", "en", "key")
    assert choose_question("report", language, "key", 3) == choose_question("report", "en", "key", 3)
    messages = make_conversation([record(language, text="Normal.")], "report")["messages"]
    assert messages[0]["content"].isascii() and messages[1]["content"] == "Normal."


def test_the_key_is_the_image_or_the_examination_in_one_language():
    one, other = record(text="a"), record(text="b", item="row 2")
    assert record_key(one) == record_key(other) == '["test", "1.png", "en"]'
    assert len({record_key(one), record_key(record("zh", text="a")), record_key(record(image="2.png", text="a"))}) == 3
    views = [record(image=image, text="a", conversation="study 1") for image in ("1.png", "2.png")]
    assert record_key(views[0]) == record_key(views[1]) != record_key(one)


def test_a_file_name_that_is_not_utf_8_has_a_question_too():
    made = make_conversation([record(image="\udcff.png", text="a")], "report")
    assert made["template_id"]


def test_the_choice_is_the_same_in_every_build():
    """Written down once: another hash, or another way to use it, would change published datasets."""
    keys = [record_key(record(image=f"images/{n}.png")) for n in range(6)]
    assert [choose_question("radiograph", "en", k)[0][-2:] for k in keys] == ["03", "05", "10", "05", "04", "03"]
    assert [choose_question("radiograph", "zh", k)[0][-2:] for k in keys] == ["04", "06", "02", "09", "08", "07"]


def test_the_order_of_the_records_has_no_part_in_the_choice():
    records = [record(image=f"{n}.png", text="a") for n in range(50)]
    chosen = {r.image: make_conversation([r], "report")["template_id"] for r in records}
    random.Random(0).shuffle(records)
    assert {r.image: make_conversation([r], "report")["template_id"] for r in records} == chosen


@pytest.mark.parametrize("kind", conversations.TEMPLATES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_templates_are_used_about_equally_often(kind, language):
    names = templates(kind, language, 0)
    counts = Counter(choose_question(kind, language, f"image {n}")[0] for n in range(300 * len(names)))
    assert counts.keys() == names.keys()
    assert min(counts.values()) > 240 and max(counts.values()) < 360  # 300, and 3.6 standard deviations


def test_an_appended_template_changes_only_the_rows_that_it_takes(monkeypatch):
    chosen = [choose_question("report", "en", f"image {n}")[0] for n in range(1000)]
    longer = (*conversations.TEMPLATES["report"]["en"], ("One more.", "More of these."))
    monkeypatch.setitem(conversations.TEMPLATES["report"], "en", longer)
    after = [choose_question("report", "en", f"image {n}")[0] for n in range(1000)]
    changed = [new for old, new in zip(chosen, after, strict=True) if old != new]
    assert set(changed) == {f"report-en-{len(longer):02d}"} and 50 < len(changed) < 150


@pytest.mark.parametrize(
    ("count", "english", "chinese"), [(2, "two", "两"), (3, "three", "三"), (10, "ten", "十"), (11, "11", "11")]
)
def test_numbers_of_images_are_written_out(count, english, chinese):
    assert (conversations.count_word(count, "en"), conversations.count_word(count, "zh")) == (english, chinese)
    asked = {choose_question("radiograph", "en", str(n), count)[1] for n in range(200)}
    assert f"How would you read these {english} views?" in asked


def test_images_are_marked_mark_images_before_the_first_question():
    messages = [{"role": "system", "content": "Be brief."}, *turns("Where?", "Left", "Is it healthy?", "No")]
    assert mark_images(messages, 2) == [
        {"role": "system", "content": "Be brief."},
        *turns("<image><image>Where?", "Left", "Is it healthy?", "No"),
    ]
    assert messages[1]["content"] == "Where?", "the row itself is left as it is"


def test_words_that_llama_factory_would_count_as_images_are_set_apart():
    messages = turns("What is <image> and <video>?", "An <audio> tag, <<image>, <|image|> or <|eot_id|>; 3 < 4 | 5")
    assert mark_images(messages, 1) == turns(
        "<image>What is < image> and < video>?", "An < audio> tag, << image>, < |image|> or < |eot_id|>; 3 < 4 | 5"
    )


def test_the_description_mark_images_has_an_entry_for_each_file():
    info = llama_factory_info({"pairs_train": "train.jsonl", "pairs_test": "test.jsonl"})
    assert {name: entry["file_name"] for name, entry in info.items()} == {
        "pairs_train": "train.jsonl",
        "pairs_test": "test.jsonl",
    }
    for entry in info.values():
        assert entry["formatting"] == "sharegpt"
        assert entry["columns"] == {"messages": "marked_messages", "images": "images"}
