"""Fights: the same object changed back again and again by another controller.

Repairs are delayed more and more, so that two controllers do not wear the API server out, and the fight is reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from controller.gatekeeper.model import ObjectRef

WINDOW: Final = 60.0
FREE_REPAIRS: Final = 5
LONGEST_HOLD: Final = 15.0


class FightDetector:
    """Counts repairs per object until WINDOW seconds pass without one; times are the caller's clock."""

    def __init__(self) -> None:
        self._repairs: dict[ObjectRef, tuple[int, float]] = {}

    def repaired(self, ref: ObjectRef, now: float) -> None:
        """Notes a repair."""
        self._repairs[ref] = (self._count(ref, now) + 1, now)

    def delay(self, ref: ObjectRef, now: float) -> float:
        """Seconds to wait before the next repair of an object.

        None until it was repaired FREE_REPAIRS times, each within WINDOW of the one before; from then on 1, 2, 4, 8 and
        at most 15 seconds after the last: rare enough for a rival controller, soon enough against who only wants a gap.
        """
        extra = self._count(ref, now) - FREE_REPAIRS
        if extra < 0:
            return 0.0
        hold = min(2.0 ** min(extra, 8), LONGEST_HOLD)
        return max(0.0, self._repairs[ref][1] + hold - now)

    def fighting(self, now: float) -> tuple[ObjectRef, ...]:
        """The objects that are being fought over."""
        return tuple(ref for ref in list(self._repairs) if self._count(ref, now) >= FREE_REPAIRS)

    def _count(self, ref: ObjectRef, now: float) -> int:
        count, last = self._repairs.get(ref, (0, now))
        if now - last > WINDOW:
            del self._repairs[ref]
            return 0
        return count
