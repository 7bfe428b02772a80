"""Deleting all that azpolicy made: a plan for which nothing is desired, then the state besides Gatekeeper's kinds.

Gatekeeper's kinds have no second way of deletion here: what is ours, what stays and in which order it goes is for the
plan and the Applier to say, as ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from controller.azure.declared import described
from controller.cluster.apply import Applier, ChangeSet, planned
from controller.cluster.changes import Delete, Plan, ref_of
from controller.cluster.cluster_record import NAME, ClusterRecord, Recorded
from controller.cluster.dry_run import DryRunCache
from controller.cluster.foreign import text_at
from controller.cluster.installation import Installation
from controller.cluster.inventory import GatekeeperMissing
from controller.cluster.owned_state import find_owned_state, remove_owned
from controller.cluster.ownership import Ownership, ownership
from controller.cluster.planner import Planner
from controller.cluster.prune import PruneLimit
from controller.cluster.resources import leases_or_error, operator_at_work
from controller.cluster.written import Written
from controller.commands.session import recall
from controller.errors import Refused
from controller.gatekeeper.model import DesiredState
from controller.gatekeeper.naming import GATEKEEPER_NAMESPACE, RECORD_NAMESPACE
from controller.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from controller.cluster.apply import Result
    from controller.cluster.changes import Change
    from controller.cluster.client import KubeClient
    from controller.cluster.kinds import LiveObject
    from controller.cluster.owned_state import OwnedObject
    from controller.gatekeeper.model import ObjectRef
    from controller.gatekeeper.naming import OwnershipMarks

_NOTHING: Final = DesiredState("", (), (), frozenset())
_MEANT: Final = PruneLimit(forced=True, probe=True)
_RECORD: Final = f"/api/v1/namespaces/{RECORD_NAMESPACE}/configmaps/{NAME}"


@dataclass(frozen=True, slots=True)
class Found:
    """Everything to delete; `held` is already being deleted, and finalizers keep it."""

    server: str
    cluster_id: str
    plan: Plan
    held: tuple[ObjectRef, ...]
    owned: tuple[OwnedObject, ...]

    @property
    def count(self) -> int:
        """How many objects are to be deleted."""
        return len(self.plan.writes) + len(self.owned)


@dataclass(frozen=True, slots=True)
class Uninstall:
    """One uninstallation. Killed anywhere, another one finishes it: what is gone is not found again."""

    client: KubeClient
    marks: OwnershipMarks
    namespace: str | None
    keep_kinds: bool = False
    written: Written = field(default_factory=Written)

    async def refuse_beside_operator(self) -> None:
        """Refused while somebody renews the operator's Lease: everything would be restored."""
        if holder := await operator_at_work(self.client, self.namespace):
            raise Refused(
                f"the operator {holder} runs and would restore everything: stop it first (helm uninstall, or "
                "kubectl scale --replicas=0), or use --force"
            )

    async def survey(self) -> Found:
        """What there is; Refused where the cluster belongs to another program, or to another --managed-by."""
        recorded = Recorded.of(await self.client.get(_RECORD)).cluster_id
        await ClusterRecord(self.client, Installation(self.marks)).check(recorded)
        leases = await leases_or_error(self.client, self.namespace)
        held = (text_at(each, "metadata", "namespace") for each in leases)
        named = {RECORD_NAMESPACE, GATEKEEPER_NAMESPACE, self.namespace, *held}
        namespaces = filter(None, named)
        owned = await find_owned_state(self.client, namespaces, leases, self.marks, keep_kinds=self.keep_kinds)
        await recall(self.client, self.marks, self.written, None, self.namespace)
        plan, leaving = await self._plan()
        return Found(self.client.server, recorded, plan, leaving, owned)

    async def _plan(self) -> tuple[Plan, tuple[ObjectRef, ...]]:
        """The plan, and what of ours is on its way out; a cluster without Gatekeeper has neither."""
        cache = DryRunCache(written=self.written)
        planner = Planner(self.client, Applier(self.client, self.marks, cache), cache, self.marks)
        try:
            plan, inventory = await planner.full(_NOTHING, _MEANT)
        except GatekeeperMissing:
            return Plan("", ()), ()
        leaving = (live for live in inventory.objects.values() if live.deleting)
        return plan, tuple(sorted(x.ref for x in leaving if self._ours(x)))

    def _ours(self, live: LiveObject) -> bool:
        return ownership(live, self.marks, written=self.written.uids) is Ownership.OURS

    async def remove(self, found: Found, done: Callable[[Result], None]) -> ChangeSet:
        """Deletes what was found; the rest stays while any of Gatekeeper's objects could not go.

        Refused when objects came back: an operator without a Lease runs.
        """
        outcome = await Applier(self.client, self.marks, DryRunCache()).apply(found.plan, done)
        if outcome.problems:
            return outcome
        again, _ = await self._plan()
        if again.writes:
            raise Refused(f"{ref_of(again.writes[0])} came back: an operator without a Lease runs; stop it")
        results = []
        for each in found.owned:
            results.append(await remove_owned(self.client, each))
            done(results[-1])
        return ChangeSet((*outcome.results, *results))


def as_text(found: Found) -> Iterator[str]:
    """One line for each object, in the order in which they go, between where that is and how many there are."""
    recorded = f", recorded as {described(found.cluster_id)}" if found.cluster_id else ""
    yield plain(f"uninstall from {found.server}{recorded}")
    yield from map(_line, found.plan.changes)
    yield from (plain(f"! wait {ref}: it is already being deleted, and finalizers hold it") for ref in found.held)
    yield from (plain(f"- delete {each.ref}") for each in found.owned)
    yield f"uninstall: {found.count} to delete" if found.count else "uninstall: nothing to delete"


def _line(change: Change) -> str:
    if isinstance(change, Delete):
        return plain(f"- delete {change.live.ref}")
    result = planned(change)
    return plain(f"= {result.action} {result.ref}: {result.message}")


def summary(outcome: ChangeSet) -> str:
    """One line of counts."""
    written, problems = len(outcome.written), len(outcome.problems)
    kept = len(outcome.results) - written - problems
    return f"uninstall: {written} deleted, {kept} kept, {problems} failed"
