"""What the API server would drop, fill in and refuse by a structural schema; tests/cluster asks a real one the same."""

from __future__ import annotations

from typing import Any

import pytest

from controller.gatekeeper.crd import match_schema, parameters_schema
from controller.gatekeeper.schema import Schema

TEXTS = {"type": "array", "items": {"type": "string"}}
NAMED = {"type": "object", "properties": {"name": {"type": "string"}}}
KEPT = {"x-kubernetes-preserve-unknown-fields": True}


def of(**properties: Any) -> Schema:
    return Schema.of({"type": "object", "properties": properties})


@pytest.mark.parametrize(
    ("schema", "value", "stored", "dropped"),
    [
        (of(a=NAMED), {"a": {"name": "x", "b": 1}, "c": [2]}, {"a": {"name": "x"}}, ("a.b", "c")),
        (of(a={"type": "array", "items": NAMED}), {"a": [{"b": 1}, {}]}, {"a": [{}, {}]}, ("a[0].b",)),
        (of(a={**NAMED, **KEPT}), {"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1}}}, ()),
        (of(a={"type": "object", "additionalProperties": NAMED}), {"a": {"k": {"b": 1}}}, {"a": {"k": {}}}, ("a.k.b",)),
        (of(a={"type": "object", "additionalProperties": True}), {"a": {"k": {"b": 1}}}, {"a": {"k": {}}}, ("a.k.b",)),
        (Schema.of({"type": "object"}, legacy=True), {"a": {"b": 1}}, {"a": {"b": 1}}, ()),
        (Schema.of(None), {"a": 1}, {}, ("a",)),
    ],
)
def test_fields_that_the_schema_does_not_have_are_dropped(
    schema: Schema, value: Any, stored: Any, dropped: tuple[str, ...]
) -> None:
    found = schema.stored(value)

    assert (found.value, found.dropped) == (stored, dropped)


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        ({"type": "string"}, 5, "v must be text, is Integer 5"),
        ({"type": "string"}, None, "v must be text, is null None"),
        ({"type": "integer"}, 1.5, "v must be a whole number, is Float 1.5"),
        ({"type": "number"}, True, "v must be a number, is Boolean True"),
        ({"type": "boolean"}, "true", "v must be true or false, is String 'true'"),
        (TEXTS, "a", "v must be a list, is String 'a'"),
        (TEXTS, ["a", 2], "v[1] must be text, is Integer 2"),
        ({"type": "object", "properties": {"a": TEXTS}}, {"a": {}}, "v.a must be a list, is Object {}"),
        ({"type": "object", "required": ["a"]}, {}, "v.a is missing"),
        ({"x-kubernetes-int-or-string": True}, 1.5, "v must be a whole number or text, is Float 1.5"),
        ({"type": "string", "enum": ["a", "b"]}, "c", "v must be one of a, b, is 'c'"),
        ({"type": "string", "pattern": "^[a-z]+$"}, "a\n", "v must match the pattern ^[a-z]+$, is 'a\\n'"),
        ({"type": "string", "maxLength": 1}, "ab", "v must have at most 1 characters, is 'ab'"),
        ({**TEXTS, "minItems": 1}, [], "v must have at least 1 items, is []"),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 1, "v must be more than 1, is 1"),
        ({"type": "number", "multipleOf": 2}, 3, "v must be a multiple of 2, is 3"),
        ({"type": "string", "allOf": [{"maxLength": 1}]}, "ab", "v must have at most 1 characters, is 'ab'"),
        ({"type": "string", "anyOf": [{"enum": ["a"]}, {"enum": ["b"]}]}, "c", "v must fit one of the alternatives"),
        ({"type": "string", "oneOf": [{"enum": ["a"]}, {"minLength": 1}]}, "a", "v must fit exactly one"),
        ({"type": "string", "not": {"enum": ["a"]}}, "a", "v must not fit what its schema excludes"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(schema: dict[str, Any], value: Any, told: str) -> None:
    assert Schema.of(schema).fault(value, "v").startswith(told)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 1.0),
        ({"type": "string", "nullable": True}, None),
        ({"x-kubernetes-int-or-string": True}, "80-90"),
        ({"type": "string", "oneOf": [{"enum": ["a"]}, {"enum": ["b"]}]}, "b"),
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "default": "x"}}}, {}),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"a": "b"}),
        ({"enum": [1]}, 1.0),
        ({}, {"anything": [1]}),
    ],
)
def test_what_fits_has_no_fault(schema: dict[str, Any], value: Any) -> None:
    assert Schema.of(schema).fault(value, "v") == ""


def test_true_is_not_one() -> None:
    assert Schema.of({"enum": [1]}).fault(True, "v") == "v must be one of 1, is True"


@pytest.mark.parametrize("keyword", ["pattern", "type", "properties", "items", "enum", "required", "anyOf", "not"])
@pytest.mark.parametrize("nonsense", [1, "x", [1], {"a": 1}, None, [[]], True])
def test_a_malformed_keyword_counts_as_absent(keyword: str, nonsense: Any) -> None:
    schema = Schema.of({"type": "object", "properties": {"a": {keyword: nonsense}}})

    assert schema.fault({"a": 1}, "v") in {"", "v.a must be one of 1, is 1", "v.a must be one of , is 1"} or (
        keyword in {"enum", "not"}
    )


def test_what_would_take_long_is_left_to_the_server() -> None:
    slow = {"type": "string", "pattern": "(a+)+$"}
    assert Schema.of(slow).fault("a" * 100 + "b", "v") == ""

    many = {"type": "array", "items": {"anyOf": [{"enum": [number]} for number in range(1000)]}}
    assert Schema.of(many).fault([999], "v") == ""
    assert Schema.of(many).fault([1000], "v").startswith("v[0] must fit one of the alternatives")
    # Two hundred lists of alternatives are looked at, and the last entry is not.
    assert Schema.of(many).fault([*[999] * 1000, 1000], "v") == ""


def test_a_template_before_v1_keeps_what_its_schema_does_not_have() -> None:
    spec: dict[str, Any] = {"crd": {"spec": {"validation": {"openAPIV3Schema": {"properties": {"a": TEXTS}}}}}}

    def schema(version: str) -> Schema:
        return parameters_schema({"apiVersion": f"templates.gatekeeper.sh/{version}", "spec": spec})

    assert schema("v1beta1").stored({"a": [], "b": 1}).dropped == ()
    assert schema("v1").stored({"a": [], "b": 1}).dropped == ("b",)
    assert schema("v1beta1").fault({"a": 1}, "v") == "v.a must be a list, is Integer 1"


def test_a_template_without_a_schema_takes_no_parameter() -> None:
    template: dict[str, Any] = {"apiVersion": "templates.gatekeeper.sh/v1", "spec": {"crd": {"spec": {}}}}

    assert parameters_schema(template).stored({"a": 1}).dropped == ("a",)
    old = {**template, "apiVersion": "templates.gatekeeper.sh/v1beta1"}
    assert parameters_schema(old).stored({"a": 1}).dropped == ()


@pytest.mark.parametrize("namespaces", [['{"paths":[]}'], ["Team"], ["a b"], ["a\n"], [1], "a"])
def test_namespaces_that_are_no_names_are_refused(namespaces: Any) -> None:
    assert match_schema().fault({"excludedNamespaces": namespaces}, "match").startswith("match.excludedNamespaces")


@pytest.mark.parametrize("namespaces", [["kube-*", "*-system", "a"], []])
def test_namespaces_with_wildcards_are_taken(namespaces: Any) -> None:
    assert match_schema().fault({"namespaces": namespaces}, "match") == ""
