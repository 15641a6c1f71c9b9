"""Checks the encodings of tables, what is refused, and how far a broken byte reaches."""

from __future__ import annotations

import codecs
import contextlib
import json

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.sources.text_encoding import BROKEN, EVERYDAY, broken_byte, decode_lines, decode_table, decode_text

CHINESE = "image,text\n1.png,双肺清晰，未见异常。心影大小正常。\n2.png,右肺上叶见一约2.3cm×1.8cm结节影，边缘毛糙。\n"
ENGLISH = "image,text\n1.png,No focal consolidation; 12 °C – “clear”.\n"


@pytest.mark.parametrize(
    "text", [CHINESE, ENGLISH, "image,text\n1.png,plain\n", ""], ids=["zh", "en", "ascii", "empty"]
)
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(b"", "utf-8"), (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
     (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")],
    ids=["utf-8", "utf-8 with a mark", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"],
)  # fmt: skip
def test_unicode(text, mark, encoding):
    data = mark + text.encode(encoding)
    assert decode_text(data, "r.csv") == decode_lines(data, "r.csv") == text


@pytest.mark.parametrize("encoding", ["gbk", "gb2312", "gb18030"])
@pytest.mark.parametrize("text", [CHINESE, "image,text\n张三.png,胸片清晰\n", "影像：正常"])
def test_chinese_encodings(encoding, text):
    assert decode_text(text.encode(encoding), "r.csv") == text


def test_characters_that_only_gb18030_has():
    text = CHINESE + "3.png,患者䶮氏，双肺未见异常𠀀\n"
    with pytest.raises(UnicodeEncodeError):
        text.encode("gbk")
    assert decode_text(text.encode("gb18030"), "r.csv") == text


OTHERS = {
    "cp1250": "Płuca bez zmian ogniskowych. Serce w granicach normy, żyły prawidłowe.",
    "cp1254": "Akciğerler doğal, kalp boyutu normal sınırlarda, plevral sıvı izlenmedi.",
    "big5": "雙肺清晰，未見異常。心影大小正常。右肺上葉見一結節影",
    "shift_jis": "両肺野に異常陰影を認めません。心拡大なし。",
    "euc_jp": "両肺野に異常陰影を認めません。心拡大なし。",
    "euc_kr": "양측 폐야는 깨끗하며 흉수는 없습니다. 심장 크기는 정상입니다. 특이 소견 없음",
    "cp1251": "Лёгкие без очаговых и инфильтративных теней. Сердце не расширено",
}


@pytest.mark.parametrize("encoding", OTHERS)
@pytest.mark.parametrize("lines", [1, 40])
@pytest.mark.parametrize("reader", [decode_text, decode_lines])
def test_other_encodings_are_refused_and_not_guessed(encoding, lines, reader):
    data = (OTHERS[encoding] + "\n").encode(encoding) * lines
    with pytest.raises(UnicodeDecodeError) as first:
        data.decode()
    place = first.value.start
    with pytest.raises(BuildError, match=rf"^notes/r\.csv: not UTF-8 \(byte {place} is 0x{data[place]:02X}\)") as error:
        reader(data, "notes/r.csv")
    assert "GB18030" in str(error.value) and "save the file as UTF-8" in str(error.value)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize(
    "text",
    ["image;texte\n1.png;Pneumopathie étendue à droite, épanchement pleural modéré.\n",
     "Bild;Befund\n1.png;Herzgröße regelrecht, kein Erguß, 25 °C ± 1, 12 µm²\n",
     "imagen,informe\n1.png,¿Derrame? No se observa en el pulmón, tamaño 2×3 cm.\n",
     "image,text\n1.png,12 °C\n", "image,text\n1.png,café\n2.png,été\n"],
)  # fmt: skip
def test_languages_of_western_europe(encoding, text):
    assert decode_table(text.encode(encoding), "r.csv") == (text, "Windows-1252")
    assert decode_text(text.encode(encoding), "r.csv") == text


def test_signs_that_only_windows_has():
    text = "“Normal” – façade, l’épanchement… 25 °C\n"
    assert decode_table(text.encode("cp1252"), "r.csv") == (text, "Windows-1252")


def test_utf16_without_a_mark_or_cut_in_the_middle():
    for encoding in ("utf-16-le", "utf-16-be"):
        assert decode_text("image,text\n1.png,双肺清晰\n".encode(encoding), "r.csv") == "image,text\n1.png,双肺清晰\n"
    with pytest.raises(BuildError, match="UTF-16 without a byte order mark"):
        decode_text("双肺 ,\n".encode("utf-16-le") + b"\0" * 9, "r.csv")
    with pytest.raises(BuildError, match=r"r.csv: broken UTF-16 at byte 22; save"):
        decode_text("image,text".encode("utf-16") + b"\n", "r.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk"])
def test_a_broken_line_leaves_the_others_as_they_are(encoding):
    lines = [f"{n}.png,双肺清晰，未见异常，第 {n} 例。" for n in range(6)]
    data = "\n".join(lines).encode(encoding).split(b"\n")
    data[3] = data[3][:6] + b"\xff" + data[3][6:]  # before the first character
    found = decode_lines(b"\n".join(data), "r.csv").split("\n")
    assert [line for line in found if not BROKEN.search(line)] == lines[:3] + lines[4:]
    assert broken_byte(found[3]) == "0xFF"
    with pytest.raises(BuildError, match="0xFF"):
        decode_text(b"\n".join(data), "r.csv")


def test_a_lost_byte_of_gbk_shifts_its_line_and_no_other():
    """What is left may be valid GB18030 from end to end, but it is not what was written."""
    lines = [f"{n}.png,双肺清晰，未见异常，心影大小正常，膈面光滑，肋膈角锐利，CT" for n in range(6)]
    data = "\n".join(lines).encode("gbk").split(b"\n")
    valid = 0
    for lost in range(6, len(data[2]) - 20):  # so that enough of the line is shifted
        line = data[2][:lost] + data[2][lost + 1 :]
        found = decode_lines(b"\n".join([*data[:2], line, *data[3:]]), "r.csv").split("\n")
        assert broken_byte(found[2]) and [found[n] for n in (0, 1, 3, 4, 5)] == [lines[n] for n in (0, 1, 3, 4, 5)]
        with contextlib.suppress(UnicodeDecodeError):
            valid += bool(line.decode("gb18030"))
    assert valid > 5


@pytest.mark.parametrize("signs", ["25 °C", "café", "2 × 3 mm ± 1", "– “so” –", "≤ 3 cm →"])
def test_a_line_of_utf8_in_a_chinese_file_is_not_read_as_chinese(signs):
    """`°` in UTF-8 is the everyday character 掳 in GB18030."""
    chinese = [f"{n}.png,双肺清晰，未见异常" for n in range(4)]
    data = [line.encode("gbk") for line in chinese]
    assert "掳" in "°".encode().decode("gbk")
    found = decode_lines(b"\n".join([*data[:2], signs.encode(), *data[2:]]), "r.csv").split("\n")
    assert broken_byte(found[2]) and found[:2] + found[3:] == chinese


def test_a_short_chinese_line_that_is_valid_utf8_too():
    """女 in GBK is `Ů` in UTF-8, which no report holds."""
    text = "".join(f"{n}.png,{'男女'[n % 2]},clear,正常\n{n}.png,{'男女'[n % 2]}\n" for n in range(9))
    assert decode_text(text.encode("gbk"), "r.csv") == text


def test_one_line_of_windows_in_a_file_of_utf8():
    """A file without any other foreign character is one of Windows; this one is not."""
    data = "1.png,clear é\n".encode() + b"2.png,12 \xb0C\n3.png,clear\n"
    assert [broken_byte(line) for line in decode_lines(data, "r.csv").split("\n")] == ["", "0xB0", "", ""]


def test_the_everyday_characters_are_those_of_the_standard():
    assert len(EVERYDAY) == 3755 and {"啊", "座", "肺", "胸"} <= EVERYDAY and not {"亍", "齄", "，"} & EVERYDAY


def test_real_chinese_questions_are_told_from_all_else(real_data):
    rows = json.loads((real_data / "slake/train.json").read_text("utf-8"))
    text = "\n".join(row["question"] + row["answer"] for row in rows if row["q_lang"] == "zh")
    assert decode_text(text.encode("gb18030"), "r.csv") == text
