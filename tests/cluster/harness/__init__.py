"""The test cluster: a real API server and a real Gatekeeper on loopback, for tests, `make run` and benchmarks.

Nothing here may import the controller: what the cluster says about it must not pass through its own code.
"""

from tests.cluster.harness.audit import AuditEvent
from tests.cluster.harness.cluster import TestCluster
from tests.cluster.harness.errors import HarnessError
from tests.cluster.harness.waiting import eventually

__all__ = ["AuditEvent", "HarnessError", "TestCluster", "eventually"]
