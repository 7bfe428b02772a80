"""Templates that change under their constraints: a bad one must not cost the enforcement of the good one before it.

Gatekeeper's webhook admits a template whose Rego does not compile: only the template's status tells.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from tests.cluster.azpolicy import (
    PODS,
    TEMPLATES,
    Azpolicy,
    all_constraints,
    constraints_of,
    pod,
    projection,
    refusal,
    templates,
)
from tests.cluster.harness import TestCluster, eventually
from tests.snapshots import DOES_NOT_COMPILE, FORBIDS_LABELS, Snapshot, TemplateFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KIND, OTHER = "K8sAzureV1ChangingLabel", "K8sAzureV1SteadyLabel"
TEMPLATE = f"{TEMPLATES}/{KIND.lower()}"
MENDED = FORBIDS_LABELS.replace("is forbidden", "is not wanted")


class World:
    """A definition whose template changes, and another that goes on as it was."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        self.bundle = TemplateFolder(folder / "templates")
        self.snapshot = Snapshot(folder / "snapshot")
        self.azpolicy = Azpolicy(cluster, self.snapshot.folder, user="template-changer", templates=self.bundle.folder)
        self.write(FORBIDS_LABELS)
        other = self.bundle.write("steady/v1", OTHER)
        self.snapshot.assign("changing", self.snapshot.define("changing", self.url))
        self.snapshot.assign("steady", self.snapshot.define("steady", other), labels=["steady"])

    def write(self, rule: str) -> None:
        self.url = self.bundle.write("changing/v1", KIND, rule)

    def denied(self) -> str:
        return refusal(self.cluster, pod(forbidden="yes"))


@pytest.fixture
def world(tidy: TestCluster, tmp_path: Path) -> World:
    return World(tidy, tmp_path)


def test_a_template_that_stops_compiling_leaves_the_last_good_one_denying(world: World) -> None:
    assert world.azpolicy.apply().code == 0
    eventually(world.denied, what="a refused pod")
    good = world.cluster.get(TEMPLATE)["spec"]
    world.write(DOES_NOT_COMPILE)

    with world.azpolicy.operating("--resync", "0.5", "--interval", "0.5") as operator:
        eventually(lambda: operator.metric("azpolicy_problems") >= 1, what="the problem to be told")
        operator.wait_log(f"ConstraintTemplate/{KIND.lower()} reason=")
        assert world.cluster.get(TEMPLATE)["spec"] == good
        assert "label forbidden is forbidden" in eventually(world.denied, what="a refused pod")

        mark = world.cluster.audit_mark()
        operator.wait_syncs(4)
        assert [event for event in world.azpolicy.writes(mark) if event.code < 300] == []
        assert len(constraints_of(world.cluster, KIND)) == len(constraints_of(world.cluster, OTHER)) == 1

        world.write(MENDED)
        eventually(lambda: "is not wanted" in world.denied(), what="the mended template to deny")
        eventually(lambda: operator.metric("azpolicy_problems") == 0, what="no problem to be left")
    assert world.azpolicy.plan().code == 0


def test_a_template_that_stops_compiling_is_told_by_apply_and_plan(world: World) -> None:
    assert world.azpolicy.apply().code == 0
    good = world.cluster.get(TEMPLATE)["spec"]
    world.write(DOES_NOT_COMPILE)

    ended = world.azpolicy.apply()

    assert ended.code == 2
    assert KIND.lower() in ended.out
    assert "nowhere_defined" in ended.out
    assert world.cluster.get(TEMPLATE)["spec"] == good
    assert world.azpolicy.plan().code in {1, 2}


def test_a_new_template_that_does_not_compile_is_told_and_the_others_go_on(world: World) -> None:
    world.write(DOES_NOT_COMPILE)

    first, second = world.azpolicy.apply(), world.azpolicy.apply()

    for ended in (first, second):
        assert ended.code == 2
        assert "nowhere_defined" in ended.out
    assert len(constraints_of(world.cluster, OTHER)) == 1
    assert constraints_of(world.cluster, KIND) == {}

    world.write(MENDED)
    assert world.azpolicy.apply().code == 0
    eventually(lambda: "is not wanted" in world.denied(), what="the mended template to deny")


class PodsAllTheTime:
    """Submits a violating pod again and again, and keeps every answer that was no refusal by ours."""

    def __init__(self, cluster: TestCluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self.tried = 0
        self.admitted: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            status, answer = self._cluster.request("POST", f"{PODS}?dryRun=All", pod(forbidden="x"))
            self.tried += 1
            if status != 403 or "[azurepolicy-" not in str(answer.get("message")):
                self.admitted.append(f"{status} {answer.get('message')}")

    @contextlib.contextmanager
    def going_on(self) -> Iterator[PodsAllTheTime]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()


def _versions(world: World, wanted: str) -> str:
    """A definition that asks for kind V2 in version 1 and kind V3 in version 2, assigned at `wanted`."""
    for number, kind in (("2", "K8sAzureV2MovedLabel"), ("3", "K8sAzureV3MovedLabel")):
        url = world.bundle.write(f"moved/v{number}", kind)
        definition = world.snapshot.define("moved", url, version=f"{int(number) - 1}.0.0")
    world.snapshot.assign("moved", definition, version=wanted)
    return definition


def _only_moved(world: World) -> None:
    world.snapshot.remove("assignment-changing")
    world.snapshot.remove("assignment-steady")


def test_a_violating_pod_is_denied_throughout_a_move_to_a_new_kind(world: World) -> None:
    definition = _versions(world, "1.*.*")
    _only_moved(world)
    with world.azpolicy.operating("--resync", "1") as operator:
        eventually(world.denied, what="a refused pod")
        assert set(templates(world.cluster)) == {"k8sazurev2movedlabel"}
        with PodsAllTheTime(world.cluster).going_on() as pods:
            eventually(lambda: pods.tried > 5, what="pods before the move")

            world.snapshot.assign("moved", definition, version="2.*.*")

            eventually(lambda: set(templates(world.cluster)) == {"k8sazurev3movedlabel"}, what="the move")
            seen = pods.tried
            eventually(lambda: pods.tried > seen + 5, what="pods after the move")
        operator.wait_syncs(1)
        assert operator.metric("azpolicy_problems") == 0

    assert pods.admitted == []
    [path] = all_constraints(world.cluster)
    assert "/k8sazurev3movedlabel/" in path


def test_a_move_to_a_kind_whose_template_does_not_compile_leaves_the_old_one(world: World) -> None:
    definition = _versions(world, "1.*.*")
    _only_moved(world)
    assert world.azpolicy.apply().code == 0
    eventually(world.denied, what="a refused pod")
    before = {name: projection(live) for name, live in constraints_of(world.cluster, "K8sAzureV2MovedLabel").items()}
    world.bundle.write("moved/v3", "K8sAzureV3MovedLabel", DOES_NOT_COMPILE)
    world.snapshot.assign("moved", definition, version="2.*.*")

    ended = world.azpolicy.apply()

    assert ended.code == 2
    after = {name: projection(live) for name, live in constraints_of(world.cluster, "K8sAzureV2MovedLabel").items()}
    assert before == after
    assert world.denied()
