"""Whatever a document holds at whatever place: InputError, Unresolved or a result, and the neighbours go on."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from controller.errors import InputError
from controller.policy.model import EffectivePolicy, TemplatePolicy
from tests.unit.azure_builders import (
    deep,
    initiative_id,
    make_assignment,
    make_cluster,
    make_definition,
    make_details,
    make_exemption,
    make_initiative,
    make_parameter,
    make_reference,
    places,
    put,
    resolve_all,
)

if TYPE_CHECKING:
    from controller.jsontypes import Json
    from controller.policy.model import Resolution

DETAILS = make_details(
    namespaces="[parameters('names')]",
    labelSelector={"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
    values={"x": ["[concat(parameters('name'), 'y')]"]},
)
CONDITION: Json = {
    "anyOf": [
        {"field": "type", "in": ["Microsoft.ContainerService/managedClusters"]},
        {"not": {"value": "[parameters('name')]", "like": "a*"}},
        {"count": {"value": ["a"], "name": "n", "where": {"value": "[current('n')]", "equals": "a"}}, "equals": 1},
    ]
}
SELECTORS: Json = [{"name": "s", "selectors": [{"kind": "resourceLocation", "in": ["westeurope"]}]}]
DOCUMENTS: Json = [
    make_assignment(
        of=initiative_id(),
        effect="Deny",
        notScopes=["/subscriptions/other"],
        overrides=[
            {"kind": "policyEffect", "value": "Audit", "selectors": [{"kind": "resourceLocation", "in": ["x"]}]}
        ],
        resourceSelectors=SELECTORS,
        definitionVersion="1.*.*",
    ),
    make_initiative(make_reference(parameters={"effect": "[parameters('effect')]"}, definitionVersion="1.*.*")),
    make_definition(
        condition=CONDITION,
        details=DETAILS,
        parameters={
            "names": make_parameter("Array", defaultValue=[], allowedValues=[[], ["a"]]),
            "name": make_parameter("String", defaultValue="abc"),
        },
    ),
    make_exemption(of="/x", resourceSelectors=SELECTORS, expiresOn="2030-01-01T00:00:00Z"),
    make_cluster(tags={"a": "b"}),
]
NEIGHBOUR = make_assignment("neighbour", of="/providers/Microsoft.Authorization/policyDefinitions/neighbour")
NEIGHBOURS = [NEIGHBOUR, make_definition("neighbour")]

NASTY = [
    "",
    "[",
    "[]",
    "[[",
    "[parameters('",
    "[parameters('x')]",
    "\0",
    "\ud800",
    "*",
    "1.*.*",
    "/",
    "Deny",
    "x" * 5000,
]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(NASTY), st.just(10**30)
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text() | st.sampled_from(NASTY), inner, max_size=4)
    ),
    max_leaves=8,
)


THEN = ("properties", "policyRule", "then")
PLACES = [path for path in places(DOCUMENTS) if len(path) > 1]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
@example([((0, "properties", "parameters", "effect", "value"), deep(300))])
@example([((2, *THEN, "details", "labelSelector", "matchExpressions", 0, "operator"), [])])
@example([((2, "properties", "policyRule", "if"), {"not": deep(90)})])
@example([((2, *THEN, "details", "values", "x"), deep(80))])
@example([((2, *THEN, "details", "values"), "[json('" + "[" * 2000 + "]" * 2000 + "')]")])
@example([((2, *THEN, "details", "kinds"), "[json('" + "[" * 900 + "]" * 900 + "')]")])
@example([((1, "properties", "policyDefinitions", 0, "parameters", "effect", "value"), "[range(0, 10000)]")])
def test_a_document_changed_anywhere_hurts_nobody_else(changes: list[tuple[tuple[str | int, ...], Json]]) -> None:
    documents = copy.deepcopy(DOCUMENTS)
    assert isinstance(documents, list)
    for path, value in changes:
        put(documents, path, value)
    try:
        found = resolve_all(*(each for each in documents if isinstance(each, dict)), *NEIGHBOURS)
    except InputError:
        return

    for each in found:
        assert printable(each).encode()
    unhurt = [each for each in found if each.member.assignment_id == NEIGHBOUR["id"]]
    spoilt_exemption = all(not isinstance(each, EffectivePolicy) and "exemption" in each.message for each in unhurt)
    assert [isinstance(each, EffectivePolicy) for each in unhurt] == [True] or spoilt_exemption


def printable(resolution: Resolution) -> str:
    """What a user or the cluster gets to see of a resolution, as text."""
    match resolution:
        case EffectivePolicy(policy=TemplatePolicy(values=values)):
            return json.dumps([values, resolution.match.label_selector], ensure_ascii=False)
        case EffectivePolicy():
            return str(resolution.policy)
        case _:
            return resolution.message


def test_unchanged_the_documents_are_in_force() -> None:
    assert isinstance(DOCUMENTS, list)

    found = resolve_all(*(each for each in DOCUMENTS if isinstance(each, dict)), *NEIGHBOURS)

    assert [type(each) for each in found] == [EffectivePolicy, EffectivePolicy]
