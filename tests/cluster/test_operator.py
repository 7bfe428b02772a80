"""The operator as a process: what it survives, what it tells, how it ends, and how quiet it is when settled."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from controller.cluster.client import Connection, KubeClient
from controller.cluster.kinds import MUTATORS, TEMPLATE, constraint_kind
from tests.cluster.azpolicy import (
    CONSTRAINTS,
    RECORD,
    TEMPLATES,
    Azpolicy,
    Operator,
    all_constraints,
    constraints_of,
    edit,
    managed,
    pod,
    refusal,
)
from tests.cluster.harness import eventually
from tests.snapshots import Snapshot, TemplateFolder, template_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.cluster.kinds import Kind
    from tests.cluster.harness import TestCluster

EXAMPLE = Path(__file__).parents[2] / "examples" / "snapshot"
KIND, OTHER = "K8sAzureV1OperatedLabel", "K8sAzureV1OperatedOther"
AUDITS = 10
STOP_SECONDS = 10


class World:
    """A snapshot with two templates, three constraints and a mutator."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        self.bundle = TemplateFolder(folder / "templates")
        self.snapshot = Snapshot(folder / "snapshot")
        self.azpolicy = self.command("operator")
        self.label = self.snapshot.define("label", self.bundle.write("operated-label/v1", KIND))
        self.other = self.snapshot.define("other", self.bundle.write("operated-other/v1", OTHER))
        self.snapshot.assign("label-0", self.label)
        self.snapshot.assign("label-1", self.label, labels=["one"])
        self.snapshot.assign("other", self.other, labels=["other"])
        mutation = self.snapshot.define("gives", self.bundle.write_mutation("gives/v1", "operatedgives", "given"))
        self.snapshot.assign("gives", mutation, effect="mutate")

    def command(self, user: str) -> Azpolicy:
        return Azpolicy(self.cluster, self.snapshot.folder, user=user, templates=self.bundle.folder)

    def settled(self, operator: Operator) -> dict[str, dict[str, Any]]:
        """What is managed once the operator has made all of it."""
        good = lambda: operator.metric("azpolicy_syncs_total", result="success")  # noqa: E731
        # Gatekeeper itself may take half a minute after the API server was away.
        eventually(good, timeout=90, what="a sync without problems")
        found = managed(self.cluster)
        assert len(found) == 6
        return found

    def weaken(self) -> str:
        """Edits one constraint and returns its path."""
        path = min(path for path in all_constraints(self.cluster) if KIND.lower() in path)
        edit(self.cluster, path, lambda live: live["spec"].update(enforcementAction="dryrun"))
        return path


@pytest.fixture
def world(tidy: TestCluster, tmp_path: Path) -> World:
    return World(tidy, tmp_path)


def back(world: World, before: dict[str, dict[str, Any]], timeout: float = 60) -> None:
    eventually(lambda: managed(world.cluster) == before, timeout, "everything to be as it was")


def test_a_settled_cluster_is_left_alone_through_ten_audits_and_as_many_resyncs(tidy: TestCluster) -> None:
    """Audits rewrite the status of every constraint."""
    azpolicy = Azpolicy(tidy, EXAMPLE, user="settled-operator")
    with tidy.audited_every(1), azpolicy.operating("--resync", "1") as operator:
        eventually(lambda: operator.metric("azpolicy_syncs_total", result="success") >= 2, what="two syncs")
        before, mark, first = managed(tidy), tidy.audit_mark(), operator.syncs
        audits: set[str] = set()

        def audited() -> bool:
            audits.update(live["status"].get("auditTimestamp", "") for live in all_constraints(tidy).values())
            return len(audits) > AUDITS and operator.syncs >= first + AUDITS

        eventually(audited, timeout=90, what=f"{AUDITS} audits and syncs")

        assert azpolicy.writes(mark, dry=True) == []
        assert managed(tidy) == before
        assert operator.metric("azpolicy_changes_total") == len(before)
        assert operator.metric("azpolicy_drift_repaired_total") == 0


def test_of_a_settled_cluster_the_metadata_is_all_that_is_asked_for(world: World) -> None:
    async def counted(kind: Kind) -> tuple[int, int]:
        """How many objects there are, and how many of them a second list has read whole."""
        async with KubeClient(Connection(world.azpolicy.kubeconfig)) as client:
            first = await client.list_live(kind)
            with mock.patch.object(client._cache, "read", wraps=client._cache.read) as read:
                again = await client.list_live(kind)
            assert first is not None
            assert again is not None
            assert [live.ref for live in again[0]] == [live.ref for live in first[0]]
            return len(first[0]), read.call_count

    def known(kind: Kind, count: int) -> bool:
        return asyncio.run(counted(kind)) == (count, 0)

    assert world.azpolicy.apply().code == 0
    for kind, count in ((TEMPLATE, 2), (constraint_kind(KIND), 2), (MUTATORS[1], 1)):
        # Gatekeeper may write a status in between.
        eventually(partial(known, kind, count), what=f"two lists of {kind.plural} between which nothing moves")


def test_gatekeeper_uninstalled_and_installed_again_gets_everything_back(world: World) -> None:
    with world.azpolicy.operating("--resync", "5") as operator:
        before = world.settled(operator)

        world.cluster.uninstall_gatekeeper()
        operator.wait_log("Gatekeeper is not installed")
        assert operator.code is None
        assert operator.ask("/healthz")[0] == 200
        world.cluster.install_gatekeeper()

        back(world, before, timeout=90)
        eventually(lambda: refusal(world.cluster, pod(forbidden="yes")), what="a refused pod")
        path = world.weaken()
        back(world, before)
        operator.wait_log(f"replaced {KIND}/{path.rpartition('/')[2]} cause=drift")


def test_an_api_server_restart_is_survived_and_drift_is_seen_after_it(world: World) -> None:
    with world.azpolicy.operating() as operator:
        before = world.settled(operator)

        world.cluster.stop_apiserver()
        try:
            operator.wait_log("sync failed", timeout=120)
            assert operator.ask("/healthz")[0] == 200
        finally:
            world.cluster.start_apiserver()
        eventually(world.weaken, what="an edit")

        back(world, before)
        assert operator.code is None
        assert operator.ask("/readyz")[0] == 200


def test_while_the_api_server_is_away_one_operator_can_start_and_another_can_end(world: World) -> None:
    with world.azpolicy.operating() as ending:
        world.settled(ending)
        world.cluster.stop_apiserver()
        try:
            with world.command("starting").operating(ready=False) as starting:
                eventually(lambda: starting.ask("/healthz")[0] == 200, what="the web server")
                assert starting.ask("/readyz")[0] == 503
                assert ending.stop(signal.SIGTERM, STOP_SECONDS) == 0
                world.cluster.start_apiserver()

                starting.wait_ready()
                world.settled(starting)
        finally:
            world.cluster.start_apiserver()


def test_a_changed_snapshot_is_taken_up_at_once(world: World) -> None:
    with world.azpolicy.operating() as operator:
        world.settled(operator)

        world.snapshot.assign("label-2", world.label, labels=["two"])

        eventually(lambda: len(constraints_of(world.cluster, KIND)) == 3, timeout=10, what="the third constraint")


def test_a_kind_that_appears_is_watched_whoever_made_it(world: World) -> None:
    with world.azpolicy.operating() as operator:
        before = world.settled(operator)
        kinds = 7 + 2  # templates, sync sets, expansion, four kinds of mutators; two constraint kinds
        eventually(lambda: operator.metric("azpolicy_watched_kinds") == kinds, what="a watch for each kind")

        world.cluster.request("POST", TEMPLATES, json.loads(template_text("K8sForeign")))

        eventually(lambda: operator.metric("azpolicy_watched_kinds") == kinds + 1, what="one more watch")
        foreign = {"apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": "K8sForeign", "metadata": {"name": "x"}}
        path = f"{CONSTRAINTS}/k8sforeign"
        eventually(lambda: world.cluster.request("POST", path, foreign)[0] in {201, 409}, what="a foreign constraint")
        world.cluster.request("DELETE", f"{TEMPLATES}/k8sforeign")
        eventually(lambda: operator.metric("azpolicy_watched_kinds") == kinds, what="one watch less")
        back(world, before)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_in_seconds_with_code_0(world: World, sent: signal.Signals) -> None:
    with world.azpolicy.operating() as operator:
        world.settled(operator)

        assert operator.stop(sent, STOP_SECONDS) == 0

        assert "stopped" in operator.text.splitlines()[-1]
        assert "Traceback" not in operator.text


def test_a_killed_operator_goes_on_where_the_cluster_is(world: World) -> None:
    with world.azpolicy.operating() as operator:
        before = world.settled(operator)
        operator.kill()
    world.weaken()
    world.cluster.request("DELETE", f"{TEMPLATES}/{OTHER.lower()}")
    mark = world.cluster.audit_mark()

    with world.azpolicy.operating() as operator:
        back(world, before)
        eventually(lambda: operator.metric("azpolicy_syncs_total", result="success"), what="a good sync")

    writes = sorted((event.verb, event.resource) for event in world.azpolicy.writes(mark) if event.code < 300)
    assert writes == [("create", "constrainttemplates"), ("create", OTHER.lower()), ("update", KIND.lower())]


def test_two_operators_at_once_make_nothing_twice_and_do_not_fight(world: World) -> None:
    first, second = world.command("twin-one"), world.command("twin-two")
    mark = world.cluster.audit_mark()
    with first.operating("--resync", "1") as one, second.operating("--resync", "1") as two:
        for operator in (one, two):
            before = world.settled(operator)
        made = [e for twin in (first, second) for e in twin.writes(mark) if e.verb == "create" and e.code < 300]
        assert len({event.name for event in made}) == len(made) == 6 + 1  # and the record of the cluster's id

        mark = world.cluster.audit_mark()
        world.weaken()
        back(world, before)
        for operator in (one, two):
            operator.wait_syncs(3)
        done = [e for twin in (first, second) for e in twin.writes(mark) if e.code < 300]
        assert [event.verb for event in done] == ["update"]
        assert one.metric("azpolicy_fights") == two.metric("azpolicy_fights") == 0


def test_a_dry_run_tells_what_it_would_do_and_writes_nothing(world: World) -> None:
    mark = world.cluster.audit_mark()
    with world.azpolicy.operating("--dry-run", "--resync", "0.5") as operator:
        operator.wait_syncs(2)
        assert f"dry-run created ConstraintTemplate/{KIND.lower()}" in operator.text
        assert operator.metric("azpolicy_changes_total") == 0
    assert managed(world.cluster) == {}

    assert world.command("real").apply().code == 0
    weak = world.weaken()
    with world.azpolicy.operating("--dry-run", "--resync", "0.5") as operator:
        operator.wait_log(f"dry-run replaced {KIND}/{weak.rpartition('/')[2]}")
        operator.wait_syncs(2)
    assert world.cluster.get(weak)["spec"]["enforcementAction"] == "dryrun"
    assert world.azpolicy.writes(mark) == []


def test_a_fight_is_told_and_repairs_become_rare(world: World) -> None:
    with world.azpolicy.operating() as operator:
        world.settled(operator)
        path = world.weaken()

        def provoke() -> bool:
            live = world.cluster.get(path)
            if live["spec"]["enforcementAction"] != "dryrun":
                world.cluster.request("PATCH", path, {"spec": {"enforcementAction": "dryrun"}})
            return "fight over" in operator.text

        eventually(provoke, timeout=60, what="the fight to be told")

        assert operator.metric("azpolicy_fights") == 1
        assert path.rpartition("/")[2] in next(line for line in operator.text.splitlines() if "fight over" in line)
        eventually(lambda: world.cluster.get(path)["spec"]["enforcementAction"] == "deny", what="the last repair")


def test_its_pages_tell_health_readiness_and_metrics(world: World) -> None:
    with world.azpolicy.operating() as operator:
        world.settled(operator)

        assert operator.ask("/healthz") == (200, "ok\n")
        assert operator.ask("/readyz") == (200, "ok\n")
        assert operator.ask("/nothing")[0] == 404
        figures: dict[str, Callable[[float], bool]] = {
            "azpolicy_syncs_total": lambda value: value >= 1,
            "azpolicy_changes_total": lambda value: value == 6,
            "azpolicy_drift_repaired_total": lambda value: value == 0,
            "azpolicy_managed_objects": lambda value: value == 6,
            "azpolicy_members_enforced": lambda value: value == 4,
            "azpolicy_members_unresolved": lambda value: value == 0,
            "azpolicy_members_not_applied": lambda value: value == 0,
            "azpolicy_conflicts": lambda value: value == 0,
            "azpolicy_last_good_sync_age_seconds": lambda value: 0 <= value < 60,
        }
        wrong = {name: operator.metric(name) for name, right in figures.items() if not right(operator.metric(name))}
        assert wrong == {}

        world.snapshot.assign("label-1", world.label, effect="Disabled")
        eventually(lambda: operator.metric("azpolicy_members_not_applied") == 1, what="a member not applied")
        assert operator.metric("azpolicy_changes_total", action="deleted", cause="azure") == 1


def test_a_listen_port_in_use_is_one_clear_line(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        ended = world.azpolicy("run", "--listen", f"127.0.0.1:{port}")

    assert ended.code == 2
    [line] = ended.err.splitlines()
    assert line.startswith(f"error: --listen 127.0.0.1:{port}: ")
    assert "give HOST:PORT that is free" in line


def test_the_clusters_id_is_recorded_before_anything_else_is_written(world: World) -> None:
    mark = world.cluster.audit_mark()
    with world.azpolicy.operating() as operator:
        world.settled(operator)

    first = world.azpolicy.writes(mark)[0]
    assert f"/api/v1/namespaces/{first.namespace}/{first.resource}" in RECORD
