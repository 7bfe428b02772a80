"""The CustomResourceDefinition that Gatekeeper makes of a template: what of a constraint the API server takes.

Its schema is that of the parameters, as the template gives it, and that of Gatekeeper's own match, which is the data in
`match.json`: `python -m tests.cluster.match_schema` writes it from the CRDs of the Gatekeeper that the tests build.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from controller.gatekeeper.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.jsontypes import Json

MATCH_FILE: Final = Path(__file__).with_name("match.json")
_OLD_VERSIONS: Final = frozenset({"v1beta1", "v1alpha1"})
_NOTHING: Final = Schema(type="object")


@cache
def match_schema() -> Schema:
    """The schema of `spec.match` of constraints and mutators."""
    return Schema.of(json.loads(MATCH_FILE.read_text(encoding="utf-8"))["schema"])


def parameters_schema(template: Mapping[str, Json]) -> Schema:
    """The schema of `spec.parameters` by the manifest of a template; without one the API server drops all of them.

    `legacySchema`, which is true by default in templates before v1, keeps what the schema does not have:
    https://open-policy-agent.github.io/gatekeeper/website/docs/constrainttemplates.
    """
    spec: Any = template.get("spec")
    for key in ("crd", "spec", "validation"):
        spec = spec.get(key) if isinstance(spec, dict) else None
    validation = spec if isinstance(spec, dict) else {}
    old = str(template.get("apiVersion")).rpartition("/")[2] in _OLD_VERSIONS
    legacy = bool(validation.get("legacySchema", old))
    schema = validation.get("openAPIV3Schema")
    if schema is None and not legacy:
        return _NOTHING
    return Schema.of(schema, legacy=legacy)


@dataclass(frozen=True, slots=True)
class ConstraintSchema:
    """What the API server takes of the constraints of one template."""

    parameters: Schema

    @classmethod
    def of(cls, template: Mapping[str, Json]) -> ConstraintSchema:
        """Reads the manifest of a template."""
        return cls(parameters_schema(template))

    def stored(self, constraint: Mapping[str, Json]) -> Mapping[str, Json]:
        """A constraint as the API server stores it: without the fields that its kind does not have."""
        spec: Any = constraint["spec"]
        kept = {
            **spec,
            **{
                key: schema.stored(spec[key]).value
                for key, schema in (("parameters", self.parameters), ("match", match_schema()))
                if key in spec
            },
        }
        return {**constraint, "spec": kept}
