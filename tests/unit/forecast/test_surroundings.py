"""Which namespaces Gatekeeper skips, whose mutators count, and what the cluster itself enforces."""

from __future__ import annotations

from typing import Any

import pytest

from controller.cluster.inventory import GatekeeperMissing
from controller.forecast.surroundings import read_surroundings
from controller.gatekeeper.model import DesiredState
from controller.gatekeeper.naming import OwnershipMarks
from tests.unit.forecast.test_workloads import Served

OURS = OwnershipMarks()
EMPTY = DesiredState("cluster", (), (), frozenset())


def served(**lists: list[dict[str, Any]]) -> Served:
    """A cluster with Gatekeeper's kinds, and the items of some collections."""
    api = Served()
    paths = {
        "templates": "/apis/templates.gatekeeper.sh/v1/constrainttemplates",
        "mutators": "/apis/mutations.gatekeeper.sh/v1/assignmetadata",
        "constraints": "/apis/constraints.gatekeeper.sh/v1beta1/k8sthing",
        "namespaces": "/api/v1/namespaces",
        "configs": "/apis/config.gatekeeper.sh/v1alpha1/configs",
        "reports": "/apis/azpolicy.dev/v1alpha1/assignedpolicies",
    }
    api.collections = {paths[name]: items for name, items in {"templates": [], **lists}.items()}
    resource = {"name": "k8sthing", "kind": "K8sThing", "verbs": ["list"]}
    api.objects["/apis/constraints.gatekeeper.sh/v1beta1"] = {"kind": "APIResourceList", "resources": [resource]}
    return api


def named(name: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}}


async def test_namespaces_with_the_label_or_excluded_from_the_webhook_are_skipped() -> None:
    ignored = named("ignored", labels={"admission.gatekeeper.sh/ignore": "asked"})
    match = [
        {"excludedNamespaces": ["team-*"], "processes": ["*"]},
        {"excludedNamespaces": ["*-jobs"], "processes": ["webhook"]},
        {"excludedNamespaces": ["shop"], "processes": ["audit", "sync", "mutation-webhook"]},
    ]
    config = {**named("config"), "spec": {"match": match}}
    names = [ignored, *map(named, ("team-a", "night-jobs", "shop"))]

    _, found = await read_surroundings(served(namespaces=names, configs=[config]), EMPTY, OURS)

    assert set(found.skipped) == {"ignored", "team-a", "night-jobs"}
    assert set(found.namespaces) == {"ignored", "team-a", "night-jobs", "shop"}
    assert found.namespaces["ignored"]["metadata"]["labels"] == {"admission.gatekeeper.sh/ignore": "asked"}


async def test_mutators_of_others_count_and_ours_only_if_they_are_desired() -> None:
    ours = named("azurepolicy-old", labels={"managed-by": "azure-policy-sync"}, annotations={})
    theirs = {**named("theirs", managedFields=[]), "spec": {"location": "metadata.labels.x"}}

    _, found = await read_surroundings(served(mutators=[ours, theirs]), EMPTY, OURS)

    assert [each["metadata"] for each in found.mutators] == [{"name": "theirs"}]


async def test_without_a_source_the_cluster_s_own_policies_are_meant_by_the_names_of_their_reports() -> None:
    ids = {
        "azure-policy-assignment-id": "/A",
        "azure-policy-definition-id": "/D",
        "azure-policy-definition-reference-id": "Ref",
        "azure-policy-setdefinition-id": "/I",
    }
    constraint = named("azurepolicy-c", labels={"managed-by": "azure-policy-sync"}, annotations=ids)
    foreign = named("mine")
    spec = {"assignment": {"id": "/a", "displayName": "Assigned"}, "referenceId": "ref"}
    report = {**named("r"), "spec": {**spec, "definition": {"id": "/d", "displayName": "Defined"}}}

    desired, _ = await read_surroundings(served(constraints=[constraint, foreign], reports=[report]), None, OURS)

    [only] = desired.objects
    [member] = only.members
    assert (only.ref.name, member.assignment_name, member.definition_name) == ("azurepolicy-c", "Assigned", "Defined")


async def test_a_cluster_without_gatekeeper_can_be_forecast_by_what_would_be_assigned_and_not_by_its_own() -> None:
    api = served(namespaces=[named("shop")])
    del api.collections["/apis/templates.gatekeeper.sh/v1/constrainttemplates"]

    _, found = await read_surroundings(api, EMPTY, OURS)

    assert set(found.namespaces) == {"shop"}
    with pytest.raises(GatekeeperMissing):
        await read_surroundings(api, None, OURS)
