"""Checks text, JSON and CSV as people export them, and one clear message for each fault."""

from __future__ import annotations

import json
import random

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import Ignored
from hub_datasets.sources.file_readers import (
    ImageIndex,
    find_files,
    is_junk,
    passed_over,
    passed_over_by_default,
    read_csv_rows,
    read_json_array,
    read_text,
)
from tests.hub_datasets.layouts import png, write_files
from tests.hub_datasets.sources.mutations import mutated

NAME = "tables/file"


@pytest.fixture
def written(tmp_path):
    def write(content: str | bytes) -> Folder:
        return Folder(write_files(tmp_path, {NAME: content}))

    return write


def error_of(reader, folder: Folder, *arguments) -> str:
    """The message of the BuildError that reading raises; it names the file and is one line."""
    with pytest.raises(BuildError) as caught:
        list(reader(folder, NAME, *arguments))
    message = str(caught.value)
    assert message.startswith(f"{folder.address}/{NAME}") and "\n" not in message
    return message


def test_text_with_and_without_a_byte_order_mark(written):
    for content in ("肺\r\nb", b"\xef\xbb\xbf" + "肺\r\nb".encode()):
        assert read_text(written(content), NAME) == "肺\r\nb"


def test_a_text_that_is_not_there(tmp_path):
    assert f"'{NAME}' does not exist" in error_of(read_text, Folder(tmp_path))


@pytest.mark.parametrize("encoding", ["gbk", "utf-16"])
def test_text_that_is_not_utf_8(written, encoding):
    assert "not UTF-8" in error_of(read_text, written("肺部清晰".encode(encoding)))


@pytest.mark.parametrize("name", ["Thumbs.db", "THUMBS.DB", "desktop.ini", ".DS_Store", "._1.png", "__MACOSX/1.png"])
def test_junk(name):
    assert is_junk(f"folder/{name}") and is_junk(name)
    assert not is_junk("folder/1.png") and not is_junk("__MACOSX.png") and not is_junk("thumbs.db/1.png")


# --- JSON


def test_an_array_of_anything(written):
    assert read_json_array(written(' [1, {"a": "肺"}, null]\n '), NAME) == [1, {"a": "肺"}, None]


ROWS = json.dumps([{"img_id": 1, "triple": ["vhead", "_", "_"], "answer": "[是]\u0000 \\", "n": -1.5e3, "b": True}] * 2)


def test_an_array_that_is_cut_off_anywhere(written):
    for end in range(len(ROWS)):
        assert "the file is truncated" in error_of(read_json_array, written(ROWS[:end])), ROWS[:end]


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
    assert "the file is truncated" in error_of(read_json_array, written("[" * 100_000))


# --- CSV


def rows(folder: Folder, *required: str) -> list:
    return list(read_csv_rows(folder, NAME, required))


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
    assert message.endswith("; save the table with commas as separators") == (";" in content)


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


# --- Files


def test_a_file_is_found_in_any_folder_and_in_any_case(tmp_path):
    write_files(tmp_path, dict.fromkeys(["b/c/train.json", "b/Train.JSON", "a/c/train.json", "c/train.json.txt",
                                         "__MACOSX/train.json", "train.json/x"], ""))  # fmt: skip
    assert find_files(Folder(tmp_path), "train.json") == ["b/Train.JSON", "a/c/train.json", "b/c/train.json"]


def test_an_image_is_found_where_it_was_unpacked_to(tmp_path):
    write_files(tmp_path, {"a/x/1.png": png(1), "b/x/1.png": png(2), "c/2.PNG": png(3), "d/3.png": png(4),
                           "d/e/3.png": png(4), "f/4.png": png(5), "g/4.PNG": png(6), "._5.png": ""})  # fmt: skip
    index = ImageIndex(Folder(tmp_path), parts=1)
    assert index.find("1.png") == ["a/x/1.png", "b/x/1.png"], "two contents"
    assert index.find("2.png") == index.find("2.PNG") == ["c/2.PNG"]
    assert index.find("3.png") == ["d/3.png"], "one content in two places"
    assert (index.find("4.png"), index.find("4.PNG")) == (["f/4.png"], ["g/4.PNG"])
    assert index.find("5.png") == index.find("") == index.find("a/x/1.png") == index.find("../1.png") == []
    index = ImageIndex(Folder(tmp_path), parts=2)
    assert index.find("x/1.png") == ["a/x/1.png", "b/x/1.png"] and index.find("D/3.png") == ["d/3.png"]
    assert index.find("1.png") == []


def test_files_that_agree_only_where_both_can_be_read(tmp_path):
    write_files(tmp_path / "root", {"a/1.png": png(1)})
    write_files(tmp_path, {"1.png": png(1)})
    (tmp_path / "root/1.png").symlink_to("../1.png")
    assert ImageIndex(Folder(tmp_path / "root"), parts=1).find("1.png") == ["1.png", "a/1.png"]


def test_many_files_that_are_passed_over_are_counted():
    names = [f"{n}.txt" for n in range(21)]
    assert list(passed_over("s", names, "why")) == [Ignored("s", "0.txt and 20 more", "why")]
    assert list(passed_over("s", names[:20], "why")) == [Ignored("s", name, "why") for name in names[:20]]
    assert list(passed_over("s", [], "why", many=0)) == []
    assert list(passed_over("s", ["caf\udce9"], "why")) == [Ignored("s", "caf\\udce9", "why")]


def test_what_no_source_reads(tmp_path):
    write_files(tmp_path, {"a/Thumbs.db": "", "a/1.png": ""})
    (tmp_path / "link").symlink_to("a", target_is_directory=True)
    assert list(passed_over_by_default("s", Folder(tmp_path))) == [
        Ignored("s", "link", "a link to a folder; --follow_links reads it"),
        Ignored("s", "a/Thumbs.db", "junk file of the operating system"),
    ]


# --- Damage


@pytest.mark.parametrize("reader", [read_json_array, read_csv_rows])
def test_damaged_tables(written, reader):
    """Rows or one clear message, whatever the bytes are."""
    rng = random.Random(2)
    table = "image,text\n" + "".join(f'{n}.png,"肺 ""{n}"", a"\n' for n in range(20))
    data = (ROWS if reader is read_json_array else table).encode()
    more = [] if reader is read_json_array else [("image",)]
    fine = refused = 0
    for _ in range(300):
        folder = written(mutated(data, rng))
        try:
            found = list(reader(folder, NAME, *more))
        except BuildError as error:
            assert str(error).startswith(f"{folder.address}/{NAME}") and len(str(error).splitlines()) == 1
            refused += 1
        else:
            assert all(row[1] is None or "image" in row[1] for row in found) if more else isinstance(found, list)
            fine += 1
    assert fine > 20 and refused > 50
