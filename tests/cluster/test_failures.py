"""Each class of failure on the real cluster, as its documented reason (facts: Azure's codes for this mode)."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cluster.azpolicy import TEMPLATES
from tests.cluster.harness import eventually
from tests.snapshots import DOES_NOT_COMPILE, FORBIDS_LABELS, template_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.deployed import Deployed
    from tests.cluster.harness import TestCluster

ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
NAME: Final = "refuses-some"
# Told by name: one template for ever, another from its second version on, and one assignment's constraint.
REFUSED: Final = (
    "!(object.metadata.name == 'k8sazurev1failscreate'"
    " || (object.metadata.name == 'k8sazurev1failsupdate' && request.operation == 'UPDATE')"
    " || (object.kind == 'K8sAzureV1FailsConstraint'))"
)
NUMBERS: Final = {"labels": {"type": "array", "items": {"type": "integer"}}}


@pytest.fixture
def refusing(cluster: TestCluster) -> Iterator[None]:
    """An admission policy of somebody's that refuses some of what we write."""
    rules = [
        {"apiGroups": ["templates.gatekeeper.sh"], "apiVersions": ["*"], "resources": ["constrainttemplates"]},
        {"apiGroups": ["constraints.gatekeeper.sh"], "apiVersions": ["*"], "resources": ["*"]},
    ]
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "matchConstraints": {"resourceRules": [{**rule, "operations": ["CREATE", "UPDATE"]} for rule in rules]},
            "validations": [{"expression": REFUSED, "message": "somebody says no"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": NAME},
        "spec": {"policyName": NAME, "validationActions": ["Deny"]},
    }
    assert cluster.request("POST", f"{ADMISSION}/validatingadmissionpolicies", policy)[0] == 201
    assert cluster.request("POST", f"{ADMISSION}/validatingadmissionpolicybindings", binding)[0] == 201
    refused = json.loads(template_text("K8sAzureV1FailsCreate"))
    in_force = lambda: "somebody says no" in str(cluster.request("POST", f"{TEMPLATES}?dryRun=All", refused))  # noqa: E731
    eventually(in_force, what="the admission policy to be in force")
    yield
    cluster.request("DELETE", f"{ADMISSION}/validatingadmissionpolicybindings/{NAME}")
    cluster.request("DELETE", f"{ADMISSION}/validatingadmissionpolicies/{NAME}")


@pytest.mark.usefixtures("refusing")
def test_each_class_of_failure_has_its_documented_reason_and_hurts_no_other(deployed: Deployed) -> None:
    cluster = deployed.cluster
    assert cluster.request("POST", TEMPLATES, json.loads(template_text("K8sAzureV1FailsConflict")))[0] == 201
    for name in ("install", "create", "update", "conflict", "constraint", "parameter"):
        rule = DOES_NOT_COMPILE if name == "install" else FORBIDS_LABELS
        schema = NUMBERS if name == "parameter" else None
        url = deployed.bundle.write(f"fails-{name}/v1", f"K8sAzureV1Fails{name.capitalize()}", rule, schema)
        deployed.snapshot.assign(name, deployed.snapshot.define(name, url), labels=[name])
    deployed.publish()

    with deployed.replica():
        deployed.ask_sync()
        deployed.bundle.write("fails-update/v1", "K8sAzureV1FailsUpdate", f"{FORBIDS_LABELS}\n# another version\n")
        deployed.wait_for("Ready", "False", "Problems")
        wanted = {
            "one": ("Enforced", ""),
            "two": ("Enforced", ""),
            "create": ("Failed", "TemplateCreateFailed"),
            "update": ("Failed", "TemplateUpdateFailed"),
            "install": ("Failed", "TemplateInstallFailed"),
            "conflict": ("Failed", "ConstraintTemplateConflicts"),
            "constraint": ("Failed", "ConstraintCreateFailed"),
            "parameter": ("Failed", "InvalidConstraint"),
        }
        with contextlib.suppress(AssertionError):
            eventually(lambda: _reasons(deployed) == wanted, timeout=90)
        assert _reasons(deployed) == wanted

        told = {name: each["status"] for name, each in deployed.assigned().items()}
        assert "nowhere_defined" in " ".join(told["install"]["template"]["errors"])
        for name in ("create", "update", "constraint"):
            assert "somebody says no" in told[name]["message"]
        assert "labels" in told["parameter"]["message"]
        [conflict] = eventually(lambda: deployed.events("k8sazurev1failsconflict", "Conflict"), what="an Event")
        assert conflict["type"] == "Warning"


def _reasons(deployed: Deployed) -> dict[str, tuple[str, Any]]:
    found = {name: each["status"] for name, each in deployed.assigned().items()}
    return {name: (status["outcome"], status.get("reason", "")) for name, status in found.items()}
