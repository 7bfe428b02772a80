"""What people meet first when they turn Azure's policies to Deny, on a real cluster.

An ordinary pod with a seccomp profile passes the deployment safeguards, an Ingress that serves HTTPS only passes the
policy that asks for it, and no rule about Linux judges a Windows pod.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.azpolicy import Azpolicy, all_constraints, all_enforced, refusal
from tests.cluster.harness import eventually
from tests.cluster.test_initiatives import Assigned, enforce, manifests
from tests.cluster.test_initiatives import azpolicy as azpolicy  # noqa: PLC0414 - a fixture
from tests.snapshots import STORE, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cluster.harness import TestCluster

NAMESPACE = "default"
INGRESSES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses"
REDIRECT = "nginx.ingress.kubernetes.io/force-ssl-redirect"
# Every template that judges Linux pods alone, with parameters that LINUX_POD cannot meet.
LINUX: Mapping[str, Mapping[str, Any]] = {
    "allowed-host-paths/v3": {"allowedHostPaths": []},
    "allowed-seccomp-profiles/v3": {"allowedProfiles": ["RuntimeDefault"]},
    "allowed-users-groups/v3": {"runAsUser": {"rule": "MustRunAs", "ranges": [{"min": 1000, "max": 2000}]}},
    "block-host-namespace/v2": {},
    "block-host-namespace/v3": {},
    "container-allowed-capabilities/v3": {"allowedCapabilities": [], "requiredDropCapabilities": ["ALL"]},
    "container-disallowed-capabilities/v3": {"disallowedCapabilities": ["SYS_ADMIN"]},
    "container-no-privilege/v2": {},
    "container-no-privilege-escalation/v3": {},
    "container-no-privilege-escalation/v4": {},
    "enforce-apparmor-profile/v3": {"allowedProfiles": ["runtime/default"]},
    "forbidden-sysctl-interfaces/v1": {"forbiddenSysctls": ["kernel.*"]},
    "host-network-ports/v3": {"allowHostNetwork": False, "minPort": 0, "maxPort": 0},
    "host-network-ports/v4": {"allowHostNetwork": False, "allowedHostPorts": []},
    "read-only-root-filesystem/v3": {},
    "selinux/v2": {"allowedSELinuxOptions": []},
    "selinux/v3": {"enforcePSS": True, "allowedSELinuxTypes": []},
}
LINUX_POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "everything"},
    "spec": {
        "hostNetwork": True,
        "hostPID": True,
        "securityContext": {
            "sysctls": [{"name": "kernel.msgmax", "value": "65536"}],
            "seLinuxOptions": {"type": "spc_t"},
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
        },
        "volumes": [{"name": "etc", "hostPath": {"path": "/etc"}}],
        "containers": [
            {
                "name": "everything",
                "image": "registry.example.com/everything:1.0",
                "ports": [{"containerPort": 22, "hostPort": 22}],
                "securityContext": {
                    "privileged": True,
                    "allowPrivilegeEscalation": True,
                    "runAsUser": 0,
                    "capabilities": {"add": ["SYS_ADMIN"]},
                },
                "volumeMounts": [{"name": "etc", "mountPath": "/host"}],
            }
        ],
    },
}
# The API server lets no pod with spec.os.name windows say anything of what these ask for.
ASKING = (
    "allowed-seccomp-profiles/v3",
    "allowed-users-groups/v3",
    "container-allowed-capabilities/v3",
    "read-only-root-filesystem/v3",
)
SELECTOR = {"nodeSelector": {"kubernetes.io/os": "windows"}}
WINDOWS = {"os": {"name": "windows"}}


def test_a_pod_with_a_seccomp_profile_passes_the_deployment_safeguards(
    tidy_module: TestCluster, azpolicy: tuple[Azpolicy, Snapshot]
) -> None:
    enforce(azpolicy, Assigned("safeguards", "3.0.0"))
    ordinary = manifests("debugging.yaml")["Pod/web"]
    ordinary["metadata"].pop("namespace")
    without = copy.deepcopy(ordinary)
    assert without["spec"]["securityContext"].pop("seccompProfile") == {"type": "RuntimeDefault"}

    assert refusal(tidy_module, ordinary) == ""
    said = refusal(tidy_module, without)
    assert len(re.findall(r"\[azurepolicy-", said)) == 1
    assert "Seccomp profile 'not configured' is not allowed for container 'web'. Found at: no explicit profile" in said


def assigned(cluster: TestCluster, folder: Path, policies: Mapping[str, Mapping[str, Any]], **details: Any) -> None:
    """Has these templates of the bundle be enforced with these values, and nothing else."""
    snapshot = Snapshot(folder / "snapshot")
    for path, values in policies.items():
        name = path.replace("/", "-")
        snapshot.assign(name, snapshot.define(name, f"{STORE}/{path}/template.yaml", values=values, **details))
    ended = Azpolicy(cluster, snapshot.folder, user="story").apply("--force-prune")
    assert ended.code == 0, ended
    eventually(lambda: all_enforced(cluster), timeout=120, what="every constraint to be enforced")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_nginx_ingress_with_tls_that_redirects_passes_https_only(
    tidy: TestCluster, tmp_path: Path, version: str
) -> None:
    details = {"apiGroups": ["networking.k8s.io"], "kinds": ["Ingress"]}
    assigned(tidy, tmp_path, {f"ingress-https-only/{version}": {}}, **details)
    redirecting = manifests("web.yaml")["Ingress/web"]
    redirecting["metadata"]["namespace"] = NAMESPACE
    refusing = copy.deepcopy(redirecting)
    refusing["metadata"]["annotations"] = {REDIRECT.replace("force-", ""): "false"}

    status, answer = tidy.request("POST", f"{INGRESSES}?dryRun=All", redirecting)
    assert status == 201, answer
    status, answer = tidy.request("POST", f"{INGRESSES}?dryRun=All", refusing)
    assert status == 403
    assert "Ingress should allow https only." in answer["message"]


def test_a_windows_pod_is_judged_by_no_rule_about_linux(tidy: TestCluster, tmp_path: Path) -> None:
    assigned(tidy, tmp_path, LINUX)
    windows = {**LINUX_POD, "spec": {**LINUX_POD["spec"], **SELECTOR}}

    denying = set(re.findall(r"\[(azurepolicy-[^\]]+)\]", refusal(tidy, LINUX_POD)))

    assert denying == {live["metadata"]["name"] for live in all_constraints(tidy).values()}
    assert len(denying) == len(LINUX)
    assert refusal(tidy, windows) == ""


@pytest.mark.parametrize("spec", [WINDOWS, {**WINDOWS, **SELECTOR}], ids=["os", "os and selector"])
def test_a_pod_that_says_it_is_for_windows_need_not_say_what_it_may_not(
    tidy: TestCluster, tmp_path: Path, spec: Mapping[str, Any]
) -> None:
    assigned(tidy, tmp_path, {path: LINUX[path] for path in ASKING})
    plain = {"containers": [{"name": "web", "image": "registry.example.com/web:1.0"}]}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain"}}

    denying = set(re.findall(r"\[(azurepolicy-[^\]]+)\]", refusal(tidy, {**manifest, "spec": plain})))

    assert len(denying) == len(ASKING)
    assert refusal(tidy, {**manifest, "spec": {**plain, **spec}}) == ""
