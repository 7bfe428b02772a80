"""`azpolicy uninstall`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from controller.cli.options import cluster_options, managed_by_option, operator_namespace_option
from controller.cli.output import ERROR
from controller.commands import plan_view
from controller.commands import uninstall as uninstalling
from controller.commands.session import connect
from controller.errors import Refused
from controller.gatekeeper.naming import OwnershipMarks

if TYPE_CHECKING:
    from controller.config import ClusterOptions


@click.command()
@cluster_options
@managed_by_option
@operator_namespace_option
@click.option("--keep-crds", is_flag=True, help="Leave the kinds PolicySync and AssignedPolicy, without any object.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Go on although an operator is at work.")
def uninstall(
    *, cluster: ClusterOptions, managed_by: str, namespace: str | None, keep_crds: bool, yes: bool, force: bool
) -> int:
    """Take away everything that azpolicy made in the cluster: nothing of it is enforced any more.

    Shows what will go and asks. Templates that constraints of others use are kept, and nothing of others is touched.
    Stop the operator first: it would put everything back. One that holds a Lease is noticed, and makes this refuse; one
    that runs without --leader-elect cannot be seen. Exits with 2 when it was not confirmed, or anything could not go.
    """
    marks = OwnershipMarks(managed_by)
    return asyncio.run(_uninstall(cluster, marks, namespace, keep_crds=keep_crds, yes=yes, force=force))


async def _uninstall(
    cluster: ClusterOptions, marks: OwnershipMarks, namespace: str | None, *, keep_crds: bool, yes: bool, force: bool
) -> int:
    async with connect(cluster) as client:
        job = uninstalling.Uninstall(client, marks, namespace, keep_kinds=keep_crds)
        if not force:
            await job.refuse_beside_operator()
        found = await job.survey()
        for line in uninstalling.as_text(found):
            click.echo(line)
        if not found.count:
            return ERROR if found.held else 0
        if not (yes or _confirmed(f"Delete these {found.count} objects?")):
            raise Refused("nothing was deleted: confirm it, or give --yes")
        outcome = await job.remove(found, plan_view.Progress(found.count).done)
    click.echo(uninstalling.summary(outcome))
    return ERROR if outcome.problems or found.held else 0


def _confirmed(question: str) -> bool:
    """Whether somebody at a terminal says yes."""
    return sys.stdin.isatty() and click.confirm(question)
