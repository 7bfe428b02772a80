"""The loop that keeps a cluster as Azure says: polls, syncs in full, repairs what a watch event names.

The last good desired state is frozen and shared by both triggers. A full sync and repairs run side by side: each write
names the version of the object that it replaces, so whoever comes second decides again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from controller.cluster.apply import WRITE_ACTIONS, ChangeSet, Result
from controller.cluster.fights import FightDetector
from controller.cluster.kinds import kind_of
from controller.cluster.ownership import Ownership, ownership
from controller.cluster.plan import Create, Keep, PruneLimit, Replace
from controller.cluster.watch import Watches
from controller.errors import AzpolicyError, ClusterError
from controller.gatekeeper.model import ObjectRef, Role
from controller.gatekeeper.naming import is_managed_name
from controller.gatekeeper.syncset import SYNCSET_REF
from controller.planview import planned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.apply import Applier
    from controller.cluster.client import KubeClient
    from controller.cluster.kinds import LiveObject
    from controller.cluster.plan import Plan
    from controller.cluster.record import ClusterRecord
    from controller.cluster.sync import Planner
    from controller.gatekeeper.model import DesiredObject, DesiredState
    from controller.gatekeeper.naming import Marks
    from controller.report.metrics import Metrics
    from controller.sources import Source

log = logging.getLogger("azpolicy")
_SOURCE_LOOK: Final = 1.0
_RETRY: Final = 5.0
_SOURCE_RETRY: Final = 60.0
_SETTLE: Final = 0.02
STALE_LOOPS: Final = 600.0  # a reading of Azure alone may take 300 s
# Reasons that pass by themselves; whatever else failed would fail again and waits for the next resync.
_SOON: Final = frozenset(
    {
        "ClusterUnreachable",
        "Contended",
        "TemplateNotReady",
        "InternalError",
        "ServiceUnavailable",
        "Timeout",
        "TooManyRequests",
    }
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, in seconds: polls of the source, full compares without a cause. Both get up to 10 % of jitter."""

    poll: float = 900.0
    resync: float = 300.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What the loop works with, bound once."""

    client: KubeClient
    planner: Planner
    applier: Applier
    record: ClusterRecord
    source: Source
    marks: Marks
    metrics: Metrics
    pace: Pace
    limit: PruneLimit
    dry_run: bool = False


@dataclass
class Reconciler:
    """One cluster's loops; `run` lives until it is cancelled. `wake` asks for a full sync soon."""

    tools: Tools
    desired: DesiredState | None = None
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    last_outcome: ChangeSet | None = None

    def __post_init__(self) -> None:
        self._wake = asyncio.Event()
        self._events: dict[ObjectRef, tuple[LiveObject | None, float]] = {}
        self._event = asyncio.Event()
        self._busy: set[ObjectRef] = set()
        self._index: dict[ObjectRef, DesiredObject] = {}
        self._fights = FightDetector()
        self._fought: frozenset[ObjectRef] = frozenset()
        self._told: dict[ObjectRef, Result] = {}
        self._carried: dict[ObjectRef, str] = {}
        self._watches = Watches(self.tools.client, self._changed)
        self._forced = self.tools.limit.forced
        self._source_error = ""
        self._beats = {"sync": time.monotonic(), "repair": time.monotonic()}

    # --- the loops -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Syncs and repairs for ever; any way out ends the process, which is what restarts it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sync_loop())
                group.create_task(self._repair_loop(group))
        finally:
            await self._watches.close()

    def wake(self) -> None:
        """A kind or CRD changed: compare everything soon."""
        self._wake.set()

    def alive(self) -> bool:
        """Whether both loops advance."""
        return all(time.monotonic() - beat < STALE_LOOPS for beat in self._beats.values())

    async def _sync_loop(self) -> None:
        poll_at = resync_at = 0.0
        while True:
            now = time.monotonic()
            if now >= poll_at:
                poll_at = now + await self._poll()
            if self.desired is not None:
                ok = await self._sync()
                resync_at = time.monotonic() + (_jittered(self.tools.pace.resync) if ok else _RETRY)
            if await self._idle(min(poll_at, resync_at or poll_at)):
                poll_at = 0.0

    async def _idle(self, until: float) -> bool:
        """Waits for a wake-up, the deadline or news from the source; True for the last."""
        while (left := until - time.monotonic()) > 0:
            self._beats["sync"] = time.monotonic()
            try:
                async with asyncio.timeout(min(left, _SOURCE_LOOK)):
                    await self._wake.wait()
            except TimeoutError:
                if await self.tools.source.changed():
                    return True
            else:
                # A template's end is many events; one compare after them is enough.
                await asyncio.sleep(_SETTLE * 10)
                self._wake.clear()
                return False
        return False

    async def _poll(self) -> float:
        """Reads the source; a failure keeps the last good state (property 1). Seconds until the next poll."""
        tools = self.tools
        try:
            desired = await tools.source.read(tools.planner)
        except ClusterError as error:
            log.warning("cluster not readable error=%r", str(error))
            return _RETRY
        except AzpolicyError as error:
            tools.metrics.polled(ok=False)
            kept = "the last good state is kept" if self.desired else "nothing is known yet"
            if str(error) != self._source_error:
                log.error("source not readable, %s error=%r", kept, str(error))  # noqa: TRY400 - one line, no traceback
            self._source_error = str(error)
            return _jittered(min(self.tools.pace.poll, _SOURCE_RETRY))
        if self._source_error:
            log.info("source readable again")
        self._source_error = ""
        tools.metrics.polled(ok=True)
        tools.metrics.reading(tools.source.reader.figures)
        self.desired = desired
        self._index = {wanted.ref: wanted for wanted in desired.objects}
        return _jittered(self.tools.pace.poll)

    async def _sync(self) -> bool:
        """One full compare and what follows from it; False when it is to be tried again soon."""
        desired, tools = self.desired, self.tools
        assert desired is not None
        try:
            recorded = await tools.record.check(desired.cluster_id)
            limit = replace(tools.limit, forced=self._forced, refused=recorded.refused)
            plan, inventory = await tools.planner.full(desired, limit)
            self._watches.follow(inventory)
            tools.metrics.watching(self._watches.kinds)
            self.complete.set()
            outcome = await self._carry_out(plan)
        except ClusterError as error:
            tools.metrics.failed()
            log.error("sync failed error=%r", str(error))  # noqa: TRY400
            return False
        # What templates need that stay is in the plan's SyncSet alone: a repair by the policies' would take it away.
        for change in plan.changes:
            if isinstance(change, Create | Replace | Keep) and change.desired.role is Role.SYNC:
                self._index[change.desired.ref] = change.desired
        self._carried = {ref: wanted.digest for ref, wanted in self._index.items()}
        tools.metrics.synced(desired, outcome)
        if not self._source_error:
            tools.metrics.good()
        self.last_outcome = outcome
        return not any(r.reason in _SOON for r in outcome.problems)

    async def _carry_out(self, plan: Plan) -> ChangeSet:
        if self.tools.dry_run:
            results = tuple(map(planned, plan.changes))
            for result in results:
                self._tell(result)
            return ChangeSet(results)
        await self.tools.record.make(plan)
        outcome = await self.tools.applier.apply(plan, self._tell)
        self._forced = False
        return outcome

    # --- repairs ---------------------------------------------------------------------------------------------------

    def _changed(self, ref: ObjectRef, live: LiveObject | None) -> None:
        self._events[ref] = (live, time.monotonic())
        self._event.set()

    async def _repair_loop(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._beats["repair"] = time.monotonic()
            try:
                async with asyncio.timeout(_SOURCE_LOOK):
                    await self._event.wait()
            except TimeoutError:
                self._report_fights()
                continue
            self._event.clear()
            if not self.tools.dry_run and (batch := self._take_events()):
                group.create_task(self._repair(batch))

    def _take_events(self) -> dict[ObjectRef, tuple[LiveObject | None, float]]:
        """Events that can be looked at now; those of objects under repair or in a fight stay for later."""
        now = time.monotonic()
        batch: dict[ObjectRef, tuple[LiveObject | None, float]] = {}
        for ref in list(self._events):
            if ref in self._busy:
                continue
            if (delay := self._fights.delay(ref, now)) > 0:
                self._busy.add(ref)
                asyncio.get_running_loop().call_later(delay, self._free, ref)
                continue
            batch[ref] = self._events.pop(ref)
        return batch

    def _free(self, ref: ObjectRef) -> None:
        self._busy.discard(ref)
        self._event.set()

    async def _repair(self, batch: Mapping[ObjectRef, tuple[LiveObject | None, float]]) -> None:
        desired = self.desired
        if desired is None:
            return
        wanted = [(self._index[ref], live) for ref, (live, _) in batch.items() if ref in self._index]
        if any(self._unexpected(ref, live) for ref, (live, _) in batch.items()):
            self.wake()
        self._busy |= {obj.ref for obj, _ in wanted}
        try:
            plan = await self.tools.planner.some(desired.cluster_id, wanted)
            outcome = await self.tools.applier.apply(plan, lambda result: self._repaired(result, batch))
        except ClusterError as error:
            log.warning("repair failed, the next sync tries again error=%r", str(error))
            self.wake()
        else:
            if any(r.reason in _SOON for r in outcome.problems):
                self.wake()
        finally:
            for obj, _ in wanted:
                self._free(obj.ref)

    def _unexpected(self, ref: ObjectRef, live: LiveObject | None) -> bool:
        """An object of ours that nobody wants, or a template that went: only a full compare can tell what follows."""
        if ref in self._index:
            return live is None and self._index[ref].role is Role.TEMPLATE
        prunable = kind_of(ref).role is Role.TEMPLATE or ref == SYNCSET_REF or is_managed_name(ref.name)
        return live is not None and prunable and ownership(live, self.tools.marks) is Ownership.OURS

    def _repaired(self, result: Result, batch: Mapping[ObjectRef, tuple[LiveObject | None, float]]) -> None:
        self._tell(result)
        if result.action in WRITE_ACTIONS:
            now = time.monotonic()
            self._fights.repaired(result.ref, now)
            self.tools.metrics.repaired(now - batch[result.ref][1])

    # --- telling ---------------------------------------------------------------------------------------------------

    def _cause(self, ref: ObjectRef) -> str:
        """Drift is what changed although Azure asks for the same as when it was last carried out."""
        wanted = self._index.get(ref)
        return "drift" if wanted is not None and self._carried.get(ref) == wanted.digest else "azure"

    def _tell(self, result: Result) -> None:
        """One line per change, saying what differed; what does not change is told once, not at every sync."""
        self._beats["sync"] = time.monotonic()
        wrote = result.action in WRITE_ACTIONS
        if self._told.get(result.ref) == result:
            return
        if wrote and not self.tools.dry_run:
            self._told.pop(result.ref, None)
            self.tools.metrics.changed(result, cause=self._cause(result.ref))
        else:
            self._told[result.ref] = result
        if wrote or result.reason:
            level = logging.INFO if wrote else logging.WARNING
            log.log(level, "%s", _line(result, self._cause(result.ref), dry_run=self.tools.dry_run))

    def _report_fights(self) -> None:
        fighting = frozenset(self._fights.fighting(time.monotonic()))
        for ref in fighting - self._fought:
            log.warning("fight over %s: somebody keeps changing it back; repairs are delayed", ref)
        for ref in self._fought - fighting:
            log.info("fight over %s has ended", ref)
        self._fought = fighting
        self.tools.metrics.fighting(len(fighting))


def _line(result: Result, cause: str, *, dry_run: bool) -> str:
    """One change as key=value pairs that a person can read."""
    would = "dry-run " if dry_run and result.action in WRITE_ACTIONS else ""
    pairs = {
        "cause": cause if result.action in WRITE_ACTIONS else "",
        "reason": result.reason,
        "differed": ", ".join(map(str, result.differences[:8])),
        "editor": ",".join(result.editors),
        "message": result.message,
    }
    text = " ".join(f"{k}={v}" if v.isalnum() else f"{k}={v!r}" for k, v in pairs.items() if v)
    return f"{would}{result.action.value} {result.ref} {text}".rstrip()


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1.0, 1.1)  # noqa: S311 - jitter
