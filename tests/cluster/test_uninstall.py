"""`azpolicy uninstall` on a real cluster: nothing of ours is left, nothing of others is touched, whatever happens."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import kinds
from tests.cluster.azpolicy import (
    COMMAND,
    CONSTRAINTS,
    MUTATORS,
    RECORD,
    TEMPLATES,
    Azpolicy,
    Ended,
    all_constraints,
    environ,
    granted,
    managed,
    pod,
    projection,
    refusal,
    run,
)
from tests.cluster.harness import AuditEvent, TestCluster, eventually
from tests.resources import ASSIGNED, SYNCS, assigned_policy, policy_sync
from tests.snapshots import Snapshot, TemplateFolder, template_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KIND, FOREIGN = "K8sAzureV1GoingLabel", "K8sForeignLabel"
NAMESPACE = "azpolicy-test"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/azure-policy-sync"
MANY = 30


class World:
    """A cluster with what azpolicy has made there, and with what others have."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        bundle = TemplateFolder(folder / "templates")
        self.snapshot = Snapshot(folder / "snapshot")
        self.label = self.snapshot.define("going", bundle.write("going-label/v1", KIND))
        self.snapshot.assign("going", self.label)
        mutation = self.snapshot.define("given", bundle.write_mutation("given-label/v1", "given-label", "given"))
        self.snapshot.assign("given", mutation, effect="mutate")
        self.azpolicy = Azpolicy(cluster, self.snapshot.folder, user="maker", templates=bundle.folder)
        self.kubeconfig = cluster.kubeconfig_for("remover", ["system:masters"])

    def applied(self) -> None:
        """All that azpolicy makes: by `apply`, and as the operator would."""
        ended = self.azpolicy.apply()
        assert ended.code == 0, ended
        kinds.put(self.cluster, SYNCS, policy_sync())
        kinds.put(self.cluster, ASSIGNED, assigned_policy())
        for name in ("azure-policy-sync-state", "azure-policy-sync-state-a1"):
            self.cluster.request("POST", MAPS, {"metadata": {"name": name}})

    def foreign(self) -> dict[str, dict[str, Any]]:
        """Makes a template, a constraint and a mutator that are not ours: each as it is, by its path."""
        template = json.loads(template_text(FOREIGN))
        constraint = {
            "apiVersion": "constraints.gatekeeper.sh/v1beta1",
            "kind": FOREIGN,
            "metadata": {"name": "theirs"},
        }
        mutator = {
            "apiVersion": "mutations.gatekeeper.sh/v1",
            "kind": "AssignMetadata",
            "metadata": {"name": "theirs"},
            "spec": {"location": "metadata.labels.theirs", "parameters": {"assign": {"value": "x"}}},
        }
        self.make(TEMPLATES, template)
        collection = f"{CONSTRAINTS}/{FOREIGN.lower()}"
        eventually(lambda: self.cluster.request("GET", collection)[0] == 200, what="their kind")
        self.make(collection, constraint)
        self.make(f"{MUTATORS}/assignmetadata", mutator)
        maps = {"azure-policy-sync", "somebody-elses"}
        for name in maps:
            self.make(MAPS, {"metadata": {"name": name}})
        paths = [f"{TEMPLATES}/{FOREIGN.lower()}", f"{collection}/theirs", f"{MUTATORS}/assignmetadata/theirs"]
        paths += [f"{MAPS}/{name}" for name in sorted(maps)]
        return {path: projection(self.cluster.get(path)) for path in paths}

    def make(self, collection: str, manifest: dict[str, Any]) -> None:
        status, made = self.cluster.request("POST", collection, manifest)
        assert status == 201, made

    def uninstall(self, *arguments: str) -> Ended:
        return run("uninstall", "-n", NAMESPACE, "--kubeconfig", self.kubeconfig, *arguments)

    def left(self) -> list[str]:
        """What is there of ours beside Gatekeeper's kinds."""
        maps = [each["metadata"]["name"] for each in self.cluster.get(MAPS)["items"]]
        there = [path for path in (RECORD, LEASE) if self.cluster.request("GET", path)[0] == 200]
        return [*kinds.present(self.cluster), *there, *(name for name in maps if "state" in name)]

    def hold_lease(self, seconds: int) -> None:
        """A Lease of somebody who is not at work any more."""
        renewed = "2026-01-01T00:00:00.000000Z"
        spec = {"holderIdentity": "azpolicy-7", "leaseDurationSeconds": seconds, "renewTime": renewed}
        manifest = {"metadata": {"name": "azure-policy-sync"}, "spec": spec}
        self.make(LEASE.rpartition("/")[0], manifest)

    def writes(self, since: int) -> list[AuditEvent]:
        """What the command wrote since an audit mark, dry runs too."""
        return self.cluster.writes("remover", since)


@pytest.fixture
def world(tidy: TestCluster, tmp_path: Path) -> Iterator[World]:
    tidy.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    with kinds.installed(tidy):
        yield World(tidy, tmp_path)
    tidy.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
    eventually(lambda: tidy.request("GET", f"/api/v1/namespaces/{NAMESPACE}")[0] == 404, 60, "the namespace to go")


def test_nothing_of_ours_is_left_and_nothing_of_others_is_touched(world: World) -> None:
    theirs = world.foreign()
    world.applied()
    world.hold_lease(seconds=1)
    eventually(lambda: refusal(world.cluster, pod(forbidden="x")), what="a refused pod")
    before = set(managed(world.cluster))
    mark = world.cluster.audit_mark()

    ended = world.uninstall("--yes")

    assert (ended.code, ended.err) == (0, "")
    assert "uninstall: 9 deleted, 0 kept, 0 failed" in ended.out
    assert world.left() == []
    assert {path: projection(world.cluster.get(path)) for path in theirs} == theirs
    gone = before - set(managed(world.cluster))
    assert len(gone) == 3
    writes = world.writes(mark)
    assert {event.verb for event in writes} == {"delete"}
    assert len(writes) == 9
    assert {event.uri.partition("?")[0] for event in writes}.isdisjoint(theirs)
    eventually(lambda: not refusal(world.cluster, pod(forbidden="x")), what="an admitted pod")


def test_a_second_run_has_nothing_to_do(world: World) -> None:
    world.applied()
    assert world.uninstall("-y").code == 0
    mark = world.cluster.audit_mark()

    again = world.uninstall()

    assert (again.code, again.err) == (0, "")
    assert again.out.endswith("uninstall: nothing to delete\n")
    assert world.writes(mark) == []


def test_a_template_that_others_use_is_kept_with_their_constraint(world: World) -> None:
    world.applied()
    collection = f"{CONSTRAINTS}/{KIND.lower()}"
    handmade = {"apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": KIND, "metadata": {"name": "handmade"}}
    world.make(collection, handmade)

    ended = world.uninstall("--yes")

    assert ended.code == 0
    assert f"constraints that are not ours use it: {KIND}/handmade" in ended.out
    assert set(managed(world.cluster)) == {f"{TEMPLATES}/{KIND.lower()}", f"{collection}/handmade"}
    assert world.left() == []


@pytest.mark.parametrize(("typed", "code", "left"), [("n\n", 2, 3), ("\n", 2, 3), ("y\n", 0, 0)])
def test_somebody_at_a_terminal_is_asked(world: World, typed: str, code: int, left: int) -> None:
    world.applied()

    ended, seen = at_terminal(world, typed)

    assert ended == code, seen
    assert "Delete these 8 objects? [y/N]" in seen
    assert len(managed(world.cluster)) == left


def at_terminal(world: World, typed: str) -> tuple[int, str]:
    """What the command comes to for somebody at a terminal who types this."""
    ours, theirs = pty.openpty()
    command = [str(COMMAND), "uninstall", "-n", NAMESPACE, "--kubeconfig", str(world.kubeconfig)]
    os.write(ours, typed.encode())
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, text=True, env=environ()) as process:
        os.close(theirs)
        seen, _ = process.communicate(timeout=120)
    os.close(ours)
    return process.returncode, seen


def test_with_nobody_at_a_terminal_it_only_shows(world: World) -> None:
    world.applied()
    mark = world.cluster.audit_mark()

    ended = world.uninstall()

    assert ended.code == 2
    assert "- delete ConstraintTemplate/" in ended.out
    assert ended.err == "error: nothing was deleted: confirm it, or give --yes\n"
    assert world.writes(mark) == []


def test_an_operator_that_renews_its_lease_stops_it_unless_it_is_forced(world: World) -> None:
    world.applied()
    with world.azpolicy.operating("--leader-elect", "--namespace", NAMESPACE, "--identity", "azpolicy-7"):
        holder = eventually(lambda: world.cluster.get(LEASE)["spec"]["holderIdentity"], what="a leader")
        mark = world.cluster.audit_mark()

        refused = world.uninstall("--yes")
        before = world.writes(mark)
        # It puts back what is deleted, and may be faster than the command: only that it was tried is sure.
        world.uninstall("--yes", "--force")

    assert (refused.code, refused.out) == (2, "")
    assert f"the operator {holder} in {NAMESPACE} runs" in refused.err
    assert "helm uninstall" in refused.err
    assert before == []
    assert "delete" in {event.verb for event in world.writes(mark)}


def test_an_operator_that_was_stopped_is_no_hindrance_and_its_state_goes_too(world: World) -> None:
    with world.azpolicy.operating("--leader-elect", "--namespace", NAMESPACE) as operator:
        eventually(lambda: operator.metric("azpolicy_syncs_total", result="success"), what="the first sync")
        eventually(lambda: world.cluster.get(ASSIGNED)["items"], what="its report")
        state = f"/api/v1/namespaces/{NAMESPACE}/configmaps/azure-policy-sync-state"
        eventually(lambda: world.cluster.request("GET", state)[0] == 200, what="its state")
        assert operator.stop() == 0
    assert len(all_constraints(world.cluster)) == 1

    ended = world.uninstall("--yes")

    assert (ended.code, ended.err) == (0, "")
    assert f"ConfigMap/{NAMESPACE}/azure-policy-sync-state" in ended.out
    assert managed(world.cluster) == {}
    assert world.left() == []


def test_an_uninstallation_that_is_killed_is_finished_by_the_next(world: World) -> None:
    for number in range(MANY):
        world.snapshot.assign(f"many-{number}", world.label, labels=[f"label-{number}"])
    world.applied()
    command = [str(COMMAND), "uninstall", "--yes", "-n", NAMESPACE, "--kubeconfig", str(world.kubeconfig)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ()) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("[3/"):
                break
        process.send_signal(signal.SIGKILL)
    there = len(managed(world.cluster)) + len(world.left())
    assert there > 0

    ended = world.uninstall("--yes")

    assert (ended.code, ended.err) == (0, "")
    assert managed(world.cluster) == {}
    assert world.left() == []


def test_a_missing_right_is_told_object_by_object_and_the_record_stays(world: World) -> None:
    world.applied()
    reads = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}
    deletes = {"apiGroups": ["mutations.gatekeeper.sh"], "resources": ["*"], "verbs": ["delete"]}
    with granted(world.cluster, "halfway", reads, deletes) as kubeconfig:
        asked = ("uninstall", "-n", NAMESPACE, "--kubeconfig", kubeconfig)
        # The API server's authorizer learns of a role a moment after it was made.
        eventually(lambda: "to delete" in run(*asked).out, what="the role to count")
        ended = run(*asked, "--yes")

    assert ended.code == 2
    assert 'User "halfway" cannot delete resource' in ended.out
    assert "1 deleted, 0 kept, 2 failed" in ended.out
    assert RECORD in world.left()


def test_kinds_that_are_kept_lose_their_objects(world: World) -> None:
    world.applied()

    assert world.uninstall("--yes", "--keep-crds").code == 0

    assert world.left() == list(kinds.NAMES)
    assert world.cluster.get(SYNCS)["items"] == world.cluster.get(ASSIGNED)["items"] == []


def test_without_gatekeeper_the_rest_goes(world: World) -> None:
    world.applied()
    world.cluster.uninstall_gatekeeper()
    try:
        ended = world.uninstall("--yes")
    finally:
        world.cluster.install_gatekeeper()

    assert (ended.code, ended.err) == (0, "")
    assert world.left() == []
