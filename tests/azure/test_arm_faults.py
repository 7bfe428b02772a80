"""Each way in which Azure can fail: nothing half read comes out, the reason is one line, and the next read is whole."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from controller.azure.arm import ArmReader
from controller.errors import SourceError
from tests.azure.faults import FaultKind
from tests.azure.world import CLUSTER_ID, MANAGEMENT_GROUP, SUBSCRIPTION, assignment_id, definition_id, make_assignment

if TYPE_CHECKING:
    from tests.azure.conftest import OpenReader, Waits
    from tests.azure.standin import Standin

ALWAYS = 1000
ASSIGNMENTS = "/policyAssignments"
SECOND_PAGE = r"/policyAssignments.*skiptoken"

PASSING = [
    FaultKind.THROTTLED,
    FaultKind.THROTTLED_UNTIL,
    FaultKind.UNAUTHORIZED,
    FaultKind.SERVER_ERROR,
    FaultKind.CUT,
    FaultKind.CUT_WITHIN,
]
LASTING = [*PASSING, FaultKind.FORBIDDEN, FaultKind.NOT_FOUND]
MALFORMED = [
    FaultKind.TRUNCATED,
    FaultKind.NO_JSON,
    FaultKind.NO_VALUE,
    FaultKind.LOOP,
    FaultKind.ASTRAY,
    FaultKind.REDIRECT,
]


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize(
    "where", ["", ASSIGNMENTS, SECOND_PAGE, "/policyExemptions", "/versions/", "policyDefinitions"]
)
async def test_a_fault_that_passes_is_not_noticed(
    kind: FaultKind, where: str, arm: Standin, open_reader: OpenReader
) -> None:
    async with open_reader() as reader:
        whole = (await reader.read()).state
    arm.fail(kind, where)

    async with open_reader() as reader:
        state = (await reader.read()).state

    assert state == whole


@pytest.mark.parametrize("kind", LASTING)
@pytest.mark.parametrize("where", [f"{ASSIGNMENTS}\\?", SECOND_PAGE, "/policyExemptions", "managedClusters/till\\?"])
async def test_a_fault_that_lasts_ends_the_read_and_the_next_is_whole(
    kind: FaultKind, where: str, arm: Standin, open_reader: OpenReader
) -> None:
    async with open_reader() as reader:
        whole = (await reader.read()).state
        arm.fail(kind, where, times=ALWAYS)

        with pytest.raises(SourceError, match=re.escape(CLUSTER_ID)) as failure:
            await reader.read()
        arm.heal()

        assert "\n" not in str(failure.value)
        assert (await reader.read()).state == whole


@pytest.mark.parametrize("kind", MALFORMED)
async def test_an_answer_that_makes_no_sense_ends_the_read_and_the_next_is_whole(
    kind: FaultKind, arm: Standin, open_reader: OpenReader
) -> None:
    async with open_reader() as reader:
        whole = (await reader.read()).state
        arm.fail(kind, ASSIGNMENTS, times=ALWAYS)

        with pytest.raises(SourceError, match="policyAssignments"):
            await reader.read()
        arm.heal()

        assert (await reader.read()).state == whole


@pytest.mark.parametrize("kind", [FaultKind.SERVER_ERROR, FaultKind.THROTTLED, FaultKind.CUT, FaultKind.UNAUTHORIZED])
@pytest.mark.parametrize("where", ["policySetDefinitions/", f"{SUBSCRIPTION}/providers/[^/]*/policyDefinitions"])
async def test_a_definition_that_cannot_be_had_for_now_ends_the_read(
    kind: FaultKind, where: str, arm: Standin, open_reader: OpenReader
) -> None:
    arm.fail(kind, where, times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError):
            await reader.read()


async def test_no_more_requests_run_at_once_than_are_allowed(arm: Standin, open_reader: OpenReader) -> None:
    arm.fail(FaultKind.SLOW, times=ALWAYS)

    async with open_reader(parallel=2, poll=1) as reader:
        with pytest.raises(SourceError):
            await reader.read()

    assert len(arm.requests) == 2


async def test_which_of_several_failures_is_told_does_not_depend_on_which_came_first(
    arm: Standin, open_reader: OpenReader
) -> None:
    """Else the status would be written at every poll while Azure is away."""
    arm.fail(FaultKind.SERVER_ERROR, "managedClusters/till\\?", times=ALWAYS)
    arm.fail(FaultKind.FORBIDDEN, "/policyExemptions", times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match="500"):
            await reader.read()

    assert 403 in [request.status for request in arm.requests]


async def test_a_slow_answer_is_asked_for_again(arm: Standin, open_reader: OpenReader) -> None:
    arm.fail(FaultKind.SLOW, SECOND_PAGE)

    async with open_reader(answer=0.2) as reader:
        state = (await reader.read()).state

    assert len(state.assignments) == 3


async def test_an_answer_that_never_comes_ends_the_read(arm: Standin, open_reader: OpenReader) -> None:
    arm.fail(FaultKind.SLOW, SECOND_PAGE, times=ALWAYS)

    async with open_reader(answer=0.05) as reader:
        with pytest.raises(SourceError, match="no complete answer"):
            await reader.read()


async def test_a_read_takes_no_longer_than_its_limit(arm: Standin, open_reader: OpenReader) -> None:
    arm.fail(FaultKind.SLOW, "/policyExemptions", times=ALWAYS)

    async with open_reader(poll=1) as reader:
        with pytest.raises(SourceError, match=r"took more than 1 s"):
            await reader.read()


async def test_retry_after_in_seconds_is_waited_for(arm: Standin, open_reader: OpenReader, waits: Waits) -> None:
    arm.fail(FaultKind.THROTTLED, ASSIGNMENTS, wait=17)

    async with open_reader() as reader:
        await reader.read()

    assert waits == [17]


async def test_retry_after_as_a_date_is_waited_for(arm: Standin, open_reader: OpenReader, waits: Waits) -> None:
    arm.fail(FaultKind.THROTTLED_UNTIL, ASSIGNMENTS, wait=40)

    async with open_reader() as reader:
        await reader.read()

    [wait] = waits
    assert 30 < wait <= 40


async def test_retry_after_is_capped(arm: Standin, open_reader: OpenReader, waits: Waits) -> None:
    arm.fail(FaultKind.THROTTLED, ASSIGNMENTS, wait=86400)

    async with open_reader(retry_after_cap=60) as reader:
        await reader.read()

    assert waits == [60]


async def test_server_errors_are_retried_ever_more_slowly_and_not_for_ever(
    arm: Standin, open_reader: OpenReader, waits: Waits
) -> None:
    arm.fail(FaultKind.SERVER_ERROR, "/policyExemptions", times=ALWAYS)

    async with open_reader(retries=3) as reader:
        with pytest.raises(SourceError, match=r"500: .*InternalServerError"):
            await reader.read()

    assert len([each for each in arm.requests if each.status == 500]) == 4
    assert waits == sorted(waits)
    assert len(waits) == 2, "the first retry is at once"


async def test_a_403_is_not_retried_whatever_its_retry_after(
    arm: Standin, open_reader: OpenReader, waits: Waits
) -> None:
    arm.fail(FaultKind.FORBIDDEN, ASSIGNMENTS, times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError):
            await reader.read()

    assert waits == []
    assert len([each for each in arm.requests if each.status == 403]) == 1


@pytest.mark.parametrize(
    ("where", "right"),
    [
        (ASSIGNMENTS, f"Microsoft.Authorization/policyAssignments/read, at {CLUSTER_ID}"),
        ("/policyExemptions", f"Microsoft.Authorization/policyExemptions/read, at {CLUSTER_ID}"),
        ("managedClusters/till\\?", f"Microsoft.ContainerService/managedClusters/read, at {CLUSTER_ID}"),
    ],
)
async def test_a_403_says_which_right_is_missing_where(
    where: str, right: str, arm: Standin, open_reader: OpenReader
) -> None:
    arm.fail(FaultKind.FORBIDDEN, where, times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match=re.escape(f"grant its identity Reader, or a role with {right}")):
            await reader.read()


async def test_a_401_says_that_the_credential_is_not_accepted(arm: Standin, open_reader: OpenReader) -> None:
    arm.fail(FaultKind.UNAUTHORIZED, ASSIGNMENTS, times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match=r"401: .*the credential is not accepted"):
            await reader.read()


async def test_a_token_that_azure_refuses_before_its_time_is_replaced(arm: Standin, waits: Waits) -> None:
    """The credentials of azure-identity keep a token until it expires, whatever Azure thinks of it meanwhile."""
    async with ArmReader(arm.settings(CLUSTER_ID), sleep=waits) as reader:
        whole = (await reader.read()).state
        arm.expire_tokens()

        state = (await reader.read()).state

    assert state == whole
    assert 401 in {each.status for each in arm.requests}


async def test_a_custom_definition_that_may_not_be_read_is_unreadable_and_the_rest_goes_on(
    arm: Standin, open_reader: OpenReader
) -> None:
    arm.fail(FaultKind.FORBIDDEN, f"{SUBSCRIPTION}/providers/[^/]*/policyDefinitions", times=ALWAYS)

    async with open_reader() as reader:
        state = (await reader.read()).state

    refused = state.unreadable[definition_id("images", SUBSCRIPTION).casefold()]
    assert f"policyDefinitions/read, at {SUBSCRIPTION}" in refused.reason
    assert len(state.assignments) == 3
    assert definition_id("probes").casefold() in state.definitions


async def test_a_refusal_is_not_remembered(arm: Standin, open_reader: OpenReader) -> None:
    arm.fail(FaultKind.FORBIDDEN, "policyDefinitions/probes/versions")

    async with open_reader() as reader:
        first, second = (await reader.read()).state, (await reader.read()).state

    assert definition_id("probes").casefold() in first.unreadable
    assert definition_id("probes").casefold() in second.definitions
    assert not second.unreadable


async def test_a_definition_that_is_not_there_is_left_out(arm: Standin, open_reader: OpenReader) -> None:
    arm.documents.delete(definition_id("images", SUBSCRIPTION))

    async with open_reader() as reader:
        state = (await reader.read()).state

    assert definition_id("images", SUBSCRIPTION).casefold() not in state.definitions
    assert not state.unreadable
    assert len(state.assignments) == 3


async def test_a_known_assignment_is_gone_when_its_own_get_says_so(arm: Standin, open_reader: OpenReader) -> None:
    arm.documents.delete(assignment_id("alpha"))

    async with open_reader() as reader:
        state = (await reader.read([assignment_id("alpha"), assignment_id("beta", SUBSCRIPTION)])).state

    assert state.gone == {assignment_id("alpha").casefold()}


async def test_a_page_that_lost_its_end_is_found_out_by_the_known_assignments(
    arm: Standin, open_reader: OpenReader
) -> None:
    known = [assignment_id("alpha"), assignment_id("beta", SUBSCRIPTION), assignment_id("gamma", MANAGEMENT_GROUP)]
    async with open_reader() as reader:
        whole = (await reader.read(known)).state
        arm.fail(FaultKind.LAST_PAGE, ASSIGNMENTS)

        with pytest.raises(SourceError, match=r"lacks .*/policyAssignments/gamma, which still applies"):
            await reader.read(known)

        assert (await reader.read(known)).state == whole


async def test_an_assignment_deleted_between_pages_takes_no_other_along(arm: Standin, open_reader: OpenReader) -> None:
    known = [assignment_id("alpha"), assignment_id("beta", SUBSCRIPTION), assignment_id("gamma", MANAGEMENT_GROUP)]
    arm.before(SECOND_PAGE, lambda: arm.documents.delete(assignment_id("alpha")))

    async with open_reader() as reader:
        # The others move up by one, so that the second page starts after one that neither page showed.
        with pytest.raises(SourceError, match="gamma, which still applies"):
            await reader.read(known)
        state = (await reader.read(known)).state

    assert {each.name for each in state.assignments} == {"beta", "gamma"}
    assert state.gone == {assignment_id("alpha").casefold()}


async def test_an_assignment_changed_between_pages_ends_the_read(arm: Standin, open_reader: OpenReader) -> None:
    def move_to_the_end() -> None:
        arm.documents.delete(assignment_id("alpha"))
        arm.documents.put(make_assignment("alpha", definition_id("probes"), displayName="Changed"))

    arm.before(SECOND_PAGE, move_to_the_end)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match="with different content"):
            await reader.read()
        assert len((await reader.read()).state.assignments) == 3


async def test_a_quote_in_a_definition_is_no_end_of_a_filter(arm: Standin, open_reader: OpenReader) -> None:
    name = definition_id("it's", SUBSCRIPTION)
    arm.documents.put(make_assignment("quoted", name))
    arm.fail(FaultKind.LAST_PAGE, ASSIGNMENTS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match="quoted, which still applies"):
            await reader.read([assignment_id("quoted")])


async def test_an_assignment_that_exists_but_no_longer_reaches_the_cluster_is_gone(
    arm: Standin, open_reader: OpenReader
) -> None:
    arm.documents.management_groups = frozenset({"another"})

    async with open_reader() as reader:
        state = (await reader.read([assignment_id("gamma", MANAGEMENT_GROUP)])).state

    assert state.gone == {assignment_id("gamma", MANAGEMENT_GROUP).casefold()}


@pytest.mark.parametrize(
    "poisoned",
    [
        "x",
        "/",
        f"{CLUSTER_ID}/providers/Microsoft.Authorization/policyAssignments/a\u200bb",
        assignment_id("elsewhere", "/subscriptions/5b000000-0000-0000-0000-0000000000ff"),
    ],
    ids=ascii,
)
async def test_an_id_that_anybody_may_have_written_on_an_object_fails_no_reading(
    poisoned: str, arm: Standin, open_reader: OpenReader
) -> None:
    arm.documents.delete(assignment_id("alpha"))
    # As Azure answers for a subscription of another tenant.
    arm.fail(FaultKind.UNAUTHORIZED, "/policyAssignments/elsewhere", times=ALWAYS)

    async with open_reader() as reader:
        state = (await reader.read([poisoned, assignment_id("alpha")])).state

    assert state.gone == {assignment_id("alpha").casefold()}
    assert len(state.assignments) == 2


async def test_one_document_nested_without_end_is_unreadable_and_the_others_are_read(
    arm: Standin, open_reader: OpenReader
) -> None:
    deep: Any = 1
    for _ in range(400):
        deep = {"a": deep}
    arm.documents.put(make_assignment("deep", definition_id("probes"), parameters={"x": {"value": deep}}))

    async with open_reader() as reader:
        state = (await reader.read()).state

    [found] = state.unreadable.values()
    assert found.id == assignment_id("deep")
    assert "nested deeper" in found.reason
    assert {each.name for each in state.assignments} == {"alpha", "beta", "gamma"}


async def test_an_assignment_whose_end_may_not_be_seen_is_neither_listed_nor_proven_gone(
    arm: Standin, open_reader: OpenReader
) -> None:
    arm.documents.delete(assignment_id("gamma", MANAGEMENT_GROUP))
    arm.fail(FaultKind.FORBIDDEN, "/policyAssignments/gamma", times=ALWAYS)

    async with open_reader() as reader:
        state = (await reader.read([assignment_id("gamma", MANAGEMENT_GROUP)])).state

    assert state.gone == frozenset()
    assert {each.name for each in state.assignments} == {"alpha", "beta"}


@pytest.mark.parametrize("kind", [FaultKind.SERVER_ERROR, FaultKind.UNAUTHORIZED, FaultKind.CUT])
async def test_a_known_assignment_that_cannot_be_asked_for_ends_the_read(
    kind: FaultKind, arm: Standin, open_reader: OpenReader
) -> None:
    arm.fail(kind, "/policyAssignments/old", times=ALWAYS)

    async with open_reader() as reader:
        with pytest.raises(SourceError, match="policyAssignments/old"):
            await reader.read([assignment_id("old")])


async def test_a_server_whose_certificate_is_not_trusted_is_not_talked_to(arm: Standin, waits: Waits) -> None:
    settings = arm.settings(CLUSTER_ID)
    settings = replace(settings, cloud=replace(settings.cloud, ca_file=""))

    async with ArmReader(settings, credential=arm.credential(), sleep=waits) as reader:
        with pytest.raises(SourceError, match="certificate"):
            await reader.read()

    assert arm.requests == []
