"""Two installations in one cluster: the second is refused with words, and nothing of the first goes or changes."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cluster.azpolicy import RECORD, managed, run
from tests.cluster.chart import CRDS, KEPT, install
from tests.cluster.harness import HarnessError, eventually
from tests.deploy.helm import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.azpolicy import Operator
    from tests.cluster.deployed import Deployed

ELSEWHERE: Final = "azpolicy-second"
REFUSED: Final = f"belongs to the installation with --managed-by azure-policy-sync in {NAMESPACE}/azpolicy"


@contextlib.contextmanager
def second(deployed: Deployed, namespace: str, **values: Any) -> Iterator[Deployed]:
    """Another release of the chart, with the same Azure.

    The chart would refuse it. So, unless it brings the kinds along, these are made to look as kubectl installs them.
    """
    other = copy.copy(deployed)
    chosen = {"managedBy": "team-b", "crds": {"install": False}, **values}
    if not chosen["crds"]["install"]:
        unmarked = {"metadata": {"annotations": {"meta.helm.sh/release-name": None}}}
        assert deployed.cluster.request("PATCH", f"{CRDS}/policysyncs.azpolicy.dev", unmarked)[0] == 200
    other.release = install(deployed.cluster, deployed.values(**chosen), name="second", namespace=namespace)
    other.user = other.release.user
    try:
        yield other
    finally:
        other.release.uninstall()
        if namespace != NAMESPACE:
            for api, kind in KEPT:
                deployed.cluster.request("DELETE", f"/{api}/namespaces/{namespace}/{kind}")


def ends_refused(operator: Operator) -> None:
    """The process ends with one line that says whose cluster it is."""
    assert operator.wait() == 2, operator.text
    assert REFUSED in operator.text


def labels(found: dict[str, dict[str, Any]]) -> set[str]:
    return {each["metadata"]["labels"]["managed-by"] for each in found.values()}


def test_in_another_namespace_it_ends_with_words_and_writes_nothing(deployed: Deployed) -> None:
    with deployed.replica("azpolicy-0"):
        before = deployed.wait_in_sync()
        with second(deployed, ELSEWHERE) as other:
            mark = deployed.cluster.audit_mark()
            with other.replica("second-0", ready=False) as operator:
                ends_refused(operator)

            assert other.writes(mark) == []
            deployed.wait_for("Ready", "True", "InSync")
            assert managed(deployed.cluster) == before


def test_in_the_same_namespace_it_is_not_ready_says_who_holds_the_lease_and_never_writes(deployed: Deployed) -> None:
    with second(deployed, NAMESPACE) as other, deployed.replica("azpolicy-0") as first:
        before = deployed.wait_in_sync()
        mark = deployed.cluster.audit_mark()
        with other.replica("second-0", ready=False) as operator:
            held = f"the Lease {NAMESPACE}/azure-policy-sync is held by azpolicy-0"
            eventually(lambda: operator.code is None and operator.ask("/readyz")[0] == 503, what="it to be not ready")
            eventually(lambda: held in operator.ask("/readyz")[1], what="it to say why")
            assert held in operator.text
            # It comes to lead when the first ends: it gives the Lease up again.
            assert first.stop() == 0
            ends_refused(operator)

        assert other.writes(mark) == []
        with deployed.replica("azpolicy-1"):
            deployed.wait_in_sync()
        assert managed(deployed.cluster) == before


def test_one_that_adopts_the_first_takes_it_over_without_a_gap_and_the_first_is_refused(deployed: Deployed) -> None:
    with deployed.replica("azpolicy-0"):
        before = deployed.wait_in_sync()
    with second(deployed, ELSEWHERE, adopt=["azure-policy-sync"]) as other:
        mark = deployed.cluster.audit_mark()
        with other.replica("second-0"):
            after = other.wait_in_sync()
            assert labels(after) == {"team-b"}
            assert after.keys() == before.keys()
            assert {event.verb for event in other.writes(mark) if "gatekeeper" in event.group} == {"update"}
            with deployed.replica("azpolicy-1", ready=False) as former:
                assert former.wait() == 2
                assert f"belongs to the installation with --managed-by team-b in {ELSEWHERE}/second" in former.text
            assert managed(deployed.cluster) == after
    record = deployed.cluster.get(RECORD)
    assert record["metadata"]["labels"]["managed-by"] == "team-b"
    assert record["data"]["installation"] == f"{ELSEWHERE}/second"


@pytest.mark.parametrize("command", ["apply", "uninstall"])
def test_a_persons_command_with_another_managed_by_is_refused(deployed: Deployed, command: str) -> None:
    with deployed.replica("azpolicy-0"):
        before = deployed.wait_in_sync()
    where = ("--kubeconfig", str(deployed.cluster.kubeconfig), "--managed-by", "team-b")
    snapshot = ("--snapshot", str(deployed.snapshot.folder), "--templates", str(deployed.bundle.folder))

    ended = run(command, *where, *{"apply": snapshot, "uninstall": ("--yes",)}[command])

    assert ended.code == 2, ended.err
    assert REFUSED in ended.err
    assert managed(deployed.cluster) == before


def test_helm_refuses_a_second_release_with_words(deployed: Deployed) -> None:
    with pytest.raises(HarnessError) as refused, second(deployed, ELSEWHERE, crds={"install": True}):
        pass

    assert f"release azpolicy in namespace {NAMESPACE}" in str(refused.value)
    assert "a cluster has one azpolicy" in str(refused.value)
