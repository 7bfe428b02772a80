"""`azpolicy render`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.options import source_options, strict_option
from controller.cli.output import report_unresolved
from controller.commands import render as rendering
from controller.source import read_desired_state

if TYPE_CHECKING:
    from controller.config import SourceOptions


@click.command()
@source_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write each object to a file of its own in this folder. Files that render did not write are never touched.",
)
@strict_option
def render(*, source: SourceOptions, output: Path | None, strict: bool) -> int:
    """Print the objects that the assignments mean, as YAML.

    Templates come first, then mutators, then constraints, always in the same order. Nothing is asked of or written to
    a cluster. Members that cannot be resolved are named on stderr.
    """
    desired = asyncio.run(read_desired_state(source))
    if output is None:
        for text in rendering.texts(desired.objects):
            click.echo(text, nl=False)
    else:
        rendering.write_folder(output, desired.objects)
    return report_unresolved(desired, strict=strict)
