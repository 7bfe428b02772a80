"""Which request to the API server goes first: repairs, then syncs, then what somebody waits for, then reports.

The lane is a property of the task that asks (`in_lane`), so that a read deep inside a repair goes as fast as its write.
docs/decisions/019-lanes.md says why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from contextvars import ContextVar
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping


class Lane(IntEnum):
    """How urgent a request is; the smallest value is the most urgent."""

    REPAIR = 0
    """What restores enforcement: an edited constraint, a part of Gatekeeper that was deleted."""
    SYNC = 1
    """What compares and applies as a whole, and everything that says nothing else: the command line too."""
    STATUS = 2
    """What somebody waits for: the PolicySync's status with the answer to a request, Events. These are few."""
    REPORT = 3
    """What is there to be looked up: an AssignedPolicy for each member."""


LIMITS: Final[Mapping[Lane, int]] = {Lane.REPAIR: 32, Lane.SYNC: 24, Lane.STATUS: 8, Lane.REPORT: 4}
"""The operator's."""
COMMAND_LIMITS: Final[Mapping[Lane, int]] = dict.fromkeys(Lane, LIMITS[Lane.REPAIR])
"""A command's: it does one thing, which may use every slot."""
LANE_OF_TASK: Final[ContextVar[Lane]] = ContextVar("lane", default=Lane.SYNC)


@contextlib.contextmanager
def in_lane(lane: Lane) -> Iterator[None]:
    """Every request of the block is of this lane, and so is every request of the tasks that it creates."""
    token = LANE_OF_TASK.set(lane)
    try:
        yield
    finally:
        LANE_OF_TASK.reset(token)


class Lanes:
    """Bounds the requests in flight.

    A request starts while fewer than its lane's limit are in flight in its own lane and in more urgent ones. So a
    request never waits for a less urgent one, and less urgent ones start no more while there is enough to do for the
    others. One request of each lane may always be in flight, so that none starves. Within a lane the order is that of
    arrival.
    """

    def __init__(self, limits: Mapping[Lane, int] = LIMITS) -> None:
        self._limits = limits
        self._in_flight = dict.fromkeys(Lane, 0)
        self._waiting: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in Lane}

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for a turn in the lane of the running task, and keeps its slot for the length of the block."""
        lane = LANE_OF_TASK.get()
        turn = asyncio.get_running_loop().create_future()
        self._waiting[lane].append(turn)
        self._admit()
        try:
            await turn
            yield
        finally:
            # A task that is cancelled while it waits cancels its turn, unless it had just been given.
            if turn.done() and not turn.cancelled():
                self._in_flight[lane] -= 1
                self._admit()

    def _admit(self) -> None:
        for lane, waiting in self._waiting.items():
            while waiting and self._is_free(lane):
                turn = waiting.popleft()
                if not turn.done():
                    self._in_flight[lane] += 1
                    turn.set_result(None)

    def _is_free(self, lane: Lane) -> bool:
        ahead = sum(count for each, count in self._in_flight.items() if each <= lane)
        return ahead < self._limits[lane] or not self._in_flight[lane]
