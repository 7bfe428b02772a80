"""The parts of .NET's format strings that expressions reach: dates in `utcNow('…')`, texts in `format('{0:N2}', …)`.

Always the invariant culture: what a policy means must not depend on the machine. A format outside these parts is an
ExpressionError, never an approximation.
"""

from __future__ import annotations

import decimal
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from controller.policy.grammar import ExpressionError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from controller.jsontypes import Json

ROUND_TRIP = "yyyy-MM-ddTHH:mm:ss.fffffffZ"

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

# A pattern of one letter is the name of a longer one.
_STANDARD: Mapping[str, str] = {
    "d": "MM/dd/yyyy",
    "D": "dddd, dd MMMM yyyy",
    "f": "dddd, dd MMMM yyyy HH:mm",
    "F": "dddd, dd MMMM yyyy HH:mm:ss",
    "g": "MM/dd/yyyy HH:mm",
    "G": "MM/dd/yyyy HH:mm:ss",
    "m": "MMMM dd",
    "M": "MMMM dd",
    "o": "yyyy-MM-ddTHH:mm:ss.fffffffK",
    "O": "yyyy-MM-ddTHH:mm:ss.fffffffK",
    "r": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
    "R": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
    "s": "yyyy-MM-ddTHH:mm:ss",
    "t": "HH:mm",
    "T": "HH:mm:ss",
    "u": "yyyy-MM-dd HH:mm:ssZ",
    "U": "dddd, dd MMMM yyyy HH:mm:ss",
    "y": "yyyy MMMM",
    "Y": "yyyy MMMM",
}

# By a run's letter and length; a longer run means the same as the longest listed.
_FIELDS: Mapping[str, Sequence[Callable[[datetime], str]]] = {
    "d": (
        lambda at: f"{at.day}",
        lambda at: f"{at.day:02}",
        lambda at: _DAYS[at.weekday()][:3],
        lambda at: _DAYS[at.weekday()],
    ),
    "g": (lambda _: "A.D.",),
    "h": (lambda at: f"{_twelve(at)}", lambda at: f"{_twelve(at):02}"),
    "H": (lambda at: f"{at.hour}", lambda at: f"{at.hour:02}"),
    "K": (lambda _: "Z",),
    "m": (lambda at: f"{at.minute}", lambda at: f"{at.minute:02}"),
    "M": (
        lambda at: f"{at.month}",
        lambda at: f"{at.month:02}",
        lambda at: _MONTHS[at.month - 1][:3],
        lambda at: _MONTHS[at.month - 1],
    ),
    "s": (lambda at: f"{at.second}", lambda at: f"{at.second:02}"),
    "t": (lambda at: "AP"[at.hour // 12], lambda at: ("AM", "PM")[at.hour // 12]),
    "z": (lambda _: "+0", lambda _: "+00", lambda _: "+00:00"),
}
_DATE_PIECE = re.compile(
    r"""(?P<field>([dgHhmMst])\2*|z+|K)
      | (?P<year>y+)
      | (?P<dot>\.?)(?P<fraction>f+|F+)
      | '(?P<single>[^']*)' | "(?P<double>[^"]*)" | \\(?P<escaped>.)
      | (?P<percent>%(?=[^%]))
      | (?P<plain>[^'"\\%])
    """,
    re.VERBOSE | re.DOTALL,
)
_FINEST_FRACTION = 7


def format_moment(moment: datetime, pattern: str) -> str:
    """The moment in UTC by a .NET date pattern, standard (one letter) or custom; ExpressionError for a bad pattern."""
    if len(pattern) == 1 and pattern not in _STANDARD:
        raise _bad_date(pattern)
    custom = _STANDARD.get(pattern, pattern) or _STANDARD["G"]
    utc = moment.astimezone(UTC)
    texts: list[str] = []
    position = 0
    while position < len(custom):
        found = _DATE_PIECE.match(custom, position)
        if found is None or len(found["fraction"] or "") > _FINEST_FRACTION:
            raise _bad_date(pattern)
        texts.append(_date_piece(found, utc))
        position = found.end()
    return "".join(texts)


def _bad_date(pattern: str) -> ExpressionError:
    return ExpressionError(f"'{shown(pattern)}' is not a date format of .NET")


def _twelve(at: datetime) -> int:
    return at.hour % 12 or 12


def _date_piece(found: re.Match[str], at: datetime) -> str:
    piece = found[0]
    if found["field"]:
        choices = _FIELDS[piece[0]]
        return choices[min(len(piece), len(choices)) - 1](at)
    if found["year"]:
        return f"{at.year % 100:0{len(piece)}}" if len(piece) <= len("yy") else f"{at.year:0{len(piece)}}"
    if found["fraction"]:
        return _fraction(found["dot"], found["fraction"], at)
    if found["percent"]:
        return ""
    return found["single"] or found["double"] or found["escaped"] or found["plain"] or ""


def _fraction(dot: str, letters: str, at: datetime) -> str:
    """Digits of the second; capital letters drop zeros at the end, and the dot with the last digit."""
    digits = f"{at.microsecond:06}0"[: len(letters)]
    if letters[0] == "F":
        digits = digits.rstrip("0")
        return f"{dot}{digits}" if digits else ""
    return f"{dot}{digits}"


_TEXT_PIECE = re.compile(
    r"""(?P<brace>\{\{|\}\})
      | \{(?P<index>[0-9]{1,4})[ ]*(,[ ]*(?P<width>-?[0-9]{1,6})[ ]*)?(:(?P<format>[^{}]*))?\}
      | (?P<plain>[^{}]+)
    """,
    re.VERBOSE,
)


def format_text(template: str, texts: Sequence[Callable[[str], str]], check_size: Callable[[int], None]) -> str:
    """A .NET composite format filled; each of `texts` gives an argument by a format, `check_size` bounds the result."""
    pieces: list[str] = []
    position = size = 0
    while position < len(template):
        found = _TEXT_PIECE.match(template, position)
        if found is None:
            raise ExpressionError(f"the format has a stray brace at character {position + 1}; write '{{{{' or '}}}}'")
        piece = _text_piece(found, texts)
        size += len(piece)
        check_size(size)
        pieces.append(piece)
        position = found.end()
    return "".join(pieces)


def _text_piece(found: re.Match[str], texts: Sequence[Callable[[str], str]]) -> str:
    if found["brace"]:
        return found["brace"][0]
    if found["plain"]:
        return found["plain"]
    index = int(found["index"])
    if index >= len(texts):
        raise ExpressionError(f"the format asks for {{{index}}}, but there are {len(texts)} arguments after it")
    width = int(found["width"] or 0)
    text = texts[index](found["format"] or "")
    return text.ljust(-width) if width < 0 else text.rjust(width)


def format_number(number: float, spec: str, plain: Callable[[Json], str]) -> str:
    """A number by D, F, G, N, P, X or zeros, in .NET's invariant culture; `plain` writes it without a format."""
    found = re.fullmatch(r"(?P<kind>[DdFfGgNnPpXx])(?P<digits>[0-9]{0,2})|(?P<zeros>0+)", spec)
    match number, found:
        case _ if spec in {"", "G", "g"}:
            return plain(number)
        case int(), re.Match() if found["zeros"]:
            return _padded(number, len(spec))
        case int(), re.Match() if found["kind"] in "Dd":
            return _padded(number, int(found["digits"] or 0))
        case int(), re.Match() if found["kind"] in "Xx":
            return f"{number % 2**64:0{found['digits'] or 1}{found['kind']}}"
        case _, re.Match() if found["kind"] and found["kind"] in "FfNnPp":
            return _decimal(number, found["kind"].upper(), int(found["digits"] or 2))
        case _:
            kind = "an integer" if isinstance(number, int) else "a number"
            raise ExpressionError(f"the number format '{shown(spec)}' is not known for {kind}")


def _padded(number: int, digits: int) -> str:
    return f"{'-' if number < 0 else ''}{abs(number):0{digits or 1}}"


def _decimal(number: float, kind: str, digits: int) -> str:
    """Fixed digits, halves away from zero; N groups by thousands, P is in percent."""
    with decimal.localcontext(decimal.Context(prec=500, rounding=decimal.ROUND_HALF_UP)):
        value = decimal.Decimal(number) * (100 if kind == "P" else 1)
        try:
            rounded = value.quantize(decimal.Decimal(1).scaleb(-digits))
        except decimal.InvalidOperation:
            raise ExpressionError("the number has too many digits to be formatted") from None
        text = f"{rounded:f}" if kind == "F" else f"{rounded:,f}"
    return f"{text} %" if kind == "P" else text
