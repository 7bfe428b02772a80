"""All of Azure's built-in definitions assigned at once, each in its newest version, on a real cluster.

Two pods that break most of them, one of them for Windows, are denied with a message for each; one that breaks none is
admitted. Mutations work in every namespace but that of the first two, so that they arrive as bad as they were sent.

The definitions are no part of this repository: the test runs where a checkout has them beside it.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.azpolicy import Azpolicy, all_constraints, enforced, managed, refusal, templates
from tests.cluster.harness import eventually
from tests.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.cluster.harness import TestCluster

CATALOGUE = Path(__file__).resolve().parents[3] / "shared" / "azure-policy"
AZURE = "azure-policy-definition-id"
NAMESPACE = "shop"
REGISTRY = "registry.example.com"
SYSCTL = "kernel.msgmax"

# Values for parameters that have no default, or one that no pod can break.
VALUES: Mapping[str, Any] = {
    "allowedUserNames": ["ContainerUser"],
    "cpuLimit": "500m",
    "memoryLimit": "512Mi",
    "forbiddenSysctls": [SYSCTL],
    "allowedSysctls": ["kernel.shm_rmid_forced"],
    "allowedContainerImagesRegex": f"^{REGISTRY}/.+$",
    "allowedProfiles": ["runtime/default"],
    "disallowedCapabilities": ["NET_RAW"],
    "labelsList": ["team"],
    "annotations": {"annotations": [{"key": "contact", "allowedRegex": "@"}]},
    "labels": ["reserved.example.com"],
    "allowedUsers": ["nobody"],
    "allowedGroups": ["nobodies"],
    "messages": {"example.com/mutated": "it was mutated"},
    "reservedTaints": ["Reserved"],
    "allowedContainerPortsList": ["8080"],
    "allowedServicePortsList": ["80"],
    "allowedVolumeTypes": ["configMap", "emptyDir", "projected", "secret"],
    "enforcePSS": True,
    "namespaces": [],
}
# Which kind, for the definitions that leave it to the assignment; no pod needs a LimitRange.
KINDS = {"enforce-required-annotation": "Pod", "block-resource": "LimitRange"}
# Kinds that look at pods and that the bad pod cannot break, with why.
UNBROKEN: Mapping[str, str] = {
    "K8sAzureV4ProcMount": "the API server takes Unmasked only without the host's namespaces",
}

FINDING = {"id": "1", "severity": "High", "patchable": True}
IMAGE = {"name": "docker.io/library/nginx:latest", "digest": f"sha256:{'0' * 64}"}
SCAN = {"containers": [{"name": "bad", "image": IMAGE, "scanStatus": "unhealthyScan", "scanFindings": [FINDING]}]}
BAD_POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "bad",
        "labels": {"reserved.example.com": "mine"},
        "annotations": {
            "azuredefender.io/containers.vulnerability.scan.info": json.dumps(SCAN),
            "example.com/mutated": "yes",
        },
    },
    "spec": {
        "hostNetwork": True,
        "hostPID": True,
        "securityContext": {
            "sysctls": [{"name": SYSCTL, "value": "65536"}],
            "seLinuxOptions": {"type": "spc_t"},
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
        },
        "volumes": [
            {"name": "host", "hostPath": {"path": "/etc"}},
            {"name": "flex", "flexVolume": {"driver": "example.com/driver"}},
        ],
        "containers": [
            {
                "name": "bad",
                "image": "docker.io/library/nginx:latest",
                "imagePullPolicy": "Always",
                "ports": [{"containerPort": 22, "hostPort": 22}],
                "resources": {"requests": {"cpu": "64"}},
                "securityContext": {
                    "privileged": True,
                    "allowPrivilegeEscalation": True,
                    "runAsUser": 0,
                    "capabilities": {"add": ["SYS_ADMIN", "NET_RAW"]},
                },
                "volumeMounts": [{"name": "host", "mountPath": "/host"}],
            }
        ],
    },
}
# Rules about Windows look at no other pod.
BAD_WINDOWS_POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "bad-windows"},
    "spec": {
        "nodeSelector": {"kubernetes.io/os": "windows"},
        "hostNetwork": True,
        "securityContext": {"windowsOptions": {"hostProcess": True, "runAsUserName": "ContainerAdministrator"}},
        "containers": [{"name": "bad", "image": "docker.io/library/iis:latest"}],
    },
}
CLEAN_POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "clean",
        "labels": {"team": "orders"},
        "annotations": {"contact": "orders@example.com"},
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "clean", "uid": "1", "controller": True}
        ],
    },
    "spec": {
        "automountServiceAccountToken": False,
        "imagePullSecrets": [{"name": "registry"}],
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            "appArmorProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "web",
                "image": f"{REGISTRY}/web:1.0",
                "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 8080}],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "64Mi"},
                    "limits": {"cpu": "200m", "memory": "128Mi"},
                },
                "readinessProbe": {"tcpSocket": {"port": 8080}},
                "livenessProbe": {"tcpSocket": {"port": 8080}},
                "securityContext": {
                    "runAsUser": 1000,
                    "privileged": False,
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    },
}


class Library:
    """Every definition for managed clusters, assigned with its strictest effect, and the cluster that has it all."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        self.snapshot = Snapshot(folder / "snapshot")
        shutil.copytree(CATALOGUE / "definitions", self.snapshot.folder / "definitions")
        self.assigned = 0
        for definition in newest():
            self._assign(definition)
        self.azpolicy = Azpolicy(cluster, self.snapshot.folder, user="librarian")
        self.applied = self.azpolicy.apply()

    def _assign(self, definition: Mapping[str, Any]) -> None:
        declared = definition["properties"]["parameters"]
        values = {name: value for name, value in VALUES.items() if name in declared}
        if "kind" in declared:
            values["kind"] = KINDS[next(part for part in KINDS if part in json.dumps(definition))]
        allowed = declared["effect"]["allowedValues"]
        values["effect"] = next(effect for effect in ("Mutate", "Deny", "Audit") if effect in allowed)
        if values["effect"] == "Mutate":
            values["excludedNamespaces"] = ["default"]
        self.snapshot.assign(definition["name"], definition["id"], **values)
        self.assigned += 1

    def constraints(self) -> dict[str, dict[str, Any]]:
        """The live constraints by name."""
        return {live["metadata"]["name"]: live for live in all_constraints(self.cluster).values()}


def newest() -> list[dict[str, Any]]:
    """The newest version of each definition that is for managed clusters; previews only where there is nothing else."""
    found: dict[str, tuple[tuple[bool, list[int]], dict[str, Any]]] = {}
    for file in sorted((CATALOGUE / "definitions").glob("*/*.json")):
        document = json.loads(file.read_text())
        if "managedClusters" in json.dumps(document["properties"]["policyRule"]["if"]):
            version = str(document["properties"].get("version") or document["properties"]["metadata"]["version"])
            rank = ("-" not in version, [int(part) for part in version.partition("-")[0].split(".")])
            if document["id"] not in found or rank > found[document["id"]][0]:
                found[document["id"]] = (rank, document)
    return [document for _, document in found.values()]


@pytest.fixture(scope="module")
def library(tidy_module: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    if not CATALOGUE.is_dir():
        pytest.skip("Azure's definitions are not beside this checkout")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    assert tidy_module.request("POST", "/api/v1/namespaces", namespace)[0] == 201
    yield Library(tidy_module, tmp_path_factory.mktemp("library"))
    tidy_module.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


def denied_by(message: str) -> set[str]:
    """The constraints that a webhook's refusal names."""
    return set(re.findall(r"\[(azurepolicy-[^\]]+)\]", message))


def test_every_definition_becomes_an_object_and_every_constraint_is_enforced(library: Library) -> None:
    assert library.applied.code == 0, library.applied

    paths = all_constraints(library.cluster)
    eventually(lambda: all(enforced(library.cluster, path) for path in paths), timeout=120, what="enforced constraints")
    mutators = [path for path in managed(library.cluster) if "/mutations.gatekeeper.sh/" in path]
    print(f"\n{library.assigned} definitions: {len(templates(library.cluster))} templates, {len(paths)} constraints")
    assert len(paths) + len(mutators) == library.assigned


def test_the_settled_plan_is_empty(library: Library) -> None:
    assert library.azpolicy.plan().changes() == {}


def test_pods_that_break_most_policies_are_denied_with_a_message_for_each(library: Library) -> None:
    constraints = library.constraints()
    looking_at_pods = {
        name
        for name, live in constraints.items()
        if live["spec"]["enforcementAction"] == "deny"
        and any("Pod" in entry["kinds"] for entry in live["spec"]["match"]["kinds"])
    }

    denying = {name for pod in (BAD_POD, BAD_WINDOWS_POD) for name in denied_by(refusal(library.cluster, pod))}

    missed = {constraints[name]["kind"] for name in looking_at_pods - denying}
    print(f"\n{len(looking_at_pods)} constraints look at pods, {len(denying)} deny a bad one")
    assert missed == set(UNBROKEN)


def test_a_pod_that_breaks_none_is_admitted(library: Library) -> None:
    assert refusal(library.cluster, CLEAN_POD, NAMESPACE) == ""
