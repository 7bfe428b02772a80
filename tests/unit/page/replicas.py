"""Replicas as the page sees them: one that leads and knows what a test says, and one that stands by."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp.test_utils import TestClient, TestServer

from controller.cluster.lease import Lease
from controller.cluster.readiness import Ready
from controller.operator.state import OperatorState
from controller.page.server import application
from controller.report.assigned import Knowledge
from controller.report.conditions import Counts, SyncState
from controller.report.health import Health
from controller.report.known import Known
from tests.unit.cluster_builders import CLUSTER_ID, MARKS, constraint, desired_state, member, template
from tests.unit.operator.scripted import SETTINGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from controller.cluster.apply import Result
    from controller.cluster.lean import Violation
    from controller.gatekeeper.model import DesiredState, ObjectRef
    from controller.operator.main import Replica
    from controller.policy.model import Member
    from controller.report.violations import Findings

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOLDER: Final = "azpolicy-5d9c7-x2x4q_0a1b2c3d"
LEASE: Final = Lease.of(
    {
        "metadata": {"name": "azure-policy-sync", "namespace": "azpolicy-system"},
        "spec": {"holderIdentity": HOLDER, "renewTime": "2026-03-01T12:00:00.000000Z", "leaseDurationSeconds": 15},
    }
)
IN_SYNC: Final = SyncState(cluster_id=CLUSTER_ID, source="a test's source", counts=Counts(assignments=1), settled=True)


@dataclass
class Leading:
    """A replica that leads."""

    desired: DesiredState | None
    status: SyncState = IN_SYNC
    results: Mapping[ObjectRef, Result] = field(default_factory=dict)
    health: Mapping[ObjectRef, Health] = field(default_factory=dict)
    changes: tuple[Mapping[str, str], ...] = ()
    lease: Lease | None = LEASE
    found: Mapping[ObjectRef, Findings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = OperatorState(SETTINGS, now=lambda: NOW)
        self.state.status = self.status
        self.loops = self

    @property
    def session(self) -> Leading | None:
        """Itself: what the page asks a session for is here."""
        return self

    def known(self) -> Known:
        """What is reported."""
        return Known(self.desired, Knowledge(self.results, self.health), None, self.changes, self.found, MARKS)


@dataclass
class StandingBy:
    """A replica that stands by: whatever else it is asked for is missing."""

    lease: Lease | None = LEASE
    session: None = None


@contextlib.asynccontextmanager
async def browsing(replica: Leading | StandingBy, *hosts: str) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of the replica's page."""
    async with TestClient(TestServer(application(cast("Replica", replica), hosts))) as client:
        yield client


def named(policy: str, *, assignment: str = "Shop", reference: str = "") -> Member:
    """A member with display names."""
    return replace(
        member("shop", reference=reference), definition_name=policy, assignment_name=assignment, initiative_name=policy
    )


def enforcing(*members: Member, violations: Iterable[Violation] = ()) -> Leading:
    """A replica whose members are enforced, each with these violations."""
    constraints = [constraint(by=each) for each in members]
    first = tuple(violations)
    health = {each.ref: Health(Ready(), violations=len(first), first=first, audited=NOW) for each in constraints}
    objects = [template(members=members), *constraints] if members else []
    return Leading(desired_state(*objects), health=health)
