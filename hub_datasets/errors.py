"""Defines the error that ends a build with one message, and makes text printable as one line of a message."""

from __future__ import annotations

from model_cards.commands.console import CommandError


class BuildError(CommandError):
    """An error that ends a build. Its message names the folder, file or flag at fault, and what to do about it."""


def printable(text: str) -> str:
    r"""Returns the text as one printable line: characters that cannot be displayed become `\n`, `\x1b`, ...

    Names of files, and messages of libraries about them, may contain line breaks, terminal commands, characters that
    reverse the line, and bytes that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def one_line(error: Exception) -> str:
    """Returns the message of an error as one printable line."""
    return printable(" ".join(str(error).split()))[:200] or type(error).__name__
