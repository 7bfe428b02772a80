"""The `if` of a policy rule on the cluster: every condition, every field, and what only Azure could answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.azure.parse import cluster_of
from controller.policy.applicability import applies
from controller.policy.expressions import Scope
from controller.policy.fields import read_field
from controller.policy.verdict import Unknown, Verdict, all_of, any_of, negate
from tests.unit.azure_builders import CLUSTER_ID, NOW

if TYPE_CHECKING:
    from controller.azure.model import ClusterResource
    from controller.jsontypes import Json

CLUSTER = cluster_of(
    CLUSTER_ID,
    {
        "id": CLUSTER_ID,
        "location": "West Europe",
        "kind": "Base",
        "tags": {"Env": "Prod", "cost.center": "A7", "o'clock": "five", "[odd]": "yes", "empty": ""},
        "identity": {"type": "SystemAssigned"},
        "properties": {"kubernetesVersion": "1.36"},
    },
)
BARE = cluster_of(CLUSTER_ID)
UNKNOWN = "unknown"


def decide(rule: Json, cluster: ClusterResource = CLUSTER, **parameters: Json) -> bool | str:
    verdict = applies(rule, cluster, Scope(parameters, NOW))
    return UNKNOWN if isinstance(verdict, Unknown) else verdict


def reason(rule: Json, cluster: ClusterResource = CLUSTER) -> str:
    verdict = applies(rule, cluster, Scope({}, NOW))
    assert isinstance(verdict, Unknown)
    return verdict.reason


TRUE: Json = {"field": "type", "equals": "Microsoft.ContainerService/managedClusters"}
FALSE: Json = {"field": "type", "equals": "Microsoft.Compute/virtualMachines"}
DOUBT: Json = {"field": "Microsoft.ContainerService/managedClusters/enableRBAC", "equals": True}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"allOf": [TRUE, TRUE]}, True),
        ({"allOf": [TRUE, FALSE]}, False),
        ({"allOf": [DOUBT, FALSE]}, False),
        ({"allOf": [DOUBT, TRUE]}, UNKNOWN),
        ({"anyOf": [FALSE, TRUE]}, True),
        ({"anyOf": [FALSE, FALSE]}, False),
        ({"anyOf": [DOUBT, TRUE]}, True),
        ({"anyOf": [DOUBT, FALSE]}, UNKNOWN),
        ({"not": TRUE}, False),
        ({"not": FALSE}, True),
        ({"not": DOUBT}, UNKNOWN),
        ({"ALLOF": [{"AnyOf": [FALSE, {"NOT": FALSE}]}]}, True),
        ({"allOf": []}, UNKNOWN),
        ({"anyOf": TRUE}, UNKNOWN),
        ({"not": [TRUE]}, UNKNOWN),
        ({}, UNKNOWN),
        (None, UNKNOWN),
        ({"field": "type"}, UNKNOWN),
        ({"equals": "x"}, UNKNOWN),
        ({"field": "type", "equals": "x", "like": "y"}, UNKNOWN),
        ({"field": "type", "value": "x", "equals": "x"}, UNKNOWN),
        ({"field": "type", "resembles": "x"}, UNKNOWN),
        ({"field": 7, "equals": "x"}, UNKNOWN),
        ({"field": "type", "equals": "x", "Equals": "y"}, UNKNOWN),
    ],
)
def test_conditions_are_combined_without_guessing(rule: Json, expected: bool | str) -> None:
    assert decide(rule) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("type", "Microsoft.ContainerService/managedClusters"),
        ("TYPE", "Microsoft.ContainerService/managedClusters"),
        ("id", CLUSTER_ID),
        ("name", "web"),
        ("fullName", "web"),
        ("kind", "Base"),
        ("location", "West Europe"),
        ("identity.type", "SystemAssigned"),
        ("tags.env", "Prod"),
        ("tags.cost.center", "A7"),
        ("tags['ENV']", "Prod"),
        ("tags['cost.center']", "A7"),
        ("tags['o''clock']", "five"),
        ("tags['[odd]']", "yes"),
        ("tags[env]", "Prod"),
        ("tags['missing']", None),
        ("tags.missing", None),
    ],
)
def test_fields_of_the_cluster(field: str, expected: Json) -> None:
    assert read_field(CLUSTER, field) == expected


@pytest.mark.parametrize(
    "field",
    [
        "properties.kubernetesVersion",
        "Microsoft.ContainerService/managedClusters/enableRBAC",
        "tags[*]",
        "",
        "identity",
    ],
)
def test_an_alias_is_never_guessed(field: str) -> None:
    assert isinstance(read_field(CLUSTER, field), Unknown)


@pytest.mark.parametrize("field", ["location", "kind", "tags", "tags.env", "identity.type"])
def test_without_its_document_a_cluster_is_known_by_its_id_alone(field: str) -> None:
    found = read_field(BARE, field)

    assert isinstance(found, Unknown)
    assert "document is not in the snapshot" in found.reason


@pytest.mark.parametrize("field", ["type", "id", "name", "fullName"])
def test_what_the_id_tells_is_known_without_a_document(field: str) -> None:
    assert read_field(BARE, field) == read_field(CLUSTER, field)


# found, condition, wanted, verdict
CONDITIONS: list[tuple[Json, str, Json, bool | str]] = [
    ("Prod", "equals", "prod", True),
    ("Prod", "equals", "test", False),
    ("Prod", "notEquals", "PROD", False),
    ("Prod", "Equals", "prod", True),
    (5, "equals", 5.0, True),
    (5, "equals", "5", True),
    (True, "equals", "true", True),
    (True, "equals", True, True),
    (True, "equals", 1, False),
    (None, "equals", "", False),
    (None, "notEquals", "x", True),
    (None, "equals", None, True),
    (["A"], "equals", ["a"], True),
    (["a"], "equals", ["a", "b"], False),
    ({"A": 1}, "equals", {"a": 1}, True),
    ({"a": 1}, "equals", {"a": 2}, False),
    ("web-eu-1", "like", "WEB*", True),
    ("web-eu-1", "like", "*-1", True),
    ("web-eu-1", "like", "web*1", True),
    ("web", "like", "web*web", False),
    ("web", "like", "web", True),
    ("web", "like", "we", False),
    ("web", "like", "*", True),
    ("web", "like", "*w*", UNKNOWN),
    ("web", "like", [], UNKNOWN),
    (None, "like", "*", False),
    ("web", "notLike", "x*", True),
    ("ab-12", "match", "??-##", True),
    ("AB-12", "match", "ab-12", False),
    ("ab-12", "match", "ab...", True),
    ("ab-12", "match", "ab-1", False),
    ("ab-12", "match", "??-??", False),
    ("a+b", "match", "a+b", True),
    ("aab", "match", "a+b", False),
    ("AB-12", "matchInsensitively", "ab-##", True),
    ("AB-12", "notMatch", "ab-##", True),
    ("AB-12", "notMatchInsensitively", "ab-##", False),
    ("web", "match", 7, UNKNOWN),
    ("production", "contains", "DUCT", True),
    ("production", "contains", "x", False),
    ("production", "notContains", "x", True),
    (["a", "B"], "contains", "b", True),
    (["a"], "notContains", "b", True),
    (None, "contains", "x", False),
    ("x", "contains", {}, UNKNOWN),
    ("EastUS", "in", ["westeurope", "eastus"], True),
    ("eastus", "in", [], False),
    ("eastus", "notIn", ["westeurope"], True),
    (5, "in", [4, 5], True),
    (None, "in", ["x"], False),
    ("a", "in", "a", UNKNOWN),
    ({"Env": 1}, "containsKey", "env", True),
    ({"Env": 1}, "containsKey", "cost", False),
    ({"Env": 1}, "notContainsKey", "cost", True),
    ("Env", "containsKey", "env", False),
    ({}, "containsKey", 1, UNKNOWN),
    (4, "less", 5, True),
    (5, "less", 5, False),
    (5, "lessOrEquals", 5, True),
    (6, "greater", 5, True),
    (5, "greaterOrEquals", 5.0, True),
    ("a", "less", "B", True),
    ("B", "greater", "a", True),
    ("2026-01-01T00:00:00Z", "less", "2026-01-01T00:00:00-01:00", True),
    ("2026-01-01T01:00:00+01:00", "lessOrEquals", "2026-01-01T00:00:00Z", True),
    (None, "less", 5, False),
    ("5", "less", 6, UNKNOWN),
    (True, "less", 6, UNKNOWN),
    (5, "greater", False, UNKNOWN),
    ([], "greater", 1, UNKNOWN),
    ("x", "exists", True, True),
    ("x", "exists", "false", False),
    (None, "exists", "True", False),
    (None, "exists", False, True),
    ("", "exists", True, True),
    ("x", "exists", "maybe", UNKNOWN),
]


@pytest.mark.parametrize(("found", "condition", "wanted", "expected"), CONDITIONS)
def test_conditions(found: Json, condition: str, wanted: Json, expected: bool | str) -> None:
    assert decide({"value": found, condition: wanted}) == expected


@pytest.mark.parametrize(
    ("condition", "wanted", "expected"),
    [
        ("equals", "westeurope", True),
        ("in", ["East US", "WestEurope"], True),
        ("notIn", ["West Europe"], False),
        ("like", "west*", True),
    ],
)
def test_locations_compare_normalised(condition: str, wanted: Json, expected: bool) -> None:
    assert decide({"field": "location", condition: wanted}) is expected


def test_parameters_and_functions_are_evaluated_wherever_they_stand() -> None:
    rule: Json = {
        "allOf": [
            {"field": "[concat('tags[', parameters('tag'), ']')]", "equals": "[parameters('wanted')]"},
            {"value": "[field('location')]", "equals": "west europe"},
        ]
    }

    assert decide(rule, tag="env", wanted="prod") is True
    assert decide(rule, tag="env", wanted="test") is False


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ({"allOf": [TRUE, {"value": "[parameters('gone')]", "equals": 1}]}, "policyRule.if.allOf[1].value: "),
        ({"value": 1, "equals": "[field('kind2')]"}, "policyRule.if.equals: "),
        ({"value": "[field('Microsoft.X/y')]", "equals": 1}, "alias"),
        ({"field": "Microsoft.X/y", "equals": 1}, "policyRule.if.field: "),
        ({"not": {"field": "type", "near": 1}}, "policyRule.if.not.near: "),
    ],
)
def test_a_doubt_names_its_place(rule: Json, where: str) -> None:
    assert where in reason(rule)


def counting(items: Json, where: Json = None, **condition: Json) -> Json:
    return {"count": {"value": items, "name": "item", **({} if where is None else {"where": where})}, **condition}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (counting(["a", "b"], equals=2), True),
        (counting(["a", "B", "b"], {"value": "[current('item')]", "equals": "b"}, equals=2), True),
        (counting(["a", "b"], {"value": "[current()]", "equals": "b"}, greater=1), False),
        (counting([], {"value": "[current()]", "equals": "b"}, equals=0), True),
        (counting("[createArray(1, 2, 3)]", {"value": "[current('ITEM')]", "greater": 1}, equals=2), True),
        (counting(["a"], {"value": "[current('other')]", "equals": "b"}, equals=0), UNKNOWN),
        (counting("a", equals=1), UNKNOWN),
        (counting(["a", "b"], DOUBT, lessOrEquals=2), True),
        (counting(["a", "b"], DOUBT, greater=2), False),
        (counting(["a", "b"], DOUBT, greater=1), UNKNOWN),
        ({"count": {"field": "Microsoft.X/y[*]"}, "equals": 0}, UNKNOWN),
        ({"count": "x", "equals": 0}, UNKNOWN),
    ],
)
def test_counts(rule: Json, expected: bool | str) -> None:
    assert decide(rule) == expected


def test_a_count_within_a_count_sees_both_elements() -> None:
    inner: Json = {
        "count": {
            "value": ["prod", "test"],
            "name": "inner",
            "where": {"value": "[concat(current('outer'), current('inner'))]", "equals": "a-prod"},
        },
        "equals": 1,
    }
    rule: Json = {"count": {"value": ["a-", "b-"], "name": "outer", "where": inner}, "equals": 1}

    assert decide(rule) is True


def test_an_unknown_location_leaves_the_rest_decided() -> None:
    rule: Json = {"anyOf": [{"field": "location", "equals": "eastus"}, TRUE]}

    assert decide(rule, BARE) is True


VERDICTS = st.sampled_from([True, False, Unknown("?")])


def certain(verdict: Verdict) -> set[bool]:
    return {True, False} if isinstance(verdict, Unknown) else {verdict}


@given(st.lists(VERDICTS, max_size=5))
def test_a_verdict_is_certain_where_every_way_to_fill_the_unknown_agrees(verdicts: list[Verdict]) -> None:
    def ways(rest: list[Verdict]) -> list[list[bool]]:
        if not rest:
            return [[]]
        return [[first, *others] for first in certain(rest[0]) for others in ways(rest[1:])]

    assert certain(all_of(verdicts)) == {all(way) for way in ways(verdicts)}
    assert certain(any_of(verdicts)) == {any(way) for way in ways(verdicts)}
    assert certain(negate(any_of(verdicts))) == {not any(way) for way in ways(verdicts)}
