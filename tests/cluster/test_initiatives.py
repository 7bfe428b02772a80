"""Azure's five initiatives, each newest and one pinned, over well-known workloads on a real cluster.

What denies a workload is expected by hand (workloads/verdicts.yaml), member by member. Dry runs ask about the objects
as they are: the API server gives pods their defaults and their tokens, and a debug container is an update of a pod.

The initiatives are no part of this repository: the tests run where a checkout has them beside it.
"""

from __future__ import annotations

import copy
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from controller.gatekeeper.naming import REFERENCE_ID
from tests import initiative_verdicts
from tests.cluster.azpolicy import Azpolicy, all_constraints, all_enforced
from tests.cluster.harness import eventually
from tests.initiative_verdicts import WORKLOADS
from tests.snapshots import POLICY, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.cluster.harness import TestCluster

CATALOGUE = Path(__file__).resolve().parents[3] / "shared" / "azure-policy"
VERDICTS = initiative_verdicts.load()
DEBUG_CONTAINERS: dict[str, Any] = yaml.safe_load((WORKLOADS / "debug-containers.yaml").read_text(encoding="utf-8"))
DEBUGGED = "/api/v1/namespaces/debugging/pods/web/ephemeralcontainers"
STRATEGIC = "application/strategic-merge-patch+json"
POD_TEMPLATES: Mapping[str, tuple[str, ...]] = {"CronJob": ("spec", "jobTemplate", "spec", "template")}
POD_TEMPLATE = ("spec", "template")
SAFEGUARDS = "safeguards"


@dataclass(frozen=True, slots=True)
class Assigned:
    """A version of an initiative, as a key of VERDICTS names it."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def facts(self) -> dict[str, Any]:
        """What VERDICTS says of the initiative."""
        facts: dict[str, Any] = VERDICTS["initiatives"][self.name]
        return facts

    def expected(self, verdict: Mapping[str, Any]) -> set[str]:
        """The members (reference ids) that deny an object."""
        reasons = [reason["by"] for reason in verdict.get("denied", [])]
        found = {member for by in reasons for key in (self.name, str(self)) for member in by.get(key, [])}
        every = self.facts.get("every")
        return found | set(every["by"]) if every and kind_of(verdict["object"]) == every["kind"] else found


ASSIGNED = [Assigned(name, version) for name, facts in VERDICTS["initiatives"].items() for version in facts["versions"]]


def kind_of(name: str) -> str:
    """The kind that policies see: of `Pod of Job/x` and of a debug container it is Pod."""
    return "Pod" if name.startswith(("Pod of ", "Debug container ")) else name.partition("/")[0]


def collection(manifest: Mapping[str, Any]) -> str:
    """The path at which an object is made."""
    version, kind = manifest["apiVersion"], manifest["kind"].lower()
    namespace = manifest["metadata"].get("namespace")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}{f'/namespaces/{namespace}' if namespace else ''}/{kind}{'es' if kind.endswith('s') else 's'}"


def pod_of(workload: Mapping[str, Any]) -> dict[str, Any]:
    """The pod that a workload's controller would make."""
    template: Any = workload
    for key in POD_TEMPLATES.get(workload["kind"], POD_TEMPLATE):
        template = template[key]
    pod: dict[str, Any] = copy.deepcopy(template)
    name, namespace = workload["metadata"]["name"], workload["metadata"]["namespace"]
    pod["metadata"] = {**pod.get("metadata", {}), "name": f"{name}-pod", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def manifests(file: str) -> dict[str, dict[str, Any]]:
    """The objects of a file of workloads by Kind/name."""
    documents = yaml.safe_load_all((WORKLOADS / file).read_text(encoding="utf-8"))
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in documents}


class Workloads:
    """A cluster that has what the workloads need, and that is asked what it would say of them."""

    def __init__(self, cluster: TestCluster) -> None:
        self.cluster = cluster
        self._files = {each["file"]: manifests(each["file"]) for each in VERDICTS["verdicts"]}
        self._namespaces = sorted(
            {
                document["metadata"]["namespace"]
                for documents in self._files.values()
                for document in documents.values()
                if "namespace" in document["metadata"]
            }
        )

    def prepare(self) -> None:
        """Makes the namespaces, and what is said to be there already."""
        for name in self._namespaces:
            self._make("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        accounts = [f"/api/v1/namespaces/{name}/serviceaccounts/default" for name in self._namespaces]
        eventually(lambda: self._statuses(accounts) == {200}, what="the default service accounts")
        for each in VERDICTS["verdicts"]:
            for name in each.get("given", []):
                manifest = self._files[each["file"]][name]
                self._make(collection(manifest), manifest)

    def _make(self, path: str, manifest: dict[str, Any]) -> None:
        status, answer = self.cluster.request("POST", path, manifest)
        assert status == 201, answer

    def remove(self) -> None:
        """Takes it away again: all of it is in the namespaces."""
        for name in self._namespaces:
            self.cluster.request("DELETE", f"/api/v1/namespaces/{name}")
        paths = [f"/api/v1/namespaces/{name}" for name in self._namespaces]
        eventually(lambda: self._statuses(paths) == {404}, what="the namespaces to go")

    def _statuses(self, paths: list[str]) -> set[int]:
        return {self.cluster.request("GET", path)[0] for path in paths}

    def denied(self) -> dict[str, set[str]]:
        """The members (reference ids) that deny each object now."""
        members = {
            live["metadata"]["name"]: live["metadata"]["annotations"][REFERENCE_ID]
            for live in all_constraints(self.cluster).values()
        }
        return {
            verdict["object"]: {members[name] for name in re.findall(r"\[(azurepolicy-[^\]]+)\]", said)}
            for each in VERDICTS["verdicts"]
            for verdict in each["objects"]
            for said in [self._said(each["file"], verdict["object"])]
        }

    def _said(self, file: str, name: str) -> str:
        """The refusal of an object, empty where it is admitted."""
        if name.startswith("Debug container "):
            container = DEBUG_CONTAINERS[name.removeprefix("Debug container ")]
            change = {"spec": {"ephemeralContainers": [container]}}
            status, answer = self.cluster.request("PATCH", f"{DEBUGGED}?dryRun=All", change, content_type=STRATEGIC)
        else:
            written = self._files[file][name.removeprefix("Pod of ")]
            manifest = pod_of(written) if name.startswith("Pod of ") else written
            status, answer = self.cluster.request("POST", f"{collection(manifest)}?dryRun=All", manifest)
        assert status in {200, 201, 403}, answer
        return str(answer["message"]) if status == 403 else ""


@pytest.fixture(scope="module")
def workloads(tidy_module: TestCluster) -> Iterator[Workloads]:
    if not CATALOGUE.is_dir():
        pytest.skip("Azure's initiatives are not beside this checkout")
    made = Workloads(tidy_module)
    made.prepare()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def azpolicy(tidy_module: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Azpolicy, Snapshot]:
    """The command, and a snapshot with all of Azure's definitions and initiatives and nothing assigned."""
    snapshot = Snapshot(tmp_path_factory.mktemp("initiatives") / "snapshot")
    for folder in ("definitions", "initiatives"):
        shutil.copytree(CATALOGUE / folder, snapshot.folder / folder)
    return Azpolicy(tidy_module, snapshot.folder, user="assigner"), snapshot


def enforce(azpolicy: tuple[Azpolicy, Snapshot], assigned: Assigned) -> None:
    """Has a version of an initiative be all that is assigned and enforced, by constraints that deny."""
    command, snapshot = azpolicy
    of = f"{POLICY}/policySetDefinitions/{assigned.facts['id']}"
    snapshot.assign("initiative", of, version=assigned.version, **assigned.facts["parameters"])
    ended = command.apply("--force-prune")
    assert ended.code == 0, ended
    if assigned.facts.get("audits"):
        for path in all_constraints(command.cluster):
            status, answer = command.cluster.request("PATCH", path, {"spec": {"enforcementAction": "deny"}})
            assert status == 200, answer
    eventually(lambda: all_enforced(command.cluster), timeout=120, what="every constraint to be enforced")


@pytest.mark.parametrize("assigned", ASSIGNED, ids=str)
def test_an_initiative_denies_these_workloads_and_no_others(
    workloads: Workloads, azpolicy: tuple[Azpolicy, Snapshot], assigned: Assigned
) -> None:
    enforce(azpolicy, assigned)
    expected = {
        verdict["object"]: assigned.expected(verdict) for each in VERDICTS["verdicts"] for verdict in each["objects"]
    }

    # What rules look up reaches Gatekeeper a moment after the constraints.
    admitted = {name for name, members in expected.items() if not members}
    eventually(
        lambda: {name for name, members in workloads.denied().items() if not members} <= admitted,
        timeout=30,
        what=f"denials of {sorted(expected.keys() - admitted)}",
    )
    assert workloads.denied() == expected
