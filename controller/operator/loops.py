"""The loops that keep one cluster as Azure says, and when each full sync and poll is due.

| loop             | does                                                                    |
|------------------|-------------------------------------------------------------------------|
| sync             | polls the source when due, then syncs in full: `Poller`, `Reconciler`   |
| repair           | repairs what a watch event names, at once: `Repairs`                    |
| Gatekeeper       | looks after Gatekeeper's health, nudges it: `GatekeeperLoop`            |
| reporter         | writes what the others did; no loop waits for it: `Reporter`            |

All of them share one `OperatorState`. A watch event is an accelerator: the full sync at every resync is what makes it
right.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from controller.cluster.watch import Watches
from controller.operator.gatekeeper_loop import GatekeeperLoop
from controller.operator.poller import RETRY_SECONDS, Poller, jittered
from controller.operator.reconciler import Reconciler
from controller.operator.repairs import Repairs
from controller.operator.results import Results
from controller.operator.state import Loop
from controller.times import loop_time

if TYPE_CHECKING:
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import ObjectRef
    from controller.operator.dependencies import Dependencies
    from controller.operator.settings import PolicySyncRequests, Settings
    from controller.operator.state import OperatorState
    from controller.source import Source

_SOURCE_LOOK_SECONDS: Final = 1.0
_SETTLE_SECONDS: Final = 0.2


class ClusterLoops:
    """One cluster's loops; `run` lives until it is cancelled, and can be called again with all that is known."""

    def __init__(self, deps: Dependencies, state: OperatorState) -> None:
        self.state = state
        self._deps = deps
        self._results = Results(state, deps.metrics, deps.reporter)
        self._repairs = Repairs(deps, state, self._results)
        self._gatekeeper = GatekeeperLoop(deps, state, self._repairs)
        self._watches = Watches(deps.client, self._repairs.changed, self._observed)
        self._reconciler = Reconciler(deps, state, self._results, self._watches, self._gatekeeper)

    async def run(self, source: Source, settings: Settings) -> None:
        """Syncs and repairs for ever; any way out but a cancellation ends the process, which is what restarts it."""
        self.state.settings = settings
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sync_loop(source))
                group.create_task(self._repairs.run())
                group.create_task(self._gatekeeper.run())
                group.create_task(self._deps.reporter.run())
        finally:
            await self._watches.close()

    def proven(self, webhook: str) -> bool | None:
        """Whether Gatekeeper is seen to enforce with this content of its validating configuration; None: not yet."""
        return self._gatekeeper.proven(webhook)

    def wake(self) -> None:
        """A kind or CRD changed: compare everything soon."""
        self.state.sync_wanted.set()

    def take_requests(self, requests: PolicySyncRequests) -> None:
        """Takes over what the PolicySync asks for."""
        if requests != self.state.requests:
            self.state.requests = requests
            self.wake()

    async def _sync_loop(self, source: Source) -> None:
        async def sync() -> bool:
            return await self._reconciler.sync(source.description)

        poller = Poller(
            self._deps,
            self.state,
            self._results,
            source,
            sync=sync,
            cluster_failed=self._gatekeeper.cluster_failed,
        )
        resync_at = 0.0
        while True:
            asked = self.state.requests.requested_at
            if poller.due:
                await poller.poll()
            await poller.look_again()
            if self.state.desired is not None:
                ok = await sync()
                resync_at = loop_time() + (jittered(self.state.settings.pace.resync) if ok else RETRY_SECONDS)
            self.state.update(handled_request=asked or self.state.status.handled_request)
            due_at = min(poller.due_at, poller.changes_at, resync_at or poller.due_at, self._turns_at())
            if await self._idle(source, due_at):
                poller.due_at = 0.0

    async def _idle(self, source: Source, until: float) -> bool:
        """Waits until a full sync is wanted, the deadline, or until the source has changed; True for the last."""
        while (left := until - loop_time()) > 0:
            self.state.beat(Loop.SYNC)
            try:
                async with asyncio.timeout(min(left, _SOURCE_LOOK_SECONDS)):
                    await self.state.sync_wanted.wait()
            except TimeoutError:
                if await source.changed():
                    return True
            else:
                # A template's end is many events; one compare after them is enough.
                await asyncio.sleep(_SETTLE_SECONDS)
                self.state.sync_wanted.clear()
                return False
        return False

    def _turns_at(self) -> float:
        """When a suspension ends, by the loop's clock: now if that came during the last sync, never without one."""
        if self.state.desired is not None and self.state.mode is not self.state.status.mode:
            return loop_time()
        until = self.state.requests.suspended_until
        left = (until - self.state.now()).total_seconds() if until else 0.0
        return loop_time() + left if left > 0 else float("inf")

    def _observed(self, ref: ObjectRef, live: LiveObject | None) -> None:
        self._deps.reporter.observed(ref, live)
        self._deps.violations.observed(ref, live)
        self._gatekeeper.observed(ref, live)
