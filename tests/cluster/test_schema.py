"""The real API server refuses what azpolicy says that it refuses, and stores what azpolicy says that it stores."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.gatekeeper.crd import MATCH_FILE, match_schema, parameters_schema
from controller.gatekeeper.sources import bundle_root
from controller.gatekeeper.yamltext import read_yaml
from tests.cluster.azpolicy import CONSTRAINTS, CRDS, TEMPLATES
from tests.cluster.harness import eventually
from tests.cluster.match_schema import generated, without_descriptions
from tests.snapshots import template_text

if TYPE_CHECKING:
    from tests.cluster.harness import TestCluster

KIND: Final = "K8sAzureV1Schemed"
TEXTS: Final = {"type": "array", "items": {"type": "string"}}
SCHEMA: Final[dict[str, Any]] = {
    "texts": TEXTS,
    "number": {"type": "integer", "minimum": 1, "maximum": 9},
    "fraction": {"type": "number"},
    "flag": {"type": "boolean"},
    "port": {"x-kubernetes-int-or-string": True},
    "choice": {"type": "string", "enum": ["a", "b"]},
    "short": {"type": "string", "maxLength": 3, "pattern": "^[a-z]*$"},
    "either": {"type": "string", "oneOf": [{"enum": ["a"]}, {"maxLength": 1}]},
    "few": {**TEXTS, "minItems": 1, "maxItems": 2},
    "map": {"type": "object", "additionalProperties": {"type": "string"}},
    "loose": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"known": TEXTS}},
    "inner": {"type": "object", "required": ["must"], "properties": {"must": {"type": "string"}}},
    "filled": {"type": "object", "required": ["d"], "properties": {"d": {"type": "string", "default": "x"}}},
}
PARAMETERS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"texts": []},
    {"texts": ["a", 1]},
    {"texts": "a"},
    {"texts": {"a": "b"}},
    {"number": 1},
    {"number": 2.0},
    {"number": 1.5},
    {"number": "1"},
    {"number": 0},
    {"number": 10},
    {"number": True},
    {"fraction": 1},
    {"fraction": "1"},
    {"flag": "true"},
    {"flag": 1},
    {"port": 80},
    {"port": "80-90"},
    {"port": 80.5},
    {"port": [80]},
    {"choice": "c"},
    {"choice": "a"},
    {"short": "abcd"},
    {"short": "A"},
    {"short": "a\n"},
    {"short": ""},
    {"either": "a"},
    {"either": "b"},
    {"either": "bb"},
    {"few": []},
    {"few": ["a"]},
    {"few": ["a", "b", "c"]},
    {"map": {"a": "b"}},
    {"map": {"a": 1}},
    {"map": []},
    {"loose": {"known": ["a"], "unknown": {"deep": [1]}}},
    {"loose": {"known": [1]}},
    {"inner": {}},
    {"inner": {"must": "a", "more": {"b": 1}}},
    {"filled": {}},
    {"filled": {"d": 1}},
    {"unheardOf": {"deep": 1}, "texts": ["a"]},
    {"Texts": ["a"]},
)
VALUES: Final[tuple[Any, ...]] = (True, 1, "a", ["a"], [1], {"a": "b"}, [{"a": 1}])
MATCHES: Final[tuple[dict[str, Any], ...]] = (
    {"namespaces": ["a", "kube-*", "*-system", "*a*"]},
    {"namespaces": ["A"]},
    {"namespaces": ["a_b"]},
    {"excludedNamespaces": ['{"paths":[]}']},
    {"excludedNamespaces": [{"paths": []}]},
    {"excludedNamespaces": "a"},
    {"excludedNamespaces": ["a\n"]},
    {"excludedNamespaces": [""]},
    {"kinds": [{"apiGroups": [""], "kinds": ["Pod"], "more": [1]}]},
    {"kinds": [{"apiGroups": "apps"}]},
    {"kinds": ["Pod"]},
    {"scope": "Cluster"},
    {"scope": ["Cluster"]},
    {"source": "Generated"},
    {"source": "generated"},
    {"name": "a-*"},
    {"name": "A b"},
    {"labelSelector": {"matchLabels": {"a": "b"}}},
    {"labelSelector": {"matchLabels": {"a": 1}}},
    {"labelSelector": {"matchExpressions": [{"key": "a"}]}},
    {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": [1]}]}},
    {"unheardOf": ["a"]},
)


@pytest.fixture(scope="module")
def schemed(tidy_module: TestCluster) -> TestCluster:
    """A cluster with the constraint's kind served."""
    template = json.loads(template_text(KIND, schema=SCHEMA))
    assert tidy_module.request("POST", TEMPLATES, template)[0] == 201
    path = f"{CONSTRAINTS}/{KIND.lower()}"
    eventually(lambda: tidy_module.request("GET", path)[0] == 200, what="the constraint's kind to be served")
    eventually(partial(known, tidy_module, KIND), what="Gatekeeper to know the template")
    return tidy_module


def known(cluster: TestCluster, kind: str) -> bool:
    return dry_run(cluster, kind, {}, {})[0] == 201


def dry_run(
    cluster: TestCluster, kind: str, parameters: dict[str, Any], match: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    constraint = {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": kind,
        "metadata": {"name": "tried"},
        "spec": {"enforcementAction": "dryrun", "parameters": parameters, "match": match},
    }
    status, answer = cluster.request("POST", f"{CONSTRAINTS}/{kind.lower()}?dryRun=All", constraint)
    return status, dict(answer)


@pytest.mark.parametrize("parameters", PARAMETERS, ids=json.dumps)
def test_parameters_are_refused_and_stored_as_azpolicy_says(schemed: TestCluster, parameters: dict[str, Any]) -> None:
    schema = parameters_schema(json.loads(template_text(KIND, schema=SCHEMA)))

    status, answer = dry_run(schemed, KIND, parameters, {})

    fault = schema.fault(parameters, "spec.parameters")
    assert (status == 201) is (fault == ""), (status, answer.get("message"), fault)
    if status == 201:
        kept = schema.stored(parameters).value
        assert answer["spec"]["parameters"] == (kept if "filled" not in parameters else {"filled": {"d": "x"}})


@pytest.mark.parametrize("match", MATCHES, ids=json.dumps)
def test_matches_are_refused_and_stored_as_azpolicy_says(schemed: TestCluster, match: dict[str, Any]) -> None:
    status, answer = dry_run(schemed, KIND, {}, match)

    fault = match_schema().fault(match, "spec.match")
    assert (status == 201) is (fault == ""), (status, answer.get("message"), fault)
    if status == 201:
        assert answer["spec"]["match"] == match_schema().stored(match).value


def test_the_parameters_of_each_template_of_the_bundle_are_refused_as_azpolicy_says(tidy_module: TestCluster) -> None:
    templates = {}
    for file in sorted(bundle_root().glob("*/v*/template.yaml")):
        template: Any = read_yaml(file.read_text())
        templates[template["spec"]["crd"]["spec"]["names"]["kind"]] = template
    for template in templates.values():
        assert tidy_module.request("POST", TEMPLATES, template)[0] == 201
    judged = 0
    for kind, template in templates.items():
        eventually(partial(known, tidy_module, kind), what=f"{kind} to be known")
        schema = parameters_schema(template)
        for name in schema.properties:
            for value in VALUES:
                parameters = {name: value}
                status, answer = dry_run(tidy_module, kind, parameters, {})
                fault = schema.fault(parameters, "spec.parameters")
                assert (status == 201) is (fault == ""), (kind, parameters, status, answer.get("message"), fault)
                if status == 201:
                    assert answer["spec"]["parameters"] == schema.stored(parameters).value
                judged += 1
    assert judged > 500


def test_the_schema_of_a_match_is_that_of_the_constraints_kind(schemed: TestCluster) -> None:
    assert MATCH_FILE.read_text() == generated()
    crd = schemed.get(f"{CRDS}/{KIND.lower()}.constraints.gatekeeper.sh")
    for version in crd["spec"]["versions"]:
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        assert without_descriptions(spec["match"]) == json.loads(MATCH_FILE.read_text())["schema"]
