"""Text, JSON and CSV as people export them, and each of their faults with one clear message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub_datasets.schema import BuildError
from hub_datasets.sources.reading import is_junk, printable, read_csv_rows, read_json_array, read_text


@pytest.fixture
def written(tmp_path):
    def write(content: str | bytes, name: str = "file") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def error_of(reader, *arguments) -> str:
    """The message of the BuildError that reading raises; it names the file and is one line."""
    with pytest.raises(BuildError) as caught:
        found = reader(*arguments)
        list(found)
    message = str(caught.value)
    assert str(arguments[0]) in message and "\n" not in message
    return message


def test_text_with_and_without_a_byte_order_mark(written):
    assert read_text(written("肺\r\nb")) == read_text(written(b"\xef\xbb\xbf" + "肺\r\nb".encode())) == "肺\r\nb"


@pytest.mark.parametrize("encoding", ["gbk", "utf-16"])
def test_text_that_is_not_utf_8(written, encoding):
    assert "not UTF-8" in error_of(read_text, written("肺部清晰".encode(encoding)))


@pytest.mark.parametrize("name", ["Thumbs.db", "THUMBS.DB", "desktop.ini", ".DS_Store", "._1.png", "__MACOSX/1.png"])
def test_junk(name):
    assert is_junk(Path("folder", name))
    assert not is_junk(Path("folder", "1.png"))


def test_any_name_can_be_printed():
    assert printable("胸片 (1)\n.png") == "胸片 (1)\n.png"
    assert printable("caf\udce9.png").encode() == b"caf\\udce9.png"


# --- JSON


def test_an_array_of_anything(written):
    assert read_json_array(written(' [1, {"a": "肺"}, null]\n ')) == [1, {"a": "肺"}, None]


ROWS = json.dumps([{"img_id": 1, "triple": ["vhead", "_", "_"], "answer": "[是]\u0000 \\", "n": -1.5e3, "b": True}] * 2)


def test_an_array_that_is_cut_off_anywhere(written):
    for end in range(len(ROWS)):
        assert "the file is cut off" in error_of(read_json_array, written(ROWS[:end])), ROWS[:end]


@pytest.mark.parametrize("content", ["<html>", "[1,]", '[{"a": 1} {"b": 2}]', "[1, nul]", "[1]]", "'"])
def test_no_json(written, content):
    assert "not valid JSON" in error_of(read_json_array, written(content))


@pytest.mark.parametrize(("content", "kind"), [("{}", "dict"), ("null", "NoneType"), ('"text"', "str"), ("1", "int")])
def test_json_that_is_no_array(written, content, kind):
    message = error_of(read_json_array, written(content))
    assert "expected a JSON array" in message and message.endswith(kind)


def test_json_that_python_cannot_hold(written):
    assert "not valid JSON" in error_of(read_json_array, written(f"[{'9' * 5000}]"))
    assert "not valid JSON" in error_of(read_json_array, written("[" * 100_000 + "]" * 100_000))
    assert "the file is cut off" in error_of(read_json_array, written("[" * 100_000))


# --- CSV


def rows(path: Path, *required: str) -> list:
    return list(read_csv_rows(path, required))


def test_rows_of_a_table(written):
    content = '\ufeffimage,text\r\n1.png,"a, ""b""\r\nc"\r\n\r\n2.png,\r\n3.png\r\n4.png,d,e\r\n'
    assert rows(written(content), "image", "text") == [
        (3, {"image": "1.png", "text": 'a, "b"\r\nc'}),
        (5, {"image": "2.png", "text": ""}),
        (6, None),
        (7, None),
    ]


def test_quotes_inside_a_cell_that_is_not_quoted(written):
    assert rows(written('a,b\n5" lesion,x"y"\n')) == [(2, {"a": '5" lesion', "b": 'x"y"'})]


@pytest.mark.parametrize("content", ["", "\n", "text,language\n", "image;text;language\n"])
def test_a_table_without_a_column(written, content):
    message = error_of(read_csv_rows, written(content), ("image", "text"))
    assert "no column image" in message and "the columns found are" in message


def test_what_is_no_table_at_all_makes_no_message_of_its_length(written):
    message = error_of(read_csv_rows, written('"' + "text\n" * 10_000 + '",a'), ("image",))
    assert len(message) < 1000 and "text text" in message


def test_a_column_that_occurs_twice(written):
    for columns, name in (("image,text,text,view", "text"), ("image,text,,", "")):
        message = error_of(read_csv_rows, written(f"{columns}\n1.png,a,b,c\n"), ("image",))
        assert f"the column {name!r} occurs more than once" in message


@pytest.mark.parametrize("content", ['a,b\n1,2\n3,"cut off\n4,5\n', 'a,b\n1,"2" 3\n', '"a,b\n1,2\n'])
def test_a_quoted_cell_without_an_end(written, content):
    """It would swallow the rows that follow: an error, where the csv module's default says nothing."""
    assert "not valid CSV" in error_of(read_csv_rows, written(content), ())


def test_a_cell_beyond_the_limit_of_the_csv_module(written):
    ((_, row),) = rows(written("a,b\n1," + "x" * 200_000 + "\n"))
    assert len(row["b"]) == 200_000
    ((_, row),) = rows(written("a," + "x" * 200_000 + "\n1,2\n"))
    assert len(row) == 2
