"""What runs in a cluster, and from what its next pods will be made: read once, page by page.

The next pod comes from its controller's template, not from the pod that runs. The newest pod of that very template
shows what the API server and its webhooks make of it. So of all pods only that one is kept, and memory grows with the
number of workloads, not of pods.

| workload              | the next pod is made from                                     | at its next rollout      |
|-----------------------|---------------------------------------------------------------|--------------------------|
| Deployment            | each ReplicaSet of it that has replicas                       | its own template         |
| StatefulSet           | the revisions that its update strategy still makes            | its own template         |
| DaemonSet             | its template, whatever its update strategy                    | the same                 |
| Job; ReplicaSet and ReplicationController of nobody | its template                    | the same                 |
| CronJob               | its job template, and each Job of it that is not finished     | the same                 |
| one of another kind   | nobody knows: its newest pod is judged instead                | nobody knows             |
| a pod of nobody       | nothing makes it anew                                         | the pod itself           |
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from controller.check.manifests import Location, Manifest
from controller.check.workloads import pod_of
from controller.cluster.foreign import controller_of, mapping_at, mappings_at, text_at, text_map_at, value_at, whole_at
from controller.forecast.live_pods import as_created, is_made_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from controller.cluster.client import KubeClient

    Document = Mapping[str, Any]
    Progress = Callable[[str, int], None]

_APPS: Final = "/apis/apps/v1"
_BATCH: Final = "/apis/batch/v1"
_CORE: Final = "/api/v1"
_NOWHERE: Final = Location("", 0)
_HASH: Final = "pod-template-hash"
_REVISION: Final = "controller-revision-hash"
_GENERATION: Final = "pod-template-generation"
_GENERATION_NOW: Final = "deprecated.daemonset.template.generation"
_MIRROR: Final = "kubernetes.io/config.mirror"
_FINISHED: Final = frozenset({"Succeeded", "Failed"})
_NO_REPLICAS: Final = "it has no replicas now: once it is scaled up"
_SUSPENDED: Final = "it is suspended now: once it goes on"
_NO_NODES: Final = "no node is for it now: once there is one"
_NO_CONTROLLER: Final = "no controller makes it anew: once somebody applies it again"
_UNKNOWN_CONTROLLER: Final = "what its controller will make is not known: judged by its newest pod"


@dataclass(slots=True)
class Candidate:
    """A pod that may be made: as a template says (None: not known), and as the newest pod made from it shows."""

    template: Document | None
    live: Document | None = None


@dataclass(slots=True)
class Workload:
    """What makes pods, or a pod that nothing makes; its candidates at a restart, and those of a rollout that differ."""

    kind: str
    namespace: str
    name: str
    pods: int = 0
    restart: list[Candidate] = field(default_factory=list)
    rollout: list[Candidate] = field(default_factory=list)
    note: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(slots=True)
class _Maker:
    """An object that makes pods itself: the candidate of each revision of its template.

    `label` has the revision in its pods; without one, pods are of the only revision, and `verified` by their content.
    """

    workload: Workload
    candidates: dict[str, Candidate]
    label: str = ""
    verified: bool = False
    _newest: dict[str, str] = field(default_factory=dict)

    def take(self, pod: Document) -> None:
        """Takes a pod into account, and keeps it if it is the newest of its revision."""
        self.workload.pods += 1
        revision = text_map_at(pod, "metadata", "labels").get(self.label, "")
        candidate = self.candidates.get(revision)
        created = text_at(pod, "metadata", "creationTimestamp")
        if candidate is None or created < self._newest.get(revision, ""):
            return
        if self.verified and candidate.template and not is_made_from(candidate.template, pod):
            return
        if (live := as_created(pod, candidate.template)) is not None:
            candidate.live, self._newest[revision] = live, created


async def read_workloads(client: KubeClient, progress: Progress) -> list[Workload]:
    """Every workload of the cluster and every pod of nobody, by kind, namespace and name; ClusterError."""
    reading = _Reading(client, progress)
    await reading.run()
    return sorted(reading.workloads, key=lambda each: (each.namespace, each.kind, each.name))


class _Reading:
    """Workloads first, so that every pod finds its own."""

    def __init__(self, client: KubeClient, progress: Progress) -> None:
        self._client = client
        self._progress = progress
        self.workloads: list[Workload] = []
        self._makers: dict[str, _Maker] = {}
        self._made_by: defaultdict[str, list[Document]] = defaultdict(list)

    async def run(self) -> None:
        """Reads everything."""
        async for each in self._list(_APPS, "ReplicaSet"):
            if _replicas(each):
                self._made_by[_controller(each)].append(each)
        async for each in self._list(_BATCH, "Job"):
            if not _is_finished(each):
                self._made_by[_controller(each)].append(each)
        async for each in self._list(_APPS, "Deployment"):
            self._deployment(each)
        async for each in self._list(_BATCH, "CronJob"):
            self._cron_job(each)
        async for each in self._list(_APPS, "StatefulSet"):
            await self._stateful_set(each)
        async for each in self._list(_APPS, "DaemonSet"):
            self._daemon_set(each)
        async for each in self._list(_CORE, "ReplicationController"):
            self._own(each)
        # What is left is of nobody, or of a controller of a kind that is not known here.
        for each in (left for owned in self._made_by.values() for left in owned):
            self._own(each)
        async for each in self._list(_CORE, "Pod"):
            self._pod(each)

    async def _list(self, group: str, kind: str) -> AsyncIterator[Document]:
        """The objects of a kind that are not being deleted."""
        api_version = group.partition("/")[2].partition("/")[2] if group != _CORE else "v1"
        count = 0
        async for item in self._client.items(f"{group}/{kind.lower()}s"):
            count += 1
            self._progress(f"reading {kind}s", count)
            if "deletionTimestamp" not in mapping_at(item, "metadata"):
                yield {**item, "apiVersion": api_version, "kind": kind}

    def _add(self, document: Document, note: str = "") -> Workload:
        workload = Workload(
            text_at(document, "kind"),
            text_at(document, "metadata", "namespace"),
            text_at(document, "metadata", "name"),
            note=note,
        )
        self.workloads.append(workload)
        return workload

    def _make(self, document: Document, workload: Workload, *, verified: bool = False) -> Candidate:
        """Has an object make pods of a workload, from its one template."""
        candidate = Candidate(_template(document))
        self._makers[_uid(document)] = _Maker(workload, {"": candidate}, verified=verified)
        return candidate

    def _own(self, document: Document) -> None:
        """A ReplicaSet, ReplicationController or Job that is a workload itself."""
        idle = _idle(document)
        workload = self._add(document, idle)
        # The template of a Job cannot change; that of the others can, and the pods stay as they were.
        candidate = self._make(document, workload, verified=text_at(document, "kind") != "Job")
        (workload.rollout if idle else workload.restart).append(candidate)

    def _deployment(self, document: Document) -> None:
        sets = self._made_by.pop(_uid(document), [])
        workload = self._add(document, _idle(document))
        workload.restart = [self._make(each, workload) for each in sets]
        if _pod_template(document) not in map(_pod_template, sets):
            workload.rollout = [Candidate(_template(document))]

    def _cron_job(self, document: Document) -> None:
        jobs = self._made_by.pop(_uid(document), [])
        idle = _idle(document)
        workload = self._add(document, idle)
        workload.restart = [self._make(each, workload) for each in jobs]
        (workload.rollout if idle else workload.restart).append(Candidate(_template(document)))

    async def _stateful_set(self, document: Document) -> None:
        """The controller makes pods below the partition of the current revision, all others of the update revision."""
        idle = _idle(document)
        workload = self._add(document, idle)
        current, update = (text_at(document, "status", key) for key in ("currentRevision", "updateRevision"))
        strategy = mapping_at(document, "spec", "updateStrategy")
        partition = whole_at(strategy, "rollingUpdate", "partition")
        newest = Candidate(_template(document))
        candidates = {update: newest}
        if not idle and partition < _replicas(document):
            workload.restart.append(newest)
        else:
            workload.rollout.append(newest)
        if not idle and current and current != update and strategy.get("type") != "OnDelete":
            candidates[current] = Candidate(await self._revision(document, current))
            workload.restart.append(candidates[current])
        self._makers[_uid(document)] = _Maker(workload, candidates, label=_REVISION)

    async def _revision(self, document: Document, name: str) -> Document | None:
        """The pod of an earlier revision of a StatefulSet; None where it is not kept any more."""
        namespace = text_at(document, "metadata", "namespace")
        found = await self._client.get(f"{_APPS}/namespaces/{namespace}/controllerrevisions/{name}")
        template = mapping_at(found, "data", "spec", "template")
        return _template({**document, "spec": {"template": template}}) if template else None

    def _daemon_set(self, document: Document) -> None:
        idle = "" if whole_at(document, "status", "desiredNumberScheduled") else _NO_NODES
        workload = self._add(document, idle)
        candidate = Candidate(_template(document))
        generation = text_map_at(document, "metadata", "annotations").get(_GENERATION_NOW, "")
        self._makers[_uid(document)] = _Maker(workload, {generation: candidate}, label=_GENERATION)
        (workload.rollout if idle else workload.restart).append(candidate)

    def _pod(self, document: Document) -> None:
        finished = text_at(document, "status", "phase") in _FINISHED
        if finished or _MIRROR in text_map_at(document, "metadata", "annotations"):
            return
        owner = _controller(document)
        if owner in self._makers:
            self._makers[owner].take(document)
        elif owner:
            self._of_unknown_kind(document)
        else:
            workload = self._add(document, _NO_CONTROLLER)
            workload.pods, workload.rollout = 1, [Candidate(None, as_created(_unmanaged(document)))]

    def _of_unknown_kind(self, document: Document) -> None:
        reference = controller_of(document)
        owner = {"metadata": {**reference, "namespace": text_at(document, "metadata", "namespace")}, **reference}
        workload = self._add(owner, _UNKNOWN_CONTROLLER)
        candidate = Candidate(None)
        workload.restart = [candidate]
        maker = self._makers[_controller(document)] = _Maker(workload, {"": candidate})
        maker.take(document)


def _uid(document: Document) -> str:
    return text_at(document, "metadata", "uid")


def _unmanaged(pod: Document) -> Document:
    """A pod of nobody as it is now: whoever has changed it may do so again."""
    metadata = {key: value for key, value in mapping_at(pod, "metadata").items() if key != "managedFields"}
    return {**pod, "metadata": metadata}


def _controller(document: Document) -> str:
    return text_at(controller_of(document), "uid")


def _replicas(document: Document) -> int:
    return whole_at(document, "spec", "replicas", default=1)


def _is_finished(job: Document) -> bool:
    conditions = mappings_at(job, "status", "conditions")
    return any(each.get("type") in {"Complete", "Failed"} and each.get("status") == "True" for each in conditions)


def _idle(document: Document) -> str:
    """Why a workload makes no pods now, empty where it does."""
    if value_at(document, "spec", "suspend") is True:
        return _SUSPENDED
    return "" if _replicas(document) else _NO_REPLICAS


def _template(document: Document) -> Document | None:
    """The pod that an object would make; None where it has no template."""
    return pod_of(Manifest(_NOWHERE, dict(document)), text_at(document, "metadata", "namespace"))


def _pod_template(document: Document) -> tuple[Document, Document]:
    """Labels and spec of an object's pod template: alike in a Deployment and in the ReplicaSet that it made for it."""
    template = mapping_at(document, "spec", "template")
    labels = {k: v for k, v in text_map_at(template, "metadata", "labels").items() if k != _HASH}
    return {**mapping_at(template, "metadata"), "labels": labels}, mapping_at(template, "spec")
