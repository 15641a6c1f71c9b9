"""docs/flags.md has every flag of every command, as the parsers know them now."""

from __future__ import annotations

import re

from tests.commands import NAMES, parser_of
from tests.flags_page import NAMES_FILE, PAGE, flag_names, page
from trainers.base.arguments import REFUSED


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.flags_page"


def test_the_names_that_a_shell_completes_are_up_to_date():
    assert NAMES_FILE.read_text(encoding="utf-8") == flag_names(), "write them anew: python -m tests.flags_page"


def test_no_flag_is_left_out():
    sections = re.split(r"^## medpairs ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [section.split()[0] for section in sections] == list(NAMES)
    for name, section in zip(NAMES, sections, strict=True):
        actions = [action for action in parser_of(name)._actions if action.dest not in REFUSED]  # those are refused
        flags = {flag for action in actions for flag in action.option_strings} - {"-h", "--help"}
        assert flags or "no flags" in section
        assert set(re.findall(r"`(--?[\w-]+)`(?=[,| ].*\|.*\|)", section)) >= flags
