"""The test cluster: a real API server and a real Gatekeeper on loopback, for tests, `make run` and benchmarks.

Nothing here may import the controller: what the cluster says about it must not pass through its own code.
"""

from typing import TYPE_CHECKING, Any

from tests.cluster.harness.audit import AuditEvent
from tests.cluster.harness.errors import HarnessError
from tests.cluster.harness.waiting import eventually

if TYPE_CHECKING:
    from tests.cluster.harness.cluster import TestCluster

AUDIT_INTERVAL = 60  # seconds, of Gatekeeper; each audit takes it 0.7 s of processor time

__all__ = ["AUDIT_INTERVAL", "AuditEvent", "HarnessError", "TestCluster", "eventually"]


def __getattr__(name: str) -> Any:
    """The cluster, imported when it is asked for: whoever builds tools needs nothing but the standard library."""
    if name != "TestCluster":
        raise AttributeError(name)
    from tests.cluster.harness.cluster import TestCluster

    return TestCluster
