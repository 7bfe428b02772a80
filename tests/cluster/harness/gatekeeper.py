"""Gatekeeper outside a pod: its own manifest, minus what needs nodes, its webhooks pointed at this machine.

One process does what two Deployments do in a cluster; the Pod that it says it is exists in the API, because the status
objects that it writes belong to that Pod.
"""

import base64
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.cluster.harness import tools
from tests.cluster.harness.files import ClusterFiles

NAMESPACE = "gatekeeper-system"
POD = "gatekeeper-controller-manager-0"
USER = "system:serviceaccount:gatekeeper-system:gatekeeper-admin"
GROUPS = ("system:serviceaccounts", "system:serviceaccounts:gatekeeper-system")
OPERATIONS = ["webhook", "audit", "status", "generate", "mutation-webhook", "mutation-controller", "mutation-status"]

# They would make pods that no node runs, or a certificate that our own authority replaces.
NOT_INSTALLED = frozenset({"Deployment", "PodDisruptionBudget", "Service", "Secret"})
WEBHOOKS = frozenset({"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"})

_KIND_PATHS = {
    "Namespace": "/api/v1/namespaces",
    "Pod": f"/api/v1/namespaces/{NAMESPACE}/pods",
    "ResourceQuota": f"/api/v1/namespaces/{NAMESPACE}/resourcequotas",
    "ServiceAccount": f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "Role": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles",
    "RoleBinding": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "MutatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
}


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that Gatekeeper listens on."""

    webhook: int
    health: int


def path_of(manifest: dict[str, Any]) -> str:
    """The API path of the collection that a manifest belongs to."""
    return _KIND_PATHS[manifest["kind"]]


def manifests() -> list[dict[str, Any]]:
    """What Gatekeeper's manifest installs before its process starts, in its order, and the Pod at the end."""
    kept = [manifest for manifest in _read() if manifest["kind"] not in NOT_INSTALLED | WEBHOOKS]
    return [*kept, _pod()]


def webhooks(port: int, authority: bytes) -> list[dict[str, Any]]:
    """Both webhook configurations, pointed at 127.0.0.1 and failing closed.

    With the manifest's own failurePolicy, Ignore, a webhook that nobody answers looks like an admitted pod.
    """
    return [_local(manifest, port, authority) for manifest in _read() if manifest["kind"] in WEBHOOKS]


def command(files: ClusterFiles, ports: Ports, audit_interval: int) -> list[str]:
    """The process, as the service account that its RBAC rules are for; `audit_interval` is in seconds."""
    return [
        str(tools.path("gatekeeper")),
        f"--kubeconfig={files.kubeconfig(USER, GROUPS)}",
        *(f"--operation={operation}" for operation in OPERATIONS),
        "--host=127.0.0.1",
        f"--port={ports.webhook}",
        f"--health-addr=127.0.0.1:{ports.health}",
        # Its Prometheus endpoint would listen on every address; this exporter listens on none and never gets to send.
        "--metrics-backend=opentelemetry",
        "--otlp-endpoint=127.0.0.1:1",
        "--otlp-metric-interval=10000h",
        f"--cert-dir={files.webhook_certificates}",
        "--disable-cert-rotation",
        f"--api-cache-dir={files.audit_cache}",  # a folder that exists, or audit silently never runs
        f"--audit-interval={audit_interval}",
        f"--exempt-namespace={NAMESPACE}",
        "--disable-opa-builtin={http.send}",
        "--shutdown-delay=0",
        "--logtostderr",
    ]


def environ() -> dict[str, str]:
    """The identity that a pod would get from the downward API."""
    return {"POD_NAME": POD, "POD_NAMESPACE": NAMESPACE, "NAMESPACE": NAMESPACE, "CONTAINER_NAME": "manager"}


def _read() -> Iterator[dict[str, Any]]:
    with tools.gatekeeper_manifest().open() as stream:
        yield from yaml.load_all(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _local(manifest: dict[str, Any], port: int, authority: bytes) -> dict[str, Any]:
    local = copy.deepcopy(manifest)
    for webhook in local["webhooks"]:
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {
            "url": f"https://127.0.0.1:{port}{path}",
            "caBundle": base64.b64encode(authority).decode(),
        }
        webhook["failurePolicy"] = "Fail"
        webhook["timeoutSeconds"] = 10  # the tests' machine may be busy
    return local


def _pod() -> dict[str, Any]:
    """A Pod that the restricted level admits; without a node nothing ever runs it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": NAMESPACE, "labels": {"gatekeeper.sh/system": "yes"}},
        "spec": {
            "serviceAccountName": "gatekeeper-admin",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "manager",
                    "image": "openpolicyagent/gatekeeper",
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
