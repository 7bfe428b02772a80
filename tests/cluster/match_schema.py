"""Writes controller/gatekeeper/match.json: the schema of a constraint's match, of the Gatekeeper that the tests build.

    python -m tests.cluster.match_schema

Gatekeeper makes the CRD of a constraint of the same Go type (`match.Match`) as those of its mutators, which are in its
manifest. Descriptions are left out: the API server does not judge by them.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from controller.gatekeeper.crd import MATCH_FILE
from tests.cluster.harness import tools

SOURCE = "https://github.com/open-policy-agent/gatekeeper/blob/master/pkg/mutation/match/match_types.go"
_MUTATOR = "assign.mutations.gatekeeper.sh"


def without_descriptions(schema: Any) -> Any:
    """A schema's rules alone."""
    if isinstance(schema, list):
        return [without_descriptions(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: without_descriptions(each) for key, each in schema.items() if key != "description" or _named(each)}


def _named(value: Any) -> bool:
    """Whether `description` is the name of a field, not a description."""
    return isinstance(value, dict)


def match_of(crd: dict[str, Any]) -> dict[str, Any]:
    """The rules of `spec.match` in a CRD's stored version."""
    [version] = [each for each in crd["spec"]["versions"] if each["storage"]]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    return dict(without_descriptions(spec["match"]))


def generated() -> str:
    """The text of match.json."""
    with tools.gatekeeper_manifest().open(encoding="utf-8") as stream:
        manifests = [each for each in yaml.safe_load_all(stream) if each["metadata"]["name"] == _MUTATOR]
    version = tools.gatekeeper_sources().name.partition("@")[2]
    document = {"source": SOURCE, "gatekeeper": version, "schema": match_of(manifests[0])}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    MATCH_FILE.write_text(generated(), encoding="utf-8")
