"""The pods that workloads would make: most policies look at pods, and manifests seldom contain any.

A made pod has what the workload's controller would give it: the template's metadata, an owner, a name of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from controller.cluster.foreign import value_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.check.manifests import Manifest

_SPEC: Final = ("spec", "template")
_JOB: Final = ("spec", "jobTemplate", "spec", "template")
# Group and kind of the workload; where its pod template stands; kind and apiVersion of the pod's owner.
_WORKLOADS: Final[Mapping[tuple[str, str], tuple[tuple[str, ...], str, str]]] = {
    ("apps", "Deployment"): (_SPEC, "ReplicaSet", "apps/v1"),
    ("apps", "ReplicaSet"): (_SPEC, "ReplicaSet", "apps/v1"),
    ("apps", "StatefulSet"): (_SPEC, "StatefulSet", "apps/v1"),
    ("apps", "DaemonSet"): (_SPEC, "DaemonSet", "apps/v1"),
    ("batch", "Job"): (_SPEC, "Job", "batch/v1"),
    ("batch", "CronJob"): (_JOB, "Job", "batch/v1"),
    ("", "ReplicationController"): (_SPEC, "ReplicationController", "v1"),
}

# The kinds whose pods are known, and pods.
POD_KINDS: Final = frozenset({"Pod", *(kind for _, kind in _WORKLOADS)})


def template_path(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Where an object has its pod's metadata and spec: empty for a pod, None for what makes none or has no template."""
    group, kind = str(content.get("apiVersion", "")).rpartition("/")[0], content.get("kind")
    if (group, kind) == ("", "Pod"):
        return () if isinstance(content.get("spec"), dict) else None
    path = _WORKLOADS.get((group, str(kind)), ((), "", ""))[0]
    return path if path and isinstance(value_at(content, *path, "spec"), dict) else None


def pod_of(manifest: Manifest, namespace: str) -> dict[str, Any] | None:
    """The pod that a workload would make in its namespace; None if it is no workload or has no pod template."""
    found = _WORKLOADS.get((manifest.group, manifest.kind))
    if found is None:
        return None
    path, owner_kind, owner_version = found
    template = value_at(manifest.content, *path)
    if not isinstance(template, dict):
        return None
    metadata = template.get("metadata")
    given = metadata if isinstance(metadata, dict) else {}
    owner = {
        "apiVersion": owner_version,
        "kind": owner_kind,
        "name": manifest.name,
        "uid": "00000000-0000-0000-0000-000000000000",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    made = {
        "name": f"{manifest.name}-pod",
        "generateName": f"{manifest.name}-",
        "namespace": namespace,
        "ownerReferences": [owner],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**given, **made}, "spec": template.get("spec") or {}}
