"""The grammar of ARM template expressions: text between `[` and `]` to a syntax tree, or an error that says where.

It knows no function and evaluates nothing, so a definition can be read and asked for its parameters before any
value is known.

    expression = string | integer | call
    call       = name "(" [ expression { "," expression } ] ")" { step }
    step       = "." name | ".?" name | "[" expression "]" | "[?" expression "]"
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from controller.errors import AzpolicyError
from controller.policy.text_cache import TextCache

LONGEST_EXPRESSION = 81_920
DEEPEST_EXPRESSION = 64
MOST_CALLS = 2_048
INTEGERS = range(-(2**63), 2**63)
_SHOWN = 100

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<string>'(?:[^']|'')*')
      | (?P<integer>[+-]?[0-9]+(?![0-9A-Za-z_]))
      | (?P<name>[A-Za-z_][0-9A-Za-z_]*)
      | (?P<mark>\.\?|\[\?|[()\[\],.])
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_PLAIN_KEY = re.compile(r"[\w$@-]+")


class ExpressionError(AzpolicyError):
    """An expression that cannot be read or evaluated: what, where in the text, and where in the document.

    `position` counts characters from 1 in `expression`; `path` is like `details.values.ports[0]`, empty where unknown.
    """

    def __init__(self, reason: str, *, position: int = 0, expression: str = "", path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position
        self.expression = expression
        self.path = path

    def __str__(self) -> str:
        text = f"{self.path}: {self.reason}" if self.path else self.reason
        match (self.position, self.expression):
            case (_, ""):
                return text
            case (0, expression):
                return f"{text} (in {shown(expression)})"
            case (position, expression):
                return f"{text} (character {position} of {shown(expression)})"

    def locate(self, *, position: int = 0, expression: str = "") -> None:
        """Say where in which text, unless an inner part has said so already."""
        self.position = self.position or position
        self.expression = self.expression or expression

    def under(self, key: str | int) -> None:
        """Put one more step, an object's key or a list's index, before the path."""
        match key:
            case int():
                step = f"[{key}]"
            case str() if _PLAIN_KEY.fullmatch(key):
                step = key
            case _:
                step = f"[{shown(key)!r}]"
        self.under_path(step)

    def under_path(self, path: str) -> None:
        """Put a whole path before the path."""
        self.path = f"{path}{'.' if self.path and not self.path.startswith('[') else ''}{self.path}"


def shown(text: str) -> str:
    """The text as one short printable line for a message."""
    line = "".join(character if character.isprintable() else " " for character in text[: _SHOWN + 1])
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


@dataclass(frozen=True, slots=True)
class Literal:
    """A string or an integer as written; true, false and null are functions in this language."""

    value: str | int


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; the name is kept as written and compared case-insensitively."""

    name: str
    arguments: tuple[Expression, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Step:
    """One property or index; a safe step yields null, and ends the walk, where there is nothing."""

    key: Expression
    safe: bool
    position: int


@dataclass(frozen=True, slots=True)
class Access:
    """A walk into the value of a call. Its steps are one tuple, so that a long walk is not a deep tree."""

    target: Call
    steps: tuple[Step, ...]


Expression: TypeAlias = Literal | Call | Access


def is_expression(text: str) -> bool:
    """Whether Azure treats the string as an expression: `[…]`, but not `[[…]`, which is the literal `[…]`."""
    return text[:1] == "[" and text[-1:] == "]" and text[:2] != "[["


@TextCache
def parse(text: str) -> Expression:
    """The syntax tree of an expression, brackets included; ExpressionError says what is wrong at which character."""
    if not is_expression(text):
        raise ExpressionError("an expression starts with '[' and ends with ']'", expression=text)
    if len(text) > LONGEST_EXPRESSION:
        reason = f"the expression has {len(text):,} characters, more than Azure's {LONGEST_EXPRESSION:,}"
        raise ExpressionError(reason, expression=text)
    try:
        return _Parser(text).whole()
    except ExpressionError as error:
        error.locate(expression=text)
        raise


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    position: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else f"'{shown(self.text)}'"


class _Parser:
    """Recursive descent with one token of lookahead; its depth is bounded by Azure's limit."""

    __slots__ = ("_body", "_calls", "_offset", "_token")

    def __init__(self, text: str) -> None:
        self._body = text[:-1]
        self._offset = 1
        self._calls = 0
        self._token = self._scan()

    def whole(self) -> Expression:
        if self._token.kind == "end":
            raise ExpressionError("the expression is empty; for the text '[]' write '[[]'", position=1)
        expression = self._expression(1)
        if self._token.kind != "end":
            raise self._unexpected("the end of the expression")
        return expression

    def _scan(self) -> _Token:
        found = _TOKEN.match(self._body, self._offset)
        if found is None or found.lastgroup is None:
            raise self._unreadable()
        self._offset = found.end()
        return _Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup) + 1)

    def _unreadable(self) -> ExpressionError:
        rest = self._body[self._offset :]
        start = self._offset + len(rest) - len(rest.lstrip(" \t\r\n"))
        character = self._body[start]
        if character == "'":
            return ExpressionError("the string is never closed with a single quote", position=start + 1)
        if character in "+-0123456789":
            return ExpressionError("not a number; only integers may be written", position=start + 1)
        return ExpressionError(f"unexpected character {character!r}", position=start + 1)

    def _unexpected(self, wanted: str) -> ExpressionError:
        return ExpressionError(f"expected {wanted}, found {self._token}", position=self._token.position)

    def _take(self) -> _Token:
        token = self._token
        self._token = self._scan()
        return token

    def _expect(self, mark: str) -> None:
        if self._token.text != mark or self._token.kind != "mark":
            raise self._unexpected(f"'{mark}'")
        self._take()

    def _expression(self, depth: int) -> Expression:
        if depth > DEEPEST_EXPRESSION:
            reason = f"the expression is nested deeper than Azure's {DEEPEST_EXPRESSION} levels"
            raise ExpressionError(reason, position=self._token.position)
        match self._token.kind:
            case "string":
                return Literal(self._take().text[1:-1].replace("''", "'"))
            case "integer":
                return self._integer()
            case "name":
                call = self._call(depth)
                steps = tuple(self._steps(depth))
                return Access(call, steps) if steps else call
            case _:
                raise self._unexpected("a function call, a string or an integer")

    def _integer(self) -> Literal:
        token = self._take()
        # 20 characters hold any 64-bit integer; int() of thousands of digits is slow or refused.
        digits = token.text.lstrip("+-").lstrip("0") or "0"
        value = int(digits[:20]) * (-1 if token.text[0] == "-" else 1)
        if value not in INTEGERS:
            raise ExpressionError("the integer does not fit in 64 bits", position=token.position)
        return Literal(value)

    def _call(self, depth: int) -> Call:
        self._calls += 1
        name = self._take()
        if self._calls > MOST_CALLS:
            raise ExpressionError(f"more function calls than Azure's {MOST_CALLS:,}", position=name.position)
        self._expect("(")
        arguments: list[Expression] = []
        if self._token.text != ")":
            arguments.append(self._expression(depth + 1))
            while self._token.text == ",":
                self._take()
                arguments.append(self._expression(depth + 1))
        self._expect(")")
        return Call(name.text, tuple(arguments), name.position)

    def _steps(self, depth: int) -> list[Step]:
        steps: list[Step] = []
        while self._token.text in {".", ".?", "[", "[?"}:
            mark = self._take()
            safe = mark.text.endswith("?")
            if mark.text.startswith("["):
                key = self._expression(depth + 1)
                self._expect("]")
            elif self._token.kind == "name":
                key = Literal(self._take().text)
            else:
                raise self._unexpected("the name of a property")
            steps.append(Step(key, safe, mark.position))
        return steps
