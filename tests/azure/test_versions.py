"""A version that is not there is told from a definition that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from controller.policy.model import EffectivePolicy, Unresolved
from controller.policy.resolve import resolve
from tests.azure.faults import FaultKind
from tests.azure.world import SUBSCRIPTION, definition_id, make_assignment, make_definition
from tests.unit.azure_builders import NOW

if TYPE_CHECKING:
    from controller.azure.model import AzureState
    from tests.azure.conftest import OpenReader
    from tests.azure.standin import Standin

PROBES, IMAGES = definition_id("probes"), definition_id("images", SUBSCRIPTION)


def delta(state: AzureState) -> Any:
    """What the assignment delta means."""
    [found] = [each for each in resolve(state, NOW) if each.member.assignment_name == "Assignment delta"]
    return found


@pytest.mark.parametrize("version", ["7.*.*", "1.7.*", "7.0.0"])
@pytest.mark.parametrize(("definition", "there"), [(PROBES, "1.0.0, 1.2.0"), (IMAGES, "1.0.0")])
async def test_a_version_that_nothing_matches_is_said_beside_those_that_there_are(
    definition: str, there: str, version: str, arm: Standin, open_reader: OpenReader
) -> None:
    arm.documents.put(make_assignment("delta", definition, definitionVersion=version))

    async with open_reader() as reader:
        found = delta((await reader.read()).state)

    assert isinstance(found, Unresolved)
    assert found.reason == "VersionMissing"
    assert f"version {version} of {definition} is missing, there is only {there}" in found.message


async def test_a_version_that_is_published_later_is_found(arm: Standin, open_reader: OpenReader) -> None:
    arm.documents.put(make_assignment("delta", PROBES, definitionVersion="7.0.0"))
    now = 0.0
    async with open_reader(clock=lambda: now) as reader:
        await reader.read()
        arm.documents.put(make_definition("probes", "7.0.0"))
        now = 3600.0

        found = delta((await reader.read()).state)

    assert isinstance(found, EffectivePolicy)
    assert found.member.version == "7.0.0"


async def test_a_definition_that_is_not_there_is_said_so(arm: Standin, open_reader: OpenReader) -> None:
    arm.documents.put(make_assignment("delta", definition_id("none"), definitionVersion="1.*.*"))

    async with open_reader() as reader:
        found = delta((await reader.read()).state)

    assert found.reason == "DefinitionMissing"


async def test_a_list_of_versions_with_nothing_in_it_does_not_pass_for_their_absence(
    arm: Standin, open_reader: OpenReader
) -> None:
    arm.documents.put(make_definition("secret"))
    arm.documents.put(make_assignment("delta", definition_id("secret"), definitionVersion="7.*.*"))
    arm.fail(FaultKind.HIDDEN, "policyDefinitions/secret", times=1000)

    async with open_reader() as reader:
        found = delta((await reader.read()).state)

    assert found.reason == "Unreadable"
    assert "policyDefinitions/read" in found.message
