"""Two replicas of which one is at work: killed, ended and hung leaders, and that nothing is written twice."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest

from tests.cluster.azpolicy import managed
from tests.cluster.harness import eventually

if TYPE_CHECKING:
    from tests.cluster.deployed import Deployed

FAILOVERS: Final = 20


def holder(deployed: Deployed) -> str:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{deployed.release.namespace}/leases/azure-policy-sync"
    status, lease = deployed.cluster.request("GET", path)
    return str(lease["spec"].get("holderIdentity") or "") if status == 200 else ""


@pytest.mark.timeout(900)
def test_a_killed_leader_is_replaced_within_15_seconds_and_nothing_is_written_twice(deployed: Deployed) -> None:
    """Twenty times; each time an edit waits for the next leader. The standby is ready all along."""
    took: list[float] = []
    with contextlib.ExitStack() as stack:
        leader = stack.enter_context(deployed.replica("azpolicy-0"))
        before = deployed.wait_in_sync()
        standby = stack.enter_context(deployed.replica("azpolicy-1"))
        for number in range(FAILOVERS):
            assert standby.metric("azpolicy_leader") == 0
            assert standby.ask("/readyz")[0] == 200
            mark = deployed.cluster.audit_mark()
            leader.kill()
            killed = datetime.now(UTC)
            deployed.weaken()
            deployed.back(before, timeout=30)
            took.append((datetime.now(UTC) - killed).total_seconds())
            repairs = [e for e in deployed.writes(mark) if e.group == "constraints.gatekeeper.sh" and e.code < 300]
            assert [event.verb for event in repairs] == ["update"]
            leader, standby = standby, stack.enter_context(deployed.replica(f"azpolicy-{number + 2}"))
    print(f"\nrepaired by the next leader after {min(took):.1f} to {max(took):.1f} s, {FAILOVERS} times")
    assert max(took) < 15


def test_a_replica_that_ends_hands_over_at_once(deployed: Deployed) -> None:
    with deployed.replica("azpolicy-0") as leader:
        deployed.wait_in_sync()
        with deployed.replica("azpolicy-1") as standby:
            assert leader.stop() == 0
            eventually(lambda: standby.metric("azpolicy_leader") == 1, timeout=6, what="the standby to lead")
            assert "azpolicy-1" in holder(deployed)


@pytest.mark.usefixtures("audits")
def test_a_leader_that_hung_writes_nothing_once_another_leads(deployed: Deployed) -> None:
    with deployed.replica("azpolicy-0") as leader:
        before = deployed.wait_in_sync()
        with deployed.replica("azpolicy-1") as standby:
            leader.pause()
            eventually(lambda: standby.metric("azpolicy_leader") == 1, timeout=20, what="the standby to lead")
            deployed.weaken()
            deployed.back(before)
            # The one at work reports on its repair, on the next audit, and that a probe was denied.
            deployed.cluster.wait_for_audit()
            eventually(lambda: "a probe was denied" in deployed.gatekeeper(), timeout=60, what="a denied probe")
            standby.wait_syncs(2)
            mark = deployed.cluster.audit_mark()
            leader.resume()
            leader.wait_log("lost lease")
            eventually(lambda: leader.metric("azpolicy_leader") == 0, what="the first to stand by")
            standby.wait_syncs(2)

            assert deployed.writes(mark) == []
            assert managed(deployed.cluster) == before
