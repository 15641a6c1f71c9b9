"""Checks what `clinical_consistency` reads from a text: findings, their status, side, severity and size."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.metrics.clinical_consistency import claims, details
from evaluation.metrics.clinical_consistency.claims import ABSENT, PRESENT, UNCERTAIN, describe_claims, read_claims
from evaluation.metrics.clinical_consistency.findings import FINDING, FINDINGS, ORGAN, ORGANS
from evaluation.metrics.clinical_consistency.measurements import QUANTITY, UNITS, size_of


def statuses(text: str) -> dict[str, str]:
    """Returns the status of each finding of a text, by its kind; a kind with two statuses gets both."""
    found: dict[str, str] = {}
    for claim in read_claims(text):
        found[claim.kind] = f"{found[claim.kind]} {claim.status}" if claim.kind in found else claim.status
    return found


STATUSES = [
    ("No effusion, pneumothorax or nodule.", {"effusion": ABSENT, "pneumothorax": ABSENT, "nodule": ABSENT}),
    ("There is no fracture and the heart is enlarged.", {"fracture": ABSENT, "enlargement": PRESENT}),
    ("No edema, mild cardiomegaly.", {"edema": ABSENT, "enlargement": PRESENT}),
    ("No edema or effusion, pneumonia is present.", {"edema": ABSENT, "effusion": ABSENT, "pneumonia": PRESENT}),
    ("A nodule isn't seen.", {"nodule": ABSENT}),
    ("No nodule is suspected.", {"nodule": ABSENT}),
    ("Atelectasis, cannot exclude pneumonia.", {"atelectasis": PRESENT, "pneumonia": UNCERTAIN}),
    ("The effusion has resolved, the nodule has not.", {"effusion": ABSENT, "nodule": PRESENT}),
    ("Pneumonia?", {"pneumonia": UNCERTAIN}),
    ("The lungs are clear.", {"abnormality": ABSENT}),
    ("The liver is not normal.", {"abnormality": PRESENT}),
    ("Kellgren-Lawrence grade 0: no osteoarthritis.", {"osteoarthritis": ABSENT}),
    ("Kellgren-Lawrence grade 1: doubtful osteoarthritis.", {"osteoarthritis": UNCERTAIN}),
    ("未见气胸及积液，可见结节。", {"pneumothorax": ABSENT, "effusion": ABSENT, "nodule": PRESENT}),
    ("边界不清的肿块。", {"mass": PRESENT}),
    ("肺不张，未见实变。", {"atelectasis": PRESENT, "consolidation": ABSENT}),
    ("胸腔积液,无气胸,肺炎不除外。", {"effusion": PRESENT, "pneumothorax": ABSENT, "pneumonia": UNCERTAIN}),
    ("KL 3级，No effusion.", {"osteoarthritis": PRESENT, "effusion": ABSENT}),
    ("The image is a chest X-ray.", {}),
    ("胸部正位片。", {}),
    ("", {}),
]


@pytest.mark.parametrize(("text", "expected"), STATUSES)
def test_statuses(text, expected):
    assert statuses(text) == expected


DETAILS = [
    ("Small left pleural effusion.", "effusion (pleura): present, left severity 1"),
    ("Left pleural effusion. The effusion is small.", "effusion (pleura): present, left severity 1"),
    ("Small effusion on both sides.", "effusion (pleura): present, left severity 1, right severity 1"),
    ("Left effusion. Right effusion.", "effusion (pleura): present, left, right"),
    ("No effusion on either side, none on the left.", "effusion (pleura): absent, left"),
    ("Moderate to severe osteoarthritis.", "osteoarthritis: present, severity 2.5"),
    ("KL grade IV.", "osteoarthritis: present, severity 3"),
    ("Pacemaker on the left with a lead in the right ventricle.", "pacemaker: present, left"),
    ("Kidney stones of 4 mm and 0.9 cm.", "stone (kidney): present, 4 mm, 9 mm"),
    ("A mass of 1,5 x 2 cm in the liver.", "mass (liver): present, 20 x 15 mm"),
    ("A 1,200 ml effusion.", "effusion (pleura): present, 1200 ml"),
    ("Nodule > 8mm.", "nodule: present, >8 mm"),
    ("No large nodule.", "nodule: absent"),
    ("右肾轻度积水。", "hydronephrosis (kidney): present, right severity 1"),
    ("未见明显肿块。", "mass: absent"),
    ("左侧胸腔大量积液，约三厘米。", "effusion (pleura): present, left severity 3, 30 mm"),
    ("左側胸腔積液。", "effusion (pleura): present, left"),
]


@pytest.mark.parametrize(("text", "expected"), DETAILS)
def test_details(text, expected):
    assert describe_claims(text) == [expected]


def test_a_side_belongs_to_the_nearest_finding_and_to_the_rest_of_its_list():
    assert describe_claims("Right, nodule in the left lung and effusion.")[0] == "nodule (lung): present, left, right"
    assert describe_claims("Effusion on the right, nodule on the left.") == [
        "effusion (pleura): present, right", "nodule: present, left",
    ]  # fmt: skip
    assert describe_claims("Left effusion and atelectasis.") == [
        "effusion (pleura): present, left", "atelectasis: present, left",
    ]  # fmt: skip


def test_the_organ_decides_what_a_general_name_means():
    names = ("The gallbladder contains a stone.", "A stone in the right kidney.", "Gallstones.", "A stone.")
    assert [read_claims(name)[0].organ for name in names] == ["gallbladder", "kidney", "gallbladder", ""]
    assert read_claims("Knee with effusion.")[0].organ == "joint"
    assert (
        read_claims("Narrowed joint space.")[0].kind == "narrowing" and read_claims("椎管狭窄。")[0].kind == "stenosis"
    )
    assert read_claims("The mass is enlarged.")[0].kind == "mass" and len(read_claims("The mass is enlarged.")) == 1


def test_a_repeated_statement_is_one_claim():
    assert len(read_claims("Nodule in the lung. The nodule is 5 mm. Nodule, 5 mm.")) == 1
    assert read_claims("Nodule. Lung nodule.")[0].organ == "lung"


def simple_names(patterns: str) -> list[str]:
    """Returns the names of an entry that are no regular expressions."""
    while (plain := re.sub(r"\([^()]*\)", "()", patterns.replace("()", "\x00"))) != patterns:
        patterns = plain
    return [name for name in patterns.split("|") if re.fullmatch(r"[a-z \u4e00-\u9fff]+", name)]


@pytest.mark.parametrize("number", range(len(FINDINGS)))
def test_every_name_of_the_table_is_found(number):
    """Checks the names that are no regular expressions."""
    name, patterns = FINDINGS[number]
    organ = {"joint_space": "joint space", "lymph_node": "lymph node", "costophrenic_angle": "costophrenic angle"}
    for word in simple_names(patterns):
        beside = f"{organ.get(name.organs[0], name.organs[0].replace('_', ' '))} " if name.required else ""
        found = {claim.kind for claim in read_claims(f"{beside}{word}.")}
        assert found, word
        assert name.kind in found or name.kind == "abnormality", (word, found)


def test_the_tables_are_consistent():
    for name, patterns in FINDINGS:
        assert set(name.organs) <= set(ORGANS) and patterns == patterns.lower()
        assert not name.default or name.default in name.organs
        assert not name.required or (name.organs and not name.default)
    assert FINDING.search("") is None and ORGAN.search("") is None


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_is_read(unit):
    size = size_of(QUANTITY.search(f"about 3 {unit} wide"))
    assert size.unit == UNITS[unit][0] and size.numbers == (3 * UNITS[unit][1],)


def test_a_number_without_a_unit_is_no_size():
    assert describe_claims("2 nodules, series 4, image 12.") == ["nodule: present"]


LONG_TEXTS = {
    "no as yet": "nodule is not " + "as yet " * 600,
    "no further": "nodule, no " + "further " * 600,
    "be": "nodule " + "be " * 4_000,
    "not be": "nodule " + "not be " * 3_000,
    "findings and organs": "结节肺" * 4_000,
    "sides, organs and findings": "右肺见结节，" * 2_000,
    "an organ in an organ": "结节" + "膝关节" * 80 + "x左",
    "denials": "no effusion, " * 2_000,
    "findings": "结节" * 5_000,
    "sizes": "nodule " + "1x" * 5_000,
    "digits": "nodule " + "1" * 5_000,
    "grades": "nodule " + "kl (" * 3_000,
}


@pytest.mark.parametrize("name", LONG_TEXTS)
def test_a_text_without_an_end_is_read_in_time(name):
    """A process of its own can be stopped, which a regular expression that does not end in this one cannot.

    Each text takes less than a second. Where the time grew faster than the length, some took minutes or did not end.
    """
    code = (
        "import sys; from evaluation.metrics.clinical_consistency.claims import read_claims; "
        "print(len(read_claims(sys.stdin.read())))"
    )
    root = Path(claims.__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], input=LONG_TEXTS[name], capture_output=True, text=True, timeout=20, cwd=root,
        check=True, encoding="utf-8",
    )  # fmt: skip
    assert 1 <= int(done.stdout) <= 3


def test_the_comparisons_for_a_text_grow_with_its_length(monkeypatch):
    calls = []
    monkeypatch.setattr(claims, "distance", lambda between: calls.append(between) or details.distance(between))
    counts = []
    for times in (100, 200, 400):
        calls.clear()
        read_claims("结节肺" * times)
        counts.append(len(calls))
    assert counts[0] <= 2 * 100 * len(ORGANS) and counts[2] <= 2.2 * counts[1] <= 2.2 * 2.2 * counts[0]


def test_a_long_sentence_is_cut_between_words():
    text = "A nodule of the lung with a spiculated margin, " * 20 + "no effusion"
    assert statuses(text) == {"nodule": PRESENT, "effusion": ABSENT}
    pieces = claims._sentences(claims._normalized("word " * 200))
    assert max(map(len, pieces)) <= claims._LONGEST_SENTENCE and set("".join(pieces).split()) == {"word"}


def test_marks_in_a_text_are_ignored():
    text = "No effusion" + "".join(map(chr, range(0xE000, 0xE120))) + " nodule."
    assert statuses(text) == {"effusion": ABSENT, "nodule": ABSENT}


def test_every_module_is_copied_by_evaluate():
    folder = Path(claims.__file__).parent
    metric = (folder / "clinical_consistency.py").read_text(encoding="utf-8")
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "app", "clinical_consistency"}
    assert modules == set(re.findall(r"^from \.(\w+) import ", metric, re.MULTILINE))


def test_the_table_of_characters_is_that_of_the_other_metric():
    """Each metric is complete by itself, so both have the table."""
    folder = Path(claims.__file__).parents[1]
    one, other = (folder / name / "chinese_characters.py" for name in ("clinical_consistency", "vqa_accuracy"))
    assert one.read_bytes() == other.read_bytes()


def test_severities_lie_between_mild_and_severe():
    assert details.MILD < details.MODERATE < details.SEVERE
    assert [sorted(claim.severities)[0][1] for text in ("mild edema", "mild to moderate edema", "severe edema")
            for claim in read_claims(text)] == [1, 1.5, 3]  # fmt: skip
