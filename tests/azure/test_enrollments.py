"""Assignments whose enforcement mode is Enroll: enforced where an enrollment holds the cluster, else audited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.azure.model import NoEnrollments
from controller.azure.snapshot import read_snapshot, write_snapshot
from controller.policy.model import EffectivePolicy, Unresolved
from controller.policy.resolve import resolve
from tests.azure.faults import FaultKind
from tests.azure.world import (
    CLUSTER_ID,
    GROUP,
    MANAGEMENT_GROUP,
    assignment_id,
    definition_id,
    make_assignment,
    make_enrollment,
)
from tests.unit.azure_builders import NOW

if TYPE_CHECKING:
    from controller.azure.model import AzureState
    from controller.policy.model import Resolution
    from tests.azure.conftest import OpenReader, Shell
    from tests.azure.standin import Standin

ALWAYS: Final = 1000
INSTANCE: Final = "5c438f9f-ab16-47b1-8118-4540de396ab7"
DELTA: Final = assignment_id("delta", MANAGEMENT_GROUP)
RECORDED: Final = Path(__file__).parent / "data" / "03-enroll-assignment-and-enrollment-2026.json"


@pytest.fixture
def enroll(arm: Standin) -> Standin:
    """With an assignment at a management group that is enforced on what is enrolled."""
    arm.documents.put(
        make_assignment(
            "delta", definition_id("probes"), scope=MANAGEMENT_GROUP, enforcementMode="Enroll", instanceId=INSTANCE
        )
    )
    return arm


def delta(state: AzureState) -> Resolution:
    """What the assignment delta means."""
    [found] = [each for each in resolve(state, NOW) if each.member.assignment_name == "Assignment delta"]
    return found


async def read(open_reader: OpenReader) -> AzureState:
    async with open_reader() as reader:
        return (await reader.read()).state


@pytest.mark.parametrize("scope", [MANAGEMENT_GROUP, GROUP, CLUSTER_ID])
@pytest.mark.parametrize(
    ("assignment", "instance"), [(DELTA, INSTANCE), (DELTA.upper(), INSTANCE.upper())], ids=["as is", "another case"]
)
async def test_an_enrollment_that_holds_the_cluster_has_the_assignment_enforced(
    assignment: str, instance: str, scope: str, enroll: Standin, open_reader: OpenReader
) -> None:
    enroll.documents.put(make_enrollment("early", assignment, instance, scope=scope))

    found = delta(await read(open_reader))

    assert isinstance(found, EffectivePolicy)
    assert found.enforcement_mode == "Default"
    assert found.member.enforcement_mode == "Enroll"
    assert any("policyEnrollments/early" in note for note in found.notes)


@pytest.mark.parametrize(
    "enrollment",
    [
        make_enrollment("another", assignment_id("other", MANAGEMENT_GROUP), INSTANCE),
        make_enrollment("former", DELTA, "11111111-1111-4111-8111-111111111111"),
        make_enrollment("elsewhere", DELTA, INSTANCE, scope=f"{GROUP}-other"),
        make_enrollment(
            "regional",
            DELTA,
            INSTANCE,
            resourceSelectors=[{"selectors": [{"kind": "resourceLocation", "in": ["eastus"]}]}],
        ),
    ],
    ids=lambda each: str(each["name"]),
)
async def test_an_enrollment_of_something_else_leaves_the_assignment_audited(
    enrollment: dict[str, Any], enroll: Standin, open_reader: OpenReader
) -> None:
    enroll.documents.put(enrollment)

    found = delta(await read(open_reader))

    assert isinstance(found, EffectivePolicy)
    assert found.enforcement_mode == "Enroll"
    assert any("no enrollment holds the cluster" in note for note in found.notes)


async def test_selectors_of_an_enrollment_that_cannot_be_evaluated_leave_it_unresolved(
    enroll: Standin, open_reader: OpenReader
) -> None:
    selectors = [{"selectors": [{"kind": "userPrincipalId", "in": ["x"]}]}]
    enroll.documents.put(make_enrollment("people", DELTA, INSTANCE, resourceSelectors=selectors))

    found = delta(await read(open_reader))

    assert isinstance(found, Unresolved)
    assert "policyEnrollments/people" in found.message


@pytest.mark.parametrize("kind", [FaultKind.NO_API_VERSION, FaultKind.NO_PROVIDER, FaultKind.NO_RESOURCE_TYPE])
async def test_a_cloud_without_enrollments_enrolls_nothing_and_that_is_said(
    kind: FaultKind, enroll: Standin, open_reader: OpenReader
) -> None:
    enroll.fail(kind, "/policyEnrollments", times=ALWAYS)

    found = delta(await read(open_reader))

    assert isinstance(found, EffectivePolicy)
    assert found.enforcement_mode == "Enroll"
    assert any("enrollments are not to be had here" in note for note in found.notes)


@pytest.mark.parametrize("kind", [FaultKind.FORBIDDEN, FaultKind.HIDDEN])
async def test_enrollments_that_may_not_be_read_leave_the_assignment_as_it_is(
    kind: FaultKind, enroll: Standin, open_reader: OpenReader
) -> None:
    """Else a role that is taken away would turn denials into audits."""
    enroll.fail(kind, "/policyEnrollments", times=ALWAYS)

    async with open_reader() as reader:
        reading = await reader.read()

    found = delta(reading.state)
    assert isinstance(found, Unresolved)
    assert f"Microsoft.Authorization/policyEnrollments/read, at {CLUSTER_ID}" in found.message
    assert any("policyEnrollments/read" in each for each in reading.lacks)


async def test_an_enrollment_that_does_not_parse_leaves_the_assignment_as_it_is(
    enroll: Standin, open_reader: OpenReader
) -> None:
    enroll.documents.put(make_enrollment("broken", DELTA, INSTANCE, resourceSelectors="none"))

    found = delta(await read(open_reader))

    assert isinstance(found, Unresolved)
    assert "policyEnrollments/broken" in found.message


async def test_enrollments_are_asked_for_only_where_an_assignment_has_to_do_with_them(
    arm: Standin, open_reader: OpenReader
) -> None:
    await read(open_reader)

    assert not [each for each in arm.requests if "policyEnrollments" in each.path]


async def test_enrollments_are_asked_for_as_azure_wants_it(enroll: Standin, open_reader: OpenReader) -> None:
    await read(open_reader)

    [asked] = [each for each in enroll.requests if each.path.endswith("/policyEnrollments")]
    assert asked.path == f"{CLUSTER_ID}/providers/Microsoft.Authorization/policyEnrollments"
    assert asked.query == {"api-version": "2026-01-01-preview", "$filter": "atScope()"}


async def test_a_snapshot_carries_enrollments(enroll: Standin, open_reader: OpenReader, tmp_path: Path) -> None:
    enroll.documents.put(make_enrollment("early", DELTA, INSTANCE))
    async with open_reader() as reader:
        reading = await reader.read()

    write_snapshot(tmp_path, reading.documents)

    assert delta(read_snapshot(tmp_path, CLUSTER_ID)) == delta(reading.state)


def test_explain_says_by_what_the_cluster_is_enrolled(enroll: Standin, shell: Shell) -> None:
    enroll.documents.put(make_enrollment("early", DELTA, INSTANCE))

    _, out, _ = shell("explain", "delta", "-o", "json", *shell.azure)
    _, text, _ = shell("explain", "delta", *shell.azure)

    [member] = json.loads(out)["members"]
    assert member["enforcementMode"] == "Enroll"
    assert "enforcementMode is Enroll" in text


def test_the_recorded_enrollment_is_that_of_the_recorded_assignment(tmp_path: Path) -> None:
    recorded = json.loads(RECORDED.read_text())
    enrollments = next(value for name, value in recorded.items() if name.startswith("policyEnrollments"))
    (tmp_path / "a.json").write_text(json.dumps(recorded["assignments"]))
    (tmp_path / "e.json").write_text(json.dumps(enrollments))

    state = read_snapshot(tmp_path, CLUSTER_ID)

    assert not isinstance(state.enrollments, NoEnrollments)
    [assignment], [enrollment] = state.assignments, state.enrollments
    assert (enrollment.assignment_id, enrollment.instance_id) == (assignment.id, assignment.instance_id)
    assert enrollment.scope == assignment.scope
