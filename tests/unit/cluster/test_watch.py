"""Watchers in virtual time: what they tell, what they keep to themselves, and how they come back."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from controller.cluster.kinds import TEMPLATE, LiveObject, constraint_kind
from controller.cluster.watch import Watcher
from controller.errors import ClusterError
from tests.unit.cluster_builders import KIND, constraint, live, member, template
from tests.unit.fake_api import FakeApi
from tests.unit.virtual_time import clock, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from controller.cluster.kinds import Resource
    from controller.gatekeeper.model import ObjectRef

ONE = constraint(by=member("one"))
KINDS = constraint_kind(KIND)


class Watched:
    """What a watcher told: changes, and every event that it observed."""

    def __init__(self) -> None:
        self.changed: list[tuple[ObjectRef, LiveObject | None]] = []
        self.observed = 0

    def take(self, ref: ObjectRef, now: LiveObject | None) -> None:
        """A change."""
        self.changed.append((ref, now))

    def observe(self, ref: ObjectRef, now: LiveObject | None) -> None:  # noqa: ARG002 - only counted
        """Any event."""
        self.observed += 1


@contextlib.asynccontextmanager
async def watching(api: FakeApi, kind: Resource = KINDS, position: str = "") -> AsyncIterator[Watched]:
    """A watcher at work until the block ends; the block begins when its watch is open."""
    told = Watched()
    task = asyncio.ensure_future(Watcher(api, kind, told.take, position=position, observed=told.observe).run())
    await asyncio.sleep(0.5)
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.wait({task})


def populated() -> FakeApi:
    """An API server with a template and a constraint of it."""
    api = FakeApi()
    api.put(live(template()))
    api.put(live(ONE))
    return api


def watches(api: FakeApi) -> int:
    """How many watches were opened."""
    return sum(call.method == "WATCH" for call in api.calls)


@in_virtual_time
async def test_a_first_listing_an_edit_and_a_deletion_are_changes() -> None:
    api = populated()
    async with watching(api) as told:
        api.edit(ONE.ref, enforcementAction="dryrun")
        await asyncio.sleep(0.1)
        api.remove(ONE.ref)
        await asyncio.sleep(0.1)

    specs = [now.manifest["spec"]["enforcementAction"] if now else None for _, now in told.changed]
    assert specs == ["deny", "dryrun", None]


@in_virtual_time
async def test_a_change_of_the_status_alone_is_observed_and_no_change() -> None:
    api = populated()
    async with watching(api) as told:
        before = told.observed
        for _ in range(10):
            api.touch(ONE.ref)
        await asyncio.sleep(0.1)

    assert told.observed == before + 10
    assert len(told.changed) == 1


@in_virtual_time
async def test_after_a_watch_that_is_too_old_a_list_tells_what_was_missed() -> None:
    api = populated()
    async with watching(api) as told:
        api.at("GET", KINDS.path(), act=lambda: api.remove(ONE.ref))
        api.break_watch(KINDS, ClusterError("too old resource version", status=410))
        await asyncio.sleep(5)

    assert [now is None for _, now in told.changed] == [False, True]


@in_virtual_time
async def test_a_watch_goes_on_from_where_the_last_one_ended() -> None:
    api = populated()
    async with watching(api) as told:
        await asyncio.sleep(1000)
        api.edit(ONE.ref, enforcementAction="dryrun")
        await asyncio.sleep(0.1)

    assert watches(api) > 3
    assert sum(call.method == "GET" for call in api.calls) == 1
    assert len(told.changed) == 2


@in_virtual_time
async def test_a_kind_that_goes_is_news_of_its_objects_and_one_that_comes_back_is_watched_again() -> None:
    api = populated()
    async with watching(api) as told:
        api.remove(ONE.ref)
        api.remove(template().ref)
        api.break_watch(KINDS, ClusterError("gone", status=404))
        await asyncio.sleep(30)
        assert told.changed[-1] == (ONE.ref, None)

        api.put(live(template()))
        api.put(live(ONE))
        await asyncio.sleep(10)

        assert told.changed[-1][1] is not None


@in_virtual_time
async def test_a_server_that_refuses_every_watch_is_asked_ever_more_slowly() -> None:
    api = populated()
    async with watching(api, TEMPLATE):
        end = clock() + 60
        while clock() < end:
            api.break_watch(TEMPLATE, ClusterError("no", status=500))
            await asyncio.sleep(0.05)

        assert watches(api) < 25
