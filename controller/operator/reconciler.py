"""One full sync: compares the whole cluster with the desired state and carries out what follows.

`Reconciler.sync` reads from top to bottom as it happens. Repairs run beside it: each write names the version of the
object that it replaces, so the second of two writers gets a 409 and decides again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from controller.cluster.apply import Action, ChangeSet, Meanwhile, planned
from controller.cluster.changes import Create, Keep, Refuse, Replace, ref_of
from controller.cluster.inventory import not_awaited
from controller.cluster.last_state import UnusableStateError
from controller.cluster.prune import refusal_digest
from controller.errors import ClusterError, OtherInstallation, Refused
from controller.gatekeeper.model import Role
from controller.gatekeeper.probe import without_probe
from controller.operator.results import retry_soon
from controller.policy.model import NotApplied, Unresolved
from controller.report.conditions import Counts, Mode
from controller.times import in_parts

if TYPE_CHECKING:
    from controller.cluster.changes import Plan
    from controller.cluster.kinds import Inventory
    from controller.cluster.watch import Watches
    from controller.gatekeeper.model import DesiredState
    from controller.operator.dependencies import Dependencies
    from controller.operator.gatekeeper_loop import GatekeeperLoop
    from controller.operator.results import Results
    from controller.operator.state import OperatorState

log = logging.getLogger("azpolicy")
_AT_ONCE: Final = 1000  # objects that are looked at in one piece of the event loop


class Reconciler:
    """Makes full syncs; deletions that the command line forces are forced by the first one alone."""

    def __init__(
        self,
        deps: Dependencies,
        state: OperatorState,
        results: Results,
        watches: Watches,
        gatekeeper: GatekeeperLoop,
    ) -> None:
        self._deps = deps
        self._state = state
        self._results = results
        self._watches = watches
        self._gatekeeper = gatekeeper
        self._forced = state.settings.limit.forced

    async def sync(self, source: str) -> bool:
        """One full sync of the desired state, read from `source`; False when it is to be tried again soon.

        1. List every kind, and watch each from where its list ended, as soon as it did.
        2. Plan: decide, ask the server by dry runs where only it can tell.
        3. Carry the plan out, or only say what would be done while nothing may be written.
        4. Report, and keep the desired state as the last good one. The sync was good if Azure can be read.
        """
        desired, mode = self._state.desired, self._state.mode
        assert desired is not None
        self._state.update(generation=self._state.requests.generation, mode=mode, mode_message=self._why(mode))
        try:
            plan, forcing = await self._plan(desired, mode)
            outcome = await self._carry_out(plan, mode, forcing)
        except ClusterError as error:
            self._deps.metrics.failed()
            log.error("sync failed error=%r", str(error))  # noqa: TRY400
            self._gatekeeper.cluster_failed(error)
            return False
        except OtherInstallation:
            raise  # the PolicySync is another's, too
        except Refused as error:
            self._state.update(refused=str(error))
            with contextlib.suppress(ClusterError):
                await self._deps.reporter.write_status()
            raise
        await asyncio.sleep(0)
        self._take_over_syncset(plan)
        self._report(desired, outcome, source)
        if not self._state.status.source_error:
            self._deps.metrics.good()
            self._deps.good_at(self._state.now())
        if mode is Mode.ENFORCE:
            await self._keep(desired)
        return not retry_soon(outcome)

    def _why(self, mode: Mode) -> str:
        """Why nothing is written, empty where it is."""
        return {Mode.SUSPENDED: self._state.requests.suspension, Mode.DRY_RUN: "a dry run writes nothing"}.get(mode, "")

    async def _plan(self, desired: DesiredState, mode: Mode) -> tuple[Plan, str]:
        """The plan, and the digest of the refused deletions that it now forces.

        Deletions over the limit are forced where the PolicySync names exactly these and has not done so before.
        """
        deps, status = self._deps, self._state.status
        deps.violations.expect(desired)
        deps.client.violations = deps.violations.share
        settings = replace(self._state.settings.limit, forced=self._forced, probe=True)
        recorded = await deps.cluster_record.check(desired.cluster_id)
        limit = recorded.limiting(settings, self._state.now())
        # What is watched is repaired at once. Whose cluster it is, is recorded before the first write.
        early = bool(recorded.cluster_id)
        inventory = await deps.planner.inventory(desired, self._watches.begin if early else not_awaited)
        if early:
            await self._follow(inventory)
        plan = await deps.planner.plan(desired, inventory, limit)
        if not early:
            await self._follow(inventory)
        refused, asked = refusal_digest(plan), self._state.requests.force_prune
        forcing = refused if refused == asked != status.forced_prune and mode is Mode.ENFORCE else ""
        if forcing:
            log.warning("refused deletions are forced digest=%s count=%d", refused, len(plan.of(Refuse)))
            plan, _ = await deps.planner.full(desired, replace(limit, forced=True))
        self._state.update(refused_count=len(plan.of(Refuse)), refused_digest=refusal_digest(plan))
        return plan, forcing

    async def _follow(self, inventory: Inventory) -> None:
        # Each of these goes through all objects, as what comes before and after does: a repair may come in between.
        await asyncio.sleep(0)
        self._watches.follow(inventory)
        self._deps.metrics.watching(self._watches.kinds)
        self._deps.reporter.found(inventory.objects)
        await asyncio.sleep(0)
        self._deps.violations.found(inventory.objects)
        async for part in in_parts(tuple(self._state.index), _AT_ONCE):
            for ref in part:
                self._gatekeeper.observed(ref, inventory.objects.get(ref))
        self._state.complete.set()

    async def _carry_out(self, plan: Plan, mode: Mode, forcing: str) -> ChangeSet:
        self._state.update(waiting=0 if mode is Mode.ENFORCE else len(plan.writes))
        if mode is not Mode.ENFORCE:
            results = tuple(map(planned, plan.changes))
            for result in results:
                self._results.tell(result)
            return ChangeSet(results)
        await self._deps.cluster_record.make(plan, forced=self._forced or bool(forcing))
        self._state.update(working=bool(plan.writes))
        try:
            meanwhile = Meanwhile(suspended=lambda: self._state.mode is not Mode.ENFORCE)
            outcome = await self._deps.applier.apply(self._without_held(plan), self._results.tell, meanwhile=meanwhile)
        finally:
            self._state.update(working=False)
        self._forced = False
        # Used up once it was carried out: what failed half-way is forced again, under the digest of what is left.
        if forcing:
            self._state.update(forced_prune=forcing)
        return outcome

    def _without_held(self, plan: Plan) -> Plan:
        """The plan without what a fight holds back: its time comes in the repair loop."""
        kept = tuple(change for change in plan.changes if not self._results.seconds_held(ref_of(change)))
        return replace(plan, changes=kept)

    def _take_over_syncset(self, plan: Plan) -> None:
        """The plan's SyncSet holds what kept templates need too; a repair by the policies' own would drop that."""
        for change in plan.changes:
            if isinstance(change, Create | Replace | Keep) and change.desired.role is Role.SYNC:
                self._state.index[change.desired.ref] = change.desired

    def _report(self, desired: DesiredState, outcome: ChangeSet, source: str) -> None:
        self._results.carried_out(outcome)
        self._results.tell_fights()  # before the sync is reported: what a fight holds back of it is not done
        counts = _counts(desired, outcome)
        self._deps.metrics.synced(counts, problems=bool(outcome.problems))
        self._results.send()
        self._deps.reporter.settled(outcome.results)
        self._state.update(
            settled=True,
            cluster_id=desired.cluster_id,
            source=source,
            counts=counts,
            problems=outcome.problems,
            cluster_error="",
        )
        self._deps.synced()

    async def _keep(self, desired: DesiredState) -> None:
        """What is carried out is kept for the next start: also what an older reading has come to mean meanwhile."""
        await asyncio.sleep(0)
        written = self._deps.written
        written.good(desired)
        try:
            await self._deps.last_state.save(written.to_keep(desired))
        except (ClusterError, UnusableStateError) as error:
            log.warning("the last good state is not saved, the one before stays error=%r", str(error))
            self._state.update(unsaved=str(error))
        else:
            self._state.update(unsaved="")


def _counts(desired: DesiredState, outcome: ChangeSet) -> Counts:
    members = Counter(type(each) for each in desired.outcomes)
    unresolved, not_applied = members[Unresolved], members[NotApplied]
    return Counts(
        assignments=len(desired.listed),
        enforced=len(desired.outcomes) - unresolved - not_applied,
        not_applied=not_applied,
        unresolved=unresolved,
        objects=len(without_probe(desired.objects)),
        conflicts=sum(result.action is Action.CONFLICT for result in outcome.results),
        problems=len(outcome.problems),
    )
