"""Polls the source: a whole reading becomes the desired state, and a failed one keeps the last good state.

What an earlier process kept is read from the cluster first. It counts while Azure is away, and for members that Azure
does not tell everything about.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from controller.errors import AzpolicyError, ClusterError
from controller.gatekeeper.carried import carry_forward
from controller.times import loop_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from controller.gatekeeper.model import DesiredState
    from controller.operator.dependencies import Dependencies
    from controller.operator.results import Results
    from controller.operator.state import OperatorState
    from controller.source import Source

log = logging.getLogger("azpolicy")
RETRY_SECONDS: Final = 5.0
_SOURCE_RETRY_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 15.0


class Poller:
    """Reads one source; `sync` is called where the last good state must be enforced before a slow source answers.

    `cluster_failed` gets the error when the cluster cannot be read.
    """

    def __init__(
        self,
        deps: Dependencies,
        state: OperatorState,
        results: Results,
        source: Source,
        *,
        sync: Callable[[], Awaitable[object]],
        cluster_failed: Callable[[ClusterError], None],
    ) -> None:
        self._deps = deps
        self._state = state
        self._results = results
        self._source = source
        self._sync = sync
        self._cluster_failed = cluster_failed
        self._recalled = False
        self.due_at = 0.0
        self._not_before = 0.0

    @property
    def changes_at(self) -> float:
        """When the last reading is to be looked at again because its meaning changes, by the loop's clock."""
        moment = self._source.changes_at
        if moment is None:
            return float("inf")
        return max(loop_time() + (moment - self._state.now()).total_seconds(), self._not_before)

    @property
    def due(self) -> bool:
        """Whether the time has come, or somebody asked for a poll that was not made yet."""
        return loop_time() >= self.due_at or self._state.requests.requested_at != self._state.status.handled_request

    async def poll(self) -> None:
        """Reads the source once and says when the next poll is due."""
        self.due_at = loop_time() + await self._poll()

    async def look_again(self) -> None:
        """Takes up what the last reading means now, in case that has changed: no source is asked."""
        if loop_time() < self.changes_at:
            return
        self._not_before = loop_time() + RETRY_SECONDS
        try:
            self._take(await self._source.read_again(self._deps.planner))
        except ClusterError as error:
            log.warning("the cluster cannot be read error=%r", str(error))
            self._cluster_failed(error)
        else:
            log.info("the time has come at which the last reading means something else: decided again")

    async def _poll(self) -> float:
        """Seconds until the next poll."""
        await self._recall()
        try:
            desired = await self._read()
        except ClusterError as error:
            log.warning("the cluster cannot be read error=%r", str(error))
            self._cluster_failed(error)
            return RETRY_SECONDS
        except AzpolicyError as error:
            await self._source_failed(error)
            return jittered(min(self._state.settings.pace.poll, _SOURCE_RETRY_SECONDS))
        if self._state.status.source_error:
            log.info("the source can be read again")
        self._state.update(source_error="")
        self._deps.metrics.polled(ok=True)
        self._deps.metrics.reading(self._source.reader.figures)
        self._take(desired)
        return jittered(self._state.settings.pace.poll)

    async def _recall(self) -> None:
        """Reads what an earlier process kept, once: what it wrote, and the last good state."""
        if self._recalled:
            return
        try:
            kept = await self._deps.last_state.load(self._state.settings.source.asked_id)
        except ClusterError as error:
            log.warning("the last good state cannot be read from the cluster error=%r", str(error))
            return
        self._recalled = True
        if kept is not None:
            self._deps.written.recall(kept)

    async def _read(self) -> DesiredState:
        """One reading. While a slow source keeps a new session waiting, the last good state is enforced."""
        reading = asyncio.ensure_future(self._source.read(self._deps.planner))
        try:
            if self._state.desired is None and not (await asyncio.wait({reading}, timeout=_PATIENCE_SECONDS))[0]:
                self._fall_back("does not answer")
                if self._state.desired is not None:
                    await self._sync()
            return await reading
        finally:
            reading.cancel()

    async def _source_failed(self, error: AzpolicyError) -> None:
        self._deps.metrics.polled(ok=False)
        if self._state.desired is None:
            self._fall_back("cannot be read")
        kept = "the last good state is kept" if self._state.desired else "nothing is known yet"
        if str(error) != self._state.status.source_error:
            log.error("the source cannot be read, %s error=%r", kept, str(error))
        self._state.update(source_error=str(error))

    def _fall_back(self, why: str) -> None:
        """Takes up the last good state that was kept, where there is one."""
        stored = self._deps.written.desired
        if stored is None:
            return
        log.warning("the source %s: the last good state, kept in the cluster, is enforced", why)
        # Known from before is not read now: it makes no sync a good one.
        self._state.update(source_error=f"the source {why}")
        self._want(stored)

    def _take(self, desired: DesiredState) -> None:
        """Takes over a reading; what it does not tell for now stays as it was."""
        last = self._state.desired or self._deps.written.desired
        self._want(carry_forward(desired, last, self._state.now(), self._deps.marks))

    def _want(self, desired: DesiredState) -> None:
        self._state.want(desired)
        self._results.want()
        self._deps.reporter.desire(desired)


def jittered(seconds: float) -> float:
    """Up to 10 % longer, so that many clusters do not ask Azure at the same moment."""
    return seconds * random.uniform(1.0, 1.1)  # noqa: S311 - jitter
