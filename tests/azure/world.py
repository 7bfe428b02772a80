"""ARM documents for tests: one cluster, and what can be assigned to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.azure.documents import Document

SUBSCRIPTION: Final = "/subscriptions/5b000000-0000-0000-0000-000000000001"
GROUP: Final = f"{SUBSCRIPTION}/resourceGroups/shop"
CLUSTER_ID: Final = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/till"
MANAGEMENT_GROUP: Final = "/providers/Microsoft.Management/managementGroups/corp"

_AUTHORIZATION: Final = "/providers/Microsoft.Authorization"


def definition_id(name: str, scope: str = "") -> str:
    """The id of a definition; a built-in's without a scope."""
    return f"{scope}{_AUTHORIZATION}/policyDefinitions/{name}"


def initiative_id(name: str, scope: str = "") -> str:
    """The id of an initiative; a built-in's without a scope."""
    return f"{scope}{_AUTHORIZATION}/policySetDefinitions/{name}"


def assignment_id(name: str, scope: str = CLUSTER_ID) -> str:
    """The id of an assignment."""
    return f"{scope}{_AUTHORIZATION}/policyAssignments/{name}"


def make_cluster(resource_id: str = CLUSTER_ID, **properties: Any) -> Document:
    """The cluster, as its resource provider tells it."""
    name = resource_id.rpartition("/")[2]
    kind = "/".join(resource_id.split("/")[-3:-1])
    return {
        "id": resource_id,
        "name": name,
        "type": kind,
        "location": "westeurope",
        "tags": {"team": "shop"},
        "identity": {"type": "SystemAssigned"},
        "properties": {"kubernetesVersion": "1.36.3", **properties},
    }


def make_definition(name: str, version: str = "1.0.0", *, scope: str = "", **properties: Any) -> Document:
    """A definition in one version."""
    return {
        "id": definition_id(name, scope),
        "name": name,
        "type": "Microsoft.Authorization/policyDefinitions",
        "properties": {
            "displayName": f"Definition {name}",
            "policyType": "Custom" if scope else "BuiltIn",
            "mode": "Microsoft.Kubernetes.Data",
            "metadata": {"category": "Kubernetes"},
            "version": version,
            "parameters": {"effect": {"type": "String", "defaultValue": "Audit"}},
            "policyRule": {
                "if": {"field": "type", "equals": "Microsoft.ContainerService/managedClusters"},
                "then": {
                    "effect": "[parameters('effect')]",
                    "details": {
                        "templateInfo": {"sourceType": "PublicURL", "url": f"https://templates.test/{name}.yaml"},
                        "apiGroups": [""],
                        "kinds": ["Pod"],
                    },
                },
            },
            **properties,
        },
    }


def make_initiative(name: str, members: dict[str, str], version: str = "1.0.0", *, scope: str = "") -> Document:
    """An initiative; `members` maps definition ids to the version pattern asked for, empty for none."""
    references: list[Document] = []
    for number, (member, asked) in enumerate(members.items()):
        reference: Document = {
            "policyDefinitionId": member,
            "policyDefinitionReferenceId": f"member-{number}",
            "parameters": {},
        }
        references.append(reference | ({"definitionVersion": asked} if asked else {}))
    return {
        "id": initiative_id(name, scope),
        "name": name,
        "type": "Microsoft.Authorization/policySetDefinitions",
        "properties": {
            "displayName": f"Initiative {name}",
            "policyType": "Custom" if scope else "BuiltIn",
            "version": version,
            "parameters": {},
            "policyDefinitions": references,
        },
    }


def make_assignment(name: str, assigned: str, *, scope: str = CLUSTER_ID, **properties: Any) -> Document:
    """An assignment of a definition or an initiative at a scope."""
    return {
        "id": assignment_id(name, scope),
        "name": name,
        "type": "Microsoft.Authorization/policyAssignments",
        "properties": {
            "displayName": f"Assignment {name}",
            "policyDefinitionId": assigned,
            "scope": scope,
            "notScopes": [],
            "parameters": {},
            "enforcementMode": "Default",
            **properties,
        },
    }


def make_exemption(name: str, assignment: str, *, scope: str = CLUSTER_ID, **properties: Any) -> Document:
    """An exemption from an assignment."""
    return {
        "id": f"{scope}{_AUTHORIZATION}/policyExemptions/{name}",
        "name": name,
        "type": "Microsoft.Authorization/policyExemptions",
        "properties": {"policyAssignmentId": assignment, "exemptionCategory": "Waiver", **properties},
    }


def make_enrollment(
    name: str, assignment: str, instance: str, *, scope: str = MANAGEMENT_GROUP, **properties: Any
) -> Document:
    """An enrollment for an assignment whose enforcement mode is Enroll."""
    return {
        "id": f"{scope}{_AUTHORIZATION}/policyEnrollments/{name}",
        "name": name,
        "type": "Microsoft.Authorization/policyEnrollments",
        "properties": {"policyAssignmentId": assignment, "policyAssignmentInstanceId": instance, **properties},
    }
