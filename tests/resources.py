"""This project's own resources as an operator would have written them, with defaults for what a test does not care of.

They are what crds/ allows: tests on a real cluster write the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.snapshots import CLUSTER_ID, GROUP, POLICY

if TYPE_CHECKING:
    from collections.abc import Mapping

API = "azpolicy.dev/v1alpha1"
SYNCS = f"/apis/{API}/policysyncs"
SYNC = f"{SYNCS}/default"
ASSIGNED = f"/apis/{API}/assignedpolicies"
LONG_AGO = "2026-01-01T00:00:00Z"


def condition(name: str, holds: str = "True", reason: str = "Fine", message: str = "") -> dict[str, str]:
    """A condition of PolicySync."""
    return {"type": name, "status": holds, "reason": reason, "message": message, "lastTransitionTime": LONG_AGO}


def policy_sync(
    *conditions: Mapping[str, str],
    suspend: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    generation: int = 1,
    **status: Any,
) -> dict[str, Any]:
    """PolicySync default, in sync where no conditions are given; keywords are fields of its status."""
    counts = {"assignments": 2, "enforced": 3, "notApplied": 1, "unresolved": 0, "objects": 5}
    said = {
        "observedGeneration": generation,
        "clusterId": CLUSTER_ID,
        "source": "a snapshot",
        "mode": "Enforce",
        "counts": {**counts, "conflicts": 0, "problems": 0},
        "conditions": list(conditions) or [condition("Ready", reason="InSync", message="the cluster is as Azure says")],
    }
    return {
        "apiVersion": API,
        "kind": "PolicySync",
        "metadata": {"name": "default", "generation": generation, "annotations": dict(annotations or {})},
        "spec": {"suspend": dict(suspend)} if suspend else {},
        "status": {**said, **status},
    }


def assigned_policy(
    policy: str = "No privilege",
    *,
    assignment: str = "base",
    initiative: str = "",
    violations: int | None = None,
    name: str = "",
    **status: str,
) -> dict[str, Any]:
    """One member of the assignment of this name; keywords are fields of its status."""
    words = (name or f"{assignment}-{policy}").casefold().replace(" ", "-")
    spec: dict[str, Any] = {
        "assignment": {"id": f"{GROUP}{POLICY}/policyAssignments/{assignment}", "displayName": f"The {assignment} one"}
    }
    if policy:
        spec["definition"] = {"id": f"{POLICY}/policyDefinitions/{words}", "displayName": policy}
    if initiative:
        spec["initiative"] = {"id": f"{POLICY}/policySetDefinitions/{initiative}", "displayName": initiative}
    said: dict[str, Any] = {"outcome": "Enforced", "effect": "deny", "enforcementAction": "deny", **status}
    if violations is not None:
        said["violations"] = {"total": violations}
    return {"apiVersion": API, "kind": "AssignedPolicy", "metadata": {"name": words}, "spec": spec, "status": said}


def lease(
    holder: str = "azpolicy-0", *, renewed: str = LONG_AGO, namespace: str = "gatekeeper-system"
) -> dict[str, Any]:
    """The operator's Lease, which lasts for ten seconds."""
    times = {"acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": renewed.replace("Z", ".000000Z")}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "azure-policy-sync", "namespace": namespace},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 10, **times},
    }
