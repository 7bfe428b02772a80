"""The `if` of a policy rule, on the cluster: in mode Microsoft.Kubernetes.Data it decides whether a policy applies.

The language is Azure's (https://learn.microsoft.com/azure/governance/policy/concepts/definition-structure-policy-rule).
Strings compare without case but in match and notMatch, locations also without spaces. An answer that only Azure could
give is Unknown, and what does not depend on it is decided all the same.
"""

from __future__ import annotations

import operator
import string
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from controller.policy.expressions import ExpressionError, Scope, evaluate
from controller.policy.fields import is_location, normalised_location, read_field
from controller.policy.parameters import kind_of, shown
from controller.policy.verdict import Unknown, Verdict, all_of, any_of, negate
from controller.times import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from controller.azure.model import ClusterResource
    from controller.jsontypes import Json

PLACE: Final = "policyRule.if"

_SUBJECTS: Final = frozenset({"field", "value", "count"})
_CONDITION_COST: Final = 1000


class _Undecided(Exception):  # noqa: N818 - becomes an Unknown at the condition that asked
    """A value in a condition cannot be known."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.unknown = Unknown(reason)


def applies(rule: Json, cluster: ClusterResource, scope: Scope) -> Verdict:
    """Whether a rule's `if` is true of the cluster, with the parameters of the scope."""

    def field(name: str) -> Json:
        found = read_field(cluster, name)
        if isinstance(found, Unknown):
            raise ExpressionError(found.reason)
        return found

    try:
        return _Condition(cluster, replace(scope, field=field)).verdict(rule, PLACE)
    except RecursionError:
        return Unknown(f"{PLACE}: is nested too deeply")
    except ExpressionError as error:
        return Unknown(f"{PLACE}: {error.reason}")


@dataclass(frozen=True, slots=True)
class _Condition:
    """Decides one node of the `if` and those below it; a count's `where` gets a scope of its own."""

    cluster: ClusterResource
    scope: Scope

    def verdict(self, node: Json, place: str) -> Verdict:
        # Counts within counts multiply: once the work is used up, nothing is decided any more.
        self.scope.budget.spend(_CONDITION_COST + (len(node) if isinstance(node, dict | list) else 0))
        if not isinstance(node, dict):
            return Unknown(f"{place}: must be an object, is {kind_of(node)}")
        keys = {key.casefold(): key for key in node}
        if len(keys) == 1:
            ((folded, key),) = keys.items()
            match folded:
                case "allof":
                    return self._several(all_of, node[key], f"{place}.{key}")
                case "anyof":
                    return self._several(any_of, node[key], f"{place}.{key}")
                case "not":
                    return negate(self.verdict(node[key], f"{place}.{key}"))
        try:
            return self._leaf(node, keys, place)
        except _Undecided as error:
            return error.unknown

    def _several(self, combine: Callable[..., Verdict], nodes: Json, place: str) -> Verdict:
        if not isinstance(nodes, list) or not nodes:
            return Unknown(f"{place}: must be a list of conditions")
        return combine(self.verdict(node, f"{place}[{index}]") for index, node in enumerate(nodes))

    def _leaf(self, node: Mapping[str, Json], keys: Mapping[str, str], place: str) -> Verdict:
        """One subject (field, value or count) and one condition on it."""
        subjects, conditions = keys.keys() & _SUBJECTS, keys.keys() - _SUBJECTS
        if len(subjects) != 1 or len(conditions) != 1 or len(keys) != len(node):
            raise _Undecided(f"{place}: must have one of field, value and count, and one condition")
        (subject,), (condition,) = subjects, conditions
        known = _CONDITIONS.get(condition)
        if known is None:
            raise _Undecided(f"{place}.{keys[condition]}: is not a condition that azpolicy knows")
        wanted = self._evaluated(node[keys[condition]], f"{place}.{keys[condition]}")
        raw, at = node[keys[subject]], f"{place}.{keys[subject]}"
        if subject == "count":
            certain, doubts = self._count(raw, at)
            return _same(list(self._for_each_doubt(known, certain, len(doubts), wanted, place)), at, doubts)
        if subject == "value":
            return known(self._evaluated(raw, at), wanted, place)
        name = self._evaluated(raw, at)
        if not isinstance(name, str):
            raise _Undecided(f"{at}: must be a field's name, is {kind_of(name)}")
        found = read_field(self.cluster, name)
        if isinstance(found, Unknown):
            raise _Undecided(f"{at}: {found.reason}")
        if is_location(name):
            return known(_as_location(found), _as_location(wanted), place)
        return known(found, wanted, place)

    def _for_each_doubt(
        self, known: Callable[[Json, Json, str], Verdict], certain: int, doubts: int, wanted: Json, place: str
    ) -> Iterator[Verdict]:
        """What the condition says of every count that there may be; each time it looks at all that is wanted."""
        for count in range(certain, certain + doubts + 1):
            self.scope.budget.spend(1)
            self.scope.budget.read(wanted)
            yield known(count, wanted, place)

    def _evaluated(self, value: Json, place: str) -> Json:
        try:
            result = evaluate(value, self.scope, path=place)
            self.scope.budget.read(result)
        except ExpressionError as error:
            raise _Undecided(str(error)) from error
        return result

    def _count(self, node: Json, place: str) -> tuple[int, list[Unknown]]:
        """How many elements fulfil the `where` for certain, and for how many that is not known."""
        if not isinstance(node, dict) or "value" not in node:
            raise _Undecided(f"{place}: counts an alias, which only Azure can read")
        items = self._evaluated(node["value"], f"{place}.value")
        if not isinstance(items, list):
            raise _Undecided(f"{place}.value: must be an array, is {kind_of(items)}")
        where, name = node.get("where"), node.get("name")
        if where is None:
            return len(items), []
        if not isinstance(name, str | None):
            raise _Undecided(f"{place}.name: must be a string, is {kind_of(name)}")
        verdicts = [self._inside(item, name).verdict(where, f"{place}.where") for item in items]
        return sum(verdict is True for verdict in verdicts), [each for each in verdicts if isinstance(each, Unknown)]

    def _inside(self, item: Json, name: str | None) -> _Condition:
        """The same condition with one element of a count as the current one; outer counts stay in reach by name."""
        outer = self.scope.current

        def current(asked: str | None) -> Json:
            if asked is None or (name is not None and asked.casefold() == name.casefold()):
                return item
            if outer is None:
                raise ExpressionError(f"'{asked}' is not the name of a count around it")
            return outer(asked)

        return replace(self, scope=replace(self.scope, current=current))


def _same(verdicts: list[Verdict], place: str, doubts: list[Unknown]) -> Verdict:
    """What all agree on: the count itself may not be known exactly, and yet be enough."""
    if all(verdict is True for verdict in verdicts):
        return True
    if all(verdict is False for verdict in verdicts):
        return False
    unknown = next(each for each in (*doubts, *verdicts) if isinstance(each, Unknown))
    return Unknown(f"{place}: the count is not known: {unknown.reason}")


def _as_location(value: Json) -> Json:
    if isinstance(value, list):
        return [_as_location(item) for item in value]
    return normalised_location(value) if isinstance(value, str) else value


# Conditions: the value found, the value wanted, the place for messages.


def _text(value: Json) -> str | None:
    """A scalar as text: Azure takes `"true"` for true and `"5"` for 5."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class _Scalar:
    """A scalar ready to be compared: as folded text, None for null, and as a number where it is one."""

    text: str | None
    number: int | float | None = None


_Folded: TypeAlias = "_Scalar | list[_Folded] | tuple[int, dict[str, _Folded]]"


def _folded(value: Json) -> _Folded:
    """A value ready to be compared without case: folded once, however many others it is compared with."""
    match value:
        case dict():
            return len(value), {key.casefold(): _folded(item) for key, item in value.items()}
        case list():
            return list(map(_folded, value))
        case _:
            text = _text(value)
            number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
            return _Scalar(None if text is None else text.casefold(), number)


def _alike(found: _Folded, wanted: _Folded) -> bool:
    match found, wanted:
        case (int(mine), dict(values)), (int(theirs), dict(others)):
            same_keys = mine == theirs and values.keys() == others.keys()
            return same_keys and all(_alike(item, others[key]) for key, item in values.items())
        case list(), list():
            return len(found) == len(wanted) and all(map(_alike, found, wanted))
        case _Scalar(), _Scalar():
            if found.number is not None and wanted.number is not None:
                return found.number == wanted.number
            return found.text == wanted.text
        case _:
            return False


def _equals(found: Json, wanted: Json, _: str) -> Verdict:
    return _alike(_folded(found), _folded(wanted))


def _like(found: Json, wanted: Json, place: str) -> Verdict:
    pattern, text = _text(wanted), _text(found)
    if pattern is None or pattern.count("*") > 1:
        return Unknown(f"{place}: like takes a string with one * at most, not {shown(wanted)}")
    if text is None:
        return False
    start, star, end = pattern.casefold().partition("*")
    folded = text.casefold()
    if not star:
        return folded == start
    return len(folded) >= len(start) + len(end) and folded.startswith(start) and folded.endswith(end)


def _match(same: Callable[[str, str], bool]) -> Callable[[Json, Json, str], Verdict]:
    def matches(found: Json, wanted: Json, place: str) -> Verdict:
        if not isinstance(wanted, str):
            return Unknown(f"{place}: match takes a string, not {shown(wanted)}")
        text = _text(found)
        if text is None or len(text) != len(wanted):
            return False
        return all(_stands_for(mark, letter, same) for mark, letter in zip(wanted, text, strict=True))

    return matches


def _stands_for(mark: str, letter: str, same: Callable[[str, str], bool]) -> bool:
    """`#` is a digit, `?` a letter, `.` any character, all else itself."""
    match mark:
        case "#":
            return letter in string.digits
        case "?":
            return letter in string.ascii_letters
        case ".":
            return True
        case _:
            return same(mark, letter)


def _same_in_any_case(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def _contains(found: Json, wanted: Json, place: str) -> Verdict:
    if isinstance(found, list):
        part_of = _folded(wanted)
        return any(_alike(_folded(item), part_of) for item in found)
    part, text = _text(wanted), _text(found)
    if part is None:
        return Unknown(f"{place}: contains takes a string, not {shown(wanted)}")
    return text is not None and part.casefold() in text.casefold()


def _in(found: Json, wanted: Json, place: str) -> Verdict:
    if not isinstance(wanted, list):
        return Unknown(f"{place}: in takes an array, not {shown(wanted)}")
    one = _folded(found)
    return any(_alike(one, _folded(item)) for item in wanted)


def _contains_key(found: Json, wanted: Json, place: str) -> Verdict:
    if not isinstance(wanted, str):
        return Unknown(f"{place}: containsKey takes a string, not {shown(wanted)}")
    return isinstance(found, dict) and any(key.casefold() == wanted.casefold() for key in found)


def _exists(found: Json, wanted: Json, place: str) -> Verdict:
    match _text(wanted):
        case str(text) if text.casefold() in ("true", "false"):
            return (found is not None) is (text.casefold() == "true")
        case _:
            return Unknown(f"{place}: exists takes true or false, not {shown(wanted)}")


def _order(holds: Callable[[int], bool]) -> Callable[[Json, Json, str], Verdict]:
    def compare(found: Json, wanted: Json, place: str) -> Verdict:
        if found is None:
            return False
        sign = _sign(found, wanted)
        if sign is None:
            return Unknown(
                f"{place}: {kind_of(found)} {shown(found)} and {kind_of(wanted)} {shown(wanted)} have no order"
            )
        return holds(sign)

    return compare


def _sign(found: Json, wanted: Json) -> int | None:
    """Less, equal or greater as -1, 0, 1: numbers, moments, or else texts without case; None for unlike types."""
    match found, wanted:
        case str(), str():
            moments = parse_moment(found), parse_moment(wanted)
            if moments[0] is not None and moments[1] is not None:
                return (moments[0] > moments[1]) - (moments[0] < moments[1])
            mine, theirs = found.casefold(), wanted.casefold()
            return (mine > theirs) - (mine < theirs)
        case bool(), _:
            return None
        case _, bool():
            return None
        case ((int() | float()), (int() | float())):
            return (found > wanted) - (found < wanted)
        case _:
            return None


def _opposite(condition: Callable[[Json, Json, str], Verdict]) -> Callable[[Json, Json, str], Verdict]:
    return lambda found, wanted, place: negate(condition(found, wanted, place))


_POSITIVE: Final[Mapping[str, Callable[[Json, Json, str], Verdict]]] = {
    "equals": _equals,
    "like": _like,
    "match": _match(operator.eq),
    "matchInsensitively": _match(_same_in_any_case),
    "contains": _contains,
    "in": _in,
    "containsKey": _contains_key,
}
_CONDITIONS: Final[Mapping[str, Callable[[Json, Json, str], Verdict]]] = {
    **{name.casefold(): condition for name, condition in _POSITIVE.items()},
    **{f"not{name.casefold()}": _opposite(condition) for name, condition in _POSITIVE.items()},
    "exists": _exists,
    "less": _order(lambda sign: sign < 0),
    "lessorequals": _order(lambda sign: sign <= 0),
    "greater": _order(lambda sign: sign > 0),
    "greaterorequals": _order(lambda sign: sign >= 0),
}
