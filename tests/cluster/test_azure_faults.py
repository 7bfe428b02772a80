"""The operator reads Azure itself, and Azure fails: the real command over TLS against the stand-in, on a real cluster.

Whatever Azure answers, nothing is lost and nothing is deleted that Azure did not say is gone; then it is back in step.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final

import pytest

from tests.azure.documents import load
from tests.azure.faults import FaultKind
from tests.azure.standin import Standin
from tests.cluster.azpolicy import Operator, all_constraints, edit, managed, wipe
from tests.cluster.harness import TestCluster, eventually
from tests.cluster.test_azure import FromAzure
from tests.snapshots import CLUSTER_ID, GROUP, POLICY, Snapshot, TemplateFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KIND: Final = "K8sAzureV1ReadLabel"
EVER: Final = 1_000_000
LISTING: Final = r"policyAssignments\?.*atScope"
STAY: Final = ("early", *(f"stays-{number}" for number in range(9)))
FAILED: Final = {"result": "failure"}
READ: Final = {"result": "success"}
POLLS: Final = "azpolicy_source_polls_total"


class World:
    """A stand-in with a definition assigned ten times, the operator at work on it, polling every second."""

    def __init__(self, cluster: TestCluster, arm: Standin, folder: Path) -> None:
        self.cluster, self.arm = cluster, arm
        bundle = TemplateFolder(folder / "templates")
        self.snapshot = Snapshot(folder / "snapshot")
        self.label = self.snapshot.define("label", bundle.write("read-label/v1", KIND))
        for document in load(self.snapshot.folder):
            arm.documents.put(document)
        for name in STAY:
            self.assign(name)
        options = ["--templates", str(bundle.folder)]
        self.azpolicy = FromAzure(cluster, arm, user="reader", of=CLUSTER_ID, options=options)

    def assign(self, name: str) -> str:
        """Assigns the definition once more, in Azure alone."""
        assignment_id = self.snapshot.assign(name, self.label, labels=[name])
        self.arm.documents.put(json.loads((self.snapshot.folder / f"assignment-{name}.json").read_text()))
        return assignment_id

    def unassign(self, name: str) -> None:
        """Deletes an assignment from Azure, where there is one."""
        with contextlib.suppress(KeyError):
            self.arm.documents.delete(f"{GROUP}{POLICY}/policyAssignments/{name}")

    def assignments(self) -> set[str]:
        """The names of the assignments that the live constraints are of."""
        found = (live["metadata"]["annotations"] for live in all_constraints(self.cluster).values())
        return {each["azure-policy-assignment-id"].rpartition("/")[2] for each in found}

    def wait_for(self, *names: str, timeout: float = 60) -> None:
        """Waits until there are constraints of exactly those that stay and of these."""
        wanted = {*STAY, *names}
        eventually(lambda: self.assignments() == wanted, timeout, f"constraints of {sorted(wanted)}")

    def weaken(self) -> None:
        """Edits one constraint, as somebody who wants past it."""
        path = min(all_constraints(self.cluster))
        edit(self.cluster, path, lambda live: live["spec"].update(enforcementAction="dryrun"))

    def deletes(self, since: int) -> list[str]:
        """The names of what the operator deleted since an audit mark."""
        return [event.name for event in self.azpolicy.writes(since) if event.verb.startswith("delete")]


@pytest.fixture(scope="module")
def world(cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all faults: an operator meets them one after another, too."""
    with pytest.MonkeyPatch.context() as environment, Standin(page_size=2) as arm:
        for name, value in arm.environ.items():
            environment.setenv(name, value)
        yield World(cluster, arm, tmp_path_factory.mktemp("azure"))
        wipe(cluster)


@pytest.fixture(scope="module")
def operator(world: World) -> Iterator[Operator]:
    with world.azpolicy.operating("--interval", "1", "--prune-limit", "5") as running:
        eventually(lambda: running.metric("azpolicy_syncs_total", result="success"), timeout=90, what="a good sync")
        yield running


@pytest.fixture
def settled(world: World) -> Iterator[World]:
    """The world with those that stay and no other, before and after."""
    world.wait_for()
    yield world
    world.arm.heal()
    for name in ("late", "next"):
        world.unassign(name)
    world.wait_for()


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.THROTTLED,
        FaultKind.UNAUTHORIZED,
        FaultKind.FORBIDDEN,
        FaultKind.NOT_FOUND,
        FaultKind.SERVER_ERROR,
        FaultKind.CUT,
        FaultKind.TRUNCATED,
        FaultKind.LAST_PAGE,
        FaultKind.NO_VALUE,
    ],
)
def test_while_azure_fails_the_last_good_state_is_kept_and_repaired_then_it_is_back_in_step(
    settled: World, operator: Operator, kind: FaultKind
) -> None:
    settled.assign("late")
    settled.wait_for("late")
    before, mark = managed(settled.cluster), settled.cluster.audit_mark()
    failures = operator.metric(POLLS, **FAILED)

    settled.arm.fail(kind, LISTING, times=EVER, after=1, wait=0.2)
    settled.unassign("late")
    settled.assign("next")
    eventually(lambda: operator.metric(POLLS, **FAILED) >= failures + 2, timeout=90, what="two failed polls")
    good = operator.metric("azpolicy_last_good_sync_timestamp_seconds")
    settled.weaken()
    eventually(lambda: managed(settled.cluster) == before, what="the edit to be repaired")
    failing = operator.metric(POLLS, **FAILED)
    eventually(lambda: operator.metric(POLLS, **FAILED) > failing, timeout=60, what="one more failed poll")

    assert managed(settled.cluster) == before
    assert settled.deletes(mark) == []
    assert operator.metric("azpolicy_last_good_sync_timestamp_seconds") == good
    settled.arm.heal()
    settled.wait_for("next")
    assert len(settled.deletes(mark)) == 1


def _expire(arm: Standin, _: FaultKind | None) -> None:
    arm.expire_tokens()


def _once(arm: Standin, kind: FaultKind | None) -> None:
    assert kind is not None
    arm.fail(kind, LISTING, after=1, wait=1)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (_once, FaultKind.THROTTLED),
        (_once, FaultKind.THROTTLED_UNTIL),
        (_once, FaultKind.UNAUTHORIZED),
        (_once, FaultKind.SERVER_ERROR),
        (_once, FaultKind.CUT_WITHIN),
        (_once, FaultKind.SLOW),
        (_expire, None),
    ],
)
def test_a_fault_that_passes_costs_no_poll(
    settled: World,
    operator: Operator,
    fault: Callable[[Standin, FaultKind | None], None],
    kind: FaultKind | None,
) -> None:
    """A slow page is given up after 30 s and asked for again."""
    before, mark = managed(settled.cluster), settled.cluster.audit_mark()
    failures, refused = operator.metric(POLLS, **FAILED), len(settled.arm.requests)

    fault(settled.arm, kind)
    settled.assign("late")
    settled.wait_for("late", timeout=90)

    assert operator.metric(POLLS, **FAILED) == failures
    assert settled.deletes(mark) == []
    assert before.items() <= managed(settled.cluster).items()
    if kind is None:
        assert 401 in {each.status for each in settled.arm.requests[refused:]}


def test_an_assignment_deleted_between_pages_takes_no_other_along(settled: World, operator: Operator) -> None:
    """The rest moves up by one, so the next page lacks one that is there: a list that is whole by its looks."""
    mark = settled.cluster.audit_mark()
    failures = operator.metric(POLLS, **FAILED)

    settled.arm.before(f"{LISTING}.*skiptoken=2(&|$)", lambda: settled.unassign("early"))
    eventually(lambda: settled.assignments() == {*STAY} - {"early"}, what="the one that was deleted to go")

    assert operator.metric(POLLS, **FAILED) == failures + 1
    assert "it is incomplete" in operator.text
    polls = operator.metric(POLLS, **READ)
    eventually(lambda: operator.metric(POLLS, **READ) >= polls + 2, what="two more polls")
    assert len(settled.deletes(mark)) == 1
    settled.assign("early")


def test_what_an_assignment_made_goes_when_its_own_404_proves_it_gone(settled: World, operator: Operator) -> None:
    settled.assign("late")
    settled.wait_for("late")
    mark = settled.cluster.audit_mark()

    settled.unassign("late")
    settled.wait_for()

    assert [each.status for each in settled.arm.requests if each.path.endswith("/late")][-1] == 404
    assert len(settled.deletes(mark)) == 1
    assert operator.metric("azpolicy_problems") == 0


def test_an_assignment_that_may_not_be_asked_for_is_not_proven_gone_and_the_limit_holds(
    settled: World, operator: Operator
) -> None:
    settled.assign("late")
    settled.wait_for("late")
    mark = settled.cluster.audit_mark()

    settled.arm.fail(FaultKind.FORBIDDEN, r"policyAssignments/late\?", times=EVER)
    settled.unassign("late")
    eventually(lambda: operator.metric("azpolicy_problems") == 1, what="the deletion to be refused")
    planned = settled.azpolicy.plan("--prune-limit", "5")

    assert list(planned.changes().values()) == ["refuse"]
    assert settled.deletes(mark) == []
    settled.arm.heal()
    settled.wait_for()
    assert len(settled.deletes(mark)) == 1
