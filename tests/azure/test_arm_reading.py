"""What a read brings, and with how few requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from controller.azure.access import ApiVersions
from controller.azure.arm import ArmReader
from controller.azure.clouds import CLOUDS
from controller.azure.model import Version
from controller.azure.snapshot import read_snapshot, write_snapshot
from controller.errors import InputError
from tests.azure.faults import FaultKind
from tests.azure.standin import TENANT_ID, Standin
from tests.azure.world import (
    CLUSTER_ID,
    GROUP,
    MANAGEMENT_GROUP,
    SUBSCRIPTION,
    assignment_id,
    definition_id,
    initiative_id,
    make_assignment,
    make_cluster,
    make_definition,
    make_exemption,
    make_initiative,
)

if TYPE_CHECKING:
    from pathlib import Path

    from controller.azure.model import AzureState
    from tests.azure.conftest import OpenReader

PROBES = definition_id("probes")


@dataclass(slots=True)
class Clock:
    """A clock that a test moves, in seconds."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def versions_of(state: AzureState, resource_id: str) -> set[str]:
    """The versions that a state holds of a definition or initiative."""
    key = resource_id.casefold()
    definitions, initiatives = state.definitions.get(key, ()), state.initiatives.get(key, ())
    return {str(each.version) for each in definitions} | {str(each.version) for each in initiatives}


def asked_paths(arm: Standin) -> list[str]:
    """The last part of what was asked for, below the provider."""
    return [each.path.rpartition("/providers/")[2] for each in arm.requests]


async def test_a_read_brings_what_applies_to_the_cluster(open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        state = (await reader.read()).state

    assert {each.name for each in state.assignments} == {"alpha", "beta", "gamma"}
    assert [each.assignment_id for each in state.exemptions] == [assignment_id("alpha")]
    assert state.cluster.document is not None
    assert state.cluster.document["location"] == "westeurope"
    assert versions_of(state, PROBES) == {"1.2.0"}
    assert versions_of(state, definition_id("images", SUBSCRIPTION)) == {"1.0.0"}
    assert versions_of(state, initiative_id("baseline")) == {"1.0.0"}
    assert not state.unreadable


async def test_assignments_beside_and_below_the_cluster_are_no_part_of_it(
    arm: Standin, open_reader: OpenReader
) -> None:
    arm.documents.put(make_assignment("beside", PROBES, scope=f"{GROUP}2"))
    arm.documents.put(make_assignment("below", PROBES, scope=f"{CLUSTER_ID}/agentPools/one"))

    async with open_reader() as reader:
        state = (await reader.read()).state

    assert {each.name for each in state.assignments} == {"alpha", "beta", "gamma"}


async def test_a_connected_cluster_is_read_alike() -> None:
    arc = f"{GROUP}/providers/Microsoft.Kubernetes/connectedClusters/edge"
    with Standin([make_cluster(arc), make_definition("probes"), make_assignment("alpha", PROBES, scope=arc)]) as arm:
        async with ArmReader(arm.settings(arc), credential=arm.credential()) as reader:
            state = (await reader.read()).state

    assert state.cluster.type == "Microsoft.Kubernetes/connectedClusters"
    assert [each.name for each in state.assignments] == ["alpha"]
    [asked] = [each for each in arm.requests if each.path == arc]
    assert asked.query == {"api-version": ApiVersions().connected_clusters}


async def test_names_that_need_quoting_are_found(arm: Standin, open_reader: OpenReader) -> None:
    name = "a b#c{d}%e'ü?"
    arm.documents.put(make_definition(name, scope=SUBSCRIPTION))
    arm.documents.put(make_assignment(name, definition_id(name, SUBSCRIPTION), definitionVersion="1.0.0"))

    async with open_reader() as reader:
        known = [assignment_id(name), assignment_id(f"{name} gone")]
        state = (await reader.read(known)).state

    assert versions_of(state, definition_id(name, SUBSCRIPTION)) == {"1.0.0"}
    assert state.gone == {assignment_id(f"{name} gone").casefold()}


async def test_an_id_that_is_no_cluster_is_refused_before_anything_is_asked(arm: Standin) -> None:
    with pytest.raises(InputError, match="is not a cluster's id"):
        ArmReader(arm.settings(f"{GROUP}/providers/Microsoft.Compute/virtualMachines/one"), credential=arm.credential())

    assert arm.requests == []


@pytest.mark.parametrize(
    ("selectors", "brought"),
    [
        ([{"kind": "policyDefinitionReferenceId", "in": ["Member-0"]}], {"1.2.0", "2.0.0", "2.1.0"}),
        ([{"kind": "policyDefinitionReferenceId", "notIn": ["member-1"]}], {"1.2.0", "2.0.0", "2.1.0"}),
        ([{"kind": "policyDefinitionReferenceId", "in": ["member-1"]}], {"1.2.0"}),
        ([{"kind": "policyDefinitionReferenceId", "notIn": ["member-0"]}], {"1.2.0"}),
        ([{"kind": "resourceLocation", "in": ["westeurope"]}], {"1.2.0"}),
    ],
)
async def test_an_override_brings_the_versions_of_the_members_that_it_selects(
    selectors: list[dict[str, object]], brought: set[str], arm: Standin, open_reader: OpenReader
) -> None:
    for version in ("2.0.0", "2.1.0", "3.0.0"):
        arm.documents.put(make_definition("probes", version))
    overrides = [{"kind": "definitionVersion", "value": "2.*.*", "selectors": selectors}]
    gamma = make_assignment("gamma", initiative_id("baseline"), scope=MANAGEMENT_GROUP, overrides=overrides)
    arm.documents.put(gamma)

    async with open_reader() as reader:
        state = (await reader.read()).state

    assert versions_of(state, PROBES) == brought


async def test_an_override_that_names_no_member_is_for_what_is_assigned(arm: Standin, open_reader: OpenReader) -> None:
    arm.documents.put(make_initiative("baseline", {PROBES: "1.*.*"}, "2.0.0"))
    override = {"kind": "definitionVersion", "value": "2.*.*"}
    settings = {"definitionVersion": "1.*.*", "overrides": [override]}
    arm.documents.put(make_assignment("gamma", initiative_id("baseline"), scope=MANAGEMENT_GROUP, **settings))

    async with open_reader() as reader:
        state = (await reader.read()).state

    assert versions_of(state, initiative_id("baseline")) == {"1.0.0", "2.0.0"}


async def test_without_effective_versions_the_pattern_finds_them(arm: Standin, open_reader: OpenReader) -> None:
    arm.expands = False
    arm.documents.put(make_definition("probes", "2.0.0"))

    async with open_reader() as reader:
        state = (await reader.read()).state

    assert versions_of(state, PROBES) == {"1.0.0", "1.2.0"}
    assert versions_of(state, initiative_id("baseline")) == {"1.0.0"}


async def test_an_older_version_of_a_custom_definition_is_found_beside_its_head(
    arm: Standin, open_reader: OpenReader
) -> None:
    arm.documents.put(make_definition("images", "2.0.0", scope=SUBSCRIPTION))
    images = definition_id("images", SUBSCRIPTION)
    arm.documents.put(make_assignment("beta", images, scope=SUBSCRIPTION, definitionVersion="1.*.*"))

    async with open_reader() as reader:
        state = (await reader.read()).state

    assert versions_of(state, images) == {"1.0.0", "2.0.0"}


async def test_a_custom_definition_changed_in_place_is_seen_at_the_next_read(
    arm: Standin, open_reader: OpenReader
) -> None:
    images = definition_id("images", SUBSCRIPTION)
    async with open_reader() as reader:
        await reader.read()
        arm.documents.put(make_definition("images", scope=SUBSCRIPTION, displayName="Changed"))

        state = (await reader.read()).state

    [definition] = state.definitions[images.casefold()]
    assert definition.display_name == "Changed"


async def test_what_cannot_change_is_asked_for_once(arm: Standin, open_reader: OpenReader) -> None:
    clock = Clock()
    async with open_reader(clock=clock) as reader:
        await reader.read()
        arm.requests.clear()
        clock.now = 30 * 86400.0

        await reader.read()

    assert "Microsoft.Authorization/policyDefinitions/probes/versions/1.2.0" not in asked_paths(arm)


async def test_what_is_no_longer_in_use_is_forgotten(arm: Standin, open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        await reader.read()
        arm.documents.delete(assignment_id("alpha"))
        arm.documents.delete(assignment_id("gamma", MANAGEMENT_GROUP))
        await reader.read()
        arm.documents.put(make_assignment("alpha", PROBES))
        arm.requests.clear()

        await reader.read()

    assert "Microsoft.Authorization/policyDefinitions/probes/versions/1.2.0" in asked_paths(arm)


async def test_a_scope_is_asked_only_for_what_it_holds_itself(arm: Standin, open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        await reader.read()

    lists = [each for each in arm.requests if each.path.endswith("/policyDefinitions")]
    assert [each.query["$filter"] for each in lists] == ["atExactScope()"]


async def test_a_built_in_initiative_is_asked_again_after_an_hour_since_its_members_float(
    arm: Standin, open_reader: OpenReader
) -> None:
    clock = Clock()
    async with open_reader(clock=clock) as reader:
        await reader.read()
        arm.documents.put(make_definition("probes", "1.3.0"))
        arm.documents.delete(assignment_id("alpha"))
        clock.now = 3599
        before = (await reader.read()).state
        clock.now = 3600

        after = (await reader.read()).state

    assert versions_of(before, PROBES) == {"1.2.0"}
    assert versions_of(after, PROBES) == {"1.3.0"}


async def test_a_floating_assignment_follows_its_effective_version_at_once(
    arm: Standin, open_reader: OpenReader
) -> None:
    async with open_reader() as reader:
        await reader.read()
        arm.documents.put(make_definition("probes", "1.3.0"))

        state = (await reader.read()).state

    assert "1.3.0" in versions_of(state, PROBES)


async def test_remaining_reads_are_told(arm: Standin, open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        reading = await reader.read()

    assert set(reading.remaining_reads) == {"subscription-reads", "subscription-global-reads", "tenant-reads"}
    assert all(left == arm.remaining[bucket] for bucket, left in reading.remaining_reads.items())
    assert reading.requests == len(arm.requests)


@pytest.fixture
def excluding(arm: Standin) -> Standin:
    """A stand-in with an assignment that excludes a management group, and another above the cluster."""
    arm.documents.management_groups = frozenset({"corp"})
    sandbox = "/providers/Microsoft.Management/managementGroups/sandbox"
    arm.documents.put(make_assignment("delta", PROBES, scope=MANAGEMENT_GROUP, notScopes=[sandbox]))
    return arm


async def test_the_management_groups_above_are_asked_for_where_one_is_excluded(
    excluding: Standin, open_reader: OpenReader
) -> None:
    async with open_reader() as reader:
        state = (await reader.read()).state

    root = f"/providers/microsoft.management/managementgroups/{TENANT_ID}"
    assert state.management_groups == frozenset({MANAGEMENT_GROUP.casefold(), root})
    [asked] = [each for each in excluding.requests if "getEntities" in each.path]
    assert (asked.method, asked.headers["cache-control"]) == ("POST", "no-cache")


async def test_the_management_groups_above_are_not_asked_for_otherwise(arm: Standin, open_reader: OpenReader) -> None:
    arm.documents.management_groups = frozenset({"corp"})

    async with open_reader() as reader:
        state = (await reader.read()).state

    assert state.management_groups is None
    assert not [each for each in arm.requests if "getEntities" in each.path]


async def test_a_chain_that_does_not_reach_the_root_is_not_believed(
    excluding: Standin, open_reader: OpenReader
) -> None:
    excluding.shows_root = False

    async with open_reader() as reader:
        assert (await reader.read()).state.management_groups is None


async def test_a_chain_without_a_group_that_assigns_to_the_cluster_is_not_believed(
    excluding: Standin, open_reader: OpenReader
) -> None:
    moved = make_assignment("moved", PROBES, scope=MANAGEMENT_GROUP)
    excluding.documents.put(moved)
    excluding.before("getEntities", lambda: setattr(excluding.documents, "management_groups", frozenset({"another"})))

    async with open_reader() as reader:
        assert (await reader.read()).state.management_groups is None


async def test_a_hierarchy_that_may_not_be_seen_is_not_known_and_the_rest_goes_on(
    excluding: Standin, open_reader: OpenReader
) -> None:
    excluding.fail(FaultKind.FORBIDDEN, "getEntities")

    async with open_reader() as reader:
        state = (await reader.read()).state

    assert state.management_groups is None
    assert len(state.assignments) == 4


def a_hundred_assignments(custom: int) -> Standin:
    """A hundred assignments of a 27-member initiative's like and of its members, `custom` of them of custom ones."""
    members = [make_definition(f"built-in-{number}", "1.4.0") for number in range(27)]
    own = [make_definition(f"own-{number}", scope=SUBSCRIPTION) for number in range(5)]
    initiative = make_initiative("baseline", {each["id"]: "1.*.*" for each in members})
    assigned = [initiative["id"], *(each["id"] for each in members)]
    assignments = [
        make_assignment(f"a-{number}", own[number % 5]["id"] if number < custom else assigned[number % 28])
        for number in range(100)
    ]
    return Standin([make_cluster(), *members, *own, initiative, *assignments], page_size=500)


@pytest.mark.parametrize(("custom", "first", "settled"), [(0, 6, 4), (20, 7, 5)])
async def test_requests_at_a_hundred_assignments(custom: int, first: int, settled: int) -> None:
    """The cluster, the assignments, the exemptions and the proof that there are none; a list per scope.

    First also the initiative, and the built-ins of category Kubernetes, which are all its members.
    """
    clock = Clock()
    with a_hundred_assignments(custom) as arm:
        async with ArmReader(arm.settings(CLUSTER_ID), credential=arm.credential(), clock=clock) as reader:
            readings = [await reader.read()]
            for hour in range(3):
                clock.now = hour * 1200.0
                readings.append(await reader.read([assignment_id(f"a-{number}") for number in range(100)]))
            clock.now = 3600.0
            hourly = await reader.read()

    print(f"requests at 100 assignments: first {readings[0].requests}, settled {readings[-1].requests}")
    assert [each.requests for each in readings] == [first, settled, settled, settled]
    assert hourly.requests == settled + 1


async def test_an_export_reads_back_as_the_same_state(arm: Standin, open_reader: OpenReader, tmp_path: Path) -> None:
    for version in ("2.0.0", "2.1.0", "2.2.0-preview"):
        arm.documents.put(make_definition("probes", version))
    arm.documents.put(make_initiative("own", {PROBES: "2.*.*-preview"}, scope=MANAGEMENT_GROUP))
    arm.documents.put(make_assignment("delta", initiative_id("own", MANAGEMENT_GROUP), scope=GROUP))
    arm.documents.put(make_exemption("late", assignment_id("delta", GROUP), scope=GROUP))
    async with open_reader() as reader:
        reading = await reader.read()

    write_snapshot(tmp_path, reading.documents)

    assert ordered(read_snapshot(tmp_path, CLUSTER_ID)) == ordered(reading.state)


def ordered(state: AzureState) -> AzureState:
    """The state with everything in one order: files come by name, ARM's answers by id."""
    return replace(
        state,
        assignments=tuple(sorted(state.assignments, key=lambda each: each.id)),
        exemptions=tuple(sorted(state.exemptions, key=lambda each: each.id)),
        definitions={
            key: tuple(sorted(found, key=lambda each: each.version or Version(0, 0, 0)))
            for key, found in state.definitions.items()
        },
    )


def test_the_clouds_are_those_that_the_sdk_knows() -> None:
    from azure.core import AzureClouds
    from azure.identity import AzureAuthorityHosts
    from azure.mgmt.core.tools import get_arm_endpoints

    known = [
        (AzureClouds.AZURE_PUBLIC_CLOUD, AzureAuthorityHosts.AZURE_PUBLIC_CLOUD),
        (AzureClouds.AZURE_US_GOVERNMENT, AzureAuthorityHosts.AZURE_GOVERNMENT),
        (AzureClouds.AZURE_CHINA_CLOUD, AzureAuthorityHosts.AZURE_CHINA),
    ]
    for cloud, (name, authority) in zip(CLOUDS.values(), known, strict=True):
        endpoints = get_arm_endpoints(name)
        assert f"{cloud.endpoint}/" == endpoints["resource_manager"]
        assert [cloud.token_scope] == endpoints["credential_scopes"]
        assert cloud.authority == f"https://{authority}"
