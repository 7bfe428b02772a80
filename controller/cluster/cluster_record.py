"""The record in the cluster itself: which Azure cluster it is, whose, and which deletions were refused.

The wrong context must not prune, two installations must not delete each other's objects, and what the safety stop holds
back must not slip through at the next sync. docs/decisions/013-one-installation-in-a-cluster.md says why.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.azure.declared import described
from controller.azure.model import fold
from controller.bounded_json import read_json
from controller.cluster.addon import NAMESPACE, running_deployments
from controller.cluster.changes import WRITES, Keep, Refuse
from controller.cluster.config_maps import ConfigMapStore
from controller.cluster.foreign import text_at, text_map_at, texts_at
from controller.cluster.prune import lost_after, within_window
from controller.errors import ClusterError, OtherInstallation, Refused
from controller.gatekeeper.naming import ADDON, MANAGED_BY_LABEL, RECORD_NAMESPACE
from controller.times import parse_moment, utc_now, write_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from controller.cluster.changes import Plan
    from controller.cluster.client import KubeClient
    from controller.cluster.installation import Installation
    from controller.cluster.prune import PruneLimit

NAME: Final = "azure-policy-sync"
CLUSTER_ID: Final = "cluster-id"
REFUSED: Final = "refused-deletions"
INSTALLATION: Final = "installation"
LOST: Final = "unproven-deletions"
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the record says; all empty where there is none. `refused` and the keys of `lost` are `Kind/name`.

    `managed_by` is the label of the record itself, which every version has written; `place` is NAMESPACE/RELEASE.
    """

    cluster_id: str = ""
    refused: frozenset[str] = frozenset()
    lost: Mapping[str, datetime] = field(default_factory=dict)
    managed_by: str = ""
    place: str = ""
    manifest: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, manifest: Mapping[str, Any] | None) -> Recorded:
        """Reads the ConfigMap; a list of deletions that somebody broke counts as empty."""
        moments = {
            name: parse_moment(said) for name, said in text_map_at({"of": _listed(manifest, LOST)}, "of").items()
        }
        return cls(
            cluster_id=text_at(manifest, "data", CLUSTER_ID),
            refused=frozenset(texts_at({"of": _listed(manifest, REFUSED)}, "of")),
            lost={name: moment for name, moment in moments.items() if moment is not None},
            managed_by=text_at(manifest, "metadata", "labels", MANAGED_BY_LABEL),
            place=text_at(manifest, "data", INSTALLATION),
            manifest=manifest,
        )

    @property
    def data(self) -> dict[str, str]:
        """The ConfigMap's data; what is empty is left out."""
        lost = {name: write_moment(moment) for name, moment in sorted(self.lost.items())}
        named = {
            CLUSTER_ID: self.cluster_id,
            INSTALLATION: self.place,
            REFUSED: json.dumps(sorted(self.refused)) if self.refused else "",
            LOST: json.dumps(lost) if lost else "",
        }
        return {key: value for key, value in named.items() if value}

    def limiting(self, limit: PruneLimit, now: datetime) -> PruneLimit:
        """The limit with what was refused and lost before."""
        return replace(limit, refused=self.refused, lost=frozenset(within_window(self.lost, now)))


def _listed(manifest: Mapping[str, Any] | None, key: str) -> object:
    try:
        return read_json(text_at(manifest, "data", key).encode())
    except ValueError:
        return None


class ClusterRecord:
    """A ConfigMap in a namespace that every cluster has: every user of a cluster finds it there."""

    def __init__(
        self,
        client: KubeClient,
        installation: Installation,
        namespace: str = RECORD_NAMESPACE,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`now` is the wall clock, aware: losses are counted by it."""
        self._now = now
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

    async def make(self, plan: Plan, *, forced: bool = False) -> None:
        """Records whose cluster it is, its id, and the refused and unproven deletions, before the plan's first write.

        Nothing is written where nothing is new, and where the plan neither writes nor finds anything of ours: then the
        cluster belongs to nobody yet. `forced` says that the plan's deletions are forced. Refused when somebody has
        recorded another cluster or installation since.
        """
        for left in reversed(range(_ROUNDS)):
            recorded = await self.check(plan.cluster_id)
            data = self._data(recorded, plan, forced=forced)
            if data is None:
                return
            try:
                await self._maps.write(NAME, {"data": data}, recorded.manifest, purpose="recording the cluster id")
            except ClusterError as error:
                # Where somebody else was faster, what they wrote is checked, and ours is written over it.
                if error.status != HTTPStatus.CONFLICT or not left:
                    raise
            else:
                return

    def _data(self, recorded: Recorded, plan: Plan, *, forced: bool) -> dict[str, str] | None:
        """The record once a plan is carried out, None where that is what it says: time alone is no reason to write."""
        now = self._now()
        before = replace(recorded, lost=within_window(recorded.lost, now))
        ours = self._installation
        # A person's command does not know where the operator is, and leaves what is recorded of its own installation.
        own = recorded.managed_by == ours.marks.managed_by
        new = Recorded(
            cluster_id=recorded.cluster_id or plan.cluster_id,
            refused=frozenset(str(change.live.ref) for change in plan.of(Refuse) if isinstance(change, Refuse)),
            lost=lost_after(recorded.lost, plan, now, forced=forced),
            managed_by=ours.marks.managed_by,
            place=ours.place or (recorded.place if own else ""),
        )
        if own and new.data == before.data:
            return None
        owns = recorded.cluster_id or any(isinstance(change, (*WRITES, Keep)) for change in plan.changes)
        if not owns and (new.refused, new.lost) == (before.refused, before.lost):
            return None
        return new.data
