"""Looks after Gatekeeper's health: without Gatekeeper, a cluster that is in sync enforces nothing.

Its parts and what its webhooks say are read at every look; that it enforces is proven by a probe, `Prober`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from controller.cluster.health import GatekeeperHealth, GatekeeperProblem, gatekeeper_health
from controller.cluster.inventory import GatekeeperMissing
from controller.errors import ClusterError
from controller.gatekeeper.model import Role
from controller.gatekeeper.probe import CONSTRAINT_REF, without_probe
from controller.operator.prober import Prober
from controller.operator.stale_status import StaleStatus
from controller.report.conditions import Mode
from controller.times import loop_time

if TYPE_CHECKING:
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import ObjectRef
    from controller.operator.dependencies import Dependencies
    from controller.operator.repairs import Repairs
    from controller.operator.state import OperatorState

log = logging.getLogger("azpolicy")
_LOOK_SECONDS: Final = 30.0
# With these Gatekeeper runs, and writes statuses: it can be nudged.
_RUNS: Final = (None, GatekeeperProblem.WEBHOOK_INCOMPLETE, GatekeeperProblem.NOT_ENFORCING)


class GatekeeperLoop:
    """Reports how Gatekeeper is, and nudges it about objects whose status it forgot."""

    def __init__(self, deps: Dependencies, state: OperatorState, repairs: Repairs) -> None:
        self._deps = deps
        self._state = state
        self._repairs = repairs
        self._stale = StaleStatus()
        self._seen: dict[ObjectRef, object] = {}
        self._prober = Prober(deps.client, deps.namespace)

    def proven(self, webhook: str) -> bool | None:
        """Whether Gatekeeper is seen to enforce with this content of its validating configuration; None: not yet.

        Where that may not be read, or nothing can be proven, nothing speaks against it.
        """
        health, proof = self._state.status.gatekeeper, self._prober.proof
        if health.webhook != webhook:
            return None if health.webhook else True
        if health.problem is GatekeeperProblem.NOT_ENFORCING:
            return False if proof.webhook in ("", webhook) else None
        if not self._state.probing or (proof.enforcing is None and proof.message):
            return True
        return proof.enforcing if proof.webhook == webhook else None

    async def run(self) -> None:
        """Until it is cancelled; an API server that cannot be read is the sync's to report, which is wanted at once."""
        while True:
            try:
                self._report(await self._look())
                if self._state.mode is Mode.ENFORCE and self._state.status.gatekeeper.problem in _RUNS:
                    await self._nudge()
            except ClusterError:
                self._state.sync_wanted.set()
            await asyncio.sleep(min(_LOOK_SECONDS, self._state.settings.pace.resync))

    async def _look(self) -> GatekeeperHealth:
        health = await gatekeeper_health(self._deps.client, without_probe(self._state.index.values()))
        if health.problem is not None or CONSTRAINT_REF not in self._state.index:
            self._prober.reset()
            return health
        return await self._prober.look(health)

    def cluster_failed(self, error: ClusterError) -> None:
        """The cluster could not be read or written: because Gatekeeper is missing, or because of the API server."""
        if isinstance(error, GatekeeperMissing):
            self._report(GatekeeperHealth(GatekeeperProblem.MISSING, str(error)))
        else:
            self._state.update(cluster_error=str(error))

    def observed(self, ref: ObjectRef, live: LiveObject | None) -> None:
        """An object as it is now: notes whether Gatekeeper's status on it is stale. What no member has needs none."""
        wanted = self._state.index.get(ref)
        if live is None or wanted is None:
            self._seen.pop(ref, None)
        elif self._seen.get(ref) is live.content:
            return
        else:
            self._seen[ref] = live.content
        self._prober.seen(ref, live)
        if wanted is not None and wanted.role not in (Role.SYNC, Role.EXPANSION):
            self._stale.seen(ref, live, loop_time())

    def _report(self, health: GatekeeperHealth) -> None:
        if health.problem != self._state.status.gatekeeper.problem:
            if health.problem is None:
                log.info("Gatekeeper is well again")
            else:
                log.error("%s: %s", health.problem.value, health.message)
        self._deps.metrics.gatekeeper(ready=health.problem is None)
        self._state.update(gatekeeper=health)

    async def _nudge(self) -> None:
        """Nudges Gatekeeper about stale objects; repairs of each pause, so that none takes the nudge for drift."""
        for ref in self._stale.due(loop_time()):
            wanted = self._state.index.get(ref)
            if wanted is None:
                self._stale.seen(ref, None, loop_time())
                self._seen.pop(ref, None)
                continue
            with self._repairs.paused(ref) as free:
                if not free:
                    continue
                self._stale.nudged(ref, loop_time())
                if await self._deps.applier.nudge(wanted):
                    log.info("nudged Gatekeeper: no status for %s", ref)
