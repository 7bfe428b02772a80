"""A leader session in virtual time: what it does when the PolicySync changes under it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.guard import NAME as GUARD_RECORD
from controller.cluster.installation import Installation
from controller.cluster.kinds import ASSIGNED_POLICY, CLUSTER_REPORT, CRD_PATH, POLICY_SYNC, REPORT, kind_of
from controller.cluster.lanes import LANE_OF_TASK, Lane
from controller.cluster.lean import FIRST
from controller.cluster.report_objects import OPEN_REPORTS
from controller.errors import InputError, OtherInstallation
from controller.gatekeeper.naming import OwnershipMarks
from controller.operator import leader_session
from controller.operator.leader_session import LeaderSession
from controller.report.events import COLLECTION
from controller.report.metrics import Metrics
from tests.unit.cluster_builders import MARKS, constraint, desired_state, member, template
from tests.unit.fake_api import status
from tests.unit.operator.scripted import NAMESPACE, SETTINGS, ScriptedSource, cluster, restored, until
from tests.unit.report.audits import audit, finding
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from controller.cluster.client import Response
    from controller.config import SourceOptions
    from tests.unit.fake_api import FakeApi

TEMPLATE = template()
ONE = constraint(by=member("one"))
TWO = constraint(by=member("two"))
PATH = POLICY_SYNC.path("default")
RECORD = "/api/v1/namespaces/kube-public/configmaps/azure-policy-sync"


class Sources:
    """What `open_source` opens: a scripted source for each cluster id, and which are open."""

    def __init__(self) -> None:
        self.by_cluster: dict[str, ScriptedSource] = {}
        self.open: list[str] = []

    @contextlib.asynccontextmanager
    async def __call__(self, options: SourceOptions) -> AsyncIterator[Any]:
        """The source of the options' cluster id; InputError where the test has none."""
        cluster_id = options.cluster_id or ""
        if cluster_id not in self.by_cluster:
            raise InputError(f"no cluster {cluster_id}")
        self.open.append(cluster_id)
        try:
            yield self.by_cluster[cluster_id]
        finally:
            self.open.remove(cluster_id)


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Sources:
    """The base's source wants ONE, that of cluster "other" wants ONE and TWO."""
    opened = Sources()
    opened.by_cluster[str(SETTINGS.source.cluster_id)] = ScriptedSource(desired_state(TEMPLATE, ONE))
    opened.by_cluster["other"] = ScriptedSource(desired_state(TEMPLATE, ONE, TWO))
    monkeypatch.setattr(leader_session, "open_source", opened)
    return opened


@contextlib.asynccontextmanager
async def leading(api: FakeApi, marks: OwnershipMarks = MARKS, *, guard: bool = False) -> AsyncIterator[LeaderSession]:
    """A session at work until the block ends; an error of its own is the block's."""
    session = LeaderSession(
        api,
        Installation(marks),
        Metrics(lambda: 0.0),
        SETTINGS,
        namespace=NAMESPACE,
        instance="test",
        good_at=lambda _: None,
        dry_run=False,
        guard=guard,
    )
    task = asyncio.ensure_future(session.run())
    try:
        yield session
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()


def condition(api: FakeApi, kind: str) -> dict[str, Any]:
    """A condition of the PolicySync as it was last written."""
    written = [call.body["status"] for call in api.calls if call.path == f"{PATH}/status"]
    return next((each for each in written[-1]["conditions"] if each["type"] == kind), {}) if written else {}


@in_virtual_time
async def test_settings_that_turn_in_the_middle_of_a_poll_end_it_and_the_new_source_is_read(sources: Sources) -> None:
    api = cluster()
    first = sources.by_cluster[str(SETTINGS.source.cluster_id)]
    first.silent = True
    api.place(PATH, {"apiVersion": POLICY_SYNC.api_version, "kind": POLICY_SYNC.kind, "metadata": {"name": "default"}})
    async with leading(api):
        await until(lambda: first.readings == 1)

        api.merge(PATH, {"spec": {"clusterId": "other"}})

        await until(lambda: first.cancelled == 1, seconds=5)
        await until(lambda: restored(api, TWO), seconds=5)
        assert sources.open == ["other"]


@pytest.mark.usefixtures("sources")
@in_virtual_time
async def test_settings_that_cannot_be_used_leave_those_before_at_work() -> None:
    api = cluster()
    async with leading(api):
        await until(lambda: restored(api, ONE) and PATH in api.paths)

        api.merge(PATH, {"spec": {"clusterId": "nowhere"}})

        await until(lambda: condition(api, "Ready").get("reason") == "InvalidSettings", seconds=5)
        assert "no cluster nowhere" in condition(api, "Ready")["message"]
        api.remove(ONE.ref)
        await until(lambda: restored(api, ONE), seconds=5)

        api.merge(PATH, {"spec": None})

        await until(lambda: condition(api, "Ready").get("reason") == "InSync", seconds=30)


@in_virtual_time
async def test_a_request_that_an_earlier_session_handled_is_not_handled_again(sources: Sources) -> None:
    api = cluster()
    source = sources.by_cluster[str(SETTINGS.source.cluster_id)]
    async with leading(api):
        await until(lambda: restored(api, ONE) and PATH in api.paths)
        api.merge(PATH, {"metadata": {"annotations": {"azpolicy.dev/requested-at": "noon"}}})
        await until(lambda: (api.read(PATH).get("status") or {}).get("lastHandledRequest") == "noon", seconds=10)
    readings = source.readings
    async with leading(api) as session:
        await until(lambda: source.readings > readings)
        await until(lambda: session.loops.state.status.settled)
        await asyncio.sleep(60)

        assert session.loops.state.status.handled_request == "noon"
        assert source.readings == readings + 1


@pytest.mark.usefixtures("sources")
@in_virtual_time
async def test_a_deleted_policy_sync_is_made_again() -> None:
    api = cluster()
    async with leading(api):
        await until(lambda: PATH in api.paths and restored(api, ONE))
        await asyncio.sleep(5)

        api.drop(PATH)

        await until(lambda: PATH in api.paths, seconds=10)


@in_virtual_time
async def test_deletions_that_an_earlier_session_forced_are_not_forced_again(sources: Sources) -> None:
    api = cluster()
    source = sources.by_cluster[str(SETTINGS.source.cluster_id)]
    objects = [constraint(by=member(f"a{number}")) for number in range(24)]
    source.answer = desired_state(TEMPLATE, *objects)
    async with leading(api):
        await until(lambda: all(restored(api, each) for each in objects) and PATH in api.paths)
    source.answer = desired_state(TEMPLATE, objects[0], listed=("a0",))
    async with leading(api) as session:
        await until(lambda: session.loops.state.status.refused_digest)
        digest = session.loops.state.status.refused_digest
    # Forced before, but somebody has put the very same objects back, as a restored backup of etcd does.
    asked = {"metadata": {"annotations": {"azpolicy.dev/force-prune": digest}}}
    api.merge(PATH, {**asked, "status": {"lastForcedPrune": digest}})
    async with leading(api) as session:
        await until(lambda: session.loops.state.status.settled)
        await asyncio.sleep(400)

        assert all(api.has(each.ref) for each in objects)
        assert session.loops.state.status.refused_digest == digest


@pytest.mark.usefixtures("sources")
@pytest.mark.parametrize("when", ["at the start", "later"])
def test_a_policy_sync_that_names_another_cluster_is_refused_and_the_settings_before_stay_at_work(when: str) -> None:
    @in_virtual_time
    async def check() -> None:
        api = cluster()
        names_another = {"spec": {"clusterId": "other"}}
        async with leading(api):
            await until(lambda: restored(api, ONE) and PATH in api.paths)
            await until(lambda: RECORD in api.paths)
            if when == "later":
                api.merge(PATH, names_another)
                await refused(api)
        if when == "at the start":
            api.merge(PATH, names_another)
            async with leading(api):
                await refused(api)

    check()


async def refused(api: FakeApi) -> None:
    """The session says what is wrong with the cluster id, and repairs under the settings before it."""
    await until(lambda: condition(api, "Ready").get("reason") == "InvalidSettings", seconds=30)
    assert "is recorded as" in condition(api, "Ready")["message"]
    for _ in range(3):
        api.remove(ONE.ref)
        await until(lambda: restored(api, ONE), seconds=60)
    assert not api.has(TWO.ref)


async def in_sync(api: FakeApi) -> None:
    """The session has made what Azure says, its record and its PolicySync, and says so."""
    await until(lambda: restored(api, ONE) and RECORD in api.paths and PATH in api.paths)
    await until(lambda: condition(api, "Ready").get("reason") == "InSync", seconds=30)


@pytest.mark.usefixtures("sources")
@in_virtual_time
async def test_in_a_cluster_of_another_installation_nothing_is_written_its_policy_sync_neither() -> None:
    api = cluster()
    async with leading(api):
        await in_sync(api)
    before = len(api.calls)

    with pytest.raises(OtherInstallation, match="--managed-by azure-policy-sync"):
        async with leading(api, OwnershipMarks("team-b")):
            await asyncio.sleep(60)

    assert {call.method for call in api.calls[before:]} <= {"GET", "WATCH"}


@pytest.mark.usefixtures("sources")
@in_virtual_time
async def test_who_loses_the_cluster_to_one_that_adopts_it_ends_at_the_next_sync_and_leaves_the_status_alone() -> None:
    api = cluster()
    with pytest.RaisesGroup(pytest.RaisesExc(OtherInstallation, match="--managed-by team-b"), flatten_subgroups=True):
        async with leading(api):
            await until(lambda: restored(api, ONE) and RECORD in api.paths)
            await until(lambda: condition(api, "Ready").get("reason") == "InSync", seconds=30)
            api.merge(RECORD, {"metadata": {"labels": {"managed-by": "team-b"}}})
            statuses = sum(call.path == f"{PATH}/status" for call in api.calls)
            await asyncio.sleep(2 * SETTINGS.pace.resync)

    assert sum(call.path == f"{PATH}/status" for call in api.calls) == statuses


@pytest.mark.usefixtures("sources")
@in_virtual_time
async def test_nothing_is_written_either_while_the_record_may_not_be_read_yet() -> None:
    """As in the first moments of a new release, before its rights hold."""
    api = cluster()
    async with leading(api):
        await in_sync(api)
    before = len(api.calls)
    api.at("GET", RECORD, status(403, "configmaps is forbidden", "Forbidden"), times=3)

    with pytest.raises(OtherInstallation):
        async with leading(api, OwnershipMarks("team-b")):
            await asyncio.sleep(60)

    assert {call.method for call in api.calls[before:]} == {"GET"}


@pytest.mark.usefixtures("sources")
def test_every_request_is_in_the_lane_of_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, Lane]] = []

    @in_virtual_time
    async def check() -> None:
        api = cluster()
        answer = api._once

        async def once(method: str, path: str, *rest: Any, **more: Any) -> Response:
            asked.append((method, path, LANE_OF_TASK.get()))
            return await answer(method, path, *rest, **more)

        monkeypatch.setattr(api, "_once", once)
        async with leading(api, guard=True) as session:
            await until(lambda: session.loops.state.status.settled and restored(api, ONE))
            session.loops.wake()
            await asyncio.sleep(5)
            api.edit(ONE.ref, enforcementAction="dryrun")
            await until(lambda: restored(api, ONE), seconds=5)
            await asyncio.sleep(30)

    check()

    def lanes(method: str, path: str) -> set[Lane]:
        return {lane for sent, where, lane in asked if sent == method and where.startswith(path)}

    kind = kind_of(ONE.ref)
    assert lanes("POST", kind.path()) == {Lane.SYNC}
    assert lanes("PUT", kind.path(ONE.ref.name)) == {Lane.REPAIR}
    assert lanes("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{GUARD_RECORD}") == {Lane.REPAIR}
    assert lanes("PUT", f"{PATH}/status") == lanes("POST", COLLECTION) == {Lane.STATUS}
    assert lanes("POST", ASSIGNED_POLICY.path()) == {Lane.REPORT}


OVERVIEW = f"{CLUSTER_REPORT.path()}/azpolicy-assignments"
SHOP = replace(REPORT, namespace="shop").path("azpolicy")


def audit_finds(api: FakeApi, count: int, last: int | None = None) -> None:
    """Gatekeeper's audit finds so many pods that violate ONE, and one more of this number."""
    numbers = (*range(count), *([last] if last is not None else []))
    said = audit(ONE, *map(finding, numbers))
    del said["byPod"]
    api.merge(kind_of(ONE.ref).path(ONE.ref.name), {"status": said})


@pytest.mark.usefixtures("sources")
@in_virtual_time
async def test_reports_that_the_policy_sync_switches_on_list_what_was_left_out_before() -> None:
    api, listed = cluster(), FIRST + 3
    async with leading(api) as session:
        await until(lambda: restored(api, ONE) and PATH in api.paths)
        audit_finds(api, listed)
        api.violations = FIRST
        await asyncio.sleep(60)
        assert OVERVIEW not in api.paths
        assert dict(session.violations)[ONE.ref] == (listed, ())

        api.merge(PATH, {"spec": {"reports": "openreports"}})

        await until(lambda: OVERVIEW in api.paths and SHOP in api.paths, seconds=60)
        assert api.violations == session.violations.share > listed
        assert len(api.read(SHOP)["results"]) == listed
        [line] = [
            each for each in session._metrics.text().decode().splitlines() if "azpolicy_policy_violations{" in each
        ]
        assert line.endswith(f" {listed}.0")

        # No AssignedPolicy shows this one: reports alone do.
        audit_finds(api, listed - 1, last=99)
        await until(lambda: api.read(SHOP)["results"][-1]["resources"][0]["name"] == "web-099", seconds=60)

        audit_finds(api, 1)
        await until(lambda: len(api.read(SHOP)["results"]) == 1, seconds=60)
        writes = api.count("POST") + api.count("PUT")
        await asyncio.sleep(600)  # two full syncs
        assert api.count("POST") + api.count("PUT") == writes

        api.merge(PATH, {"spec": {"reports": "none"}})
        await until(lambda: OVERVIEW not in api.paths and SHOP not in api.paths, seconds=60)


@pytest.mark.usefixtures("sources")
@in_virtual_time
async def test_reports_are_written_soon_after_their_kinds_are_installed() -> None:
    api = cluster()
    api.at("GET", f"/apis/{OPEN_REPORTS.cluster.api_version}", status(404, "not found", "NotFound"), times=1000)
    async with leading(api):
        await until(lambda: restored(api, ONE) and PATH in api.paths)
        api.merge(PATH, {"spec": {"reports": "openreports"}})
        await asyncio.sleep(30)
        assert OVERVIEW not in api.paths

        crd = f"{CLUSTER_REPORT.plural}.{CLUSTER_REPORT.group}"
        api._steps.clear()
        api.place(f"{CRD_PATH}/{crd}", {"kind": "CustomResourceDefinition", "metadata": {"name": crd}})

        await until(lambda: OVERVIEW in api.paths, seconds=20)
