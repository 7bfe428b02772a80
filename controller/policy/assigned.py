"""What an assignment says before any definition is looked at: whether it reaches this cluster, and what it overrides.

What is known not to apply wins over what is not known: an excluded cluster stays excluded whatever its selectors say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from controller.azure.model import Assignment, EnforcementMode, NoEnrollments, fold
from controller.azure.parse import scope_of
from controller.policy.model import Member, NotApplied, NotAppliedReason, Unresolved, UnresolvedReason
from controller.policy.problem import Problem
from controller.policy.selectors import above_cluster, override_is_for, selected, selects_members
from controller.policy.verdict import Unknown, Verdict, all_of
from controller.text import one_line
from controller.times import write_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from controller.azure.model import AzureState, Enrollment, Exemption, Override, Unreadable

EXEMPTIONS: Final = "/policyexemptions/"
ENROLLMENTS: Final = "/policyenrollments/"
ANY: Final = "*"

_MODES: Final = {mode.casefold(): mode for mode in EnforcementMode}
_VERSION_KINDS: Final = frozenset({"definitionversion", "policyversion"})


def not_applied(member: Member, reason: NotAppliedReason, message: str) -> NotApplied:
    """A member that is known not to apply; the message names it first."""
    return NotApplied(member, reason, one_line(f"{member}: {message}"))


def unresolved(member: Member, problem: Problem) -> Unresolved:
    """A member whose meaning is not known; the message names it first."""
    return Unresolved(member, problem.reason, one_line(f"{member}: {problem.message}"))


def unreached(
    assignment: Assignment, exemptions: Iterable[Exemption], state: AzureState, now: datetime, member: Member
) -> NotApplied | Unresolved | None:
    """Why the assignment as a whole does not reach the cluster, or is not known to; None where it does."""
    doubts: list[Unresolved] = []
    for outcome in _reasons(assignment, exemptions, state, now, member):
        if isinstance(outcome, NotApplied):
            return outcome
        doubts.append(outcome)
    return doubts[0] if doubts else None


def _reasons(
    assignment: Assignment, exemptions: Iterable[Exemption], state: AzureState, now: datetime, member: Member
) -> Iterator[NotApplied | Unresolved]:
    # A snapshot holds no hierarchy: a management group in it counts as above the cluster.
    if above_cluster(assignment.scope, state) is False:
        message = f"its scope {assignment.scope} does not contain the cluster"
        yield not_applied(member, NotAppliedReason.OUT_OF_SCOPE, message)
    yield from _excluded(assignment, state, member)
    match selected(assignment.resource_selectors, state.cluster):
        case False:
            yield not_applied(member, NotAppliedReason.SELECTOR, "none of its resourceSelectors selects the cluster")
        case Unknown(reason):
            yield unresolved(member, Problem(UnresolvedReason.SELECTOR, f"resourceSelectors: {reason}"))
    exempt = exemption_of(exemptions, state, now, member)
    if exempt is not None:
        yield exempt


def _excluded(assignment: Assignment, state: AzureState, member: Member) -> Iterator[NotApplied | Unresolved]:
    for scope in assignment.not_scopes:
        match above_cluster(scope, state):
            case True:
                yield not_applied(member, NotAppliedReason.NOT_SCOPES, f"notScopes excludes {scope}")
            case Unknown(reason):
                yield unresolved(member, Problem(UnresolvedReason.SCOPE, f"notScopes: {reason}"))


def exemption_of(
    exemptions: Iterable[Exemption], state: AzureState, now: datetime, member: Member
) -> NotApplied | Unresolved | None:
    """Which of the exemptions that name a member, or the whole assignment, waives it; None where none does.

    An exemption counts until the moment it expires, at or above the cluster only, and where its own resourceSelectors
    select the cluster: https://learn.microsoft.com/azure/governance/policy/concepts/exemption-structure.
    """
    doubt: Unresolved | None = None
    for exemption in exemptions:
        match _exempts(exemption, state, now):
            case True:
                until = f" until {write_moment(exemption.expires_on)}" if exemption.expires_on else ""
                category = f" ({exemption.category})" if exemption.category else ""
                message = f"exempt by {exemption.id}{category}{until}"
                return not_applied(member, NotAppliedReason.EXEMPT, message)
            case Unknown(reason):
                problem = Problem(UnresolvedReason.SELECTOR, f"exemption {exemption.id}: {reason}")
                doubt = doubt or unresolved(member, problem)
    return doubt


def next_change(state: AzureState, now: datetime) -> datetime | None:
    """When the same state next means something else by the clock alone, None where it never does: exemptions end.

    `utcNow()` in a policy stays the time of the last resolving.
    """
    ends = (each.expires_on for each in state.exemptions if each.expires_on is not None)
    return min((end for end in ends if end > now), default=None)


def _exempts(exemption: Exemption, state: AzureState, now: datetime) -> Verdict:
    if exemption.expires_on is not None and now >= exemption.expires_on:
        return False
    reaches = above_cluster(exemption.scope, state) is not False
    return all_of((reaches, selected(exemption.resource_selectors, state.cluster)))


@dataclass(frozen=True, slots=True)
class Enforcement:
    """How an assignment is enforced on the cluster: `mode`, which is Default where the cluster is enrolled.

    `stated` is the assignment's own mode; `notes` say why one became the other, or did not.
    """

    mode: EnforcementMode
    stated: EnforcementMode
    notes: tuple[str, ...] = ()


def enforcement_of(assignment: Assignment, state: AzureState) -> Enforcement:
    """The assignment's enforcement mode as it is in force here; a Problem where that is not known."""
    stated = _enforcement_mode(assignment)
    if stated is not EnforcementMode.ENROLL:
        return Enforcement(stated, stated)
    if isinstance(state.enrollments, NoEnrollments):
        if state.enrollments.refused:
            raise _enrollment_unknown(state.enrollments.reason)
        note = "enforcementMode is Enroll, and enrollments are not to be had here: audited, never denied"
        return Enforcement(stated, stated, (note,))
    doubt: Problem | None = None
    for each in state.enrollments:
        match _enrolls(each, assignment, state):
            case True:
                note = f"enforcementMode is Enroll: enforced, as {each.id} enrolls the cluster"
                return Enforcement(EnforcementMode.DEFAULT, stated, (one_line(note),))
            case Unknown(reason):
                doubt = _enrollment_unknown(f"the enrollment {each.id}: {reason}")
    unreadable = unreadable_by_assignment(state, ENROLLMENTS)
    broken = unreadable.get(ANY) or unreadable.get(fold(assignment.id))
    if broken is not None:
        doubt = _enrollment_unknown(f"the enrollment {broken.id} cannot be read: {broken.reason}")
    if doubt is not None:
        raise doubt
    note = "enforcementMode is Enroll, and no enrollment holds the cluster: audited, never denied"
    return Enforcement(stated, stated, (note,))


def unreadable_by_assignment(state: AzureState, collection: str) -> dict[str, Unreadable]:
    """Exemptions or enrollments that do not parse, by the folded id of the assignment that they name, ANY for none.

    One that is not kept at or above the cluster means nothing here, whatever it says.
    """
    found: dict[str, Unreadable] = {}
    for key, each in state.unreadable.items():
        if collection in key and above_cluster(scope_of(each.id), state) is not False:
            found.setdefault(fold(each.concerns) or ANY, each)
    return found


def _enrollment_unknown(reason: str) -> Problem:
    message = f"enforcementMode is Enroll, and whether the cluster is enrolled is not known: {reason}"
    return Problem(UnresolvedReason.ENFORCEMENT_MODE, message)


def _enrolls(enrollment: Enrollment, assignment: Assignment, state: AzureState) -> Verdict:
    """Whether an enrollment is for this very instance of the assignment, and holds the cluster."""
    if fold(enrollment.assignment_id) != fold(assignment.id):
        return False
    same: Verdict = enrollment.instance_id.casefold() == assignment.instance_id.casefold()
    if not assignment.instance_id:
        same = Unknown("the assignment does not tell its instanceId, which takes a newer --api-version policy=VERSION")
    reaches = above_cluster(enrollment.scope, state) is not False
    return all_of((same, reaches, selected(enrollment.resource_selectors, state.cluster)))


def _enforcement_mode(assignment: Assignment) -> EnforcementMode:
    """The assignment's enforcementMode in any case; a Problem where it is none that Azure has."""
    mode = _MODES.get(assignment.enforcement_mode.casefold())
    if mode is None:
        known = ", ".join(EnforcementMode)
        raise Problem(
            UnresolvedReason.ENFORCEMENT_MODE,
            f"enforcementMode must be one of {known}, is '{assignment.enforcement_mode}'",
        )
    return mode


def effect_override(assignment: Assignment, reference_id: str, state: AzureState) -> str:
    """The effect that overrides a member's own, empty without one; a Problem where it is not known."""
    overrides = (each for each in assignment.overrides if each.kind.casefold() not in _VERSION_KINDS)
    return _overriding(overrides, reference_id, state)


def version_override(assignment: Assignment, reference_id: str, state: AzureState) -> str:
    """The version that overrides the assignment's own, or a member's where its selectors tell members apart.

    Azure: it replaces the assignment's definitionVersion; with policyDefinitionReferenceId alone can it mean members.
    """
    overrides = (
        each
        for each in assignment.overrides
        if each.kind.casefold() in _VERSION_KINDS and selects_members(each.selectors) is bool(reference_id)
    )
    return _overriding(overrides, reference_id, state)


def _overriding(overrides: Iterable[Override], reference_id: str, state: AzureState) -> str:
    """The value of the first override that is for this member: Azure evaluates them in order."""
    for override in overrides:
        match override_is_for(override.selectors, state.cluster, reference_id):
            case Unknown(reason):
                raise Problem(UnresolvedReason.OVERRIDE, f"overrides: {reason}")
            case True if override.kind.casefold() in _VERSION_KINDS | {"policyeffect"}:
                return override.value
            case True:
                raise Problem(
                    UnresolvedReason.OVERRIDE, f"overrides: the kind '{override.kind}' is not known to azpolicy"
                )
    return ""


def exemptions_by_member(exemptions: Iterable[Exemption]) -> dict[str, dict[str | None, list[Exemption]]]:
    """Exemptions by the folded ids of the assignment and of each member that they name, None where they name none."""
    grouped: dict[str, dict[str | None, list[Exemption]]] = {}
    for exemption in exemptions:
        members = grouped.setdefault(fold(exemption.assignment_id), {})
        for member in map(str.casefold, exemption.reference_ids) if exemption.reference_ids else (None,):
            members.setdefault(member, []).append(exemption)
    return grouped
