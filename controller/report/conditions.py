"""The status of PolicySync: conditions that kstatus reads, counts, and what happened last. Pure.

No time of a poll or an audit is in it: it changes when something happens, so that a settled operator writes nothing.
Ready says whether the cluster is as Azure says; the first row that fits:

| row                                                        | Ready   | reason                      |
|------------------------------------------------------------|---------|-----------------------------|
| a setting, or the cluster's recorded id, forbids to go on  | False   | InvalidSettings, Refused    |
| the API server cannot be read                              | False   | ClusterUnreachable          |
| Gatekeeper is missing, or not asked, or does not enforce   | False   | as GatekeeperReady          |
| nothing was read of the source yet                         | False   | SourceUnreadable            |
|   while the first sync is running                       | Unknown | Progressing                 |
| objects failed, conflict or are refused                    | False   | Problems                    |
| suspended, or a dry run, and changes wait                  | False   | Suspended, DryRun           |
| somebody keeps changing objects back; changes may wait     | False   | Contended                   |
| Gatekeeper has not taken all objects yet                   | False   | Enforcing                   |
| the source fails now; the last good state is kept          | False   | SourceUnreadable            |
| the last good state could not be kept for a restart        | True    | InSyncButNotKept            |
| some members are unresolved                                | True    | InSyncButUnresolved         |
| otherwise                                                  | True    | InSync                      |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.foreign import mapping_at, mappings_at, text_at
from controller.cluster.health import GatekeeperHealth, GatekeeperProblem
from controller.text import printable
from controller.times import write_moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from controller.cluster.apply import Result
    from controller.gatekeeper.model import ObjectRef

LAST_CHANGES: Final = 10
_SHOWN: Final = 3
_LONGEST_MESSAGE: Final = 32_768  # as Kubernetes has it for conditions


class Mode(StrEnum):
    """What the operator does with a plan."""

    ENFORCE = "Enforce"
    SUSPENDED = "Suspended"
    DRY_RUN = "DryRun"


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the last full sync."""

    assignments: int = 0
    enforced: int = 0
    not_applied: int = 0
    unresolved: int = 0
    objects: int = 0
    conflicts: int = 0
    problems: int = 0


@dataclass(frozen=True, slots=True)
class SyncState:
    """What the loops know of the sync, for the status. Errors are one line each, empty where there is none.

    `settled` is whether a full sync has ended; `waiting` how many writes a suspension or dry run holds back.
    """

    generation: int = 0
    mode: Mode = Mode.ENFORCE
    mode_message: str = ""
    cluster_id: str = ""
    source: str = ""
    counts: Counts = Counts()
    settled: bool = False
    working: bool = False
    settings_error: str = ""
    refused: str = ""
    source_error: str = ""
    cluster_error: str = ""
    gatekeeper: GatekeeperHealth = field(default_factory=GatekeeperHealth)
    problems: tuple[Result, ...] = ()
    waiting: int = 0
    fights: tuple[ObjectRef, ...] = ()
    handled_request: str = ""
    refused_count: int = 0
    refused_digest: str = ""
    forced_prune: str = ""
    unsaved: str = ""


@dataclass(frozen=True, slots=True)
class Reported:
    """What the reporter knows in addition: the outcomes of the members, and the last changes, newest first.

    `enforced` and `pending` count members that Gatekeeper has taken, and has not taken yet.
    """

    enforced: int = 0
    pending: int = 0
    changes: tuple[Mapping[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition without its times."""

    type: str
    status: str
    reason: str
    message: str


def status_of(state: SyncState, reported: Reported, before: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The whole status; `before` is the live one, whose transition times stay where nothing turned.

    What it remembers of requests stays, too, until the loops know better.
    """
    counts = {
        "assignments": state.counts.assignments,
        "enforced": reported.enforced,
        "notApplied": state.counts.not_applied,
        "unresolved": state.counts.unresolved,
        "objects": state.counts.objects,
        "conflicts": state.counts.conflicts,
        "problems": state.counts.problems,
    }
    refused = {"count": state.refused_count, "digest": state.refused_digest} if state.refused_count else {}
    told = {
        "observedGeneration": state.generation,
        "clusterId": state.cluster_id,
        "source": state.source,
        "mode": state.mode.value,
        "counts": counts if state.settled else mapping_at(before, "counts"),
        "lastHandledRequest": state.handled_request or text_at(before, "lastHandledRequest"),
        "refusedDeletions": refused,
        "lastForcedPrune": state.forced_prune or text_at(before, "lastForcedPrune"),
        "lastChanges": list(reported.changes),
        "conditions": [_dated(each, before, state.generation, now) for each in conditions(state, reported.pending)],
    }
    return {key: value for key, value in told.items() if value not in ("", {}, [])}


def _dated(condition: Condition, before: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    earlier: Mapping[str, Any] = next(
        (each for each in mappings_at(before, "conditions") if each.get("type") == condition.type), {}
    )
    since = text_at(earlier, "lastTransitionTime") if earlier.get("status") == condition.status else None
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": printable(condition.message)[:_LONGEST_MESSAGE],
        "observedGeneration": generation,
        "lastTransitionTime": since or write_moment(now),
    }


def conditions(state: SyncState, pending: int) -> tuple[Condition, ...]:
    """Every condition, in a fixed order; `pending` counts the members that Gatekeeper has not accepted yet."""
    return (
        ready(state, pending),
        _reconciling(state, pending),
        _stalled(state),
        _gatekeeper(state.gatekeeper),
        _suspended(state),
        _contended(state),
    )


def ready(state: SyncState, pending: int) -> Condition:
    """The table of this module."""
    status, reason, message = next(_ready(state, pending))
    return Condition("Ready", status, reason, message)


def _ready(state: SyncState, pending: int) -> Iterator[tuple[str, str, str]]:
    yield from _hindered(state)
    yield from _behind(state, pending)
    if state.unsaved:
        yield "True", "InSyncButNotKept", f"in sync; after a restart the state before it counts: {state.unsaved}"
    if state.counts.unresolved:
        message = f"in sync; members whose meaning here is not known: {state.counts.unresolved}"
        yield "True", "InSyncButUnresolved", message
    yield "True", "InSync", "the cluster is as Azure says"


def _hindered(state: SyncState) -> Iterator[tuple[str, str, str]]:
    """No sync could be made, or all of it enforces nothing."""
    gatekeeper = state.gatekeeper
    if state.settings_error:
        yield "False", "InvalidSettings", state.settings_error
    if state.refused:
        yield "False", "Refused", state.refused
    if state.cluster_error:
        yield "False", "ClusterUnreachable", state.cluster_error
    if gatekeeper.problem not in (None, GatekeeperProblem.TOO_OLD):
        yield "False", gatekeeper.problem.value, gatekeeper.message
    if not state.settled:
        if state.source_error:
            yield "False", "SourceUnreadable", state.source_error
        yield "Unknown", "Progressing", "the first sync is running"


def _behind(state: SyncState, pending: int) -> Iterator[tuple[str, str, str]]:
    """A sync was made, but something of it is still to come."""
    if state.problems:
        yield "False", "Problems", _told(state.problems)
    if state.waiting:
        yield "False", state.mode.value, f"{state.waiting} changes wait: {state.mode_message}"
    if state.fights:
        yield "False", "Contended", _fought(state.fights)
    if pending:
        yield "False", "Enforcing", f"Gatekeeper has not accepted {pending} members yet"
    if state.source_error:
        yield "False", "SourceUnreadable", f"the last good state is kept: {state.source_error}"


def _told(problems: tuple[Result, ...]) -> str:
    first = "; ".join(f"{each.ref} {each.reason}: {each.message}" for each in problems[:_SHOWN])
    more = len(problems) - _SHOWN
    return f"{first}; and {more} more" if more > 0 else first


def _reconciling(state: SyncState, pending: int) -> Condition:
    if state.working:
        return Condition("Reconciling", "True", "Progressing", "changes are being written")
    if state.settled and pending:
        return Condition("Reconciling", "True", "Enforcing", "Gatekeeper is accepting what was written")
    return Condition("Reconciling", "False", "Idle", "")


def _stalled(state: SyncState) -> Condition:
    """Whether it cannot continue by itself: somebody has to correct something."""
    if state.settings_error:
        return Condition("Stalled", "True", "InvalidSettings", state.settings_error)
    if state.refused:
        return Condition("Stalled", "True", "Refused", state.refused)
    return Condition("Stalled", "False", "Running", "")


def _gatekeeper(health: GatekeeperHealth) -> Condition:
    if health.problem is not None:
        return Condition("GatekeeperReady", "False", health.problem.value, health.message)
    return Condition("GatekeeperReady", "True", "Ready", health.message)


def _suspended(state: SyncState) -> Condition:
    if state.mode is Mode.ENFORCE:
        return Condition("Suspended", "False", Mode.ENFORCE.value, "")
    return Condition("Suspended", "True", state.mode.value, state.mode_message)


def _contended(state: SyncState) -> Condition:
    if not state.fights:
        return Condition("Contended", "False", "NoFight", "")
    return Condition("Contended", "True", "Fight", _fought(state.fights))


def _fought(fights: tuple[ObjectRef, ...]) -> str:
    return f"somebody keeps changing these objects back: {', '.join(map(str, fights[:_SHOWN]))}"
