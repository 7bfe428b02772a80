"""Repairs what a watch event names, at once and beside the full sync.

Three things keep an event waiting: a repair of its object that is under way, a fight over it, and a nudge of Gatekeeper
about it, which would look like drift.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from controller.cluster.apply import WRITE_ACTIONS, Meanwhile
from controller.cluster.kinds import kind_of
from controller.cluster.lanes import Lane, in_lane
from controller.cluster.ownership import Ownership, ownership
from controller.errors import ClusterError
from controller.gatekeeper.expansion import EXPANSION_REFS
from controller.gatekeeper.model import ObjectRef, Role
from controller.gatekeeper.naming import is_managed_name
from controller.gatekeeper.syncset import SYNCSET_REF
from controller.operator.results import retry_soon
from controller.operator.state import Loop
from controller.report.conditions import Mode
from controller.times import loop_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeAlias

    from controller.cluster.apply import Result
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import DesiredObject
    from controller.operator.dependencies import Dependencies
    from controller.operator.results import Results
    from controller.operator.state import OperatorState

    Batch: TypeAlias = Mapping[ObjectRef, tuple[LiveObject | None, float]]

log = logging.getLogger("azpolicy")
_LOOK_SECONDS: Final = 1.0
_UNOWNED: Final = frozenset({SYNCSET_REF, *EXPANSION_REFS})


class Repairs:
    """Takes watch events and repairs their objects until it is cancelled."""

    def __init__(self, deps: Dependencies, state: OperatorState, results: Results) -> None:
        self._deps = deps
        self._state = state
        self._results = results
        self._events: dict[ObjectRef, tuple[LiveObject | None, float]] = {}
        self._news = asyncio.Event()
        self._repairing: set[ObjectRef] = set()
        self._held: dict[ObjectRef, asyncio.TimerHandle] = {}
        self._paused: set[ObjectRef] = set()
        self._meanwhile = Meanwhile(lambda: state.mode is not Mode.ENFORCE, self._superseded)

    def changed(self, ref: ObjectRef, live: LiveObject | None) -> None:
        """An object as a watch event shows it, None where it is gone; only the last one counts."""
        self._events[ref] = (live, loop_time())
        self._news.set()

    @contextlib.contextmanager
    def paused(self, ref: ObjectRef) -> Iterator[bool]:
        """Holds back repairs of an object for the length of a block; False where one is under way or held back."""
        if ref in self._repairing or ref in self._held:
            yield False
            return
        self._paused.add(ref)
        try:
            yield True
        finally:
            self._paused.discard(ref)
            self._news.set()

    async def run(self) -> None:
        """Repairs each batch of events in a task of its own, so that none waits for another."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._state.beat(Loop.REPAIR)
                    self._results.tell_fights()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await self._news.wait()
                    self._news.clear()
                    if self._state.mode is not Mode.ENFORCE:
                        # The full sync at the end of a suspension compares everything.
                        self._events.clear()
                    elif batch := self._take():
                        with in_lane(Lane.REPAIR):
                            group.create_task(self._repair(batch))
        finally:
            for timer in self._held.values():
                timer.cancel()
            self._held.clear()

    def _take(self) -> Batch:
        """The events that can be looked at now; the others stay."""
        batch: dict[ObjectRef, tuple[LiveObject | None, float]] = {}
        for ref in list(self._events):
            if ref in self._repairing or ref in self._held or ref in self._paused:
                continue
            if seconds := self._results.seconds_held(ref):
                self._held[ref] = asyncio.get_running_loop().call_later(seconds, self._release, ref)
                continue
            batch[ref] = self._events.pop(ref)
        return batch

    def _release(self, ref: ObjectRef) -> None:
        del self._held[ref]
        self._news.set()

    async def _repair(self, batch: Batch) -> None:
        """Decides again about each object of a batch and writes what differs."""
        desired, index = self._state.desired, self._state.index
        if desired is None:
            return
        wanted = [(index[ref], live) for ref, (live, _) in batch.items() if ref in index]
        if any(self._needs_full_sync(ref, live) for ref, (live, _) in batch.items()):
            self._state.sync_wanted.set()
        left = {each.ref for each, _ in wanted}
        self._repairing |= left

        def done(result: Result) -> None:
            # At once: the others of the batch may wait long, and it may have been changed again.
            left.discard(result.ref)
            self._repairing.discard(result.ref)
            self._news.set()
            self._repaired(result, batch)

        try:
            plan = await self._deps.planner.some(desired.cluster_id, wanted)
            outcome = await self._deps.applier.apply(plan, done, meanwhile=self._meanwhile)
        except ClusterError as error:
            log.warning("repair failed, the next sync tries again error=%r", str(error))
            self._state.sync_wanted.set()
        else:
            if retry_soon(outcome):
                self._state.sync_wanted.set()
        finally:
            self._results.send()
            self._repairing -= left
            self._news.set()
            # A write that was under way then may have come after the sync of what is desired now.
            if self._state.desired is not desired:
                self._state.sync_wanted.set()

    def _superseded(self, wanted: DesiredObject) -> bool:
        now = self._state.index.get(wanted.ref)
        return now is None or now.digest != wanted.digest

    def _needs_full_sync(self, ref: ObjectRef, live: LiveObject | None) -> bool:
        """An object of ours that nobody wants, or a template that went: only a full compare can tell what follows."""
        wanted = self._state.index.get(ref)
        if wanted is not None:
            return live is None and wanted.role is Role.TEMPLATE
        prunable = kind_of(ref).role is Role.TEMPLATE or ref in _UNOWNED or is_managed_name(ref.name)
        if live is None or not prunable:
            return False
        return ownership(live, self._deps.marks, written=self._deps.written.uids) is Ownership.OURS

    def _repaired(self, result: Result, batch: Batch) -> None:
        self._results.tell(result)
        if result.action in WRITE_ACTIONS:
            self._deps.metrics.repaired(loop_time() - batch[result.ref][1])
