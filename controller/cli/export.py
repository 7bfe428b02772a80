"""`azpolicy export`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.options import source_options
from controller.commands.export import write_export
from controller.errors import SourceError
from controller.source import read_azure
from controller.text import plain

if TYPE_CHECKING:
    from controller.config import SourceOptions


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--partial", is_flag=True, help="Write it even if something may not be read; what it lacks is named.")
@source_options
def export(*, source: SourceOptions, folder: Path, partial: bool) -> int:
    """Save what Azure says of the cluster as a snapshot in the folder DIR, for --snapshot.

    All of it or nothing; an earlier export in DIR is replaced, a DIR that holds other files is refused.
    """
    reading = asyncio.run(read_azure(source))
    for each in reading.lacks:
        click.echo(plain(f"lacks {each}"), err=True)
    count = len(reading.lacks)
    things = f"{count} thing{'s' if count > 1 else ''}"
    if reading.lacks and not partial:
        raise SourceError(f"the export would lack {things}, named above: give the rights, or --partial to go without")
    files = write_export(folder, reading.documents)
    without = f", without {things}" if reading.lacks else ""
    click.echo(f"export: {files} files in {folder}, {reading.requests} requests{without}")
    return 0
