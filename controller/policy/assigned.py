"""What an assignment says before any definition is looked at: whether it reaches this cluster, and what it overrides.

What is known not to apply wins over what is not known: an excluded cluster stays excluded whatever its selectors say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controller.azure.model import Assignment, EnforcementMode, fold
from controller.policy.model import Member, NotApplied, NotAppliedReason, Unresolved, UnresolvedReason
from controller.policy.problem import Problem
from controller.policy.selectors import above_cluster, override_is_for, selected, selects_members
from controller.policy.verdict import Unknown, Verdict, all_of
from controller.text import one_line
from controller.times import write_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from controller.azure.model import AzureState, Exemption, Override

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


def _exempts(exemption: Exemption, state: AzureState, now: datetime) -> Verdict:
    if exemption.expires_on is not None and now >= exemption.expires_on:
        return False
    reaches = above_cluster(exemption.scope, state) is not False
    return all_of((reaches, selected(exemption.resource_selectors, state.cluster)))


def enforcement_mode(assignment: Assignment) -> EnforcementMode:
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
