"""Clocks, and times and durations as text: how they are read and written."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from controller.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

T = TypeVar("T")

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}T.+", re.DOTALL)
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str, where: str) -> float:
    """Seconds of a duration such as 1h30m; InputError for what is none."""
    if not _DURATION.fullmatch(text):
        raise InputError(f"{where} {text!r} is not a duration: give one such as 15m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def parse_moment(text: str) -> datetime | None:
    """A date and time as ARM writes it, in UTC where it names no zone; None where it is none."""
    if not _DATE.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def write_moment(moment: datetime, precision: Literal["seconds", "microseconds"] = "seconds") -> str:
    """A moment as Kubernetes writes it, in UTC: `seconds` for a Time, `microseconds` for a MicroTime.

    https://pkg.go.dev/k8s.io/apimachinery/pkg/apis/meta/v1#MicroTime
    """
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def loop_time() -> float:
    """Seconds of the running loop's clock, which only moves forward. Tests can let it jump; time.monotonic cannot."""
    return asyncio.get_running_loop().time()


async def in_parts(items: Sequence[T], size: int) -> AsyncGenerator[Sequence[T], None]:
    """Some of many items at a time; what else is due on the event loop has its turn after each of these parts."""
    for first in range(0, len(items), size):
        yield items[first : first + size]
        await asyncio.sleep(0)


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)
