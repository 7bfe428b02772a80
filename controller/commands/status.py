"""The operator's report in the cluster, read into values: no other module looks into the documents.

The documents are kept with the values, for `azpolicy status -o json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

from controller.azure.model import fold
from controller.cluster.foreign import mapping_at, mappings_at, text_at, whole_at
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
        """Reads the document, whose fields may hold anything."""
        status = mapping_at(document, "status")
        suspend = mapping_at(document, "spec", "suspend")
        counts = mapping_at(status, "counts")
        return cls(
            document,
            generation=whole_at(document, "metadata", "generation"),
            observed=whole_at(status, "observedGeneration"),
            requested=text_at(document, "metadata", "annotations", REQUESTED_AT),
            handled=text_at(status, "lastHandledRequest"),
            cluster_id=text_at(status, "clusterId"),
            source=text_at(status, "source"),
            mode=text_at(status, "mode"),
            suspended_until=text_at(suspend, "until"),
            suspended_why=text_at(suspend, "reason"),
            counts={key: whole_at(counts, key) for key in counts},
            refused=whole_at(status, "refusedDeletions", "count"),
            refused_digest=text_at(status, "refusedDeletions", "digest"),
            forced_digest=text_at(status, "lastForcedPrune"),
            conditions=tuple(
                Condition(*(text_at(each, key) for key in ("type", "status", "reason", "message")))
                for each in mappings_at(status, "conditions")
            ),
            changes=tuple(
                LastChange(*(text_at(each, key) for key in ("time", "action", "object", "cause", "detail", "editor")))
                for each in mappings_at(status, "lastChanges")
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
        """Reads the document, whose fields may hold anything."""
        status = mapping_at(document, "status")
        violations = whole_at(status, "violations", "total", default=-1)
        return cls(
            document,
            assignment_id=text_at(document, "spec", "assignment", "id"),
            assignment=_name(mapping_at(document, "spec", "assignment")),
            initiative=_name(mapping_at(document, "spec", "initiative")),
            policy=_name(mapping_at(document, "spec", "definition")),
            outcome=text_at(status, "outcome"),
            reason=text_at(status, "reason"),
            message=text_at(status, "message"),
            effect=text_at(status, "effect"),
            action=text_at(status, "enforcementAction"),
            violations=violations if violations >= 0 else None,
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
    return text_at(resource, "displayName") or text_at(resource, "id").rpartition("/")[2]


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
