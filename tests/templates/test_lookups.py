"""What a template's Rego looks up: read by azpolicy, beside what opa's own parser makes of the same text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.gatekeeper.rego import references
from templates import generate
from tests.templates import opa
from tests.templates.suites import folder_name, load

HEADER = "package test\n"
BODY = HEADER + 'violation[{{"msg": msg}}] {{\n  msg := ""\n  {}\n}}\n'
# A body of a rule, or a whole module after its package; and what it looks up.
BODIES = {
    'data.inventory.namespace[ns]["v1"]["Service"][name]': {"v1/Service"},
    "data.inventory.namespace[ns].v1.Service[name]": {"v1/Service"},
    'data["inventory"]["cluster"]["v1"].Namespace[input.review.name]': {"v1/Namespace"},
    "data.inventory.cluster[`storage.k8s.io/v1`][`CSIDriver`]": {"storage.k8s.io/v1/CSIDriver"},
    'x := data.inventory.namespace[input.review.namespace]["networking.k8s.io/v1"]["Ingress"][_].spec':
        {"networking.k8s.io/v1/Ingress"},
    'data.inventory.namespace["a"][ "apps/v1" ][ "Deployment" ] # ["v1"]': {"apps/v1/Deployment"},
    'data.inventory.namespace[data.inventory.cluster["v1"].Node[n].x]["v1"].Pod': {"v1/Node", "v1/Pod"},
    'x := {y | y := data.inventory.namespace[_]["batch/v1"].Job[_]}': {"batch/v1/Job"},
    'f(data.inventory.namespace[_]["v1"].Pod)': {"v1/Pod"},
    'x := [data.inventory.namespace[_]["v1"].Pod, 1]': {"v1/Pod"},
    'data.inventory.cluster["\\u0076\\u0031"].Node': {"v1/Node"},
    'data.inventory.namespace[_][version]["Ingress"][_]': {"*/Ingress"},
    'data.inventory.namespace[_]["v1"][kind][_]': {"v1/*"},
    'data.inventory.namespace[_][concat("/", ["a", "v1"])].B': {"*/B"},
    "data.inventory[scope].v1.Pod": {"*/*"},
    "data.inventory": {"*/*"},
    "x := data.inventory.namespace": {"*/*"},
    'x := data.inventory.namespace[_]["v1"]': {"v1/*"},
    "x := data[input.x]": {"*/*"},
    'x := data.inventory.other["v1"].Pod': {"*/*"},
    '# data.inventory.cluster["v1"].Node\n  true': set(),
    'x := "data.inventory.cluster.v1.Node"': set(),
    'x := `data.inventory.cluster["v1"].Node`': set(),
    'x := "a \\" data.inventory.cluster.v1.Node"': set(),
    "x := input.data.inventory.cluster.v1.Node": set(),
    "x := data.lib.inventory.cluster.v1.Node": set(),
    "x := input.review.inventory": set(),
    'x := {"inventory": 1, "data": 2}': set(),
    "f(1) with data.inventory as {}": set(),
    'f(1) with data.inventory.cluster as data.inventory.cluster["v1"].Node': {"v1/Node"},
    "x := data.inventory.cluster.v1.Node\n  [y, z] := [1, 2]": {"v1/Node"},
}  # fmt: skip
MODULES = {
    'import data.inventory\nx { inventory.cluster["v1"].Node[_] }': {"v1/Node"},
    'import data.inventory as held\nx { held.namespace[_]["v1"].Pod[_] }': {"v1/Pod"},
    'import data.inventory.namespace as spaces\nx { spaces[_]["v1"].Pod[_] }': {"v1/Pod"},
    'import data["inventory"]["cluster"]\nx { cluster.v1.Node[_] }': {"v1/Node"},
    'import data.inventory.cluster["v1"].Node as nodes\nx { nodes[_].spec }': {"v1/Node"},
    "import data.inventory\nimport data.lib.other\nx { other.y }": set(),
    "import data.lib.inventory\nx { inventory.cluster.v1.Node[_] }": set(),
    "import input.inventory\nx { inventory.cluster.v1.Node[_] }": set(),
    'import data.lib.x as inventory\nx { inventory.cluster.v1.Node[_]; data.inventory.cluster["v1"].Node }': {
        "v1/Node"
    },
    "import data.inventory\nx = y { y := input.inventory.cluster.v1.Node }": set(),
    'default x = false\nx { y } else { data.inventory.cluster["v1"].Node }\ny { false }': {"v1/Node"},
}
MODULES |= {BODY.format(body).removeprefix(HEADER): found for body, found in BODIES.items()}


def template(*modules: str) -> dict[str, Any]:
    return {"spec": {"targets": [{"rego": modules[0], "libs": list(modules[1:])}]}}


def parsed(module: str, folder: Path) -> set[str]:
    """What a module looks up by opa's syntax tree."""
    file = folder / "module.rego"
    file.write_text(module, encoding="utf-8")
    tree = json.loads(opa.run(["parse", "--v0-compatible", "--format", "json", str(file)]))
    names = {}
    for each in tree.get("imports", []):
        parts = [part["value"] for part in each["path"]["value"]]
        names[each.get("alias") or parts[-1]] = parts
    found = set()
    for head, *rest in _refs(tree.get("rules", [])):
        prefix = names.get(head["value"], [head["value"]]) if head["type"] == "var" else [""]
        if prefix[0] == "data":
            found.add(_named(prefix, rest))
    return found - {""}


def _refs(node: Any) -> Iterator[list[dict[str, Any]]]:
    """All references below a node, but for what `with` replaces; of one within another, both."""
    if isinstance(node, list):
        for each in node:
            yield from _refs(each)
    elif isinstance(node, dict):
        if node.get("type") == "var":
            yield [node]
        elif node.get("type") == "ref":
            yield node["value"]
            head, *rest = node["value"]
            yield from _refs(rest if head["type"] == "var" else [head, *rest])
        else:
            for key, each in node.items():
                if not (key == "target" and "value" in node):
                    yield from _refs(each)


def _named(prefix: list[str], rest: list[dict[str, Any]]) -> str:
    parts = [*prefix, *(each["value"] if each["type"] == "string" else None for each in rest)]
    if len(parts) > 1 and parts[1] not in (None, "inventory"):
        return ""
    scope = parts[2] if len(parts) > 2 else None
    first = {"cluster": 3, "namespace": 4}.get(str(scope), len(parts))
    found = [*parts[first : first + 2], None, None]
    return f"{found[0] or '*'}/{found[1] or '*'}"


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_looks_up_is_read_as_opa_reads_it(module: str, tmp_path: Path) -> None:
    found = set(map(str, references(template(HEADER + module))))

    assert found == MODULES[module]
    assert found == parsed(HEADER + module, tmp_path)


@pytest.mark.parametrize("folder", generate.sources(), ids=folder_name)
def test_what_a_bundled_template_looks_up_is_read_as_opa_reads_it(folder: Path, tmp_path: Path) -> None:
    made = load(folder / "template.yaml")
    (target,) = made["spec"]["targets"]

    expected = {each for module in (target["rego"], *target.get("libs", [])) for each in parsed(module, tmp_path)}

    assert set(map(str, references(made))) == expected
