"""Gatekeeper's silence: objects that it says nothing of, although it was given time, and when to ask it again.

Gatekeeper writes the status of a template or mutator when one of its caches tells it to, and looks the object up in
another. Where that one is behind, as after a restart of the API server, it takes the object for deleted and is done
(seen with 3.23.1). It then enforces, but never says so, and without its word no constraint of the template is made
(design property 7), until the next change of the object or its own resync ten hours later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from controller.cluster.readiness import unheard

if TYPE_CHECKING:
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import ObjectRef

PATIENCE_SECONDS: Final = 30.0
LONGEST_PATIENCE: Final = 3600.0
AT_ONCE: Final = 5


@dataclass(frozen=True, slots=True)
class _Silent:
    """One version of an object, and when to ask about it, after how long a wait."""

    version: tuple[str, int]
    due: float
    patience: float = PATIENCE_SECONDS


class Silence:
    """Which objects Gatekeeper says nothing of; times are the caller's clock, in seconds."""

    def __init__(self) -> None:
        self._silent: dict[ObjectRef, _Silent] = {}

    def seen(self, ref: ObjectRef, live: LiveObject | None, now: float) -> None:
        """An object that has a status as it is now; None where it is gone or nobody wants it any more."""
        if live is None or live.deleting or not unheard(live):
            self._silent.pop(ref, None)
            return
        version = (live.uid, live.generation)
        known = self._silent.get(ref)
        if known is None or known.version != version:
            self._silent[ref] = _Silent(version, now + PATIENCE_SECONDS)

    def due(self, now: float) -> tuple[ObjectRef, ...]:
        """What to ask about now, the longest silent first: a few only, as who is busy with many has forgotten none."""
        late = sorted((silent.due, ref) for ref, silent in self._silent.items() if silent.due <= now)
        return tuple(ref for _, ref in late[:AT_ONCE])

    def asked(self, ref: ObjectRef, now: float) -> None:
        """Notes that it was asked: the next time comes after twice as long, and at most an hour."""
        if (silent := self._silent.get(ref)) is not None:
            patience = min(silent.patience * 2, LONGEST_PATIENCE)
            self._silent[ref] = _Silent(silent.version, now + patience, patience)
