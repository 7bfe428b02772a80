"""The operator as the chart deploys it: its arguments, its environment, its ServiceAccount, Azure as the source.

Only the kubelet is missing: a test starts the replicas itself, as many as it wants, each at a loopback address of its
own in the place of a pod's.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tests.azure.documents import load
from tests.azure.standin import CLIENT_ID, SECRET, TENANT_ID, Standin
from tests.cluster.azpolicy import COMMAND, EVENTS, Operator, all_constraints, edit, managed
from tests.cluster.chart import install
from tests.cluster.harness import eventually
from tests.snapshots import CLUSTER_ID, GROUP, POLICY, Snapshot, TemplateFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.cluster.chart import Release
    from tests.cluster.harness import AuditEvent, TestCluster

SYNCS: Final = "/apis/azpolicy.dev/v1alpha1/policysyncs"
SYNC: Final = f"{SYNCS}/default"
ASSIGNED: Final = "/apis/azpolicy.dev/v1alpha1/assignedpolicies"
KIND: Final = "K8sAzureV1DeployedLabel"
CONFIGS: Final = "/apis/config.gatekeeper.sh/v1alpha1/namespaces/gatekeeper-system/configs"


class Deployed:
    """A release of the chart, the Azure that it reads, and what a test does with both."""

    def __init__(self, cluster: TestCluster, arm: Standin, folder: Path, **values: Any) -> None:
        self.cluster, self.arm = cluster, arm
        self.bundle = TemplateFolder(folder / "templates")
        self.snapshot = Snapshot(folder / "snapshot")
        self.label = self.snapshot.define("label", self.bundle.write("deployed-label/v1", KIND))
        self._values = values
        self.release: Release = install(cluster, self.values())
        self.user = self.release.user
        self.publish()

    def values(self, **changes: Any) -> dict[str, Any]:
        """The chart's values that lead to this Azure, and changes to them."""
        cloud = self.arm.cloud
        azure = {
            "clusterId": CLUSTER_ID,
            "cloud": "custom",
            "customCloud": {
                "endpoint": cloud.endpoint,
                "authority": cloud.authority,
                "audience": "https://arm.test",
                "caFile": str(cloud.ca_file),
            },
            "credential": "client-secret",
            "tenantId": TENANT_ID,
            "clientId": CLIENT_ID,
            "clientSecret": SECRET,
        }
        pace = {"interval": 2, "resync": 2}
        return {"azure": azure, "templates": str(self.bundle.folder), **pace, **self._values, **changes}

    # --- Azure

    def publish(self) -> None:
        """Makes Azure say all that the snapshot's folder says."""
        for document in load(self.snapshot.folder):
            self.arm.documents.put(document)

    def assign(self, name: str, of: str = "", **parameters: Any) -> str:
        """Assigns a definition (the label's) in Azure, or changes its assignment."""
        assignment_id = self.snapshot.assign(name, of or self.label, **(parameters or {"labels": [name]}))
        self.arm.documents.put(json.loads((self.snapshot.folder / f"assignment-{name}.json").read_text()))
        return assignment_id

    def unassign(self, name: str) -> None:
        """Deletes an assignment in Azure."""
        (self.snapshot.folder / f"assignment-{name}.json").unlink()
        self.arm.documents.delete(f"{GROUP}{POLICY}/policyAssignments/{name}")

    # --- replicas

    @contextlib.contextmanager
    def replica(self, name: str = "azpolicy-0", *, ready: bool = True) -> Iterator[Operator]:
        """A replica, as its Deployment says, while the block runs."""
        address = f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(255)}.{secrets.randbelow(254) + 1}"
        variables = self.release.environ(address, pod=name)
        variables["KUBECONFIG"] = str(self.release.service_account_kubeconfig())
        command = [str(COMMAND), *self.release.arguments()]
        log = self.cluster.logs / f"{name}-{address}.log"
        operator = Operator(command, log, variables["AZPOLICY_LISTEN"], variables)
        try:
            if ready:
                operator.wait_ready()
            yield operator
        finally:
            operator.end()

    # --- the cluster

    def writes(self, since: int, *, lease: bool = False) -> list[AuditEvent]:
        """What the operator wrote since an audit mark; renewals of its Lease apart, unless asked for."""
        found = self.cluster.writes(self.user, since)
        return [event for event in found if not event.dry_run and (lease or event.resource != "leases")]

    def made(self) -> set[str]:
        """The names of the assignments that live constraints are of; those that name none are somebody else's."""
        found = (live["metadata"].get("annotations", {}) for live in all_constraints(self.cluster).values())
        ids = (each.get("azure-policy-assignment-id", "") for each in found)
        return {each.rpartition("/")[2] for each in ids if each}

    def weaken(self, manager: str = "kubectl-edit") -> str:
        """Edits one constraint, as somebody who wants past it; its path."""
        path = min(path for path in all_constraints(self.cluster) if KIND.lower() in path)
        edit(self.cluster, path, lambda live: live["spec"].update(enforcementAction="dryrun"), manager)
        return path

    def back(self, before: Mapping[str, Any], timeout: float = 60) -> None:
        """Waits for everything to be as it was; what is not, is named."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: managed(self.cluster) == before, timeout)
        found = managed(self.cluster)
        differ = [path for path in before.keys() | found.keys() if before.get(path) != found.get(path)]
        assert not differ, [(path, before.get(path), found.get(path)) for path in differ]

    @contextlib.contextmanager
    def exempting(self, *names: str) -> Iterator[None]:
        """Gatekeeper's Config leaves these namespaces out while the block runs."""
        config = {
            "apiVersion": "config.gatekeeper.sh/v1alpha1",
            "kind": "Config",
            "metadata": {"name": "config", "namespace": "gatekeeper-system"},
            "spec": {"match": [{"excludedNamespaces": list(names), "processes": ["*"]}]},
        }
        status, answer = self.cluster.request("POST", CONFIGS, config)
        assert status == 201, answer
        try:
            yield
        finally:
            self.cluster.request("DELETE", f"{CONFIGS}/config")

    # --- what the operator reports

    def sync(self) -> dict[str, Any]:
        """The PolicySync, empty where there is none."""
        status, found = self.cluster.request("GET", SYNC)
        return found if status == 200 else {}

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of one of its conditions, both empty where there is none."""
        found = self.sync().get("status", {}).get("conditions", [])
        return next(((each["status"], each["reason"]) for each in found if each["type"] == kind), ("", ""))

    def gatekeeper(self) -> str:
        """What its condition GatekeeperReady says, empty where there is none."""
        found = self.sync().get("status", {}).get("conditions", [])
        return next((str(each["message"]) for each in found if each["type"] == "GatekeeperReady"), "")

    def wait_for(self, kind: str, status: str, reason: str = "", timeout: float = 60) -> None:
        """Waits for a condition."""

        def turned() -> bool:
            found = self.condition(kind)
            return found[0] == status and reason in ("", found[1])

        eventually(turned, timeout, f"{kind}={status} {reason}; it is {self.condition(kind)}")

    def wait_in_sync(self, timeout: float = 90) -> dict[str, dict[str, Any]]:
        """Waits until the operator says that all it was told is done; what is managed then."""
        self.ask_sync(timeout)
        self.wait_for("Ready", "True", timeout=timeout)
        return managed(self.cluster)

    def ask_sync(self, timeout: float = 90) -> None:
        """Asks for a poll now, and waits for the answer."""
        asked = datetime.now(UTC).isoformat()
        eventually(
            lambda: self.patch({"metadata": {"annotations": {"azpolicy.dev/requested-at": asked}}}), timeout, SYNC
        )
        answered = lambda: self.sync().get("status", {}).get("lastHandledRequest") == asked  # noqa: E731
        eventually(answered, timeout, "the answer to a request")

    def patch(self, change: Mapping[str, Any]) -> bool:
        """Changes the PolicySync, as its administrator; whether it was there."""
        return self.cluster.request("PATCH", SYNC, change)[0] == 200

    def assigned(self) -> dict[str, dict[str, Any]]:
        """The AssignedPolicies by the assignment's name."""
        items = self.cluster.get(ASSIGNED)["items"]
        return {each["spec"]["assignment"]["id"].rpartition("/")[2]: each for each in items}

    def events(self, of: str, reason: str = "") -> list[dict[str, Any]]:
        """The Events about an object of this name."""
        items = self.cluster.get(EVENTS)["items"]
        return [each for each in items if each["regarding"]["name"] == of and reason in ("", each["reason"])]
