"""Checks the answers that never see an image, and the tables of rules that show what each rule gives them."""

from __future__ import annotations

import pytest

from evaluation.metrics.vqa_accuracy.short_answers import RULES, vqa_scores
from evaluation.scoring.blind_answers import BLIND, coin, constant, constant_texts, no_answer
from evaluation.scoring.prediction_files import Answer
from evaluation.scoring.rule_tables import markdown, rule_tables


def closed(reference: str, prediction: str = "", question: str = "", language: str = "en") -> Answer:
    return Answer(question, reference, prediction, "closed", language)


def opened(reference: str, prediction: str = "", question: str = "", language: str = "en") -> Answer:
    return Answer(question, reference, prediction, "open", language)


def texts(choices: list) -> list[str]:
    assert all(len(one) == 1 and one[0][0] == 1.0 for one in choices)
    return [one[0][1] for one in choices]


# ---- blind answers ---------------------------------------------------------------------------------------------------


def test_a_coin_has_both_sides_in_the_language_of_the_question():
    found = coin([closed("Yes"), opened("肺", language="zh"), closed("ja", language="de")], [])
    assert found == [[(0.5, "yes"), (0.5, "no")], [(0.5, "是"), (0.5, "不是")], [(0.5, "yes"), (0.5, "no")]]


def test_the_constant_text_holds_the_frequent_words_of_a_language():
    seen = [opened("Left Lung, Right"), opened("lung"), *[opened(f"word{number}") for number in range(30)]]
    seen += [closed("包含", language="zh"), closed("包含", language="zh"), closed("肺", language="zh")]
    found = constant_texts(seen)
    assert found["en"].startswith("yes no lung left right word0 word1 ") and len(found["en"].split()) == 17
    assert found["zh"].startswith("是 不是 包含 肺 左侧 右侧 上方 ") and len(found["zh"].split()) == 17
    asked = [opened("x"), closed("y", language="zh"), closed("z", language="de")]
    assert texts(constant(asked, seen)) == [found["en"], found["zh"], ""]
    assert texts(no_answer(asked, seen))[0] == "I do not know, it looks normal."


# ---- tables ----------------------------------------------------------------------------------------------------------

ANSWERS = [
    *[closed("Yes", "yes", "Is it normal?")] * 3,
    *[closed("No", "yes", "Is it normal?")] * 3,
    closed("Left", "left", "Which side?"),
    opened("Lung", "the lung", "Which organ?"),
    opened("Liver", "lung", "Which organ?"),
    closed("没有", "不包含", "有吗?", "zh"),
]


def line(tables: list[dict], language: str, kind: str, rule: str) -> dict:
    (table,) = (one for one in tables if (one["language"], one["type"]) == (language, kind))
    (found,) = (one for one in table["rules"] if one["rule"] == rule)
    return found


def test_a_table_has_one_language_and_type_and_a_line_one_rule():
    tables = rule_tables(ANSWERS)
    assert [(table["language"], table["type"], table["answers"]) for table in tables] == [
        ("en", "closed", 7), ("en", "open", 2), ("zh", "closed", 1),
    ]  # fmt: skip
    for table in tables:
        assert [one["rule"] for one in table["rules"]] == list(RULES)
        assert all(list(one["scores"]) == ["this file", "references", *BLIND] for one in table["rules"])


def test_the_file_has_the_scores_of_the_metric():
    columns = (
        [getattr(answer, name) for answer in ANSWERS] for name in ("prediction", "reference", "kind", "language")
    )
    predictions, references, kinds, languages = columns
    tables = rule_tables(ANSWERS)
    for rule in RULES:
        scores = vqa_scores(predictions, references, kinds, languages, rule)
        for language, kind in (("en", "closed"), ("en", "open"), ("zh", "closed")):
            found = line(tables, language, kind, rule)["scores"]["this file"]
            assert found["score"] == pytest.approx(scores[f"accuracy_{kind}_{language}"])
            assert found["counted"] == scores[f"num_samples_{kind}_{language}"]
            assert found["left_out"] == scores.get(f"num_left_out_{kind}_{language}", 0)


def test_the_rule_of_2023_08_gives_a_coin_everything_and_is_marked():
    tables = rule_tables(ANSWERS, rules=("exact", "llava_med_2023_08", "llava_med_2023_12"))
    exact, first, corrected = (line(tables, "en", "closed", rule) for rule in tables_rules(tables))
    assert exact["gamed_by"] == []
    assert exact["scores"]["coin"] == {"score": pytest.approx(3 / 7), "counted": 7, "left_out": 0}
    assert first["scores"]["coin"] == {"score": 1.0, "counted": 3, "left_out": 4}  # Left is left out for both sides
    assert first["scores"]["no answer"] == {"score": 1.0, "counted": 3, "left_out": 4}
    assert first["scores"]["references"] == {"score": pytest.approx(6 / 7), "counted": 7, "left_out": 0}
    assert first["gamed_by"] == ["coin", "no answer", "constant"]
    assert corrected["scores"]["constant"]["score"] == 1.0 and corrected["gamed_by"] == ["no answer", "constant"]
    assert first["left_out"] and not exact["left_out"]


def tables_rules(tables: list[dict]) -> list[str]:
    return [one["rule"] for one in tables[0]["rules"]]


def test_honest_rules_are_not_marked_and_substring_rules_are():
    answers = [closed("Yes", question="q"), closed("No", question="q"), *[opened(name) for name in ("Lung", "Liver")]]
    marked = {one["rule"] for table in rule_tables(answers) for one in table["rules"] if one["gamed_by"]}
    assert marked == {
        "token_recall", "contains_yes_no", "llava_med", "llava_med_2023_08", "llava_med_2023_12", "medvlmbench",
    }  # fmt: skip


def test_the_text_shows_denominators_only_where_answers_are_left_out():
    tables = rule_tables(ANSWERS, rules=("exact", "llava_med_2023_08"))
    first, *_ = (markdown(table) for table in tables)
    head, _, titles, divider, exact, llava = first.splitlines()
    assert head == "**closed questions in en: 7 answers**"
    assert titles.split("|")[1].strip() == "rule" and divider.count("|") == titles.count("|")
    assert [cell.strip() for cell in exact.split("|")][1:5] == ["exact", "57.1", "100.0", "42.9"]
    assert "| 100.0 of 3 |" in llava and llava.rstrip(" |").endswith("coin, no answer, constant")
    none = markdown(rule_tables([closed("是", "yes", language="zh")], rules=("llava_med_2023_08",))[0])
    assert "– of 0 |" in none
