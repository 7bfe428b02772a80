"""Snapshots and template folders that tests write: a small Azure of this project's own, one file a document.

Every document is replaced whole, by a rename, as a real export should be: a reader never sees half of one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SUBSCRIPTION = "/subscriptions/0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e"
GROUP = f"{SUBSCRIPTION}/resourceGroups/harbour"
CLUSTER_ID = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/crane"
POLICY = "/providers/Microsoft.Authorization"
STORE = "https://store.policy.core.windows.net/kubernetes"

LABELS_SCHEMA = {"labels": {"type": "array", "items": {"type": "string"}}}
FORBIDS_LABELS = """\
violation[{"msg": msg}] {
  label := input.parameters.labels[_]
  input.review.object.metadata.labels[label]
  msg := sprintf("label %v is forbidden", [label])
}
"""
DOES_NOT_COMPILE = """\
violation[{"msg": msg}] {
  msg := nowhere_defined(input.parameters.labels)
}
"""


def template_text(kind: str, rule: str = FORBIDS_LABELS, schema: Mapping[str, Any] | None = None) -> str:
    """A template.yaml (as JSON, which is YAML): a kind, its Rego rules, the properties of its parameters."""
    parameters = {"type": "object", "properties": dict(LABELS_SCHEMA if schema is None else schema)}
    manifest = {
        "apiVersion": "templates.gatekeeper.sh/v1",
        "kind": "ConstraintTemplate",
        "metadata": {"name": kind.lower()},
        "spec": {
            "crd": {"spec": {"names": {"kind": kind}, "validation": {"openAPIV3Schema": parameters}}},
            "targets": [{"target": "admission.k8s.gatekeeper.sh", "rego": f"package {kind.lower()}\n\n{rule}"}],
        },
    }
    return json.dumps(manifest, indent=1)


class TemplateFolder:
    """What `--templates FOLDER` names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, kind: str, rule: str = FORBIDS_LABELS, schema: Mapping[str, Any] | None = None) -> str:
        """Writes the template at NAME/vN and returns the URL under which definitions ask for it."""
        return self._write(f"{path}/template.yaml", template_text(kind, rule, schema))

    def write_mutation(self, path: str, name: str, label: str) -> str:
        """Writes a mutator that gives pods a label, and returns its URL."""
        manifest = {
            "apiVersion": "mutations.gatekeeper.sh/v1",
            "kind": "AssignMetadata",
            "metadata": {"name": name},
            "spec": {
                "location": f"metadata.labels.{label}",
                "parameters": {"assign": {"value": "given"}},
            },
        }
        return self._write(f"{path}/mutation.yaml", json.dumps(manifest))

    def _write(self, path: str, text: str) -> str:
        _replace(self.folder / path, text)
        return f"{STORE}/{path}"


class Snapshot:
    """What `--snapshot FOLDER` names; each method writes one document and returns its id."""

    def __init__(self, folder: Path, cluster_id: str = CLUSTER_ID) -> None:
        self.folder = folder
        self.cluster_id = cluster_id
        *_, provider, kind, name = cluster_id.split("/")
        self.write("cluster", {"id": cluster_id, "type": f"{provider}/{kind}", "name": name, "properties": {}})

    def write(self, name: str, document: object) -> None:
        """Writes any document."""
        _replace(self.folder / f"{name}.json", json.dumps(document, indent=1, ensure_ascii=False))

    def remove(self, name: str) -> None:
        """Removes a document."""
        (self.folder / f"{name}.json").unlink()

    def define(
        self,
        name: str,
        url: str,
        *,
        version: str = "1.0.0",
        effect: str = "[parameters('effect')]",
        values: Mapping[str, Any] | None = None,
        constraint: str = "",
        **details: object,
    ) -> str:
        """A definition that asks for a template (or mutation) and forbids labels; parameters effect and labels.

        With the URL of a `constraint` file it has the legacy form.
        """
        template = {"sourceType": "PublicURL", "url": url}
        mutates = url.endswith("mutation.yaml")
        then: dict[str, Any] = {"mutationInfo": template, **details}
        if not mutates:
            wanted = {"labels": "[parameters('labels')]"} if values is None else dict(values)
            stored = {"templateInfo": template, "apiGroups": [""], "kinds": ["Pod"]}
            asked = {"constraintTemplate": url, "constraint": constraint} if constraint else stored
            then = {**asked, "values": wanted, **details}
        definition_id = f"{POLICY}/policyDefinitions/{name}"
        properties = {
            "displayName": f"Definition {name}",
            "policyType": "BuiltIn",
            "mode": "Microsoft.Kubernetes.Data",
            "version": version,
            "parameters": {
                "effect": {"type": "String", "defaultValue": "Deny"},
                "labels": {"type": "Array", "defaultValue": ["forbidden"]},
            },
            "policyRule": {
                "if": {"field": "type", "equals": "Microsoft.ContainerService/managedClusters"},
                "then": {"effect": effect, "details": then},
            },
        }
        document = {
            "id": definition_id,
            "type": "Microsoft.Authorization/policyDefinitions",
            "name": name,
            "properties": properties,
        }
        self.write(f"definition-{name}-{version}", document)
        return definition_id

    def initiative(self, name: str, members: Mapping[str, str]) -> str:
        """An initiative; `members` maps reference ids to definition ids. Its parameter effect goes to all of them."""
        initiative_id = f"{POLICY}/policySetDefinitions/{name}"
        references = [
            {
                "policyDefinitionReferenceId": reference,
                "policyDefinitionId": definition_id,
                "parameters": {"effect": {"value": "[parameters('effect')]"}},
            }
            for reference, definition_id in members.items()
        ]
        properties = {
            "displayName": f"Initiative {name}",
            "version": "1.0.0",
            "parameters": {"effect": {"type": "String", "defaultValue": "Deny"}},
            "policyDefinitions": references,
        }
        document = {
            "id": initiative_id,
            "type": "Microsoft.Authorization/policySetDefinitions",
            "name": name,
            "properties": properties,
        }
        self.write(f"initiative-{name}", document)
        return initiative_id

    def assign(
        self,
        name: str,
        of: str,
        *,
        version: str = "",
        not_scopes: Sequence[str] = (),
        **parameters: object,
    ) -> str:
        """An assignment to the cluster's resource group; keyword arguments are its parameter values."""
        properties: dict[str, Any] = {
            "displayName": f"Assignment {name}",
            "scope": GROUP,
            "policyDefinitionId": of,
            "enforcementMode": "Default",
            "notScopes": list(not_scopes),
            "parameters": {key: {"value": value} for key, value in parameters.items()},
        }
        if version:
            properties["definitionVersion"] = version
        assignment_id = f"{GROUP}{POLICY}/policyAssignments/{name}"
        document = {
            "id": assignment_id,
            "type": "Microsoft.Authorization/policyAssignments",
            "name": name,
            "properties": properties,
        }
        self.write(f"assignment-{name}", document)
        return assignment_id


def _replace(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)
