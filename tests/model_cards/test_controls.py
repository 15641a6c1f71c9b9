"""Scores of answers cannot be shown without their controls, and stand beside them in words and numbers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from evaluation.leaderboard import main, markdown, rank_results
from model_cards.controls import (
    BLANK,
    BLIND,
    CONTROLS,
    FROZEN,
    METADATA,
    MIRRORED,
    PRIOR,
    RETRIEVAL_CONTROLS,
    check_controls,
    control_line,
    missing_controls,
    notes,
    result_table,
    result_tables,
    verdicts,
)
from model_cards.model_card import model_card
from model_cards.results import GENERATION, RETRIEVAL, EvaluationResult, load_result, write_json
from model_cards.tables.leaderboard_lines import table_lines
from model_cards.tables.reliance_tables import parts_table, reliance_table, reliance_words
from model_cards.tables.retrieval_tables import retrieval_parts_table
from tests.model_cards.all_controls import all_controls
from tests.model_cards.markdown import tables
from tests.model_cards.test_model_card import SUMMARIES

RESULT = EvaluationResult(
    "org/med", GENERATION, "org/med-pairs", "chat", "test", 100, {"bleu": 30.0, "accuracy_closed": 0.6, "loss": 1.0},
    controls=all_controls(100, bleu=20.0, accuracy_closed=0.5),
)  # fmt: skip
RETRIEVED = EvaluationResult(
    "org/med", RETRIEVAL, "org/med-pairs", "pairs", "test", 100, {"recall_at_5": 0.5, "map": 0.25, "loss": 1.0},
    controls=all_controls(100, RETRIEVAL, recall_at_5=0.125), intervals={"recall_at_5": [0.4, 0.6]},
)  # fmt: skip


def without(result: EvaluationResult, *names: str) -> EvaluationResult:
    return replace(result, controls=[entry for entry in result.controls if entry["name"] not in names])


def with_entry(result: EvaluationResult, name: str, **change) -> EvaluationResult:
    controls = [entry | change if entry["name"] == name else entry for entry in result.controls]
    return replace(result, controls=controls)


# ---- no table without its controls -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("metric", ["bleu", "bleu_1", "accuracy_open", "accuracy_closed", "exact_match"])
def test_a_table_without_a_control_cannot_be_rendered(name, metric):
    result = without(replace(RESULT, metrics={metric: 1.0}), name)
    with pytest.raises(ValueError, match=f"has no {CONTROLS[name]}: scores are not shown without their controls"):
        result_table(result)
    with pytest.raises(ValueError, match="Evaluate the model again"):
        rank_results([RESULT, replace(result, model="org/other")])


def test_a_recorded_table_without_controls_cannot_be_rendered():
    (table,) = rank_results([RESULT])
    for draw in (markdown, table_lines):
        draw(table)
        for change in (
            {"controls": []},
            {"controls": table["controls"][1:]},
            {"rows": [table["rows"][0] | {"controls": []}]},
            {"rows": [{key: value for key, value in table["rows"][0].items() if key != "controls"}]},
        ):
            with pytest.raises(ValueError, match="without their controls"):
                draw(table | change)


def test_a_control_that_was_left_out_without_a_reason_is_missing():
    assert missing_controls(with_entry(RESULT, BLANK, metrics={}, note="")) == [BLANK]
    assert missing_controls(with_entry(RESULT, BLANK, metrics={}, note="left out")) == []


def test_a_loss_needs_none():
    for task in (GENERATION, RETRIEVAL):
        check_controls(replace(RESULT, task=task, metrics={"loss": 1.0}, controls=[]))


@pytest.mark.parametrize("name", RETRIEVAL_CONTROLS)
@pytest.mark.parametrize("metric", ["recall_at_1", "recall_at_5", "recall_at_10", "map", "finding_map"])
def test_a_table_of_retrieval_without_a_control_cannot_be_rendered(name, metric):
    scores = {metric: 0.5}
    right = replace(RETRIEVED, metrics=scores, controls=all_controls(100, RETRIEVAL, **scores))
    result_table(right)
    for change in (without(right, name), with_entry(right, name, metrics={}, note="")):
        with pytest.raises(ValueError, match=f"has no {RETRIEVAL_CONTROLS[name]}: scores are not shown without"):
            result_table(change)
        with pytest.raises(ValueError, match="Evaluate the model again"):
            rank_results([right, replace(change, model="org/other")])
    (table,) = rank_results([right])
    for draw in (markdown, table_lines):
        draw(table)
        with pytest.raises(ValueError, match="without their controls"):
            draw(table | {"controls": [entry for entry in table["controls"] if entry["name"] != name]})


def test_controls_of_answers_do_not_serve_for_retrieval():
    result = replace(RETRIEVED, controls=all_controls(100, recall_at_5=0.1))
    assert missing_controls(result) == list(RETRIEVAL_CONTROLS)


def test_the_leaderboard_command_names_what_to_do(tmp_path, capsys):
    replace(RESULT, controls=[]).save(tmp_path)
    assert main(["--results_dir", str(tmp_path)]) == 2
    printed, complained = capsys.readouterr()
    assert printed == "" and "the result of org/med on org/med-pairs, split test, has no frozen features" in complained
    assert not (tmp_path / "leaderboard.md").exists()


def test_a_card_says_that_scores_of_an_earlier_version_are_not_shown():
    """An old result in a repository must not prevent the push of a new one."""
    card = model_card("org/med", SUMMARIES["decoder"], [replace(RESULT, controls=[])], [])
    assert "The scores are not shown, because they were measured without controls (frozen features, " in card
    text = card.partition("## Results")[2]
    assert "| BLEU" not in text and "30" not in text.partition("## Training")[0]


@pytest.mark.parametrize("controls", [["blank"], [{"name": BLANK, "metrics": [1]}], [None]])
def test_controls_of_a_record_are_objects(tmp_path, controls):
    path = RESULT.save(tmp_path)
    write_json(path, json.loads(path.read_text()) | {"controls": controls})
    with pytest.raises(ValueError, match="not a result file"):
        load_result(path)


# ---- the table -------------------------------------------------------------------------------------------------------


def test_a_table_has_the_model_and_a_line_per_control():
    table = result_table(RESULT)
    assert table[:2] == [["answers", "BLEU", "accuracy, closed questions", "loss"], ["this model", "30", "0.6", "1"]]
    assert table[2:] == [[title, "20", "0.5", "–"] for title in CONTROLS.values()]


BOTH = {"accuracy_open": 0.5, "short_f1": 0.5, "report_bleu": 20.0, "report_rouge_l": 30.0, "bleu": 99.0, "loss": 1.0}


def test_short_answers_and_reports_have_a_table_each():
    """The BLEU over both decides nothing, and is in neither."""
    better = replace(RESULT, metrics=BOTH, controls=all_controls(100, **BOTH))
    short = replace(better, model="org/short", metrics=BOTH | {"accuracy_open": 0.75, "report_bleu": 10.0, "bleu": 0.0})
    answers, reports = rank_results([better, short])
    assert (answers["part"], reports["part"]) == ("short answers", "reports")
    assert answers["metrics"] == ["accuracy_open", "short_f1", "loss"]
    assert reports["metrics"] == ["report_bleu", "report_rouge_l", "loss"]
    assert [row["model"] for row in answers["rows"]] == ["org/short", "org/med"]
    assert [row["model"] for row in reports["rows"]] == ["org/med", "org/short"]
    assert markdown(reports).startswith("**reports on org/med-pairs (test, 100 rows)**")
    assert markdown(answers).startswith("**short answers on org/med-pairs (test, 100 rows, rule exact)**")
    assert [table[0][0] for table in result_tables(better)] == ["short answers", "reports"]
    card = model_card("org/med", SUMMARIES["decoder"], [better], [])
    assert tables(card)[:2] == result_tables(better)
    for name in CONTROLS:
        with pytest.raises(ValueError, match="not shown without their controls"):
            rank_results([without(better, name)])


def test_results_of_earlier_versions_keep_their_table():
    old = replace(RESULT, model="org/old")
    new = replace(RESULT, metrics=BOTH, controls=all_controls(100, **BOTH))
    trained = replace(RESULT, model="org/trained", metrics={"loss": 0.5}, controls=[])
    found = rank_results([new, trained])
    assert [[row["model"] for row in table["rows"]] for table in found] == [["org/med", "org/trained"], ["org/med"]]
    found = rank_results([old, new])
    assert [(table["part"], [row["model"] for row in table["rows"]]) for table in found] == [
        ("", ["org/old"]), ("short answers", ["org/med"]), ("reports", ["org/med"]),
    ]  # fmt: skip
    assert result_tables(old) == [result_table(old)] and found[0]["metrics"] == ["bleu", "accuracy_closed", "loss"]


def test_a_control_on_some_rows_shows_the_model_on_the_same_rows():
    entry = {"name": MIRRORED, "samples": 7, "metrics": {"bleu": 5.0}, "real": {"bleu": 40.0, "loss": 1.0}, "note": ""}
    assert control_line(entry, ["bleu", "loss"], 100) == ["mirrored image, 7 rows", "5 (40)", "– (1)"]


def test_a_control_of_short_answers_alone_says_so_among_reports():
    short, reports = {"short_f1": 0.5}, {"report_bleu": 20.0}
    entries = [
        entry | {"metrics": short if entry["name"] == MIRRORED else short | reports, "samples": 7}
        for entry in all_controls()
    ]
    result = replace(RESULT, metrics=short | reports, controls=entries)
    (_, *lines), (_, *others) = result_tables(result)
    titles = ["mirrored image, 7 rows", "mirrored image: none of these rows"]
    assert [line[0] for line in (lines[-1], others[-1])] == titles
    text = "".join(map(markdown, rank_results([result])))
    assert [text.count(title) for title in titles] == [1, 1]


def test_a_control_that_was_left_out_is_a_line_in_words():
    entry = {"name": BLANK, "samples": 0, "metrics": {}, "note": "left out by --no_image_controls"}
    assert control_line(entry, ["bleu"], 100) == ["blank image: left out by --no_image_controls", "–"]


def test_blind_controls_stand_where_their_scores_put_them():
    low = replace(RESULT, model="org/low", metrics={"bleu": 10.0})
    (table,) = rank_results([RESULT, low])
    lines = table_lines(table)
    own = [f"└ {title}" for name, title in CONTROLS.items() if name not in BLIND]
    blind = [title for name, title in CONTROLS.items() if name in BLIND]
    assert [line.title for line in lines] == ["org/med", *own, *blind, "org/low", *own]
    assert [line.place for line in lines if line.place] == ["1", "2"]
    (rows,) = tables(markdown(table))
    assert [row[1] for row in rows[1:]] == [line.title for line in lines]


def test_a_table_of_retrieval_has_intervals_and_a_line_per_control():
    header, model, *controls = result_table(RETRIEVED)
    assert header == ["ranked by", "R@5", "mAP", "loss"]
    assert model == ["this model", "0.5 [0.4, 0.6]", "0.25", "1"]
    assert controls == [[title, "0.125", "–", "–"] for title in RETRIEVAL_CONTROLS.values()]


def test_controls_of_retrieval_stand_where_their_scores_put_them():
    low = replace(RETRIEVED, model="org/low", metrics={"recall_at_5": 0.0625, "map": 0.5})
    (table,) = rank_results([RETRIEVED, low])
    assert [line.title for line in table_lines(table)] == ["org/med", *RETRIEVAL_CONTROLS.values(), "org/low"]


def test_a_model_is_compared_with_the_metadata_prior_in_words():
    result = with_entry(RETRIEVED, METADATA, difference={"recall_at_5": [0.1, -0.02, 0.2], "map": [0.1, 0.05, 0.2]})
    result = with_entry(result, "chance", difference={"recall_at_5": [0.1, 0.05, 0.2]})
    (said,) = verdicts(result)
    assert said.startswith("R@5: **not better than the metadata prior**, as far as these rows can tell, +0.100 ")


PARTS = {
    "source_dataset": {
        "slake": {
            "samples": 60, "groups": 20, "intervals": {"recall_at_5": [0.25, 0.75]},
            "metrics": {"recall_at_5": 0.5, "chance_recall_at_5": 0.125, "image_to_text_median_rank": 3.0},
        },
        "few": {"samples": 29, "groups": 9, "metrics": {"recall_at_5": 1.0}},
    }
}  # fmt: skip


def test_scores_within_each_source_have_their_own_chance():
    header, slake, few = retrieval_parts_table(PARTS)
    assert header == ["within one part", "rows", "R@5", "mAP", "R@1 by finding", "median rank of texts", "of images"]
    assert slake == ["source: slake", "60", "0.5 [0.25, 0.75] / 0.125", "–", "–", "3 / –", "–"]
    assert few == ["source: few", "29", *["too few to say"] * 5]
    card = model_card("org/med", SUMMARIES["encoder"], [replace(RETRIEVED, parts=PARTS)], [])
    assert tables(card)[:2] == [result_table(RETRIEVED), [header, slake, few]]
    assert retrieval_parts_table({}) == []


@pytest.mark.parametrize("parts", [{"language": []}, {"language": {"en": {"samples": 3}}}, {"language": {"en": None}}])
def test_damaged_parts_and_intervals_of_a_record_are_named(tmp_path, parts):
    path = RETRIEVED.save(tmp_path)
    for change in ({"parts": parts}, {"intervals": {"map": [1]}}, {"intervals": {"map": None}}):
        write_json(path, json.loads(path.read_text()) | change)
        with pytest.raises(ValueError, match="not a result file"):
            load_result(path)
        RETRIEVED.save(tmp_path)


# ---- in words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([0.1, 0.02, 0.2], "Closed questions: better than the question prior, +0.100 [+0.020, +0.200]."),
        (
            [0.1, -0.02, 0.2],
            "Closed questions: **not better than the question prior**, as far as these rows ",
        ),
        ([-0.1, -0.2, -0.02], "Closed questions: **worse than the question prior**, -0.100 [-0.200, -0.020]."),
        ([0.1, None, None], "Closed questions: the difference to the question prior is +0.100; too few patients "),
    ],
)
def test_a_model_that_does_not_beat_its_prior_is_told_so(found, words):
    result = with_entry(RESULT, PRIOR, difference={"accuracy_closed": found})
    (said,) = verdicts(result)
    assert said.startswith(words)
    card = model_card("org/med", SUMMARIES["decoder"], [result], [])
    assert f"- {said}\n" in card and rank_results([result])[0]["rows"][0]["verdicts"] == [said]


def test_notes_say_what_a_control_is_and_what_is_special_about_it():
    said = notes(with_entry(with_entry(RESULT, FROZEN, note="random tower"), BLANK, metrics={}, note="left out"))
    assert len(said) == len(CONTROLS) - 1
    assert said[0].startswith("frozen features: kernel ridge on ") and said[0].endswith("; random tower.")


CELLS = {
    "rows": 1200, "groups": 40, "right_dependent": [0.5, 0.4, 0.6], "right_blind": [0.25, 0.2, 0.3],
    "wrong_dependent": [0.125, 0.1, 0.2], "wrong_blind": [0.125, None, None], "flips": [0.625, 0.5, 0.7],
    "blind": [0.375, 0.3, 0.5],
}  # fmt: skip
RELIANCE = {
    "changes": {"other_answer": CELLS, "same_answer": {"rows": 0, "groups": 0}, "blank_image": CELLS},
    "parts": {"source": {"slake": CELLS}, "language": {"zh": {"rows": 4}}, "question_type": {"unknown": CELLS}},
}


def test_image_reliance_is_a_table_and_a_sentence():
    header, *lines = reliance_table(RELIANCE)
    assert header == [
        "image", "questions", "right, changes", "right, stays", "wrong, changes", "wrong, stays", "changes in all",
    ]  # fmt: skip
    shares = ["50 % [40, 60]", "25 % [20, 30]", "12 % [10, 20]", "12 %", "62 % [50, 70]"]
    assert lines == [[CONTROLS[name], "1,200", *shares] for name in ("other_answer", "blank_image")]
    assert parts_table(RELIANCE)[1:] == [
        ["source: slake", "1,200", *shares], ["language: zh", "4", *["too few to say"] * 5],
    ]  # fmt: skip
    assert reliance_words(RELIANCE) == (
        "Right and image-dependent: 50 % [40, 60] of the answers to the 1,200 questions that are also asked about a "
        "patient with another answer. With the image of that patient, 38 % [30, 50] of the answers stay."
    )
    assert (reliance_table({}), parts_table({}), reliance_words({})) == ([], [], "")


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        ([0.2, 0.1, 0.3], "would reach 30 %: the model uses what the images show, +20 [+10, +30] points. "),
        ([0.2, -0.1, 0.3], "30 %: **the model is not shown to use what the images show**, +20 [-10, +30] points. "),
        ([0.2, None, None], "30 %; there are too few patients or images to compare. "),
    ],
)
def test_the_model_is_compared_with_its_own_answers_shuffled(difference, words):
    found = RELIANCE | {"shuffled": {"grounded_accuracy": 0.3, "difference": difference}}
    assert words in reliance_words(found | {"follows_mirror": [0.25, 0.1, 0.5]})
    assert reliance_words(found | {"follows_mirror": [0.25, 0.1, 0.5]}).endswith(
        "Of the answers that name a side, 25 % [10, 50] name the other one in a mirrored image."
    )


def test_the_card_has_both_tables():
    card = model_card("org/med", SUMMARIES["decoder"], [replace(RESULT, reliance=RELIANCE)], [])
    scores, changes, parts, *_ = tables(card)
    assert scores == result_table(RESULT)
    assert (changes, parts) == (reliance_table(RELIANCE), parts_table(RELIANCE))
    assert reliance_words(RELIANCE) in card
