"""The bundle's mutations in Gatekeeper itself, since gator cannot judge them.

Each has samples of objects before and after. What Gatekeeper makes of the first must be what the API server, without
any mutator, makes of the second: so all that a mutation changes is written down.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.azpolicy import MUTATORS, projection
from tests.cluster.harness import TestCluster, eventually

BUNDLE = Path(__file__).parents[2] / "templates"
FOLDERS = sorted(path.parent for path in BUNDLE.glob("*/v*/mutation.yaml"))
# What the API server says where a mutation meets a pod whose spec.os.name is windows: which field it refuses of a first
# container, init container or of the pod. The others it takes.
REFUSED_FOR_WINDOWS = {
    "mutate-container-allowed-capabilities-containers": "spec.containers[0].securityContext.capabilities",
    "mutate-container-allowed-capabilities-initcontainers": "spec.initContainers[0].securityContext.capabilities",
    "mutate-privilege-escalation-containers": "spec.containers[0].securityContext.allowPrivilegeEscalation",
    "mutate-privilege-escalation-init-containers": "spec.initContainers[0].securityContext.allowPrivilegeEscalation",
    "mutate-read-only-root-filesystem": "spec.containers[0].securityContext.readOnlyRootFilesystem",
    "mutate-read-only-root-filesystem-init-containers": "spec.initContainers[0].securityContext.readOnlyRootFilesystem",
    "mutate-run-as-user-containers": "spec.containers[0].securityContext.runAsUser",
    "mutate-run-as-user-initContainers": "spec.initContainers[0].securityContext.runAsUser",
    "mutate-run-as-user-pod": "spec.securityContext.runAsUser",
    "mutate-seccomp-profile-containers": "spec.containers[0].securityContext.seccompProfile",
    "mutate-seccomp-profile-initcontainers": "spec.initContainers[0].securityContext.seccompProfile",
}
COLLECTIONS = {
    "Pod": "/api/v1/namespaces/default/pods",
    "Node": "/api/v1/nodes",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
}
TOKEN_VOLUME = "kube-api-access-"


def folder_ids(folders: list[Path]) -> list[str]:
    return [folder.parent.name for folder in folders]


def is_about_pods(folder: Path) -> bool:
    [mutator] = load_all(folder / "mutation.yaml")
    return bool(mutator["spec"]["applyTo"][0]["kinds"] == ["Pod"])


def bare_pod(**spec: Any) -> dict[str, Any]:
    """A pod with a container and an init container that say nothing."""
    containers: dict[str, Any] = {"containers": [{"name": "web", "image": "app"}]}
    containers["initContainers"] = [{"name": "init", "image": "app"}]
    metadata = {"name": "windows", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**containers, **spec}}


def load_all(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def answer(cluster: TestCluster, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the API server would store of a manifest."""
    status, live = cluster.request("POST", f"{COLLECTIONS[manifest['kind']]}?dryRun=All", manifest)
    assert status == 201, live
    stored = projection(live)
    # A plugin of the API server mounts the token under a name of random, and before it asks any webhook.
    for part in (stored["spec"], *stored["spec"].get("containers", []), *stored["spec"].get("initContainers", [])):
        for field in ("volumes", "volumeMounts"):
            part[field] = [one for one in part.get(field, []) if not one["name"].startswith(TOKEN_VOLUME)]
    return stored


@contextmanager
def in_force(cluster: TestCluster, mutator: dict[str, Any], sample: dict[str, Any]) -> Iterator[None]:
    """A mutator while it is in force, which the sample shows by being changed, and until it no longer is."""
    name, collection = mutator["metadata"]["name"], f"{MUTATORS}/{mutator['kind'].lower()}"
    untouched = answer(cluster, sample)
    status, created = cluster.request("POST", f"{collection}?fieldValidation=Strict", mutator)
    assert status == 201, created
    try:
        eventually(lambda: answer(cluster, sample) != untouched, what=f"{name} to be in force")
        yield
    finally:
        cluster.request("DELETE", f"{collection}/{name}")
        eventually(lambda: answer(cluster, sample) == untouched, what=f"{name} to be gone")


@pytest.mark.parametrize("folder", FOLDERS, ids=folder_ids(FOLDERS))
def test_a_mutation_makes_the_sample_before_the_sample_after_and_changes_nothing_else(
    cluster: TestCluster, folder: Path
) -> None:
    before, after = (load_all(folder / "samples" / name) for name in ("before.yaml", "after.yaml"))
    [mutator] = load_all(folder / "mutation.yaml")
    expected = [answer(cluster, manifest) for manifest in after]
    changed = next(one for one, other in zip(before, after, strict=True) if one != other)

    with in_force(cluster, mutator, changed):
        assert [answer(cluster, manifest) for manifest in before] == expected
        assert [answer(cluster, manifest) for manifest in after] == expected


POD_FOLDERS = [folder for folder in FOLDERS if is_about_pods(folder)]
ON_WINDOWS = {"nodeSelector": {"kubernetes.io/os": "windows"}}
FOR_WINDOWS = {"os": {"name": "windows"}}


@pytest.mark.parametrize("folder", POD_FOLDERS, ids=folder_ids(POD_FOLDERS))
def test_a_mutation_does_not_tell_windows_pods_apart_so_the_api_server_may_refuse_them(
    cluster: TestCluster, folder: Path
) -> None:
    """A mutator sees no field but its own, and no part of its match spec.os: their namespaces have to be excluded."""
    [mutator] = load_all(folder / "mutation.yaml")
    sample = load_all(folder / "samples" / "before.yaml")[0]
    selecting, naming, both = (
        bare_pod(**ON_WINDOWS),
        bare_pod(**FOR_WINDOWS),
        bare_pod(**ON_WINDOWS, **FOR_WINDOWS),
    )
    untouched = answer(cluster, selecting)
    field = REFUSED_FOR_WINDOWS.get(folder.parent.name)

    with in_force(cluster, mutator, sample):
        assert answer(cluster, selecting) != untouched
        for manifest in (naming, both):
            status, answered = cluster.request("POST", f"{COLLECTIONS['Pod']}?dryRun=All", manifest)
            if field is None:
                assert status == 201, answered
            else:
                assert status == 422, answered
                assert f"{field}: Forbidden: cannot be set for a windows pod" in answered["message"]


@pytest.mark.parametrize("init", [False, True], ids=["containers", "init-containers"])
def test_a_privileged_container_that_may_not_gain_privileges_is_refused(cluster: TestCluster, *, init: bool) -> None:
    folder = BUNDLE / f"mutate-privilege-escalation-{'init-' if init else ''}containers" / "v1"
    [mutator], [sample] = (load_all(folder / name) for name in ("mutation.yaml", "samples/before.yaml"))
    manifest = bare_pod()
    manifest["spec"]["initContainers" if init else "containers"][0]["securityContext"] = {"privileged": True}

    with in_force(cluster, mutator, sample):
        status, answered = cluster.request("POST", f"{COLLECTIONS['Pod']}?dryRun=All", manifest)

    assert status == 422, answered
    assert "cannot set `allowPrivilegeEscalation` to false and `privileged` to true" in answered["message"]


@pytest.mark.parametrize("resource", ["cpu", "memory"])
def test_a_container_that_requests_more_than_its_new_limit_is_refused(cluster: TestCluster, resource: str) -> None:
    folder = BUNDLE / f"mutate-resource-{resource}-limits" / "v1"
    [mutator], [sample] = (load_all(folder / name) for name in ("mutation.yaml", "samples/before.yaml"))
    manifest = bare_pod()
    manifest["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1", "memory": "1Gi"}}

    with in_force(cluster, mutator, sample):
        status, answered = cluster.request("POST", f"{COLLECTIONS['Pod']}?dryRun=All", manifest)

    assert status == 422, answered
    assert f"must be less than or equal to {resource} limit" in answered["message"]


def test_a_pod_from_before_a_mutation_can_still_be_changed(cluster: TestCluster) -> None:
    """Kubernetes lets nobody change most of a pod, so a mutation of its updates would have every label refused."""
    folder = BUNDLE / "mutate-container-allowed-capabilities-containers" / "v1"
    [mutator], [sample] = (load_all(folder / name) for name in ("mutation.yaml", "samples/before.yaml"))
    path = f"{COLLECTIONS['Pod']}/from-before"
    status, created = cluster.request("POST", COLLECTIONS["Pod"], {**sample, "metadata": {"name": "from-before"}})
    assert status == 201, created

    try:
        with in_force(cluster, mutator, sample):
            status, labelled = cluster.request("PATCH", path, {"metadata": {"labels": {"team": "shop"}}})
    finally:
        cluster.request("DELETE", f"{path}?gracePeriodSeconds=0")

    assert status == 200, labelled
