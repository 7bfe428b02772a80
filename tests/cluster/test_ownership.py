"""Whose an object is when an editor took off whatever says so: the operator remembers, and enforces again.

Each test takes every mark off an object (labels, annotations, the record of field managers) and switches it off.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.azure.documents import load
from tests.azure.faults import FaultKind
from tests.azure.standin import Standin
from tests.cluster.azpolicy import (
    CONSTRAINTS,
    EXPANSIONS,
    MUTATORS,
    STATE,
    TEMPLATES,
    Azpolicy,
    constraints_of,
    edit,
    managed,
    pod,
    refusal,
)
from tests.cluster.harness import eventually
from tests.cluster.test_azure import FromAzure
from tests.snapshots import CLUSTER_ID, DOES_NOT_COMPILE, Snapshot, TemplateFolder, template_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cluster.azpolicy import Operator
    from tests.cluster.harness import TestCluster

KIND: Final = "K8sAzureV1OwnedLabel"
LOOKS_UP: Final = "K8sAzureV1LooksUp"
TEMPLATE: Final = f"{TEMPLATES}/{KIND.lower()}"
SYNCSET: Final = "/apis/syncset.gatekeeper.sh/v1alpha1/syncsets/azure-policy-sync"
KEPT: Final = f"/api/v1/namespaces/gatekeeper-system/configmaps/{STATE}"
NEVER: Final = 'package never\n\nviolation[{"msg": "never"}] { false }\n'
EXPANSION: Final = f"{EXPANSIONS}/azpolicy-workload-pods"
ROLES: Final = ("template", "constraint", "mutator", "syncset", "expansion")


class World:
    """A template with two constraints, one that looks pods up, a mutator; and the command that enforces them."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        self.bundle, self.snapshot = TemplateFolder(folder / "templates"), Snapshot(folder / "snapshot")
        self.definition = self.snapshot.define("owned", self.bundle.write("owned-label/v1", KIND), source="All")
        for name in ("one", "two"):
            self.snapshot.assign(name, self.definition, labels=[name])
        looking = json.loads(template_text(LOOKS_UP))
        needs = [[{"groups": [""], "versions": ["v1"], "kinds": ["Pod"]}]]
        looking["metadata"]["annotations"] = {"metadata.gatekeeper.sh/requires-sync-data": f'"{json.dumps(needs)}"'}
        url = self.bundle._write("looks-up/v1/template.yaml", json.dumps(looking))
        self.snapshot.assign("looks-up", self.snapshot.define("looks-up", url), labels=["looked-up"])
        mutation = self.bundle.write_mutation("gives-label/v1", "gives-label", "given")
        given = self.snapshot.define("gives", mutation)
        self.snapshot.assign("gives", given, effect="Mutate")
        self.azpolicy = Azpolicy(cluster, self.snapshot.folder, user="owner", templates=self.bundle.folder)

    def path(self, role: str) -> str:
        """Where the object of a role is; the constraint is that of assignment one."""
        cluster = self.cluster
        if role == "constraint":
            named = constraints_of(cluster, KIND).items()
            [name] = [name for name, live in named if live["spec"]["parameters"]["labels"] == ["one"]]
            return f"{CONSTRAINTS}/{KIND.lower()}/{name}"
        if role == "mutator":
            [live] = cluster.get(f"{MUTATORS}/assignmetadata")["items"]
            return f"{MUTATORS}/assignmetadata/{live['metadata']['name']}"
        return {"template": TEMPLATE, "syncset": SYNCSET, "expansion": EXPANSION}[role]

    def enforces(self) -> bool:
        """Whether the pods are denied that have to be, and the label is given."""
        denied = all(refusal(self.cluster, pod(**{label: "yes"})) for label in ("one", "two"))
        code, made = self.cluster.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", pod())
        return denied and code == 201 and made["metadata"]["labels"].get("given") == "given"

    def settle(self, operator: Operator) -> dict[str, dict[str, Any]]:
        """Waits until all is enforced and remembered; every object as it is then."""
        operator.wait_syncs()
        eventually(self.enforces, timeout=60, what="everything to be enforced")
        eventually(lambda: self.cluster.request("GET", KEPT)[0] == 200, what="the state to be kept")
        return self.objects()

    def objects(self) -> dict[str, dict[str, Any]]:
        """Every managed object as it is, without the label that the mutator gives to whatever is written."""
        found = managed(self.cluster)
        for live in found.values():
            live["metadata"].get("labels", {}).pop("given", None)
        return found

    def back(self, before: dict[str, dict[str, Any]]) -> None:
        """Waits until every object is as it was, and enforced."""
        eventually(lambda: self.objects() == before, timeout=30, what="every object to be restored")
        eventually(self.enforces, timeout=30, what="everything to be enforced again")


@pytest.fixture
def world(tidy: TestCluster, tmp_path: Path) -> World:
    return World(tidy, tmp_path)


def weaken(live: dict[str, Any]) -> None:
    """Other Rego, other labels, no data: the object is there and does nothing."""
    match live["kind"]:
        case "ConstraintTemplate":
            live["spec"]["targets"][0] = {"target": "admission.k8s.gatekeeper.sh", "rego": NEVER}
        case "SyncSet":
            live["spec"]["gvks"] = []
        case "AssignMetadata":
            live["spec"]["location"] = "metadata.labels.other"
        case _:
            live["spec"]["enforcementAction"] = "dryrun"


def bare(live: dict[str, Any]) -> None:
    """Takes off whatever tells whose it is."""
    live["metadata"] |= {"labels": {}, "annotations": {}, "managedFields": [{}]}


def strip(cluster: TestCluster, path: str) -> None:
    """What an editor can do with one write."""

    def change(live: dict[str, Any]) -> None:
        bare(live)
        weaken(live)

    stripped = edit(cluster, path, change)
    assert "managed-by" not in stripped["metadata"].get("labels", {})
    assert "annotations" not in stripped["metadata"]
    managers = [entry["manager"] for entry in stripped["metadata"].get("managedFields", [])]
    assert "azure-policy-sync" not in managers


def replaced(cluster: TestCluster, path: str) -> None:
    """What an editor can do with two: another object of the same name."""
    live = cluster.get(path)
    assert cluster.request("DELETE", path)[0] == 200
    eventually(lambda: cluster.request("GET", path)[0] == 404, what=f"{path} to be gone")
    weaken(live)
    live = {key: value for key, value in live.items() if key != "status"} | {
        "metadata": {"name": path.rpartition("/")[2]}
    }
    collection = path.rpartition("/")[0]

    def made() -> bool:
        return cluster.request("POST", f"{collection}?fieldManager=kubectl-create", live)[0] == 201

    eventually(made, what=f"another {path}")


@pytest.mark.parametrize("role", ROLES)
def test_what_was_stripped_of_every_mark_is_enforced_again(world: World, role: str) -> None:
    with world.azpolicy.operating("--resync", "5") as operator:
        before = world.settle(operator)

        strip(world.cluster, world.path(role))

        world.back(before)
        assert operator.metric("azpolicy_problems") == 0, operator.text


@pytest.mark.parametrize("attack", [strip, replaced])
@pytest.mark.parametrize("role", ["template", "syncset", "expansion"])
def test_what_was_done_while_no_operator_ran_is_undone_by_the_next_one(
    world: World, role: str, attack: Callable[[TestCluster, str], None]
) -> None:
    with world.azpolicy.operating("--resync", "2") as operator:
        before = world.settle(operator)
    attack(world.cluster, world.path(role))

    with world.azpolicy.operating("--resync", "2") as operator:
        world.back(before)
        operator.wait_syncs()
        assert operator.metric("azpolicy_problems") == 0, operator.text


def test_what_was_stripped_goes_with_its_policy(world: World) -> None:
    with world.azpolicy.operating("--resync", "2") as operator:
        world.settle(operator)
        paths = [world.path(role) for role in ROLES]
    for path in paths:
        strip(world.cluster, path)
    # The policies end at Azure, the assignments stay; without a record the stripped objects would be nobody's.
    for name, of in (("one", "owned"), ("two", "owned"), ("looks-up", "looks-up"), ("gives", "gives")):
        world.snapshot.assign(name, f"/providers/Microsoft.Authorization/policyDefinitions/{of}", effect="Disabled")

    with world.azpolicy.operating("--resync", "2"):
        eventually(lambda: managed(world.cluster) == {}, timeout=60, what="everything to be pruned")


def test_an_edited_template_does_not_become_the_last_good_one(world: World) -> None:
    with world.azpolicy.operating("--resync", "2") as operator:
        world.settle(operator)
        good = world.cluster.get(TEMPLATE)["spec"]
    edit(world.cluster, TEMPLATE, weaken)
    world.bundle.write("owned-label/v1", KIND, DOES_NOT_COMPILE)

    with world.azpolicy.operating("--resync", "2") as operator:
        eventually(lambda: operator.metric("azpolicy_problems") >= 1, timeout=60, what="the problem to be told")
        eventually(lambda: world.cluster.get(TEMPLATE)["spec"] == good, timeout=30, what="the good template")
        eventually(world.enforces, timeout=60, what="everything to be enforced again")


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """An Azure Resource Manager that a test lets refuse."""
    with Standin() as standing:
        for name, value in standing.environ.items():
            monkeypatch.setenv(name, value)
        yield standing


def test_a_policy_whose_definition_may_not_be_read_is_defended_as_it_was_last_known(world: World, arm: Standin) -> None:
    cluster = world.cluster
    for document in load(world.snapshot.folder):
        arm.documents.put(document)
    options = ["--templates", str(world.bundle.folder)]
    azpolicy = FromAzure(cluster, arm, user="owner", of=CLUSTER_ID, options=options)
    with azpolicy.operating("--resync", "2", "--interval", "2") as operator:
        before = world.settle(operator)
        constraint = world.path("constraint")
    arm.fail(FaultKind.FORBIDDEN, r"policyDefinitions/owned", times=1_000_000)

    with azpolicy.operating("--resync", "2", "--interval", "2") as operator:
        eventually(lambda: operator.metric("azpolicy_members_unresolved") == 2, what="two unresolved")
        edit(cluster, constraint, lambda live: live["spec"].update(enforcementAction="dryrun"))
        world.back(before)
        assert cluster.request("DELETE", constraint)[0] == 200
        world.back(before)
        assert cluster.request("DELETE", TEMPLATE)[0] == 200
        world.back(before)
