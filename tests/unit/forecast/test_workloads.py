"""From what the next pods of a cluster's workloads will be made, kind by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.client import Connection, KubeClient, Response
from controller.errors import ClusterError
from controller.forecast.workloads import Workload, read_workloads

if TYPE_CHECKING:
    from collections.abc import Mapping

    Document = dict[str, Any]


class Served(KubeClient):
    """An API server that answers lists by path, a page of one item at a time, and objects by path."""

    def __init__(self, *documents: Document) -> None:
        super().__init__(Connection())
        self.queries: list[Mapping[str, str]] = []
        self.expires = False
        self.collections: dict[str, list[Document]] = {}
        self.objects: dict[str, Document] = {}
        for each in documents:
            version = each["apiVersion"]
            root = "/api/v1" if version == "v1" else f"/apis/{version}"
            self.collections.setdefault(f"{root}/{each['kind'].lower()}s", []).append(each)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        by_metadata: bool = False,
    ) -> Response:
        del body
        assert method == "GET"
        assert not by_metadata
        self.queries.append(query or {})
        if path in self.objects:
            return Response(200, self.objects[path])
        if path not in self.collections:
            return Response(404, {"kind": "Status", "message": "not found"})
        after = int((query or {}).get("continue", "0"))
        if after and self.expires:
            self.expires = False
            return Response(410, {"kind": "Status", "metadata": {"continue": str(after)}})
        items = self.collections[path]
        metadata = {"continue": str(after + 1)} if after + 1 < len(items) else {}
        return Response(200, {"kind": "List", "metadata": metadata, "items": items[after : after + 1]})


async def read(served: KubeClient) -> dict[str, Workload]:
    found = await read_workloads(served, lambda _doing, _count: None)
    return {str(each): each for each in found}


def owned_by(owner: Document, controller: bool = True) -> list[Document]:
    metadata = owner["metadata"]
    owner_kind = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
    return [{**owner_kind, "name": metadata["name"], "uid": metadata["uid"], "controller": controller}]


def made(kind: str, name: str, labels: Mapping[str, str] | None = None, **more: Any) -> Document:
    """A workload in shop whose pods have labels; `owner`, `status`, `annotations` are set, the rest is of the spec."""
    versions = {"Job": "batch/v1", "CronJob": "batch/v1", "ReplicationController": "v1"}
    metadata: Document = {"name": name, "namespace": "shop", "uid": f"uid-{name}"}
    if owner := more.pop("owner", None):
        metadata["ownerReferences"] = owned_by(owner)
    metadata |= {key: more.pop(key) for key in ("annotations", "deletionTimestamp") if key in more}
    status = more.pop("status", {})
    inside = {"metadata": {"labels": dict(labels or {})}, "spec": {"containers": [{"name": "c", "image": "app"}]}}
    spec = {"jobTemplate": {"spec": {"template": inside}}} if kind == "CronJob" else {"template": inside}
    version = versions.get(kind, "apps/v1")
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec | more, "status": status}


def pod(
    name: str, owner: Document | None = None, labels: Mapping[str, str] | None = None, created: int = 1, **more: Any
) -> Document:
    metadata: Document = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "labels": dict(labels or {})}
    metadata["creationTimestamp"] = f"2026-01-01T00:00:{created:02}Z"
    if owner:
        metadata["ownerReferences"] = owned_by(owner)
    metadata |= {key: more.pop(key) for key in ("annotations", "deletionTimestamp", "managedFields") if key in more}
    spec = {"containers": [{"name": "c", "image": "app"}], "nodeName": "n"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": more}


def labels_of(candidates: Any) -> list[Any]:
    return [each.template and each.template["metadata"].get("labels", {}) for each in candidates]


def lives_of(candidates: Any) -> list[Any]:
    return [each.live and each.live["metadata"]["name"] for each in candidates]


async def test_a_deployment_s_pods_come_from_its_replica_sets_with_replicas_and_the_newest_pod_shows_how() -> None:
    web = made("Deployment", "web", {"v": "2"})
    old = made("ReplicaSet", "web-old", {"v": "0", "pod-template-hash": "old"}, owner=web, replicas=0)
    now = made("ReplicaSet", "web-now", {"v": "2", "pod-template-hash": "now"}, owner=web, replicas=2)
    pods = [pod("a", now, created=1), pod("b", now, created=3), pod("c", now, created=2), pod("gone", old)]

    found = (await read(Served(web, old, now, *pods)))["Deployment shop/web"]

    assert labels_of(found.restart) == [{"v": "2", "pod-template-hash": "now"}]
    assert lives_of(found.restart) == ["b"]
    assert (found.rollout, found.pods) == ([], 3)


async def test_a_template_that_is_not_rolled_out_is_a_candidate_of_the_rollout() -> None:
    web = made("Deployment", "web", {"v": "2"}, paused=True)
    now = made("ReplicaSet", "web-now", {"v": "1"}, owner=web, replicas=1)

    found = (await read(Served(web, now)))["Deployment shop/web"]

    assert (labels_of(found.restart), labels_of(found.rollout)) == ([{"v": "1"}], [{"v": "2"}])


@pytest.mark.parametrize(
    ("workload", "note"),
    [
        (made("Deployment", "idle", replicas=0), "no replicas"),
        (made("StatefulSet", "idle", replicas=0), "no replicas"),
        (made("ReplicaSet", "idle", replicas=1), ""),
        (made("ReplicationController", "idle", replicas=0), "no replicas"),
        (made("DaemonSet", "idle", status={"desiredNumberScheduled": 0}), "no node"),
        (made("CronJob", "idle", suspend=True), "suspended"),
        (made("Job", "idle", suspend=True), "suspended"),
    ],
)
async def test_what_makes_no_pods_now_is_judged_for_when_it_goes_on(workload: Document, note: str) -> None:
    [found] = (await read(Served(workload))).values()

    assert note in found.note
    assert bool(found.restart) is not bool(note)
    assert bool(found.rollout) is bool(note)


@pytest.mark.parametrize(
    ("strategy", "restart", "rollout"),
    [
        ({"type": "RollingUpdate"}, ["2", "1"], []),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}, ["1"], ["2"]),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}, ["2", "1"], []),
        ({"type": "OnDelete"}, ["2"], []),
    ],
)
async def test_a_stateful_set_makes_the_revisions_that_its_strategy_says(
    strategy: Document, restart: list[str], rollout: list[str]
) -> None:
    status = {"currentRevision": "db-1", "updateRevision": "db-2"}
    database = made("StatefulSet", "db", {"v": "2"}, replicas=3, updateStrategy=strategy, status=status)
    revisions = [("db-1", 1), ("db-2", 2), ("db-1", 3)]
    pods = [pod(f"db-{n}", database, {"controller-revision-hash": r}, created=n) for r, n in revisions]
    served = Served(database, *pods)
    old = made("StatefulSet", "db", {"v": "1"})["spec"]["template"]
    revision = {"kind": "ControllerRevision", "data": {"spec": {"template": old}}}
    served.objects["/apis/apps/v1/namespaces/shop/controllerrevisions/db-1"] = revision

    found = (await read(served))["StatefulSet shop/db"]

    assert [each["v"] for each in labels_of(found.restart)] == restart
    assert [each["v"] for each in labels_of(found.rollout)] == rollout
    assert lives_of(found.restart) == [{"2": "db-2", "1": "db-3"}[each] for each in restart]


async def test_a_daemon_set_is_shown_by_pods_of_its_present_template_alone() -> None:
    agent = made(
        "DaemonSet",
        "agent",
        status={"desiredNumberScheduled": 2},
        annotations={"deprecated.daemonset.template.generation": "2"},
    )
    pods = [pod("new", agent, {"pod-template-generation": "2"}), pod("old", agent, {"pod-template-generation": "1"}, 9)]

    found = (await read(Served(agent, *pods)))["DaemonSet shop/agent"]

    assert (lives_of(found.restart), found.pods) == (["new"], 2)


async def test_a_cron_job_is_judged_by_its_template_and_by_its_jobs_that_are_not_finished() -> None:
    nightly = made("CronJob", "nightly", {"v": "2"})
    done = made(
        "Job", "done", {"v": "0"}, owner=nightly, status={"conditions": [{"type": "Complete", "status": "True"}]}
    )
    running = made("Job", "running", {"v": "1"}, owner=nightly)

    found = await read(Served(nightly, done, running, pod("a", running)))

    assert list(found) == ["CronJob shop/nightly"]
    assert labels_of(found["CronJob shop/nightly"].restart) == [{"v": "1"}, {"v": "2"}]
    assert lives_of(found["CronJob shop/nightly"].restart) == ["a", None]


async def test_an_edited_replica_set_is_not_shown_by_pods_that_were_made_before() -> None:
    edited = made("ReplicaSet", "rs", {"v": "2"}, replicas=1)
    old, new = pod("old", edited, {"v": "1"}, created=2), pod("new", edited, {"v": "2", "added": "x"}, created=1)

    assert lives_of((await read(Served(edited, old)))["ReplicaSet shop/rs"].restart) == [None]
    assert lives_of((await read(Served(edited, old, new)))["ReplicaSet shop/rs"].restart) == ["new"]


async def test_a_pod_of_nobody_is_a_workload_and_those_that_never_come_back_are_none() -> None:
    finished = pod("finished", phase="Succeeded")
    static = pod("static", annotations={"kubernetes.io/config.mirror": "x"})
    leaving = pod("leaving", deletionTimestamp="2026-01-01T00:00:00Z")

    found = await read(Served(pod("bare"), finished, static, leaving))

    assert list(found) == ["Pod shop/bare"]
    assert lives_of(found["Pod shop/bare"].rollout) == ["bare"]
    assert "somebody applies it again" in found["Pod shop/bare"].note


async def test_a_pod_of_nobody_is_judged_as_it_is_whoever_changed_it() -> None:
    edits = [
        {"manager": name, "fieldsV1": {"f:metadata": {"f:labels": {"f:v": {}}}, "f:spec": {"f:containers": {}}}}
        for name in ("kubectl", "kubectl-set")
    ]

    [found] = (await read(Served(pod("bare", labels={"v": "1"}, managedFields=edits)))).values()

    [candidate] = found.rollout
    assert candidate.live
    assert candidate.live["metadata"]["labels"] == {"v": "1"}


async def test_a_controller_of_an_unknown_kind_is_judged_by_its_newest_pod_and_its_replica_set_by_its_template() -> (
    None
):
    rollout = {"apiVersion": "argoproj.io/v1", "kind": "Rollout", "metadata": {"name": "ro", "uid": "uid-ro"}}
    rs = made("ReplicaSet", "ro-1", owner=rollout)
    clone = {"apiVersion": "apps.kruise.io/v1", "kind": "CloneSet", "metadata": {"name": "cs", "uid": "uid-cs"}}

    found = await read(Served(rs, pod("a", rs), pod("b", clone, created=1), pod("c", clone, created=2)))

    assert list(found) == ["CloneSet shop/cs", "ReplicaSet shop/ro-1"]
    assert lives_of(found["CloneSet shop/cs"].restart) == ["c"]
    assert (found["CloneSet shop/cs"].pods, found["ReplicaSet shop/ro-1"].pods) == (2, 1)


async def test_a_list_that_expires_between_pages_goes_on_and_no_page_is_asked_for_twice() -> None:
    served = Served(*(pod(f"p{n}") for n in range(3)))
    served.expires = True

    found = await read(served)

    assert len(found) == 3
    assert [each["continue"] for each in served.queries if "continue" in each] == ["1", "1", "2"]


async def test_what_may_not_be_listed_is_an_error_that_names_it() -> None:
    class Forbidden(Served):
        async def request(self, method: str, path: str, **more: Any) -> Response:
            del method, more
            if path.endswith("/pods"):
                return Response(403, {"kind": "Status", "message": "pods is forbidden"})
            return Response(404, {"kind": "Status"})

    with pytest.raises(ClusterError, match="listing pods: pods is forbidden"):
        await read(Forbidden())
