"""Stale status: objects on which Gatekeeper has not reported in time, and when to nudge it.

Gatekeeper writes the status of a template or mutator when one of its caches tells it to, and looks the object up in
another. Where that one is behind, as after a restart of the API server, it takes the object for deleted and is done
(seen with 3.23.1). It then enforces, but never says so, and without its word no constraint of the template is made,
until the next change of the object or its own resync ten hours later.

A nudge changes no spec. So it is in vain where somebody overwrote a constraint's status: Gatekeeper's status of that
generation is settled for it. It goes on to enforce such a constraint, which is reported as pending until its next
change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from controller.cluster.readiness import NUDGE_SECONDS, NUDGES_AT_ONCE, is_status_stale

if TYPE_CHECKING:
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import ObjectRef

LONGEST_PATIENCE: Final = 3600.0
# A Gatekeeper that takes up one after the other is busy, and has forgotten none: longer patience, which has an end too.
BUSY_PATIENCE: Final = 300.0


@dataclass(frozen=True, slots=True)
class _Stale:
    """One version of an object, and when to nudge Gatekeeper about it."""

    version: tuple[str, int]
    due: float
    patience: float = NUDGE_SECONDS


class StaleStatus:
    """Which objects have a stale status; times are the caller's clock, in seconds."""

    def __init__(self) -> None:
        self._stale: dict[ObjectRef, _Stale] = {}
        self._progress = float("-inf")

    def seen(self, ref: ObjectRef, live: LiveObject | None, now: float) -> None:
        """An object that has a status as it is now; None where it is gone or nobody wants it any more."""
        if live is None or live.deleting:
            self._stale.pop(ref, None)
            return
        if not is_status_stale(live):
            known = self._stale.pop(ref, None)
            # What had to be nudged tells nothing of whether Gatekeeper is busy with the others.
            if known is not None and known.patience == NUDGE_SECONDS:
                self._progress = now
            return
        version = (live.uid, live.generation)
        known = self._stale.get(ref)
        if known is None or known.version != version:
            self._stale[ref] = _Stale(version, now + NUDGE_SECONDS)

    def due(self, now: float) -> tuple[ObjectRef, ...]:
        """What to nudge now, the longest overdue first: a few at a time, as a busy Gatekeeper has forgotten none."""
        busy = now < self._progress + NUDGE_SECONDS
        overdue = BUSY_PATIENCE - NUDGE_SECONDS if busy else 0.0
        late = sorted((entry.due, ref) for ref, entry in self._stale.items() if entry.due + overdue <= now)
        return tuple(ref for _, ref in late[:NUDGES_AT_ONCE])

    def nudged(self, ref: ObjectRef, now: float) -> None:
        """Notes a nudge: the next one comes after twice as long, and at most an hour."""
        if (entry := self._stale.get(ref)) is not None:
            patience = min(entry.patience * 2, LONGEST_PATIENCE)
            self._stale[ref] = _Stale(entry.version, now + patience, patience)
