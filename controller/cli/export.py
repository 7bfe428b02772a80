"""`azpolicy export`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.options import source_options
from controller.commands.export import write_export
from controller.source import read_azure

if TYPE_CHECKING:
    from controller.config import SourceOptions


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@source_options
def export(*, source: SourceOptions, folder: Path) -> int:
    """Save what Azure says of the cluster as a snapshot in the folder DIR, for --snapshot.

    All of it or nothing; an earlier export in DIR is replaced, a DIR that holds other files is refused.
    """
    reading = asyncio.run(read_azure(source))
    count = write_export(folder, reading.documents)
    click.echo(f"export: {count} files in {folder}, {reading.requests} requests")
    return 0
