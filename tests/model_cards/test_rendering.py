"""Checks templates, escaping and the format of numbers."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard, ModelCardData

from model_cards import rendering
from model_cards.rendering import TEMPLATES, code, environment, number, render_card, table_cell
from tests.model_cards.markdown import HOSTILE, front_matter, headings, one_line, parse, shown, tables


@pytest.fixture
def template(tmp_path, monkeypatch):
    """Provides a function: template(text) returns the name of a template with this text."""
    monkeypatch.setattr(rendering, "TEMPLATES", tmp_path)

    def write(text: str) -> str:
        (tmp_path / "card.md").write_text(text, encoding="utf-8")
        return "card.md"

    return write


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("written", [table_cell, lambda text: code(text, in_table=True)])
def test_a_cell_is_read_as_it_was_given(text, written):
    table = f"| one | two |\n|---|---|\n| {written(text)} | next |\n"
    assert tables(table) == [[["one", "two"], [one_line(text), "next"]]]
    assert len(parse(table)) == len(parse("| one | two |\n|---|---|\n| x | next |\n"))  # and nothing around it


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_in_a_line_is_code(text):
    (opening, inline, closing) = parse(f"Trained on {code(text)}, once.")
    assert (opening.type, closing.type) == ("paragraph_open", "paragraph_close")
    assert [child.type for child in inline.children] == ["text", "code_inline", "text"]
    assert shown(inline) == f"Trained on {one_line(text)}, once."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (1234567, "1,234,567"),
        (0.123456, "0.1235"),
        (0.0, "0"),
        (12.0, "12"),
        (1e-5, "1e-05"),
        (98.76543, "98.77"),
    ],
)
def test_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize("value", ["12", [1], {}])
def test_a_text_is_not_formatted_as_a_number(value):
    with pytest.raises((TypeError, ValueError)):
        number(value)


@pytest.mark.parametrize(
    "text",
    ["{{ missing }}", "{{ given.missing }}", "{% for x in missing %}{% endfor %}", "{% if missing %}{% endif %}"],
)
def test_a_missing_value_is_an_error(template, text):
    with pytest.raises(ValueError, match=r"card\.md: .*missing"):
        render_card(ModelCard, ModelCardData(), template(text), given={"there": 1})


def test_a_placeholder_is_an_error(template):
    with pytest.raises(ValueError, match=r"card\.md: the card contains the placeholder"):
        render_card(ModelCard, ModelCardData(), template("[More Information Needed]"))
    card = render_card(ModelCard, ModelCardData(), template("{{ given | cell }}"), given="[More Information Needed]")
    assert "More Information Needed" in card.text  # in data it is only a text


@pytest.mark.parametrize("text", HOSTILE)
def test_front_matter_is_read_as_it_was_given(template, text):
    data = ModelCardData(license="apache-2.0", datasets=[text], tags=["a", text], model_name=text, own={text: text})
    card = render_card(ModelCard, data, template("# Title\n\n{{ given | cell }}\n"), given=text)
    fields = front_matter(card.content)
    text = text.replace("\x85", " ")  # which YAML reads as the end of a line
    assert fields["license"] == "apache-2.0"
    assert fields["datasets"] == [text] and fields["tags"] == ["a", text] and fields["own"] == {text: text}
    assert headings(card.content) == ["Title"]
    again = ModelCard(card.content)  # as huggingface_hub reads it back
    assert again.data.to_dict()["own"] == {text: text} and again.text.strip().startswith("# Title")


def test_every_template_only_takes_what_exists():
    """Checks the syntax and the filters of every template."""
    names = sorted(path.name for path in TEMPLATES.iterdir())
    assert names == ["card_page.html", "dataset_card.md", "model_card.md", "run_page.html"]
    for name in names:
        environment(html=name.endswith("html")).get_template(name)
        assert "default(" not in (TEMPLATES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("text", HOSTILE)
def test_html_is_escaped(text):
    page = environment(html=True).get_template("card_page.html").render(title=text, text=text, page="x.html")
    assert "<script>" not in page and "<!-- comment" not in page
    assert page.count("<pre>") == 1 and "49" not in page
