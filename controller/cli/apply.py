"""`azpolicy apply`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from controller.cli.options import cluster_options, prune_options, source_options, strict_option
from controller.cli.output import ERROR, report_unresolved
from controller.commands import plan_view
from controller.commands.session import open_session

if TYPE_CHECKING:
    from controller.cluster.prune import PruneLimit
    from controller.config import ClusterOptions, SourceOptions


@click.command()
@source_options
@cluster_options
@prune_options
@click.option("--dry-run", is_flag=True, help="The same as azpolicy plan.")
@strict_option
def apply(*, source: SourceOptions, cluster: ClusterOptions, limit: PruneLimit, dry_run: bool, strict: bool) -> int:
    """Apply the plan once and report each change.

    Exits with 2 when anything failed, is in conflict or was refused; the rest is done all the same.
    """
    if dry_run:
        # It brings the forecast along, which takes a tenth of the start of a command.
        from controller.cli.plan import show_plan  # noqa: PLC0415

        return asyncio.run(show_plan(source, cluster, limit, "text", verbose=False, strict=strict))
    return asyncio.run(_apply(source, cluster, limit, strict=strict))


async def _apply(source: SourceOptions, cluster: ClusterOptions, limit: PruneLimit, *, strict: bool) -> int:
    async with open_session(source, cluster) as session:
        made = await session.plan(limit, preview=False)
        outcome = await session.apply(made, plan_view.Progress(len(made.writes)).done, forced=limit.forced)
    click.echo(plan_view.summary(outcome.results, session.desired, head="apply"))
    unresolved = report_unresolved(session.desired, strict=strict)
    return unresolved or (ERROR if outcome.problems else 0)
