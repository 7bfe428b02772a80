"""Kubernetes' label selectors, as far as it shows by themselves that they select nothing. Pure.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors says what they mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

IN: Final = "In"
NOT_IN: Final = "NotIn"
EXISTS: Final = "Exists"
DOES_NOT_EXIST: Final = "DoesNotExist"
_QUERIES: Final = {
    IN: "{key} in ({values})",
    NOT_IN: "{key} notin ({values})",
    EXISTS: "{key}",
    DOES_NOT_EXIST: "!{key}",
}


class Requirement(NamedTuple):
    """What a selector asks of one label; `values` are those of In and NotIn."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """As a query of the API, and kubectl, has it."""
        return _QUERIES[self.operator].format(key=self.key, values=",".join(sorted(self.values)))


def requirements(selector: object) -> tuple[Requirement, ...]:
    """All that a selector asks for; what has not the form of a requirement is left out."""
    return tuple(_requirements(selector))


def _requirements(selector: object) -> Iterator[Requirement]:
    if not isinstance(selector, dict):
        return
    labels, expressions = selector.get("matchLabels"), selector.get("matchExpressions")
    for key, value in labels.items() if isinstance(labels, dict) else ():
        if isinstance(value, str):
            yield Requirement(str(key), IN, frozenset({value}))
    for each in expressions if isinstance(expressions, list) else ():
        if isinstance(each, dict) and isinstance(each.get("key"), str) and each.get("operator") in _QUERIES:
            yield Requirement(each["key"], each["operator"], frozenset(_values(each)))


def _values(expression: Mapping[str, Any]) -> list[str]:
    values = expression.get("values")
    return [each for each in values if isinstance(each, str)] if isinstance(values, list) else []


def contradiction(selector: object, *, always: frozenset[str] = frozenset()) -> str:
    """Why no labels fit a selector, empty where some may; `always` are keys that every object has."""
    asked: dict[str, list[Requirement]] = {}
    for each in _requirements(selector):
        asked.setdefault(each.key, []).append(each)
    return next(filter(None, (_clash(key, of_key, always=key in always) for key, of_key in asked.items())), "")


def _clash(key: str, asked: list[Requirement], *, always: bool) -> str:
    """Why no value of one label fits all that is asked of it."""
    operators = {each.operator for each in asked}
    one_of = [each.values for each in asked if each.operator == IN]
    if one_of and not all(one_of):
        return f"{key} is to be one of no values"
    if DOES_NOT_EXIST in operators and (always or operators & {IN, EXISTS}):
        return f"{key} is to be there and not to be there" if not always else f"{key} is always there"
    refused = frozenset().union(*(each.values for each in asked if each.operator == NOT_IN))
    if one_of and not frozenset.intersection(*one_of) - refused:
        return f"no value of {key} fits all that is asked of it"
    return ""


def narrowing(selector: object) -> tuple[str, ...]:
    """What a selector asks to be there: whatever has not these labels is left out."""
    return tuple(str(each) for each in _requirements(selector) if each.operator in (IN, EXISTS))


def query(selector: object) -> str:
    """The selector as a `labelSelector` of the API."""
    return ",".join(map(str, _requirements(selector)))
