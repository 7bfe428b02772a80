"""`azpolicy check`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from controller.check.gator import find_gator
from controller.check.judge import Action, judge
from controller.check.manifests import read_manifests
from controller.check.report import FORMATS
from controller.cli.options import gator_option, source_options, strict_option
from controller.cli.output import ERROR, report_unresolved
from controller.source import read_desired_state
from controller.text import one_line

if TYPE_CHECKING:
    from controller.config import SourceOptions


@click.command()
@click.argument("manifests", nargs=-1, required=True, metavar="FILE|DIR|-...")
@source_options
@gator_option
@click.option(
    "--namespace",
    default="default",
    show_default=True,
    metavar="NAME",
    help="Namespace of objects that do not name theirs.",
)
@click.option("-o", "output", type=click.Choice(["text", "json", "sarif", "junit"]), default="text", show_default=True)
@strict_option
def check(
    *, source: SourceOptions, manifests: tuple[str, ...], gator: str, namespace: str, output: str, strict: bool
) -> int:
    """Say whether the objects in FILE, DIR or standard input (-) would pass what Azure assigns.

    Workloads are judged by the pods that they would make, too. Nothing is asked of a cluster. Exits with 0 when all
    pass (findings that are only audited or warned of included), 1 when something would be denied, 2 on an error.
    """
    program = find_gator(gator)
    reading = read_manifests(manifests)
    desired = asyncio.run(read_desired_state(source))
    result = judge(reading.manifests, desired, gator=program, namespace=namespace)
    click.echo(FORMATS[output](result), nl=False)
    for location in reading.passed_over:
        click.echo(one_line(f"note: {location}: no Kubernetes object, passed over"), err=True)
    for location in reading.requests:
        told = "of this request only the object is judged: no rule sees its user, nor the object as it was before"
        click.echo(one_line(f"note: {location}: {told}"), err=True)
    for note in result.notes:
        click.echo(one_line(f"note: {note}"), err=True)
    for error in result.errors:
        click.echo(one_line(f"error: {error}; fix its definition or template"), err=True)
    if result.errors:
        return ERROR
    return report_unresolved(desired, strict=strict) or int(result.count(Action.DENY) > 0)
