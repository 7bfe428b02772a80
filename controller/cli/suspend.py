"""`azpolicy suspend`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from controller.cli.options import cluster_options, wait_options
from controller.commands import requests
from controller.commands.session import connect
from controller.commands.status_view import result_line

if TYPE_CHECKING:
    from controller.commands.status import PolicySync
    from controller.config import ClusterOptions


@click.command()
@cluster_options
@click.option("--until", metavar="TIME", help="When it ends, with its zone, such as 2030-01-31T18:00:00Z.")
@click.option("--for", "duration", metavar="DURATION", help="How long it lasts, such as 90m or 8h30m.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for whoever meets it later.")
@wait_options
def suspend(
    *, cluster: ClusterOptions, until: str | None, duration: str | None, reason: str, wait_s: float | None
) -> int:
    """Have the operator read and report, but write nothing, until a moment that has to be given.

    Drift is not repaired meanwhile. Exits with 0 once the operator has taken it up.
    """
    end = requests.end_of_suspension(until, duration, datetime.now(UTC))
    answer = asyncio.run(_suspend(cluster, end, reason, wait_s))
    click.echo(result_line("suspend", answer) if answer else "suspend: asked for")
    return 0


async def _suspend(cluster: ClusterOptions, end: datetime, reason: str, wait_s: float | None) -> PolicySync | None:
    async with connect(cluster) as client:
        request = partial(requests.request_suspension, until=end, reason=reason)
        return await requests.change_settings(client, request, wait_s)
