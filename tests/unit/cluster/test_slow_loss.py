"""The safety stop over time: many small losses are limited as one large one, whatever lies between the readings."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.cluster.changes import Create, Delete, DeleteReason, Plan, Refuse
from controller.cluster.cluster_record import LOST, NAME, ClusterRecord, Recorded
from controller.cluster.installation import Installation
from controller.cluster.plan import make_plan
from controller.cluster.prune import WINDOW, PruneLimit, lost_after
from controller.gatekeeper.naming import RECORD_NAMESPACE
from tests.unit.cluster_builders import MARKS, constraint, desired_state, inventory, live, member, template
from tests.unit.fake_api import FakeApi, status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from controller.cluster.changes import Change

START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEMPLATE: Final = template()
LIMIT: Final = PruneLimit()
NAMES: Final = tuple(f"a{number}" for number in range(40))
OBJECTS: Final = {name: constraint(by=member(name)) for name in NAMES}
RECORD: Final = f"/api/v1/namespaces/{RECORD_NAMESPACE}/configmaps/{NAME}"


@dataclass
class World:
    """A cluster under one reading after another; each is read and written by a process of its own."""

    there: set[str] = field(default_factory=set)
    lost: dict[str, datetime] = field(default_factory=dict)
    seen: dict[str, datetime] = field(default_factory=dict)
    now: datetime = START
    api: FakeApi = field(default_factory=FakeApi)

    async def read(self, listed: Iterable[str], gone: Iterable[str] = (), *, forced: bool = False) -> Counter[type]:
        """Carries out what follows from a reading; how many changes of each type that were."""
        wanted = [OBJECTS[name] for name in listed]
        desired = desired_state(TEMPLATE, *wanted, gone=gone)
        record = ClusterRecord(self.api, Installation(MARKS), now=lambda: self.now)
        recorded = await record.check(desired.cluster_id)
        limit = recorded.limiting(PruneLimit(forced=forced), self.now)
        objects = [live(TEMPLATE), *(live(OBJECTS[name]) for name in self.there)]
        plan = make_plan(desired, inventory(*objects), MARKS, limit=limit)
        await record.make(plan, forced=forced)
        for change in plan.changes:
            self._done(change)
        self.seen |= dict.fromkeys(self.there, self.now)
        return Counter(type(change) for change in plan.changes)

    def _done(self, change: Change) -> None:
        name = next((name for name, each in OBJECTS.items() if each.ref == _ref(change)), "")
        if isinstance(change, Create):
            self.there.add(name)
            self.lost.pop(name, None)
        elif isinstance(change, Delete):
            self.there.discard(name)
            self.seen[name] = self.now
            if change.reason is DeleteReason.UNLISTED:
                self.lost[name] = self.now

    def within(self, moments: dict[str, datetime]) -> int:
        return sum(self.now - moment < WINDOW for moment in moments.values())


def _ref(change: Change) -> object:
    return change.live.ref if isinstance(change, Delete | Refuse) else getattr(change, "desired", TEMPLATE).ref


READINGS: Final = st.lists(
    st.tuples(
        st.integers(1, 600).map(lambda minutes: timedelta(minutes=minutes)),
        st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5]),  # how much of it is missing
        st.sampled_from([0.0, 0.0, 0.5, 1.0]),  # how much of that is proven
        st.randoms(use_true_random=False),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(READINGS)
def test_no_sequence_of_readings_takes_more_than_the_limit_within_a_window(readings: list[tuple]) -> None:  # type: ignore[type-arg]
    async def check() -> None:
        world = World()
        await world.read(NAMES)
        for passed, missing, proven, chance in readings:
            world.now += passed
            absent = [name for name in NAMES if chance.random() < missing]
            gone = {name for name in absent if chance.random() < proven}
            listed = [name for name in NAMES if name not in absent]

            await world.read(listed, gone)

            # What was taken without proof and is not back, of all that was there within the window.
            assert world.within(world.lost) <= max(9, 0.3 * world.within(world.seen))
            assert not world.there & gone

    asyncio.run(check())


async def test_a_quarter_at_each_reading_takes_no_more_than_the_limit_in_a_day() -> None:
    world = World()
    await world.read(NAMES)
    left = list(NAMES)
    for _ in range(16):
        world.now += timedelta(minutes=15)
        left = left[: len(left) * 3 // 4]
        await world.read(left or NAMES[:1])

    assert len(world.there) >= 0.7 * len(NAMES)

    # A day later as many may go again: what is refused stays so until somebody insists.
    world.now += WINDOW
    assert (await world.read(NAMES[:1]))[Delete] == 0


async def test_what_azure_proves_may_go_however_slowly_and_counts_for_nothing() -> None:
    world = World()
    await world.read(NAMES)
    for last in range(len(NAMES) - 1, 9, -1):
        world.now += timedelta(minutes=15)
        await world.read(NAMES[:last], gone=NAMES[last:])

    assert world.there == set(NAMES[:10])
    assert (await world.read(NAMES[:7]))[Delete] == 3


async def test_what_came_back_is_lost_no_more() -> None:
    world = World()
    for _ in range(5):
        await world.read(NAMES)
        world.now += timedelta(minutes=15)
        assert (await world.read(NAMES[:30]))[Delete] == 10


async def test_losses_count_until_the_window_is_over() -> None:
    world = World()
    await world.read(NAMES)
    assert (await world.read(NAMES[:30]))[Delete] == 10
    world.now += WINDOW - timedelta(minutes=1)
    assert (await world.read(NAMES[:25]))[Refuse] == 5
    await world.read(NAMES[:30])

    world.now += timedelta(minutes=2)

    assert (await world.read(NAMES[:25]))[Delete] == 5


async def test_a_forced_deletion_begins_the_count_anew() -> None:
    world = World()
    await world.read(NAMES)
    await world.read(NAMES[:30])
    assert (await world.read(NAMES[:20]))[Refuse] == 10

    assert (await world.read(NAMES[:20], forced=True))[Delete] == 10

    assert LOST not in world.api.read(RECORD)["data"]
    assert (await world.read(NAMES[:14]))[Delete] == 6


async def test_a_refusal_says_what_was_deleted_before() -> None:
    changes = make_plan(
        desired_state(TEMPLATE, *(OBJECTS[name] for name in NAMES[:12])),
        inventory(live(TEMPLATE), *(live(OBJECTS[name]) for name in NAMES[:15])),
        MARKS,
        limit=PruneLimit(lost=frozenset(f"gone/{number}" for number in range(4))),
    )

    [refused, *_] = changes.of(Refuse)
    assert isinstance(refused, Refuse)
    assert refused.message.startswith(
        "3 of 16 managed objects would be deleted after 4 in the last 24 hours, and Azure does not prove that"
    )


async def test_losses_are_recorded_before_the_first_write_although_another_is_faster() -> None:
    api = FakeApi()
    record = ClusterRecord(api, Installation(MARKS), now=lambda: START)
    desired = desired_state(TEMPLATE)
    await record.make(Plan(desired.cluster_id, (Create(OBJECTS["a0"]),)))
    api.at("PUT", NAME, status(409, "somebody was faster", "Conflict"))

    await record.make(Plan(desired.cluster_id, (Delete(live(OBJECTS["a0"]), DeleteReason.UNLISTED, ""),)))

    written = json.loads(api.read(RECORD)["data"][LOST])
    assert written == {str(OBJECTS["a0"].ref): "2026-03-01T12:00:00Z"}


async def test_nothing_is_written_because_a_loss_is_forgotten() -> None:
    world = World()
    await world.read(NAMES)
    await world.read(NAMES[:35])
    writes = world.api.count("PUT")
    world.now += 2 * WINDOW

    await world.read(NAMES[:35])

    assert world.api.count("PUT") == writes


@pytest.mark.parametrize("said", ["", "x", "[]", "7", '{"a": 7}', '{"a": "yesterday"}', '{"a": "2026-03-01"}'])
def test_losses_that_somebody_broke_count_as_none(said: str) -> None:
    assert Recorded.of({"data": {LOST: said}}).lost == {}


def test_a_loss_far_ahead_is_of_a_clock_that_was_wrong() -> None:
    assert lost_after({"a": START + 2 * WINDOW, "b": START}, Plan("", ()), START, forced=False) == {"b": START}
