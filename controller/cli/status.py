"""`azpolicy status`."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from controller.cli.options import cluster_options, operator_namespace_option
from controller.cluster.resources import read_resources
from controller.commands import status_view, terminal
from controller.commands.session import connect
from controller.commands.status import Status

if TYPE_CHECKING:
    from controller.commands.status_view import Sheet
    from controller.config import ClusterOptions


@click.command()
@click.argument("assignments", nargs=-1, metavar="[ASSIGNMENT]...")
@cluster_options
@operator_namespace_option
@click.option("--problems", is_flag=True, help="Show only policies that are neither enforced nor known not to apply.")
@click.option("-o", "output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True)
def status(
    *, cluster: ClusterOptions, namespace: str | None, assignments: tuple[str, ...], problems: bool, output: str
) -> int:
    """Show how the operator is doing and what became of the policies of each ASSIGNMENT.

    An assignment is given by its id, name or display name; without any, all are shown. Reads PolicySync default and
    the AssignedPolicies, and writes nothing.
    """

    async def read() -> Status:
        async with connect(cluster) as client:
            return Status.of(await read_resources(client, namespace))

    found = asyncio.run(read()).only(assignments, problems=problems)
    if output != "text":
        click.echo(status_view.FORMATS[output](found), nl=False)
    else:
        _show(status_view.sheet(found, datetime.now(UTC)))
    return 0


def _show(sheet: Sheet) -> None:
    """On a terminal as tables, else as text: a pipe is for programs."""
    if sys.stdout.isatty():
        terminal.show(sheet)
        return
    for line in status_view.as_text(sheet):
        click.echo(line)
