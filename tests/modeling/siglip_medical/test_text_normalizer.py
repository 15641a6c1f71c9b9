"""Checks the normalizer of clinical text: golden cases, idempotence, and that both engines agree for any string."""

from __future__ import annotations

import random

import pytest

from modeling.siglip_medical.text_normalizer import clinical_normalizers, normalize_text

EXPECTED = {
    # decimals, and text that resembles them
    "lesion 1.5 cm": "lesion 1 point 5 cm",
    "ratio .5": "ratio 0 point 5",
    "1,500 mL": "1500 mL",
    "v1.2.3": "v1 2 3",
    "Grade 2. No effusion.": "Grade 2. No effusion.",
    # ranges, and text that resembles them
    "KL 2-3": "KL 2 to 3",
    "KL 2–3": "KL 2 to 3",
    "2~3 mm": "2 to 3 mm",
    "2 - 3 mm": "2 to 3 mm",
    "2mm-3mm": "2 mm to 3 mm",
    "2.0-3.5cm": "2 point 0 to 3 point 5 cm",
    "5%-10%": "5 percent to 10 percent",
    "C5-C6": "C5-C6",
    "X-ray of a 2-year-old": "X-ray of a 2-year-old",
    "COVID-19": "COVID-19",
    "CA19-9 and CA 15-3": "CA19 9 and CA 15 3",
    "2024-03-12": "2024 03 12",
    "2024-03": "2024 03",
    "12.03.2024": "12 03 2024",
    "at 14:30": "at 14 30",
    # signs and comparisons
    "-5 HU to -10 HU": "minus 5 HU to minus 10 HU",
    "<5mm": "less than 5 mm",
    ">= 3": "greater than or equal to 3",
    "≤5%": "less than or equal to 5 percent",
    "AST > ALT": "AST greater than ALT",
    "<br>text</p>": "text",
    "low -> high": "low to high",
    "2 ± 1": "2 plus or minus 1",
    "~5 mm": "about 5 mm",
    # polarity
    "+ve nodes": "positive nodes",
    "-ve nodes": "negative nodes",
    "(+) (-)": "positive negative",
    "HER2(2+)": "HER2(2 plus)",
    "+++": "3 plus",
    "ER+/PR-": "ER positive / PR negative",
    "CT- and MR-guided": "CT- and MR-guided",
    "Gleason 3+4=7": "Gleason 3 plus 4=7",
    # slashes
    "T1/T2": "T1 / T2",
    "1/2": "1 over 2",
    "BP 120/80": "BP 120 over 80",
    "L4/5": "L4 / 5",
    "and/or": "and / or",
    "3 mg/dL": "3 mg per dL",
    "w/o effusion": "without effusion",
    "s/p resection": "status post resection",
    # units and products
    "5 cm²": "5 cm squared",
    "3mm3": "3 mm cubed",
    "5 cm^2": "5 cm squared",
    "5 µm": "5 micrometer",
    "5 μm": "5 micrometer",
    "37.5°C": "37 point 5 degrees celsius",
    "flexion 30°": "flexion 30 degrees",
    "30%": "30 percent",
    "2 x 3 cm": "2 by 3 cm",
    "2×3": "2 by 3",
    "2cm x 3cm": "2 cm by 3 cm",
    "2.5x3.1x4": "2 point 5 by 3 point 1 by 4",
    # Chinese
    "结节大小约1.5×2.3cm，(+)": "结节大小约1点5乘2点3 cm，阳性",
    "病毒（＋）": "病毒阳性",
    "抗体（－）。": "抗体阴性。",
    "抗体(-)": "抗体阴性",
    "体温＞37.5℃。": "体温大于37点5 degrees celsius。",
    "约２～３ｍｍ": "约2至3 mm",
    "直径<5mm": "直径小于5 mm",
    "占30%": "占30％",
    "密度约-600HU": "密度约负600HU",
    "10年-15年": "10年至15年",
    "图像，腹部。": "图像，腹部。",
    "": "",
    "  Knee \n X-ray ": "Knee X-ray",
}
# Pairs of texts that become equal if punctuation is deleted.
DIFFERENT = [
    ("1.5 cm", "15 cm"), ("KL 2-3", "KL 23"), ("+ve", "-ve"), ("<5 mm", ">5 mm"), ("<5 mm", "5 mm"), ("T1/2", "T12"),
    ("(+)", "(-)"), ("1/2", "12"), ("5%", "5"), ("2x3", "23"), ("±2", "2"), ("≤ 3", "≥ 3"), ("-5 HU", "5 HU"),
    ("病毒（＋）", "病毒（－）"), ("1.5厘米", "15厘米"), ("2+", "2"), ("1/12/2020", "11/2/2020"), ("0.5 mm", "05 mm"),
]  # fmt: skip
ALPHABET = [
    *"abcmxTLCAERHU 0123456789  ..,,--++//<>=()%°²³µμ×～－（）＋~±≤*^[]:：%％肝约。，㎝\t\n—veVE/oOwW\u00a0\u3000é😀",
    *("cm", "mm", "1.5", "2-3", "19", "CA", "kg", "mg/dL", " to ", "HU", "年", "x", "×", "+ve", "（-）", "w/o", "℃"),
]


def random_texts(count: int, seed: int, longest: int = 16) -> list[str]:
    generator = random.Random(seed)
    return ["".join(generator.choices(ALPHABET, k=generator.randrange(longest))) for _ in range(count)]


@pytest.mark.parametrize(("text", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_marks_are_written_out(text, expected):
    assert normalize_text(text) == expected
    assert normalize_text(expected) == expected


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_texts_stay_different_without_punctuation(one, other):
    from transformers import SiglipTokenizer

    left, right = (SiglipTokenizer.canonicalize_text(Plain(), normalize_text(text)) for text in (one, other))
    assert left != right


class Plain:
    """Provides the attributes that `SiglipTokenizer.canonicalize_text` reads, without a vocabulary."""

    do_lower_case = True

    def remove_punctuation(self, text: str) -> str:
        from transformers import SiglipTokenizer

        return SiglipTokenizer.remove_punctuation(self, text)


def test_both_engines_agree_for_any_string():
    from tokenizers import normalizers

    fast = normalizers.Sequence(clinical_normalizers())
    for text in [*EXPECTED, *random_texts(5000, seed=0), *random_texts(300, seed=1, longest=80)]:
        assert fast.normalize_str(text) == normalize_text(text), text


def test_the_normalizer_is_idempotent():
    for text in random_texts(10000, seed=2):
        once = normalize_text(text)
        assert normalize_text(once) == once, text


def test_plain_words_stay_unchanged():
    generator = random.Random(3)
    for _ in range(1000):
        words = ["".join(generator.choices("abcdefghijKLMNOP肝脏", k=generator.randrange(1, 8))) for _ in range(5)]
        text = " ".join(words) + generator.choice([".", "!", "?", "。", ", end", ""])
        assert normalize_text(text) == text


def test_numbers_are_never_lost():
    """Digits that no rule matches or inserts keep their number and order."""
    for text in random_texts(5000, seed=4, longest=24):
        text = "".join(mark for mark in text if mark not in "02345０２３４５²³㎡")
        kept = [mark for mark in normalize_text(text) if mark in "16789"]
        assert kept == [mark for mark in text if mark in "16789"], text
