"""Fights: the same object changed back again and again by another controller (design property 12).

Repairs are delayed more and more, so that two controllers do not wear the API server out, and the fight can be told.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from controller.gatekeeper.model import ObjectRef

WINDOW: Final = 60.0
FREE_REPAIRS: Final = 5
LONGEST_HOLD: Final = 15.0


class FightDetector:
    """Counts repairs per object within the last WINDOW seconds; times are the caller's clock."""

    def __init__(self) -> None:
        self._repairs: dict[ObjectRef, deque[float]] = {}

    def repaired(self, ref: ObjectRef, now: float) -> None:
        """Notes a repair."""
        times = self._repairs.setdefault(ref, deque(maxlen=FREE_REPAIRS + 8))
        times.append(now)

    def delay(self, ref: ObjectRef, now: float) -> float:
        """Seconds to wait before the next repair of an object.

        None until it was repaired FREE_REPAIRS times within the window; from then on 1, 2, 4, 8 and at most 15 seconds
        after the last repair: rare enough for a rival controller, soon enough against who only wants a gap.
        """
        recent = self._recent(ref, now)
        if recent < FREE_REPAIRS:
            return 0.0
        hold = min(2.0 ** (recent - FREE_REPAIRS), LONGEST_HOLD)
        return max(0.0, self._repairs[ref][-1] + hold - now)

    def fighting(self, now: float) -> tuple[ObjectRef, ...]:
        """The objects that are being fought over."""
        return tuple(ref for ref in list(self._repairs) if self._recent(ref, now) >= FREE_REPAIRS)

    def _recent(self, ref: ObjectRef, now: float) -> int:
        times = self._repairs.get(ref)
        if times is None:
            return 0
        while times and now - times[0] > WINDOW:
            times.popleft()
        if not times:
            del self._repairs[ref]
        return len(times)
