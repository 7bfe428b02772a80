"""Finds what can be changed in a Rego module: rules, expressions of bodies, comparisons, constants.

It reads the form in which the bundle is written: Rego v0, each rule from the first column on.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>\d+(?:\.\d+)?)"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<sign>:=|==|!=|<=|>=|.)""",
    re.DOTALL,
)
OPENING, CLOSING = "([{", ")]}"
FLIPPED = {
    "==": "!=", "!=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "+": "-", "-": "+", "*": "/", "/": "*",
    "true": "false", "false": "true",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a module from `start` to before `end`; it begins in `row`, and in the first column or not."""

    kind: str
    text: str
    start: int
    end: int
    row: int
    leads: bool


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change of a module: what is between `start` and `end` becomes `text`."""

    start: int
    end: int
    text: str
    row: int
    what: str

    def apply(self, source: str) -> str:
        """The module after the change."""
        return source[: self.start] + self.text + source[self.end :]


def mutations(source: str) -> list[Mutation]:
    """Every change of a module: no two of them make the same text.

    - a clause of a rule, or an `else` of it, never holds;
    - an expression of a body (of a rule, an `else` or a comprehension) is left out;
    - an expression that assigns nothing is negated, or its `not` is left out;
    - a comparison or sum becomes its neighbour (FLIPPED), a truth value the other;
    - a text becomes another, a number the next.
    """
    found: dict[str, Mutation] = {}
    for rule in _rules(_tokens(source)):
        for mutation in _of_rule(rule, source):
            found.setdefault(mutation.apply(source), mutation)
    return list(found.values())


def _tokens(source: str) -> list[Token]:
    tokens = []
    for match in TOKEN.finditer(source):
        if match.lastgroup and match.lastgroup != "space":
            start = match.start()
            row = source.count("\n", 0, start) + 1
            leads = start == 0 or source[start - 1] == "\n"
            tokens.append(Token(match.lastgroup, match.group(), start, match.end(), row, leads))
    return tokens


def _rules(tokens: list[Token]) -> Iterator[list[Token]]:
    """The tokens of each rule: it begins in the first column, which else only the end of one has."""
    rule: list[Token] = []
    for token in tokens:
        if token.leads and token.text not in CLOSING and rule:
            yield rule
            rule = []
        rule.append(token)
    if rule:
        yield rule


def _of_rule(rule: list[Token], source: str) -> Iterator[Mutation]:
    if rule[0].text in {"package", "import"}:
        return
    yield from _constants(rule)
    yield from _clauses(rule)
    for body in _bodies(rule):
        for expression in _expressions(body):
            yield from _of_expression(expression, source)


def _constants(rule: list[Token]) -> Iterator[Mutation]:
    for token in rule:
        if token.kind == "string":
            yield Mutation(token.start, token.end, '"mutant"', token.row, f'{token.text} becomes "mutant"')
        elif token.kind == "number":
            more = str(float(token.text) + 1) if "." in token.text else str(int(token.text) + 1)
            yield Mutation(token.start, token.end, more, token.row, f"{token.text} becomes {more}")
        elif token.text in FLIPPED:
            flipped = FLIPPED[token.text]
            yield Mutation(token.start, token.end, flipped, token.row, f"{token.text} becomes {flipped}")


def _clauses(rule: list[Token]) -> Iterator[Mutation]:
    """That a clause, or an `else`, never holds: `false` comes first in its body."""
    heads = [(rule[0], "the clause")] + [(token, "the else") for token in rule if token.text == "else"]
    if rule[0].text == "default":
        yield Mutation(rule[0].start, rule[-1].end, "", rule[0].row, "the default is left out")
        return
    openings = _openings(rule)
    for place, (head, name) in enumerate(heads):
        following = heads[place + 1][0].start if place + 1 < len(heads) else rule[-1].end
        body = next((token for token in openings if head.start < token.start < following), None)
        if body:
            yield Mutation(body.end, body.end, " false;", head.row, f"{name} never holds")
        else:
            yield Mutation(rule[-1].end, rule[-1].end, " { false }", head.row, f"{name} never holds")


def _openings(rule: list[Token]) -> list[Token]:
    """The braces that open a body: those outside of all brackets that stand where no value is expected."""
    openings, depth = [], 0
    for before, token in zip([None, *rule], rule, strict=False):
        if token.text == "{" and depth == 0 and before and (before.kind != "sign" or before.text in CLOSING):
            openings.append(token)
        depth += (token.text in OPENING) - (token.text in CLOSING)
    return openings


def _bodies(rule: list[Token]) -> Iterator[list[Token]]:
    """The tokens of each body of the rule, and of each comprehension after its `|`."""
    openings = _openings(rule)
    for place, token in enumerate(rule):
        if token.text in OPENING:
            inside = rule[place + 1 : _closing(rule, place)]
            if token in openings:
                yield inside
            elif token.text != "(" and (bar := _bar(inside)) is not None:
                yield inside[bar + 1 :]


def _closing(tokens: list[Token], place: int) -> int:
    """Where the bracket at `place` ends."""
    depth = 0
    for position in range(place, len(tokens)):
        depth += (tokens[position].text in OPENING) - (tokens[position].text in CLOSING)
        if depth == 0:
            return position
    raise ValueError(f"line {tokens[place].row}: {tokens[place].text} is not closed")


def _bar(tokens: list[Token]) -> int | None:
    """Where the head of a comprehension ends; None if it is none."""
    depth = 0
    for position, token in enumerate(tokens):
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if token.text == "|" and depth == 0:
            return position
    return None


def _expressions(body: list[Token]) -> Iterator[list[Token]]:
    """The expressions of a body: each ends at a semicolon or with its line, but for what is in brackets."""
    expression: list[Token] = []
    depth = 0
    for token in body:
        ends = depth == 0 and expression and token.text not in CLOSING
        if ends and (token.text == ";" or token.row > expression[-1].row):
            yield expression
            expression = []
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if token.text != ";" or depth:
            expression.append(token)
    if expression:
        yield expression


def _of_expression(expression: list[Token], source: str) -> Iterator[Mutation]:
    first, start, end = expression[0], expression[0].start, expression[-1].end
    text = " ".join(source[start:end].split())
    if first.text == "some" or text in {"true", "false"}:
        return
    yield Mutation(start, end, "true", first.row, f"without: {text}")
    if first.text == "not":
        yield Mutation(start, expression[1].start, "", first.row, f"not negated: {text}")
    elif not _assigns(expression):
        yield Mutation(start, start, "not ", first.row, f"negated: {text}")


def _assigns(expression: list[Token]) -> bool:
    depth = 0
    for token in expression:
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if depth == 0 and token.text in {":=", "="}:
            return True
    return False
