"""`azpolicy status`, `sync`, `suspend` and `resume` on a real cluster, and as the plugin of the real kubectl."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import kinds
from tests.cluster.azpolicy import (
    COMMAND,
    CONSTRAINTS,
    Azpolicy,
    Ended,
    Operator,
    all_constraints,
    edit,
    environ,
    granted,
    run,
)
from tests.cluster.harness import TestCluster, eventually, tools
from tests.resources import ASSIGNED, SYNC, SYNCS, assigned_policy, condition, lease, policy_sync
from tests.snapshots import CLUSTER_ID, Snapshot, TemplateFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
LEASE = f"{LEASES}/azure-policy-sync"
KIND = "K8sAzureV1AskedLabel"
REQUESTED_AT = "azpolicy.dev/requested-at"


@pytest.fixture(scope="module")
def with_kinds(cluster: TestCluster) -> Iterator[TestCluster]:
    """A cluster with our kinds."""
    with kinds.installed(cluster):
        yield cluster


@pytest.fixture
def reported(with_kinds: TestCluster) -> Iterator[TestCluster]:
    """A cluster that no operator has reported to; what a test reports is taken away."""
    yield with_kinds
    for path in (SYNC, ASSIGNED, LEASE.format("gatekeeper-system"), LEASE.format("default")):
        with_kinds.request("DELETE", path)
    eventually(lambda: not with_kinds.get(ASSIGNED)["items"], what="the reports to go")


def azpolicy(cluster: TestCluster, *arguments: str, user: str = "reader", masters: bool = True) -> Ended:
    """A command of a user's, of the administrators where not said otherwise."""
    groups = ["system:masters"] if masters else []
    return run(*arguments, "--kubeconfig", cluster.kubeconfig_for(user, groups))


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- status ----------------------------------------------------------------------------------------------------------


def test_without_our_kinds_one_line_says_how_to_install_them(cluster: TestCluster) -> None:
    kinds.remove(cluster)
    try:
        ended = azpolicy(cluster, "status")
        asked = azpolicy(cluster, "sync")
    finally:
        kinds.install(cluster)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert "kubectl apply -f crds/" in ended.err
    assert (asked.code, asked.err) == (2, ended.err)


def test_an_empty_cluster_is_told_as_such(reported: TestCluster) -> None:
    ended = azpolicy(reported, "status")

    assert (ended.code, ended.err) == (0, "")
    assert "no PolicySync default" in ended.out
    assert "none to show" in ended.out


def test_what_is_reported_is_shown_and_printed_as_kubectl_has_it(reported: TestCluster) -> None:
    change = {"time": now(), "action": "replaced", "object": "K8sThing/x", "cause": "drift", "editor": "kubectl-edit"}
    ready = condition("Ready", "False", "Problems", "K8sThing/x Denied: no")
    kinds.put(
        reported,
        SYNCS,
        policy_sync(
            ready,
            suspend={"until": "2099-01-01T00:00:00Z", "reason": "a freeze"},
            mode="Suspended",
            refusedDeletions={"count": 4, "digest": "9f3ac2"},
            lastChanges=[change],
        ),
    )
    kinds.put(reported, ASSIGNED, assigned_policy(violations=4))
    kinds.put(reported, ASSIGNED, assigned_policy("Labels", assignment="team", outcome="Failed", message="no such"))
    kinds.put(reported, LEASES.format("default"), lease(renewed=now(), namespace="default"))

    text = azpolicy(reported, "status")
    problems = azpolicy(reported, "status", "--problems", "-o", "json")
    document = azpolicy(reported, "status", "The base one", "-o", "json").document()

    assert text.code == 0
    for words in ("False (Problems): K8sThing/x Denied: no", CLUSTER_ID, "until 2099-01-01T00:00:00Z: a freeze"):
        assert words in text.out
    for words in ("azpolicy-0 in default", "azpolicy sync --force-prune 9f3ac2", "kubectl-edit"):
        assert words in text.out
    assert document["policySync"] == json.loads(reported.kubectl("get", "policysync", "default", "-o", "json").stdout)
    [base] = document["assignedPolicies"]
    assert base == json.loads(reported.kubectl("get", "apol", base["metadata"]["name"], "-o", "json").stdout)
    assert [each["metadata"]["namespace"] for each in document["leases"]] == ["default"]
    assert [each["status"]["outcome"] for each in problems.document()["assignedPolicies"]] == ["Failed"]
    assert azpolicy(reported, "status", "nowhere").code == 2


def test_the_lease_is_looked_for_in_the_namespace_that_is_named(reported: TestCluster) -> None:
    kinds.put(reported, LEASES.format("default"), lease("there", renewed=now(), namespace="default"))

    assert "there in default" in azpolicy(reported, "status", "-n", "default").out
    assert "no Lease" in azpolicy(reported, "status", "-n", "gatekeeper-system").out


def test_missing_rights_are_named_and_those_for_the_lease_can_be_done_without(reported: TestCluster) -> None:
    kinds.put(reported, SYNCS, policy_sync())
    denied = azpolicy(reported, "status", user="eve", masters=False)
    assert (denied.code, denied.err.count("\n")) == (2, 1)
    assert 'User "eve" cannot list resource' in denied.err

    reads = {"apiGroups": ["azpolicy.dev"], "resources": ["*"], "verbs": ["get", "list"]}
    with granted(reported, "eve", reads):
        # The API server's authorizer learns of a role a moment after it was made.
        eventually(lambda: azpolicy(reported, "status", user="eve", masters=False).code == 0, what="the role to count")
        ended = azpolicy(reported, "status", user="eve", masters=False)
        sync = azpolicy(reported, "sync", user="eve", masters=False)

    assert "may not read its Lease" in ended.out
    assert "True (InSync)" in ended.out
    assert (sync.code, sync.err.count("\n")) == (2, 1)
    assert 'User "eve" cannot patch resource' in sync.err


def test_more_policies_than_the_api_server_lists_at_once_are_all_shown(reported: TestCluster) -> None:
    for number in range(501):
        kinds.put(reported, ASSIGNED, assigned_policy(f"P{number:03}", assignment=f"a{number % 10}"))

    ended = azpolicy(reported, "status")

    assert "501 Enforced" in ended.out
    assert sum(line.startswith("  P") and "Enforced" in line for line in ended.out.splitlines()) == 501


# --- as a plugin, and on a terminal ----------------------------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path: Path) -> dict[str, str]:
    """An environment in which the real kubectl finds azpolicy, and nothing else of what is installed beside it."""
    for name in ("kubectl-azpolicy", "kubectl_complete-azpolicy"):
        (tmp_path / name).symlink_to(Path(sys.executable).with_name(name))
    return {**environ(), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "KUBECACHEDIR": str(tmp_path / "cache")}


def kubectl(plugin: dict[str, str], *arguments: str | Path) -> str:
    ended = subprocess.run(
        [tools.path("kubectl"), *arguments], env=plugin, capture_output=True, text=True, timeout=60, check=True
    )
    return ended.stdout


def test_kubectl_runs_azpolicy_as_its_plugin(reported: TestCluster, plugin: dict[str, str]) -> None:
    kinds.put(reported, SYNCS, policy_sync())

    assert "True (InSync)" in kubectl(plugin, "azpolicy", "status", "--kubeconfig", reported.kubeconfig)


def test_kubectl_completes_commands_and_options_of_its_plugin(plugin: dict[str, str]) -> None:
    commands = kubectl(plugin, "__complete", "azpolicy", "").splitlines()
    options = kubectl(plugin, "__complete", "azpolicy", "status", "--prob").splitlines()
    values = kubectl(plugin, "__complete", "azpolicy", "status", "-o", "").splitlines()
    files = kubectl(plugin, "__complete", "azpolicy", "plan", "--snapshot", "").splitlines()

    assert {"plan", "status", "uninstall"} <= {line.partition("\t")[0] for line in commands[:-1]}
    assert commands[-1] == ":4"
    assert [line.partition("\t")[0] for line in options] == ["--problems", ":4"]
    assert values == ["text", "json", "yaml", ":4"]
    assert files == [":0"]


def test_a_terminal_gets_tables_in_colour(reported: TestCluster) -> None:
    kinds.put(reported, SYNCS, policy_sync())
    kinds.put(reported, ASSIGNED, assigned_policy(outcome="Failed"))

    seen = at_terminal(reported, "status")

    assert "─" in seen
    assert "\x1b[31mFailed" in seen
    assert "\x1b[32mTrue (InSync)" in seen


def at_terminal(cluster: TestCluster, *arguments: str) -> str:
    """What a command prints to somebody at a terminal."""
    ours, theirs = pty.openpty()
    command = [str(COMMAND), *arguments, "--kubeconfig", str(cluster.kubeconfig)]
    terminal = {**environ(), "TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=terminal) as process:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:  # the other side is closed
            pass
        os.close(ours)
        assert process.wait(60) == 0, seen
    return seen.decode()


# --- asking an operator ----------------------------------------------------------------------------------------------


class World:
    """An assigned policy, and the operator that enforces it."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        bundle = TemplateFolder(folder / "templates")
        self.snapshot = Snapshot(folder / "snapshot")
        definition = self.snapshot.define("asked", bundle.write("asked-label/v1", KIND))
        for number in range(12):
            self.snapshot.assign(f"asked-{number}", definition, labels=[f"asked-{number}"])
        self.azpolicy = Azpolicy(cluster, self.snapshot.folder, user="asked", templates=bundle.folder)

    def run(self, *arguments: str) -> Ended:
        return azpolicy(self.cluster, *arguments)

    @contextlib.contextmanager
    def operating(self, *arguments: str) -> Iterator[Operator]:
        """The operator at work, once it has made the PolicySync: it is ready before that."""
        with self.azpolicy.operating(*arguments) as operator:
            eventually(lambda: self.cluster.get(SYNC), what="the PolicySync")
            yield operator

    def drift(self) -> tuple[str, dict[str, Any]]:
        """Edits a constraint: its path, and what it was."""
        path, before = min(all_constraints(self.cluster).items())
        edit(self.cluster, path, lambda live: live["spec"].update(enforcementAction="dryrun"))
        return path, before


@pytest.fixture
def world(with_kinds: TestCluster, tidy: TestCluster, tmp_path: Path) -> Iterator[World]:
    yield World(tidy, tmp_path)
    with_kinds.request("DELETE", SYNC)
    with_kinds.request("DELETE", ASSIGNED)


def test_sync_has_the_operator_poll_now_and_waits_for_what_comes_of_it(world: World) -> None:
    with world.operating("--interval", "3600", "--resync", "3600") as operator:
        first = world.run("sync")
        polls = operator.metric("azpolicy_source_polls_total")
        second = world.run("sync")
        polled = operator.metric("azpolicy_source_polls_total")

    assert (first.code, first.err) == (0, "")
    assert "ready True (InSync), mode Enforce; 12 assignments, 12 enforced" in first.out
    assert (second.code, polled) == (0, polls + 1)
    live = world.cluster.get(SYNC)
    assert live["metadata"]["annotations"][REQUESTED_AT] == live["status"]["lastHandledRequest"]


def test_refused_deletions_are_done_when_sync_names_them(world: World) -> None:
    with world.operating("--interval", "3600", "--resync", "3600"):
        assert world.run("sync").code == 0
        for number in range(6):
            world.snapshot.remove(f"assignment-asked-{number}")

        refused = world.run("sync")
        other = world.run("sync", "--force-prune", "000000")
        digest = world.cluster.get(SYNC)["status"]["refusedDeletions"]["digest"]
        there = len(all_constraints(world.cluster))
        forced = world.run("sync", "--force-prune", digest)

    assert (refused.code, other.code, there) == (2, 2, 12)
    assert f"the waiting ones have {digest}" in other.err
    assert (forced.code, forced.err) == (0, "")
    assert len(all_constraints(world.cluster)) == 6


def test_a_suspension_stops_repairs_until_it_is_ended(world: World) -> None:
    with world.operating("--interval", "3600", "--resync", "0.5") as operator:
        assert world.run("sync").code == 0

        suspended = world.run("suspend", "--for", "8h", "--reason", "node upgrade")
        path, before = world.drift()
        operator.wait_syncs()
        drifted = world.cluster.get(path)["spec"]["enforcementAction"]
        told = world.run("status").out
        resumed = world.run("resume")
        eventually(lambda: world.cluster.get(path)["spec"] == before["spec"], what="the repair")

    assert (suspended.code, resumed.code, drifted) == (0, 0, "dryrun")
    assert "mode Suspended" in suspended.out
    assert ": node upgrade" in told
    assert "mode Enforce" in resumed.out
    assert "suspend" not in world.cluster.get(SYNC)["spec"]
    assert path.startswith(CONSTRAINTS)


def test_a_suspension_that_ends_in_the_past_is_not_asked_for(reported: TestCluster) -> None:
    kinds.put(reported, SYNCS, policy_sync())

    ended = azpolicy(reported, "suspend", "--until", "2020-01-01T00:00:00Z")

    assert (ended.code, ended.out) == (2, "")
    assert "is in the past" in ended.err
    assert "suspend" not in reported.get(SYNC)["spec"]


def test_without_an_operator_the_request_is_made_and_not_answered(reported: TestCluster) -> None:
    none = azpolicy(reported, "sync")
    kinds.put(reported, SYNCS, policy_sync(lastHandledRequest="long ago"))

    waited = azpolicy(reported, "sync", "--timeout", "0.5")
    asked = azpolicy(reported, "sync", "--no-wait")

    assert none.code == 2
    assert "there is no PolicySync default" in none.err
    assert waited.code == 2
    assert "no answer within 0.5 s" in waited.err
    assert (asked.code, asked.err) == (0, "")
    assert reported.get(SYNC)["metadata"]["annotations"][REQUESTED_AT] in asked.out


def test_an_answer_that_is_not_ready_is_told_by_the_exit_code(reported: TestCluster) -> None:
    kinds.put(reported, SYNCS, policy_sync())
    command = [str(COMMAND), "sync", "--kubeconfig", str(reported.kubeconfig)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ()) as process:
        request = eventually(
            lambda: reported.get(SYNC)["metadata"].get("annotations", {}).get(REQUESTED_AT), what="the request"
        )
        bad = condition("Ready", "False", "SourceUnreadable", "the last good state is kept")
        kinds.report(reported, lastHandledRequest=request, conditions=[bad])
        out, _ = process.communicate(timeout=60)

    assert process.returncode == 2
    assert out.startswith("sync: ready False (SourceUnreadable), mode Enforce; 2 assignments")
