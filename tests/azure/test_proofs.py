"""What Azure's answers prove: an empty list is not "nothing", and few of its 404s mean that an assignment is gone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from controller.errors import SourceError
from tests.azure.faults import FaultKind
from tests.azure.world import (
    CLUSTER_ID,
    GROUP,
    MANAGEMENT_GROUP,
    SUBSCRIPTION,
    assignment_id,
    definition_id,
    make_assignment,
)

if TYPE_CHECKING:
    from tests.azure.conftest import OpenReader
    from tests.azure.standin import Standin

ALWAYS = 1000
ALPHA, BETA, GAMMA = (
    assignment_id("alpha"),
    assignment_id("beta", SUBSCRIPTION),
    assignment_id("gamma", MANAGEMENT_GROUP),
)
WAIVER = f"{CLUSTER_ID}/providers/Microsoft.Authorization/policyExemptions/waiver"
NO_PROOF = [
    FaultKind.FORBIDDEN,
    FaultKind.NOT_FOUND,
    FaultKind.NO_SUBSCRIPTION,
    FaultKind.NO_RESOURCE_TYPE,
    FaultKind.UNSUPPORTED_TYPE,
    FaultKind.NOT_FOUND_BY_GATEWAY,
]


@pytest.mark.parametrize("collection", ["policyAssignments", "policyExemptions"])
async def test_an_empty_list_that_may_not_be_read_ends_the_read_and_names_the_right(
    collection: str, arm: Standin, open_reader: OpenReader
) -> None:
    arm.fail(FaultKind.HIDDEN, f"/{collection}", times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match=re.escape(f"Microsoft.Authorization/{collection}/read, at {CLUSTER_ID}")):
            await reader.read()


async def test_lists_that_are_truly_empty_are_a_whole_answer(arm: Standin, open_reader: OpenReader) -> None:
    for gone in (ALPHA, BETA, GAMMA, WAIVER):
        arm.documents.delete(gone)

    async with open_reader() as reader:
        state = (await reader.read([ALPHA])).state

    assert (state.assignments, state.exemptions) == ((), ())
    assert state.gone == {ALPHA.casefold()}


@pytest.mark.parametrize("kind", [FaultKind.NOT_FOUND, FaultKind.NO_SUBSCRIPTION, FaultKind.NO_RESOURCE_TYPE])
async def test_an_empty_list_that_another_404_speaks_for_is_not_believed(
    kind: FaultKind, arm: Standin, open_reader: OpenReader
) -> None:
    arm.documents.delete(WAIVER)
    arm.fail(kind, "/policyExemptions/", times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match="lists no policyExemptions, which does not prove that there are none"):
            await reader.read()


async def test_a_list_with_something_in_it_is_not_asked_about_again(arm: Standin, open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        await reader.read()

    assert not [each for each in arm.requests if re.search("/(policyAssignments|policyExemptions)/", each.path)]


@pytest.mark.parametrize("kind", NO_PROOF)
async def test_an_answer_that_does_not_speak_of_the_assignment_proves_no_deletion(
    kind: FaultKind, arm: Standin, open_reader: OpenReader
) -> None:
    arm.documents.delete(ALPHA)
    arm.fail(kind, "/policyAssignments/alpha", times=ALWAYS)

    async with open_reader() as reader:
        state = (await reader.read([ALPHA, BETA])).state

    assert state.gone == frozenset()


async def test_a_malformed_id_that_an_object_bears_proves_nothing_and_is_not_asked_for(
    arm: Standin, open_reader: OpenReader
) -> None:
    forged = ["forged", "/", f"{GROUP}/providers/Microsoft.Compute/virtualMachines/one", "https://elsewhere.test/x"]

    async with open_reader() as reader:
        state = (await reader.read([*forged, ALPHA])).state

    assert state.gone == frozenset()
    assert len(state.assignments) == 3
    assert not [each for each in arm.requests if re.search("forged|virtualMachines|elsewhere", each.path)]


async def test_an_assignment_that_answers_while_the_list_is_empty_is_not_gone(
    arm: Standin, open_reader: OpenReader
) -> None:
    """The right to one assignment is not the right to the list; all the objects of a cluster would go otherwise."""
    arm.fail(FaultKind.HIDDEN, "/policyAssignments\\?", times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match=r"lacks .*(alpha|beta), which still applies"):
            await reader.read([ALPHA, BETA, GAMMA])


async def test_an_assignment_has_moved_when_its_own_not_scopes_hold_the_cluster(
    arm: Standin, open_reader: OpenReader
) -> None:
    excluded = make_assignment("beta", definition_id("probes"), scope=SUBSCRIPTION, notScopes=[GROUP])
    arm.documents.put(excluded)
    arm.documents.hidden.add(BETA.casefold())

    async with open_reader() as reader:
        state = (await reader.read([BETA])).state

    assert state.gone == {BETA.casefold()}


async def test_an_assignment_of_a_management_group_that_cannot_be_placed_is_not_proven_to_have_moved(
    arm: Standin, open_reader: OpenReader
) -> None:
    arm.documents.management_groups = frozenset({"another"})
    arm.shows_root = False

    async with open_reader() as reader:
        state = (await reader.read([GAMMA])).state

    assert state.gone == frozenset()
    assert {each.name for each in state.assignments} == {"alpha", "beta"}


async def test_an_assignment_of_a_management_group_that_is_not_above_the_cluster_has_moved(
    arm: Standin, open_reader: OpenReader
) -> None:
    arm.documents.management_groups = frozenset({"another"})

    async with open_reader() as reader:
        state = (await reader.read([GAMMA])).state

    assert state.gone == {GAMMA.casefold()}
