"""One term at work, from when a replica leads to when it no longer does, under settings that change.

The PolicySync steers a term. New settings open a new source and start the loops again with all that they know. Settings
that cannot be used stop nothing: the ones before stay in force, and the status says what is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from controller.cluster.apply import Applier
from controller.cluster.cluster_record import ClusterRecord
from controller.cluster.dry_run import DryRunCache
from controller.cluster.foreign import mapping_at
from controller.cluster.guard import ComponentStore, Guard
from controller.cluster.guard_rules import MUTATING, VALIDATING, Evidence
from controller.cluster.kinds import CRD, POLICY_SYNC
from controller.cluster.lanes import Lane, in_lane
from controller.cluster.last_state import LastState
from controller.cluster.planner import Planner
from controller.cluster.report_objects import REPORT_GROUPS
from controller.cluster.watch import Watcher
from controller.cluster.webhooks import admitted_kinds, mutated_kinds
from controller.errors import ClusterError, InputError, Refused
from controller.gatekeeper.model import Rendered
from controller.gatekeeper.naming import AZPOLICY_GROUP, CONSTRAINT_GROUP, MUTATION_GROUP, TEMPLATE_GROUP
from controller.gatekeeper.probe import probe_objects, without_probe
from controller.operator.dependencies import Dependencies
from controller.operator.loops import ClusterLoops
from controller.operator.settings import requests_of, settings_of
from controller.operator.state import OperatorState
from controller.report.events import SYNC_REF, EventDraft
from controller.report.known import Known
from controller.report.metrics import PolicyViolations
from controller.report.open_reports.writer import ReportWriter, Told
from controller.report.reporter import Reporter
from controller.report.violations import ViolationStore
from controller.source import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from controller.cluster.client import KubeClient
    from controller.cluster.installation import Installation
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import ObjectRef
    from controller.operator.settings import Settings
    from controller.report.metrics import Metrics

log = logging.getLogger("azpolicy")
_WATCHED_GROUPS: Final = frozenset({CONSTRAINT_GROUP, MUTATION_GROUP, TEMPLATE_GROUP, AZPOLICY_GROUP})
_RECORD_TRIES: Final = 5
_RECORD_PAUSE: Final = 1.0
_STEERING: Final = "suspend"  # the one field of a PolicySync's spec that is no setting


class LeaderSession:
    """Works for one cluster until it is cancelled; `base` is what a PolicySync can change.

    With `guard` it looks after Gatekeeper's own parts, too. With `lists_violations` it knows the violations that
    constraints list, as it does while reports of policies are written.
    """

    def __init__(
        self,
        client: KubeClient,
        installation: Installation,
        metrics: Metrics,
        base: Settings,
        *,
        namespace: str,
        instance: str,
        good_at: Callable[[datetime], None],
        dry_run: bool,
        guard: bool,
        lists_violations: bool = False,
    ) -> None:
        marks = installation.marks
        cache = DryRunCache()
        applier = Applier(client, marks, cache)
        self._client = client
        self._marks = marks
        self._record = ClusterRecord(client, installation)
        self._metrics = metrics
        self._base = base
        self._used = base
        self._live: LiveObject | None = None
        self._turned = asyncio.Event()
        self._dry_run = dry_run
        self._components = ComponentStore(client, namespace, marks)
        self._guard = (
            Guard(client, self._components, writes=self._writes, restored=self._restored, evidence=self._evidence)
            if guard
            else None
        )
        self._state = OperatorState(base, dry_run=dry_run, probe=probe_objects(marks, namespace))
        self._reporter = Reporter(client, marks, metrics, instance, lambda: self._state.status)
        self._lists_violations = lists_violations
        self.violations = ViolationStore(lists=lists_violations)
        self._reports = ReportWriter(client, marks, self.violations, self._told, self._report_trouble)
        self._reporter.news = self._reports.wake
        self.violations.on_change(self._reports.wake)
        self._health = self._state.status.gatekeeper
        self._state.on_change(self._status_changed)
        self.loops = ClusterLoops(
            Dependencies(
                client=client,
                planner=Planner(client, applier, cache, marks),
                applier=applier,
                cluster_record=self._record,
                last_state=LastState(client, namespace, marks),
                marks=marks,
                metrics=metrics,
                reporter=self._reporter,
                namespace=namespace,
                good_at=good_at,
                violations=self.violations,
                synced=self._reports.look_again,
            ),
            self._state,
        )

    def known(self) -> Known:
        """What is reported now, for those who show it to people."""
        told = self._reporter.known
        knowledge = replace(told, results=dict(told.results), health=dict(told.health))
        return Known(
            desired=self._state.desired,
            knowledge=knowledge,
            sync=self._reporter.sync,
            changes=self._reporter.changes,
            findings=self.violations.copy(),
            marks=self._marks,
        )

    async def run(self) -> None:
        """Until it is cancelled; InputError where the base itself cannot be used.

        OtherInstallation where the cluster belongs to another azpolicy, before anything is written: the PolicySync is
        another's then, too.
        """
        await self._check_installation()
        # Without an answer the watcher brings it, as soon as there is one.
        with contextlib.suppress(ClusterError):
            self._live = await self._client.get_live(POLICY_SYNC, SYNC_REF.name)
        self._seen(self._live)
        self._metrics.policies(self._policy_violations)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watcher().run())
                group.create_task(self._watch_kinds())
                group.create_task(self._sessions())
                group.create_task(self._look_after_gatekeeper())
                group.create_task(self._reports.run())
        finally:
            self._metrics.policies()

    async def _check_installation(self) -> None:
        """OtherInstallation where the cluster is another's; after some tries without an answer, each sync asks again.

        The rights of a new release can take a moment to hold, and another's status must not be written meanwhile.
        """
        for _ in range(_RECORD_TRIES):
            try:
                await self._record.check_installation()
            except ClusterError as error:
                log.warning("whose cluster this is cannot be read yet error=%r", str(error))
                await asyncio.sleep(_RECORD_PAUSE)
            else:
                return

    async def _look_after_gatekeeper(self) -> None:
        if self._guard is not None:
            # Without Gatekeeper's own parts nothing is enforced.
            with in_lane(Lane.REPAIR):
                await self._guard.run()
        elif not self._dry_run:
            try:
                await self._components.forget()
            except ClusterError as error:
                log.warning("what was remembered of Gatekeeper is still kept error=%r", str(error))

    def _writes(self) -> bool:
        return not self._dry_run and not requests_of(self._live).suspended(datetime.now(UTC))

    def _status_changed(self) -> None:
        self._reporter.wake()
        before, self._health = self._health, self._state.status.gatekeeper
        if self._guard is not None and self._health != before:
            # What was seen to enforce, or not to, is due to be remembered or restored.
            self._guard.wake()

    def _evidence(self) -> Evidence:
        """What the guard may conclude about webhook configurations."""
        state = self._state
        if state.desired is None:
            return Evidence(kinds=None)
        objects = without_probe(state.desired.objects)
        kinds = {VALIDATING: admitted_kinds(objects), MUTATING: mutated_kinds(objects)}
        return Evidence(kinds, self.loops.proven)

    def _restored(self, ref: ObjectRef, why: str) -> None:
        self._metrics.gatekeeper_restored(ref.kind)
        uid = self._live.uid if self._live else ""
        note = f"{ref} of Gatekeeper is back: {why}"
        self._reporter.add_event(EventDraft(SYNC_REF, uid, "GatekeeperRestored", note, warning=True))

    def _told(self) -> Told | None:
        """What reports of policies tell, once a sync has compared everything."""
        desired = self._state.desired
        if desired is None or not self._state.status.settled or not self.violations.complete:
            return None
        return Told(desired, self._reporter.known)

    def _policy_violations(self) -> Iterator[PolicyViolations]:
        """How many objects violate each member that was audited."""
        outcomes = self._state.desired.outcomes if self._state.desired is not None else ()
        for outcome in outcomes:
            if isinstance(outcome, Rendered) and (found := self.violations.of(outcome.objects[-1])) is not None:
                member, action = outcome.member, outcome.enforcement_action
                yield PolicyViolations(member.assignment_id, member.reference_id, member.policy, action, found.total)

    def _report_trouble(self, note: str) -> None:
        uid = self._live.uid if self._live else ""
        self._reporter.add_event(EventDraft(SYNC_REF, uid, "ReportNotWritten", note, warning=True))

    def _watcher(self) -> Watcher:
        return Watcher(self._client, POLICY_SYNC, self._changed, observed=self._observed)

    def _observed(self, ref: ObjectRef, live: LiveObject | None) -> None:
        if ref == SYNC_REF:
            self._seen(live)

    def _seen(self, live: LiveObject | None) -> None:
        self._state.recall(live)
        self._reporter.seen(live)

    def _changed(self, ref: ObjectRef, live: LiveObject | None) -> None:
        if ref != SYNC_REF:
            return
        before, self._live = self._live, live
        if _settings_in(before) != _settings_in(live):
            self._turned.set()
        else:
            self._pass_requests()
        if live is None:
            self.loops.wake()
        if self._guard is not None:
            self._guard.wake()

    def _pass_requests(self) -> None:
        self.loops.take_requests(requests_of(self._live))

    async def _sessions(self) -> None:
        """One session after another, a new one whenever the settings turn."""
        while True:
            self._turned.clear()
            try:
                wanted = settings_of(self._live, self._base)
                self._pass_requests()
                await self._session(wanted)
            except InputError as error:
                if not _settings_in(self._live):
                    raise
                log.error("the PolicySync cannot be used, the settings before it stay error=%r", str(error))  # noqa: TRY400
                await self._session(self._used, str(error))

    async def _watch_kinds(self) -> None:
        """Wakes the loops whenever a kind of Gatekeeper's or of ours comes, changes or goes.

        By its metadata alone: a CustomResourceDefinition can be as large and as deep as its creator likes.
        """
        position = ""
        # What is there now, the first sync sees itself.
        with contextlib.suppress(ClusterError):
            listed = await self._client.list_live(CRD)
            position = listed[1] if listed else ""
        await Watcher(self._client, CRD, lambda *_: None, position=position, observed=self._kind_changed).run()

    def _kind_changed(self, ref: ObjectRef, _: LiveObject | None) -> None:
        group = ref.name.partition(".")[2]
        if group in _WATCHED_GROUPS:
            self.loops.wake()
        if group in REPORT_GROUPS:
            self._reports.kinds_changed()

    async def _check_cluster(self, wanted: Settings) -> None:
        """InputError where the PolicySync names another cluster than the one that is recorded here.

        The record refuses that for good, and no repair could be made. A wrong cluster id in the environment still ends
        the process: then there are no settings to fall back to.
        """
        cluster_id = wanted.source.cluster_id
        if not cluster_id or cluster_id == self._base.source.cluster_id:
            return
        try:
            await self._record.check(cluster_id)
        except Refused as error:
            raise InputError(f"PolicySync default: spec.clusterId: {error}") from error
        except ClusterError as error:
            log.warning("the recorded cluster id cannot be read error=%r", str(error))

    async def _session(self, settings: Settings, error: str = "") -> None:
        """The loops under one source, until the settings turn; InputError where the source cannot be opened."""
        async with open_source(settings.source) as source:
            await self._check_cluster(settings)
            self._used = settings
            self._metrics.polls_every(settings.pace.poll)
            self.violations.lists = self._lists_violations or settings.reports is not None
            self._reports.choose(settings.reports)
            self._state.update(settings_error=error, generation=self._live.generation if self._live else 0)
            running = asyncio.ensure_future(self.loops.run(source, settings))
            turned = asyncio.ensure_future(self._turned.wait())
            try:
                await asyncio.wait({running, turned}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                running.cancel()
                turned.cancel()
                await asyncio.wait({running, turned})
            if not running.cancelled():
                running.result()


def _settings_in(live: LiveObject | None) -> dict[str, object]:
    spec = mapping_at(live.manifest, "spec") if live is not None else {}
    return {key: value for key, value in spec.items() if key != _STEERING}
