"""The record in the cluster itself: which Azure cluster it is, whose, and which deletions were refused.

The wrong context must not prune, two installations must not delete each other's objects, and what the safety stop holds
back must not slip through at the next sync. docs/decisions/013-one-installation-in-a-cluster.md says why.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.azure.declared import described
from controller.azure.model import fold
from controller.bounded_json import read_json
from controller.cluster.addon import NAMESPACE, running_deployments
from controller.cluster.changes import WRITES, Keep, Refuse
from controller.cluster.config_maps import ConfigMapStore
from controller.cluster.foreign import text_at, texts_at
from controller.errors import ClusterError, OtherInstallation, Refused
from controller.gatekeeper.naming import ADDON, MANAGED_BY_LABEL, RECORD_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.changes import Plan
    from controller.cluster.client import KubeClient
    from controller.cluster.installation import Installation

NAME: Final = "azure-policy-sync"
CLUSTER_ID: Final = "cluster-id"
REFUSED: Final = "refused-deletions"
INSTALLATION: Final = "installation"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the record says; all empty where there is none. `refused` are `Kind/name`.

    `managed_by` is the label of the record itself, which every version has written; `place` is NAMESPACE/RELEASE.
    """

    cluster_id: str = ""
    refused: frozenset[str] = frozenset()
    managed_by: str = ""
    place: str = ""
    manifest: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, manifest: Mapping[str, Any] | None) -> Recorded:
        """Reads the ConfigMap; a list of refused deletions that somebody broke counts as empty."""
        try:
            names = read_json(text_at(manifest, "data", REFUSED).encode())
        except ValueError:
            names = []
        return cls(
            cluster_id=text_at(manifest, "data", CLUSTER_ID),
            refused=frozenset(texts_at({"names": names}, "names")),
            managed_by=text_at(manifest, "metadata", "labels", MANAGED_BY_LABEL),
            place=text_at(manifest, "data", INSTALLATION),
            manifest=manifest,
        )

    @property
    def data(self) -> dict[str, str]:
        """The ConfigMap's data; what is empty is left out."""
        refused = json.dumps(sorted(self.refused)) if self.refused else ""
        named = {CLUSTER_ID: self.cluster_id, INSTALLATION: self.place, REFUSED: refused}
        return {key: value for key, value in named.items() if value}


class ClusterRecord:
    """A ConfigMap in a namespace that every cluster has: every user of a cluster finds it there."""

    def __init__(self, client: KubeClient, installation: Installation, namespace: str = RECORD_NAMESPACE) -> None:
        self._client = client
        self._installation = installation
        self._namespace = namespace
        self._maps = ConfigMapStore(client, namespace, installation.marks)

    async def check(self, cluster_id: str) -> Recorded:
        """What is recorded; Refused when that is another cluster, or when the add-on has the same marks as we.

        OtherInstallation when the cluster belongs to another azpolicy.
        """
        recorded = await self.check_installation()
        if recorded.cluster_id and fold(recorded.cluster_id) != fold(cluster_id):
            raise Refused(
                f"this cluster ({self._client.server}) is recorded as {described(recorded.cluster_id)},"
                f" not {described(cluster_id)}: check --context and --cluster-id, or --cluster-scope, --cluster-name"
                f" and --cluster-type; if its id really changed, delete configmap {NAME} in {self._namespace}"
            )
        return recorded

    async def check_installation(self) -> Recorded:
        """What is recorded; OtherInstallation and Refused as `check`, whatever the cluster's id."""
        await self._check_marks()
        recorded = Recorded.of(await self._maps.read(NAME))
        if self._installation.is_other(recorded.managed_by, recorded.place):
            why = self._installation.why_refused(recorded.managed_by, recorded.place)
            raise OtherInstallation(
                f"this cluster ({self._client.server}) belongs to {why}; if it is gone, delete configmap {NAME} in"
                f" {self._namespace}"
            )
        return recorded

    async def _check_marks(self) -> None:
        managed_by = self._installation.marks.managed_by
        if managed_by == ADDON and (running := await running_deployments(self._client)):
            raise Refused(
                f"--managed-by {ADDON} is the add-on's own value, and its deployment {running[0]} is in {NAMESPACE} of "
                f"this cluster ({self._client.server}); both would fight over every object: use another value, or "
                "switch the add-on off"
            )

    async def make(self, plan: Plan) -> None:
        """Records whose cluster it is, its id and the refused deletions, before the plan's first write.

        Nothing is written where nothing is new, and where the plan neither writes nor finds anything of ours: then the
        cluster belongs to nobody yet. Refused when somebody has recorded another cluster or installation since.
        """
        recorded = await self.check(plan.cluster_id)
        ours = self._installation
        # A person's command does not know where the operator is, and leaves what is recorded of its own installation.
        own = recorded.managed_by == ours.marks.managed_by
        new = Recorded(
            cluster_id=recorded.cluster_id or plan.cluster_id,
            refused=frozenset(str(change.live.ref) for change in plan.of(Refuse) if isinstance(change, Refuse)),
            managed_by=ours.marks.managed_by,
            place=ours.place or (recorded.place if own else ""),
        )
        owns = recorded.cluster_id or any(isinstance(change, (*WRITES, Keep)) for change in plan.changes)
        if (own and new.data == recorded.data) or (not owns and new.refused == recorded.refused):
            return
        try:
            await self._maps.write(NAME, {"data": new.data}, recorded.manifest, purpose="recording the cluster id")
        except ClusterError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            # Somebody else was faster. What they wrote is checked, and ours is written next time.
            await self.check(plan.cluster_id)
