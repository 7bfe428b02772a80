"""How late the event loop runs what is due: while one computation holds it up, no repair advances."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from controller.times import loop_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LOOK_SECONDS: Final = 0.1


@contextlib.asynccontextmanager
async def loop_lag_measured(observe: Callable[[float], None]) -> AsyncIterator[None]:
    """For the length of the block, tells `observe` ten times a second how many seconds too late a timer went off.

    A computation of s seconds shows as a lag of between s - LOOK_SECONDS and s.
    """
    measuring = asyncio.create_task(_measure(observe))
    try:
        yield
    finally:
        measuring.cancel()


async def _measure(observe: Callable[[float], None]) -> None:
    while True:
        due = loop_time() + LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
        observe(max(0.0, loop_time() - due))
