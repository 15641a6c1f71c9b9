"""Checks that texts are searched for what is known of their patient, and not for words that are only alike."""

from __future__ import annotations

import pytest

from hub_datasets.texts.known_identifiers import Known, find_known, is_searchable

# kind, value, text; what is found stands between angle brackets
FOUND = [
    ("person_name", "DOE^JANE", "Compared to <Doe>'s film; <Jane Doe> and <DOE, JANE> came, a doe did not."),
    ("person_name", "Lindqvist, Åsa", "The film of <Lindqvist> and of <Åsa>."),
    ("person_name", "Baker^Mary", "Baker cyst. <Dr. Baker> and <Mary Baker>; <MARY>'s knee."),
    ("person_name", "Young, Kofi", "Young man. The film of <Young> and <Kofi>."),
    ("person_name", "王小明", "与<王小明>旧片比较，<小明>的家属。"),
    ("person_name", "欧阳 建国", "<欧阳建国>，<建国>"),
    ("staff_name", "O'Neill^Torvald", "Read by <O'Neill>."),
    ("record_number", "00451207", "MRN <00451207>, <451207>, not 1451207 nor 4512070."),
    ("record_number", "MRN0", "Chart <MRN0>, <mrn0>, not MRN01."),
    ("patient_id", "PX-10231", "As in <PX-10231>."),
    ("phone_number", "212-555-0140", "Call <212 555 0140> or <212.555.0140>, not 32125550140."),
    ("email", "a.b@example.org", "To <A.B@example.org>"),
    ("address", "12 Elm Street", "Lives in <12 elm street>"),
    ("institution", "Keller Memorial Hospital", "Seen at <Keller Memorial Hospital>"),
]
NOT_SEARCHED = [
    *(("patient_id", value) for value in ("12", "1234", "", "ABC")),
    *(("person_name", value) for value in ("N/A", "anonymous", "X", "匿名")),
    ("phone_number", "12"),
    ("email", "a@b"),
]


@pytest.mark.parametrize(("kind", "value", "marked"), FOUND)
def test_found_where_it_is(kind, value, marked):
    expected, text = [], ""
    for part in marked.split("<"):
        inside, end, after = part.partition(">")
        if end:
            expected.append(f"characters {len(text) + 1} to {len(text) + len(inside)}, as in the column x")
        text += inside + after
    flags = find_known(text, [Known(kind, value, "the column x")])
    assert [flag.detail for flag in flags] == expected
    assert {flag.kind for flag in flags} == {kind} and not any(value in flag.detail for flag in flags)


@pytest.mark.parametrize(("kind", "value"), NOT_SEARCHED)
def test_what_would_be_found_everywhere_is_not_searched(kind, value):
    assert not is_searchable(Known(kind, value, "the column x"))


def test_one_flag_for_a_place_that_two_columns_know():
    known = [Known("person_name", "DOE^JANE", "the column a"), Known("person_name", "Doe", "the column b")]
    assert [flag.detail for flag in find_known("Jane Doe", known)] == ["characters 1 to 8, as in the column a"]
