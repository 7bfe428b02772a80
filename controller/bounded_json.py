"""JSON from elsewhere, read with a bound on its depth: what is nested deeper is cut out, and all the rest can be used.

Python's reader gives up on about a thousand levels, and so does whatever walks a value by calling itself. Whoever may
create one object could stop a reader of lists with that. So the bytes are looked at before they are read: it costs a
fraction of reading them, and only a text that is too deep pays for being cut.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from controller.jsontypes import Json

# Documents of Azure's have 100 levels at most; as part of a Kubernetes object, in a list, they have a few more.
DEEPEST: Final = 128
CUT: Final = f"(azpolicy: nested deeper than {DEEPEST} levels, not read)"

_MARK: Final = json.dumps(CUT).encode()
_NO_ESCAPES: Final = bytes(set(range(256)) - set(b'"[]{}\\/bfnrtu'))
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b'"[]{}'))
_ONE_SHAPE: Final = bytes.maketrans(b"{}", b"[]")
_BARE_STRING: Final = re.compile(rb'"[^"]*"')
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def read_json(text: bytes) -> Any:
    """The value of a UTF-8 text, with CUT in place of whatever is nested deeper than DEEPEST; ValueError for no JSON.

    A number of more digits than Python reads is infinity, which no document may hold: that too is one value's fault.
    """
    return read_bounded(text)[0]


def read_bounded(text: bytes) -> tuple[Any, bool]:
    """As `read_json`, and whether anything was cut out."""
    shallow = without_depths(text)
    try:
        return _loaded(shallow.decode("utf-8-sig")), shallow is not text
    except RecursionError as error:  # brackets that do not match
        raise ValueError("it is no JSON") from error


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return math.copysign(math.inf, -1 if digits.startswith("-") else 1)


def is_deeper(text: bytes, levels: int) -> bool:
    """Whether a JSON text is nested deeper than so many levels; of what is no JSON the answer means nothing."""
    if len(text) <= levels:
        return False
    # Escaped quotes go first, so that what stays are the quotes around strings; and of two strings that then touch, the
    # quotes between them may go, as all that they hold goes.
    marks = text.translate(None, _NO_ESCAPES).replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_BRACKETS)
    brackets = _BARE_STRING.sub(b"", marks.replace(b'""', b"")).translate(_ONE_SHAPE)
    for _ in range(levels):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def without_depths(text: bytes) -> bytes:
    """The very text where it is not too deep, else one with CUT for every value that begins below the deepest level."""
    if not is_deeper(text, DEEPEST):
        return text
    kept: list[bytes] = []
    depth = start = 0
    for found in _TOKEN.finditer(text):
        match text[found.start() : found.start() + 1]:
            case b"[" | b"{":
                depth += 1
                if depth == DEEPEST + 1:
                    kept.append(text[start : found.start()])
            case b"]" | b"}":
                if depth == DEEPEST + 1:
                    kept.append(_MARK)
                    start = found.end()
                depth -= 1
    return b"".join([*kept, text[start:]])


def is_cut(value: Json) -> bool:
    """Whether something was cut out of a value that was read."""
    level: list[Json] = [value]
    while level:
        below: list[Json] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif each == CUT:
                return True
        level = below
    return False
