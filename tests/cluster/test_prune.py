"""What goes, what stays: a deletion needs a reason, and what is not known for sure stays as it is."""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.cluster_record import NAME as RECORD
from tests.cluster.azpolicy import (
    CONSTRAINTS,
    TEMPLATES,
    Azpolicy,
    all_constraints,
    constraints_of,
    edit,
    managed,
    pod,
    projection,
    refusal,
    templates,
)
from tests.cluster.harness import TestCluster, eventually
from tests.snapshots import GROUP, Snapshot, TemplateFolder, template_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KIND, OTHER = "K8sAzureV1PruneLabel", "K8sAzureV1PruneOther"
MANY = 12
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
HOOKS = "/apis/admissionregistration.k8s.io/v1"
WEBHOOKS = (
    f"{HOOKS}/validatingwebhookconfigurations/gatekeeper-validating-webhook-configuration",
    f"{HOOKS}/mutatingwebhookconfigurations/gatekeeper-mutating-webhook-configuration",
)


class World:
    """A snapshot with two definitions, each with its own template, and the command that applies it."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        self.bundle = TemplateFolder(folder / "templates")
        self.snapshot = Snapshot(folder / "snapshot")
        self.azpolicy = Azpolicy(cluster, self.snapshot.folder, user="pruner", templates=self.bundle.folder)
        self.definition = self.snapshot.define("label", self.bundle.write("prune-label/v1", KIND))
        self.other = self.snapshot.define("other", self.bundle.write("prune-other/v1", OTHER))

    def assign_both(self) -> None:
        self.snapshot.assign("label", self.definition)
        self.snapshot.assign("other", self.other, labels=["unwanted"])

    def assign_many(self) -> None:
        self.assign_again(*range(MANY))

    def assign_again(self, *numbers: int) -> None:
        for number in numbers:
            self.snapshot.assign(f"many-{number}", self.definition, labels=[f"label-{number}"])

    def forget(self, *numbers: int) -> None:
        for number in numbers:
            self.snapshot.remove(f"assignment-many-{number}")

    def applied(self, *arguments: str, code: int = 0) -> str:
        ended = self.azpolicy.apply(*arguments)
        assert ended.code == code, ended
        return ended.out

    def kinds(self) -> dict[str, int]:
        """How many constraints each template of the cluster has."""
        return {name: len(constraints_of(self.cluster, name)) for name in templates(self.cluster)}

    def path_of(self, assignment: str) -> str:
        """The path of the one constraint that an assignment makes."""
        [path] = [
            path
            for path, live in all_constraints(self.cluster).items()
            if live["metadata"]["annotations"]["azure-policy-assignment-id"].endswith(f"/{assignment}")
        ]
        return path


@pytest.fixture
def world(tidy: TestCluster, tmp_path: Path) -> World:
    return World(tidy, tmp_path)


def handmade(kind: str) -> dict[str, Any]:
    return {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": kind,
        "metadata": {"name": "handmade"},
        "spec": {"enforcementAction": "dryrun"},
    }


def test_what_is_no_longer_assigned_goes_and_its_template_after_it(world: World) -> None:
    world.assign_both()
    world.applied()
    world.snapshot.remove("assignment-other")

    out = world.applied()

    assert "2 delete" in out
    assert world.kinds() == {KIND.lower(): 1}


def test_a_template_stays_as_long_as_somebody_elses_constraint_uses_it(world: World) -> None:
    world.assign_both()
    world.applied()
    path = f"{CONSTRAINTS}/{OTHER.lower()}"
    assert world.cluster.request("POST", path, handmade(OTHER))[0] == 201
    world.snapshot.remove("assignment-other")

    planned = world.azpolicy.plan()
    out = world.applied()

    assert planned.changes()[f"ConstraintTemplate/{OTHER.lower()}"] == "in-use"
    assert f"constraints that are not ours use it: {OTHER}/handmade" in out
    assert list(constraints_of(world.cluster, OTHER)) == ["handmade"]

    world.cluster.request("DELETE", f"{path}/handmade")
    world.applied()
    assert world.kinds() == {KIND.lower(): 1}


def test_a_template_stays_while_its_kind_is_not_served_as_nobody_sees_what_would_go_with_it(world: World) -> None:
    world.assign_both()
    world.applied()
    path = f"{CONSTRAINTS}/{OTHER.lower()}"
    assert world.cluster.request("POST", path, handmade(OTHER))[0] == 201
    world.snapshot.remove("assignment-other")

    with unserved(world.cluster, OTHER.lower()):
        planned = world.azpolicy.plan()
        out = world.applied()

    assert planned.changes()[f"ConstraintTemplate/{OTHER.lower()}"] == "retain"
    assert "its kind is there but is not served now" in out
    assert "handmade" in constraints_of(world.cluster, OTHER)


@contextlib.contextmanager
def unserved(cluster: TestCluster, name: str) -> Iterator[None]:
    """A kind is there and not served; Gatekeeper, which would serve it again at once, is away."""
    hooks = {path: cluster.get(path)["webhooks"] for path in WEBHOOKS}
    for path, each in hooks.items():
        cluster.request("PATCH", path, {"webhooks": [{**hook, "failurePolicy": "Ignore"} for hook in each]})
    cluster.stop_gatekeeper()
    crd = f"{CRDS}/{name}.constraints.gatekeeper.sh"
    versions = cluster.get(crd)["spec"]["versions"]
    try:
        hidden = [{**each, "served": False} for each in versions]
        eventually(lambda: cluster.request("PATCH", crd, {"spec": {"versions": hidden}})[0] == 200, what="no version")
        eventually(lambda: cluster.request("GET", f"{CONSTRAINTS}/{name}")[0] == 404, what="the kind not to be served")
        yield
    finally:
        cluster.request("PATCH", crd, {"spec": {"versions": versions}})
        eventually(lambda: cluster.request("GET", f"{CONSTRAINTS}/{name}")[0] == 200, what="the kind to be served")
        cluster.start_gatekeeper()
        for path, each in hooks.items():
            cluster.request("PATCH", path, {"webhooks": each})


@pytest.mark.parametrize("label", [{}, {"managed-by": "azure-policy-addon"}], ids=["unmarked", "of the add-on"])
def test_a_foreign_template_of_the_same_name_is_left_alone_and_reported(world: World, label: dict[str, str]) -> None:
    foreign = json.loads(template_text(OTHER, 'violation[{"msg": "theirs"}] { false }\n'))
    foreign["metadata"]["labels"] = label
    status, made = world.cluster.request("POST", TEMPLATES, foreign)
    assert status == 201
    world.assign_both()

    planned = world.azpolicy.plan()
    applied = world.azpolicy.apply()

    assert (planned.code, applied.code) == (2, 2)
    about = {name: action for name, action in planned.changes().items() if OTHER.lower() in name.lower()}
    assert sorted(about.values()) == ["block", "conflict"]
    assert about[f"ConstraintTemplate/{OTHER.lower()}"] == "conflict"
    assert f"conflict ConstraintTemplate/{OTHER.lower()}" in applied.out
    assert projection(world.cluster.get(f"{TEMPLATES}/{OTHER.lower()}")) == projection(made)
    assert world.kinds() == {KIND.lower(): 1, OTHER.lower(): 0}


def test_an_empty_snapshot_deletes_nothing_until_it_is_forced(world: World) -> None:
    world.assign_both()
    world.applied()
    before = managed(world.cluster)
    world.snapshot.remove("assignment-label")
    world.snapshot.remove("assignment-other")
    mark = world.cluster.audit_mark()

    planned, refused = world.azpolicy.plan(), world.azpolicy.apply()

    assert (planned.code, refused.code) == (2, 2)
    assert "azpolicy apply --force-prune" in refused.out
    # What was refused is noted beside the cluster's id.
    assert {event.resource for event in world.azpolicy.writes(mark)} <= {"configmaps"}
    assert managed(world.cluster) == before

    world.applied("--force-prune")
    assert managed(world.cluster) == {}


def test_a_broken_snapshot_changes_nothing_and_names_file_and_line(world: World) -> None:
    world.assign_both()
    world.applied()
    file = world.snapshot.folder / "assignment-other.json"
    file.write_text(file.read_text()[:-40])
    world.snapshot.assign("label", world.definition, labels=["another"])
    mark = world.cluster.audit_mark()

    for ended in (world.azpolicy.plan(), world.azpolicy.apply("--force-prune")):
        assert ended.code == 2
        [line] = ended.err.splitlines()
        assert f"{file}:" in line or f"{file}, line" in line
    assert world.azpolicy.writes(mark, dry=True) == []


def test_a_shrunk_snapshot_deletes_nothing_but_the_rest_is_done(world: World) -> None:
    world.assign_many()
    world.applied()
    before = set(all_constraints(world.cluster))
    world.forget(*range(6))
    world.snapshot.assign("new", world.other)

    refused = world.azpolicy.apply()

    assert refused.code == 2
    assert f"6 of {MANY + 1} managed objects would be deleted" in refused.out
    after = set(all_constraints(world.cluster))
    assert len(after - before) == 1
    assert before < after

    # What was refused once stays refused, however small a part of all it has become.
    world.assign_again(0, 1, 2)
    assert "3 of" in world.applied(code=2)
    assert set(all_constraints(world.cluster)) == after
    world.applied("--force-prune")
    assert len(all_constraints(world.cluster)) == MANY + 1 - 3

    # Under the limit a deletion needs no force.
    world.forget(0)
    world.applied()
    assert len(all_constraints(world.cluster)) == MANY + 1 - 4


def test_what_does_not_apply_any_more_goes_however_much_it_is(world: World) -> None:
    world.assign_many()
    world.applied()
    for number in range(6):
        world.snapshot.assign(f"many-{number}", world.definition, effect="Disabled")
    for number in range(6, MANY):
        world.snapshot.assign(f"many-{number}", world.definition, not_scopes=[GROUP])

    world.applied()

    assert managed(world.cluster) == {}


def test_a_member_that_leaves_its_initiative_goes(world: World) -> None:
    initiative = world.snapshot.initiative("set", {"one": world.definition, "two": world.other})
    world.snapshot.assign("set", initiative)
    world.applied()
    world.snapshot.initiative("set", {"one": world.definition})

    world.applied()

    assert world.kinds() == {KIND.lower(): 1}


def test_what_is_not_known_any_more_stays_after_a_restart_too(world: World) -> None:
    world.assign_both()
    world.applied()
    before = managed(world.cluster)

    url = "https://store.policy.core.windows.net/kubernetes/prune-other/v1/template.yaml"
    world.snapshot.define("other", url, effect="[reference('somewhere')]")
    mark = world.cluster.audit_mark()
    for _ in range(2):
        with world.azpolicy.operating("--resync", "0.2") as operator:
            operator.wait_syncs(3)
            operator.wait_log(f"retained {OTHER}/")
            assert operator.metric("azpolicy_members_unresolved") == 1
    assert world.azpolicy.plan().code == 0
    assert world.azpolicy.plan("--strict").code == 2

    # The definition's document is missing altogether.
    world.snapshot.remove("definition-other-1.0.0")
    assert world.azpolicy.apply("--force-prune").code == 0
    assert managed(world.cluster) == before
    # The first operator after a person's command records whose the cluster is, once.
    assert [(e.resource, e.name) for e in world.azpolicy.writes(mark)] == [("configmaps", RECORD)]


def test_an_operator_keeps_the_last_good_state_while_its_source_fails(world: World) -> None:
    world.assign_many()
    world.applied()
    before = managed(world.cluster)
    path = world.path_of(f"many-{MANY - 1}")
    file = world.snapshot.folder / "assignment-many-0.json"
    text = file.read_text()
    moved = world.snapshot.folder.with_name("moved")

    def still_repairs() -> None:
        edit(world.cluster, path, lambda live: live["spec"].update(enforcementAction="dryrun"))
        eventually(lambda: managed(world.cluster) == before, what="the edit to be put back")
        assert operator.ask("/healthz")[0] == operator.ask("/readyz")[0] == 200

    with world.azpolicy.operating("--resync", "0.5", "--interval", "0.5") as operator:
        eventually(lambda: operator.metric("azpolicy_syncs_total", result="success"), what="the first sync")

        file.write_text(text[:-30])
        operator.wait_log("the source cannot be read, the last good state is kept")
        still_repairs()
        assert operator.metric("azpolicy_source_polls_total", result="failure") >= 1
        assert operator.metric("azpolicy_last_good_sync_age_seconds") > 0

        file.write_text(text)
        shutil.move(world.snapshot.folder, moved)
        operator.wait_log("there is no such file or folder")
        still_repairs()

        shutil.move(moved, world.snapshot.folder)
        world.forget(*range(6))
        operator.wait_log("refused ")
        still_repairs()
        operator.wait_syncs(2)
        assert managed(world.cluster) == before


def test_an_operator_told_to_force_deletions_does_so_once(world: World) -> None:
    world.assign_many()
    world.applied()
    world.forget(0)

    with world.azpolicy.operating("--resync", "0.5", "--force-prune", "--prune-limit", "1") as operator:
        eventually(lambda: len(all_constraints(world.cluster)) == MANY - 1, what="one constraint to go")

        world.forget(1)

        operator.wait_log("refused ")
        operator.wait_syncs(2)
        assert len(all_constraints(world.cluster)) == MANY - 1


def test_a_violating_pod_is_denied_by_what_stays(world: World) -> None:
    world.assign_both()
    world.applied()
    world.snapshot.remove("assignment-label")
    world.snapshot.remove("assignment-other")

    assert world.azpolicy.apply().code == 2

    assert eventually(lambda: refusal(world.cluster, pod(unwanted="yes")), what="a refused pod")
