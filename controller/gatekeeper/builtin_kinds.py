"""Kubernetes' own kinds: their groups, whether they have a namespace, and what rules of webhooks call them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# `kubectl api-resources` of Kubernetes 1.34, and kinds that earlier versions had, such as those of `extensions`.
_NAMESPACED: Final = {
    "": (
        "Binding ConfigMap Endpoints Event LimitRange PersistentVolumeClaim Pod PodTemplate ReplicationController "
        "ResourceQuota Secret Service ServiceAccount"
    ),
    "apps": "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet",
    "authorization.k8s.io": "LocalSubjectAccessReview",
    "autoscaling": "HorizontalPodAutoscaler Scale",
    "batch": "CronJob Job",
    "coordination.k8s.io": "Lease LeaseCandidate",
    "discovery.k8s.io": "EndpointSlice",
    "events.k8s.io": "Event",
    "extensions": "DaemonSet Deployment Ingress NetworkPolicy ReplicaSet",
    "networking.k8s.io": "Ingress NetworkPolicy",
    "policy": "Eviction PodDisruptionBudget",
    "rbac.authorization.k8s.io": "Role RoleBinding",
    "resource.k8s.io": "ResourceClaim ResourceClaimTemplate",
    "storage.k8s.io": "CSIStorageCapacity",
}
_CLUSTER: Final = {
    "": "ComponentStatus Namespace Node PersistentVolume",
    "admissionregistration.k8s.io": (
        "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration ValidatingAdmissionPolicy "
        "ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration"
    ),
    "apiextensions.k8s.io": "CustomResourceDefinition",
    "apiregistration.k8s.io": "APIService",
    "authentication.k8s.io": "SelfSubjectReview TokenReview",
    "authorization.k8s.io": "SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview",
    "certificates.k8s.io": "CertificateSigningRequest ClusterTrustBundle PodCertificateRequest",
    "extensions": "PodSecurityPolicy",
    "flowcontrol.apiserver.k8s.io": "FlowSchema PriorityLevelConfiguration",
    "networking.k8s.io": "IPAddress IngressClass ServiceCIDR",
    "node.k8s.io": "RuntimeClass",
    "policy": "PodSecurityPolicy",
    "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding",
    "resource.k8s.io": "DeviceClass DeviceTaintRule ResourceSlice",
    "scheduling.k8s.io": "PriorityClass",
    "storage.k8s.io": "CSIDriver CSINode StorageClass VolumeAttachment VolumeAttributesClass",
}
# What a CONNECT request carries, such as that of kubectl exec; it is never stored.
CONNECTED: Final = frozenset(
    ("", f"{name}Options")
    for name in ("NodeProxy", "PodAttach", "PodExec", "PodPortForward", "PodProxy", "ServiceProxy")
)
_SCOPES: Final = {
    (group, kind): namespaced
    for namespaced, table in ((True, _NAMESPACED), (False, _CLUSTER))
    for group, kinds in table.items()
    for kind in kinds.split()
}
_GROUPS: Final = frozenset(_NAMESPACED) | frozenset(_CLUSTER)


def is_namespaced(group: str, kind: str) -> bool | None:
    """Whether objects of a kind have a namespace; None for a kind that is not known to be Kubernetes' own."""
    return _SCOPES.get((group, kind))


def is_unknown(group: str, kind: str) -> bool:
    """Whether a group is Kubernetes' own and has no such kind."""
    return group in _GROUPS and kind != "*" and (group, kind) not in _SCOPES and (group, kind) not in CONNECTED


def homes(kind: str) -> tuple[str, ...]:
    """The groups of Kubernetes' own that have, or had, a kind of this name."""
    return tuple(sorted(group for group, known in _SCOPES if known == kind))


def plural(kind: str) -> str:
    """The resource of a kind, by the rule that Kubernetes itself guesses by.

    https://pkg.go.dev/k8s.io/apimachinery/pkg/api/meta#UnsafeGuessKindToResource
    """
    name = kind.lower()
    if name.endswith("endpoints"):
        return name
    if name.endswith("s"):
        return f"{name}es"
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def kinds_in(entries: Iterable[object], *, groups: str = "apiGroups") -> frozenset[tuple[str, str]]:
    """Groups and kinds of the entries of a `match.kinds` or an `applyTo`; what is no text is left out."""
    found: set[tuple[str, str]] = set()
    for entry in entries:
        if isinstance(entry, dict):
            found |= {(group, kind) for group in _texts(entry.get(groups)) for kind in _texts(entry.get("kinds"))}
    return frozenset(found)


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
