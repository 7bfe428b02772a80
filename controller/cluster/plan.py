"""The decision: desired state, live objects and ownership in, a plan of typed changes out. Pure.

One function decides for the poll and for a watch event, for a dry run and for real:

| desired | live object                         | change                                     |
|---------|-------------------------------------|--------------------------------------------|
| yes     | none                                | Create                                     |
| yes     | foreign                             | Conflict, and Blocked for what needs it    |
| yes     | either, too deep to be read whole   | as any other: what was cut out differs     |
| yes     | ours, being deleted                 | Blocked: made again once it is gone        |
| yes     | ours, and finalizers keep it so     | Replace without them, and made again       |
| yes     | ours, makes its kind in other letters | Recreate, or Blocked if a constraint stays |
| yes     | ours, template does not compile     | Rejected                                   |
| yes     | ours, equal, or equal after server  | Keep                                       |
| yes     | ours, differs, server not asked yet | NeedsDryRun: a dry-run PUT answers         |
| yes     | ours, differs                       | Replace                                    |
| yes     | the server refuses ours             | Invalid                                    |
| yes     | none, expansion that somebody does  | Conflict                                   |
| yes     | none, expansion without its kind    | Blocked                                    |

What is there and not desired is decided in `controller.cluster.prune`. A SyncSet that is desired is widened by what
templates need that stay although no policy is known to use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from controller.cluster.changes import (
    Blocked,
    Change,
    Conflict,
    Create,
    Decision,
    Delete,
    Invalid,
    Keep,
    NeedsDryRun,
    Plan,
    Recreate,
    Rejected,
    Replace,
    Retain,
    ref_of,
)
from controller.cluster.diff import ABSENT, Difference, differences, missing, same
from controller.cluster.dry_run import CachedAnswer, CachedEqual, DryRunAnswer, Rejection, spec_digest
from controller.cluster.kinds import HOLDS, LiveObject, template_kind
from controller.cluster.ownership import NOTHING, Ownership, ownership
from controller.cluster.prune import DEFAULT_LIMIT, PruneLimit, data_that_stays, judge_unowned, prune
from controller.cluster.readiness import Broken, Ready, expansion_verdict, pods_verdict
from controller.cluster.written import Written
from controller.gatekeeper.expansion import ORIGINAL, workloads
from controller.gatekeeper.model import ObjectRef, Role
from controller.gatekeeper.naming import CONSTRAINT_GROUP, TEMPLATE_GROUP, owned_key
from controller.gatekeeper.syncset import SYNCSET_REF, kinds_of, syncset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.kinds import Inventory
    from controller.cluster.readiness import Verdict
    from controller.gatekeeper.model import DesiredObject, DesiredState
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.gatekeeper.syncset import DataKind

_NO_EXPANSION: Final = (
    "this Gatekeeper has no kind ExpansionTemplate, so workloads are admitted and their pods judged alone: install the"
    " CustomResourceDefinitions of Gatekeeper 3.17 or newer, or set expansion to off"
)
_DEFAULT_SOURCE: Final = (
    "a policy on pods that names no source is Original, as Azure's default has it; Gatekeeper's is All:"
    " docs/expansion.md"
)
_NOT_AGAIN: Final = "its ConstraintTemplate cannot be made again yet"


def make_plan(
    desired: DesiredState,
    inventory: Inventory,
    marks: OwnershipMarks,
    *,
    limit: PruneLimit = DEFAULT_LIMIT,
    cached: Mapping[str, CachedAnswer] | None = None,
    answers: Mapping[ObjectRef, DryRunAnswer] | None = None,
    written: Written | None = None,
) -> Plan:
    """The plan for everything; NeedsDryRun changes in it ask for a dry run, whose answer goes into a second call."""
    written = written or Written()
    pruned = prune(desired, inventory, marks, limit, written)
    data = data_that_stays(pruned)
    kept = [
        _not_expanded(wanted, inventory, marks, written)
        or decide(
            wanted,
            inventory.objects.get(wanted.ref),
            marks,
            cached or {},
            (answers or {}).get(wanted.ref),
            written=written.uids,
        )
        for wanted in (_widened(wanted, data, marks) for wanted in desired.objects)
    ]
    decided, pruned = _recreate(kept, pruned, inventory)
    unowned = judge_unowned(desired, inventory, marks, pruned, written)
    return Plan(desired.cluster_id, (*_block(decided, inventory), *pruned, *unowned))


def decide(
    desired: DesiredObject,
    live: LiveObject | None,
    marks: OwnershipMarks,
    cached: Mapping[str, CachedAnswer],
    answer: DryRunAnswer | None = None,
    *,
    written: Mapping[ObjectRef, str] = NOTHING,
) -> Decision:
    """The change for one desired object; see the table above."""
    if answer is not None and answer.refusal:
        return Invalid(desired, answer.refusal)
    if live is None:
        stored = answer.stored if answer else None
        return Create(desired, missing(desired.manifest.get("spec"), stored.manifest.get("spec")) if stored else ())
    if ownership(live, marks, desired=True, written=written) is Ownership.FOREIGN:
        return Conflict(desired, _conflict_message(live, marks))
    if live.deleting:
        return _deleting(desired, live)
    known = cached.get(live.uid)
    if isinstance(known, Rejection) and known == Rejection(spec_digest(live), spec_digest(desired)):
        message = "Gatekeeper rejects this version of the template; the last good one stays"
        return Rejected(desired, live, message)
    return _compare(desired, live, cached, answer)


def _deleting(desired: DesiredObject, live: LiveObject) -> Replace | Blocked:
    """Gatekeeper no longer enforces it: what keeps it in place is taken off, so that it can be made again."""
    if not live.metadata.get("finalizers"):
        return Blocked(desired, "is being deleted; it is created again when it is gone")
    target = target_for(desired, live)
    after = LiveObject(live.ref, target).projection()
    note = "is being deleted, and finalizers keep it in place; it is made again without them"
    return Replace(desired, live, target, tuple(differences(live.projection(), after)), after, note=note)


def _compare(
    desired: DesiredObject, live: LiveObject, cached: Mapping[str, CachedAnswer], answer: DryRunAnswer | None
) -> Decision:
    known = cached.get(live.uid)
    if isinstance(known, CachedEqual) and known.holds(live, desired):
        return _kept(desired, live, known.dropped)
    before = live.projection()
    target = target_for(desired, live)
    wanted = LiveObject(live.ref, target)
    if same(wanted.projection(), before):
        return _kept(desired, live)
    if answer is None:
        return NeedsDryRun(desired, live, target)
    if answer.stored is None:
        after = wanted.projection()
        note = f"compared as written; defaults may show as differences: {answer.unknown}"
        return Replace(desired, live, target, tuple(differences(before, after)), after, note=note)
    after = answer.stored.projection()
    dropped = missing(desired.manifest.get("spec"), after["spec"])
    if same(after, before):
        return _kept(desired, live, dropped)
    found = tuple(differences(before, after))
    note = _DEFAULT_SOURCE if Difference("spec.match.source", ABSENT, ORIGINAL) in found else ""
    return Replace(desired, live, target, found, after, dropped, note)


def _kept(desired: DesiredObject, live: LiveObject, dropped: tuple[str, ...] = ()) -> Keep | Rejected:
    """Keep, unless Gatekeeper rejects a template that is as desired: it enforces nothing, and must not look so."""
    verdict: Verdict = Ready()
    if desired.role is Role.TEMPLATE:
        verdict = pods_verdict(live)
    elif desired.role is Role.EXPANSION:
        verdict = expansion_verdict(live)
    if isinstance(verdict, Broken):
        return Rejected(desired, live, f"Gatekeeper rejects it: {verdict.message}")
    return Keep(desired, live, dropped)


def target_for(desired: DesiredObject, live: LiveObject) -> dict[str, Any]:
    """The object to PUT: desired spec and our marks over the live object; others' metadata stays, but for `holds`."""
    metadata = {k: v for k, v in live.metadata.items() if k not in ("managedFields", "labels", "annotations", *HOLDS)}
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


def _widened(wanted: DesiredObject, data: frozenset[DataKind], marks: OwnershipMarks) -> DesiredObject:
    if wanted.ref != SYNCSET_REF or not data:
        return wanted
    return syncset(data | kinds_of(wanted.manifest), marks)


def _not_expanded(
    wanted: DesiredObject, inventory: Inventory, marks: OwnershipMarks, written: Written
) -> Conflict | Blocked | None:
    """Why an ExpansionTemplate cannot be made: its kind is missing, or somebody's makes the same pods.

    With both, each violation is told twice. One that is there already stays: a foreign one may have another
    enforcementAction, and must not switch ours off.
    """
    if wanted.role is not Role.EXPANSION or wanted.ref in inventory.objects:
        return None
    if (wanted.ref.group, wanted.ref.kind) in inventory.absent:
        return Blocked(wanted, _NO_EXPANSION)
    for ref, live in sorted(inventory.objects.items()):
        same_kind = (ref.group, ref.kind) == (wanted.ref.group, wanted.ref.kind)
        if not same_kind or live.deleting or ownership(live, marks, written=written.uids) is Ownership.OURS:
            continue
        if both := workloads(live.manifest, wanted.ref):
            return Conflict(
                wanted,
                f"{ref}, which azpolicy did not create, makes pods of {', '.join(both)} already: delete it, and"
                " azpolicy makes its own; or set expansion to off, and policies rely on that one",
            )
    return None


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
        if change.desired.role is Role.TEMPLATE and isinstance(change, Keep | Replace | NeedsDryRun | Rejected):
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
    """No constraint is built on a template that is foreign, being deleted or refused."""
    reasons = {
        template_kind(change.desired.manifest): _unusable(change, inventory)
        for change in changes
        if change.desired.role is Role.TEMPLATE
    }
    return [
        Blocked(change.desired, why)
        if isinstance(change, Create | Replace | NeedsDryRun)
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


def _conflict_message(live: LiveObject, marks: OwnershipMarks) -> str:
    owner = live.labels.get("managed-by", "")
    whose = f"it is managed by {owner}" if owner and owner != marks.managed_by else "azpolicy did not create it"
    return f"{whose}: delete it, or label it managed-by={marks.managed_by} to hand it over"
