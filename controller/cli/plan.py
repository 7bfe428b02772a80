"""`azpolicy plan`, which is `azpolicy apply --dry-run` too."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from controller.check.gator import find_gator
from controller.cli.options import cluster_options, gator_option, prune_options, source_options, strict_option
from controller.cli.output import ERROR, progress, report_forecast, report_unresolved
from controller.commands import plan_view
from controller.commands.session import open_session
from controller.forecast.report import as_sums, totals
from controller.forecast.run import forecast_cluster

if TYPE_CHECKING:
    from controller.cluster.prune import PruneLimit
    from controller.config import ClusterOptions, SourceOptions


@click.command()
@source_options
@cluster_options
@prune_options
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-v", "--verbose", is_flag=True, help="Show objects that stay as they are, too.")
@click.option(
    "--forecast",
    "forecasts",
    is_flag=True,
    help="Add how many workloads would then fail at their next restart, as azpolicy forecast counts them.",
)
@gator_option
@strict_option
def plan(
    *,
    source: SourceOptions,
    cluster: ClusterOptions,
    limit: PruneLimit,
    output: str,
    verbose: bool,
    forecasts: bool,
    gator: str,
    strict: bool,
) -> int:
    """Show what apply would change in the cluster, with a diff per object. Writes nothing.

    Exits with 0 when the cluster is in sync, 1 when there are changes, 2 on an error, a conflict or a refused deletion.
    """
    program = find_gator(gator) if forecasts else None
    return asyncio.run(show_plan(source, cluster, limit, output, verbose=verbose, strict=strict, gator=program))


async def show_plan(
    source: SourceOptions,
    cluster: ClusterOptions,
    limit: PruneLimit,
    output: str,
    *,
    verbose: bool,
    strict: bool,
    gator: str | None = None,
) -> int:
    """Prints the plan, with the sums of a forecast where gator is given; the exit code of `azpolicy plan`."""
    found = None
    async with open_session(source, cluster) as session:
        made = await session.plan(limit, preview=True)
        if gator is not None:
            with progress() as told:
                found = await forecast_cluster(
                    session.planner.client, session.desired, source.marks, gator=gator, as_deny=False, progress=told
                )
    if output == "json":
        click.echo(plan_view.as_json(made, session.desired, forecast=totals(found) if found else None), nl=False)
    else:
        for line in plan_view.as_text(made, session.desired, colour=sys.stdout.isatty(), verbose=verbose):
            click.echo(line)
        if found:
            click.echo(f"\n{as_sums(found)}", nl=False)
    errors = report_forecast(found) if found else 0
    unresolved = report_unresolved(session.desired, strict=strict)
    return errors or unresolved or (ERROR if made.problems else int(bool(made.writes)))
