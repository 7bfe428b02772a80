"""Text that is safe to print: messages quote what comes from elsewhere."""

from __future__ import annotations

import textwrap
from typing import Final

LONGEST_MESSAGE: Final = 1000
WIDTH: Final = 100


def one_line(text: str) -> str:
    """A message as one printable line of a bearable length, for what it quotes comes from elsewhere."""
    if len(text) > LONGEST_MESSAGE:
        # What is wrong stands at the end more often than not.
        half = LONGEST_MESSAGE // 2
        text = f"{text[:half]} … {text[-half:]}"
    return printable(text)


def printable(text: str) -> str:
    """The text with a space for whatever cannot be seen.

    That is control characters, line breaks, NUL, marks of direction, spaces of other widths, and halves of characters,
    which no document could hold.
    """
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


def plain(text: str) -> str:
    """The text on one line, without anything that a terminal obeys: names and messages come from elsewhere."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def wrapped(text: str, *, indent: int = 2) -> list[str]:
    """The text in lines of WIDTH for a terminal; its own indent stays, and `indent` is that of the further lines.

    Whole words stay whole, so that an id can be copied.
    """
    # `drop_whitespace` would eat the indent of the first line.
    start = len(text) - len(text.lstrip())
    return textwrap.wrap(
        plain(text.lstrip()),
        WIDTH,
        initial_indent=text[:start],
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
