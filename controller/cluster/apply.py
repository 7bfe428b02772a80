"""Carrying out a plan: the one place that writes to a cluster.

Order comes from what things wait for, not from phases: a constraint waits for its own template to be ready, a deletion
for its successor to be enforced, a template's deletion for its constraints'. One object's failure
is its own. docs/design.md (Order and no gap) and docs/decisions/001-tasks-wait-for-what-they-need.md say why.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.changed_by import changed_by
from controller.cluster.changes import (
    Blocked,
    Change,
    Conflict,
    Create,
    Decision,
    Delete,
    InUse,
    Invalid,
    Keep,
    NeedsDryRun,
    Plan,
    Recreate,
    Refuse,
    Rejected,
    Replace,
    Retain,
    Unwritten,
    ref_of,
)
from controller.cluster.diff import Difference, differences, missing
from controller.cluster.dry_run import DryRunAnswer, DryRunCache, Rejection, spec_digest
from controller.cluster.foreign import text_at
from controller.cluster.kinds import LiveObject, constraint_kind, crd_path, kind_of, template_kind
from controller.cluster.ownership import Ownership, ownership
from controller.cluster.plan import decide, target_for
from controller.cluster.prune import HIDDEN
from controller.cluster.readiness import (
    NUDGE_SECONDS,
    NUDGES_AT_ONCE,
    PASSING_ERROR_SECONDS,
    Broken,
    Pending,
    Ready,
    constraint_verdict,
    crd_verdict,
    is_status_stale,
    pods_verdict,
)
from controller.cluster.reasons import Reason
from controller.errors import ClusterError
from controller.gatekeeper.expansion import EXPANSION_REFS
from controller.gatekeeper.model import DesiredObject, ObjectRef, Role
from controller.gatekeeper.naming import CONSTRAINT_GROUP, TEMPLATE_GROUP
from controller.gatekeeper.syncset import ANNOTATION, SYNCSET_REF
from controller.times import in_parts, loop_time

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from controller.cluster.client import KubeClient, Response
    from controller.cluster.kinds import Kind
    from controller.gatekeeper.naming import OwnershipMarks

READY_TIMEOUT: Final = 90.0
REJECTED_DIGEST: Final = "azpolicy.dev/rejected-digest"
NUDGED: Final = "azpolicy.dev/asked-again"
PREVENTION: Final = "azpolicy manages this object"  # how the chart's admission policy begins a denial
_NOT_OURS: Final = "its ConstraintTemplate is not ours"
_ROUNDS: Final = 5
_ASKS: Final = 3
_PAUSE: Final = 1.0  # seconds, before a write is decided anew that the server had no answer to
_AT_ONCE: Final = 200  # changes that are told in one piece of the event loop
_LOOKS_A_SECOND: Final = 40  # of all that wait for Gatekeeper together


class Action(StrEnum):
    """What was, or would be, done to one object."""

    CREATED = "created"
    REPLACED = "replaced"
    DELETED = "deleted"
    UNCHANGED = "unchanged"
    RETAINED = "retained"
    IN_USE = "in-use"
    CONFLICT = "conflict"
    REFUSED = "refused"
    REJECTED = "rejected"
    BLOCKED = "blocked"
    FAILED = "failed"


PROBLEM_ACTIONS: Final = frozenset({Action.CONFLICT, Action.REFUSED, Action.REJECTED, Action.BLOCKED, Action.FAILED})
WRITE_ACTIONS: Final = frozenset({Action.CREATED, Action.REPLACED, Action.DELETED})


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one change; `reason` is a stable word, `message` is for people.

    `changed_by` are the field managers that made the differences, where the object records them.
    """

    ref: ObjectRef
    action: Action
    reason: str = ""
    message: str = ""
    differences: tuple[Difference, ...] = ()
    dropped: tuple[str, ...] = ()
    changed_by: tuple[str, ...] = ()
    uid: str = ""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Every result of one plan."""

    results: tuple[Result, ...]

    @property
    def problems(self) -> tuple[Result, ...]:
        """What failed, conflicts or is refused."""
        return tuple(r for r in self.results if r.action in PROBLEM_ACTIONS)

    @property
    def written(self) -> tuple[Result, ...]:
        """What changed the cluster."""
        return tuple(r for r in self.results if r.action in WRITE_ACTIONS)


class _Stopped(Exception):  # noqa: N818 - ends one change, not the plan
    """Why one change cannot be carried out."""

    def __init__(self, reason: str, message: str, action: Action = Action.FAILED) -> None:
        super().__init__(message)
        self.reason = reason
        self.action = action


def _never(_: DesiredObject) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """What is asked anew before each write, as a plan may wait long for what it needs; by default nothing changes.

    `suspended` is whether nothing may be written any more, `superseded` whether an object is desired otherwise by now.
    """

    suspended: Callable[[], bool] = lambda: False
    superseded: Callable[[DesiredObject], bool] = _never


class Applier:
    """Carries out plans against one cluster. Safe to call concurrently: every write names the version it replaces."""

    def __init__(
        self,
        client: KubeClient,
        marks: OwnershipMarks,
        cache: DryRunCache,
        *,
        ready_timeout: float = READY_TIMEOUT,
        nudges: bool = False,
    ) -> None:
        """With `nudges`, waiting for a template nudges Gatekeeper; the operator has a loop of its own for that."""
        self._client = client
        self._marks = marks
        self._cache = cache
        self._ready_timeout = ready_timeout
        self._nudges = nudges

    async def answer(self, change: NeedsDryRun | Create) -> DryRunAnswer:
        """Asks the server by a dry run what it would store, which absorbs its defaulting."""
        response = await self._ask(change)
        if response.ok:
            return DryRunAnswer(LiveObject.of(_kind_for(change.desired), response.body))
        # A server at fault (5xx: a webhook that does not answer) refuses nothing; only its denial is a refusal. Our own
        # prevention refuses whoever asks, not what he asks for.
        unasked = response.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
        if (unasked and not _denied(response)) or _unanswered(response) or PREVENTION in response.message:
            return DryRunAnswer(None, unknown=response.message)
        return DryRunAnswer(None, refusal=response.message)

    async def _ask(self, change: NeedsDryRun | Create) -> Response:
        """The dry run's response; asked again where a busy webhook did not answer, or a status was written meanwhile.

        Every audit writes statuses: that must not pass for a change in a plan.
        """
        kind = _kind_for(change.desired)
        for left in reversed(range(_ASKS)):
            if isinstance(change, Create):
                response = await self._client.create(kind, change.desired.manifest, dry_run=True)
            else:
                response = await self._client.replace(kind, change.target, dry_run=True)
            if not left:
                break
            if isinstance(change, NeedsDryRun) and response.status == HTTPStatus.CONFLICT:
                live = await self._client.get_live(kind, change.desired.ref.name)
                if live is None or not live.reads_as(change.live):
                    break
                change = NeedsDryRun(change.desired, live, target_for(change.desired, live))
            elif not _unanswered(response):
                break
        return response

    async def apply(
        self,
        plan: Plan,
        done: Callable[[Result], None] = lambda _: None,
        *,
        meanwhile: Meanwhile = Meanwhile(),
    ) -> ChangeSet:
        """Carries out every change at once, each waiting for what it needs; calls `done` as each one ends."""
        run = _Run(self._client, self._marks, self._cache, self._ready_timeout, self._nudges, plan, meanwhile)
        return await run.carry_out(done)

    async def nudge(self, desired: DesiredObject) -> bool:
        """Makes Gatekeeper look again at an object of ours that it says nothing of; whether that was needed and done.

        ClusterError where nobody answers.
        """
        return await _nudge(self._client, self._marks, self._cache, _kind_for(desired), desired.ref.name)


@dataclass
class _Run:
    """One plan being carried out: a task for each change that may write, joined by what they wait for."""

    client: KubeClient
    marks: OwnershipMarks
    cache: DryRunCache
    ready_timeout: float
    nudges: bool
    plan: Plan
    meanwhile: Meanwhile

    def __post_init__(self) -> None:
        self._tasks: dict[ObjectRef, asyncio.Future[Result]] = {}
        self._templates: dict[tuple[str, bool], asyncio.Task[None]] = {}
        self._changes: dict[ObjectRef, Change] = {ref_of(change): change for change in self.plan.changes}
        self._uptake = _Uptake(self.client, self.marks, self.cache, timeout=self.ready_timeout, nudges=self.nudges)

    async def carry_out(self, done: Callable[[Result], None]) -> ChangeSet:
        staying = [change for change in self.plan.changes if isinstance(change, Unwritten)]
        async with asyncio.TaskGroup() as group:
            for change in self.plan.changes:
                writes = not isinstance(change, Unwritten)
                task = group.create_task(self._one(change, done)) if writes else asyncio.Future()
                self._tasks[ref_of(change)] = task
            await asyncio.sleep(0)
            async for part in in_parts(staying, _AT_ONCE):
                for change in part:
                    result = unwritten(change)
                    done(result)
                    self._tasks[result.ref].set_result(result)
        return ChangeSet(tuple(task.result() for task in self._tasks.values()))

    async def _one(self, change: Change, done: Callable[[Result], None]) -> Result:
        try:
            result = await self._carry(change)
        except _Stopped as stop:
            result = Result(ref_of(change), stop.action, stop.reason, str(stop))
        except ClusterError as error:
            result = Result(ref_of(change), Action.FAILED, error.reason or Reason.CLUSTER_UNREACHABLE, str(error))
        done(result)
        return result

    async def _carry(self, change: Change) -> Result:
        match change:
            case Create() | Replace() | NeedsDryRun():
                return await self._write(change)
            case Recreate():
                return await self._recreate(change)
            case Delete():
                return await self._delete(change)
            case _:
                return unwritten(change)

    # --- writes --------------------------------------------------------------------------------------------------

    def _still_meant(self, desired: DesiredObject | None = None) -> None:
        """_Stopped where a write that was decided on is no longer to be made: what follows is decided anew."""
        if desired is not None and self.meanwhile.superseded(desired):
            raise _Stopped(Reason.SUPERSEDED, "it is desired otherwise by now", Action.BLOCKED)
        if self.meanwhile.suspended():
            raise _Stopped(Reason.SUPERSEDED, "nothing is written any more by now", Action.BLOCKED)

    async def _write(self, change: Create | Replace | NeedsDryRun) -> Result:
        desired = change.desired
        # What a finalizer keeps in place is let go at once: a kind that is being deleted waits for it.
        if not (isinstance(change, Replace) and change.live.deleting):
            await self._usable(change)
        current: Decision = change
        released: Replace | None = None
        for left in reversed(range(_ROUNDS)):
            match current:
                case Create():
                    self._still_meant(desired)
                    response = await self.client.create(_kind_for(desired), desired.manifest)
                case Replace() | NeedsDryRun():
                    await self._same_kind(current)
                    self._still_meant(desired)
                    response = await self.client.replace(_kind_for(desired), current.target)
                case _:
                    return unwritten(current)
            if response.ok and isinstance(current, Replace) and current.live.deleting:
                # Without finalizers the server lets it go with this answer.
                released, current = current, Create(desired)
                await self._usable(current)
                continue
            if response.ok:
                stored = LiveObject.of(_kind_for(desired), response.body)
                return await self._written(current, stored, released)
            gone = response.status == HTTPStatus.NOT_FOUND and not isinstance(current, Create)
            unanswered = _unanswered(response) and left > 0
            if response.status != HTTPStatus.CONFLICT and not gone and not unanswered:
                raise _Stopped(_refusal(response), f"{desired.ref}: {response.message}")
            if unanswered:
                await asyncio.sleep(_PAUSE)
            current = await self._decide_again(desired)
        raise _Stopped(Reason.CONCURRENT_CHANGES, f"{desired.ref}: changes faster than it can be written")

    async def _decide_again(self, desired: DesiredObject) -> Decision:
        live = await self.client.get_live(_kind_for(desired), desired.ref.name)
        return decide(desired, live, self.marks, self.cache.entries, written=self.cache.written.uids)

    async def _written(
        self, change: Create | Replace | NeedsDryRun, stored: LiveObject, released: Replace | None
    ) -> Result:
        """The result of a write that was made; `released` is the object that finalizers kept in place before it."""
        desired = change.desired
        if desired.role is Role.TEMPLATE and not isinstance(change, Create):
            self.cache.written.met(change.live)
        self.cache.written.wrote(stored)
        dropped = missing(desired.manifest.get("spec"), stored.manifest.get("spec"))
        self.cache.remember_equal(stored, desired, dropped)
        if desired.role is Role.TEMPLATE:
            await self._verdict(change, stored)
            self.cache.written.accepted(desired)
        note = (Reason.FIELDS_DROPPED, _dropped(dropped)) if dropped else ("", "")
        if released is not None:
            editors = changed_by(released.live, released.differences)
            return Result(desired.ref, Action.REPLACED, *note, released.differences, dropped, editors, stored.uid)
        if isinstance(change, Create):
            return Result(desired.ref, Action.CREATED, *note, dropped=dropped, uid=stored.uid)
        if isinstance(change, Replace):
            found = change.differences
        else:
            found = tuple(differences(change.live.projection(), stored.projection()))
        return Result(desired.ref, Action.REPLACED, *note, found, dropped, changed_by(change.live, found), stored.uid)

    # --- templates -----------------------------------------------------------------------------------------------

    async def _recreate(self, change: Recreate) -> Result:
        """Deletes a template with its constraints and makes it again; until that is taken up, none of them enforces."""
        desired, kind = change.desired, _kind_for(change.desired)
        path = crd_path(desired.ref.name)
        served = await self.client.get(path)
        if _crd_kind(served) == template_kind(desired.manifest):
            # Discovery told of a kind that is gone.
            return await self._write(NeedsDryRun(desired, change.live, target_for(desired, change.live)))
        await self._no_others(desired.ref.name)
        self._still_meant(desired)
        response = await self.client.delete(kind, change.live)
        if not response.ok and response.status != HTTPStatus.NOT_FOUND:
            raise _Stopped(_refusal(response), f"{desired.ref}: {response.message}")
        await self._gone(path, _uid(served))
        response = await self.client.create(kind, desired.manifest)
        # Who saw it vanish may have made it again by now.
        if not response.ok and response.status != HTTPStatus.CONFLICT:
            raise _Stopped(_refusal(response), f"{desired.ref}: {response.message}")
        if response.ok:
            self.cache.written.wrote(LiveObject.of(kind, response.body))
        await self._uptake.template(desired.ref)
        self.cache.written.accepted(desired)
        return Result(desired.ref, Action.REPLACED, Reason.KIND_SPELLED, change.message, change.differences)

    async def _same_kind(self, change: Replace | NeedsDryRun) -> None:
        """_Stopped where a template would get a kind that its CustomResourceDefinition never takes (see Recreate)."""
        wanted = template_kind(change.desired.manifest)
        if change.desired.role is not Role.TEMPLATE or template_kind(change.live.manifest) == wanted:
            return
        served = _crd_kind(await self.client.get(crd_path(change.desired.ref.name)))
        if served not in ("", wanted):
            raise _Stopped(Reason.BLOCKED, f"its kind is {served} here, in other letters", Action.BLOCKED)

    async def _no_others(self, template: str) -> None:
        """_Stopped where a constraint uses a template that the plan does not delete."""
        going = {change.live.uid for change in self._changes.values() if isinstance(change, Delete)}
        for live in await self._users(template):
            if not live.deleting and live.uid not in going:
                raise _Stopped(Reason.IN_USE, f"kept: {live.ref} came to use it", Action.BLOCKED)

    async def _users(self, template: str) -> tuple[LiveObject, ...]:
        """The constraints that go with a template; _Stopped where they cannot be seen."""
        listed = await self.client.list_live(constraint_kind(template))
        if listed is not None:
            return listed[0]
        if (await self.client.request("GET", crd_path(template))).status != HTTPStatus.NOT_FOUND:
            raise _Stopped(Reason.IN_USE, f"kept: {HIDDEN}", Action.BLOCKED)
        return ()

    async def _gone(self, path: str, uid: str) -> None:
        """Returns once the CustomResourceDefinition of this uid is no more.

        Another may have its place: a repair that sees the template vanish makes it again, and Gatekeeper its kind.
        """
        deadline = loop_time() + self.ready_timeout
        delay = 0.05
        while (crd := await self.client.get(path)) is not None and _uid(crd) == uid:
            if loop_time() > deadline:
                message = f"the CustomResourceDefinition of its kind is still there after {self.ready_timeout:.0f} s"
                raise _Stopped(Reason.TEMPLATE_NOT_READY, message)
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, 1.0)

    async def _usable(self, change: Create | Replace | NeedsDryRun) -> None:
        """Returns when what a constraint needs is there, at once for others; _Stopped when it cannot be written."""
        if change.desired.ref.group == CONSTRAINT_GROUP:
            await self._template_usable(change)
            await self._data_replicated(change.desired.ref.kind)

    async def _template_usable(self, change: Create | Replace | NeedsDryRun) -> None:
        """Returns when a constraint can be written; _Stopped when it cannot.

        A constraint that is there is repaired at once unless this plan writes its template too: while one pod of
        Gatekeeper lags behind, the others enforce what somebody made of the constraint.
        """
        kind = change.desired.ref.kind
        ref = ObjectRef(TEMPLATE_GROUP, "ConstraintTemplate", kind.lower())
        wait = isinstance(change, Create) or isinstance(self._changes.get(ref), Create | Replace | NeedsDryRun)
        key = (kind, wait)
        if key not in self._templates:
            look = self._await_template(ref) if wait else self._template_ours(ref)
            self._templates[key] = asyncio.create_task(look)
        await asyncio.shield(self._templates[key])

    async def _template_ours(self, ref: ObjectRef) -> None:
        live = await self.client.get_live(kind_of(ref), ref.name)
        if live is not None and not self._uptake.is_ours(live):
            raise _Stopped(Reason.BLOCKED, _NOT_OURS, Action.BLOCKED)

    async def _await_template(self, ref: ObjectRef) -> None:
        change = self._changes.get(ref)
        task = self._tasks.get(ref)
        # Where the new version is not taken, the last good one stays, and constraints are enforced with it.
        if task is not None and not isinstance(change, Keep | Rejected | Invalid):
            result = await asyncio.shield(task)
            if result.action not in (Action.CREATED, Action.REPLACED, Action.UNCHANGED):
                raise _Stopped(Reason.TEMPLATE_NOT_READY, f"its template {ref.name}: {result.message}", Action.BLOCKED)
            # What was found made already, Gatekeeper need not have taken up.
            if result.action is not Action.UNCHANGED:
                return
        await self._uptake.template(ref, seen=change.live if isinstance(change, Keep) else None)

    async def _data_replicated(self, kind: str) -> None:
        """Returns when the SyncSet is there that the kind's rules look things up by: without it they would see nothing.

        What failed is the SyncSet's own result; an existing constraint stays as it is until then.
        """
        template = self._changes.get(ObjectRef(TEMPLATE_GROUP, "ConstraintTemplate", kind.lower()))
        task = self._tasks.get(SYNCSET_REF)
        if task is None or not _needs_data(template):
            return
        result = await asyncio.shield(task)
        if result.action in PROBLEM_ACTIONS:
            raise _Stopped(Reason.DATA_NOT_REPLICATED, f"the data that it needs: {result.message}", Action.BLOCKED)

    async def _verdict(self, change: Create | Replace | NeedsDryRun, stored: LiveObject) -> None:
        """Waits for Gatekeeper's word on a template just written; puts the last good one back if it fails."""
        try:
            await self._uptake.template(stored.ref, stored=stored)
        except _Stopped as stop:
            if stop.reason != Reason.TEMPLATE_REJECTED:
                raise
            message = f"{stop}(the last good one is back in place)"
            if not await self._put_back(change.desired, stored):
                raise
            raise _Stopped(Reason.TEMPLATE_REJECTED, message, Action.REJECTED) from stop

    async def _put_back(self, rejected: DesiredObject, written: LiveObject) -> bool:
        """Puts the last good version back over the one just written, and remembers what failed, to not try it again.

        Good is what we remember that Gatekeeper accepted. What was live before may be somebody's edit.
        """
        good = self.cache.written.templates.get(rejected.ref)
        if good is None:
            return False
        kind = _kind_for(good)
        for _ in range(_ROUNDS):
            live = await self.client.get_live(kind, rejected.ref.name)
            # A suspension does not keep a template broken that this run has written.
            if live is None or live.uid != written.uid or self.meanwhile.superseded(rejected):
                return False
            target = target_for(good, live)
            target["metadata"].setdefault("annotations", {})[REJECTED_DIGEST] = spec_digest(rejected)
            response = await self.client.replace(kind, target)
            if response.ok:
                stored = LiveObject.of(kind, response.body)
                self.cache.entries[stored.uid] = Rejection(spec_digest(stored), spec_digest(rejected))
            if response.status != HTTPStatus.CONFLICT:
                return response.ok
        return False

    # --- deletes -------------------------------------------------------------------------------------------------

    async def _delete(self, change: Delete) -> Result:
        ref = change.live.ref
        await self._free_to_delete(change)
        if any(successor.group == TEMPLATE_GROUP for successor in change.successors):
            # It went with its template; what has its name by now is of the kind as it is spelled now.
            self.cache.written.deleted(ref)
            return Result(ref, Action.DELETED, change.reason, change.message, uid=change.live.uid)
        self._still_meant()
        response = await self.client.delete(kind_of(ref), change.live)
        if response.ok or response.status == HTTPStatus.NOT_FOUND:
            self.cache.written.deleted(ref)
            return Result(ref, Action.DELETED, change.reason, change.message, uid=change.live.uid)
        if response.status == HTTPStatus.CONFLICT:
            raise _Stopped(
                Reason.CONCURRENT_CHANGES, f"{ref}: changed before it could be deleted; the next sync decides again"
            )
        raise _Stopped(_refusal(response), f"{ref}: {response.message}")

    async def _free_to_delete(self, change: Delete) -> None:
        for successor in change.successors:
            task = self._tasks.get(successor)
            result = await asyncio.shield(task) if task else None
            if result and result.action in PROBLEM_ACTIONS:
                raise _kept(f"its successor {successor}: {result.message}")
            if successor.group == CONSTRAINT_GROUP:
                await self._uptake.constraint(successor)
        if change.live.ref.group == TEMPLATE_GROUP:
            await self._constraints_deleted(change.live)
        if change.live.ref == SYNCSET_REF:
            await self._deleted_first(frozenset({Role.TEMPLATE}))
        if change.live.ref in EXPANSION_REFS:
            await self._deleted_first(frozenset({Role.CONSTRAINT, Role.MUTATOR}))

    async def _constraints_deleted(self, template: LiveObject) -> None:
        """Returns once nobody uses the template; _Stopped where somebody does, also since the plan was made."""
        name = template.ref.name
        users = [task for ref, task in self._tasks.items() if _uses(ref, name)]
        for result in [await asyncio.shield(task) for task in users]:
            if result.action is not Action.DELETED:
                raise _Stopped(Reason.IN_USE, f"kept: its constraint {result.ref.name} is still there", Action.BLOCKED)
        if staying := [live.ref.name for live in await self._users(name) if not live.deleting]:
            raise _Stopped(Reason.IN_USE, f"kept: the constraint {staying[0]} uses it now", Action.BLOCKED)

    async def _deleted_first(self, roles: frozenset[Role]) -> None:
        """Returns once the objects of these roles that are to go are gone: one that stays after all may need this."""
        going = [task for ref, task in self._tasks.items() if kind_of(ref).role in roles and self._goes(ref)]
        for result in [await asyncio.shield(task) for task in going]:
            if result.action is not Action.DELETED:
                raise _Stopped(Reason.IN_USE, f"kept: {result.ref} is still there", Action.BLOCKED)

    def _goes(self, ref: ObjectRef) -> bool:
        return isinstance(self._changes[ref], Delete)


class _Uptake:
    """Waits for Gatekeeper to take up what a plan writes: one for the whole plan, as it takes up one after the other.

    On a cluster that gets a hundred templates at once the last waits for all others. So what counts is how long
    Gatekeeper took up nothing at all; and all that wait look a bounded number of times a second, and nudge a few at a
    time, as every request and every nudge takes Gatekeeper's own processor time.
    """

    def __init__(
        self, client: KubeClient, marks: OwnershipMarks, cache: DryRunCache, *, timeout: float, nudges: bool
    ) -> None:
        """`timeout` is in seconds without any progress."""
        self._client = client
        self._marks = marks
        self._cache = cache
        self._timeout = timeout
        self._nudges = nudges
        self._progress = float("-inf")
        self._waiting = 0
        self._nudged: set[ObjectRef] = set()

    def is_ours(self, template: LiveObject) -> bool:
        """Whose a template is that something of the plan needs."""
        written = self._cache.written.uids
        return ownership(template, self._marks, desired=True, written=written) is Ownership.OURS

    async def template(
        self, ref: ObjectRef, *, stored: LiveObject | None = None, seen: LiveObject | None = None
    ) -> None:
        """Returns once Gatekeeper has taken a template up; _Stopped where it does not, or where `stored` is no more.

        `seen` is the template as the plan found it: where Gatekeeper had taken that up, it need not be read again.
        Who edits or deletes again what was just written must not have us wait for Gatekeeper's word on it.
        """
        if seen is not None and isinstance(await self._crd_verdict(seen), Ready):
            return
        kind = _kind_at(ref, stored)
        started = loop_time()
        passing_since: float | None = None
        async for now in self._looks():
            live = await self._client.get_live(kind, ref.name)
            if live and not self.is_ours(live):
                raise _Stopped(Reason.BLOCKED, _NOT_OURS, Action.BLOCKED)
            if stored is not None and _version(live) != _version(stored):
                raise _Stopped(Reason.CONCURRENT_CHANGES, f"{ref}: changed again before Gatekeeper took it up")
            verdict = await self._judge(live) if live else Pending("the template is not there")
            if isinstance(verdict, Ready):
                self._taken_up(ref, now)
                return
            await self._nudge(ref, kind, started, now)
            passing_since = (passing_since or now) if isinstance(verdict, Pending) and verdict.passing else None
            lasting = passing_since is not None and self._idle(passing_since, now) > PASSING_ERROR_SECONDS
            if isinstance(verdict, Broken) or lasting:
                raise _Stopped(Reason.TEMPLATE_REJECTED, f"Gatekeeper rejects it: {verdict.message}", Action.REJECTED)
            if self._idle(started, now) > self._timeout:
                raise _Stopped(Reason.TEMPLATE_NOT_READY, f"not ready after {now - started:.0f} s: {verdict.message}")

    async def constraint(self, ref: ObjectRef) -> None:
        """Returns once every pod of Gatekeeper enforces a constraint; _Stopped where one does not."""
        started = loop_time()
        async for now in self._looks():
            live = await self._client.get_live(kind_of(ref), ref.name)
            verdict = constraint_verdict(live) if live else Pending("it is not there")
            if isinstance(verdict, Ready):
                self._taken_up(ref, now)
                return
            if self._idle(started, now) > self._timeout:
                raise _kept(f"its successor {ref} is not enforced: {verdict.message}")

    async def _looks(self) -> AsyncGenerator[float]:
        """When to look, on the event loop's clock: soon, and more seldom the longer it takes and the more wait."""
        delay = 0.05
        self._waiting += 1
        try:
            while True:
                yield loop_time()
                await asyncio.sleep(max(delay, self._waiting / _LOOKS_A_SECOND))
                delay = min(delay * 1.5, 1.0)
        finally:
            self._waiting -= 1

    def _taken_up(self, ref: ObjectRef, now: float) -> None:
        # What had to be nudged tells nothing of whether Gatekeeper is busy with the others.
        if ref not in self._nudged:
            self._progress = now
        self._nudged.discard(ref)

    def _idle(self, started: float, now: float) -> float:
        """Seconds for which Gatekeeper took up nothing that this plan waits for."""
        return now - max(started, self._progress)

    async def _nudge(self, ref: ObjectRef, kind: Kind, started: float, now: float) -> None:
        """Nudges Gatekeeper once about a template that it may have lost the status of.

        It can lose one for good when the API server restarts (seen with 3.23.1).
        """
        if not self._nudges or ref in self._nudged or self._idle(started, now) <= NUDGE_SECONDS:
            return
        if len(self._nudged) < NUDGES_AT_ONCE:
            self._nudged.add(ref)
            await _nudge(self._client, self._marks, self._cache, kind, ref.name)

    async def _judge(self, live: LiveObject) -> Ready | Pending | Broken:
        verdict = await self._crd_verdict(live)
        if not isinstance(verdict, Ready):
            return verdict
        kind = template_kind(live.manifest)
        response = await self._client.request("GET", constraint_kind(kind).path(), query={"limit": "1"})
        return verdict if response.ok else Pending(f"the API server does not serve {kind} yet")

    async def _crd_verdict(self, live: LiveObject) -> Ready | Pending | Broken:
        """The verdict on a template and its CustomResourceDefinition, which is read only where it decides."""
        verdict = pods_verdict(live)
        if not isinstance(verdict, Ready):
            return verdict
        return crd_verdict(live, await self._client.get(crd_path(template_kind(live.manifest).lower())))


def planned(change: Change) -> Result:
    """What `apply` would report of a change if all goes well: the one list of actions for plan and outcome."""
    match change:
        case Create():
            return Result(change.desired.ref, Action.CREATED, dropped=change.dropped)
        case Replace():
            return Result(
                change.desired.ref,
                Action.REPLACED,
                message=change.note,
                differences=change.differences,
                dropped=change.dropped,
            )
        case Recreate():
            return Result(
                change.desired.ref, Action.REPLACED, Reason.KIND_SPELLED, change.message, differences=change.differences
            )
        case Delete():
            return Result(change.live.ref, Action.DELETED, change.reason, change.message)
        case NeedsDryRun():
            raise AssertionError("a NeedsDryRun change is answered before a plan is shown")
        case _:
            return unwritten(change)


def unwritten(change: Unwritten) -> Result:
    """What a change that writes nothing amounts to; the same words in a plan and in an outcome."""
    dropped: tuple[str, ...] = ()
    match change:
        case Keep():
            dropped = change.dropped
            outcome = (
                (Action.UNCHANGED, Reason.FIELDS_DROPPED, _dropped(dropped)) if dropped else (Action.UNCHANGED, "", "")
            )
        case Retain():
            outcome = (Action.RETAINED, Reason.UNRESOLVED, change.message)
        case InUse():
            users = ", ".join(map(str, change.users[:3]))
            outcome = (Action.IN_USE, Reason.IN_USE, f"kept: constraints that are not ours use it: {users}")
        case Conflict():
            outcome = (Action.CONFLICT, Reason.CONFLICT, change.message)
        case Refuse():
            outcome = (Action.REFUSED, Reason.PRUNE_LIMIT, change.message)
        case Rejected():
            outcome = (Action.REJECTED, Reason.TEMPLATE_REJECTED, change.message)
        case Blocked():
            outcome = (Action.BLOCKED, Reason.BLOCKED, change.message)
        case Invalid():
            outcome = (Action.FAILED, Reason.DENIED, change.message)
    return Result(ref_of(change), *outcome, dropped=dropped)


def _kept(why: str) -> _Stopped:
    return _Stopped(Reason.SUCCESSOR_NOT_ENFORCED, f"kept: {why}", Action.BLOCKED)


def _kind_for(desired: DesiredObject) -> Kind:
    return kind_of(desired.ref).at(str(desired.manifest["apiVersion"]))


def _crd_kind(crd: Mapping[str, Any] | None) -> str:
    """The kind that a CustomResourceDefinition serves, empty where there is none."""
    return str(crd["spec"]["names"]["kind"]) if crd else ""


def _uid(crd: Mapping[str, Any] | None) -> str:
    return text_at(crd, "metadata", "uid")


def _version(live: LiveObject | None) -> tuple[str, int] | None:
    return (live.uid, live.generation) if live else None


def _kind_at(ref: ObjectRef, stored: LiveObject | None) -> Kind:
    kind = kind_of(ref)
    return kind.at(str(stored.manifest["apiVersion"])) if stored else kind


async def _nudge(client: KubeClient, marks: OwnershipMarks, cache: DryRunCache, kind: Kind, name: str) -> bool:
    """Changes an object of ours whose status is stale, and takes the change back; whether that was needed and done.

    An annotation comes and goes at once, which changes nothing that is enforced; one that a killed process left there
    is drift.
    """
    live = await client.get_live(kind, name)
    if live is None or not is_status_stale(live):
        return False
    if ownership(live, marks, written=cache.written.uids) is not Ownership.OURS:
        return False
    if not (await client.replace(kind, _annotated(live, {**live.annotations, NUDGED: "true"}))).ok:
        return False
    # Gatekeeper's answer, its write of the status, may come in between.
    for _ in range(_ROUNDS):
        live = await client.get_live(kind, name)
        if live is None or NUDGED not in live.annotations:
            break
        rest = {key: value for key, value in live.annotations.items() if key != NUDGED}
        if (await client.replace(kind, _annotated(live, rest))).status != HTTPStatus.CONFLICT:
            break
    return True


def _annotated(live: LiveObject, annotations: Mapping[str, str]) -> dict[str, Any]:
    return {**live.manifest, "metadata": {**live.metadata, "annotations": annotations}}


def _dropped(paths: tuple[str, ...]) -> str:
    return f"the kind's schema does not have {', '.join(paths)}: not enforced"


def _needs_data(template: Change | None) -> bool:
    """Whether a template of the plan looks other objects up."""
    if template is None or isinstance(template, Delete | Refuse | Retain | InUse):
        return False
    metadata: Any = template.desired.manifest["metadata"]
    return ANNOTATION in (metadata.get("annotations") or {})


def _uses(ref: ObjectRef, template_name: str) -> bool:
    return ref.group == CONSTRAINT_GROUP and ref.kind.lower() == template_name


def _denied(response: Response) -> bool:
    """Whether it is admission's word, a webhook's or an admission policy's, and not the API server's own."""
    words = response.message
    return "denied" in words and ("admission webhook" in words or "ValidatingAdmissionPolicy" in words)


def _unanswered(response: Response) -> bool:
    """Whether the server could not say, as where a webhook is too busy: it may be asked again.

    Who repeats a write decides anew, as it may have been made all the same.
    """
    return response.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not _denied(response)


def _refusal(response: Response) -> str:
    return Reason.DENIED if _denied(response) else response.reason or f"HTTP{response.status}"
