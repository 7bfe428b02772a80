"""What each page tells, as one document: its HTML is rendered from it, and `?format=json` is the document itself. Pure.

All text in a document comes from Azure or the cluster: it is made printable and cut here, and escaped where it is
rendered. Lists come in pages, so that no document grows with the cluster.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Self

from controller.cluster.foreign import mapping_at, text_at
from controller.commands.explain import explained, reasons
from controller.commands.status_view import TONES, Tone, facts, refused
from controller.gatekeeper.model import Rendered
from controller.page.facts import policy_name
from controller.report.assigned import Enforcement, assigned_name, assignment_name
from controller.text import printable
from controller.times import write_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from controller.cluster.apply import Result
    from controller.cluster.lean import Violation
    from controller.cluster.lease import Lease
    from controller.commands.status import AssignedPolicy
    from controller.gatekeeper.model import ObjectRef
    from controller.page.facts import Facts, Row
    from controller.policy.model import Member

SCHEMA: Final = "azpolicy.dev/page/v1"
ROWS: Final = 50
_FIRST: Final = 5
# Facts that the overview shows in another form.
_ELSEWHERE: Final = frozenset({"Ready", "Policies"})
_LONGEST: Final = 2048
_LONGEST_IN_ROW: Final = 300
_LONGEST_QUERY: Final = 200
_MOST: Final = 200
_LAST_PAGE: Final = 1_000_000
# Conditions that somebody has to do something about when they are not as expected.
_WAITING: Final = ("Stalled", "GatekeeperReady", "Suspended", "Contended")
# Outcomes that somebody has to do something about.
_OPEN: Final = frozenset({Enforcement.UNRESOLVED, Enforcement.FAILED})
# Reasons of Ready that no other condition has.
_READY_WAITS: Final = frozenset({"ClusterUnreachable", "SourceUnreadable", "InSyncButNotKept"})


@dataclass(frozen=True, slots=True)
class Query:
    """What the address asks for: the text that is searched for, the page of a list from 1, and filters."""

    text: str = ""
    page: int = 1
    outcome: str = ""
    by: str = "policy"
    namespace: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Reads it; what has no meaning counts as not given."""
        number = given.get("page", "")
        page = int(number) if number.isascii() and number.isdigit() and len(number) < len(str(_LAST_PAGE)) else 1
        outcome, namespace = given.get("outcome", ""), given.get("namespace")
        return cls(
            text=printable(given.get("q", "")[:_LONGEST_QUERY]).strip(),
            page=max(page, 1),
            outcome=outcome if outcome in list(Enforcement) else "",
            by="namespace" if given.get("by") == "namespace" else "policy",
            namespace=None if namespace is None else namespace[:_LONGEST_QUERY],
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page: `name` is its template's and its place in the navigation."""

    name: str
    title: str
    document: Mapping[str, Any]
    status: HTTPStatus = HTTPStatus.OK


def page(
    name: str, title: str, told: Mapping[str, Any], read: Facts | None = None, status: HTTPStatus = HTTPStatus.OK
) -> Page:
    """A page whose document may be shown: every text in it is printable and of bounded length."""
    document: dict[str, Any] = {"schema": SCHEMA, "view": name}
    if read is not None:
        document |= {"readAt": write_moment(read.moment.now), "clusterId": read.sync.cluster_id}
        document["waiting"] = len(_waiting(read))
    return Page(name, _fit(title), _fit({**document, **told}), status)


def _fit(value: Any) -> Any:
    """Text from elsewhere as text that may be shown, in the same shape."""
    if isinstance(value, str):
        return printable(value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…")
    if isinstance(value, dict):
        return {key: _fit(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_fit(each) for each in value[:_MOST]]
    return value


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_IN_ROW else f"{text[: _LONGEST_IN_ROW - 1]}…"


def _paged(found: Sequence[Any], query: Query, shown: Callable[[Any], Any]) -> dict[str, Any]:
    """The rows of one page of a list; a page after the last is the last."""
    pages = max(1, -(-len(found) // ROWS))
    number = min(query.page, pages)
    rows = [shown(each) for each in found[(number - 1) * ROWS : number * ROWS]]
    return {"rows": rows, "total": len(found), "page": number, "pages": pages}


# --- overview --------------------------------------------------------------------------------------------------------


def overview(read: Facts, _: Query) -> Page:
    """Is the cluster as Azure says, what waits for somebody, how is Gatekeeper, and what happened last."""
    ready = read.sync.condition("Ready")
    outcomes: Counter[str] = Counter(each.enforcement for each in read.rows)
    violating = _violating(read)
    told = {
        "ready": {
            "status": ready.holds if ready else "Unknown",
            "reason": ready.reason if ready else "",
            "message": ready.message if ready else "",
            "tone": _tone(ready.holds if ready else "").name.lower(),
        },
        "facts": [
            {"name": each.name, "text": each.text, "tone": each.tone.name.lower()}
            for each in facts(read.status, read.moment.now)
            if each.name not in _ELSEWHERE
        ],
        "outcomes": [
            {"outcome": outcome, "members": outcomes[outcome], "tone": tone.name.lower()}
            for outcome, tone in TONES.items()
        ],
        "firstWaiting": [_made(each) for each in _waiting(read)[:_FIRST]],
        "firstViolations": [_row(read, each) for each in violating[:_FIRST]],
        "violatingPolicies": len(violating),
        "violations": sum(each.violations or 0 for each in violating),
        "firstChanges": _changes(read)[:_FIRST],
    }
    return page("overview", "Overview", told, read)


def _tone(holds: str) -> Tone:
    return {"True": Tone.GOOD, "False": Tone.BAD}.get(holds, Tone.ODD)


# --- policies --------------------------------------------------------------------------------------------------------


def policies(read: Facts, query: Query) -> Page:
    """Every member of every assignment, or those that a search finds: all its words, anywhere in the report of one."""
    words = query.text.casefold().split()
    found = [
        each
        for each in read.rows
        if (not query.outcome or each.enforcement == query.outcome) and (not words or _has(read.report(each), words))
    ]
    told = {
        "query": query.text,
        "outcome": query.outcome,
        "outcomes": list(TONES),
        **_paged(found, query, partial(_row, read)),
    }
    return page("policies", f"Search: {query.text}" if query.text else "Policies", told, read)


def _has(each: AssignedPolicy, words: Iterable[str]) -> bool:
    text = "\n".join(_texts(each.document)).casefold()
    return all(word in text for word in words)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _row(read: Facts, row: Row) -> dict[str, Any]:
    each = read.report(row)
    return {
        "key": row.key,
        "policy": _short(row.policy),
        "reference": _short(row.member.reference_id),
        "assignment": _short(row.assignment),
        "assignmentKey": assignment_name(row.member.assignment_id),
        "initiative": _short(row.initiative),
        "effect": each.effect,
        "action": each.action,
        "outcome": each.outcome,
        "tone": TONES.get(each.outcome, Tone.ODD).name.lower(),
        "reason": each.reason,
        "message": _short(each.message) if each.is_problem else "",
        "violations": each.violations,
    }


def policy(read: Facts, query: Query, key: str) -> Page:
    """One member: what it became and why, as `azpolicy explain` says it, and what violates it."""
    row = next((each for each in read.rows if each.key == key), None)
    if row is None:
        return missing(read, query, key)
    report = read.report(row)
    explanation = explained(row.outcome, [each for each in read.objects.values() if row.member in each.members])
    told = {
        **_row(read, row),
        "message": report.message,
        "policy": row.policy,
        "assignmentId": row.member.assignment_id,
        "enforcementMode": explanation["enforcementMode"],
        "reasons": [{"label": label, "texts": texts} for label, texts in _labelled(reasons(explanation))],
        "explanation": explanation,
        "templateErrors": mapping_at(report.document, "status", "template").get("errors", []),
        **_paged(_listed(read, row), query, _violation),
    }
    return page("policy", row.policy, told, read)


def _labelled(texts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Each label with its own text and those without a label behind it; texts that are empty are left out."""
    label = ""
    named: list[tuple[str, str]] = []
    for each, text in texts:
        label = each or label
        if text:
            named.append((label, text))
    for name, group in groupby(named, key=lambda pair: pair[0]):
        yield name, [text for _, text in group]


# --- assignments -----------------------------------------------------------------------------------------------------


def assignments(read: Facts, query: Query) -> Page:
    """By which assignment something is enforced here."""
    groups = [list(group) for _, group in groupby(read.rows, key=lambda each: each.member.assignment_id)]
    return page("assignments", "Assignments", _paged(groups, query, _assignment_row), read)


def _assignment_row(members: Sequence[Row]) -> dict[str, Any]:
    first = members[0]
    counts = Counter(each.enforcement for each in members)
    return {
        "key": assignment_name(first.member.assignment_id),
        "assignment": _short(first.assignment),
        "assignmentId": _short(first.member.assignment_id),
        "initiative": _short(first.initiative),
        "enforcementMode": first.member.enforcement_mode,
        "members": len(members),
        "outcomes": [
            {"outcome": outcome, "members": counts[Enforcement(outcome)], "tone": tone.name.lower()}
            for outcome, tone in TONES.items()
            if counts[Enforcement(outcome)]
        ],
        "violations": sum(each.violations or 0 for each in members),
    }


def assignment(read: Facts, query: Query, key: str) -> Page:
    """The members of one assignment."""
    members = [each for each in read.rows if assignment_name(each.member.assignment_id) == key]
    if not members:
        return missing(read, query, key)
    assignment_id = members[0].member.assignment_id
    rows = _paged(members, query, partial(_row, read))
    told = {**_assignment_row(members), "assignmentId": assignment_id, **rows}
    return page("assignment", members[0].assignment, told, read)


# --- violations ------------------------------------------------------------------------------------------------------


def violations(read: Facts, query: Query) -> Page:
    """What Gatekeeper's last audit found, by policy or by namespace, or what is listed of one namespace."""
    if query.namespace is not None:
        return _of_namespace(read, query.namespace, query)
    if query.by == "namespace":
        told = {"by": query.by, **_paged(_by_namespace(read), query, dict)}
        return page("violations", "Violations by namespace", told, read)
    told = {"by": query.by, **_paged(_violating(read), query, partial(_row, read))}
    return page("violations", "Violations by policy", told, read)


def _violating(read: Facts) -> list[Row]:
    return sorted((each for each in read.rows if each.violations), key=lambda each: -(each.violations or 0))


def _by_namespace(read: Facts) -> list[dict[str, Any]]:
    """How many violations are listed in each namespace, the most first; empty for objects that have none."""
    listed: Counter[str] = Counter()
    violated: Counter[str] = Counter()
    for each in read.rows:
        found = Counter(violation.namespace for violation in _listed(read, each))
        listed.update(found)
        violated.update(found.keys())
    by_most = sorted(listed, key=lambda name: (-listed[name], name))
    return [{"namespace": name, "listed": listed[name], "policies": violated[name]} for name in by_most]


def _listed(read: Facts, row: Row) -> Sequence[Violation]:
    """The violations of a policy that are known one by one: those that its constraint lists, or the first of them."""
    if not isinstance(row.outcome, Rendered):
        return ()
    ref, known = row.outcome.objects[-1], read.moment.known
    findings, health = known.findings.get(ref), known.knowledge.health.get(ref)
    if findings is not None and findings.listed:
        return findings.listed
    return health.first if health is not None else ()


def _of_namespace(read: Facts, namespace: str, query: Query) -> Page:
    listed = [
        (row, violation) for row in read.rows for violation in _listed(read, row) if violation.namespace == namespace
    ]
    told = _paged(listed, query, lambda pair: {**_row(read, pair[0]), **_violation(pair[1])})
    title = f"Violations in {namespace}" if namespace else "Violations without a namespace"
    return page("namespace", title, {"namespace": namespace, **told}, read)


def _violation(each: Violation) -> dict[str, str]:
    return {
        "objectKind": each.kind,
        "objectNamespace": each.namespace,
        "objectName": each.name,
        "violation": each.message,
    }


# --- drift -----------------------------------------------------------------------------------------------------------


def drift(read: Facts, _: Query) -> Page:
    """The last changes: what somebody edited and what was put back, and what Azure asked for."""
    fights = [{"object": str(ref), "members": _members_of(read, ref)} for ref in read.moment.state.fights[:ROWS]]
    return page("drift", "Drift", {"rows": _changes(read), "fights": fights}, read)


def _changes(read: Facts) -> list[dict[str, Any]]:
    objects = {each.object for each in read.sync.changes}
    refs = {str(ref): ref for ref in read.objects if str(ref) in objects} if objects else {}
    return [
        {
            "time": each.time,
            "action": each.action,
            "object": each.object,
            "cause": each.cause,
            "editor": each.editor,
            "detail": _short(each.detail),
            "members": _members_of(read, refs[each.object]) if each.object in refs else [],
        }
        for each in read.sync.changes
    ]


def _members_of(read: Facts, ref: ObjectRef) -> list[dict[str, str]]:
    """The first members that want an object: a template may be wanted by thousands."""
    wanted = read.objects.get(ref)
    return [_named(each) for each in wanted.members[:_FIRST]] if wanted else []


def _named(member: Member) -> dict[str, str]:
    return {"key": assigned_name(member), "policy": _short(policy_name(member))}


# --- what waits for somebody -----------------------------------------------------------------------------------------


def waiting(read: Facts, query: Query) -> Page:
    """What does not pass by itself: conflicts, refused deletions, fights, what is not known, and what failed."""
    return page("waiting", "Waiting for somebody", _paged(_waiting(read), query, _made), read)


def _waiting(read: Facts) -> list[Callable[[], dict[str, Any]]]:
    """All that waits; each is made where it is shown, as there may be thousands."""
    return [*_of_the_whole(read), *_of_objects(read), *_of_members(read)]


def _made(each: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return each()


def _waits(
    what: str, message: str, *, of: str = "", todo: str = "", members: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    return {"what": what, "object": of, "message": message, "todo": todo, "members": list(members)}


def _of_the_whole(read: Facts) -> Iterator[Callable[[], dict[str, Any]]]:
    for each in read.sync.conditions:
        unexpected = each.type in _WAITING and not each.as_expected
        if unexpected or (each.type == "Ready" and each.reason in _READY_WAITS):
            yield partial(_waits, each.reason, each.message)
    if read.sync.refused:
        yield partial(_waits, "Refused", refused(read.sync).text)


def _of_objects(read: Facts) -> Iterator[Callable[[], dict[str, Any]]]:
    return (partial(_problem, read, each) for each in read.moment.state.problems)


def _problem(read: Facts, result: Result) -> dict[str, Any]:
    what, members = result.reason or result.action.value, _members_of(read, result.ref)
    return _waits(what, _short(result.message), of=str(result.ref), members=members)


def _of_members(read: Facts) -> Iterator[Callable[[], dict[str, Any]]]:
    """What is not known of a member, and what failed though no object is a problem."""
    problems = {each.ref for each in read.moment.state.problems}
    for row in read.rows:
        objects = row.outcome.objects if isinstance(row.outcome, Rendered) else ()
        if row.enforcement in _OPEN and problems.isdisjoint(objects):
            yield partial(_member_waits, read, row)


def _member_waits(read: Facts, row: Row) -> dict[str, Any]:
    """With what explain advises, where it does."""
    report, advice = read.report(row), explained(row.outcome, ())["advice"]
    return _waits(report.reason, _short(report.message), todo=advice, members=[_named(row.member)])


# --- no page ---------------------------------------------------------------------------------------------------------


def missing(read: Facts, _: Query, __: str) -> Page:
    """There is nothing at this address, or not any more."""
    return page("missing", "Nothing is here", {}, read, HTTPStatus.NOT_FOUND)


def standby(lease: Lease | None) -> Page:
    """A replica that stands by knows nothing of the cluster; the one that leads does."""
    holder = lease.holder.rpartition("_")[0] or lease.holder if lease else ""
    namespace = text_at(lease.manifest, "metadata", "namespace") if lease else ""
    told = {"leader": holder, "namespace": namespace}
    return page("standby", "This replica stands by", told, status=HTTPStatus.SERVICE_UNAVAILABLE)


PAGES: Final[Mapping[str, Callable[[Facts, Query], Page]]] = {
    "/": overview,
    "/policies": policies,
    "/assignments": assignments,
    "/violations": violations,
    "/drift": drift,
    "/waiting": waiting,
}
# One for each key, below the list that names the keys.
NAMED_PAGES: Final[Mapping[str, Callable[[Facts, Query, str], Page]]] = {
    "/policies": policy,
    "/assignments": assignment,
}
