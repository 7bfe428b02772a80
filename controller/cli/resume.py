"""`azpolicy resume`."""

from __future__ import annotations

import asyncio
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
@wait_options
def resume(*, cluster: ClusterOptions, wait_s: float | None) -> int:
    """End a suspension now. Exits with 0 once the operator has taken it up."""
    answer = asyncio.run(_resume(cluster, wait_s))
    click.echo(result_line("resume", answer) if answer else "resume: asked for")
    return 0


async def _resume(cluster: ClusterOptions, wait_s: float | None) -> PolicySync | None:
    async with connect(cluster) as client:
        return await requests.change_settings(client, requests.request_resumption, wait_s)
