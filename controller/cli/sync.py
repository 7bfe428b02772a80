"""`azpolicy sync`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from controller.cli.options import cluster_options, wait_options
from controller.cli.output import ERROR
from controller.commands import requests
from controller.commands.session import connect
from controller.commands.status_view import result_line
from controller.errors import Refused

if TYPE_CHECKING:
    from controller.config import ClusterOptions


@click.command()
@cluster_options
@click.option(
    "--force-prune", metavar="DIGEST", default="", help="Do the refused deletions that azpolicy status names, once."
)
@wait_options
def sync(*, cluster: ClusterOptions, force_prune: str, wait_s: float | None) -> int:
    """Have the operator poll the source and compare everything now, and wait until it has.

    Exits with 0 when that is done and the cluster is as Azure says, 2 otherwise.
    """
    return asyncio.run(_sync(cluster, force_prune, wait_s))


async def _sync(cluster: ClusterOptions, force_prune: str, wait_s: float | None) -> int:
    async with connect(cluster) as client:
        asked = await requests.request_sync(client, datetime.now(UTC), force_prune)
        if wait_s is None:
            click.echo(f"sync: asked for at {asked.requested}")
            return 0
        answered = await requests.wait_for(client, requests.is_answered(asked), wait_s)
    if force_prune and answered.forced_digest != force_prune:
        raise Refused("the refused deletions are others by now, and were not done: see azpolicy status")
    click.echo(result_line("sync", answered))
    return 0 if answered.ready else ERROR
