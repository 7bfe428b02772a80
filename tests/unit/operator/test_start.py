"""What a repair waits for while the operator starts: its own kind's list, and nothing else. In virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from controller.cluster.cluster_record import NAME, ClusterRecord
from controller.cluster.installation import Installation
from controller.cluster.kinds import kind_of
from controller.gatekeeper.naming import RECORD_NAMESPACE
from tests.unit.cluster_builders import CLUSTER_ID, MARKS, constraint, desired_state, live, member, template
from tests.unit.fake_api import FakeApi
from tests.unit.operator.scripted import Operator, ScriptedSource, cluster, restored, until
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from controller.cluster.client import Response

TEMPLATE: Final = template()
OTHER_TEMPLATE: Final = template("K8sOther", rego="package other")
VICTIM: Final = constraint(by=member("one"))
OTHER: Final = constraint("K8sOther", by=member("two"))
WANTED: Final = (TEMPLATE, OTHER_TEMPLATE, VICTIM, OTHER)


class HangingApi(FakeApi):
    """One request hangs, until `goes_on` is set: the first that fits the method and the end of the path."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__()
        self._objects = cluster()._objects
        self._hangs = (method, path)
        self.hanging = False
        self.goes_on = asyncio.Event()
        for each in WANTED:
            self.put(live(each))

    async def _once(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None, *, by_metadata: bool
    ) -> Response:
        if (method, path) == self._hangs and not self.hanging:
            self.hanging = True
            await self.goes_on.wait()
        return await super()._once(method, path, query, body, by_metadata=by_metadata)

    @property
    def written(self) -> list[str]:
        """The paths of what enforces, and of the record of the cluster, that were written to, in order."""
        parts = (".gatekeeper.sh", RECORD_NAMESPACE)
        return [
            call.path for call in self.calls if call.method in ("POST", "PUT") and any(p in call.path for p in parts)
        ]


async def record(api: FakeApi) -> None:
    """An earlier process has recorded whose cluster it is."""
    kept = {"metadata": {"name": NAME, "labels": MARKS.labels()}, "data": {"cluster-id": CLUSTER_ID}}
    api.place(f"/api/v1/namespaces/{RECORD_NAMESPACE}/configmaps/{NAME}", {"kind": "ConfigMap", **kept})
    assert (await ClusterRecord(api, Installation(MARKS)).check(CLUSTER_ID)).cluster_id


@in_virtual_time
async def test_a_repair_of_a_kind_that_is_listed_does_not_wait_for_the_other_kinds() -> None:
    api = HangingApi("GET", kind_of(OTHER.ref).path())
    await record(api)
    operator = Operator(api, ScriptedSource(desired_state(*WANTED)))
    async with operator.running():
        await until(lambda: api.hanging)
        await until(
            lambda: any(call.method == "WATCH" and call.path == kind_of(VICTIM.ref).path() for call in api.calls)
        )

        api.edit(VICTIM.ref, enforcementAction="dryrun")

        await until(lambda: restored(api, VICTIM), seconds=5)
        assert not operator.state.complete.is_set()
        api.goes_on.set()
        await until(operator.state.complete.is_set)


@in_virtual_time
async def test_a_repair_does_not_wait_for_the_dry_run_of_a_template() -> None:
    path = kind_of(OTHER_TEMPLATE.ref).path(OTHER_TEMPLATE.ref.name)
    api = HangingApi("PUT", path)
    api.put(live(template("K8sOther", rego="package edited")))
    await record(api)
    operator = Operator(api, ScriptedSource(desired_state(*WANTED)))
    async with operator.running():
        await until(lambda: api.hanging)

        api.edit(VICTIM.ref, enforcementAction="dryrun")

        await until(lambda: restored(api, VICTIM), seconds=5)
        assert not restored(api, OTHER_TEMPLATE)
        api.goes_on.set()
        await until(lambda: restored(api, OTHER_TEMPLATE))


@in_virtual_time
async def test_nothing_is_repaired_before_it_is_recorded_whose_cluster_it_is() -> None:
    api = HangingApi("GET", kind_of(OTHER.ref).path())
    async with Operator(api, ScriptedSource(desired_state(*WANTED))).running():
        await until(lambda: api.hanging)
        api.edit(VICTIM.ref, enforcementAction="dryrun")
        await asyncio.sleep(5)
        assert api.written == []

        api.goes_on.set()

        await until(lambda: restored(api, VICTIM))
        assert api.written[0].endswith("/configmaps")
