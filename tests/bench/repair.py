"""How fast an edited constraint is restored while the operator and the API server have something else to do.

Each phase is measured apart. A second client edits a constraint, reads it until it is restored, and goes on with the
next one. In turn with it, it edits a constraint that nobody else looks after but a bare client: a watch, and a write of
what was there. That takes the API server and Gatekeeper's webhook as long at the same moment, so it is the limit.
"""

from __future__ import annotations

import concurrent.futures
import copy
import itertools
import math
import statistics
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from controller.gatekeeper.naming import REQUESTED_AT
from tests.bench.cluster import (
    CONSTRAINTS,
    EDIT,
    GOAL_MIB,
    ROOT,
    Bench,
    Connection,
    edit_in_parallel,
    operator,
    resident_mib,
)
from tests.bench.figures import at_most, figure, percentile, quantity
from tests.bench.scale import EVERYTHING
from tests.cluster.harness import TestCluster, eventually, tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GOAL: Final = 0.5
AT_REST: Final = 100
STARTS: Final = 5
SYNCS: Final = 10
AUDITS: Final = 3
AUDIT_INTERVAL: Final = 45
# A phase lasts no longer, so that the figures of a slow machine come in minutes too.
PHASE_SECONDS: Final = 90.0
PATIENCE: Final = 60.0
# A storm of edits that a cluster of two cores still keeps up with.
STEADY: Final = 5.0
# What the edits of the last phases leave to the client that measures.
KEPT: Final = 100
REPORTS: Final = "/apis/azpolicy.dev/v1alpha1/assignedpolicies"
POLICY_SYNC: Final = "/apis/azpolicy.dev/v1alpha1/policysyncs/default"
LIMIT: Final = "bench-limit"


class BareClient:
    """Restores one constraint, which no policy asks for, and does nothing else.

    Where its thread ends by an error the constraint is not restored any more, which ends the bench.
    """

    def __init__(self, bench: Bench) -> None:
        like = bench.constraints[-1]
        self._bench = bench
        self._kind = bench.path(like).rpartition("/")[0]
        self.spec: Any = like["spec"]
        self.path = f"{self._kind}/{LIMIT}"
        made = {**copy.deepcopy(like), "metadata": {"name": LIMIT}}
        bench.cluster.request("POST", self._kind, made)
        threading.Thread(target=self._restore, daemon=True).start()

    def _restore(self) -> None:
        writing = Connection(self._bench.cluster)
        for event in Connection(self._bench.cluster).watch(f"{self._kind}?fieldSelector=metadata.name={LIMIT}"):
            live = event["object"]
            if live["spec"] != self.spec:
                # 409: the audit wrote the status meanwhile, and the next event is that.
                writing.expect({200, 409}, "PUT", self.path, {**live, "spec": self.spec})


class Editor:
    """Edits one constraint after the other, each a different one for as long as there are, and times the repairs."""

    def __init__(self, bench: Bench, bare: BareClient) -> None:
        self._connection = Connection(bench.cluster)
        self._bare = bare
        self.over(bench)

    def over(self, bench: Bench, last: int = CONSTRAINTS) -> None:
        """Edits only so many from now on."""
        self._constraints = itertools.cycle([(bench.path(each), each["spec"]) for each in bench.constraints[-last:]])

    def as_they_are(self) -> None:
        """Takes what the constraints say now for what they are restored to."""
        paths = dict(next(self._constraints) for _ in range(CONSTRAINTS))
        live = [(path, self._connection.expect({200}, "GET", path)["spec"]) for path in paths]
        self._constraints = itertools.cycle(live)

    def edit_while(self, holds: Callable[[], bool], seconds: float = PHASE_SECONDS) -> Repairs:
        """Edits at least once, and for as long as a phase lasts."""
        repairs = Repairs()
        end = time.perf_counter() + seconds
        while True:
            repairs.ours.append(self._edit(*next(self._constraints)))
            repairs.bare.append(self._edit(self._bare.path, self._bare.spec))
            if not holds() or time.perf_counter() > end:
                return repairs

    def _edit(self, path: str, spec: Any) -> float:
        """Seconds from the answer to an edit until a read shows the constraint restored."""
        edited = self._connection.expect({200}, "PATCH", path, EDIT)
        edited_at = time.perf_counter()
        if edited["spec"] == spec:
            raise SystemExit(f"the edit of {path} did not take")
        while self._connection.expect({200}, "GET", path)["spec"] != spec:
            time.sleep(0.002)  # a reader, not a load
            if time.perf_counter() - edited_at > PATIENCE:
                raise SystemExit(f"{path} was not restored")
        return time.perf_counter() - edited_at


class Repairs:
    """Seconds of each repair in one phase, ours and the bare client's."""

    def __init__(self) -> None:
        self.ours: list[float] = []
        self.bare: list[float] = []

    def add(self, more: Repairs) -> None:
        """Those of the same phase, at another time."""
        self.ours += more.ours
        self.bare += more.bare

    def tell(self, phase: str) -> None:
        """Prints the figure."""
        share = statistics.mean(self.bare) / statistics.mean(self.ours)
        p50, p99 = (quantity(percentile(self.bare, each), "s") for each in (50, 99))
        figure(
            f"repair p99 {phase}, {len(self.ours)} edits",
            percentile(self.ours, 99),
            "s",
            goal=at_most(GOAL),
            beside=f"a bare client: p50 {p50}, p99 {p99}, {share:.0%} of ours on average",
            detail=f"p50 {quantity(percentile(self.ours, 50), 's')}",
        )


def run(folder: Path) -> None:
    """Prints every figure of this module."""
    with TestCluster.start(audit_interval=AUDIT_INTERVAL) as cluster:
        bench = Bench(cluster, folder)
        bench.azpolicy("apply")
        cluster.kubectl("apply", "--filename", str(ROOT / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "--filename", str(ROOT / "crds"))
        editor = Editor(bench, BareClient(bench))
        _after_start(bench, editor)
        with operator(bench):
            _until_reported(bench)
            edits = iter(range(AT_REST))
            editor.edit_while(lambda: next(edits, None) is not None).tell("at rest")
            _during_syncs(bench, editor)
            _during_audit(bench, editor)
            _while_edits_come_in(bench, editor, per_second=STEADY)
            _while_edits_come_in(bench, editor)
        _with_everything(bench, editor)


def _after_start(bench: Bench, editor: Editor) -> None:
    """From ready until every one of the reports, none of which is there at first, is written."""
    connection = Connection(bench.cluster)
    first, later = Repairs(), Repairs()
    for _ in range(STARTS):
        bench.cluster.request("DELETE", REPORTS)
        eventually(lambda: _reports(connection) == 0, timeout=60, what="no reports")
        with operator(bench):
            first.add(editor.edit_while(lambda: True, seconds=1))
            later.add(editor.edit_while(lambda: _reports(connection) < CONSTRAINTS))
    first.tell(f"in the first second after each of {STARTS} starts")
    later.tell(f"from then on, while {CONSTRAINTS} reports are written")


def _reports(connection: Connection) -> int:
    """How many there are, asked for one of them."""
    listed = connection.expect({200}, "GET", f"{REPORTS}?limit=1")
    return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount") or 0)


def _until_reported(bench: Bench) -> None:
    connection = Connection(bench.cluster)
    eventually(lambda: _reports(connection) == CONSTRAINTS, timeout=300, what=f"{CONSTRAINTS} reports")


def _during_syncs(bench: Bench, editor: Editor) -> None:
    """Full syncs without a pause: the next one is asked for as soon as one is done."""
    connection = Connection(bench.cluster)

    def handled(asked: str) -> bool:
        status = connection.expect({200}, "GET", POLICY_SYNC).get("status", {})
        return bool(status.get("lastHandledRequest") == asked)

    def syncs() -> None:
        for _ in range(SYNCS):
            asked = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            connection.expect({200}, "PATCH", POLICY_SYNC, {"metadata": {"annotations": {REQUESTED_AT: asked}}})
            eventually(partial(handled, asked), timeout=PATIENCE, what="a full sync")

    with _meanwhile(syncs) as going_on:
        repairs = editor.edit_while(going_on)
    repairs.tell("during full syncs")


def _during_audit(bench: Bench, editor: Editor) -> None:
    """From the first status that an audit writes until the last one, several times."""
    kinds = sorted({bench.path(each).rpartition("/")[0] for each in bench.constraints})
    connection = Connection(bench.cluster)

    def audited() -> set[str]:
        """The times of the audits whose results stand in the constraints."""
        lists = (connection.expect({200}, "GET", kind)["items"] for kind in (kinds[0], kinds[-1]))
        return {str(item.get("status", {}).get("auditTimestamp")) for items in lists for item in items}

    repairs = Repairs()
    for _ in range(AUDITS):
        eventually(lambda: len(audited()) == 1, timeout=4 * AUDIT_INTERVAL, what="the end of an audit")
        eventually(lambda: len(audited()) > 1, timeout=4 * AUDIT_INTERVAL, what="the next audit's first results")
        repairs.add(editor.edit_while(lambda: len(audited()) > 1))
    repairs.tell(f"during {AUDITS} audits of {CONSTRAINTS} constraints")


def _while_edits_come_in(bench: Bench, editor: Editor, *, per_second: float = math.inf) -> None:
    """Steadily, or as fast as the API server takes them: then each repair stands in one line with all of them."""
    others = bench.constraints[:-KEPT]
    editor.over(bench, KEPT)
    with _meanwhile(lambda: edit_in_parallel(bench, others, per_second=per_second)) as going_on:
        repairs = editor.edit_while(going_on)
    pace = "as fast as they can" if math.isinf(per_second) else f"{per_second:g} a second"
    repairs.tell(f"while {len(others)} other edits come in, {pace}")


def _with_everything(bench: Bench, editor: Editor) -> None:
    bench.cluster.kubectl("apply", "--server-side", "--filename", str(tools.open_reports_crds()))
    bench.azpolicy("apply", "--expansion", "all")
    with operator(bench, *EVERYTHING.options) as (pid, _):
        _until_reported(bench)
        editor.over(bench)
        editor.as_they_are()
        edits = iter(range(AT_REST))
        editor.edit_while(lambda: next(edits, None) is not None).tell(f"at rest, {EVERYTHING.name}")
        figure(f"resident memory of the operator, {EVERYTHING.name}", resident_mib(pid), "MiB", goal=at_most(GOAL_MIB))


@contextmanager
def _meanwhile(work: Callable[[], Any]) -> Iterator[Callable[[], bool]]:
    """Does something in a thread; gives whether it still goes on. An error of the thread is the block's."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        yield lambda: not working.done()
        working.result(5 * PATIENCE)
