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
        cause: Exception | AssertionError | None = None
        value: T | None = None
        try:
            value = check()
        except Exception as exc:  # noqa: BLE001  # not there yet looks different for every check
            cause = exc
        if value:
            return value
        if time.monotonic() >= deadline:
            last = f"{type(cause).__name__}: {cause}" if cause else repr(value)
            raise AssertionError(f"waited {timeout:g} s for {what}; the last answer was {last}") from cause
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
