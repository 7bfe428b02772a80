"""A forecast of a whole cluster: reads it once, then judges what was read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from controller.forecast.surroundings import read_surroundings
from controller.forecast.verdicts import denied, forecast
from controller.forecast.workloads import read_workloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.cluster.client import KubeClient
    from controller.forecast.verdicts import Forecasts
    from controller.gatekeeper.model import DesiredState
    from controller.gatekeeper.naming import OwnershipMarks


async def forecast_cluster(
    client: KubeClient,
    desired: DesiredState | None,
    marks: OwnershipMarks,
    *,
    gator: str,
    as_deny: bool,
    progress: Callable[[str, int], None],
) -> Forecasts:
    """What of the cluster would not come back under the desired state, the cluster's own where none is given."""
    desired, surroundings = await read_surroundings(client, desired, marks)
    workloads = await read_workloads(client, progress)
    judged = denied(desired) if as_deny else desired
    return await asyncio.to_thread(forecast, workloads, judged, surroundings, gator=gator, progress=progress)
