"""Checks the quantities that `clinical_consistency` reads: numbers in digits and words, units, ranges and bounds."""

from __future__ import annotations

import pytest

from evaluation.metrics.clinical_consistency.measurements import QUANTITY, Size, number_of, size_of
from evaluation.metrics.clinical_consistency.sentences import normalized


def sizes(text: str) -> list[Size]:
    return [size for match in QUANTITY.finditer(normalized(text)) if (size := size_of(match))]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15", 15), ("0.5", 0.5), (".5", 0.5), ("1 1/2", 1.5), ("3/4", 0.75), ("five", 5), ("nineteen", 19),
        ("twenty", 20), ("twenty-five", 25), ("ninety nine", 99), ("五", 5), ("十", 10), ("十五", 15), ("二十", 20),
        ("二十五", 25), ("一百二十", 120), ("一百零五", 105), ("一点五", 1.5), ("三点二五", 3.25), ("两", 2),
        ("半", 0.5),
        ("-20", -20), ("minus 5", -5), ("负五", -5),
    ],
)  # fmt: skip
def test_numbers(text, number):
    assert number_of(text) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("十五毫米", Size("mm", (15,))),
        ("约二十五毫米", Size("mm", (25,))),
        ("一点五厘米", Size("mm", (15,))),
        ("半厘米", Size("mm", (5,))),
        ("twenty-five mm", Size("mm", (25,))),
        ("½ cm", Size("mm", (5,))),
        ("1½ cm", Size("mm", (15,))),
        ("1 1/2 cm", Size("mm", (15,))),
        ("4 cm²", Size("mm2", (400,))),
        ("4 cm2", Size("mm2", (400,))),
        ("4平方厘米", Size("mm2", (400,))),
        ("4 cm³", Size("ml", (4,))),
        ("-20 HU", Size("hu", (-20,))),
        ("CT值约-20HU", Size("hu", (-20,))),
        ("−20 to −10 HU", Size("hu", (-10, -20))),
        ("10-20 HU", Size("hu", (20, 10))),
        ("- 5 mm", Size("mm", (5,))),
        ("5-10 mm", Size("mm", (10, 5))),
        ("3~5毫米", Size("mm", (5, 3))),
        ("三至五毫米", Size("mm", (5, 3))),
        ("2.0 x 1.5 x 1.8 cm", Size("mm", (20, 18, 15))),
        ("百分之三十", Size("%", (30,))),
        ("百分之30", Size("%", (30,))),
        ("< 1 cm", Size("mm", (10,), "<")),
    ],
)
def test_sizes(text, expected):
    assert sizes(f"结节 {text} wide" if text[0] != "-" else f"nodule {text}") == [expected]


@pytest.mark.parametrize(
    "text", ["series 4, image 12", "L2/3", "grade 2 of 3", "3 cm4", "十五个", "someone mm", "1/0 cm"]
)
def test_no_sizes(text):
    assert [size for size in sizes(text) if any(size.numbers)] == []
