"""One replica as its pages show it: at work, standing by, or waiting for another installation's Lease."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Final

import pytest
from aiohttp.test_utils import TestClient, TestServer

from controller.cluster.client import Connection
from controller.cluster.installation import Installation
from controller.cluster.lease import Leadership, LeaseSettings
from controller.gatekeeper.naming import OwnershipMarks
from controller.operator.main import OperatorSettings, Replica, _app
from controller.page.facts import Moment
from tests.unit.cluster_builders import MARKS
from tests.unit.fake_api import FakeApi
from tests.unit.operator.scripted import NAMESPACE, SETTINGS
from tests.unit.virtual_time import clock, in_virtual_time

LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/azure-policy-sync"
HOLDER: Final = Installation(MARKS, f"{NAMESPACE}/azpolicy")


def standing_by(marks: OwnershipMarks, release: str) -> tuple[Replica, FakeApi]:
    """A replica beside one that holds the Lease, and the API server as its loops would use it."""
    electing, working = FakeApi(), FakeApi()
    annotations = {"azpolicy.dev/managed-by": HOLDER.marks.managed_by, "azpolicy.dev/installation": HOLDER.place}
    spec = {"holderIdentity": "azpolicy-0", "leaseDurationSeconds": 3600}
    lease = {"kind": "Lease", "metadata": {"name": "azure-policy-sync", "annotations": annotations}, "spec": spec}
    electing.place(LEASE, lease)
    settings = OperatorSettings(
        connection=Connection(),
        base=SETTINGS,
        marks=marks,
        listen="",
        namespace=NAMESPACE,
        identity="azpolicy-1",
        release=release,
        leader_elect=True,
    )
    elected = LeaseSettings(namespace=NAMESPACE, identity="azpolicy-1", installation=settings.installation)
    return Replica(settings, working, Leadership(electing, elected, clock=clock)), working


async def a_minute(replica: Replica) -> None:
    task = asyncio.ensure_future(replica.run())
    await asyncio.sleep(60)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@in_virtual_time
async def test_a_standby_is_ready_and_reads_and_watches_nothing_of_the_cluster() -> None:
    """So it holds nothing of it, however large that is: no objects, and no CustomResourceDefinitions."""
    replica, working = standing_by(MARKS, "azpolicy")

    await a_minute(replica)

    assert replica.unready == ""
    assert working.calls == []


@in_virtual_time
async def test_the_page_of_a_standby_knows_the_leader_and_nothing_else() -> None:
    replica, _ = standing_by(MARKS, "azpolicy")

    await a_minute(replica)

    assert Moment.of(replica) is None
    assert replica.lease is not None
    assert replica.lease.holder == "azpolicy-0"


@pytest.mark.parametrize(
    ("marks", "release", "said"),
    [
        (MARKS, "second", f"of the installation in {HOLDER.place}, and this one is {NAMESPACE}/second"),
        (OwnershipMarks("team-b"), "azpolicy", f"--managed-by azure-policy-sync in {HOLDER.place}, and this one has"),
    ],
)
@in_virtual_time
async def test_a_standby_of_another_installation_is_not_ready_and_says_why(
    marks: OwnershipMarks, release: str, said: str
) -> None:
    replica, working = standing_by(marks, release)

    await a_minute(replica)

    assert said in replica.unready
    assert working.calls == []


async def test_the_page_says_why_it_is_not_ready() -> None:
    replica, _ = standing_by(OwnershipMarks("team-b"), "azpolicy")
    leadership = replica._leadership
    assert leadership is not None
    await leadership._look()

    async with TestClient(TestServer(_app(replica))) as client:
        answer = await client.get("/readyz")

        assert answer.status == 503
        assert "is held by azpolicy-0 of the installation" in await answer.text()
        assert (await client.get("/healthz")).status == 200


async def test_a_scrape_is_made_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    replica, _ = standing_by(MARKS, "azpolicy")
    made: list[int] = []
    text = replica.metrics.text

    def noted() -> bytes:
        made.append(threading.get_ident())
        return text()

    monkeypatch.setattr(replica.metrics, "text", noted)
    async with TestClient(TestServer(_app(replica))) as client:
        answer = await client.get("/metrics")

        assert "azpolicy_leader 0.0" in await answer.text()
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert threading.get_ident() not in made
    assert len(made) == 1
