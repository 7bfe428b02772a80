"""Reading Azure's own verdict on the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.azure.compliance import Component, MemberCompliance, read_compliance
from controller.errors import SourceError
from tests.azure.faults import FaultKind
from tests.azure.world import CLUSTER_ID, MANAGEMENT_GROUP, SUBSCRIPTION, assignment_id, definition_id

if TYPE_CHECKING:
    from tests.azure.conftest import OpenReader, Waits
    from tests.azure.documents import Document
    from tests.azure.standin import Standin

POD = "default/web"
QUERY = "Microsoft.PolicyInsights/policyStates/queryResults"


def make_state(assignment: str, state: str, **properties: object) -> Document:
    """A policy state of the cluster."""
    return {
        "resourceId": CLUSTER_ID,
        "policyAssignmentId": assignment,
        "policyDefinitionId": definition_id("probes"),
        "policyDefinitionReferenceId": "",
        "complianceState": state,
        **properties,
    }


@pytest.fixture
def states(arm: Standin) -> list[Document]:
    """More states than a page holds, one of each sort."""
    components = [
        {"id": POD, "type": "Pod", "name": "web", "complianceState": "NonCompliant"},
        {"id": POD + "2", "type": "Pod", "name": "web2", "complianceState": "Compliant"},
    ]
    arm.states += [
        make_state(assignment_id("gamma", MANAGEMENT_GROUP), "Compliant", policyDefinitionReferenceId="member-0")
        | {"components": [{"id": POD, "type": "Pod", "name": "web"}]},
        make_state(assignment_id("alpha"), "NonCompliant", components=components),
        make_state(assignment_id("beta", SUBSCRIPTION), "Exempt"),
        make_state("/another", "NonCompliant") | {"resourceId": CLUSTER_ID + "2"},
    ]
    return arm.states


@pytest.mark.usefixtures("states")
async def test_every_member_comes_with_its_verdict_and_the_components_at_fault(open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        found = await read_compliance(reader)

    probes = definition_id("probes")
    assert found == (
        MemberCompliance(assignment_id("gamma", MANAGEMENT_GROUP), "member-0", probes, True, "Compliant"),
        MemberCompliance(assignment_id("beta", SUBSCRIPTION), "", probes, None, "Exempt"),
        MemberCompliance(
            assignment_id("alpha"), "", probes, False, "NonCompliant", (Component(POD, "Pod", "default", "web"),)
        ),
    )


@pytest.mark.usefixtures("states")
@pytest.mark.parametrize("kind", [FaultKind.THROTTLED, FaultKind.SERVER_ERROR, FaultKind.CUT, FaultKind.UNAUTHORIZED])
async def test_a_passing_fault_is_not_noticed_although_states_are_asked_for_by_post(
    kind: FaultKind, arm: Standin, open_reader: OpenReader
) -> None:
    arm.fail(kind, "policyStates", after=1)

    async with open_reader() as reader:
        assert len(await read_compliance(reader)) == 3


@pytest.mark.usefixtures("states")
@pytest.mark.parametrize(
    "kind", [FaultKind.FORBIDDEN, FaultKind.ASTRAY, FaultKind.TRUNCATED, FaultKind.SERVER_ERROR, FaultKind.NO_VALUE]
)
async def test_a_lasting_fault_is_an_error_and_never_half_an_answer(
    kind: FaultKind, arm: Standin, open_reader: OpenReader
) -> None:
    arm.fail(kind, "policyStates", times=1000)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match="policyStates"):
            await read_compliance(reader)


@pytest.mark.usefixtures("states")
async def test_a_403_says_which_right_is_missing(arm: Standin, open_reader: OpenReader, waits: Waits) -> None:
    arm.fail(FaultKind.FORBIDDEN, "policyStates")

    async with open_reader() as reader:
        with pytest.raises(SourceError, match=f"a role with {QUERY}/read and {QUERY}/action, at {CLUSTER_ID}"):
            await read_compliance(reader)

    assert waits == []


@pytest.mark.parametrize(
    ("told", "component"),
    [
        ({"id": "default/web", "type": "pod", "name": "web"}, Component("default/web", "pod", "default", "web")),
        ({"id": "team-b", "type": "Namespace", "name": "team-b"}, Component("team-b", "Namespace", "", "team-b")),
        (
            {"componentId": "default/web", "componentType": "Pod", "componentName": "web"},
            Component("default/web", "Pod", "default", "web"),
        ),
        ({"id": "default/web", "type": "Pod"}, Component("default/web", "Pod", "default", "web")),
        ({"type": "Pod", "name": "web"}, Component("", "Pod", None, "web")),
        ({"id": "/default/web", "type": "Pod", "name": "web"}, Component("/default/web", "Pod", None, "web")),
        ({"id": "a/b/c", "type": "Pod"}, Component("a/b/c", "Pod", None, "a/b/c")),
        ({"id": "default/", "type": "Pod", "name": "web"}, Component("default/", "Pod", None, "web")),
        ({"id": "a:b", "type": "ClusterRole"}, Component("a:b", "ClusterRole", "", "a:b")),
    ],
)
async def test_a_component_is_told_by_kind_namespace_and_name(
    told: dict[str, str], component: Component, arm: Standin, open_reader: OpenReader
) -> None:
    arm.states.append(make_state(assignment_id("alpha"), "NonCompliant", components=[told]))

    async with open_reader() as reader:
        [found] = await read_compliance(reader)

    assert found.components == (component,)
