"""What the commands that talk to a cluster do, free of the command line's own concerns."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller.azure.compliance import read_compliance
from controller.cluster.apply import Applier, ChangeSet, Result
from controller.cluster.client import Connection, KubeClient
from controller.cluster.cluster_record import ClusterRecord, Recorded
from controller.cluster.dry_run import DryRunCache
from controller.cluster.foreign import text_at
from controller.cluster.installation import Installation
from controller.cluster.inventory import take_inventory
from controller.cluster.lanes import COMMAND_LIMITS
from controller.cluster.last_state import LastState, UnusableStateError
from controller.cluster.ownership import Ownership, ownership
from controller.cluster.planner import Planner
from controller.cluster.resources import read_leases
from controller.commands.compare import Comparison, audits_of, compare
from controller.errors import ClusterError
from controller.gatekeeper.carried import carry_forward
from controller.source import open_azure, open_source
from controller.times import utc_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from controller.cluster.changes import Plan
    from controller.cluster.prune import PruneLimit
    from controller.cluster.written import Written
    from controller.config import ClusterOptions, SourceOptions
    from controller.gatekeeper.model import DesiredState
    from controller.gatekeeper.naming import OwnershipMarks

log = logging.getLogger("azpolicy")


@dataclass(frozen=True, slots=True)
class Session:
    """One command's connection to one cluster."""

    applier: Applier
    planner: Planner
    cluster_record: ClusterRecord
    desired: DesiredState
    recorded: Recorded

    async def plan(self, limit: PruneLimit, *, preview: bool) -> Plan:
        """The plan for the whole cluster; a preview asks the server about new objects too."""
        remembered = self.recorded.limiting(limit, utc_now())
        plan, _ = await self.planner.full(self.desired, remembered, ask_creates=preview)
        return plan

    async def apply(self, plan: Plan, done: Callable[[Result], None], *, forced: bool = False) -> ChangeSet:
        """Carries the plan out; the cluster id is recorded before the first write, and what is deleted unproven.

        `forced` says that the plan was made with a limit that forces deletions.
        """
        await self.cluster_record.make(plan, forced=forced)
        return await self.applier.apply(plan, done)


def connect(cluster: ClusterOptions) -> KubeClient:
    """A client of the cluster that the options name."""
    return KubeClient(Connection(cluster.kubeconfig, cluster.context), limits=COMMAND_LIMITS)


@asynccontextmanager
async def open_session(source: SourceOptions, cluster: ClusterOptions) -> AsyncIterator[Session]:
    """Reads the source and opens the cluster; Refused when the cluster is recorded as another one or another's."""
    async with connect(cluster) as client:
        cache = DryRunCache()
        applier = Applier(client, source.marks, cache, nudges=True)
        planner = Planner(client, applier, cache, source.marks)
        cluster_record = ClusterRecord(client, Installation(source.marks))
        await recall(client, source.marks, cache.written, source.asked_id)
        async with open_source(source) as opened:
            desired = await opened.read(planner)
        desired = carry_forward(desired, cache.written.desired, utc_now(), source.marks)
        recorded = await cluster_record.check(desired.cluster_id)
        yield Session(applier, planner, cluster_record, desired, recorded)


async def recall(
    client: KubeClient, marks: OwnershipMarks, written: Written, cluster_id: str | None, namespace: str | None = None
) -> None:
    """Takes over what the cluster's operator remembers of what it wrote, where there is one and this user may read it.

    Without it a command knows the operator's objects by their marks alone.
    """
    try:
        leases = await read_leases(client, namespace) or ()
        for held_in in {text_at(each, "metadata", "namespace") for each in leases}:
            if kept := await LastState(client, held_in, marks).read(cluster_id):
                written.recall(kept)
    except (ClusterError, UnusableStateError) as error:
        log.debug("what the operator remembers cannot be read error=%r", str(error))


async def compare_audits(source: SourceOptions, cluster: ClusterOptions) -> tuple[Comparison, ...]:
    """Azure's compliance against Gatekeeper's audit of our constraints; InputError where the source is a snapshot."""
    async with open_azure(source) as reader:
        compliance = await read_compliance(reader)
    async with open_session(source, cluster) as opened:
        inventory = await take_inventory(opened.planner.client, opened.desired.objects)
    uids = opened.planner.cache.written.uids
    ours = (
        live for live in inventory.objects.values() if ownership(live, source.marks, written=uids) is Ownership.OURS
    )
    return compare(opened.desired, compliance, audits_of(ours))
