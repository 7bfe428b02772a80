"""Links that ARM hands out: its own hosts are followed at the endpoint, and the token goes nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.azure.compliance import read_compliance
from controller.azure.links import at_endpoint
from controller.errors import SourceError
from tests.azure.faults import FaultKind
from tests.azure.world import CLUSTER_ID, assignment_id

if TYPE_CHECKING:
    from tests.azure.conftest import OpenReader
    from tests.azure.standin import Standin

PUBLIC = "https://management.azure.com"


@pytest.mark.parametrize(
    "link",
    [
        "https://management.azure.com/x?api-version=1&$skiptoken=a%20b",
        "https://management.azure.com:443/x?api-version=1&$skiptoken=a%20b",
        "https://MANAGEMENT.Azure.com/x?api-version=1&$skiptoken=a%20b",
        "HTTPS://westus.management.azure.com/x?api-version=1&$skiptoken=a%20b",
        "https://WestUS2.management.azure.com:443/x?api-version=1&$skiptoken=a%20b",
    ],
)
def test_a_link_to_the_endpoint_or_one_of_its_regions_is_followed_at_the_endpoint(link: str) -> None:
    assert at_endpoint(link, PUBLIC) == f"{PUBLIC}/x?api-version=1&$skiptoken=a%20b"


@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.test/x",
        "http://management.azure.com/x",
        "http://westus.management.azure.com/x",
        "https://management.azure.com:8443/x",
        "https://westus.management.azure.com:8443/x",
        "https://management.azure.com.elsewhere.test/x",
        "https://evilmanagement.azure.com/x",
        "https://a.b.management.azure.com/x",
        "https://.management.azure.com/x",
        "https://user@management.azure.com/x",
        "https://management.azure.com@elsewhere.test/x",
        "https://elsewhere.test\\@management.azure.com/x",
        "https://westus.management.azure.com:no/x",
        "//elsewhere.test/x",
    ],
)
def test_any_other_link_leads_away_and_is_refused(link: str) -> None:
    with pytest.raises(ValueError, match=r"a link leads to another host|Port could not be cast"):
        at_endpoint(link, PUBLIC)


def test_an_endpoint_with_a_port_has_regions_at_that_port() -> None:
    assert at_endpoint("https://local.arm.test:8443/x", "https://arm.test:8443") == "https://arm.test:8443/x"
    with pytest.raises(ValueError, match="a link leads to another host"):
        at_endpoint("https://local.arm.test/x", "https://arm.test:8443")


async def test_pages_on_a_regional_host_are_read_to_the_end(open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        state = (await reader.read()).state

    assert {each.name for each in state.assignments} == {"alpha", "beta", "gamma"}


async def test_policy_states_on_a_regional_host_are_read_to_the_end(arm: Standin, open_reader: OpenReader) -> None:
    arm.states += [
        {"resourceId": CLUSTER_ID, "policyAssignmentId": assignment_id(name), "complianceState": "Compliant"}
        for name in ("a", "b", "c")
    ]

    async with open_reader() as reader:
        assert len(await read_compliance(reader)) == 3


async def test_every_request_with_a_token_names_the_endpoint_as_its_host(arm: Standin, open_reader: OpenReader) -> None:
    async with open_reader() as reader:
        await reader.read()

    assert {each.headers["host"] for each in arm.requests} == {arm.cloud.endpoint.removeprefix("https://")}
    assert all("authorization" in each.headers for each in arm.requests)


async def test_a_link_that_leads_to_another_host_is_not_followed_with_our_token(
    arm: Standin, open_reader: OpenReader
) -> None:
    arm.fail(FaultKind.ASTRAY, "policyAssignments")

    async with open_reader() as reader:
        with pytest.raises(SourceError, match=r"a link leads to another host, elsewhere\.test"):
            await reader.read()
