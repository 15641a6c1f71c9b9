"""Checks what is repaired in texts of tables, and that sound texts of many languages stay as they are."""

from __future__ import annotations

import pytest

from hub_datasets.texts.markup import rtf_to_text
from hub_datasets.texts.repair import MOST_MARKUP, repair
from tests.hub_datasets.sources.reports.language_probe import sentences


def garbled(text: str, times: int = 1) -> str:
    """The text saved as UTF-8 and read as Windows-1252, where bytes without a character there stay as they are."""
    for _ in range(times):
        text = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in text.encode())
    return text


@pytest.mark.parametrize("language", sentences())
def test_sound_texts_stay_as_they_are(language):
    for text in [
        *sentences()[language],
        "12 °C ± 2 µm, “a” – it’s 5 € … »b« Nº 3",
        "Das „Gefäß“ und das „Ä“ sind à la «b» gemeint",
        "α-fetoprotein ≥ 5",
    ]:
        assert repair(text) == (text, ())


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("language", sentences())
def test_utf8_that_was_read_as_windows_is_read_again(language, times):
    for text in sentences()[language]:
        bad = garbled(text, times)
        assert repair(bad) == (text, ("encoding",) * (bad != text)), bad


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("itâ€™s â€œnormalâ€\x9d, 12 Â°C", "it’s “normal”, 12 °C"),
        ("GrÃ¶ÃŸe des GefÃ¤ÃŸes", "Größe des Gefäßes"),
        ("双肺清晰, 12 Â°C", "双肺清晰, 12 °C"),  # one part of a cell
    ],
)
def test_parts_are_read_again_too(given, expected):
    assert repair(given) == (expected, ("encoding",))


@pytest.mark.parametrize(
    "text",
    [
        "GrÃ¶ÃŸe Ã des Herzens",  # the second byte of `Ã` was lost
        garbled("双肺清晰，未见异常").replace("\x8f", ""),  # as programs do that drop what Windows-1252 has not
        "双肺清晰，未见异常".encode("gbk").decode("latin-1"),
        "锟斤拷肺清晰",
        "No \ufffd effusion",
    ],
)
def test_what_cannot_be_read_again_is_left_to_be_rejected(text):
    found, kinds = repair(text)
    assert "\ufffd" in found and kinds == ()


@pytest.mark.parametrize(
    ("given", "expected", "kind"),
    [
        ("<p>The heart is <b>normal</b>.<br/>Lungs&nbsp;clear.</p>", "The heart is normal.\nLungs clear.", "html"),
        ("<table><tr><td>Side</td><td>left</td></tr></table>", "Side left", "html"),
        ("<html><head><style>p {}</style></head><body>Clear<script>x</script></body></html>", "Clear", "html"),
        ("Size &lt; 5 mm, T &gt; 37 &#176;C", "Size < 5 mm, T > 37 °C", "html"),
        ("<b>Seen by <NAME> on <DATE>, <5 mm", "Seen by <NAME> on <DATE>, <5 mm", "html"),
        ('<div class="a">Clear', "Clear", "html"),
        ("<!DOCTYPE html><table border><tr><td nowrap>Clear</td></tr></table>", "Clear", "html"),
        ("a &amp;lt; b", "a &lt; b", "html"),
        ("Heart normal_x000D_\n_x0009_clear_x000D_", "Heart normal\n\tclear", "excel_escapes"),
        ("lead_x005F_x", "lead_x", "excel_escapes"),
        (r"{\rtf1\ansi\deff0{\fonttbl{\f0 Arial;}}\f0\fs20 No effusion.\par Clear.}", "No effusion.\nClear.", "rtf"),
        (r"{\rtf1\ansi\ansicpg1252 Erg\'fcsse \u8211? \{a\} b\~c\_d}", "Ergüsse – {a} b c-d", "rtf"),
        (r"{\rtf1\ansi\uc0 Normal \u8211 clear \uc2 \u176 xxC}", "Normal –clear °C", "rtf"),
        (r"{\rtf1\ansi\ansicpg936 \'cb\'ab\'b7\'ce\'c7\'e5\'ce\'fa}", "双肺清晰", "rtf"),
        (r"{\rtf1{\*\generator Word;}{\info{\author X}}{\pict 00ff}a\tab b}", "a b", "rtf"),
    ],
)
def test_markup_is_reduced_to_text(given, expected, kind):
    assert repair(given) == (expected, (kind,))


@pytest.mark.parametrize(
    "text",
    ["if a<b and c>d", "Size <5 mm", "x > 3 & y < 2", "A&B; R&D", "<PERSON> was seen", "T<sub", "{not rtf}", "_x_"],
)
def test_what_only_looks_like_markup_stays(text):
    assert repair(text) == (text, ())


@pytest.mark.parametrize("piece", ["<!--", "<p ", "&lt", "<b", "{", "\\'", "<![CDATA[", "Ã", "_x000D_"])
def test_the_cost_of_hostile_markup_grows_with_its_length_only(piece, lines_run):
    for start in ("", "<p>", "{\\rtf1 "):
        short, long = ((start + piece * length)[:length] for length in (5_000, 20_000))
        assert lines_run(lambda text=long: repair(text)) <= 6 * lines_run(lambda text=short: repair(text))


def test_a_text_that_is_too_long_for_a_report_is_not_read_as_markup():
    text = "<p>" * MOST_MARKUP
    assert repair(text) == (text, ())


def test_rtf_that_ends_early_or_has_no_end():
    assert rtf_to_text("{\\rtf1 a}}}} b\\") == "a b"
    assert rtf_to_text("{\\rtf1" + "{" * 50_000 + "a") == "a"
    assert rtf_to_text(r"{\rtf1\ansicpg99999 \'e9}") == "é"


@pytest.mark.parametrize(
    "text", ["see report", "N/A", "#NAME?", "#DIV/0!", "無", " 同上。", "N.A.", "???", "\0\0", "XXXX"]
)
def test_placeholders(text):
    assert repair(text)[0] == ""
