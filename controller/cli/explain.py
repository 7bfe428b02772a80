"""`azpolicy explain`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from controller.cli.options import source_options, strict_option
from controller.cli.output import ERROR
from controller.commands import explain as explaining
from controller.source import read_desired_state

if TYPE_CHECKING:
    from controller.config import SourceOptions


@click.command()
@click.argument("assignments", nargs=-1, metavar="[ASSIGNMENT]...")
@source_options
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@strict_option
def explain(*, source: SourceOptions, assignments: tuple[str, ...], output: str, strict: bool) -> int:
    """Show what each member of each ASSIGNMENT became, or why it is not enforced and what to do.

    An assignment is given by its id, name or display name; without any, all are shown. No cluster is asked.
    """
    desired = asyncio.run(read_desired_state(source))
    explanation = explaining.explain(desired, assignments)
    if output == "json":
        click.echo(explaining.as_json(explanation), nl=False)
    else:
        for line in explaining.as_text(explanation):
            click.echo(line)
    return ERROR if strict and explanation.unresolved else 0
