"""`azpolicy forecast`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from controller.check.gator import find_gator
from controller.cli.options import cluster_options, gator_option, source_options, strict_option
from controller.cli.output import progress, report_forecast, report_unresolved
from controller.commands.session import connect
from controller.forecast.report import FORMATS
from controller.forecast.run import forecast_cluster
from controller.source import read_desired_state

if TYPE_CHECKING:
    from controller.config import ClusterOptions, SourceOptions
    from controller.forecast.verdicts import Forecasts
    from controller.gatekeeper.model import DesiredState


@click.command()
@source_options
@cluster_options
@click.option(
    "--as",
    "judged_as",
    type=click.Choice(["deny"]),
    help="Judge as if every policy that is only audited or warned of denied: the question before that is switched.",
)
@gator_option
@click.option(
    "-o",
    "output",
    type=click.Choice(["table", "json", "csv", "markdown", "junit"]),
    default="table",
    show_default=True,
)
@strict_option
def forecast(
    *,
    source: SourceOptions,
    cluster: ClusterOptions,
    judged_as: str | None,
    gator: str,
    output: str,
    strict: bool,
) -> int:
    """Say which workloads of the cluster would fail at their next restart, and by which policy.

    Without --snapshot or a cluster of Azure's, by what azpolicy enforces in the cluster now. Reads workloads and pods,
    writes nothing. Exits with 0 when none would fail, 1 when some would, 2 on an error.
    """
    program = find_gator(gator)
    desired, found = asyncio.run(_found(source, cluster, program, as_deny=judged_as is not None))
    click.echo(FORMATS[output](found), nl=False)
    errors = report_forecast(found)
    unresolved = report_unresolved(desired, strict=strict) if desired else 0
    return errors or unresolved or int(found.failing)


async def _found(
    source: SourceOptions, cluster: ClusterOptions, gator: str, *, as_deny: bool
) -> tuple[DesiredState | None, Forecasts]:
    named = source.snapshot or source.cluster_id or source.declared
    desired = await read_desired_state(source) if named else None
    with progress() as told:
        async with connect(cluster) as client:
            found = await forecast_cluster(client, desired, source.marks, gator=gator, as_deny=as_deny, progress=told)
    return desired, found
