"""Waiting for a condition: the one place of the tests that sleeps."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.25


def eventually(check: Callable[[], T | None], timeout: float = 30.0, what: str = "the condition") -> T:
    """Return the first truthy value of `check`, asked again and again for `timeout` seconds.

    Raises AssertionError with the last value or exception when the time is over.
    """
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        cause: Exception | None = None
        try:
            value = check()
            if value:
                return value
            last = repr(value)
        except Exception as exc:  # noqa: BLE001  # "not there yet" is another exception for every check
            cause, last = exc, f"{type(exc).__name__}: {exc}"
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}; the last answer was {last}") from cause
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
