"""The operator among hostile objects, case by case; `fuzz.py` tries what nobody thought of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.bounded_json import CUT, DEEPEST
from controller.cluster.kinds import kind_of
from controller.report.events import COLLECTION
from tests.unit.cluster_builders import constraint, desired_state, foreign, member, mutator, template
from tests.unit.operator.scripted import Operator, ScriptedSource, cluster, restored, until
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from controller.jsontypes import Json
    from tests.unit.fake_api import FakeApi

OURS: Final = (template(), constraint(by=member("one")), constraint(by=member("two")), mutator())


def nested(levels: int) -> Json:
    value: Json = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    "status", ["x", 7, [], {"byPod": "x"}, {"byPod": [7]}, {"violations": 7}, nested(DEEPEST - 10)]
)
@pytest.mark.parametrize("wanted", OURS[:2], ids=["template", "constraint"])
def test_a_malformed_status_neither_ends_the_process_nor_stops_repairs(wanted: Any, status: Json) -> None:
    @in_virtual_time
    async def check() -> None:
        operator = Operator(cluster(), ScriptedSource(desired_state(*OURS)))
        api = operator.api
        async with operator.running():
            await operator.in_sync(*OURS)

            api.tamper(kind_of(wanted.ref).path(wanted.ref.name), ("status",), status)
            api.edit(OURS[3].ref, location="spec.hostPID")

            await until(lambda: restored(api, OURS[3]), seconds=2)

    check()


def reasons(api: FakeApi) -> list[str]:
    """Of the Events that were sent."""
    return [call.body["reason"] for call in api.calls if call.path == COLLECTION]


def test_a_deep_spec_is_drift_and_repaired() -> None:
    @in_virtual_time
    async def check() -> None:
        operator = Operator(cluster(), ScriptedSource(desired_state(*OURS)))
        api = operator.api
        async with operator.running():
            await operator.in_sync(*OURS)

            api.edit(OURS[1].ref, parameters={"deep": CUT})

            await until(lambda: restored(api, OURS[1]), seconds=2)
            await until(lambda: "Unreadable" in reasons(api), seconds=5)
            assert reasons(api).count("Unreadable") == 1

    check()


def test_a_deep_stranger_of_a_desired_name_is_a_conflict_and_the_rest_is_made() -> None:
    """A template that somebody else made: it cannot be told by its marks whose it is, and it is not touched."""

    @in_virtual_time
    async def check() -> None:
        other = template("K8sOther")
        operator = Operator(cluster(), ScriptedSource(desired_state(*OURS, other)))
        api = operator.api
        spec: Any = other.manifest["spec"]
        api.put(foreign(other, spec={**spec, "deep": CUT}))
        async with operator.running():
            await until(lambda: operator.state.status.settled)
            await until(lambda: all(restored(api, each) for each in OURS))

            [problem] = operator.state.status.problems
            assert (problem.ref, problem.reason) == (other.ref, "Conflict")
            assert api.found(other.ref).manifest["spec"]["deep"] == CUT

    check()
