"""What the replica that leads knows at one moment, as the values that the commands show. Pure.

Nothing is asked of the cluster for it: it is what the operator has in memory for its reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller.cluster.foreign import mapping_at
from controller.cluster.resources import Resources
from controller.commands.status import PolicySync, Status
from controller.report.assigned import Enforcement
from controller.report.conditions import Reported, status_of

if TYPE_CHECKING:
    from datetime import datetime

    from controller.cluster.lease import Lease
    from controller.operator.main import Replica
    from controller.report.conditions import SyncState
    from controller.report.known import Known


@dataclass(frozen=True, slots=True)
class Moment:
    """What a replica knows, before anything is made of it; `now` is aware UTC."""

    known: Known
    state: SyncState
    lease: Lease | None
    now: datetime

    @classmethod
    def of(cls, replica: Replica) -> Moment | None:
        """Of the replica now, for the event loop: it copies mappings and no more. None while it stands by."""
        session = replica.session
        if session is None:
            return None
        state = session.loops.state
        return cls(session.known(), state.status, replica.lease, state.now())


@dataclass(frozen=True, slots=True)
class Facts:
    """What the pages of one moment are made of; `status` has each member's AssignedPolicy, by assignment and name."""

    moment: Moment
    sync: PolicySync
    status: Status

    @classmethod
    def of(cls, moment: Moment) -> Facts:
        """Makes the report of every member, as the operator does for the cluster: not for the event loop."""
        members = moment.known.members(moment.now)
        live = moment.known.sync or {}
        outcomes = [str(each["status"]["outcome"]) for each in members]
        enforced, pending = outcomes.count(Enforcement.ENFORCED), outcomes.count(Enforcement.PENDING)
        reported = Reported(enforced, pending, moment.known.changes)
        told = status_of(moment.state, reported, mapping_at(live, "status"), moment.now)
        leases = (moment.lease.manifest,) if moment.lease else ()
        document = {**live, "status": told}
        return cls(moment, PolicySync.of(document), Status.of(Resources(document, tuple(members), leases)))
