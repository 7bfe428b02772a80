"""The loop that writes reports, in virtual time: what differs is written, and nothing else ever is."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.client import Response
from controller.cluster.lanes import LANE_OF_TASK, Lane
from controller.cluster.report_objects import OPEN_REPORTS, POLICY_REPORTS, REPORT_APIS
from controller.errors import ClusterError
from controller.report.assigned import Knowledge
from controller.report.health import health_of
from controller.report.open_reports.writer import ReportWriter, Told
from controller.report.violations import ViolationStore
from tests.unit.cluster_builders import MARKS, constraint, desired_state, member, template
from tests.unit.fake_api import FakeApi, status
from tests.unit.operator.scripted import until
from tests.unit.report.audits import audited, finding
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from controller.gatekeeper.model import DesiredState
    from controller.gatekeeper.naming import OwnershipMarks

ONE: Final = constraint(by=member("one"))
ROOT: Final = "/apis/openreports.io/v1alpha1"
OVERVIEW: Final = f"{ROOT}/clusterreports/azpolicy-assignments"
SHOP: Final = f"{ROOT}/namespaces/shop/reports/azpolicy"
WEB: Final = f"{ROOT}/namespaces/web/reports/azpolicy"
OLDER: Final = "/apis/wgpolicyk8s.io/v1alpha2/clusterpolicyreports/azpolicy-assignments"
FOREIGN: Final = {"apiVersion": "openreports.io/v1alpha1", "kind": "Report", "metadata": {"name": "azpolicy"}}
CONTENT: Final = {"summary": {"pass": 7}, "results": []}


class World:
    """A writer, the API server that it writes to, and what it is to report."""

    def __init__(self, api: FakeApi | None = None, marks: OwnershipMarks = MARKS) -> None:
        self.api = api or FakeApi()
        self.desired: DesiredState | None = desired_state(template(), ONE)
        self.violations = ViolationStore(lists=True)
        self.violations.expect(self.desired)
        self.known = Knowledge()
        self.warnings: list[str] = []
        self.writer = ReportWriter(self.api, marks, self.violations, self.told, self.warnings.append)
        self.violations.on_change(self.writer.wake)

    def told(self) -> Told | None:
        return Told(self.desired, self.known) if self.desired else None

    def audit(self, *found: Any, **said: Any) -> None:
        """Gatekeeper's audit finds this."""
        live = audited(ONE, *found, **said)
        self.known = Knowledge(health={ONE.ref: health_of(live, ONE.role)})
        self.violations.found({ONE.ref: live})

    @contextlib.asynccontextmanager
    async def at_work(self, api: Any = OPEN_REPORTS) -> AsyncIterator[World]:
        """The loop at work until the block ends; an error of its own is the block's."""
        self.writer.choose(api)
        task = asyncio.ensure_future(self.writer.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    @property
    def writes(self) -> list[str]:
        """The writes that were sent, since the last time they were forgotten."""
        return [f"{call.method} {call.path}" for call in self.api.calls if call.method in ("POST", "PUT", "DELETE")]

    async def settle(self) -> None:
        """Lets everything happen that is due, and forgets the requests."""
        await asyncio.sleep(60)
        self.api.calls.clear()

    def results(self, path: str) -> list[str]:
        """The objects that a report names."""
        return [each["resources"][0]["name"] for each in self.api.read(path)["results"]]


@pytest.fixture
def world() -> World:
    """A world in which two namespaces have violations."""
    made = World()
    made.audit(finding(1), finding(2, namespace="web"))
    return made


@in_virtual_time
async def test_reports_appear_and_once_all_is_said_nothing_is_written(world: World) -> None:
    async with world.at_work():
        await until(lambda: {OVERVIEW, SHOP, WEB} <= world.api.paths)
        assert world.results(SHOP) == ["web-001"]
        assert world.api.read(SHOP)["metadata"]["labels"] == {"managed-by": "azure-policy-sync"}
        await world.settle()

        for minute in range(5):  # audits, and full syncs
            world.audit(finding(2, namespace="web"), finding(1), auditTimestamp=f"2026-03-01T12:0{minute}:00Z")
            world.writer.look_again()
            await asyncio.sleep(60)

        assert world.writes == []
        # Nor is any report read: its version is that of our own write.
        assert not {call.path for call in world.api.calls} & {OVERVIEW, SHOP, WEB}


@in_virtual_time
async def test_a_new_process_writes_nothing_anew(world: World) -> None:
    async with world.at_work():
        await world.settle()

    later = World(world.api)
    later.audit(finding(1), finding(2, namespace="web"))
    async with later.at_work():
        await asyncio.sleep(60)

    assert later.writes == []


@in_virtual_time
async def test_an_object_that_was_fixed_is_out_of_its_report_and_the_last_one_takes_it_along(world: World) -> None:
    world.audit(finding(1), finding(3), finding(2, namespace="web"))
    async with world.at_work():
        await world.settle()

        world.audit(finding(3))

        await until(lambda: WEB not in world.api.paths)
        assert world.results(SHOP) == ["web-003"]
        assert world.api.read(OVERVIEW)["results"][0]["properties"]["violations"] == "1"
        assert sorted(each.partition(" ")[0] for each in world.writes) == ["DELETE", "PUT", "PUT"]


@in_virtual_time
async def test_kinds_that_come_later_are_written_then_and_kinds_that_are_not_there_are_no_error(world: World) -> None:
    kinds = f"/apis/{OPEN_REPORTS.cluster.api_version}"
    world.api.at("GET", kinds, status(404, "not found", "NotFound"), times=3)
    async with world.at_work():
        await world.settle()
        world.writer.look_again()
        await world.settle()
        assert world.warnings == []
        assert not world.api.paths

        world.writer.kinds_changed()  # the API server serves them a moment later

        await until(lambda: {OVERVIEW, SHOP, WEB} <= world.api.paths)


@in_virtual_time
async def test_an_edited_report_is_restored_at_the_next_sync_and_what_others_noted_on_it_stays(world: World) -> None:
    async with world.at_work():
        await world.settle()
        world.api.merge(SHOP, {"results": [], "metadata": {"labels": {"team": "shop"}, "annotations": {"note": "x"}}})

        world.writer.look_again()

        await until(lambda: world.results(SHOP) == ["web-001"])
        metadata = world.api.read(SHOP)["metadata"]
        assert metadata["labels"] == {"managed-by": "azure-policy-sync", "team": "shop"}
        assert metadata["annotations"] == {"note": "x"}
        await world.settle()
        world.writer.look_again()
        await asyncio.sleep(60)
        assert world.writes == []


@in_virtual_time
async def test_a_report_without_its_label_is_still_ours(world: World) -> None:
    async with world.at_work():
        await world.settle()
        world.api.merge(SHOP, {"metadata": {"labels": None}})

        world.writer.look_again()

        await until(lambda: world.api.read(SHOP)["metadata"].get("labels") == {"managed-by": "azure-policy-sync"})
        assert world.warnings == []


@pytest.mark.parametrize("labels", [{}, {"managed-by": "kyverno"}])
@in_virtual_time
async def test_a_foreign_report_of_our_name_is_told_once_and_left(labels: dict[str, str], world: World) -> None:
    world.api.place(SHOP, {**FOREIGN, **CONTENT, "metadata": {"name": "azpolicy", "labels": labels}})
    async with world.at_work():
        await until(lambda: {OVERVIEW, WEB} <= world.api.paths)
        for _ in range(3):
            world.writer.look_again()
            await asyncio.sleep(60)

        assert world.api.read(SHOP)["summary"] == {"pass": 7}
        assert [each.partition(" is ")[0] for each in world.warnings] == [SHOP]
        assert not any(each.endswith(SHOP) for each in world.writes)
    world.audit()
    async with world.at_work():
        await until(lambda: WEB not in world.api.paths)
        assert SHOP in world.api.paths

        world.api.drop(SHOP)
        world.audit(finding(1))
        world.writer.look_again()

        await until(lambda: SHOP in world.api.paths and world.results(SHOP) == ["web-001"])


@in_virtual_time
async def test_only_reports_of_our_names_are_ever_deleted(world: World) -> None:
    theirs = f"{ROOT}/namespaces/shop/reports/azpolicy-of-the-shop"
    metadata = {"name": "azpolicy-of-the-shop", "namespace": "shop", "labels": MARKS.labels()}
    world.api.place(theirs, {**FOREIGN, "metadata": metadata})
    async with world.at_work():
        await world.settle()
    async with world.at_work(None):
        await world.settle()
        assert world.api.paths == {theirs}


@pytest.mark.parametrize(
    "answer",
    [
        status(404, 'namespaces "web" not found', "NotFound"),
        Response(
            403,
            {
                "kind": "Status",
                "reason": "Forbidden",
                "message": "namespace web is being terminated",
                "details": {"causes": [{"reason": "NamespaceTerminating"}]},
            },
        ),
    ],
)
@in_virtual_time
async def test_a_namespace_that_goes_away_while_it_is_written_to_is_no_error(answer: Response, world: World) -> None:
    world.api.at("POST", "/namespaces/web/reports", answer, times=99)
    async with world.at_work():
        await until(lambda: {OVERVIEW, SHOP} <= world.api.paths)
        world.audit(finding(1), finding(5), finding(2, namespace="web"))
        await asyncio.sleep(60)

        assert world.warnings == []
        assert world.writes.count(f"POST {ROOT}/namespaces/web/reports") == 1
        assert world.results(SHOP) == ["web-001", "web-005"]


@in_virtual_time
async def test_a_report_that_is_refused_is_told_and_the_others_are_written(world: World) -> None:
    world.api.at("POST", "/namespaces/shop/reports", status(403, "exceeded quota", "Forbidden"))
    async with world.at_work():
        await until(lambda: {OVERVIEW, WEB} <= world.api.paths)
        await world.settle()
        assert world.warnings == [f"{SHOP} is refused: exceeded quota"]
        assert world.writes == []

        world.writer.look_again()

        await until(lambda: SHOP in world.api.paths)


@in_virtual_time
async def test_an_api_server_that_fails_is_asked_again(world: World) -> None:
    world.api.at("POST", "/clusterreports", status(500, "etcd is away"))
    async with world.at_work():
        await until(lambda: {OVERVIEW, SHOP, WEB} <= world.api.paths)


@in_virtual_time
async def test_somebody_who_was_faster_is_looked_at_again(world: World) -> None:
    async with world.at_work():
        await world.settle()
        world.api.at("PUT", SHOP, act=lambda: world.api.merge(SHOP, {"metadata": {"annotations": {"note": "x"}}}))

        world.audit(finding(7), finding(2, namespace="web"))

        await until(lambda: world.results(SHOP) == ["web-007"])
        assert world.api.read(SHOP)["metadata"]["annotations"] == {"note": "x"}


@in_virtual_time
async def test_another_api_or_none_leaves_nothing_of_the_one_before(world: World) -> None:
    async with world.at_work():
        await world.settle()

        world.writer.choose(POLICY_REPORTS)

        await until(lambda: OLDER in world.api.paths and not any(each.startswith(ROOT) for each in world.api.paths))

        world.writer.choose(None)

        await until(lambda: not world.api.paths)
        await world.settle()
        world.audit(finding(9))
        world.writer.look_again()
        await asyncio.sleep(60)
        assert world.api.calls == []


@in_virtual_time
async def test_without_a_right_to_reports_and_with_none_chosen_nothing_is_said(world: World) -> None:
    world.api.at("GET", "reports", status(403, "forbidden", "Forbidden"), times=99)
    async with world.at_work(None):
        await asyncio.sleep(60)

        assert world.warnings == []
        assert world.writes == []
        assert sum(call.path.endswith("reports") for call in world.api.calls) == 4


@in_virtual_time
async def test_kinds_that_are_not_served_are_not_listed(world: World) -> None:
    for api in REPORT_APIS:
        world.api.at("GET", f"/apis/{api.cluster.api_version}", status(404, "not found", "NotFound"), times=99)
    async with world.at_work(None):
        await asyncio.sleep(60)

        assert not any(call.path.endswith("reports") for call in world.api.calls)


@in_virtual_time
async def test_nothing_is_reported_and_nothing_deleted_before_all_is_known(world: World) -> None:
    async with world.at_work():
        await world.settle()
    later = World(world.api)
    later.desired = None
    async with later.at_work():
        await asyncio.sleep(60)

    assert later.writes == []


@in_virtual_time
async def test_another_installations_reports_are_taken_over_where_it_is_adopted(world: World) -> None:
    async with world.at_work():
        await world.settle()
    later = World(world.api, replace(MARKS, managed_by="ours", adopted=frozenset({MARKS.managed_by})))
    later.audit(finding(1))
    async with later.at_work():
        await until(lambda: world.api.read(OVERVIEW)["metadata"]["labels"] == {"managed-by": "ours"})
        await until(lambda: WEB not in world.api.paths)
        selectors = {call.query["labelSelector"] for call in world.api.calls if "labelSelector" in call.query}
        assert "managed-by in (azure-policy-sync,ours)" in selectors


@in_virtual_time
async def test_every_request_is_of_the_lane_of_reports(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[Lane] = set()
    answer = world.api._once

    async def once(*arguments: Any, **more: Any) -> Response:
        seen.add(LANE_OF_TASK.get())
        return await answer(*arguments, **more)

    monkeypatch.setattr(world.api, "_once", once)
    async with world.at_work():
        await until(lambda: WEB in world.api.paths)

    assert seen == {Lane.REPORT}


@in_virtual_time
async def test_a_list_that_fails_is_an_error_that_is_retried(world: World) -> None:
    world.api.at("GET", "/clusterreports", status(403, "clusterreports is forbidden", "Forbidden"), times=1)
    world.writer.choose(OPEN_REPORTS)
    with pytest.raises(ClusterError, match="clusterreports is forbidden"):
        await world.writer.write()
    async with world.at_work():
        await until(lambda: WEB in world.api.paths)
