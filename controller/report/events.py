"""Kubernetes Events: repairs, changes from Azure and conflicts, as `kubectl describe` shows them.

One for each, and never a flood: over a budget they are counted, and one Event says how many more there were. The log
has all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.apply import PROBLEM_ACTIONS, WRITE_ACTIONS, Action, Result
from controller.cluster.diff import ABSENT
from controller.cluster.kinds import POLICY_SYNC, kind_of
from controller.gatekeeper.model import ObjectRef
from controller.text import printable
from controller.times import write_moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from controller.cluster.diff import Difference

CONTROLLER: Final = "azpolicy.dev/azure-policy-sync"
NAMESPACE: Final = "default"  # where Events about cluster-scoped objects belong
COLLECTION: Final = f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"
BURST: Final = 50
PER_SECOND: Final = 1.0
AT_ONCE: Final = 20
LONGEST_NOTE: Final = 1024  # bytes, as the API server counts
_MORE: Final = "…"
_NAME: Final = 200
_SHOWN: Final = 4
SYNC_REF: Final = ObjectRef(POLICY_SYNC.group, POLICY_SYNC.kind, "default")
_CHANGED: Final = {Action.CREATED: "Created", Action.REPLACED: "Updated", Action.DELETED: "Deleted"}


@dataclass(frozen=True, slots=True)
class EventDraft:
    """The content of one Event about one object; `warning` is its type, `reason` a word in CamelCase."""

    ref: ObjectRef
    uid: str
    reason: str
    note: str
    warning: bool = False


def event_draft_of(result: Result, *, drift: bool) -> EventDraft | None:
    """What a result is worth telling: a repair, a change from Azure, a problem; None for all that stays as it was."""
    if result.action in PROBLEM_ACTIONS:
        return EventDraft(result.ref, result.uid, result.reason or "Failed", result.message, warning=True)
    if result.action not in WRITE_ACTIONS:
        return None
    if not drift:
        note = result.message or f"{result.action.value} to follow the policy assignments in Azure"
        return EventDraft(result.ref, result.uid, _CHANGED[result.action], note)
    editor = ", ".join(result.changed_by) or "not recorded"
    note = f"restored: {what_differed(result)}; changed by: {editor}"
    return EventDraft(result.ref, result.uid, "DriftRepaired", note, warning=True)


def what_differed(result: Result) -> str:
    """What somebody had changed in a repaired object."""
    return "it was deleted" if result.action is Action.CREATED else described(result.differences)


def described(found: Sequence[Difference]) -> str:
    """Differences for people, from the edited value to the restored one."""
    told = [f"{each.path} {_value(each.before)} -> {_value(each.after)}" for each in found[:_SHOWN]]
    more = len(found) - _SHOWN
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _value(value: object) -> str:
    text = "absent" if value is ABSENT else str(value)
    return text if len(text) <= _NAME else f"{text[:_NAME]}…"


def summarized(drafts: Sequence[EventDraft], sync_uid: str) -> tuple[EventDraft, ...]:
    """As they are, or, of more than AT_ONCE changes from Azure in one sync, one that counts them."""
    changes = [each for each in drafts if each.reason in _CHANGED.values()]
    if len(changes) <= AT_ONCE:
        return tuple(drafts)
    counts = (f"{sum(each.reason == word for each in changes)} {word.lower()}" for word in _CHANGED.values())
    note = f"changes from Azure: {', '.join(counts)}; azpolicy status and the log list them"
    rest = tuple(each for each in drafts if each not in changes)
    return (EventDraft(SYNC_REF, sync_uid, "Applied", note), *rest)


class Budget:
    """How many Events may be sent: BURST at once, PER_SECOND afterwards; times are the caller's clock in seconds."""

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._at = now
        self._withheld = 0

    def take(self, now: float) -> bool:
        """Whether one more may be sent; if not, it is counted."""
        paid = self._pay(now)
        self._withheld += not paid
        return paid

    def owed(self, now: float) -> int:
        """How many were withheld, once an Event about them may be sent; it is paid for, and counting starts again."""
        if not self._withheld or not self._pay(now):
            return 0
        withheld, self._withheld = self._withheld, 0
        return withheld

    @property
    def in_debt(self) -> bool:
        """Whether some were withheld that were not reported yet."""
        return self._withheld > 0

    def _pay(self, now: float) -> bool:
        self._left = min(float(BURST), self._left + (now - self._at) * PER_SECOND)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _cut(note: str) -> str:
    """At most as many bytes of UTF-8 as the API server takes, with a mark where something is left out."""
    text = note.encode()
    if len(text) <= LONGEST_NOTE:
        return note
    return text[: LONGEST_NOTE - len(_MORE.encode())].decode(errors="ignore") + _MORE


def event(draft: EventDraft, *, instance: str, serial: str, now: datetime) -> dict[str, Any]:
    """The Event's manifest; `serial` makes its name unique, `instance` is its sender."""
    ref = draft.ref
    kind = POLICY_SYNC if ref.group == POLICY_SYNC.group else kind_of(ref)
    regarding = {"apiVersion": kind.api_version, "kind": ref.kind, "name": ref.name, "uid": draft.uid}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{ref.name[:_NAME].rstrip('.-')}.{serial}", "namespace": NAMESPACE},
        "eventTime": write_moment(now, "microseconds"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:128],
        "action": "Synchronize",
        "reason": printable(draft.reason)[:128],
        "regarding": {key: value for key, value in regarding.items() if value},
        "note": _cut(printable(draft.note)),
        "type": "Warning" if draft.warning else "Normal",
    }
