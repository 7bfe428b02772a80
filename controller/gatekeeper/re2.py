"""RE2 syntax, as far as it takes to say that an expression is none: Gatekeeper's rules and schemas use RE2 as Go does.

https://github.com/google/re2/wiki/Syntax lists what it knows. Only what Go is sure to refuse is a fault here: other
faults go unnoticed, and no expression that Go takes is ever called faulty.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKENS: Final = re.compile(
    r"""
    (?P<quoted>\\Q.*?(?:\\E|\Z))
    | (?P<octal>\\(?:[1-7][0-7]{1,2}|0[0-7]{0,2}))
    | (?P<escape>\\(?:x\{[0-9A-Fa-f]+\}|[pP]\{\^?\w+\}|[pP]\w|x[0-9A-Fa-f]{2}|.))
    | (?P<list>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\])
    | (?P<foreign>\(\?(?:<[=!]|[=!>\#|(]|P[=>]))
    | (?P<flags>\(\?[imsU]*(?:-[imsU]+)?\))
    | (?P<open>\((?:\?(?:P?<[^\W\d]\w*>|[imsU]*(?:-[imsU]+)?:))?)
    | (?P<close>\))
    | (?P<repeat>(?:[*+?]|\{\d+(?:,\d*)?\})\??)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_FOREIGN: Final = {"(?=": "a look-ahead", "(?!": "a look-ahead", "(?<=": "a look-behind", "(?<!": "a look-behind"}
# Letters that mean something after a backslash; digits are octal numbers, and other characters mean themselves.
_ESCAPES: Final = frozenset("AzbBdDsSwWafnrtvQEpPxC")
_SAME_IN_PYTHON: Final = frozenset("AbBdDwWfnrtv")
_OPERATORS: Final = {"^": "^", "$": r"\Z", ".": ".", "|": "|"}
_LARGEST_REPEAT: Final = 1000
_NUMBERS: Final = re.compile(r"\d+")
_PLAIN_LIST: Final = re.compile(r"\[\^?(?:[^\[\]\\&|~]|\\[^A-Za-z0-9])+\]")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(expression: str) -> Iterator[_Token]:
    for found in _TOKENS.finditer(expression):
        yield _Token(str(found.lastgroup), found[0])


@lru_cache(maxsize=2048)
def fault(expression: str) -> str:
    """Why Go is sure to refuse an expression, to be put after "it has"; empty where it may take it."""
    depth = 0
    before = _Token("", "")
    for token in _tokens(expression):
        found = _fault_of(token, before)
        if found:
            return found
        depth += (token.kind == "open") - (token.kind == "close")
        if depth < 0:
            return "a ) without its ("
        before = token
    return "a ( without its )" if depth else ""


def _fault_of(token: _Token, before: _Token) -> str:
    match token.kind:
        case "foreign":
            return f"{_FOREIGN.get(token.text, 'a group')} {token.text}, which RE2 does not know"
        case "escape" if token.text[1].isdigit():
            return f"a reference {token.text} to a group, which RE2 does not know"
        case "escape" if token.text[1].isascii() and token.text[1].isalpha() and token.text[1] not in _ESCAPES:
            return f"{token.text}, which RE2 does not know"
        case "repeat":
            return _repeat_fault(token, before)
        case "other" if token.text == "[":
            return "a [ without its ]"
        case "other" if token.text == "\\":
            return "a backslash at its end"
        case _:
            return ""


def _repeat_fault(token: _Token, before: _Token) -> str:
    if before.text == "(" and token.text[0] == "?":
        return "a group (? of a kind that RE2 does not know"
    if before.kind in ("", "open") or before == _Token("other", "|"):
        return f"nothing before {token.text} that could be repeated"
    if before.kind == "repeat":
        return f"{before.text}{token.text}, which repeats a repetition"
    numbers = [int(each) for each in _NUMBERS.findall(token.text)]
    if any(each > _LARGEST_REPEAT for each in numbers) or numbers != sorted(numbers):
        return f"the repetition {token.text}, whose numbers RE2 does not take"
    return ""


def required(expression: str) -> tuple[str, ...]:
    """Runs of characters that whatever matches has to contain; none where alternatives make that hard to say."""
    runs: list[str] = [""]
    depth = 0
    for token in _tokens(expression):
        depth += (token.kind == "open") - (token.kind == "close")
        letter = _literal(token)
        if depth == 0 and token == _Token("other", "|"):
            return ()
        if depth == 0 and letter:
            runs[-1] += letter
            continue
        if token.kind == "repeat" and token.text[0] != "+":
            runs[-1] = runs[-1][:-1]
        runs.append("")
    return tuple(filter(None, runs))


def _literal(token: _Token) -> str:
    """The one character that a token stands for, empty if it may stand for others."""
    if token.kind == "other" and token.text not in ".^$|":
        return token.text
    if token.kind == "escape" and not token.text[1].isalnum():
        return token.text[1]
    return ""


@lru_cache(maxsize=2048)
def python_pattern(expression: str) -> re.Pattern[str] | None:
    """The same expression for Python; None where it might not mean the same there, or take long to match."""
    written: list[str] = []
    repeats: Counter[str] = Counter()
    before = _Token("", "")
    for token in _tokens(expression):
        text = _in_python(token)
        if text is None or (token.kind == "repeat" and before.kind == "close" and token.text != "?"):
            return None
        if token.kind == "repeat":
            repeats["optional" if token.text == "?" else "long"] += 1
        written.append(text)
        before = token
    # Python tries every way to match: one long repetition and a few choices bound their number.
    if fault(expression) or repeats["long"] > 1 or repeats["optional"] > 3:  # noqa: PLR2004
        return None
    try:
        return re.compile("".join(written), re.ASCII)
    except re.error:  # Python does not repeat what has no width
        return None


def _in_python(token: _Token) -> str | None:
    match token.kind:
        case "other":
            return _OPERATORS.get(token.text) or re.escape(token.text)
        case "escape" if token.text == r"\z":
            return r"\Z"
        case "escape" if len(token.text) == 2 and (token.text[1] in _SAME_IN_PYTHON or not token.text[1].isalnum()):  # noqa: PLR2004
            return token.text
        case "list" if _PLAIN_LIST.fullmatch(token.text) and "--" not in token.text:
            return token.text
        case "open" if token.text in ("(", "(?:"):
            return token.text
        case "close" | "repeat":
            return token.text
        case _:
            return None
