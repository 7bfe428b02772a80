"""The details of a rule: which template or mutation, what it looks at, and what is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.policy.model import (
    Base64Content,
    EffectivePolicy,
    Match,
    MutationPolicy,
    PublicUrl,
    TemplatePolicy,
    Unresolved,
)
from tests.unit.azure_builders import (
    TEMPLATE_URL,
    make_assignment,
    make_definition,
    make_details,
    make_parameter,
    outcome,
    resolve_one,
)

if TYPE_CHECKING:
    from controller.jsontypes import Json
    from controller.policy.model import Resolution

MUTATION: dict[str, Json] = {"mutationInfo": {"sourceType": "PublicURL", "url": "https://x/mutation.yaml"}}
LEGACY: dict[str, Json] = {"constraintTemplate": "https://x/template.yaml", "constraint": "https://x/constraint.yaml"}
PARAMETERS = {
    "names": make_parameter("Array"),
    "name": make_parameter("String"),
    "flag": make_parameter("Boolean"),
    "thing": make_parameter("Object"),
}
EXCEPT_NAMESPACES: dict[str, Json] = {"apiGroups": None, "kinds": None}


def resolved(details: Json, effect: str = "Audit", **parameters: Json) -> Resolution:
    return resolve_one(
        make_assignment(effect=effect, parameters=parameters), make_definition(details=details, parameters=PARAMETERS)
    )


def effective(details: Json, effect: str = "Audit", **parameters: Json) -> EffectivePolicy:
    found = resolved(details, effect, **parameters)
    assert isinstance(found, EffectivePolicy), found
    return found


def test_everything_a_template_policy_can_say() -> None:
    details = make_details(
        apiGroups=["", "apps"],
        kinds=["[parameters('name')]", "Pod"],
        namespaces="[parameters('names')]",
        excludedNamespaces=["kube-system", "[parameters('name')]"],
        labelSelector="[parameters('thing')]",
        source="generated",
        scope="namespaced",
        warn="[parameters('flag')]",
        values={"literal": ["[[x]"], "nested": {"list": ["[parameters('name')]"]}},
    )
    thing: Json = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]}

    found = effective(details, names=["a", "b"], name="Deployment", flag=True, thing=thing)

    assert found.match == Match(
        api_groups=("", "apps"),
        kinds=("Deployment", "Pod"),
        namespaces=("a", "b"),
        excluded_namespaces=("kube-system", "Deployment"),
        label_selector=thing if isinstance(thing, dict) else None,
        source="Generated",
        scope="Namespaced",
    )
    assert found.warn is True
    assert found.policy == TemplatePolicy(
        PublicUrl(TEMPLATE_URL), {"literal": ["[x]"], "nested": {"list": ["Deployment"]}}
    )


def test_what_is_left_out_is_empty() -> None:
    found = effective(make_details(namespaces=[], excludedNamespaces=None, labelSelector={}))

    assert found.match == Match(api_groups=("",), kinds=("Pod",))
    assert (found.warn, found.policy) == (False, TemplatePolicy(PublicUrl(TEMPLATE_URL)))


def test_keys_compare_in_any_case() -> None:
    details: Json = {"TEMPLATEINFO": {"SourceType": "publicurl", "URL": "u"}, "apigroups": [""], "KINDS": ["Pod"]}

    assert effective(details).policy == TemplatePolicy(PublicUrl("u"))


def test_a_template_may_be_carried_along() -> None:
    details = make_details(templateInfo={"sourceType": "Base64Encoded", "content": "YQ=="})

    assert effective(details).policy == TemplatePolicy(Base64Content("YQ=="))


def test_a_constraint_may_come_with_its_template() -> None:
    info: Json = {"sourceType": "PublicURL", "url": "https://x/constraint.yaml"}

    found = effective(make_details(constraintInfo=info, **EXCEPT_NAMESPACES))

    assert found.policy == TemplatePolicy(PublicUrl(TEMPLATE_URL), constraint=PublicUrl("https://x/constraint.yaml"))


def test_the_old_form_names_template_and_constraint_by_url() -> None:
    found = effective({**LEGACY, "values": {"x": 1}, "namespaces": ["a"]})

    assert found.policy == TemplatePolicy(
        PublicUrl("https://x/template.yaml"), {"x": 1}, PublicUrl("https://x/constraint.yaml"), legacy=True
    )
    assert found.match == Match(namespaces=("a",))


def test_a_mutation_has_a_document_and_what_it_looks_at() -> None:
    found = effective({**MUTATION, "source": "Original", "excludedNamespaces": ["a"]}, effect="Mutate")

    assert found.policy == MutationPolicy(PublicUrl("https://x/mutation.yaml"))
    assert found.match == Match(excluded_namespaces=("a",), source="Original")


REFUSED: dict[str, tuple[Json, str]] = {
    "no object": ("x", "policyRule.then.details must be an object"),
    "null": (None, "policyRule.then.details must be an object"),
    "nothing": ({}, "must have one of templateInfo, constraintTemplate, mutationInfo, has none of them"),
    "two templates": (make_details(**LEGACY), "has templateInfo and constraintTemplate"),
    "template and mutation": (make_details(**MUTATION), "has templateInfo and mutationInfo"),
    "an unknown key": (make_details(namespaceSelector={}), "details.namespaceSelector is not known"),
    "a key twice": (make_details(Kinds=["Pod"]), "details.Kinds appears twice"),
    "no kinds": (make_details(kinds=None), "details.kinds is missing; templateInfo needs it"),
    "empty kinds": (make_details(kinds=[]), "details.kinds must name each one"),
    "every kind": (make_details(kinds=["*"]), "details.kinds must name each one"),
    "every group": (make_details(apiGroups=["", "*"]), "details.apiGroups must name each one"),
    "kinds that are text": (make_details(kinds="Pod"), "details.kinds must be a list of strings, is String 'Pod'"),
    "a kind that is a number": (make_details(kinds=["Pod", 7]), "details.kinds[1] must be a string, is Integer 7"),
    "kinds that evaluate to null": (make_details(kinds="[null()]"), "details.kinds must be given"),
    "kinds beside a constraint": (
        make_details(constraintInfo={"sourceType": "PublicURL", "url": "u"}),
        "details.apiGroups cannot be combined with constraintInfo",
    ),
    "an old constraint beside a template": (
        make_details(constraint="u"),
        "details.constraint cannot be combined with templateInfo",
    ),
    "an old template without constraint": (
        {"constraintTemplate": "u"},
        "details.constraint is missing; constraintTemplate needs it",
    ),
    "values for a mutation": ({**MUTATION, "values": {}}, "details.values cannot be combined with mutationInfo"),
    "an unknown source": (
        make_details(templateInfo={"sourceType": "Image", "url": "u"}),
        "templateInfo.sourceType must be PublicURL or Base64Encoded, is String 'Image'",
    ),
    "no source": (make_details(templateInfo={"url": "u"}), "templateInfo.sourceType must be"),
    "no URL": (make_details(templateInfo={"sourceType": "PublicURL"}), "templateInfo.url must be a URL"),
    "no content": (make_details(templateInfo={"sourceType": "Base64Encoded"}), "templateInfo.content must be Base64"),
    "a template that is text": (make_details(templateInfo="u"), "details.templateInfo must be an object"),
    "a namespace that is a number": (make_details(namespaces=[1]), "details.namespaces[0] must be a string"),
    "warn that is text": (make_details(warn="yes"), "details.warn must be true or false"),
    "a source of objects": (make_details(source="Somewhere"), "details.source must be one of All, Generated, Original"),
    "a scope": (make_details(scope="World"), "details.scope must be one of *, Cluster, Namespaced"),
    "values that are a list": (make_details(values=[]), "details.values must be an object"),
    "a selector's key": (make_details(labelSelector={"labels": {}}), "labelSelector.labels is not part"),
    "a label that is a number": (
        make_details(labelSelector={"matchLabels": {"a": 1}}),
        "matchLabels.a must be a string",
    ),
    "labels that are a list": (make_details(labelSelector={"matchLabels": []}), "matchLabels must be an object"),
    "expressions that are none": (
        make_details(labelSelector={"matchExpressions": {}}),
        "matchExpressions must be a list",
    ),
    "an operator": (
        make_details(labelSelector={"matchExpressions": [{"key": "a", "operator": "Near"}]}),
        "matchExpressions[0].operator must be one of",
    ),
    "an expression without key": (
        make_details(labelSelector={"matchExpressions": [{"operator": "Exists"}]}),
        "matchExpressions[0].key must be a string",
    ),
}


@pytest.mark.parametrize(("details", "reason"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("effect", ["Audit", "Deny"])
def test_what_is_not_understood_is_unresolved_and_names_the_place(details: Json, reason: str, effect: str) -> None:
    definition = make_definition(parameters=PARAMETERS)
    properties = definition["properties"]
    assert isinstance(properties, dict)
    rule = properties["policyRule"]
    assert isinstance(rule, dict)
    rule["then"] = {"effect": "[parameters('effect')]", "details": details}

    found = resolve_one(make_assignment(effect=effect), definition)

    assert isinstance(found, Unresolved)
    assert outcome(found) == "Details"
    assert reason in found.message


@pytest.mark.parametrize(
    ("key", "parameter", "value", "reason"),
    [
        ("namespaces", "names", ["a", 1], "namespaces[1] must be a string"),
        ("labelSelector", "thing", {"x": 1}, "labelSelector.x is not part of a label selector"),
        ("source", "name", "x", "source must be one of"),
        ("values", "names", ["a"], "values must be an object"),
    ],
)
def test_what_parameters_bring_is_checked_as_well(key: str, parameter: str, value: Json, reason: str) -> None:
    found = resolved(make_details(**{key: f"[parameters('{parameter}')]"}), "Audit", **{parameter: value})

    assert isinstance(found, Unresolved)
    assert reason in found.message
