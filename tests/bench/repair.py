"""How fast an edited constraint is restored while the operator and the API server have something else to do.

Each phase is measured apart. One second client edits a constraint, reads it until it is restored, and goes on with the
next one. Beside the time to repair stands the API server's own answer to the edit: a write of the same object, through
the same webhook, at the same moment.
"""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from controller.gatekeeper.naming import REQUESTED_AT
from tests.bench.cluster import CONSTRAINTS, EDIT, ROOT, Bench, Connection, edit_in_parallel, operator
from tests.bench.figures import at_most, figure, percentile, quantity, spread
from tests.cluster.harness import TestCluster, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GOAL: Final = 0.5
AT_REST: Final = 100
STARTS: Final = 2
SYNCS: Final = 10
AUDIT_INTERVAL: Final = 45
# A phase lasts no longer, so that the figures of a slow machine come in minutes too.
PHASE_SECONDS: Final = 30.0
PATIENCE: Final = 60.0
# What the edits of the last phase leave to the client that measures.
KEPT: Final = 100
REPORTS: Final = "/apis/azpolicy.dev/v1alpha1/assignedpolicies"
POLICY_SYNC: Final = "/apis/azpolicy.dev/v1alpha1/policysyncs/default"


class Editor:
    """Edits one constraint after the other, each a different one for as long as there are, and times the repairs."""

    def __init__(self, bench: Bench) -> None:
        self._connection = Connection(bench.cluster)
        self._constraints = itertools.cycle([(bench.path(each), each["spec"]) for each in bench.constraints[-KEPT:]])
        self._answers: list[float] = []
        self._repairs: list[float] = []

    def edit(self) -> None:
        """One edit, until another read shows the constraint restored."""
        path, spec = next(self._constraints)
        asked = time.perf_counter()
        status, edited = self._connection.request("PATCH", path, EDIT)
        edited_at = time.perf_counter()
        if status != 200 or edited["spec"] == spec:
            raise SystemExit(f"the edit of {path} did not take: {status}")
        self._answers.append(edited_at - asked)
        while self._connection.request("GET", path)[1].get("spec") != spec:
            time.sleep(0.002)  # a reader, not a load
            if time.perf_counter() - edited_at > PATIENCE:
                raise SystemExit(f"{path} was not restored")
        self._repairs.append(time.perf_counter() - edited_at)

    def edit_while(self, holds: Callable[[], bool]) -> None:
        """Edits at least once, and for as long as a phase lasts, but no longer than PHASE_SECONDS."""
        end = time.perf_counter() + PHASE_SECONDS
        self.edit()
        while holds() and time.perf_counter() < end:
            self.edit()

    def tell(self, phase: str) -> None:
        """Prints the figures since the last call."""
        repairs, answers = self._repairs, self._answers
        self._repairs, self._answers = [], []
        figure(
            f"repair p99 {phase}, {len(repairs)} edits",
            percentile(repairs, 99),
            "s",
            goal=at_most(GOAL),
            beside=f"the API server's answers to those edits: {spread(answers)}",
            detail=f"p50 {quantity(percentile(repairs, 50), 's')}",
        )


def run(folder: Path) -> None:
    """Prints every figure of this module."""
    with TestCluster.start(audit_interval=AUDIT_INTERVAL) as cluster:
        bench = Bench(cluster, folder)
        bench.azpolicy("apply")
        cluster.kubectl("apply", "--filename", str(ROOT / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "--filename", str(ROOT / "crds"))
        editor = Editor(bench)
        _after_start(bench, editor)
        with operator(bench):
            _until_reported(bench)
            edits = iter(range(AT_REST))
            editor.edit_while(lambda: next(edits, None) is not None)
            editor.tell("at rest")
            _during_syncs(bench, editor)
            _during_audit(bench, editor)
            _while_edits_come_in(bench, editor)


def _after_start(bench: Bench, editor: Editor) -> None:
    """From ready until every one of the reports, none of which is there at first, is written."""
    connection = Connection(bench.cluster)
    for _ in range(STARTS):
        bench.cluster.request("DELETE", REPORTS)
        eventually(lambda: _reports(connection) == 0, timeout=60, what="no reports")
        with operator(bench):
            editor.edit_while(lambda: _reports(connection) < CONSTRAINTS)
    editor.tell(f"after {STARTS} starts, {CONSTRAINTS} reports to write")


def _reports(connection: Connection) -> int:
    """How many there are, asked for one of them."""
    listed = connection.request("GET", f"{REPORTS}?limit=1")[1]
    return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount") or 0)


def _until_reported(bench: Bench) -> None:
    connection = Connection(bench.cluster)
    eventually(lambda: _reports(connection) == CONSTRAINTS, timeout=300, what=f"{CONSTRAINTS} reports")


def _during_syncs(bench: Bench, editor: Editor) -> None:
    """Full syncs without a pause: the next one is asked for as soon as one is done."""
    connection = Connection(bench.cluster)

    def handled(asked: str) -> bool:
        status = connection.request("GET", POLICY_SYNC)[1].get("status", {})
        return bool(status.get("lastHandledRequest") == asked)

    def syncs() -> None:
        for _ in range(SYNCS):
            asked = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            connection.request("PATCH", POLICY_SYNC, {"metadata": {"annotations": {REQUESTED_AT: asked}}})
            eventually(partial(handled, asked), timeout=PATIENCE, what="a full sync")

    with _meanwhile(syncs) as going_on:
        editor.edit_while(going_on)
    editor.tell("during full syncs")


def _during_audit(bench: Bench, editor: Editor) -> None:
    """From the first status that an audit writes until the last one."""
    kinds = sorted({bench.path(each).rpartition("/")[0] for each in bench.constraints})
    connection = Connection(bench.cluster)

    def audited() -> set[str]:
        """The times of the audits whose results stand in the constraints."""
        lists = (connection.request("GET", kind)[1]["items"] for kind in (kinds[0], kinds[-1]))
        return {str(item.get("status", {}).get("auditTimestamp")) for items in lists for item in items}

    eventually(lambda: len(audited()) == 1, timeout=4 * AUDIT_INTERVAL, what="the end of an audit")
    eventually(lambda: len(audited()) > 1, timeout=4 * AUDIT_INTERVAL, what="the next audit's first results")
    editor.edit_while(lambda: len(audited()) > 1)
    editor.tell(f"during an audit of {CONSTRAINTS} constraints")


def _while_edits_come_in(bench: Bench, editor: Editor) -> None:
    others = bench.constraints[:-KEPT]
    with _meanwhile(lambda: edit_in_parallel(bench, others)) as going_on:
        editor.edit_while(going_on)
    editor.tell(f"while {len(others)} edits come in")


@contextmanager
def _meanwhile(work: Callable[[], Any]) -> Iterator[Callable[[], bool]]:
    """Does something in a thread; gives whether it still goes on."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread.is_alive
    thread.join(5 * PATIENCE)
