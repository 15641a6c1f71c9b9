"""Checks the counts of repeated texts, of categories and of claims that no image shows."""

from __future__ import annotations

from hub_datasets.output.targets import SHOWN, TargetStatistics, target_lines, target_report


def row(source="s", text="a", category="c", language="en", kinds=(), **columns):
    common = {"source_dataset": source, "category": category, "language": language, "ungrounded": list(kinds)}
    messages = [{"role": "user", "content": "?"}] + [{"role": "assistant", "content": one} for one in text.split("|")]
    return common | {"text": text, "plain_messages": messages} | columns


def counted(*rows, config="pairs", split="train"):
    statistics = TargetStatistics()
    for one in rows:
        statistics.add(config, split, one)
    return statistics


def test_repeats_and_balance():
    statistics = counted(row(text="x", category="d"), row(text="x"), row(text="y"), row(text="x"), row("other"))
    found = target_report(statistics, "mark", {})["variety"]
    assert found["pairs"]["s"] == {
        "train": {
            "rows": 4, "distinct": 2, "repeats": 2, "most_frequent": {"rows": 3, "text": "x"},
            "categories": {"c": 3, "d": 1},
        }
    }  # fmt: skip
    assert found["pairs"]["other"]["train"]["most_frequent"] == {"rows": 1, "text": ""}, "it occurs once"
    assert found["chat"] == {}


def test_the_most_frequent_of_many_texts():
    """One text in 50 rows stands between 4,900 others, at whatever place."""
    rows = [row(text=f"text {number}") for number in range(4_900)]
    for place in range(0, 5_000, 50):
        rows.insert(place, row(text="often"))
    found = target_report(counted(*rows), "mark", {})["variety"]["pairs"]["s"]["train"]
    assert (found["rows"], found["distinct"], found["most_frequent"]) == (5_000, 4_901, {"rows": 100, "text": "often"})


def test_splits_are_counted_apart():
    statistics = counted(row(), row())
    statistics.add("pairs", "test", row())
    splits = target_report(statistics, "mark", {})["variety"]["pairs"]["s"]
    assert [(split, found["rows"], found["distinct"]) for split, found in splits.items()] == [
        ("train", 2, 1),
        ("test", 1, 1),
    ]


def test_the_answers_of_a_conversation_are_one_text_and_its_second_form_is_no_repeat():
    rows = [row(text="a|b", context="none"), row(text="a|b", context="clinical"), row(text="a", context="none")]
    found = target_report(counted(*rows, config="chat"), "mark", {})
    assert found["variety"]["chat"]["s"]["train"]["rows"] == 2 == found["variety"]["chat"]["s"]["train"]["distinct"]
    assert found["rows"]["chat"]["s"]["en"]["rows"] == 3


def test_a_text_that_must_not_be_shared_is_not_quoted():
    texts = ["Seen at john.doe@example.org", "x" * 1000]
    for text, closed, shown in ((texts[0], (), ""), (texts[1], ("s",), ""), (texts[1], (), "x" * SHOWN)):
        found = target_report(counted(row(text=text), row(text=text)), "mark", {}, closed)
        assert found["variety"]["pairs"]["s"]["train"]["most_frequent"] == {"rows": 2, "text": shown}


def test_claims_by_config_source_and_language():
    statistics = counted(row(kinds=["age", "sex"]), row(kinds=["age"]), row(), row(language="zh"), row(language="fr"))
    found = target_report(statistics, "strip", {("s", "en", "age"): 7})
    assert found["ungrounded"] == "strip" and found["settled"] == {"s": {"en": {"age": 7}}}
    assert found["rows"] == {
        "pairs": {"s": {
            "en": {"rows": 3, "audited": True, "ungrounded": 2, "kinds": {"age": 2, "sex": 1}},
            "fr": {"rows": 1, "audited": False, "ungrounded": 0, "kinds": {}},
            "zh": {"rows": 1, "audited": True, "ungrounded": 0, "kinds": {}},
        }},
        "chat": {},
    }  # fmt: skip
    assert next(target_lines(found)) == "pairs, s (en): 2 of 3 say what no image shows: age 2, sex 1"
