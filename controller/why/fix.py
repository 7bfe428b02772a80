"""The smallest fix of an object, proven by gator: edits are proposed and judged, and left out where they can be."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from controller.check.judge import Action, Finding, judge
from controller.check.manifests import Location, Manifest
from controller.gatekeeper.model import Role
from controller.why.remedies import CONTAINERS, edited, proposed, remedies, spelled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from controller.gatekeeper.model import DesiredState
    from controller.why.remedies import Edit, Path

_VARIANT: Final = "variant"


@dataclass(frozen=True, slots=True)
class Change:
    """One field that a fix changes, for people: `before` is what met the policy, `after` None where it goes."""

    path: str
    before: Any
    after: Any
    removes: bool


@dataclass(frozen=True, slots=True)
class Fix:
    """What gator says of an object, and the edits that it has passed.

    `denied` are the constraints that deny the object as it is, `left` those that still would after the patch: without a
    patch all of them. `patch` is a JSON Patch (RFC 6902), empty where no fix is known.
    """

    denied: frozenset[str]
    left: frozenset[str]
    changes: Mapping[str, tuple[Change, ...]]
    patch: tuple[Mapping[str, Any], ...]
    patched: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()

    @property
    def admits(self) -> bool:
        """Whether the patched object passes every policy that denies."""
        return not self.left


class _Judge:
    """Asks gator about many variants of one object at once, and about none of them twice."""

    def __init__(self, desired: DesiredState, named: Collection[str], gator: str, namespace: str) -> None:
        self._desired = desired
        self._named = named
        self._gator = gator
        self._namespace = namespace
        self._known: dict[str, frozenset[str]] = {}

    def denying(self, variants: Sequence[Mapping[str, Any]]) -> list[frozenset[str]]:
        """The constraints that deny each of them."""
        keys = [json.dumps(each, sort_keys=True) for each in variants]
        if new := {key: each for key, each in zip(keys, variants, strict=True) if key not in self._known}:
            found: list[set[str]] = [set() for _ in new]
            for finding in self.findings(list(new.values())):
                found[finding.location.line].add(finding.constraint.name)
            self._known |= {key: frozenset(names) for key, names in zip(new, found, strict=True)}
        return [self._known[key] for key in keys]

    def findings(self, variants: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
        """What denies them, or is named; the line of a finding's location is the index of its variant."""
        manifests = [Manifest(Location(_VARIANT, n), {"metadata": {}, **each}) for n, each in enumerate(variants)]
        result = judge(manifests, self._desired, gator=self._gator, namespace=self._namespace, all_policies=False)
        return (each for each in result.findings if each.action is Action.DENY or each.constraint.name in self._named)


def find_fix(
    content: Mapping[str, Any],
    desired: DesiredState,
    parameters: Mapping[str, Mapping[str, Any]],
    *,
    gator: str,
    namespace: str,
    named: Collection[str] = (),
) -> Fix:
    """The smallest fix of an object under the desired state's denying constraints, and under `named` ones that warn.

    `parameters` are those of each constraint by its name. Smallest: no edit of it can be left out.
    """
    ask = _Judge(desired, named, gator, namespace)
    findings = tuple(ask.findings([content]))
    denied = frozenset(each.constraint.name for each in findings)
    kinds = {each.constraint.name: each.constraint.kind for each in findings}
    edits: dict[str, tuple[Edit, ...]] = {}
    for name, kind in sorted(kinds.items()):
        if (remedy := remedies().get(kind)) is None:
            continue
        # Of one policy: gator reads all that it is given anew with each question.
        only = _only(desired, name, kind)
        alone = ask if only == desired else _Judge(only, named, gator, namespace)
        edits[name] = (
            _needed(alone, content, name, proposed(remedy, parameters.get(name, {}), content)) if remedy else ()
        )
    chosen = tuple({(e.path, repr(e.value) if e.append else ""): e for each in edits.values() for e in each}.values())
    patched = edited(content, chosen)
    left = ask.denying([patched])[0] if chosen else denied
    if not left <= denied or left == denied:
        # A fix that breaks another policy, or helps with none, is none.
        return Fix(denied, denied, {}, (), content, findings)
    changes = {
        name: tuple(_change(e, content) for e in each) for name, each in edits.items() if each and name not in left
    }
    return Fix(denied, left, changes, tuple(json_patch(content, patched)), patched, findings)


def _only(desired: DesiredState, name: str, kind: str) -> DesiredState:
    """The state with one constraint and its template alone, and with what makes pods for it."""
    kept = (o for o in desired.objects if o.ref.name in (name, kind.lower()) or o.role is Role.EXPANSION)
    return replace(desired, objects=tuple(kept))


def _needed(ask: _Judge, content: Mapping[str, Any], name: str, edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """The edits that one constraint cannot do without; none where all of them together do not satisfy it."""
    if not edits:
        return ()

    def passes(choices: Sequence[Collection[Edit]]) -> list[bool]:
        variants = [edited(content, _with_dependents(choice)) for choice in choices]
        return [name not in denying for denying in ask.denying(variants)]

    return _smallest(edits, passes)


def _smallest(edits: Sequence[Edit], passes: Callable[[Sequence[Collection[Edit]]], list[bool]]) -> tuple[Edit, ...]:
    without = [[e for e in edits if e is not left_out] for left_out in edits]
    whole, *results = passes([edits, *without])
    if not whole:
        return ()
    needed = [e for e, passed in zip(edits, results, strict=True) if not passed or e.dependent]
    if passes([needed])[0]:
        return _with_dependents(needed)
    # Several edits stand in for each other: the later ones of the remedy go first.
    kept = list(edits)
    for edit in reversed(edits):
        if edit not in needed and passes([[e for e in kept if e is not edit]])[0]:
            kept.remove(edit)
    return _with_dependents(kept)


def _with_dependents(edits: Collection[Edit]) -> tuple[Edit, ...]:
    """Without the dependent edits of a target that nothing else changes."""
    changed = {e.target for e in edits if not e.dependent}
    return tuple(e for e in edits if not e.dependent or e.target in changed)


def _change(edit: Edit, content: Mapping[str, Any]) -> Change:
    before: Any = content
    for key in edit.path:
        if isinstance(before, list) and isinstance(key, int):
            before = before[key]
        else:
            before = before.get(key) if isinstance(before, dict) else None
    after = None if edit.removes else [edit.value] if edit.append else edit.value
    return Change(spelled(edit.path, content), before, after, edit.removes)


# --- JSON Patch ------------------------------------------------------------------------------------------------------


def json_patch(before: Any, after: Any) -> Iterator[Mapping[str, Any]]:
    """The JSON Patch between two objects, with a test of the name of each container that it changes.

    So it fails, instead of changing another container, where the list has been changed since.
    """
    operations = list(_operations(before, after, ()))
    tested: dict[Path, None] = {}
    for path, _ in operations:
        for depth, key in enumerate(path[:-1]):
            if key in CONTAINERS and isinstance(path[depth + 1], int):
                tested[path[: depth + 2]] = None
    for path in tested:
        item = before
        for key in path:
            item = item[key]
        if isinstance(item, dict) and "name" in item:
            yield {"op": "test", "path": _pointer((*path, "name")), "value": item["name"]}
    yield from (operation for _, operation in operations)


def _operations(before: Any, after: Any, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    if before == after and type(before) is type(after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in (each for each in before if each not in after):
            yield (*path, key), {"op": "remove", "path": _pointer((*path, key))}
        for key, value in after.items():
            if key in before:
                yield from _operations(before[key], value, (*path, key))
            else:
                yield (*path, key), {"op": "add", "path": _pointer((*path, key)), "value": value}
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _operations(old, new, (*path, index))
    else:
        yield path, {"op": "replace", "path": _pointer(path), "value": after}


def _pointer(path: Path) -> str:
    """RFC 6901."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in path)
