"""Every reason why an image or a text is refused, with a file that has the fault; and what must not be refused."""

from __future__ import annotations

import hashlib
import os

import pytest

from hub_datasets.schema import RawRecord, Reason
from hub_datasets.validation import (
    MAX_IMAGE_BYTES,
    CheckedImage,
    Problem,
    check_image,
    check_text,
    check_writable,
    decode,
)
from tests.hub_datasets.layouts import encoded, jpeg, picture, png, raw_png, write_files

MANY = 64_000_000


@pytest.fixture
def root(tmp_path):
    """A source's folder with one image, and the same image outside of it."""
    write_files(tmp_path, {"outside.png": png(0), "outside/image.png": png(0)})
    return write_files(tmp_path / "root", {"image.png": png(1), "folder/image.png": png(2)})


def code_of(root, name: str) -> Reason | None:
    checked = check_image(root, name, MANY)
    assert not isinstance(checked, Problem) or repr(name) in checked.message
    return checked.code if isinstance(checked, Problem) else None


# --- Where an image lies


def test_an_image_is_described_by_its_bytes_and_size(root):
    expected = CheckedImage((root / "folder/image.png").resolve(), hashlib.sha256(png(2)).hexdigest(), 12, 10)
    assert check_image(root, "folder/image.png", MANY) == expected


@pytest.mark.parametrize(
    "name",
    [
        "../outside.png", "folder/../../outside.png", "folder/../image.png", "folder\\..\\..\\outside.png",
        "{root}/image.png", "{root}/../outside.png", "/etc/hostname",
        "C:\\images\\1.png", "C:image.png", "c:/images/1.png",
        "\\\\server\\share\\1.png", "//server/share/1.png", "\\image.png",
        "file:///etc/hostname", "file://{root}/image.png", "https://example.org/1.png", "image.png\0.txt",
    ],
)  # fmt: skip
def test_a_path_that_leads_outside(root, name):
    assert code_of(root, name.format(root=root)) is Reason.IMAGE_OUTSIDE_ROOT


def test_links_may_not_lead_outside(root):
    (root / "file.png").symlink_to(root.parent / "outside.png")
    (root / "relative.png").symlink_to("../outside.png")
    (root / "linked").symlink_to(root.parent / "outside", target_is_directory=True)
    (root / "twice.png").symlink_to(root / "file.png")
    for name in ("file.png", "relative.png", "linked/image.png", "twice.png"):
        assert code_of(root, name) is Reason.IMAGE_OUTSIDE_ROOT, name


def test_links_inside_are_fine_and_name_the_file_they_lead_to(root):
    (root / "link.png").symlink_to(root / "folder/image.png")
    (root / "linked").symlink_to("folder", target_is_directory=True)
    for name in ("link.png", "linked/image.png"):
        assert check_image(root, name, MANY).path == (root / "folder/image.png").resolve()


def test_a_root_behind_a_link_is_a_root(root, tmp_path):
    (tmp_path / "alias").symlink_to(root, target_is_directory=True)
    assert code_of(tmp_path / "alias", "image.png") is None
    assert code_of(tmp_path / "alias", "../outside.png") is Reason.IMAGE_OUTSIDE_ROOT


def test_a_loop_of_links(root):
    (root / "a.png").symlink_to("b.png")
    (root / "b.png").symlink_to("a.png")
    assert code_of(root, "a.png") in (Reason.IMAGE_OUTSIDE_ROOT, Reason.IMAGE_MISSING)


def test_what_is_no_file_is_missing(root):
    os.mkfifo(root / "pipe.png")
    (root / "dangling.png").symlink_to("nothing.png")
    for name in ("nothing.png", "", ".", "folder", "pipe.png", "dangling.png", "image.png/1.png"):
        assert code_of(root, name) is Reason.IMAGE_MISSING, name


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "x/" * 3000 + "1.png"], ids=["name", "path"])
def test_a_name_that_no_file_can_have(root, name):
    assert code_of(root, name) is Reason.IMAGE_UNREADABLE


# --- What is in it


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_other_formats_named_png(root, format):
    (root / "1.png").write_bytes(encoded(picture(3), format))
    assert code_of(root, "1.png") is Reason.IMAGE_FORMAT


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><title>404</title>", b"\x89PNG\r\n", b"\0" * 1000])
def test_no_image_named_png(root, content):
    (root / "1.png").write_bytes(content)
    assert code_of(root, "1.png") is Reason.IMAGE_FORMAT


def test_the_content_decides_not_the_name(root):
    write_files(root, {"jpeg.png": jpeg(4), "png.txt": png(5)})
    assert code_of(root, "jpeg.png") is code_of(root, "png.txt") is None


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_an_image_that_is_cut_off(root, format, share):
    data = encoded(picture(6, size=(80, 80)), format)
    (root / "1.png").write_bytes(data[: int(len(data) * share)])
    assert code_of(root, "1.png") is Reason.IMAGE_UNREADABLE


def test_a_damaged_png(root):
    data = bytearray(encoded(picture(7, size=(80, 80))))
    data[len(data) // 2] ^= 0xFF
    (root / "1.png").write_bytes(bytes(data))
    assert code_of(root, "1.png") is Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize("side", [8_001, 20_000, 2**31 - 1])
def test_a_small_file_with_a_huge_header(side):
    """Beyond our limit, beyond Pillow's, and beyond all sense."""
    data = raw_png(side, side, depth=8, colour=2)
    assert len(data) < 100
    assert decode(data, MANY).code is Reason.IMAGE_TOO_LARGE


def test_the_limit_of_pixels(root):
    assert check_image(root, "image.png", 120).width == 12
    assert check_image(root, "image.png", 119).code is Reason.IMAGE_TOO_LARGE


def test_a_file_that_is_too_large_is_not_read(root):
    with (root / "1.png").open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)  # a hole: it takes no place on the disk
    assert code_of(root, "1.png") is Reason.IMAGE_TOO_LARGE
    with (root / "1.png").open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES)
    assert code_of(root, "1.png") is Reason.IMAGE_FORMAT


def test_sixteen_bits_of_grey_are_refused_with_the_way_out():
    problem = decode(raw_png(2, 2, depth=16, colour=0, pixels=b"\0\0\1\0\2" * 2), MANY)
    assert problem.code is Reason.IMAGE_FORMAT
    assert "16-bit; convert it to 8 bits through a window first" in problem.message
    assert decode(encoded(picture(8).convert("I;16")), MANY).code is Reason.IMAGE_FORMAT


def test_sixteen_bits_of_colour_lose_only_their_lower_half():
    assert decode(raw_png(1, 1, depth=16, colour=2, pixels=b"\0\x80\1\x40\1\x20\1"), MANY) == (1, 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_all_8_bit_modes_of_png(mode):
    assert decode(encoded(picture(9).convert(mode)), MANY) == (12, 10)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_all_modes_of_jpeg(mode):
    assert decode(encoded(picture(9).convert(mode), "JPEG", progressive=mode == "RGB"), MANY) == (12, 10)


# --- What is said about it


def record(text: str | None = None, **fields) -> RawRecord:
    return RawRecord("test", "row 1", "1.png", "report", "en", text=text, **fields)


@pytest.mark.parametrize(
    ("length", "code"),
    [(0, Reason.TEXT_EMPTY), (1, Reason.TEXT_SHORT), (5, Reason.TEXT_SHORT), (6, None), (999, None),
     (1000, Reason.TEXT_LONG), (200_000, Reason.TEXT_LONG)],
)  # fmt: skip
@pytest.mark.parametrize("letter", ["a", "肺", "😀"])
def test_bounds_of_a_pairs_text(length, code, letter):
    problem = check_text(record(letter * length), 5, 1000)
    assert (problem and problem.code) == code


@pytest.mark.parametrize("answer", ["No", "是", "2", "x" * 5000])
def test_an_answer_must_only_be_there(answer):
    assert check_text(record(question="?", answer=answer), 5, 1000) is None


def test_an_empty_question_or_answer():
    for question, answer, words in (("", "No", "question"), ("Is it?", "", "answer"), ("", "", "question and the ans")):
        problem = check_text(record(question=question, answer=answer), 5, 1000)
        assert problem.code is Reason.TEXT_EMPTY and words in problem.message


def test_what_json_in_utf_8_can_hold():
    metadata = {"": None, "n": [-(2**63), 2**64 - 1, 0.1, 1e300], "深": {"a": [True, "\0\n\u2028😀"]}}
    assert check_writable(record("text", metadata=metadata)) is None


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 2**64, -(2**63) - 1, 10**5000, "\ud800", {"\udfff": 1}],
    ids=["nan", "inf", "minus inf", "2**64", "-2**63-1", "10**5000", "surrogate", "surrogate key"],
)
def test_what_json_in_utf_8_cannot_hold(value):
    problem = check_writable(record("text", metadata={"a": [{"b": value}]}))
    assert problem.code is Reason.MALFORMED_ROW
    problem.message.encode()


def test_every_field_must_be_writable():
    for fields in ({"text": "\ud800"}, {"question": "\ud800", "answer": ""}, {"groups": ("patient:\ud800",)}):
        assert check_writable(record(**fields)).code is Reason.MALFORMED_ROW


def test_a_row_that_is_nested_too_deep():
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    assert check_writable(record("text", metadata={"a": deep})).code is Reason.MALFORMED_ROW
