"""Text that is safe to print: messages quote what comes from elsewhere."""

from __future__ import annotations

from typing import Final

LONGEST_MESSAGE: Final = 1000


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
