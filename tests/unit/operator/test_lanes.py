"""How many requests go before one that is more urgent: few, whatever the number. In virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.kinds import ASSIGNED_POLICY, POLICY_SYNC, kind_of
from controller.cluster.lanes import LIMITS, Lane
from controller.gatekeeper.naming import CONSTRAINT_GROUP
from controller.operator.settings import PolicySyncRequests
from controller.report.events import BURST, COLLECTION, EventDraft
from tests.unit.cluster_builders import constraint, desired_state, live, member, template
from tests.unit.fake_api import FakeApi
from tests.unit.operator.scripted import Operator, ScriptedSource, cluster, restored, until
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from controller.cluster.client import Response
    from controller.gatekeeper.model import DesiredObject

TEMPLATE: Final = template()
MANY: Final = 500
CONSTRAINTS: Final = [constraint(by=member(f"m{number}")) for number in range(MANY)]
VICTIM: Final = CONSTRAINTS[-1]
# A repair makes at most three requests, one after the other: it reads its template, asks by a dry run and writes.
REQUESTS_OF_A_REPAIR: Final = 3
ASKED: Final = "2026-03-01T12:00:00Z"


class SlowApi(FakeApi):
    """Every request takes a twentieth of a second; `sent` is what arrived, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._objects = cluster()._objects
        self.sent: list[tuple[str, str]] = []

    async def _once(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, *, by_metadata: bool
    ) -> Response:
        self.sent.append((method, path))
        await asyncio.sleep(0.05)
        return await super()._once(method, path, query, body, by_metadata=by_metadata)

    def assigned(self, since: int = 0) -> int:
        """How many writes of an AssignedPolicy arrived."""
        return sum(method != "GET" and path.startswith(ASSIGNED_POLICY.path()) for method, path in self.sent[since:])

    def first_assigned(self) -> list[Any]:
        """The AssignedPolicies as they were created."""
        return [call.body for call in self.calls if (call.method, call.path) == ("POST", ASSIGNED_POLICY.path())]


def is_write_of_constraint(method: str, path: str) -> bool:
    return method in ("POST", "PUT") and CONSTRAINT_GROUP in path


def slow_cluster(*there: DesiredObject) -> SlowApi:
    api = SlowApi()
    for each in there:
        api.put(live(each))
    return api


async def sent_before_repair(api: SlowApi, act: Callable[[], object]) -> list[tuple[str, str]]:
    """What arrives from the moment that somebody edits the victim until the write that restores it, without that."""
    before, path = len(api.sent), kind_of(VICTIM.ref).path(VICTIM.ref.name)
    act()
    await until(lambda: restored(api, VICTIM))
    sent = api.sent[before:]
    return sent[: sent.index(("PUT", path))]


def edit_victim(api: SlowApi) -> None:
    api.edit(VICTIM.ref, enforcementAction="dryrun")


def operator(api: SlowApi) -> Operator:
    return Operator(api, ScriptedSource(desired_state(TEMPLATE, *CONSTRAINTS)))


@in_virtual_time
async def test_a_repair_does_not_wait_for_500_reports_at_the_start() -> None:
    api = slow_cluster(TEMPLATE, *CONSTRAINTS)
    async with operator(api).running():
        await until(lambda: api.assigned() > 2 * LIMITS[Lane.REPORT])
        assert api.assigned() < MANY / 2

        before = await sent_before_repair(api, lambda: edit_victim(api))

        assert len(before) <= REQUESTS_OF_A_REPAIR * (LIMITS[Lane.REPORT] + 1)
        await until(lambda: api.assigned() >= MANY)


@in_virtual_time
async def test_a_repair_does_not_wait_for_a_full_sync_that_writes_500_objects() -> None:
    api = slow_cluster(TEMPLATE, VICTIM)
    async with operator(api).running():
        await until(lambda: any(is_write_of_constraint(*each) for each in api.sent))

        before = await sent_before_repair(api, lambda: edit_victim(api))

        assert sum(api.has(each.ref) for each in CONSTRAINTS) < MANY
        assert len(before) <= REQUESTS_OF_A_REPAIR * (LIMITS[Lane.SYNC] + LIMITS[Lane.REPORT] + 1)
        await until(lambda: all(api.has(each.ref) for each in CONSTRAINTS))


@in_virtual_time
async def test_of_500_edits_at_once_none_waits_for_a_report() -> None:
    api = slow_cluster(TEMPLATE, *CONSTRAINTS)
    async with operator(api).running():
        await until(lambda: api.assigned() > 2 * LIMITS[Lane.REPORT])
        since = len(api.sent)

        for each in CONSTRAINTS:
            api.edit(each.ref, enforcementAction="dryrun")
        await until(lambda: all(restored(api, each) for each in CONSTRAINTS))

        rounds = REQUESTS_OF_A_REPAIR * -(-MANY // LIMITS[Lane.REPAIR])
        assert api.assigned(since) <= LIMITS[Lane.REPORT] + rounds
        assert api.assigned() < MANY
        await until(lambda: api.assigned() >= MANY)


def ask_for_a_sync(running: Operator) -> Callable[[], bool]:
    running.loops.take_requests(PolicySyncRequests(requested_at=ASKED))
    return lambda: running.api.read(POLICY_SYNC.path("default"))["status"].get("lastHandledRequest") == ASKED


def unsettle(running: Operator) -> Callable[[], bool]:
    running.state.update(unsaved="too large")
    return lambda: "InSyncButNotKept" in str(running.api.read(POLICY_SYNC.path("default"))["status"])


def add_event(running: Operator) -> Callable[[], bool]:
    running.loops._deps.reporter.add_event(EventDraft(VICTIM.ref, "u", "Test", "told"))
    return lambda: any(call.path == COLLECTION and call.body["note"] == "told" for call in running.api.calls)


def add_event_among_many(running: Operator) -> Callable[[], bool]:
    for number in range(BURST - 1):
        running.loops._deps.reporter.add_event(EventDraft(VICTIM.ref, "u", "Test", f"note {number}"))
    return add_event(running)


@pytest.mark.parametrize("tell", [ask_for_a_sync, unsettle, add_event, add_event_among_many])
def test_what_somebody_waits_for_does_not_wait_for_500_assigned_policies(
    tell: Callable[[Operator], Callable[[], bool]],
) -> None:
    @in_virtual_time
    async def check() -> None:
        api = slow_cluster(TEMPLATE, *CONSTRAINTS)
        async with operator(api).running() as running:
            await until(lambda: running.state.status.settled and api.assigned() > 2 * LIMITS[Lane.REPORT])

            await until(tell(running))

            assert api.assigned() < MANY * 2 / 3
            await until(lambda: api.assigned() >= MANY)

    check()


@in_virtual_time
async def test_the_status_does_not_wait_for_the_events_before_it() -> None:
    api = slow_cluster(TEMPLATE, *CONSTRAINTS)
    async with operator(api).running() as running:
        await until(lambda: api.assigned() >= MANY)
        last = add_event_among_many(running)
        await until(lambda: api.sent[-1] == ("POST", COLLECTION))

        await until(unsettle(running))

        assert not last()
        await until(last)


@in_virtual_time
async def test_an_assigned_policy_says_what_is_known_when_its_turn_comes() -> None:
    api = slow_cluster(TEMPLATE, *CONSTRAINTS)
    async with operator(api).running():
        await until(lambda: api.assigned() > 2 * LIMITS[Lane.REPORT])

        audited = {"auditTimestamp": ASKED, "totalViolations": 7}
        api.merge(kind_of(VICTIM.ref).path(VICTIM.ref.name), {"status": audited})
        await until(lambda: len(api.first_assigned()) == MANY)

        found = [each["status"]["violations"] for each in api.first_assigned() if "violations" in each["status"]]
        assert found == [{"total": 7}]


@in_virtual_time
async def test_reports_end_with_the_loops() -> None:
    api = slow_cluster(TEMPLATE, *CONSTRAINTS)
    async with operator(api).running() as running:
        add_event_among_many(running)
        await until(lambda: api.assigned() > 2 * LIMITS[Lane.REPORT])
    sent = len(api.sent)

    await asyncio.sleep(600)

    assert len(api.sent) == sent


@in_virtual_time
async def test_a_replica_that_leads_no_more_writes_no_further_report() -> None:
    leads = True
    api = slow_cluster(TEMPLATE, *CONSTRAINTS)
    api._fence = lambda: 60.0 if leads else 0.0
    async with operator(api).running():
        await until(lambda: api.assigned() > 2 * LIMITS[Lane.REPORT])

        leads = False
        sent = len(api.sent)
        await asyncio.sleep(30)
        assert {method for method, _ in api.sent[sent:]} <= {"GET"}

        leads = True
        await until(lambda: len(api.first_assigned()) == MANY)
