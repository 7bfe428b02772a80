"""How late the event loop is, as its metric tells it. In virtual time."""

from __future__ import annotations

import asyncio

import pytest

from controller.operator.loop_lag import LOOK_SECONDS, loop_lag_measured
from controller.report.metrics import Metrics
from tests.unit.virtual_time import hold_up, in_virtual_time


@in_virtual_time
async def test_a_computation_that_holds_up_the_loop_shows_as_lag() -> None:
    lags: list[float] = []
    async with loop_lag_measured(lags.append):
        await asyncio.sleep(1)
        assert lags
        assert max(lags) == pytest.approx(0.0, abs=1e-6)

        hold_up(0.75)
        await asyncio.sleep(1)

    assert 0.75 - LOOK_SECONDS <= max(lags) <= 0.75
    assert sum(lag > 1e-6 for lag in lags) == 1


@in_virtual_time
async def test_nothing_is_measured_after_the_block() -> None:
    lags: list[float] = []
    async with loop_lag_measured(lags.append):
        await asyncio.sleep(1)
    before = len(lags)

    await asyncio.sleep(10)

    assert len(lags) == before


def test_the_metric_tells_how_often_the_loop_was_how_late() -> None:
    metrics = Metrics(lambda: 0.0)

    for lag in (0.001, 0.002, 0.3):
        metrics.lagged(lag)

    page = metrics.text().decode()
    assert 'azpolicy_event_loop_lag_seconds_bucket{le="0.005"} 2.0' in page
    assert 'azpolicy_event_loop_lag_seconds_bucket{le="0.25"} 2.0' in page
    assert 'azpolicy_event_loop_lag_seconds_bucket{le="0.5"} 3.0' in page
