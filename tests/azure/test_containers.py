"""resourceGroup() and subscription() in rules: read in one request each, and only where a rule uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.azure.snapshot import read_snapshot, write_snapshot
from controller.policy.resolve import resolve
from tests.azure.faults import FaultKind
from tests.azure.world import CLUSTER_ID, GROUP, SUBSCRIPTION, make_assignment, make_definition
from tests.unit.azure_builders import NOW, outcome

if TYPE_CHECKING:
    from pathlib import Path

    from controller.azure.model import AzureState
    from tests.azure.conftest import OpenReader, Shell
    from tests.azure.standin import Standin

RESOURCE_GROUP: Final = {
    "id": GROUP,
    "name": "shop",
    "type": "Microsoft.Resources/resourceGroups",
    "location": "northeurope",
    "tags": {"stage": "production"},
    "properties": {"provisioningState": "Succeeded"},
}
# Azure tells no type of a subscription.
SUBSCRIPTION_AS_IT_COMES: Final = {
    "id": SUBSCRIPTION,
    "subscriptionId": SUBSCRIPTION.rpartition("/")[2],
    "displayName": "Shops",
    "tenantId": "7e4a0000-0000-0000-0000-000000000001",
    "state": "Enabled",
}
USES: Final = {
    "[resourceGroup().location]": "northeurope",
    "[resourceGroup().name]": "shop",
    "[RESOURCEGROUP( ).tags['stage']]": "production",
    "[resourceGroup().id]": GROUP,
    "[subscription().displayName]": "Shops",
    "[subscription().subscriptionId]": SUBSCRIPTION.rpartition("/")[2],
    "[string(subscription().tags)]": "{}",
}


def put(arm: Standin, value: str, expected: str) -> None:
    """An assignment whose rule is met where an expression yields what is expected."""
    definition = make_definition("around")
    definition["properties"]["policyRule"]["if"] = {"value": value, "equals": expected}
    arm.documents.put(definition)
    arm.documents.put(make_assignment("delta", definition["id"]))
    arm.documents.put(RESOURCE_GROUP)
    arm.documents.put(SUBSCRIPTION_AS_IT_COMES)


def delta(state: AzureState) -> Any:
    """What the assignment delta means."""
    [found] = [each for each in resolve(state, NOW) if each.member.assignment_name == "Assignment delta"]
    return found


def asked(arm: Standin) -> list[str]:
    """Which of the two were asked for."""
    return [each.path for each in arm.requests if each.path in (GROUP, SUBSCRIPTION)]


@pytest.mark.parametrize(("value", "expected"), USES.items())
async def test_what_holds_the_cluster_is_read_where_a_rule_asks_for_it(
    value: str, expected: str, arm: Standin, open_reader: OpenReader
) -> None:
    put(arm, value, expected)

    async with open_reader() as reader:
        found = delta((await reader.read()).state)

    assert outcome(found) == "audit"
    assert asked(arm) == [GROUP if "group" in value.casefold() else SUBSCRIPTION]


async def test_it_is_not_read_where_no_rule_for_clusters_asks_for_it(arm: Standin, open_reader: OpenReader) -> None:
    put(arm, "x", "x")
    indexed = make_definition("indexed", mode="Indexed")
    indexed["properties"]["policyRule"]["if"] = {"field": "location", "notEquals": "[resourceGroup().location]"}
    arm.documents.put(indexed)
    arm.documents.put(make_assignment("epsilon", indexed["id"]))

    async with open_reader() as reader:
        await reader.read()

    assert asked(arm) == []


async def test_a_resource_group_that_may_not_be_read_leaves_the_member_unresolved_and_is_said(
    arm: Standin, open_reader: OpenReader
) -> None:
    put(arm, "[resourceGroup().location]", "northeurope")
    arm.fail(FaultKind.FORBIDDEN, f"{GROUP}\\?", times=1000)

    async with open_reader() as reader:
        reading = await reader.read()

    assert outcome(delta(reading.state)) == "RuleUnknown"
    [lacking] = reading.lacks
    assert f"Microsoft.Resources/subscriptions/resourceGroups/read, at {GROUP}" in lacking


async def test_a_snapshot_carries_both_beside_the_management_groups(
    arm: Standin, open_reader: OpenReader, tmp_path: Path
) -> None:
    put(arm, "[concat(resourceGroup().name, subscription().displayName)]", "shopShops")
    arm.documents.management_groups = frozenset({"corp"})
    sandbox = "/providers/Microsoft.Management/managementGroups/sandbox"
    arm.documents.put(
        make_assignment("zeta", "/providers/Microsoft.Authorization/policyDefinitions/probes", notScopes=[sandbox])
    )
    async with open_reader() as reader:
        reading = await reader.read()

    write_snapshot(tmp_path, reading.documents)

    again = read_snapshot(tmp_path, CLUSTER_ID)
    assert outcome(delta(again)) == "audit"
    assert again.management_groups == reading.state.management_groups is not None


def test_a_snapshot_without_them_leaves_the_member_unresolved_with_advice(
    arm: Standin, shell: Shell, tmp_path: Path
) -> None:
    put(arm, "[resourceGroup().location]", "northeurope")
    shell("export", str(tmp_path / "saved"), *shell.azure)
    [file] = (tmp_path / "saved" / "resourceGroups").iterdir()
    file.unlink()

    _, out, _ = shell("explain", "delta", "--snapshot", str(tmp_path / "saved"), "--cluster-id", CLUSTER_ID)

    assert "resourceGroup()" in out
    assert "its document was not read" in " ".join(out.split())
