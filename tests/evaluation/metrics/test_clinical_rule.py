"""Checks the rule `clinical`: what it takes for the same answer, and what must stay different."""

from __future__ import annotations

import itertools
import unicodedata

import pytest

from evaluation.metrics.vqa_accuracy.chinese_characters import simplified
from evaluation.metrics.vqa_accuracy.clinical_rule import clinical, meaning
from evaluation.metrics.vqa_accuracy.clinical_words import NO, SYNONYMS, UNITS, YES
from evaluation.metrics.vqa_accuracy.plain_rules import detect_language, exact

SAME = [
    # quantities
    ("1.5cm", "1.5 cm"), ("15 mm", "1.5 cm"), ("1.50 cm", "1.5cm"), (".5 cm", "5mm"), ("1.5厘米", "15 毫米"),
    ("10%", "10 %"), ("10 percent", "10%"), ("10 per cent", "10%"), ("百分之10", "10%"), ("1,000 ml", "1 liter"),
    ("> 5mm", "＞5 mm"), (">= 5 mm", "≥5mm"), ("3 x 4 cm", "30mm x 40mm"), ("3×4 cm", "3 cm x 4 cm"),
    ("1-2 cm", "10 to 20 mm"), ("1~2厘米", "1-2 cm"), ("5cm²", "500 mm2"), ("5 cm^3", "5ml"), ("120mmHg", "120 mmHg"),
    ("45岁", "45 years"), ("-0.5 cm", "-5 mm"), ("is -5mm", "is -0.5 cm"), ("two", "2"), ("两个", "2"), ("三处", "3"),
    # lists
    ("Spinal cord, lung", "Lung, Spinal Cord"), ("lung and spinal cord", "Lung, Spinal Cord"),
    ("肾脏、肝脏", "肝脏,肾脏"), ("肝脏和肾脏", "肾脏，肝脏"), ("1 cm and 2 cm", "2 cm, 1cm"), ("CT/MRI", "MRI, CT"),
    # yes and no
    ("Yes, there is.", "Yes"), ("yes it does", "Yes"), ("Yes - there is a mass", "Yes"), ("Yes. Left lung.", "Yes"),
    ("No, there is no mass.", "No"), ("No, it is not.", "no"), ("True", "Yes"), ("没有", "不包含"),
    ("没有，肺部正常", "没有"), ("是", "是的"), ("是的，有结节。", "包含"), ("無", "没有"), ("否。", "不是"),
    ("The final answer is: Yes.", "Yes"),
    ("No, it is enlarged.", "No"), ("No, there are none.", "No"), ("No, there is nothing abnormal.", "No"),
    ("No, no mass is seen.", "No"), ("No, a mass is not seen.", "No"), ("No, I cannot see a mass.", "No"),
    ("No, I do not see one.", "No"), ("No, it cannot be seen", "No"), ("无，未发现结节", "无"),
    ("没有，不存在结节", "没有"),
    # explanations and introductions
    ("CT (computed tomography)", "CT"), ("核磁共振（MRI）", "MRI"), ("The answer is Liver.", "Liver"),
    ("It is the liver", "Liver"), ("答案是肝脏。", "肝脏"),
    # synonyms, spelling, scripts
    ("xray", "X-Ray"), ("X-ray", "x ray"), ("Ｘ光", "X-Ray"), ("核磁共振", "MRI"), ("Axial", "Transverse Plane"),
    ("left upper", "Upper Left"), ("grey", "Gray"), ("Kidneys", "Kidney"), ("T2 weighted", "T2"), ("肺部", "肺"),
    ("左侧肺部", "左肺"), ("双侧肺部", "双肺"), ("結節", "结节"), ("左側胸腔積液", "左侧胸腔积液"), ("Oedema", "edema"),
]  # fmt: skip

DIFFERENT = [
    # quantities
    ("1.5 cm", "15 cm"), ("10%", "10"), ("5 mm", "5"), ("5 mm", "5 ml"), ("> 5 mm", "< 5 mm"), ("-5 mm", "5 mm"),
    ("is -5 mm", "is 5 mm"), ("3 x 4 cm", "3 x 40 mm"), ("1-2 cm", "1-20 mm"), ("1, 2 cm", "1, 20 mm"),
    ("1-2 cm", "1 x 2 cm"), ("5 cm2", "50 mm2"), ("5 cm2", "5 cm"), ("120/80", "80/120"), ("1", "10"), ("2 to 3", "23"),
    ("T1-2", "T12"), ("一", "二"),
    # what changes a finding
    ("left lung", "right lung"), ("左", "右"), ("no effusion", "effusion"), ("可见积液", "未见积液"), ("T1", "T2"),
    ("Hyperdense", "Hypodense"), ("高密度", "低密度"), ("不正常", "正常"), ("nodules", "nodule"), ("心包", "心脏"),
    ("lung (left)", "lung"), ("Lung, Liver", "Lung"), ("lung, lung", "lung"), ("mass", "tumor"),
    # order counts beside a negation
    ("no mass, effusion", "effusion, no mass"), ("没有积液,结节", "结节,没有积液"),
    # not a yes or a no
    ("Yes, there is no nodule", "Yes"), ("是的，没有结节", "是"), ("yes and no", "Yes"), ("yes no", "Yes"),
    ("no, yes", "No"), ("不是,是", "不是"), ("有，没有", "有"), ("Normal", "No"), ("I do not know", "No"),
    ("No, there is a mass", "No"), ("No, there is.", "No"), ("No, there's a mass.", "No"),
    ("No, a mass is seen.", "No"),
    ("No, I see a mass.", "No"), ("No effusion; no, but there is a mass", "No"), ("无，可见结节", "无"),
    ("没有，发现结节", "没有"), ("无，左肺存在结节", "无"), ("No, I cannot tell", "No"), ("No, it is unclear.", "No"),
    ("No, hard to say", "No"), ("No, I am not sure", "No"), ("Yes, it is uncertain", "Yes"), ("无，无法判断", "无"),
    ("是，不确定", "是"), ("没有，看不清", "没有"), ("No, I don't know.", "No"),
    ("No idea", "No"), ("yes yes", "Yes"), ("no-contrast CT", "No"), ("包含", "不包含"), ("不对称", "不对"),
    ("", ".."), ("", "No"), ("It is not", "It is"),
]  # fmt: skip


def both_ways(one: str, other: str) -> set[float]:
    return {clinical(one, other, detect_language(other)), clinical(other, one, detect_language(one))}


@pytest.mark.parametrize(("one", "other"), SAME)
def test_answers_that_say_the_same_are_equal(one, other):
    assert both_ways(one, other) == {1.0}


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_answers_that_differ_in_the_finding_are_not_equal(one, other):
    assert both_ways(one, other) == {0.0}


def test_what_is_exact_is_clinical():
    for one, other in itertools.chain(SAME, DIFFERENT):
        for language in ("en", "zh"):
            assert clinical(one, other, language) >= exact(one, other, language)
            assert clinical(one, one, language) == exact(one, one, language) == 1


def test_a_name_stands_on_one_line_of_the_tables():
    """A name on two lines would be the synonym of whichever comes last."""
    names = [name.strip() for line in SYNONYMS.strip().splitlines() for name in line.split("|")]
    units = [name for line in UNITS.strip().splitlines() for name in line.split("|")[2].split()]
    assert len(names) == len(set(names)) and len(units) == len(set(units)) and not YES & NO
    for name in (*names, *YES, *NO):
        assert name == simplified(unicodedata.normalize("NFKC", name)).lower()


@pytest.mark.parametrize("line", SYNONYMS.strip().splitlines())
def test_all_names_of_a_line_mean_the_same(line):
    assert len({meaning(name) for name in line.split("|")}) == 1


def test_no_two_lines_mean_the_same():
    assert len({meaning(line.split("|")[0]) for line in SYNONYMS.strip().splitlines()}) == len(
        SYNONYMS.strip().splitlines()
    )


def test_a_long_text_is_compared_as_it_is():
    """The time for a list or a quantity grows faster than the text, and no short answer is as long."""
    long = "the liver, " * 50
    assert clinical(long, long.upper(), "en") == 1 and clinical(f"{long} lung, liver", f"{long} liver, lung", "en") == 0
    assert clinical(f"Yes. {long}", "Yes", "en") == 1
    assert clinical("1," * 100_000, "1", "en") == clinical("9" * 400 + " cm", "1 cm", "en") == 0


def test_simplified_characters_stay_as_they_are():
    assert simplified("右側腎臟見結節，無積液") == "右侧肾脏见结节，无积液"
    text = "右侧肾脏见结节，无积液 T2 left"
    assert simplified(text) == text and simplified(simplified("顱內壓")) == simplified("顱內壓")
