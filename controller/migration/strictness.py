"""Whether one constraint or mutator does at least what another does, by their specs. Pure.

| part                     | `ours` covers `theirs` when                                        |
|--------------------------|--------------------------------------------------------------------|
| enforcementAction        | it is as strict: deny over warn over dryrun, scoped as its inner   |
| match.kinds              | every group and kind of theirs is among ours                       |
| match.namespaces         | ours names none, or all of theirs                                  |
| match.excludedNamespaces | ours names no others than theirs and those that none may look at   |
| match.scope              | ours says all, or the same                                         |
| match.source             | the same; where nothing is expanded, All and Original are the same |
| the rest of match        | ours says nothing, or the same                                     |
| all else                 | it is the same: which of two parameters is stricter, nobody knows  |
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.diff import same
from controller.cluster.foreign import mapping_at, mappings_at, text_at
from controller.gatekeeper.expansion import EVERY, ORIGINAL
from controller.gatekeeper.manifests import SYSTEM_NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_STRICTNESS: Final = {"deny": 2, "warn": 1, "dryrun": 0}
_ACTION: Final = "enforcementAction"
_SCOPED: Final = "scopedEnforcementActions"
_ANY: Final = "*"


def shortfalls(theirs: Mapping[str, Any], ours: Mapping[str, Any], *, expands: bool = True) -> tuple[str, ...]:
    """Where the spec `ours` does less than `theirs`, or something else; empty where it covers it.

    `expands`: the cluster has an ExpansionTemplate besides ours, so that a source of All is more than Original.
    """
    matches = (_looked_at(mapping_at(each, "match"), expands=expands) for each in (theirs, ours))
    return (*_action(theirs, ours), *_match(*matches), *_rest(theirs, ours))


def _looked_at(match: Mapping[str, Any], *, expands: bool) -> Mapping[str, Any]:
    """A match block without a source that makes no difference."""
    plain = not expands and match.get("source") in (EVERY, ORIGINAL)
    return {key: value for key, value in match.items() if not (plain and key == "source")}


def _action(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    if _strictness(ours) < _strictness(theirs):
        yield f"{_ACTION} is {ours.get(_ACTION, 'deny')}, not {theirs.get(_ACTION, 'deny')}"


def _strictness(spec: Mapping[str, Any]) -> int:
    scoped = mappings_at(spec, _SCOPED) if spec.get(_ACTION) == "scoped" else []
    actions = [text_at(each, "action") for each in scoped] or [text_at(spec, _ACTION, default="deny")]
    return max(_STRICTNESS.get(action, 0) for action in actions)


def _match(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(theirs.keys() | ours.keys()):
        well_formed, covers = _MATCH.get(key, (_anything, _nothing_or_same))
        sides = (theirs.get(key), ours.get(key))
        # What cannot be understood is covered by nothing but the same.
        if not (covers(*sides) if all(map(well_formed, sides)) else _nothing_or_same(*sides)):
            yield f"match.{key} does not match some objects that the other matches"


def _rest(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted((theirs.keys() | ours.keys()) - {_ACTION, _SCOPED, "match"}):
        if not same(theirs.get(key) or None, ours.get(key) or None):
            yield f"{key} differ from the other's: it is not known which is stricter"


def _anything(_: Any) -> bool:
    return True


def _is_texts(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _is_kinds(value: Any) -> bool:
    return value is None or (
        isinstance(value, list)
        and all(isinstance(e, dict) and _is_texts(e.get("apiGroups")) and _is_texts(e.get("kinds")) for e in value)
    )


def _nothing_or_same(theirs: Any, ours: Any) -> bool:
    return not ours or same(theirs, ours)


def _all_or_same(word: str) -> Callable[[Any, Any], bool]:
    return lambda theirs, ours: ours in (None, "", word) or ours == theirs


def _kinds(theirs: Any, ours: Any) -> bool:
    if not ours:
        return True
    looked_at = set(_pairs(ours))
    return bool(theirs) and all(
        any({(group, kind), (group, _ANY), (_ANY, kind), (_ANY, _ANY)} & looked_at) for group, kind in _pairs(theirs)
    )


def _pairs(kinds: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for each in kinds:
        yield from itertools.product(each.get("apiGroups") or (_ANY,), each.get("kinds") or (_ANY,))


def _namespaces(theirs: Any, ours: Any) -> bool:
    return not ours or (bool(theirs) and set(theirs) <= set(ours))


def _excluded(theirs: Any, ours: Any) -> bool:
    return set(ours or ()) <= {*(theirs or ()), *SYSTEM_NAMESPACES}


_MATCH: Final[Mapping[str, tuple[Callable[[Any], bool], Callable[[Any, Any], bool]]]] = {
    "kinds": (_is_kinds, _kinds),
    "namespaces": (_is_texts, _namespaces),
    "excludedNamespaces": (_is_texts, _excluded),
    "source": (_anything, _all_or_same(EVERY)),
    "scope": (_anything, _all_or_same(_ANY)),
}
