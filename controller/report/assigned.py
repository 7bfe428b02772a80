"""AssignedPolicies: what each member of each assignment became in this cluster. Pure.

The operator's own resource, one a member. Reasons are the add-on's documented codes where they fit
(https://learn.microsoft.com/azure/governance/policy/how-to/determine-non-compliance), so that what people know from
Azure's portal carries over; all others are the stable reasons of plans and of resolving.

| what became of the member                                 | outcome     | reason                              |
|-----------------------------------------------------------|-------------|-------------------------------------|
| known not to apply, or not known                          | NotApplied, | that of resolving it                |
|                                                           | Unresolved  |                                     |
| one of its objects failed, conflicts, is refused          | Failed      | a code of the table below           |
| Gatekeeper reports errors of its template                 | Failed      | TemplateInstallFailed               |
| one of its objects would be written, but nothing is       | Planned     |                                     |
| Gatekeeper has not taken its constraint for an hour       | Failed      | ConstraintNotProcessed              |
| Gatekeeper has not taken its object yet                   | Pending     |                                     |
| taken, but the last audit is older than an hour           | Enforced    | ConstraintStatusStale               |
| taken, but the schema drops a parameter                   | Enforced    | FieldsDropped                       |
| taken                                                     | Enforced    |                                     |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from controller.cluster.apply import PROBLEM_ACTIONS, WRITE_ACTIONS, Action, Result
from controller.cluster.kinds import ASSIGNED_POLICY, kind_of
from controller.cluster.readiness import Ready
from controller.cluster.reasons import Reason
from controller.gatekeeper.model import ObjectRef, Rendered, Role
from controller.gatekeeper.naming import TEMPLATE_URL, name_digits
from controller.policy.model import NotApplied, NotAppliedReason
from controller.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.gatekeeper.model import DesiredObject, Outcome
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.policy.model import Member
    from controller.report.health import Health

_STALE: Final = timedelta(hours=1)
_CUT: Final = 24
_DIGITS: Final = 10
_LONGEST: Final = 2048
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9]+")
_INVALID: Final = frozenset({Reason.INVALID, Reason.BAD_REQUEST})
_PREFIXES: Final = {Role.TEMPLATE: "Template", Role.CONSTRAINT: "Constraint"}
_DOCUMENTED: Final = {
    (Role.TEMPLATE, Action.CONFLICT): "ConstraintTemplateConflicts",
    (Role.TEMPLATE, Action.REJECTED): "TemplateInstallFailed",
}


class Enforcement(StrEnum):
    """The outcome of a member, in the words of an AssignedPolicy."""

    ENFORCED = "Enforced"
    PENDING = "Pending"
    FAILED = "Failed"
    NOT_APPLIED = "NotApplied"
    UNRESOLVED = "Unresolved"
    PLANNED = "Planned"


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of the desired objects: the result of each in the last sync or repair, and its health."""

    results: Mapping[ObjectRef, Result] = field(default_factory=dict)
    health: Mapping[ObjectRef, Health] = field(default_factory=dict)
    writes: bool = True


@dataclass(frozen=True, slots=True)
class _Told:
    outcome: Enforcement
    reason: str = ""
    message: str = ""


def assigned_policy(
    outcome: Outcome, objects: Mapping[ObjectRef, DesiredObject], known: Knowledge, now: datetime, marks: OwnershipMarks
) -> Mapping[str, Any]:
    """A member's manifest, without what the server adds; `objects` is all that is desired, `now` is aware UTC."""
    return {
        "apiVersion": ASSIGNED_POLICY.api_version,
        "kind": ASSIGNED_POLICY.kind,
        "metadata": {"name": assigned_name(outcome.member), "labels": marks.labels()},
        "spec": _spec(outcome.member),
        "status": _status(outcome, objects, known, now),
    }


class Basis(NamedTuple):
    """All that a member's manifest is made of: while it stays, so does the manifest."""

    outcome: Outcome
    told: _Told
    template: str
    health: tuple[Health | None, ...]


def basis_of(outcome: Outcome, objects: Mapping[ObjectRef, DesiredObject], known: Knowledge, now: datetime) -> Basis:
    """What `assigned_policy` would use; the digest of the template, where there is one, stands for it."""
    refs = outcome.objects if isinstance(outcome, Rendered) else ()
    template = objects[refs[0]].digest if len(refs) > 1 and refs[0] in objects else ""
    return Basis(outcome, _told(outcome, known, now), template, tuple(map(known.health.get, refs)))


def enforcement_of(outcome: Outcome, known: Knowledge, now: datetime) -> Enforcement:
    """The outcome that a member's AssignedPolicy tells."""
    return _told(outcome, known, now).outcome


def assigned_name(member: Member) -> str:
    """A member's AssignedPolicy: words that people know it by, and digits that no other member has."""
    digits = name_digits(member.assignment_id, member.reference_id, member.definition_id)
    return _named(member.assignment_id.rpartition("/")[2], member.reference_id, digits=digits)


def assignment_name(assignment_id: str) -> str:
    """A name of the same form for an assignment, whatever its members are."""
    return _named(assignment_id.rpartition("/")[2], digits=name_digits(assignment_id, "", ""))


def _named(*names: str, digits: str) -> str:
    words = (_NOT_IN_NAMES.sub("-", name.casefold())[:_CUT].strip("-") for name in names)
    return "-".join([*filter(None, words), digits[:_DIGITS]])


def adds_nothing(outcome: Outcome, reason: str) -> bool:
    """Whether an AssignedPolicy that gives this reason says of a member what is only presumed of it now.

    Else each restart would rewrite the reports of all members of other modes, and again as their definitions are read.
    """
    presumed = isinstance(outcome, NotApplied) and outcome.presumed
    return presumed and reason == NotAppliedReason.MODE


def code_of(result: Result, role: Role, *, exists: bool) -> str:
    """The documented code of a result that is a problem, where one fits; else its own reason."""
    if documented := _DOCUMENTED.get((role, result.action)):
        return documented
    if role is Role.TEMPLATE and result.reason == Reason.TEMPLATE_NOT_READY:
        return "TemplateInstallFailed"
    prefix = _PREFIXES.get(role)
    if prefix is None or result.action is not Action.FAILED:
        return result.reason
    if result.reason in _INVALID:
        return f"Invalid{prefix}"
    return f"{prefix}{'Update' if exists else 'Create'}Failed"


def _spec(member: Member) -> dict[str, Any]:
    return _filled(
        {
            "assignment": _filled(
                {
                    "id": member.assignment_id,
                    "displayName": member.assignment_name,
                    "enforcementMode": member.enforcement_mode,
                }
            ),
            "initiative": _versioned(member.initiative_id, member.initiative_name, member.initiative_version),
            "referenceId": member.reference_id,
            "definition": _versioned(
                member.definition_id, member.definition_name, member.version, member.version_asked
            ),
        }
    )


def _versioned(resource_id: str, name: str, version: str, asked: str = "") -> dict[str, Any]:
    if not resource_id:
        return {}
    return _filled({"id": resource_id, "displayName": name, "version": version, "versionAsked": asked})


def _status(
    outcome: Outcome, objects: Mapping[ObjectRef, DesiredObject], known: Knowledge, now: datetime
) -> dict[str, Any]:
    told = _told(outcome, known, now)
    if not isinstance(outcome, Rendered):
        return _filled({"outcome": told.outcome.value, "reason": told.reason, "message": told.message})
    own = known.health.get(outcome.objects[-1])
    return _filled(
        {
            "outcome": told.outcome.value,
            "reason": told.reason,
            "message": told.message,
            "effect": outcome.effect,
            "enforcementAction": outcome.enforcement_action,
            "template": _template(outcome, objects, known),
            "objects": [_filled({"group": r.group, "kind": r.kind, "name": r.name}) for r in outcome.objects],
            "notes": list(outcome.notes),
            "violations": _violations(own),
        }
    )


def _told(outcome: Outcome, known: Knowledge, now: datetime) -> _Told:
    if isinstance(outcome, Rendered):
        return _of_objects(outcome, known, now)
    kind = Enforcement.NOT_APPLIED if isinstance(outcome, NotApplied) else Enforcement.UNRESOLVED
    return _Told(kind, outcome.reason.value, outcome.message.removeprefix(f"{outcome.member}: "))


def _of_objects(outcome: Rendered, known: Knowledge, now: datetime) -> _Told:
    """The table of this module, for a member that became objects: its template, where it has one, comes first."""
    results = [known.results[ref] for ref in outcome.objects if ref in known.results]
    for result in results:
        if result.action in PROBLEM_ACTIONS:
            code = code_of(result, kind_of(result.ref).role, exists=result.ref in known.health)
            return _Told(Enforcement.FAILED, code, result.message)
    for ref in outcome.objects[:-1]:
        if (health := known.health.get(ref)) and health.errors:
            return _Told(Enforcement.FAILED, "TemplateInstallFailed", "; ".join(health.errors))
    if not known.writes and any(result.action in WRITE_ACTIONS for result in results):
        return _Told(Enforcement.PLANNED, "", "a sync that writes would create or change it")
    taken = _taken(known.health.get(outcome.objects[-1]), outcome, now)
    noted = next((result for result in results if result.reason), None)
    if taken.outcome is Enforcement.ENFORCED and not taken.reason and noted is not None:
        return _Told(Enforcement.ENFORCED, noted.reason, noted.message)
    return taken


def _taken(health: Health | None, outcome: Rendered, now: datetime) -> _Told:
    """Whether Gatekeeper has accepted the constraint or mutator, and audits it."""
    if health is None:
        return _Told(Enforcement.PENDING, "", "it is being created")
    audits = outcome.enforcement_action != ""
    if not isinstance(health.verdict, Ready):
        if audits and health.audited is None and health.created is not None and now - health.created > _STALE:
            return _Told(Enforcement.FAILED, "ConstraintNotProcessed", health.verdict.message)
        return _Told(Enforcement.PENDING, "", health.verdict.message)
    if audits and health.audited is not None and now - health.audited > _STALE:
        return _Told(Enforcement.ENFORCED, "ConstraintStatusStale", "its last audit is older than an hour")
    return _Told(Enforcement.ENFORCED)


def _template(outcome: Rendered, objects: Mapping[ObjectRef, DesiredObject], known: Knowledge) -> dict[str, Any]:
    template = outcome.objects[0] if len(outcome.objects) > 1 else None
    wanted = objects.get(template) if template else None
    metadata: Any = wanted.manifest["metadata"] if wanted else {}
    health = known.health.get(template) if template else None
    return _filled(
        {
            "name": template.name if template else "",
            "source": outcome.template_source,
            "url": str((metadata.get("annotations") or {}).get(TEMPLATE_URL, "")),
            "digest": outcome.template_digest,
            "errors": list(health.errors) if health else [],
        }
    )


def _violations(health: Health | None) -> dict[str, Any]:
    if health is None or health.violations is None:
        return {}
    first = [
        _filled({"kind": v.kind, "namespace": v.namespace, "name": v.name, "message": v.message}) for v in health.first
    ]
    return {"total": health.violations} | ({"first": first} if first else {})


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without empty strings, lists and mappings; texts are fit to be stored."""
    return {key: _fit(value) for key, value in values.items() if value not in ("", [], {}, None)}


def _fit(value: Any) -> Any:
    """A text of bounded length, all of it printable: it comes from elsewhere, and ends up in people's terminals."""
    if isinstance(value, list):
        return [_fit(each) for each in value]
    return printable(value[:_LONGEST]) if isinstance(value, str) else value
