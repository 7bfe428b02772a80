"""The loop that keeps a cluster as Azure says: polls, syncs in full, repairs what a watch event names.

The last good desired state is frozen and shared by both triggers. A full sync and repairs run side by side: each write
names the version of the object that it replaces, so whoever comes second decides again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from controller.cluster.apply import WRITE_ACTIONS, Action, ChangeSet, Result, planned
from controller.cluster.changes import Create, Keep, Refuse, Replace, ref_of
from controller.cluster.fights import FightDetector
from controller.cluster.health import GatekeeperHealth, GatekeeperProblem, gatekeeper_health
from controller.cluster.inventory import GatekeeperMissing
from controller.cluster.kinds import kind_of
from controller.cluster.ownership import Ownership, ownership
from controller.cluster.prune import refusal_digest
from controller.cluster.watch import Watches
from controller.errors import AzpolicyError, ClusterError, Refused
from controller.gatekeeper.model import ObjectRef, Role
from controller.gatekeeper.naming import is_managed_name
from controller.gatekeeper.syncset import SYNCSET_REF
from controller.operator.settings import PolicySyncRequests
from controller.operator.stale_status import StaleStatus
from controller.policy.model import NotApplied, Unresolved
from controller.report.conditions import Counts, Mode
from controller.report.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from controller.cluster.apply import Applier
    from controller.cluster.changes import Plan
    from controller.cluster.client import KubeClient
    from controller.cluster.cluster_record import ClusterRecord
    from controller.cluster.kinds import Inventory, LiveObject
    from controller.cluster.last_state import LastState
    from controller.cluster.planner import Planner
    from controller.gatekeeper.model import DesiredObject, DesiredState
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.operator.settings import Settings
    from controller.report.metrics import Metrics
    from controller.report.reporter import Reporter
    from controller.source import Source

log = logging.getLogger("azpolicy")
_SOURCE_LOOK: Final = 1.0
_RETRY: Final = 5.0
_SOURCE_RETRY: Final = 60.0
_SETTLE: Final = 0.02
_GATEKEEPER_LOOK: Final = 30.0
_PATIENCE: Final = 15.0
STALE_LOOPS: Final = 600.0  # a reading of Azure alone may take 300 s
# Reasons that pass by themselves; whatever else failed would fail again and waits for the next resync.
_SOON: Final = frozenset(
    {
        "ClusterUnreachable",
        "ConcurrentChanges",
        "TemplateNotReady",
        "InternalError",
        "ServiceUnavailable",
        "Timeout",
        "TooManyRequests",
    }
)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the loop works with, bound once."""

    client: KubeClient
    planner: Planner
    applier: Applier
    cluster_record: ClusterRecord
    last_state: LastState
    marks: OwnershipMarks
    metrics: Metrics
    reporter: Reporter
    good_at: Callable[[datetime], None] = lambda _: None
    dry_run: bool = False


@dataclass
class Reconciler:
    """One cluster's loops; `run` lives until it is cancelled, and can be called again with all that is known.

    `wake` asks for a full sync soon.
    """

    deps: Dependencies
    settings: Settings
    desired: DesiredState | None = None
    requests: PolicySyncRequests = field(default_factory=PolicySyncRequests)
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._wake = asyncio.Event()
        self._events: dict[ObjectRef, tuple[LiveObject | None, float]] = {}
        self._event = asyncio.Event()
        self._busy: set[ObjectRef] = set()
        self._index: dict[ObjectRef, DesiredObject] = {}
        self._fights = FightDetector()
        self._stale = StaleStatus()
        self._journal = Journal(self.deps.metrics, self.deps.reporter)
        self._watches = Watches(self.deps.client, self._changed, self._observed)
        self._forced = self.settings.limit.forced
        self._forcing = ""
        self._reading: Source | None = None
        self._source_error = ""
        self._beats = {"sync": time.monotonic(), "repair": time.monotonic()}

    # --- the loops -------------------------------------------------------------------------------------------------

    async def run(self, source: Source, settings: Settings) -> None:
        """Syncs and repairs for ever; any way out but a cancellation ends the process, which is what restarts it."""
        self._reading, self.settings = source, settings
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sync_loop())
                group.create_task(self._repair_loop(group))
                group.create_task(self._gatekeeper_loop())
                group.create_task(self.deps.reporter.run())
        finally:
            await self._watches.close()

    def wake(self) -> None:
        """A kind or CRD changed: compare everything soon."""
        self._wake.set()

    @property
    def _source(self) -> Source:
        assert self._reading is not None
        return self._reading

    def take_requests(self, requests: PolicySyncRequests) -> None:
        """Takes over what the PolicySync asks for."""
        if requests != self.requests:
            self.requests = requests
            self.wake()

    def alive(self) -> bool:
        """Whether both loops advance."""
        return all(time.monotonic() - beat < STALE_LOOPS for beat in self._beats.values())

    async def _sync_loop(self) -> None:
        poll_at = resync_at = 0.0
        while True:
            asked = self.requests.requested_at
            if time.monotonic() >= poll_at or asked != self.deps.reporter.state.handled_request:
                poll_at = time.monotonic() + await self._poll()
            if self.desired is not None:
                ok = await self._sync()
                resync_at = time.monotonic() + (_jittered(self.settings.pace.resync) if ok else _RETRY)
            self.deps.reporter.update(handled_request=asked or self.deps.reporter.state.handled_request)
            if await self._idle(min(poll_at, resync_at or poll_at, self._resumes_at())):
                poll_at = 0.0

    def _resumes_at(self) -> float:
        """When a suspension ends, by the monotonic clock; never where there is none."""
        until = self.requests.suspended_until
        left = (until - datetime.now(UTC)).total_seconds() if until else 0.0
        return time.monotonic() + left if left > 0 else float("inf")

    def _mode(self) -> Mode:
        if self.deps.dry_run:
            return Mode.DRY_RUN
        return Mode.SUSPENDED if self.requests.suspended(datetime.now(UTC)) else Mode.ENFORCE

    async def _idle(self, until: float) -> bool:
        """Waits for a wake-up, the deadline or news from the source; True for the last."""
        while (left := until - time.monotonic()) > 0:
            self._beats["sync"] = time.monotonic()
            try:
                async with asyncio.timeout(min(left, _SOURCE_LOOK)):
                    await self._wake.wait()
            except TimeoutError:
                if await self._source.changed():
                    return True
            else:
                # A template's end is many events; one compare after them is enough.
                await asyncio.sleep(_SETTLE * 10)
                self._wake.clear()
                return False
        return False

    async def _poll(self) -> float:
        """Reads the source; a failure keeps the last good state. Seconds until the next poll."""
        deps = self.deps
        try:
            desired = await self._read()
        except ClusterError as error:
            log.warning("cluster not readable error=%r", str(error))
            self._cluster_failed(error)
            return _RETRY
        except AzpolicyError as error:
            await self._source_failed(error)
            return _jittered(min(self.settings.pace.poll, _SOURCE_RETRY))
        if self._source_error:
            log.info("source readable again")
        self._source_error = ""
        deps.reporter.update(source_error="")
        deps.metrics.polled(ok=True)
        deps.metrics.reading(self._source.reader.figures)
        self._want(desired)
        return _jittered(self.settings.pace.poll)

    async def _read(self) -> DesiredState:
        """One reading; whoever starts while the source keeps it waiting goes on with what the one before it knew."""
        reading = asyncio.ensure_future(self._source.read(self.deps.planner))
        try:
            if self.desired is None and not (await asyncio.wait({reading}, timeout=_PATIENCE))[0]:
                await self._fall_back("does not answer")
                if self.desired is not None:
                    await self._sync()
            return await reading
        finally:
            reading.cancel()

    async def _fall_back(self, why: str) -> None:
        """Takes up the last good state from the cluster, where there is one."""
        try:
            stored = await self.deps.last_state.load(self.settings.source.cluster_id)
        except ClusterError as error:
            log.warning("the last good state cannot be read from the cluster error=%r", str(error))
            return
        if stored is not None:
            log.warning("the source %s: the last good state, kept in the cluster, is enforced", why)
            # Known from before is not read now: it makes no sync a good one.
            self._source_error = f"the source {why}"
            self.deps.reporter.update(source_error=self._source_error)
            self._want(stored)

    async def _source_failed(self, error: AzpolicyError) -> None:
        """Keeps the last good state, or takes it up."""
        deps = self.deps
        deps.metrics.polled(ok=False)
        if self.desired is None:
            await self._fall_back("cannot be read")
        kept = "the last good state is kept" if self.desired else "nothing is known yet"
        if str(error) != self._source_error:
            log.error("source not readable, %s error=%r", kept, str(error))
        self._source_error = str(error)
        deps.reporter.update(source_error=str(error))

    def _want(self, desired: DesiredState) -> None:
        self.desired = desired
        self._index = {wanted.ref: wanted for wanted in desired.objects}
        self._journal.want(self._index)
        self.deps.reporter.desire(desired)

    async def _sync(self) -> bool:
        """One full compare and what follows from it; False when it is to be tried again soon."""
        desired, deps = self.desired, self.deps
        assert desired is not None
        mode = self._mode()
        message = {Mode.SUSPENDED: self.requests.suspension, Mode.DRY_RUN: "a dry run writes nothing"}.get(mode, "")
        deps.reporter.update(generation=self.requests.generation, mode=mode, mode_message=message)
        try:
            plan, inventory = await self._plan(desired)
            self._watches.follow(inventory)
            deps.metrics.watching(self._watches.kinds)
            self.complete.set()
            outcome = await self._carry_out(plan, mode)
        except ClusterError as error:
            deps.metrics.failed()
            log.error("sync failed error=%r", str(error))  # noqa: TRY400
            self._cluster_failed(error)
            return False
        except Refused as error:
            deps.reporter.update(refused=str(error))
            with contextlib.suppress(ClusterError):
                await deps.reporter.write()
            raise
        # What templates need that stay is in the plan's SyncSet alone: a repair by the policies' would take it away.
        for change in plan.changes:
            if isinstance(change, Create | Replace | Keep) and change.desired.role is Role.SYNC:
                self._index[change.desired.ref] = change.desired
        self._journal.carried(outcome.problems)
        self._tell_fights()  # before it is told that the sync was made: what they held back of it is not done
        await self._synced(desired, outcome, mode)
        return not any(r.reason in _SOON for r in outcome.problems)

    async def _plan(self, desired: DesiredState) -> tuple[Plan, Inventory]:
        """The plan, with deletions over the limit where somebody forces just these and did not before."""
        deps, state = self.deps, self.deps.reporter.state
        recorded = await deps.cluster_record.check(desired.cluster_id)
        limit = replace(self.settings.limit, forced=self._forced, refused=recorded.refused)
        plan, inventory = await deps.planner.full(desired, limit)
        refused, asked = refusal_digest(plan), self.requests.force_prune
        self._forcing = refused if refused == asked != state.forced_prune and state.mode is Mode.ENFORCE else ""
        if self._forcing:
            log.warning("refused deletions are forced digest=%s count=%d", refused, len(plan.of(Refuse)))
            plan, inventory = await deps.planner.full(desired, replace(limit, forced=True))
        deps.reporter.update(refused_count=len(plan.of(Refuse)), refused_digest=refusal_digest(plan))
        deps.reporter.found(inventory.objects)
        for ref in self._index:
            self._listen(ref, inventory.objects.get(ref))
        return plan, inventory

    async def _carry_out(self, plan: Plan, mode: Mode) -> ChangeSet:
        deps = self.deps
        deps.reporter.update(waiting=0 if mode is Mode.ENFORCE else len(plan.writes))
        if mode is not Mode.ENFORCE:
            results = tuple(map(planned, plan.changes))
            for result in results:
                self._tell(result)
            return ChangeSet(results)
        await deps.cluster_record.make(plan)
        deps.reporter.update(working=bool(plan.writes))
        try:
            outcome = await deps.applier.apply(self._without_held(plan), self._tell)
        finally:
            deps.reporter.update(working=False)
        self._forced = False
        # Used up once it was carried out: what failed half-way is forced again, under the digest of what is left.
        if self._forcing:
            deps.reporter.update(forced_prune=self._forcing)
        return outcome

    def _without_held(self, plan: Plan) -> Plan:
        """The plan without repairs that a fight holds back: their time comes, in the repair loop."""
        now = time.monotonic()
        kept = tuple(change for change in plan.changes if not self._fights.delay(ref_of(change), now))
        return replace(plan, changes=kept)

    async def _synced(self, desired: DesiredState, outcome: ChangeSet, mode: Mode) -> None:
        """Takes over and tells what a full sync came to."""
        deps = self.deps
        counts = _counts(desired, outcome)
        deps.metrics.synced(counts, problems=bool(outcome.problems))
        self._journal.send()
        deps.reporter.settled(outcome.results)
        deps.reporter.update(
            settled=True,
            cluster_id=desired.cluster_id,
            source=self._source.description,
            counts=counts,
            problems=outcome.problems,
            cluster_error="",
        )
        if self._source_error:
            return
        deps.metrics.good()
        deps.good_at(datetime.now(UTC))
        if mode is Mode.ENFORCE:
            await self._save(desired)

    async def _save(self, desired: DesiredState) -> None:
        try:
            await self.deps.last_state.save(desired)
        except ClusterError as error:
            log.warning("the last good state is not saved error=%r", str(error))

    def _cluster_failed(self, error: ClusterError) -> None:
        if isinstance(error, GatekeeperMissing):
            self._gatekeeper(GatekeeperHealth(GatekeeperProblem.MISSING, str(error)))
        else:
            self.deps.reporter.update(cluster_error=str(error))

    # --- Gatekeeper ------------------------------------------------------------------------------------------------

    async def _gatekeeper_loop(self) -> None:
        """Looks after Gatekeeper itself: without it, all that is in step enforces nothing."""
        while True:
            # The API server away is the sync's to tell.
            with contextlib.suppress(ClusterError):
                self._gatekeeper(await gatekeeper_health(self.deps.client))
                if self._mode() is Mode.ENFORCE and self.deps.reporter.state.gatekeeper.problem is None:
                    await self._nudge_gatekeeper()
            await asyncio.sleep(min(_GATEKEEPER_LOOK, self.settings.pace.resync))

    def _gatekeeper(self, health: GatekeeperHealth) -> None:
        if health.problem != self.deps.reporter.state.gatekeeper.problem:
            if health.problem is None:
                log.info("Gatekeeper is well again")
            else:
                log.error("%s: %s", health.problem.value, health.message)
        self.deps.metrics.gatekeeper(ready=health.problem is None)
        self.deps.reporter.update(gatekeeper=health)

    def _listen(self, ref: ObjectRef, live: LiveObject | None) -> None:
        """Notes whether Gatekeeper speaks of an object; SyncSets have no status."""
        if ref in self._index and self._index[ref].role is not Role.SYNC:
            self._stale.seen(ref, live, time.monotonic())

    async def _nudge_gatekeeper(self) -> None:
        """Asks about what Gatekeeper says nothing of; repairs wait, so that none takes the question for drift."""
        for ref in self._stale.due(time.monotonic()):
            if (wanted := self._index.get(ref)) is None:
                self._stale.seen(ref, None, time.monotonic())
            elif ref not in self._busy:
                self._stale.nudged(ref, time.monotonic())
                self._busy.add(ref)
                try:
                    if await self.deps.applier.nudge(wanted):
                        log.info("asked Gatekeeper again about %s: it says nothing of it", ref)
                finally:
                    self._free(ref)

    # --- repairs ---------------------------------------------------------------------------------------------------

    def _observed(self, ref: ObjectRef, live: LiveObject | None) -> None:
        self.deps.reporter.observed(ref, live)
        self._listen(ref, live)

    def _changed(self, ref: ObjectRef, live: LiveObject | None) -> None:
        self._events[ref] = (live, time.monotonic())
        self._event.set()

    async def _repair_loop(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._beats["repair"] = time.monotonic()
            self._tell_fights()
            try:
                async with asyncio.timeout(_SOURCE_LOOK):
                    await self._event.wait()
            except TimeoutError:
                continue
            self._event.clear()
            if self._mode() is Mode.ENFORCE and (batch := self._take_events()):
                group.create_task(self._repair(batch))

    def _tell_fights(self) -> None:
        self._journal.fights(frozenset(self._fights.fighting(time.monotonic())))

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
            plan = await self.deps.planner.some(desired.cluster_id, wanted)
            outcome = await self.deps.applier.apply(plan, lambda result: self._repaired(result, batch))
        except ClusterError as error:
            log.warning("repair failed, the next sync tries again error=%r", str(error))
            self.wake()
        else:
            if any(r.reason in _SOON for r in outcome.problems):
                self.wake()
        finally:
            self._journal.send()
            for obj, _ in wanted:
                self._free(obj.ref)

    def _unexpected(self, ref: ObjectRef, live: LiveObject | None) -> bool:
        """An object of ours that nobody wants, or a template that went: only a full compare can tell what follows."""
        if ref in self._index:
            return live is None and self._index[ref].role is Role.TEMPLATE
        prunable = kind_of(ref).role is Role.TEMPLATE or ref == SYNCSET_REF or is_managed_name(ref.name)
        return live is not None and prunable and ownership(live, self.deps.marks) is Ownership.OURS

    def _repaired(self, result: Result, batch: Mapping[ObjectRef, tuple[LiveObject | None, float]]) -> None:
        self._tell(result)
        if result.action in WRITE_ACTIONS:
            self.deps.metrics.repaired(time.monotonic() - batch[result.ref][1])

    def _tell(self, result: Result) -> None:
        self._beats["sync"] = now = time.monotonic()
        if self._journal.tell(result, self.deps.reporter.state.mode):
            self._fights.repaired(result.ref, now)


def _counts(desired: DesiredState, outcome: ChangeSet) -> Counts:
    members = Counter(type(each) for each in desired.outcomes)
    unresolved, not_applied = members[Unresolved], members[NotApplied]
    return Counts(
        assignments=len(desired.listed),
        enforced=len(desired.outcomes) - unresolved - not_applied,
        not_applied=not_applied,
        unresolved=unresolved,
        objects=len(desired.objects),
        conflicts=sum(result.action is Action.CONFLICT for result in outcome.results),
        problems=len(outcome.problems),
    )


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1.0, 1.1)  # noqa: S311 - jitter
