"""A cluster that Azure does not know: what may be declared, its id, and the document that policies see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from controller.azure.declared import DeclaredCluster, described
from controller.azure.parse import cluster_of, holders
from controller.azure.snapshot import read_snapshot
from controller.errors import InputError
from controller.policy.resolve import resolve
from tests.unit.azure_builders import (
    CLUSTER_ID,
    GROUP,
    MANAGEMENT_GROUP,
    NOW,
    SUBSCRIPTION,
    make_assignment,
    make_cluster,
    make_definition,
    make_exemption,
    make_state,
    outcomes,
)

if TYPE_CHECKING:
    from pathlib import Path

    from controller.jsontypes import Json

TAGS: Final = (("team", "shop"), ("cost center", "4711"))
KIND: Final = DeclaredCluster(SUBSCRIPTION, "kind", location="westeurope", tags=TAGS)
KIND_ID: Final = f"{SUBSCRIPTION}/providers/azpolicy.dev/connectedClusters/kind"


@pytest.mark.parametrize("scope", [SUBSCRIPTION, GROUP, MANAGEMENT_GROUP, f"{GROUP}/", GROUP.upper()])
def test_the_id_of_a_declared_cluster_lies_in_its_scope_and_names_it_again(scope: str) -> None:
    declared = DeclaredCluster(scope, "kind").resource()

    assert declared.id == f"{scope.rstrip('/')}/providers/azpolicy.dev/connectedClusters/kind"
    assert declared.asked_at == scope.rstrip("/")
    again = cluster_of(declared.id)
    assert (again.id, again.type, again.name) == (declared.id, "Microsoft.Kubernetes/connectedClusters", "kind")
    assert again.declared


def test_a_real_cluster_in_the_same_group_has_another_id_and_is_not_declared() -> None:
    declared = DeclaredCluster(GROUP, "web", "managedClusters").resource()
    real = cluster_of(CLUSTER_ID)

    assert (declared.type, declared.name) == (real.type, real.name)
    assert declared.id != real.id
    assert not real.declared
    assert real.asked_at == real.id
    assert described(real.id) == real.id
    assert described(declared.id) == f"{declared.id} (declared, no resource in Azure)"


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (DeclaredCluster("", "kind"), "--cluster-scope"),
        (DeclaredCluster(SUBSCRIPTION, ""), "--cluster-name"),
        (DeclaredCluster("/", "kind"), "must be /subscriptions/ID"),
        (DeclaredCluster("westeurope", "kind"), "must be /subscriptions/ID"),
        (DeclaredCluster(CLUSTER_ID, "kind"), "must be /subscriptions/ID"),
        (DeclaredCluster("/subscriptions/..", "kind"), "must be /subscriptions/ID"),
        (DeclaredCluster(f"{SUBSCRIPTION}?x=", "kind"), "must be /subscriptions/ID"),
        (DeclaredCluster(f"{SUBSCRIPTION}/resourceGroups/a/..", "kind"), "must be /subscriptions/ID"),
        (DeclaredCluster(KIND_ID, "kind"), "must be /subscriptions/ID"),
        (DeclaredCluster(SUBSCRIPTION, "a/b"), "1 to 63 letters"),
        (DeclaredCluster(SUBSCRIPTION, "-"), "1 to 63 letters"),
        (DeclaredCluster(SUBSCRIPTION, "a" * 64), "1 to 63 letters"),
        (DeclaredCluster(SUBSCRIPTION, "kind", "agentPools"), "connectedClusters"),
        (DeclaredCluster(SUBSCRIPTION, "kind", tags=(("a", "1"), ("A", "2"))), "--cluster-tag"),
    ],
)
def test_what_cannot_be_declared_is_refused_with_what_to_give(declared: DeclaredCluster, message: str) -> None:
    with pytest.raises(InputError, match=message):
        declared.resource()


def met(*documents: dict[str, Json], declared: DeclaredCluster = KIND) -> list[str]:
    """What the documents mean for a declared cluster: effects, or reasons why there is none."""
    return outcomes(resolve(make_state(*documents, cluster_id=declared.resource()), NOW))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"field": "type", "equals": "Microsoft.Kubernetes/connectedClusters"}, "audit"),
        ({"field": "type", "equals": "Microsoft.ContainerService/managedClusters"}, "RuleNotMet"),
        ({"field": "name", "equals": "kind"}, "audit"),
        ({"field": "id", "equals": KIND_ID}, "audit"),
        ({"field": "location", "equals": "West Europe"}, "audit"),
        ({"field": "tags['cost center']", "equals": "4711"}, "audit"),
        ({"field": "tags.other", "exists": True}, "RuleNotMet"),
        ({"field": "identity.type", "exists": True}, "RuleNotMet"),
        ({"field": "Microsoft.Kubernetes/connectedClusters/distribution", "equals": "kind"}, "RuleUnknown"),
    ],
)
def test_the_if_of_a_rule_sees_what_is_declared(condition: Json, expected: str) -> None:
    assert met(make_assignment(), make_definition(condition=condition)) == [expected]


@pytest.mark.parametrize("condition", [{"equals": "westeurope"}, {"notEquals": "westeurope"}, {"exists": True}])
def test_a_location_that_is_not_declared_is_not_known_to_be_none(condition: dict[str, Json]) -> None:
    definition = make_definition(condition={"field": "location", **condition})

    assert met(make_assignment(), definition, declared=DeclaredCluster(SUBSCRIPTION, "kind")) == ["RuleUnknown"]


@pytest.mark.parametrize(
    ("scope", "assigned", "not_scope", "expected"),
    [
        (SUBSCRIPTION, SUBSCRIPTION, "", "audit"),
        (SUBSCRIPTION, GROUP, "", "OutOfScope"),
        (GROUP, SUBSCRIPTION, "", "audit"),
        (GROUP, GROUP, "", "audit"),
        (GROUP, SUBSCRIPTION, GROUP, "NotScopes"),
        (SUBSCRIPTION, SUBSCRIPTION, GROUP, "audit"),
        (MANAGEMENT_GROUP, MANAGEMENT_GROUP, SUBSCRIPTION, "audit"),
        (MANAGEMENT_GROUP, SUBSCRIPTION, "", "OutOfScope"),
    ],
)
def test_what_is_assigned_at_or_above_the_scope_applies(
    scope: str, assigned: str, not_scope: str, expected: str
) -> None:
    excluded: list[Json] = [not_scope] if not_scope else []
    assignment = make_assignment(scope=assigned, notScopes=excluded)

    assert met(assignment, make_definition(), declared=DeclaredCluster(scope, "kind")) == [expected]


def test_an_exemption_of_the_scope_holds_for_the_cluster() -> None:
    exemption = make_exemption(scope=SUBSCRIPTION)

    assert met(make_assignment(), make_definition(), exemption) == ["Exempt"]


def test_what_holds_a_declared_cluster_is_what_its_scope_names() -> None:
    def held(scope: str) -> set[str]:
        return set(holders(DeclaredCluster(scope, "kind").resource()))

    assert held(GROUP) == {"resourceGroup", "subscription"}
    assert held(SUBSCRIPTION) == {"subscription"}
    assert held(MANAGEMENT_GROUP) == set()


# --- in a snapshot ---------------------------------------------------------------------------------------------------

WITHOUT_ID: Final[dict[str, Json]] = {
    "type": "Microsoft.Kubernetes/connectedClusters",
    "name": "kind",
    "scope": SUBSCRIPTION,
    "location": "westeurope",
    "tags": {"team": "shop"},
    "kind": "Workshop",
}


def saved(folder: Path, *documents: dict[str, Json]) -> Path:
    """A snapshot of the documents."""
    file = folder / "all.json"
    file.write_text(json.dumps(documents), encoding="utf-8")
    return file


def test_a_cluster_in_a_snapshot_needs_no_id_of_azures(tmp_path: Path) -> None:
    condition: Json = {"field": "kind", "equals": "Workshop"}
    snapshot = saved(tmp_path, WITHOUT_ID, make_assignment(), make_definition(condition=condition))

    state = read_snapshot(snapshot, None)

    assert state.cluster.id == KIND_ID
    assert outcomes(resolve(state, NOW)) == ["audit"]


@pytest.mark.parametrize("missing", ["scope", "name"])
def test_a_cluster_without_an_id_needs_what_its_id_is_made_of(tmp_path: Path, missing: str) -> None:
    told = {key: value for key, value in WITHOUT_ID.items() if key != missing}

    with pytest.raises(InputError, match=r"all\.json\[0\]: a cluster needs .*'id'.*'name' and 'scope'"):
        read_snapshot(saved(tmp_path, told), None)


@pytest.mark.parametrize(
    "told", [{"scope": "rg-shop"}, {"id": "/rg-shop/providers/azpolicy.dev/connectedClusters/kind"}]
)
def test_a_scope_in_a_snapshot_that_is_none_is_refused_with_its_file(tmp_path: Path, told: dict[str, Json]) -> None:
    with pytest.raises(InputError, match=r"all\.json\[0\]: the scope of a declared cluster must be .*'/?rg-shop'"):
        read_snapshot(saved(tmp_path, WITHOUT_ID | told), None)


def test_a_management_group_may_be_told_with_and_without_what_is_above_it(tmp_path: Path) -> None:
    group: dict[str, Json] = {"id": MANAGEMENT_GROUP, "type": "Microsoft.Management/managementGroups", "name": "root"}
    above: dict[str, Json] = {"tenantId": "t", "parentNameChain": ["t"]}
    cluster = WITHOUT_ID | {"scope": MANAGEMENT_GROUP}

    state = read_snapshot(saved(tmp_path, cluster, group, group | {"properties": above}), None)

    group_id = MANAGEMENT_GROUP.casefold()
    assert state.management_groups == frozenset({group_id, group_id.replace("root", "t")})


def test_one_of_several_is_chosen_by_its_id(tmp_path: Path) -> None:
    snapshot = saved(tmp_path, WITHOUT_ID, make_cluster())

    assert read_snapshot(snapshot, KIND_ID).cluster.document is not None
    assert read_snapshot(snapshot, CLUSTER_ID).cluster.id == CLUSTER_ID


def test_what_is_declared_now_counts_for_more_than_what_a_snapshot_says_of_it(tmp_path: Path) -> None:
    declared = DeclaredCluster(SUBSCRIPTION, "kind", location="northeurope").resource()

    assert read_snapshot(saved(tmp_path, WITHOUT_ID), declared).cluster == declared
