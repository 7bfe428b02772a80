"""A forecast comes true: a cluster is seeded, policies come, every pod is deleted, and what stays away was forecast.

The controllers of a real cluster make the pods anew and Gatekeeper denies them. No kubelet runs: pods stay Pending.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.azpolicy import Azpolicy, all_enforced, edit, pod, refusal, run, wipe
from tests.cluster.harness import TestCluster, eventually, tools
from tests.snapshots import Snapshot, TemplateFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORKLOADS = 200
NAMESPACES = ("forecast-shop", "forecast-mutated", "forecast-excluded", "forecast-ignored")
CONFIG = "/apis/config.gatekeeper.sh/v1alpha1/namespaces/gatekeeper-system/configs"
CORE, APPS, BATCH = "/api/v1", "/apis/apps/v1", "/apis/batch/v1"
NODE = "forecast-node"
# Each rule looks at the pods with a label of its own.
NEEDS_OWNER = 'violation[{"msg": "label owner is missing"}] { not input.review.object.metadata.labels.owner }'
NEEDS_ACCOUNT = 'violation[{"msg": "no service account"}] { not input.review.object.spec.serviceAccountName }'
NO_TOKEN = (
    'violation[{"msg": "a token is mounted"}] '
    '{ startswith(input.review.object.spec.volumes[_].name, "kube-api-access-") }'
)


@dataclass(frozen=True)
class Seeded:
    """A workload: where it is written, its manifest, and what becomes of it by what it was made for."""

    collection: str
    manifest: dict[str, Any]
    fails: bool
    only_at_rollout: bool = False

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    @property
    def key(self) -> tuple[str, str, str]:
        return str(self.manifest["kind"]), self.namespace, str(self.manifest["metadata"]["name"])

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.key[2]}"


# What a pod template says, and whether a policy then denies it: labels, further fields of the pod's spec.
TEMPLATES: list[tuple[str, dict[str, str], bool]] = [
    ("forecast-shop", {}, False),
    ("forecast-shop", {"forbidden": "yes"}, True),
    ("forecast-shop", {"needs": "owner"}, True),
    ("forecast-shop", {"needs": "owner", "owner": "me"}, False),
    ("forecast-mutated", {"needs": "owner"}, False),
    ("forecast-mutated", {"needs": "owner", "forbidden": "yes"}, True),
    ("forecast-shop", {"needs": "account"}, False),
    ("forecast-shop", {"needs": "silence"}, True),
    ("forecast-excluded", {"forbidden": "yes"}, False),
    ("forecast-ignored", {"forbidden": "yes"}, False),
    ("forecast-shop", {"hand": "labelled", "needs": "owner"}, True),
]
KINDS = {
    "Deployment": APPS,
    "ReplicaSet": APPS,
    "StatefulSet": APPS,
    "DaemonSet": APPS,
    "Job": BATCH,
    "ReplicationController": CORE,
}


def seeds(count: int) -> list[Seeded]:
    """Every template in every kind, in turn, and among the Deployments some that are paused or have no replicas."""
    made = []
    for number in range(count):
        namespace, labels, fails = TEMPLATES[number % len(TEMPLATES)]
        kind = list(KINDS)[number // len(TEMPLATES) % len(KINDS)]
        made.append(seeded(kind, f"w{number:03}", namespace, labels, fails=fails))
    made.append(seeded("Deployment", "idle", "forecast-shop", {"forbidden": "yes"}, fails=False, replicas=0))
    made.append(seeded("Deployment", "paused", "forecast-shop", {}, fails=False))
    return made


def seeded(kind: str, name: str, namespace: str, labels: dict[str, str], *, fails: bool, replicas: int = 2) -> Seeded:
    api = KINDS[kind]
    selector = {"app": name}
    inside: dict[str, Any] = {"containers": [{"name": "c", "image": "registry.example.com/app:1"}]}
    template = {"metadata": {"labels": {**selector, **labels}}, "spec": inside}
    spec: dict[str, Any] = {"template": template}
    match kind:
        case "Job":
            inside["restartPolicy"] = "Never"
        case "ReplicationController":
            spec |= {"selector": selector, "replicas": replicas}
        case "DaemonSet":
            spec |= {"selector": {"matchLabels": selector}}
        case _:
            spec |= {"selector": {"matchLabels": selector}, "replicas": replicas}
    if kind == "StatefulSet":
        spec |= {"serviceName": name, "podManagementPolicy": "Parallel"}
    manifest = {
        "apiVersion": "v1" if api == CORE else api.removeprefix("/apis/"),
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    return Seeded(f"{api}/namespaces/{namespace}/{kind.lower()}s", manifest, fails, only_at_rollout=replicas == 0)


@pytest.fixture
def nowhere(tidy: TestCluster) -> Iterator[TestCluster]:
    """The cluster with empty namespaces and a node, all of which go again."""
    for name in NAMESPACES:
        assert tidy.request("POST", f"{CORE}/namespaces", {"metadata": {"name": name}})[0] == 201
        eventually(lambda: tidy.request("GET", account(name))[0] == 200, what="the service account")  # noqa: B023
    assert tidy.request("POST", f"{CORE}/nodes", {"metadata": {"name": NODE}})[0] == 201
    # A new node is tainted until somebody finds it ready.
    tidy.request("PATCH", f"{CORE}/nodes/{NODE}", {"spec": {"taints": None}})
    ignored = {"excludedNamespaces": ["forecast-ig*"], "processes": ["webhook"]}
    config = {"apiVersion": "config.gatekeeper.sh/v1alpha1", "kind": "Config", "metadata": {"name": "config"}}
    assert tidy.request("POST", CONFIG, {**config, "spec": {"match": [ignored]}})[0] == 201
    yield tidy
    # Before the pods: Gatekeeper denies a Job's pods the edit that lets go of them, too.
    wipe(tidy)
    tidy.request("DELETE", f"{CORE}/nodes/{NODE}")
    tidy.request("DELETE", f"{CONFIG}/config")
    for name in NAMESPACES:
        for collection in (*(f"{api}/namespaces/{name}/{k.lower()}s" for k, api in KINDS.items()), pods_of(name)):
            tidy.request("DELETE", f"{collection}?gracePeriodSeconds=0&propagationPolicy=Background")
        tidy.request("DELETE", f"{CORE}/namespaces/{name}")
    eventually(
        lambda: all(tidy.request("GET", f"{CORE}/namespaces/{name}")[0] == 404 for name in NAMESPACES),
        timeout=90,
        what="the namespaces to go",
    )


def account(namespace: str) -> str:
    return f"{CORE}/namespaces/{namespace}/serviceaccounts/default"


def pods_of(namespace: str) -> str:
    return f"{CORE}/namespaces/{namespace}/pods"


def pods(cluster: TestCluster) -> list[dict[str, Any]]:
    """Those of the namespaces that are not being deleted."""
    listed = [item for name in NAMESPACES for item in cluster.get(pods_of(name))["items"]]
    return [item for item in listed if "deletionTimestamp" not in item["metadata"]]


def workload_of(live: dict[str, Any]) -> tuple[str, str]:
    return str(live["metadata"]["namespace"]), str(live["metadata"]["labels"]["app"])


def are_there(cluster: TestCluster, expected: Counter[tuple[str, str]]) -> bool:
    """Whether each workload has its pods; AssertionError with those that are missing."""
    missing = expected - Counter(map(workload_of, pods(cluster)))
    assert not missing, missing
    return True


def wanted(seed: Seeded) -> int:
    """How many pods a workload has."""
    return int(seed.manifest["spec"].get("replicas", 1))


def policies(folder: Path) -> tuple[Snapshot, TemplateFolder]:
    """Four policies that deny pods, and a mutation that spares those of one namespace from one of them."""
    bundle, snapshot = TemplateFolder(folder / "templates"), Snapshot(folder / "snapshot")
    forbidden = bundle.write("forbidden/v1", "K8sAzureV1Forbidden")
    snapshot.assign("labels", snapshot.define("forbidden", forbidden, excludedNamespaces=["forecast-excluded"]))
    for name, rule in (("owner", NEEDS_OWNER), ("account", NEEDS_ACCOUNT), ("silence", NO_TOKEN)):
        url = bundle.write(f"{name}/v1", f"K8sAzureV1Needs{name.title()}", rule, {})
        selector = {"matchLabels": {"needs": name}}
        snapshot.assign(name, snapshot.define(name, url, values={}, labelSelector=selector))
    mutation = bundle.write_mutation("give/v1", "give-owner", "owner")
    given = snapshot.define("give", mutation, effect="Mutate", namespaces=["forecast-mutated"])
    snapshot.assign("give", given)
    return snapshot, bundle


def test_what_does_not_come_back_is_what_was_forecast(nowhere: TestCluster, tmp_path: Path) -> None:
    seeded_all = seeds(WORKLOADS)
    for seed in seeded_all:
        status, answer = nowhere.request("POST", seed.collection, seed.manifest)
        assert status == 201, answer
    expected = Counter({(seed.namespace, seed.key[2]): wanted(seed) for seed in seeded_all if wanted(seed)})
    eventually(lambda: are_there(nowhere, expected), timeout=60, what="every pod")
    change_by_hand(nowhere)
    bare = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bare", "labels": {"app": "bare", "forbidden": "y"}},
    }
    bare["spec"] = {"containers": [{"name": "c", "image": "app"}]}
    assert nowhere.request("POST", pods_of("forecast-shop"), bare)[0] == 201
    snapshot, bundle = policies(tmp_path)
    azpolicy = Azpolicy(nowhere, snapshot.folder, user="forecaster", templates=bundle.folder)
    before = forecast(azpolicy)
    assert azpolicy.apply().code == 0
    eventually(lambda: all_enforced(nowhere), timeout=120, what="every constraint to be enforced")
    eventually(lambda: not refusal(nowhere, pod(forbidden="y"), "forecast-ignored"), what="the Config to count")
    eventually(lambda: is_mutated(nowhere), what="the mutation")

    found = forecast(azpolicy)

    assert found == before
    delete_every_pod(nowhere)
    gone = stayed_away(nowhere, seeded_all)
    foreseen = {key for key, verdict in found.items() if verdict == "restart"}
    hits = len(gone & foreseen)
    print(
        f"forecast of {len(found)} workloads: {len(foreseen)} to fail, {len(gone)} failed, "
        f"precision {hits / len(foreseen):.3f}, recall {hits / len(gone):.3f}"
    )
    assert gone == foreseen
    assert gone == {seed.key for seed in seeded_all if seed.fails}
    later = {key for key, verdict in found.items() if verdict == "rollout"}
    assert later == {
        ("Pod", "forecast-shop", "bare"),
        *(("Deployment", "forecast-shop", n) for n in ("idle", "paused")),
    }
    nowhere.request("PATCH", f"{APPS}/namespaces/forecast-shop/deployments/paused", {"spec": {"paused": False}})
    nowhere.request("PATCH", f"{APPS}/namespaces/forecast-shop/deployments/idle", {"spec": {"replicas": 1}})
    eventually(lambda: all(is_denied(nowhere, name) for name in ("idle", "paused")), what="their pods to be denied")


def is_mutated(cluster: TestCluster) -> bool:
    """Whether Gatekeeper gives a pod the label."""
    _, made = cluster.request("POST", f"{pods_of('forecast-mutated')}?dryRun=All", pod())
    return "owner" in made["metadata"]["labels"]


def change_by_hand(cluster: TestCluster) -> None:
    """Labels that pods have and their templates lack, and a template that is not rolled out."""
    for live in pods(cluster):
        if live["metadata"]["labels"].get("hand") == "labelled":
            path = f"{pods_of(live['metadata']['namespace'])}/{live['metadata']['name']}"
            edit(cluster, path, lambda it: it["metadata"]["labels"].update(owner="somebody"))
    paused = f"{APPS}/namespaces/forecast-shop/deployments/paused"
    cluster.request("PATCH", paused, {"spec": {"paused": True}})
    cluster.request("PATCH", paused, {"spec": {"template": {"metadata": {"labels": {"forbidden": "yes"}}}}})


def forecast(azpolicy: Azpolicy, *arguments: str) -> dict[tuple[str, str, str], str]:
    """The verdict of each workload of the namespaces."""
    ended = azpolicy("forecast", "-o", "json", "--gator", gator(), *arguments)
    assert ended.code == 1, ended.err
    return {
        (each["workload"]["kind"], each["workload"]["namespace"], each["workload"]["name"]): each["verdict"]
        for each in ended.document()["workloads"]
        if each["workload"]["namespace"] in NAMESPACES
    }


def gator() -> str:
    return os.environ.get("AZPOLICY_GATOR") or str(tools.path("gator"))


def delete_every_pod(cluster: TestCluster) -> None:
    """As a node's end would; what was told before is forgotten."""
    for name in NAMESPACES:
        cluster.request("DELETE", f"{CORE}/namespaces/{name}/events")
        cluster.request("DELETE", f"{pods_of(name)}?gracePeriodSeconds=0")


def stayed_away(cluster: TestCluster, seeded_all: list[Seeded]) -> set[tuple[str, str, str]]:
    """The workloads whose pods were denied, once each has its new pods or has been denied them."""
    restarted = [seed for seed in seeded_all if wanted(seed)]
    outcome: dict[tuple[str, str, str], bool] = {}

    def settled() -> bool:
        there = Counter(map(workload_of, pods(cluster)))
        denied = denied_by_app(cluster)
        for seed in restarted:
            app = (seed.namespace, seed.key[2])
            if app in denied and not there[app]:
                outcome[seed.key] = True
            elif there[app] == wanted(seed):
                outcome[seed.key] = False
            else:
                outcome.pop(seed.key, None)
        return len(outcome) == len(restarted)

    eventually(settled, timeout=120, what="each workload to have its pods, or to be denied them")
    return {key for key, failed in outcome.items() if failed}


def denied_by_app(cluster: TestCluster) -> set[tuple[str, str]]:
    """The workloads of the objects that were denied a pod since the Events were last deleted."""
    found = set()
    for name in NAMESPACES:
        for event in cluster.get(f"{CORE}/namespaces/{name}/events")["items"]:
            if event["reason"] == "FailedCreate" and "denied the request" in event["message"]:
                # A ReplicaSet of a Deployment has its name and a hash.
                found.add((name, event["involvedObject"]["name"].partition("-")[0]))
    return found


def is_denied(cluster: TestCluster, name: str) -> bool:
    return ("forecast-shop", name) in denied_by_app(cluster)


def test_the_cluster_s_own_policies_are_judged_by_as_if_they_denied(nowhere: TestCluster, tmp_path: Path) -> None:
    for seed in (
        seeded("Deployment", "bad", "forecast-shop", {"forbidden": "yes"}, fails=True, replicas=1),
        seeded("Deployment", "good", "forecast-shop", {}, fails=False, replicas=1),
    ):
        assert nowhere.request("POST", seed.collection, seed.manifest)[0] == 201
    eventually(lambda: len(pods(nowhere)) == 2, what="two pods")
    bundle, snapshot = TemplateFolder(tmp_path / "templates"), Snapshot(tmp_path / "snapshot")
    url = bundle.write("forbidden/v1", "K8sAzureV1Forbidden")
    snapshot.assign("labels", snapshot.define("forbidden", url), effect="Audit")
    azpolicy = Azpolicy(nowhere, snapshot.folder, user="auditor", templates=bundle.folder)
    assert azpolicy.apply().code == 0

    where: list[str | Path] = ["--kubeconfig", azpolicy.kubeconfig, "--gator", gator()]

    now = run("forecast", "-o", "json", *where)
    denying = run("forecast", "--as", "deny", *where)
    snapshot.assign("labels", snapshot.define("forbidden", url), effect="Deny")
    planned = azpolicy("plan", "--forecast", "--gator", gator())

    assert (now.code, now.document()["counts"]["restart"]) == (0, 0)
    assert denying.code == 1
    assert "fails at its next restart  Deployment forecast-shop/bad" in denying.out
    assert planned.code == 1
    assert "1 fail at their next restart" in planned.out.splitlines()[-1]
