"""Our objects under parallel kinds, which enforce while the predecessor still holds the usual names.

A cluster holds one template of a name, and whoever deletes it takes along every constraint of its kind, whoever made
it and whatever finalizers hold it (docs/migrate.md has the trials). So nothing of ours may be built on a template that
somebody else is about to delete: the same template under another kind stands on its own. The way on is a move from
kind to kind, which the plan knows already: the old constraint goes once the new one is enforced. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.changes import Blocked, Conflict, Create, Invalid, Keep, Plan, Rejected
from controller.gatekeeper.model import DesiredObject, Role, digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.gatekeeper.model import DesiredState

SUFFIX: Final = "Parallel"
_LONGEST: Final = 63
_DIGITS: Final = 8


def parallel_kind(kind: str) -> str:
    """The parallel kind of `kind`; Kubernetes allows 63 characters, so a long one is cut."""
    if len(kind) + len(SUFFIX) <= _LONGEST:
        return f"{kind}{SUFFIX}"
    return f"{kind[: _LONGEST - len(SUFFIX) - _DIGITS]}{digest(kind)[:_DIGITS]}{SUFFIX}"


def parallel(desired: DesiredState) -> DesiredState:
    """The same policies with templates and constraints under kinds of their own; a mutator's name is ours alone."""
    return replace(desired, objects=tuple(map(_moved, desired.objects)))


def _moved(wanted: DesiredObject) -> DesiredObject:
    manifest: Any = wanted.manifest
    match wanted.role:
        case Role.TEMPLATE:
            return DesiredObject.of(wanted.role, _template(manifest), wanted.members)
        case Role.CONSTRAINT:
            return DesiredObject.of(wanted.role, {**manifest, "kind": parallel_kind(wanted.ref.kind)}, wanted.members)
        case _:
            return wanted


def _template(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = manifest["spec"]
    crd = spec["crd"]["spec"]
    kind = parallel_kind(crd["names"]["kind"])
    # Only the kind: of two CustomResourceDefinitions with one short name the second is never established.
    renamed = {**spec, "crd": {**spec["crd"], "spec": {**crd, "names": {"kind": kind}}}}
    return {**manifest, "metadata": {**manifest["metadata"], "name": kind.lower()}, "spec": renamed}


def in_dry_run(desired: DesiredState) -> DesiredState:
    """The same without effect: constraints only count. Mutators and expansion are left out: neither has a dry run."""
    effective = (Role.MUTATOR, Role.EXPANSION)
    objects = (_counting(wanted) for wanted in desired.objects if wanted.role not in effective)
    return replace(desired, objects=tuple(objects))


def _counting(wanted: DesiredObject) -> DesiredObject:
    if wanted.role is not Role.CONSTRAINT:
        return wanted
    manifest: Any = wanted.manifest
    spec = {**manifest["spec"], "enforcementAction": "dryrun"}
    return DesiredObject.of(wanted.role, {**manifest, "spec": spec}, wanted.members)


def additions(plan: Plan) -> Plan:
    """The plan without what it would change or delete: what enforces already must not come to be a dry run."""
    return Plan(plan.cluster_id, plan.of(Create, Keep, Conflict, Blocked, Rejected, Invalid))
