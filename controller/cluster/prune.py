"""Pruning: what becomes of our live objects that nothing desires. Pure.

Azure proves most deletions; the others pass the safety stop: docs/design.md (Safety stop).

| live object, not desired            | change                                     |
|-------------------------------------|--------------------------------------------|
| foreign                             | none                                       |
| ours, its member is Unresolved      | Retain                                     |
| ours, template with others' objects | InUse                                      |
| ours, template of a hidden kind     | Retain: others' objects may be there       |
| ours, gone by Azure's word          | Delete                                     |
| ours, merely not listed             | Delete, or Refuse over the limit           |
| our SyncSet, a template stays       | Retain, if what stays needs data           |
| our SyncSet otherwise               | Delete                                     |
| our ExpansionTemplates              | Retain, if what stays is for expanded pods |
| our ExpansionTemplates otherwise    | Delete                                     |
| the probe's                         | Delete by the operator, whose it is        |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from controller.cluster.changes import Change, Delete, DeleteReason, InUse, Refuse, Retain, ref_of
from controller.cluster.ownership import Ownership, member_of, ownership
from controller.gatekeeper import probe
from controller.gatekeeper.expansion import EXPANSION_REFS, expanded
from controller.gatekeeper.model import ObjectRef, Role, digest
from controller.gatekeeper.naming import CONSTRAINT_GROUP, TEMPLATE_GROUP, is_managed_name
from controller.gatekeeper.syncset import SYNCSET_REF, SyncDataError, required_data
from controller.policy.model import MemberKey, NotApplied, Unresolved

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from controller.cluster.changes import Plan
    from controller.cluster.kinds import Inventory, LiveObject
    from controller.cluster.written import Written
    from controller.gatekeeper.model import DesiredState
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.gatekeeper.syncset import DataKind


WHOLE: Final = "*"
WINDOW: Final = timedelta(hours=24)
HIDDEN: Final = (
    "its kind is there but is not served now, so its constraints cannot be seen, and they would go with it: look at "
    "the CustomResourceDefinition"
)
_DIGEST_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class PruneLimit:
    """Unproven deletes beyond `percent` of at least `minimum` managed objects are refused, unless forced.

    `refused` are those refused before, as `Kind/name`. `lost` are those deleted without proof within WINDOW: they still
    count, as deleted and as managed, until they are there again. So many small losses are limited as one large one.
    With `probe` the probe's objects go, too: only who makes them, or ends all, knows that they are not wanted.
    """

    percent: int = 30
    minimum: int = 10
    forced: bool = False
    refused: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    probe: bool = False


DEFAULT_LIMIT: Final = PruneLimit()


def refusal_digest(plan: Plan) -> str:
    """What names the refused deletions of a plan, empty where there are none: these objects and no others, once."""
    uids = sorted(change.live.uid for change in plan.changes if isinstance(change, Refuse))
    return digest(uids)[:_DIGEST_SHOWN] if uids else ""


def lost_after(before: Mapping[str, datetime], plan: Plan, now: datetime, *, forced: bool) -> dict[str, datetime]:
    """When objects were deleted without proof, by `Kind/name`, once a plan is carried out `now` (aware UTC).

    Nothing is lost where the deletions were forced: somebody looked at what is left, and the count begins anew.
    """
    if forced:
        return {}
    going = {str(ref_of(change)): now for change in plan.changes if _is_unproven(change)}
    return within_window(before, now) | going


def within_window(lost: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
    """The losses that still count; a moment that is far ahead was written by a clock that was wrong."""
    return {name: moment for name, moment in lost.items() if abs(now - moment) < WINDOW}


def prune(
    desired: DesiredState, inventory: Inventory, marks: OwnershipMarks, limit: PruneLimit, written: Written
) -> tuple[Change, ...]:
    """What becomes of what is ours and not desired, but for what has no member; `written` is what we remember."""
    wanted = {o.ref for o in desired.objects}
    ours = [
        live
        for ref, live in inventory.objects.items()
        if ownership(live, marks, desired=ref in wanted, written=written.uids) is Ownership.OURS
    ]
    extra = sorted((live for live in ours if live.ref not in wanted and not live.deleting), key=lambda x: x.ref)
    if not extra:
        return ()
    proofs = _Proofs(desired, written)
    prunable = [live for live in extra if live.ref.group != TEMPLATE_GROUP and is_managed_name(live.ref.name)]
    changes = [proofs.judge(live) for live in prunable]
    decided = {ref_of(change): change for change in changes}
    templates = [live for live in extra if live.ref.group == TEMPLATE_GROUP and live.ref not in probe.REFS]
    changes += [_judge_template(live, inventory, decided, wanted, proofs) for live in templates]
    # Objects that merely bear our label, and are never pruned, must not stretch the limit.
    managed = len(changes) + sum(live.ref in wanted for live in ours)
    back = {str(ref) for ref in (*inventory.objects, *wanted)}
    limited = _limited(changes, desired, managed, len(limit.lost - back), limit)
    return (*limited, *(_judge_probe(extra, inventory) if limit.probe else ()))


def _judge_probe(extra: Iterable[LiveObject], inventory: Inventory) -> list[Change]:
    """What becomes of the probe's objects when enforcement is not probed; no policy speaks for or against them."""
    found = [live for live in extra if live.ref in probe.REFS]
    others = (ref for ref in inventory.objects if (ref.group, ref.kind) == (CONSTRAINT_GROUP, probe.KIND))
    foreign = tuple(sorted(ref for ref in others if ref not in probe.REFS))

    def judge(live: LiveObject) -> Change:
        if live.ref == probe.TEMPLATE_REF and foreign:
            return InUse(live, foreign)
        if live.ref == probe.TEMPLATE_REF and live.ref.name in inventory.hidden:
            return Retain(live, HIDDEN)
        return Delete(live, DeleteReason.UNUSED, "enforcement is not probed any more")

    return list(map(judge, found))


class _Proofs:
    """What the desired state proves about members that have live objects but want none."""

    def __init__(self, desired: DesiredState, written: Written) -> None:
        self._desired = desired
        self._written = written
        self._unresolved = desired.unresolved_keys()
        self._definitions = {o.member.definition_id.casefold() for o in desired.outcomes if isinstance(o, Unresolved)}
        self._not_applied: dict[MemberKey, NotApplied] = {}
        self._objects: dict[MemberKey, list[ObjectRef]] = {}
        self._collect()

    def _collect(self) -> None:
        for outcome in self._desired.outcomes:
            if isinstance(outcome, NotApplied):
                key = outcome.member.key
                self._not_applied[MemberKey(key.assignment_id, WHOLE) if outcome.member.whole else key] = outcome
        for wanted in self._desired.objects:
            if wanted.role is not Role.TEMPLATE:
                for member in wanted.members:
                    self._objects.setdefault(member.key, []).append(wanted.ref)

    def knows_definitions(self, definition_ids: Iterable[str]) -> bool:
        """Whether an Unresolved member uses one of these definitions."""
        return any(i.casefold() in self._definitions for i in definition_ids)

    def judge(self, live: LiveObject) -> Change:
        """Delete with its proof, Retain, or an unproven Delete."""
        key = self._written.member_of(live) or member_of(live.annotations)
        if key is None:
            return self._unmarked(live)
        whole = MemberKey(key.assignment_id, WHOLE)
        if key in self._unresolved or whole in self._unresolved:
            return Retain(live, "the meaning of its policy here is not known (see azpolicy explain)")
        not_applied = self._not_applied.get(key) or self._not_applied.get(whole)
        if not_applied is not None:
            return Delete(live, DeleteReason.NOT_APPLIED, not_applied.message)
        if key in self._objects:
            message = "its policy is enforced by another object now"
            return Delete(live, DeleteReason.MOVED, message, tuple(sorted(self._objects[key])))
        if key.assignment_id in self._desired.gone:
            return Delete(
                live,
                DeleteReason.ASSIGNMENT_GONE,
                "Azure says that its assignment is deleted, or is for this cluster no more",
            )
        if key.assignment_id in self._desired.listed:
            return Delete(live, DeleteReason.MEMBER_GONE, "its assignment no longer has this policy")
        return Delete(live, DeleteReason.UNLISTED, "its assignment is no longer listed")

    def _unmarked(self, live: LiveObject) -> Change:
        if self._unresolved:
            return Retain(live, "its annotations are gone, and it may belong to an unresolved policy")
        return Delete(live, DeleteReason.UNLISTED, "its annotations are gone and no policy makes this name")


def _judge_template(
    live: LiveObject,
    inventory: Inventory,
    decided: Mapping[ObjectRef, Change],
    wanted: Collection[ObjectRef],
    proofs: _Proofs,
) -> Change:
    # Told by the template's name, as its CRD is: the spelling of the kind in its spec can be edited.
    users = [
        ref
        for ref, user in inventory.objects.items()
        if ref.group == CONSTRAINT_GROUP and ref.kind.lower() == live.ref.name and not user.deleting
    ]
    foreign = tuple(sorted(ref for ref in users if ref not in decided and ref not in wanted))
    if foreign:
        return InUse(live, foreign)
    if live.ref.name in inventory.hidden:
        return Retain(live, HIDDEN)
    staying = [ref for ref in users if not isinstance(decided.get(ref), Delete)]
    if staying:
        return Retain(live, f"{len(staying)} of its constraints stay")
    ids = [v for k, v in live.annotations.items() if k.startswith("azure-policy-definition-id")]
    if proofs.knows_definitions(ids):
        return Retain(live, "an unresolved policy uses its definition")
    unproven = [change for ref in users if _is_unproven(change := decided[ref])]
    reason = DeleteReason.UNLISTED if unproven else DeleteReason.UNUSED
    return Delete(live, reason, "no policy uses it any more")


def data_that_stays(pruned: Iterable[Change]) -> frozenset[DataKind]:
    """The kinds that templates look up which no policy is known to use, and which stay all the same."""
    staying = (change.live for change in pruned if isinstance(change, Retain | InUse | Refuse))
    return frozenset().union(*(_live_data(live) for live in staying if live.ref.group == TEMPLATE_GROUP))


def _live_data(template: LiveObject) -> frozenset[DataKind]:
    try:
        return required_data(template.annotations)
    except SyncDataError:
        # Somebody's edit: what a document of ours says has been read before it came to be a template.
        return frozenset()


def judge_unowned(
    desired: DesiredState, inventory: Inventory, marks: OwnershipMarks, pruned: Sequence[Change], written: Written
) -> tuple[Change, ...]:
    """What becomes of our SyncSet and ExpansionTemplates when no policy needs them.

    They have no member, so only what stays speaks for them.
    """
    wanted = {o.ref for o in desired.objects}
    staying = [change.live for change in pruned if isinstance(change, Retain | Refuse)]
    data = "a template that stays needs the data" if data_that_stays(pruned) else ""
    expands = any(live.ref.group != TEMPLATE_GROUP and expanded(live.manifest) for live in staying)
    pods = "a policy that stays looks at the pods that it makes" if expands else ""
    uses = {
        SYNCSET_REF: (data, "no policy needs data any more"),
        **dict.fromkeys(EXPANSION_REFS, (pods, "no policy looks at the pods that it makes any more")),
    }
    return tuple(
        Retain(live, stays) if stays else Delete(live, DeleteReason.UNUSED, unused)
        for ref, (stays, unused) in uses.items()
        if ref not in wanted
        and (live := inventory.objects.get(ref)) is not None
        and not live.deleting
        and ownership(live, marks, written=written.uids) is Ownership.OURS
    )


def _is_unproven(change: Change) -> bool:
    return isinstance(change, Delete) and change.reason is DeleteReason.UNLISTED


def _limited(
    changes: list[Change], desired: DesiredState, managed: int, lost: int, limit: PruneLimit
) -> Iterable[Change]:
    """The changes with unproven deletes refused when they are too many, or when the source lists nothing at all.

    `lost` is how many of the window's losses are still gone. What was refused once stays refused: objects made since
    must not make it a smaller part of all.
    """
    unproven = sum(_is_unproven(change) for change in changes)
    all_of_them = managed + lost
    over = all_of_them >= limit.minimum and (unproven + lost) * 100 > limit.percent * all_of_them
    too_many = not desired.listed or over
    if limit.forced or not unproven:
        return changes
    after = f" after {lost} in the last {WINDOW // timedelta(hours=1)} hours" if lost else ""
    why = (
        f"{unproven} of {managed} managed objects would be deleted{after}, and Azure does not prove that "
        f"(limit {limit.percent} %); if that is intended, run: azpolicy apply --force-prune"
    )
    doomed = [ref_of(change) for change in changes if _is_unproven(change)]
    members = {ref for ref in doomed if ref.group != TEMPLATE_GROUP and (too_many or str(ref) in limit.refused)}
    # A template takes every constraint of its kind along, so it stays as long as one of them does, and no longer.
    kinds = {ref.kind.lower() for ref in members}
    refused = members | {ref for ref in doomed if ref.group == TEMPLATE_GROUP and (too_many or ref.name in kinds)}
    return [
        Refuse(change.live, why) if isinstance(change, Delete) and change.live.ref in refused else change
        for change in changes
    ]
