"""Evaluates the bundle's Rego in opa, with the input that Gatekeeper would make of an object.

gator judges one object after another and knows no external data; opa takes many inputs at once, and a stand-in for a
provider.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.cluster.harness import tools

PROVIDER = Path(__file__).parent / "provider.rego"
PACKAGE = re.compile(r"^package .*$", re.MULTILINE)
# What Gatekeeper adds to opa: https://open-policy-agent.github.io/gatekeeper/website/docs/externaldata
EXTERNAL_DATA = {
    "name": "external_data",
    "decl": {"type": "function", "args": [{"type": "any"}], "result": {"type": "any"}},
}
QUERY = """package asked

found = [violations |
  each := data.asks[_]
  violations := data.rule.violation with input as each.input with data.inventory as each.inventory
    with external_data as data.standin.answer
]
"""


def program() -> Path:
    """The opa to ask: $AZPOLICY_OPA, else the harness's, which is built first where it has to be."""
    chosen = os.environ.get("AZPOLICY_OPA")
    return Path(chosen) if chosen else tools.path("opa")


def review_input(manifest: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What Gatekeeper passes to a template: an AdmissionReview's request, or for an object what an audit has."""
    if manifest["kind"] == "AdmissionReview":
        review = dict(manifest["request"])
        if review.get("operation") == "DELETE":
            review["object"] = review.get("oldObject")
    else:
        group, _, version = manifest["apiVersion"].rpartition("/")
        metadata = manifest.get("metadata", {})
        kind = {"group": group, "version": version, "kind": manifest["kind"]}
        review = {"kind": kind, "name": metadata.get("name", ""), "object": manifest}
        if namespace := metadata.get("namespace"):
            review["namespace"] = namespace
    return {"parameters": parameters, "review": review}


def inventory(objects: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The objects as Gatekeeper's data.inventory has them."""
    found: dict[str, Any] = {"namespace": {}, "cluster": {}}
    for each in objects:
        metadata = each["metadata"]
        namespace = metadata.get("namespace")
        scope = found["namespace"].setdefault(namespace, {}) if namespace else found["cluster"]
        scope.setdefault(each["apiVersion"], {}).setdefault(each["kind"], {})[metadata["name"]] = each
    return found


def violations(
    template: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    synced: Sequence[Iterable[Mapping[str, Any]]] | None = None,
) -> list[list[dict[str, Any]]]:
    """The violations of each input of a ConstraintTemplate, with PROVIDER for what it asks of external data.

    `synced` are the objects that Gatekeeper has synced when it judges each input, by default none. RuntimeError says
    what opa cannot compile or evaluate.
    """
    asks = [
        {"input": each, "inventory": inventory(objects)}
        for each, objects in zip(inputs, synced or [()] * len(inputs), strict=True)
    ]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        target = template["spec"]["targets"][0]
        (place / "rule.rego").write_text(PACKAGE.sub("package rule", target["rego"], count=1), encoding="utf-8")
        for number, module in enumerate(target.get("libs", [])):
            (place / f"lib_{number}.rego").write_text(module, encoding="utf-8")
        (place / "standin.rego").write_bytes(PROVIDER.read_bytes())
        (place / "asked.rego").write_text(QUERY, encoding="utf-8")
        (place / "data.json").write_text(json.dumps({"asks": asks}), encoding="utf-8")
        flags = ["--v0-compatible", "--format=json", "--capabilities", write_capabilities(place)]
        files = [str(path) for pattern in ("*.rego", "data.json") for path in place.glob(pattern)]
        answer = json.loads(
            run(["eval", *flags, *(word for file in files for word in ("--data", file)), "data.asked.found"])
        )
    found: list[list[dict[str, Any]]] = answer["result"][0]["expressions"][0]["value"]
    return found


def write_capabilities(folder: Path) -> str:
    """Write what opa has to know of Gatekeeper's own functions; the path of the file."""
    path = folder / "capabilities.json"
    path.write_text(_capabilities(), encoding="utf-8")
    return str(path)


@cache
def _capabilities() -> str:
    capabilities = json.loads(run(["capabilities", "--current"]))
    capabilities["builtins"].append(EXTERNAL_DATA)
    return json.dumps(capabilities)


def run(arguments: Sequence[str], folder: Path | None = None) -> str:
    """What opa prints; RuntimeError where it fails."""
    command = [str(program()), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=tools.short_lived())
    if done.returncode:
        raise RuntimeError(f"opa {arguments[0]}: {done.stderr or done.stdout}")
    return done.stdout
