"""Azure's own definitions through the stand-in and the SDK: each of them arrives, and an export of them reads back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controller.azure.arm import ArmReader
from controller.azure.snapshot import read_snapshot, write_snapshot
from tests.azure.documents import load
from tests.azure.standin import Standin
from tests.azure.world import CLUSTER_ID, make_assignment, make_cluster

if TYPE_CHECKING:
    from controller.azure.arm import Reading
    from controller.azure.model import AzureState, Initiative, PolicyDefinition
    from tests.azure.documents import Document

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "azure-policy"


@pytest.fixture(scope="module")
def published() -> list[Document]:
    """Every definition and initiative that Azure publishes for Kubernetes, in many versions."""
    if not PUBLISHED.is_dir():
        pytest.skip(f"no {PUBLISHED}: Azure's own definitions are not part of this repository")
    return load(PUBLISHED)


async def read_assigned(published: list[Document]) -> Reading:
    """A read of a cluster to which every version of everything is assigned by itself."""
    assignments = [
        make_assignment(f"a-{number}", each["id"], definitionVersion=version_of(each))
        for number, each in enumerate(published)
    ]
    with Standin([make_cluster(), *published, *assignments], page_size=50) as arm:
        async with ArmReader(arm.settings(CLUSTER_ID), credential=arm.credential()) as reader:
            return await reader.read()


def version_of(document: Document) -> str:
    """The version that a published document has."""
    properties = document["properties"]
    return str(properties.get("version") or properties["metadata"]["version"])


async def test_every_version_of_every_definition_and_initiative_arrives(published: list[Document]) -> None:
    state = (await read_assigned(published)).state

    assert {(each["id"].casefold(), version_of(each).casefold()) for each in published} <= by_version(state).keys()
    assert not state.unreadable
    assert len(state.assignments) == len(published)


async def test_an_export_of_all_of_it_reads_back_whole(published: list[Document], tmp_path: Path) -> None:
    reading = await read_assigned(published)

    write_snapshot(tmp_path, reading.documents)

    again = read_snapshot(tmp_path, CLUSTER_ID)
    assert by_version(again) == by_version(reading.state)
    assert {each.id: each for each in again.assignments} == {each.id: each for each in reading.state.assignments}


def by_version(state: AzureState) -> dict[tuple[str, str], PolicyDefinition | Initiative]:
    """All definitions and initiatives of a state, by folded id and version."""
    definitions = {(key, str(each.version)): each for key, found in state.definitions.items() for each in found}
    initiatives = {(key, str(each.version)): each for key, found in state.initiatives.items() for each in found}
    return {**definitions, **initiatives}
