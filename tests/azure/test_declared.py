"""A cluster that Azure does not know, read from the stand-in: its scope is asked, it itself never is."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.azure.arm import ArmReader
from controller.azure.declared import DeclaredCluster
from controller.azure.snapshot import read_snapshot, write_snapshot
from controller.errors import SourceError
from controller.policy.resolve import resolve
from tests.azure.faults import FaultKind
from tests.azure.standin import TENANT_ID
from tests.azure.world import (
    GROUP,
    MANAGEMENT_GROUP,
    SUBSCRIPTION,
    assignment_id,
    definition_id,
    make_assignment,
    make_definition,
    make_enrollment,
    make_exemption,
)
from tests.unit.azure_builders import NOW, outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from controller.azure.model import AzureState
    from tests.azure.conftest import Shell
    from tests.azure.standin import Standin

GROUPS: Final = "/providers/Microsoft.Management/managementGroups"
ROOT: Final = f"{GROUPS}/{TENANT_ID}"
ABOVE, BELOW, ASIDE = f"{GROUPS}/contoso", f"{GROUPS}/tills", f"{GROUPS}/sandbox"
PROBES: Final = definition_id("probes")
ALWAYS: Final = 1000


def declare(scope: str) -> DeclaredCluster:
    """A kind cluster in a scope."""
    return DeclaredCluster(scope, "kind", location="westeurope", tags=(("team", "shop"),))


@asynccontextmanager
async def reader_of(arm: Standin, scope: str) -> AsyncIterator[ArmReader]:
    """Reads a declared cluster."""
    async with ArmReader(arm.settings(declare(scope).resource()), credential=arm.credential()) as reader:
        yield reader


async def read(arm: Standin, scope: str, *known: str) -> AzureState:
    async with reader_of(arm, scope) as reader:
        return (await reader.read(known)).state


@pytest.fixture
def hierarchy(arm: Standin) -> Standin:
    """An assignment at each level: contoso above corp above the subscription above the group, tills beside it."""
    for scope in (ABOVE, BELOW, GROUP):
        arm.documents.put(make_assignment(f"at-{scope.rpartition('/')[2]}", PROBES, scope=scope))
    arm.documents.management_groups = frozenset({"corp", "contoso"})
    arm.documents.groups_above = {MANAGEMENT_GROUP.casefold(): ("contoso",)}
    return arm


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        (GROUP, {"at-shop", "beta", "gamma", "at-contoso"}),
        (SUBSCRIPTION, {"beta", "gamma", "at-contoso"}),
        (MANAGEMENT_GROUP, {"gamma", "at-contoso"}),
    ],
)
async def test_what_is_assigned_at_and_above_the_scope_applies(scope: str, names: set[str], hierarchy: Standin) -> None:
    state = await read(hierarchy, scope)

    assert {each.name for each in state.assignments} == names
    assert {outcome(each) for each in resolve(state, NOW)} <= {"audit", "RuleNotMet"}


@pytest.mark.parametrize("scope", [GROUP, SUBSCRIPTION, MANAGEMENT_GROUP])
async def test_nothing_is_asked_of_the_clusters_own_resource(scope: str, hierarchy: Standin) -> None:
    cluster = declare(scope).resource()

    state = await read(hierarchy, scope)

    assert state.cluster == cluster
    lists = f"{scope}/providers/Microsoft.Authorization/policy".casefold()
    asked = [each.path.casefold() for each in hierarchy.requests]
    assert not [path for path in asked if "azpolicy.dev" in path or "clusters" in path]
    assert {f"{lists}assignments", f"{lists}exemptions"} <= set(asked)


async def test_the_if_of_a_rule_sees_the_declared_document_alone(arm: Standin) -> None:
    definition = make_definition("tagged")
    definition["properties"]["policyRule"]["if"] = {
        "allOf": [
            {"field": "type", "equals": "Microsoft.Kubernetes/connectedClusters"},
            {"field": "tags.team", "equals": "shop"},
            {"field": "location", "in": ["westeurope"]},
        ]
    }
    arm.documents.put(definition)
    arm.documents.put(make_assignment("tagged", definition["id"], scope=SUBSCRIPTION))

    state = await read(arm, SUBSCRIPTION)

    [found] = [each for each in resolve(state, NOW) if each.member.assignment_name == "Assignment tagged"]
    assert outcome(found) == "audit"


async def test_exemptions_and_enrollments_of_the_scope_hold(arm: Standin) -> None:
    arm.documents.put(make_exemption("closed", assignment_id("beta", SUBSCRIPTION), scope=SUBSCRIPTION))
    arm.documents.put(
        make_assignment("enrolled", PROBES, scope=SUBSCRIPTION, enforcementMode="Enroll", instanceId="i-1")
    )
    arm.documents.put(make_enrollment("in", assignment_id("enrolled", SUBSCRIPTION), "i-1", scope=SUBSCRIPTION))

    state = await read(arm, SUBSCRIPTION)

    assert [each.id.rpartition("/")[2] for each in state.exemptions] == ["closed"]
    assert isinstance(state.enrollments, tuple)
    assert [each.scope for each in state.enrollments] == [SUBSCRIPTION]


async def test_an_empty_list_that_may_not_be_read_names_the_scope(arm: Standin) -> None:
    arm.fail(FaultKind.HIDDEN, "/policyAssignments", times=ALWAYS)

    with pytest.raises(SourceError, match=f"Microsoft.Authorization/policyAssignments/read, at {SUBSCRIPTION}"):
        await read(arm, SUBSCRIPTION)


async def test_a_scope_where_truly_nothing_is_assigned_is_a_whole_answer(arm: Standin) -> None:
    for gone in (assignment_id("beta", SUBSCRIPTION), assignment_id("gamma", MANAGEMENT_GROUP)):
        arm.documents.delete(gone)

    assert (await read(arm, SUBSCRIPTION)).assignments == ()


@pytest.mark.parametrize("scope", [SUBSCRIPTION, MANAGEMENT_GROUP])
async def test_what_was_deleted_or_is_assigned_elsewhere_is_proven_gone(scope: str, hierarchy: Standin) -> None:
    deleted, aside = assignment_id("deleted", scope), assignment_id("at-tills", BELOW)

    state = await read(hierarchy, scope, deleted, aside)

    assert state.gone == {deleted.casefold(), aside.casefold()}


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [(MANAGEMENT_GROUP, "NotScopes"), (ABOVE, "NotScopes"), (ROOT, "NotScopes"), (ASIDE, "audit")],
)
async def test_the_groups_above_a_management_group_are_told(excluded: str, expected: str, hierarchy: Standin) -> None:
    hierarchy.documents.put(make_assignment("outer", PROBES, scope=ABOVE, notScopes=[excluded]))
    rule = {"field": "type", "equals": "Microsoft.Kubernetes/connectedClusters"}
    for version in ("1.0.0", "1.2.0"):
        definition = make_definition("probes", version)
        definition["properties"]["policyRule"]["if"] = rule
        hierarchy.documents.put(definition)

    state = await read(hierarchy, MANAGEMENT_GROUP)

    [found] = [each for each in resolve(state, NOW) if each.member.assignment_name == "Assignment outer"]
    assert outcome(found) == expected


async def test_groups_that_are_not_told_up_to_the_root_are_not_believed(hierarchy: Standin) -> None:
    hierarchy.documents.put(make_assignment("outer", PROBES, scope=ABOVE, notScopes=[ASIDE]))
    hierarchy.shows_root = False

    assert (await read(hierarchy, MANAGEMENT_GROUP)).management_groups is None


@pytest.mark.parametrize(("scope", "expected"), [(GROUP, "audit"), (SUBSCRIPTION, "RuleUnknown")])
async def test_the_resource_group_is_read_where_the_scope_names_one(scope: str, expected: str, arm: Standin) -> None:
    definition = make_definition("around")
    definition["properties"]["policyRule"]["if"] = {"value": "[resourceGroup().name]", "equals": "shop"}
    arm.documents.put(definition)
    arm.documents.put(make_assignment("around", definition["id"], scope=SUBSCRIPTION))
    arm.documents.put({"id": GROUP, "name": "shop", "type": "Microsoft.Resources/resourceGroups", "tags": {}})

    state = await read(arm, scope)

    [found] = [each for each in resolve(state, NOW) if each.member.assignment_name == "Assignment around"]
    assert outcome(found) == expected


async def test_a_snapshot_of_it_means_the_same(hierarchy: Standin, tmp_path: Path) -> None:
    hierarchy.documents.put(make_assignment("outer", PROBES, scope=ABOVE, notScopes=[ASIDE]))
    async with reader_of(hierarchy, MANAGEMENT_GROUP) as reader:
        reading = await reader.read()

    write_snapshot(tmp_path, reading.documents)

    again = read_snapshot(tmp_path, None)
    assert again.cluster == reading.state.cluster
    assert again.management_groups == reading.state.management_groups is not None
    assert {*resolve(again, NOW)} == {*resolve(reading.state, NOW)}


# --- the commands ----------------------------------------------------------------------------------------------------

OPTIONS: Final = (
    *("--cluster-scope", SUBSCRIPTION, "--cluster-name", "kind", "--cluster-location", "westeurope"),
    *("--cluster-tag", "team=shop", "--cluster-tag", "cost center=47 11"),
)
KIND_ID: Final = f"{SUBSCRIPTION}/providers/azpolicy.dev/connectedClusters/kind"


@pytest.fixture
def declaring(shell: Shell) -> Shell:
    """A shell without --cluster-id."""
    shell.azure = shell.azure[2:]
    return shell


def told(out: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(out)
    return document


def test_explain_tells_a_declared_cluster_from_a_real_one(declaring: Shell, arm: Standin) -> None:
    _, text, _ = declaring("explain", *OPTIONS, *declaring.azure)
    _, declared, _ = declaring("explain", *OPTIONS, "-o", "json", *declaring.azure)
    real_id = arm.documents.collection(GROUP, "policyAssignments", "")[0]["properties"]["scope"]
    _, plain, _ = declaring("explain", "--cluster-id", real_id, *declaring.azure)
    _, real, _ = declaring("explain", "--cluster-id", real_id, "-o", "json", *declaring.azure)

    assert f"{KIND_ID} (declared, no resource in Azure)" in " ".join(text.split())
    assert (told(declared)["clusterId"], told(declared)["clusterDeclared"]) == (KIND_ID, True)
    assert "declared" not in plain
    assert (told(real)["clusterId"], told(real)["clusterDeclared"]) == (real_id, False)


def test_the_variables_say_the_same_as_the_options(
    declaring: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    declaring("export", str(tmp_path / "options"), *OPTIONS, *declaring.azure)
    monkeypatch.setenv("AZPOLICY_CLUSTER_SCOPE", SUBSCRIPTION)
    monkeypatch.setenv("AZPOLICY_CLUSTER_NAME", "kind")
    monkeypatch.setenv("AZPOLICY_CLUSTER_LOCATION", "westeurope")
    monkeypatch.setenv("AZPOLICY_CLUSTER_TYPE", "connectedClusters")
    monkeypatch.setenv("AZPOLICY_CLUSTER_TAGS", "team=shop\ncost center=47 11")
    code, _, _ = declaring("export", str(tmp_path / "variables"), *declaring.azure)

    by_options, by_variables = (read_snapshot(tmp_path / name, None) for name in ("options", "variables"))
    assert code == 0
    assert by_variables.cluster == by_options.cluster
    assert by_variables.cluster.document is not None
    assert by_variables.cluster.document["tags"] == {"team": "shop", "cost center": "47 11"}


def test_compare_says_that_azure_holds_nothing_of_a_declared_cluster(declaring: Shell, arm: Standin) -> None:
    code, _, err = declaring("compare", *OPTIONS, *declaring.azure)

    assert code == 2
    assert f"{KIND_ID} is a declared cluster: Azure holds no compliance of it" in err
    assert not arm.requests


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cluster-scope", SUBSCRIPTION], "give --cluster-name"),
        (["--cluster-name", "kind"], "needs --cluster-scope"),
        (["--cluster-tag", "team=shop"], "needs --cluster-scope"),
        ([*OPTIONS, "--cluster-id", "/x"], "give either"),
        (["--cluster-id", KIND_ID], "declare it with --cluster-scope and --cluster-name"),
        ([*OPTIONS, "--cluster-tag", "team"], "give NAME=VALUE"),
        (["--cluster-id", f"{GROUP}/providers/Microsoft.Compute/virtualMachines/one"], "is not a cluster's id"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_asked(
    options: list[str], message: str, declaring: Shell, arm: Standin
) -> None:
    code, _, err = declaring("explain", *options, *declaring.azure)

    assert code == 2
    assert message in " ".join(err.split())
    assert not arm.requests
