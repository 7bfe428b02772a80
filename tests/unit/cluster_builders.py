"""Builders of desired and live objects of a cluster, with defaults for what a test does not care about."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.kinds import Inventory, LiveObject
from controller.gatekeeper.model import DesiredObject, DesiredState, Rendered, Role
from controller.gatekeeper.naming import (
    CONSTRAINT_GROUP,
    CONSTRAINT_VERSION,
    FIELD_MANAGER,
    MUTATION_GROUP,
    TEMPLATE_GROUP,
    OwnershipMarks,
    constraint_name,
)
from controller.policy.model import Member, NotApplied, NotAppliedReason, Unresolved, UnresolvedReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from controller.gatekeeper.model import Outcome

MARKS: Final = OwnershipMarks()
CLUSTER_ID: Final = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/web"
KIND: Final = "K8sThing"


def member(assignment: str = "a", *, reference: str = "", definition: str = "d", whole: bool = False) -> Member:
    """One definition as one assignment brings it."""
    return Member(f"/assignments/{assignment}", f"/definitions/{definition}", reference_id=reference, whole=whole)


def template(
    kind: str = KIND, *, rego: str = "package thing", members: tuple[Member, ...] = (), version: str = "v1"
) -> DesiredObject:
    """A desired ConstraintTemplate."""
    using = members or (member(),)
    annotations = MARKS.template_annotations(
        [each.definition_id for each in using], url="", origin="bundle", digest="0" * 8
    )
    manifest: dict[str, Any] = {
        "apiVersion": f"{TEMPLATE_GROUP}/{version}",
        "kind": "ConstraintTemplate",
        "metadata": {"name": kind.lower(), "labels": MARKS.labels(), "annotations": annotations},
        "spec": {
            "crd": {"spec": {"names": {"kind": kind}}},
            "targets": [{"target": "admission.k8s.gatekeeper.sh", "rego": rego}],
        },
    }
    return DesiredObject.of(Role.TEMPLATE, manifest, using)


def constraint(kind: str = KIND, *, by: Member | None = None, **parameters: Any) -> DesiredObject:
    """A desired constraint of one member."""
    owner = by or member()
    name = constraint_name(kind.lower(), owner.assignment_id, owner.reference_id, owner.definition_id)
    spec: dict[str, Any] = {"enforcementAction": "deny", "match": {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}]}}
    manifest: dict[str, Any] = {
        "apiVersion": CONSTRAINT_VERSION,
        "kind": kind,
        "metadata": {"name": name, "labels": MARKS.labels(), "annotations": MARKS.member_annotations(owner)},
        "spec": {**spec, **({"parameters": parameters} if parameters else {})},
    }
    return DesiredObject.of(Role.CONSTRAINT, manifest, (owner,))


def mutator(*, by: Member | None = None) -> DesiredObject:
    """A desired mutator of one member."""
    owner = by or member("m")
    name = constraint_name("thing", owner.assignment_id, owner.reference_id, owner.definition_id)
    manifest: dict[str, Any] = {
        "apiVersion": f"{MUTATION_GROUP}/v1",
        "kind": "Assign",
        "metadata": {"name": name, "labels": MARKS.labels(), "annotations": MARKS.member_annotations(owner)},
        "spec": {"location": "spec.hostNetwork", "parameters": {"assign": {"value": False}}},
    }
    return DesiredObject.of(Role.MUTATOR, manifest, (owner,))


def desired_state(
    *objects: DesiredObject,
    outcomes: Iterable[Outcome] = (),
    listed: Iterable[str] | None = None,
    gone: Iterable[str] = (),
) -> DesiredState:
    """A desired state; every member of its objects is Rendered, every assignment of theirs is listed."""
    rendered: list[Outcome] = [
        Rendered(each, "deny", "deny", (wanted.ref,))
        for wanted in objects
        if wanted.role is not Role.TEMPLATE
        for each in wanted.members
    ]
    ids = {each.key.assignment_id for wanted in objects for each in wanted.members}
    names = ids if listed is None else {f"/assignments/{name}" for name in listed}
    return DesiredState(
        CLUSTER_ID,
        objects,
        (*rendered, *outcomes),
        frozenset(names),
        frozenset(f"/assignments/{name}" for name in gone),
    )


def not_applied(by: Member | None = None, *, message: str = "the effect is disabled") -> NotApplied:
    """A member that is known not to apply."""
    return NotApplied(by or member(), NotAppliedReason.DISABLED, message)


def unresolved(by: Member | None = None, *, message: str = "an unknown function") -> Unresolved:
    """A member of which nothing is known."""
    return Unresolved(by or member(), UnresolvedReason.EXPRESSION, message)


def live(
    of: DesiredObject,
    *,
    name: str | None = None,
    spec: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    managers: tuple[str, ...] = (FIELD_MANAGER,),
    uid: str = "",
    deleting: bool = False,
    **metadata: Any,
) -> LiveObject:
    """The object as the server holds it once it was written; keywords replace parts of it."""
    manifest: Any = copy.deepcopy(of.manifest)
    meta = manifest["metadata"]
    meta["name"] = name or meta["name"]
    meta |= {"uid": uid or f"uid-{meta['name']}", "generation": 1, "resourceVersion": "1", **metadata}
    meta["managedFields"] = [
        {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {}}} for manager in managers
    ]
    if labels is not None:
        meta["labels"] = labels
    if annotations is not None:
        meta["annotations"] = annotations
    if deleting:
        meta["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    if spec is not None:
        manifest["spec"] = spec
    ref = type(of.ref)(of.ref.group, of.ref.kind, meta["name"])
    return LiveObject(ref, manifest)


def foreign(of: DesiredObject, *, managed_by: str = "somebody", **keywords: Any) -> LiveObject:
    """An object that somebody else made."""
    return live(of, labels={"managed-by": managed_by}, annotations={}, managers=("kubectl",), **keywords)


def inventory(*objects: LiveObject) -> Inventory:
    """A complete listing."""
    kinds = frozenset(each.ref.kind for each in objects if each.ref.group == CONSTRAINT_GROUP)
    return Inventory({each.ref: each for each in objects}, kinds)
