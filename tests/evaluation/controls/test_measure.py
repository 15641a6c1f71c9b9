"""Plants models that look, that do not look and that look at the wrong thing, and checks what the controls say."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import concatenate_datasets

from evaluation.controls.changed_images import answers_under_changes
from evaluation.controls.image_features import Encoder
from evaluation.controls.measure import Known, first_rows, measure_controls
from evaluation.controls.questions import find_donors, read_questions
from evaluation.controls.reliance import row_scores, shuffled
from evaluation.scoring.answers import score_answers, simplify
from model_cards.controls import (
    BLANK,
    BLIND,
    CONSTANT,
    CONTROLS,
    FROZEN,
    MAJORITY,
    MIRRORED,
    OTHER_ANSWER,
    PRIOR,
    SAME_ANSWER,
    missing_controls,
)  # fmt: skip
from model_cards.results import GENERATION, EvaluationResult
from tests.evaluation.controls import planted

LEFT_OUT = {"frozen": "no encoder", "images": "not asked"}


def painted(pictures) -> np.ndarray:
    """[N, 241] features that show the truth: one number per red level, as a good encoder would."""
    red = [planted.see({"images": [picture]})[0] for picture in pictures]
    return np.stack([np.array([np.exp(-(((level or 0) - number) ** 2) / 2) for number in range(241)]) for level in red])


@pytest.fixture(scope="module")
def rows():
    return planted.make_rows(24)


@pytest.fixture(scope="module")
def known():
    return Known(planted.make_rows(60, first=100, seed=1), "480 rows of train")


@pytest.fixture(scope="module")
def measured(rows, known):
    """A function: measured(answerer) are the controls of a planted model, and the number of rows that it was asked."""
    found = {}

    def measure(name: str):
        if name not in found:
            answer, asked = planted.ANSWERERS[name], []

            def ask(changed):
                asked.extend(changed)
                return answer(changed)

            controls = measure_controls(
                rows, answer(rows), known, "exact", ask, Encoder("painted", painted), 8, LEFT_OUT
            )
            found[name] = controls, len(asked)
        return found[name]

    return measure


def entry(controls, name: str) -> dict:
    (found,) = (one for one in controls.entries if one["name"] == name)
    return found


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("blind", 0.99, 1.0), ("notices_blank", 0.99, 1.0), ("oracle", 0.0, 0.0), ("restless", 0.0, 0.0)],
)
def test_a_blind_model_is_image_blind_and_an_oracle_is_not(measured, name, least, most):
    reliance = measured(name)[0].reliance
    decisive = reliance["changes"][OTHER_ANSWER]
    assert decisive["rows"] > 150 and decisive["groups"] == 24
    assert least <= decisive["blind"][0] <= most
    cells = [decisive[cell][0] for cell in ("right_dependent", "right_blind", "wrong_dependent", "wrong_blind")]
    assert sum(cells) == pytest.approx(1) and decisive["flips"][0] + decisive["blind"][0] == pytest.approx(1)
    expected = {"oracle": [1, 0, 0, 0], "restless": [0, 0, 1, 0]}
    if name in expected:
        assert cells == expected[name]
    else:  # right as often as the question alone is
        assert cells[0] == cells[2] == 0 and 0.3 < cells[1] < 0.7
    assert reliance["grounded_accuracy"] == decisive["right_dependent"]


def test_each_change_says_something_of_its_own(measured):
    flips = {
        name: {change: found["flips"][0] for change, found in measured(name)[0].reliance["changes"].items()}
        for name in planted.ANSWERERS
    }
    assert flips["oracle"] == {OTHER_ANSWER: 1, SAME_ANSWER: 0, BLANK: 1, MIRRORED: 1}
    assert flips["blind"] == {OTHER_ANSWER: 0, SAME_ANSWER: 0, BLANK: 0, MIRRORED: 0}
    assert flips["notices_blank"] == {OTHER_ANSWER: 0, SAME_ANSWER: 0, BLANK: 1, MIRRORED: 0}
    assert flips["restless"][OTHER_ANSWER] == flips["restless"][SAME_ANSWER] == 1  # what does not matter changes all
    assert measured("oracle")[0].reliance["follows_mirror"][0] == 1
    assert measured("blind")[0].reliance["follows_mirror"][0] == 0


def test_answers_that_vary_at_random_are_not_above_their_shuffled_selves(measured):
    reliance = measured("coin")[0].reliance
    found, (difference, low, high) = reliance["grounded_accuracy"], reliance["shuffled"]["difference"]
    assert found[0] > 0.15  # right and image-dependent by luck
    assert low < 0 < high
    assert found[0] - reliance["shuffled"]["grounded_accuracy"] == pytest.approx(difference)
    for name in ("oracle", "blind"):
        shuffled, grounded = (measured(name)[0].reliance[key] for key in ("shuffled", "grounded_accuracy"))
        assert (shuffled["difference"][1] > 0) is (name == "oracle")
        if name == "blind":  # all answers to a question are equal, so that shuffling them changes nothing
            assert shuffled["difference"][0] == shuffled["grounded_accuracy"] == grounded[0] == 0


def test_the_shuffled_level_is_the_mean_over_permutations(rows):
    """Against the plain definition, on the rows of one question: shuffle, and count right and no longer right."""
    few = rows.select(range(1, 40, 4))
    questions, real = read_questions(few), planted.coin(few)
    donors = find_donors(questions, same_answer=False)
    rights = {row: score == 1 for row, score in enumerate(row_scores(questions, real, "exact"))}
    decisive = {row: True for row, donor in enumerate(donors) if donor is not None}
    found = shuffled(questions, real, rights, decisive, "exact")["grounded_accuracy"]
    generator, counts = np.random.default_rng(0), []
    for _ in range(2000):
        drawn = [real[row] for row in generator.permutation(len(real))]
        right, other = (
            [drawn[place] == questions.answers[row].reference for row, place in places]
            for places in ([(row, row) for row in decisive], [(row, donors[row]) for row in decisive])
        )
        counts.append(np.mean([a and not b for a, b in zip(right, other, strict=True)]))
    assert found == pytest.approx(np.mean(counts), abs=0.01)


def test_a_right_answer_in_other_words_is_image_blind(rows, known):
    controls = measure_controls(rows, planted.wordy(rows), known, "llava_med_2023_12", planted.wordy, None, 8, LEFT_OUT)
    decisive = controls.reliance["changes"][OTHER_ANSWER]
    assert decisive["right_dependent"][0] == 0 and decisive["right_blind"][0] > 0.3
    assert controls.reliance["grounded_accuracy"][0] == 0


def test_reliance_is_told_by_source_language_and_type_with_intervals(measured):
    parts = measured("blind")[0].reliance["parts"]
    assert list(parts["source"]) == ["planted"] and sorted(parts["language"]) == ["en", "zh"]
    assert sorted(parts["answer_type"]) == ["closed", "open"]
    assert sorted(parts["question_type"]) == ["Abnormality", "Organ", "Position"]
    assert sum(part["rows"] for part in parts["language"].values()) == parts["source"]["planted"]["rows"]
    share, low, high = parts["language"]["en"]["right_blind"]
    assert low < share < high


def test_small_parts_are_only_counted(rows, known):
    few = rows.select(range(16))
    controls = measure_controls(few, planted.oracle(few), known, "exact", planted.oracle, None, 8, LEFT_OUT)
    assert all(list(part) == ["rows"] for values in controls.reliance["parts"].values() for part in values.values())


# ---- the rows of the table -------------------------------------------------------------------------------------------


def test_every_control_is_a_row_and_is_scored_like_the_model(measured, rows):
    controls, _ = measured("oracle")
    assert [one["name"] for one in controls.entries] == list(CONTROLS)
    questions = read_questions(rows)
    references, languages = ([getattr(one, name) for one in questions.answers] for name in ("reference", "language"))
    kinds = [one.kind for one in questions.answers]
    for name in (PRIOR, MAJORITY, CONSTANT, FROZEN, BLANK):
        expected, _ = score_answers(controls.answers[name], references, languages, kinds)
        found = entry(controls, name)
        assert found["samples"] == len(rows) and "real" not in found
        assert found["metrics"] == pytest.approx({key: value for key, value in expected.items() if value is not None})
    result = EvaluationResult(
        "org/x", GENERATION, "org/y", "chat", "test", len(rows), {"bleu": 1.0}, controls=controls.entries
    )
    assert missing_controls(result) == []


def test_controls_separate_looking_from_guessing(measured):
    accuracy = {
        model: {one["name"]: one["metrics"].get("accuracy") for one in measured(model)[0].entries}
        for model in ("oracle", "blind")
    }
    for name in BLIND:  # they do not depend on the model
        assert accuracy["oracle"][name] == accuracy["blind"][name]
    assert accuracy["oracle"][PRIOR] == pytest.approx(
        entry(measured("blind")[0], BLANK)["metrics"]["accuracy"], abs=0.1
    )
    assert accuracy["oracle"][OTHER_ANSWER] == 0
    assert accuracy["oracle"][BLANK] == 0 and accuracy["oracle"][MIRRORED] == 0
    assert accuracy["oracle"][FROZEN] > accuracy["oracle"][PRIOR] + 0.2  # features that show the truth
    lateral = entry(measured("blind")[0], MIRRORED)
    assert lateral["samples"] == 48 and lateral["real"]["accuracy"] == lateral["metrics"]["accuracy"] > 0


def test_the_difference_to_the_prior_has_an_interval(measured):
    for model, better in (("oracle", True), ("blind", False)):
        for difference, low, high in entry(measured(model)[0], PRIOR)["difference"].values():
            assert low <= difference <= high and (low > 0) is better


def test_a_swap_costs_nothing_and_a_blank_image_is_asked_once_per_question(measured, rows):
    lateral = 48
    for name in planted.ANSWERERS:
        assert measured(name)[1] == len(planted.QUESTIONS) + lateral
    assert measured("oracle")[1] / len(rows) < 1


def test_blank_images_come_by_length_and_mirrored_ones_by_image(rows):
    real = [f"{row}" * (1 + row % 3) for row in range(len(rows))]
    asked = []

    def ask(changed):
        asked.extend(changed.cases)
        return [""] * len(changed)

    answers_under_changes(rows, read_questions(rows), real, ask)
    changes = [change for _, change in asked]
    assert changes == [BLANK] * len(planted.QUESTIONS) + [MIRRORED] * 48
    lengths = [len(real[row]) for row, change in asked if change == BLANK]
    mirrored = [row for row, change in asked if change == MIRRORED]
    assert lengths == sorted(lengths) and mirrored == sorted(mirrored)


def test_frozen_features_are_not_fitted_on_patients_that_are_asked_about(rows, known):
    """As with `--split train[:10%] --train_split train[10%:]`, which can share patients."""
    both = concatenate_datasets([known.rows, rows])
    for seen in (known.rows, both):
        controls = measure_controls(
            rows, planted.oracle(rows), Known(seen, "train"), "exact", None, Encoder("painted", painted), 8, LEFT_OUT
        )
        assert f"fitted on {len(known.rows):,} rows of the train split" in entry(controls, FROZEN)["note"]


def test_controls_that_are_left_out_say_why(rows, known):
    controls = measure_controls(rows, planted.blind(rows), known, "exact", None, None, 8, LEFT_OUT)
    words = {one["name"]: one["note"] for one in controls.entries if not one["metrics"]}
    assert words == {FROZEN: "no encoder"} | dict.fromkeys((BLANK, OTHER_ANSWER, MIRRORED), "not asked")
    assert controls.reliance == {} and sorted(controls.answers) == sorted(BLIND)


def test_without_a_train_split_a_question_does_not_know_its_own_answer(rows):
    few = rows.select(range(4))  # each question once: nothing else is known of it
    controls = measure_controls(
        few, planted.oracle(few), Known(None, "the others"), "exact", None, Encoder("painted", painted), 8, LEFT_OUT
    )
    # Three English questions share their language alone, and the first answer of the alphabet; one is in Chinese.
    first = min(row["messages"][1]["content"] for row in few if row["language"] == "en")
    assert controls.answers[PRIOR] == [first, first, first, ""]
    assert entry(controls, FROZEN)["note"] == "left out, because there is no other split to fit on"


def test_rows_without_an_image_or_another_patient_have_no_image_controls(rows, known):
    alone = rows.filter(lambda row: row["group_id"] == "patient 3")
    bare = alone.map(lambda row: {"images": []}, features=alone.features)
    controls = measure_controls(bare, planted.blind(bare), known, "exact", planted.blind, None, 8, LEFT_OUT)
    assert entry(controls, BLANK)["note"] == "no row has an image" and controls.reliance == {}
    controls = measure_controls(alone, planted.blind(alone), known, "exact", planted.blind, None, 8, LEFT_OUT)
    assert entry(controls, OTHER_ANSWER)["note"].startswith("no question is asked about two patients")
    assert controls.reliance["changes"][OTHER_ANSWER] == {"rows": 0, "groups": 0}


# ---- donors ----------------------------------------------------------------------------------------------------------


def test_a_donor_is_another_patient_with_the_same_prompt(rows):
    questions = read_questions(rows)
    for same in (True, False):
        donors = find_donors(questions, same_answer=same)
        assert any(donor is not None for donor in donors)
        for row, donor in enumerate(donors):
            if donor is not None:
                assert questions.prompts[row] == questions.prompts[donor]
                assert questions.groups[row] != questions.groups[donor]
                pair = [simplify(questions.answers[number].reference) for number in (row, donor)]
                assert (pair[0] == pair[1]) is same


def test_a_donor_is_the_next_one_and_the_first_follows_the_last(rows):
    donors = find_donors(read_questions(rows.select(range(0, 192, 4))), same_answer=False)  # one question
    references = [row["messages"][1]["content"] for row in rows.select(range(0, 192, 4))]
    for row, donor in enumerate(donors):
        others = [(row + step) % 48 for step in range(1, 48)]
        patients = [number for number in others if number // 2 != row // 2 and references[number] != references[row]]
        assert donor == (patients[0] if patients else None)


def test_images_to_encode_are_evenly_spread():
    names = ["", "a", "a", "b", "c", "d"]
    assert first_rows(names, None) == {"a": 1, "b": 3, "c": 4, "d": 5}
    assert first_rows(names, 2) == {"a": 1, "c": 4}
