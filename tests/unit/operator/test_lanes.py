"""How many requests go before a repair's while much else is to be done: few, whatever the number. In virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.kinds import ASSIGNED_POLICY, kind_of
from controller.cluster.lanes import LIMITS, Lane
from controller.gatekeeper.naming import CONSTRAINT_GROUP
from controller.report.events import COLLECTION
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


class SlowApi(FakeApi):
    """Every request takes a twentieth of a second; `sent` is what arrived, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._objects = cluster()._objects
        self.sent: list[tuple[str, str]] = []

    async def _once(self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> Response:
        self.sent.append((method, path))
        await asyncio.sleep(0.05)
        return await super()._once(method, path, query, body)

    def reports(self, since: int = 0) -> int:
        """How many requests for a report arrived."""
        return sum(is_report(path) for _, path in self.sent[since:])


def is_report(path: str) -> bool:
    return path.startswith((ASSIGNED_POLICY.path(), COLLECTION))


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
        await until(lambda: api.reports() > 2 * LIMITS[Lane.REPORT])
        assert api.reports() < MANY / 2

        before = await sent_before_repair(api, lambda: edit_victim(api))

        assert len(before) <= REQUESTS_OF_A_REPAIR * (LIMITS[Lane.REPORT] + 1)
        await until(lambda: api.reports() >= MANY)


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
        await until(lambda: api.reports() > 2 * LIMITS[Lane.REPORT])
        since = len(api.sent)

        for each in CONSTRAINTS:
            api.edit(each.ref, enforcementAction="dryrun")
        await until(lambda: all(restored(api, each) for each in CONSTRAINTS))

        rounds = REQUESTS_OF_A_REPAIR * -(-MANY // LIMITS[Lane.REPAIR])
        assert api.reports(since) <= LIMITS[Lane.REPORT] + rounds
        assert api.reports() < MANY
        await until(lambda: api.reports() >= MANY)
