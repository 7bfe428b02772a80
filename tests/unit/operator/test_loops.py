"""The operator's loops in virtual time: what a slow or silent Azure, an edit, a fight or a lost lease does to them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from controller.cluster.apply import Action
from controller.errors import SourceError
from controller.operator.settings import PolicySyncRequests
from controller.report.conditions import Mode, ready
from tests.unit.cluster_builders import constraint, desired_state, foreign, member, template
from tests.unit.fake_api import FakeApi, status
from tests.unit.operator.scripted import SETTINGS, Operator, ScriptedSource, cluster, restored, until
from tests.unit.virtual_time import clock, in_virtual_time

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredObject

TEMPLATE = template()
ONE = constraint(by=member("one"))
TWO = constraint(by=member("two"))


def repairs(api: FakeApi, wanted: DesiredObject) -> int:
    """How many times an object was replaced."""
    return sum(call.method == "PUT" and call.path.endswith(wanted.ref.name) for call in api.calls)


async def last_good_state(api: FakeApi, *objects: DesiredObject) -> None:
    """A first operator reads Azure, enforces what it says, and ends."""
    async with Operator(api, ScriptedSource(desired_state(*objects))).running() as first:
        await until(lambda: first.state.status.settled and restored(api, objects[-1]))
        await until(lambda: "/api/v1/namespaces/azpolicy-system/configmaps/azure-policy-sync-state" in api.paths)


@in_virtual_time
async def test_what_azure_says_is_made_and_then_nothing_more_is_written() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)
        await asyncio.sleep(60)
        writes = len([call for call in api.calls if call.method in ("POST", "PUT", "DELETE")])
        await asyncio.sleep(3600)

        assert len([call for call in api.calls if call.method in ("POST", "PUT", "DELETE")]) == writes
        assert ready(operator.state.status, 0).reason == "InSync"
        assert operator.source.readings >= 4
        assert operator.state.alive()


@in_virtual_time
async def test_while_azure_is_silent_at_the_start_the_last_good_state_is_enforced() -> None:
    api = cluster()
    await last_good_state(api, TEMPLATE, ONE)
    api.remove(ONE.ref)
    source = ScriptedSource(desired_state(TEMPLATE, ONE))
    source.silent = True
    async with Operator(api, source).running() as operator:
        await until(lambda: restored(api, ONE), seconds=20)
        assert operator.state.status.source_error == "the source does not answer"

        api.edit(ONE.ref, enforcementAction="dryrun")

        await until(lambda: restored(api, ONE), seconds=2)
        assert source.readings == 1


@in_virtual_time
async def test_nothing_is_made_while_azure_cannot_be_read_and_nothing_is_known() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(SourceError("Azure answered 503"))).running() as operator:
        await until(lambda: operator.source.readings > 1, seconds=100)

        assert not api.has(ONE.ref)
        assert ready(operator.state.status, 0).reason == "SourceUnreadable"

        operator.source.answer = desired_state(TEMPLATE, ONE)
        await until(lambda: restored(api, ONE), seconds=70)
        assert ready(operator.state.status, 0).reason == "InSync"


@in_virtual_time
async def test_a_failed_reading_keeps_the_last_good_state_and_drift_is_still_repaired() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)
        operator.source.answer = SourceError("Azure answered 503")
        await until(lambda: operator.state.status.source_error, seconds=1000)

        api.remove(ONE.ref)

        await until(lambda: restored(api, ONE), seconds=2)


@in_virtual_time
async def test_a_repair_does_not_wait_for_a_full_sync_under_way() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)
        other = template("K8sSlow")
        slow = constraint("K8sSlow", by=member("slow"))
        # Gatekeeper never takes the new template, so the sync that makes it waits for 90 s.
        api.unheard.add(other.ref.name)
        operator.source.answer = desired_state(TEMPLATE, other, ONE, slow)
        operator.state.requests = PolicySyncRequests(requested_at="now")
        operator.loops.wake()
        await until(lambda: operator.state.status.working)

        api.edit(ONE.ref, enforcementAction="dryrun")

        await until(lambda: restored(api, ONE), seconds=2)
        assert operator.state.status.working


@in_virtual_time
async def test_a_forced_prune_that_half_fails_is_forced_again_under_a_new_digest_only() -> None:
    api = cluster()
    objects = [constraint(by=member(f"a{number}")) for number in range(24)]
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, *objects))).running() as operator:
        await operator.in_sync(TEMPLATE, objects[-1])
        operator.source.answer = desired_state(TEMPLATE, objects[0], listed=("a0",))
        operator.loops.take_requests(PolicySyncRequests(requested_at="first"))
        await until(lambda: operator.state.status.refused_count == 23, seconds=10)
        digest = operator.state.status.refused_digest
        stuck = objects[1:11]
        for each in stuck:
            api.at("DELETE", each.ref.name, status(403, "not now", "Forbidden"))

        operator.loops.take_requests(PolicySyncRequests(requested_at="first", force_prune=digest))

        await until(lambda: operator.state.status.forced_prune == digest, seconds=10)
        assert [each for each in objects if api.has(each.ref)] == [objects[0], *stuck]
        await asyncio.sleep(700)
        left = operator.state.status.refused_digest
        assert all(api.has(each.ref) for each in stuck)
        assert left not in ("", digest)

        operator.loops.take_requests(PolicySyncRequests(requested_at="first", force_prune=left))

        await until(lambda: not any(api.has(each.ref) for each in stuck), seconds=10)
        assert api.has(objects[0].ref)


@in_virtual_time
async def test_a_slow_loss_stops_at_the_limit_although_the_operator_restarts() -> None:
    api = cluster()
    objects = [constraint(by=member(f"a{number}")) for number in range(100)]
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, *objects))).running() as operator:
        await operator.in_sync(TEMPLATE, objects[-1])
    left = len(objects)
    while left > 1:
        left = left * 3 // 4
        async with Operator(api, ScriptedSource(desired_state(TEMPLATE, *objects[:left]))).running() as operator:
            await until(lambda op=operator: op.state.status.settled)  # type: ignore[misc]
            await asyncio.sleep(900)

    assert sum(api.has(each.ref) for each in objects) == 75


@in_virtual_time
async def test_a_replica_that_lost_its_lease_in_the_middle_of_an_apply_writes_nothing_more() -> None:
    api = cluster()
    objects = [constraint(by=member(f"a{number}")) for number in range(8)]
    lease = {"seconds": 10.0}
    api._fence = lambda: lease["seconds"]
    api.at("POST", "/constrainttemplates", act=lambda: lease.update(seconds=0.0))
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, *objects))).running() as operator:
        await until(lambda: operator.state.status.problems, seconds=100)
        await asyncio.sleep(30)

        assert [each for each in objects if api.has(each.ref)] == []

        lease["seconds"] = 10.0

        await until(lambda: all(restored(api, each) for each in objects), seconds=SETTINGS.pace.resync * 1.2)


@in_virtual_time
async def test_a_fight_slows_repairs_down_is_reported_and_ends() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)
        await asyncio.sleep(5)
        before, end = repairs(api, ONE), clock() + 60
        while clock() < end:
            if restored(api, ONE):
                api.edit(ONE.ref, enforcementAction="dryrun")
            await asyncio.sleep(0.1)

        assert repairs(api, ONE) - before <= 12
        assert operator.state.status.fights == (ONE.ref,)
        assert ready(operator.state.status, 0).reason == "Contended"

        await until(lambda: restored(api, ONE), seconds=16)
        await until(lambda: not operator.state.status.fights, seconds=70)
        assert ready(operator.state.status, 0).reason == "InSync"


@in_virtual_time
async def test_a_suspension_holds_edits_back_and_its_end_repairs_them() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)
        end = operator.state.now() + timedelta(seconds=120)
        operator.loops.take_requests(PolicySyncRequests(suspended_until=end))
        await until(lambda: operator.state.status.mode is Mode.SUSPENDED, seconds=5)
        api.edit(ONE.ref, enforcementAction="dryrun")
        await asyncio.sleep(100)
        assert not restored(api, ONE)

        await until(lambda: restored(api, ONE) and operator.state.status.mode is Mode.ENFORCE, seconds=30)


@in_virtual_time
async def test_a_poll_that_somebody_asks_for_is_made_at_once_and_noted() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)
        readings = operator.source.readings

        operator.loops.take_requests(PolicySyncRequests(requested_at="2026-03-01T12:00:09Z"))

        await until(lambda: operator.state.status.handled_request == "2026-03-01T12:00:09Z", seconds=2)
        assert operator.source.readings == readings + 1


@in_virtual_time
async def test_a_deleted_template_comes_back_with_its_constraints() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE, TWO))).running() as operator:
        await operator.in_sync(TEMPLATE, TWO)

        for wanted in (ONE, TWO, TEMPLATE):
            api.remove(wanted.ref)

        await until(lambda: all(restored(api, each) for each in (TEMPLATE, ONE, TWO)), seconds=10)


@in_virtual_time
async def test_a_foreign_template_is_a_conflict_and_stays_untouched() -> None:
    api = cluster()
    wanted, using = template("K8sTheirs"), constraint("K8sTheirs", by=member("theirs"))
    theirs = api.put(foreign(wanted))
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, wanted, ONE, using))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)
        await asyncio.sleep(400)

        assert api.found(wanted.ref).manifest == theirs.manifest
        assert not api.has(using.ref)
        problems = {each.ref: each.action for each in operator.state.status.problems}
        assert problems == {wanted.ref: Action.CONFLICT, using.ref: Action.BLOCKED}


@in_virtual_time
async def test_a_report_that_cannot_be_written_holds_up_no_repair() -> None:
    api = cluster()
    api.at("GET", "/policysyncs", status(403, "no", "Forbidden"), times=10_000)
    api.at("POST", "/events", status(403, "no", "Forbidden"), times=10_000)
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)

        api.edit(ONE.ref, enforcementAction="dryrun")

        await until(lambda: restored(api, ONE), seconds=2)


@in_virtual_time
async def test_an_api_server_that_is_away_is_told_long_before_the_next_resync_and_over_when_it_is_back() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)

        api.at("GET", "", status(503, "away", "ServiceUnavailable"), times=10_000)
        # Half a minute until Gatekeeper is looked at, and twice the time in which a request is repeated.
        await until(lambda: operator.state.status.cluster_error, seconds=90)
        api._steps.clear()

        await until(lambda: not operator.state.status.cluster_error, seconds=30)


@in_virtual_time
async def test_a_loop_that_does_not_advance_is_seen() -> None:
    operator = Operator(cluster(), ScriptedSource(desired_state(TEMPLATE)))
    operator.source.silent = True
    async with operator.running():
        await asyncio.sleep(700)

        assert not operator.state.alive()
