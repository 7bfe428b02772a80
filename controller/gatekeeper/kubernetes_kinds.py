"""The kinds of Kubernetes' own API groups: a policy for a kind in a group that has none of it looks at nothing.

https://kubernetes.io/docs/reference/kubernetes-api. Groups that are no longer served are here with what they had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controller.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.policy.model import Match

_CORE: Final = (
    "Binding ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod PodTemplate"
    " ReplicationController ResourceQuota Secret Service ServiceAccount"
)
_WORKLOADS: Final = "DaemonSet Deployment ReplicaSet"
_NAMED: Final = {
    "": _CORE,
    "admissionregistration.k8s.io": "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding"
    " MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding"
    " ValidatingWebhookConfiguration",
    "apiextensions.k8s.io": "CustomResourceDefinition",
    "apps": f"{_WORKLOADS} ControllerRevision StatefulSet",
    "autoscaling": "HorizontalPodAutoscaler",
    "batch": "CronJob Job",
    "discovery.k8s.io": "EndpointSlice",
    "events.k8s.io": "Event",
    "extensions": f"{_WORKLOADS} Ingress NetworkPolicy PodSecurityPolicy",
    "networking.k8s.io": "Ingress IngressClass IPAddress NetworkPolicy ServiceCIDR",
    "policy": "Eviction PodDisruptionBudget PodSecurityPolicy",
    "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "scheduling.k8s.io": "PriorityClass",
    "storage.k8s.io": "CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass",
}
_KINDS: Final[Mapping[str, frozenset[str]]] = {group: frozenset(names.split()) for group, names in _NAMED.items()}


def misplaced(match: Match) -> tuple[str, ...]:
    """A note where none of the kinds is in any of the groups, so that there is nothing to look at; empty elsewhere.

    Only where all groups are Kubernetes' own: anybody else's may have a kind of that name.
    """
    homes = {kind: [group for group, kinds in _KINDS.items() if kind in kinds] for kind in match.kinds}
    ours = match.api_groups and all(group in _KINDS for group in match.api_groups)
    if not ours or not homes or any(not found or set(found) & set(match.api_groups) for found in homes.values()):
        return ()
    told = ", ".join(f"{kind} is in {' or '.join(map(repr, found))}" for kind, found in homes.items())
    return (one_line(f"it looks at nothing, as {told}, not in apiGroups {', '.join(map(repr, match.api_groups))}"),)
