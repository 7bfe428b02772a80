"""The record in the cluster itself: which Azure cluster it is, and which deletions were refused.

The wrong context must not prune, and what the safety stop holds back must not slip through at the next sync.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.azure.model import fold
from controller.bounded_json import read_json
from controller.cluster.addon import NAMESPACE, running_deployments
from controller.cluster.changes import Refuse
from controller.cluster.config_maps import ConfigMapStore
from controller.cluster.foreign import text_at, texts_at
from controller.errors import ClusterError, Refused
from controller.gatekeeper.naming import ADDON, RECORD_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.changes import Plan
    from controller.cluster.client import KubeClient
    from controller.gatekeeper.naming import OwnershipMarks

NAME: Final = "azure-policy-sync"
CLUSTER_ID: Final = "cluster-id"
REFUSED: Final = "refused-deletions"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the record says; all empty where there is none. `refused` are `Kind/name`."""

    cluster_id: str = ""
    refused: frozenset[str] = frozenset()
    manifest: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, manifest: Mapping[str, Any] | None) -> Recorded:
        """Reads the ConfigMap; a list of refused deletions that somebody broke counts as empty."""
        try:
            names = read_json(text_at(manifest, "data", REFUSED).encode())
        except ValueError:
            names = []
        return cls(text_at(manifest, "data", CLUSTER_ID), frozenset(texts_at({"names": names}, "names")), manifest)


class ClusterRecord:
    """A ConfigMap in a namespace that every cluster has: every user of a cluster finds it there."""

    def __init__(self, client: KubeClient, marks: OwnershipMarks, namespace: str = RECORD_NAMESPACE) -> None:
        self._client = client
        self._marks = marks
        self._namespace = namespace
        self._maps = ConfigMapStore(client, namespace, marks)

    async def check(self, cluster_id: str) -> Recorded:
        """What is recorded; Refused when that is another cluster, or when the add-on has the same marks as we."""
        await self._check_marks()
        recorded = Recorded.of(await self._maps.read(NAME))
        if recorded.cluster_id and fold(recorded.cluster_id) != fold(cluster_id):
            raise Refused(
                f"this cluster ({self._client.server}) is recorded as {recorded.cluster_id}, not {cluster_id}: "
                f"check --context and --cluster-id; if its id really changed, delete configmap {NAME} "
                f"in {self._namespace}"
            )
        return recorded

    async def _check_marks(self) -> None:
        if self._marks.managed_by == ADDON and (running := await running_deployments(self._client)):
            raise Refused(
                f"--managed-by {ADDON} is the add-on's own value, and its deployment {running[0]} is in {NAMESPACE} of "
                f"this cluster ({self._client.server}); both would fight over every object: use another value, or "
                "switch the add-on off"
            )

    async def make(self, plan: Plan) -> None:
        """Records the plan's cluster and refused deletions, before its first write; nothing where nothing is new.

        Refused when somebody has recorded another cluster since.
        """
        recorded = await self.check(plan.cluster_id)
        refused = frozenset(str(change.live.ref) for change in plan.of(Refuse) if isinstance(change, Refuse))
        if (recorded.cluster_id or not plan.writes) and recorded.refused == refused:
            return
        data = {CLUSTER_ID: recorded.cluster_id or plan.cluster_id, REFUSED: json.dumps(sorted(refused))}
        if not refused:
            del data[REFUSED]
        try:
            await self._maps.write(NAME, {"data": data}, recorded.manifest, purpose="recording the cluster id")
        except ClusterError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            # Somebody else was faster. What they wrote is checked, and ours is written next time.
            await self.check(plan.cluster_id)
