"""`azpolicy migrate`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from controller.cli.options import cluster_options, prune_options, source_options
from controller.cli.output import ERROR, report_unresolved
from controller.commands import plan_view
from controller.migration import migrate as migrating
from controller.migration import view
from controller.text import one_line

if TYPE_CHECKING:
    from controller.cluster.prune import PruneLimit
    from controller.config import ClusterOptions, SourceOptions
    from controller.migration.migrate import Step


@click.command()
@click.option("--from-addon", "direction", flag_value="from-addon", help="From the AKS add-on to azpolicy.")
@click.option("--to-addon", "direction", flag_value="to-addon", help="Back: compare, enforce and check.")
@click.option(
    "--step",
    type=click.Choice(["compare", "shadow", "enforce", "check", "finish"]),
    default="compare",
    show_default=True,
    help="compare and check only read. shadow installs everything under parallel kinds in dry run, enforce enforces "
    "it there, finish takes over what the add-on left once it is off.",
)
@source_options
@cluster_options
@prune_options
@click.option("--dry-run", is_flag=True, help="Show the step's plan, write nothing.")
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def migrate(
    *,
    direction: str | None,
    step: str,
    source: SourceOptions,
    cluster: ClusterOptions,
    limit: PruneLimit,
    dry_run: bool,
    output: str,
) -> int:
    """Move from the AKS add-on to azpolicy, or back, a step at a time.

    Exits with 0 when a step is done, nothing compared differs, or the check says that the other can be switched off;
    with 1 when something differs or it must not be yet; with 2 on an error or a problem. With --dry-run as plan.
    """
    if direction is None:
        raise click.UsageError("give --from-addon or --to-addon")
    requested = migrating.MigrationStep(migrating.Direction(direction), migrating.Step(step))
    if not requested.step.reads:
        return asyncio.run(_migrate(requested.step, source, cluster, limit, output, dry_run=dry_run))
    answer = asyncio.run(migrating.look(requested, source, cluster))
    click.echo(view.FORMATS[output](answer), nl=False)
    return int(not answer.good)


async def _migrate(
    step: Step, source: SourceOptions, cluster: ClusterOptions, limit: PruneLimit, output: str, *, dry_run: bool
) -> int:
    async with migrating.prepared(step, source, cluster, limit) as ready:
        desired, made = ready.session.desired, ready.plan
        if output == "json":
            click.echo(plan_view.as_json(made, desired), nl=False)
        else:
            for line in plan_view.as_text(made, desired, colour=sys.stdout.isatty()):
                click.echo(line)
        for note in ready.notes:
            click.echo(one_line(f"note: {note}"), err=True)
        report_unresolved(desired, strict=False)
        if dry_run:
            return ERROR if made.problems else int(bool(made.writes))
        progress = plan_view.Progress(len(made.writes)).done if output == "text" else lambda _: None
        outcome = await ready.session.apply(made, progress)
    if output == "text":
        click.echo(plan_view.summary(outcome.results, desired, head=step))
    else:
        for problem in outcome.problems:
            click.echo(one_line(f"{problem.action} {problem.ref}: {problem.message}"), err=True)
    return ERROR if outcome.problems else 0
