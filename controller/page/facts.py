"""What the replica that leads knows at one moment, as the values that the commands show. Pure.

Nothing is asked of the cluster for it: it is what the operator has in memory for its reports.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from controller.azure.model import fold
from controller.cluster.foreign import mapping_at
from controller.commands.status import AssignedPolicy, PolicySync, Status
from controller.commands.status_view import ALL_MEMBERS
from controller.gatekeeper.model import Rendered
from controller.report.assigned import Enforcement, assigned_name, assigned_policy, enforcement_of
from controller.report.conditions import Reported, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from controller.cluster.lease import Lease
    from controller.gatekeeper.model import DesiredObject, ObjectRef, Outcome
    from controller.operator.main import Replica
    from controller.policy.model import Member
    from controller.report.assigned import Knowledge
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


def policy_name(member: Member) -> str:
    """What people call the policy of a member; one that stands for all of the assignment has none."""
    return member.definition_name or member.definition_id.rpartition("/")[2] or ALL_MEMBERS


class Row(NamedTuple):
    """What lists need of a member; its report is made where it is shown. There may be thousands."""

    outcome: Outcome
    enforcement: Enforcement
    violations: int | None

    @property
    def member(self) -> Member:
        """Whose it is."""
        return self.outcome.member

    @property
    def key(self) -> str:
        """The name of its AssignedPolicy, by which links name it."""
        return assigned_name(self.member)

    @property
    def assignment(self) -> str:
        """What people call the assignment."""
        return self.member.assignment_name or self.member.assignment_id.rpartition("/")[2]

    @property
    def initiative(self) -> str:
        """What people call the initiative, empty where the assignment has none."""
        return self.member.initiative_name or self.member.initiative_id.rpartition("/")[2]

    @property
    def policy(self) -> str:
        """What people call the policy."""
        return policy_name(self.member)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the pages of one moment are made of; `rows` are by assignment and policy.

    It holds little besides what the operator holds anyway: what is large and lives for a second is what the garbage
    collector would stop the event loop for.
    """

    moment: Moment
    sync: PolicySync
    rows: tuple[Row, ...]
    objects: Mapping[ObjectRef, DesiredObject]

    @classmethod
    def of(cls, moment: Moment) -> Facts:
        """Judges every member, as the operator does for the cluster: not for the event loop."""
        known = moment.known
        desired = known.desired
        found = (_row(each, known.knowledge, moment.now) for each in (desired.outcomes if desired else ()))
        rows = tuple(sorted(found, key=_order))
        counts = Counter(each.enforcement for each in rows)
        reported = Reported(counts[Enforcement.ENFORCED], counts[Enforcement.PENDING], known.changes)
        live = known.sync or {}
        told = status_of(moment.state, reported, mapping_at(live, "status"), moment.now)
        objects = {each.ref: each for each in (desired.objects if desired else ())}
        return cls(moment, PolicySync.of({**live, "status": told}), rows, objects)

    @property
    def status(self) -> Status:
        """What `azpolicy status` has of the whole; the policies are in `rows`."""
        lease = self.moment.lease
        return Status(self.sync, (), (lease,) if lease else ())

    def report(self, row: Row) -> AssignedPolicy:
        """A member's AssignedPolicy, as the operator writes it into the cluster."""
        known = self.moment.known
        return AssignedPolicy.of(
            assigned_policy(row.outcome, self.objects, known.knowledge, self.moment.now, known.marks)
        )


def _row(outcome: Outcome, known: Knowledge, now: datetime) -> Row:
    health = known.health.get(outcome.objects[-1]) if isinstance(outcome, Rendered) else None
    return Row(outcome, enforcement_of(outcome, known, now), health.violations if health else None)


def _order(row: Row) -> tuple[str, str, str]:
    return row.assignment.casefold(), fold(row.member.assignment_id), row.policy.casefold()
