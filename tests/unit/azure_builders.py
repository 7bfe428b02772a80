"""Builders of Azure Policy documents and of the state they make, with defaults for what a test does not care about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from controller.azure.parse import build_state, parse_resource
from controller.policy.model import EffectivePolicy, NotApplied, Unresolved
from controller.policy.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from controller.azure.model import AzureState, ClusterResource
    from controller.jsontypes import Json
    from controller.policy.model import Resolution

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000001"
GROUP = f"{SUBSCRIPTION}/resourceGroups/shop"
CLUSTER_ID = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/web"
CONNECTED_ID = f"{GROUP}/providers/Microsoft.Kubernetes/connectedClusters/edge"
MANAGEMENT_GROUP = "/providers/Microsoft.Management/managementGroups/root"
POLICY = "Microsoft.Authorization"
# A space that does not break, one of no width, an ideographic one, a mark of direction, and controls.
INVISIBLE = ("\u00a0", "\u200b", "\u3000", "\u202e", "\0", "\x1b", "\n")
TEMPLATE_URL = "https://store.policy.core.windows.net/kubernetes/no-root/v1/template.yaml"


def definition_id(name: str = "no-root") -> str:
    """The id of a built-in definition."""
    return f"/providers/{POLICY}/policyDefinitions/{name}"


def initiative_id(name: str = "baseline") -> str:
    """The id of a built-in initiative."""
    return f"/providers/{POLICY}/policySetDefinitions/{name}"


def assignment_id(name: str = "a", scope: str = SUBSCRIPTION) -> str:
    """The id of an assignment at a scope."""
    return f"{scope}/providers/{POLICY}/policyAssignments/{name}"


def make_cluster(resource_id: str = CLUSTER_ID, **fields: Json) -> dict[str, Json]:
    """A cluster's document."""
    *_, namespace, kind, name = resource_id.split("/")
    return {"id": resource_id, "type": f"{namespace}/{kind}", "name": name, "location": "westeurope", **fields}


def make_assignment(
    name: str = "a",
    *,
    scope: str = SUBSCRIPTION,
    of: str = definition_id(),
    effect: str | None = None,
    parameters: Mapping[str, Json] | None = None,
    **properties: Json,
) -> dict[str, Json]:
    """An assignment of a definition or initiative; `effect` is its parameter of that name."""
    values = {**({"effect": effect} if effect is not None else {}), **(parameters or {})}
    entries: dict[str, Json] = {key: {"value": value} for key, value in values.items()}
    told: dict[str, Json] = {"displayName": name, "policyDefinitionId": of, "parameters": entries, **properties}
    return {"id": assignment_id(name, scope), "type": f"{POLICY}/policyAssignments", "name": name, "properties": told}


def with_properties(document: Mapping[str, Json], properties: Mapping[str, Json]) -> dict[str, Json]:
    """The same document with some of its properties changed."""
    told = document["properties"]
    assert isinstance(told, dict)
    return {**document, "properties": {**told, **properties}}


def make_parameter(kind: str, **rest: Json) -> Json:
    """A parameter's declaration."""
    return {"type": kind, **rest}


def make_details(**changes: Json) -> dict[str, Json]:
    """Details with a template; a change to None takes a key away."""
    details: dict[str, Json] = {
        "templateInfo": {"sourceType": "PublicURL", "url": TEMPLATE_URL},
        "apiGroups": [""],
        "kinds": ["Pod"],
    }
    return {key: value for key, value in (details | changes).items() if value is not None}


def make_definition(
    name: str = "no-root",
    *,
    version: str | None = "1.0.0",
    effect: Json = "[parameters('effect')]",
    condition: Json = None,
    details: Json = None,
    parameters: Mapping[str, Json] | None = None,
    mode: str = "Microsoft.Kubernetes.Data",
    **properties: Json,
) -> dict[str, Json]:
    """A definition with an effect parameter that defaults to Audit."""
    effects: list[Json] = ["Audit", "Deny", "Disabled", "Mutate"]
    declared: dict[str, Json] = {
        "effect": make_parameter("String", defaultValue="Audit", allowedValues=effects),
        **(parameters or {}),
    }
    types: list[Json] = ["Microsoft.ContainerService/managedClusters", "Microsoft.Kubernetes/connectedClusters"]
    rule: dict[str, Json] = {
        "if": {"field": "type", "in": types} if condition is None else condition,
        "then": {"effect": effect, "details": make_details() if details is None else details},
    }
    told: dict[str, Json] = {"displayName": name, "mode": mode, "parameters": declared, "policyRule": rule}
    told |= properties
    if version is not None:
        told["version"] = version
    return {"id": definition_id(name), "type": f"{POLICY}/policyDefinitions", "name": name, "properties": told}


def make_reference(
    reference_id: str = "one", of: str = definition_id(), parameters: Mapping[str, Json] | None = None, **rest: Json
) -> dict[str, Json]:
    """A member of an initiative."""
    mapping: dict[str, Json] = {key: {"value": value} for key, value in (parameters or {}).items()}
    return {"policyDefinitionReferenceId": reference_id, "policyDefinitionId": of, "parameters": mapping, **rest}


def make_initiative(
    *references: dict[str, Json],
    name: str = "baseline",
    version: str | None = "1.0.0",
    parameters: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """An initiative with an effect parameter that defaults to Audit."""
    declared: dict[str, Json] = {"effect": make_parameter("String", defaultValue="Audit"), **(parameters or {})}
    told: dict[str, Json] = {
        "displayName": name,
        "parameters": declared,
        "policyDefinitions": list(references or (make_reference(),)),
    }
    if version is not None:
        told["version"] = version
    return {"id": initiative_id(name), "type": f"{POLICY}/policySetDefinitions", "name": name, "properties": told}


def make_exemption(
    name: str = "e", *, of: str = assignment_id(), scope: str = CLUSTER_ID, **properties: Json
) -> dict[str, Json]:
    """An exemption of an assignment, at the cluster itself unless told otherwise."""
    told: dict[str, Json] = {"policyAssignmentId": of, "exemptionCategory": "Waiver", **properties}
    resource_id = f"{scope}/providers/{POLICY}/policyExemptions/{name}"
    return {"id": resource_id, "type": f"{POLICY}/policyExemptions", "name": name, "properties": told}


def make_state(*documents: dict[str, Json], cluster_id: str | ClusterResource | None = CLUSTER_ID) -> AzureState:
    """The state that documents make, for a cluster without a document unless one is among them."""
    parsed = ((f"#{index}", parse_resource(document, f"#{index}")) for index, document in enumerate(documents))
    return build_state(((place, resource) for place, resource in parsed if resource is not None), cluster_id)


def resolve_all(*documents: dict[str, Json], now: datetime = NOW) -> tuple[Resolution, ...]:
    """What the documents mean for the cluster."""
    return resolve(make_state(*documents), now)


def resolve_one(*documents: dict[str, Json], now: datetime = NOW) -> Resolution:
    """The one resolution that the documents lead to."""
    (only,) = resolve_all(*documents, now=now)
    return only


def outcome(resolution: Resolution) -> str:
    """A resolution in one word: the effect, or the reason why there is none."""
    match resolution:
        case EffectivePolicy():
            return str(resolution.effect)
        case NotApplied() | Unresolved():
            return str(resolution.reason)


def outcomes(resolutions: Iterable[Resolution]) -> list[str]:
    """Each resolution in one word."""
    return [outcome(each) for each in resolutions]


def deep(levels: int) -> Json:
    """An expression in a list in a list and so on."""
    value: Json = "[parameters('name')]"
    for _ in range(levels):
        value = [value]
    return value


def places(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of a value and of everything in it."""
    yield path
    match value:
        case dict():
            for key, item in value.items():
                yield from places(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from places(item, (*path, index))


def put(container: Json, path: tuple[str | int, ...], value: Json) -> None:
    """Puts a value at a path, or nowhere where an earlier change took the place away."""
    step, *rest = path
    match container, step:
        case dict(), str() if step in container:
            if rest:
                put(container[step], tuple(rest), value)
            else:
                container[step] = value
        case list(), int() if step < len(container):
            if rest:
                put(container[step], tuple(rest), value)
            else:
                container[step] = value
