"""What is under way while something else changes: a new desired state, a suspension, a second edit. In virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from controller.cluster.kinds import kind_of
from controller.gatekeeper.naming import TEMPLATE_GROUP
from controller.operator.settings import PolicySyncRequests
from controller.report.conditions import Mode
from tests.unit.cluster_builders import constraint, desired_state, member, template
from tests.unit.fake_api import FakeApi
from tests.unit.operator.scripted import Operator, ScriptedSource, cluster, restored, until
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from controller.cluster.client import Response, WatchEvent
    from controller.cluster.kinds import Resource
    from controller.gatekeeper.model import ObjectRef

TEMPLATE: Final = template()
ONE: Final = constraint(by=member("one"))
OTHERWISE: Final = constraint(by=member("one"), limit=2)
OTHER_TEMPLATE: Final = template("K8sOther")
OTHER: Final = constraint("K8sOther", by=member("other"))


class SlowApi(FakeApi):
    """The next request of a method takes so many seconds before it arrives; `deaf` watches tell nothing.

    A `silent` Gatekeeper says nothing of templates.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}
        self.deaf = self.silent = False
        self._objects = cluster()._objects

    async def watch(
        self, kind: Resource, resource_version: str, *, seconds: int = 290
    ) -> AsyncGenerator[WatchEvent, None]:
        async for event in super().watch(kind, resource_version, seconds=seconds):
            if not self.deaf:
                yield event

    def _written(self, path: str) -> None:
        super()._written(path)
        if self.silent and TEMPLATE_GROUP in path:
            self._objects[path]["status"] = {}

    async def _once(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, *, by_metadata: bool
    ) -> Response:
        if "dryRun" not in query and "/configmaps" not in path:
            await asyncio.sleep(self.seconds.pop(method, 0.0))
        return await super()._once(method, path, query, body, by_metadata=by_metadata)


@dataclass
class Gate:
    """Gatekeeper does not take a template up until it is opened."""

    api: FakeApi
    ref: ObjectRef

    def close(self) -> None:
        self.api.unheard.add(self.ref.name)
        if self.api.has(self.ref):
            self.api.merge(kind_of(self.ref).path(self.ref.name), {"status": None})

    def open(self) -> None:
        self.api.hears_of(self.ref)


def writes_of(api: FakeApi, spec: object) -> int:
    """How often an object was written with a spec."""
    return sum(
        call.method in ("POST", "PUT") and "dryRun" not in call.query and call.body.get("spec") == spec
        for call in api.calls
    )


def ask(operator: Operator, when: str) -> None:
    operator.loops.take_requests(PolicySyncRequests(requested_at=when))


@in_virtual_time
async def test_a_repair_that_waits_does_not_write_what_was_desired_before() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)
        gate, before = Gate(api, TEMPLATE.ref), writes_of(api, ONE.manifest["spec"])
        gate.close()
        api.remove(ONE.ref)
        await asyncio.sleep(5)

        operator.source.answer = desired_state(TEMPLATE, OTHERWISE)
        ask(operator, "now")
        await until(lambda: operator.state.index.get(ONE.ref) == OTHERWISE)
        gate.open()

        await until(lambda: restored(api, OTHERWISE))
        await asyncio.sleep(120)
        assert writes_of(api, ONE.manifest["spec"]) == before
        assert restored(api, OTHERWISE)
        assert operator.state.status.problems == ()


@in_virtual_time
async def test_a_repair_whose_request_is_slow_is_decided_anew_where_a_sync_was_faster() -> None:
    api = SlowApi()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)
        api.seconds["PUT"] = 30.0
        api.edit(ONE.ref, enforcementAction="dryrun")
        await asyncio.sleep(1)
        before = writes_of(api, ONE.manifest["spec"])

        operator.source.answer = desired_state(TEMPLATE, OTHERWISE)
        ask(operator, "now")

        await until(lambda: restored(api, OTHERWISE), seconds=10)
        await asyncio.sleep(60)
        assert restored(api, OTHERWISE)
        assert writes_of(api, ONE.manifest["spec"]) == before + 1  # the slow one, refused as it came too late


@in_virtual_time
async def test_what_a_slow_request_made_after_a_newer_sync_is_undone_although_no_watch_tells() -> None:
    api = SlowApi()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE, OTHER_TEMPLATE, OTHER))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE, OTHER_TEMPLATE, OTHER)
        api.seconds["POST"] = 30.0
        api.remove(OTHER.ref)
        await asyncio.sleep(1)
        api.deaf = True

        operator.source.answer = desired_state(TEMPLATE, ONE, OTHER_TEMPLATE, listed=["a", "one", "other"])
        ask(operator, "now")
        await until(lambda: OTHER.ref not in operator.state.index)
        await until(lambda: api.has(OTHER.ref))

        await until(lambda: not api.has(OTHER.ref), seconds=10)


@in_virtual_time
async def test_a_sync_that_waits_writes_nothing_once_it_is_suspended() -> None:
    api = cluster()
    gate = Gate(api, TEMPLATE.ref)
    gate.close()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await until(lambda: operator.state.status.working)
        await asyncio.sleep(10)
        end = operator.state.now() + timedelta(seconds=600)
        operator.loops.take_requests(PolicySyncRequests(suspended_until=end))
        gate.open()

        await asyncio.sleep(300)
        assert not api.has(ONE.ref)
        assert operator.state.status.mode is Mode.SUSPENDED

        await until(lambda: restored(api, ONE), seconds=400)


@in_virtual_time
async def test_a_suspension_that_ends_during_a_slow_sync_is_followed_by_one_at_once() -> None:
    api = SlowApi()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)
        end = operator.state.now() + timedelta(seconds=20)
        operator.loops.take_requests(PolicySyncRequests(suspended_until=end))
        await until(lambda: operator.state.status.mode is Mode.SUSPENDED)
        api.edit(ONE.ref, enforcementAction="dryrun")
        await asyncio.sleep(5)
        api.seconds["GET"] = 40.0
        operator.loops.wake()

        await until(lambda: restored(api, ONE), seconds=45)


@in_virtual_time
async def test_no_event_is_kept_while_nothing_is_written() -> None:
    api = cluster()
    many = [constraint(by=member(f"many{number}")) for number in range(50)]
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, *many))).running() as operator:
        await operator.in_sync(TEMPLATE, many[-1])
        end = operator.state.now() + timedelta(seconds=100)
        operator.loops.take_requests(PolicySyncRequests(suspended_until=end))
        await until(lambda: operator.state.status.mode is Mode.SUSPENDED)
        for each in many:
            api.edit(each.ref, enforcementAction="dryrun")
        await asyncio.sleep(5)

        assert operator.loops._repairs._events == {}
        assert not any(restored(api, each) for each in many)

        await until(lambda: all(restored(api, each) for each in many), seconds=110)


@in_virtual_time
async def test_an_object_is_repaired_again_while_another_of_its_batch_waits() -> None:
    api = cluster()
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE, OTHER_TEMPLATE, OTHER))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE, OTHER_TEMPLATE, OTHER)
        Gate(api, OTHER_TEMPLATE.ref).close()
        api.remove(OTHER.ref)
        api.edit(ONE.ref, enforcementAction="dryrun")
        await until(lambda: restored(api, ONE), seconds=2)
        assert not api.has(OTHER.ref)

        api.edit(ONE.ref, enforcementAction="dryrun")

        await until(lambda: restored(api, ONE), seconds=2)
        assert not api.has(OTHER.ref)


@pytest.mark.parametrize("again", ["edited", "deleted"])
def test_a_template_is_repaired_again_while_gatekeeper_says_nothing_of_it(again: str) -> None:
    @in_virtual_time
    async def check() -> None:
        api = SlowApi()
        async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE))).running() as operator:
            await operator.in_sync(TEMPLATE, ONE)
            api.silent = True
            api.edit(TEMPLATE.ref, targets=[])
            await until(lambda: restored(api, TEMPLATE), seconds=2)

            if again == "edited":
                api.edit(TEMPLATE.ref, targets=[])
            else:
                api.remove(TEMPLATE.ref)

            await until(lambda: restored(api, TEMPLATE), seconds=8)

    check()


class TerminatingApi(SlowApi):
    """A kind that was deleted stays, being deleted, as long as finalizers keep one of its objects."""

    def _held(self, name: str) -> bool:
        of_kind = [each for path, each in self._objects.items() if f"/{name}/" in path]
        return any("deletionTimestamp" in each["metadata"] for each in of_kind)

    def _gone(self, path: str) -> None:
        name, kind = path.rpartition("/")[2], self._crd_kinds.get(path.rpartition("/")[2], "")
        super()._gone(path)
        if kind and self._held(name):
            self._crd_kinds[name] = kind

    def _crd(self, name: str) -> Response:
        answer = super()._crd(name)
        if answer.ok and self._held(name):
            cast("Any", answer.body)["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
        return answer


@in_virtual_time
async def test_a_finalizer_on_a_constraint_does_not_hold_up_its_deleted_template() -> None:
    api, two = TerminatingApi(), constraint(by=member("two"))
    async with Operator(api, ScriptedSource(desired_state(TEMPLATE, ONE, two))).running() as operator:
        await operator.in_sync(TEMPLATE, ONE, two)
        api.deaf = True  # one plan makes the template and lets the constraint go
        path = kind_of(ONE.ref).path(ONE.ref.name)
        api._objects[path]["metadata"]["finalizers"] = ["example.com/hold"]
        api.merge(path, {"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}})
        api.remove(TEMPLATE.ref)
        operator.loops.wake()

        await until(lambda: all(restored(api, each) for each in (TEMPLATE, ONE, two)), seconds=10)
        assert "deletionTimestamp" not in api.found(ONE.ref).metadata
