"""How long the admission of an object takes by each template of the bundle, asked of Gatekeeper's real webhook.

All templates are installed at once, as they are in a cluster. A label of its own makes each object meet one constraint
alone: the first one of the template's suite. Requests go round all templates, so that a busy moment hits them alike.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.bench.figures import at_most, figure, median_of, percentile, quantity, unmeasured
from tests.cluster.azpolicy import CONSTRAINTS, TEMPLATES, all_constraints, enforced
from tests.cluster.harness import TestCluster, eventually
from tests.templates.suites import BUNDLE, Case, cases, folder_name, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ROUNDS: Final = 200
WARM_UP: Final = 20
GOAL: Final = 3.0
LABEL: Final = "bench"
EXTERNAL: Final = "external_data("

CONTAINER: Final = {
    "image": "registry.example.com/web:1.0",
    "ports": [{"containerPort": 8080}],
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}},
    "securityContext": {"runAsUser": 1000, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
}
POD: Final = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "usual"},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [{"name": "init", **CONTAINER}],
        "containers": [{"name": "web", **CONTAINER}, {"name": "proxy", **CONTAINER}],
        "volumes": [{"name": "data", "emptyDir": {}}],
    },
}


@dataclass(slots=True)
class Subject:
    """A template, the constraint of its suite, and the request that meets it."""

    name: str
    template: Mapping[str, Any]
    constraint: dict[str, Any]
    body: bytes
    seconds: list[float] = field(default_factory=list)


def run() -> None:
    """Prints p50 and p99 of each template, dearest first, and how far they lie apart."""
    subjects = list(_subjects())
    with TestCluster.start(audit_interval=3600) as cluster:
        _install(cluster, subjects)
        webhook = Webhook(cluster)
        for _ in range(WARM_UP):
            for subject in subjects:
                webhook.ask(subject.body)
        for _ in range(ROUNDS):
            for subject in subjects:
                subject.seconds.append(webhook.ask(subject.body))
        unmet = json.dumps(_review(dict(POD), "none")).encode()
        without = [webhook.ask(unmet) for _ in range(ROUNDS)]
    _report(subjects, median_of(without))


def _report(subjects: list[Subject], without: float) -> None:
    limit = f"a pod that no constraint meets: {quantity(without, 's')}"
    for subject in sorted(subjects, key=lambda s: -median_of(s.seconds)):
        p99 = quantity(percentile(subject.seconds, 99), "s")
        figure(f"admission by {subject.name}", median_of(subject.seconds), "s", detail=f"p99 {p99}")
    medians = [median_of(subject.seconds) for subject in subjects]
    ratio = max(medians) / min(medians)
    name = f"admission by {len(subjects)} templates, dearest over cheapest"
    cheapest = quantity(min(medians), "s")
    figure(name, ratio, "times", goal=at_most(GOAL), beside=limit, detail=f"the cheapest {cheapest}")


class Webhook:
    """A kept-open connection to Gatekeeper's validating webhook, as the API server has one."""

    def __init__(self, cluster: TestCluster) -> None:
        # The certificate is the harness's own, made for this run; what is measured is not who signed it.
        context = ssl._create_unverified_context()
        self._http = http.client.HTTPSConnection("127.0.0.1", cluster._webhook_port, context=context, timeout=30)

    def ask(self, body: bytes) -> float:
        """Sends a review; seconds until its answer is read."""
        start = time.perf_counter()
        self._http.request("POST", "/v1/admit", body, {"Content-Type": "application/json"})
        answer = self._http.getresponse().read()
        taken = time.perf_counter() - start
        if b'"allowed":' not in answer:
            raise SystemExit(f"the webhook did not judge: {answer!r}")
        return taken


def _subjects() -> Iterator[Subject]:
    for file in sorted(suite.with_name("template.yaml") for suite in BUNDLE.rglob("suite.yaml")):
        if EXTERNAL in file.read_text():
            unmeasured(f"admission by {folder_name(file.parent)}", "it needs an external data provider")
            continue
        yield _subject(file.parent, load(file))


def _subject(folder: Path, template: Mapping[str, Any]) -> Subject:
    case, manifest = _meeting(list(cases(folder)))
    name = folder_name(folder)
    label = name.replace("/", "-")
    match = {**(case.constraint["spec"].get("match") or {}), "labelSelector": {"matchLabels": {LABEL: label}}}
    constraint = {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": case.constraint["kind"],
        "metadata": {"name": "bench"},
        "spec": {**case.constraint["spec"], "enforcementAction": "deny", "match": match},
    }
    return Subject(name, template, constraint, json.dumps(_review(manifest, label)).encode())


def _meeting(found: list[Case]) -> tuple[Case, dict[str, Any]]:
    """A case and what is admitted by it: the same pod for all that look at pods, else the suite's own, if allowed."""
    for case in sorted(found, key=lambda case: not case.allowed):
        kinds = _kinds(case)
        if not kinds or "Pod" in kinds:
            return case, dict(POD)
        given: Any = case.object
        manifest = given["request"].get("object") if given["kind"] == "AdmissionReview" else given
        if manifest and manifest["kind"] in kinds:
            return case, dict(manifest)
    raise SystemExit(f"{found[0].name}: no case of this suite meets its constraint")


def _kinds(case: Case) -> set[str]:
    entries = (case.constraint["spec"].get("match") or {}).get("kinds") or []
    return {kind for entry in entries for kind in entry["kinds"]}


def _review(manifest: dict[str, Any], label: str) -> dict[str, Any]:
    group, _, version = str(manifest["apiVersion"]).rpartition("/")
    metadata = {"namespace": "default", "name": "usual", **manifest.get("metadata", {})}
    metadata["labels"] = {**(metadata.get("labels") or {}), LABEL: label}
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "5f3c4f0e-0000-4000-8000-000000000000",
            "kind": {"group": group, "version": version, "kind": manifest["kind"]},
            "resource": {"group": group, "version": version, "resource": f"{manifest['kind'].lower()}s"},
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "operation": "CREATE",
            "userInfo": {"username": "bench", "groups": ["system:authenticated"]},
            "object": {**manifest, "metadata": metadata},
            "oldObject": None,
            "dryRun": True,
            "options": None,
        },
    }


def _install(cluster: TestCluster, subjects: list[Subject]) -> None:
    for subject in subjects:
        path = TEMPLATES.replace("/v1/", f"/{str(subject.template['apiVersion']).rpartition('/')[2]}/")
        status, answer = cluster.request("POST", path, dict(subject.template))
        if status != 201:
            raise SystemExit(f"{subject.name}: {answer}")
    for subject in subjects:
        _constrain(cluster, subject)
    paths = all_constraints(cluster)
    eventually(lambda: all(enforced(cluster, path) for path in paths), timeout=120, what="enforced constraints")


def _constrain(cluster: TestCluster, subject: Subject) -> None:
    path = f"{CONSTRAINTS}/{subject.constraint['kind'].lower()}"
    eventually(lambda: cluster.request("GET", path)[0] == 200, timeout=60, what=f"{subject.name} to be served")
    status, answer = cluster.request("POST", path, subject.constraint)
    if status != 201:
        raise SystemExit(f"{subject.name}: {answer}")
