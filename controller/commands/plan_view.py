"""A plan for people and for programs: text with a diff per object, and JSON of a documented form (docs/plan.md)."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.apply import WRITE_ACTIONS, Action, Result, planned
from controller.cluster.changes import Create, Keep, Replace, ref_of
from controller.cluster.diff import ABSENT
from controller.cluster.reasons import Reason
from controller.gatekeeper.yamltext import write_yaml
from controller.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from controller.cluster.changes import Change, Plan
    from controller.cluster.diff import Difference
    from controller.gatekeeper.model import DesiredState

SCHEMA: Final = "azpolicy.dev/plan/v1"
_VERBS: Final = {
    Action.CREATED: ("create", "+"),
    Action.REPLACED: ("replace", "~"),
    Action.DELETED: ("delete", "-"),
    Action.UNCHANGED: ("keep", " "),
    Action.RETAINED: ("retain", "="),
    Action.IN_USE: ("in-use", "="),
    Action.CONFLICT: ("conflict", "!"),
    Action.REFUSED: ("refuse", "!"),
    Action.REJECTED: ("reject", "!"),
    Action.BLOCKED: ("block", "!"),
    Action.FAILED: ("invalid", "!"),
}


def as_text(plan: Plan, desired: DesiredState, *, colour: bool = False, verbose: bool = False) -> Iterator[str]:
    """Lines: a head and a diff per change, then the counts. Unchanged objects only when `verbose`."""
    for change in plan.changes:
        result = planned(change)
        if isinstance(change, Keep) and not change.dropped and not verbose:
            continue
        yield from _head(result, colour=colour)
        yield from (_painted(line, colour=colour) for line in _diff(change))
    yield summary(map(planned, plan.changes), desired)


def _head(result: Result, *, colour: bool) -> Iterator[str]:
    verb, sign = _VERBS[result.action]
    why = f" ({result.reason})" if result.reason else ""
    yield _painted(plain(f"{sign} {verb} {result.ref}{why}"), colour=colour, bold=True)
    if result.message:
        yield plain(f"    {result.message}")
    if result.dropped and result.reason != Reason.FIELDS_DROPPED:
        yield plain(f"    the kind's schema does not have {', '.join(result.dropped)}: not enforced")


def _diff(change: Change) -> Iterator[str]:
    """A unified diff of what a decision compares, as YAML; a new object in full, a deleted one not at all."""
    match change:
        case Create():
            yield from (f"  + {line}" for line in _yaml(change.desired.manifest))
        case Replace():
            before, after = _yaml(_in_order(change.live.projection())), _yaml(_in_order(change.after))
            for line in list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]:
                yield f"  {line[:1]} {line[1:]}" if line[:1] in "+- " else f"  {line}"
        case _:
            return


def _yaml(document: Mapping[str, Any]) -> list[str]:
    return [plain(line) for line in write_yaml([document]).rstrip("\n").split("\n")[1:]]


def _in_order(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document with sorted keys, as the server answers it: an order is no difference."""
    ordered: Mapping[str, Any] = json.loads(json.dumps(document, sort_keys=True))
    return ordered


_COLOURS: Final = {"+": "32", "-": "31", "~": "33", "!": "35", "@": "36"}


def _painted(line: str, *, colour: bool, bold: bool = False) -> str:
    code = _COLOURS.get(line.strip()[:1]) if colour else None
    if code is None:
        return line
    return f"\x1b[{'1;' if bold else ''}{code}m{line}\x1b[0m"


def summary(results: Iterable[Result], desired: DesiredState, *, head: str = "plan") -> str:
    """One line of counts: by action, then what of Azure's members is not enforced."""
    counts = Counter(result.action for result in results)
    parts = [f"{counts[action]} {verb}" for action, (verb, _) in _VERBS.items() if counts[action]]
    members = Counter(type(outcome).__name__ for outcome in desired.outcomes)
    return (
        f"{head}: {', '.join(parts) or 'nothing managed'}; members: {members['Rendered']} enforced, "
        f"{members['NotApplied']} not applied, {members['Unresolved']} unresolved"
    )


class Progress:
    """Prints a line per finished change, numbered, as `apply` goes along."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._finished = 0

    def done(self, result: Result) -> None:
        """Takes one result; an object that stays as it is prints nothing."""
        if result.action is Action.UNCHANGED and not result.reason:
            return
        counted = ""
        if result.action in WRITE_ACTIONS or result.action is Action.FAILED:
            self._finished += 1
            counted = f"[{self._finished}/{self._total}] "
        differed = f" ({', '.join(map(str, result.differences[:4]))})" if result.differences else ""
        why = f": {result.message}" if result.message else ""
        line = plain(f"{counted}{result.action} {result.ref}{differed}{why}")
        print(line, flush=True)  # noqa: T201 - this is the command's output


def as_json(plan: Plan, desired: DesiredState, *, forecast: Mapping[str, Any] | None = None) -> str:
    """The plan as one JSON document, keys sorted, ASCII alone, ending in a newline; docs/plan.md has the keys.

    `forecast` is what it has under that key: the sums of a forecast, where one was asked for.
    """
    results = [(change, planned(change)) for change in plan.changes]
    document = {
        "schema": SCHEMA,
        "clusterId": plan.cluster_id,
        "changes": [_change(change, result) for change, result in results],
        "counts": dict(sorted(Counter(_VERBS[result.action][0] for _, result in results).items())),
        "members": [_member(outcome) for outcome in desired.outcomes],
        **({"forecast": forecast} if forecast else {}),
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _change(change: Change, result: Result) -> Mapping[str, Any]:
    ref = ref_of(change)
    return {
        "action": _VERBS[result.action][0],
        "object": {"group": ref.group, "kind": ref.kind, "name": ref.name},
        "reason": result.reason,
        "message": result.message,
        "differences": [described(d) for d in result.differences],
        "droppedFields": list(result.dropped),
    }


def described(difference: Difference) -> Mapping[str, Any]:
    """A difference as JSON; the value that is not there is left out."""
    values = {"before": difference.before, "after": difference.after}
    return {"path": difference.path, **{k: v for k, v in values.items() if v is not ABSENT}}


def _member(outcome: Any) -> Mapping[str, Any]:
    member = outcome.member
    return {
        "assignmentId": member.assignment_id,
        "referenceId": member.reference_id,
        "definitionId": member.definition_id,
        "outcome": type(outcome).__name__,
        "reason": str(getattr(outcome, "reason", "")),
        "message": getattr(outcome, "message", ""),
    }
