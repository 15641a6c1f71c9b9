"""Finds texts that name more views of a body part than their row has images, or a view beside the one shown."""

from __future__ import annotations

import re

KIND = "view"
# what a report calls a view: the view; all spellings of a frontal film are one view
ENGLISH = {
    "pa": "frontal",
    "ap": "frontal",
    "posteroanterior": "frontal",
    "posterior-anterior": "frontal",
    "anteroposterior": "frontal",
    "anterior-posterior": "frontal",
    "frontal": "frontal",
    "lateral": "lateral",
    "oblique": "oblique",
    "decubitus": "decubitus",
    "lordotic": "lordotic",
    "odontoid": "odontoid",
    "open-mouth": "odontoid",
    "swimmer's": "swimmer",
    "sunrise": "sunrise",
    "skyline": "sunrise",
    "mortise": "mortise",
    "axillary": "axillary",
    "scaphoid": "scaphoid",
}
# planes and mammographic views, which are counted where several are listed
LISTED_ONLY = {name: name for name in ("axial", "coronal", "sagittal", "transverse", "cc", "mlo")}
COUNTS = {
    word: number
    for number, words in enumerate(
        (("two", "both", "2"), ("three", "3"), ("four", "4"), ("five", "5"), ("six", "6"), ("multiple", "several")), 2
    )
    for word in words
}
ANY_NAME = rf"(?:{'|'.join(sorted(map(re.escape, ENGLISH | LISTED_ONLY), key=len, reverse=True))})"
NAME = rf"(?:{'|'.join(sorted(map(re.escape, ENGLISH), key=len, reverse=True))})"
FILM = r"(?:views?|projections?|radiographs?|films?|images?|x-?rays?|radiography)"
LISTED = re.compile(
    rf"\b({ANY_NAME}(?:(?:\s*(?:,\s*and|,|and|or|as well as|/|&|\+)\s*)(?:an? |the |left |right )?{ANY_NAME}){{0,6}})"
    rf"\s+(?:[a-z-]+ ){{0,2}}?(?:{FILM}|chest)\b"
)
COUNTED = re.compile(
    rf"\b({'|'.join(COUNTS)})[- ]+(?:[a-z]+ ){{0,2}}?(?:views?|projections|radiographs|films|x-?rays)\b"
)
REFERRED = re.compile(
    rf"\b(?:on|in|from|by) (?:the |a |an )?(?:{NAME}) (?:{FILM})\b|\bon (?:the )?lateral\b(?! (?:side|aspect|border))"
)
VIEW_NAMES = re.compile(ANY_NAME)

CHINESE = {"正": 1, "侧": 1, "双斜": 2, "斜": 1, "张口": 1, "过伸": 1, "过屈": 1, "切线": 1, "穿胸": 1, "蛙式": 1,
           "轴": 1, "冠状": 1, "矢状": 1, "横断": 1, "cc": 1, "mlo": 1}  # fmt: skip
SIGN = rf"(?:{'|'.join(CHINESE)})"
# not `左侧位于`: on the left side
LISTED_ZH = re.compile(
    rf"(?<![左右两双对患健一内外同])(?:{SIGN})(?:位?(?:片|像)?[、,，及和/]?\s*{SIGN}){{0,6}}位(?![于置])"
)
SIGNS = re.compile(SIGN)
COUNTED_ZH = re.compile(r"([2-9二两三四五六七八九])\s*(?:个|张)?(?:不同)?(?:位(?:片|像|置)|体位|投照位)")
REFERRED_ZH = re.compile(
    r"(?:^|[仅只于在但而,，;；:：])\s*(?:侧|斜|双斜|张口)位(?:片|像)?上?(?:可?见|可?示|显示|未?见|上|,|，)"
)
NUMBERS_ZH = {sign: number for number, signs in enumerate(("2二两", "3三", "4四", "5五", "6六", "7七", "8八", "9九"), 2)
              for sign in signs}  # fmt: skip


def views_in(sentence: str, chinese: bool) -> tuple[dict[str, int], bool]:
    """Returns the views that a sentence in lower case names, and whether it refers to a view beside others.

    Returns:
        how many images each view takes, by its name; `(counted)` stands for a number of views without names.
    """
    named: dict[str, int] = {}
    if chinese:
        for found in LISTED_ZH.finditer(sentence):
            named |= {sign: CHINESE[sign] for sign in SIGNS.findall(found[0])}
        for found in COUNTED_ZH.finditer(sentence):
            named["(counted)"] = NUMBERS_ZH[found[1]]
        return named, REFERRED_ZH.search(sentence) is not None
    if "lateral" in sentence or "view" in sentence or FILMS.search(sentence):
        for found in LISTED.finditer(sentence):
            named |= {(ENGLISH | LISTED_ONLY)[name]: 1 for name in VIEW_NAMES.findall(found[1])}
        for found in COUNTED.finditer(sentence):
            named["(counted)"] = COUNTS[found[1]]
        return named, REFERRED.search(sentence) is not None
    return named, False


FILMS = re.compile(r"projection|radiograph|film|image|x-?ray|chest")


def images_needed(named: dict[str, int]) -> int:
    """Returns how many images a text with these views was written about."""
    return max(named.get("(counted)", 0), sum(number for name, number in named.items() if name != "(counted)"))
