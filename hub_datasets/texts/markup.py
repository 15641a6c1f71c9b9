"""Reduces HTML, RTF and the escapes of Excel's XML to the text that a reader of the report saw.

Reports are exported with the formatting of the program that they were typed in. Only what is certainly markup is
touched: a `<` before a number, or a word in angle brackets that is not an element of HTML, stays as it is.
"""

from __future__ import annotations

import html
import re

# An element with its attributes; those of one letter must be closed or have a value, because `a<b and c>d` is text.
LETTERS = "p|b|i|u|s|a"
ELEMENTS = (
    "br|div|span|html|head|body|title|meta|style|script|table|tbody|thead|tr|td|th|li|ul|ol|dl|dt|dd|strong"
    "|em|h[1-6]|font|center|pre|hr|sup|sub|small|big|img|o:p"
)
TAG = re.compile(
    rf"<(?P<end>/?)(?P<name>{ELEMENTS}(?=[\s/>])|(?:{LETTERS})(?=\s*/?>|\s[^<>=]*=))[^<>]*>", re.IGNORECASE
)
MARK = re.compile(rf"{TAG.pattern}|<!--|<!doctype[^<>]*>|<\?xml[^<>]*>", re.IGNORECASE)
ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|deg|micro|plusmn|times|middot|[lr]dquo|[lr]squo|[mn]dash|[a-z]{1,6}"
                    r"(?:uml|acute|grave|circ|cedil|tilde|ring|slash|lig)"
                    r"|#[0-9]{1,7}|#x[0-9a-f]{1,6});", re.I)  # fmt: skip
BLOCKS = {"p", "br", "div", "tr", "li", "table", "ul", "ol", "dl", "dt", "dd", "pre", "hr", "title",
          "h1", "h2", "h3", "h4", "h5", "h6"}  # fmt: skip
UNSEEN = {"script", "style", "head", "title"}
ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")  # how Excel writes a character that XML cannot hold
RTF_TOKEN = re.compile(
    r"\\([a-zA-Z]{1,32})(-?[0-9]{1,10})? ?"  # a control word with its number
    r"|\\'([0-9a-fA-F]{2})"  # a byte in the file's code page
    r"|\\([^a-zA-Z])"  # an escaped character
    r"|([{}])|[\r\n]+|([^\\{}\r\n]+)"
)
# Groups that hold settings, not text.
RTF_SETTINGS = {"fonttbl", "colortbl", "stylesheet", "info", "pict", "object", "header", "footer", "headerl", "headerr",
                "footerl", "footerr", "generator", "listtable", "listoverridetable", "rsidtbl", "themedata", "xmlnstbl",
                "fldinst", "datastore", "latentstyles", "revtbl", "filetbl", "bkmkstart", "bkmkend"}  # fmt: skip
RTF_CHARACTERS = {"par": "\n", "line": "\n", "row": "\n", "sect": "\n", "page": "\n", "tab": "\t", "cell": "\t",
                  "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”",
                  "bullet": "•", "emspace": " ", "enspace": " "}  # fmt: skip
RTF_CODE_PAGES = {936: "gb18030", 950: "big5", 932: "shift_jis", 949: "euc_kr", 65001: "utf-8"}


def is_html(text: str) -> bool:
    """Returns whether a text holds an element or a character entity of HTML."""
    return ("<" in text and TAG.search(text) is not None) or ("&" in text and ENTITY.search(text) is not None)


def html_to_text(text: str) -> str:
    """Returns the text of HTML, a line for each block; a text with character entities alone keeps its lines.

    An element that HTML does not have, such as `<NAME>`, is text. Python's own parser is not used, because its time on
    tags that are never closed grows with the square of the length.
    """
    if not TAG.search(text):
        return unescape(text)
    parts, place, unseen = [], 0, ""
    for found in MARK.finditer(text):
        if found.start() < place:  # inside a comment
            continue
        if not unseen:
            parts.append(unescape(text[place : found.start()]))
        place = found.end()
        name = (found["name"] or "").lower()
        if not name and found[0] == "<!--":  # a comment, which ends with the text if it is not closed
            end = text.find("-->", place)
            place = len(text) if end < 0 else end + 3
        elif unseen:
            unseen = "" if found["end"] and name == unseen else unseen
        elif name in UNSEEN:
            unseen = "" if found["end"] else name
        elif name in BLOCKS:
            parts.append("\n")
        elif name in ("td", "th"):
            parts.append(" ")
    if not unseen:
        parts.append(unescape(text[place:]))
    return tidy("".join(parts))


def unescape(text: str) -> str:
    """Returns a text with its character entities as the characters that they stand for."""
    return ENTITY.sub(lambda found: html.unescape(found[0]), text).replace("\xa0", " ") if "&" in text else text


def tidy(text: str) -> str:
    """Returns lines without blanks around and between them."""
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def unescape_excel(text: str) -> str:
    """Returns the text with `_x000D_` and the like as the characters that they stand for, line ends as one."""
    found = ESCAPED.sub(lambda code: chr(int(code[1], 16)), text)
    return re.sub(r"\r\n? *", "\n", found).strip()


def is_rtf(text: str) -> bool:
    return text.lstrip().startswith("{\\rtf")


def rtf_to_text(text: str) -> str:
    r"""Returns the text of RTF: without settings, pictures and fields; `\'e9` by its code page, `\u233?` as U+00E9.

    One pass over the text with a stack of its groups, so the time grows with its length whatever it holds.
    """
    parts: list[str] = []
    unseen, skip, skipped, code_page = [False], 0, 1, "cp1252"
    byte_run = bytearray()  # a character of several bytes is written as several \'xx

    def flush() -> None:
        if byte_run:
            parts.append(byte_run.decode(code_page, "replace"))
            byte_run.clear()

    for token in RTF_TOKEN.finditer(text):
        word, number, byte, escaped, brace, plain = token.groups()
        if byte is None:
            flush()
        if brace == "{":
            unseen.append(unseen[-1])
        elif brace == "}":
            if len(unseen) > 1:
                unseen.pop()
        elif word:
            if word in RTF_SETTINGS:
                unseen[-1] = True
            elif word == "ansicpg" and number:
                code_page = RTF_CODE_PAGES.get(int(number), f"cp{int(number)}")
                code_page = code_page if is_codec(code_page) else "cp1252"
            elif word == "u" and number and not unseen[-1]:
                parts.append(chr(int(number) % 65536))
                skip = skipped  # the characters for readers that do not know the word
            elif word == "uc" and number:
                skipped = min(4, max(0, int(number)))
            elif word in RTF_CHARACTERS and not unseen[-1]:
                parts.append(RTF_CHARACTERS[word])
        elif escaped == "*":
            unseen[-1] = True
        elif unseen[-1]:
            continue
        elif byte is not None:
            if not skip:
                byte_run.append(int(byte, 16))
            skip = max(0, skip - 1)
        elif escaped:
            parts.append({"~": " ", "_": "-", "-": "", "\n": "\n", "\r": "\n"}.get(escaped, escaped))
        elif plain:
            parts.append(plain[skip:])
            skip = 0
    flush()
    return tidy("".join(parts))


def is_codec(name: str) -> bool:
    """Returns whether Python knows an encoding of bytes."""
    try:
        return bool(b"a".decode(name))
    except (LookupError, UnicodeError):
        return False
