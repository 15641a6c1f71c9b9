"""Checks the probe of clinical_consistency, that its record and README are of today's rules, and the bar."""

from __future__ import annotations

import json
import shutil

import pytest
from scipy import stats

from tests.benchmarks.evaluation import clinical_consistency

BAR = 0.95


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads(clinical_consistency.RESULT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", clinical_consistency.LANGUAGES)
def test_the_probe(language):
    rows = clinical_consistency.read_probe(language)
    texts = [(row["reference"], row["same"], row.get("changed")) for row in rows]
    assert len(set(texts)) == len(rows) and {row["part"] for row in rows} == set(clinical_consistency.PARTS)
    for kind in clinical_consistency.KINDS:
        parts = [row["part"] for row in rows if row["kind"] == kind]
        reports, later = (4, 2) if kind == "paraphrase" else (7, 3)
        assert [parts.count(part) for part in ("unusual", "natural", "reports", "later")] == [6, 4, reports, later]
        before = parts.count("tuning") + parts.count("held_out")
        assert before >= 22 and abs(parts.count("held_out") - before / 3) <= 1
    assert all(("changed" in row) == (row["kind"] != "paraphrase") for row in rows)
    assert all(len(set(filter(None, row))) == len(list(filter(None, row))) for row in texts)


def test_the_record_and_the_page_are_of_these_rules(tmp_path, record):
    page = shutil.copy(clinical_consistency.README, tmp_path)
    assert clinical_consistency.main(["--output", str(tmp_path / "result.json"), "--readme", page]) == 0
    fresh = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    for found in (*fresh["languages"].values(), *record["languages"].values()):
        assert found.pop("milliseconds_per_text") < 20
    assert fresh["languages"] == record["languages"], "run tests/benchmarks/evaluation/clinical_consistency.py"
    text = clinical_consistency.README.read_text(encoding="utf-8")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text
    rows = [found["all"] for found in record["languages"].values()]
    assert f"\n{sum(found['rows'] for found in rows)} rows" in text
    assert f"{sum(found['rows'] - found['with_changed'] for found in rows)} paraphrases" in text
    parts = [found["parts"] for found in record["languages"].values()]
    assert f"first {sum(found[name]['rows'] for found in parts for name in ('tuning', 'held_out'))} rows" in text


@pytest.mark.parametrize("language", clinical_consistency.LANGUAGES)
def test_the_metric_separates_what_words_do_not(record, language):
    found = record["languages"][language]
    for part in ("tuning", "held_out"):
        assert found["parts"][part]["separated_clinical_consistency"] >= BAR
        assert found["parts"][part]["kept_clinical_consistency"] >= BAR
    for first in record["first_runs"].values():
        for part in first["languages"][language].values():
            assert part["separated_clinical_consistency"] > 0.7
    for measured in (found["all"], found["parts"]["held_out"]):
        for other in ("bleu", "rouge_l"):
            assert measured[f"separated_{other}"] < 0.5 * measured["separated_clinical_consistency"]


@pytest.mark.parametrize(("name", "parts"), clinical_consistency.FIRST_RUNS.items())
def test_a_first_run_is_of_these_rows_and_is_kept(name, parts, tmp_path, capsys):
    """The rows of a first run stay as they were; the digest names its rules, which are those of another commit."""
    path = clinical_consistency.first_run_path(name)
    kept = path.read_bytes()
    first = json.loads(kept)
    assert first["sha256_of_rows"] == clinical_consistency.digests(parts)["sha256_of_rows"]
    assert clinical_consistency.main(["--first_run", name]) == 2 and path.read_bytes() == kept
    assert "a first run happens once" in capsys.readouterr().err
    assert clinical_consistency.write_first_run(tmp_path / "again.json", parts) == 0
    again = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    for language in clinical_consistency.LANGUAGES:
        for part in parts:
            found, before = again["languages"][language][part], first["languages"][language][part]
            assert found["with_changed"] == before["with_changed"] >= 27
            assert found["separated_bleu"] == before["separated_bleu"]
            missed = round((1 - before["separated_clinical_consistency"]) * before["with_changed"])
            assert len(before["missed"]) == missed


def test_the_guide_has_the_figures_of_the_first_runs(record):
    guide = (clinical_consistency.README.parents[3] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    guide = " ".join(guide.split())  # lines are broken anywhere
    for name, parts in clinical_consistency.FIRST_RUNS.items():
        found = [record["first_runs"][name]["languages"][language][part] for language in ("en", "zh") for part in parts]
        pairs = sum(part["with_changed"] for part in found)
        right = sum(part["with_changed"] * part["separated_clinical_consistency"] for part in found)
        assert f"{pairs - round(right)} of {pairs}" in guide, name


def test_wilson_against_scipy():
    for right, rows in ((24, 27), (0, 10), (63, 63)):
        expected = stats.binomtest(right, rows).proportion_ci(0.95, method="wilson")
        assert clinical_consistency.wilson(right / rows, rows) == pytest.approx((expected.low, expected.high))


def test_the_page_shows_the_new_texts_first_and_a_coin():
    text = clinical_consistency.README.read_text(encoding="utf-8")
    table = text.split("<!-- probe:table -->\n")[1].split("<!-- /probe:table -->")[0].splitlines()
    titles = [line.split("|")[1].strip() for line in table[2:]]
    assert titles[0].startswith("*new texts: the first run") and titles[5] == "a coin"
    assert "those included that the rules were tuned on" in titles[titles.index("negation") - 1]
    kept = [line.split("|")[2:8] for line in table[-4:]]
    assert (
        all(row[place].strip() == "" for row in kept for place in (1, 2, 4, 5)) and float(kept[0][0].split()[0]) < 100
    )


def test_rouge_l_by_hand():
    assert clinical_consistency.rouge_l("No effusion seen", "no effusion") == 2 * 2 / 5
    assert clinical_consistency.rouge_l("未见积液", "可见积液") == 2 * 3 / 8
    assert clinical_consistency.rouge_l("a b c d", "b d a c") == 0.5 and clinical_consistency.rouge_l("", "") == 0


def test_a_row_is_separated_only_by_a_higher_score():
    rows = [
        {"reference": "No mass.", "same": "No tumor.", "changed": "Mass.", "kind": "negation", "part": "tuning"},
        {"reference": "No mass.", "same": "A mass is absent.", "kind": "paraphrase", "part": "tuning"},
    ]
    one, other = clinical_consistency.scored(rows, "en")
    assert one["separated"]["clinical_consistency"] is False and one["kept"]["clinical_consistency"] is False
    assert other["separated"] == {} and other["kept"] == {"clinical_consistency": True}
    shares = clinical_consistency.shares([one, other])
    assert (shares["rows"], shares["with_changed"], shares["kept_clinical_consistency"]) == (2, 1, 0.5)
