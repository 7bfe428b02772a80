"""Who leads: every cell of the decision, and replicas that are killed, cut off, frozen and told to stop.

Time is virtual, so no test waits; the API server is the one in memory, reached by a line that a test can break.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.client import REQUEST_TIMEOUT, Connection, KubeClient, Response
from controller.cluster.installation import Installation
from controller.cluster.lanes import LIMITS, Lane
from controller.cluster.lease import LAST_GOOD, Claim, Leadership, Lease, LeaseSettings, claim
from controller.errors import ClusterError
from controller.gatekeeper.naming import OwnershipMarks
from tests.unit.fake_api import FakeApi, status
from tests.unit.virtual_time import clock, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

NAMESPACE: Final = "azpolicy"
SETTINGS: Final = LeaseSettings(namespace=NAMESPACE, identity="one")
DURATION: Final = SETTINGS.duration
LATEST: Final = SETTINGS.renew_every * 1.1
START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Break(StrEnum):
    """What is wrong with a line."""

    NOTHING = "nothing"
    SILENT = "requests go nowhere and nothing comes back"
    ANSWERLESS = "requests are carried out and their answers are lost"
    REFUSED = "connections are refused"


class Line(KubeClient):
    """One replica's way to the shared server."""

    def __init__(
        self, server: FakeApi, *, fence: Callable[[], float] | None = None, limits: Mapping[Lane, int] = LIMITS
    ) -> None:
        super().__init__(Connection(), fence=fence, limits=limits)
        self.api = server
        self.broken = Break.NOTHING
        self.delay = 0.0
        self.sent: list[float] = []

    async def _once(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, *, by_metadata: bool
    ) -> Response:
        self.sent.append(clock())
        await asyncio.sleep(self.delay)
        if self.broken is Break.SILENT:
            await asyncio.Event().wait()
        if self.broken is Break.REFUSED:
            raise ConnectionRefusedError("connection refused")
        answer = await self.api._once(method, path, query, body, by_metadata=by_metadata)
        if self.broken is Break.ANSWERLESS:
            await asyncio.Event().wait()
        return answer


class Replica:
    """An elector, its line, and the work that it does while it leads."""

    def __init__(self, server: FakeApi, identity: str, *, ahead: timedelta = timedelta(), **settings: Any) -> None:
        self.line = Line(server)
        self.settings = LeaseSettings(namespace=NAMESPACE, identity=identity, **settings)
        self.leadership = Leadership(
            self.line, self.settings, clock=clock, now=lambda: START + ahead + timedelta(seconds=clock())
        )
        self.working = False
        self.spells: list[float] = []
        self.ends = asyncio.Event()
        self.error: Exception | None = None
        self.cleanup = 0.0
        self.began: Callable[[], None] = lambda: None
        self.task: asyncio.Task[None] | None = None

    async def work(self) -> None:
        self.working = True
        self.spells.append(clock())
        self.began()
        try:
            await self.ends.wait()
            if self.error:
                raise self.error
        finally:
            await asyncio.sleep(self.cleanup)
            self.working = False

    def start(self) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self.leadership.lead(self.work))
        return self.task

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def lost_power(self) -> None:
        """It is gone without a word: nothing that it sends arrives any more."""
        self.line.broken = Break.SILENT


async def until(check: Callable[[], bool], seconds: float = 60.0) -> float:
    """Waits for a condition; at what time it held."""
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110 - the conditions are not events
            await asyncio.sleep(0.01)
    return clock()


@contextlib.asynccontextmanager
async def replicas(*all_of: Replica) -> AsyncIterator[None]:
    """Starts the replicas in this order, the first leads; stops them at the end."""
    for each in all_of:
        each.start()
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        for each in all_of:
            await each.stop()


async def stored(server: FakeApi) -> Lease:
    manifest = await server.get(SETTINGS.path)
    assert manifest is not None
    return Lease.of(manifest)


def lease(holder: str = "other", **spec: Any) -> Lease:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 10, **spec}
    return Lease.of({"metadata": {"name": "azure-policy-sync"}, "spec": spec})


# --- may it be taken -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "unchanged", "answer"),
    [
        (None, 0.0, Claim.ABSENT),
        (lease(""), 0.0, Claim.FREE),
        (Lease.of({"metadata": {}}), 0.0, Claim.FREE),
        (lease("one"), 0.0, Claim.OURS),
        (lease("one"), 100.0, Claim.OURS),
        (lease("other"), 9.999, Claim.HELD),
        (lease("other"), 10.0, Claim.EXPIRED),
        (lease("other", leaseDurationSeconds=60), 10.0, Claim.HELD),
        (lease("other", leaseDurationSeconds=None), 9.999, Claim.HELD),
        (lease("other", leaseDurationSeconds=None), 10.0, Claim.EXPIRED),
        (lease("other", renewTime="1999-01-01T00:00:00.000000Z"), 0.0, Claim.HELD),
    ],
)
def test_each_cell_of_the_decision(seen: Lease | None, unchanged: float, answer: Claim) -> None:
    assert claim(seen, "one", unchanged) is answer


# --- one replica -----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_first_replica_makes_the_lease_and_works() -> None:
    server = FakeApi()
    one = Replica(server, "one")

    async with replicas(one):
        made = await stored(server)

        assert one.working
        assert one.leadership.is_leading
        assert one.leadership.holder == "one"
        assert made.manifest["spec"] == {
            "holderIdentity": "one",
            "leaseDurationSeconds": 10,
            "acquireTime": "2026-03-01T12:00:00.000000Z",
            "renewTime": "2026-03-01T12:00:00.000000Z",
            "leaseTransitions": 0,
        }


@in_virtual_time
async def test_a_leader_renews_and_nothing_else_is_written_or_read() -> None:
    server = FakeApi()
    one = Replica(server, "one")

    async with replicas(one):
        await asyncio.sleep(100)

        renewed = await stored(server)
        assert {call.method for call in server.calls[2:-1]} == {"PUT"}
        assert 100 / LATEST - 1 <= server.count("PUT") <= 100 / (SETTINGS.renew_every * 0.9) + 1
        assert renewed.acquired == "2026-03-01T12:00:00.000000Z"
        assert renewed.renewed > "2026-03-01T12:01:37"
        assert renewed.transitions == 0
        assert len(one.spells) == 1


@in_virtual_time
async def test_writing_is_safe_for_two_thirds_of_the_lease_from_when_a_renewal_was_sent() -> None:
    one = Replica(FakeApi(), "one")
    one.line.delay = 1.5

    async with replicas(one):
        await until(lambda: one.working)
        sent = one.line.sent[1]

        assert clock() - sent >= 1.5
        assert one.leadership.remaining() == pytest.approx(sent + DURATION * 2 / 3 - clock())


@in_virtual_time
async def test_a_cancelled_leader_ends_its_work_and_then_gives_the_lease_up() -> None:
    server = FakeApi()
    one = Replica(server, "one")
    one.cleanup = 30.0

    async with replicas(one):
        await asyncio.sleep(3)
    left = await stored(server)

    assert not one.working
    assert not one.leadership.is_leading
    assert left.holder == ""
    assert left.renewed >= "2026-03-01T12:00:33"
    assert left.acquired == "2026-03-01T12:00:00.000000Z"
    assert server.count("PUT") > 30 / LATEST  # renewed while the work was ending


@in_virtual_time
async def test_giving_up_the_lease_takes_no_longer_than_two_seconds(caplog: pytest.LogCaptureFixture) -> None:
    one = Replica(FakeApi(), "one")
    async with replicas(one):
        one.line.broken = Break.SILENT
        begun = clock()

    assert clock() - begun == pytest.approx(2.0)
    assert "no answer in time" in caplog.text


@in_virtual_time
async def test_nothing_is_safe_any_more_from_when_giving_up_the_lease_was_sent() -> None:
    """The next leader may be at work before the answer is there, or without one."""
    server = FakeApi()
    one = Replica(server, "one")
    async with replicas(one):
        one.line.broken = Break.ANSWERLESS
        stopping = asyncio.create_task(one.stop())
        await until(lambda: server.count("PUT") == 1)

        assert one.leadership.remaining() == 0
        await stopping


@in_virtual_time
async def test_a_renewal_whose_answer_was_lost_does_not_keep_the_lease_from_being_given_up() -> None:
    server = FakeApi()
    one = Replica(server, "one")

    async with replicas(one):
        one.line.broken = Break.ANSWERLESS
        await until(lambda: server.count("PUT") == 1)
        one.line.broken = Break.NOTHING
    left = await stored(server)

    assert left.holder == ""


@in_virtual_time
async def test_work_that_ends_gives_the_lease_up() -> None:
    server = FakeApi()
    one = Replica(server, "one")
    task = one.start()
    await until(lambda: one.working)

    one.ends.set()
    await task

    assert (await stored(server)).holder == ""


@in_virtual_time
async def test_work_that_raises_gives_the_lease_up_and_its_error_is_passed_on() -> None:
    server = FakeApi()
    one = Replica(server, "one")
    one.error = ValueError("a bug")
    task = one.start()
    await until(lambda: one.working)

    one.ends.set()
    with pytest.raises(ValueError, match="a bug"):
        await task

    assert (await stored(server)).holder == ""


@in_virtual_time
async def test_an_error_of_work_that_is_being_stopped_is_passed_on() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("a bug")

    one = Replica(FakeApi(), "one")
    task = asyncio.create_task(one.leadership.lead(work))
    await until(lambda: one.leadership.is_leading)

    task.cancel()
    with pytest.raises(ValueError, match="a bug"):
        await task


@pytest.mark.parametrize("broken", [Break.SILENT, Break.ANSWERLESS, Break.REFUSED])
@in_virtual_time
async def test_a_leader_that_cannot_renew_stops_its_work_in_time_and_works_again_afterwards(broken: Break) -> None:
    one = Replica(FakeApi(), "one")

    async with replicas(one):
        await until(lambda: len(one.line.sent) == 4)
        renewed = clock()
        one.line.broken = broken
        stopped = await until(lambda: not one.working)
        await asyncio.sleep(60)
        assert not one.working
        one.line.broken = Break.NOTHING
        again = await until(lambda: one.working)

    assert stopped == pytest.approx(renewed + DURATION * 2 / 3, abs=0.03)
    assert again - renewed <= 60 + DURATION + LATEST + SETTINGS.request_seconds


@in_virtual_time
async def test_one_request_that_hangs_costs_no_leadership() -> None:
    """The next one goes out while there is time."""
    server = FakeApi()
    one = Replica(server, "one")

    async with replicas(one):
        await until(lambda: len(one.line.sent) == 4)
        one.line.broken = Break.SILENT
        await until(lambda: len(one.line.sent) == 5)
        await asyncio.sleep(0.01)
        one.line.broken = Break.NOTHING
        await asyncio.sleep(60)

        assert len(one.spells) == 1
        assert (await stored(server)).transitions == 0


@in_virtual_time
async def test_a_server_that_refuses_is_told_of_once_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    server = FakeApi()
    server.at("GET", "/leases/azure-policy-sync", status(403, "leases is forbidden", "Forbidden"), times=5)
    one = Replica(server, "one")

    async with replicas(one):
        await until(lambda: one.working)

    assert [record.levelname for record in caplog.records if "leases is forbidden" in record.message] == ["WARNING"]


@in_virtual_time
async def test_a_missing_namespace_is_told(caplog: pytest.LogCaptureFixture) -> None:
    server = FakeApi()
    server.at("POST", "/leases", status(404, 'namespaces "azpolicy" not found', "NotFound"))
    one = Replica(server, "one")

    async with replicas(one):
        assert not one.working

    assert 'namespaces "azpolicy" not found' in caplog.text


# --- two and more ----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_one_works_and_the_other_stands_by(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "azpolicy")
    server = FakeApi()
    one, two = Replica(server, "one"), Replica(server, "two")

    async with replicas(one, two):
        await asyncio.sleep(300)

        assert one.working
        assert not two.spells
        assert two.leadership.remaining() == 0
        assert two.leadership.holder == "one"
        assert server.count("PUT") == len(one.line.sent) - 2
    assert caplog.text.count("standing by holder=one") == 1


@in_virtual_time
async def test_of_two_that_take_the_lease_at_once_one_gets_it() -> None:
    server = FakeApi()
    one, two = Replica(server, "one"), Replica(server, "two")
    one.line.delay = two.line.delay = 0.1

    tasks = one.start(), two.start()
    await until(lambda: one.working or two.working)
    await asyncio.sleep(1)

    assert one.working != two.working
    assert all(not task.done() for task in tasks)
    await one.stop()
    await two.stop()


@in_virtual_time
async def test_a_leader_that_was_killed_is_replaced_within_fifteen_seconds() -> None:
    server = FakeApi()
    for kill in range(20):
        one, two = Replica(server, f"one-{kill}"), Replica(server, f"two-{kill}")
        async with replicas(one, two):
            await asyncio.sleep(5 + kill / 7)
            one.lost_power()
            killed = clock()
            replaced = await until(lambda: two.working)  # noqa: B023 - awaited here

            assert replaced - killed <= DURATION + LATEST + 0.02
            assert not one.working


@in_virtual_time
async def test_a_leader_that_was_told_to_stop_is_replaced_at_the_next_look() -> None:
    server = FakeApi()
    one, two = Replica(server, "one"), Replica(server, "two")

    async with replicas(one, two):
        await asyncio.sleep(5)
        await one.stop()
        stopped = clock()
        replaced = await until(lambda: two.working)
        taken = await stored(server)

        assert replaced - stopped <= LATEST + 0.02
        assert taken.transitions == 1
        assert taken.holder == "two"
        assert taken.acquired > "2026-03-01T12:00:05"


@pytest.mark.parametrize("ahead", [timedelta(days=-400), timedelta(days=400)])
@in_virtual_time
async def test_a_wall_clock_that_is_wrong_changes_nothing(ahead: timedelta) -> None:
    server = FakeApi()
    one, two = Replica(server, "one", ahead=ahead), Replica(server, "two")

    async with replicas(one, two):
        await asyncio.sleep(60)
        assert not two.spells
        one.lost_power()
        killed = clock()
        assert await until(lambda: two.working) - killed <= DURATION + LATEST + 0.02


@in_virtual_time
async def test_a_lease_is_waited_for_as_long_as_its_holder_said() -> None:
    server = FakeApi()
    one, two = Replica(server, "one", duration=40.0), Replica(server, "two")

    async with replicas(one, two):
        one.lost_power()
        killed = clock()
        assert await until(lambda: two.working) - killed > 40 - LATEST


@in_virtual_time
async def test_a_leader_whose_lease_another_took_stops_at_once() -> None:
    """However it came to that: nothing may write under a lease that names somebody else."""
    server = FakeApi()
    one = Replica(server, "one")

    async with replicas(one):
        taken = dict((await stored(server)).manifest)
        taken["spec"] = {**taken["spec"], "holderIdentity": "two"}
        await server.request("PUT", SETTINGS.path, body=taken)
        stopped = await until(lambda: not one.working)

        assert stopped <= LATEST + 0.05
        assert one.leadership.holder == "two"
        assert await until(lambda: one.working) - stopped >= DURATION - 0.02


@in_virtual_time
async def test_a_leader_whose_lease_was_deleted_makes_it_again() -> None:
    server = FakeApi()
    one = Replica(server, "one")

    async with replicas(one):
        made = await stored(server)
        await server.request("DELETE", SETTINGS.path, body={"preconditions": {"uid": made.manifest["metadata"]["uid"]}})
        await asyncio.sleep(LATEST + 0.01)

        assert (await stored(server)).holder == "one"
        assert len(one.spells) == 1


@pytest.mark.parametrize("seed", range(4))
@in_virtual_time
async def test_whatever_breaks_two_never_lead_at_once_and_in_the_end_one_does(seed: int) -> None:
    rng = random.Random(seed)
    server = FakeApi()
    three = [Replica(server, name, ahead=timedelta(seconds=rng.uniform(-1e6, 1e6))) for name in ("one", "two", "three")]
    leaders: list[list[str]] = []

    def began() -> None:
        leaders.append([each.settings.identity for each in three if each.working or each.leadership.is_leading])

    async with replicas(*three):
        for each in three:
            each.began = began
        for _ in range(60):
            for each in three:
                each.line.broken = rng.choice([*Break, Break.NOTHING, Break.NOTHING])
                each.line.delay = rng.choice([0.0, 0.0, 0.5, 2.0])
            await asyncio.sleep(rng.uniform(0.5, 25))
        for each in three:
            each.line.broken, each.line.delay = Break.NOTHING, 0.0
        await asyncio.sleep(DURATION + 2 * LATEST)

        assert sum(each.working for each in three) == 1
    assert all(len(those) == 1 for those in leaders)
    assert len({identity for (identity,) in leaders}) > 1


# --- the time of the last good sync ----------------------------------------------------------------------------------


@in_virtual_time
async def test_the_time_of_the_last_good_sync_is_written_by_renewals_and_read_by_the_next_leader() -> None:
    server = FakeApi()
    one, two = Replica(server, "one"), Replica(server, "two")
    good = datetime(2026, 3, 1, 11, 59, 1, 250000, tzinfo=UTC)

    async with replicas(one, two):
        assert one.leadership.last_good is None
        await until(lambda: server.count("PUT") == 1)
        writes = server.count("PUT")
        one.leadership.note(good)
        assert server.count("PUT") == writes
        await asyncio.sleep(LATEST)
        noted = (await stored(server)).manifest["metadata"]["annotations"]
        await one.stop()
        await until(lambda: two.working)

        assert noted[LAST_GOOD] == "2026-03-01T11:59:01.250000Z"
        assert two.leadership.last_good == good
        two.leadership.note(None)
        await asyncio.sleep(LATEST)
        assert (await stored(server)).last_good == good


@in_virtual_time
async def test_a_time_noted_while_a_renewal_is_under_way_is_written_by_the_next() -> None:
    server = FakeApi()
    one = Replica(server, "one")
    async with replicas(one):
        one.line.delay = 0.5
        await until(lambda: len(one.line.sent) == 3)
        one.leadership.note(START)
        await asyncio.sleep(1 + LATEST)

        assert one.leadership.last_good == START
        assert (await stored(server)).last_good == START


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-03-01"])
def test_a_time_that_somebody_broke_is_none(text: str) -> None:
    broken = Lease.of({"metadata": {"annotations": {LAST_GOOD: text}}, "spec": {}})

    assert broken.last_good is None


# --- the fence -------------------------------------------------------------------------------------------------------

CONFIG_MAPS: Final = "/api/v1/namespaces/azpolicy/configmaps"
MANIFEST: Final = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "thing"}}


def fenced(left: Callable[[], float], **options: Any) -> Line:
    return Line(FakeApi(), fence=left, **options)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@in_virtual_time
async def test_nothing_is_written_behind_the_fence(method: str) -> None:
    line = fenced(lambda: 0.0)

    with pytest.raises(ClusterError) as refused:
        await line.request(method, CONFIG_MAPS, body=MANIFEST)

    assert refused.value.reason == "NotLeading"
    assert line.sent == []


@in_virtual_time
async def test_reads_and_dry_runs_go_through_the_fence() -> None:
    line = fenced(lambda: 0.0)

    answer = await line.request("POST", CONFIG_MAPS, query={"dryRun": "All"}, body=MANIFEST)

    assert answer.ok
    assert await line.get(f"{CONFIG_MAPS}/thing") is None


@in_virtual_time
async def test_a_write_that_hangs_is_given_up_when_the_fence_closes() -> None:
    line = fenced(lambda: 5.0 - clock())
    line.broken = Break.SILENT

    with pytest.raises(ClusterError, match="no answer in time"):
        await line.request("POST", CONFIG_MAPS, body=MANIFEST)

    assert clock() == pytest.approx(5.0)


@in_virtual_time
async def test_the_fence_makes_no_request_longer_than_it_is() -> None:
    line = fenced(lambda: 1e9)
    line.broken = Break.SILENT

    with pytest.raises(ClusterError, match="no answer in time"):
        await line.request("POST", CONFIG_MAPS, body=MANIFEST)

    assert clock() == pytest.approx(REQUEST_TIMEOUT)


@in_virtual_time
async def test_a_write_that_waited_for_its_turn_until_the_fence_closed_is_not_sent() -> None:
    line = fenced(lambda: 5.0 - clock(), limits={**LIMITS, Lane.SYNC: 1})
    line.delay = 10.0
    reading = asyncio.create_task(line.get(f"{CONFIG_MAPS}/thing"))
    await asyncio.sleep(0)

    with pytest.raises(ClusterError) as refused:
        await line.request("POST", CONFIG_MAPS, body=MANIFEST)

    assert refused.value.reason == "NotLeading"
    assert len(line.sent) == 1
    await reading


@in_virtual_time
async def test_a_write_is_not_repeated_after_the_fence_closed() -> None:
    line = fenced(lambda: 5.0 - clock())
    line.api.at("POST", "/configmaps", status(429, "later", retry_after=8.0))

    with pytest.raises(ClusterError) as refused:
        await line.request("POST", CONFIG_MAPS, body=MANIFEST)

    assert refused.value.reason == "NotLeading"
    assert len(line.sent) == 1


@in_virtual_time
async def test_without_a_fence_all_is_written() -> None:
    line = Line(FakeApi())

    assert (await line.request("POST", CONFIG_MAPS, body=MANIFEST)).ok


# --- two installations in one namespace ------------------------------------------------------------------------------


FIRST: Final = Installation(OwnershipMarks(), f"{NAMESPACE}/first")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (Installation(OwnershipMarks(), f"{NAMESPACE}/second"), f"of the installation in {NAMESPACE}/first, and"),
        (Installation(OwnershipMarks("team-b"), f"{NAMESPACE}/second"), "with --managed-by azure-policy-sync in azp"),
        (Installation(OwnershipMarks("team-b"), f"{NAMESPACE}/first"), "and this one has --managed-by team-b: use"),
    ],
    ids=["another release", "another release with another managed-by", "another managed-by"],
)
@in_virtual_time
async def test_who_stands_by_for_another_installation_says_so(
    second: Installation, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = FakeApi()
    one, two = Replica(server, "one", installation=FIRST), Replica(server, "two", installation=second)

    async with replicas(one, two):
        await asyncio.sleep(60)

        assert two.spells == []
        assert said in two.leadership.held_by_another
        assert f"the Lease {NAMESPACE}/azure-policy-sync is held by one of" in two.leadership.held_by_another
        errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        assert len(errors) == 1
        assert said in errors[0]
        assert one.leadership.held_by_another == ""


@pytest.mark.parametrize(
    "second",
    [FIRST, Installation(OwnershipMarks("new", frozenset({FIRST.marks.managed_by})), FIRST.place)],
    ids=["the same", "one that adopts the holder's"],
)
@in_virtual_time
async def test_who_stands_by_for_its_own_installation_waits_quietly(second: Installation) -> None:
    server = FakeApi()
    one, two = Replica(server, "one", installation=FIRST), Replica(server, "two", installation=second)

    async with replicas(one, two):
        await asyncio.sleep(3)

        assert two.leadership.holder == "one"
        assert two.leadership.held_by_another == ""


@in_virtual_time
async def test_a_lease_of_an_older_version_names_no_installation_and_is_waited_for() -> None:
    server = FakeApi()
    held = {"holderIdentity": "old", "leaseDurationSeconds": 10, "renewTime": "2026-03-01T12:00:00.000000Z"}
    server.place(SETTINGS.path, {"kind": "Lease", "metadata": {"name": "azure-policy-sync"}, "spec": held})
    one = Replica(server, "one", installation=FIRST)

    async with replicas(one):
        await asyncio.sleep(1)

        assert one.leadership.holder == "old"
        assert one.leadership.held_by_another == ""
        await until(lambda: one.working)
        assert (await stored(server)).place == FIRST.place
