"""Refusals inside a reading: one that lasts is said as such, and nothing is left out in silence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from controller.errors import SourceError
from tests.azure.faults import FaultKind
from tests.azure.world import (
    CLUSTER_ID,
    MANAGEMENT_GROUP,
    SUBSCRIPTION,
    definition_id,
    make_assignment,
    make_definition,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.azure.conftest import OpenReader, Shell
    from tests.azure.standin import Standin

ALWAYS = 1000
HIGH_UP = definition_id("high-up", MANAGEMENT_GROUP)
IN_MANAGEMENT_GROUP = f"{MANAGEMENT_GROUP}/providers/[^/]*/policyDefinitions"


@pytest.fixture
def high_up(arm: Standin) -> Standin:
    """With an assignment of a definition that is kept at a management group."""
    arm.documents.put(make_definition("high-up", scope=MANAGEMENT_GROUP))
    arm.documents.put(make_assignment("delta", HIGH_UP))
    return arm


@pytest.mark.parametrize("kind", [FaultKind.NO_API_VERSION, FaultKind.NO_PROVIDER, FaultKind.NO_RESOURCE_TYPE])
@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("/policyAssignments", "policy"),
        ("/policyExemptions", "exemptions"),
        ("managedClusters/till\\?", "managed-clusters"),
        ("policySetDefinitions/baseline", "policy"),
        ("policyDefinitions/probes", "policy"),
        (f"{SUBSCRIPTION}/providers/[^/]*/policyDefinitions", "policy"),
    ],
)
async def test_an_api_version_that_the_cloud_does_not_have_ends_the_read_and_says_which_to_set(
    kind: FaultKind, where: str, name: str, arm: Standin, open_reader: OpenReader
) -> None:
    arm.fail(kind, where, times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match=f"does not pass by itself: set --api-version {name}=VERSION"):
            await reader.read()


async def test_management_groups_asked_with_a_wrong_api_version_end_the_read(
    arm: Standin, open_reader: OpenReader
) -> None:
    sandbox = f"{MANAGEMENT_GROUP}-sandbox"
    arm.documents.put(make_assignment("delta", definition_id("probes"), notScopes=[sandbox]))
    arm.fail(FaultKind.NO_API_VERSION, "getEntities", times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match="set --api-version management-groups=VERSION"):
            await reader.read()


@pytest.mark.parametrize("kind", [FaultKind.SERVER_TIMEOUT, FaultKind.BAD_GATEWAY, FaultKind.SERVER_ERROR])
async def test_an_error_that_passes_is_said_as_one_that_does(
    kind: FaultKind, arm: Standin, open_reader: OpenReader
) -> None:
    arm.fail(kind, "/policyAssignments", times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match="; the next poll tries again") as failure:
            await reader.read()

    assert "by itself" not in str(failure.value)


@pytest.mark.parametrize("where", ["/policyAssignments", "managedClusters/till\\?"])
@pytest.mark.parametrize("kind", [FaultKind.BAD_GATEWAY, FaultKind.BAD_GATEWAY_AS_JSON])
async def test_a_proxys_page_is_told_by_its_status(
    kind: FaultKind, where: str, arm: Standin, open_reader: OpenReader
) -> None:
    arm.fail(kind, where, times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match="Azure answered 502: Bad Gateway; the next poll tries again") as failure:
            await reader.read()

    assert "JSON" not in str(failure.value)


async def test_a_definition_that_may_not_be_read_says_where_the_right_is_missing(
    high_up: Standin, open_reader: OpenReader
) -> None:
    high_up.fail(FaultKind.FORBIDDEN, IN_MANAGEMENT_GROUP, times=ALWAYS)

    async with open_reader() as reader:
        reading = await reader.read()

    reason = reading.state.unreadable[HIGH_UP.casefold()].reason
    assert f"a role with Microsoft.Authorization/policyDefinitions/read, at {MANAGEMENT_GROUP}" in reason
    assert [reason in each for each in reading.lacks] == [True]


async def test_a_list_of_definitions_that_hides_what_may_not_be_read_does_not_pass_for_their_absence(
    high_up: Standin, open_reader: OpenReader
) -> None:
    high_up.fail(FaultKind.HIDDEN, IN_MANAGEMENT_GROUP, times=ALWAYS)

    async with open_reader() as reader:
        state = (await reader.read()).state

    assert f"policyDefinitions/read, at {MANAGEMENT_GROUP}" in state.unreadable[HIGH_UP.casefold()].reason


@pytest.mark.parametrize("kind", [FaultKind.NO_SUBSCRIPTION, FaultKind.NOT_FOUND, FaultKind.UNSUPPORTED_TYPE])
async def test_a_404_that_does_not_speak_of_the_definition_does_not_prove_its_absence(
    kind: FaultKind, high_up: Standin, open_reader: OpenReader
) -> None:
    high_up.fail(kind, IN_MANAGEMENT_GROUP, times=ALWAYS)

    async with open_reader() as reader:
        state = (await reader.read()).state

    assert "Azure answered 404" in state.unreadable[HIGH_UP.casefold()].reason


@pytest.mark.parametrize("kind", [FaultKind.FORBIDDEN, FaultKind.HIDDEN])
def test_an_export_that_lacks_something_writes_nothing_and_says_what_it_lacks(
    kind: FaultKind, high_up: Standin, shell: Shell, tmp_path: Path
) -> None:
    high_up.fail(kind, IN_MANAGEMENT_GROUP, times=ALWAYS)

    code, _, err = shell("export", str(tmp_path / "saved"), *shell.azure)

    assert code == 2
    assert re.search(
        rf"^lacks {re.escape(HIGH_UP)}: .*policyDefinitions/read, at {MANAGEMENT_GROUP}$", err, re.MULTILINE
    )
    assert "error: the export would lack 1 thing" in err
    assert not (tmp_path / "saved").exists()


def test_an_export_that_is_asked_to_is_written_without_what_it_lacks(
    high_up: Standin, shell: Shell, tmp_path: Path
) -> None:
    high_up.fail(FaultKind.FORBIDDEN, IN_MANAGEMENT_GROUP, times=ALWAYS)

    code, out, err = shell("export", str(tmp_path / "saved"), "--partial", *shell.azure)

    assert (code, err.startswith(f"lacks {HIGH_UP}: ")) == (0, True)
    assert "without 1 thing" in out
    assert (tmp_path / "saved").is_dir()


def test_an_export_without_the_management_groups_that_it_takes_says_so(
    arm: Standin, shell: Shell, tmp_path: Path
) -> None:
    arm.documents.put(make_assignment("delta", definition_id("probes"), notScopes=[f"{MANAGEMENT_GROUP}-sandbox"]))

    code, _, err = shell("export", str(tmp_path / "saved"), *shell.azure)

    assert code == 2
    assert f"lacks the management groups above {CLUSTER_ID}" in err
