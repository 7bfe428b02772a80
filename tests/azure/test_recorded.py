"""Documents of the real Azure Resource Manager (tests/azure/data), read as they came."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from controller.azure.arm import ArmReader
from controller.azure.compliance import read_compliance
from controller.azure.model import Initiative, PolicyDefinition, Subscription, Unreadable, Version
from controller.azure.parse import parse_resource
from controller.azure.snapshot import read_snapshot
from controller.policy.resolve import resolve
from tests.azure.faults import REFUSALS, Fault
from tests.azure.standin import Standin

DATA: Final = Path(__file__).parent / "data"


def recorded(number: str) -> Any:
    """The document of a number."""
    [file] = DATA.glob(f"{number}-*.json")
    return json.loads(file.read_text())


def parsed(document: dict[str, Any]) -> Any:
    """What a document says."""
    return parse_resource(document, "recorded")


@pytest.mark.parametrize("number", ["01", "02", "04", "05", "06", "07", "09", "11", "12"])
def test_every_recorded_document_is_read(number: str) -> None:
    document = recorded(number)
    entries = document.get("value") or ([document] if "id" in document else list(document.values()))

    found = [parsed(each) for each in entries]

    assert found
    assert not [each for each in found if each is None or isinstance(each, Unreadable)]


def test_assignments_of_a_management_group_keep_their_spelling_and_compare_without_it() -> None:
    first, second, third = map(parsed, recorded("01")["value"])

    assert first.scope.startswith("/providers/microsoft.management/managementgroups/")
    assert second.is_initiative
    assert third.name == "Block VDI creation"
    assert third.definition_id.endswith("/policyDefinitions/Deny VDI creation")
    assert len(third.not_scopes) == 5


def test_an_assignment_of_2026_has_its_selectors_overrides_and_instance() -> None:
    found = parsed(recorded("02"))

    assert found.resource_selectors[0].selectors[0].within == ("northeurope", "uksouth")
    assert [(each.kind, each.value) for each in found.overrides] == [("policyEffect", "Disabled")]
    assert found.instance_id == "2b0b6441-7c53-4d11-84b6-417fa882c2d5"


def test_a_reference_id_that_azure_made_is_taken_as_it_is() -> None:
    definition, initiative = map(parsed, recorded("04")["value"])

    assert isinstance(definition, PolicyDefinition)
    assert isinstance(initiative, Initiative)
    assert [each.reference_id for each in initiative.references] == ["10294428500095118409"]
    assert [each.version for each in initiative.references] == ["1.0.*"]


def test_a_version_of_an_initiative_is_read_as_the_initiative() -> None:
    found = parsed(recorded("05"))

    assert isinstance(found, Initiative)
    assert found.id.endswith("/policySetDefinitions/policySetDefinitionVersionCRUD01")
    assert found.version == Version(1, 3, 1)


def test_exemptions_with_empty_lists_and_an_end_are_read() -> None:
    first, *_ = map(parsed, recorded("06")["value"])

    assert first.expires_on == datetime(2024, 2, 10, 8, tzinfo=UTC)
    assert (first.reference_ids, first.resource_selectors) == ((), ())


def test_a_subscription_right_below_the_root_group_has_that_group_alone_above_it() -> None:
    [entity] = recorded("09")["value"]

    found = parsed(entity)

    assert isinstance(found, Subscription)
    root = "/providers/microsoft.management/managementgroups/41708468-44b6-4710-8c07-16e751e3c3cd"
    assert found.above == frozenset({root})


def test_a_cluster_spelled_as_it_comes_is_the_cluster(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps(recorded("11")))

    cluster = read_snapshot(tmp_path, None).cluster

    assert cluster.type == "Microsoft.ContainerService/managedClusters"
    assert cluster.name == "aks-prod"


def test_a_rollout_that_has_reached_a_part_leaves_its_assignment_unresolved(tmp_path: Path) -> None:
    assignment = recorded("12")["assignment"]
    subscription = assignment["properties"]["scope"]
    cluster = f"{subscription}/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c"
    (tmp_path / "a.json").write_text(json.dumps(assignment))

    [found] = resolve(read_snapshot(tmp_path, cluster), datetime(2026, 1, 1, tzinfo=UTC))

    assert "the rollout has reached 80 %" in getattr(found, "message", "")


def test_every_refusal_that_was_recorded_is_one_that_the_stand_in_gives() -> None:
    given = [refuse(Fault(kind, re.compile(""), times=1, after=0, wait=17)) for kind, refuse in REFUSALS.items()]
    bodies = [each.text for each in given]

    for answer in recorded("10"):
        code = answer["body"].get("error", {}).get("code")
        if code not in (None, "PolicyAssignmentNotFound", "PolicyDefinitionNotFound"):
            assert json.dumps(answer["body"]) in bodies


async def test_recorded_policy_states_are_read_with_their_components() -> None:
    page = recorded("08")
    state = page["value"][0]
    cluster = {**recorded("11"), "id": state["resourceId"]}
    with Standin([cluster]) as arm:
        arm.states.append(state)
        async with ArmReader(arm.settings(state["resourceId"]), credential=arm.credential()) as reader:
            [found] = await read_compliance(reader)

    assert found.compliant is False
    assert found.reference_id == "diagnosticslogsinkeyvaultmonitoring"
    assert len(found.components) == 2
