"""Reports of policies on a real cluster, with the real kinds of both APIs and the rights that the chart gives."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.azure.standin import Standin
from tests.cluster.azpolicy import pod, run, wipe
from tests.cluster.deployed import Deployed
from tests.cluster.harness import TestCluster, eventually, tools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)  # helm is built first where it has not been

OPEN: Final = "/apis/openreports.io/v1alpha1"
OLDER: Final = "/apis/wgpolicyk8s.io/v1alpha2"
KINDS: Final = {OPEN: ("clusterreports", "reports"), OLDER: ("clusterpolicyreports", "policyreports")}
NAMESPACES: Final = ("shop", "web")


@pytest.fixture(scope="module")
def installed(cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A release whose operator may write reports; nothing is assigned, and no replica runs."""
    with cluster.audited_every(5), Standin() as arm:
        made = Deployed(cluster, arm, tmp_path_factory.mktemp("reports"), reports={"enabled": True})
        yield made
        made.release.remove()
        wipe(cluster)


@pytest.fixture
def violated(installed: Deployed) -> Iterator[Deployed]:
    """Two namespaces with a pod each that violates a policy which is only audited, and one that nothing violates."""
    cluster = installed.cluster
    for namespace in NAMESPACES:
        eventually(partial(has_pod, cluster, namespace), what=f"a pod in {namespace}")
    installed.assign("one", effect="Audit", labels=["one"])
    installed.assign("two", labels=["two"])
    yield installed
    for namespace in NAMESPACES:
        remove_pod(cluster, namespace)
    installed.patch({"spec": None})


def has_pod(cluster: TestCluster, namespace: str) -> bool:
    """Makes the namespace where there is none, and the pod in it; whether it is there."""
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    return cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod(one="x"))[0] == 201


def remove_pod(cluster: TestCluster, namespace: str) -> None:
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/tried?gracePeriodSeconds=0")


@contextlib.contextmanager
def kinds(cluster: TestCluster, api: str, crds: Path) -> Iterator[None]:
    """The kinds of an API, as an administrator installs them, until the block ends."""
    cluster.kubectl("apply", "--server-side", "-f", str(crds))
    try:
        yield
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "-f", str(crds))
        eventually(lambda: cluster.request("GET", f"{api}/{KINDS[api][0]}")[0] == 404, what="the kinds to go")


def reports(cluster: TestCluster, api: str = OPEN) -> dict[str, dict[str, Any]]:
    """The reports that are there, by NAMESPACE/NAME."""
    items = [each for plural in KINDS[api] for each in cluster.get(f"{api}/{plural}")["items"]]
    return {"/".join(filter(None, (m.get("namespace"), m["name"]))): each for each in items for m in [each["metadata"]]}


def summaries(cluster: TestCluster, api: str = OPEN) -> dict[str, dict[str, int]]:
    """How many results of which kind each report has, those of none left out."""
    return {
        name: {k: n for k, n in each.get("summary", {}).items() if n} for name, each in reports(cluster, api).items()
    }


def becomes(cluster: TestCluster, wanted: dict[str, dict[str, int]], api: str = OPEN) -> None:
    """Waits until these reports are there, and no others."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: cluster.request("GET", f"{api}/{KINDS[api][0]}")[0] == 200, what="the kinds")
        eventually(lambda: summaries(cluster, api) == wanted, timeout=90)
    assert summaries(cluster, api) == wanted


ALL: Final = {"azpolicy-assignments": {"pass": 1, "warn": 1}, "shop/azpolicy": {"warn": 1}, "web/azpolicy": {"warn": 1}}


def test_reports_come_with_their_kinds_follow_what_is_fixed_and_go_when_switched_off(violated: Deployed) -> None:
    cluster = violated.cluster
    with violated.replica() as operator:
        violated.wait_in_sync()
        cluster.wait_for_audit()
        with kinds(cluster, OPEN, tools.open_reports_crds()):
            becomes(cluster, ALL)
            (told,) = reports(cluster)["shop/azpolicy"]["results"]
            assert told["resources"] == [{"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "tried"}]
            assert (told["result"], told["scored"], told["severity"]) == ("warn", False, "low")
            assert told["policy"] == "Definition label"
            assert "label one is forbidden" in told["message"]
            table = cluster.kubectl("get", "reports", "-n", "shop").stdout.split()
            assert "azpolicy" in table

            # Settled means no write, whatever audits and full syncs there are.
            mark = cluster.audit_mark()
            for _ in range(2):
                cluster.wait_for_audit()
            operator.wait_syncs(3)
            assert [each.resource for each in violated.writes(mark)] == []

            remove_pod(cluster, "web")
            fixed = {name: each for name, each in ALL.items() if name != "web/azpolicy"}
            becomes(cluster, fixed)
            overview = reports(cluster)["azpolicy-assignments"]["results"]
            assert sorted(each["properties"]["violations"] for each in overview) == ["0", "1"]

            assert violated.patch({"spec": {"reports": "none"}})
            becomes(cluster, {})
        assert "not written" not in operator.text


def test_the_older_api_is_written_where_it_is_chosen_and_uninstall_takes_it_away(violated: Deployed) -> None:
    cluster = violated.cluster
    with (
        kinds(cluster, OPEN, tools.open_reports_crds()),
        kinds(cluster, OLDER, tools.policy_report_crds()),
    ):
        with violated.replica():
            becomes(cluster, ALL)

            assert violated.patch({"spec": {"reports": "wgpolicy"}})

            becomes(cluster, ALL, OLDER)
            becomes(cluster, {})
            assert reports(cluster, OLDER)["shop/azpolicy"]["results"][0]["source"] == "Azure Policy"
        administrator = cluster.kubeconfig_for("remover", ["system:masters"])
        where = ("--namespace", violated.release.namespace, "--kubeconfig", administrator)
        shown = run("uninstall", *where, "--keep-crds", "--yes")
        assert shown.code == 0, shown.err
        assert "PolicyReport/shop/azpolicy" in shown.out
        assert reports(cluster, OLDER) == {}


def test_a_report_of_our_name_that_is_anothers_is_told_and_stays(violated: Deployed) -> None:
    cluster = violated.cluster
    theirs = {"apiVersion": "openreports.io/v1alpha1", "kind": "Report", "metadata": {"name": "azpolicy"}}
    with kinds(cluster, OPEN, tools.open_reports_crds()):
        path = f"{OPEN}/namespaces/shop/reports"
        eventually(lambda: cluster.request("POST", path, theirs)[0] == 201, what="their report")
        with violated.replica():
            becomes(cluster, {**ALL, "shop/azpolicy": {}})
            [event] = eventually(lambda: violated.events("default", "ReportNotWritten"), what="an Event about it")
            assert "namespaces/shop/reports/azpolicy is another's" in event["note"]


def test_a_namespace_that_goes_takes_its_report_along_and_is_no_trouble(violated: Deployed) -> None:
    cluster = violated.cluster
    with kinds(cluster, OPEN, tools.open_reports_crds()), violated.replica() as operator:
        becomes(cluster, ALL)

        cluster.kubectl("delete", "namespace", "web", "--wait=false")

        becomes(cluster, {name: each for name, each in ALL.items() if name != "web/azpolicy"})
        assert "not written" not in operator.text
