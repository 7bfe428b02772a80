"""The operator's report in the cluster, read into values: no other module looks into the documents.

The documents are kept with the values, for `azpolicy status -o json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

from controller.azure.model import fold
from controller.cluster.lease import Lease
from controller.errors import InputError
from controller.gatekeeper.naming import REQUESTED_AT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from controller.cluster.resources import Resources

_EXPECTED: Final = {
    "Ready": "True",
    "GatekeeperReady": "True",
    "Reconciling": "False",
    "Stalled": "False",
    "Suspended": "False",
    "Contended": "False",
}
_FINE: Final = frozenset({"Enforced", "NotApplied"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of PolicySync; `holds` is True, False or Unknown, as Kubernetes spells it."""

    type: str
    holds: str
    reason: str
    message: str

    @property
    def as_expected(self) -> bool:
        """Whether it is as it should be; of a type that is not known here nothing is expected."""
        return self.holds == _EXPECTED.get(self.type, self.holds)


@dataclass(frozen=True, slots=True)
class LastChange:
    """One of the last changes that the operator wrote."""

    time: str
    action: str
    object: str
    cause: str
    detail: str
    editor: str


@dataclass(frozen=True, slots=True)
class PolicySync:
    """PolicySync default; texts are empty and numbers 0 where the operator has not said anything."""

    document: Mapping[str, Any] = field(repr=False)
    generation: int
    observed: int
    requested: str
    handled: str
    cluster_id: str
    source: str
    mode: str
    suspended_until: str
    suspended_why: str
    counts: Mapping[str, int]
    refused: int
    refused_digest: str
    forced_digest: str
    conditions: tuple[Condition, ...]
    changes: tuple[LastChange, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Reads the document; the API server has checked its types."""
        metadata, status = document["metadata"], document.get("status") or {}
        suspend = (document.get("spec") or {}).get("suspend") or {}
        refused = status.get("refusedDeletions") or {}
        return cls(
            document,
            generation=metadata.get("generation", 0),
            observed=status.get("observedGeneration", 0),
            requested=(metadata.get("annotations") or {}).get(REQUESTED_AT, ""),
            handled=status.get("lastHandledRequest", ""),
            cluster_id=status.get("clusterId", ""),
            source=status.get("source", ""),
            mode=status.get("mode", ""),
            suspended_until=suspend.get("until", ""),
            suspended_why=suspend.get("reason", ""),
            counts=status.get("counts") or {},
            refused=refused.get("count", 0),
            refused_digest=refused.get("digest", ""),
            forced_digest=status.get("lastForcedPrune", ""),
            conditions=tuple(
                Condition(each["type"], each["status"], each["reason"], each["message"])
                for each in status.get("conditions") or ()
            ),
            changes=tuple(
                LastChange(*(each.get(key, "") for key in ("time", "action", "object", "cause", "detail", "editor")))
                for each in status.get("lastChanges") or ()
            ),
        )

    def condition(self, name: str) -> Condition | None:
        """The condition of this type, None where it was never set."""
        return next((each for each in self.conditions if each.type == name), None)

    @property
    def ready(self) -> bool:
        """Whether the cluster is as Azure says, by the operator's own word."""
        ready = self.condition("Ready")
        return ready is not None and ready.as_expected


@dataclass(frozen=True, slots=True)
class AssignedPolicy:
    """One member of an assignment; `policy` is empty where it stands for all members. `violations` None: no audit."""

    document: Mapping[str, Any] = field(repr=False)
    assignment_id: str
    assignment: str
    initiative: str
    policy: str
    outcome: str
    reason: str
    message: str
    effect: str
    action: str
    violations: int | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Reads the document; the API server has checked its types."""
        spec, status = document["spec"], document["status"]
        assignment_id = spec["assignment"]["id"]
        return cls(
            document,
            assignment_id=assignment_id,
            assignment=_name(spec["assignment"]),
            initiative=_name(spec.get("initiative") or {}),
            policy=_name(spec.get("definition") or {}),
            outcome=status["outcome"],
            reason=status.get("reason", ""),
            message=status.get("message", ""),
            effect=status.get("effect", ""),
            action=status.get("enforcementAction", ""),
            violations=(status.get("violations") or {}).get("total"),
        )

    @property
    def is_problem(self) -> bool:
        """Whether it is neither enforced nor known not to apply."""
        return self.outcome not in _FINE

    @property
    def names(self) -> frozenset[str]:
        """What people may call the assignment: its id, name or display name, folded."""
        assignment_id = fold(self.assignment_id)
        return frozenset({assignment_id, assignment_id.rpartition("/")[2], fold(self.assignment)})


def _name(resource: Mapping[str, Any]) -> str:
    """What people call a resource of Azure: its display name, else the last part of its id."""
    return resource.get("displayName") or str(resource.get("id", "")).rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Status:
    """All of it: `sync` None where nobody made it yet, `leases` None where they may not be read."""

    sync: PolicySync | None
    policies: tuple[AssignedPolicy, ...]
    leases: tuple[Lease, ...] | None

    @classmethod
    def of(cls, resources: Resources) -> Self:
        """Reads the documents; policies by assignment and name."""
        policies = sorted(
            map(AssignedPolicy.of, resources.policies),
            key=lambda each: (each.assignment.casefold(), fold(each.assignment_id), each.policy.casefold()),
        )
        leases = None if resources.leases is None else tuple(map(Lease.of, resources.leases))
        return cls(PolicySync.of(resources.sync) if resources.sync else None, tuple(policies), leases)

    def only(self, assignments: Collection[str], *, problems: bool) -> Status:
        """With the policies of these assignments (all where none is named); InputError for one that is not there."""
        chosen = {fold(each) for each in assignments}
        known = frozenset().union(*(each.names for each in self.policies))
        if unknown := chosen - known:
            there = sorted({each.assignment for each in self.policies})
            raise InputError(f"no assignment {min(unknown)!r} is reported here: there is {', '.join(there) or 'none'}")
        shown = (each for each in self.policies if not chosen or chosen & each.names)
        return replace(self, policies=tuple(each for each in shown if each.is_problem or not problems))
