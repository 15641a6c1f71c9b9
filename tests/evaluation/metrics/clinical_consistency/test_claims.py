"""Checks what `clinical_consistency` reads from a text: findings, their status, side, severity and size."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.metrics.clinical_consistency import claims, details
from evaluation.metrics.clinical_consistency.claims import ABSENT, PRESENT, UNCERTAIN, describe_claims, read_claims
from evaluation.metrics.clinical_consistency.findings import FINDING, FINDINGS, ORGAN, ORGANS
from evaluation.metrics.clinical_consistency.measurements import QUANTITY, UNITS, size_of
from evaluation.metrics.clinical_consistency.sentences import LONGEST_SENTENCE, sentences_of


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
    # ---- wrapped lines, lists and headings
    ("No focal\nconsolidation.", {"consolidation": ABSENT}),
    (
        "no focal\nconsolidation, effusion\nor pneumothorax.",
        dict.fromkeys(("consolidation", "effusion", "pneumothorax"), ABSENT),
    ),
    (
        "The lungs are clear. No pleural\neffusion. Heart size is\nnormal.",
        dict.fromkeys(("abnormality", "effusion", "enlargement"), ABSENT),
    ),
    ("No effusion\nCardiomegaly", {"effusion": ABSENT, "enlargement": PRESENT}),
    ("no effusion\ncardiomegaly", {"effusion": ABSENT, "enlargement": PRESENT}),
    ("No effusion\n\ncardiomegaly", {"effusion": ABSENT, "enlargement": PRESENT}),
    ("- No effusion\n- nodule", {"effusion": ABSENT, "nodule": PRESENT}),
    ("1) no effusion\n2) nodule", {"effusion": ABSENT, "nodule": PRESENT}),
    (
        "FINDINGS:\nHeart: enlarged\nPleura: no effusion\nLungs: nodule",
        {"enlargement": PRESENT, "effusion": ABSENT, "nodule": PRESENT},
    ),
    ("双肺未见\n实变。", {"consolidation": ABSENT}),
    ("未见胸腔积液\n左肺结节", {"effusion": ABSENT, "nodule": PRESENT}),
    # ---- scope
    ("No fracture, and a joint effusion is seen.", {"fracture": ABSENT, "effusion": PRESENT}),
    ("No fracture, and joint effusion is seen.", {"fracture": ABSENT, "effusion": PRESENT}),
    ("No fracture, dislocation, and effusion is seen.", dict.fromkeys(("fracture", "dislocation", "effusion"), ABSENT)),
    ("No effusion, with cardiomegaly.", {"effusion": ABSENT, "enlargement": PRESENT}),
    ("No hydronephrosis with a 2 cm cyst.", {"hydronephrosis": ABSENT, "cyst": PRESENT}),
    ("Without effusion and with mild edema.", {"effusion": ABSENT, "edema": PRESENT}),
    ("No evidence of pneumonia with clear lungs.", {"pneumonia": ABSENT, "abnormality": ABSENT}),
    ("Right nodule. Not on the prior.", {"nodule": PRESENT}),
    ("No mass with calcification.", {"mass": ABSENT, "calcification": ABSENT}),
    ("Unlikely to represent pneumonia.", {"pneumonia": UNCERTAIN}),
    ("No mass effect.", {"mass_effect": ABSENT}),
    ("Mass without mass effect.", {"mass": PRESENT, "mass_effect": ABSENT}),
    ("There is clear evidence of a fracture.", {"fracture": PRESENT}),
    ("No clear fracture.", {"fracture": ABSENT}),
    ("It is not clear whether there is a fracture.", {"fracture": UNCERTAIN}),
    ("Normal pressure hydrocephalus.", {"hydrocephalus": PRESENT}),
    ("Pneumonia vs. atelectasis.", {"pneumonia": UNCERTAIN, "atelectasis": UNCERTAIN}),
    ("A pneumothorax is difficult to exclude.", {"pneumothorax": UNCERTAIN}),
    ("Pneumonia is a consideration.", {"pneumonia": UNCERTAIN}),
    ("The heart is no longer normal in size.", {"enlargement": PRESENT}),
    ("The nodule is no longer visualized, and there is an effusion.", {"nodule": ABSENT, "effusion": PRESENT}),
    ("Interval resolution of the effusion.", {"effusion": ABSENT}),
    ("No resolution of the effusion.", {"effusion": PRESENT}),
    ("Incomplete resolution of the effusion.", {"effusion": PRESENT}),
    ("The tube has been removed; the endotracheal tube was removed.", {"tube": ABSENT}),
    ("No line to suggest pneumothorax.", {"pneumothorax": ABSENT}),
    ("It can be denied that there is an effusion.", {"effusion": ABSENT}),
    # ---- Chinese
    ("气胸不存在。", {"pneumothorax": ABSENT}),
    ("不存在气胸。", {"pneumothorax": ABSENT}),
    ("气胸（-），积液（+）。", {"pneumothorax": ABSENT, "effusion": PRESENT}),
    ("气胸较前消失。", {"pneumothorax": ABSENT}),
    ("气胸未消失。", {"pneumothorax": PRESENT}),
    ("胸腔积液致肋膈角消失。", {"effusion": PRESENT}),
    ("气胸尚未完全吸收。", {"pneumothorax": PRESENT}),
    ("胸腔积液不明显。", {"effusion": ABSENT}),
    ("结节较前变化不明显。", {"nodule": PRESENT}),
    ("原右肺结节，本次未见。", {"nodule": ABSENT}),
    ("未见明确骨折。", {"fracture": ABSENT}),
    ("双肺未见实变,结节,左侧胸腔积液。", {"consolidation": ABSENT, "nodule": ABSENT, "effusion": PRESENT}),
    ("肝脏未见占位,胆囊结石。", {"mass": ABSENT, "stone": PRESENT}),
    ("双肺未见实变，左侧胸腔积液。", {"consolidation": ABSENT, "effusion": PRESENT}),
    ("膝关节间隙变窄。", {"narrowing": PRESENT}),
    ("未见占位效应。", {"mass_effect": ABSENT}),
    ("可以否认有胸腔积液。", {"effusion": ABSENT}),
    ("KL 1-2级。", {"osteoarthritis": UNCERTAIN}),
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
    ("KL-3.", "osteoarthritis: present, severity 2"),
    ("Kellgren–Lawrence grade 2-3.", "osteoarthritis: present, severity 1.5"),
    ("Grade 2-3 osteoarthritis.", "osteoarthritis: present, severity 1.5"),
    ("Knee osteoarthritis, grade 3.", "osteoarthritis: present, severity 2"),
    ("骨关节炎（2级）", "osteoarthritis: present, severity 1"),
    ("2-3级骨性关节炎", "osteoarthritis: present, severity 1.5"),
    ("Osteoarthritis, 3 views.", "osteoarthritis: present"),
    ("K-L分级：II～III级。", "osteoarthritis: present, severity 1.5"),
    ("Small left and large right pleural effusions.", "effusion (pleura): present, left severity 1, right severity 3"),
    ("Large right, small left effusion.", "effusion (pleura): present, left severity 1, right severity 3"),
    (
        "Bilateral effusions, small on the left and moderate on the right.",
        "effusion (pleura): present, left severity 1, right severity 2",
    ),
    ("双侧胸腔积液，左侧少量，右侧大量。", "effusion (pleura): present, left severity 1, right severity 3"),
    ("Left 5 mm nodule and right 9 mm nodule.", "nodule: present, left, right, left 5 mm, right 9 mm"),
    ("5 mm left and 9 mm right renal stones.", "stone (kidney): present, left, right, left 5 mm, right 9 mm"),
    ("膝关节间隙积液。", "effusion (joint): present"),
    ("Joint space effusion.", "effusion (joint): present"),
    ("Midline shift to the left by 7 mm.", "shift (midline): present, left, 7 mm"),
    ("胆囊结石，较大者约1.2厘米。", "stone (gallbladder): present, 12 mm"),
    ("左侧气胸，较前明显吸收。", "pneumothorax: present, left"),
    ("左侧胸腔积液，量较少。", "effusion (pleura): present, left severity 1"),
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


def test_what_is_denied_on_the_other_side_is_a_claim_of_its_own():
    for text in (
        "右侧胸腔积液，左侧未见。", "右侧胸腔积液；左侧未见。", "Right effusion, not on the left.",
        "Effusion on the right; none on the left.",
    ):  # fmt: skip
        assert describe_claims(text) == ["effusion (pleura): present, right", "effusion (pleura): absent, left"]
    assert describe_claims("左侧未见胸腔积液。") == ["effusion (pleura): absent, left"]
    assert describe_claims("左侧未见。") == describe_claims("None on the left.") == []


def test_a_detail_in_a_clause_of_its_own():
    assert describe_claims("两肺纹理增多，左肺上叶见空洞。") == ["cavity: present, left"]
    assert describe_claims("硬膜下血肿，厚约1.0cm，中线右移0.5cm。") == [
        "hematoma: present, 10 mm", "shift (midline): present, right, 5 mm",
    ]  # fmt: skip
    assert describe_claims("An 8 mm calcified granuloma.") == ["calcification: present", "granuloma: present, 8 mm"]


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
    "lines": "nodule\n" * 3_000,
    "abbreviations": "nodule vs. " * 2_000,
    "Chinese numbers": "结节" + "一" * 5_000,
    "wrapped organs": "结节" + "左侧未见，" * 2_000,
    "menisci": "nodule " + "tear of the medial " * 1_000,
}


def test_texts_without_an_end_are_read_in_time():
    """A process of its own can be stopped, which a regular expression that does not end in this one cannot.

    Each text takes a tenth of a second. Where the time grew faster than the length, some took minutes or did not end;
    a sentence is cut after some hundred characters, so that a longer text is no harder.
    """
    code = (
        "import json, sys; from evaluation.metrics.clinical_consistency.claims import read_claims\n"
        "for name, text in json.load(sys.stdin).items(): print(name, len(read_claims(text)), sep=': ', flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps({name: text[:3_000] for name, text in LONG_TEXTS.items()}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        cwd=Path(claims.__file__).parents[3],
        check=True,
    )
    counts = dict(line.split(": ") for line in done.stdout.splitlines())
    assert list(counts) == list(LONG_TEXTS) and all(1 <= int(count) <= 3 for count in counts.values())


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
    pieces = sentences_of("word " * 200)
    assert max(map(len, pieces)) <= LONGEST_SENTENCE and set("".join(pieces).split()) == {"word"}


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
