"""Expansion: Gatekeeper makes the pods of a workload when the workload is applied, and has policies judge them.

A policy says by `source` which pods it looks at: those that somebody makes (Original), those that expansion makes
(Generated), or All. Azure's default is Original, Gatekeeper's is All. So a policy on pods that says nothing is given
Azure's: https://learn.microsoft.com/azure/governance/policy/concepts/policy-for-kubernetes
https://open-policy-agent.github.io/gatekeeper/website/docs/expansion
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from controller.gatekeeper.model import DesiredObject, ObjectRef, Role
from controller.gatekeeper.naming import CONSTRAINT_INSTALLED_BY, EXPANSION_GROUP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from controller.gatekeeper.naming import OwnershipMarks
    from controller.jsontypes import Json


class Expansion(StrEnum):
    """When workloads are expanded: where a policy's `source` says so, never, or for every policy on pods."""

    ASSIGNED = "assigned"
    OFF = "off"
    ALL = "all"


VERSION: Final = "v1beta1"
KIND: Final = "ExpansionTemplate"
EVERY: Final = "All"
ORIGINAL: Final = "Original"
NEEDS_OWNERS: Final = (
    "its template reads ownerReferences, which a pod that expansion makes has since Gatekeeper 3.22 and not before:"
    " there, every workload is denied"
)
_GENERATED: Final = "Generated"
_EXPANDED: Final = frozenset({_GENERATED, EVERY})
_OWNERS: Final = "ownerReferences"
_JUDGED: Final = (Role.CONSTRAINT, Role.MUTATOR)
_POD: Final[Mapping[str, Json]] = {"group": "", "version": "v1", "kind": "Pod"}
_WORKLOAD_VERSION: Final = "v1"
# By name: where the pod's template is in a workload, and which workloads these are.
_SETS: Final[Mapping[str, tuple[str, tuple[tuple[str, tuple[str, ...]], ...]]]] = {
    "azpolicy-workload-pods": (
        "spec.template",
        (
            ("apps", ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")),
            ("batch", ("Job",)),
            ("", ("ReplicationController",)),
        ),
    ),
    "azpolicy-cronjob-pods": ("spec.jobTemplate.spec.template", (("batch", ("CronJob",)),)),
}
EXPANSION_REFS: Final = tuple(ObjectRef(EXPANSION_GROUP, KIND, name) for name in sorted(_SETS))


def expansion_templates(objects: Iterable[DesiredObject], marks: OwnershipMarks) -> list[DesiredObject]:
    """The ExpansionTemplates that these constraints and mutators need; no one member's, and none where none needs them.

    They have no enforcementAction: it would replace that of every constraint.
    """
    if not any(each.role in _JUDGED and expanded(each.manifest) for each in objects):
        return []
    return [_template(name, marks) for name in sorted(_SETS)]


def expanded(manifest: Mapping[str, Any]) -> bool:
    """Whether a constraint or mutator, ours or anybody's, says that it looks at what expansion makes."""
    return _source(manifest) in _EXPANDED


def only_generated(manifest: Mapping[str, Any]) -> bool:
    """Whether it looks at nothing else."""
    return _source(manifest) == _GENERATED


def with_source(wanted: DesiredObject, source: str) -> DesiredObject:
    """The constraint or mutator with another source."""
    spec: Any = wanted.manifest["spec"]
    match = {**(spec.get("match") or {}), "source": source}
    return DesiredObject.of(wanted.role, {**wanted.manifest, "spec": {**spec, "match": match}}, wanted.members)


def widened(wanted: DesiredObject) -> bool:
    """Whether the setting `all` has a constraint or mutator look at what expansion makes, which it does not yet."""
    return _source(wanted.manifest) == ORIGINAL and _on_pods(_match(wanted.manifest))


def default_source(match: Mapping[str, Any]) -> str | None:
    """The source of a match block that names none: Azure's, where it can fit a pod; None leaves it to Gatekeeper."""
    return ORIGINAL if not match.get("source") and _on_pods(match) else None


def reads_owners(template: Mapping[str, Json]) -> bool:
    """Whether a ConstraintTemplate's rules read who owns a pod: expansion does not tell before Gatekeeper 3.22.

    https://github.com/open-policy-agent/gatekeeper/pull/4258
    """
    return _OWNERS in json.dumps(template["spec"])


def workloads(template: Mapping[str, Any], ref: ObjectRef) -> list[str]:
    """The kinds of one of EXPANSION_REFS that an ExpansionTemplate, ours or anybody's, makes pods of.

    Each is looked for, as the combinations of somebody's groups, versions and kinds may be too many to go through.
    """
    spec = _mapping(template.get("spec"))
    made = _mapping(spec.get("generatedGVK"))
    if {key: made.get(key, "") for key in _POD} != _POD:
        return []
    given = [_mapping(entry) for entry in _list(spec.get("applyTo"))]
    _, known = _SETS[ref.name]
    return [kind for group, kinds in known for kind in kinds if any(_applies(each, group, kind) for each in given)]


def _applies(entry: Mapping[str, Any], group: str, kind: str) -> bool:
    wanted = {"groups": group, "versions": _WORKLOAD_VERSION, "kinds": kind}
    return all(value in _list(entry.get(key)) for key, value in wanted.items())


def _template(name: str, marks: OwnershipMarks) -> DesiredObject:
    source, known = _SETS[name]
    apply_to: list[Json] = [
        {"groups": [group], "versions": [_WORKLOAD_VERSION], "kinds": list(kinds)} for group, kinds in known
    ]
    manifest: dict[str, Json] = {
        "apiVersion": f"{EXPANSION_GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {
            "name": name,
            "labels": {**marks.labels()},
            "annotations": {CONSTRAINT_INSTALLED_BY: marks.managed_by},
        },
        "spec": {"applyTo": apply_to, "templateSource": source, "generatedGVK": {**_POD}},
    }
    return DesiredObject.of(Role.EXPANSION, manifest, ())


def _source(manifest: Mapping[str, Any]) -> str:
    source = _match(manifest).get("source")
    return source if isinstance(source, str) else ""


def _match(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(manifest.get("spec")).get("match"))


def _on_pods(match: Mapping[str, Any]) -> bool:
    """Whether a match block can fit a pod: one without kinds fits everything."""
    kinds = [_mapping(each) for each in _list(match.get("kinds"))]
    return not kinds or any(_names(each, "apiGroups", "") and _names(each, "kinds", "Pod") for each in kinds)


def _names(entry: Mapping[str, Any], key: str, name: str) -> bool:
    given = _list(entry.get(key))
    return not given or name in given or "*" in given


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
