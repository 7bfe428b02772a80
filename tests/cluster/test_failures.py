"""Each class of failure on the real cluster, as its documented reason (docs/operations.md lists them)."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.cluster.apply import NUDGED
from tests.cluster.azpolicy import TEMPLATES
from tests.cluster.deployed import KIND
from tests.cluster.harness import eventually
from tests.snapshots import DOES_NOT_COMPILE, FORBIDS_LABELS, template_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
# What a rule in CEL refuses is the API server's alone to judge.
MANY: Final = {
    "labels": {
        "type": "array",
        "maxItems": 9,
        "items": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.size() > 5", "message": "too few"}],
    }
}


@contextlib.contextmanager
def refused(
    cluster: TestCluster, rules: list[dict[str, Any]], allowed: str, in_force: Callable[[], bool]
) -> Iterator[None]:
    """An admission policy of somebody's that allows what an expression says, from when it is in force."""
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiVersions": ["*"], **rule} for rule in rules]},
            "validations": [{"expression": allowed, "message": "somebody says no"}],
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
    try:
        eventually(in_force, what="the admission policy to be in force")
        yield
    finally:
        cluster.request("DELETE", f"{ADMISSION}/validatingadmissionpolicybindings/{NAME}")
        cluster.request("DELETE", f"{ADMISSION}/validatingadmissionpolicies/{NAME}")


@pytest.fixture
def refusing(cluster: TestCluster) -> Iterator[None]:
    """Some of what we write is refused."""
    writes = ["CREATE", "UPDATE"]
    rules = [
        {"apiGroups": ["templates.gatekeeper.sh"], "resources": ["constrainttemplates"], "operations": writes},
        {"apiGroups": ["constraints.gatekeeper.sh"], "resources": ["*"], "operations": writes},
    ]
    made = json.loads(template_text("K8sAzureV1FailsCreate"))
    said_no = lambda: "somebody says no" in str(cluster.request("POST", f"{TEMPLATES}?dryRun=All", made))  # noqa: E731
    with refused(cluster, rules, REFUSED, said_no):
        yield


@pytest.mark.usefixtures("refusing")
def test_each_class_of_failure_has_its_documented_reason_and_hurts_no_other(deployed: Deployed) -> None:
    cluster = deployed.cluster
    assert cluster.request("POST", TEMPLATES, json.loads(template_text("K8sAzureV1FailsConflict")))[0] == 201
    for name in ("install", "create", "update", "conflict", "constraint", "parameter"):
        rule = DOES_NOT_COMPILE if name == "install" else FORBIDS_LABELS
        schema = MANY if name == "parameter" else None
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


def test_gatekeeper_is_asked_again_about_a_template_whose_status_it_does_not_write(deployed: Deployed) -> None:
    cluster, name = deployed.cluster, KIND.lower()
    rules = [
        {
            "apiGroups": ["templates.gatekeeper.sh"],
            "resources": ["constrainttemplates/status"],
            "operations": ["UPDATE"],
        }
    ]
    somebodys = json.loads(template_text("K8sSomebodys"))
    assert cluster.request("POST", TEMPLATES, somebodys)[0] == 201
    path = f"{TEMPLATES}/{somebodys['metadata']['name']}"

    def in_force() -> bool:
        return "somebody says no" in str(cluster.request("PATCH", f"{path}/status", {"status": {"created": False}}))

    with refused(cluster, rules, "false", in_force):
        mark = cluster.audit_mark()
        with deployed.replica() as operator:
            operator.wait_log(f"nudged Gatekeeper: no status for ConstraintTemplate/{name}")
            done = [e for e in deployed.writes(mark) if e.resource == "constrainttemplates" and e.code < 300]
            assert [e.verb for e in done if e.name == name] == ["create", "update", "update"]
            assert NUDGED not in cluster.get(f"{TEMPLATES}/{name}")["metadata"]["annotations"]
            assert "drift" not in operator.text
