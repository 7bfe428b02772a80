"""The decision: desired state, live objects and ownership in, a plan of typed changes out. Pure.

One function decides for the poll and for a watch event, for a dry run and for real:

| desired | live object                         | change                                     |
|---------|-------------------------------------|--------------------------------------------|
| yes     | none                                | Create                                     |
| yes     | foreign                             | Conflict, and Blocked for what needs it    |
| yes     | ours, being deleted                 | Blocked: made again once it is gone        |
| yes     | ours, makes its kind in other letters | Recreate, or Blocked if a constraint stays |
| yes     | ours, template does not compile     | Rejected                                   |
| yes     | ours, equal, or equal after server  | Keep                                       |
| yes     | ours, differs, server not asked yet | Unsure: a dry-run PUT answers              |
| yes     | ours, differs                       | Replace                                    |
| yes     | the server refuses ours             | Invalid                                    |
| no      | foreign                             | none                                       |
| no      | ours, its member is Unresolved      | Retain                                     |
| no      | ours, template with others' objects | InUse                                      |
| no      | ours, gone by Azure's word          | Delete                                     |
| no      | ours, merely not listed             | Delete, or Refuse over the limit           |
| no      | our SyncSet, a template stays       | Retain, if what stays needs data           |
| no      | our SyncSet otherwise               | Delete                                     |

A SyncSet that is desired is widened by what templates need that stay although no policy is known to use them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from controller.cluster.kinds import LiveObject
from controller.cluster.ownership import Ownership, member_of, ownership
from controller.cluster.readiness import Broken, template_verdict
from controller.gatekeeper.model import DesiredObject, DesiredState, ObjectRef, Role, digest
from controller.gatekeeper.naming import CONSTRAINT_GROUP, TEMPLATE_GROUP, is_managed_name, owned_key
from controller.gatekeeper.syncset import SYNCSET_REF, SyncDataError, kinds_of, required_data, syncset
from controller.policy.model import MemberKey, NotApplied, Unresolved

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from controller.gatekeeper.naming import Marks
    from controller.gatekeeper.syncset import DataKind

REJECTED_DIGEST: Final = "azpolicy.dev/rejected-digest"
WHOLE: Final = "*"
_DIGEST_SHOWN: Final = 12
_NOT_AGAIN: Final = "its ConstraintTemplate cannot be made again yet"
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_/-]+")


@dataclass(frozen=True, slots=True)
class Absent:
    """A value that is not there, in a difference."""

    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where live and desired differ: a path such as `spec.match.kinds[0].kinds` or `labels["a.b"]`."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is ABSENT:
            return f"{self.path} added"
        return f"{self.path} removed" if self.after is ABSENT else f"{self.path} changed"


class DeleteReason(StrEnum):
    """Why an object may go; all but UNLISTED are proven by Azure (design property 3)."""

    NOT_APPLIED = "NotApplied"
    MEMBER_GONE = "MemberGone"
    ASSIGNMENT_GONE = "AssignmentGone"
    MOVED = "Moved"
    UNUSED = "Unused"
    UNLISTED = "Unlisted"


@dataclass(frozen=True, slots=True)
class Create:
    """Not there: made as desired."""

    desired: DesiredObject
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replace:
    """There but different: PUT of `target` with the live resourceVersion."""

    desired: DesiredObject
    live: LiveObject
    target: Mapping[str, Any]
    differences: tuple[Difference, ...]
    after: Mapping[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Recreate:
    """A template whose kind is spelled otherwise here, as `before`: deleted, with its constraints, and made again.

    The API server takes the new spelling in the template, but in no CustomResourceDefinition: spec.names.kind is
    immutable there. Gatekeeper then enforces the constraints that it knows until it restarts, and takes no others.
    """

    desired: DesiredObject
    live: LiveObject
    before: str

    @property
    def message(self) -> str:
        """What happens, for people."""
        return f"its kind is {self.before} here, in other letters: it is made again, and its constraints with it"

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The kind, before and after."""
        return (Difference("spec.crd.spec.names.kind", self.before, template_kind(self.desired.manifest)),)


@dataclass(frozen=True, slots=True)
class Keep:
    """As desired. `dropped` are desired fields that the kind's schema does not have: the server prunes them."""

    desired: DesiredObject
    live: LiveObject
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """No longer desired. Waits until every ref in `successors` is enforced; a template there takes it along."""

    live: LiveObject
    reason: DeleteReason
    message: str
    successors: tuple[ObjectRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """Would be deleted, but nothing proves it and too many would go."""

    live: LiveObject
    message: str


@dataclass(frozen=True, slots=True)
class Retain:
    """Kept because what its member means is not known."""

    live: LiveObject
    message: str


@dataclass(frozen=True, slots=True)
class InUse:
    """A template kept because constraints that are not ours use it."""

    live: LiveObject
    users: tuple[ObjectRef, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something foreign has the name: never overwritten, never deleted."""

    desired: DesiredObject
    message: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Not made, because what it needs is not ours or did not come about."""

    desired: DesiredObject
    message: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A template version that Gatekeeper is known not to take; the last good one stays."""

    desired: DesiredObject
    live: LiveObject
    message: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """The API server or an admission webhook refuses what is desired."""

    desired: DesiredObject
    message: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """Differs as written; whether it differs as stored, a dry run tells."""

    desired: DesiredObject
    live: LiveObject
    target: Mapping[str, Any]


Unwritten: TypeAlias = Keep | Refuse | Retain | InUse | Conflict | Blocked | Rejected | Invalid
Decision: TypeAlias = Create | Replace | Unsure | Keep | Conflict | Blocked | Rejected | Invalid
Change: TypeAlias = Create | Replace | Recreate | Delete | Unsure | Unwritten
WRITES: Final = (Create, Replace, Recreate, Delete)
PROBLEMS: Final = (Conflict, Blocked, Rejected, Invalid, Refuse)


def ref_of(change: Change) -> ObjectRef:
    """The object that a change is about."""
    match change:
        case Delete() | Refuse() | Retain() | InUse():
            return change.live.ref
        case _:
            return change.desired.ref


@dataclass(frozen=True, slots=True)
class Answer:
    """What a dry run answered: the object as it would be stored, the refusal's words, or why there is no answer."""

    stored: LiveObject | None
    refusal: str = ""
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """What an earlier dry run found equal: valid while uid, generation and both digests stay."""

    generation: int
    live_digest: str
    desired_digest: str
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A template version that Gatekeeper did not take; the digests of the spec that was put back and of the bad one.

    Known to this process alone, by uid: an annotation that said so could be forged to keep an edited template.
    """

    live_spec: str
    desired_spec: str


Learnt: TypeAlias = Settled | Rejection


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every object of every managed kind, ours or not, and which constraint kinds are served. Complete or not made."""

    objects: Mapping[ObjectRef, LiveObject]
    served: frozenset[str] = frozenset()
    positions: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PruneLimit:
    """Unproven deletes beyond `percent` of at least `minimum` managed objects are refused, unless forced.

    `refused` are those refused before, as `Kind/name`.
    """

    percent: int = 30
    minimum: int = 10
    forced: bool = False
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in order of creation; frozen, so what is printed is what is applied."""

    cluster_id: str
    changes: tuple[Change, ...]

    def of(self, *types: type) -> tuple[Change, ...]:
        """The changes of the given classes."""
        return tuple(change for change in self.changes if isinstance(change, types))

    @property
    def writes(self) -> tuple[Change, ...]:
        """What would change the cluster."""
        return self.of(*WRITES)

    @property
    def problems(self) -> tuple[Change, ...]:
        """Conflicts, refusals and what Gatekeeper or the server will not take."""
        return self.of(*PROBLEMS)


def refusal_digest(plan: Plan) -> str:
    """What names the refused deletions of a plan, empty where there are none: these objects and no others, once."""
    uids = sorted(change.live.uid for change in plan.changes if isinstance(change, Refuse))
    return digest(uids)[:_DIGEST_SHOWN] if uids else ""


def make_plan(
    desired: DesiredState,
    inventory: Inventory,
    marks: Marks,
    *,
    limit: PruneLimit = PruneLimit(),
    settled: Mapping[str, Learnt] | None = None,
    answers: Mapping[ObjectRef, Answer] | None = None,
) -> Plan:
    """The plan for everything; Unsure changes in it ask for a dry run, whose answer goes into a second call."""
    pruned = _prune(desired, inventory, marks, limit)
    data = _data_that_stays(pruned)
    kept = [
        decide(wanted, inventory.objects.get(wanted.ref), marks, settled or {}, (answers or {}).get(wanted.ref))
        for wanted in (_widened(wanted, data, marks) for wanted in desired.objects)
    ]
    decided, pruned = _recreate(kept, pruned, inventory)
    return Plan(
        desired.cluster_id, (*_block(decided, inventory), *pruned, *_judge_syncset(desired, inventory, marks, data))
    )


def decide(
    desired: DesiredObject,
    live: LiveObject | None,
    marks: Marks,
    settled: Mapping[str, Learnt],
    answer: Answer | None = None,
) -> Decision:
    """The change for one desired object; see the table above."""
    if answer is not None and answer.refusal:
        return Invalid(desired, answer.refusal)
    if live is None:
        stored = answer.stored if answer else None
        return Create(desired, missing(desired.manifest.get("spec"), stored.manifest.get("spec")) if stored else ())
    if ownership(live, marks, desired=True) is Ownership.FOREIGN:
        return Conflict(desired, _conflict_message(live, marks))
    if live.deleting:
        return Blocked(desired, "is being deleted; it is made again once it is gone")
    known = settled.get(live.uid)
    if isinstance(known, Rejection) and known == Rejection(spec_digest(live), spec_digest(desired)):
        message = "Gatekeeper does not take this version of the template; the last good one stays"
        return Rejected(desired, live, message)
    return _compare(desired, live, settled, answer)


def _compare(
    desired: DesiredObject, live: LiveObject, settled: Mapping[str, Learnt], answer: Answer | None
) -> Decision:
    before = live.projection()
    target = target_for(desired, live)
    wanted = LiveObject(live.ref, target)
    if same(wanted.projection(), before):
        return _kept(desired, live)
    known = settled.get(live.uid)
    if isinstance(known, Settled) and known == Settled(live.generation, live.digest(), desired.digest, known.dropped):
        return _kept(desired, live, known.dropped)
    if answer is None:
        return Unsure(desired, live, target)
    if answer.stored is None:
        after = wanted.projection()
        note = f"compared as written, defaults may show as differences: {answer.unknown}"
        return Replace(desired, live, target, tuple(differences(before, after)), after, note=note)
    after = answer.stored.projection()
    dropped = missing(desired.manifest.get("spec"), after["spec"])
    if same(after, before):
        return _kept(desired, live, dropped)
    return Replace(desired, live, target, tuple(differences(before, after)), after, dropped)


def _kept(desired: DesiredObject, live: LiveObject, dropped: tuple[str, ...] = ()) -> Keep | Rejected:
    """Keep, but for a template that is as desired and does not compile: it was never good, and must not look so."""
    verdict = template_verdict(live, None) if desired.role is Role.TEMPLATE else None
    if isinstance(verdict, Broken):
        return Rejected(desired, live, f"Gatekeeper does not take it: {verdict.message}")
    return Keep(desired, live, dropped)


def spec_digest(template: DesiredObject | LiveObject) -> str:
    """What tells one version of a template from another, whoever else comes to use it."""
    return digest(template.manifest.get("spec"))


def target_for(desired: DesiredObject, live: LiveObject) -> dict[str, Any]:
    """The object to PUT: desired spec and our marks over the live object; others' metadata stays (property 6)."""
    metadata = {k: v for k, v in live.metadata.items() if k not in ("managedFields", "labels", "annotations")}
    wanted: Any = desired.manifest["metadata"]
    for field_name, theirs in (("labels", live.labels), ("annotations", live.annotations)):
        ours = wanted.get(field_name) or {}
        merged = {k: v for k, v in theirs.items() if not owned_key(k)} | ours
        if merged:
            metadata[field_name] = merged
    rest = {k: v for k, v in live.manifest.items() if k not in ("metadata", "spec", "status")}
    return rest | {
        "apiVersion": desired.manifest["apiVersion"],
        "metadata": metadata,
        "spec": desired.manifest.get("spec") or {},
    }


def _recreate(
    kept: list[Decision], pruned: tuple[Change, ...], inventory: Inventory
) -> tuple[list[Decision | Recreate], tuple[Change, ...]]:
    """A template whose kind is served in other letters is made again with its constraints, unless one is to stay.

    What the live template says of its kind does not count: that can be edited.
    """
    served = {kind.lower(): kind for kind in inventory.served}
    again = {}
    for change in kept:
        ref = change.desired.ref
        if change.desired.role is Role.TEMPLATE and isinstance(change, Keep | Replace | Unsure | Rejected):
            kind = template_kind(change.desired.manifest)
            if (before := served.get(ref.name, kind)) != kind:
                again[ref] = Recreate(change.desired, change.live, before)
    going = {ref_of(change) for change in pruned if isinstance(change, Delete)}
    staying = {
        ref.kind: ref
        for ref, live in inventory.objects.items()
        if ref.group == CONSTRAINT_GROUP and ref not in going and not live.deleting
    }

    def with_template(change: Change) -> Change:
        template = ObjectRef(TEMPLATE_GROUP, "ConstraintTemplate", ref_of(change).kind.lower())
        if not isinstance(change, Delete) or template not in again:
            return change
        if again[template].before in staying:
            return Retain(change.live, _NOT_AGAIN)
        return Delete(change.live, change.reason, change.message, (template,))

    return [
        change if (remade := again.get(change.desired.ref)) is None else _alone(remade, staying) for change in kept
    ], tuple(map(with_template, pruned))


def _alone(change: Recreate, staying: Mapping[str, ObjectRef]) -> Recreate | Blocked:
    user = staying.get(change.before)
    if user is None:
        return change
    return Blocked(change.desired, f"{change.message}; but {user} is to stay: delete it, and the rest follows")


def _block(changes: list[Decision | Recreate], inventory: Inventory) -> list[Decision | Recreate]:
    """Constraints whose template is foreign, on its way out or never to be are not built on it."""
    reasons = {
        template_kind(change.desired.manifest): _unusable(change, inventory)
        for change in changes
        if change.desired.role is Role.TEMPLATE
    }
    return [
        Blocked(change.desired, why)
        if isinstance(change, Create | Replace | Unsure)
        and change.desired.ref.group == CONSTRAINT_GROUP
        and (why := reasons.get(change.desired.ref.kind))
        else change
        for change in changes
    ]


def _unusable(template: Decision | Recreate, inventory: Inventory) -> str:
    match template:
        case Conflict():
            return "its ConstraintTemplate is not ours"
        case Blocked() if inventory.objects[template.desired.ref].deleting:
            return "its ConstraintTemplate is being deleted"
        case Blocked():
            return _NOT_AGAIN
        case Invalid() if template.desired.ref not in inventory.objects:
            return "its ConstraintTemplate is refused"
        case _:
            return ""


def template_kind(manifest: Mapping[str, Any]) -> str:
    """The constraint kind that a ConstraintTemplate makes, empty if it names none."""
    spec: Any = manifest.get("spec") or {}
    return str((((spec.get("crd") or {}).get("spec") or {}).get("names") or {}).get("kind", ""))


def _conflict_message(live: LiveObject, marks: Marks) -> str:
    owner = live.labels.get("managed-by", "")
    whose = f"it is managed by {owner}" if owner and owner != marks.managed_by else "it was not made by azpolicy"
    return f"{whose}: delete it, or label it managed-by={marks.managed_by} to hand it over"


# --- pruning ---------------------------------------------------------------------------------------------------------


def _prune(desired: DesiredState, inventory: Inventory, marks: Marks, limit: PruneLimit) -> tuple[Change, ...]:
    wanted = {o.ref for o in desired.objects}
    ours = [live for live in inventory.objects.values() if ownership(live, marks) is Ownership.OURS]
    extra = sorted((live for live in ours if live.ref not in wanted and not live.deleting), key=lambda x: x.ref)
    proofs = _Proofs(desired)
    prunable = [live for live in extra if live.ref.group != TEMPLATE_GROUP and is_managed_name(live.ref.name)]
    changes = [proofs.judge(live) for live in prunable]
    decided = {ref_of(change): change for change in changes}
    templates = [live for live in extra if live.ref.group == TEMPLATE_GROUP]
    changes += [_judge_template(live, inventory, decided, wanted, proofs) for live in templates]
    # Objects that merely bear our label, and are never pruned, must not stretch the limit.
    managed = len(changes) + sum(live.ref in wanted for live in ours)
    return tuple(_limited(changes, desired, managed, limit))


class _Proofs:
    """What the desired state proves about members that have live objects but want none."""

    def __init__(self, desired: DesiredState) -> None:
        self._desired = desired
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
        key = member_of(live.annotations)
        if key is None:
            return self._unmarked(live)
        whole = MemberKey(key.assignment_id, WHOLE)
        if key in self._unresolved or whole in self._unresolved:
            return Retain(live, "what its policy means here is not known (see azpolicy explain)")
        not_applied = self._not_applied.get(key) or self._not_applied.get(whole)
        if not_applied is not None:
            return Delete(live, DeleteReason.NOT_APPLIED, not_applied.message)
        if key in self._objects:
            message = "its policy is enforced by another object now"
            return Delete(live, DeleteReason.MOVED, message, tuple(sorted(self._objects[key])))
        if key.assignment_id in self._desired.gone:
            return Delete(live, DeleteReason.ASSIGNMENT_GONE, "its assignment is deleted in Azure")
        if key.assignment_id in self._desired.listed:
            return Delete(live, DeleteReason.MEMBER_GONE, "its assignment no longer has this policy")
        return Delete(live, DeleteReason.UNLISTED, "its assignment is not listed any more")

    def _unmarked(self, live: LiveObject) -> Change:
        if self._unresolved:
            return Retain(live, "its annotations are gone, and it may belong to a policy that is not resolved")
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
    staying = [ref for ref in users if not isinstance(decided.get(ref), Delete)]
    if staying:
        return Retain(live, f"{len(staying)} of its constraints stay")
    ids = [v for k, v in live.annotations.items() if k.startswith("azure-policy-definition-id")]
    if proofs.knows_definitions(ids):
        return Retain(live, "a policy that is not resolved uses its definition")
    unproven = [change for ref in users if _is_unproven(change := decided[ref])]
    reason = DeleteReason.UNLISTED if unproven else DeleteReason.UNUSED
    return Delete(live, reason, "no policy uses it any more")


def _data_that_stays(pruned: Iterable[Change]) -> frozenset[DataKind]:
    """The kinds that templates look up which no policy is known to use, and which stay all the same."""
    staying = (change.live for change in pruned if isinstance(change, Retain | InUse | Refuse))
    return frozenset().union(*(_live_data(live) for live in staying if live.ref.group == TEMPLATE_GROUP))


def _live_data(template: LiveObject) -> frozenset[DataKind]:
    try:
        return required_data(template.annotations)
    except SyncDataError:
        # Somebody's edit: what a document of ours says has been read before it came to be a template.
        return frozenset()


def _widened(wanted: DesiredObject, data: frozenset[DataKind], marks: Marks) -> DesiredObject:
    if wanted.ref != SYNCSET_REF or not data:
        return wanted
    return syncset(data | kinds_of(wanted.manifest), marks)


def _judge_syncset(
    desired: DesiredState, inventory: Inventory, marks: Marks, data: frozenset[DataKind]
) -> tuple[Change, ...]:
    """What becomes of our SyncSet when no policy needs data: it has no member, so only what stays speaks for it."""
    live = inventory.objects.get(SYNCSET_REF)
    wanted = any(o.ref == SYNCSET_REF for o in desired.objects)
    if wanted or live is None or live.deleting or ownership(live, marks) is not Ownership.OURS:
        return ()
    if data:
        return (Retain(live, "a template that stays needs the data"),)
    return (Delete(live, DeleteReason.UNUSED, "no policy needs data any more"),)


def _is_unproven(change: Change) -> bool:
    return isinstance(change, Delete) and change.reason is DeleteReason.UNLISTED


def _limited(changes: list[Change], desired: DesiredState, managed: int, limit: PruneLimit) -> Iterable[Change]:
    """The changes with unproven deletes refused when they are too many, or when the source lists nothing at all.

    What was refused once stays refused: objects made since must not make it a smaller part of all.
    """
    unproven = sum(_is_unproven(change) for change in changes)
    too_many = not desired.listed or (managed >= limit.minimum and unproven * 100 > limit.percent * managed)
    if limit.forced or not unproven:
        return changes
    why = (
        f"{unproven} of {managed} managed objects would go and Azure does not prove it (limit {limit.percent} %); "
        "if it is meant, run: azpolicy apply --force-prune"
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


# --- differences -----------------------------------------------------------------------------------------------------


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values mean the same: numbers by value, as the server stores 1.0 as 1, but `true` is no 1."""
    if left is right:
        return True
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


def differences(before: Any, after: Any, path: str = "") -> Iterable[Difference]:
    """Every place where two JSON values differ; lists of one length item by item, others whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key, ABSENT), after.get(key, ABSENT), _inner(path, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}[{index}]")
    elif not same(before, after):
        yield Difference(path, before, after)


def missing(wanted: Any, stored: Any, path: str = "spec") -> tuple[str, ...]:
    """Paths that are wanted but not stored: fields that the server pruned."""
    if isinstance(wanted, dict) and isinstance(stored, dict):
        return tuple(
            found
            for key, value in wanted.items()
            for inner in (_inner(path, key),)
            for found in (missing(value, stored[key], inner) if key in stored else (inner,))
        )
    if isinstance(wanted, list) and isinstance(stored, list) and len(wanted) == len(stored):
        return tuple(
            found
            for index, (value, other) in enumerate(zip(wanted, stored, strict=True))
            for found in missing(value, other, f"{path}[{index}]")
        )
    return ()


def _inner(path: str, key: str) -> str:
    """The path of a key; one that could be read as several, or as anything but a path, is quoted."""
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key
