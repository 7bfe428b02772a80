"""Members that are not known for now: what they were is still desired, so an edit or deletion of it is undone. Pure.

A refused right, a timeout or a store that does not answer must not end protection. What Azure does say (a deletion,
an exemption, an effect that is disabled) ends it at once: such a member is not Unresolved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from controller.azure.model import fold
from controller.gatekeeper.expansion import expansion_templates
from controller.gatekeeper.model import DesiredObject, Role, digest, in_order
from controller.gatekeeper.naming import CONSTRAINT_GROUP, DEFINITION_ID, TEMPLATE_DIGEST, TEMPLATE_SOURCE, TEMPLATE_URL
from controller.gatekeeper.rego import references
from controller.gatekeeper.syncset import SYNCSET_REF, kinds_of, required_data, syncset
from controller.policy.model import Unresolved, UnresolvedReason
from controller.times import write_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from controller.gatekeeper.model import DesiredState, ObjectRef, Outcome
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.gatekeeper.syncset import DataKind
    from controller.policy.model import Member

# Whether the cause can lie in what could not be read, and so pass by itself. Where it cannot, Azure has another meaning
# that azpolicy does not understand: what runs stays, and is not defended.
CAN_PASS: Final[Mapping[UnresolvedReason, bool]] = {
    UnresolvedReason.DEFINITION_MISSING: True,  # a snapshot that lacks it; a 404 for a right that is missing
    UnresolvedReason.VERSION_MISSING: True,  # a list of versions that is behind
    UnresolvedReason.UNREADABLE: True,  # 403, a timeout, a document that is being corrected
    UnresolvedReason.EXPRESSION: True,  # resourceGroup() and subscription() may be refused
    UnresolvedReason.RULE: True,  # the same, in policyRule.if
    UnresolvedReason.SCOPE: True,  # management groups that may not be read
    UnresolvedReason.ENFORCEMENT_MODE: True,  # enrollments that may not be read
    UnresolvedReason.LEGACY_FORM: True,  # a constraint file that cannot be fetched
    UnresolvedReason.TEMPLATE: True,  # a store or mirror that is away, or has another text for now
    UnresolvedReason.TEMPLATE_MALFORMED: True,  # a definition that is being corrected
    UnresolvedReason.TEMPLATE_CONFLICT: False,
    UnresolvedReason.PARAMETER: False,
    UnresolvedReason.DETAILS: False,
    UnresolvedReason.EFFECT: False,
    UnresolvedReason.SELECTOR: False,
    UnresolvedReason.OVERRIDE: False,
    UnresolvedReason.CYCLE: False,
    UnresolvedReason.COLLISION: False,
}


def carry_forward(
    desired: DesiredState, last: DesiredState | None, now: datetime, marks: OwnershipMarks
) -> DesiredState:
    """The state with the objects that its unresolved members had in the last good one, where their cause can pass.

    Such an outcome stays Unresolved, and says since when its objects are enforced as last known: `now`, aware, where it
    begins with this reading. `last` may itself have carried them. A template that is desired anyhow is taken as it is
    now, as a cluster has one of each name.
    """
    if last is None or fold(last.cluster_id) != fold(desired.cluster_id):
        return desired
    earlier = _Earlier.of(last)
    there = {each.ref for each in desired.objects}
    objects: dict[ObjectRef, DesiredObject] = {}
    outcomes: list[Outcome] = []
    for outcome in desired.outcomes:
        told = outcome
        if isinstance(outcome, Unresolved) and CAN_PASS[outcome.reason]:
            found = [each for each in earlier.objects(outcome) if each.ref not in there]
            if found:
                objects |= {each.ref: each for each in found}
                told = _told(outcome, earlier.since(outcome) or write_moment(now))
        outcomes.append(told)
    if not objects:
        return desired
    kept = {each.ref: each for each in desired.objects} | objects
    templates = _templates(objects.values(), desired, last, marks)
    kept |= templates
    needed = _replicated(desired).union(*(_looked_up(each, _replicated(last)) for each in templates.values()))
    kept |= {SYNCSET_REF: syncset(needed, marks)} if needed else {}
    # As last known, too: what says All or Generated now is what was expanded then.
    if any(each.role is Role.EXPANSION for each in last.objects):
        kept |= {each.ref: each for each in expansion_templates(objects.values(), marks)}
    return replace(desired, objects=in_order(kept.values()), outcomes=tuple(outcomes))


@dataclass(frozen=True, slots=True)
class _Earlier:
    """The last good state by assignment: objects of its members, and members that were carried then."""

    made: Mapping[str, list[DesiredObject]]
    unresolved: Mapping[str, list[Unresolved]]

    @classmethod
    def of(cls, last: DesiredState) -> _Earlier:
        made: dict[str, list[DesiredObject]] = {}
        for each in last.objects:
            # A template, a SyncSet and an ExpansionTemplate follow from what needs them.
            if each.role not in (Role.TEMPLATE, Role.SYNC, Role.EXPANSION):
                for assignment_id in {member.key.assignment_id for member in each.members}:
                    made.setdefault(assignment_id, []).append(each)
        unresolved: dict[str, list[Unresolved]] = {}
        for outcome in last.outcomes:
            if isinstance(outcome, Unresolved) and outcome.kept_since:
                unresolved.setdefault(outcome.member.key.assignment_id, []).append(outcome)
        return cls(made, unresolved)

    def objects(self, outcome: Unresolved) -> list[DesiredObject]:
        """What the member had, or all members of an assignment that is unresolved as a whole."""
        found = self.made.get(outcome.member.key.assignment_id, [])
        return [each for each in found if any(_stands_for(outcome.member, member) for member in each.members)]

    def since(self, outcome: Unresolved) -> str:
        """Since when it has been carried, empty where it has not."""
        found = self.unresolved.get(outcome.member.key.assignment_id, [])
        times = (
            each.kept_since
            for each in found
            if _stands_for(outcome.member, each.member) or _stands_for(each.member, outcome.member)
        )
        return min(times, default="")


def _stands_for(member: Member, other: Member) -> bool:
    """Whether what is said of one member is said of another one: of the same, or of all of its assignment."""
    return member.key == other.key or (member.whole and member.key.assignment_id == other.key.assignment_id)


def _told(outcome: Unresolved, since: str) -> Unresolved:
    message = f"{outcome.message}; enforced as last known since {since}"
    return replace(outcome, message=message, kept_since=since)


def _templates(
    carried: Iterable[DesiredObject], desired: DesiredState, last: DesiredState, marks: OwnershipMarks
) -> dict[ObjectRef, DesiredObject]:
    """The templates that carried constraints need, with these members among their users."""
    users: dict[str, list[Member]] = {}
    for each in carried:
        if each.ref.group == CONSTRAINT_GROUP:
            users.setdefault(each.ref.kind.lower(), []).extend(each.members)
    now, before = (
        {each.ref.name: each for each in state.objects if each.role is Role.TEMPLATE} for state in (desired, last)
    )
    found = {name: (now.get(name), before.get(name)) for name in users}
    return {
        template.ref: template
        for name, (new, old) in found.items()
        if (template := _also_used(new, users[name], marks) if new else _used(old, users[name])) is not None
    }


def _used(template: DesiredObject | None, users: list[Member]) -> DesiredObject | None:
    """A template that only carried members use: as it was to the letter, so that nothing is written."""
    return replace(template, members=tuple(users)) if template else None


def _also_used(template: DesiredObject, users: list[Member], marks: OwnershipMarks) -> DesiredObject:
    """A template with further users, whose definitions its annotations name."""
    manifest: dict[str, Any] = dict(template.manifest)
    annotations = manifest["metadata"].get("annotations") or {}
    before = {value for key, value in annotations.items() if key.startswith(f"{DEFINITION_ID}-")}
    named = marks.template_annotations(
        before | {user.definition_id for user in users},
        url=annotations.get(TEMPLATE_URL, ""),
        origin=annotations.get(TEMPLATE_SOURCE, ""),
        digest=annotations.get(TEMPLATE_DIGEST, ""),
    )
    others = {key: value for key, value in annotations.items() if not key.startswith(f"{DEFINITION_ID}-")}
    manifest["metadata"] = {**manifest["metadata"], "annotations": {**others, **named}}
    return replace(template, manifest=manifest, members=(*template.members, *users), digest=digest(manifest))


def _replicated(state: DesiredState) -> frozenset[DataKind]:
    return next((kinds_of(each.manifest) for each in state.objects if each.ref == SYNCSET_REF), frozenset())


def _looked_up(template: DesiredObject, replicated: frozenset[DataKind]) -> frozenset[DataKind]:
    """What a carried template asks for, and of what was replicated what it looks up without asking."""
    looks = references(template.manifest)
    unasked = frozenset(kind for kind in replicated if any(each.may_see(kind) for each in looks))
    return required_data(_annotations(template)) | unasked


def _annotations(template: DesiredObject) -> Mapping[str, Any]:
    metadata: Any = template.manifest["metadata"]
    return metadata.get("annotations") or {}
