"""Writes what the loops know into the cluster: PolicySync's status, Events, an AssignedPolicy for each member.

Behind the loops: plain calls bring the news, and a round for each of the three waits a moment for more and writes what
differs from what is there. No round waits for another, and nothing here can fail or hold up a sync. Where the kinds are
not installed nothing is written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.bounded_json import DEEPEST
from controller.cluster.apply import WRITE_ACTIONS, Action
from controller.cluster.foreign import mapping_at, mappings_at, text_at, text_map_at
from controller.cluster.kinds import ASSIGNED_POLICY, POLICY_SYNC, LiveObject, name_of
from controller.cluster.lanes import Lane, in_lane
from controller.errors import ClusterError
from controller.gatekeeper.model import digest
from controller.report.assigned import (
    Enforcement,
    Knowledge,
    adds_nothing,
    assigned_name,
    assigned_policy,
    basis_of,
    enforcement_of,
)
from controller.report.conditions import LAST_CHANGES, Mode, Reported, SyncState, status_of
from controller.report.events import (
    COLLECTION,
    SYNC_REF,
    Budget,
    EventDraft,
    described,
    event,
    event_draft_of,
    summarized,
    what_differed,
)
from controller.report.health import health_of
from controller.text import one_line
from controller.times import in_parts, loop_time, utc_now, write_moment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
    from datetime import datetime

    from controller.cluster.apply import Result
    from controller.cluster.client import KubeClient
    from controller.gatekeeper.model import DesiredObject, DesiredState, ObjectRef, Outcome, Role
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.report.assigned import Basis
    from controller.report.health import Health
    from controller.report.metrics import Metrics

log = logging.getLogger("azpolicy")
_GATHER: Final = 0.5
_RETRY: Final = 15.0
_PATIENCE: Final = 10.0
_EVENTS_KEPT: Final = 2000
_PIECE: Final = 50  # AssignedPolicies that are read or made up before the event loop does something else
_MEANWHILE: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)  # somebody else was at it


@dataclass(frozen=True, slots=True)
class _Written:
    """An AssignedPolicy that is there: what a comparison and the next write need. There may be thousands.

    `live` has the metadata alone, without managedFields; `content` is the digest of spec and status. `basis` is what it
    was last seen to say, None where that was not compared yet.
    """

    live: LiveObject
    content: str
    reason: str
    basis: Basis | None = None

    @classmethod
    def of(cls, live: LiveObject) -> _Written:
        """What is kept of it."""
        metadata = {key: value for key, value in live.metadata.items() if key != "managedFields"}
        reason = text_at(live.manifest, "status", "reason")
        return cls(LiveObject(live.ref, {"metadata": metadata}), _content(live.manifest), reason)

    def differs(self, wanted: Mapping[str, Any]) -> bool:
        """Whether it says something else than is wanted."""
        labels = wanted["metadata"]["labels"]
        return self.content != _content(wanted) or not labels.items() <= self.live.labels.items()


def _content(manifest: Mapping[str, Any]) -> str:
    return digest([manifest.get("spec"), manifest.get("status")])


async def _nothing() -> None:
    pass


class _Round:
    """One thing that is written: again after every `wake`, and again where that fails, which is said once.

    `look` reads what is there: at first, whenever `look_again` is set, and after a failure. `write` writes what
    differs.
    """

    def __init__(
        self,
        what: str,
        lane: Lane,
        write: Callable[[], Awaitable[None]],
        look: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self.look_again = True
        self._what = what
        self._lane = lane
        self._look = look
        self._write = write
        self._due = asyncio.Event()
        self._trouble = ""

    def wake(self) -> None:
        """There may be something to write."""
        self._due.set()

    def wake_in(self, seconds: float) -> None:
        """There may be something to write then."""
        asyncio.get_running_loop().call_later(seconds, self._due.set)

    def start_over(self) -> None:
        """What is there may be something else by now."""
        self.look_again = True
        self._due.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._due.wait()
            await asyncio.sleep(_GATHER)
            self._due.clear()
            try:
                await self.once()
            except ClusterError as error:
                if str(error) != self._trouble:
                    log.warning("%s not written, will be retried error=%r", self._what, str(error))
                self._trouble = str(error)
                self.start_over()
                await asyncio.sleep(_RETRY)
            else:
                self._trouble = ""

    async def once(self) -> None:
        """Writes what differs from what is there; ClusterError where that fails."""
        with in_lane(self._lane):
            if self.look_again:
                self.look_again = False
                await self._look()
            await self._write()


class Reporter:
    """Gathers what happens and writes it; `run` lives as long as the loops.

    `state` reads what the loops know of the sync; `wake` says that it has changed.
    """

    def __init__(
        self,
        client: KubeClient,
        marks: OwnershipMarks,
        metrics: Metrics,
        instance: str,
        state: Callable[[], SyncState] = SyncState,
    ) -> None:
        self._state = state
        self._client = client
        self._marks = marks
        self._metrics = metrics
        self._instance = instance
        self._desired: DesiredState | None = None
        self._members: Mapping[str, Outcome] | None = None
        self._objects: Mapping[ObjectRef, DesiredObject] = {}
        self._results: dict[ObjectRef, Result] = {}
        self._health: dict[ObjectRef, Health] = {}
        self._drafts: deque[EventDraft] = deque(maxlen=_EVENTS_KEPT)
        self._budget = Budget(loop_time())
        self._serial = 0
        self._sync: LiveObject | None = None
        self._changes: tuple[Mapping[str, str], ...] = ()
        self._assigned: dict[str, _Written] | None = None
        self._refused: dict[str, Mapping[str, Any]] = {}
        self._kept: set[str] = set()
        self._unreadable: set[str] = set()
        self._patient_until = 0.0
        self._status_round = _Round("PolicySync's status", Lane.STATUS, self._write_status, self._look_for_sync)
        self._events_round = _Round("Events", Lane.STATUS, self._send_events)
        self._assigned_round = _Round("AssignedPolicies", Lane.REPORT, self._write_assigned, self._look_for_assigned)
        self.news: Callable[[], None] = lambda: None
        """Called when what became of some member has changed: others report that, too."""

    # --- what the loops tell ---------------------------------------------------------------------------------------

    def wake(self) -> None:
        """The state has changed."""
        self._status_round.wake()

    def _members_changed(self) -> None:
        """What became of some member has changed, and with it what the status counts."""
        self._status_round.wake()
        self._assigned_round.wake()
        self.news()

    def seen(self, live: LiveObject | None) -> None:
        """The PolicySync as it is now; the last changes that its status lists are taken over once, at the start."""
        if self._sync is None and live is not None:
            earlier = (text_map_at(each) for each in mappings_at(live.manifest, "status", "lastChanges"))
            self._changes = (*self._changes, *earlier)[:LAST_CHANGES]
        self._sync = live

    def desire(self, desired: DesiredState) -> None:
        """What should be there from now on."""
        self._desired = desired
        self._members = {assigned_name(each.member): each for each in desired.outcomes}
        self._objects = {each.ref: each for each in desired.objects}
        self._members_changed()

    def found(self, objects: Mapping[ObjectRef, LiveObject]) -> None:
        """A complete inventory: what is not in it is not there."""
        self._health = {
            ref: self._judged(objects[ref], wanted.role) for ref, wanted in self._objects.items() if ref in objects
        }
        for live in objects.values():
            self._tell_unreadable(live)
        self._status_round.start_over()
        self._assigned_round.start_over()

    def _judged(self, live: LiveObject, role: Role) -> Health:
        """Its health, as it was found before where the object is as it was then."""
        known = self._health.get(live.ref)
        return known if known is not None and known.version == live.version != "" else health_of(live, role, known)

    def observed(self, ref: ObjectRef, live: LiveObject | None) -> None:
        """An object as a watch event shows it, or its end."""
        if live is not None:
            self._tell_unreadable(live)
        wanted = self._objects.get(ref)
        if wanted is None:
            return
        before = self._health.pop(ref, None)
        after = health_of(live, wanted.role, before) if live is not None else None
        if after is not None:
            self._health[ref] = after
        if after != before:
            self._members_changed()

    def _tell_unreadable(self, live: LiveObject) -> None:
        """One Event about each object, ours or not, that has a part which is nested too deeply to be read."""
        if not live.cut or live.uid in self._unreadable:
            return
        if len(self._unreadable) >= _EVENTS_KEPT:
            self._unreadable.clear()
        self._unreadable.add(live.uid)
        note = f"nested deeper than {DEEPEST} levels: azpolicy does not read what is deeper"
        self.add_event(EventDraft(live.ref, live.uid, "Unreadable", note, warning=True))

    def told(self, results: Iterable[tuple[Result, bool]]) -> None:
        """What is new of one sync or repair, each with whether it is drift."""
        news: list[EventDraft] = []
        for result, drift in results:
            self._results[result.ref] = result
            draft = event_draft_of(result, drift=drift)
            if draft is not None and self._state().mode is Mode.ENFORCE:
                news.append(draft)
                self._remember(result, drift=drift)
        self._drafts.extend(summarized(news, self._sync_uid))
        self._wait_for_gatekeeper(self._results[each.ref] for each in news)
        self._events_round.wake()
        self._members_changed()

    def add_event(self, draft: EventDraft) -> None:
        """Something else that is worth an Event."""
        self._drafts.append(draft)
        self._events_round.wake()

    def settled(self, results: Iterable[Result]) -> None:
        """All results of a full sync: what is not among them has none any more."""
        self._results = {result.ref: result for result in results}
        self._wait_for_gatekeeper(self._results.values())
        self._members_changed()

    def _wait_for_gatekeeper(self, results: Iterable[Result]) -> None:
        """What was just written is taken up within seconds: a report that it is not yet would be one too many."""
        if any(result.action in WRITE_ACTIONS for result in results):
            self._patient_until = loop_time() + _PATIENCE

    def _remember(self, result: Result, *, drift: bool) -> None:
        if result.action not in WRITE_ACTIONS:
            return
        change = {
            "time": write_moment(utc_now()),
            "action": result.action.value,
            "object": str(result.ref),
            "cause": "drift" if drift else "azure",
            "detail": what_differed(result) if drift else described(result.differences) or result.message,
            "editor": ", ".join(result.changed_by),
        }
        told = {key: one_line(value) for key, value in change.items() if value}
        self._changes = (told, *self._changes)[:LAST_CHANGES]

    @property
    def _sync_uid(self) -> str:
        """What an Event about the PolicySync names it by, empty where there is none."""
        return self._sync.uid if self._sync else ""

    # --- what is written -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Writes for ever."""
        async with asyncio.TaskGroup() as group:
            for each in (self._status_round, self._events_round, self._assigned_round):
                group.create_task(each.run())

    async def write_status(self) -> None:
        """Writes the PolicySync's status where it differs, once; ClusterError where that fails."""
        await self._status_round.once()

    @property
    def known(self) -> Knowledge:
        """What is known of the desired objects now."""
        return Knowledge(self._results, self._health, writes=self._state().mode is Mode.ENFORCE)

    @property
    def sync(self) -> Mapping[str, Any] | None:
        """The PolicySync as it was last seen, None where there is none."""
        return self._sync.manifest if self._sync else None

    @property
    def changes(self) -> tuple[Mapping[str, str], ...]:
        """The last changes, newest first."""
        return self._changes

    # --- the status ------------------------------------------------------------------------------------------------

    async def _look_for_sync(self) -> None:
        """Reads the PolicySync: whoever edited its status finds it restored at the next sync."""
        listed = await self._client.list_live(POLICY_SYNC)
        if listed is not None and not listed[0]:
            await self._make_sync()
            listed = await self._client.list_live(POLICY_SYNC)
        self.seen(next((each for each in listed[0] if each.ref.name == SYNC_REF.name), None) if listed else None)

    async def _make_sync(self) -> None:
        """The one PolicySync, all of whose settings are the environment's; it is the administrator's to edit."""
        metadata = {"name": SYNC_REF.name, "labels": self._marks.labels()}
        body = {"apiVersion": POLICY_SYNC.api_version, "kind": POLICY_SYNC.kind, "metadata": metadata}
        response = await self._client.create(POLICY_SYNC, body)
        if not response.ok and response.status != HTTPStatus.CONFLICT:
            raise response.error("creating the PolicySync")

    async def _write_status(self) -> None:
        now = utc_now()
        reported = await self._reported(now)
        live = self._sync
        if live is None:
            return
        before = mapping_at(live.manifest, "status")
        status = status_of(self._state(), reported, before, now)
        if status == before:
            return
        path = f"{POLICY_SYNC.path(live.ref.name)}/status"
        response = await self._client.request("PUT", path, body={**live.manifest, "status": status})
        if response.status in _MEANWHILE:
            self._status_round.start_over()
        elif not response.ok:
            raise response.error("writing the status of the PolicySync")
        else:
            self._sync = replace(live, manifest=response.body)

    async def _reported(self, now: datetime) -> Reported:
        """What is known of the members now, whether it was written or not."""
        outcomes: list[Enforcement] = []
        async for piece in in_parts(tuple((self._members or {}).values()), 10 * _PIECE):
            known = self.known
            outcomes += [enforcement_of(each, known, now) for each in piece]
        self._metrics.reported(outcomes, self._health.values(), templates_failed=len(self._failed_templates()))
        # What became objects is enforced once Gatekeeper has taken them, and not in a dry run.
        return Reported(outcomes.count(Enforcement.ENFORCED), outcomes.count(Enforcement.PENDING), self._changes)

    def _failed_templates(self) -> set[ObjectRef]:
        """Those with errors, and those whose next version was not taken: there the one before it is, without errors."""
        broken = {ref for ref, health in self._health.items() if health.errors}
        return broken | {ref for ref, result in self._results.items() if result.action is Action.REJECTED}

    # --- Events ----------------------------------------------------------------------------------------------------

    async def _send_events(self) -> None:
        while self._drafts:
            draft = self._drafts.popleft()
            if self._budget.take(loop_time()):
                try:
                    await self._send(draft)
                except (ClusterError, asyncio.CancelledError):
                    self._drafts.appendleft(draft)
                    raise
        if owed := self._budget.owed(loop_time()):
            note = f"{owed} more repairs, changes or problems: the log lists them"
            await self._send(EventDraft(SYNC_REF, self._sync_uid, "EventsSuppressed", note))
        if self._budget.in_debt:
            self._events_round.wake_in(_RETRY)

    async def _send(self, draft: EventDraft) -> None:
        self._serial += 1
        now = utc_now()
        body = event(draft, instance=self._instance, serial=f"{time.time_ns():x}{self._serial:x}", now=now)
        response = await self._client.request("POST", COLLECTION, body=body)
        if response.refused:
            log.warning("an Event of %s is refused note=%r error=%r", draft.ref, body["note"], response.message)
        elif not response.ok:
            raise response.error("sending an Event")

    # --- AssignedPolicies ------------------------------------------------------------------------------------------

    async def _look_for_assigned(self) -> None:
        """Lists them: whoever edited or deleted one finds it restored at the next sync."""
        self._assigned = await self._read(self._assigned or {})
        # What was refused is tried again once in a full sync: an admission policy may have gone.
        self._refused.clear()
        self._kept.clear()

    async def _read(self, before: Mapping[str, _Written]) -> dict[str, _Written] | None:
        """All that are there, by name, None where they have no CRD. Whole only where one is not as it was before."""

        def known(document: Mapping[str, Any]) -> _Written | None:
            read = before.get(name_of(document))
            version = text_at(document, "metadata", "resourceVersion")
            return read if read and read.live.version == version != "" else None

        if before and (unmoved := await self._client.list_known(ASSIGNED_POLICY, known)) is not None:
            return {each.live.ref.name: each for each in unmoved}
        listed = await self._client.list_live(ASSIGNED_POLICY)
        if listed is None:
            return None
        there: dict[str, _Written] = {}
        async for piece in in_parts(listed[0], _PIECE):
            there |= {live.ref.name: known(live.manifest) or _Written.of(live) for live in piece}
        return there

    async def _write_assigned(self) -> None:
        """Brings all of them up to date, some at a time: each says what is known when its turn comes."""
        if self._assigned is None or self._members is None:
            return
        there, members = self._assigned, self._members
        await self._delete_others(there, members.keys())
        postponed = False
        async for piece in in_parts(tuple(members.items()), _PIECE):
            wanted = self._wanted(piece, there)
            told = [each for each in wanted if not self._is_early(each[0])]
            postponed = postponed or len(told) < len(wanted)
            writes = (self._write_one(there, *each) for each in told)
            for outcome in await asyncio.gather(*writes, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
        if postponed:
            self._assigned_round.wake_in(self._patient_until - loop_time())

    def _wanted(
        self, members: Iterable[tuple[str, Outcome]], there: Mapping[str, _Written]
    ) -> list[tuple[Mapping[str, Any], Basis]]:
        """The manifests of members, each with what it says; but for those of which what is there says that, or more."""
        now, known = utc_now(), self.known
        wanted: list[tuple[Mapping[str, Any], Basis]] = []
        for name, each in members:
            written, basis = there.get(name), basis_of(each, self._objects, known, now)
            if written is None or not (written.basis == basis or adds_nothing(each, written.reason)):
                wanted.append((assigned_policy(each, self._objects, known, now, self._marks), basis))
        return wanted

    def _is_early(self, wanted: Mapping[str, Any]) -> bool:
        return loop_time() < self._patient_until and wanted["status"]["outcome"] == Enforcement.PENDING

    async def _delete_others(self, there: dict[str, _Written], names: Collection[str]) -> None:
        for name in there.keys() - names - self._kept:
            response = await self._client.delete(ASSIGNED_POLICY, there[name].live)
            if response.refused:
                self._kept.add(name)
                log.warning("the deletion of the AssignedPolicy %s is refused error=%r", name, response.message)
            elif not response.ok and response.status not in _MEANWHILE:
                raise response.error(f"deleting the AssignedPolicy {name}")
            else:
                del there[name]

    async def _write_one(self, there: dict[str, _Written], wanted: Mapping[str, Any], basis: Basis) -> None:
        name = wanted["metadata"]["name"]
        written = there.get(name)
        if self._refused.get(name) == wanted:
            return
        if written is None:
            response = await self._client.create(ASSIGNED_POLICY, wanted)
        elif written.differs(wanted):
            live = written.live
            metadata = {**live.metadata, "labels": {**live.labels, **wanted["metadata"]["labels"]}}
            response = await self._client.replace(ASSIGNED_POLICY, {**wanted, "metadata": metadata})
        else:
            there[name] = replace(written, basis=basis)
            return
        if response.status in _MEANWHILE:
            # What is there now is looked at in the next round.
            self._assigned_round.start_over()
        elif response.refused:
            self._refused[name] = wanted
            log.warning("the AssignedPolicy %s is refused error=%r", name, response.message)
        elif not response.ok:
            raise response.error(f"writing the AssignedPolicy {name}")
        else:
            there[name] = replace(_Written.of(LiveObject.of(ASSIGNED_POLICY, response.body)), basis=basis)
