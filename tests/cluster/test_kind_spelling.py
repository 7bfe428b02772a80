"""A template whose kind gets other letters: no CustomResourceDefinition takes that, so it is deleted and made again.

Gatekeeper takes the new letters in the template, reports that the kind is immutable, and from its next restart on
enforces no constraint of either spelling.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.azpolicy import CONSTRAINTS, CRDS, TEMPLATES, Azpolicy, constraints_of, pod, refusal
from tests.cluster.harness import TestCluster, eventually
from tests.snapshots import Snapshot, TemplateFolder

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "K8sAzureV1SpelledUserName", "K8sAzureV1SpelledUsername"
NAME = NEW.lower()
COLLECTION = f"{CONSTRAINTS}/{NAME}"
TEMPLATE = f"ConstraintTemplate/{NAME}"


class World:
    """A cluster that enforces the old spelling, and a bundle that has the new one."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        bundle, snapshot = TemplateFolder(folder / "templates"), Snapshot(folder / "snapshot")
        snapshot.assign("spelled", snapshot.define("spelled", bundle.write("spelled/v1", OLD)))
        self.azpolicy = Azpolicy(cluster, snapshot.folder, user="speller", templates=bundle.folder)
        assert self.azpolicy.apply().code == 0
        eventually(self.denied, what="a refused pod")
        [self.constraint] = constraints_of(cluster, OLD)
        bundle.write("spelled/v1", NEW)

    def denied(self) -> str:
        return refusal(self.cluster, pod(forbidden="yes"))

    def kinds(self) -> tuple[str, str, list[str]]:
        """The kind that the template, its CustomResourceDefinition and the constraints have."""
        definition = self.cluster.get(f"{CRDS}/{NAME}.constraints.gatekeeper.sh")
        template = self.cluster.get(f"{TEMPLATES}/{NAME}")["spec"]["crd"]["spec"]["names"]
        live = constraints_of(self.cluster, NEW).values()
        return template["kind"], definition["spec"]["names"]["kind"], [each["kind"] for each in live]

    def by_somebody_else(self) -> dict[str, Any]:
        """A constraint of the old spelling that azpolicy did not make."""
        theirs = copy.deepcopy(constraints_of(self.cluster, OLD)[self.constraint])
        theirs["metadata"] = {"name": "somebodys"}
        return theirs


@pytest.fixture
def world(tidy: TestCluster, tmp_path: Path) -> World:
    return World(tidy, tmp_path)


def test_the_new_spelling_enforces_and_nothing_of_the_old_is_left(world: World) -> None:
    before = constraints_of(world.cluster, OLD)[world.constraint]
    planned = world.azpolicy.plan("-o", "json")

    ended = world.azpolicy.apply()

    assert planned.changes() == {
        TEMPLATE: "replace",
        f"{NEW}/{world.constraint}": "create",
        f"{OLD}/{world.constraint}": "delete",
    }
    assert ended.code == 0, ended.out
    assert f"its kind is {OLD} here, in other letters" in ended.out
    assert world.kinds() == (NEW, NEW, [NEW])
    [(name, after)] = constraints_of(world.cluster, NEW).items()
    assert name == world.constraint
    assert after["spec"] == before["spec"]
    eventually(world.denied, what="a refused pod")
    assert world.azpolicy.plan().code == 0


def test_the_operator_waits_for_a_constraint_that_is_not_ours_and_goes_on_by_itself(world: World) -> None:
    assert world.cluster.request("POST", COLLECTION, world.by_somebody_else())[0] == 201

    with world.azpolicy.operating("--resync", "0.5", "--interval", "0.5") as operator:
        operator.wait_log(f"{OLD}/somebodys is to stay")
        assert operator.metric("azpolicy_problems") > 0
        assert world.kinds() == (OLD, OLD, [OLD, OLD])
        assert world.denied()

        assert world.cluster.request("DELETE", f"{COLLECTION}/somebodys")[0] == 200

        eventually(lambda: world.kinds() == (NEW, NEW, [NEW]), what="the new spelling")
        eventually(world.denied, what="a refused pod")
        eventually(lambda: operator.metric("azpolicy_problems") == 0, what="no problem to be left")
    assert world.azpolicy.plan().code == 0
