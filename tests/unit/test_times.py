"""Times and durations as text, read and written."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from controller.errors import InputError
from controller.times import duration, in_parts, parse_moment, write_moment


@pytest.mark.parametrize(
    ("text", "seconds"), [("15m", 900), ("1h30m", 5400), ("500ms", 0.5), ("1.5s", 1.5), ("1h1m1s", 3661)]
)
def test_a_duration_is_read_as_kubernetes_spells_it(text: str, seconds: float) -> None:
    assert duration(text, "spec.interval") == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "-1s", "1d", "1h 30m", "1h30"])
def test_what_is_no_duration_is_named_with_its_place(text: str) -> None:
    with pytest.raises(InputError, match=r"spec\.interval .* give one such as 15m"):
        duration(text, "spec.interval")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01T10:00:00.1234567Z", datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)),
        ("2026-03-01T10:00:00+02:00", datetime(2026, 3, 1, 8, tzinfo=UTC)),
        ("2026-03-01T10:00:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("2026-03-01", None),
        ("soon", None),
        ("", None),
    ],
)
def test_moments_are_read_in_utc(text: str, expected: datetime | None) -> None:
    assert parse_moment(text) == expected


def test_moments_are_written_in_utc_as_a_time_or_a_microtime_of_kubernetes() -> None:
    moment = datetime(2026, 3, 1, 10, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))

    assert write_moment(moment) == "2026-03-01T08:00:00Z"
    assert write_moment(moment, "microseconds") == "2026-03-01T08:00:00.000005Z"
    assert write_moment(moment.replace(microsecond=0), "microseconds") == "2026-03-01T08:00:00.000000Z"


def test_other_work_has_its_turn_between_the_parts_of_many_items() -> None:
    done: list[object] = []

    async def work() -> None:
        async for part in in_parts(range(5), 2):
            done.append(list(part))  # noqa: PERF401 - in the order of what happens

    async def other() -> None:
        done.append("other")

    async def both() -> None:
        await asyncio.gather(work(), other())

    asyncio.run(both())
    assert done == [[0, 1], "other", [2, 3], [4]]
