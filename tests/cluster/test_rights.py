"""Least privilege: the chart grants what the operator uses, and nothing else; the audit log says what it used.

The operator lives through one day in which each of its rights is needed once. A rule that nothing used fails the test,
and so does a call that was refused.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.gatekeeper import probe
from tests.azure.faults import FaultKind
from tests.cluster.azpolicy import OTHER_KINDS, TEMPLATES, edit, managed
from tests.cluster.deployed import ASSIGNED, KIND, SYNC, Deployed
from tests.cluster.harness import eventually
from tests.snapshots import FORBIDS_LABELS, template_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.harness import AuditEvent

RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
WEBHOOK: Final = (
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/gatekeeper-validating-webhook-configuration"
)
MUTATIONS: Final = "mutations.gatekeeper.sh"
INVENTORY: Final = json.dumps([[{"groups": [""], "versions": ["v1"], "kinds": ["Service"]}]])
EVER: Final = 1_000_000


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource; an empty namespace is the whole cluster, no names are any object."""

    group: str
    resource: str
    verb: str
    namespace: str = ""
    names: tuple[str, ...] = ()

    def covers(self, event: AuditEvent) -> bool:
        """Whether a request needs this right."""
        resource = f"{event.resource}/{event.subresource}" if event.subresource else event.resource
        return (
            self.group == event.group
            and self.resource in ("*", resource)
            and self.verb == event.verb
            and self.namespace in ("", event.namespace)
            and (not self.names or event.name in self.names)
        )


def granted(deployed: Deployed) -> set[Right]:
    """All rights of the release's own roles, as the API server holds them."""
    account = deployed.user.rpartition(":")[2]
    found: set[Right] = set()
    for kind in ("clusterrole", "role"):
        for binding in deployed.cluster.get(f"{RBAC}/{kind}bindings")["items"]:
            if {"kind": "ServiceAccount", "name": account, "namespace": deployed.release.namespace} in (
                binding.get("subjects") or ()
            ):
                namespace = binding["metadata"].get("namespace", "")
                where = f"namespaces/{namespace}/" if namespace else ""
                role = deployed.cluster.get(f"{RBAC}/{where}{kind}s/{binding['roleRef']['name']}")
                found |= {right for rule in role["rules"] for right in _rights(rule, namespace)}
    return found


def _rights(rule: dict[str, Any], namespace: str) -> Iterator[Right]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield Right(group, resource, verb, namespace, tuple(rule.get("resourceNames", ())))


def mutation(deployed: Deployed, kind: str, version: str, spec: dict[str, Any]) -> str:
    """Assigns a mutation of a kind, and returns its definition."""
    name = kind.lower()
    manifest = {"apiVersion": f"{MUTATIONS}/{version}", "kind": kind, "metadata": {"name": name}, "spec": spec}
    url = deployed.bundle._write(f"{name}/v1/mutation.yaml", json.dumps(manifest))
    return deployed.snapshot.define(name, url)


def everything(deployed: Deployed) -> None:
    """Assigns something of every kind that the operator makes: mutators, what looks others up, what is expanded."""
    pods = {"applyTo": [{"groups": [""], "kinds": ["Pod"], "versions": ["v1"]}]}
    specs: dict[str, tuple[str, dict[str, Any]]] = {
        # Without kinds it would mutate our own objects, too.
        "AssignMetadata": (
            "v1",
            {
                "match": {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}]},
                "location": "metadata.labels.given",
                "parameters": {"assign": {"value": "x"}},
            },
        ),
        "Assign": ("v1", {**pods, "location": "spec.hostNetwork", "parameters": {"assign": {"value": False}}}),
        "ModifySet": (
            "v1",
            {**pods, "location": "spec.containers[name: *].args", "parameters": {"values": {"fromList": ["x"]}}},
        ),
        "AssignImage": (
            "v1alpha1",
            {**pods, "location": "spec.containers[name: *].image", "parameters": {"assignDomain": "example.com"}},
        ),
    }
    for kind, (version, spec) in specs.items():
        deployed.snapshot.assign(kind.lower(), mutation(deployed, kind, version, spec), effect="mutate")
    document = json.loads(template_text("K8sAzureV1LooksUp"))
    document["metadata"]["annotations"] = {"metadata.gatekeeper.sh/requires-sync-data": INVENTORY}
    url = deployed.bundle._write("looks-up/v1/template.yaml", json.dumps(document))
    deployed.snapshot.assign("looks-up", deployed.snapshot.define("looks-up", url, source="All"))
    deployed.publish()


def test_every_right_is_used_and_every_call_is_allowed(deployed: Deployed) -> None:
    mark = deployed.cluster.audit_mark()
    everything(deployed)
    with deployed.exempting(deployed.release.namespace), deployed.replica("azpolicy-1"):
        deployed.ask_sync()
        eventually(lambda: "cannot be probed" in deployed.gatekeeper(), timeout=60, what="why there is no proof")
    with deployed.replica():
        deployed.wait_in_sync()
        _drift_of_everything(deployed)
        _edited_report(deployed)
        _large_state(deployed)
        _gatekeeper_behind_a_service(deployed)
        deployed.cluster.request("DELETE", f"{ASSIGNED}/{deployed.assigned()['one']['metadata']['name']}")
        deployed.cluster.request("DELETE", SYNC)
        deployed.wait_in_sync()
        deployed.arm.fail(FaultKind.FORBIDDEN, r"policyAssignments/many-\d", times=EVER)
        _more_than_the_limit_goes(deployed)
        for name in ("assign", "assignmetadata", "modifyset", "assignimage", "looks-up", "one"):
            deployed.unassign(name)
        eventually(
            # Besides a template and its constraints, the operator's own for its probe.
            lambda: len(managed(deployed.cluster)) == 1 + 1 + 10 + 2,
            timeout=90,
            what="what Azure proves gone to go",
        )
    _azure_away(deployed)

    events = [event for event in deployed.cluster.audit_events(mark) if event.user == deployed.user]
    denied = [event for event in events if event.code == HTTPStatus.FORBIDDEN]
    # The probe has to be denied, and by Gatekeeper.
    proofs = [event for event in denied if event.authorized and event.dry_run and event.name == probe.NAME]
    assert proofs
    refused = {(e.verb, e.group, e.resource, e.namespace, e.name) for e in denied if e not in proofs}
    assert refused == set()
    unused = sorted(right for right in granted(deployed) if not any(map(right.covers, events)))
    assert unused == []
    wildcards = [right for right in granted(deployed) if "*" in (right.group, right.resource, right.verb)]
    assert {(right.group, right.resource) for right in wildcards} == {("constraints.gatekeeper.sh", "*")}


def _drift_of_everything(deployed: Deployed) -> None:
    """Somebody edits an object of every kind."""
    before = managed(deployed.cluster)
    for path in before:
        edit(deployed.cluster, path, lambda live: live["metadata"]["labels"].update({"managed-by": "me"}))
    deployed.back(before)


def _edited_report(deployed: Deployed) -> None:
    """Somebody edits an AssignedPolicy; whether one is updated by itself hangs on when Gatekeeper takes things up."""
    found = deployed.assigned()["one"]
    path = f"{ASSIGNED}/{found['metadata']['name']}"
    edit(deployed.cluster, path, lambda live: live["status"].update(outcome="Failed"))
    eventually(
        lambda: deployed.assigned()["one"]["status"]["outcome"] == found["status"]["outcome"],
        timeout=90,
        what="the AssignedPolicy to be as it was",
    )


def _large_state(deployed: Deployed) -> None:
    """What does not fit one ConfigMap is kept in several, and the further ones go when it fits again."""
    for number in range(2):
        kind = f"K8sAzureV1Large{number}"
        rule = f"{FORBIDS_LABELS}\n# {secrets.token_hex(400_000)}\n"
        of = deployed.snapshot.define(f"large-{number}", deployed.bundle.write(f"large-{number}/v1", kind, rule))
        deployed.snapshot.assign(f"large-{number}", of)
    deployed.publish()
    parts = f"/api/v1/namespaces/{deployed.release.namespace}/configmaps/azure-policy-sync-state-a1"
    eventually(lambda: deployed.cluster.request("GET", parts)[0] == 200, timeout=90, what="a second part")
    for number in range(2):
        deployed.unassign(f"large-{number}")
    eventually(lambda: deployed.cluster.request("GET", parts)[0] == 404, timeout=90, what="the second part to go")


def _gatekeeper_behind_a_service(deployed: Deployed) -> None:
    """As Gatekeeper is installed everywhere else: a webhook behind a service, here one that no pod is behind."""
    webhook = deployed.cluster.get(WEBHOOK)
    service = {"service": {"namespace": "gatekeeper-system", "name": "gatekeeper-webhook-service", "path": "/v1/admit"}}
    behind = [
        {**each, "clientConfig": {**service, "caBundle": each["clientConfig"]["caBundle"]}, "failurePolicy": "Ignore"}
        for each in webhook["webhooks"]
    ]
    deployed.cluster.request("PATCH", WEBHOOK, {"webhooks": behind})
    try:
        deployed.wait_for("GatekeeperReady", "False", "WebhookUnavailable")
    finally:
        deployed.cluster.request("PATCH", WEBHOOK, {"webhooks": webhook["webhooks"]})
    deployed.wait_for("GatekeeperReady", "True")


def _more_than_the_limit_goes(deployed: Deployed) -> None:
    """Deletions are refused, which the record of the cluster has to remember."""
    names = [f"many-{number}" for number in range(10)]
    for name in names:
        deployed.assign(name)
    eventually(lambda: deployed.made() >= set(names), timeout=90, what="ten more constraints")
    for name in names:
        deployed.unassign(name)
    eventually(lambda: deployed.sync()["status"].get("refusedDeletions"), timeout=90, what="deletions to be refused")


def _azure_away(deployed: Deployed) -> None:
    """The last good state is read at a start."""
    deployed.arm.fail(FaultKind.SERVER_ERROR, ".", times=EVER)
    with deployed.replica("azpolicy-2") as operator:
        operator.wait_log("the last good state, kept in the cluster, is enforced")


def test_who_plans_may_read_all_that_a_plan_needs_and_write_nothing(deployed: Deployed) -> None:
    with deployed.replica():
        deployed.wait_in_sync()
    planner = deployed.cluster.kubeconfig_for("planner", ["planners"])
    [role] = [r["metadata"]["name"] for r in deployed.cluster.get(f"{RBAC}/clusterroles")["items"]
              if r["metadata"]["name"].endswith("-planner")]  # fmt: skip
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "planners"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "planners"}],
    }
    assert deployed.cluster.request("POST", f"{RBAC}/clusterrolebindings", binding)[0] == 201
    mark = deployed.cluster.audit_mark()
    try:
        for path in (TEMPLATES, *OTHER_KINDS, SYNC, ASSIGNED):
            assert deployed.cluster.request("GET", path, user=planner)[0] == 200, path
            assert deployed.cluster.request("DELETE", path, user=planner)[0] == 403, path
        described = deployed.cluster.kubectl("get", "constraints", user=planner).stdout
        assert KIND.lower() in described
    finally:
        deployed.cluster.request("DELETE", f"{RBAC}/clusterrolebindings/planners")
    assert [event for event in deployed.cluster.writes("planner", mark) if event.code < 300] == []
