"""Which request goes first, and what a cancelled one leaves behind. In virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from controller.cluster.lanes import LIMITS, Lane, Lanes, in_lane
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterable

MANY: Final = 500


class Traffic:
    """Requests over lanes, each of which takes a second; `started` lists their lanes as they start."""

    def __init__(self) -> None:
        self.lanes = Lanes()
        self.started: list[Lane] = []
        self.most = dict.fromkeys(Lane, 0)
        self._now = dict.fromkeys(Lane, 0)

    def ask(self, lane: Lane, number: int = 1) -> list[asyncio.Task[None]]:
        """So many requests at once."""
        with in_lane(lane):
            return [asyncio.create_task(self.one(lane)) for _ in range(number)]

    async def one(self, lane: Lane) -> None:
        """A request of the running task, noted as of a lane."""
        async with self.lanes.slot():
            self.started.append(lane)
            self._now[lane] += 1
            self.most[lane] = max(self.most[lane], self._now[lane])
            try:
                await asyncio.sleep(1)
            finally:
                self._now[lane] -= 1


async def settle() -> None:
    """Lets every task run that can, without time passing."""
    for _ in range(5):
        await asyncio.sleep(0)


async def done(tasks: Iterable[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)


@in_virtual_time
async def test_a_repair_starts_at_once_whatever_else_is_to_be_done() -> None:
    traffic = Traffic()
    others = [*traffic.ask(Lane.REPORT, MANY), *traffic.ask(Lane.SYNC, MANY)]
    await settle()
    before = len(traffic.started)

    repairs = traffic.ask(Lane.REPAIR, LIMITS[Lane.REPAIR])
    await settle()

    assert traffic.started[before:] == [Lane.REPAIR] * LIMITS[Lane.REPAIR]
    await done([*others, *repairs])


@in_virtual_time
async def test_every_lane_keeps_to_its_limit() -> None:
    traffic = Traffic()

    await done([task for lane in Lane for task in traffic.ask(lane, MANY)])

    assert traffic.most == LIMITS
    assert len(traffic.started) == MANY * len(Lane)


@in_virtual_time
async def test_while_the_more_urgent_have_enough_to_do_one_of_the_others_goes_on() -> None:
    traffic = Traffic()
    tasks = [task for lane in Lane for task in traffic.ask(lane, MANY)]

    await asyncio.sleep(5.5)  # each request takes a second: the sixth of each lane's rounds

    rounds = 6
    assert traffic.started.count(Lane.REPAIR) == rounds * LIMITS[Lane.REPAIR]
    assert traffic.started.count(Lane.SYNC) == traffic.started.count(Lane.REPORT) == rounds
    await done(tasks)


@in_virtual_time
async def test_a_report_waits_for_what_is_under_way_of_a_sync() -> None:
    traffic = Traffic()
    syncs = traffic.ask(Lane.SYNC, LIMITS[Lane.REPORT] - 1)
    await settle()

    reports = traffic.ask(Lane.REPORT, MANY)
    await settle()

    assert traffic.started.count(Lane.REPORT) == 1
    await done([*syncs, *reports])


@pytest.mark.parametrize("lane", list(Lane))
def test_cancelled_requests_leave_every_slot_behind(lane: Lane) -> None:
    @in_virtual_time
    async def check() -> None:
        traffic = Traffic()
        tasks = traffic.ask(lane, 2 * LIMITS[lane])
        await settle()
        flying, waiting = tasks[: LIMITS[lane]], tasks[LIMITS[lane] :]
        for task in (*waiting[::2], *flying):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        before = len(traffic.started)

        again = traffic.ask(lane, LIMITS[lane])
        await settle()

        assert len(traffic.started) - before == LIMITS[lane]
        await done(again)

    check()


@in_virtual_time
async def test_a_request_that_is_cancelled_as_its_turn_comes_passes_it_on() -> None:
    lanes = Lanes(dict.fromkeys(Lane, 1))
    release = asyncio.Event()

    async def hold() -> None:
        async with lanes.slot():
            await release.wait()

    holding = asyncio.create_task(hold())
    await settle()
    next_one, last = asyncio.create_task(hold()), asyncio.create_task(hold())
    await settle()

    release.set()
    await asyncio.sleep(0)  # the first one ends and gives its slot to the next one, which has not run yet
    next_one.cancel()
    await asyncio.wait({holding, next_one, last})

    assert next_one.cancelled()
    assert not last.cancelled()


@in_virtual_time
async def test_tasks_of_a_block_are_of_its_lane_and_those_after_it_are_not() -> None:
    traffic = Traffic()

    async def many() -> None:
        await asyncio.gather(*(traffic.one(Lane.REPORT) for _ in range(MANY)))

    with in_lane(Lane.REPORT):
        reports = asyncio.create_task(many())
    await settle()
    assert len(traffic.started) == LIMITS[Lane.REPORT]

    syncs = [asyncio.create_task(traffic.one(Lane.SYNC)) for _ in range(MANY)]
    await settle()
    assert len(traffic.started) == LIMITS[Lane.REPORT] + LIMITS[Lane.SYNC]
    await asyncio.gather(reports, *syncs)
