"""What the API server takes of a PolicySync, by its own validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cluster.kinds import installed
from tests.resources import SYNC, SYNCS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.harness import TestCluster

KIND: Final = {"scope": "/providers/Microsoft.Management/managementGroups/corp", "name": "kind"}
REAL: Final = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/edge"


@pytest.fixture(scope="module")
def kinds(cluster: TestCluster) -> Iterator[TestCluster]:
    """The cluster with our kinds in it."""
    with installed(cluster):
        yield cluster


def created(cluster: TestCluster, spec: dict[str, Any]) -> str:
    """Why the API server refuses a PolicySync of a spec, empty where it takes it."""
    sync = {"apiVersion": "azpolicy.dev/v1alpha1", "kind": "PolicySync", "metadata": {"name": "default"}, "spec": spec}
    status, answer = cluster.request("POST", f"{SYNCS}?fieldValidation=Strict", sync)
    if status == 201:
        cluster.request("DELETE", SYNC)
        return ""
    return str(answer["message"])


@pytest.mark.parametrize(
    "declared",
    [
        KIND,
        KIND | {"type": "managedClusters", "location": "westeurope", "tags": {"cost center": "47 11"}},
        KIND | {"scope": "/subscriptions/s"},
        KIND | {"scope": "/subscriptions/s/resourcegroups/rg-shop"},
    ],
)
def test_a_cluster_can_be_declared(kinds: TestCluster, declared: dict[str, Any]) -> None:
    assert created(kinds, {"declaredCluster": declared}) == ""


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"clusterId": REAL, "declaredCluster": KIND}, "set one of them"),
        ({"declaredCluster": {"scope": "/subscriptions/s"}}, "spec.declaredCluster.name"),
        ({"declaredCluster": KIND | {"scope": REAL}}, "spec.declaredCluster.scope"),
        ({"declaredCluster": KIND | {"name": "a/b"}}, "spec.declaredCluster.name"),
        ({"declaredCluster": KIND | {"type": "fleets"}}, "spec.declaredCluster.type"),
    ],
)
def test_what_cannot_be_declared_is_refused_at_its_field(
    kinds: TestCluster, spec: dict[str, Any], complaint: str
) -> None:
    assert complaint in created(kinds, spec)
