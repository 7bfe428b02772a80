"""Event loops whose time jumps to the next timer when nothing else is left to do: an hour of waiting takes no time.

Nothing in such a test may wait for the world outside (files, sockets): the clock would run away meanwhile. What is
handed to a thread is done at once.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from typing import TYPE_CHECKING, Any, Final, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")


_TURN: Final = 1e-9


class _Jumping(selectors.SelectSelector):
    """Never waits: what it was told to wait has passed. A turn of the loop takes a little, as it does in truth."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits for something that never comes"
            self.now += max(timeout, _TURN)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def jump(self, seconds: float) -> None:
        """Time passes while a callback runs."""
        self._jumping.now += seconds

    def run_in_executor(  # type: ignore[override]
        self, _executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """At once and here: while a thread worked, the clock would run away."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is the awaiting task's
            done.set_exception(error)
        return done


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an async test in a loop of its own, in which only `clock` passes."""

    @functools.wraps(test)
    def run(*arguments: P.args, **keywords: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(test(*arguments, **keywords))

    return run


def hold_up(seconds: float) -> None:
    """The running loop does nothing else for so long, as in a long computation."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _Loop)
    loop.jump(seconds)


def clock() -> float:
    """The running loop's time."""
    return asyncio.get_running_loop().time()
