"""What the loops do with the result of each change: log it, count a repair towards a fight, and judge when to retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.cluster.fights import FightDetector
from controller.cluster.reasons import PASSING, Reason
from controller.operator.state import Loop
from controller.report.journal import Journal
from controller.times import loop_time

if TYPE_CHECKING:
    from controller.cluster.apply import ChangeSet, Result
    from controller.gatekeeper.model import ObjectRef
    from controller.operator.state import OperatorState
    from controller.report.metrics import Metrics
    from controller.report.reporter import Reporter


class Results:
    """The results of syncs and repairs alike, and the fights that repairs show."""

    def __init__(self, state: OperatorState, metrics: Metrics, reporter: Reporter) -> None:
        self._state = state
        self._fights = FightDetector()
        self._journal = Journal(metrics, reporter)

    def want(self) -> None:
        """A new desired state: what differs from now on is a change from Azure, until it was carried out."""
        self._journal.want(self._state.index)

    def tell(self, result: Result) -> None:
        """Takes in one result as it comes; of what was not written because it is decided anew, nobody needs to know."""
        self._state.beat(Loop.SYNC)
        if result.reason == Reason.SUPERSEDED:
            return
        if self._journal.tell(result, self._state.mode):
            self._fights.repaired(result.ref, loop_time())

    def carried_out(self, outcome: ChangeSet) -> None:
        """All of a full sync was carried out, but for its problems: what differs from now on is drift."""
        self._journal.carried(outcome)

    def send(self) -> None:
        """Hands what was told since the last time to the reporter, together."""
        self._journal.send()

    def seconds_held(self, ref: ObjectRef) -> float:
        """How long a fight still holds back the next repair of an object; 0 where there is none."""
        return self._fights.delay(ref, loop_time())

    def tell_fights(self) -> None:
        """Notes the fights that began and ended."""
        fighting = frozenset(self._fights.fighting(loop_time()))
        self._journal.fights(fighting)
        self._state.update(fights=tuple(sorted(fighting)))


def retry_soon(outcome: ChangeSet) -> bool:
    """Whether something failed for a reason that passes by itself."""
    return any(result.reason in PASSING for result in outcome.problems)
