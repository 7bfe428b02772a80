"""Which Azure cluster this Kubernetes cluster is, kept in the cluster itself: the wrong context must not prune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controller.azure.model import fold
from controller.errors import ClusterError, Refused
from controller.gatekeeper.naming import MANAGED_BY_LABEL

if TYPE_CHECKING:
    from controller.cluster.client import KubeClient
    from controller.gatekeeper.naming import Marks

NAME: Final = "azure-policy-sync"
CLUSTER_ID: Final = "cluster-id"
GATEKEEPER_NAMESPACE: Final = "gatekeeper-system"


class ClusterRecord:
    """The ConfigMap that records the cluster id, in Gatekeeper's namespace: every user of a cluster finds it there."""

    def __init__(self, client: KubeClient, marks: Marks, namespace: str = GATEKEEPER_NAMESPACE) -> None:
        self._client = client
        self._marks = marks
        self._namespace = namespace
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"

    async def check(self, cluster_id: str) -> bool:
        """Whether the id is recorded already; Refused when another one is."""
        found = await self._client.get(f"{self._collection}/{NAME}")
        recorded = str(((found or {}).get("data") or {}).get(CLUSTER_ID, ""))
        if recorded and fold(recorded) != fold(cluster_id):
            raise Refused(
                f"this cluster ({self._client.server}) is recorded as {recorded}, not {cluster_id}: "
                f"check --context and --cluster-id; if its id really changed, delete configmap {NAME} "
                f"in {self._namespace}"
            )
        return bool(recorded)

    async def make(self, cluster_id: str) -> None:
        """Records the id at the first apply; Refused when somebody recorded another one meanwhile."""
        if await self.check(cluster_id):
            return
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "labels": {MANAGED_BY_LABEL: self._marks.managed_by}},
            "data": {CLUSTER_ID: cluster_id},
        }
        query = {"fieldManager": NAME}
        response = await self._client.request("POST", self._collection, query=query, body=manifest)
        if response.status == 409:  # noqa: PLR2004 - somebody was faster
            await self.check(cluster_id)
        elif not response.ok:
            raise ClusterError(
                f"recording the cluster id in {self._namespace}: {response.message}", status=response.status
            )
