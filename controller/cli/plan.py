"""`azpolicy plan`, which is `azpolicy apply --dry-run` too."""

from __future__ import annotations

import asyncio
import sys
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
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-v", "--verbose", is_flag=True, help="Show objects that stay as they are, too.")
@strict_option
def plan(
    *, source: SourceOptions, cluster: ClusterOptions, limit: PruneLimit, output: str, verbose: bool, strict: bool
) -> int:
    """Show what apply would change in the cluster, with a diff per object. Writes nothing.

    Exits with 0 when the cluster is in sync, 1 when there are changes, 2 on an error, a conflict or a refused deletion.
    """
    return asyncio.run(show_plan(source, cluster, limit, output, verbose=verbose, strict=strict))


async def show_plan(
    source: SourceOptions, cluster: ClusterOptions, limit: PruneLimit, output: str, *, verbose: bool, strict: bool
) -> int:
    async with open_session(source, cluster) as session:
        made = await session.plan(limit, preview=True)
    if output == "json":
        click.echo(plan_view.as_json(made, session.desired), nl=False)
    else:
        for line in plan_view.as_text(made, session.desired, colour=sys.stdout.isatty(), verbose=verbose):
            click.echo(line)
    unresolved = report_unresolved(session.desired, strict=strict)
    return unresolved or (ERROR if made.problems else int(bool(made.writes)))
