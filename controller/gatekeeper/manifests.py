"""Manifests of templates, constraints and mutators: what of a policy goes where.

Nested values are shared between manifests, never copied: five hundred constraints of one policy differ in little.
Nobody may change a manifest after it is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controller.azure.model import EnforcementMode
from controller.gatekeeper.documents import DocumentError, as_mapping, clean_metadata
from controller.gatekeeper.expansion import default_source
from controller.gatekeeper.naming import CONSTRAINT_VERSION
from controller.policy.model import Effect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.gatekeeper.documents import MutationDocument, TemplateDocument
    from controller.jsontypes import Json
    from controller.policy.model import Match

# A policy must not lock out what enforces it, so these are excluded whatever a definition says.
SYSTEM_NAMESPACES: Final = ("kube-system", "gatekeeper-system", "azure-arc")


def enforcement_action(effect: Effect, mode: EnforcementMode, *, warn: bool) -> str:
    """Gatekeeper's word for an effect, empty where there is to be no object.

    | effect         | Default | DoNotEnforce |
    |----------------|---------|--------------|
    | deny           | deny    | dryrun       |
    | audit          | dryrun  | dryrun       |
    | audit and warn | warn    | dryrun       |
    | disabled       | nothing | nothing      |

    Enroll counts as DoNotEnforce here: of an enrolled cluster the mode is Default. Mutators have no action.
    """
    if effect not in (Effect.DENY, Effect.AUDIT):
        return ""
    if mode is not EnforcementMode.DEFAULT:
        return "dryrun"
    if effect is Effect.DENY:
        return "deny"
    return "warn" if warn else "dryrun"


def without_nulls(value: Json) -> Json:
    """The value without nulls at any depth, as null means absent; the same object where there are none."""
    if isinstance(value, dict):
        cleaned = {key: without_nulls(item) for key, item in value.items() if item is not None}
        return value if len(cleaned) == len(value) and all(cleaned[key] is value[key] for key in value) else cleaned
    if isinstance(value, list):
        items = [without_nulls(item) for item in value if item is not None]
        return value if len(items) == len(value) and all(a is b for a, b in zip(items, value, strict=True)) else items
    return value


def match_block(
    match: Match, always_excluded: tuple[str, ...], base: Mapping[str, Json] | None = None
) -> dict[str, Json]:
    """`spec.match`: the policy's own, over that of its constraint or mutator file (`base`)."""
    block: dict[str, Json] = dict(base or {})
    excluded = list(match.excluded_namespaces) or _names(block.get("excludedNamespaces"), "excludedNamespaces")
    given: dict[str, Json] = {
        "kinds": [{"apiGroups": list(match.api_groups), "kinds": list(match.kinds)}] if match.kinds else None,
        "namespaces": list(match.namespaces) or None,
        "excludedNamespaces": [*excluded, *(name for name in always_excluded if name not in excluded)],
        "labelSelector": without_nulls(dict(match.label_selector)) if match.label_selector else None,
        "source": match.source or None,
        "scope": match.scope or None,
    }
    block.update((key, value) for key, value in given.items() if value)
    if source := default_source(block):
        block["source"] = source
    return block


def template_manifest(
    document: TemplateDocument, annotations: Mapping[str, str], labels: Mapping[str, str]
) -> dict[str, Json]:
    """The template as served, at its own apiVersion, with our marks."""
    return {
        "apiVersion": document.manifest["apiVersion"],
        "kind": "ConstraintTemplate",
        "metadata": _metadata(document.manifest, document.name, annotations, labels),
        "spec": without_nulls(document.manifest["spec"]),
    }


def constraint_manifest(
    kind: str, metadata: dict[str, Json], *, action: str, match: dict[str, Json], parameters: Json
) -> dict[str, Json]:
    """A constraint; empty parameters are left out."""
    spec: dict[str, Json] = {"enforcementAction": action, "match": match}
    if parameters:
        spec["parameters"] = parameters
    return {"apiVersion": CONSTRAINT_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def mutator_manifest(
    document: MutationDocument,
    name: str,
    *,
    match: dict[str, Json],
    annotations: Mapping[str, str],
    labels: Mapping[str, str],
) -> dict[str, Json]:
    """The mutator as served, under our name, with the policy's match and our marks."""
    spec = as_mapping(without_nulls(document.manifest["spec"]), "spec")
    return {
        "apiVersion": document.manifest["apiVersion"],
        "kind": document.manifest["kind"],
        "metadata": _metadata(document.manifest, name, annotations, labels),
        "spec": {**spec, "match": match},
    }


def _metadata(
    served: Mapping[str, Json], name: str, annotations: Mapping[str, str], labels: Mapping[str, str]
) -> dict[str, Json]:
    kept = clean_metadata(served)
    return {
        "name": name,
        "labels": {**as_mapping(kept.get("labels"), "labels"), **labels},
        "annotations": {**as_mapping(kept.get("annotations"), "annotations"), **annotations},
    }


def _names(value: Json, place: str) -> list[Json]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DocumentError(f"spec.match.{place} is not a list of names")
    return value
