"""How many requests a read makes, and that fewer of them do not mean that less is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from controller.azure.arm import ArmReader
from controller.policy.model import EffectivePolicy, NotApplied, NotAppliedReason
from controller.policy.resolve import resolve
from tests.azure.benchmark import INITIATIVE, benchmark
from tests.azure.faults import FaultKind
from tests.azure.standin import BUCKETS, Standin
from tests.azure.world import (
    CLUSTER_ID,
    assignment_id,
    definition_id,
    make_assignment,
    make_cluster,
    make_definition,
    make_initiative,
)
from tests.unit.azure_builders import NOW

if TYPE_CHECKING:
    from collections.abc import Collection

    from controller.azure.arm import Reading
    from controller.azure.model import AzureState
    from tests.azure.documents import Document

ALWAYS: Final = 1000
GOAL: Final = 30
OUTSIDE: Final = definition_id("elsewhere-99")


@dataclass(slots=True)
class Clock:
    """A clock that a test moves, in seconds."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def outside_the_category() -> Document:
    """A definition for clusters that Azure lists in another category: there is one such (BuiltInPolicyTest)."""
    return make_definition("elsewhere-99", metadata={"category": "BuiltInPolicyTest"})


def modes(state: AzureState) -> dict[str, int]:
    """How many members are enforced, known to be of another mode, and presumed to be."""
    found = resolve(state, NOW)
    other = [each for each in found if isinstance(each, NotApplied) and each.reason is NotAppliedReason.MODE]
    presumed = sum("presumed" in each.message for each in other)
    enforced = sum(isinstance(each, EffectivePolicy) for each in found)
    assert enforced + len(other) == len(found)
    return {"enforced": enforced, "other": len(other) - presumed, "presumed": presumed}


async def readings(arm: Standin, clock: Clock, count: int, running: Collection[str] = ()) -> list[Reading]:
    """As many reads in turn, a quarter of an hour apart."""
    found = []
    async with ArmReader(arm.settings(CLUSTER_ID), credential=arm.credential(), clock=clock) as reader:
        for _ in range(count):
            found.append(await reader.read((), running))
            clock.now += 900.0
    return found


async def test_the_cloud_security_benchmark_takes_at_most_30_requests_cold() -> None:
    with Standin(benchmark()) as arm:
        [cold] = await readings(arm, Clock(), 1)

    assert cold.requests <= GOAL
    found = modes(cold.state)
    assert found["enforced"] == 16
    assert found["other"] + found["presumed"] == 207


async def test_what_is_presumed_is_read_by_and_by_and_no_read_takes_more_requests_for_it() -> None:
    with Standin(benchmark()) as arm:
        found = await readings(arm, Clock(), 12)

    assert all(each.requests <= GOAL for each in found)
    assert modes(found[-1].state) == {"enforced": 16, "other": 207, "presumed": 0}
    assert found[-1].requests == 4


async def test_a_definition_for_clusters_outside_the_category_is_found() -> None:
    """Why absence from the list of category Kubernetes proves nothing."""
    with Standin([*benchmark(), outside_the_category()]) as arm:
        found = await readings(arm, Clock(), 12)

    assert modes(found[0].state)["enforced"] == 16
    assert modes(found[-1].state) == {"enforced": 17, "other": 206, "presumed": 0}


async def test_a_definition_that_the_cluster_has_objects_of_is_never_presumed_to_be_of_another_mode() -> None:
    """Else its objects would be deleted at each restart, and made again hours later."""
    with Standin([*benchmark(), outside_the_category()]) as arm:
        [cold] = await readings(arm, Clock(), 1, [OUTSIDE.upper()])

    assert cold.requests <= GOAL
    assert modes(cold.state)["enforced"] == 17


async def test_a_new_version_of_a_definition_for_clusters_is_read_at_once() -> None:
    clock = Clock()
    with Standin([*benchmark(), outside_the_category()]) as arm:
        async with ArmReader(arm.settings(CLUSTER_ID), credential=arm.credential(), clock=clock) as reader:
            for _ in range(12):
                await reader.read()
            arm.documents.put(make_definition("elsewhere-99", "1.0.1", metadata={"category": "BuiltInPolicyTest"}))
            for number in range(99):
                arm.documents.put(make_definition(f"elsewhere-{number}", "1.0.1", mode="Indexed", metadata={}))
            clock.now += 3600.0

            state = (await reader.read()).state

    assert modes(state)["enforced"] == 17
    assert {str(each.version) for each in state.definitions[OUTSIDE.casefold()]} == {"1.0.1"}


async def test_a_few_definitions_are_read_at_once_whatever_their_category() -> None:
    members = [make_definition(f"elsewhere-{number}", metadata={"category": "Test"}) for number in range(20)]
    initiative = make_initiative("small", {each["id"]: "1.*.*" for each in members})
    with Standin([make_cluster(), *members, initiative, make_assignment("a", initiative["id"])]) as arm:
        [cold] = await readings(arm, Clock(), 1)

    assert modes(cold.state) == {"enforced": 20, "other": 0, "presumed": 0}
    assert not [each for each in arm.requests if "category" in each.query.get("$filter", "")]


@pytest.mark.parametrize("kind", [FaultKind.HIDDEN, FaultKind.FORBIDDEN, FaultKind.NOT_FOUND])
async def test_where_azure_does_not_list_the_category_everything_is_read_at_once(kind: FaultKind) -> None:
    with Standin(benchmark()) as arm:
        arm.fail(kind, "filter=category", times=ALWAYS)
        [cold] = await readings(arm, Clock(), 1)

    assert modes(cold.state) == {"enforced": 16, "other": 207, "presumed": 0}


async def test_an_export_leaves_nothing_to_be_presumed() -> None:
    with Standin(benchmark()) as arm:
        async with ArmReader(arm.settings(CLUSTER_ID), credential=arm.credential()) as reader:
            reading = await reader.read(thorough=True)

    assert modes(reading.state) == {"enforced": 16, "other": 207, "presumed": 0}


async def test_members_that_ask_for_the_newest_or_for_a_pattern_are_served_from_the_list() -> None:
    """As with an api-version that does not tell effective versions."""
    with Standin(benchmark()) as arm:
        arm.expands = False
        [cold] = await readings(arm, Clock(), 1)

    assert modes(cold.state)["enforced"] == 16
    assert cold.requests <= GOAL


async def test_every_bucket_of_arms_is_told_apart_and_by_the_least_it_held() -> None:
    with Standin([make_cluster(), make_assignment("a", INITIATIVE)]) as arm:
        async with ArmReader(arm.settings(CLUSTER_ID), credential=arm.credential()) as reader:
            await reader.policy_states()
            assert dict(reader.client.remaining) == {
                "policy-insights-requests": BUCKETS["policy-insights-requests"] - 1
            }
            reading = await reader.read()
            arm.remaining["tenant-reads"] = 3
            again = await reader.read([assignment_id("b")])

    assert set(reading.remaining_reads) == {"subscription-reads", "subscription-global-reads", "tenant-reads"}
    assert again.remaining_reads["tenant-reads"] < 3
